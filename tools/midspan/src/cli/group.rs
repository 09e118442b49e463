//! `midspan group`: everything that a node knows of one group, and one more or one less at a node that does not run.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use midspan_daemon::api::types::{ExportStatus, GroupConfig, OperationStatus};
use serde_json::json;

use super::Reach;
use super::beside;
use super::cells::table;
use super::client::{Client, encode};
use super::events;
use super::exit::{Exit, Outcome};
use super::size;
use super::status::{self, Form};
use super::steps::confirm;

const SHOW: &str = "Example:
  midspan group show vault
  midspan group show vault --output json

It tells how the group is configured here, how it stands, what hosts can open, and what was asked for last.";

const CREATE: &str = "Examples:
  midspan group create ledger.toml --config /etc/midspan/midspan.toml --dry-run
  midspan group create ledger.toml --config /etc/midspan/midspan.toml
  midspan group create ledger.toml --config /etc/midspan/midspan.toml --output json

FILE holds one [[group]] as the config would, at a site with its [[group.volume]]s and perhaps [[export]]s; relative paths in
it are taken from the folder of the config. It is checked as part of that config, its areas are made in free space of the
formatted journal disk, and its text is added to the config. Other groups are not touched. midspand must not run with that
disk; the group takes effect at its next start. Run it at all three nodes of the group. What was cut off is finished by running
it again.";

const DELETE: &str = "Examples:
  midspan group delete ledger --config /etc/midspan/midspan.toml --dry-run
  midspan group delete ledger --config /etc/midspan/midspan.toml --yes

Its tables and exports leave the config, and its areas the journal disk. Volumes are never touched. A relay keeps the group's
ids and epoch, and refuses whoever still asks for it. midspand must not run with that disk. Where something would be lost by
it (exit code 4), it says what; --force gives that up. What was cut off is finished by running it again.";

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
    /// Add a group to a node's config and its formatted journal disk, while midspand does not run
    #[command(after_help = CREATE)]
    Create(CreateArguments),
    /// Remove a group from a node's config and its journal disk, while midspand does not run; volumes stay as they are
    #[command(after_help = DELETE)]
    Delete(DeleteArguments),
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

/// Arguments of `group create`.
#[derive(Debug, Args)]
pub struct CreateArguments {
    /// File with the group's tables
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    node: NodeArguments,
}

/// Arguments of `group delete`.
#[derive(Debug, Args)]
pub struct DeleteArguments {
    /// The group, by its name; by its number where the config does not have it any more
    pub group: String,
    #[command(flatten)]
    node: NodeArguments,
    /// Do not ask; without it a terminal is asked
    #[arg(long, short)]
    pub yes: bool,
    /// Also where something is lost by it
    #[arg(long)]
    pub force: bool,
}

/// The node whose groups are changed, and how that is told.
#[derive(Debug, Args)]
struct NodeArguments {
    /// The node's config; `journal` in it names the disk
    #[arg(long, value_name = "NODE.toml")]
    config: PathBuf,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

/// Runs the command.
///
/// # Errors
/// That the daemon is not there, or knows no such group; that midspand cannot be run.
pub fn run(command: &GroupCommand, out: &mut dyn Write) -> Outcome {
    match command {
        GroupCommand::Show { reach, arguments } => show(reach, arguments, out),
        GroupCommand::Create(CreateArguments { file, node }) => {
            let mut command = midspand(node);
            command.arg("--group-create").arg(file);
            beside::run(command)
        }
        GroupCommand::Delete(DeleteArguments { group, node, yes, force }) => {
            if !yes && !node.dry_run {
                let config = node.config.display();
                let question = format!(
                    "Delete {group} here, from {config} and its journal disk? Volumes stay as they are."
                );
                confirm(&format!("the deletion of {group}"), &question)?;
            }
            let mut command = midspand(node);
            command.arg(format!("--group-delete={group}"));
            if *force {
                command.arg("--force");
            }
            beside::run(command)
        }
    }
}

/// Only midspand opens disks and knows the config.
fn midspand(node: &NodeArguments) -> std::process::Command {
    let mut command = beside::command();
    command.arg("--config").arg(&node.config);
    if node.dry_run {
        command.arg("--dry-run");
    }
    if node.output == Form::Json {
        command.arg("--json");
    }
    command
}

fn show(reach: &Reach, arguments: &ShowArguments, out: &mut dyn Write) -> Outcome {
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
        ("lane set", format!("{}, direct {}", config.lane_set, config.direct)),
        ("answer", config.answer.clone()),
        ("mode", config.mode.clone()),
        ("overflow", overflow(config)),
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

fn overflow(config: &GroupConfig) -> String {
    let mut text = format!("{}, from {} %", config.overflow, config.overflow_threshold_percent);
    if let Some(ms) = config.throttle_max_delay_ms {
        let _ = write!(text, ", {ms} ms at most");
    }
    text
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
