//! The short runs: every rule holds with all sentences of the design, and each sentence is missed when it is left out.

use midspan_model::rule::Rule;
use midspan_model::{run, scenario};

#[test]
fn every_rule_holds_in_every_state() {
    for run in scenario::sound().into_iter().filter(|run| run.short) {
        let seen = run::hold(run.bounds);
        println!("{}: {} states", run.name, seen.states);
        assert!(seen.wrong.is_empty(), "{}: {:#?}", run.name, seen.wrong);
    }
}

#[test]
fn each_sentence_of_the_design_is_missed() {
    for rule in Rule::ALL.into_iter().filter(|rule| scenario::is_short(*rule)) {
        match run::miss(scenario::without(rule)) {
            Ok(missed) => println!("{rule:?}: {} events", missed.events.len()),
            Err(states) => panic!("{rule:?} can be left out: nothing is wrong in {states} states"),
        }
    }
}
