//! The runs: bounds in which everything must hold, and for each sentence left out the bounds in which it is missed.

use crate::bounds::Bounds;
use crate::rule::Rule;
use crate::vocab::LaneSet;

const ONE: LaneSet = LaneSet::new(0b001, 1);
const SECOND: LaneSet = LaneSet::new(0b010, 1);
const THIRD: LaneSet = LaneSet::new(0b100, 1);
const FAILOVER: LaneSet = LaneSet::new(0b011, 1);
const MIRROR: LaneSet = LaneSet::new(0b011, 2);
const RIGHT_MIRROR: LaneSet = LaneSet::new(0b110, 2);
const TWO_OF_THREE: LaneSet = LaneSet::new(0b111, 2);

/// The bounds in which leaving out `rule` is missed.
pub fn without(rule: Rule) -> Bounds {
    let one = Bounds { takeovers: 1, ..Bounds::new(&[ONE]) };
    let mirror = Bounds { takeovers: 1, crashes: 1, in_flight: false, ..Bounds::new(&[MIRROR]) };
    let removal = Bounds { takeovers: 1, ..Bounds::new(&[FAILOVER, SECOND]) };
    let bounds = match rule {
        Rule::Lease | Rule::NoProgressToFormer | Rule::OldEpochRefused | Rule::RefusedIsFenced => one,
        Rule::LeaseAfterRestart | Rule::DurableFence => Bounds { relay_crashes: 1, ..one },
        Rule::Settled | Rule::GreaterEpoch => Bounds { crashes: 1, ..one },
        Rule::OwnEpochsOnly => Bounds { writes: 1, crashes: 1, in_flight: false, ..one.with(&[ONE, SECOND]) },
        Rule::EnoughLanes => Bounds { takeovers: 1, ..Bounds::new(&[FAILOVER]) },
        Rule::SetNeverShrinks => Bounds { crashes: 1, ..Bounds::new(&[FAILOVER]) },
        Rule::WipedIsLost => Bounds { wipes: 1, ..one },
        Rule::LeaveMark
        | Rule::MarkRefusedDuringTakeover
        | Rule::MarkStopsTakeover
        | Rule::EndBeforeOutside => Bounds { leaves: 1, ..one },
        Rule::RecordedFirst => Bounds { takeovers: 1, ..Bounds::new(&[ONE, FAILOVER]) },
        Rule::BothSets | Rule::DrainedFirst => removal,
        Rule::UnansweredDrained | Rule::SetInTimeOrder => {
            Bounds { writes: 1, crashes: 1, in_flight: false, ..removal }
        }
        Rule::OutcomeOfThisAsk => Bounds { in_flight: false, takeovers: 1, ..Bounds::new(&[ONE, FAILOVER]) },
        Rule::AskingDurable => Bounds { writes: 1, crashes: 1, in_flight: false, ..removal },
        Rule::StartInNewSet => Bounds { writes: 1, ..mirror.with(&[MIRROR, THIRD]) },
        Rule::AloneUntilJoined => {
            Bounds { takeovers: 2, returns: 1, in_flight: false, ..Bounds::new(&[ONE, SECOND]) }
        }
        Rule::ResentBeforeServing | Rule::AppliesAnswerable => mirror,
        Rule::EpochRecordedFirst => Bounds { takeovers: 2, aborts: 1, crashes: 0, ..mirror },
        Rule::StartDecides => Bounds { writes: 1, ..mirror.with(&[TWO_OF_THREE]) },
        Rule::NoReleaseOnceRecorded => Bounds { aborts: 1, ..one },
    };
    Bounds { without: Some(rule), ..bounds }
}

/// Whether leaving out `rule` is missed soon enough for a test: where three lanes or an undone takeover are needed, millions
/// of states are seen before.
pub fn is_short(rule: Rule) -> bool {
    !matches!(
        rule,
        Rule::ResentBeforeServing | Rule::EpochRecordedFirst | Rule::StartDecides | Rule::StartInNewSet
    )
}

/// A run in which everything must hold, and everything that it allows must happen.
pub struct Sound {
    /// Its name.
    pub name: &'static str,
    /// Its limits.
    pub bounds: Bounds,
    /// Whether it is short enough to be one of the tests.
    pub short: bool,
}

/// All runs without a broken rule.
pub fn sound() -> Vec<Sound> {
    let one = Bounds { takeovers: 1, crashes: 1, ..Bounds::new(&[ONE]) };
    let calm = Bounds { in_flight: false, ..one.clone() };
    let short = |name, bounds| Sound { name, bounds, short: true };
    let long = |name, bounds| Sound { name, bounds, short: false };
    vec![
        short("one-lane", Bounds { aborts: 1, relay_crashes: 1, ..one.clone() }),
        short("one-lane-left", Bounds { leaves: 1, ..one.clone() }),
        short("one-lane-home", Bounds { takeovers: 2, returns: 1, in_flight: false, ..one.clone() }),
        short("failover", Bounds { writes: 1, ..calm.with(&[FAILOVER]) }),
        short("mirror", Bounds { wipes: 1, writes: 1, ..calm.with(&[MIRROR]) }),
        short("add", Bounds { crashes: 0, writes: 1, ..one.with(&[ONE, FAILOVER]) }),
        short("remove", Bounds { writes: 1, ..calm.with(&[FAILOVER, SECOND]) }),
        short("k-rises", Bounds { writes: 1, ..calm.with(&[FAILOVER, MIRROR]) }),
        short("k-drops", Bounds { writes: 1, ..calm.with(&[MIRROR, FAILOVER]) }),
        long(
            "one-lane-all",
            Bounds {
                epochs: 4,
                takeovers: 2,
                crashes: 1,
                relay_crashes: 1,
                aborts: 1,
                leaves: 1,
                returns: 1,
                ..Bounds::new(&[ONE])
            },
        ),
        long("one-lane-writes", Bounds { writes: 3, aborts: 1, leaves: 1, ..one.clone() }),
        long("failover-writes", calm.with(&[FAILOVER])),
        long("remove-writes", calm.with(&[FAILOVER, SECOND])),
        long("failover-all", Bounds { aborts: 1, leaves: 1, ..calm.with(&[FAILOVER]) }),
        long("failover-in-flight", one.with(&[FAILOVER])),
        long("mirror-in-flight", one.with(&[MIRROR])),
        long("mirror-all", Bounds { aborts: 1, leaves: 1, wipes: 1, ..calm.with(&[MIRROR]) }),
        long("two-of-three", Bounds { writes: 1, ..calm.with(&[TWO_OF_THREE]) }),
        long("two-of-three-writes", Bounds { crashes: 0, ..calm.with(&[TWO_OF_THREE]) }),
        long("move", Bounds { crashes: 0, ..calm.with(&[ONE, FAILOVER, SECOND]) }),
        long(
            "move-home",
            Bounds { takeovers: 2, returns: 1, crashes: 0, ..calm.with(&[ONE, FAILOVER, SECOND]) },
        ),
        long("mirror-replaced", Bounds { writes: 1, ..calm.with(&[MIRROR, TWO_OF_THREE, RIGHT_MIRROR]) }),
    ]
}
