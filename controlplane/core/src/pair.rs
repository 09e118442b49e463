//! The pair state of a group as one node sees it, and who may read and write in it.
//!
//! ```text
//!                 lanes reachable                       lanes away
//! primary         starting -> paired  <------------->  stalled
//!                    ^          ^                          | a lane refuses us for a newer epoch (I5)
//!                    |          | a round's end            v
//!                    |       initial_copy, resync       fenced (a newer epoch is never left behind)
//! secondary       paired -> taken_over (takeover)
//!                 detached: its lanes are away; it follows again by itself
//! either          split: it went on alone while the other site took over; an operator decides whose writes stay
//!                 damaged: a disk or a journal cannot be trusted; an operator decides
//! ```
//!
//! | state | hosts at the primary | hosts at the secondary | a takeover by the secondary |
//! | --- | --- | --- | --- |
//! | `starting`, `stalled` | wait | refused | can be without loss |
//! | `paired` | read and write | refused | can be without loss |
//! | `initial_copy` | read and write | refused | impossible until the copy's end |
//! | `resync` | read and write | refused | serves the last cut, with loss; impossible where the round runs in place |
//! | `taken_over` | read and write | - | the other site is away or fenced |
//! | `suspended`, `degraded` | read and write, outside the lanes | refused | serves the last cut, with loss |
//! | `detached` | - | refused | must reach the lanes to be without loss |
//! | `fenced`, `split`, `damaged` | refused | refused | not from this node's copy |

use crate::table::{Want, matches};
use Want::{Any, No, Yes};

/// The pair state of a group at one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairState {
    /// The start is running: the journal's tail is read and redone.
    Starting,
    /// In the lanes: what is answered is in them, and the secondary follows.
    Paired,
    /// The secondary never held a cut: a round brings it one.
    InitialCopy,
    /// A round sends what differs.
    Resync,
    /// Primary, lanes away: nothing new is answered until they are back.
    Stalled,
    /// A newer epoch exists: this node answers nothing.
    Fenced,
    /// Primary after a takeover, outside the lanes: the other site is away, changes are marked in the dirty map.
    TakenOver,
    /// Primary outside the lanes because the ring was full: changes are marked, and a round follows.
    Suspended,
    /// Primary outside the lanes because the relay was away: changes are marked, and a round follows.
    Degraded,
    /// Secondary, lanes away: it keeps its cut and follows when they are back.
    Detached,
    /// Both sites answered hosts: this one was replaced, and holds what the other lacks. An operator decides.
    Split,
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
    /// The secondary holds no cut: the first copy has not ended.
    pub copying: bool,
    /// A round has not ended.
    pub resyncing: bool,
    /// It answered hosts alone while the other site took over.
    pub split: bool,
    /// It is outside the lanes because the ring was full.
    pub suspended: bool,
    /// It is outside the lanes because the relay was away.
    pub degraded: bool,
}

const FACTS: usize = 11;

impl PairFacts {
    fn bits(self) -> [bool; FACTS] {
        let Self {
            primary,
            serving,
            lanes_up,
            fenced,
            outside,
            damaged,
            copying,
            resyncing,
            split,
            suspended,
            degraded,
        } = self;
        [primary, serving, lanes_up, fenced, outside, damaged, copying, resyncing, split, suspended, degraded]
    }

    /// Whether a takeover can be without loss, as far as these facts say: while a round has not ended the secondary lacks
    /// something that was answered.
    pub fn zero_loss(self) -> bool {
        PairState::of(self).zero_loss() && !self.copying && !self.resyncing
    }
}

struct Row {
    /// primary, serving, lanes up, fenced, outside, damaged, copying, resyncing, split, suspended, degraded.
    wants: [Want; FACTS],
    state: PairState,
}

const fn row(wants: [Want; FACTS], state: PairState) -> Row {
    Row { wants, state }
}

/// Split before all, then fenced: nothing else matters once a newer epoch exists. Then damage, then where the node stands, then the
/// round: hosts that wait are told why before they are told what is copied meanwhile.
const TABLE: &[Row] = &[
    row([Any, Any, Any, Any, Any, Any, Any, Any, Yes, Any, Any], PairState::Split),
    row([Any, Any, Any, Yes, Any, Any, Any, Any, No, Any, Any], PairState::Fenced),
    row([Any, Any, Any, No, Any, Yes, Any, Any, No, Any, Any], PairState::Damaged),
    row([Yes, Yes, Any, No, Yes, No, Any, Any, No, No, No], PairState::TakenOver),
    row([Yes, Yes, Any, No, Yes, No, Any, Any, No, Yes, Any], PairState::Suspended),
    row([Yes, Yes, Any, No, Yes, No, Any, Any, No, No, Yes], PairState::Degraded),
    row([Yes, Yes, Yes, No, No, No, Yes, Any, No, Any, Any], PairState::InitialCopy),
    row([Yes, Yes, Yes, No, No, No, No, Yes, No, Any, Any], PairState::Resync),
    row([Yes, Yes, Yes, No, No, No, No, No, No, Any, Any], PairState::Paired),
    row([Yes, Yes, No, No, No, No, Any, Any, No, Any, Any], PairState::Stalled),
    row([Yes, No, Any, No, Any, No, Any, Any, No, Any, Any], PairState::Starting),
    row([No, Any, Yes, No, Any, No, Yes, Any, No, Any, Any], PairState::InitialCopy),
    row([No, Any, Yes, No, Any, No, No, Yes, No, Any, Any], PairState::Resync),
    row([No, Any, Yes, No, Any, No, No, No, No, Any, Any], PairState::Paired),
    row([No, Any, No, No, Any, No, Any, Any, No, Any, Any], PairState::Detached),
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
            PairState::InitialCopy => "initial_copy",
            PairState::Resync => "resync",
            PairState::Stalled => "stalled",
            PairState::Fenced => "fenced",
            PairState::TakenOver => "taken_over",
            PairState::Suspended => "suspended",
            PairState::Degraded => "degraded",
            PairState::Detached => "detached",
            PairState::Split => "split",
            PairState::Damaged => "damaged",
        }
    }

    /// What hosts may do at a node that is in this state.
    pub const fn access(self, primary: bool) -> Access {
        match self {
            PairState::Paired | PairState::InitialCopy | PairState::Resync if primary => Access::ReadWrite,
            PairState::TakenOver | PairState::Suspended | PairState::Degraded => Access::ReadWrite,
            PairState::Starting | PairState::Stalled => Access::Waits,
            PairState::Paired
            | PairState::InitialCopy
            | PairState::Resync
            | PairState::Fenced
            | PairState::Detached
            | PairState::Split
            | PairState::Damaged => Access::Refused,
        }
    }

    /// Whether a takeover can be without loss, as far as this state says (I1): only in `paired` everything that was
    /// answered is in the lanes. A stalled or detached node answers nothing outside them either. [`PairFacts::zero_loss`]
    /// knows of rounds behind these states, too.
    pub const fn zero_loss(self) -> bool {
        match self {
            PairState::Paired | PairState::Stalled | PairState::Detached | PairState::Starting => true,
            PairState::InitialCopy
            | PairState::Resync
            | PairState::Fenced
            | PairState::TakenOver
            | PairState::Suspended
            | PairState::Degraded
            | PairState::Split
            | PairState::Damaged => false,
        }
    }

    /// Who may read and write, and what to do, in a sentence.
    pub const fn meaning(self, primary: bool) -> &'static str {
        match self {
            PairState::Starting => "the start reads the journal's tail; hosts wait until it is redone",
            PairState::Paired if primary => "hosts read and write; every answered write is in the lanes",
            PairState::Paired => "follows the primary; hosts are refused here until a takeover",
            PairState::InitialCopy if primary => {
                "hosts read and write; the other site is copied for the first time and cannot take over until that has ended"
            }
            PairState::InitialCopy => {
                "is copied for the first time: hosts are refused, no takeover is possible here until that has ended"
            }
            PairState::Resync if primary => {
                "hosts read and write; what differs is sent to the other site, which cannot take over without loss until then"
            }
            PairState::Resync => {
                "gets what differs from the primary; hosts are refused, a takeover before the end loses something"
            }
            PairState::Stalled => {
                "the relay is away: hosts wait, nothing answered is lost; bring the relay or the path to it back"
            }
            PairState::Fenced => {
                "the other site has taken over: this node answers nothing; hosts must use the other site"
            }
            PairState::TakenOver => {
                "hosts read and write here since the takeover; changes are marked for the other site, no lane protects them"
            }
            PairState::Suspended => {
                "the ring is full: hosts read and write outside the lanes, changes are marked; a round follows when the other site is there"
            }
            PairState::Degraded => {
                "the relay is away: hosts read and write outside the lanes, changes are marked; a round follows when it is back"
            }
            PairState::Detached => {
                "the relay is away: the last cut is kept; a takeover must reach the relay to be without loss"
            }
            PairState::Split => {
                "both sites answered hosts: this one was replaced and answers nothing; `midspan resolve` gives up what it alone holds"
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
        let [
            primary,
            serving,
            lanes_up,
            fenced,
            outside,
            damaged,
            copying,
            resyncing,
            split,
            suspended,
            degraded,
        ] = bits;
        PairFacts {
            primary,
            serving,
            lanes_up,
            fenced,
            outside,
            damaged,
            copying,
            resyncing,
            split,
            suspended,
            degraded,
        }
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
            if facts.split || (facts.primary && facts.serving && facts.outside) {
                assert!(!PairState::of(facts).zero_loss(), "{facts:?}");
            }
        }
    }

    #[test]
    fn nothing_promises_zero_loss_before_a_round_has_ended() {
        for input in all_inputs::<FACTS>() {
            let facts = facts(input);
            if facts.copying || facts.resyncing {
                assert!(!facts.zero_loss(), "{facts:?}");
            } else {
                assert_eq!(facts.zero_loss(), PairState::of(facts).zero_loss(), "{facts:?}");
            }
        }
    }

    #[test]
    fn a_site_that_is_connected_and_trusted_says_that_a_round_runs() {
        for input in all_inputs::<FACTS>() {
            let facts = facts(input);
            let healthy = facts.lanes_up && !facts.fenced && !facts.damaged && !facts.outside && !facts.split;
            if healthy && (facts.serving || !facts.primary) {
                let expected = match (facts.copying, facts.resyncing) {
                    (true, _) => PairState::InitialCopy,
                    (false, true) => PairState::Resync,
                    (false, false) => PairState::Paired,
                };
                assert_eq!(PairState::of(facts), expected, "{facts:?}");
            }
        }
    }

    const FENCED: usize = 3;
    const DAMAGED: usize = 5;
    const SPLIT: usize = 8;

    /// Each state with each event: from every input that makes the state, one fact turned over.
    fn each_step(mut step: impl FnMut(PairFacts, usize, PairFacts)) {
        for input in all_inputs::<FACTS>() {
            for event in 0..FACTS {
                let mut after = input;
                after[event] = !after[event];
                step(facts(input), event, facts(after));
            }
        }
    }

    #[test]
    fn every_state_answers_every_event() {
        let mut seen = alloc::collections::BTreeMap::new();
        each_step(|before, event, after| {
            let steps = seen.entry((PairState::of(before).word(), event, before.bits()[event])).or_insert(0);
            *steps += 1;
            // What is learned of hosts that were served meanwhile, or of a newer epoch, outweighs every other event.
            match event {
                SPLIT if after.split => assert_eq!(PairState::of(after), PairState::Split, "{before:?}"),
                FENCED if after.fenced && !after.split => {
                    assert_eq!(PairState::of(after), PairState::Fenced, "{before:?}")
                }
                DAMAGED if after.damaged && !after.fenced && !after.split => {
                    assert_eq!(PairState::of(after), PairState::Damaged, "{before:?}");
                }
                _ => {}
            }
        });
        let states: alloc::collections::BTreeSet<_> = seen.keys().map(|(state, ..)| *state).collect();
        assert_eq!(states.len(), 12, "a state that no input makes");
        for state in states {
            for event in 0..FACTS {
                let known =
                    seen.contains_key(&(state, event, false)) || seen.contains_key(&(state, event, true));
                assert!(known, "{state}: event {event} is not answered");
            }
        }
    }

    #[test]
    fn split_fenced_and_damaged_are_left_only_by_what_ends_them() {
        each_step(|before, event, after| {
            let (from, to) = (PairState::of(before), PairState::of(after));
            let ends = if from == PairState::Split {
                SPLIT
            } else if from == PairState::Fenced && to != PairState::Split {
                FENCED
            } else if from == PairState::Damaged && to != PairState::Split && to != PairState::Fenced {
                DAMAGED
            } else {
                return;
            };
            assert!(from == to || event == ends, "{before:?}: event {event} leads from {from:?} to {to:?}");
        });
    }

    #[test]
    fn no_event_but_serving_or_a_change_of_role_brings_hosts_to_a_site_that_refused_them() {
        const PRIMARY: usize = 0;
        const SERVING: usize = 1;
        each_step(|before, event, after| {
            let refused = PairState::of(before).access(before.primary) == Access::Refused;
            let served = PairState::of(after).access(after.primary) == Access::ReadWrite;
            if refused && served {
                let ended = [FENCED, DAMAGED, SPLIT].contains(&event);
                assert!(ended || event == PRIMARY || event == SERVING, "{before:?}: event {event}");
            }
        });
    }
}
