//! Who may open a session, and what it is welcomed with.

use midspan_format::area::AreaKind;
use midspan_format::geometry::Position;
use midspan_format::ids::{Epoch, GroupId, NodeId};
use midspan_format::message::{Hello, Message, RefusedReason, SessionKind, Welcome};
use midspan_format::version::PROTOCOL_VERSION;

use alloc::collections::VecDeque;

use super::{READS_PER_SESSION, Relay, SESSIONS, Session, TAG_READ, is_served};
use crate::stage::area::{Area, Health};
use crate::stage::ring_read::RingRead;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Effect, LinkId, Token};

impl<B: Buffer> Relay<B> {
    pub(super) fn admit<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        hello: &Hello,
    ) -> Result<(), (RefusedReason, Epoch)> {
        if hello.protocol != PROTOCOL_VERSION {
            return Err((RefusedReason::Version, Epoch::NONE));
        }
        if self.sessions.len() >= SESSIONS {
            return Err((RefusedReason::Busy, Epoch::NONE));
        }
        let Some(guard) = self.permits.guard(hello.group) else {
            return Err((RefusedReason::UnknownGroup, Epoch::NONE));
        };
        let permit = &guard.permit;
        let found = permit.epoch;
        if permit.deleted {
            return Err((RefusedReason::Deleted, found));
        }
        if !guard.is_site(hello.node) {
            return Err((RefusedReason::NotPermitted, found));
        }
        // A relay holds areas of lanes; what sites tell each other, and what is a site's own, is not for it.
        if hello.kind == SessionKind::Direct || !is_served(hello.area_kind) {
            return Err((RefusedReason::UnknownArea, found));
        }
        let kind = hello.area_kind;
        let writer = if kind == AreaKind::Receipt { permit.secondary } else { permit.primary };
        let fencing = guard.pending.is_some();
        if hello.kind == SessionKind::Control {
            self.open_session(link, hello, None);
            let welcome = self.welcome(hello.group, None);
            context.ask(Effect::Send { link, message: Message::Welcome(welcome) });
            return Ok(());
        }
        let place = self
            .areas
            .iter()
            .position(|a| a.group == hello.group && a.entry.kind == kind && a.entry.lane == hello.lane);
        let Some((index, area)) = place.and_then(|i| self.areas.get_mut(i).map(|a| (i, a))) else {
            return Err((RefusedReason::UnknownArea, found));
        };
        if hello.area != midspan_format::ids::AreaId::NONE && hello.area != area.entry.frames() {
            return Err((RefusedReason::ForeignArea, found));
        }
        match area.health {
            Health::Open => {}
            Health::Scanning => return Err((RefusedReason::Busy, found)),
            // What is intact can still be read; nothing is appended.
            Health::Damaged | Health::Failed if hello.kind == SessionKind::Fetch => rare!(RelayReadsDamaged),
            // A ring that is damaged takes no frame. But one that knows nothing of it may let it go on elsewhere.
            Health::Damaged if kind == AreaKind::Ring && hello.area == midspan_format::ids::AreaId::NONE => {}
            Health::Damaged | Health::Failed => return Err((RefusedReason::Damaged, found)),
        }
        if hello.kind == SessionKind::Fetch {
            self.welcome_reader(context, link, hello, index);
            return Ok(());
        }
        if kind != AreaKind::Receipt && hello.epoch < found {
            return Err((RefusedReason::OlderEpoch, found));
        }
        if hello.node != writer || (kind != AreaKind::Receipt && hello.epoch != found) {
            return Err((RefusedReason::NotPermitted, found));
        }
        if fencing {
            return Err((RefusedReason::Busy, found));
        }
        let former = area.session;
        area.end_session();
        area.session = Some(link);
        if let Some(former) = former.and_then(|f| self.sessions.iter().position(|s| s.link == f)) {
            self.close_session(context, former);
        }
        self.open_session(link, hello, Some(index));
        self.welcome_settled(context, index);
        Ok(())
    }

    /// A reader learns how far it may read.
    fn welcome_reader<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        hello: &Hello,
        index: usize,
    ) {
        self.open_session(link, hello, Some(index));
        let mut welcome = self.welcome(hello.group, Some(index));
        welcome.journaled = self.readable(index, hello.node, false);
        context.ask(Effect::Send { link, message: Message::Welcome(welcome) });
    }

    pub(super) fn open_session(&mut self, link: LinkId, hello: &Hello, area: Option<usize>) {
        self.sessions.push(Session {
            link,
            node: hello.node,
            group: hello.group,
            kind: hello.kind,
            area,
            waiting: VecDeque::with_capacity(if hello.kind == SessionKind::Fetch {
                READS_PER_SESSION
            } else {
                0
            }),
            disk_read: RingRead::new(Token(TAG_READ | u64::from(link.0))),
            sending: 0,
            begin: None,
        });
    }

    pub(super) fn welcome(&self, group: GroupId, area: Option<usize>) -> Welcome {
        let permit = self.permits.guard(group).map(|g| &g.permit);
        let area = area.and_then(|i| self.areas.get(i));
        Welcome {
            node: self.node,
            area: area.map_or(midspan_format::ids::AreaId::NONE, |a| a.entry.frames()),
            epoch: permit.map_or(Epoch::NONE, |p| p.epoch),
            primary: permit.map_or(NodeId::NONE, |p| p.primary),
            secondary: permit.map_or(NodeId::NONE, |p| p.secondary),
            size: area.map_or(0, |a| a.entry.size),
            journaled: area.map_or(Position(0), Area::journaled),
            began: area.map_or(Position(0), |a| a.entry.began),
            last: area.and_then(|a| a.last().copied()),
        }
    }

    /// Welcomes the writer of an area as soon as the older session's appends have settled.
    pub(super) fn welcome_settled<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        index: usize,
    ) {
        let Some(area) = self.areas.get_mut(index) else { return };
        let Some(link) = area.session.filter(|_| !area.session_open && area.is_settled()) else { return };
        area.begin_session();
        area.answered_at = context.now.mono;
        let group = area.group;
        let welcome = self.welcome(group, Some(index));
        context.ask(Effect::Send { link, message: Message::Welcome(welcome) });
    }
}
