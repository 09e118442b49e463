//! A second lane, that shares the data of frames with the first one: what lies there is read there, several at the same time, and put
//! together in the order of the journal (decision 0021).

use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, NodeId};
use midspan_format::message::{Refused, RefusedReason, Welcome};

use super::{Answer, Fetcher, RETRY_NS, Range};
use crate::lane::reader::{Reader, ReaderEvent};
use crate::stage::acquirer::Acquirer;
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, LinkId, Note};

/// How long a lane that does not count may be away before the first one is looked at again.
const FAR_NS: u64 = 2_000_000_000;

impl<B: Buffer> Fetcher<B> {
    /// From now on a lane beside the first one shares the data of frames with it, or none does.
    pub fn read_beside<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        beside: Option<Reader>,
        shares: bool,
    ) {
        self.close_beside(context);
        self.shares = shares && beside.is_some();
        self.beside = beside;
        self.wants_beside = None;
        self.far_since = context.now.mono;
        self.scans_beside = false;
        // What was planned was planned for other lanes.
        self.plan.clear();
        self.reserve_plan();
        self.asked.clear();
        if let Some(walk) = self.walk.as_mut() {
            walk.whole();
        }
        self.on_reader_down(context);
    }

    /// So, before anything is read.
    pub fn begin_beside(&mut self, beside: Option<Reader>, lanes: &[NodeId], node: NodeId) {
        self.lanes.extend(lanes);
        self.manifest_guessed = lanes.len() > 1;
        self.node = node;
        self.shares = beside.is_some();
        self.beside = beside;
        self.reserve_plan();
    }

    /// A takeover is under way, or is not any more. Whoever has fenced a lane may read what one of two holds and the other does not; as long
    /// as it is not known where both end, nothing is taken that was not said to be in both.
    pub fn hold(&mut self, takes: bool) {
        self.takes = takes;
        self.trusted = (false, false);
    }

    /// The lane beside is to hold the journal of the first one. Before the first frame it may have no other name than its own.
    pub(super) fn name_beside(&mut self) {
        let area = self.area().unwrap_or(AreaId::NONE);
        if let Some(beside) = self.beside.as_mut() {
            beside.expect(area);
        }
    }

    pub(super) fn is_trusted(&self, is_beside: bool) -> bool {
        !self.shares || if is_beside { self.trusted.1 } else { self.trusted.0 }
    }

    pub(super) fn see_trust(&mut self, is_beside: bool, welcome: &Welcome) {
        let named = welcome.primary == self.node;
        let trusted = !named && !self.takes;
        if is_beside {
            (self.trusted.1, self.named_beside) = (trusted, named);
        } else {
            self.trusted.0 = trusted;
        }
    }

    /// The lane beside, where this site is its primary: a takeover has fenced it and did not end.
    pub fn named_beside(&self) -> Option<NodeId> {
        self.beside().filter(|_| self.named_beside && !self.takes)
    }

    /// The node at which data must be read that is nowhere else.
    pub fn wants_beside(&self) -> Option<NodeId> {
        self.wants_beside
    }

    /// Where nothing goes on without the lane beside, and that one is away.
    pub fn cut_off(&self) -> Option<Position> {
        let waits = self.plan.front().or(self.asked.front().map(|asked| &asked.range));
        let away = self.beside.as_ref().is_none_or(|beside| !beside.is_up());
        waits.filter(|range| range.beside && away).map(|range| range.start)
    }

    /// What the first lane itself has told to be journaled there: only that may be held against it (I8).
    pub fn told(&self) -> Position {
        self.ring.told()
    }

    /// The node of the lane beside, where that alone holds the newest frame: who has left the lanes says so there, and waits there for
    /// an answer.
    pub fn stands_beside(&self) -> Option<NodeId> {
        self.shares_with().filter(|_| self.alone_beside)
    }

    /// The node of the lane beside, as long as it shares the data of what is written now.
    pub fn shares_with(&self) -> Option<NodeId> {
        self.beside().filter(|_| self.shares)
    }

    /// The node of the lane beside.
    pub fn beside(&self) -> Option<NodeId> {
        self.beside.as_ref().map(Reader::node)
    }

    /// Bytes that came of the first lane.
    pub fn fetched(&self) -> u64 {
        self.ring.fetched()
    }

    /// The lane beside: its node, whether it is connected, and the bytes that came of it.
    pub fn fetched_beside(&self) -> Option<(NodeId, bool, u64)> {
        self.beside.as_ref().map(|beside| (beside.node(), beside.is_up(), beside.fetched()))
    }

    pub(super) fn is_beside(&self, link: LinkId) -> bool {
        self.beside.as_ref().is_some_and(|beside| beside.id() == link)
    }

    /// Whether data at this node is in the lane beside.
    pub(super) fn is_at_beside(&self, node: u32) -> bool {
        self.beside().is_some_and(|beside| beside.0 == node)
    }

    pub(super) fn node_of(&self, is_beside: bool) -> NodeId {
        self.beside().filter(|_| is_beside).unwrap_or(self.ring.node())
    }

    pub(super) fn close_beside<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if let Some(beside) = self.beside.as_mut() {
            beside.close(context);
        }
    }

    pub(super) fn tick_beside<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if let Some(beside) = self.beside.as_mut()
            && let ReaderEvent::Down = beside.on_tick(context)
        {
            self.on_reader_down(context);
        }
        let away = self.beside.as_ref().is_some_and(|beside| !beside.is_up()) && !self.shares;
        if away && context.now.mono >= self.far_since + FAR_NS {
            // The first lane may have been misread.
            rare!(FetcherFarAway);
            self.hollow = None;
            self.read_beside(context, None, false);
        }
    }

    pub(super) fn on_beside_up<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        welcome: &Welcome,
    ) {
        if self.shares {
            self.journaled = self.journaled.max(welcome.journaled);
        }
        self.see_trust(true, welcome);
        self.ends.1 = welcome.last;
        self.name_beside();
        if let Some(node) = self.beside() {
            context.note(Note::LaneUp { node, journaled: welcome.journaled });
        }
    }

    /// What one lane was asked for will not come: nothing that comes of the other one fits any more.
    pub(super) fn on_reader_down<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.forget_answers(context);
        self.forget_reads();
    }

    /// Answers that are on their way do not count.
    pub(super) fn forget_answers<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let readers = [Some(&mut self.ring), self.beside.as_mut()];
        for reader in readers.into_iter().flatten().filter(|reader| reader.in_flight() > 0) {
            reader.restart(context);
        }
    }

    /// The bytes that come are of the first lane, or of the one beside it.
    pub(super) fn look_at(&mut self, is_beside: bool) {
        let Some(walk) = self.walk.as_mut() else { return };
        match &self.beside {
            Some(beside) if self.shares && !is_beside => walk.beside(beside.node()),
            Some(_) if self.shares => walk.beside(self.ring.node()),
            Some(_) | None => walk.whole(),
        }
    }

    /// A lane answers its oldest read. What was asked before of the other one is waited for.
    pub(super) fn on_answer<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        is_beside: bool,
        answer: Answer<B>,
        journaled: Position,
        acquirer: &mut Acquirer<B>,
    ) {
        let waits = |asked: &super::Asked<B>| asked.range.beside == is_beside && asked.answer.is_none();
        let Some(at) = self.asked.iter().position(waits) else { return };
        if at > 0 {
            if let Some(asked) = self.asked.get_mut(at) {
                asked.answer = Some(answer);
            }
            return;
        }
        if core::mem::take(&mut self.peeks) {
            self.on_peeked(journaled, is_beside);
        } else {
            self.on_data(context, answer.position, answer.data, acquirer);
        }
        while let Some(Answer { position, data }) = self.asked.front_mut().and_then(|next| next.answer.take())
        {
            self.on_data(context, position, data, acquirer);
        }
    }

    /// Whether the data of a frame, which is not where it was read, may be in another lane.
    pub(super) fn may_lie_beside(&self, header: &FrameHeader, asked: &Range) -> bool {
        let was_read_there = header.data_at == self.node_of(asked.beside);
        (asked.scan || !asked.beside) && !was_read_there && self.lanes.contains(&header.data_at)
    }

    /// The data of the next frame lies in the other lane.
    pub(super) fn go_beside<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        header: &FrameHeader,
        asked: Range,
        data: Slice<B>,
    ) {
        let other = if asked.beside { Some(self.ring.node()) } else { self.beside() };
        if other != Some(header.data_at) {
            // It is of another time, when other lanes shared the data; unless it was misread.
            if self.hollow.replace(header.position) == Some(header.position) {
                rare!(FetcherFarBeside);
                self.wants_beside = Some(header.data_at);
            }
            self.retry_at = context.now.mono + RETRY_NS / 10;
            return self.rescan(context);
        }
        if !asked.scan {
            // It was not listed so.
            rare!(FetcherElsewhere);
            self.scans_beside = false;
            return self.rescan(context);
        }
        let end = self.plan_ahead(header, &asked, &data);
        self.go_on_scanning(asked, end);
        self.plan_first();
        self.planned_to = self.planned_to.max(end);
    }

    pub(super) fn on_ring_refused<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        is_beside: bool,
        refused: &Refused,
    ) {
        let reason = refused.reason;
        let reader = self.beside.as_mut().filter(|_| is_beside).unwrap_or(&mut self.ring);
        let node = reader.node();
        reader.restart(context);
        if reason == RefusedReason::ForeignArea {
            self.name_beside();
        }
        if self.told.replace(reason) != Some(reason) && reason != RefusedReason::Busy {
            context.note(Note::LaneRefused { node, reason });
        }
        if is_beside && !self.asked.iter().any(|asked| asked.range.beside) {
            // Nothing was asked of it: what the first lane tells is not held up.
            return;
        }
        // What is needed cannot be read there: as bad as bytes that do not verify.
        if matches!(reason, RefusedReason::Damaged | RefusedReason::TooOld | RefusedReason::Beyond) {
            rare!(FetcherRefused);
            self.damaged = Some(self.tip().position);
            self.plan.clear();
            self.asked.clear();
            self.scans_beside = !is_beside;
        }
        self.retry_at = context.now.mono + RETRY_NS;
        self.on_reader_down(context);
    }
}
