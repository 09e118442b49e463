//! The demo's verdict, for people and as the one line of JSON.

use midspan::hammer::{Snapshot, Verdict};
use midspan_daemon::api::types::TakeoverOutcome;
use serde::Serialize;

use crate::cli::takeover;

/// What the demo ends with. The names are a promise to scripts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Which scenario was played.
    pub scenario: &'static str,
    /// `held` or `broken`.
    pub verdict: &'static str,
    /// Writes that were answered.
    pub answered: u64,
    /// Writes that were sent and not answered: they may be there or not.
    pub possibly_answered: u64,
    /// Answered writes that are missing.
    pub lost: u64,
    /// Blocks with content that was never written.
    pub corrupt: u64,
    /// Time from asking for the takeover until the other site served, milliseconds.
    pub takeover_ms: u64,
    /// Answered writes a second.
    pub iops: u64,
    /// Latency of writes: half of them, microseconds.
    pub p50_us: u64,
    /// Latency of writes: 99 of 100, microseconds.
    pub p99_us: u64,
    /// How long hosts waited while the roles went home, milliseconds; only in `failback`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failback_pause_ms: Option<u64>,
    /// How long hosts waited at most when lanes were lost or came back, milliseconds; only in scenarios where they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane_pause_ms: Option<u64>,
}

impl Outcome {
    /// What the parts say together. It held only if the contents did and the takeover could say so.
    pub fn of(
        scenario: &'static str,
        figures: &Snapshot,
        takeover: &TakeoverOutcome,
        verdict: &Verdict,
        failback_pause_ms: Option<u64>,
    ) -> Self {
        let held = verdict.held() && takeover.lost_nothing && verdict.answered > 0;
        Self {
            scenario,
            verdict: if held { "held" } else { "broken" },
            answered: verdict.answered,
            possibly_answered: verdict.possibly_answered,
            lost: verdict.lost,
            corrupt: verdict.corrupt + verdict.corrupt_reads + verdict.stale_reads,
            takeover_ms: takeover.took_ms,
            iops: whole(figures.iops),
            p50_us: whole(figures.p50_us),
            p99_us: whole(figures.p99_us),
            failback_pause_ms,
            lane_pause_ms: None,
        }
    }

    /// Whether every promise was kept.
    pub fn held(&self) -> bool {
        self.verdict == "held"
    }

    /// For people.
    pub fn text(&self, group: &str, takeover: &TakeoverOutcome, verdict: &Verdict) -> String {
        let mut text = takeover::statement(group, takeover);
        text += &format!(
            "\nverified: {} blocks; {} writes answered, {} more sent without an answer\n",
            verdict.checked_blocks, self.answered, self.possibly_answered
        );
        text += &format!("lost: {}   corrupt: {}\n", self.lost, self.corrupt);
        text += &format!(
            "before the loss: {} writes/s, p50 {} us, p99 {} us; takeover in {} ms\n",
            self.iops, self.p50_us, self.p99_us, self.takeover_ms
        );
        if let Some(pause) = self.lane_pause_ms {
            text += &format!("changes of lanes: hosts waited {pause} ms at most\n");
        }
        if let Some(pause) = self.failback_pause_ms {
            text += &format!("failback: hosts waited {pause} ms\n");
        }
        for example in &verdict.examples {
            text += &format!("  {example}\n");
        }
        text + if self.held() { "verdict: held\n" } else { "verdict: BROKEN\n" }
    }
}

/// A measured figure without its fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive figure far below 2^53"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Snapshot {
        Snapshot {
            elapsed_seconds: 1.0,
            counts: midspan::hammer::Counts::default(),
            connected: 0,
            iops: 1000.4,
            window_iops: 0.0,
            p50_us: 99.6,
            p99_us: 500.0,
            window_p50_us: 0.0,
            window_p99_us: 0.0,
            longest_pause_ms: 0.0,
        }
    }

    fn outcome(verdict: &Verdict, lost_nothing: bool) -> Outcome {
        let takeover = TakeoverOutcome { lost_nothing, took_ms: 650, ..TakeoverOutcome::default() };
        Outcome::of("primary-loss", &figures(), &takeover, verdict, None)
    }

    #[test]
    fn the_json_has_exactly_the_promised_keys() {
        let line =
            serde_json::to_value(outcome(&Verdict { answered: 1, ..Verdict::default() }, true)).unwrap();
        let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        let mut promised = [
            "scenario",
            "verdict",
            "answered",
            "possibly_answered",
            "lost",
            "corrupt",
            "takeover_ms",
            "iops",
            "p50_us",
            "p99_us",
        ];
        promised.sort_unstable();
        let mut found = keys.clone();
        found.sort_unstable();
        assert_eq!(found, promised);
        assert_eq!(line["iops"], 1000);
        assert_eq!(line["p50_us"], 100);
    }

    #[test]
    fn it_held_only_if_contents_takeover_and_workload_say_so() {
        let good = Verdict { answered: 5, ..Verdict::default() };
        assert!(outcome(&good, true).held());
        assert!(!outcome(&good, false).held());
        assert!(!outcome(&Verdict::default(), true).held());
        assert!(!outcome(&Verdict { lost: 1, ..good.clone() }, true).held());
        assert!(!outcome(&Verdict { corrupt: 1, ..good.clone() }, true).held());
        assert!(!outcome(&Verdict { stale_reads: 1, ..good }, true).held());
    }
}
