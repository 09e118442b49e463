//! What is shown while it runs: one line that changes on a terminal, nothing that repeats elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Where progress goes: the error output, so that the output holds results alone.
#[derive(Debug)]
pub struct Show {
    bar: Option<ProgressBar>,
}

impl Show {
    /// On a terminal the line has a bar over this many steps.
    pub fn new(steps: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(steps);
            if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:24} {elapsed:>4}  {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self { bar }
    }

    /// A step begins.
    pub fn step(&self, what: &str) {
        match &self.bar {
            Some(bar) => {
                bar.inc(1);
                bar.set_message(what.to_owned());
            }
            None => say(what),
        }
    }

    /// More about the step that runs; on a terminal only.
    pub fn detail(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    /// Whether somebody watches.
    pub fn is_live(&self) -> bool {
        self.bar.is_some()
    }

    /// The line goes.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A line for people that is no result.
pub fn say(text: &str) {
    // A reader that went away must not end the bench before it has cleaned up.
    let _ = writeln!(io::stderr(), "{text}");
}
