//! `midspan stop`: asks the daemon to end, and waits until it has.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use midspan::clock::{Clock, Signal};

use super::client::Client;
use super::exit::{Exit, Failure, Outcome};

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan stop --socket /run/midspan/api.sock

Hosts that wait for an answer get it where that is possible; whatever was answered is safe. It returns when the daemon
has ended.";

/// Between two looks at the socket.
const POLL: Duration = Duration::from_millis(20);

/// Arguments of `stop`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Give up waiting for its end after so many seconds (exit code 5)
    #[arg(long, value_name = "SECS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub wait: u64,
}

/// Runs the command.
///
/// # Errors
/// That the daemon is not there, or does not end in time.
pub fn run(client: &Client, socket: &Path, arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    client.stop()?;
    let (clock, limit) = (Clock::starting_at(0), Duration::from_secs(arguments.wait));
    // The daemon removes its socket as the last thing it does; a killed one leaves it behind, and nobody listens.
    while UnixStream::connect(socket).is_ok() {
        if clock.elapsed() > limit {
            let message =
                format!("the daemon behind {} has not ended after {} s", socket.display(), arguments.wait);
            return Err(Failure::new(Exit::TimedOut, message).hint("its log says what it waits for"));
        }
        Signal::default().wait(POLL);
    }
    writeln!(out, "the daemon behind {} has ended", socket.display())?;
    Ok(Exit::Ok)
}
