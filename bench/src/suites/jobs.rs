//! What a suite measures: loads, each with its floor if it has one, and ratios between them.

use crate::figures::ratio;
use crate::floor::read::Reads;
use crate::floor::{self, Demand};
use crate::generator::{Arrival, Mix, Pattern, Work};
use crate::path;
use crate::window::Tally;

/// One load.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name in the JSON.
    pub name: String,
    /// For people.
    pub title: String,
    /// What is asked for on each connection.
    pub work: Work,
    /// Which of the suite's layouts it runs on, and how many connections go to each export there.
    pub place: (usize, usize),
    /// Of a load at a fixed rate: which load gives the rate, and how many percent of its rate in the same repeat it is.
    pub share: Option<(usize, u8)>,
    /// What its floor has to do; `None`: it has none, or another load's is as good.
    pub floor: Option<Demand>,
    /// Whether the same reads are measured on the disk itself.
    pub is_next_to_disk: bool,
}

impl Job {
    /// A load that keeps `depth` operations under way, without a floor.
    pub fn closed(
        name: &str,
        title: &str,
        (pattern, mix): (Pattern, Mix),
        bytes: usize,
        depth: usize,
    ) -> Self {
        let work = Work { pattern, mix, bytes, depth, arrival: Arrival::Closed };
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            work,
            place: (0, 1),
            share: None,
            floor: None,
            is_next_to_disk: false,
        }
    }

    /// With a floor: durable appends of as much.
    pub fn with_floor(self) -> Self {
        let Work { bytes, depth, .. } = self.work;
        Self { floor: Some(Demand { write_bytes: bytes, depth }), ..self }
    }

    /// On another of the suite's layouts, with so many connections to each export.
    pub fn on(self, layout: usize, connections: usize) -> Self {
        Self { place: (layout, connections), ..self }
    }

    /// With the same reads from the disk itself beside it.
    pub fn next_to_the_disk(self) -> Self {
        Self { is_next_to_disk: true, ..self }
    }

    /// What the disk is asked for.
    pub fn reads(&self) -> Option<Reads> {
        let Work { pattern, bytes, depth, .. } = self.work;
        self.is_next_to_disk.then_some(Reads { is_random: pattern == Pattern::Random, bytes, depth })
    }

    /// At a fixed rate: so many percent of what the load with this index reaches.
    pub fn at_percent_of(self, load: usize, percent: u8) -> Self {
        Self { share: Some((load, percent)), ..self }
    }
}

/// What one repeat has found.
#[derive(Debug)]
pub struct Repeat {
    /// By job; `None` where it has no floor.
    pub floors: Vec<Option<floor::Sample>>,
    /// Reads of the disk itself, by job; `None` where they are not wanted.
    pub disks: Vec<Option<Tally>>,
    /// The host's hop alone.
    pub host_hop: Tally,
    /// By job.
    pub loads: Vec<path::Sample>,
}

impl Repeat {
    /// Latency of a load that this part of its operations do not exceed, microseconds.
    pub fn load_us(&self, load: usize, part: f64) -> Option<f64> {
        self.loads.get(load)?.tally.latencies().at_us(part)
    }

    /// The same of a load's floor.
    pub fn floor_us(&self, load: usize, part: f64) -> Option<f64> {
        self.floors.get(load)?.as_ref()?.answer.latencies().at_us(part)
    }

    /// Operations a second of a load.
    pub fn load_rate(&self, load: usize) -> Option<f64> {
        Some(self.loads.get(load)?.tally.per_second())
    }

    /// A load's reads from the disk itself.
    pub fn disk(&self, load: usize) -> Option<&Tally> {
        self.disks.get(load)?.as_ref()
    }

    /// Writes a second of a load's floor.
    pub fn floor_rate(&self, load: usize) -> Option<f64> {
        let floor = self.floors.get(load)?.as_ref()?;
        Some(floor.writes_per_second(&floor.answer))
    }
}

/// Finds a figure in one repeat.
type Take = Box<dyn Fn(&Repeat) -> Option<f64>>;

/// A ratio that is wanted. It is taken inside a repeat, so that a disturbance that lasts longer than one cancels out.
pub struct Wanted {
    /// Its name in the JSON.
    pub name: String,
    /// What it says.
    pub meaning: String,
    /// The ratio in one repeat.
    pub take: Take,
}

impl Wanted {
    /// Of any two figures.
    pub fn new(name: &str, meaning: &str, take: impl Fn(&Repeat) -> Option<f64> + 'static) -> Self {
        Self { name: name.to_owned(), meaning: meaning.to_owned(), take: Box::new(take) }
    }

    /// Latency of `load` over that of the floor of `floor`.
    pub fn latency(name: &str, meaning: &str, load: usize, floor: usize, part: f64) -> Self {
        Self::new(name, meaning, move |repeat| {
            ratio(repeat.load_us(load, part)?, repeat.floor_us(floor, part)?)
        })
    }

    /// Operations a second of one load over those of another.
    pub fn between(name: &str, meaning: &str, load: usize, other: usize) -> Self {
        Self::new(name, meaning, move |repeat| ratio(repeat.load_rate(load)?, repeat.load_rate(other)?))
    }

    /// Operations a second of `load` over the writes a second of the floor of `floor`.
    pub fn rate(name: &str, meaning: &str, load: usize, floor: usize) -> Self {
        Self::new(name, meaning, move |repeat| ratio(repeat.load_rate(load)?, repeat.floor_rate(floor)?))
    }
}
