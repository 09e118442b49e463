//! The relay's machine: sessions on areas. Dumb, strict storage: append, read, fence; it knows nothing of volumes.
//!
//! Sites run it too. Appends come from one permitted session per area; reads never pass the journaled prefix; refused
//! requests are counted per node (I2, I5; claims 3, 4, 14).

mod admit;
mod append;
mod serve;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use midspan_format::area::AreaKind;
use midspan_format::geometry::Position;
use midspan_format::ids::{Epoch, GroupId, NodeId, VolumeId};
use midspan_format::message::{
    Begin, FenceIntent, Hello, Message, Read, Refused, RefusedReason, SessionKind,
};
use midspan_format::superblock::GroupPermit;

use crate::role::relay_fence::Permits;
use crate::stage::area::{Area, Health};
use crate::stage::area_scan::AreaScan;
use crate::stage::ring_read::RingRead;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, DiskResult, Effect, LinkEvent, LinkId, Note, Token};

/// Reads that a session may have waiting; one more ends it.
const READS_PER_SESSION: usize = 128;
/// Bulk replies of one session that may be on their way out at the same time.
const SENDS_PER_SESSION: u32 = 4;
/// Sessions at a time; further ones are refused.
const SESSIONS: usize = 512;
/// Largest range answered at once, bytes.
const READ_BYTES: u32 = 768 * 1024;

/// How long a read waits for the writer's word that two lanes hold what is asked for: it may be on its way.
const UNSAID_NS: u64 = 50_000_000;

/// Pause before a read that found the pool empty is tried again.
const STARVED_NS: u64 = 1_000_000;

pub(super) const TAG_APPEND: u64 = 0;
pub(super) const TAG_SCAN: u64 = 1 << 56;
pub(super) const TAG_READ: u64 = 2 << 56;
pub(super) const TAG_PERMIT: u64 = 3 << 56;
pub(super) const TAG_CLEAR: u64 = 4 << 56;

#[derive(Debug)]
struct Waiting {
    read: Read,
    until: u64,
    /// Until then it waits for the writer's word that two lanes hold all that is asked for.
    unsaid_until: u64,
}

#[derive(Debug)]
struct Session {
    link: LinkId,
    node: NodeId,
    group: GroupId,
    kind: SessionKind,
    area: Option<usize>,
    waiting: VecDeque<Waiting>,
    disk_read: RingRead,
    sending: u32,
    /// A writer's word where its area goes on, while the disk is asked for what is to stay.
    begin: Option<Begin>,
}

/// Requests of a node that were refused, for status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedCount {
    /// The node.
    pub node: NodeId,
    /// Why.
    pub reason: RefusedReason,
    /// How often.
    pub count: u64,
}

/// One area found at boot.
#[derive(Debug)]
pub struct RelayConfig {
    /// This node.
    pub node: NodeId,
    /// Permits found on the disk, with their slot numbers.
    pub permits: Vec<(u32, GroupPermit)>,
    /// Bytes of recent frames kept in memory, per ring.
    pub recent_bytes: u64,
    /// Monotonic time of the start: leases that were granted before it may still run.
    pub started_at: u64,
}

/// The relay.
#[derive(Debug)]
pub struct Relay<B> {
    node: NodeId,
    areas: Vec<Area<B>>,
    scans: Vec<Option<AreaScan>>,
    permits: Permits,
    sessions: Vec<Session>,
    refused: Vec<RefusedCount>,
    /// Time of the last tick: what found the pool empty is tried again a little later.
    seen: u64,
}

impl<B: Buffer> Relay<B> {
    /// The relay over the permits found on its disk.
    pub fn new(config: RelayConfig) -> Self {
        let mut areas = Vec::new();
        let mut scans = Vec::new();
        // Of a deleted group only the permit is left: who asks is told so, and its space may be another's.
        for (_, permit) in config.permits.iter().filter(|(_, permit)| !permit.deleted) {
            for entry in permit.areas().iter().filter(|a| is_served(a.kind)) {
                let tag = areas.len() as u64;
                let token = Token(TAG_SCAN | tag << 40);
                scans.push(Some(AreaScan::new(entry, config.node, token, READ_BYTES as usize)));
                areas.push(Area::new(*entry, permit.group, config.node, tag, config.recent_bytes));
            }
        }
        let permits = Permits::new(config.permits, config.started_at);
        Self {
            node: config.node,
            areas,
            scans,
            permits,
            sessions: Vec::with_capacity(SESSIONS),
            refused: Vec::with_capacity(64),
            seen: 0,
        }
    }

    /// Begins finding the durable prefixes.
    pub fn start<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        for scan in self.scans.iter_mut().flatten() {
            scan.poke(context);
        }
    }

    /// A new connection has greeted.
    pub fn on_hello<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        hello: &Hello,
    ) {
        if let Err((reason, epoch)) = self.admit(context, link, hello) {
            rare!(RelayUnknownGroup if reason == RefusedReason::UnknownGroup);
            rare!(RelayForeignArea if reason == RefusedReason::ForeignArea);
            rare!(RelayPutsOff if reason == RefusedReason::Busy);
            rare!(RelayRefusesDamaged if reason == RefusedReason::Damaged);
            rare!(RelayOlderEpoch if reason == RefusedReason::OlderEpoch);
            rare!(RelayForeignWriter if reason == RefusedReason::NotPermitted);
            self.count_refusal(context, hello.node, reason);
            let refused = Refused { request: 0, reason, epoch, journaled: Position(0) };
            context.ask(Effect::Send { link, message: Message::Refused(refused) });
            context.ask(Effect::Close { link });
        }
    }

    /// Something happened on a connection that was admitted.
    pub fn on_link<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        event: LinkEvent<B>,
    ) {
        let Some(index) = self.sessions.iter().position(|s| s.link == link) else { return };
        match event {
            LinkEvent::Down => self.drop_session(context, index),
            LinkEvent::Unit(unit) => self.on_unit(context, index, unit),
            LinkEvent::Message(message) => self.on_message(context, index, &message),
            LinkEvent::Sent => {
                if let Some(session) = self.sessions.get_mut(index) {
                    session.sending = session.sending.saturating_sub(1);
                }
                self.serve(context, index);
            }
        }
    }

    /// A disk operation of the relay completed.
    pub fn on_disk<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        token: Token,
        result: DiskResult<B>,
    ) {
        let kind = token.0 & (0xFF << 56);
        let index = usize::try_from(token.0 >> 40 & 0xFFFF).unwrap_or(usize::MAX);
        match kind {
            TAG_APPEND => self.on_appended(context, index, token, result.is_err()),
            TAG_SCAN => self.on_scanned(context, index, result),
            TAG_READ => {
                self.on_read(context, LinkId(u32::try_from(token.0 & 0xFFFF_FFFF).unwrap_or(0)), result)
            }
            TAG_PERMIT => {
                self.permits.on_written(index, result.is_err());
                if result.is_err() {
                    self.on_permit_lost(context, index);
                }
                self.settle(context);
            }
            TAG_CLEAR => self.on_cleared(context, index, result.is_err()),
            _ => debug_assert!(false, "a token of somebody else"),
        }
    }

    /// Timers: long polls that end, fences that wait for a lease, hints.
    pub fn on_tick<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.seen = context.now.mono;
        for scan in self.scans.iter_mut().flatten() {
            scan.poke(context);
        }
        self.permits.refresh_hints(context.now.mono, &self.areas);
        self.settle(context);
        for index in 0..self.sessions.len() {
            self.serve(context, index);
        }
    }

    /// When `on_tick` has something to do next.
    pub fn deadline(&self) -> u64 {
        let soon = self.seen + STARVED_NS;
        // Those that wait for a send or a disk go on by themselves; what found the pool empty is tried again soon.
        let able = self.sessions.iter().filter(|s| s.sending < SENDS_PER_SESSION && !s.disk_read.is_busy());
        let polls = able.filter_map(|s| {
            s.waiting.front().map(|w| {
                if w.unsaid_until > self.seen {
                    w.unsaid_until.min(w.until).max(soon)
                } else {
                    w.until.max(soon)
                }
            })
        });
        let polls = polls.min().unwrap_or(u64::MAX);
        let scanning = if self.scans.iter().flatten().any(AreaScan::is_starved) { soon } else { u64::MAX };
        polls.min(scanning).min(self.permits.deadline(soon))
    }

    /// Whether writers wait for each of their frames, rather than send many or full ones; `None` while no journal has a
    /// writer.
    pub fn is_hurried(&self) -> Option<bool> {
        let rings = self.areas.iter().filter(|a| a.session_open && a.entry.kind == AreaKind::Ring);
        rings.map(Area::is_hurried).reduce(|all, one| all && one)
    }

    /// Gives remembered frames back to the pool. `false` when there are none.
    pub fn shed(&mut self) -> bool {
        let mut any = false;
        for area in &mut self.areas {
            any |= area.shed();
        }
        any
    }

    /// The areas, for status.
    pub fn areas(&self) -> &[Area<B>] {
        &self.areas
    }

    /// The permit of a group, for status.
    pub fn permit(&self, group: GroupId) -> Option<&GroupPermit> {
        self.permits.guard(group).map(|g| &g.permit)
    }

    /// Refused requests, for status.
    pub fn refused(&self) -> &[RefusedCount] {
        &self.refused
    }

    /// Whether this relay holds areas of the group.
    pub fn serves(&self, group: GroupId) -> bool {
        self.permits.guard(group).is_some()
    }

    fn on_message<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        index: usize,
        message: &Message,
    ) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let (link, node) = (session.link, session.node);
        match (session.kind, message) {
            (SessionKind::Fetch, Message::Read(read)) => {
                if session.waiting.len() >= READS_PER_SESSION {
                    return self.refuse(context, index, RefusedReason::Full);
                }
                let limited = session.area.and_then(|at| self.areas.get(at)).is_some_and(Area::is_limited);
                let patience = if limited { UNSAID_NS } else { 0 };
                let until = context.now.mono + (u64::from(read.wait_ms) * 1_000_000).max(patience);
                let unsaid_until = context.now.mono + patience;
                session.waiting.push_back(Waiting { read: *read, until, unsaid_until });
                self.serve(context, index);
            }
            (SessionKind::Control, Message::Fence(fence)) => {
                if let Err((reason, epoch)) = self.permits.on_fence(context, link, node, fence, &self.areas) {
                    self.count_refusal(context, node, reason);
                    let journaled = Position(0);
                    let refused = Refused { request: fence.request, reason, epoch, journaled };
                    context.ask(Effect::Send { link, message: Message::Refused(refused) });
                    return;
                }
                if fence.intent != FenceIntent::Probe {
                    self.end_writers(context, fence.group);
                    self.settle(context);
                }
            }
            (SessionKind::Control, Message::Release(release)) => {
                self.permits.give_back(context, link, node, release);
                self.settle(context);
            }
            _ => self.refuse(context, index, RefusedReason::BadFrame),
        }
    }

    /// Closes every append session of a group: from the decision of a fence on, nobody of the former epoch gets progress.
    fn end_writers<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, group: GroupId) {
        let secondary = self.permits.guard(group).map_or(NodeId::NONE, |g| g.permit.secondary);
        for at in 0..self.areas.len() {
            let Some(area) = self.areas.get_mut(at).filter(|a| a.group == group) else { continue };
            let Some(link) = area.session else { continue };
            let kind = area.entry.kind;
            rare!(RelayEndsWriter);
            area.end_session();
            // The secondary that stays what it is only has to come again.
            let stays = self.sessions.iter().any(|s| s.link == link && s.node == secondary);
            let reason = if kind == AreaKind::Receipt && stays {
                RefusedReason::Busy
            } else {
                RefusedReason::OlderEpoch
            };
            self.forget(context, link, reason);
        }
    }

    /// Answers fences whose appends have settled and whose lease is over; writes permits; welcomes waiting writers.
    fn settle<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.permits.settle(context, &self.areas);
        for at in 0..self.areas.len() {
            self.finish_beginning(context, at);
            self.welcome_settled(context, at);
        }
    }

    /// The disk failed to keep a permit: nothing of that group is appended any more (I5), what is there can be read.
    fn on_permit_lost<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, index: usize) {
        rare!(PermitUnsaved);
        context.note(Note::DiskFailed { disk_is_journal: true, volume: VolumeId(0) });
        let Some(group) = self.permits.group_at(index) else { return };
        for at in 0..self.areas.len() {
            let Some(area) = self.areas.get_mut(at).filter(|a| a.group == group) else { continue };
            area.health = Health::Failed;
            if let Some(link) = area.session {
                area.end_session();
                self.forget(context, link, RefusedReason::Damaged);
            }
        }
    }

    /// Refuses what a session did and ends it.
    fn refuse<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        index: usize,
        reason: RefusedReason,
    ) {
        let Some(session) = self.sessions.get(index) else { return };
        let (link, node, group, kind) = (session.link, session.node, session.group, session.kind);
        let journaled = session.area.and_then(|a| self.areas.get(a)).map_or(Position(0), Area::journaled);
        let epoch = self.permits.guard(group).map_or(Epoch::NONE, |g| g.permit.epoch);
        self.count_refusal(context, node, reason);
        let message = Message::Refused(Refused { request: 0, reason, epoch, journaled });
        if kind == SessionKind::Fetch {
            context.ask(Effect::SendBlock { link, message });
        } else {
            context.ask(Effect::Send { link, message });
        }
        self.close_session(context, index);
    }

    fn close_session<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, index: usize) {
        if let Some(session) = self.sessions.get(index) {
            context.ask(Effect::Close { link: session.link });
        }
        self.drop_session(context, index);
    }

    fn forget<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        reason: RefusedReason,
    ) {
        let Some(index) = self.sessions.iter().position(|s| s.link == link) else { return };
        self.refuse(context, index, reason);
    }

    fn drop_session<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, index: usize) {
        let session = self.sessions.swap_remove(index);
        if let Some(area) = session.area.and_then(|a| self.areas.get_mut(a))
            && area.session == Some(session.link)
        {
            area.end_session();
        }
        self.permits.forget_link(session.link);
        self.settle(context);
    }

    fn count_refusal<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        node: NodeId,
        reason: RefusedReason,
    ) {
        // Waiting for a scan or a fence is not a refusal of permission.
        if reason != RefusedReason::Busy {
            context.note(Note::Refused { node, reason });
        }
        if let Some(count) = self.refused.iter_mut().find(|c| c.node == node && c.reason == reason) {
            count.count += 1;
        } else if self.refused.len() < self.refused.capacity() {
            self.refused.push(RefusedCount { node, reason, count: 1 });
        }
    }
}

fn is_served(kind: AreaKind) -> bool {
    match kind {
        AreaKind::Ring | AreaKind::Manifest | AreaKind::Receipt => true,
        AreaKind::OwnRing | AreaKind::State | AreaKind::DirtyMap => false,
    }
}
