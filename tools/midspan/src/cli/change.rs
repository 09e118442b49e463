//! `midspan switchover`, `failback`, `pause`, `resume`, `start`: planned changes, followed to their outcome.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use midspan_daemon::api::types::{Change, ChangeProgress, ResolveRequest};

use super::client::Client;
use super::exit::{Exit, Failure, Outcome};
use super::status::Form;
use super::steps::{Show, confirm};

/// Shown by `switchover --help`.
pub const SWITCHOVER: &str = "Example:
  midspan switchover vault --yes
  midspan switchover vault --yes --output json

It runs on the primary's site while both sites are up and the group is `paired`: hosts wait until the other site has
everything, then that one serves, and only then it is done. Nothing is lost; how long hosts waited is printed. Where the other
site does not follow in time, this one goes on as primary (exit code 5). Where it does not serve 30 s after this one has handed
over, that is said (exit code 5, too): it goes on by itself when it can.";

/// Shown by `failback --help`.
pub const FAILBACK: &str = "Example:
  midspan failback vault --yes

A switchover home: to the site whose configuration says `role = \"primary\"`, and refused anywhere else (exit code 4).";

/// Shown by `pause --help`.
pub const PAUSE: &str = "Example:
  midspan pause vault

It runs on the primary's site. Writes of hosts go on and are replicated; only the copying of what differs is held.";

/// Shown by `resume --help`.
pub const RESUME: &str = "Example:
  midspan resume vault";

/// Shown by `start --help`.
pub const START: &str = "Example:
  midspan start vault --without-journal --yes

A primary that is started again reads the journal at its relay first, and serves nothing before that. Where the relay is gone for
good, --without-journal serves what this site's disks hold: writes that were answered shortly before this site stopped may be
missing, and the time span is named first. It is refused (exit code 4) while the relay answers, and while the other site can be
reached and has more: take over there then.";

/// Arguments of `start`.
#[derive(Debug, Args)]
pub struct StartArguments {
    /// Do not read the journal: what only the relay held may be missing
    #[arg(long, required = true)]
    pub without_journal: bool,
    #[command(flatten)]
    arguments: Arguments,
}

/// Serves although the relay cannot be read.
///
/// # Errors
/// The daemon's refusal, with its reason.
pub fn start(client: &Client, start: &StartArguments, out: &mut dyn Write) -> Outcome {
    let arguments = &start.arguments;
    let group = &arguments.group;
    if !arguments.yes {
        confirm(
            &format!("start of {group} without its journal"),
            &format!("Serve {group} without what only its relay holds? Answered writes may be lost."),
        )?;
    }
    let wait = Duration::from_secs(arguments.wait.max(1));
    follow(client, group, Change::WithoutJournal, wait, arguments.output, out)
}

/// Arguments of a change of roles.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The group
    pub group: String,
    /// Do not ask; without it a terminal is asked
    #[arg(long, short)]
    pub yes: bool,
    /// Give up waiting after so many seconds of silence (exit code 5); the operation itself goes on, and asking again
    /// joins it
    #[arg(long, value_name = "SECS", num_args = 0..=1, default_value_t = 300, default_missing_value = "300")]
    pub wait: u64,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub output: Form,
}

/// Arguments of `pause` and `resume`.
#[derive(Debug, Args)]
pub struct Hold {
    /// The group
    pub group: String,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub output: Form,
}

/// Runs a change of roles.
///
/// # Errors
/// The daemon's refusal, with its reason.
pub fn roles(client: &Client, change: Change, arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let (group, word) = (&arguments.group, change.word());
    if !arguments.yes {
        confirm(
            &format!("{word} of {group}"),
            &format!("Hand {group} over to the other site? Hosts must use that one then."),
        )?;
    }
    let wait = Duration::from_secs(arguments.wait.max(1));
    follow(client, group, change, wait, arguments.output, out)
}

/// Holds rounds, or lets them go on.
///
/// # Errors
/// The daemon's refusal, with its reason.
pub fn hold(client: &Client, change: Change, arguments: &Hold, out: &mut dyn Write) -> Outcome {
    follow(client, &arguments.group, change, Duration::from_secs(30), arguments.output, out)
}

/// Asks for a change and follows it to its end.
///
/// # Errors
/// The daemon's refusal, with its reason.
pub fn follow(
    client: &Client,
    group: &str,
    change: Change,
    silence: Duration,
    form: Form,
    out: &mut dyn Write,
) -> Outcome {
    let client = client.clone().with_silence(Some(silence));
    let mut show = Show::new();
    let last = client.change(group, change, &mut |progress| show.step(progress));
    show.end();
    told(last?, form, out)
}

/// Asks for a resolve that keeps a site, and follows it to its end.
///
/// # Errors
/// The daemon's refusal, with its reason.
pub fn resolve(client: &Client, keep: &str, arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let client = client.clone().with_silence(Some(Duration::from_secs(arguments.wait.max(1))));
    let request = ResolveRequest { keep: keep.to_owned() };
    let mut show = Show::new();
    let last = client.resolve(&arguments.group, &request, &mut |progress| show.step(progress));
    show.end();
    told(last?, arguments.output, out)
}

/// Ends an operation that runs, where it can be undone.
///
/// # Errors
/// The daemon's refusal, with its reason.
pub fn cancel(client: &Client, number: u64, form: Form, out: &mut dyn Write) -> Outcome {
    let mut show = Show::new();
    let last = client.cancel(number, &mut |progress| show.step(progress));
    show.end();
    told(last?, form, out)
}

/// The last line of a change.
fn told(last: ChangeProgress, form: Form, out: &mut dyn Write) -> Outcome {
    let group = &last.group;
    if form == Form::Json {
        let json = serde_json::to_string(&last).map_err(|error| Failure::other(error.to_string()))?;
        writeln!(out, "{json}")?;
    }
    if let Some(error) = last.error {
        return Err(error.into());
    }
    let Some(outcome) = last.outcome else {
        return Err(Failure::other("the change has no outcome".to_owned()));
    };
    if form == Form::Table {
        write!(out, "group {group}: {}", outcome.statement)?;
        let seconds = |ms: u64| format!("{}.{:03} s", ms / 1000, ms % 1000);
        if let Some(ms) = outcome.host_pause_ms {
            write!(out, "; hosts waited {} until it was seen to serve", seconds(ms))?;
        }
        if let Some(ms) = outcome.drained_ms {
            write!(out, ", {} of that here", seconds(ms))?;
        }
        writeln!(out)?;
    }
    Ok(Exit::Ok)
}
