//! Operations that take their time: the question before, the steps while they run.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use midspan_daemon::api::types::Progress;

use super::exit::{Exit, Failure};

/// Asks whether `what` is wanted; only a terminal can be asked.
///
/// # Errors
/// It was not confirmed.
pub fn confirm(what: &str, question: &str) -> Result<(), Failure> {
    let refusal = || Failure::new(Exit::Refused, format!("{what} was not confirmed")).hint("add --yes");
    if !std::io::stdin().is_terminal() {
        return Err(refusal());
    }
    let mut error = std::io::stderr();
    write!(error, "{question} [y/N] ")?;
    error.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim().eq_ignore_ascii_case("y") || answer.trim().eq_ignore_ascii_case("yes") {
        Ok(())
    } else {
        Err(refusal())
    }
}

/// Shows steps: a bar on a terminal, else one line a step.
#[derive(Debug)]
pub struct Show {
    bar: Option<ProgressBar>,
    phase: String,
}

impl Show {
    /// Nothing was shown yet.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {percent} %") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, phase: String::new() }
    }

    /// The operation goes on.
    pub fn step<T>(&mut self, progress: &Progress<T>) {
        let Some(bar) = &self.bar else {
            if self.phase != progress.phase {
                self.phase.clone_from(&progress.phase);
                let _ = writeln!(std::io::stderr(), "{}: {}", progress.phase, progress.message);
            }
            return;
        };
        bar.set_message(progress.message.clone());
        if let (Some(position), Some(end)) = (progress.position, progress.end) {
            bar.set_length(end);
            bar.set_position(position);
        }
        bar.tick();
    }

    /// It ended: the bar goes away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
