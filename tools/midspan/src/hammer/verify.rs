//! The verdict: every unit of every volume is read and judged by the ledger.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ledger::{Ledger, sentence};
use super::register::Judgement;
use super::source::{SourceError, read_all};
use super::unit;
use crate::nbd_client::Client;

/// How many findings are kept as text.
const MAX_EXAMPLES: usize = 20;

/// What verification has found, with the run's own findings.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// Writes, zeroings and trims of the run that were answered.
    pub answered: u64,
    /// Those that were sent and have no answer: they may be there or not.
    pub possibly_answered: u64,
    /// Units that were read and judged; blocks of 4096 bytes, unless the run says otherwise.
    pub checked_blocks: u64,
    /// Writes that are certainly missing: different writes, counted once, whatever their length. Of several that are missing in
    /// the same block only the latest is counted.
    pub lost: u64,
    /// Blocks with content that was certainly overwritten.
    pub lost_blocks: u64,
    /// Blocks with content that was never there: torn, misplaced, damaged, foreign or unreadable.
    pub corrupt: u64,
    /// Blocks that a read during the run returned although they were certainly overwritten.
    pub stale_reads: u64,
    /// Blocks that a read during the run returned with content that was never there.
    pub corrupt_reads: u64,
    /// Some findings as sentences.
    pub examples: Vec<String>,
}

/// How far verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Blocks judged.
    pub checked_blocks: u64,
    /// Blocks in all.
    pub total_blocks: u64,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The number of volumes does not fit.
    #[error("the ledger has {expected} volumes, {given} addresses are given")]
    Volumes {
        /// Volumes of the ledger.
        expected: usize,
        /// Addresses given.
        given: usize,
    },
    /// A volume cannot be read.
    #[error("{uri}: {source}")]
    Source {
        /// The volume's address.
        uri: String,
        /// Why.
        source: SourceError,
    },
}

impl Verdict {
    /// Whether nothing is lost and nothing is wrong.
    pub fn held(&self) -> bool {
        self.lost == 0 && self.corrupt == 0 && self.stale_reads == 0 && self.corrupt_reads == 0
    }
}

/// Judges units one by one. [`Ledger::verify`] uses it on exports; use it on anything else that can be read.
#[derive(Debug)]
pub struct Judge<'a> {
    ledger: &'a Ledger,
    verdict: Verdict,
    missing: BTreeSet<u64>,
}

impl<'a> Judge<'a> {
    /// Begins with the findings of the run.
    pub fn new(ledger: &'a Ledger) -> Self {
        let counts = &ledger.counts;
        let verdict = Verdict {
            answered: counts.answered,
            possibly_answered: counts.possibly_answered,
            stale_reads: counts.stale_reads,
            corrupt_reads: counts.corrupt_reads,
            examples: counts.examples.clone(),
            ..Verdict::default()
        };
        Self { ledger, verdict, missing: BTreeSet::new() }
    }

    /// Judges some units of `volume`, read from unit `first` on.
    pub fn units(&mut self, volume: usize, first: u64, bytes: &[u8]) {
        let run = self.ledger.run;
        let unit_bytes = usize::try_from(run.unit_bytes).unwrap_or(4096);
        let place = u32::try_from(volume).unwrap_or(u32::MAX);
        for (number, bytes) in (first..).zip(bytes.chunks_exact(unit_bytes)) {
            let content = unit::classify(&run, place, number, bytes);
            let (judgement, held) = self.ledger.judge(volume, number, &content);
            self.verdict.checked_blocks += 1;
            match judgement {
                Judgement::Right => continue,
                Judgement::Stale { missing } => {
                    self.verdict.lost_blocks += 1;
                    self.missing.insert(missing);
                }
                Judgement::Foreign => self.verdict.corrupt += 1,
            }
            self.example(sentence(volume, number, &held, judgement));
        }
    }

    /// A unit that cannot be read.
    pub fn unreadable(&mut self, volume: usize, number: u64, told: &str) {
        self.verdict.checked_blocks += 1;
        self.verdict.corrupt += 1;
        self.example(format!("volume {volume}, unit {number}: unreadable: {told}"));
    }

    /// The verdict on everything given so far.
    pub fn verdict(mut self) -> Verdict {
        self.verdict.lost = self.missing.len() as u64;
        self.verdict
    }

    fn example(&mut self, told: String) {
        if self.verdict.examples.len() < MAX_EXAMPLES {
            self.verdict.examples.push(told);
        }
    }
}

impl Ledger {
    /// Reads all volumes at these addresses, in the order of the run, wherever they are served now, and judges every unit.
    /// `timeout` limits each wait for a server.
    pub fn verify(
        &self,
        uris: &[String],
        timeout: Duration,
        mut progress: impl FnMut(Progress),
    ) -> Result<Verdict, VerifyError> {
        if uris.len() != self.volumes() {
            return Err(VerifyError::Volumes { expected: self.volumes(), given: uris.len() });
        }
        let total_blocks = (0..self.volumes()).map(|volume| self.span_units(volume)).sum();
        let mut judge = Judge::new(self);
        let unit_bytes = self.run.unit_bytes;
        for (volume, uri) in uris.iter().enumerate() {
            let span = self.span_units(volume) * u64::from(unit_bytes);
            let visit = |offset: u64, bytes: Result<&[u8], String>| {
                let first = offset / u64::from(unit_bytes);
                match bytes {
                    Ok(bytes) => judge.units(volume, first, bytes),
                    Err(told) => judge.unreadable(volume, first, &told),
                }
                progress(Progress { checked_blocks: judge.verdict.checked_blocks, total_blocks });
            };
            Client::connect(uri, timeout)
                .map_err(SourceError::from)
                .and_then(|client| read_all(client, timeout, span, unit_bytes, visit))
                .map_err(|source| VerifyError::Source { uri: uri.clone(), source })?;
        }
        Ok(judge.verdict())
    }
}
