//! `midspan group show`: everything that a node knows of one group.

use std::fmt::Write as _;
use std::io::Write;

use clap::{Args, Subcommand};
use midspan_daemon::api::types::{ExportStatus, GroupConfig, OperationStatus};
use serde_json::json;

use super::Reach;
use super::cells::table;
use super::client::{Client, encode};
use super::events;
use super::exit::{Exit, Outcome};
use super::size;
use super::status::{self, Form};

const SHOW: &str = "Example:
  midspan group show vault
  midspan group show vault --output json

It tells how the group is configured here, how it stands, what hosts can open, and what was asked for last.";

/// Operations that are shown.
const OPERATIONS: usize = 5;

/// What can be done with a group as a whole.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Show everything that the node knows of a group
    #[command(after_help = SHOW)]
    Show {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        arguments: ShowArguments,
    },
}

/// Arguments of `group show`.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// The group
    pub group: String,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub output: Form,
}

/// Runs the command.
///
/// # Errors
/// That the daemon is not there, or knows no such group.
pub fn run(command: &GroupCommand, out: &mut dyn Write) -> Outcome {
    let GroupCommand::Show { reach, arguments } = command;
    let client = Client::new(&reach.socket);
    let group = encode(&arguments.group);
    let config: GroupConfig = client.get(&format!("/v1/groups/{group}/config"))?;
    let mut node = client.status()?;
    node.groups.retain(|found| found.group == arguments.group);
    let mut exports: Vec<ExportStatus> = client.get("/v1/exports")?;
    exports.retain(|export| export.group == arguments.group);
    let operations: Vec<OperationStatus> =
        client.get(&format!("/v1/operations?group={group}&limit={OPERATIONS}"))?;
    if arguments.output == Form::Json {
        let status = node.groups.first();
        let all = json!({ "config": config, "status": status, "exports": exports, "operations": operations });
        writeln!(out, "{all}")?;
        return Ok(Exit::Ok);
    }
    // Peers are of the node, not of the group.
    node.peers.clear();
    write!(out, "{}\n{}", configured(&config), status::text(&node))?;
    if !exports.is_empty() {
        write!(out, "\n{}", exported(&exports))?;
    }
    if !operations.is_empty() {
        write!(out, "\n{}", events::text(&operations))?;
    }
    Ok(Exit::Ok)
}

fn configured(config: &GroupConfig) -> String {
    let lanes: Vec<String> =
        config.lanes.iter().map(|lane| format!("{} at {}", lane.lane, lane.node)).collect();
    let mut takeover = config.takeover.clone();
    if takeover == "automatic" {
        let _ = write!(takeover, ", after {} ms", config.takeover_after_ms);
    }
    let rate = config.round_rate_bytes.map_or_else(|| "not limited".to_owned(), |b| size::show(b) + "/s");
    let sizes = [config.ring_bytes, config.manifest_bytes, config.receipt_bytes].map(size::show).join(", ");
    let mut rows = table(&["group", &config.group]);
    for (key, value) in [
        ("configured in", config.file.clone()),
        ("id", config.group_id.to_string()),
        ("role at first", config.role.clone()),
        ("sites", config.sites.join(", ")),
        ("lanes", lanes.join(", ")),
        ("answer", config.answer.clone()),
        ("mode", config.mode.clone()),
        ("takeover", takeover),
        ("isolated", config.isolated.clone()),
        ("control_path", config.control_path.clone()),
        ("initial", config.initial.clone()),
        ("round rate", rate),
        ("lease", format!("{} ms", config.lease_ms)),
        ("ring, manifest, receipt", sizes),
    ] {
        rows.add_row([key, &value]);
    }
    format!("{rows}\n")
}

fn exported(exports: &[ExportStatus]) -> String {
    let mut rows = table(&["export", "volume", "size", "access", "where"]);
    for export in exports {
        let bytes = export.size_bytes.map_or_else(super::cells::unknown, size::show);
        let place = export.uris.join(" ");
        rows.add_row([&export.export, &export.volume, &bytes, &export.access, &place]);
    }
    format!("{rows}\n")
}
