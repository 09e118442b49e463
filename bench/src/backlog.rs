//! A backlog: the secondary is held, the host writes, the secondary is let go and works it off.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use midspan::clock::Signal;
use midspan_uring::clock::boottime_ns;

use crate::cluster::{Cluster, Place};
use crate::figures::ratio;
use crate::generator::{self, Gauge, Load, Work};
use crate::window::{Tally, Window};

/// The first part of each backlog tells how long the rest takes.
const TASTE: Window = Window { warm: Duration::ZERO, measured: Duration::from_millis(100) };
/// How often it is tried on a machine that is too busy to answer anything meanwhile.
const TASTES: usize = 20;
/// After so long a node's status is that of now, where nothing moves.
const STALE: Duration = Duration::from_millis(250);
/// Between two questions to the secondary.
const POLL: Duration = Duration::from_millis(5);
/// How long the secondary may take to work a backlog off.
const LIMIT_NS: u64 = 120_000_000_000;

/// One backlog filled and worked off.
#[derive(Debug)]
pub struct Drain {
    /// Data written while the secondary was held, bytes.
    pub data_bytes: f64,
    /// The same with heads, as it stands in the journal, bytes.
    pub journal_bytes: f64,
    /// Rate of the host, bytes of data a second.
    pub fill: f64,
    /// From letting go until all stood in the secondary's own ring, seconds.
    pub acquired_s: f64,
    /// From letting go until all was on its disk, seconds.
    pub applied_s: f64,
    /// From the first tenth to the last on its disk, bytes of data a second; `None` where that was too short to be seen.
    pub steady: Option<f64>,
}

impl Drain {
    /// From letting go until all was applied, bytes of data a second.
    pub fn rate(&self) -> f64 {
        self.data_bytes / self.applied_s
    }
}

/// What the host writes while the secondary is held.
#[derive(Clone, Copy, Debug)]
pub struct Filling {
    /// The writes.
    pub work: Work,
    /// How much, bytes of data.
    pub backlog_bytes: u64,
    /// Core of the load generator.
    pub core: usize,
    /// Of the offsets.
    pub seed: u64,
}

impl Filling {
    /// Holds the secondary, fills, lets go, and watches until everything is applied.
    ///
    /// # Errors
    /// When the load fails or a node does not answer.
    pub fn drain(&self, cluster: &Cluster) -> Result<Drain> {
        // Something has to be written before anybody can say that it is applied.
        self.taste(cluster)?;
        Signal::default().wait(STALE);
        let caught_up = cluster.wait_until_caught_up(Duration::from_nanos(LIMIT_NS))?;
        ensure!(caught_up.is_some(), "the secondary does not follow");
        let before = marks(cluster, Place::Secondary, |marks| marks.applied)?;
        let held = cluster.hold(Place::Secondary)?;
        let (data_bytes, fill) = self.fill(cluster)?;
        // The primary seals nothing more that counts: what it has sealed is what has to be applied.
        let sealed = marks(cluster, Place::Primary, |marks| marks.sealed)?;
        let began_ns = boottime_ns();
        drop(held);
        let path = watch(cluster, sealed, began_ns)?;
        let at = |take: fn(&Glance) -> u64, position: u64| {
            path.iter().find(|glance| take(glance) >= position).map(|glance| glance.seconds)
        };
        let journal_bytes = sealed.saturating_sub(before) as f64;
        let applied_s = at(|glance| glance.applied, sealed).context("the drain has no end")?;
        let steady = steady(&path, before, sealed).map(|rate| rate * data_bytes / journal_bytes);
        let acquired_s = at(|glance| glance.acquired, sealed).unwrap_or(applied_s);
        Ok(Drain { data_bytes, journal_bytes, fill, acquired_s, applied_s, steady })
    }

    /// Writes the backlog: bytes of data, and the rate.
    fn fill(&self, cluster: &Cluster) -> Result<(f64, f64)> {
        let write_bytes = self.work.bytes as f64;
        let (first, rate) = self.taste(cluster)?;
        let left = (self.backlog_bytes as f64 - first as f64 * write_bytes).max(0.0);
        let measured = Duration::from_secs_f64((left / rate / write_bytes).clamp(0.01, 60.0));
        let (rest, filled) = self.load(cluster, Window { warm: Duration::ZERO, measured })?;
        Ok(((first + rest) as f64 * write_bytes, filled.per_second() * write_bytes))
    }

    /// Writes a little; how many were answered, and how many a second.
    fn taste(&self, cluster: &Cluster) -> Result<(u64, f64)> {
        let mut answered = 0;
        for _ in 0..TASTES {
            let (more, tally) = self.load(cluster, TASTE)?;
            answered += more;
            if tally.per_second() > 0.0 {
                return Ok((answered, tally.per_second()));
            }
        }
        bail!("no write was answered {TASTES} times in {} ms", TASTE.measured.as_millis())
    }

    /// Writes for so long; how many were answered, and what came in the window.
    fn load(&self, cluster: &Cluster, window: Window) -> Result<(u64, Tally)> {
        let load = Load {
            uris: vec![cluster.uri()?.to_owned()],
            work: self.work,
            core: self.core,
            seed: self.seed,
            window,
        };
        let gauge = Gauge::default();
        // A thread of its own: it is pinned, this one is not.
        let outcome = thread::scope(|scope| scope.spawn(|| generator::run(&load, &gauge)).join());
        let outcome = outcome.map_err(|_| anyhow!("the load generator has panicked"))??;
        Ok((gauge.answered(), outcome.tally))
    }
}

fn marks(cluster: &Cluster, place: Place, take: fn(&crate::status::Marks) -> Option<u64>) -> Result<u64> {
    Signal::default().wait(STALE);
    let marks = cluster.status(place)?.marks;
    take(&marks).with_context(|| format!("the {} does not know how far its lane is", place.name()))
}

/// How far the secondary was at one moment.
#[derive(Debug)]
struct Glance {
    seconds: f64,
    acquired: u64,
    applied: u64,
}

/// Watches the secondary until it has applied everything.
fn watch(cluster: &Cluster, sealed: u64, began_ns: u64) -> Result<Vec<Glance>> {
    let mut path: Vec<Glance> = Vec::new();
    loop {
        let marks = cluster.status(Place::Secondary)?.marks;
        let now_ns = boottime_ns().saturating_sub(began_ns);
        let (acquired, applied) = (marks.acquired.unwrap_or(0), marks.applied.unwrap_or(0));
        if path.last().is_none_or(|last| (last.acquired, last.applied) != (acquired, applied)) {
            path.push(Glance { seconds: now_ns as f64 / 1e9, acquired, applied });
        }
        if applied >= sealed {
            return Ok(path);
        }
        if now_ns > LIMIT_NS {
            bail!(
                "the secondary has not applied {} of its backlog in {} s",
                sealed - applied,
                LIMIT_NS / 1_000_000_000
            );
        }
        Signal::default().wait(POLL);
    }
}

/// Journal bytes a second between the first moment with a tenth of the backlog applied and the last with less than nine.
fn steady(path: &[Glance], before: u64, sealed: u64) -> Option<f64> {
    let tenth = sealed.saturating_sub(before) / 10;
    let first = path.iter().find(|glance| glance.applied >= before + tenth)?;
    let last = path.iter().rev().find(|glance| glance.applied <= sealed - tenth)?;
    let bytes = last.applied.checked_sub(first.applied).filter(|bytes| *bytes >= tenth)?;
    ratio(bytes as f64, last.seconds - first.seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glance(seconds: f64, applied: u64) -> Glance {
        Glance { seconds, acquired: applied, applied }
    }

    #[test]
    fn the_steady_rate_leaves_out_the_first_and_the_last_tenth() {
        let path = [glance(1.0, 0), glance(2.0, 150), glance(3.0, 450), glance(4.0, 850), glance(9.0, 1000)];
        assert_eq!(steady(&path, 0, 1000), Some(350.0));
    }

    #[test]
    fn a_drain_that_was_too_quick_to_be_seen_has_no_steady_rate() {
        assert_eq!(steady(&[glance(1.0, 0), glance(1.1, 1000)], 0, 1000), None);
        assert_eq!(steady(&[glance(1.0, 0), glance(1.1, 500), glance(1.2, 1000)], 0, 1000), None);
    }
}
