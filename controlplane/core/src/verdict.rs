//! Whether a silent node is dead or only the path to it: from what is heard here and what others say that they hear.
//!
//! Others are the nodes that this one hears itself: for a site that watches the other site, the relay between them. Each
//! tells in its heartbeats how it hears the node in question.

use crate::fault::Level;
use crate::table::{Want, matches};
use Want::{Any, No, Yes};

/// What is known of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathFacts {
    /// Its own heartbeats are late here.
    pub late: bool,
    /// Its own heartbeats have stayed away for so long that this path to it is held for dead.
    pub silent: bool,
    /// Another node is heard here now.
    pub other_heard: bool,
    /// Another node that is heard now says that it hears the node.
    pub said_heard: bool,
    /// Another node that is heard now says that the node is late there too.
    pub said_late: bool,
    /// Another node that is heard now says that the node is silent there too.
    pub said_silent: bool,
}

const FACTS: usize = 6;

const NOTHING: PathFacts = PathFacts {
    late: false,
    silent: false,
    other_heard: false,
    said_heard: false,
    said_late: false,
    said_silent: false,
};

impl PathFacts {
    /// With nothing known of others yet.
    pub const fn of(level: Level) -> Self {
        let (late, silent) = match level {
            Level::Alive => (false, false),
            Level::Suspect => (true, false),
            Level::Dead => (true, true),
        };
        Self { late, silent, ..NOTHING }
    }

    /// Another node, heard with level `heard`, says `says` of the node, or nothing. Who is silent itself is not believed:
    /// what it said last may be long past.
    pub fn add(&mut self, heard: Level, says: Option<Level>) {
        if heard != Level::Alive {
            return;
        }
        self.other_heard = true;
        match says {
            Some(Level::Alive) => self.said_heard = true,
            Some(Level::Suspect) => self.said_late = true,
            Some(Level::Dead) => self.said_silent = true,
            None => {}
        }
    }

    fn bits(self) -> [bool; FACTS] {
        let Self { late, silent, other_heard, said_heard, said_late, said_silent } = self;
        [late, silent, other_heard, said_heard, said_late, said_silent]
    }
}

/// What is thought of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is heard.
    Alive,
    /// It is late: wait.
    Suspect,
    /// It lives; only the direct path to it does not.
    PathDead,
    /// Nobody hears it.
    NodeDead,
    /// It is silent, and nobody can say more: it may as well be this node that is cut off.
    CannotTell,
}

struct Row {
    /// late, silent, other heard, said heard, said late, said silent.
    wants: [Want; FACTS],
    verdict: Verdict,
    why: &'static str,
}

const fn row(wants: [Want; FACTS], verdict: Verdict, why: &'static str) -> Row {
    Row { wants, verdict, why }
}

/// One's own ears before all; then whoever hears the node, for one that hears it outweighs all that do not; then whoever
/// still waits for it.
const TABLE: &[Row] = &[
    row([No, No, Any, Any, Any, Any], Verdict::Alive, "it is heard"),
    row([Yes, No, Any, Any, Any, Any], Verdict::Suspect, "its heartbeats are late"),
    row(
        [Any, Yes, No, Any, Any, Any],
        Verdict::CannotTell,
        "it is silent and no other node is heard: this node may be cut off itself",
    ),
    row(
        [Any, Yes, Yes, Yes, Any, Any],
        Verdict::PathDead,
        "it is silent here, and another node hears it: only the path between is dead",
    ),
    row(
        [Any, Yes, Yes, No, Yes, Any],
        Verdict::Suspect,
        "it is silent here, and another node still waits for its late heartbeats",
    ),
    row(
        [Any, Yes, Yes, No, No, Yes],
        Verdict::NodeDead,
        "it is silent here, and a node that is heard says that it is silent there too",
    ),
    row(
        [Any, Yes, Yes, No, No, No],
        Verdict::CannotTell,
        "it is silent here, and no node that is heard has said how it hears it",
    ),
];

impl Verdict {
    /// The verdict that the facts make, and why.
    pub fn of(facts: PathFacts) -> (Self, &'static str) {
        let bits = facts.bits();
        let found = TABLE.iter().find(|row| matches(&row.wants, &bits));
        // The test below shows that a row is always found; the verdict that permits nothing is the safe one.
        found.map_or((Verdict::CannotTell, "no row"), |row| (row.verdict, row.why))
    }

    /// The word in status, metrics and scripts.
    pub const fn word(self) -> &'static str {
        match self {
            Verdict::Alive => "alive",
            Verdict::Suspect => "suspect",
            Verdict::PathDead => "path dead",
            Verdict::NodeDead => "node dead",
            Verdict::CannotTell => "cannot tell",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::all_inputs;

    fn facts(bits: [bool; FACTS]) -> PathFacts {
        let [late, silent, other_heard, said_heard, said_late, said_silent] = bits;
        PathFacts { late, silent, other_heard, said_heard, said_late, said_silent }
    }

    #[test]
    fn every_input_has_exactly_one_row() {
        for input in all_inputs::<FACTS>() {
            let count = TABLE.iter().filter(|row| matches(&row.wants, &input)).count();
            assert_eq!(count, 1, "{:?}", facts(input));
        }
    }

    #[test]
    fn a_node_is_dead_only_when_it_is_silent_here_and_there_and_nobody_hears_it() {
        for input in all_inputs::<FACTS>() {
            let facts = facts(input);
            if Verdict::of(facts).0 == Verdict::NodeDead {
                assert!(
                    facts.silent && facts.other_heard && facts.said_silent && !facts.said_heard,
                    "{facts:?}"
                );
            }
        }
    }

    #[test]
    fn what_a_silent_or_late_node_said_last_is_not_believed() {
        for says in [None, Some(Level::Alive), Some(Level::Suspect), Some(Level::Dead)] {
            for heard in [Level::Suspect, Level::Dead] {
                let mut facts = PathFacts::of(Level::Dead);
                facts.add(heard, says);
                assert_eq!(Verdict::of(facts).0, Verdict::CannotTell);
            }
        }
    }

    #[test]
    fn one_that_hears_the_node_outweighs_one_that_does_not() {
        let mut facts = PathFacts::of(Level::Dead);
        facts.add(Level::Alive, Some(Level::Dead));
        assert_eq!(Verdict::of(facts).0, Verdict::NodeDead);
        facts.add(Level::Alive, Some(Level::Suspect));
        assert_eq!(Verdict::of(facts).0, Verdict::Suspect);
        facts.add(Level::Alive, Some(Level::Alive));
        assert_eq!(Verdict::of(facts).0, Verdict::PathDead);
    }

    #[test]
    fn what_is_heard_here_needs_no_witness() {
        for (level, verdict) in [(Level::Alive, Verdict::Alive), (Level::Suspect, Verdict::Suspect)] {
            let mut facts = PathFacts::of(level);
            facts.add(Level::Alive, Some(Level::Dead));
            assert_eq!(Verdict::of(facts).0, verdict);
        }
    }
}
