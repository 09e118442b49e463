//! The faults of a run, all chosen before it begins: a list that can be read, and from which any can be left out.

use std::collections::BTreeSet;

use crate::event::NodeIndex;
use crate::harm::Harm;
use crate::moments::Strike;
use crate::orders::Word;
use crate::random::Random;
use crate::steps::Step;
use crate::swarm::{MS, SECOND, Scenario, Swarm};

/// Something that goes wrong, or that an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process dies, after carrying out so many more effects.
    Kill {
        /// Where.
        node: NodeIndex,
        /// How many effects later.
        fuse: u32,
        /// How long it stays down.
        down: u64,
    },
    /// A machine loses power.
    Power {
        /// Where.
        node: NodeIndex,
        /// How long it stays down.
        down: u64,
    },
    /// A process is stopped, and goes on later.
    Pause {
        /// Where.
        node: NodeIndex,
        /// How long.
        time: u64,
    },
    /// A path carries nothing.
    Cut {
        /// From here.
        from: NodeIndex,
        /// To there.
        to: NodeIndex,
        /// And back.
        both: bool,
        /// How long.
        time: u64,
    },
    /// Connections break in mid-flight.
    Reset {
        /// Between here.
        a: NodeIndex,
        /// And there.
        b: NodeIndex,
    },
    /// All paths are slow.
    SlowWire {
        /// How much.
        factor: u64,
        /// How long.
        time: u64,
    },
    /// A node's disks are slow.
    SlowDisk {
        /// Where.
        node: NodeIndex,
        /// How much.
        factor: u64,
        /// How long.
        time: u64,
    },
    /// A wall clock jumps.
    Jump {
        /// Where.
        node: NodeIndex,
        /// Nanoseconds.
        by: i64,
    },
    /// A pool looks empty now and then.
    Starve {
        /// Where.
        node: NodeIndex,
        /// How long.
        time: u64,
    },
    /// A bit of the relay's manifest area (1) or receipt area (2) changes on stable media.
    Rot {
        /// Which area.
        area: usize,
        /// Where, of any size.
        place: u64,
    },
    /// The operator undoes the takeover that runs.
    Abort,
    /// The operator asks both sites for a planned change of roles; the primary does it.
    Switchover,
    /// The operator at the site that does not serve takes over.
    Takeover {
        /// Even if something is lost.
        accept_loss: bool,
    },
    /// The operator at this very site takes over.
    TakeoverAt(NodeIndex),
    /// The operator asks for a planned change of roles as soon as the sites are paired.
    Swap,
    /// Whoever serves is lost, and an operator looks to the other site.
    Lose {
        /// How.
        how: How,
        /// Only when the sites are paired.
        patient: bool,
        /// How long it stays lost.
        back: u64,
        /// How long the operator hesitates.
        delay: u64,
        /// What the operator asks.
        asking: Asking,
    },
    /// Something happens within a step of a site.
    Within(Drill),
    /// A disk or the network does its worst.
    Harm(Harm),
    /// Somebody is struck in a moment of a change of the lane set.
    Strike(Strike),
    /// An operator says a word.
    Word(Word),
}

/// How the site that serves is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Its process dies.
    Killed,
    /// Its machine loses power.
    Powerless,
    /// Its process is stopped for a while.
    Paused,
    /// It does not reach the relay.
    CutFromRelay,
    /// It reaches nobody.
    CutOff,
    /// It is well.
    Well,
}

/// What an operator asks when the site that serves is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// Nothing.
    Nobody,
    /// The other site takes over.
    Once,
    /// So it does, and is asked once more.
    Twice,
    /// Both sites are asked at once.
    Both,
}

/// What happens within a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The site's process dies.
    Die,
    /// Its machine loses power.
    Power,
    /// The relay's process dies.
    Relay,
    /// The other site's process dies.
    Other,
    /// The site's process dies, and its operator does not ask again.
    Forget,
    /// The operator undoes the takeover.
    Abort,
}

/// Something that happens within a step of either site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drill {
    /// The step.
    pub step: Step,
    /// So many times it passes undisturbed.
    pub skip: u32,
    /// After so many effects of that site, or else when the step is to end.
    pub fuse: u32,
    /// What.
    pub deed: Deed,
    /// How long who dies stays down.
    pub down: u64,
}

/// A fault and when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When.
    pub at: u64,
    /// What.
    pub fault: Fault,
}

/// What is left out of a seed's run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Less {
    /// Faults, by their place in the plan.
    pub without: BTreeSet<usize>,
    /// Hosts ask only so many requests before everything is repaired.
    pub requests: Option<u64>,
}

/// The faults of a seed, by time.
pub fn plan(seed: u64, swarm: &Swarm) -> Vec<Planned> {
    let mut random = Random::new(seed, 2);
    let random = &mut random;
    let mut planned = Vec::new();
    let rates = &swarm.rates;
    for node in NodeIndex::ALL {
        every(random, swarm, rates.kill[node.0], &mut planned, |random| Fault::Kill {
            node,
            fuse: if random.percent(50) { 0 } else { u32::try_from(random.below(40)).unwrap_or(0) },
            down: down(random),
        });
        every(random, swarm, rates.power[node.0], &mut planned, |random| Fault::Power {
            node,
            down: down(random),
        });
        every(random, swarm, rates.pause[node.0], &mut planned, |random| Fault::Pause {
            node,
            time: span(random),
        });
    }
    every(random, swarm, rates.cut, &mut planned, |random| {
        let (from, to) = pair(random);
        Fault::Cut { from, to, both: random.percent(50), time: span(random) }
    });
    every(random, swarm, rates.reset, &mut planned, |random| {
        let (a, b) = pair(random);
        Fault::Reset { a, b }
    });
    every(random, swarm, rates.slow_wire, &mut planned, |random| Fault::SlowWire {
        factor: random.range(2, 20),
        time: span(random) / 2,
    });
    every(random, swarm, rates.slow_disk, &mut planned, |random| Fault::SlowDisk {
        node: random.pick(&NodeIndex::ALL),
        factor: random.range(2, 50),
        time: span(random) / 2,
    });
    every(random, swarm, rates.jump, &mut planned, |random| Fault::Jump {
        node: random.pick(&NodeIndex::ALL),
        by: i64::try_from(random.below(200 * SECOND)).unwrap_or(0) - i64::try_from(100 * SECOND).unwrap_or(0),
    });
    every(random, swarm, rates.starve, &mut planned, |random| Fault::Starve {
        node: random.pick(&NodeIndex::ALL),
        time: span(random) / 2,
    });
    every(random, swarm, rates.index_rot, &mut planned, |random| Fault::Rot {
        area: 1 + random.index(2),
        place: random.draw(),
    });
    if swarm.scenario.has_takeover() {
        takeover(random, swarm, &mut planned);
    }
    if let Some(after) = swarm.aborts_after {
        let asked = planned.iter().find(|p| matches!(p.fault, Fault::Takeover { .. })).map(|p| p.at);
        planned.extend(asked.map(|at| Planned { at: at + after, fault: Fault::Abort }));
    }
    planned.extend(swarm.switchovers.iter().map(|at| Planned { at: *at, fault: Fault::Switchover }));
    planned.sort_by_key(|p| p.at);
    planned
}

/// The primary is lost, or not, and around that time the operator takes over.
fn takeover(random: &mut Random, swarm: &Swarm, planned: &mut Vec<Planned>) {
    let at = random.range(swarm.faults_for / 4, swarm.faults_for * 3 / 4);
    let back = random.range(200 * MS, 3 * SECOND);
    if swarm.lease_race {
        let fault = Fault::Cut { from: NodeIndex::RELAY, to: NodeIndex::A, both: false, time: back };
        planned.push(Planned { at, fault });
        let at = at + random.range(MS, 20 * MS);
        planned.push(Planned { at, fault: Fault::Takeover { accept_loss: false } });
        return;
    }
    let lost = match swarm.scenario {
        Scenario::Race => match random.below(5) {
            0 => Some(Fault::Pause { node: NodeIndex::A, time: back }),
            1 => Some(Fault::Cut {
                from: NodeIndex::A,
                to: NodeIndex::RELAY,
                both: random.percent(50),
                time: back,
            }),
            2 => Some(Fault::Cut { from: NodeIndex::RELAY, to: NodeIndex::A, both: false, time: back }),
            3 => Some(Fault::Kill { node: NodeIndex::A, fuse: 3, down: random.range(MS, 300 * MS) }),
            _ => None,
        },
        Scenario::Steady
        | Scenario::Crashes
        | Scenario::PowerLoss
        | Scenario::Partitions
        | Scenario::Takeover
        | Scenario::SecondaryLoop
        | Scenario::Wrap
        | Scenario::Storm => Some(if random.percent(50) {
            Fault::Kill { node: NodeIndex::A, fuse: 7, down: back }
        } else {
            Fault::Power { node: NodeIndex::A, down: back }
        }),
    };
    if let Some(fault) = lost {
        planned.push(Planned { at, fault });
    }
    let (early, late) = (at.saturating_sub(20 * MS), at + 400 * MS);
    let at =
        if swarm.scenario == Scenario::Race { random.range(early, late) } else { random.range(at, late) };
    planned.push(Planned { at, fault: Fault::Takeover { accept_loss: false } });
}

fn every(
    random: &mut Random,
    swarm: &Swarm,
    mean: u64,
    planned: &mut Vec<Planned>,
    mut fault: impl FnMut(&mut Random) -> Fault,
) {
    if mean == 0 {
        return;
    }
    let mut at = random.below(mean * 2);
    while at < swarm.faults_for && planned.len() < 500 {
        let fault = fault(random);
        planned.push(Planned { at, fault });
        at += random.range(mean / 4, mean * 2);
    }
}

fn pair(random: &mut Random) -> (NodeIndex, NodeIndex) {
    let first = random.index(3);
    (NodeIndex(first), NodeIndex((first + 1 + random.index(2)) % 3))
}

/// How long something stays down.
fn down(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => random.range(MS, 20 * MS),
        1 => random.range(SECOND, 3 * SECOND),
        _ => random.range(20 * MS, 500 * MS),
    }
}

/// How long trouble lasts.
fn span(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => random.range(SECOND, 4 * SECOND),
        _ => random.range(MS, 600 * MS),
    }
}
