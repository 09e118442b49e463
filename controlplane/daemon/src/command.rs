//! The command line of `midspand`: run a node, check configs, prepare a journal disk, serve a lone disk.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Parser, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::exit::{self, Failure};
use crate::format::Purpose;
use crate::groups::Manner;
use crate::translate::Lone;
use crate::{check, format, groups, run, state};

/// The daemon of a Midspan node, a site or a relay
#[derive(Debug, Parser)]
#[command(
    name = "midspand",
    version,
    after_help = "Examples:
  midspand --config /etc/midspan/midspan.toml
  midspand --config /etc/midspan/midspan.toml --check
  midspand --config /etc/midspan/relay.toml --format relay
  midspand --config /etc/midspan/relay.toml --group-create ledger.toml
  midspand --serve-disk /srv/disk.img --export disk --socket /tmp/disk.sock

Logs go to the standard error output; MIDSPAN_LOG sets what is logged, for example `debug` or `info,midspan_node=trace`.
Sockets passed by systemd (LISTEN_FDS) are served, too. It ends cleanly, with exit code 0, on SIGTERM and SIGINT."
)]
#[command(group = ArgGroup::new("what").required(true).args(["config", "serve_disk", "check_state"]))]
#[command(group = ArgGroup::new("regroup").args(["group_create", "group_delete"]))]
#[command(group = ArgGroup::new("loses").args(["format", "group_delete"]))]
pub struct Arguments {
    /// The node's config; with --check several can be given, which are then checked together
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Check the config and end
    #[arg(long, requires = "config", conflicts_with_all = ["format", "serve_disk"])]
    pub check: bool,
    /// Format the journal disk that the config names, and end
    #[arg(long, value_enum, value_name = "KIND", requires = "config", conflicts_with = "serve_disk")]
    pub format: Option<Kind>,
    /// Add the group of this file to the config and its journal disk, and end; the node must not run
    #[arg(long, value_name = "FILE", requires = "config", conflicts_with_all = ["serve_disk", "format", "check"])]
    pub group_create: Option<PathBuf>,
    /// Remove this group from the config and its journal disk, and end; the node must not run
    #[arg(long, value_name = "GROUP", requires = "config", conflicts_with_all = ["serve_disk", "format", "check"])]
    pub group_delete: Option<String>,
    /// With --format: also where the disk is formatted already; with --group-delete: also where something is lost
    #[arg(long, requires = "loses")]
    pub force: bool,
    /// With --group-create and --group-delete: only say what would be done
    #[arg(long, requires = "regroup")]
    pub dry_run: bool,
    /// With --group-create and --group-delete: say what was done in JSON
    #[arg(long, requires = "regroup")]
    pub json: bool,
    /// Serve this file or block device over NBD, without replication
    #[arg(long, value_name = "DISK")]
    pub serve_disk: Option<PathBuf>,
    /// With --serve-disk: name of the export
    #[arg(long, value_name = "NAME", default_value = "", requires = "serve_disk")]
    pub export: String,
    /// With --serve-disk: unix socket to listen on
    #[arg(long, value_name = "PATH", requires = "serve_disk")]
    pub socket: Option<PathBuf>,
    /// With --serve-disk: TCP address to listen on
    #[arg(long, value_name = "ADDR", requires = "serve_disk")]
    pub listen: Option<std::net::SocketAddr>,
    /// With --serve-disk: refuse writes
    #[arg(long, requires = "serve_disk")]
    pub read_only: bool,
    /// Read a node's kept events and operations, and end: what a node does with its own file before it opens it
    #[arg(long, value_name = "FILE", hide = true)]
    pub check_state: Option<PathBuf>,
    /// End when the standard input does: with the program that started this one, however that ends
    #[arg(long, conflicts_with_all = ["check", "format", "regroup"])]
    pub until_eof: bool,
}

/// What a journal disk is formatted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A relay's: areas only.
    Relay,
    /// A site's: its own rings, states and dirty maps.
    Site,
}

impl From<Kind> for Purpose {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Relay => Purpose::Relay,
            Kind::Site => Purpose::Site,
        }
    }
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("MIDSPAN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .init();
    match dispatch(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            let _ = writeln!(io::stderr(), "midspand: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(arguments: Arguments) -> Result<u8, Failure> {
    if let Some(path) = arguments.check_state {
        return state::check(&path, &mut io::stdout().lock());
    }
    if arguments.check {
        return check::files(&arguments.config, &mut io::stdout().lock());
    }
    if let Some(disk) = arguments.serve_disk {
        let Arguments { export, socket, listen, read_only, until_eof, .. } = arguments;
        return run::lone(&Lone { disk, export, socket, listen, read_only }, until_eof);
    }
    let [path] = arguments.config.as_slice() else {
        return Err(Failure::new(exit::USAGE, "several configs can only be checked; a node runs with one"));
    };
    let manner = Manner { dry_run: arguments.dry_run, force: arguments.force, json: arguments.json };
    if let Some(addition) = &arguments.group_create {
        return groups::create(path, addition, manner, &mut io::stdout().lock());
    }
    if let Some(group) = &arguments.group_delete {
        return groups::delete(path, group, manner, &mut io::stdout().lock());
    }
    let config = check::load(path, &mut io::stderr())?;
    match arguments.format {
        Some(kind) => format::journal(&config, kind.into(), arguments.force, &mut io::stdout().lock()),
        None => run::configured(&config, arguments.until_eof),
    }
}
