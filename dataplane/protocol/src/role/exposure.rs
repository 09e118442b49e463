//! What exists at one place only, and what a takeover now would lose: from watermarks and times alone (I1).

use midspan_format::exposure::{Amount, Exposure};
use midspan_format::geometry::Position;
use midspan_format::time::Time;

/// A lane as its primary sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    pub sealed: Position,
    pub journaled: Position,
    /// `None`: nothing was heard of the secondary.
    pub acquired: Option<Position>,
    /// Newest time given.
    pub newest: Time,
    /// Oldest time of what is not journaled, and of what is not acquired, as far as known.
    pub unjournaled: Option<Time>,
    pub unacquired: Option<Time>,
    /// The secondary's cut.
    pub cut: Time,
}

/// A primary in the lanes. `marked`: bytes of regions that were answered outside them, until a round's End is answerable;
/// `local`: its lane stands at the primary itself.
pub(super) fn in_the_lanes(marks: &Marks, marked: Option<u64>, local: bool) -> Exposure {
    let between = |from: Time, to: Time| to.0.saturating_sub(from.0);
    let unjournaled = marks.unjournaled.unwrap_or(marks.newest);
    let in_flight =
        Amount::of(marks.sealed.0.saturating_sub(marks.journaled.0), between(unjournaled, marks.newest));
    let relay = marks.acquired.map_or(Amount::default(), |acquired| {
        // Where nothing says when it was written, it is no older than the cut.
        let since = marks.unacquired.unwrap_or(marks.cut);
        Amount::of(marks.journaled.0.saturating_sub(acquired.0), between(since, unjournaled))
    });
    let primary = marked.map_or(Amount::NONE, |bytes| Amount::of(bytes, between(marks.cut, marks.newest)));
    let found = Exposure { primary, in_flight, relay, loss: primary };
    if local { in_its_own_lane(found) } else { found }
}

/// What only a lane at the primary holds only that site holds, and a takeover loses it.
fn in_its_own_lane(found: Exposure) -> Exposure {
    let (lane, marked) = (found.relay, found.primary);
    let bytes = lane.bytes.zip(marked.bytes).map(|(lane, marked)| lane.saturating_add(marked));
    let primary = Amount { bytes, ns: lane.ns.zip(marked.ns).map(|(lane, marked)| lane.max(marked)) };
    Exposure { primary, loss: primary, relay: Amount::NONE, ..found }
}

/// The same as the secondary knows it: what that cannot know of the loss stays unknown.
pub(super) fn following_its_own_lane(found: Exposure) -> Exposure {
    Exposure { primary: found.relay, relay: Amount::NONE, ..found }
}

/// A primary outside the lanes since `since`: what it has answered from then on nobody else has.
pub(super) fn outside(marked: Option<u64>, since: Time, wall: u64) -> Exposure {
    let ns = (since > Time::ZERO).then(|| wall.saturating_sub(since.0));
    let primary = match marked {
        Some(0) => Amount::NONE,
        Some(_) | None => Amount { bytes: marked, ns },
    };
    Exposure { primary, in_flight: Amount::NONE, relay: Amount::default(), loss: primary }
}

/// A secondary. What is only at the primary it cannot know; `missing` is since when hosts were answered elsewhere, as far as
/// it was told.
pub(super) fn following(behind: Option<u64>, zero_loss: bool, missing: Option<Time>, wall: u64) -> Exposure {
    let relay = Amount { bytes: behind, ns: behind.filter(|bytes| *bytes == 0) };
    let ns = missing.filter(|since| *since > Time::ZERO).map(|since| wall.saturating_sub(since.0));
    let loss = if zero_loss { Amount::NONE } else { Amount { bytes: None, ns } };
    Exposure { relay, loss, ..Exposure::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks() -> Marks {
        Marks {
            sealed: Position(900),
            journaled: Position(700),
            acquired: Some(Position(400)),
            newest: Time(90),
            unjournaled: Some(Time(70)),
            unacquired: Some(Time(40)),
            cut: Time(30),
        }
    }

    #[test]
    fn what_is_answered_in_the_lanes_is_at_the_relay_and_lost_by_no_takeover() {
        let found = in_the_lanes(&marks(), None, false);
        assert_eq!((found.in_flight, found.relay), (Amount::of(200, 20), Amount::of(300, 30)));
        assert_eq!((found.primary, found.loss), (Amount::NONE, Amount::NONE));
    }

    #[test]
    fn until_a_round_has_ended_a_takeover_loses_what_it_is_to_bring() {
        let found = in_the_lanes(&marks(), Some(4096), false);
        assert_eq!((found.primary, found.loss), (Amount::of(4096, 60), Amount::of(4096, 60)));
    }

    #[test]
    fn what_only_the_lane_at_the_primary_holds_is_lost_by_a_takeover() {
        let found = in_the_lanes(&marks(), None, true);
        assert_eq!((found.primary, found.loss), (Amount::of(300, 30), Amount::of(300, 30)));
        assert_eq!((found.in_flight, found.relay), (Amount::of(200, 20), Amount::NONE));
        let found = in_the_lanes(&marks(), Some(4096), true);
        assert_eq!(found.loss, Amount::of(4396, 60));
        let found = in_the_lanes(&Marks { acquired: None, ..marks() }, None, true);
        assert_eq!(found.loss, Amount::default(), "what is not known is not called nothing");
    }

    #[test]
    fn where_everything_arrived_nothing_is_exposed_however_old_it_is() {
        let at = Position(900);
        let found = in_the_lanes(
            &Marks { journaled: at, acquired: Some(at), unjournaled: None, unacquired: None, ..marks() },
            None,
            false,
        );
        assert_eq!((found.in_flight, found.relay), (Amount::NONE, Amount::NONE));
    }

    #[test]
    fn what_is_not_known_is_not_called_nothing() {
        let found = in_the_lanes(&Marks { acquired: None, ..marks() }, None, false);
        assert_eq!(found.relay, Amount::default());
        // Times that nothing remembers are bounded by the cut.
        let found = in_the_lanes(&Marks { unacquired: None, ..marks() }, None, false);
        assert_eq!(found.relay, Amount::of(300, 40));
        assert_eq!(outside(None, Time::ZERO, 9).loss, Amount::default());
        assert_eq!(following(None, false, None, 9).loss, Amount::default());
    }

    #[test]
    fn outside_the_lanes_everything_since_then_would_be_lost() {
        let found = outside(Some(8192), Time(40), 100);
        assert_eq!((found.primary, found.loss), (Amount::of(8192, 60), Amount::of(8192, 60)));
        assert_eq!(outside(Some(0), Time(40), 100).loss, Amount::NONE, "nothing was written");
        assert_eq!(following(Some(5), false, Some(Time(40)), 100).loss, Amount { bytes: None, ns: Some(60) });
        assert_eq!(following(Some(0), true, None, 100).loss, Amount::NONE);
    }
}
