//! A takeover through the API of the secondary's node, its steps with their times, and the first read that is answered.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use midspan::clock::Clock;
use midspan::nbd_client::Client;
use serde_json::Value;

use crate::api;

/// How long the export may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// A takeover that has succeeded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Takeover {
    /// From the command until the export answers a read, seconds.
    pub served_s: f64,
    /// When each step began, seconds since the command, in the node's words.
    pub steps: Vec<(String, f64)>,
    /// The node's own figure of the whole, seconds; `None` if it does not say.
    pub told_s: Option<f64>,
    /// Bytes of journal that it read.
    pub journal_bytes: f64,
    /// Whether "answered writes lost: 0" was said.
    pub lost_nothing: bool,
}

impl Takeover {
    /// How long a step took, seconds: until the next one began.
    pub fn step_s(&self, name: &str) -> Option<f64> {
        let at = self.steps.iter().position(|(step, _)| step == name)?;
        let (_, began) = self.steps.get(at)?;
        let (_, ended) = self.steps.get(at + 1)?;
        Some(ended - began)
    }
}

/// Lets the node behind this socket take the group over, and reads from its export.
///
/// # Errors
/// The node's refusal, or that the export does not answer.
pub fn take_over(socket: &Path, group: &str, uri: &str) -> Result<Takeover> {
    let clock = Clock::starting_at(0);
    let mut found = follow(socket, group, &clock).with_context(|| format!("takeover of {group}"))?;
    let mut client = Client::connect(uri, SILENCE)?;
    client.read(0, &mut [0; 4096])?;
    found.served_s = clock.elapsed().as_secs_f64();
    client.disconnect()?;
    Ok(found)
}

fn follow(socket: &Path, group: &str, clock: &Clock) -> Result<Takeover> {
    let mut found = Takeover::default();
    let path = format!("/v1/groups/{group}/takeover");
    api::post(socket, &path, &mut |line| found.on_step(line, clock.elapsed().as_secs_f64()))?;
    Ok(found)
}

impl Takeover {
    /// A line of the report, `now_s` after the command. True with the last one.
    fn on_step(&mut self, line: &Value, now_s: f64) -> Result<bool> {
        let phase = line.get("phase").and_then(Value::as_str).unwrap_or_default();
        if self.steps.last().is_none_or(|(last, _)| last != phase) {
            self.steps.push((phase.to_owned(), now_s));
        }
        let Some(outcome) = api::outcome(line)? else {
            return Ok(false);
        };
        let number = |name: &str| outcome.get(name).and_then(Value::as_f64);
        self.told_s = number("took_ms").map(|ms| ms / 1e3);
        self.journal_bytes = number("bytes").unwrap_or(0.0);
        self.lost_nothing = outcome.get("lost_nothing").and_then(Value::as_bool).unwrap_or(false);
        ensure!(self.lost_nothing, "the node cannot say that no answered write is lost");
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_step_lasts_until_the_next_one_begins() {
        let mut found = Takeover::default();
        for (phase, now_s) in [("fencing", 0.5), ("fencing", 0.6), ("reading", 1.0)] {
            assert!(
                !found.on_step(&json!({ "phase": phase, "outcome": null, "error": null }), now_s).unwrap()
            );
        }
        let outcome = json!({ "took_ms": 2500, "bytes": 4096, "lost_nothing": true });
        assert!(found.on_step(&json!({ "phase": "done", "outcome": outcome }), 3.0).unwrap());
        assert_eq!((found.step_s("fencing"), found.step_s("reading")), (Some(0.5), Some(2.0)));
        assert_eq!((found.step_s("done"), found.step_s("probing")), (None, None));
        assert_eq!((found.told_s, found.journal_bytes), (Some(2.5), 4096.0));
    }

    #[test]
    fn a_refusal_and_a_loss_are_errors() {
        let refused = json!({ "phase": "refused", "error": { "message": "not the secondary" } });
        let error = Takeover::default().on_step(&refused, 1.0).unwrap_err().to_string();
        assert!(error.contains("not the secondary"), "{error}");
        let lost = json!({ "phase": "done", "outcome": { "lost_nothing": false } });
        assert!(Takeover::default().on_step(&lost, 1.0).is_err());
    }
}
