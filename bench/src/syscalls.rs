//! System calls of other processes, counted by `perf` while a load runs that is not timed: counting costs time itself.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use midspan::clock::Signal;

/// How long `perf` has to begin counting before the load does.
const SETTLE: Duration = Duration::from_millis(300);
/// What is counted: each entry into the kernel by any call.
const EVENT: &str = "raw_syscalls:sys_enter";

/// Counting on one process each.
#[derive(Debug)]
pub struct Counting(Vec<Child>);

impl Counting {
    /// Begins on these processes. It fails where there is no `perf`, or nobody may count.
    ///
    /// # Errors
    /// That `perf` cannot be started.
    pub fn start(pids: impl IntoIterator<Item = u32>) -> Result<Self> {
        let mut counting = Self(Vec::new());
        for pid in pids {
            let mut command = Command::new("perf");
            command.args(["stat", "-x", ",", "-e", EVENT, "-p", &pid.to_string()]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            counting.0.push(command.spawn().context("starting perf")?);
        }
        Signal::default().wait(SETTLE);
        Ok(counting)
    }

    /// Ends, and gives the calls of each process in the order of the beginning; `None` where `perf` could not count.
    ///
    /// # Errors
    /// That `perf` cannot be ended.
    pub fn finish(mut self) -> Result<Vec<Option<u64>>> {
        let children: Vec<Child> = self.0.drain(..).collect();
        let mut counts = Vec::new();
        for child in children {
            // It has ended already where it may not count.
            let _ = signal("INT", child.id());
            let output = child.wait_with_output().context("waiting for perf")?;
            counts.push(calls(&String::from_utf8_lossy(&output.stderr)));
        }
        Ok(counts)
    }
}

/// A count that nobody waits for any more.
impl Drop for Counting {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends a signal. By the shell's own `kill`: this crate calls nothing of the C library.
///
/// # Errors
/// When there is no process with that number.
pub fn signal(name: &str, pid: u32) -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &pid.to_string()]).stderr(Stdio::null());
    let status = command.status().context("starting sh")?;
    ensure!(status.success(), "process {pid} cannot be sent {name}");
    Ok(())
}

/// The count in what `perf stat -x,` writes: `1234,,raw_syscalls:sys_enter,…`, or words in its place.
fn calls(output: &str) -> Option<u64> {
    let line = output.lines().find(|line| line.contains(EVENT))?;
    match line.split(',').next()?.trim() {
        // The process has not run at all meanwhile.
        "<not counted>" => Some(0),
        count => count.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_and_a_process_that_has_not_run_has_none() {
        assert_eq!(calls("1234,,raw_syscalls:sys_enter,1000,100.00,,\n"), Some(1234));
        assert_eq!(calls("<not counted>,,raw_syscalls:sys_enter,0,100.00,,\n"), Some(0));
        assert_eq!(calls("<not supported>,,raw_syscalls:sys_enter,0,100.00,,\n"), None);
        assert_eq!(calls("Error: no permission\n"), None);
    }
}
