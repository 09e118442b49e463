//! What must hold in every state, and what must be possible: else nothing is shown.

use stateright::{Model, Property};

use crate::action::{self, Action};
use crate::bounds::Bounds;
use crate::promise::{GHOST, I1, I4, I5, I11};
use crate::state::{Phase, State};
use crate::step::step;
use crate::vocab::{Epoch, SITES};

/// The cluster within its bounds.
#[derive(Clone, Debug)]
pub struct Cluster(pub Bounds);

impl Cluster {
    /// Whether `rule` holds in `state`.
    pub fn holds(&self, state: &State, rule: &'static str) -> bool {
        let bounds = &self.0;
        let readers = || SITES.into_iter().filter(|&site| state.may_read(bounds, site));
        let seen = if rule == I5 {
            readers().count() <= 1
        } else if rule == I11 {
            readers().all(|site| state.promised & !state.sites[site].visible(bounds) == 0)
        } else if rule == GHOST {
            !state.has_ghost()
        } else {
            true
        };
        seen && state.broken != Some(rule)
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(&self.0)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_none() {
            action::all(state.written, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        step(&self.0, state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(I1, |m: &Self, s| m.holds(s, I1)),
            Property::always(I4, |m: &Self, s| m.holds(s, I4)),
            Property::always(I5, |m: &Self, s| m.holds(s, I5)),
            Property::always(I11, |m: &Self, s| m.holds(s, I11)),
            Property::always(GHOST, |m: &Self, s| m.holds(s, GHOST)),
        ];
        let b = &self.0;
        let mut must_happen = |wanted: bool, name: &'static str, seen: fn(&Self, &State) -> bool| {
            if wanted {
                properties.push(Property::sometimes(name, seen));
            }
        };
        must_happen(true, "everything is answered", |m, s| {
            s.written == m.0.writes && s.promised == s.all_written()
        });
        must_happen(b.takeovers > 0, "B takes over and serves what was answered", |_, s| {
            s.sites[1].phase == Phase::Serving && s.promised != 0
        });
        must_happen(b.takeovers > 0, "the former primary is fenced", |_, s| {
            s.sites[0].phase == Phase::Fenced
        });
        must_happen(b.crashes > 0, "a restart serves", |_, s| {
            s.sites[0].phase == Phase::Serving && s.sites[0].epoch > Epoch::new(1, 0)
        });
        must_happen(b.aborts > 0, "what was fenced is given back and served again", |_, s| {
            s.sites[0].phase == Phase::Serving && s.sites[1].giving != Epoch::NONE && !s.sites[1].primary
        });
        must_happen(b.leaves > 0, "outside the lanes", |_, s| s.sites[0].phase == Phase::Outside);
        must_happen(b.leaves > 0, "back in the lanes", |_, s| {
            s.sites[0].phase == Phase::Serving && s.sites[0].own.ended > 0
        });
        must_happen(b.returns > 0 && b.takeovers > 1, "A takes over again", |_, s| {
            s.sites[0].phase == Phase::Serving && s.sites[0].epoch > Epoch::new(2, 1)
        });
        must_happen(b.sets.len() > 1, "the last lane set is in force", |m, s| {
            s.sites.iter().all(|site| usize::from(site.set) + 1 == m.0.sets.len() && !site.asking)
        });
        properties
    }
}
