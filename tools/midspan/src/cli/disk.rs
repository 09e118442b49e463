//! Commands that midspand carries out itself, because only it opens disks and knows the config: format, check, serve.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::beside;
use super::exit::Outcome;

/// `midspan relay ...`
#[derive(Debug, Subcommand)]
pub enum RelayCommand {
    /// Format the relay's journal disk: superblocks, permits and the areas of the groups in the config
    ///
    /// A disk that is formatted already is refused without --force: what its rings hold would be lost.
    #[command(after_help = "Example:\n  midspan relay format --config /etc/midspan/relay.toml")]
    Format(Format),
}

/// `midspan site ...`
#[derive(Debug, Subcommand)]
pub enum SiteCommand {
    /// Format the site's journal disk: its own rings, group states and dirty maps
    ///
    /// A disk that is formatted already is refused without --force: what its rings hold would be lost.
    #[command(after_help = "Example:\n  midspan site format --config /etc/midspan/site-a.toml")]
    Format(Format),
}

/// Arguments of `relay format` and `site format`.
#[derive(Debug, Args)]
pub struct Format {
    /// The node's config; `journal` in it names the disk
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Format even where the disk is in use by a node already
    #[arg(long)]
    pub force: bool,
}

/// `midspan config ...`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a config: unknown keys, values out of range, what does not fit together; starts nothing
    ///
    /// With the configs of several nodes it also checks that they agree with each other.
    #[command(after_help = "Example:\n  midspan config check /etc/midspan/midspan.toml")]
    Check {
        /// The configs
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// `midspan nbd ...`
#[derive(Debug, Subcommand)]
pub enum NbdCommand {
    /// Serve a file or block device over NBD, without replication, until a signal ends it
    #[command(
        after_help = "Example:\n  midspan nbd serve /srv/disk.img --export disk --socket /tmp/disk.sock\n\nThen:\n  nbdinfo 'nbd+unix:///disk?socket=/tmp/disk.sock'\n\nIt needs --socket, --listen, or sockets passed by systemd (LISTEN_FDS). SIGTERM and SIGINT end it with exit code 0."
    )]
    Serve(Serve),
}

/// Arguments of `nbd serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The file or block device
    pub disk: PathBuf,
    /// Name by which clients ask for it; the empty name is the default export
    #[arg(long, value_name = "NAME", default_value = "")]
    pub export: String,
    /// Unix socket to listen on
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// TCP address to listen on, for example 127.0.0.1:10809
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Refuse writes
    #[arg(long)]
    pub read_only: bool,
}

/// `midspan relay ...`
///
/// # Errors
/// When midspand cannot be run.
pub fn relay(command: &RelayCommand) -> Outcome {
    let RelayCommand::Format(arguments) = command;
    format("relay", arguments)
}

/// `midspan site ...`
///
/// # Errors
/// When midspand cannot be run.
pub fn site(command: &SiteCommand) -> Outcome {
    let SiteCommand::Format(arguments) = command;
    format("site", arguments)
}

fn format(kind: &str, arguments: &Format) -> Outcome {
    let mut command = beside::command();
    command.arg("--config").arg(&arguments.config).args(["--format", kind]);
    if arguments.force {
        command.arg("--force");
    }
    beside::run(command)
}

/// `midspan config ...`
///
/// # Errors
/// When midspand cannot be run.
pub fn config(command: &ConfigCommand) -> Outcome {
    let ConfigCommand::Check { files } = command;
    let mut command = beside::command();
    command.arg("--check");
    for file in files {
        command.arg("--config").arg(file);
    }
    beside::run(command)
}

/// `midspan nbd ...`
///
/// # Errors
/// When midspand cannot be run.
pub fn nbd(command: &NbdCommand) -> Outcome {
    let NbdCommand::Serve(arguments) = command;
    let mut command = beside::command();
    command.arg("--serve-disk").arg(&arguments.disk).arg("--export").arg(&arguments.export);
    if let Some(socket) = &arguments.socket {
        command.arg("--socket").arg(socket);
    }
    if let Some(address) = &arguments.listen {
        command.arg("--listen").arg(address);
    }
    if arguments.read_only {
        command.arg("--read-only");
    }
    beside::become_it(command)
}
