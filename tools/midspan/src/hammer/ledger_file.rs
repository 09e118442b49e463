//! The ledger as a file, so that another process can judge the volumes later.
//!
//! ```text
//! magic (8) | length of the JSON (8) | JSON: run, counts, units of each volume | zeroes to a multiple of 8
//! for each volume, each register that is not as new:  unit, initial, gone_start, gone_op, flags, n | n × cluster
//!                  then u64::MAX                      cluster: op, value and flags, last_start, first_end
//! digest of all of it (8)
//! ```
//! All numbers are 64-bit little-endian.

use std::fs;
use std::io;
use std::path::Path;

use super::ledger::{Counts, Ledger, VolumeLedger};
use super::register::{Cluster, Register, Value};
use super::unit::{Run, digest};

const MAGIC: u64 = u64::from_le_bytes(*b"MSLEDGR1");
/// Ends the registers of a volume.
const END: u64 = u64::MAX;
/// The largest number of units that a file may announce for a volume.
const MAX_UNITS: u64 = 1 << 28;

#[derive(serde::Serialize, serde::Deserialize)]
struct Header {
    run: Run,
    counts: Counts,
    next_writer: u32,
    volumes: Vec<VolumeHeader>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct VolumeHeader {
    units: u64,
    latest: u64,
}

/// Why a ledger file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFileError {
    /// The system's reason.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no ledger, or a damaged one.
    #[error("this is no ledger of the hammer, or it is damaged: {0}")]
    Damaged(&'static str),
}

impl Ledger {
    /// Writes the ledger to a file; it appears complete or not at all.
    pub fn save(&self, path: &Path) -> Result<(), LedgerFileError> {
        let half_done = path.with_extension("part");
        fs::write(&half_done, self.to_bytes()?)?;
        fs::rename(&half_done, path)?;
        Ok(())
    }

    /// Reads a ledger from a file.
    pub fn load(path: &Path) -> Result<Self, LedgerFileError> {
        Self::from_bytes(&fs::read(path)?)
    }

    fn to_bytes(&self) -> Result<Vec<u8>, LedgerFileError> {
        let volumes = self
            .volumes
            .iter()
            .map(|volume| VolumeHeader { units: volume.registers.len() as u64, latest: volume.latest })
            .collect();
        let header =
            Header { run: self.run, counts: self.counts.clone(), next_writer: self.next_writer, volumes };
        let json = serde_json::to_vec(&header).map_err(io::Error::from)?;
        let mut out = Vec::new();
        put(&mut out, &[MAGIC, json.len() as u64]);
        out.extend_from_slice(&json);
        out.resize(out.len().next_multiple_of(8), 0);
        for volume in &self.volumes {
            for (number, register) in (0..).zip(&volume.registers) {
                if *register != Register::default() {
                    put_register(&mut out, number, register);
                }
            }
            put(&mut out, &[END]);
        }
        let sum = digest(&out);
        put(&mut out, &[sum]);
        Ok(out)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, LedgerFileError> {
        let (body, sum) = bytes.split_last_chunk::<8>().ok_or(LedgerFileError::Damaged("it is too short"))?;
        if !body.len().is_multiple_of(8) || digest(body) != u64::from_le_bytes(*sum) {
            return Err(LedgerFileError::Damaged("its checksum does not match"));
        }
        parse(&mut Words { rest: body }).ok_or(LedgerFileError::Damaged("it does not follow its format"))
    }
}

fn put(out: &mut Vec<u8>, words: &[u64]) {
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

fn put_register(out: &mut Vec<u8>, number: u64, register: &Register) {
    let flags =
        u64::from(register.zeroed) | u64::from(register.contradicted) << 1 | u64::from(register.touched) << 2;
    let clusters = register.clusters.len() as u64;
    put(out, &[number, register.initial, register.gone_start, register.gone_op, flags, clusters]);
    for cluster in &register.clusters {
        let value = match cluster.value {
            Value::Initial => 0,
            Value::Data => 1,
            Value::Zero => 2,
        };
        let flags = value | u64::from(cluster.counted) << 8 | u64::from(cluster.optional) << 9;
        put(out, &[cluster.op, flags, cluster.last_start, cluster.first_end]);
    }
}

struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    fn next_word(&mut self) -> Option<u64> {
        let (word, rest) = self.rest.split_first_chunk::<8>()?;
        self.rest = rest;
        Some(u64::from_le_bytes(*word))
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, _) = self.rest.split_at_checked(length)?;
        self.rest = self.rest.get(length.checked_next_multiple_of(8)?..)?;
        Some(bytes)
    }
}

fn parse(words: &mut Words<'_>) -> Option<Ledger> {
    if words.next_word()? != MAGIC {
        return None;
    }
    let length = usize::try_from(words.next_word()?).ok()?;
    let header: Header = serde_json::from_slice(words.bytes(length)?).ok()?;
    let volumes =
        header.volumes.iter().map(|volume| parse_volume(words, volume)).collect::<Option<Vec<_>>>()?;
    let ledger = Ledger { run: header.run, counts: header.counts, next_writer: header.next_writer, volumes };
    words.rest.is_empty().then_some(ledger)
}

fn parse_volume(words: &mut Words<'_>, header: &VolumeHeader) -> Option<VolumeLedger> {
    if header.units > MAX_UNITS {
        return None;
    }
    let mut volume = VolumeLedger::new(vec![0; usize::try_from(header.units).ok()?]);
    volume.latest = header.latest;
    loop {
        let number = words.next_word()?;
        if number == END {
            return Some(volume);
        }
        let register = parse_register(words)?;
        *volume.registers.get_mut(usize::try_from(number).ok()?)? = register;
    }
}

fn parse_register(words: &mut Words<'_>) -> Option<Register> {
    let (initial, gone_start, gone_op) = (words.next_word()?, words.next_word()?, words.next_word()?);
    let (flags, clusters) = (words.next_word()?, words.next_word()?);
    let (zeroed, contradicted, touched) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
    let clusters = (0..clusters).map(|_| parse_cluster(words)).collect::<Option<Vec<_>>>()?;
    (flags < 8).then_some(Register { initial, gone_start, gone_op, zeroed, contradicted, touched, clusters })
}

fn parse_cluster(words: &mut Words<'_>) -> Option<Cluster> {
    let (op, flags) = (words.next_word()?, words.next_word()?);
    let value = match flags & 0xff {
        0 => Value::Initial,
        1 => Value::Data,
        2 => Value::Zero,
        _ => return None,
    };
    let (counted, optional) = (flags & 1 << 8 != 0, flags & 1 << 9 != 0);
    let (last_start, first_end) = (words.next_word()?, words.next_word()?);
    Some(Cluster { op, value, counted, optional, last_start, first_end })
}

#[cfg(test)]
mod tests {
    use super::super::register::Kind;
    use super::*;

    fn ledger() -> Ledger {
        let mut volume = VolumeLedger::new(vec![0, 7, 0, 9]);
        volume.begin(5, 10);
        volume.begin_write(5, Kind::Data, 10, 0, 2);
        volume.end_write(5, 10, 20, 0, 2);
        volume.begin(6, 30);
        volume.begin_write(6, Kind::MaybeZero, 30, 1, 1);
        volume.abandon(6, 30);
        let run = Run { run_id: 1, seed: 2, unit_bytes: 4096 };
        let counts = Counts { answered: 1, examples: vec!["x".into()], ..Counts::default() };
        Ledger { run, counts, next_writer: 3, volumes: vec![volume, VolumeLedger::new(vec![0; 3])] }
    }

    #[test]
    fn a_saved_ledger_is_the_same_when_loaded() {
        let before = ledger();
        let after = Ledger::from_bytes(&before.to_bytes().unwrap()).unwrap();
        assert_eq!(after.volumes, before.volumes);
        assert_eq!(
            (after.run, after.counts, after.next_writer),
            (before.run, before.counts, before.next_writer)
        );
    }

    #[test]
    fn a_damaged_or_cut_ledger_is_refused() {
        let bytes = ledger().to_bytes().unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(Ledger::from_bytes(&flipped).is_err(), "byte {at}");
            assert!(Ledger::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
