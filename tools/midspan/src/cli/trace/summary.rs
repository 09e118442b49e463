//! What a recording came to: how many writes, what the clocks are worth, and how long each stage took.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};
use midspan_daemon::api::types::{Role, TraceStage};
use serde::Serialize;

use super::clocks::{Clocks, Offset};
use super::journey::{Journeys, Write};
use super::record::Recording;

/// From one stage to the next, and whose clocks show them.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Its word.
    pub word: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    /// Where it begins.
    pub from: TraceStage,
    /// Whose clock shows that.
    pub from_role: Role,
    /// Where it ends.
    pub to: TraceStage,
    /// Whose clock shows that.
    pub to_role: Role,
}

const fn span(
    word: &'static str,
    what: &'static str,
    (from, from_role): (TraceStage, Role),
    (to, to_role): (TraceStage, Role),
) -> Span {
    Span { word, what, from, from_role, to, to_role }
}

const A: Role = Role::Primary;
const R: Role = Role::Relay;
const B: Role = Role::Secondary;

/// The way of a write, in order; then the two totals.
pub const SPANS: [Span; 15] = [
    span("admit", "whole in memory → has its time", (TraceStage::Arrived, A), (TraceStage::Timed, A)),
    span("seal", "→ frame sealed", (TraceStage::Timed, A), (TraceStage::Sealed, A)),
    span("send", "→ given to the kernel", (TraceStage::Sealed, A), (TraceStage::Sent, A)),
    span("out", "→ verified at the relay", (TraceStage::Sent, A), (TraceStage::Received, R)),
    span("journal", "→ durable at the relay", (TraceStage::Received, R), (TraceStage::Journaled, R)),
    span("back", "→ known at the primary", (TraceStage::Journaled, R), (TraceStage::Acknowledged, A)),
    span("reply", "→ host answered", (TraceStage::Acknowledged, A), (TraceStage::Answered, A)),
    span("write", "answered → on the own disk", (TraceStage::Answered, A), (TraceStage::Written, A)),
    span("hold", "durable → sent to the secondary", (TraceStage::Journaled, R), (TraceStage::Served, R)),
    span("carry", "→ verified at the secondary", (TraceStage::Served, R), (TraceStage::Fetched, B)),
    span("acquire", "→ durable in its own ring", (TraceStage::Fetched, B), (TraceStage::Acquired, B)),
    span("apply", "→ on its volumes", (TraceStage::Acquired, B), (TraceStage::Applied, B)),
    span("lane", "sent → known to be durable", (TraceStage::Sent, A), (TraceStage::Acknowledged, A)),
    span("answer", "whole in memory → host answered", (TraceStage::Arrived, A), (TraceStage::Answered, A)),
    span("follow", "host answered → on the secondary", (TraceStage::Answered, A), (TraceStage::Applied, B)),
];

/// The whole.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Name of the group.
    pub group: String,
    /// Writes that were seen arriving.
    pub writes: usize,
    /// Frames that were seen.
    pub frames: usize,
    /// Events that were overwritten before they could be read: journeys have gaps.
    pub lost_events: u64,
    /// The nodes and their clocks.
    pub clocks: Vec<Offset>,
    /// How long each stage took, in microseconds, over all writes that went through it.
    pub stages: Vec<Stage>,
}

/// One span's durations.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    /// Its word.
    pub stage: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Writes that went through it.
    pub count: usize,
    /// Median, µs.
    pub p50_us: f64,
    /// 99th percentile, µs.
    pub p99_us: f64,
    /// Longest, µs.
    pub max_us: f64,
    /// Error of the clocks in it at most, µs; `null` where it is not known.
    pub clock_error_us: Option<f64>,
}

impl Summary {
    /// Sums a recording up.
    pub fn new(group: &str, recordings: &[Recording], journeys: &Journeys, clocks: &Clocks) -> Self {
        Self {
            group: group.to_owned(),
            writes: journeys.writes.len(),
            frames: journeys.frames.len(),
            lost_events: recordings.iter().map(|recording| recording.lost).sum(),
            clocks: clocks.offsets.clone(),
            stages: SPANS.iter().filter_map(|span| stage(span, journeys, clocks)).collect(),
        }
    }

    /// As tables for people.
    pub fn text(&self) -> String {
        let mut text = format!("group {}: {} writes in {} frames\n", self.group, self.writes, self.frames);
        for clock in &self.clocks {
            let error = match clock.error_ns {
                Some(0) => "the others are held against it".to_owned(),
                Some(error) => format!("{} ns ahead, ± {} µs", clock.offset_ns, micros(error.into())),
                None => format!("{} ns ahead by its wall clock, error not known", clock.offset_ns),
            };
            let _ = writeln!(text, "clock of {} ({}): {error}", clock.node, clock.role.word());
        }
        if self.lost_events > 0 {
            let _ = writeln!(
                text,
                "{} events were overwritten before they could be read: enlarge `recorder` in [node], or put less load on \
                 this machine",
                self.lost_events
            );
        }
        if self.stages.is_empty() {
            return text
                + "nothing was seen: is the group written to, and are all of its nodes named with --api?\n";
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["stage", "", "writes", "p50 µs", "p99 µs", "max µs"]);
        for stage in &self.stages {
            table.add_row([
                stage.stage.to_owned(),
                stage.what.to_owned(),
                stage.count.to_string(),
                format!("{:.1}", stage.p50_us),
                format!("{:.1}", stage.p99_us),
                format!("{:.1}", stage.max_us),
            ]);
        }
        text + &format!("{table}\n")
    }
}

/// How long a write took from one stage to another, on the reference clock; `None` where it was not seen at both.
pub fn took(span: &Span, write: &Write, journeys: &Journeys, clocks: &Clocks) -> Option<i128> {
    if !clocks.has(span.from_role) || !clocks.has(span.to_role) {
        return None;
    }
    let (from, to) = (journeys.time(write, span.from)?, journeys.time(write, span.to)?);
    Some(clocks.align(span.to_role, to) - clocks.align(span.from_role, from))
}

fn stage(span: &Span, journeys: &Journeys, clocks: &Clocks) -> Option<Stage> {
    let writes = journeys.writes.iter();
    let mut durations: Vec<i128> = writes.filter_map(|write| took(span, write, journeys, clocks)).collect();
    durations.sort_unstable();
    let at = |percent: usize| {
        let index = (durations.len() * percent).div_ceil(100).saturating_sub(1);
        durations.get(index).copied().map(micros)
    };
    let error = |role: Role| clocks.offsets.iter().find(|offset| offset.role == role)?.error_ns;
    let clock_error = if span.from_role == span.to_role {
        Some(0.0)
    } else {
        // Both are held against the primary; the secondary's error contains the relay's.
        error(span.from_role).zip(error(span.to_role)).map(|(from, to)| micros(from.max(to).into()))
    };
    Some(Stage {
        stage: span.word,
        what: span.what,
        count: durations.len(),
        p50_us: at(50)?,
        p99_us: at(99)?,
        max_us: at(100)?,
        clock_error_us: clock_error,
    })
}

/// Nanoseconds as microseconds.
#[expect(clippy::cast_precision_loss, reason = "for people: a recording is hours at most")]
pub fn micros(ns: i128) -> f64 {
    ns as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn summary(relay: u64, secondary: u64) -> Summary {
        let recordings = fixture::three_nodes(relay, secondary);
        let (journeys, clocks) = (Journeys::new(&recordings), Clocks::measure(&recordings));
        Summary::new("vault", &recordings, &journeys, &clocks)
    }

    #[test]
    fn every_stage_is_measured_and_clocks_that_are_apart_change_it_by_their_error_at_most() {
        let (together, apart) = (summary(0, 0), summary(5_000_000_000, 77_000_000));
        assert_eq!(together.stages.len(), SPANS.len());
        for (one, other) in together.stages.iter().zip(&apart.stages) {
            let error = other.clock_error_us.unwrap();
            assert!((one.p50_us - other.p50_us).abs() <= error + 0.002, "{one:?} {other:?}");
        }
        let answer = together.stages.iter().find(|stage| stage.stage == "answer").unwrap();
        assert_eq!((answer.count, answer.p50_us, answer.max_us), (3, 161.0, 161.0));
        assert_eq!(answer.clock_error_us, Some(0.0));
    }

    #[test]
    fn without_the_other_nodes_their_stages_are_left_out() {
        let recordings = &fixture::three_nodes(0, 0)[..1];
        let (journeys, clocks) = (Journeys::new(recordings), Clocks::measure(recordings));
        let summary = Summary::new("vault", recordings, &journeys, &clocks);
        let words: Vec<_> = summary.stages.iter().map(|stage| stage.stage).collect();
        assert_eq!(words, ["admit", "seal", "send", "reply", "write", "lane", "answer"]);
    }
}
