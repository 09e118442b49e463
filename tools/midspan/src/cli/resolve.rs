//! `midspan resolve`: what a split leaves at the site that was replaced is listed, exported, and given up.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::alone::{self, export};
use super::change::{self, Arguments};
use super::client::Client;
use super::exit::{Exit, Failure, Outcome};
use super::size;
use super::status::Form;
use super::steps::confirm;

/// Shown by `resolve --help`.
pub const RESOLVE: &str = "Example:
  midspan resolve vault --list
  midspan resolve vault --export /srv/vault-of-a
  midspan resolve vault --keep b --yes

Where both sites answered hosts, one of them must give up what it alone holds. It runs on the site in state `split`, and --keep
names the site whose writes stay. Is it the other one, this site follows it, and what differs is copied from there. Is it this
one, it serves from now on and the other one finds itself in a split, where the same command makes it give up what it alone holds.

--list shows first what would be given up: ranges of each volume, and the time span in which they were written. --export
writes them into a folder: a sparse VOLUME.img for each volume, and ranges.json, which is written last. Both change nothing.
Without --yes, --keep shows the list, too, and a terminal is asked.";

/// Ranges that are shown with the question.
const SHOWN: usize = 20;

/// Arguments of `resolve`.
#[derive(Debug, Args)]
pub struct ResolveArguments {
    /// The site whose writes stay
    #[arg(long, value_name = "NODE", required_unless_present_any = ["list", "export"], conflicts_with_all = ["list", "export"])]
    pub keep: Option<String>,
    /// Only show what this site alone holds
    #[arg(long, conflicts_with = "export")]
    pub list: bool,
    /// Only write what this site alone holds into this folder, which must be empty or not exist yet
    #[arg(long, value_name = "DIR")]
    pub export: Option<PathBuf>,
    #[command(flatten)]
    arguments: Arguments,
}

/// Lists, exports or gives up what this site alone holds.
///
/// # Errors
/// The daemon's refusal, with its reason; another site is named than the one that replaced this one.
pub fn run(client: &Client, resolve: &ResolveArguments, out: &mut dyn Write) -> Outcome {
    let ResolveArguments { keep, list: _, export, arguments } = resolve;
    match (keep, export) {
        (Some(keep), _) => give_up(client, keep, arguments, out),
        (None, Some(folder)) => write(client, folder, arguments, out),
        (None, None) => list(client, arguments, out),
    }
}

fn list(client: &Client, arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let held = alone::gather(client, &arguments.group)?;
    match arguments.output {
        Form::Table => alone::show(&held, usize::MAX, out)?,
        Form::Json => {
            let json = serde_json::to_string(&held).map_err(|error| Failure::other(error.to_string()))?;
            writeln!(out, "{json}")?;
        }
    }
    Ok(Exit::Ok)
}

fn write(client: &Client, folder: &Path, arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let held = alone::gather(client, &arguments.group)?;
    let written = export::run(client, &held, folder)?;
    match arguments.output {
        Form::Table => {
            let (group, node, bytes) = (&held.group, &held.node, size::show(held.bytes));
            let (ranges, place) = (held.ranges_total, folder.display());
            writeln!(
                out,
                "group {group}: what {node} alone holds is in {place}: {bytes} in {ranges} ranges, written and read back"
            )?;
        }
        Form::Json => writeln!(out, "{written}")?,
    }
    Ok(Exit::Ok)
}

fn give_up(client: &Client, keep: &str, arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let group = &arguments.group;
    if !arguments.yes {
        let held = alone::gather(client, group)?;
        if held.node == keep {
            confirm(
                &format!("resolve of {group}"),
                &format!("Serve {group} from {keep}, and put an end to what its other site serves now?"),
            )?;
            return change::resolve(client, keep, arguments, out);
        }
        match arguments.output {
            Form::Table => alone::show(&held, SHOWN, out)?,
            // The one line of JSON is the outcome.
            Form::Json => alone::show(&held, SHOWN, &mut std::io::stderr())?,
        }
        out.flush()?;
        confirm(
            &format!("resolve of {group}"),
            &format!("Give up what only {} holds of {group}, for good?", held.node),
        )?;
    }
    // The daemon refuses it where another site than these two is named.
    change::resolve(client, keep, arguments, out)
}
