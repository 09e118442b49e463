//! `midspan verify`: both sites are compared beside what hosts do; progress while it runs, and what differs at its end.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use midspan_daemon::api::types::{Change, VerifyOutcome, VerifyRequest};

use super::cells::utc;
use super::change;
use super::client::Client;
use super::exit::{Exit, Failure, Outcome};
use super::size;
use super::status::Form;
use super::steps::Show;

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan verify vault
  midspan verify vault --volume data --rate 50MiB --output json
  midspan verify vault --repair
  midspan verify vault --cancel

It runs on the primary's site while the group is `paired`. Each piece of 128 KiB is compared as both sites hold it at one
exact time in the order of all writes, so hosts go on, and what they write is never taken for a difference. It ends with
exit code 0 when everything was compared and nothing differs, 6 when something differs, and 1 when not everything was
compared and nothing was found so far.

Which site is right is not known: a difference says that one of them changed by itself. --repair sends the ranges that
are listed from the primary to the secondary by a round.";

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The group
    pub group: String,
    /// Only this volume of it
    #[arg(long, value_name = "NAME")]
    pub volume: Option<String>,
    /// Compare at most so much a second, for example 50MiB; without it the group's `round_rate`, or as fast as hosts
    /// leave it
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub rate: Option<u64>,
    /// Send what differs to the secondary by a round, at the end
    #[arg(long)]
    pub repair: bool,
    /// End the verify that runs
    #[arg(long, conflicts_with_all = ["volume", "rate", "repair"])]
    pub cancel: bool,
    /// Give up waiting after so many seconds of silence (exit code 5); the verify itself goes on, and asking again in
    /// the same way joins it
    #[arg(long, value_name = "SECS", num_args = 0..=1, default_value_t = 300, default_missing_value = "300")]
    pub wait: u64,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub output: Form,
}

/// Runs the command.
///
/// # Errors
/// The daemon's refusal, with its reason.
pub fn run(client: &Client, arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let wait = Duration::from_secs(arguments.wait.max(1));
    if arguments.cancel {
        return change::follow(client, &arguments.group, Change::EndVerify, wait, arguments.output, out);
    }
    let request = VerifyRequest {
        volume: arguments.volume.clone(),
        bytes_per_second: arguments.rate,
        repair: arguments.repair,
    };
    let client = client.clone().with_silence(Some(wait));
    let mut show = Show::new();
    let last = client.verify(&arguments.group, &request, &mut |progress| show.step(progress));
    show.end();
    let last = last?;
    if arguments.output == Form::Json {
        let json = serde_json::to_string(&last).map_err(|error| Failure::other(error.to_string()))?;
        writeln!(out, "{json}")?;
    }
    if let Some(error) = last.error {
        return Err(error.into());
    }
    let Some(outcome) = last.outcome else { return Err(Failure::other("the verify has no outcome")) };
    if arguments.output == Form::Table {
        out.write_all(table(&arguments.group, &outcome).as_bytes())?;
    }
    Ok(exit(&outcome))
}

fn exit(outcome: &VerifyOutcome) -> Exit {
    match (outcome.different_bytes, outcome.complete) {
        (0, true) => Exit::Ok,
        (0, false) => Exit::Failure,
        (_, _) => Exit::Degraded,
    }
}

/// What was found, range by range.
fn table(group: &str, outcome: &VerifyOutcome) -> String {
    let mut text = format!(
        "group {group}: {} after {}.{:03} s\n",
        outcome.statement,
        outcome.took_ms / 1000,
        outcome.took_ms % 1000
    );
    for found in &outcome.differences {
        text += &format!(
            "differs: volume {}, offset {}, {} at {}\n",
            found.volume,
            found.offset,
            size::show(found.length),
            utc(found.time_ns)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use midspan_daemon::api::types::DifferentRange;

    #[test]
    fn a_difference_is_told_by_the_exit_code_whatever_else_is_so() {
        let outcome = |different_bytes, complete| {
            exit(&VerifyOutcome { different_bytes, complete, ..VerifyOutcome::default() })
        };
        assert_eq!(outcome(0, true), Exit::Ok);
        assert_eq!(outcome(0, false), Exit::Failure);
        assert_eq!(outcome(4096, true), Exit::Degraded);
        assert_eq!(outcome(4096, false), Exit::Degraded);
    }

    #[test]
    fn each_range_has_a_line() {
        let found = DifferentRange { volume: "data".into(), offset: 131_072, length: 131_072, time_ns: 0 };
        let outcome = VerifyOutcome { differences: vec![found], took_ms: 1234, ..VerifyOutcome::default() };
        let text = table("vault", &outcome);
        assert!(text.contains("after 1.234 s\ndiffers: volume data, offset 131072, 128 KiB at "), "{text}");
    }
}
