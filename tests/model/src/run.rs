//! Runs the checker, and says what it found.

use stateright::{Checker, HasDiscoveries, Model};

use crate::action::Action;
use crate::bounds::Bounds;
use crate::check::Cluster;
use crate::promise::RULES;

/// What a run within sound bounds has seen.
#[derive(Debug)]
pub struct Seen {
    /// Different states.
    pub states: usize,
    /// Transitions, those to known states included.
    pub transitions: usize,
    /// The longest of the shortest ways to a state.
    pub depth: usize,
    /// Rules that are broken, with the events that lead there, and what never happened.
    pub wrong: Vec<(&'static str, Vec<Action>)>,
}

/// Visits every state within the bounds.
pub fn hold(bounds: Bounds) -> Seen {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = Cluster(bounds).checker().threads(threads);
    let run = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let mut wrong = Vec::new();
    for property in run.model().properties() {
        let found = run.discovery(property.name);
        if property.expectation.discovery_is_failure() == found.is_some() {
            wrong.push((property.name, found.map_or(Vec::new(), |path| path.into_actions())));
        }
    }
    Seen { states: run.unique_state_count(), transitions: run.state_count(), depth: run.max_depth(), wrong }
}

/// A broken rule, and the events that lead there.
#[derive(Debug)]
pub struct Missed {
    /// The rule.
    pub rule: &'static str,
    /// The events.
    pub events: Vec<Action>,
    /// Different states seen before.
    pub states: usize,
}

/// A short way to a broken rule, if there is one; else how many states there are.
///
/// # Errors
/// The number of states, none of which breaks a rule.
pub fn miss(bounds: Bounds) -> Result<Missed, usize> {
    // On one thread, so that every run finds the same.
    let run = Cluster(bounds).checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let states = run.unique_state_count();
    let found = RULES.into_iter().find_map(|rule| Some((rule, run.discovery(rule)?.into_actions())));
    found.map(|(rule, events)| Missed { rule, events, states }).ok_or(states)
}
