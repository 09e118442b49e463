//! What happened, in words: kept only when somebody wants to read it, for words cost more than events.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Display;

thread_local! {
    /// Also reached by the panic hook: a machine's assertion has no other way to show what came before it.
    static LINES: RefCell<Option<Lines>> = const { RefCell::new(None) };
}

struct Lines {
    kept: VecDeque<String>,
    limit: usize,
    print: bool,
    now: u64,
}

/// Which lines a run keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracing {
    /// None.
    Off,
    /// The last so many.
    Last(usize),
    /// All; printed at once.
    Print,
}

/// Begins a run's trace on this thread.
pub fn begin(tracing: Tracing) {
    let lines = match tracing {
        Tracing::Off => None,
        Tracing::Last(limit) => Some(Lines { kept: VecDeque::new(), limit, print: false, now: 0 }),
        Tracing::Print => Some(Lines { kept: VecDeque::new(), limit: 0, print: true, now: 0 }),
    };
    LINES.with_borrow_mut(|held| *held = lines);
}

/// Whether lines are wanted.
pub fn is_on() -> bool {
    LINES.with_borrow(Option::is_some)
}

/// The time of the lines to come.
pub fn set_now(now: u64) {
    LINES.with_borrow_mut(|held| {
        if let Some(lines) = held {
            lines.now = now;
        }
    });
}

/// Keeps a line, if lines are wanted.
pub fn line(source: impl Display, text: impl FnOnce() -> String) {
    if !is_on() {
        return;
    }
    let text = text();
    LINES.with_borrow_mut(|held| {
        let Some(lines) = held else { return };
        let line = format!("{} {source:<6} {text}", clock(lines.now));
        if lines.print {
            println!("{line}");
            return;
        }
        if lines.kept.len() == lines.limit {
            lines.kept.pop_front();
        }
        lines.kept.push_back(line);
    });
}

/// Ends the trace and gives what was kept.
pub fn take() -> Vec<String> {
    LINES.with_borrow_mut(|held| held.take().map(|lines| lines.kept.into()).unwrap_or_default())
}

/// A virtual time for people: seconds with microseconds.
pub fn clock(now: u64) -> String {
    format!("{:>4}.{:06}", now / 1_000_000_000, now % 1_000_000_000 / 1000)
}
