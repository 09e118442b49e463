//! Runs the model and prints what it found.

use std::process::ExitCode;

use midspan_model::action::Action;
use midspan_model::bounds::Bounds;
use midspan_model::clock::timed;
use midspan_model::rule::Rule;
use midspan_model::{run, scenario};

const USAGE: &str = "usage: midspan-model sound|all|broken [--trace] [NAME]...
  sound   the short runs in which every rule must hold
  all     the long ones, too: hours and many gigabytes of memory; better by name
  broken  one sentence of the design left out at a time: each must be missed";

fn main() -> ExitCode {
    let (flags, words): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with("--"));
    let trace = flags.iter().any(|flag| flag == "--trace");
    let chosen = |name: &str| words[1..].is_empty() || words[1..].iter().any(|wanted| wanted == name);
    let mut held = true;
    match words.first().map(String::as_str) {
        Some(what @ ("sound" | "all")) => {
            let named = words.len() > 1;
            let runs = scenario::sound().into_iter().filter(|run| run.short || named || what == "all");
            for run in runs.filter(|run| chosen(run.name)) {
                held &= hold(run.name, run.bounds, trace);
            }
        }
        Some("broken") => {
            for rule in Rule::ALL {
                let name = format!("{rule:?}");
                if chosen(&name) {
                    held &= miss(&name, scenario::without(rule), trace);
                }
            }
        }
        _ => {
            println!("{USAGE}");
            held = false;
        }
    }
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn hold(name: &str, bounds: Bounds, trace: bool) -> bool {
    let (seen, took) = timed(|| run::hold(bounds));
    println!(
        "{name:20} {} states, {} transitions, depth {}, {took:.1?}",
        seen.states, seen.transitions, seen.depth
    );
    for (rule, events) in &seen.wrong {
        println!("  NOT HELD: {rule}");
        tell(events, trace);
    }
    seen.wrong.is_empty()
}

fn miss(name: &str, bounds: Bounds, trace: bool) -> bool {
    let (missed, took) = timed(|| run::miss(bounds));
    match missed {
        Ok(missed) => {
            let (events, rule) = (missed.events.len(), missed.rule);
            println!("{name:26} {events} events, {} states, {took:.1?}: {rule}", missed.states);
            tell(&missed.events, trace);
            true
        }
        Err(states) => {
            println!("{name:26} NOT MISSED in {states} states, {took:.1?}");
            false
        }
    }
}

fn tell(events: &[Action], trace: bool) {
    for event in events.iter().filter(|_| trace) {
        println!("    {event:?}");
    }
}
