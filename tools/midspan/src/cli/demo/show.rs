//! What the demo shows while it runs: a live line on a terminal, else a line each second.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use midspan::hammer::Snapshot;

/// Where progress goes: the error output, so that the last line of the output is the verdict.
#[derive(Debug)]
pub struct Show {
    bar: Option<ProgressBar>,
}

impl Show {
    /// Live on a terminal, lines elsewhere.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar }
    }

    /// How long to wait between two steps of progress.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(if self.bar.is_some() { 250 } else { 1000 })
    }

    /// A line that stays.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| line(text)),
            None => line(text),
        }
    }

    /// Something that is replaced by the next one; a line where nothing can be replaced.
    pub fn live(&self, text: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(text.to_owned());
                bar.tick();
            }
            None => line(text),
        }
    }

    /// The live line goes.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(text: &str) {
    // A reader that went away must not end the demo before it has cleaned up.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The workload and the lag as one line.
pub fn workload(left: Duration, snapshot: &Snapshot, lag_seconds: Option<f64>) -> String {
    let mut text = format!(
        "{:3} s to go  {:7.0} writes/s  p50 {:6.0} us  p99 {:7.0} us  answered {}",
        (left + Duration::from_millis(500)).as_secs(),
        snapshot.window_iops,
        snapshot.window_p50_us,
        snapshot.window_p99_us,
        snapshot.counts.answered
    );
    if let Some(seconds) = lag_seconds {
        let _ = write!(text, "  secondary {:.0} ms behind", seconds * 1000.0);
    }
    text
}
