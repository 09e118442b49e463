//! The secondary's reading side: manifests say where the journal lies, range reads fetch it, every frame is verified.
//!
//! Several reads are in flight, so a long path still fills. Where manifests have a gap, or an answer is not what was
//! asked, it falls back to the scan along the chain, one read at a time: the manifests are an index, the chain is the
//! truth (I8, I9).

mod ahead;
mod beside;
mod index;
mod peek;
mod plan;
mod target;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use midspan_format::frame::{FrameHeader, FrameKind, IN_TWO_LANES};
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, NodeId};
use midspan_format::message::{RefusedReason, Welcome};
use midspan_format::time::Time;

use self::ahead::Ahead;
pub use self::target::Target;
use crate::lane::reader::{Reader, ReaderEvent};
use crate::recovery::walk::{Found, Walk};
use crate::stage::acquirer::{Acquirer, Held};
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, LinkEvent, LinkId, Note};
use crate::vocab::limits::{Limits, Pace};
use crate::vocab::milestone::{Milestone, Stage};
use crate::vocab::tip::Tip;

/// Bytes of a look at the ring: what counts is the prefix that comes with them.
const PEEK_BYTES: u32 = 4096;
const MANIFEST_BYTES: u32 = 256 * 1024;
/// Ranges planned ahead; beyond half of it no manifest is read.
const PLAN: usize = 1024;
/// So many where two lanes share the data of frames: what lies in turn in both makes a range for each frame.
const SHARED_PLAN: usize = 16 * 1024;
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
    /// It is read from the lane beside; see [`beside`].
    beside: bool,
}

/// A range that was asked for.
#[derive(Debug)]
struct Asked<B> {
    range: Range,
    /// What came, as long as older ones are waited for.
    answer: Option<Answer<B>>,
}

#[derive(Debug)]
struct Answer<B> {
    position: Position,
    data: Option<Slice<B>>,
}

/// The fetcher of one lane.
#[derive(Debug)]
pub struct Fetcher<B> {
    /// `None`: manifests come from the other site only.
    manifests: Option<Reader>,
    ring: Reader,
    /// Of the lane that shares the data of frames with the first one.
    beside: Option<Reader>,
    /// It shares the data of what is written now: where the head names it, nothing is looked for in the first one.
    shares: bool,
    /// Data is at this node, and must be read there.
    wants_beside: Option<NodeId>,
    /// Nodes that may hold a lane, and this one.
    lanes: Vec<NodeId>,
    node: NodeId,
    /// Which of both lanes tells no more than what both hold; a takeover may have made it tell all.
    trusted: (bool, bool),
    /// A takeover is under way.
    takes: bool,
    /// The lane beside takes this site for its primary.
    named_beside: bool,
    /// Where the first lane was found not to hold data that is not said to be there.
    hollow: Option<Position>,
    /// Since when the lane beside is read for what is nowhere else.
    far_since: u64,
    /// A scan goes along that one's heads.
    scans_beside: bool,
    /// The newest frame is in that one alone.
    alone_beside: bool,
    /// The last frames of both lanes, when they were connected.
    ends: (Option<FrameHeader>, Option<FrameHeader>),
    ahead: Ahead<B>,
    /// Where to begin reading manifests, until the area has welcomed us.
    manifest_from: Position,
    manifest_walk: Option<Walk>,
    /// That place may be one of another lane's area: nothing that was read there has verified yet.
    manifest_guessed: bool,
    /// Ends of manifests that were read, and how far in the ring each lists.
    consumed: VecDeque<(Position, Position)>,
    plan: VecDeque<Range>,
    planned_to: Position,
    /// Manifests were damaged: the ring must say itself how far it goes.
    unlisted: bool,
    /// Reads in flight, oldest first.
    asked: VecDeque<Asked<B>>,
    tip: Tip,
    walk: Option<Walk>,
    /// A takeover reads exactly to there, whatever manifests say.
    target: Option<Target>,
    /// Nothing is asked before this time; 0 when nothing holds it up.
    retry_at: u64,
    /// When nothing is listed for long, the ring itself is asked: marks of a site outside the lanes stand in no manifest.
    peek_at: u64,
    /// The oldest read is such a look.
    peeks: bool,
    /// The last one was at the lane beside.
    peeks_beside: bool,
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

impl<B: Buffer> Fetcher<B> {
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
            beside: None,
            shares: false,
            wants_beside: None,
            lanes: Vec::new(),
            node: NodeId::NONE,
            trusted: (true, true),
            takes: false,
            named_beside: false,
            hollow: None,
            far_since: 0,
            scans_beside: false,
            alone_beside: false,
            ends: (None, None),
            ahead: Ahead::new(),
            manifest_from,
            manifest_walk: None,
            manifest_guessed: false,
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
            peeks_beside: false,
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
        self.plan.clear();
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

    /// Whether the link is one of this fetcher's.
    pub fn owns(&self, link: LinkId) -> bool {
        link == self.ring.id() || self.is_of_manifests(link) || self.is_beside(link)
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
    pub fn on_link<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        event: LinkEvent<B>,
        acquirer: &mut Acquirer<B>,
    ) {
        if let Some(manifests) = self.manifests.as_mut().filter(|reader| reader.id() == link) {
            let outcome = manifests.on_link(context, event);
            self.on_manifest_event(context, outcome);
            return;
        }
        let is_beside = self.is_beside(link);
        let reader = self.beside.as_mut().filter(|_| is_beside).unwrap_or(&mut self.ring);
        match reader.on_link(context, event) {
            ReaderEvent::Nothing => {}
            ReaderEvent::Up(welcome) if is_beside => self.on_beside_up(context, &welcome),
            ReaderEvent::Up(welcome) => self.on_ring_up(context, &welcome),
            ReaderEvent::Down => self.on_reader_down(context),
            ReaderEvent::Refused(refused) => self.on_ring_refused(context, is_beside, &refused),
            ReaderEvent::Data { position, data, journaled, .. } => {
                if !is_beside || self.peeks {
                    self.journaled = self.journaled.max(journaled);
                }
                self.peek_at = self.next_peek(context.now.mono);
                self.on_answer(context, is_beside, Answer { position, data }, journaled, acquirer);
            }
        }
    }

    /// Timers of the links.
    pub fn on_tick<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if let Some(manifests) = self.manifests.as_mut().filter(|_| self.target.is_none()) {
            manifests.on_tick(context);
        }
        if let ReaderEvent::Down = self.ring.on_tick(context) {
            self.on_reader_down(context);
        }
        self.tick_beside(context);
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
        let beside = self.beside.as_ref().map_or(u64::MAX, Reader::deadline);
        self.ring.deadline().min(beside).min(manifests).min(retry).min(peek)
    }

    /// Asks for as much as fits: `room` frames can still be held.
    pub fn poke<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, has_room: bool) {
        if !self.ring.is_up() || self.walk.is_none() || context.now.mono < self.retry_at {
            return;
        }
        self.retry_at = 0;
        if !has_room {
            return self.put_off_peek(context.now.mono);
        }
        self.plan_agreed();
        if self.target.is_some() && self.plan.is_empty() && self.asked.is_empty() {
            // What is behind the place up to which both lanes were read may be in another one.
            self.fill_plan();
        }
        // What comes behind a piece of a scan, the piece says; a look at the ring is not waited for.
        let scans = |asked: &Asked<B>| asked.range.scan && asked.range.end > asked.range.start;
        while self.in_flight() < self.limits.fetches && !self.asked.iter().any(scans) {
            if self.take_at_hand() {
                continue;
            }
            let Some(range) = self.plan.front_mut() else { break };
            // What is listed, or was seen in the other lane, is in both.
            let knows = self.beside.is_some();
            let there = match &self.beside {
                Some(_) if self.shares && range.beside => self.ring.node(),
                Some(beside) if self.shares => beside.node(),
                Some(_) | None => NodeId::NONE,
            };
            let reader = self.beside.as_mut().filter(|_| range.beside).unwrap_or(&mut self.ring);
            if !reader.is_up() {
                break;
            }
            let length = (range.end.0 - range.start.0).min(u64::from(self.limits.fetch_bytes));
            let end = Position(range.start.0 + length);
            let whole = end == range.end;
            let piece = Range { end, has_rest: range.scan && !whole, ..*range };
            if whole || !range.scan {
                self.plan.pop_front();
            }
            self.asked.push_back(Asked { range: piece, answer: None });
            let length = u32::try_from(length).unwrap_or(0);
            if piece.scan {
                reader.read_frames(context, piece.start, length, there);
            } else if knows {
                reader.read_known(context, piece.start, length);
            } else {
                reader.read(context, piece.start, length, 0);
            }
            context.reach(Milestone::range(Stage::Asked, self.ring.group(), piece.start, length));
        }
        if self.may_peek() && context.now.mono >= self.peek_at {
            self.peek(context);
        }
        self.ask_manifests(context);
    }

    /// Ends the sessions for good.
    pub fn close<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.ring.close(context);
        self.close_beside(context);
        self.close_manifests(context);
        self.asked.clear();
    }

    fn on_ring_up<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, welcome: &Welcome) {
        let tip = self.tip();
        self.journaled = self.journaled.max(welcome.journaled);
        self.primary = welcome.primary;
        self.see_trust(false, welcome);
        self.ends.0 = welcome.last;
        // Where two lanes must hold a frame, less may be read of one than it has, and than was read of the other.
        let there = welcome.last.map_or(welcome.journaled, |last| last.end()).max(welcome.journaled);
        if there < tip.position {
            rare!(FetcherLaneBehind);
            let (node, had, found) = (self.ring.node(), tip.position, there);
            // Of two that share, the other one may have what was said there alone.
            if !self.shares && self.damaged.replace(had) != Some(had) {
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
        if (self.trusted.0 || !self.shares) && core::mem::take(&mut self.unlisted) {
            self.planned_to = self.planned_to.max(welcome.journaled);
        }
        self.walk = Some(Walk::behind(welcome.area, FrameKind::Journal, tip));
        self.fill_plan();
    }

    fn on_data<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        position: Position,
        data: Option<Slice<B>>,
        acquirer: &mut Acquirer<B>,
    ) {
        let Some(asked) = self.asked.pop_front().map(|asked| asked.range) else { return };
        self.look_at(asked.beside);
        let Some(walk) = self.walk.as_mut() else { return };
        if position != walk.tip().position {
            return self.rescan(context);
        }
        let Some(data) = data else {
            // Nothing there yet, although it was listed: the relay's prefix is behind. Ask again a little later.
            rare!(FetcherTooEarly);
            self.retry_at = context.now.mono + RETRY_NS / 10;
            self.scans_beside = !asked.beside;
            return if self.target.is_some() { self.rescan_all(context) } else { self.rescan(context) };
        };
        self.found.clear();
        let mut done = 0;
        let stop = loop {
            let found = walk.next(data.bytes().get(done..).unwrap_or_default());
            match &found {
                Found::Frame(header, range) => {
                    context.reach(Milestone::frame(Stage::Fetched, header));
                    self.alone_beside = asked.beside && header.flags & IN_TWO_LANES == 0;
                    done += range.end;
                    self.found.push(found);
                }
                Found::Head(_) | Found::More(_) | Found::End => break found,
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
                Found::Head(_) | Found::More(_) | Found::End => None,
            });
            acquirer.push_run(data.part(0..done), frames);
        }
        let end = walk.tip().position;
        // A piece has whole frames only, and may end before its end.
        if end == asked.end || asked.scan && done > 0 && matches!(stop, Found::More(_)) {
            self.go_on_scanning(asked, end);
        } else if let Found::Head(header) = stop
            && self.may_lie_beside(&header, &asked)
        {
            self.go_beside(context, &header, asked, data.part(done..data.len()));
        } else if done > 0 || matches!(stop, Found::More(_)) && asked.end.0 - position.0 > data.len() as u64 {
            rare!(FetcherCutShort);
            self.rescan(context);
        } else {
            rare!(FetcherDamaged);
            self.damaged = Some(end);
            self.retry_at = context.now.mono + RETRY_NS;
            context.note(Note::Damaged { node: self.node_of(asked.beside), position: end });
            self.scans_beside = !asked.beside;
            self.rescan_all(context);
        }
    }
}
