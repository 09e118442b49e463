//! Finds `midspand`, which is installed beside this command, and runs it for what only it may do to disks.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use super::exit::{Exit, Failure, Outcome};

/// Path of `midspand`: `MIDSPAND`, else beside this executable, else from the PATH.
pub fn midspand() -> PathBuf {
    if let Some(path) = std::env::var_os("MIDSPAND") {
        return PathBuf::from(path);
    }
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("midspand"));
    match beside {
        Some(path) if path.is_file() => path,
        _ => PathBuf::from("midspand"),
    }
}

/// A command that runs `midspand`.
pub fn command() -> Command {
    Command::new(midspand())
}

/// Runs a prepared `midspand` to its end; its exit code becomes ours.
///
/// # Errors
/// When it cannot be started, or a signal ended it.
pub fn run(mut command: Command) -> Outcome {
    let status = command.status().map_err(|error| cannot_start(&error))?;
    exit_of(status)
}

/// Why it could not be started, with what would help.
pub fn cannot_start(error: &std::io::Error) -> Failure {
    Failure::new(Exit::NotFound, format!("cannot run {}: {error}", midspand().display())).hint(
        "midspand is built and installed together with midspan; `cargo build --release` makes both, \
         MIDSPAND names another place",
    )
}

fn exit_of(status: ExitStatus) -> Outcome {
    // What midspand printed says it all: only the code is passed on.
    match status.code() {
        Some(0) => Ok(Exit::Ok),
        Some(2) => Ok(Exit::Usage),
        Some(3) => Ok(Exit::NotFound),
        Some(4) => Ok(Exit::Refused),
        Some(5) => Ok(Exit::TimedOut),
        Some(6) => Ok(Exit::Degraded),
        Some(7) => Ok(Exit::Unreachable),
        Some(_) => Ok(Exit::Failure),
        None => Err(Failure::other(format!("midspand was ended: {status}"))),
    }
}

/// Replaces this process by a prepared `midspand`, so that signals reach it and no parent waits.
///
/// # Errors
/// When it cannot be started; it does not return otherwise.
pub fn become_it(mut command: Command) -> Outcome {
    use std::os::unix::process::CommandExt;
    Err(cannot_start(&command.exec()))
}
