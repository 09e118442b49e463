//! The secondary's reading side: manifests say where the journal lies, range reads fetch it, every frame is verified.
//!
//! Several reads are in flight, so a long path still fills. Where manifests have a gap, or an answer is not what was
//! asked, it falls back to the scan along the chain, one read at a time: the manifests are an index, the chain is the
//! truth (I8, I9).

mod index;
mod peek;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use midspan_format::frame::FrameKind;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, NodeId};
use midspan_format::message::{Refused, RefusedReason, Welcome};
use midspan_format::time::Time;

use crate::lane::reader::{Reader, ReaderEvent};
use crate::recovery::walk::{Found, Walk};
use crate::stage::acquirer::{Acquirer, Held};
use crate::vocab::buffer::{Buffers, Slice};
use crate::vocab::effect::{Context, LinkEvent, LinkId, Note};
use crate::vocab::limits::{Limits, Pace};
use crate::vocab::milestone::{Milestone, Stage};
use crate::vocab::tip::Tip;

/// Bytes of a look at the ring: what counts is the prefix that comes with them.
const PEEK_BYTES: u32 = 4096;
const MANIFEST_BYTES: u32 = 256 * 1024;
/// Ranges planned ahead at most; beyond it no manifest is read.
const PLAN: usize = 1024;
/// Pause before a range that did not verify is read again.
const RETRY_NS: u64 = 500_000_000;

#[derive(Clone, Copy, Debug)]
struct Range {
    start: Position,
    end: Position,
    /// Frame boundaries inside are not known: read one piece at a time.
    scan: bool,
    /// A piece of a scan whose rest stands at the front of the plan.
    has_rest: bool,
}

/// The fetcher of one lane.
#[derive(Debug)]
pub struct Fetcher {
    /// `None`: manifests come from the other site only.
    manifests: Option<Reader>,
    ring: Reader,
    /// Where to begin reading manifests, until the area has welcomed us.
    manifest_from: Position,
    manifest_walk: Option<Walk>,
    /// Ends of manifests that were read, and how far in the ring each lists.
    consumed: VecDeque<(Position, Position)>,
    plan: VecDeque<Range>,
    planned_to: Position,
    /// Manifests were damaged: the ring must say itself how far it goes.
    unlisted: bool,
    /// Reads in flight, oldest first.
    asked: VecDeque<Range>,
    tip: Tip,
    walk: Option<Walk>,
    /// A takeover reads exactly to here, whatever manifests say.
    target: Option<Position>,
    /// Nothing is asked before this time; 0 when nothing holds it up.
    retry_at: u64,
    /// When nothing is listed for long, the ring itself is asked: marks of a site outside the lanes stand in no manifest.
    peek_at: u64,
    /// The oldest read is such a look.
    peeks: bool,
    damaged: Option<Position>,
    /// Which journal this is is not known yet, and a ring without a frame cannot say: it may begin in another lane.
    nameless: bool,
    /// The last refusal that was told: the same one is not told again and again.
    told: Option<RefusedReason>,
    /// Time of the newest record that a manifest lists.
    pub newest: Time,
    /// The relay's journaled prefix as last heard.
    pub journaled: Position,
    /// Whom the relay took for the primary when it last welcomed us.
    pub primary: NodeId,
    limits: Limits,
    pace: Pace,
    found: Vec<Found>,
}

impl Fetcher {
    /// A fetcher that goes on behind `tip`, with manifests from `manifest_from`.
    pub fn new(
        manifests: Option<Reader>,
        ring: Reader,
        tip: Tip,
        manifest_from: Position,
        limits: Limits,
        pace: Pace,
    ) -> Self {
        Self {
            manifests,
            ring,
            manifest_from,
            manifest_walk: None,
            consumed: VecDeque::with_capacity(PLAN),
            plan: VecDeque::with_capacity(PLAN * 2),
            planned_to: tip.position,
            unlisted: false,
            asked: VecDeque::with_capacity(limits.fetches),
            tip,
            walk: None,
            target: None,
            retry_at: 0,
            peek_at: 0,
            peeks: false,
            damaged: None,
            nameless: false,
            told: None,
            newest: Time::ZERO,
            journaled: Position(0),
            primary: NodeId::NONE,
            limits,
            pace,
            found: Vec::with_capacity(1024),
        }
    }

    /// The journal's name is taken from a ring that has a frame, not from one that has none.
    pub fn await_frames(&mut self) {
        self.nameless = true;
    }

    /// Behind the last verified frame.
    pub fn tip(&self) -> Tip {
        self.walk.as_ref().map_or(self.tip, Walk::tip)
    }

    /// The ring's identity, once it has welcomed us.
    pub fn area(&self) -> Option<AreaId> {
        self.walk.as_ref().map(Walk::area)
    }

    /// Recovery found the own ring to reach to here: go on behind it.
    pub fn begin_at(&mut self, tip: Tip) {
        self.tip = tip;
        self.planned_to = tip.position;
    }

    /// Whether a connection to the ring is up.
    pub fn is_up(&self) -> bool {
        self.ring.is_up()
    }

    /// Whether it is, and the ring has said which journal it holds.
    pub fn is_reading(&self) -> bool {
        self.ring.is_up() && !self.nameless
    }

    /// Where a frame did not verify, until it does.
    pub fn damaged(&self) -> Option<Position> {
        self.damaged
    }

    /// From now on read exactly to `prefix`, along the chain.
    pub fn set_target<S: Buffers>(&mut self, context: &mut Context<'_, S>, prefix: Position) {
        self.target = Some(prefix);
        self.close_manifests(context);
        if self.peeks && self.asked.len() == 1 {
            self.rescan_plan();
        } else {
            self.rescan(context);
        }
    }

    /// Where a takeover stops reading, once it has fenced the lane.
    pub fn target(&self) -> Option<Position> {
        self.target
    }

    /// Whether the link is one of this fetcher's.
    pub fn owns(&self, link: LinkId) -> bool {
        link == self.ring.id() || self.is_of_manifests(link)
    }

    /// How far manifests are consumed when everything before `acquired` is acquired.
    pub fn manifest_done(&mut self, acquired: Position) -> Position {
        while let Some((end, covers)) = self.consumed.front().copied() {
            if covers > acquired {
                break;
            }
            self.manifest_from = end;
            self.consumed.pop_front();
        }
        self.manifest_from
    }

    /// An event of one of the links.
    pub fn on_link<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        event: LinkEvent<S::Buf>,
        acquirer: &mut Acquirer<S::Buf>,
    ) {
        if let Some(manifests) = self.manifests.as_mut().filter(|reader| reader.id() == link) {
            let outcome = manifests.on_link(context, event);
            self.on_manifest_event(context, outcome);
            return;
        }
        match self.ring.on_link(context, event) {
            ReaderEvent::Nothing => {}
            ReaderEvent::Up(welcome) => self.on_ring_up(context, &welcome),
            ReaderEvent::Down => self.forget_reads(),
            ReaderEvent::Refused(refused) => self.on_ring_refused(context, &refused),
            ReaderEvent::Data { position, data, journaled, .. } => {
                self.journaled = self.journaled.max(journaled);
                self.peek_at = self.next_peek(context.now.mono);
                if core::mem::take(&mut self.peeks) {
                    return self.on_peeked(journaled);
                }
                self.on_data(context, position, data, acquirer);
            }
        }
    }

    /// Timers of the links.
    pub fn on_tick<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        if let Some(manifests) = self.manifests.as_mut().filter(|_| self.target.is_none()) {
            manifests.on_tick(context);
        }
        if let ReaderEvent::Down = self.ring.on_tick(context) {
            self.forget_reads();
        }
        if self.nameless && self.ring.is_up() && context.now.mono >= self.retry_at {
            self.ring.restart(context);
        }
    }

    /// When `on_tick` has something to do next.
    pub fn deadline(&self) -> u64 {
        let waits = self.retry_at > 0 && self.ring.is_up() && (self.walk.is_some() || self.nameless);
        let retry = if waits { self.retry_at } else { u64::MAX };
        let peek = if self.may_peek() { self.peek_at.max(self.retry_at) } else { u64::MAX };
        let manifests = self.manifests.as_ref().map_or(u64::MAX, Reader::deadline);
        self.ring.deadline().min(manifests).min(retry).min(peek)
    }

    /// Asks for as much as fits: `room` frames can still be held.
    pub fn poke<S: Buffers>(&mut self, context: &mut Context<'_, S>, has_room: bool) {
        if !self.ring.is_up() || self.walk.is_none() || context.now.mono < self.retry_at {
            return;
        }
        self.retry_at = 0;
        if !has_room {
            return self.put_off_peek(context.now.mono);
        }
        while self.asked.len() < self.limits.fetches {
            let Some(range) = self.plan.front_mut() else { break };
            // A scan goes on where the last range ended; a look at the ring is not waited for.
            if range.scan && self.asked.len() > usize::from(self.peeks) {
                break;
            }
            let length = (range.end.0 - range.start.0).min(u64::from(self.limits.fetch_bytes));
            let end = Position(range.start.0 + length);
            let whole = end == range.end;
            let piece = Range { start: range.start, end, scan: range.scan, has_rest: range.scan && !whole };
            if whole || !range.scan {
                self.plan.pop_front();
            }
            self.asked.push_back(piece);
            let length = u32::try_from(length).unwrap_or(0);
            self.ring.read(context, piece.start, length, 0);
            context.reach(Milestone::range(Stage::Asked, self.ring.group(), piece.start, length));
            if piece.scan {
                break;
            }
        }
        if self.may_peek() && context.now.mono >= self.peek_at {
            let start = self.tip().position;
            self.peeks = true;
            self.asked.push_back(Range { start, end: start, scan: true, has_rest: false });
            self.ring.read(context, start, PEEK_BYTES, 0);
        }
        self.ask_manifests(context);
    }

    /// Ends the sessions for good.
    pub fn close<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        self.ring.close(context);
        self.close_manifests(context);
        self.asked.clear();
    }

    fn is_of_manifests(&self, link: LinkId) -> bool {
        self.manifests.as_ref().is_some_and(|reader| reader.id() == link)
    }

    fn close_manifests<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        if let Some(manifests) = self.manifests.as_mut() {
            manifests.close(context);
        }
    }

    fn on_ring_up<S: Buffers>(&mut self, context: &mut Context<'_, S>, welcome: &Welcome) {
        let tip = self.tip();
        self.journaled = self.journaled.max(welcome.journaled);
        self.primary = welcome.primary;
        // Where two lanes must hold a frame, less may be read of one than it has, and than was read of the other.
        let there = welcome.last.map_or(welcome.journaled, |last| last.end()).max(welcome.journaled);
        if there < tip.position {
            rare!(FetcherLaneBehind);
            let (node, had, found) = (self.ring.node(), tip.position, there);
            if self.damaged.replace(had) != Some(had) {
                context.note(Note::LaneLost { node, had, found });
            }
            self.retry_at = context.now.mono + RETRY_NS;
            self.ring.restart(context);
            return;
        }
        if self.nameless && there == Position(0) {
            rare!(FetcherNameless);
            self.retry_at = context.now.mono + RETRY_NS;
            return self.ring.forget_area();
        }
        self.nameless = false;
        // It ends where this site does, and nobody has told of more: what was missing there for a while is back.
        let end = Tip::behind(welcome.journaled, welcome.last.as_ref());
        if self.journaled == tip.position && (end.position, end.chain) == (tip.position, tip.chain) {
            rare!(FetcherLaneBack if self.damaged.is_some());
            self.damaged = None;
        }
        context.note(Note::LaneUp { node: self.ring.node(), journaled: welcome.journaled });
        if core::mem::take(&mut self.unlisted) {
            self.planned_to = self.planned_to.max(welcome.journaled);
        }
        self.walk = Some(Walk::behind(welcome.area, FrameKind::Journal, tip));
        self.rescan_plan();
    }

    fn on_ring_refused<S: Buffers>(&mut self, context: &mut Context<'_, S>, refused: &Refused) {
        let reason = refused.reason;
        if self.told.replace(reason) != Some(reason) && reason != RefusedReason::Busy {
            context.note(Note::LaneRefused { node: self.ring.node(), reason });
        }
        // What is needed cannot be read there: as bad as bytes that do not verify.
        if matches!(reason, RefusedReason::Damaged | RefusedReason::TooOld | RefusedReason::Beyond) {
            rare!(FetcherRefused);
            self.damaged = Some(self.tip().position);
        }
        self.retry_at = context.now.mono + RETRY_NS;
        self.ring.restart(context);
        self.forget_reads();
    }

    fn forget_reads(&mut self) {
        self.peeks = false;
        self.asked.clear();
        self.rescan_plan();
    }

    /// Plans everything behind the last verified frame anew, as a scan.
    fn rescan_plan(&mut self) {
        let start = self.tip().position;
        let end = self.target.unwrap_or(self.planned_to);
        self.plan.clear();
        if end > start {
            self.plan.push_back(Range { start, end, scan: true, has_rest: false });
        }
        self.planned_to = end.max(start);
    }

    fn rescan<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        if !self.asked.is_empty() {
            self.ring.restart(context);
        }
        self.forget_reads();
    }

    fn on_data<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        position: Position,
        data: Option<Slice<S::Buf>>,
        acquirer: &mut Acquirer<S::Buf>,
    ) {
        let Some(asked) = self.asked.pop_front() else { return };
        let Some(walk) = self.walk.as_mut() else { return };
        if position != walk.tip().position {
            return self.rescan(context);
        }
        let Some(data) = data else {
            // Nothing there yet, although it was listed: the relay's prefix is behind. Ask again a little later.
            rare!(FetcherTooEarly);
            self.retry_at = context.now.mono + RETRY_NS / 10;
            return self.rescan(context);
        };
        self.found.clear();
        let mut done = 0;
        let stop = loop {
            let found = walk.next(data.bytes().get(done..).unwrap_or_default());
            match &found {
                Found::Frame(header, range) => {
                    context.reach(Milestone::frame(Stage::Fetched, header));
                    done += range.end;
                    self.found.push(found);
                }
                Found::More(_) | Found::End => break found,
            }
        };
        if done > 0 {
            self.damaged = None;
            self.told = None;
            let frames = self.found.drain(..).scan(0, |at, found| match found {
                Found::Frame(header, range) => {
                    let start = *at;
                    *at += range.end;
                    Some(Held { header, frame: data.part(start..start + range.end) })
                }
                Found::More(_) | Found::End => None,
            });
            acquirer.push_run(data.part(0..done), frames);
        }
        let end = walk.tip().position;
        if end == asked.end {
            // The piece is complete. Another scan may stand at the front of the plan when this one has no rest.
            if asked.has_rest
                && let Some(rest) = self.plan.front_mut()
            {
                rest.start = end;
            }
        } else if done > 0 || matches!(stop, Found::More(_)) && asked.end.0 - position.0 > data.len() as u64 {
            rare!(FetcherCutShort);
            self.rescan(context);
        } else {
            rare!(FetcherDamaged);
            self.damaged = Some(end);
            self.retry_at = context.now.mono + RETRY_NS;
            context.note(Note::Damaged { node: self.ring.node(), position: end });
            self.rescan(context);
        }
    }
}
