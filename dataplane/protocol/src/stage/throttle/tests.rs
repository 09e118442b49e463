//! What hosts see of the throttle: no wait below the threshold, no jump, no stall and no burst behind it, and the bound.

use super::*;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

const MIB: u64 = 1 << 20;
const MS: u64 = 1_000_000;
const SIZE: u64 = 64 * MIB;
const DELAY: u64 = 100 * MS;

fn at(used: u64, drain: u64) -> Throttle {
    let mut throttle = Throttle::new(SIZE, 80, DELAY);
    throttle.on_level(0, used, 0);
    throttle.on_level(SECOND_NS, used, drain);
    throttle
}

fn one(waited_ns: u64) -> Queue {
    Queue { waiting: 1, oldest_ns: waited_ns, newest_ns: waited_ns }
}

#[test]
fn below_the_threshold_nobody_waits() {
    let throttle = at(SIZE / 100 * 80, 0);
    assert!(!throttle.is_on());
    assert_eq!((throttle.pace(), throttle.next_at(7, 7, 1 << 20, one(0))), (None, 7));
}

#[test]
fn a_maximum_delay_of_nothing_never_holds_back_but_sees_the_threshold() {
    let mut throttle = Throttle::new(SIZE, 80, 0);
    assert_eq!(throttle.on_level(0, SIZE, 0), Some(Crossing::Up));
    assert!(!throttle.is_on() && throttle.pace().is_none());
}

#[test]
fn the_threshold_is_told_once_each_way_and_does_not_flap() {
    let mut throttle = Throttle::new(1000, 80, DELAY);
    let levels = [799, 800, 799, 801, 701, 800, 699, 799, 700, 800];
    let told: Vec<_> = levels.iter().map(|used| throttle.on_level(0, *used, 0)).collect();
    let ups = told.iter().filter(|crossing| **crossing == Some(Crossing::Up)).count();
    let downs = told.iter().filter(|crossing| **crossing == Some(Crossing::Down)).count();
    assert_eq!((ups, downs), (2, 1), "{told:?}");
    assert_eq!((told[1], told[6]), (Some(Crossing::Up), Some(Crossing::Down)));
}

#[test]
fn the_pace_comes_down_without_a_jump_from_no_bound_to_nothing() {
    let drain = 10 * MIB;
    let from = SIZE / 100 * 80;
    let steps = (SIZE - from) / 4096;
    let mut before = u64::MAX;
    for step in 1..steps {
        let pace = at(from + step * 4096, drain).pace().unwrap();
        assert!(pace <= before, "it never rises with the level");
        // A block more of the ring is a small part less; the first blocks behind the threshold have no bound at all.
        if step > 300 {
            assert!(before - pace < drain / 100, "{before} -> {pace} at {step}");
        }
        before = pace;
    }
    assert!(before < drain / 100, "{before} at the end");
    assert!(at(from + 1, 0).pace().unwrap() > 1 << 40, "at the threshold there is no bound");
}

#[test]
fn no_write_waits_for_longer_than_the_maximum_delay() {
    // Full, and nothing drains: the pace is nothing at all.
    let throttle = at(SIZE, 0);
    assert_eq!(throttle.pace(), Some(0));
    assert_eq!(throttle.next_at(1000, 1000, 4096, one(0)), 1000 + DELAY);
    // However often it is asked meanwhile.
    assert_eq!(throttle.next_at(1000 + DELAY / 2, 1000, 4096, one(DELAY / 2)), 1000 + DELAY);
    assert_eq!(throttle.next_at(1000 + DELAY, 1000, 4096, one(DELAY)), 1000 + DELAY);
    assert!(throttle.next_at(5000 * MS, 0, 4096, one(3 * DELAY)) <= 5000 * MS);
    for waiting in [1, 2, 50, 1024] {
        for oldest_ns in [0, DELAY / 2, DELAY, u64::MAX] {
            let queue = Queue { waiting, oldest_ns, newest_ns: 0 };
            let next = throttle.next_at(SECOND_NS, SECOND_NS, u64::MAX, queue);
            assert!(next <= (SECOND_NS + DELAY).saturating_sub(oldest_ns), "{queue:?}");
        }
    }
}

#[test]
fn extremes_do_not_overflow() {
    for size in [0, 1, 4096, MARGIN_BYTES, u64::MAX] {
        let mut throttle = Throttle::new(size, u64::MAX, u64::MAX);
        for (now, used) in [(0, 0), (SECOND_NS, u64::MAX), (u64::MAX, u64::MAX), (0, 0), (1, u64::MAX)] {
            throttle.on_level(now, used, used);
            let queue = Queue { waiting: u64::MAX, oldest_ns: now, newest_ns: 0 };
            throttle.pace();
            throttle.next_at(now, u64::MAX, u64::MAX, queue);
        }
    }
}

/// Hosts that always have `depth` writes under way, and a secondary that drains in steps: what the ring and the hosts see.
struct Play {
    /// When each write went in, from the time on at which the threshold was crossed.
    went: Vec<u64>,
    longest_wait: u64,
    highest: u64,
}

fn play(max_delay: u64, depth: u64, length: u64, drain: impl Fn(u64) -> u64) -> Play {
    const TICK: u64 = MS / 4;
    let mut throttle = Throttle::new(SIZE, 80, max_delay);
    let (mut sealed, mut freed, mut owed) = (SIZE / 100 * 75, 0, 0);
    let mut waiting: VecDeque<u64> = VecDeque::new();
    let (mut last, mut now) = (0, 0);
    let mut seen = Play { went: Vec::new(), longest_wait: 0, highest: 0 };
    while now < 60 * SECOND_NS {
        now += TICK;
        // Ring space is freed a few times in a second, not byte by byte.
        owed += drain(now) / (SECOND_NS / TICK);
        if now.is_multiple_of(200 * MS) {
            freed = (freed + core::mem::take(&mut owed)).min(sealed);
        }
        throttle.on_level(now, sealed - freed, freed);
        // An answered write is followed by the next one at once, at 20,000 in a second at most.
        let mut budget = 5;
        loop {
            while (waiting.len() as u64) < depth {
                waiting.push_back(now);
            }
            let (oldest, newest) = (waiting[0], waiting[waiting.len() - 1]);
            let queue = Queue { waiting: depth, oldest_ns: now - oldest, newest_ns: now - newest };
            if budget == 0 || throttle.next_at(now, last, cost(length), queue) > now {
                break;
            }
            budget -= 1;
            waiting.pop_front();
            last = now;
            sealed += cost(length);
            throttle.on_level(now, sealed - freed, freed);
            if throttle.is_on() {
                seen.went.push(now);
                seen.longest_wait = seen.longest_wait.max(now - oldest);
            }
        }
        seen.highest = seen.highest.max(sealed - freed);
    }
    seen
}

/// Longest time without a write, and most writes in a tenth of a second, of those from `from` on.
fn gaps(went: &[u64], from: u64) -> (u64, usize) {
    let went: Vec<u64> = went.iter().copied().filter(|at| *at >= from).collect();
    let longest = went.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(u64::MAX);
    let most = went.iter().map(|at| went.iter().filter(|o| (*at..*at + SECOND_NS / 10).contains(*o)).count());
    (longest, most.max().unwrap_or(0))
}

#[test]
fn a_slow_secondary_sets_the_pace_and_the_ring_never_fills() {
    for (depth, length) in [(1, 128 * 1024), (32, 4096), (8, 65536), (128, 16384)] {
        let seen = play(SECOND_NS, depth, length, |_| 4 * MIB);
        assert!(seen.highest < SIZE - MARGIN_BYTES, "depth {depth}: {} of {SIZE}", seen.highest);
        // Neither a stall nor a burst: in its last half minute hosts are let in as evenly as what drains.
        let (longest, most) = gaps(&seen.went, 30 * SECOND_NS);
        let mean = 4 * MIB / cost(length) / 10;
        assert!(longest < SECOND_NS / 5, "depth {depth}: {longest} ns without a write");
        assert!(most as u64 <= mean * 2 + 2, "depth {depth}: {most} within 100 ms, {mean} are even");
    }
}

#[test]
fn a_secondary_that_is_away_makes_hosts_slower_and_slower_up_to_the_maximum_delay() {
    let depth = 4;
    let seen = play(DELAY, depth, 65536, |_| 0);
    let within = |from: u64, to: u64| seen.went.iter().filter(|at| (from..to).contains(*at)).count();
    let counts: Vec<usize> = (0..12).map(|at| within(at * 5 * SECOND_NS, (at + 1) * 5 * SECOND_NS)).collect();
    assert!(counts.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{counts:?}");
    // It ends at the pace that the maximum delay means: each of the hosts once in that time.
    let least = usize::try_from(depth * 5 * SECOND_NS / DELAY).unwrap();
    assert!(counts[11] >= least - 2 && counts[11] <= least * 5 / 4 + 4, "{counts:?}, {least}");
    assert!(seen.longest_wait <= DELAY + MS, "{} ns", seen.longest_wait);
    let (longest, _) = gaps(&seen.went, 0);
    assert!(longest <= DELAY, "{longest} ns without a write");
}

#[test]
fn a_secondary_that_comes_back_frees_hosts() {
    let seen = play(SECOND_NS, 2, 65536, |now| if now < 20 * SECOND_NS { 0 } else { 40 * MIB });
    let late = seen.went.iter().filter(|at| **at > 30 * SECOND_NS && **at < 31 * SECOND_NS).count();
    let slow = seen.went.iter().filter(|at| **at > 18 * SECOND_NS && **at < 19 * SECOND_NS).count();
    assert!(late > slow * 4, "{slow} in a second without it, {late} with it");
    assert!(seen.highest < SIZE, "{}", seen.highest);
}

#[test]
fn many_that_come_at_once_are_spread() {
    let throttle = at(SIZE, 0);
    let (mut last, mut now, mut went) = (0, SECOND_NS, Vec::new());
    for left in (1..=20).rev() {
        let waited = now - SECOND_NS;
        let queue = Queue { waiting: left, oldest_ns: waited, newest_ns: waited };
        now = throttle.next_at(now, last.max(SECOND_NS), 4096, queue).max(now);
        last = now;
        went.push(now - SECOND_NS);
    }
    assert!(went.iter().all(|at| *at <= DELAY), "{went:?}");
    assert!(went.windows(2).all(|pair| pair[1] - pair[0] <= DELAY / 10), "{went:?}");
    assert!(went.windows(2).filter(|pair| pair[1] == pair[0]).count() <= 1, "{went:?}");
}
