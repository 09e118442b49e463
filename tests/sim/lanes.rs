//! The fourth book: seeds from [`FOURTH_BOOK`] on, whose worlds have a second relay, and some of them lanes at the sites. In seeds from
//! [`STRIPED_SEEDS`] on both relays share the data of frames.
//!
//! Beside everything that goes wrong in a seed of the first book, relays are away for a moment or for long, one after the other or both
//! at once, seen from one side or from both, and somebody dies in the middle of a change of the set: at a message or a write that
//! belongs to it. All choices come from streams of their own, and seeds below play what they always did.

use midspan_protocol::role::policy::LanePolicy;

use crate::drills::{CHANGING_SEEDS, FOURTH_BOOK, STRIPED_SEEDS};
use crate::event::NodeIndex;
use crate::harm::Harm;
use crate::moments::{Blow, Moment, Strike};
use crate::orders::{FIFTH_BOOK, Sets, lanes_of, sets_of};
use crate::plan::{Asking, Fault, How, Planned};
use crate::random::Random;
use crate::swarm::{Lanes, MS, SECOND, Swarm};

/// Makes a world fit for what is to happen in it.
pub fn suit(seed: u64, swarm: &mut Swarm) {
    let Some(number) = seed.checked_sub(FIFTH_BOOK).map_or(seed.checked_sub(FOURTH_BOOK), |_| lanes_of(seed))
    else {
        return;
    };
    let random = &mut Random::new(seed, 13);
    let sets = sets_of(seed).map(|(sets, _)| sets);
    let striped = (STRIPED_SEEDS..FIFTH_BOOK).contains(&seed) || sets == Some(Sets::Striped);
    let (policy, direct, at_sites) = match number % 6 {
        _ if sets == Some(Sets::Local) => (LanePolicy::Local, false, true),
        5 if sets == Some(Sets::Whole) => (LanePolicy::Mirror, true, true),
        place if striped => (LanePolicy::Stripe, place == 5, place == 5),
        0 | 1 => (LanePolicy::Failover, false, false),
        2 => (LanePolicy::Failover, true, true),
        3 | 4 => (LanePolicy::Mirror, false, false),
        _ => (LanePolicy::Local, false, true),
    };
    let resend = random.pick(&[64 << 20, 64 << 20, 1 << 20, 64 << 10, 0]);
    let mut lanes = Lanes { policy, then: None, direct, at_sites, resend };
    if (CHANGING_SEEDS..STRIPED_SEEDS).contains(&seed) {
        change_kind(number, random, &mut lanes);
    }
    swarm.lanes = Some(lanes);
    if lanes.ever_share() {
        swarm.limits.shared_bytes = Random::new(seed, 15).pick(&[4096, 12 << 10, 24 << 10, 64 << 10]);
    }
    swarm.faults_for = random.range(5 * SECOND, 16 * SECOND);
    let far = swarm.paths[NodeIndex::B.0][NodeIndex::RELAY.0].latency;
    swarm.pace.lease_ns = swarm.pace.lease_ns.max(far * 12);
    // Long enough for hosts to ask for something all the time.
    swarm.load.requests = random.range(600, 2500);
    if random.percent(60) {
        swarm.may_leave = false;
    }
}

/// The group is of another kind from some time on: a row of twelve seeds comes by each change.
fn change_kind(number: u64, random: &mut Random, lanes: &mut Lanes) {
    const KINDS: [LanePolicy; 4] =
        [LanePolicy::Failover, LanePolicy::Mirror, LanePolicy::Stripe, LanePolicy::Local];
    let at = |place: u64| KINDS[usize::try_from(place % 4).unwrap_or(0)];
    let (from, further) = (number % 4, 1 + number / 4 % 3);
    let then = random.range(2 * SECOND, 6 * SECOND);
    (lanes.policy, lanes.then) = (at(from), Some((then, at(from + further))));
    lanes.direct = false;
    lanes.at_sites = [lanes.policy, at(from + further)].contains(&LanePolicy::Local);
}

/// What happens in a seed of the fourth book, beside what happens in any.
pub fn history(seed: u64, swarm: &Swarm) -> Vec<Planned> {
    let Some(lanes) = swarm.lanes else { return Vec::new() };
    let random = &mut Random::new(seed, 14);
    if sets_of(seed).is_some() {
        return beside_words(random, swarm, lanes);
    }
    let mut planned = Vec::new();
    let mut at = random.range(300 * MS, 2 * SECOND);
    while at < swarm.faults_for {
        let relay = random.pick(&[NodeIndex::RELAY, NodeIndex::RELAY, NodeIndex::RELAY2]);
        let long = random.percent(60);
        let time = if long { random.range(1500 * MS, 7 * SECOND) } else { random.range(MS, 600 * MS) };
        let site = random.pick(&NodeIndex::SITES);
        let fault = match random.below(16) {
            0..=3 => Fault::Kill { node: relay, fuse: 0, down: time },
            4 | 5 => Fault::Power { node: relay, down: time },
            6 => Fault::Pause { node: relay, time },
            7 | 8 => Fault::Cut { from: site, to: relay, both: random.percent(60), time },
            9 => Fault::Cut { from: relay, to: site, both: false, time },
            10 => Fault::Cut { from: NodeIndex::A, to: NodeIndex::B, both: true, time },
            11 => Fault::Kill { node: site, fuse: 0, down: time / 3 },
            12 => Fault::Switchover,
            13 => Fault::Cut { from: site, to: NodeIndex::RELAY2, both: true, time },
            _ => lose(random),
        };
        planned.push(Planned { at, fault });
        if random.percent(20) {
            // The other relay goes soon after.
            let node = if relay == NodeIndex::RELAY { NodeIndex::RELAY2 } else { NodeIndex::RELAY };
            let fault = Fault::Kill { node, fuse: 0, down: random.range(MS, 3 * SECOND) };
            planned.push(Planned { at: at + random.below(3 * SECOND), fault });
        }
        at += if random.percent(30) { random.below(300 * MS) } else { random.range(500 * MS, 4 * SECOND) };
    }
    if let Some((from, _)) = lanes.then {
        // Both sites are started anew, one after the other, as who changes a file does.
        for (site, after) in NodeIndex::SITES.into_iter().zip([random.below(SECOND), random.below(SECOND)]) {
            let fault = Fault::Kill { node: site, fuse: 0, down: random.range(MS, 300 * MS) };
            planned.push(Planned { at: from + after, fault });
        }
        if random.percent(60) {
            // Meanwhile the other site hears of the change, and gets nothing of the journal.
            let (at, time) = (from - random.below(500 * MS), random.range(SECOND, 5 * SECOND));
            for relay in [NodeIndex::RELAY, NodeIndex::RELAY2] {
                let fault = Fault::Cut { from: NodeIndex::B, to: relay, both: true, time };
                planned.push(Planned { at, fault });
            }
        }
    }
    if random.percent(15) {
        let harm = Harm::OtherDisk {
            node: random.pick(&[NodeIndex::RELAY, NodeIndex::RELAY2]),
            new_areas: random.percent(85),
            down: random.range(MS, 3 * SECOND),
        };
        planned.push(Planned { at: random.below(swarm.faults_for), fault: Fault::Harm(harm) });
    }
    for _ in 0..random.range(1, 5) {
        planned.push(Planned { at: 0, fault: Fault::Strike(strike(random, lanes)) });
    }
    planned
}

/// What happens to relays and to changes of the set beside an operator's words, in half of the seeds: no path is cut, and no disk is another
/// one, for two histories are judged only where it is known from when on there are two.
fn beside_words(random: &mut Random, swarm: &Swarm, lanes: Lanes) -> Vec<Planned> {
    let mut planned = Vec::new();
    if random.percent(50) {
        return planned;
    }
    let mut at = random.range(300 * MS, 2 * SECOND);
    while at < swarm.faults_for {
        let node = random.pick(&[NodeIndex::RELAY, NodeIndex::RELAY, NodeIndex::RELAY2]);
        let long = random.percent(40);
        let time = if long { random.range(1500 * MS, 5 * SECOND) } else { random.range(MS, 600 * MS) };
        let fault = match random.below(8) {
            0..=3 => Fault::Kill { node, fuse: 0, down: time },
            4 | 5 => Fault::Power { node, down: time },
            6 => Fault::Pause { node, time },
            _ => Fault::Switchover,
        };
        planned.push(Planned { at, fault });
        at += random.range(500 * MS, 5 * SECOND);
    }
    for _ in 0..random.range(1, 4) {
        let strike = strike(random, lanes);
        if strike.blow != Blow::Apart {
            planned.push(Planned { at: 0, fault: Fault::Strike(strike) });
        }
    }
    planned
}

fn lose(random: &mut Random) -> Fault {
    let how =
        random.pick(&[How::Killed, How::Powerless, How::Paused, How::CutFromRelay, How::CutOff, How::Well]);
    let asking = random.pick(&[Asking::Nobody, Asking::Once, Asking::Once]);
    let (patient, back) = (random.percent(50), random.range(20 * MS, 4 * SECOND));
    Fault::Lose { how, patient, back, delay: random.below(300 * MS), asking }
}

fn strike(random: &mut Random, lanes: Lanes) -> Strike {
    let relay = random.pick(&[NodeIndex::RELAY, NodeIndex::RELAY2]);
    let blow = match random.below(10) {
        0 | 1 => Blow::Here,
        2 => Blow::There,
        3 | 4 => Blow::At(relay),
        5 => Blow::Power(random.pick(&NodeIndex::EVERY)),
        6 | 7 => Blow::Apart,
        _ => Blow::Both(relay),
    };
    let moment = random.pick(&Moment::ALL);
    let skip = u32::try_from(random.below(3)).unwrap_or(0);
    let skip = if moment == Moment::Doubled || matches!(lanes.policy, LanePolicy::Mirror | LanePolicy::Stripe)
    {
        skip * 9
    } else {
        skip
    };
    let fuse = if random.percent(50) { 0 } else { u32::try_from(random.below(12)).unwrap_or(0) };
    let time = if random.percent(40) { random.range(SECOND, 5 * SECOND) } else { random.range(MS, 300 * MS) };
    Strike { moment, skip, fuse, blow, time }
}
