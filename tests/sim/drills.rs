//! The second book: seeds from [`SECOND_BOOK`] on, whose histories lead to a step of the protocol and strike there.
//!
//! The seed names the step, so that a row of seeds as long as there are steps comes by each of them; what leads there is
//! planned, and everything else goes wrong beside it as in any seed. Behind it the roles change again: whoever serves is lost, before the
//! other site has caught up or after, and the other one takes over, up to three times. All choices come from streams of their
//! own, and seeds below [`SECOND_BOOK`] play what they always did.

use crate::event::NodeIndex;
use crate::plan::{Asking, Deed, Drill, Fault, How, Planned};
use crate::random::Random;
use crate::steps::Step;
use crate::swarm::{MS, Rates, SECOND, Swarm};

/// The first seed of the second book.
pub const SECOND_BOOK: u64 = 1_000_000;
/// The first seed behind it.
pub const THIRD_BOOK: u64 = 2_000_000;
/// The first seed behind that one.
pub const FOURTH_BOOK: u64 = 3_000_000;
/// From here on to the next a group of the fourth book is of another kind of lane set from some time on.
pub const CHANGING_SEEDS: u64 = 3_900_000;
/// From here on to the fifth book both relays of a world of the fourth share the data of frames.
pub const STRIPED_SEEDS: u64 = 4_000_000;

/// What leads to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The primary's process dies and comes back.
    Restart,
    /// The primary is lost, the other site takes over.
    Takeover,
    /// So it does, and dies when it serves.
    TakenAndLost,
    /// It is told to undo that.
    Undone,
    /// It dies over it, and the operator does not ask again.
    Forgotten,
    /// The roles change as planned.
    Swap,
    /// The relay is away for long.
    NoRelay,
}

fn way(step: Step) -> Way {
    match step {
        Step::StartProbe
        | Step::StartFence
        | Step::StartRecord
        | Step::StartVerify
        | Step::StartRedo
        | Step::StartFlush
        | Step::StartOpen => Way::Restart,
        Step::Resume => Way::TakenAndLost,
        Step::UndoProbe | Step::UndoRelease => Way::Undone,
        Step::GiveBack => Way::Forgotten,
        Step::HandDrain
        | Step::HandRecord
        | Step::HandMark
        | Step::HandRelease
        | Step::HandLeave
        | Step::HandFollow
        | Step::GoOnProbe
        | Step::GoOnFence
        | Step::GoOnApply
        | Step::GoOnRecord
        | Step::GoOnOpen => Way::Swap,
        Step::OutRecord => Way::NoRelay,
        Step::TakeProbe
        | Step::TakeFence
        | Step::TakeApply
        | Step::TakeMark
        | Step::TakeSave
        | Step::TakeRecord
        | Step::OutAlone
        | Step::OutMark
        | Step::OutFlush
        | Step::RoundWait
        | Step::RoundSend
        | Step::RoundEnd
        | Step::RoundClear
        | Step::RoundForget
        | Step::ReturnLook
        | Step::ReturnRecord
        | Step::CatchUp
        | Step::Stage
        | Step::InPlace
        | Step::Replay
        | Step::Last => Way::Takeover,
    }
}

/// The step that a seed of the second book is about.
pub fn step_of(seed: u64) -> Option<Step> {
    if !(SECOND_BOOK..THIRD_BOOK).contains(&seed) {
        return None;
    }
    let place = (seed - SECOND_BOOK) % Step::COUNT as u64;
    usize::try_from(place).ok().and_then(|place| Step::ALL.get(place).copied())
}

/// Whether a seed of the second book comes to its step without processes dying and paths being cut on the way.
fn is_quiet(seed: u64) -> bool {
    (seed.saturating_sub(SECOND_BOOK) / Step::COUNT as u64) % 4 < 2
}

/// Makes a world fit for what is to happen in it.
pub fn suit(seed: u64, swarm: &mut Swarm) {
    let Some(step) = step_of(seed) else { return };
    let random = &mut Random::new(seed, 9);
    if is_quiet(seed) {
        let Rates { reset, slow_wire, slow_disk, jump, starve, index_rot, .. } = swarm.rates;
        swarm.rates = Rates { reset, slow_wire, slow_disk, jump, starve, index_rot, ..Rates::default() };
    }
    swarm.faults_for = random.range(5 * SECOND, 10 * SECOND);
    let far = swarm.paths[NodeIndex::B.0][NodeIndex::RELAY.0].latency;
    swarm.pace.lease_ns = swarm.pace.lease_ns.max(far * 12);
    match way(step) {
        Way::Forgotten => swarm.faults_for += 5 * SECOND,
        Way::NoRelay => {
            swarm.may_leave = true;
            swarm.faults_for += 3 * SECOND;
        }
        Way::Swap => swarm.faults_for += 3 * SECOND,
        Way::Restart | Way::Takeover | Way::TakenAndLost | Way::Undone => {}
    }
    if matches!(step, Step::Stage | Step::Replay) {
        swarm.own_ring = swarm.own_ring.max(12 << 20);
    }
    if matches!(step, Step::InPlace | Step::Last) {
        swarm.own_ring = random.range(5, 10) * (256 << 10);
        swarm.volumes.push(500);
    }
    if matches!(step, Step::StartVerify | Step::StartRedo | Step::TakeMark | Step::TakeSave) {
        // A tail that has not landed.
        swarm.pace.flush_ns = 200 * MS;
        swarm.load.reads = 10;
        swarm.load.requests = swarm.load.requests.max(1500);
    }
}

/// What happens in a seed of the second book, beside what happens in any.
pub fn history(seed: u64, swarm: &Swarm) -> Vec<Planned> {
    let Some(step) = step_of(seed) else { return Vec::new() };
    let random = &mut Random::new(seed, 10);
    let mut planned = Vec::new();
    let fatal = [Deed::Die, Deed::Die, Deed::Die, Deed::Power];
    planned.push(within(random, step, 0, &fatal));
    let any = [Deed::Die, Deed::Die, Deed::Power, Deed::Relay, Deed::Other];
    if random.percent(40) {
        planned.push(within(random, step, 1, &any));
    }
    for _ in 0..random.below(3) {
        let other = random.pick(&Step::ALL);
        let skip = u32::from(random.percent(30));
        planned.push(within(random, other, skip, &any));
    }
    let mut at = random.range(300 * MS, 1500 * MS);
    lead(random, step, swarm, at, &mut planned);
    at += match way(step) {
        // A lane is given back by itself when nobody has asked for a while.
        Way::Forgotten => 5 * SECOND,
        Way::NoRelay | Way::Swap => 3 * SECOND,
        Way::Restart | Way::Takeover | Way::TakenAndLost | Way::Undone => 0,
    };
    // And then the roles change again.
    for _ in 0..random.range(1, 3) {
        let patient = random.percent(60);
        at += if patient { random.range(MS, 500 * MS) } else { random.range(50 * MS, 1500 * MS) };
        planned.push(Planned { at, fault: lose(random, patient) });
    }
    planned
}

/// What leads to a step.
fn lead(random: &mut Random, step: Step, swarm: &Swarm, at: u64, planned: &mut Vec<Planned>) {
    let helper = |step, deed, down| Planned {
        at: 0,
        fault: Fault::Within(Drill { step, skip: 0, fuse: 0, deed, down }),
    };
    match way(step) {
        Way::Restart => {
            for time in 0..3 {
                let down = random.range(MS, 100 * MS);
                let fault = Fault::Lose {
                    how: How::Killed,
                    patient: false,
                    back: down,
                    delay: 0,
                    asking: Asking::Nobody,
                };
                planned.push(Planned { at: at + time * SECOND, fault });
            }
        }
        Way::Takeover => planned.push(Planned { at, fault: lose(random, true) }),
        Way::TakenAndLost => {
            planned.push(helper(Step::OutAlone, Deed::Die, random.range(MS, 100 * MS)));
            planned.push(Planned { at, fault: lose(random, true) });
        }
        Way::Undone => {
            let seen = random.pick(&[Step::TakeFence, Step::TakeApply, Step::TakeApply]);
            planned.push(helper(seen, Deed::Abort, 0));
            planned.push(Planned { at, fault: lose(random, true) });
        }
        Way::Forgotten => {
            let seen = random.pick(&[Step::TakeApply, Step::TakeMark]);
            planned.push(helper(seen, Deed::Forget, random.range(MS, 300 * MS)));
            planned.push(Planned { at, fault: lose(random, true) });
        }
        Way::Swap => {
            planned.extend((0..3).map(|time| Planned { at: at + time * SECOND, fault: Fault::Swap }));
        }
        Way::NoRelay => {
            let (how, back) = (How::CutFromRelay, swarm.pace.leave_ns * 2 + 2 * SECOND);
            planned.push(Planned {
                at,
                fault: Fault::Lose { how, patient: true, back, delay: 0, asking: Asking::Nobody },
            });
        }
    }
}

/// Whoever serves is lost, and the other site is to take over.
fn lose(random: &mut Random, patient: bool) -> Fault {
    let how = random.pick(&[
        How::Killed,
        How::Killed,
        How::Powerless,
        How::Paused,
        How::CutFromRelay,
        How::CutOff,
        How::Well,
    ]);
    let asking = random.pick(&[Asking::Once, Asking::Once, Asking::Once, Asking::Twice, Asking::Both]);
    let back = random.range(20 * MS, 2 * SECOND);
    Fault::Lose { how, patient, back, delay: random.below(300 * MS), asking }
}

fn within(random: &mut Random, step: Step, skip: u32, deeds: &[Deed]) -> Planned {
    let fuse = if random.percent(50) { 0 } else { u32::try_from(random.below(12)).unwrap_or(0) };
    let down =
        if random.percent(20) { random.range(500 * MS, 2 * SECOND) } else { random.range(MS, 200 * MS) };
    let drill = Drill { step, skip, fuse, deed: random.pick(deeds), down };
    Planned { at: 0, fault: Fault::Within(drill) }
}

/// How a drill stands.
#[derive(Clone, Copy, Debug)]
pub enum DrillState {
    /// So many times the step is entered and nothing happens.
    Waiting(u32),
    /// At this site the step is under way; the deed is done so many effects later, or when the step is to end.
    Lit(NodeIndex, u32),
    /// It was done.
    Done,
}

/// The steps of the sites, and what is to happen in them.
#[derive(Debug, Default)]
pub struct Sights {
    /// By node.
    pub steps: [Option<Step>; 4],
    /// The drills of the run.
    pub drills: Vec<(Drill, DrillState)>,
}
