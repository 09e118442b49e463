//! The statement at the end of a takeover: `answered writes lost: 0`, or why that cannot be said.
//!
//! It may be said only when (I4, I5, I8, I1) enough lanes were fenced and read, every one to the prefix that it
//! acknowledged, nothing in between was damaged, and the old primary never answered outside them.

use crate::table::{Want, matches};
use Want::{Any, No, Yes};

/// What a takeover, or a probe for one, found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakeoverFacts {
    /// n - k + 1 lanes of the fence set answered (and, in a real takeover, are fenced).
    pub lanes_reached: bool,
    /// Every lane that was read links without a gap from our own position to its prefix, and no journaled position
    /// seen elsewhere lies beyond it.
    pub journal_whole: bool,
    /// The old primary answered in the lanes only: no Leave mark, not the local lane alone.
    pub within_lanes: bool,
    /// The disks here hold a cut to start from (no initial copy or in-place round was under way).
    pub cut_held: bool,
}

const FACTS: usize = 4;

/// What can be said of answered writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `answered writes lost: 0`.
    LostNothing,
    /// It cannot be said; serving needs `--accept-loss`.
    MayBeLost(Reason),
    /// There is nothing consistent to serve, whatever is accepted.
    NoCut,
}

/// Why `answered writes lost: 0` cannot be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Too few lanes were fenced: what they hold is unknown.
    LanesMissing,
    /// The journal is damaged before its end.
    JournalDamaged,
    /// The old primary answered writes outside the lanes.
    OutsideLanes,
}

struct Row {
    /// lanes reached, journal whole, within lanes, cut held.
    wants: [Want; FACTS],
    statement: Statement,
}

const fn row(wants: [Want; FACTS], statement: Statement) -> Row {
    Row { wants, statement }
}

const TABLE: &[Row] = &[
    // No cut: a disk that is half copied is served to nobody.
    row([Any, Any, Any, No], Statement::NoCut),
    // A lane that was not read may hold answered writes; without the fence more may be answered at any time.
    row([No, Any, Any, Yes], Statement::MayBeLost(Reason::LanesMissing)),
    // Behind the damage there may be answered writes.
    row([Yes, No, Any, Yes], Statement::MayBeLost(Reason::JournalDamaged)),
    // What was answered outside the lanes is on the old primary's disks only.
    row([Yes, Yes, No, Yes], Statement::MayBeLost(Reason::OutsideLanes)),
    // Everything answered was in a lane that was read to its end.
    row([Yes, Yes, Yes, Yes], Statement::LostNothing),
];

impl Statement {
    /// What the facts permit to say.
    pub fn of(facts: TakeoverFacts) -> Self {
        let bits = [facts.lanes_reached, facts.journal_whole, facts.within_lanes, facts.cut_held];
        let found = TABLE.iter().find(|row| matches(&row.wants, &bits));
        found.map_or(Statement::NoCut, |row| row.statement)
    }

    /// The statement as printed.
    pub const fn sentence(self) -> &'static str {
        match self {
            Statement::LostNothing => "answered writes lost: 0",
            Statement::MayBeLost(Reason::LanesMissing) => {
                "answered writes lost: unknown, because the relay could not be fenced and read"
            }
            Statement::MayBeLost(Reason::JournalDamaged) => {
                "answered writes lost: unknown, because the relay's journal is damaged before its end"
            }
            Statement::MayBeLost(Reason::OutsideLanes) => {
                "answered writes lost: unknown, because the old primary may have answered writes outside the lanes"
            }
            Statement::NoCut => "nothing can be served: this site's disks hold no consistent cut",
        }
    }

    /// What would help.
    pub const fn hint(self) -> &'static str {
        match self {
            Statement::LostNothing => "",
            Statement::MayBeLost(Reason::LanesMissing) => {
                "bring the relay or the path to it back and run takeover again; `--accept-loss` serves the last cut without it"
            }
            Statement::MayBeLost(Reason::JournalDamaged) => {
                "`midspan journal dump` of the relay's disk shows where; `--accept-loss` serves what is before it"
            }
            Statement::MayBeLost(Reason::OutsideLanes) => {
                "bring the old primary back if it exists; `--accept-loss` serves the last cut without it"
            }
            Statement::NoCut => "let the copy from the other site end first",
        }
    }

    /// Whether `answered writes lost: 0` can be said.
    pub const fn lost_nothing(self) -> bool {
        matches!(self, Statement::LostNothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::all_inputs;

    fn facts(bits: [bool; FACTS]) -> TakeoverFacts {
        let [lanes_reached, journal_whole, within_lanes, cut_held] = bits;
        TakeoverFacts { lanes_reached, journal_whole, within_lanes, cut_held }
    }

    #[test]
    fn every_input_has_exactly_one_row() {
        for input in all_inputs::<FACTS>() {
            let count = TABLE.iter().filter(|row| matches(&row.wants, &input)).count();
            assert_eq!(count, 1, "{:?}", facts(input));
        }
    }

    #[test]
    fn lost_nothing_is_said_only_when_every_fact_speaks_for_it() {
        for input in all_inputs::<FACTS>() {
            let said = Statement::of(facts(input)).lost_nothing();
            assert_eq!(said, input.iter().all(|fact| *fact), "{:?}", facts(input));
        }
    }

    #[test]
    fn whatever_is_not_without_loss_says_why_and_what_would_help() {
        for input in all_inputs::<FACTS>() {
            let statement = Statement::of(facts(input));
            assert_eq!(statement.hint().is_empty(), statement.lost_nothing());
            assert_eq!(statement.sentence() == "answered writes lost: 0", statement.lost_nothing());
        }
    }
}
