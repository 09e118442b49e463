//! `midspan events` and `midspan operations`: what happened and what was asked for, also before the last restart.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use midspan::clock::Signal;
use midspan_daemon::api::types::{Event, Level, OperationState, OperationStatus};
use serde::Serialize;

use super::cells::{table, unknown, utc};
use super::change;
use super::client::{Client, encode};
use super::exit::{Exit, Failure, Outcome};
use super::status::Form;

/// Shown by `events --help`.
pub const EVENTS: &str = "Example:
  midspan events
  midspan events vault --limit 20
  midspan events --follow --output json

With --output json each event is a line; its `seq` goes up by one, also over restarts of the daemon.";

/// Shown by `operations --help`.
pub const OPERATIONS: &str = "Example:
  midspan operations
  midspan operations vault --output json
  midspan operations --cancel 7

An operation that ran when the daemon ended goes on at its next start (`resuming`); one of a kind that does not is `interrupted`, and
says what to do.";

/// Between two questions for newer events.
const POLL: Duration = Duration::from_secs(1);

/// Arguments of `events`.
#[derive(Debug, Args)]
pub struct EventArguments {
    /// Only of this group
    pub group: Option<String>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub limit: u64,
    /// Go on with what happens, until interrupted
    #[arg(long)]
    pub follow: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub output: Form,
}

/// Arguments of `operations`.
#[derive(Debug, Args)]
pub struct OperationArguments {
    /// Only of this group
    pub group: Option<String>,
    /// End this one before its time, where it can be undone: a takeover that has not ended
    #[arg(long, value_name = "NUMBER", conflicts_with = "group")]
    pub cancel: Option<u64>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub limit: u64,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub output: Form,
}

/// Shows events.
///
/// # Errors
/// That the daemon is not there, or knows no such group.
pub fn events(client: &Client, arguments: &EventArguments, out: &mut dyn Write) -> Outcome {
    let of_group = of_group(client, arguments.group.as_deref())?;
    let mut last = None;
    loop {
        let place = match last {
            None => format!("limit={}", arguments.limit),
            Some(seq) => format!("limit=10000&after={seq}"),
        };
        let found: Vec<Event> = client.get(&format!("/v1/events?{place}{of_group}"))?;
        for event in &found {
            match arguments.output {
                Form::Table => out.write_all(line(event).as_bytes())?,
                Form::Json => writeln!(out, "{}", json(event)?)?,
            }
        }
        if !arguments.follow {
            return Ok(Exit::Ok);
        }
        out.flush()?;
        last = found.last().map(|event| event.seq).or(last).or(Some(0));
        Signal::default().wait(POLL);
    }
}

/// Shows operations.
///
/// # Errors
/// That the daemon is not there, or knows no such group.
pub fn operations(client: &Client, arguments: &OperationArguments, out: &mut dyn Write) -> Outcome {
    if let Some(number) = arguments.cancel {
        return change::cancel(client, number, arguments.output, out);
    }
    let of_group = of_group(client, arguments.group.as_deref())?;
    let found: Vec<OperationStatus> =
        client.get(&format!("/v1/operations?limit={}{of_group}", arguments.limit))?;
    match arguments.output {
        Form::Table => out.write_all(text(&found).as_bytes())?,
        Form::Json => writeln!(out, "{}", json(&found)?)?,
    }
    Ok(Exit::Ok)
}

/// The part of a query that selects a group of the node.
fn of_group(client: &Client, group: Option<&str>) -> Result<String, Failure> {
    let Some(group) = group else { return Ok(String::new()) };
    client.group(group)?;
    Ok(format!("&group={}", encode(group)))
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::other(error.to_string()))
}

/// An event for people; what to do next stands on a line of its own.
fn line(event: &Event) -> String {
    let level = match event.level {
        Level::Info => "info",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
    };
    let Event { kind, object, message, hint, .. } = event;
    let mut text = format!("{} {level:5} {object} {kind}: {message}\n", utc(event.time_ns));
    if !hint.is_empty() {
        text += &format!("    hint: {hint}\n");
    }
    text
}

/// Operations for people.
pub fn text(operations: &[OperationStatus]) -> String {
    if operations.is_empty() {
        return "no operations\n".to_owned();
    }
    let mut rows = table(&["number", "group", "kind", "asked by", "started", "took", "state", "outcome"]);
    for found in operations {
        let took = found.ended_ns.map(|ended| ended.saturating_sub(found.started_ns) / 1_000_000);
        let with = if found.with.is_empty() { String::new() } else { format!(" ({})", found.with) };
        let state = match found.state {
            OperationState::Running => match found.percent {
                Some(percent) => format!("{} {percent} %", found.phase),
                None => found.phase.clone(),
            },
            OperationState::Done | OperationState::Refused | OperationState::Interrupted => {
                found.state.word().to_owned()
            }
        };
        rows.add_row(vec![
            found.operation.to_string(),
            found.group.clone(),
            format!("{}{with}", found.kind),
            found.asked_by.clone(),
            utc(found.started_ns),
            took.map_or_else(unknown, |ms| format!("{}.{:03} s", ms / 1000, ms % 1000)),
            state,
            found.message.clone(),
        ]);
    }
    let mut text = format!("{rows}\n");
    for found in operations.iter().filter(|found| !found.hint.is_empty()) {
        text += &format!("operation {}: {}\n", found.operation, found.hint);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_when_what_where_and_what_to_do() {
        let event = Event {
            level: Level::Warn,
            kind: "lane_down".into(),
            object: "group:vault".into(),
            message: "the lane at relay is away".into(),
            hint: "look there".into(),
            ..Event::default()
        };
        let expected = "1970-01-01T00:00:00.000Z WARN  group:vault lane_down: the lane at relay is away\n    hint: look there\n";
        assert_eq!(line(&event), expected);
    }

    #[test]
    fn an_operation_that_runs_shows_its_step_and_one_that_ended_how() {
        let running =
            OperationStatus { operation: 7, phase: "draining".into(), ..OperationStatus::default() };
        let ended = OperationStatus {
            operation: 6,
            with: "dry_run".into(),
            started_ns: 1_000_000,
            ended_ns: Some(1_235_000_000),
            state: OperationState::Interrupted,
            hint: "see the status".into(),
            ..OperationStatus::default()
        };
        let text = text(&[ended, running]);
        for part in ["(dry_run)", "1.234 s", "interrupted", "draining", "operation 6: see the status"] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }
}
