//! What is read: ranges up to the journaled prefix, in the order in which they were asked for.

use midspan_format::area::AreaKind;
use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::ids::{Epoch, NodeId};
use midspan_format::message::{Message, Read, ReadReply, Refused, RefusedReason};

use super::{READ_BYTES, Relay, SENDS_PER_SESSION};
use crate::stage::area::Area;
use crate::stage::framed::Framed;
use crate::stage::ring_read::ReadStep;
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, DiskResult, Effect, LinkId, MAX_PARTS, Parts};
use crate::vocab::milestone::{Milestone, Stage};

impl<B: Buffer> Relay<B> {
    /// Answers the reads of a session in their order, as far as possible.
    pub(super) fn serve<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, index: usize) {
        loop {
            let Some(session) = self.sessions.get_mut(index) else { return };
            if session.disk_read.is_busy() || session.sending >= SENDS_PER_SESSION {
                return;
            }
            let (Some(waiting), Some(at)) = (session.waiting.front(), session.area) else { return };
            let (read, until, link) = (waiting.read, waiting.until, session.link);
            let unsaid = context.now.mono < waiting.unsaid_until;
            let node = session.node;
            let known = waiting.read.known;
            let journaled = self.readable(at, node, known);
            let (Some(session), Some(area)) = (self.sessions.get_mut(index), self.areas.get(at)) else {
                return;
            };
            let waits = context.now.mono < until;
            if waits && read.position >= journaled && read.position.0 <= area.received().0 {
                return;
            }
            // The writer's word may be on its way that the other lane holds the rest, too.
            let end = Position(read.position.0 + u64::from(read.length)).min(area.journaled());
            if unsaid && end > journaled && read.length > 0 {
                return;
            }
            // What is journaled and not to be read yet is waited for: a reader may have it from another lane.
            let refusal = if read.position > journaled.max(area.journaled()) {
                rare!(RelayReadBeyond);
                Some(RefusedReason::Beyond)
            } else if !area.holds(read.position) {
                rare!(RelayReadTooOld);
                Some(RefusedReason::TooOld)
            } else {
                None
            };
            if let Some(reason) = refusal {
                let epoch = Epoch::NONE;
                let refused = Refused { request: read.request, reason, epoch, journaled };
                session.waiting.pop_front();
                context.ask(Effect::SendBlock { link, message: Message::Refused(refused) });
                continue;
            }
            let there = u32::try_from(journaled.0.saturating_sub(read.position.0)).unwrap_or(u32::MAX);
            let length = read.length.min(there).min(READ_BYTES);
            if length > 0 {
                let Some((parts, length)) = cached(area, &read, length) else {
                    let ring = area.ring();
                    // An empty pool is tried again at the next tick.
                    session.disk_read.start(context, ring, read.position, length as usize);
                    return;
                };
                session.waiting.pop_front();
                session.sending += 1;
                reach_served(context, area, &read, length);
                send_range(context, link, &read, length, journaled, parts);
            } else {
                session.waiting.pop_front();
                session.sending += 1;
                send_range(context, link, &read, 0, journaled, [const { None }; MAX_PARTS]);
            }
        }
    }

    /// How far a node may read an area: who holds its permission everything that is journaled, the other site what it may use.
    /// `known`: also what it knows from another lane.
    pub(super) fn readable(&self, area: usize, node: NodeId, known: bool) -> Position {
        let Some(area) = self.areas.get(area) else { return Position(0) };
        let holds = self.permits.guard(area.group).is_some_and(|guard| guard.permit.primary == node);
        if holds || known { area.journaled() } else { area.readable() }
    }

    pub(super) fn on_read<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        result: DiskResult<B>,
    ) {
        let Some(index) = self.sessions.iter().position(|s| s.link == link) else { return };
        let Some(session) = self.sessions.get_mut(index) else { return };
        let (area, node) = (session.area, session.node);
        let known = session.waiting.front().is_some_and(|waiting| waiting.read.known);
        let journaled = area.map_or(Position(0), |area| self.readable(area, node, known));
        let Some(session) = self.sessions.get_mut(index) else { return };
        match session.disk_read.on_disk(context, result) {
            ReadStep::Running => return,
            ReadStep::Failed(_) => {
                rare!(RelayReadFails);
                return self.refuse(context, index, RefusedReason::Damaged);
            }
            ReadStep::Done(_, data) => {
                if let Some(begin) = session.begin.take() {
                    rare!(AreaAsksDisk);
                    let found = FrameHeader::decode(data.bytes()).unwrap_or_default();
                    return self.begin(context, index, &begin, Some(&found));
                }
                let Some(waiting) = session.waiting.pop_front() else { return };
                session.sending += 1;
                // The lane may have been told meanwhile to go on before its end.
                let there = journaled.0.saturating_sub(waiting.read.position.0);
                let length = data.len().min(usize::try_from(there).unwrap_or(usize::MAX));
                let (parts, length) = from_disk(&waiting.read, &data.part(0..length));
                if let Some(area) = session.area.and_then(|a| self.areas.get(a)) {
                    reach_served(context, area, &waiting.read, length);
                }
                send_range(context, link, &waiting.read, length, journaled, parts);
            }
        }
        self.serve(context, index);
    }
}

/// What is read, from memory; `None` when it is not there.
fn cached<B: Buffer>(area: &Area<B>, read: &Read, length: u32) -> Option<(Parts<B>, u32)> {
    if !read.framed {
        return Some((area.cached(read.position, length)?, length));
    }
    let mut framed = Framed::new(read.position, read.position.add(length.into()), read.without);
    area.cached_frames(&mut framed);
    framed.parts()
}

/// What is read, of what came from the disk.
fn from_disk<B: Buffer>(read: &Read, data: &Slice<B>) -> (Parts<B>, u32) {
    if read.framed {
        let mut framed = Framed::new(read.position, read.position.add(data.len() as u64), read.without);
        framed.add(read.position, data);
        if let Some(found) = framed.parts() {
            return found;
        }
    }
    // No frame begins there, or not all of it is: its reader is to see what does.
    let mut parts: Parts<B> = [const { None }; MAX_PARTS];
    if let Some(first) = parts.first_mut().filter(|_| !data.is_empty()) {
        *first = Some(data.clone());
    }
    (parts, u32::try_from(data.len()).unwrap_or(0))
}

/// A range of the journal goes to its reader.
fn reach_served<S: Buffers>(context: &mut Context<'_, S>, area: &Area<S::Buf>, read: &Read, length: u32) {
    if area.entry.kind == AreaKind::Ring {
        context.reach(Milestone::range(Stage::Served, area.group, read.position, length));
    }
}

fn send_range<S: Buffers>(
    context: &mut Context<'_, S>,
    link: LinkId,
    read: &Read,
    length: u32,
    journaled: Position,
    parts: Parts<S::Buf>,
) {
    let reply = ReadReply { request: read.request, position: read.position, length, journaled };
    context.ask(Effect::SendData { link, message: Message::ReadReply(reply), parts });
}
