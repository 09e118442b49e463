//! Runs stages one after another and ends with what each took.

use std::time::Duration;

use anyhow::Result;

use crate::clock::timed;
use crate::command::say;

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Held,
    Broken,
    /// Could not run here; the stage has said why.
    Skipped,
}

impl From<bool> for Outcome {
    fn from(held: bool) -> Self {
        if held { Self::Held } else { Self::Broken }
    }
}

/// The stages so far.
#[derive(Default)]
pub struct Stages {
    done: Vec<(&'static str, Outcome, Duration)>,
}

impl Stages {
    /// Runs one stage. A broken one does not stop the later ones: one run shows everything that is wrong.
    pub fn run(&mut self, name: &'static str, work: impl FnOnce() -> Result<Outcome>) -> Result<Outcome> {
        say(&format!("==> {name}"))?;
        let (outcome, took) = timed(work);
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                say(&format!("    {error:#}"))?;
                Outcome::Broken
            }
        };
        self.done.push((name, outcome, took));
        Ok(outcome)
    }

    /// Prints the list; true where no stage is broken.
    pub fn summary(&self) -> Result<bool> {
        say("==> stages")?;
        let mut total = Duration::ZERO;
        for (name, outcome, took) in &self.done {
            let word = match outcome {
                Outcome::Held => "ok",
                Outcome::Broken => "BROKEN",
                Outcome::Skipped => "skipped",
            };
            say(&format!("    {name:<18} {word:<8} {:>7.1} s", took.as_secs_f64()))?;
            total += *took;
        }
        say(&format!("    {:<18} {:<8} {:>7.1} s", "all", "", total.as_secs_f64()))?;
        Ok(self.done.iter().all(|(_, outcome, _)| *outcome != Outcome::Broken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_stage_breaks_the_whole_and_stops_nothing() {
        let mut stages = Stages::default();
        stages.run("a", || Ok(Outcome::Held)).unwrap();
        stages.run("b", || anyhow::bail!("no")).unwrap();
        stages.run("c", || Ok(Outcome::Skipped)).unwrap();
        assert_eq!(stages.done.len(), 3);
        assert!(!stages.summary().unwrap());
    }
}
