//! `midspan trace`: what each write went through on all nodes, recorded for a while, as spans on one clock.

mod record;
#[cfg(test)]
mod fixture;
mod journey;
mod clocks;
mod summary;
mod chrome;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::client::Client;
use super::exit::{Exit, Failure, Outcome};
use super::status::Form;

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan trace vault --seconds 5 -o out.json --api /run/midspan/relay.sock --api /run/midspan/b.sock
  midspan trace vault --past -o before.json
  midspan trace vault --seconds 5 --output json

Nodes record always; this reads what they recorded. The API sockets of the other nodes are named with --api: a socket of
another machine is reached through `ssh -L /tmp/b.sock:/run/midspan/api.sock HOST`. Nodes that are not named are left
out. The file opens in https://ui.perfetto.dev and chrome://tracing. The exit code is 6 when a node recorded faster than
it could be read.";

/// Arguments of `trace`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The group
    pub group: String,
    /// Record for so long
    #[arg(long, value_name = "SECS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Record nothing: take what the flight recorders hold from before
    #[arg(long, conflicts_with = "seconds")]
    pub past: bool,
    /// API socket of another node of the group; can be given again
    #[arg(long = "api", value_name = "PATH")]
    pub apis: Vec<PathBuf>,
    /// Write the trace to this file, in the trace event format
    #[arg(long = "out", short = 'o', value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Writes that go into the file at most, spread evenly over the time; the summary is of all
    #[arg(long, value_name = "COUNT", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub writes: u64,
    /// Form of the summary
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub output: Form,
}

/// Runs the command.
///
/// # Errors
/// That a daemon is not there, knows no such group, or records nothing.
pub fn run(socket: &Path, arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let sockets = std::iter::once(socket).chain(arguments.apis.iter().map(PathBuf::as_path));
    let clients: Vec<Client> = sockets.map(Client::new).collect();
    let seconds = (!arguments.past).then_some(arguments.seconds);
    let recordings = record::record(&clients, &arguments.group, seconds)?;
    let journeys = journey::Journeys::new(&recordings);
    let clocks = clocks::Clocks::measure(&recordings);
    let summary = summary::Summary::new(&arguments.group, &recordings, &journeys, &clocks);
    if let Some(path) = &arguments.out {
        let file = File::create(path).map_err(|error| Failure::io(path.display(), &error))?;
        let mut file = BufWriter::new(file);
        let most = usize::try_from(arguments.writes).unwrap_or(usize::MAX);
        chrome::write(&mut file, &summary, &journeys, &clocks, most)
            .and_then(|()| file.flush())
            .map_err(|error| Failure::io(path.display(), &error))?;
    }
    match arguments.output {
        Form::Table => out.write_all(summary.text().as_bytes())?,
        Form::Json => {
            let json = serde_json::to_string(&summary).map_err(|error| Failure::other(error.to_string()))?;
            writeln!(out, "{json}")?;
        }
    }
    Ok(if summary.lost_events > 0 { Exit::Degraded } else { Exit::Ok })
}
