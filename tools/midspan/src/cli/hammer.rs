//! `midspan hammer`: mounts the library's command.

use midspan::hammer::command::{HammerCommand, run_from_args};

use super::exit::{Exit, Failure, Outcome};

/// Runs the command.
///
/// # Errors
/// What keeps it from a verdict.
pub fn run(command: HammerCommand) -> Outcome {
    match run_from_args(command) {
        Ok(true) => Ok(Exit::Ok),
        Ok(false) => Ok(Exit::Failure),
        Err(error) => Err(Failure::other(format!("{error:#}"))),
    }
}

/// Adds examples to the help.
pub fn with_examples(command: clap::Command) -> clap::Command {
    command
        .mut_subcommand("run", |run| {
            run.after_help(
                "Example:\n  midspan hammer run nbd://127.0.0.1/vol --seconds 30 --ledger run.ledger --verify",
            )
        })
        .mut_subcommand("verify", |verify| {
            verify.after_help("Example:\n  midspan hammer verify --ledger run.ledger nbd://other/vol")
        })
}
