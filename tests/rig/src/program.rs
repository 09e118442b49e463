//! Programs, ours and other people's: run to their end within a limit, or in the background, with what they said.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{LIMIT, wait_for_end};

/// Distinguishes the output files of one process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The `midspan` command under test.
pub fn midspan() -> PathBuf {
    product("midspan")
}

/// The daemon under test.
pub fn midspand() -> PathBuf {
    product("midspand")
}

/// From the folder that `MIDSPAN_BIN` names; else the one built last of those in the target folder of this test.
fn product(name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("MIDSPAN_BIN") {
        let path = Path::new(&folder).join(name);
        assert!(path.is_file(), "MIDSPAN_BIN: there is no {}", path.display());
        return path;
    }
    let own = std::env::current_exe().expect("the path of this test");
    // target/PROFILE/deps/nodes-… or target/PROFILE/midspan-torture
    let mut folders = own.ancestors().skip(1).filter(|folder| !folder.ends_with("deps"));
    let target = folders.nth(1).expect("a target folder");
    let built = |profile: &str| {
        let path = target.join(profile).join(name);
        let at = fs::metadata(&path).and_then(|found| found.modified()).ok()?;
        Some((at, path))
    };
    let newest = ["release", "debug"].into_iter().filter_map(built).max();
    let (_, path) = newest.unwrap_or_else(|| {
        panic!(
            "there is no {name} in {}: `cargo build --release -p midspan-daemon -p midspan` makes it, MIDSPAN_BIN \
             names another folder",
            target.display()
        )
    });
    path
}

/// A command line that is being put together.
#[derive(Debug)]
pub struct Program {
    command: Command,
    limit: Duration,
}

impl Program {
    /// A program by its name or path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        // Other people's programs are asked in English and find what root finds.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        command.env("PATH", path).env("LC_ALL", "C").stdin(Stdio::null());
        Self { command, limit: LIMIT }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives it an open file as its standard input.
    pub fn reading(mut self, file: File) -> Self {
        self.command.stdin(file);
        self
    }

    /// Sets how long it may take.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Said {
        let limit = self.limit;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let log = std::env::temp_dir().join(format!("midspan-said-{}-{number}", std::process::id()));
        let files = Output(log);
        let mut background = self.start(&files.0);
        let status = background.wait(limit);
        background.said(status)
    }

    /// Starts it in the background; both outputs go to files beside `log`, with endings `out` and `err`.
    pub fn start(mut self, log: &Path) -> Background {
        let shown = shown(&self.command);
        let create = |ending: &str| {
            let path = log.with_extension(ending);
            File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        self.command.stdout(create("out")).stderr(create("err"));
        let child = self.command.spawn().unwrap_or_else(|error| panic!("cannot start `{shown}`: {error}"));
        Background { child, shown, log: log.to_owned() }
    }
}

/// The two output files of a program that is run to its end.
struct Output(PathBuf);

impl Drop for Output {
    fn drop(&mut self) {
        for ending in ["out", "err"] {
            let _ = fs::remove_file(self.0.with_extension(ending));
        }
    }
}

/// A program that runs beside the test; killed when dropped.
#[derive(Debug)]
pub struct Background {
    child: Child,
    shown: String,
    log: PathBuf,
}

impl Background {
    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// Waits until it ends by itself; panics, and kills it, where that takes longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("`{}` should end", self.shown);
        wait_for_end(&what, limit, || self.ended())
    }

    /// Sends it SIGTERM and waits for its end.
    pub fn terminate(&mut self) -> ExitStatus {
        signal(self.child.id(), "TERM");
        self.wait(LIMIT)
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        // One that has ended by itself cannot be killed, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far on the error output.
    pub fn err(&self) -> String {
        read(&self.log.with_extension("err"))
    }

    fn said(&self, status: ExitStatus) -> Said {
        Said {
            status,
            out: read(&self.log.with_extension("out")),
            err: self.err(),
            shown: self.shown.clone(),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Said {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub out: String,
    /// Its error output.
    pub err: String,
    shown: String,
}

impl Said {
    /// Demands success; gives the standard output.
    #[track_caller]
    pub fn well(self) -> String {
        assert!(self.status.success(), "{self}");
        self.out
    }

    /// Demands this exit code, and that it says these words; gives everything that it said.
    #[track_caller]
    pub fn with_code(self, code: i32, words: &[&str]) -> String {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self.saying(words)
    }

    /// Demands failure by an exit code of its own, and that it says these words.
    #[track_caller]
    pub fn badly(self, words: &[&str]) -> String {
        assert!(self.status.code().is_some_and(|code| code != 0), "{self}");
        self.saying(words)
    }

    #[track_caller]
    fn saying(self, words: &[&str]) -> String {
        let text = format!("{}{}", self.out, self.err);
        assert!(!text.contains("panicked"), "{self}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in what it said: {self}");
        }
        text
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "`{}` ended with {}; it said:\n{}{}", self.shown, self.status, self.out, self.err)
    }
}

/// Sends a signal by its name to a process.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(sent.is_ok_and(|status| status.success()), "SIG{name} to process {pid}");
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// `program argument argument`, as a person would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
