//! A resync round: the secondary is held until the primary has left the lanes and so much differs; it is let go, and the round
//! that follows is watched to its end.
//!
//! ```text
//! Difference ── make ─▶ Waiting ── let_go ─▶ Begun ── watch ─▶ Ended ── settle ─▶ Round
//! ```

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use midspan::clock::{Clock, Signal};
use serde_json::Value;

use crate::api;
use crate::cluster::layout::GROUP;
use crate::cluster::{Cluster, Place};
use crate::generator::{self, Arrival, Gauge, Load, Mix, Pattern, Work};
use crate::hold::Hold;
use crate::status::Status;
use crate::window::Window;

/// What the host writes: whole regions of the map at its places, so that what differs is what was written.
const WORK: Work =
    Work { pattern: Pattern::Random, mix: Mix::Write, bytes: 64 << 10, depth: 8, arrival: Arrival::Closed };
/// After so long a node's status is that of now, where nothing moves.
const STALE: Duration = Duration::from_millis(250);
/// Between two questions. Times are those of the node's own events, but a host that is to write beside a round begins this late.
const POLL: Duration = Duration::from_millis(10);
/// How long each step may take, besides a second for each [`SLOWEST_BYTES`] that it has to do with.
const LIMIT: Duration = Duration::from_secs(120);
const SLOWEST_BYTES: u64 = 4 << 20;

/// What is to differ between the sites.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// How much at least, bytes.
    pub bytes: u64,
    /// Size of the ring that has to be full before, bytes.
    pub ring_bytes: u64,
    /// Core of the load generator.
    pub core: usize,
    /// Of the offsets.
    pub seed: u64,
}

/// The sites differ; the secondary is held, and nobody writes.
#[derive(Debug)]
pub struct Waiting {
    /// Bytes of the marked regions: what the round is going to send.
    dirty_bytes: u64,
    /// How far the lane is.
    journaled: u64,
    /// Most that a step may take.
    limit: Duration,
    /// The newest event at the primary.
    after: u64,
    held: Hold,
}

/// The round has begun.
#[derive(Debug)]
pub struct Begun {
    dirty_bytes: u64,
    journaled: u64,
    limit: Duration,
    after: u64,
}

/// The round has ended.
#[derive(Debug)]
pub struct Ended {
    begun: Begun,
    course: Course,
}

/// A round from its begin to its end.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Bytes of the regions that differed.
    pub dirty_bytes: f64,
    /// Bytes that went into the journal until the sites were paired: heads and marks, and what hosts wrote meanwhile.
    pub journal_bytes: f64,
    /// Whether the target had no cut meanwhile, because its ring was too small to stage the round.
    pub in_place: bool,
    /// From its begin until everything was in the lane, seconds.
    pub sent_s: f64,
    /// From its begin until the target had everything on its disk, its receipt was there, and the map was clean.
    pub seconds: f64,
}

impl Round {
    /// Bytes of what differed a second.
    pub fn rate(&self) -> f64 {
        self.dirty_bytes / self.seconds
    }
}

impl Difference {
    /// Makes the sites differ.
    ///
    /// # Errors
    /// When the load fails, a node does not answer, or the group does not do what it should.
    pub fn make(&self, cluster: &Cluster) -> Result<Waiting> {
        let held = cluster.hold(Place::Secondary)?;
        self.write(cluster)?;
        Signal::default().wait(STALE);
        let dirty_bytes = cluster.status(Place::Primary)?.dirty_bytes.context("nothing differs")?;
        let newest = api::get(cluster.api(Place::Primary)?, &format!("/v1/events?group={GROUP}&limit=1"))?;
        let after = newest.get(0).and_then(|event| event.get("seq")?.as_u64()).unwrap_or(0);
        let (journaled, limit) = (journaled(cluster)?, limit(self.ring_bytes + dirty_bytes));
        Ok(Waiting { dirty_bytes, journaled, limit, after, held })
    }

    /// Writes until the ring is full, the primary has left the lanes, and enough differs.
    fn write(&self, cluster: &Cluster) -> Result<()> {
        let limit = limit(self.ring_bytes + self.bytes);
        let load = Load {
            uris: vec![cluster.uri()?.to_owned()],
            work: WORK,
            core: self.core,
            seed: self.seed,
            // It is told when it is over.
            window: Window { warm: Duration::ZERO, measured: limit * 2 },
        };
        let gauge = Gauge::default();
        thread::scope(|scope| {
            // A thread of its own: it is pinned, this one is not.
            let running = scope.spawn(|| generator::run(&load, &gauge));
            let differs = |status: &Status| {
                let is_enough = status.dirty_bytes.is_some_and(|dirty_bytes| dirty_bytes >= self.bytes);
                status.state == "suspended" && is_enough || running.is_finished()
            };
            let seen = wait(cluster, "outside the lanes with enough that differs", limit, differs);
            gauge.end();
            let ended = running.join().map_err(|_| anyhow!("the load generator has panicked"));
            // A load that has failed explains what was not seen.
            ended??;
            seen
        })
    }
}

impl Waiting {
    /// Lets the secondary go, and returns as soon as it has what was in the ring and the round has begun.
    ///
    /// # Errors
    /// When a node does not answer, or no round begins.
    pub fn let_go(self, cluster: &Cluster) -> Result<Begun> {
        let Self { dirty_bytes, journaled, limit, after, held } = self;
        drop(held);
        let begun = Begun { dirty_bytes, journaled, limit, after };
        begun.wait(cluster, "begun", |events| at_ns(events, "round_began"))?;
        Ok(begun)
    }
}

impl Begun {
    /// Returns as soon as the round has ended.
    ///
    /// # Errors
    /// When a node does not answer, or the round does not end.
    pub fn watch(self, cluster: &Cluster) -> Result<Ended> {
        let course = self.wait(cluster, "ended", Course::of)?;
        Ok(Ended { begun: self, course })
    }

    /// Waits until the primary's events tell this.
    fn wait<T>(&self, cluster: &Cluster, what: &str, told: impl Fn(&Value) -> Option<T>) -> Result<T> {
        let clock = Clock::starting_at(0);
        let path = format!("/v1/events?group={GROUP}&after={}", self.after);
        loop {
            let events = api::get(cluster.api(Place::Primary)?, &path)?;
            if let Some(told) = told(&events) {
                return Ok(told);
            }
            if clock.elapsed() > self.limit {
                bail!("the round has not {what} in {} s: {events}", self.limit.as_secs());
            }
            Signal::default().wait(POLL);
        }
    }
}

impl Ended {
    /// Waits until everything is as before. Nobody may write any more.
    ///
    /// # Errors
    /// When a node does not answer, or the group is not paired again.
    pub fn settle(self, cluster: &Cluster) -> Result<Round> {
        let Self { begun, course } = self;
        let is_over = |status: &Status| {
            let is_clean = status.dirty_bytes.unwrap_or(0) == 0 && !status.has_round;
            status.state == "paired" && is_clean && status.behind.applied_bytes == Some(0)
        };
        wait(cluster, "paired", begun.limit, is_over)?;
        Signal::default().wait(STALE);
        Ok(Round {
            dirty_bytes: begun.dirty_bytes as f64,
            journal_bytes: journaled(cluster)?.saturating_sub(begun.journaled) as f64,
            in_place: course.in_place,
            sent_s: course.sent_s,
            seconds: course.seconds,
        })
    }
}

/// A round in the events of its source, seconds since its begin.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Course {
    in_place: bool,
    sent_s: f64,
    seconds: f64,
}

impl Course {
    /// From events, oldest first; `None` until it has ended.
    fn of(events: &Value) -> Option<Self> {
        let began_ns = at_ns(events, "round_began")?;
        let since_s = |now_ns: u64| now_ns.saturating_sub(began_ns).max(1) as f64 / 1e9;
        // One that cannot be staged any more is begun anew in place. Nobody can take over then, and people are warned.
        let is_warning = |event: &&Value| event.get("level").is_some_and(|level| level == "warn");
        Some(Self {
            in_place: of_kind(events, "round_began").any(|event| is_warning(&event)),
            sent_s: since_s(at_ns(events, "round_sent")?),
            seconds: since_s(at_ns(events, "round_ended")?),
        })
    }
}

fn of_kind<'a>(events: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let events = events.as_array().into_iter().flatten();
    events.filter(move |event| event.get("kind").is_some_and(|found| found == kind))
}

/// When this first happened, nanoseconds since 1970.
fn at_ns(events: &Value, kind: &str) -> Option<u64> {
    of_kind(events, kind).next()?.get("time_ns")?.as_u64()
}

/// How far the lane is, as the relay knows it: it does also while the primary is outside.
fn journaled(cluster: &Cluster) -> Result<u64> {
    let marks = cluster.status(Place::Relay)?.marks;
    marks.journaled.context("the relay does not know how far its lane is")
}

fn limit(bytes: u64) -> Duration {
    LIMIT + Duration::from_secs(bytes / SLOWEST_BYTES)
}

/// Waits until the primary stands so.
fn wait(cluster: &Cluster, what: &str, limit: Duration, wanted: impl Fn(&Status) -> bool) -> Result<()> {
    let clock = Clock::starting_at(0);
    loop {
        let status = cluster.status(Place::Primary)?;
        if wanted(&status) {
            return Ok(());
        }
        if clock.elapsed() > limit {
            bail!("the group is not {what} after {} s: {status:?}", limit.as_secs());
        }
        Signal::default().wait(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, level: &str, time_ns: u64) -> Value {
        json!({ "seq": 1, "kind": kind, "level": level, "time_ns": time_ns })
    }

    #[test]
    fn the_course_of_a_round_is_known_when_it_has_ended() {
        let mut events = vec![
            event("lane_up", "warn", 500_000_000),
            event("round_began", "info", 1_000_000_000),
            event("round_sent", "info", 2_000_000_000),
        ];
        assert_eq!(Course::of(&json!(events)), None);
        events.push(event("round_ended", "info", 2_500_000_000));
        let course = Course { in_place: false, sent_s: 1.0, seconds: 1.5 };
        assert_eq!(Course::of(&json!(events)), Some(course));
        assert_eq!(Course::of(&json!([])), None);
    }

    #[test]
    fn a_round_that_was_begun_anew_in_place_counts_from_its_first_begin() {
        let events = json!([
            event("round_began", "info", 1_000_000_000),
            event("round_cancelled", "warn", 2_000_000_000),
            event("round_began", "warn", 2_000_000_000),
            event("round_sent", "info", 4_000_000_000_u64),
            event("round_ended", "info", 5_000_000_000_u64),
        ]);
        assert_eq!(Course::of(&events), Some(Course { in_place: true, sent_s: 3.0, seconds: 4.0 }));
    }

    #[test]
    fn what_is_large_may_take_longer() {
        assert_eq!(limit(0), LIMIT);
        assert!(limit(1 << 40) > Duration::from_secs(3600));
    }
}
