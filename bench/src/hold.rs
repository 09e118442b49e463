//! Stops a process of ours for a while: it keeps its connections and does nothing.

use std::time::Duration;

use anyhow::{Result, bail};
use midspan::clock::Signal;

use crate::syscalls::signal;

/// Looks at the process, and how often: it stops when it gets to run next, which may take a moment.
const LOOKS: u32 = 2000;
const BETWEEN: Duration = Duration::from_millis(1);

/// A stopped process, which goes on when this is dropped.
#[derive(Debug)]
pub struct Hold(u32);

impl Hold {
    /// Stops the process, and waits until it has stopped.
    ///
    /// # Errors
    /// When there is none with that number, or it does not stop.
    pub fn of(pid: u32) -> Result<Self> {
        signal("STOP", pid)?;
        let hold = Self(pid);
        for _ in 0..LOOKS {
            if state(pid) == Some('T') {
                return Ok(hold);
            }
            Signal::default().wait(BETWEEN);
        }
        bail!("process {pid} does not stop")
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // It fails only when the process is gone, which whoever uses it next will find.
        let _ = signal("CONT", self.0);
    }
}

/// `T` is stopped. The name in parentheses may itself hold parentheses.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_held_process_is_stopped_until_the_hold_is_dropped() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let hold = Hold::of(sleeper.id()).unwrap();
        assert_eq!(state(sleeper.id()), Some('T'));
        drop(hold);
        while state(sleeper.id()) == Some('T') {
            std::thread::yield_now();
        }
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(Hold::of(sleeper.id()).is_err());
    }
}
