//! The pair state of a group as one node sees it, and who may read and write in it.
//!
//! ```text
//!                 lanes reachable                       lanes away
//! primary         starting -> paired  <------------->  stalled
//!                    ^                                     | a lane refuses us for a newer epoch (I5)
//!                    |                                     v
//! secondary       paired -> taken_over (takeover)       fenced (a newer epoch is never left behind)
//!                 detached: its lanes are away; it follows again by itself
//! either          damaged: a disk or a journal cannot be trusted; an operator decides
//! ```

use crate::table::{Want, matches};
use Want::{Any, No, Yes};

/// The pair state of a group at one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairState {
    /// The start is running: the journal's tail is read and redone.
    Starting,
    /// In the lanes: what is answered is safe at the relay, and the secondary follows.
    Paired,
    /// Primary, lanes away: nothing new is answered until they are back.
    Stalled,
    /// A newer epoch exists: this node answers nothing.
    Fenced,
    /// Primary after a takeover, outside the lanes: the other site is away, changes are marked in the dirty map.
    TakenOver,
    /// Secondary, lanes away: it keeps its cut and follows when they are back.
    Detached,
    /// A disk or the journal is damaged: its copy is not used.
    Damaged,
}

/// Who may use the volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Hosts read and write.
    ReadWrite,
    /// Hosts are not served; their requests wait.
    Waits,
    /// Hosts are refused.
    Refused,
}

/// What is known, as one node sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PairFacts {
    /// Its role is primary.
    pub primary: bool,
    /// It serves hosts.
    pub serving: bool,
    /// Every lane that is needed is connected.
    pub lanes_up: bool,
    /// It was refused for a newer epoch.
    pub fenced: bool,
    /// It serves outside the lanes since a takeover.
    pub outside: bool,
    /// A disk failed, or a journal does not verify.
    pub damaged: bool,
}

const FACTS: usize = 6;

impl PairFacts {
    fn bits(self) -> [bool; FACTS] {
        [self.primary, self.serving, self.lanes_up, self.fenced, self.outside, self.damaged]
    }
}

struct Row {
    /// primary, serving, lanes up, fenced, outside, damaged.
    wants: [Want; FACTS],
    state: PairState,
}

const fn row(wants: [Want; FACTS], state: PairState) -> Row {
    Row { wants, state }
}

/// Fenced before all: nothing else matters once a newer epoch exists. Then damage, then where the node stands.
const TABLE: &[Row] = &[
    row([Any, Any, Any, Yes, Any, Any], PairState::Fenced),
    row([Any, Any, Any, No, Any, Yes], PairState::Damaged),
    row([Yes, Yes, Any, No, Yes, No], PairState::TakenOver),
    row([Yes, Yes, Yes, No, No, No], PairState::Paired),
    row([Yes, Yes, No, No, No, No], PairState::Stalled),
    row([Yes, No, Any, No, Any, No], PairState::Starting),
    row([No, Any, Yes, No, Any, No], PairState::Paired),
    row([No, Any, No, No, Any, No], PairState::Detached),
];

impl PairState {
    /// The state that the facts make.
    pub fn of(facts: PairFacts) -> Self {
        let bits = facts.bits();
        let found = TABLE.iter().find(|row| matches(&row.wants, &bits));
        // The test below shows that a row is always found; a state that promises nothing is the safe one.
        found.map_or(PairState::Damaged, |row| row.state)
    }

    /// The word in status, metrics and scripts.
    pub const fn word(self) -> &'static str {
        match self {
            PairState::Starting => "starting",
            PairState::Paired => "paired",
            PairState::Stalled => "stalled",
            PairState::Fenced => "fenced",
            PairState::TakenOver => "taken_over",
            PairState::Detached => "detached",
            PairState::Damaged => "damaged",
        }
    }

    /// What hosts may do at a node that is in this state.
    pub const fn access(self, primary: bool) -> Access {
        match self {
            PairState::Paired if primary => Access::ReadWrite,
            PairState::TakenOver => Access::ReadWrite,
            PairState::Starting | PairState::Stalled => Access::Waits,
            PairState::Paired | PairState::Fenced | PairState::Detached | PairState::Damaged => {
                Access::Refused
            }
        }
    }

    /// Whether a takeover can be without loss, as far as this state says (I1): only in `paired` everything that was
    /// answered is in the lanes. A stalled or detached node answers nothing outside them either.
    pub const fn zero_loss(self) -> bool {
        match self {
            PairState::Paired | PairState::Stalled | PairState::Detached | PairState::Starting => true,
            PairState::Fenced | PairState::TakenOver | PairState::Damaged => false,
        }
    }

    /// Who may read and write, and what to do, in a sentence.
    pub const fn meaning(self, primary: bool) -> &'static str {
        match self {
            PairState::Starting => "the start reads the journal's tail; hosts wait until it is redone",
            PairState::Paired if primary => "hosts read and write; every answered write is safe at the relay",
            PairState::Paired => "follows the primary; hosts are refused here until a takeover",
            PairState::Stalled => {
                "the relay is away: hosts wait, nothing answered is lost; bring the relay or the path to it back"
            }
            PairState::Fenced => {
                "the other site has taken over: this node answers nothing; hosts must use the other site"
            }
            PairState::TakenOver => {
                "hosts read and write here since the takeover; changes are marked for the other site, no lane protects them"
            }
            PairState::Detached => {
                "the relay is away: the last cut is kept; a takeover must reach the relay to be without loss"
            }
            PairState::Damaged => "a disk or journal cannot be trusted: see the events; its copy is not used",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::all_inputs;

    fn facts(bits: [bool; FACTS]) -> PairFacts {
        let [primary, serving, lanes_up, fenced, outside, damaged] = bits;
        PairFacts { primary, serving, lanes_up, fenced, outside, damaged }
    }

    #[test]
    fn every_input_has_exactly_one_row() {
        for input in all_inputs::<FACTS>() {
            let count = TABLE.iter().filter(|row| matches(&row.wants, &input)).count();
            assert_eq!(count, 1, "{:?}", facts(input));
        }
    }

    #[test]
    fn hosts_are_served_only_by_a_primary_that_no_newer_epoch_has_fenced() {
        for input in all_inputs::<FACTS>() {
            let facts = facts(input);
            let state = PairState::of(facts);
            if state.access(facts.primary) == Access::ReadWrite {
                assert!(facts.primary && facts.serving && !facts.fenced && !facts.damaged, "{facts:?}");
            }
        }
    }

    #[test]
    fn a_state_outside_the_lanes_never_promises_zero_loss() {
        for input in all_inputs::<FACTS>() {
            let facts = facts(input);
            if facts.primary && facts.serving && facts.outside {
                assert!(!PairState::of(facts).zero_loss(), "{facts:?}");
            }
        }
    }
}
