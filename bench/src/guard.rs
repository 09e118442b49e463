//! Cleans up after a bench that a signal has ended: a shell that waits for the end of its input.
//!
//! Destructors do not run when Ctrl-C or a kill ends the process, and three nodes with gigabytes of disks would stay.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

/// Remembers what it is told, and at the end of its input, unless told that all is done, ends and removes it.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
processes= loops= folder=
while read -r what value; do
    case "$what" in
        process) processes="$processes $value" ;;
        loop) loops="$loops $value" ;;
        folder) folder="$value" ;;
        done) exit 0 ;;
    esac
done
for process in $processes; do
    pid=${process%%/*} start=${process#*/}
    stat=$(cat "/proc/$pid/stat" 2>/dev/null)
    set -- ${stat##*) }
    [ "${20}" = "$start" ] && kill -KILL "$pid"
done
for loop in $loops; do losetup --detach "$loop"; done
[ -n "$folder" ] && rm -rf -- "$folder"
"#;

/// The shell. Dropping it means that everything was cleaned up.
#[derive(Debug)]
pub struct Guard {
    shell: Child,
    input: Option<ChildStdin>,
}

impl Guard {
    /// Starts the shell, out of the reach of Ctrl-C.
    ///
    /// # Errors
    /// When there is no shell.
    pub fn start() -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut shell = command.spawn().context("starting sh")?;
        let input = shell.stdin.take();
        Ok(Self { shell, input })
    }

    /// Kills this process, if none with its number was started since.
    ///
    /// # Errors
    /// When the shell has ended, or the process.
    pub fn kill(&mut self, pid: u32) -> Result<()> {
        // Not its name: a process that has just been started may still bear that of this one.
        let start = started(pid).with_context(|| format!("process {pid} has ended"))?;
        self.tell("process", &format!("{pid}/{start}"))
    }

    /// Detaches this loop device.
    ///
    /// # Errors
    /// When the shell has ended.
    pub fn detach(&mut self, device: &Path) -> Result<()> {
        self.tell("loop", &device.display().to_string())
    }

    /// Removes this folder.
    ///
    /// # Errors
    /// When the shell has ended, or a line cannot hold the name.
    pub fn remove(&mut self, folder: &Path) -> Result<()> {
        let name = folder.to_str().filter(|name| !name.contains('\n') && name.trim() == *name);
        let name = name.with_context(|| format!("{} is no name for a folder here", folder.display()))?;
        self.tell("folder", name)
    }

    fn tell(&mut self, what: &str, value: &str) -> Result<()> {
        const GONE: &str = "the shell that cleans up has ended";
        let input = self.input.as_mut().context(GONE)?;
        input.write_all(format!("{what} {value}\n").as_bytes()).context(GONE)
    }
}

/// When a process was started, in ticks since boot. The name in parentheses may itself hold blanks and parentheses.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.tell("done", "").is_ok() {
            let _ = self.shell.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("midspan-guard-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("disk"), b"x").unwrap();
        folder
    }

    /// As when the bench is killed.
    fn end_input(guard: &mut Guard) {
        drop(guard.input.take());
        guard.shell.wait().unwrap();
    }

    #[test]
    fn a_folder_is_removed_when_the_bench_ends_without_a_word() {
        let folder = folder("lost");
        let mut guard = Guard::start().unwrap();
        guard.remove(&folder).unwrap();
        end_input(&mut guard);
        assert!(!folder.exists());
    }

    #[test]
    fn nothing_is_touched_when_all_is_done() {
        let folder = folder("done");
        let mut guard = Guard::start().unwrap();
        guard.remove(&folder).unwrap();
        drop(guard);
        assert!(folder.join("disk").exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_process_is_killed_when_the_bench_ends_without_a_word() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let mut guard = Guard::start().unwrap();
        guard.kill(sleeper.id()).unwrap();
        end_input(&mut guard);
        assert!(!sleeper.wait().unwrap().success());
    }

    #[test]
    fn a_process_that_has_become_another_program_since_is_killed() {
        let mut sleeper =
            Command::new("sh").args(["-c", "read go; exec sleep 60"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut guard = Guard::start().unwrap();
        guard.kill(sleeper.id()).unwrap();
        sleeper.stdin.take().unwrap().write_all(b"go\n").unwrap();
        while std::fs::read_to_string(format!("/proc/{}/comm", sleeper.id())).unwrap() != "sleep\n" {
            std::thread::yield_now();
        }
        end_input(&mut guard);
        assert!(!sleeper.wait().unwrap().success());
    }

    #[test]
    fn another_process_with_the_same_number_is_not_killed() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let mut guard = Guard::start().unwrap();
        guard.tell("process", &format!("{}/1", sleeper.id())).unwrap();
        end_input(&mut guard);
        assert_eq!(sleeper.try_wait().unwrap(), None);
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
}
