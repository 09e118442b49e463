//! What is written: frames of the permitted session, their completions, and the prefix found after a start (I2, I8).

use midspan_format::area::AreaKind;
use midspan_format::frame::FrameHeader;
use midspan_format::geometry::BLOCK;
use midspan_format::ids::{Epoch, GroupId, LaneId, VolumeId};
use midspan_format::message::{Begin, Message, Pong, Progress, RefusedReason, Released, SessionKind};

use super::{Relay, TAG_CLEAR};
use crate::stage::area::{Area, Health};
use crate::stage::area_scan::Verdict;
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, DiskResult, Effect, Note, Token};
use crate::vocab::milestone::{Milestone, Stage};

impl<B: Buffer> Relay<B> {
    pub(super) fn on_unit<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        index: usize,
        unit: Slice<B>,
    ) {
        let Some(session) = self.sessions.get(index) else { return };
        let (link, node, group) = (session.link, session.node, session.group);
        let Some(at) = session.area.filter(|_| session.kind == SessionKind::Append) else {
            return self.refuse(context, index, RefusedReason::BadFrame);
        };
        let epoch = self.permits.guard(group).map_or(Epoch::NONE, |g| g.permit.epoch);
        let mut is_head = false;
        let Some(area) = self.areas.get_mut(at).filter(|a| a.session == Some(link) && a.session_open) else {
            rare!(RelayBeforeWelcome);
            return self.refuse(context, index, RefusedReason::NotPermitted);
        };
        match Message::decode_block(unit.bytes()) {
            Ok(Message::Ping(ping)) => {
                area.answered_at = context.now.mono;
                let more = area.on_answerable(ping.answerable);
                context.ask(Effect::Send { link, message: Message::Pong(Pong { stamp: ping.stamp }) });
                if more {
                    self.serve_waiting(context, at);
                }
                return self.note_counting(context, at);
            }
            Ok(Message::Begin(begin)) => return self.on_begin(context, index, at, begin),
            Ok(Message::Release(release)) => {
                self.permits.release(node, release.group, release.epoch);
                let released = Released { request: release.request };
                context.ask(Effect::Send { link, message: Message::Released(released) });
                return;
            }
            Ok(Message::Head(_)) => is_head = true,
            Ok(_) | Err(_) => {}
        }
        let position = area.received();
        let taken = if is_head {
            area.on_head(context, unit.part(BLOCK..unit.len()), epoch)
        } else {
            area.on_frame(context, unit, epoch)
        };
        if let Err(reason) = taken {
            if reason == RefusedReason::BadFrame {
                rare!(RelayBadFrame);
                context.note(Note::Damaged { node, position });
            }
            self.refuse(context, index, reason);
        }
    }

    pub(super) fn on_appended<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        index: usize,
        token: Token,
        failed: bool,
    ) {
        let Some(area) = self.areas.get_mut(index) else { return };
        let moved = area.on_appended(context, token, failed);
        if failed {
            rare!(RelayAppendFails);
            context
                .note(Note::DiskFailed { disk_is_journal: true, volume: midspan_format::ids::VolumeId(0) });
            if let Some(link) = area.session {
                area.end_session();
                self.forget(context, link, RefusedReason::Damaged);
            }
        }
        if moved {
            self.note_counting(context, index);
        }
        let Some(area) = self.areas.get_mut(index) else { return };
        if moved {
            let far = area.journaled().0.saturating_sub(area.hinted.0) > area.entry.size / 8;
            if far {
                area.hinted = area.journaled();
                self.permits.refresh_hints(context.now.mono, &self.areas);
                self.permits.settle(context, &self.areas);
            }
        }
        let Some(area) = self.areas.get_mut(index) else { return };
        if moved {
            if let Some(link) = area.session.filter(|_| area.session_open) {
                area.answered_at = context.now.mono;
                let (journaled, sequence) = (area.journaled(), area.last().map_or(0, |l| l.sequence));
                let progress = Progress { journaled, sequence };
                if area.entry.kind == AreaKind::Ring {
                    let prefix = Milestone::prefix(Stage::Journaled, area.group, journaled);
                    context.reach(Milestone { with: sequence, ..prefix });
                }
                context.ask(Effect::Send { link, message: Message::Progress(progress) });
            }
            self.serve_waiting(context, index);
        }
        if self.areas.get(index).is_some_and(|a| a.is_settled() && !a.session_open) {
            self.settle(context);
        }
    }

    /// An area that was told to go on elsewhere counts from now on.
    fn note_counting<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, at: usize) {
        let Some(area) = self.areas.get_mut(at) else { return };
        if let Some(entry) = area.counts() {
            rare!(AreaCounts);
            self.permits.change_area(area.group, &entry);
            self.permits.settle(context, &self.areas);
        }
    }

    /// A writer says where its area goes on. What is to stay is looked at first.
    fn on_begin<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        index: usize,
        at: usize,
        begin: Begin,
    ) {
        let (Some(area), Some(session)) = (self.areas.get(at), self.sessions.get_mut(index)) else { return };
        let Some(place) = area.unknown(&begin) else { return self.begin(context, index, &begin, None) };
        if session.disk_read.is_busy() || !session.disk_read.start(context, area.ring(), place, BLOCK) {
            return self.refuse(context, index, RefusedReason::Busy);
        }
        session.begin = Some(begin);
    }

    /// So, with what the disk has at the place of the last frame that is to stay.
    pub(super) fn begin<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        index: usize,
        begin: &Begin,
        found: Option<&FrameHeader>,
    ) {
        let Some(session) = self.sessions.get(index) else { return };
        let Some(at) = session.area else { return };
        let link = session.link;
        let Some(area) = self.areas.get_mut(at).filter(|a| a.session == Some(link) && a.session_open) else {
            return self.refuse(context, index, RefusedReason::NotPermitted);
        };
        match area.begin(begin, found) {
            Ok(()) => self.on_cleared(context, at, false),
            Err(reason) => self.refuse(context, index, reason),
        }
    }

    /// An area goes on elsewhere: the permit is to say so; when it does, the block there is clear.
    pub(super) fn on_cleared<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        index: usize,
        failed: bool,
    ) {
        let Some(area) = self.areas.get_mut(index) else { return };
        if failed {
            area.health = Health::Failed;
            area.drop_beginning();
            context.note(Note::DiskFailed { disk_is_journal: true, volume: VolumeId(0) });
            if let Some(link) = area.session {
                area.end_session();
                self.forget(context, link, RefusedReason::Damaged);
            }
            return;
        }
        let Some(entry) = area.on_cleared() else { return self.settle(context) };
        match self.permits.change_area(area.group, &entry) {
            Some(change) => area.is_recorded_by(change),
            None => {
                // Nothing says where it goes on: it is not what it was in memory.
                area.drop_beginning();
                area.health = Health::Failed;
            }
        }
        self.settle(context);
    }

    /// The permit says where an area goes on: its writer is welcomed there.
    pub(super) fn finish_beginning<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        index: usize,
    ) {
        let Some(area) = self.areas.get_mut(index) else { return };
        let Some(change) = area.recording().filter(|change| self.permits.is_saved(area.group, *change))
        else {
            return;
        };
        if !area.may_begin(context, Token(TAG_CLEAR | (index as u64) << 40)) {
            return;
        }
        rare!(AreaBegins);
        area.has_begun();
        let (group, _) = (area.group, change);
        if let Some(link) = area.session.filter(|_| area.session_open) {
            area.answered_at = context.now.mono;
            let welcome = self.welcome(group, Some(index));
            context.ask(Effect::Send { link, message: Message::Welcome(welcome) });
        }
    }

    /// More can be read of an area: who waits for it is served.
    fn serve_waiting<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, index: usize) {
        for at in 0..self.sessions.len() {
            if self.sessions.get(at).is_some_and(|s| s.area == Some(index) && !s.waiting.is_empty()) {
                self.serve(context, at);
            }
        }
    }

    pub(super) fn on_scanned<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        index: usize,
        result: DiskResult<B>,
    ) {
        let (Some(slot), Some(area)) = (self.scans.get_mut(index), self.areas.get_mut(index)) else { return };
        let Some(scan) = slot else { return };
        let verdict = scan.on_disk(context, result);
        let (prefix, last) = (scan.prefix(), scan.last);
        let is_index = area.entry.kind != AreaKind::Ring;
        let health = match verdict {
            Verdict::Running => return,
            Verdict::Prefix | Verdict::Damaged { .. } => {
                area.open_at(prefix, last);
                if verdict == Verdict::Prefix { Health::Open } else { Health::Damaged }
            }
            Verdict::Failed => Health::Failed,
        };
        area.health = health;
        *slot = None;
        let (group, lane) = (area.group, area.entry.lane);
        if health == Health::Damaged {
            context.note(Note::Damaged { node: self.node, position: prefix });
        }
        if let (Verdict::Damaged { claimed }, true) = (verdict, is_index) {
            rare!(RelayIndexAnew);
            // Manifests are an index and receipts a copy: they begin anew behind whatever was there, and nothing is lost.
            area.open_at(claimed.max(prefix), None);
        }
        self.judge_lane(context, group, lane);
    }

    /// A journal opens when the other areas of its lane are known too: what they say was journaled must be there (I8).
    pub(super) fn judge_lane<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        group: GroupId,
        lane: LaneId,
    ) {
        let of_lane = |area: &Area<B>| area.group == group && area.entry.lane == lane;
        let Some(ring) = self.areas.iter().position(|a| of_lane(a) && a.entry.kind == AreaKind::Ring) else {
            return;
        };
        let scanning = self.areas.iter().zip(&self.scans).any(|(area, scan)| of_lane(area) && scan.is_some());
        let claims =
            self.areas.iter().filter(|a| of_lane(a)).filter_map(|a| a.last()).map(|last| last.journaled);
        let claimed = claims.max().unwrap_or_default();
        let Some(area) =
            self.areas.get_mut(ring).filter(|_| self.scans.get(ring).is_some_and(Option::is_none))
        else {
            return;
        };
        match area.health {
            Health::Open if scanning => area.health = Health::Scanning,
            Health::Open | Health::Scanning if claimed > area.journaled().max(area.entry.stale_to) => {
                rare!(RelayLaneDamaged);
                area.health = Health::Damaged;
                context.note(Note::Damaged { node: self.node, position: area.journaled() });
            }
            Health::Scanning if !scanning => area.health = Health::Open,
            Health::Open | Health::Scanning | Health::Damaged | Health::Failed => {}
        }
    }
}
