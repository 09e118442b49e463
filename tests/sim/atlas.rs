//! The third book: seeds from [`THIRD_BOOK`] on, in which a disk or the network does its worst.
//!
//! The seed names what, so that a row of seeds as long as the list comes by each of them; beside it everything goes wrong that goes
//! wrong in a seed of the first book. All choices come from streams of their own, and seeds below play what they always did.

use midspan_protocol::role::site::AnswerMode;

use crate::drills::{FOURTH_BOOK, THIRD_BOOK};
use crate::event::NodeIndex;
use crate::harm::Harm;
use crate::plan::{Asking, Fault, How, Planned};
use crate::random::Random;
use crate::swarm::{MS, SECOND, Swarm};

/// What a seed of the third book is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// The relay's disk gives bits that are not on its media, one at a time.
    BadReadRelay,
    /// A site's journal disk does.
    BadReadSite,
    /// Reads fail, one at a time.
    ReadErrors,
    /// A write to the relay's ring goes elsewhere.
    Misdirected,
    /// A bit of the relay's ring rots.
    RottenRing,
    /// A volume dies.
    DeadVolume,
    /// A site's journal disk dies.
    DeadJournal,
    /// The relay's disk dies.
    DeadRelay,
    /// A volume is full.
    FullVolume,
    /// The relay comes back with an empty disk.
    EmptyRelay,
    /// It comes back with new areas on its disk.
    NewRelay,
    /// Disks answer nothing for seconds.
    Hung,
    /// Connections arrive twice.
    Doubled,
    /// One way of a path is slow.
    SlowWay,
}

impl Theme {
    /// All, in the order in which seeds take them.
    pub const ALL: [Self; 14] = [
        Self::BadReadRelay,
        Self::BadReadSite,
        Self::ReadErrors,
        Self::Misdirected,
        Self::RottenRing,
        Self::DeadVolume,
        Self::DeadJournal,
        Self::DeadRelay,
        Self::FullVolume,
        Self::EmptyRelay,
        Self::NewRelay,
        Self::Hung,
        Self::Doubled,
        Self::SlowWay,
    ];
}

/// What a seed of the third book is about.
pub fn theme_of(seed: u64) -> Option<Theme> {
    let place = seed.checked_sub(THIRD_BOOK).filter(|_| seed < FOURTH_BOOK)? % Theme::ALL.len() as u64;
    usize::try_from(place).ok().and_then(|place| Theme::ALL.get(place).copied())
}

/// Makes a world fit for what is to happen in it.
pub fn suit(seed: u64, swarm: &mut Swarm) {
    let Some(theme) = theme_of(seed) else { return };
    let random = &mut Random::new(seed, 11);
    swarm.faults_for = random.range(3 * SECOND, 6 * SECOND);
    // The roles may change in any of them.
    let far = swarm.paths[NodeIndex::B.0][NodeIndex::RELAY.0].latency;
    swarm.pace.lease_ns = swarm.pace.lease_ns.max(far * 12);
    let often = |random: &mut Random| random.range(200 * MS, 900 * MS);
    let relay = NodeIndex::RELAY.0;
    match theme {
        Theme::BadReadRelay => {
            swarm.recent = 0;
            swarm.rates.kill[relay] = often(random);
            swarm.rates.kill[NodeIndex::A.0] = often(random);
            // A tail that has not landed is read again at a start.
            swarm.pace.flush_ns = 200 * MS;
            swarm.load.reads = 10;
        }
        Theme::ReadErrors => {
            swarm.recent = 0;
            swarm.rates.kill = [0; 3].map(|_| often(random));
            swarm.initial_copy |= random.percent(40);
        }
        Theme::BadReadSite => {
            if random.percent(50) {
                let site = random.pick(&[NodeIndex::A, NodeIndex::B]);
                swarm.rates.kill[site.0] = often(random);
            } else {
                // What was staged of a round is read again.
                swarm.own_ring = swarm.own_ring.max(12 << 20);
            }
        }
        Theme::Misdirected => {
            // What a relay knows of the end of its ring is in its memory, and in later frames. With both gone nobody can know.
            (swarm.rates.kill[relay], swarm.rates.power[relay]) = (0, 0);
            swarm.recent = random.pick(&[0, 0, 256 << 10]);
        }
        Theme::RottenRing => {
            swarm.recent = 0;
            swarm.rates.kill[relay] = often(random);
        }
        Theme::DeadVolume => {
            swarm.may_leave |= random.percent(50);
            swarm.load.flushes = swarm.load.flushes.max(10);
            if random.percent(40) {
                swarm.answer = AnswerMode::JournaledLocal;
            }
        }
        Theme::DeadJournal => swarm.initial_copy |= random.percent(50),
        Theme::SlowWay => {
            // The roles change while memory is short.
            swarm.rates.starve = random.range(100 * MS, 300 * MS);
            swarm.switchovers = (0..4).map(|_| random.below(swarm.faults_for)).collect();
        }
        Theme::DeadRelay
        | Theme::FullVolume
        | Theme::EmptyRelay
        | Theme::NewRelay
        | Theme::Hung
        | Theme::Doubled => {}
    }
}

/// What happens in a seed of the third book, beside what happens in any.
pub fn history(seed: u64, swarm: &Swarm) -> Vec<Planned> {
    let Some(theme) = theme_of(seed) else { return Vec::new() };
    let random = &mut Random::new(seed, 12);
    let mut planned = Vec::new();
    let count = match theme {
        Theme::BadReadRelay | Theme::BadReadSite | Theme::ReadErrors => random.range(4, 30),
        Theme::Misdirected | Theme::RottenRing => random.range(1, 4),
        Theme::Hung | Theme::Doubled | Theme::SlowWay => random.range(2, 8),
        Theme::DeadVolume
        | Theme::DeadJournal
        | Theme::DeadRelay
        | Theme::FullVolume
        | Theme::EmptyRelay
        | Theme::NewRelay => 1,
    };
    let site = random.pick(&[NodeIndex::A, NodeIndex::B]);
    let mut last = 0;
    for _ in 0..count {
        let at = random.range(swarm.faults_for / 10, swarm.faults_for * 4 / 5);
        last = at.max(last);
        planned.push(Planned { at, fault: Fault::Harm(harm(random, theme, site)) });
    }
    planned.extend(around(random, theme, site, last, swarm));
    if random.percent(60) {
        // Whoever serves is lost behind it, and the other site is asked: what it says of losses must be true.
        let how = random.pick(&[How::Killed, How::Powerless, How::Paused, How::CutOff, How::Well]);
        let back = random.range(20 * MS, 2 * SECOND);
        let delay = random.below(300 * MS);
        let asking = Asking::Once;
        let at = last + random.below(600 * MS);
        planned.push(Planned { at, fault: Fault::Lose { how, patient: false, back, delay, asking } });
    }
    planned
}

/// What makes it worse that a disk dies: something that runs, and needs it.
fn around(random: &mut Random, theme: Theme, site: NodeIndex, at: u64, swarm: &Swarm) -> Vec<Planned> {
    let before = |time: u64| at.saturating_sub(time);
    let cut = |from: NodeIndex| Fault::Cut { from, to: NodeIndex::RELAY, both: true, time: 10 * SECOND };
    match theme {
        Theme::DeadVolume | Theme::FullVolume if random.percent(60) => {
            let hang = Fault::Harm(Harm::Hang { node: site, time: 700 * MS });
            let mut planned = vec![Planned { at: before(600 * MS), fault: hang }];
            let while_it_hangs = before(random.range(MS, 500 * MS));
            planned.push(if swarm.may_leave {
                Planned {
                    at: while_it_hangs.saturating_sub(swarm.pace.leave_ns + swarm.pace.silence_ns),
                    fault: cut(site),
                }
            } else {
                Planned { at: while_it_hangs, fault: Fault::Switchover }
            });
            planned
        }
        Theme::DeadRelay if random.percent(40) => {
            let kill = Fault::Kill { node: NodeIndex::RELAY, fuse: 0, down: MS };
            let asked = Fault::TakeoverAt(NodeIndex::B);
            [(MS, kill), (20 * MS, asked), (900 * MS, Fault::Abort)]
                .map(|(later, fault)| Planned { at: at + later, fault })
                .into()
        }
        Theme::BadReadRelay
        | Theme::BadReadSite
        | Theme::ReadErrors
        | Theme::Misdirected
        | Theme::RottenRing
        | Theme::DeadVolume
        | Theme::DeadJournal
        | Theme::DeadRelay
        | Theme::FullVolume
        | Theme::EmptyRelay
        | Theme::NewRelay
        | Theme::Hung
        | Theme::Doubled
        | Theme::SlowWay => Vec::new(),
    }
}

fn harm(random: &mut Random, theme: Theme, site: NodeIndex) -> Harm {
    let volume = 1 + random.index(3);
    let time = random.range(100 * MS, 3 * SECOND);
    let down = random.range(MS, 500 * MS);
    match theme {
        Theme::BadReadRelay => Harm::BadRead(NodeIndex::RELAY),
        Theme::BadReadSite => Harm::BadRead(random.pick(&[NodeIndex::A, NodeIndex::B])),
        Theme::ReadErrors => Harm::ReadError {
            node: random.pick(&NodeIndex::ALL),
            disk: random.index(3),
            times: if random.percent(70) { 1 } else { 16 },
        },
        Theme::Misdirected => Harm::Misdirect { by: random.draw() },
        Theme::RottenRing => Harm::RotRing { place: random.draw() },
        Theme::DeadVolume => Harm::Dies { node: site, disk: volume },
        Theme::DeadJournal => Harm::Dies { node: site, disk: 0 },
        Theme::DeadRelay => Harm::Dies { node: NodeIndex::RELAY, disk: 0 },
        Theme::FullVolume => Harm::Full { node: site, disk: volume },
        Theme::EmptyRelay => Harm::OtherDisk { node: NodeIndex::RELAY, new_areas: false, down },
        Theme::NewRelay => Harm::OtherDisk { node: NodeIndex::RELAY, new_areas: true, down },
        Theme::Hung => Harm::Hang { node: random.pick(&NodeIndex::ALL), time },
        Theme::Doubled => Harm::Double { node: random.pick(&NodeIndex::ALL), time },
        Theme::SlowWay => {
            let from = random.index(3);
            let to = NodeIndex((from + 1 + random.index(2)) % 3);
            Harm::SlowWay { from: NodeIndex(from), to, by: random.range(MS, 400 * MS), time }
        }
    }
}
