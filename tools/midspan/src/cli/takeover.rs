//! `midspan takeover`: progress while it runs, and the statement at its end; `--abort` undoes one that has not ended.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use midspan_daemon::api::types::{Change, TakeoverOutcome, TakeoverRequest};

use super::cells::{epoch, utc};
use super::change;
use super::client::Client;
use super::exit::{Exit, Failure, Outcome};
use super::size;
use super::status::Form;
use super::steps::{Show, confirm};

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan takeover vault --dry-run
  midspan takeover vault --yes
  midspan takeover vault --yes --accept-loss --wait 60
  midspan takeover vault --abort --yes

It runs on the secondary's site: fences the relay, so that the old primary can answer nothing any more, reads what the
journal holds beyond this site's own position, applies it, and serves the exports here. It ends with a statement:
`answered writes lost: 0`, or why that cannot be said (exit code 6; without --accept-loss it is refused, exit code 4).

--abort undoes a takeover that has fenced the relay and cannot end: the former primary may go on. One that has ended is
not undone: `midspan switchover` hands the role back.";

/// Arguments of `takeover`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The group
    pub group: String,
    /// Serve even where `answered writes lost: 0` cannot be said
    #[arg(long)]
    pub accept_loss: bool,
    /// Only say what would happen; fences nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Undo a takeover that has not ended
    #[arg(long, conflicts_with_all = ["accept_loss", "dry_run"])]
    pub abort: bool,
    /// Do not ask; without it a terminal is asked
    #[arg(long, short)]
    pub yes: bool,
    /// Give up waiting after so many seconds of silence (exit code 5); the takeover itself goes on, and asking again
    /// joins it
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
    if arguments.abort {
        return abort(client, arguments, wait, out);
    }
    if !arguments.dry_run && !arguments.yes {
        let group = &arguments.group;
        confirm(
            &format!("takeover of {group}"),
            &format!("Take over {group} here? The other site is fenced and can answer nothing any more."),
        )?;
    }
    let request = TakeoverRequest { accept_loss: arguments.accept_loss, dry_run: arguments.dry_run };
    let client = client.clone().with_silence(Some(wait));
    let mut show = Show::new();
    let last = client.takeover(&arguments.group, &request, &mut |progress| show.step(progress));
    show.end();
    let last = last?;
    if arguments.output == Form::Json {
        let json = serde_json::to_string(&last).map_err(|error| Failure::other(error.to_string()))?;
        writeln!(out, "{json}")?;
    }
    if let Some(error) = last.error {
        return Err(error.into());
    }
    let Some(outcome) = last.outcome else { return Err(Failure::other("the takeover has no outcome")) };
    if arguments.output == Form::Table {
        out.write_all(statement(&arguments.group, &outcome).as_bytes())?;
    }
    Ok(if outcome.lost_nothing { Exit::Ok } else { Exit::Degraded })
}

fn abort(client: &Client, arguments: &Arguments, wait: Duration, out: &mut dyn Write) -> Outcome {
    let group = &arguments.group;
    if !arguments.yes {
        confirm(
            &format!("the abort of a takeover of {group}"),
            &format!("Undo the takeover of {group} here? The former primary may go on then."),
        )?;
    }
    change::follow(client, group, Change::Abort, wait, arguments.output, out)
}

/// What was found, and what can be said of it.
pub fn statement(group: &str, outcome: &TakeoverOutcome) -> String {
    let time = outcome.last_time_ns.map_or_else(|| "none".to_owned(), utc);
    let mut text = if outcome.dry_run {
        format!("group {group}: a takeover would take an epoch after {}\n", epoch(&outcome.epoch))
    } else {
        format!(
            "group {group}: this site is primary in epoch {} after {}.{:03} s\n",
            epoch(&outcome.epoch),
            outcome.took_ms / 1000,
            outcome.took_ms % 1000
        )
    };
    text += &format!("found: {} frames, {}, last record {time}\n", outcome.frames, size::show(outcome.bytes));
    if outcome.marked_regions > 0 {
        text += &format!("marked: {} regions that the old primary may lack\n", outcome.marked_regions);
    }
    text + &outcome.statement + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use midspan_daemon::api::types::Epoch;

    #[test]
    fn the_statement_names_what_was_found() {
        let outcome = TakeoverOutcome {
            epoch: Epoch { number: 4, node: "b".into() },
            frames: 12,
            bytes: 98_304,
            last_time_ns: Some(0),
            lost_nothing: true,
            statement: "answered writes lost: 0".into(),
            took_ms: 1234,
            ..TakeoverOutcome::default()
        };
        let text = statement("vault", &outcome);
        assert!(text.contains("4@b after 1.234 s"));
        assert!(text.contains("12 frames, 96 KiB"));
        assert!(text.ends_with("answered writes lost: 0\n"));
    }
}
