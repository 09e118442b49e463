//! How far a run goes: lane sets, writes, epochs, faults.

use crate::rule::Rule;
use crate::vocab::LaneSet;

/// The limits of one run. Each kind of event happens at most so often.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The lane sets that the group goes through, in this order; one alone: no switch.
    pub sets: Vec<LaneSet>,
    /// Whether appends and fences can be on their way for a while; else they arrive, and are durable, when they are sent.
    pub in_flight: bool,
    /// Host writes.
    pub writes: u8,
    /// The highest number of an epoch.
    pub epochs: u8,
    /// Deaths of a site's process.
    pub crashes: u8,
    /// Deaths of a relay's process.
    pub relay_crashes: u8,
    /// Relays that come back as another area.
    pub wipes: u8,
    /// Takeovers that are begun.
    pub takeovers: u8,
    /// Takeovers that are undone.
    pub aborts: u8,
    /// Times that a primary leaves the lanes.
    pub leaves: u8,
    /// Times that a former primary joins as secondary.
    pub returns: u8,
    /// The sentence that this run leaves out.
    pub without: Option<Rule>,
}

impl Bounds {
    /// No faults, with these lane sets.
    pub fn new(sets: &[LaneSet]) -> Self {
        Self {
            sets: sets.to_vec(),
            in_flight: true,
            writes: 2,
            epochs: 3,
            crashes: 0,
            relay_crashes: 0,
            wipes: 0,
            takeovers: 0,
            aborts: 0,
            leaves: 0,
            returns: 0,
            without: None,
        }
    }

    /// The same with other lane sets.
    pub fn with(&self, sets: &[LaneSet]) -> Self {
        Self { sets: sets.to_vec(), ..self.clone() }
    }

    /// Whether `rule` holds in this run.
    pub fn has(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }
}
