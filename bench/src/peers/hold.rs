//! Stops a process of ours for a while: it keeps its connections and does nothing.

use anyhow::Result;

use crate::syscalls::signal;

/// A stopped process, which goes on when this is dropped.
#[derive(Debug)]
pub struct Hold(u32);

impl Hold {
    /// Stops the process.
    ///
    /// # Errors
    /// When there is none with that number.
    pub fn of(pid: u32) -> Result<Self> {
        signal("STOP", pid)?;
        Ok(Self(pid))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // It fails only when the process is gone, which whoever uses it next will find.
        let _ = signal("CONT", self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn state(pid: u32) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1[..1].to_owned()
    }

    #[test]
    fn a_held_process_is_stopped_until_the_hold_is_dropped() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let hold = Hold::of(sleeper.id()).unwrap();
        assert_eq!(state(sleeper.id()), "T");
        drop(hold);
        assert_ne!(state(sleeper.id()), "T");
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(Hold::of(sleeper.id()).is_err());
    }
}
