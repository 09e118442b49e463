//! The index of the journal: manifests, read from the relay's area or told by the other site, say what is to be fetched
//! (claims 3, 7). They say the same, sooner or later.

use midspan_format::checked::CheckedFrame;
use midspan_format::frame::FrameKind;
use midspan_format::geometry::{BLOCK, Position};
use midspan_format::message::RefusedReason;
use midspan_format::time::Time;

use super::{Fetcher, MANIFEST_BYTES, PLAN, Range};
use crate::lane::reader::ReaderEvent;
use crate::recovery::walk::{Found, Walk};
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, LinkId, Note};

impl<B: Buffer> Fetcher<B> {
    pub(super) fn is_of_manifests(&self, link: LinkId) -> bool {
        self.manifests.as_ref().is_some_and(|reader| reader.id() == link)
    }

    pub(super) fn close_manifests<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if let Some(manifests) = self.manifests.as_mut() {
            manifests.close(context);
        }
    }

    /// The primary has told a manifest. One that finds no room is left out: a later one, or a look at the ring, says as much.
    pub fn take_told<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        frame: &[u8],
        has_room: bool,
    ) {
        if self.target.is_none() && self.has_plan_room() {
            self.plan_listed(frame);
            self.poke(context, has_room);
        }
    }

    pub(super) fn on_manifest_event<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        outcome: ReaderEvent<B>,
    ) {
        match outcome {
            ReaderEvent::Up(welcome) => {
                let oldest = welcome.journaled.0.saturating_sub(welcome.size);
                let newest = welcome.last.map_or(welcome.journaled, |l| l.position);
                let from = match self.manifest_walk.as_ref() {
                    Some(walk) => walk.tip().position,
                    None => self.manifest_from,
                };
                // Manifests that are overwritten, or of a journal we do not know: the chain tells what they listed.
                let from = if from.0 < oldest || from > welcome.journaled { newest } else { from };
                // What is recorded of another area says nothing of this one.
                self.manifest_from = self.manifest_from.min(from);
                self.manifest_walk = Some(Walk::at(welcome.area, FrameKind::Manifest, from));
                self.ask_manifests(context);
            }
            ReaderEvent::Data { data, .. } => {
                if let Some(data) = data {
                    self.read_manifests(context, &data);
                }
                self.ask_manifests(context);
            }
            ReaderEvent::Refused(refused) => {
                if let Some(manifests) =
                    self.manifests.as_mut().filter(|_| refused.reason != RefusedReason::Busy)
                {
                    rare!(ManifestsRefused);
                    manifests.restart(context);
                }
            }
            ReaderEvent::Nothing | ReaderEvent::Down => {}
        }
    }

    pub(super) fn ask_manifests<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let room = self.has_plan_room() && self.consumed.len() < PLAN / 2 && self.target.is_none();
        let (Some(walk), Some(manifests)) = (self.manifest_walk.as_ref(), self.manifests.as_mut()) else {
            return;
        };
        if room && manifests.is_up() && manifests.in_flight() == 0 {
            manifests.read(context, walk.tip().position, MANIFEST_BYTES, self.pace.poll_ms);
        }
    }

    fn read_manifests<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, data: &Slice<B>) {
        let mut rest = data.bytes();
        loop {
            let Some(walk) = self.manifest_walk.as_mut() else { return };
            match walk.next(rest) {
                Found::Frame(header, range) => {
                    self.manifest_guessed = false;
                    if let Some(frame) = rest.get(range.clone()) {
                        self.take_manifest(frame, header.end());
                    }
                    rest = rest.get(range.end..).unwrap_or_default();
                }
                Found::More(_) => return,
                Found::Head(_) | Found::End if core::mem::take(&mut self.manifest_guessed) => {
                    // Which lane's area the recorded place was in is not recorded, and another one may be read since.
                    rare!(ManifestsElsewhere);
                    (self.manifest_from, self.manifest_walk) = (Position(u64::MAX), None);
                    if let Some(manifests) = self.manifests.as_mut() {
                        manifests.restart(context);
                    }
                    return;
                }
                Found::Head(_) | Found::End => {
                    // Damage in the index: what it listed is found along the chain.
                    rare!(ManifestDamaged);
                    let (node, position) = (self.ring.node(), walk.tip().position);
                    walk.skip_block();
                    rest = rest.get(BLOCK..).unwrap_or_default();
                    if !core::mem::replace(&mut self.unlisted, true) {
                        context.note(Note::Damaged { node, position });
                        self.ring.restart(context);
                        self.forget_reads();
                    }
                }
            }
        }
    }

    fn take_manifest(&mut self, frame: &[u8], end: Position) {
        if let Some(covers) = self.plan_listed(frame) {
            self.consumed.push_back((end, covers));
        }
    }

    /// Plans what a manifest lists; gives the end of it.
    fn plan_listed(&mut self, frame: &[u8]) -> Option<Position> {
        let checked = CheckedFrame::parse(frame).ok()?;
        let manifest = checked.manifest()?;
        let mut covers = Position(0);
        for entry in manifest.entries.iter() {
            let start = Position(entry.position);
            let stop = Position(start.0 + u64::from(entry.length));
            covers = covers.max(stop);
            self.newest = self.newest.max(Time(entry.last_time));
            self.plan_frame(start, stop, self.is_at_beside(entry.data_at));
        }
        Some(covers)
    }

    fn plan_frame(&mut self, start: Position, end: Position, beside: bool) {
        if end <= self.planned_to || self.target.is_some() {
            return;
        }
        if start != self.planned_to {
            rare!(ManifestGap);
            let start = self.planned_to;
            self.plan.push_back(Range { start, end, scan: true, has_rest: false, beside: false });
            self.planned_to = end;
            return;
        }
        self.planned_to = end;
        if let Some(last) = self.plan.back_mut()
            && !last.scan
            && last.beside == beside
            && end.0 - last.start.0 <= u64::from(self.limits.fetch_bytes)
        {
            last.end = end;
            return;
        }
        self.plan.push_back(Range { start, end, scan: false, has_rest: false, beside });
    }
}
