//! What a load is: where it goes, what it asks for, how much at once or how often.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::Serialize;

use crate::window::Window;

/// Where requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// Anywhere, at multiples of the request's size.
    Random,
    /// One behind the other, and from the start again at the end. Several connections begin at different places.
    Sequential,
}

/// What requests are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mix {
    /// Writes.
    Write,
    /// Each write followed by a FLUSH once it is answered. The pair is one operation.
    WriteFlush,
    /// Reads.
    Read,
    /// Seven reads to three writes, in no order.
    Mixed,
}

/// When requests start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// As soon as the one before has been answered: there are always as many under way.
    Closed,
    /// At a fixed rate, whatever the server does. A latency counts from the instant at which the request was due.
    Open {
        /// Requests a second, over all connections.
        per_second: u32,
    },
}

/// What each connection asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Work {
    /// Where requests go.
    pub pattern: Pattern,
    /// What they are.
    pub mix: Mix,
    /// Bytes of a request.
    pub bytes: usize,
    /// Operations under way on each connection; the most of them where they arrive at a rate.
    pub depth: usize,
    /// When they start.
    pub arrival: Arrival,
}

/// A load: one thread, one or more connections.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where each connection goes; an export that stands here twice gets two.
    pub uris: Vec<String>,
    /// What is asked for.
    pub work: Work,
    /// Core of the generating thread.
    pub core: usize,
    /// Of offsets and content.
    pub seed: u64,
    /// How long.
    pub window: Window,
}

/// Between a running load and whoever watches it: how many operations have ended, and that it is to end.
#[derive(Debug, Default)]
pub struct Gauge {
    answered: AtomicU64,
    ends: AtomicBool,
}

impl Gauge {
    /// Operations so far, warm-up included.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Tells the load that its window ends now, however long it was to be. It sees that with the next answer.
    pub fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    /// That many more.
    pub(super) fn add(&self, count: u64) {
        self.answered.fetch_add(count, Ordering::Relaxed);
    }

    /// Whether the load is to end now.
    pub(super) fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }
}
