//! One `midspand` process: started, asked, killed.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use midspan_daemon::api::types::{GroupStatus, NodeStatus};

use super::program::{Program, midspan, midspand, signal};
use super::wait_for;

/// A running node; killed when dropped.
#[derive(Debug)]
pub struct Node {
    child: Child,
    api: PathBuf,
    name: String,
}

impl Node {
    /// Starts it, in a network namespace where one is named; its log is added to the file `log`. Whatever ends the test ends
    /// it, too.
    pub fn start(name: &str, namespace: Option<&str>, config: &Path, api: &Path, log: &Path) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(log);
        let file = file.unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let mut command = match namespace {
            Some(namespace) => {
                // It becomes the daemon: the process is the same.
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(midspand());
                command
            }
            None => Command::new(midspand()),
        };
        command.arg("--config").arg(config).arg("--until-eof");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().expect("midspand starts");
        Self { child, api: api.to_owned(), name: name.to_owned() }
    }

    /// What `midspan status` says; `None` while nobody answers.
    pub fn status(&self) -> Option<NodeStatus> {
        let said = Program::new(midspan()).arg("status").arg("--socket").arg(&self.api);
        let said = said.args(["--output", "json"]).run();
        if said.status.success() {
            let status = serde_json::from_str(&said.out);
            return Some(
                status.unwrap_or_else(|error| panic!("status of {}: {error}: {}", self.name, said.out)),
            );
        }
        // Nobody is there, or there was no answer in time: a machine may be busy with other things.
        assert!(matches!(said.status.code(), Some(5 | 7)), "either it answers or nobody does: {said}");
        None
    }

    /// Waits until its group is as wanted.
    pub fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&GroupStatus) -> bool,
    ) -> GroupStatus {
        let name = self.name.clone();
        let mut last = None;
        let looking = || {
            if let Some(status) = self.ended() {
                panic!("{name} ended ({status}) before it was {what}");
            }
            last = self.status().and_then(|status| status.groups.into_iter().next());
            last.clone().filter(|group| wanted(group))
        };
        wait_for(&format!("{name} should be {what}"), limit, looking)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// Waits until it ends by itself.
    pub fn wait_ended(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} should end", self.name);
        wait_for(&what, limit, || self.ended())
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory of it that is in use, bytes: its resident set.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident set");
        let kib = line.trim().strip_suffix(" kB").and_then(|number| number.parse::<u64>().ok());
        kib.expect("a number of kB") * 1024
    }

    /// Files, sockets and other things that it has open.
    pub fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.pid());
        fs::read_dir(&path).unwrap_or_else(|error| panic!("{path}: {error}")).count()
    }

    /// Sends it a signal by name, by its process number.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// SIGKILL, by its process number, and nothing of it is left.
    pub fn kill(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("the end of a killed child");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
