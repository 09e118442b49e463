//! `midspan manifests`: what a primary has listed for its secondary and no receipt covers yet.

use std::io::Write;

use clap::Args;
use midspan_daemon::api::types::KeptManifests;

use super::cells::{table, utc};
use super::client::{Client, encode};
use super::exit::{Exit, Failure, Outcome};
use super::status::Form;

/// Shown by `manifests --help`.
pub const EXAMPLES: &str = "Example:
  midspan manifests vault
  midspan manifests vault --output json

It runs on the primary's site. A manifest lists frames of the journal: where they lie, of which time, how many regions they
touch. It is kept until the secondary's receipt covers it, also over a restart of the primary.";

/// Arguments of `manifests`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The group
    pub group: String,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub output: Form,
}

/// Shows them.
///
/// # Errors
/// That the daemon is not there, or knows no such group.
pub fn run(client: &Client, arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let group = &arguments.group;
    let found: KeptManifests = client.get(&format!("/v1/groups/{}/manifests", encode(group)))?;
    if arguments.output == Form::Json {
        let json = serde_json::to_string(&found).map_err(|error| Failure::other(error.to_string()))?;
        writeln!(out, "{json}")?;
        return Ok(Exit::Ok);
    }
    if found.kept == 0 {
        writeln!(
            out,
            "group {group}: no manifest is kept here: a receipt covers each, or this is not the primary"
        )?;
        return Ok(Exit::Ok);
    }
    let mut rows = table(&["LISTED", "RING FROM", "TO", "FRAMES", "REGION RUNS", "FIRST TIME", "LAST TIME"]);
    for manifest in &found.manifests {
        rows.add_row([
            manifest.end.to_string(),
            manifest.from.to_string(),
            manifest.to.to_string(),
            manifest.frames.to_string(),
            manifest.region_runs.to_string(),
            utc(manifest.first_time_ns),
            utc(manifest.last_time_ns),
        ]);
    }
    writeln!(out, "{rows}")?;
    let shown = found.manifests.len() as u64;
    if shown < found.kept {
        writeln!(out, "and {} newer ones", found.kept - shown)?;
    }
    Ok(Exit::Ok)
}
