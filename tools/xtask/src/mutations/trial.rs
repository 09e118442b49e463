//! One trial: runs the simulator over a bug's seeds, and takes from what it says which seed failed, and why.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::patches::Patch;

/// A simulator that says nothing for so long does not end: it tells every hundred seeds where it is.
const SILENCE: Duration = Duration::from_secs(900);
/// Most letters of what is told.
const WORDS: usize = 110;

/// What came of a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The simulator found it.
    Found(Found),
    /// All seeds held.
    Missed,
    /// The simulator did not end.
    Silent,
    /// The patch does not fit the code.
    Unfit(String),
    /// The code does not build with it.
    Unbuilt,
    /// This seed fails without it, too.
    Sick(u64),
}

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) seed: u64,
    /// The rule that was broken, and how.
    pub(super) words: String,
}

impl Verdict {
    pub(super) fn is_found(&self) -> bool {
        matches!(self, Self::Found(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(Found { seed, words }) => write!(f, "found by seed {seed}: {words}"),
            Self::Missed => write!(f, "NOT FOUND: all seeds held"),
            Self::Silent => write!(f, "NOT FOUND: the simulator does not end"),
            Self::Unfit(words) => write!(f, "NOT TRIED: the patch does not fit: {words}"),
            Self::Unbuilt => write!(f, "NOT TRIED: it does not build"),
            Self::Sick(seed) => write!(f, "NOT FOUND: seed {seed} fails without the bug, too"),
        }
    }
}

/// Runs the seeds of a bug until one fails.
pub(super) fn simulate(program: &Path, patch: &Patch, jobs: Option<usize>) -> Result<Verdict> {
    let mut command = Command::new(program);
    command.args(["--first", &patch.first.to_string(), "--seeds", &patch.seeds.to_string()]);
    if let Some(jobs) = jobs {
        command.args(["--jobs", &jobs.to_string()]);
    }
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| program.display().to_string())?;
    let output = child.stderr.take().context("its errors are piped")?;
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    let mut listener = Listener::default();
    loop {
        match lines.recv_timeout(SILENCE) {
            Ok(line) => listener.hear(&line),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                child.kill()?;
                child.wait()?;
                return Ok(Verdict::Silent);
            }
        }
    }
    let held = child.wait()?.success();
    match (held, listener.found) {
        (true, _) => Ok(Verdict::Missed),
        (false, Some(found)) => Ok(Verdict::Found(found)),
        (false, None) => bail!("the simulator failed, and did not say by which seed"),
    }
}

/// Whether a seed holds.
pub(super) fn holds(program: &Path, seed: u64) -> Result<bool> {
    let mut command = Command::new(program);
    command.arg(seed.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.status().with_context(|| program.display().to_string())?.success())
}

/// Takes the smallest seed that failed from the simulator's words. Its threads take seeds in their order and end the ones that they
/// have begun; only where an assertion ends all of them, one that was running may have been smaller.
#[derive(Default)]
struct Listener {
    found: Option<Found>,
    /// The next line is what a panic says.
    panics: bool,
    panic: String,
}

impl Listener {
    fn hear(&mut self, line: &str) {
        if core::mem::take(&mut self.panics) {
            self.panic = line.to_owned();
        }
        self.panics = line.starts_with("thread ") && line.contains(" panicked at ");
        let Some((seed, rest)) = line.strip_prefix("seed ").and_then(|rest| rest.split_once(" broke "))
        else {
            return;
        };
        let Ok(seed) = seed.parse() else { return };
        let words = match rest.split_once(" at ").zip(rest.split_once(" s: ")) {
            _ if rest == "an assertion" => format!("assertion: {}", self.panic),
            Some(((rule, _), (_, what))) => format!("{rule}: {what}"),
            None => rest.to_owned(),
        };
        if self.found.as_ref().is_none_or(|found| seed < found.seed) {
            self.found = Some(Found { seed, words: shortened(&words) });
        }
    }
}

fn shortened(words: &str) -> String {
    match words.char_indices().nth(WORDS) {
        Some((end, _)) => format!("{}…", words.get(..end).unwrap_or_default().trim_end()),
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[&str]) -> Option<(u64, String)> {
        let mut listener = Listener::default();
        lines.iter().for_each(|line| listener.hear(line));
        listener.found.map(|found| (found.seed, found.words))
    }

    #[test]
    fn the_smallest_seed_and_its_rule_are_heard() {
        let lines = [
            "     1.2 s  A  seed of trouble",
            "seed 12 broke I4 at 1.250 s: B's cut is at 7 s: or so",
            "again: cargo run -- 12",
            "seed 11 broke one rule at 0.5 s: early",
        ];
        assert_eq!(heard(&lines), Some((11, "one rule: early".to_owned())));
        assert_eq!(heard(&lines[..3]), Some((12, "I4: B's cut is at 7 s: or so".to_owned())));
    }

    #[test]
    fn an_assertion_is_heard_with_what_it_says() {
        let lines = [
            "thread '<unnamed>' (7) panicked at a/b.rs:1:2:",
            "frame off its place",
            "seed 3 broke an assertion",
        ];
        assert_eq!(heard(&lines), Some((3, "assertion: frame off its place".to_owned())));
    }

    #[test]
    fn seeds_that_hold_say_nothing() {
        assert_eq!(heard(&["100 of 300 seeds, 12 virtual seconds"]), None);
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"ä".repeat(200)).chars().count(), WORDS + 1);
    }
}
