//! The state of the whole: what each relay and each site holds, durably and in memory, and what was promised to hosts.

use crate::bounds::Bounds;
use crate::rule::Rule;
use crate::vocab::{Epoch, LANES, LaneNo, LaneSet, Lanes, SITES, SiteNo, Writes};

/// Frames, as a lane or a secondary's own ring holds them.
///
/// What counts of older epochs is said by the newest epoch's start: a lane whose tip is older can hold frames that this
/// start left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frames {
    /// The newest epoch with a frame here.
    pub tip: Epoch,
    /// The writes that this epoch started from.
    pub start: Writes,
    /// The writes that are here.
    pub held: Writes,
    /// The newest Leave mark here.
    pub left: u8,
    /// The newest End that cancels one.
    pub ended: u8,
}

impl Frames {
    /// Nothing.
    pub const EMPTY: Self = Self { tip: Epoch::NONE, start: 0, held: 0, left: 0, ended: 0 };

    /// Takes in what stands elsewhere: the newest start decides.
    pub fn merge(&mut self, other: &Self, bounds: &Bounds) {
        if !bounds.has(Rule::StartDecides) {
            self.held |= other.held;
            self.start |= other.start;
            self.tip = self.tip.max(other.tip);
        } else if other.tip > self.tip {
            *self = Self {
                held: self.held & other.start | other.held,
                left: self.left,
                ended: self.ended,
                ..*other
            };
        } else if other.tip == self.tip {
            self.held |= other.held;
        } else {
            self.held |= other.held & self.start;
        }
        self.left = self.left.max(other.left);
        self.ended = self.ended.max(other.ended);
    }

    /// Whether a Leave mark stands here that no End cancels.
    pub fn is_left(&self) -> bool {
        self.left > self.ended
    }
}

/// A group's area at a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// The epoch in force.
    pub epoch: Epoch,
    /// The one whose fence is durable: the same, where fences are.
    pub durable: Epoch,
    /// The writer before, if another node than the present one.
    pub former: Option<u8>,
    /// The present writer gave its epoch back.
    pub released: bool,
    /// A former writer's lease may still run, as far as this relay knows.
    pub owing: bool,
    /// What is durable.
    pub frames: Frames,
    /// Appends on their way to the disk, of one epoch.
    pub queue: Writes,
    /// Their epoch.
    pub queue_epoch: Epoch,
    /// It has come back with another id.
    pub wiped: bool,
}

/// What a site is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// A primary's process that is not there, or has not begun.
    Stopped,
    /// A secondary.
    Following,
    /// A restart takes its epoch.
    Starting,
    /// A takeover takes its epoch.
    Taking,
    /// The epoch is recorded; lanes are opened and filled before hosts are served.
    Opening,
    /// Hosts are served by the lanes.
    Serving,
    /// The Leave mark is on its way.
    Leaving,
    /// Hosts are served outside the lanes.
    Outside,
    /// End is on its way.
    Returning,
    /// Refused for a newer epoch.
    Fenced,
}

/// A site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// Durable: its role.
    pub primary: bool,
    /// Durable: the newest epoch that it used or asked for.
    pub known: Epoch,
    /// Durable: the epoch in which it became primary.
    pub recorded: Epoch,
    /// Durable: what its volumes hold.
    pub disk: Writes,
    /// Durable: the lane set, as an index of the bounds' list. A secondary's is the fence set.
    pub set: u8,
    /// Durable: a change was asked for, whose outcome is not known.
    pub asking: bool,
    /// Writes below the change that was asked for.
    pub asked_at: u8,
    /// The secondary has said that it recorded the change; this site has not heard it yet.
    pub granted: bool,
    /// Durable: no other site has joined since it took over.
    pub alone: bool,
    /// Durable: hosts are served outside the lanes.
    pub outside: bool,
    /// Durable: an epoch that a takeover gave back.
    pub giving: Epoch,
    /// A secondary's own ring; a primary's memory.
    pub own: Frames,
    /// What it is about.
    pub phase: Phase,
    /// The epoch that it takes or has.
    pub epoch: Epoch,
    /// Lanes that answered its fence.
    pub fenced: Lanes,
    /// Lanes known to hold the start of its epoch.
    pub opened: Lanes,
    /// Lanes that answered it within the lease.
    pub lease: Lanes,
    /// Lanes known to hold its newest Leave mark, or End.
    pub marked: Lanes,
    /// What this process has answered: it has it in memory, whatever lanes hold.
    pub answered: Writes,
    /// The writes that each lane is known to hold.
    pub journaled: [Writes; LANES],
    /// Fence requests on their way: the epoch asked for and the one to be replaced.
    pub asked: [(Epoch, Epoch); LANES],
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The lanes.
    pub lanes: [Lane; LANES],
    /// The sites.
    pub sites: [Site; 2],
    /// Writes that hosts have sent.
    pub written: u8,
    /// Writes that a host knows of: answered, or shown by a read.
    pub promised: Writes,
    /// Writes that a start left out, or that came too late: no host may ever see them.
    pub dead: Writes,
    /// The newest epoch that served.
    pub served: Epoch,
    /// Events so far, by kind.
    pub spent: Spent,
    /// A rule that an event has broken.
    pub broken: Option<&'static str>,
}

/// Events so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spent {
    /// See [`Bounds`].
    pub crashes: u8,
    /// See [`Bounds`].
    pub relay_crashes: u8,
    /// See [`Bounds`].
    pub wipes: u8,
    /// See [`Bounds`].
    pub takeovers: u8,
    /// See [`Bounds`].
    pub aborts: u8,
    /// See [`Bounds`].
    pub leaves: u8,
    /// See [`Bounds`].
    pub returns: u8,
}

impl State {
    /// A is primary in the epoch 1A and serves, B follows; nothing is written.
    pub fn first(bounds: &Bounds) -> Self {
        let epoch = Epoch::new(1, 0);
        let listed = bounds.sets[0].lanes;
        let frames = Frames { tip: epoch, ..Frames::EMPTY };
        let blank = Lane {
            epoch: Epoch::NONE,
            durable: Epoch::NONE,
            former: None,
            released: false,
            owing: false,
            frames: Frames::EMPTY,
            queue: 0,
            queue_epoch: Epoch::NONE,
            wiped: false,
        };
        let lanes = std::array::from_fn(|lane| {
            if listed & 1 << lane == 0 { blank } else { Lane { epoch, durable: epoch, frames, ..blank } }
        });
        let follower = Site {
            primary: false,
            known: epoch,
            recorded: Epoch::NONE,
            disk: 0,
            set: 0,
            asking: false,
            asked_at: 0,
            granted: false,
            alone: false,
            outside: false,
            giving: Epoch::NONE,
            own: frames,
            phase: Phase::Following,
            epoch: Epoch::NONE,
            fenced: 0,
            opened: 0,
            lease: 0,
            marked: 0,
            answered: 0,
            journaled: [0; LANES],
            asked: [(Epoch::NONE, Epoch::NONE); LANES],
        };
        let server = Site {
            primary: true,
            phase: Phase::Serving,
            recorded: epoch,
            epoch,
            fenced: listed,
            opened: listed,
            lease: listed,
            ..follower
        };
        Self {
            lanes,
            sites: [server, follower],
            written: 0,
            promised: 0,
            dead: 0,
            served: epoch,
            spent: Spent::default(),
            broken: None,
        }
    }

    /// Notes the first rule that was broken.
    pub fn demand(&mut self, held: bool, rule: &'static str) {
        if !held && self.broken.is_none() {
            self.broken = Some(rule);
        }
    }

    /// Whether `site` may answer a read now, by its own knowledge.
    pub fn may_read(&self, bounds: &Bounds, site: SiteNo) -> bool {
        let s = &self.sites[site];
        match s.phase {
            Phase::Serving | Phase::Leaving | Phase::Returning => s.answers(bounds, s.lease),
            Phase::Outside => true,
            Phase::Stopped
            | Phase::Following
            | Phase::Starting
            | Phase::Taking
            | Phase::Opening
            | Phase::Fenced => false,
        }
    }

    /// Whether `site` has to do with `lane`: a lane of its set, or for a primary of the next one.
    pub fn reaches(&self, bounds: &Bounds, site: SiteNo, lane: LaneNo) -> bool {
        let s = &self.sites[site];
        let last = usize::from(s.set) + usize::from(s.primary);
        let sets = bounds.sets.iter().take(last + 1).skip(usize::from(s.set));
        sets.fold(0, |lanes, set| lanes | set.lanes) & 1 << lane != 0 && self.is_usable(bounds, lane)
    }

    /// Whether the lane is the recorded one.
    pub fn is_usable(&self, bounds: &Bounds, lane: LaneNo) -> bool {
        !self.lanes[lane].wiped || !bounds.has(Rule::WipedIsLost)
    }

    /// Every write that a host has sent.
    pub fn all_written(&self) -> Writes {
        ((1_u16 << self.written) - 1) as Writes
    }

    /// Whether a site other than the one that may serve has a ghost on its volumes.
    pub fn has_ghost(&self) -> bool {
        SITES.iter().any(|&site| {
            let s = &self.sites[site];
            !s.primary && s.disk & self.dead != 0
        })
    }
}

impl Site {
    /// The lane sets that bind it: its own, and the one that it asks for.
    pub fn sets<'a>(&self, bounds: &'a Bounds) -> impl Iterator<Item = &'a LaneSet> + use<'a> {
        let first = usize::from(self.set);
        let last = first + usize::from(self.asking);
        bounds.sets[first..=last].iter()
    }

    /// Whether `lanes` are enough for an answer.
    pub fn answers(&self, bounds: &Bounds, lanes: Lanes) -> bool {
        if self.asking && !bounds.has(Rule::RecordedFirst) {
            return bounds.sets[usize::from(self.set) + 1].answers(lanes);
        }
        if self.asking && !bounds.has(Rule::BothSets) {
            return bounds.sets[usize::from(self.set)].answers(lanes);
        }
        self.sets(bounds).all(|set| set.answers(lanes))
    }

    /// Whether `lanes` are enough that no other can answer, and that everything answered was read.
    pub fn stops(&self, bounds: &Bounds, lanes: Lanes) -> bool {
        if self.phase == Phase::Starting && !bounds.has(Rule::SetNeverShrinks) {
            return lanes != 0;
        }
        let fewer = u32::from(self.phase == Phase::Taking && !bounds.has(Rule::EnoughLanes));
        self.sets(bounds).all(|set| set.stops(lanes, fewer))
    }

    /// The lanes known to hold `write`.
    pub fn holders(&self, write: Writes) -> Lanes {
        (0..LANES).fold(0, |lanes, lane| lanes | Lanes::from(self.journaled[lane] & write != 0) << lane)
    }

    /// The writes known to be in enough lanes.
    pub fn answerable(&self, bounds: &Bounds) -> Writes {
        bits(self.own.held)
            .filter(|&write| self.answers(bounds, self.holders(write)))
            .fold(0, |writes, write| writes | write)
    }

    /// What a read sees.
    pub fn visible(&self, bounds: &Bounds) -> Writes {
        self.own.start | self.disk | self.answered | self.answerable(bounds)
    }

    /// Forgets what is in memory.
    pub fn forget(&mut self) {
        self.epoch = Epoch::NONE;
        self.fenced = 0;
        self.opened = 0;
        self.lease = 0;
        self.marked = 0;
        self.answered = 0;
        self.journaled = [0; LANES];
    }
}

/// The single bits of a set of writes.
pub fn bits(writes: Writes) -> impl Iterator<Item = Writes> + Clone {
    (0..8).map(|bit| 1 << bit).filter(move |bit| writes & bit != 0)
}
