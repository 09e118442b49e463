//! The command line: what can be asked, and where each command lives.

mod exit;
mod size;
mod http;
mod manifests;
mod client;
mod beside;
mod volume;
mod disk;
mod cells;
mod exposure;
mod peers;
mod status;
mod steps;
mod change;
mod alone;
mod resolve;
mod takeover;
mod verify;
mod events;
mod group;
mod stop;
mod trace;
mod dump;
mod hammer;
mod demo;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use client::{Client, DEFAULT_SOCKET};
use exit::{EXIT_CODES, Exit, Failure, Outcome};
use midspan_daemon::api::types::Change;

/// Replicates block volumes over any distance without losing an answered write
#[derive(Debug, Parser)]
#[command(name = "midspan", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// How the daemon is reached.
#[derive(Debug, Args)]
struct Reach {
    /// Unix socket of the daemon's API (`api` in its config)
    #[arg(long, env = "MIDSPAN_SOCKET", default_value = DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show roles, epochs, lanes, watermarks, lag and ring use of this node
    #[command(after_help = status::EXAMPLES)]
    Status {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        arguments: status::Arguments,
    },
    /// Make this site the primary of a group whose primary is gone
    #[command(after_help = takeover::EXAMPLES)]
    Takeover {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        arguments: takeover::Arguments,
    },
    /// Hand a group over to the other site: planned, both alive, without loss
    #[command(after_help = change::SWITCHOVER)]
    Switchover {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        arguments: change::Arguments,
    },
    /// Hand a group back to its home: a switchover to the site that is its primary by configuration
    #[command(after_help = change::FAILBACK)]
    Failback {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        arguments: change::Arguments,
    },
    /// Hold the round that runs or is to come
    #[command(after_help = change::PAUSE)]
    Pause {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        arguments: change::Hold,
    },
    /// Let a held round go on
    #[command(after_help = change::RESUME)]
    Resume {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        arguments: change::Hold,
    },
    /// List, export or give up what this site alone holds after both sites answered hosts
    #[command(after_help = resolve::RESOLVE)]
    Resolve {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        arguments: resolve::ResolveArguments,
    },
    /// Serve a group whose relay is gone for good: what only the relay held may be missing
    #[command(after_help = change::START)]
    Start {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        arguments: change::StartArguments,
    },
    /// Compare both sites of a group, beside what hosts do; say what differs, and repair it if that is asked
    #[command(after_help = verify::EXAMPLES)]
    Verify {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        arguments: verify::Arguments,
    },
    /// Show what the primary has listed for the secondary and no receipt covers yet
    #[command(after_help = manifests::EXAMPLES)]
    Manifests {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        arguments: manifests::Arguments,
    },
    /// Look at a group as a whole; add one to a node, or remove it
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Show what happened, with what to do next; also before the last restart
    #[command(after_help = events::EVENTS)]
    Events {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        arguments: events::EventArguments,
    },
    /// Show what was asked for, by whom, and how it ended
    #[command(after_help = events::OPERATIONS)]
    Operations {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        arguments: events::OperationArguments,
    },
    /// Record what each write goes through on all nodes, as spans that Perfetto shows
    #[command(after_help = trace::EXAMPLES)]
    Trace {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        arguments: trace::Arguments,
    },
    /// Prepare a relay's journal disk
    #[command(subcommand)]
    Relay(disk::RelayCommand),
    /// Prepare a site's journal disk
    #[command(subcommand)]
    Site(disk::SiteCommand),
    /// Prepare files that serve as volumes
    #[command(subcommand)]
    Volume(volume::VolumeCommand),
    /// Look into journals
    #[command(subcommand)]
    Journal(dump::JournalCommand),
    /// Check configurations without starting anything
    #[command(subcommand)]
    Config(disk::ConfigCommand),
    /// Show it: three nodes on this machine, a workload, the loss of the primary, the verdict
    ///
    /// Everything lies in a temporary folder and is removed at the end.
    #[command(after_help = demo::EXAMPLES)]
    Demo(demo::Arguments),
    /// Drive volumes with self-describing writes and judge what is left of them
    #[command(subcommand)]
    Hammer(midspan::hammer::command::HammerCommand),
    /// Serve a disk over NBD without replication
    #[command(subcommand)]
    Nbd(disk::NbdCommand),
    /// Ask the daemon to end cleanly
    #[command(after_help = stop::EXAMPLES)]
    Stop {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        arguments: stop::Arguments,
    },
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  midspan completions bash > /usr/share/bash-completion/completions/midspan"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Parses the command line, runs the command, reports a failure.
pub fn main() -> ExitCode {
    let cli = match Cli::from_arg_matches(&command().get_matches()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let mut out = io::stdout().lock();
    let outcome = run(cli.command, &mut out).and_then(|exit| {
        out.flush()?;
        Ok(exit)
    });
    match outcome {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => report(&failure),
    }
}

/// The command line with the examples of the hammer, whose arguments live in the library.
fn command() -> clap::Command {
    Cli::command().mut_subcommand("hammer", hammer::with_examples)
}

fn run(command: Command, out: &mut dyn Write) -> Outcome {
    match command {
        Command::Status { reach, arguments } => status::run(&Client::new(&reach.socket), &arguments, out),
        Command::Takeover { reach, arguments } => takeover::run(&Client::new(&reach.socket), &arguments, out),
        Command::Switchover { reach, arguments } => {
            change::roles(&Client::new(&reach.socket), Change::Switchover, &arguments, out)
        }
        Command::Failback { reach, arguments } => {
            change::roles(&Client::new(&reach.socket), Change::Failback, &arguments, out)
        }
        Command::Pause { reach, arguments } => {
            change::hold(&Client::new(&reach.socket), Change::Pause, &arguments, out)
        }
        Command::Resume { reach, arguments } => {
            change::hold(&Client::new(&reach.socket), Change::Resume, &arguments, out)
        }
        Command::Resolve { reach, arguments } => resolve::run(&Client::new(&reach.socket), &arguments, out),
        Command::Start { reach, arguments } => change::start(&Client::new(&reach.socket), &arguments, out),
        Command::Verify { reach, arguments } => verify::run(&Client::new(&reach.socket), &arguments, out),
        Command::Manifests { reach, arguments } => {
            manifests::run(&Client::new(&reach.socket), &arguments, out)
        }
        Command::Group(command) => group::run(&command, out),
        Command::Events { reach, arguments } => events::events(&Client::new(&reach.socket), &arguments, out),
        Command::Operations { reach, arguments } => {
            events::operations(&Client::new(&reach.socket), &arguments, out)
        }
        Command::Trace { reach, arguments } => trace::run(&reach.socket, &arguments, out),
        Command::Relay(command) => disk::relay(&command),
        Command::Site(command) => disk::site(&command),
        Command::Volume(command) => volume::run(&command, out),
        Command::Journal(command) => dump::run(&command, out),
        Command::Config(command) => disk::config(&command),
        Command::Nbd(command) => disk::nbd(&command),
        Command::Demo(arguments) => demo::run(&arguments, out),
        Command::Hammer(command) => hammer::run(command),
        Command::Stop { reach, arguments } => {
            stop::run(&Client::new(&reach.socket), &reach.socket, &arguments, out)
        }
        Command::Completions { shell } => {
            // Into memory first: the generator panics where the output is closed.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut self::command(), "midspan", &mut script);
            out.write_all(&script)?;
            Ok(Exit::Ok)
        }
    }
}

fn report(failure: &Failure) -> ExitCode {
    let Some(exit) = failure.exit else {
        return ExitCode::from(Exit::Ok as u8);
    };
    let mut text = format!("midspan: {}\n", failure.message);
    if !failure.hint.is_empty() {
        text += &format!("  hint: {}\n", failure.hint);
    }
    // Nobody is left to tell when the error output is closed, too.
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(exit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
        let path = format!("{path} {}", command.get_name());
        if command.get_subcommands().next().is_none() {
            found.push((path.clone(), command.clone()));
        }
        for sub in command.get_subcommands() {
            leaves(sub, &path, found);
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_command_has_help_and_an_example_that_parses() {
        let mut found = Vec::new();
        leaves(&super::command(), "", &mut found);
        assert!(found.len() > 8);
        for (path, command) in found {
            assert!(command.get_about().is_some(), "{path} has no help");
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> =
                after.lines().map(str::trim).filter(|l| l.starts_with("midspan ")).collect();
            assert!(!examples.is_empty(), "{path} has no example");
            for example in examples {
                let line = example.split(" > ").next().unwrap().split(" | ").next().unwrap();
                let parsed = super::command().try_get_matches_from(line.split_whitespace());
                assert!(
                    parsed.is_ok(),
                    "the example of {path} does not parse: {line}: {}",
                    parsed.unwrap_err()
                );
            }
        }
    }
}
