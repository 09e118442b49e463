//! Whose history is whose: where a former primary goes on once it has been replaced, as one table over all inputs (design §7).
//!
//! The facts are what this site has recorded, and what it has seen of the lane since. A row that waits is asked again when more
//! is seen: [`Seen::settles`].

use midspan_format::superblock::{GroupState, LanePoint, Role};

use Force::{GivenBack, Other, Own};
use Journal::{Apart, Links, NotHanded, Unread};
use Leave::{Blank, Named, Unnamed};
use Served::{Alone, Back, Copying, Inside, Outside};

/// Whether this site has answered hosts outside the lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// In the lanes only.
    Inside,
    /// Outside them, and in them again: the round that would bring the other site up has not ended.
    Back,
    /// Outside them, and the lane or the other site was told first.
    Outside,
    /// Outside them by an operator's word, whoever knows of it.
    Alone,
    /// Nobody: it is outside the lanes because the other site has never held anything, or before it was permitted to answer there.
    Copying,
}

/// What a site has recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// Its role.
    pub role: Role,
    /// How it has answered hosts.
    pub served: Served,
}

/// Whose epoch is in force in the lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Force {
    /// This site's.
    Own,
    /// The other site's, which has given it back to this one.
    GivenBack,
    /// The other site's.
    #[default]
    Other,
}

/// How the journal stands to the point that this site recorded when it handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Journal {
    /// It has handed nothing over.
    #[default]
    NotHanded,
    /// It has, and the journal was not read there yet.
    Unread,
    /// It ends there, or goes on from there.
    Links,
    /// It goes on from somewhere else: this site was replaced before it had handed over.
    Apart,
}

/// What the other site says in the first frame of its epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leave {
    /// Nothing was seen yet.
    #[default]
    Blank,
    /// It replaced this site, and has everything that was ever answered here; up to a point that it names, the disks here hold it.
    Named,
    /// It replaced this site, and can name no such point.
    Unnamed,
}

/// What was seen of the lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whose epoch is in force.
    pub force: Force,
    /// The journal at the recorded point.
    pub journal: Journal,
    /// The other site's mark.
    pub leave: Leave,
}

/// Everything that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What is recorded here.
    pub past: Past,
    /// What the lane shows.
    pub seen: Seen,
    /// An operator gave up what this site alone holds.
    pub resolved: bool,
}

/// What a former primary does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Its disks are the truth: nothing is done to them, and it goes on outside the lanes.
    GoOn,
    /// It brings its disks to the journal's end, and goes on as primary.
    Redo,
    /// It follows from the point that it recorded.
    Follow,
    /// It redoes the tail from the point that the mark names, and follows; a round over the map brings the rest.
    Round,
    /// It follows without a cut: a round brings all of it.
    Full,
    /// Both sites hold what the other has not: an operator decides.
    Split,
    /// More must be seen first.
    Wait,
}

struct Row {
    force: &'static [Force],
    journal: &'static [Journal],
    leave: &'static [Leave],
    role: &'static [Role],
    served: &'static [Served],
    resolved: &'static [bool],
    decision: Decision,
    why: &'static str,
}

const ANY_JOURNAL: &[Journal] = &[NotHanded, Unread, Links, Apart];
const NO_POINT: &[Journal] = &[NotHanded, Apart];
const ANY_LEAVE: &[Leave] = &[Blank, Named, Unnamed];
const ANY_ROLE: &[Role] = &[Role::Primary, Role::Secondary];
const ANY_SERVED: &[Served] = &[Inside, Back, Outside, Alone, Copying];
const ANY: &[bool] = &[false, true];

/// A row in which nothing matters yet, for others to be made of.
const ROW: Row = Row {
    force: &[Other],
    journal: ANY_JOURNAL,
    leave: ANY_LEAVE,
    role: ANY_ROLE,
    served: ANY_SERVED,
    resolved: ANY,
    decision: Decision::Wait,
    why: "",
};

const TABLE: [Row; 18] = [
    Row {
        force: &[Own],
        served: &[Inside, Back],
        decision: Decision::Redo,
        why: "nobody has replaced this site, and what it answered last is in the lanes",
        ..ROW
    },
    Row {
        force: &[Own],
        served: &[Outside, Alone, Copying],
        decision: Decision::GoOn,
        why: "nobody has replaced this site, and what its disks hold is in no lane: nothing is redone over it",
        ..ROW
    },
    Row {
        force: &[GivenBack],
        served: &[Inside, Back],
        decision: Decision::Redo,
        why: "the other site gave its epoch back before it served, and what was answered here last is in the lanes",
        ..ROW
    },
    Row {
        force: &[GivenBack],
        served: &[Outside, Alone, Copying],
        decision: Decision::GoOn,
        why: "the other site gave its epoch back before it served, and what the disks here hold is in no lane",
        ..ROW
    },
    Row {
        journal: &[Links],
        served: &[Inside, Back, Outside, Copying],
        decision: Decision::Follow,
        why: "the other site went on where this one had handed over: both held the same there",
        ..ROW
    },
    Row {
        journal: &[Links],
        role: &[Role::Primary],
        served: &[Alone],
        resolved: &[false],
        decision: Decision::Split,
        why: "the other site went on where this one had handed over, and hosts were told other things here by an operator's word",
        ..ROW
    },
    Row {
        journal: &[Links],
        role: &[Role::Primary],
        served: &[Alone],
        resolved: &[true],
        decision: Decision::Full,
        why: "an operator gave up what was told here beside the point of the handover",
        ..ROW
    },
    Row {
        journal: &[Links],
        role: &[Role::Secondary],
        served: &[Alone],
        decision: Decision::Full,
        why: "what its disks hold beside the point of the handover is not known",
        ..ROW
    },
    Row {
        journal: &[Unread],
        why: "whether the other site went on where this one had handed over is still to be read",
        ..ROW
    },
    Row {
        journal: NO_POINT,
        leave: &[Blank],
        why: "the other site has not said yet what it has of this one: its takeover has not ended",
        ..ROW
    },
    Row {
        journal: NO_POINT,
        leave: &[Named],
        served: &[Inside, Back, Outside, Copying],
        decision: Decision::Round,
        why: "the other site has everything that was ever answered, and says from where this one can reach its cut",
        ..ROW
    },
    Row {
        journal: NO_POINT,
        leave: &[Named],
        role: &[Role::Primary],
        served: &[Alone],
        resolved: &[false],
        decision: Decision::Split,
        why: "the other site has what the lanes held, and cannot know what hosts were told here by an operator's word",
        ..ROW
    },
    Row {
        journal: NO_POINT,
        leave: &[Named],
        role: &[Role::Primary],
        served: &[Alone],
        resolved: &[true],
        decision: Decision::Full,
        why: "an operator gave that up; the disks here hold it beside the cut that the mark names",
        ..ROW
    },
    Row {
        journal: NO_POINT,
        leave: &[Named],
        role: &[Role::Secondary],
        served: &[Alone],
        decision: Decision::Full,
        why: "a secondary has told hosts nothing, and what its disks hold beside the cut is not known",
        ..ROW
    },
    Row {
        journal: NO_POINT,
        leave: &[Unnamed],
        role: &[Role::Primary],
        served: &[Back, Outside, Alone],
        resolved: &[false],
        decision: Decision::Split,
        why: "hosts were told here what the other site has not, and it has told others: nobody but an operator can choose",
        ..ROW
    },
    Row {
        journal: NO_POINT,
        leave: &[Unnamed],
        role: &[Role::Primary],
        served: &[Back, Outside, Alone],
        resolved: &[true],
        decision: Decision::Full,
        why: "an operator gave up what this site alone holds",
        ..ROW
    },
    Row {
        journal: NO_POINT,
        leave: &[Unnamed],
        role: &[Role::Primary],
        served: &[Inside, Copying],
        decision: Decision::Full,
        why: "everything that hosts were told here is in the lanes, but what its disks hold beyond is not known",
        ..ROW
    },
    Row {
        journal: NO_POINT,
        leave: &[Unnamed],
        role: &[Role::Secondary],
        decision: Decision::Full,
        why: "a secondary has told hosts nothing, and what its disks hold is not known",
        ..ROW
    },
];

impl Row {
    fn matches(&self, facts: &Facts) -> bool {
        let Facts { past: Past { role, served }, seen: Seen { force, journal, leave }, resolved } = facts;
        self.force.contains(force)
            && self.journal.contains(journal)
            && self.leave.contains(leave)
            && self.role.contains(role)
            && self.served.contains(served)
            && self.resolved.contains(resolved)
    }
}

impl Decision {
    /// The decision that the facts make, and why.
    pub fn of(facts: &Facts) -> (Self, &'static str) {
        let found = TABLE.iter().find(|row| row.matches(facts));
        // The test below shows that a row is always found; the decision that changes nothing is the safe one.
        found.map_or((Decision::Wait, "no row"), |row| (row.decision, row.why))
    }
}

impl Past {
    /// As recorded. `outside`: the recorded pair state is one outside the lanes.
    pub fn of(state: &GroupState, outside: bool) -> Self {
        let served = match (state.left, outside) {
            (true, true) if !state.answered => Copying,
            (true, true) if state.by_word => Alone,
            (false, false) => Inside,
            (true, false) => Back,
            (true, true) => Outside,
            (false, true) => Copying,
        };
        Self { role: state.role, served }
    }
}

impl Seen {
    /// Whether this is enough to decide, whatever is recorded.
    pub fn settles(self) -> bool {
        pasts().all(|past| {
            let facts = Facts { past, seen: self, resolved: false };
            Decision::of(&facts).0 != Decision::Wait
        })
    }
}

/// The point behind the Handover mark of a primary that has recorded one.
pub fn handed_at(state: &GroupState) -> Option<LanePoint> {
    let handed = state.handover && state.role == Role::Primary;
    state.lanes().first().filter(|_| handed).map(|lane| lane.point)
}

/// Everything that can be recorded.
fn pasts() -> impl Iterator<Item = Past> {
    ANY_ROLE.iter().flat_map(|role| ANY_SERVED.iter().map(|served| Past { role: *role, served: *served }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY_FORCE: [Force; 3] = [Own, GivenBack, Other];

    fn all_seen() -> impl Iterator<Item = Seen> {
        let of_force = |force| {
            ANY_JOURNAL.iter().flat_map(move |journal| {
                ANY_LEAVE.iter().map(move |leave| Seen { force, journal: *journal, leave: *leave })
            })
        };
        ANY_FORCE.into_iter().flat_map(of_force)
    }

    fn all() -> impl Iterator<Item = Facts> {
        let with = |seen| pasts().map(move |past| (past, seen));
        let pairs = all_seen().flat_map(with);
        pairs.flat_map(|(past, seen)| [false, true].map(|resolved| Facts { past, seen, resolved }))
    }

    /// The same, said the other way round: the steps that a former primary went through before there was a table.
    fn step_by_step(facts: &Facts) -> Decision {
        let Facts { past: Past { role, served }, seen: Seen { force, journal, leave }, resolved } = *facts;
        if force != Other {
            let outside = matches!(served, Outside | Alone | Copying);
            return if outside { Decision::GoOn } else { Decision::Redo };
        }
        if journal == Links && served != Alone {
            return Decision::Follow;
        }
        if journal == Unread || (leave == Blank && journal != Links) {
            return Decision::Wait;
        }
        let unknown = leave != Named || served == Alone;
        let alone = role == Role::Primary && matches!(served, Back | Outside | Alone);
        if alone && unknown && !resolved {
            return Decision::Split;
        }
        if unknown { Decision::Full } else { Decision::Round }
    }

    #[test]
    fn every_input_has_exactly_one_row_and_every_row_an_input() {
        assert_eq!(all().count(), 2 * 5 * 3 * 4 * 3 * 2);
        let mut used = [0; TABLE.len()];
        for facts in all() {
            let rows: alloc::vec::Vec<usize> =
                TABLE.iter().enumerate().filter(|(_, row)| row.matches(&facts)).map(|(n, _)| n).collect();
            assert_eq!(rows.len(), 1, "{facts:?}");
            used[rows[0]] += 1;
        }
        assert!(used.iter().all(|count| *count > 0), "{used:?}");
        assert!(TABLE.iter().all(|row| !row.why.is_empty()));
    }

    #[test]
    fn the_table_says_what_the_steps_say() {
        for facts in all() {
            assert_eq!(Decision::of(&facts).0, step_by_step(&facts), "{facts:?}");
        }
    }

    #[test]
    fn what_hosts_were_told_alone_is_never_given_up_without_an_operator() {
        for facts in all().filter(|facts| !facts.resolved && facts.seen.leave == Unnamed) {
            let alone =
                facts.past.role == Role::Primary && matches!(facts.past.served, Back | Outside | Alone);
            assert!(!alone || Decision::of(&facts).0 != Decision::Full, "{facts:?}");
        }
    }

    #[test]
    fn no_journal_is_redone_over_what_is_in_no_lane() {
        for facts in all().filter(|facts| matches!(facts.past.served, Outside | Alone | Copying)) {
            assert_ne!(Decision::of(&facts).0, Decision::Redo, "{facts:?}");
        }
    }

    #[test]
    fn nothing_is_served_in_an_epoch_of_the_other_site() {
        for facts in all().filter(|facts| facts.seen.force == Other) {
            assert!(!matches!(Decision::of(&facts).0, Decision::GoOn | Decision::Redo), "{facts:?}");
        }
    }

    #[test]
    fn what_settles_it_does_not_depend_on_what_is_recorded() {
        for seen in all_seen() {
            let waits = |past| Decision::of(&Facts { past, seen, resolved: false }).0 == Decision::Wait;
            assert_eq!(seen.settles(), !pasts().any(waits), "{seen:?}");
            assert!(pasts().all(waits) || !pasts().any(waits), "{seen:?}");
        }
    }

    #[test]
    fn only_a_primary_has_handed_over() {
        let lane = midspan_format::superblock::StateLane::default();
        let state = GroupState {
            role: Role::Primary,
            handover: true,
            lanes: core::iter::once(lane).collect(),
            ..GroupState::default()
        };
        assert_eq!(handed_at(&state), Some(lane.point));
        assert_eq!(handed_at(&GroupState { role: Role::Secondary, ..state }), None);
        assert_eq!(handed_at(&GroupState { handover: false, ..state }), None);
    }
}
