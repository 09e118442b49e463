//! Rounds that are of no use to their target.

use alloc::vec::Vec;

use midspan_format::ids::{AreaId, GroupId, LaneId};
use midspan_format::mark::{RoundBegin, RoundEnd};

use super::*;
use crate::stage::sealer::{Known, LaneIdentity, Sealer};
use crate::vocab::buffer::Buffers;
use crate::vocab::buffer::fixture::Heap;
use crate::vocab::tip::Tip;

const ME: NodeId = NodeId(3);
const EPOCH: Epoch = Epoch { number: 1, node: NodeId(1) };

/// A frame with the Begin of a round of so many regions.
fn begin(regions: u64, in_place: bool) -> Vec<u8> {
    let mark = RoundBegin { round: 20, epoch: EPOCH, in_place, regions, ..RoundBegin::default() };
    frame(EPOCH, &Mark::RoundBegin(mark))
}

/// A frame of an epoch with a mark.
fn frame(epoch: Epoch, mark: &Mark) -> Vec<u8> {
    let mut heap = Heap;
    let identity =
        LaneIdentity { group: GroupId(1), lane: LaneId(0), area: AreaId([7; 16]), epoch, flags: 0 };
    let mut sealer = Sealer::new(identity, 1, Time(10));
    sealer.join_mark(heap.take(4096).unwrap(), Time(20), mark);
    let tip = Tip::behind(midspan_format::geometry::Position(0), None);
    let frame = sealer.seal(&mut heap, tip, Known::default(), &mut Vec::new()).unwrap();
    frame.parts.iter().flat_map(|part| part.bytes().iter().copied()).collect()
}

#[test]
fn who_lacks_everything_takes_no_round_of_a_part() {
    for in_place in [false, true] {
        let course = Course::over(Mode::Away, &begin(13, in_place), ME, false, Some(14));
        assert_eq!((course.mode, course.fate), (Mode::Away, Fate::Pass));
    }
    let course = Course::over(Mode::Away, &begin(14, true), ME, false, Some(14));
    assert_eq!((course.mode, course.fate), (Mode::InPlace(20), Fate::Write));
    let course = Course::over(Mode::Away, &begin(13, true), ME, false, None);
    assert_eq!(
        (course.mode, course.fate),
        (Mode::InPlace(20), Fate::Write),
        "its last cut was given up for an earlier round"
    );
}

#[test]
fn what_is_staged_does_not_outlive_the_primary_that_began_the_round() {
    let course = Course::over(Mode::Away, &begin(1, false), ME, false, None);
    assert_eq!((course.mode, course.fate), (Mode::Staging(20, EPOCH), Fate::Keep));
    let mark = Mark::RoundEnd(RoundEnd { round: 7, ..RoundEnd::default() });
    let same = Course::over(course.mode, &frame(EPOCH, &mark), ME, false, None);
    assert_eq!((same.mode, same.fate, same.drops), (course.mode, Fate::Keep, false));
    let newer = frame(Epoch { number: 2, node: NodeId(1) }, &mark);
    let newer = Course::over(course.mode, &newer, ME, false, None);
    assert_eq!((newer.mode, newer.fate, newer.drops), (Mode::Away, Fate::Pass, true));
}
