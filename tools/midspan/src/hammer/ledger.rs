//! The ledger: what is known of every unit of every volume of a run, and the counts of the run.

use std::collections::BTreeSet;

use super::register::{Held, Judgement, Kind, NEVER, Register};
use super::unit::{Content, Run, describe};

/// How many findings are kept as text.
const MAX_EXAMPLES: usize = 20;

/// What a run has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Writes, zeroings and trims that were answered without an error.
    pub answered: u64,
    /// Writes, zeroings and trims that were sent and have no answer, or an error: they may be there or not.
    pub possibly_answered: u64,
    /// Reads that were answered without an error.
    pub reads: u64,
    /// Flushes that were answered without an error.
    pub flushes: u64,
    /// Requests that the server answered with an error.
    pub errors: u64,
    /// Connections that were lost.
    pub disconnects: u64,
    /// Connections that were made again.
    pub reconnects: u64,
    /// Units that a read returned with content that was certainly overwritten.
    pub stale_reads: u64,
    /// Units that a read returned with content that was never there.
    pub corrupt_reads: u64,
    /// Torn units that were tolerated, see `Config::tolerate_torn_reads`.
    pub torn_reads: u64,
    /// Some findings of the reads, as sentences.
    pub examples: Vec<String>,
}

impl Counts {
    pub(super) fn add_example(&mut self, told: String) {
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(told);
        }
    }
}

/// Everything that is needed to judge the volumes of a run afterwards.
#[derive(Debug)]
pub struct Ledger {
    /// How the units of the run look.
    pub run: Run,
    /// The counts of the run.
    pub counts: Counts,
    /// The first writer number that is free for a further run.
    pub(super) next_writer: u32,
    /// The volumes, in the order of the run's addresses.
    pub(super) volumes: Vec<VolumeLedger>,
}

/// The units of one volume.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct VolumeLedger {
    pub(super) registers: Vec<Register>,
    /// Start and op of everything under way.
    flying: BTreeSet<(u64, u64)>,
    /// The start of the latest operation.
    pub(super) latest: u64,
}

/// A unit that a read returned and should not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Certainly overwritten.
    Stale(String),
    /// Never there.
    Corrupt(String),
    /// Seen half done while it was written.
    Torn,
}

impl Ledger {
    /// The length of each volume's part in use, in units.
    pub fn span_units(&self, volume: usize) -> u64 {
        self.volumes.get(volume).map_or(0, |volume| volume.registers.len() as u64)
    }

    /// How many volumes the run has.
    pub fn volumes(&self) -> usize {
        self.volumes.len()
    }

    /// The latest instant that the ledger knows, in ns of the run's clock.
    pub(super) fn latest(&self) -> u64 {
        let ends = |volume: &VolumeLedger| {
            let clusters = volume.registers.iter().flat_map(|register| register.clusters.iter());
            let instants = clusters.flat_map(|cluster| [cluster.last_start, cluster.first_end]);
            instants.filter(|instant| *instant != NEVER).max().unwrap_or(0).max(volume.latest)
        };
        self.volumes.iter().map(ends).max().unwrap_or(0)
    }

    /// Judges the final content of a unit. The text says what it holds.
    pub(super) fn judge(&self, volume: usize, number: u64, content: &Content) -> (Judgement, String) {
        let register = usize::try_from(number)
            .ok()
            .and_then(|number| self.volumes.get(volume).and_then(|volume| volume.registers.get(number)));
        let Some(register) = register else {
            return (Judgement::Foreign, "a unit outside of the run".into());
        };
        judge_content(register.initial, content, |held| register.judge(held))
    }
}

/// Judges content that may be damaged: only the initial content may look so.
fn judge_content(
    initial: u64,
    content: &Content,
    judge: impl FnOnce(Held) -> Judgement,
) -> (Judgement, String) {
    match content {
        Content::Zero => (judge(Held::Zero), "zeroes".into()),
        Content::Op(op) => (judge(Held::Op(*op)), describe(*op)),
        Content::Other(digest) if *digest == initial => {
            (judge(Held::Other(*digest)), "the content before the run".into())
        }
        Content::Damaged(digest, _) if *digest == initial => {
            (judge(Held::Other(*digest)), "the content before the run".into())
        }
        Content::Other(_) => (Judgement::Foreign, "foreign data".into()),
        Content::Damaged(_, told) => (Judgement::Foreign, told.clone()),
    }
}

/// Names a unit and the finding, for people.
pub(super) fn sentence(volume: usize, number: u64, held: &str, judgement: Judgement) -> String {
    let place = format!("volume {volume}, unit {number}");
    match judgement {
        Judgement::Right => format!("{place}: {held}, which is right"),
        Judgement::Foreign => format!("{place}: {held}"),
        Judgement::Stale { missing: 0 } => format!("{place}: {held}, which was certainly overwritten"),
        Judgement::Stale { missing } => format!("{place}: {held}, but {} is missing", describe(missing)),
    }
}

impl VolumeLedger {
    pub(super) fn new(initial: Vec<u64>) -> Self {
        Self { registers: initial.into_iter().map(Register::untouched).collect(), ..Self::default() }
    }

    /// An operation starts now; `now` must not decrease from call to call.
    pub(super) fn begin(&mut self, op: u64, now: u64) {
        assert!(now >= self.latest, "operations begin in the order of the clock");
        self.latest = now;
        self.flying.insert((now, op));
    }

    /// The units of a write that has begun at `start`.
    pub(super) fn begin_write(&mut self, op: u64, kind: Kind, start: u64, first: u64, units: u32) {
        for register in self.part(first, units) {
            register.begin(op, kind, start);
        }
    }

    /// A write was answered. Says which reads turn out to be wrong.
    pub(super) fn end_write(
        &mut self,
        op: u64,
        start: u64,
        end: u64,
        first: u64,
        units: u32,
    ) -> Vec<(u64, u64)> {
        let oldest = self.oldest();
        self.flying.remove(&(start, op));
        let numbers = first..;
        let registers = numbers.zip(self.part(first, units));
        registers
            .filter_map(|(number, register)| register.end(op, end, oldest).err().map(|other| (number, other)))
            .collect()
    }

    /// A read was answered with this content.
    pub(super) fn end_read(
        &mut self,
        volume: usize,
        op: u64,
        bounds: (u64, u64),
        first: u64,
        contents: &[Content],
        tolerate_torn: bool,
    ) -> Vec<Finding> {
        let oldest = self.oldest();
        let (start, end) = bounds;
        self.flying.remove(&(start, op));
        let mut findings = Vec::new();
        let units = u32::try_from(contents.len()).unwrap_or(u32::MAX);
        for ((number, register), content) in (first..).zip(self.part(first, units)).zip(contents) {
            let was_written = register.was_written_since(start);
            let (judgement, held) =
                judge_content(register.initial, content, |held| register.observe(held, start, end, oldest));
            let told = || format!("read: {}", sentence(volume, number, &held, judgement));
            match judgement {
                Judgement::Right => {}
                Judgement::Stale { .. } => findings.push(Finding::Stale(told())),
                Judgement::Foreign => {
                    // Parts of our data may also be mixed with what was there before the run.
                    let mixed = matches!(content, Content::Damaged(..) | Content::Other(_));
                    let torn = mixed && was_written && tolerate_torn;
                    findings.push(if torn { Finding::Torn } else { Finding::Corrupt(told()) });
                }
            }
        }
        findings
    }

    /// An operation will never be answered. A write may have taken effect, or may still.
    pub(super) fn abandon(&mut self, op: u64, start: u64) {
        self.flying.remove(&(start, op));
    }

    /// No operation that is still to be processed started before this instant.
    fn oldest(&self) -> u64 {
        self.flying.first().map_or(self.latest, |(start, _)| *start)
    }

    fn part(&mut self, first: u64, units: u32) -> &mut [Register] {
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        let last = first.saturating_add(usize::try_from(units).unwrap_or(0)).min(self.registers.len());
        self.registers.get_mut(first..last).unwrap_or_default()
    }
}
