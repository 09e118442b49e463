//! The register against a slow and obvious oracle: is there any order of the operations that explains what was seen?

use super::*;
use crate::hammer::random::Seeded;

/// The initial content's digest in the histories whose initial content is not zero.
const BEFORE: u64 = 999;

#[derive(Clone, Debug)]
struct Operation {
    /// `None` for a read.
    write: Option<(u64, Kind)>,
    held: Held,
    start: u64,
    /// `NEVER` for an unanswered write.
    end: u64,
    processed: u64,
}

impl Operation {
    fn must_happen(&self) -> bool {
        self.end != NEVER && !matches!(self.write, Some((_, Kind::MaybeZero)))
    }
}

#[derive(Debug)]
struct History {
    initial: u64,
    operations: Vec<Operation>,
    last: Held,
}

fn initial_held(initial: u64) -> Held {
    if initial == 0 { Held::Zero } else { Held::Other(initial) }
}

/// Tries all orders that respect real time.
fn explainable(history: &History) -> bool {
    fn search(history: &History, done: u32, holds: Held) -> bool {
        let open = |index: usize| done & (1 << index) == 0;
        let operations = &history.operations;
        if holds == history.last
            && (0..operations.len()).all(|index| !open(index) || !operations[index].must_happen())
        {
            return true;
        }
        (0..operations.len()).filter(|index| open(*index)).any(|index| {
            let operation = &operations[index];
            let blocked = (0..operations.len()).any(|other| {
                open(other) && operations[other].must_happen() && operations[other].end < operation.start
            });
            // An answered trim that did nothing must not happen late either.
            let too_late =
                (0..operations.len()).any(|other| !open(other) && operation.end < operations[other].start);
            if blocked || too_late {
                return false;
            }
            match operation.write {
                Some(_) => search(history, done | 1 << index, operation.held),
                None => operation.held == holds && search(history, done | 1 << index, holds),
            }
        })
    }
    search(history, 0, initial_held(history.initial))
}

/// The register's opinion; events are given to it in the order of their processing.
fn accepted(history: &History) -> bool {
    let mut register = Register::untouched(history.initial);
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (index, operation) in history.operations.iter().enumerate() {
        events.push((operation.start, false, index));
        events.push((operation.processed, true, index));
    }
    events.sort();
    let mut flying: Vec<usize> = Vec::new();
    let mut right = true;
    for (time, is_end, index) in events {
        let operation = &history.operations[index];
        if !is_end {
            flying.push(index);
            if let Some((op, kind)) = operation.write {
                register.begin(op, kind, operation.start);
            }
            continue;
        }
        let latest =
            history.operations.iter().map(|other| other.start).filter(|start| *start <= time).max().unwrap();
        let oldest = flying.iter().map(|index| history.operations[*index].start).min().unwrap_or(latest);
        flying.retain(|other| *other != index);
        match operation.write {
            Some(_) if operation.end == NEVER => {}
            Some((op, _)) => right &= register.end(op, operation.end, oldest).is_ok(),
            None => {
                right &= register.observe(operation.held, operation.start, operation.end, oldest)
                    == Judgement::Right;
            }
        }
    }
    right && register.judge(history.last) == Judgement::Right
}

/// A history that a true register produced; then, in half of the cases, one of its observations is changed.
fn random_history(random: &mut Seeded, kinds: &[Kind], reads: bool) -> History {
    let initial = if random.percent(50) { 0 } else { BEFORE };
    let mut operations = Vec::new();
    let mut instants = Vec::new();
    for index in 0..2 + random.below(6) {
        let start = 1 + random.below(24);
        let end = start + random.below(10);
        let point = start + random.below(end - start + 1);
        let mut write = None;
        if !reads || random.percent(55) {
            write = Some((index + 1, kinds[usize::try_from(random.below(kinds.len() as u64)).unwrap()]));
        }
        let unanswered = write.is_some() && random.percent(25);
        let held = match write {
            Some((op, Kind::Data)) => Held::Op(op),
            _ => Held::Zero,
        };
        let processed = if unanswered && random.percent(50) { 1000 } else { end + 1 + random.below(6) };
        let end = if unanswered { NEVER } else { end };
        operations.push(Operation { write, held, start, end, processed });
        let takes_effect = match write {
            Some((_, Kind::MaybeZero)) => random.percent(50),
            Some(_) => !unanswered || random.percent(50),
            None => true,
        };
        if takes_effect {
            instants.push((point, usize::try_from(index).unwrap()));
        }
    }
    instants.sort();
    let mut holds = initial_held(initial);
    for (_, index) in instants {
        if operations[index].write.is_some() {
            holds = operations[index].held;
        } else {
            operations[index].held = holds;
        }
    }
    let mut history = History { initial, operations, last: holds };
    if random.percent(50) {
        falsify(random, &mut history);
    }
    history
}

fn falsify(random: &mut Seeded, history: &mut History) {
    let pick = |random: &mut Seeded, count: usize| usize::try_from(random.below(count as u64)).unwrap();
    let reads: Vec<usize> =
        (0..history.operations.len()).filter(|index| history.operations[*index].write.is_none()).collect();
    let target =
        if reads.is_empty() || random.percent(50) { None } else { Some(reads[pick(random, reads.len())]) };
    // Content cannot come from the future: only writes that began before the observation ended.
    let limit = target.map_or(NEVER, |index| history.operations[index].end);
    let mut choices = vec![initial_held(history.initial)];
    let writes =
        history.operations.iter().filter(|operation| operation.write.is_some() && operation.start <= limit);
    choices.extend(writes.map(|operation| operation.held));
    let held = choices[pick(random, choices.len())];
    match target {
        Some(index) => history.operations[index].held = held,
        None => history.last = held,
    }
}

#[test]
fn histories_of_data_are_judged_exactly_as_by_trying_all_orders() {
    let mut counts = [0, 0];
    for seed in 0..60_000 {
        let history = random_history(&mut Seeded::new(seed, 0), &[Kind::Data], true);
        let expected = explainable(&history);
        assert_eq!(accepted(&history), expected, "seed {seed}: {history:#?}");
        counts[usize::from(expected)] += 1;
    }
    assert!(counts.iter().all(|count| *count > 10_000), "the histories are one-sided: {counts:?}");
}

#[test]
fn histories_without_reads_are_judged_exactly_zeroes_and_trims_included() {
    let mut counts = [0, 0];
    for seed in 0..60_000 {
        let kinds = [Kind::Data, Kind::Zero, Kind::MaybeZero];
        let history = random_history(&mut Seeded::new(seed, 1), &kinds, false);
        let expected = explainable(&history);
        assert_eq!(accepted(&history), expected, "seed {seed}: {history:#?}");
        counts[usize::from(expected)] += 1;
    }
    assert!(counts.iter().all(|count| *count > 5_000), "the histories are one-sided: {counts:?}");
}

#[test]
fn with_reads_of_zeroes_nothing_right_is_accused() {
    let (mut wrong, mut found) = (0, 0);
    for seed in 0..60_000 {
        let kinds = [Kind::Data, Kind::Data, Kind::Zero, Kind::MaybeZero];
        let history = random_history(&mut Seeded::new(seed, 2), &kinds, true);
        if explainable(&history) {
            assert!(accepted(&history), "seed {seed}: {history:#?}");
        } else {
            wrong += 1;
            found += usize::from(!accepted(&history));
        }
    }
    // Zeroes have no author, so a few wrong histories cannot be told; most can.
    assert!(found * 10 > wrong * 9, "{found} of {wrong}");
}

#[test]
fn a_unit_with_a_long_past_keeps_only_what_it_may_still_hold() {
    let mut register = Register::untouched(0);
    for op in 1..10_000 {
        register.begin(op, Kind::Data, op * 10);
        register.end(op, op * 10 + 5, op * 10).unwrap();
        assert!(register.clusters.len() <= 3, "{}", register.clusters.len());
    }
    assert_eq!(register.judge(Held::Op(9_999)), Judgement::Right);
    assert_eq!(register.judge(Held::Op(9_998)), Judgement::Stale { missing: 9_999 });
    assert_eq!(register.judge(Held::Op(5)), Judgement::Stale { missing: 9_999 });
    assert_eq!(register.judge(Held::Zero), Judgement::Stale { missing: 9_999 });
    assert_eq!(register.judge(Held::Other(3)), Judgement::Foreign);
}

#[test]
fn once_an_unanswered_write_was_read_the_content_may_not_go_back_before_it() {
    let mut register = Register::untouched(0);
    register.begin(1, Kind::Data, 10);
    register.end(1, 20, 10).unwrap();
    register.begin(2, Kind::Data, 30);
    assert_eq!(register.judge(Held::Op(1)), Judgement::Right);
    assert_eq!(register.observe(Held::Op(2), 40, 50, 30), Judgement::Right);
    assert_eq!(register.judge(Held::Op(1)), Judgement::Stale { missing: 2 });
    assert_eq!(register.observe(Held::Op(1), 60, 70, 60), Judgement::Stale { missing: 2 });
}

#[test]
fn an_answer_that_comes_late_can_convict_a_read_and_does_so_once() {
    let mut register = Register::untouched(0);
    register.begin(1, Kind::Data, 10);
    register.begin(2, Kind::Data, 101);
    register.end(2, 110, 10).unwrap();
    // As far as is known, the first write may be the later one.
    assert_eq!(register.observe(Held::Op(1), 111, 115, 10), Judgement::Right);
    assert_eq!(register.end(1, 100, 10), Err(2));
    assert_eq!(register.observe(Held::Op(1), 120, 125, 120), Judgement::Right);
    assert_eq!(register.observe(Held::Op(2), 130, 135, 130), Judgement::Right);
}
