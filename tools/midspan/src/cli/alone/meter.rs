//! How far an export is: a bar on a terminal, else a line for each tenth.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::size;

/// Bytes done of bytes to do, in one step of an export.
#[derive(Debug)]
pub struct Meter {
    bar: Option<ProgressBar>,
    what: &'static str,
    done: u64,
    total: u64,
}

impl Meter {
    /// Nothing is done yet.
    pub fn new(what: &'static str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total).with_message(what);
            if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes} of {total_bytes}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, what, done: 0, total }
    }

    /// So many bytes more are done.
    pub fn add(&mut self, bytes: u64) {
        let before = self.tenths();
        self.done += bytes;
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None if self.tenths() > before => {
                let (done, total) = (size::show(self.done), size::show(self.total));
                let _ = writeln!(std::io::stderr(), "{}: {done} of {total}", self.what);
            }
            None => {}
        }
    }

    /// All is done: the bar goes away.
    pub fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }

    fn tenths(&self) -> u128 {
        u128::from(self.done) * 10 / u128::from(self.total.max(1))
    }
}
