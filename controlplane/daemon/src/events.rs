//! What happened, for people: a bounded list for the API, and at the same time lines of the log.

use std::borrow::Cow;
use std::collections::VecDeque;

use crate::api::query::Wanted;
use crate::api::types::{Event, Level};

pub use crate::api::query::KEPT;

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
    /// Goes on behind the events of earlier runs, oldest first.
    pub fn of_earlier_runs(events: Vec<Event>) -> Self {
        Self { last: events.last().map_or(0, |event| event.seq), list: events.into() }
    }

    /// Keeps an event and writes it to the log. Returns it as it is kept.
    pub fn tell(&mut self, time_ns: u64, tell: Tell) -> Event {
        let Tell { level, kind, object, message, hint } = tell;
        log(level, kind, &object, &message, &hint);
        self.last += 1;
        if self.list.len() == KEPT {
            self.list.pop_front();
        }
        let (kind, hint) = (kind.to_owned(), hint.into_owned());
        let event = Event { seq: self.last, time_ns, level, kind, object, message, hint };
        self.list.push_back(event.clone());
        event
    }

    /// When this happened last to an object.
    pub fn last_time_ns(&self, kind: &str, object: &str) -> Option<u64> {
        let found = self.list.iter().rev().find(|event| event.kind == kind && event.object == object);
        found.map(|event| event.time_ns)
    }

    /// The events that are asked for, oldest first.
    pub fn select(&self, wanted: &Wanted) -> Vec<Event> {
        let object = wanted.group.as_ref().map(|group| format!("group:{group}"));
        let found = self
            .list
            .iter()
            .filter(|event| wanted.after.is_none_or(|after| event.seq > after))
            .filter(|event| object.as_ref().is_none_or(|object| event.object == *object));
        if wanted.after.is_some() {
            return found.take(wanted.limit).cloned().collect();
        }
        let mut newest: Vec<Event> = found.rev().take(wanted.limit).cloned().collect();
        newest.reverse();
        newest
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

    fn seqs(log: &EventLog, query: &str) -> Vec<u64> {
        log.select(&Wanted::parse(Some(query)).unwrap()).iter().map(|event| event.seq).collect()
    }

    #[test]
    fn only_the_newest_events_are_kept_and_numbers_go_on() {
        let mut log = EventLog::default();
        for n in 0..KEPT + 10 {
            log.tell(0, Tell::info("test", "node:a", n.to_string()));
        }
        let all = seqs(&log, "limit=10000");
        assert_eq!((all.len(), all[0]), (KEPT, 11));
        let all = log.select(&Wanted { limit: KEPT, ..Wanted::default() });
        let mut log = EventLog::of_earlier_runs(all);
        assert_eq!(log.tell(0, Tell::info("test", "node:a", "next")).seq, KEPT as u64 + 11);
    }

    #[test]
    fn events_are_asked_for_by_group_place_and_number() {
        let mut log = EventLog::default();
        for n in 1..=9 {
            log.tell(0, Tell::info("test", if n % 2 == 0 { "group:db" } else { "node:a" }, ""));
        }
        assert_eq!(seqs(&log, "limit=3"), [7, 8, 9]);
        assert_eq!(seqs(&log, "after=2&limit=3"), [3, 4, 5]);
        assert_eq!(seqs(&log, "since=7"), [8, 9]);
        assert_eq!(seqs(&log, "group=db"), [2, 4, 6, 8]);
        assert_eq!(seqs(&log, "group=db&limit=1"), [8]);
        assert_eq!(seqs(&log, "").len(), 9);
        log.tell(7, Tell::info("test", "group:db", ""));
        assert_eq!(log.last_time_ns("test", "group:db"), Some(7));
        assert_eq!(log.last_time_ns("test", "group:none"), None);
        for query in ["after=x", "limit=0", "limit=10001", "after", "other=1"] {
            assert_eq!(Wanted::parse(Some(query)), None, "{query}");
        }
    }
}
