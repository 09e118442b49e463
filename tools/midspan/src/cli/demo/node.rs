//! One `midspand` process of the demo: formatted, started, asked, killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use midspan::clock::{Clock, Signal};
use midspan_daemon::api::types::NodeStatus;

use super::layout::{Layout, Place};
use crate::cli::beside;
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};

/// Between two questions to a node that comes up.
const POLL: Duration = Duration::from_millis(20);

/// A running node; killed when dropped.
#[derive(Debug)]
pub struct Node {
    place: Place,
    child: Child,
    client: Client,
    log: PathBuf,
}

impl Node {
    /// Formats the node's journal disk.
    ///
    /// # Errors
    /// What midspand says.
    pub fn format(layout: &Layout, place: Place) -> Result<(), Failure> {
        let mut command = beside::command();
        command.arg("--config").arg(layout.config(place)).args(["--format", place.format()]);
        let output = command.output().map_err(|error| beside::cannot_start(&error))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::other(format!("formatting the journal of {} failed: {}", place.name(), said.trim())))
    }

    /// Starts the node; it is not yet ready.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(layout: &Layout, place: Place) -> Result<Self, Failure> {
        let log = layout.log(place);
        let file = File::create(&log).map_err(|error| Failure::io(log.display(), &error))?;
        let mut command: Command = beside::command();
        command
            .arg("--config")
            .arg(layout.config(place))
            // Whatever ends the demo ends its nodes.
            .arg("--until-eof")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(file);
        let child = command.spawn().map_err(|error| beside::cannot_start(&error))?;
        Ok(Self { place, child, client: Client::new(&layout.api(place)), log })
    }

    /// Its API.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until its status is as wanted, at most for `limit`.
    ///
    /// # Errors
    /// When the process has ended, or the time is over; with the end of its log.
    pub fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&NodeStatus) -> bool,
    ) -> Result<NodeStatus, Failure> {
        let clock = Clock::starting_at(0);
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.failed(Exit::Failure, &format!("ended ({status}) before it was {what}")));
            }
            if let Ok(status) = self.client.status()
                && wanted(&status)
            {
                return Ok(status);
            }
            if clock.elapsed() > limit {
                let message = format!("was not {what} after {} s", limit.as_secs());
                return Err(self.failed(Exit::TimedOut, &message));
            }
            Signal::default().wait(POLL);
        }
    }

    /// Ends it by SIGKILL, at once.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(drop)
            .map_err(|error| Failure::io(self.place.name(), &error))
    }

    /// Asks it to end and waits; kills it when it does not. Says whether it ended cleanly.
    pub fn stop(&mut self, limit: Duration) -> bool {
        let asked = self.client.stop().is_ok();
        let clock = Clock::starting_at(0);
        while asked && clock.elapsed() < limit {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.success();
            }
            Signal::default().wait(POLL);
        }
        let _ = self.kill();
        false
    }

    fn failed(&self, exit: Exit, message: &str) -> Failure {
        let mut text = format!("node {} {message}", self.place.name());
        let tail = tail(&self.log);
        if !tail.is_empty() {
            text += &format!("; its log ends with:\n{tail}");
        }
        Failure::new(exit, text)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.kill();
        }
    }
}

/// The last lines of a log.
fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(8).collect();
    lines.into_iter().rev().map(|line| format!("    {line}\n")).collect()
}
