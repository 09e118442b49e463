//! What happened, for people: a bounded list for the API, and at the same time lines of the log.

use std::borrow::Cow;
use std::collections::VecDeque;

use crate::api::types::{Event, Level};

/// Events kept for `GET /v1/events`.
const KEPT: usize = 1024;

/// Something to tell people: what, which object, what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tell {
    /// How much it matters.
    pub level: Level,
    /// One word for what happened, stable for scripts.
    pub kind: &'static str,
    /// The object, for example `group:vault`.
    pub object: String,
    /// What happened.
    pub message: String,
    /// What to do next; may be empty.
    pub hint: Cow<'static, str>,
}

impl Tell {
    /// Something that is as it should be.
    pub fn info(kind: &'static str, object: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            level: Level::Info,
            kind,
            object: object.into(),
            message: message.into(),
            hint: Cow::Borrowed(""),
        }
    }

    /// Something that is not as configured; the node goes on.
    pub fn warn(kind: &'static str, object: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level: Level::Warn, ..Self::info(kind, object, message) }
    }

    /// Something that somebody must look at.
    pub fn error(kind: &'static str, object: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level: Level::Error, ..Self::info(kind, object, message) }
    }

    /// What to do next.
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// The newest events.
#[derive(Debug, Default)]
pub struct EventLog {
    last: u64,
    list: VecDeque<Event>,
}

impl EventLog {
    /// Keeps an event and writes it to the log.
    pub fn tell(&mut self, time_ns: u64, tell: Tell) {
        let Tell { level, kind, object, message, hint } = tell;
        log(level, kind, &object, &message, &hint);
        self.last += 1;
        if self.list.len() == KEPT {
            self.list.pop_front();
        }
        let (kind, hint) = (kind.to_owned(), hint.into_owned());
        self.list.push_back(Event { seq: self.last, time_ns, level, kind, object, message, hint });
    }

    /// The events after number `since`, oldest first.
    pub fn since(&self, since: u64) -> Vec<Event> {
        self.list.iter().filter(|event| event.seq > since).cloned().collect()
    }
}

/// A line of the log.
fn log(level: Level, kind: &str, object: &str, message: &str, hint: &str) {
    let hint = if hint.is_empty() { None } else { Some(hint) };
    match level {
        Level::Info => tracing::info!(kind, object, hint, "{message}"),
        Level::Warn => tracing::warn!(kind, object, hint, "{message}"),
        Level::Error => tracing::error!(kind, object, hint, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_events_are_kept_and_numbers_go_on() {
        let mut log = EventLog::default();
        for n in 0..KEPT + 10 {
            log.tell(0, Tell::info("test", "node:a", n.to_string()));
        }
        let all = log.since(0);
        assert_eq!(all.len(), KEPT);
        assert_eq!(all[0].seq, 11);
        assert_eq!(log.since(KEPT as u64 + 9).len(), 1);
    }
}
