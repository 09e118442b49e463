//! Whether a secondary takes over by itself: only what an operator would have done with the same knowledge, and once.
//!
//! It never makes a takeover safe: that is the fence. It decides only when to ask for one, without accepting a loss.

use crate::table::{Want, matches};
use Want::{Any, No, Yes};

/// The wait before the first repetition of a takeover that was refused for a reason that may pass.
const FIRST_WAIT_NS: u64 = 1_000_000_000;
/// The longest wait before a repetition.
const LONGEST_WAIT_NS: u64 = 60_000_000_000;

/// What is known of a group at a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AutomaticFacts {
    /// The configuration says `takeover = "automatic"`.
    pub automatic: bool,
    /// This site is secondary, no start runs here, and its disks hold a cut.
    pub follows: bool,
    /// The last that the other site said since this node started is that it is the primary.
    pub led: bool,
    /// The verdict on the other site is that the node is dead.
    pub dead: bool,
    /// Each node that holds a lane is heard, and says that the other site is silent there.
    pub confirmed: bool,
    /// Both silences have lasted for as long as configured.
    pub waited: bool,
    /// As far as this site knows, a takeover loses nothing.
    pub lossless: bool,
}

const FACTS: usize = 7;

impl AutomaticFacts {
    fn bits(self) -> [bool; FACTS] {
        let Self { automatic, follows, led, dead, confirmed, waited, lossless } = self;
        [automatic, follows, led, dead, confirmed, waited, lossless]
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing, and why.
    Wait(&'static str),
    /// Ask for a takeover that accepts no loss.
    TakeOver,
}

struct Row {
    /// automatic, follows, led, dead, confirmed, waited, lossless.
    wants: [Want; FACTS],
    decision: Decision,
}

const fn row(wants: [Want; FACTS], decision: Decision) -> Row {
    Row { wants, decision }
}

/// In the order in which an operator would ask.
const TABLE: &[Row] = &[
    row(
        [No, Any, Any, Any, Any, Any, Any],
        Decision::Wait("a takeover is the operator's: `takeover` is \"manual\""),
    ),
    row(
        [Yes, No, Any, Any, Any, Any, Any],
        Decision::Wait("this site follows no primary, or holds no cut to serve"),
    ),
    row(
        [Yes, Yes, No, Any, Any, Any, Any],
        Decision::Wait("the other site has not said that it is primary since this node started"),
    ),
    row([Yes, Yes, Yes, No, Any, Any, Any], Decision::Wait("the primary is not known to be dead")),
    row(
        [Yes, Yes, Yes, Yes, No, Any, Any],
        Decision::Wait("the relay does not confirm that the primary is silent there"),
    ),
    row(
        [Yes, Yes, Yes, Yes, Yes, No, Any],
        Decision::Wait("the primary is dead, but not for as long as `takeover_after` yet"),
    ),
    row(
        [Yes, Yes, Yes, Yes, Yes, Yes, No],
        Decision::Wait("the primary is dead, and a takeover may lose something: an operator must decide"),
    ),
    row([Yes, Yes, Yes, Yes, Yes, Yes, Yes], Decision::TakeOver),
];

impl Decision {
    /// The decision that the facts make.
    pub fn of(facts: AutomaticFacts) -> Self {
        let bits = facts.bits();
        let found = TABLE.iter().find(|row| matches(&row.wants, &bits));
        // The test below shows that a row is always found; to do nothing is the safe one.
        found.map_or(Decision::Wait("no row"), |row| row.decision)
    }
}

/// How a takeover that was asked for ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This site is primary now.
    Taken,
    /// It was refused.
    Refused {
        /// The reason may pass by itself: a lane did not answer.
        may_pass: bool,
    },
}

/// Where the takeover of one group stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Automatic {
    /// None was asked for.
    #[default]
    Watching,
    /// One was asked for and has not ended.
    Asked {
        /// How long to wait after the next refusal.
        wait_ns: u64,
    },
    /// One was refused for a reason that may pass.
    Again {
        /// Not before this.
        at_ns: u64,
        /// How long to wait after the next refusal.
        wait_ns: u64,
    },
    /// It was taken over, or refused for good. Nothing more happens until the other site is heard again.
    Done,
}

impl Automatic {
    /// As it was left by an earlier run of the daemon: one was asked for and has not ended.
    pub const fn asked() -> Self {
        Self::Asked { wait_ns: FIRST_WAIT_NS }
    }

    /// How things stand now. [`Decision::TakeOver`] is said once: then [`Automatic::on_outcome`] must follow.
    pub fn on_look(&mut self, now_ns: u64, facts: AutomaticFacts) -> Decision {
        let decision = Decision::of(facts);
        match (*self, decision) {
            (Self::Asked { .. }, _) => Decision::Wait("a takeover was asked for"),
            (_, Decision::Wait(why)) => Decision::Wait(why),
            (Self::Watching, Decision::TakeOver) => {
                *self = Self::Asked { wait_ns: FIRST_WAIT_NS };
                decision
            }
            (Self::Again { at_ns, .. }, Decision::TakeOver) if now_ns < at_ns => {
                Decision::Wait("the last takeover was refused; it is tried again soon")
            }
            (Self::Again { wait_ns, .. }, Decision::TakeOver) => {
                *self = Self::Asked { wait_ns };
                decision
            }
            (Self::Done, Decision::TakeOver) => {
                Decision::Wait("the last takeover was refused for good: an operator must decide")
            }
        }
    }

    /// The takeover that was asked for has ended.
    pub fn on_outcome(&mut self, now_ns: u64, outcome: Outcome) {
        *self = match (*self, outcome) {
            (Self::Asked { wait_ns }, Outcome::Refused { may_pass: true }) => Self::Again {
                at_ns: now_ns.saturating_add(wait_ns),
                wait_ns: wait_ns.saturating_mul(2).min(LONGEST_WAIT_NS),
            },
            (Self::Asked { .. }, Outcome::Taken | Outcome::Refused { may_pass: false }) => Self::Done,
            (Self::Watching | Self::Again { .. } | Self::Done, _) => *self,
        };
    }

    /// The other site is heard: whatever comes is another case.
    pub fn on_heard(&mut self) {
        match self {
            Self::Asked { .. } => {}
            Self::Watching | Self::Again { .. } | Self::Done => *self = Self::Watching,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::all_inputs;

    const SECOND: u64 = 1_000_000_000;
    const ALL: AutomaticFacts = AutomaticFacts {
        automatic: true,
        follows: true,
        led: true,
        dead: true,
        confirmed: true,
        waited: true,
        lossless: true,
    };

    fn facts(bits: [bool; FACTS]) -> AutomaticFacts {
        let [automatic, follows, led, dead, confirmed, waited, lossless] = bits;
        AutomaticFacts { automatic, follows, led, dead, confirmed, waited, lossless }
    }

    #[test]
    fn every_input_has_exactly_one_row() {
        for input in all_inputs::<FACTS>() {
            let count = TABLE.iter().filter(|row| matches(&row.wants, &input)).count();
            assert_eq!(count, 1, "{:?}", facts(input));
        }
    }

    #[test]
    fn a_takeover_needs_every_fact() {
        for input in all_inputs::<FACTS>() {
            assert_eq!(Decision::of(facts(input)) == Decision::TakeOver, facts(input) == ALL);
        }
    }

    #[test]
    fn it_is_asked_for_once() {
        let mut automatic = Automatic::default();
        assert_eq!(automatic.on_look(0, ALL), Decision::TakeOver);
        for second in 1..100 {
            assert!(matches!(automatic.on_look(second * SECOND, ALL), Decision::Wait(_)));
        }
        // Nobody is asked twice because the other site came back meanwhile.
        automatic.on_heard();
        assert!(matches!(automatic.on_look(100 * SECOND, ALL), Decision::Wait(_)));
        automatic.on_outcome(101 * SECOND, Outcome::Taken);
        assert!(matches!(automatic.on_look(102 * SECOND, ALL), Decision::Wait(_)));
    }

    #[test]
    fn a_refusal_that_may_pass_is_repeated_after_longer_and_longer_waits() {
        let mut automatic = Automatic::default();
        let mut asked = [0; 12];
        let mut now = 0;
        for at in &mut asked {
            while automatic.on_look(now, ALL) != Decision::TakeOver {
                now += SECOND;
            }
            *at = now / SECOND;
            automatic.on_outcome(now, Outcome::Refused { may_pass: true });
        }
        assert_eq!(asked, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363]);
    }

    #[test]
    fn a_refusal_for_good_is_not_repeated_until_the_other_site_was_heard() {
        let mut automatic = Automatic::default();
        assert_eq!(automatic.on_look(0, ALL), Decision::TakeOver);
        automatic.on_outcome(0, Outcome::Refused { may_pass: false });
        assert!(matches!(automatic.on_look(3_600 * SECOND, ALL), Decision::Wait(_)));
        automatic.on_heard();
        assert_eq!(automatic.on_look(3_601 * SECOND, ALL), Decision::TakeOver);
    }

    #[test]
    fn an_outcome_that_nobody_waits_for_changes_nothing() {
        let mut automatic = Automatic::default();
        automatic.on_outcome(0, Outcome::Refused { may_pass: false });
        assert_eq!(automatic, Automatic::Watching);
    }
}
