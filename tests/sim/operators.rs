//! The fifth book: seeds from [`FIFTH_BOOK`](crate::orders::FIFTH_BOOK) on, in which an operator says a word that nothing else says: compares the sites under load,
//! accepts a loss, starts without the journal, and chooses in a split.
//!
//! A row of seeds as long as there are themes comes by each; beside it goes wrong what does in the first book, in half of the seeds
//! without processes that die by themselves. All choices come from streams of their own, and seeds below play what they always did.

use midspan_protocol::role::policy::LanePolicy;

use crate::event::NodeIndex;
use crate::orders::{Lost, Theme, Word, theme_of};
use crate::plan::{Asking, Deed, Drill, Fault, How, Planned};
use crate::random::Random;
use crate::steps::Step;
use crate::swarm::{MS, Rates, SECOND, Swarm};

/// Blocks at the end of each volume that hosts leave alone where bits of them flip.
const COLD: u64 = 2;

/// Makes a world fit for what is to happen in it.
pub fn suit(seed: u64, swarm: &mut Swarm) {
    let Some(theme) = theme_of(seed) else { return };
    let random = &mut Random::new(seed, 15);
    if random.percent(50) {
        let Rates { reset, slow_wire, slow_disk, jump, starve, index_rot, .. } = swarm.rates;
        swarm.rates = Rates { reset, slow_wire, slow_disk, jump, starve, index_rot, ..Rates::default() };
    }
    let far = swarm.paths[NodeIndex::B.0][NodeIndex::RELAY.0].latency;
    swarm.pace.lease_ns = swarm.pace.lease_ns.max(far * 12);
    if theme == Theme::Compare {
        swarm.cold = COLD;
        if random.percent(50) {
            // What was compared and written is not behind the cut yet.
            swarm.pace.flush_ns = 200 * MS;
        }
        swarm.faults_for = swarm.faults_for.max(random.range(3 * SECOND, 8 * SECOND));
        return;
    }
    // Two histories are judged only where it is known from when on there are two.
    (swarm.rates.cut, swarm.rates.index_rot) = (0, 0);
    (swarm.accepts, swarm.initial_copy, swarm.aborts_after) = (true, false, None);
    swarm.load.requests = swarm.load.requests.max(800);
    swarm.keeps = random.percent(40);
    match theme {
        Theme::Compare => {}
        Theme::Left => {
            swarm.may_leave = true;
            swarm.faults_for = random.range(7 * SECOND, 10 * SECOND);
        }
        Theme::Unfenced => {
            swarm.may_leave = random.percent(30);
            swarm.faults_for = random.range(15 * SECOND, 18 * SECOND);
        }
        Theme::Isolated => {
            (swarm.may_leave, swarm.alone) = (true, true);
            swarm.faults_for = random.range(9 * SECOND, 12 * SECOND);
        }
        Theme::Skipped => {
            swarm.may_leave = random.percent(30);
            swarm.faults_for = random.range(18 * SECOND, 22 * SECOND);
        }
    }
    if is_local(swarm) {
        // Hosts wait where the ring is full: there is no lane to be left that another site would read.
        swarm.may_leave = false;
    }
}

/// What happens in a seed of this book, beside what happens in any.
pub fn history(seed: u64, swarm: &Swarm) -> Vec<Planned> {
    let Some(theme) = theme_of(seed) else { return Vec::new() };
    let random = &mut Random::new(seed, 16);
    let mut planned = Vec::new();
    match theme {
        Theme::Compare => compare(random, swarm, &mut planned),
        Theme::Left => left(random, swarm, &mut planned),
        Theme::Unfenced if Random::new(seed, 17).percent(30) => beside(random, swarm, &mut planned),
        Theme::Unfenced => unfenced(random, swarm, &mut planned),
        Theme::Isolated => isolated(random, swarm, &mut planned),
        Theme::Skipped => skipped(random, &mut planned),
    }
    planned
}

fn compare(random: &mut Random, swarm: &Swarm, planned: &mut Vec<Planned>) {
    let mut push = |at, fault| planned.push(Planned { at, fault });
    if random.percent(60) {
        for _ in 0..random.range(1, 4) {
            let flip = Word::Flip { site: random.pick(&NodeIndex::SITES), place: random.draw() };
            push(random.below(swarm.faults_for), Fault::Word(flip));
        }
    }
    for _ in 0..random.range(2, 6) {
        let bytes_per_s = random.pick(&[0, 0, 1 << 20, 4 << 20, 16 << 20]);
        let at = random.range(100 * MS, swarm.faults_for);
        push(at, Fault::Word(Word::Verify { bytes_per_s, repair: random.percent(40) }));
        if random.percent(15) {
            push(at + random.below(SECOND), Fault::Word(Word::EndVerify));
        }
        if random.percent(50) {
            let node = random.pick(&[NodeIndex::B, NodeIndex::B, NodeIndex::A, NodeIndex::RELAY]);
            let fuse = u32::try_from(random.below(60)).unwrap_or(0);
            let down = random.range(MS, 300 * MS);
            push(at + random.below(600 * MS), Fault::Kill { node, fuse, down });
        }
    }
}

/// Whether the primary's own lane counts alone.
fn is_local(swarm: &Swarm) -> bool {
    swarm.lanes.is_some_and(|lanes| lanes.policy == LanePolicy::Local)
}

/// Whoever serves leaves the lanes, and is lost there.
fn left(random: &mut Random, swarm: &Swarm, planned: &mut Vec<Planned>) {
    let at = random.range(500 * MS, 2 * SECOND);
    let outside = swarm.pace.leave_ns + random.range(500 * MS, 2 * SECOND);
    let back = outside + random.range(MS, 2 * SECOND);
    let lost = match random.below(4) {
        // Where its own lane counts it can only become full.
        _ if is_local(swarm) => Fault::Kill { node: NodeIndex::B, fuse: 0, down: outside },
        1 => {
            // It is back in the lanes, and dies over the round.
            let deed = if random.percent(70) { Deed::Die } else { Deed::Power };
            let step = random.pick(&[Step::RoundSend, Step::RoundSend, Step::RoundEnd]);
            let fuse = u32::try_from(random.below(40)).unwrap_or(0);
            let down = random.range(SECOND, 4 * SECOND);
            let drill = Drill { step, skip: 0, fuse, deed, down };
            planned.push(Planned { at, fault: Fault::Within(drill) });
            let how = How::CutFromRelay;
            let fault = Fault::Lose { how, patient: true, back: outside, delay: 0, asking: Asking::Nobody };
            planned.push(Planned { at, fault });
            let word = Word::AcceptLoss { dead: true };
            return planned.push(Planned { at: at + outside, fault: Fault::Word(word) });
        }
        // The ring fills, if it is small enough.
        0 => Fault::Kill { node: NodeIndex::B, fuse: 0, down: outside },
        _ => Fault::Lose { how: How::CutFromRelay, patient: true, back, delay: 0, asking: Asking::Nobody },
    };
    planned.push(Planned { at, fault: lost });
    let then = at + outside + random.below(SECOND);
    let how = random.pick(&[How::Killed, How::Killed, How::Paused, How::CutOff, How::Well]);
    let back = random.range(20 * MS, 3 * SECOND);
    planned.push(Planned {
        at: then,
        fault: Fault::Lose { how, patient: false, back, delay: 0, asking: Asking::Nobody },
    });
    planned.push(Planned {
        at: then + random.below(500 * MS),
        fault: Fault::Word(Word::AcceptLoss { dead: false }),
    });
}

/// Relay and primary are lost at once, and the other site goes on with what it has. Of two relays the other one may be there: it may hold
/// nothing of the journal, or all of it. A lane at the primary is lost with it.
fn unfenced(random: &mut Random, swarm: &Swarm, planned: &mut Vec<Planned>) {
    let at = random.range(500 * MS, 3 * SECOND);
    let relay = random.range(6 * SECOND, 9 * SECOND);
    let down = random.pick(&[SECOND, 4 * SECOND, relay + SECOND, relay + 3 * SECOND]);
    planned.push(Planned { at, fault: Fault::Kill { node: NodeIndex::RELAY, fuse: 0, down: relay } });
    if swarm.lanes.is_some() && random.percent(60) {
        let near = at + random.below(20 * MS);
        let down = relay.saturating_sub(random.below(3 * SECOND));
        let fault = Fault::Kill { node: NodeIndex::RELAY2, fuse: 0, down };
        planned.push(Planned { at: near, fault });
    }
    let how = random.pick(&[How::Killed, How::Killed, How::Powerless]);
    let lost = Fault::Lose { how, patient: false, back: down, delay: 0, asking: Asking::Nobody };
    planned.push(Planned { at: at + random.below(30 * MS), fault: lost });
    planned.push(Planned {
        at: at + random.range(50 * MS, 900 * MS),
        fault: Fault::Word(Word::AcceptLoss { dead: false }),
    });
}

/// The site that takes over reaches nobody, and the primary goes on in the lanes.
fn beside(random: &mut Random, swarm: &Swarm, planned: &mut Vec<Planned>) {
    let at = random.range(500 * MS, 3 * SECOND);
    let time = random.range(5 * SECOND, 9 * SECOND);
    let others = [NodeIndex::RELAY, NodeIndex::A, NodeIndex::RELAY2];
    for to in others.into_iter().take(if swarm.lanes.is_some() { 3 } else { 2 }) {
        let fault = Fault::Cut { from: NodeIndex::B, to, both: true, time };
        planned.push(Planned { at, fault });
    }
    let word = Word::AcceptLoss { dead: false };
    planned.push(Planned { at: at + random.below(900 * MS), fault: Fault::Word(word) });
}

/// Nobody reaches the primary, which goes on all the same, and the other site takes over.
fn isolated(random: &mut Random, swarm: &Swarm, planned: &mut Vec<Planned>) {
    let at = random.range(500 * MS, 2 * SECOND);
    let back = swarm.pace.leave_ns + random.range(2 * SECOND, 5 * SECOND);
    let lost = Fault::Lose { how: How::CutOff, patient: true, back, delay: 0, asking: Asking::Nobody };
    planned.push(Planned { at, fault: lost });
    let then = at + random.below(swarm.pace.leave_ns + 2 * SECOND);
    planned.push(Planned { at: then, fault: Fault::Word(Word::AcceptLoss { dead: false }) });
}

/// The primary comes back, and neither relay nor the other site is there.
fn skipped(random: &mut Random, planned: &mut Vec<Planned>) {
    let relay = random.range(5 * SECOND, 9 * SECOND);
    let other = random.pick(&[0, 2 * SECOND, 7 * SECOND, relay + SECOND, relay + SECOND]);
    let down = random.range(MS, 500 * MS);
    let lost = Lost { relay, other, down, power: random.percent(40), after: random.below(30 * MS) };
    let (at, word) = if random.percent(40) {
        (3 * SECOND, Word::LoseAtLanded(Lost { power: true, ..lost }))
    } else {
        (random.range(SECOND, 8 * SECOND), Word::Lose(lost))
    };
    planned.push(Planned { at, fault: Fault::Word(word) });
}
