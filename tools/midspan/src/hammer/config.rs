//! What a run of the hammer does.

use std::time::Duration;

use super::random::Seeded;

/// The settings of a run. Start from [`Config::new`] and change fields.
#[derive(Clone, Debug)]
pub struct Config {
    /// One export for each volume; their order numbers the volumes.
    pub uris: Vec<String>,
    /// Connections to each volume.
    pub connections: u32,
    /// Requests under way on each connection.
    pub depth: u32,
    /// The operations of each connection, and all data, derive from it.
    pub seed: u64,
    /// Bytes used of each volume, from its beginning; by default all of it, but at most 256 MiB.
    pub span_bytes: Option<u64>,
    /// Bytes at the beginning of the span that all connections write, overlapping; the rest is divided among them.
    pub hot_bytes: u64,
    /// Share of the operations that go to the hot area.
    pub hot_percent: u8,
    /// Lengths of the operations.
    pub sizes: SizeMix,
    /// Bytes of a self-describing unit, and what offsets and lengths are multiples of: 4096, or 512 for sub-block writes.
    pub unit_bytes: u32,
    /// Share of reads among all operations; each is checked at once.
    pub read_percent: u8,
    /// Share of flushes among all operations.
    pub flush_percent: u8,
    /// Share of zeroings among all operations.
    pub zero_percent: u8,
    /// Share of trims among all operations.
    pub trim_percent: u8,
    /// Share of FUA among writes and zeroings.
    pub fua_percent: u8,
    /// Whether an answered trim promises zeroes (Midspan does), or nothing (NBD in general).
    pub trims_read_zero: bool,
    /// Do not count it as corrupt if a read that overlaps a write of the same unit sees it half done (page caches do that).
    pub tolerate_torn_reads: bool,
    /// Operations per second over all connections; by default as many as the server answers.
    pub rate: Option<u32>,
    /// What a connection does when it is lost.
    pub on_disconnect: OnDisconnect,
    /// What the volumes hold before the run.
    pub initial: Initial,
    /// Limit for each attempt to connect, and for each wait in the first reading and in verification.
    pub connect_timeout: Duration,
    /// How long a stop waits for the requests under way before it cuts the connections.
    pub drain_timeout: Duration,
}

/// What a connection does when it is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisconnect {
    /// It stays away.
    Stop,
    /// It connects again, with growing pauses, and goes on.
    Reconnect {
        /// It stays away if there is no connection for this long.
        give_up_after: Duration,
    },
}

/// What the volumes hold before the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial {
    /// They are new: zeroes.
    Zeroes,
    /// Read the span first and remember a digest of each unit.
    Scan,
}

/// Lengths of operations with their weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeMix {
    choices: Vec<(u32, u32)>,
}

/// A setting that makes no sense, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl Config {
    /// A mixed workload with reads: four connections of depth 8 to each volume.
    pub fn new(uris: Vec<String>) -> Self {
        Self {
            uris,
            connections: 4,
            depth: 8,
            seed: 1,
            span_bytes: None,
            hot_bytes: 4 << 20,
            hot_percent: 30,
            sizes: SizeMix {
                choices: vec![(4096, 70), (16 << 10, 15), (64 << 10, 9), (256 << 10, 4), (1 << 20, 2)],
            },
            unit_bytes: 4096,
            read_percent: 20,
            flush_percent: 1,
            zero_percent: 0,
            trim_percent: 0,
            fua_percent: 5,
            trims_read_zero: true,
            tolerate_torn_reads: false,
            rate: None,
            on_disconnect: OnDisconnect::Stop,
            initial: Initial::Scan,
            connect_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
        }
    }

    /// Finds settings that make no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |told: &str| Err(ConfigError(told.to_owned()));
        if self.uris.is_empty() || self.uris.len() > 1000 {
            return refuse("the hammer needs 1 to 1000 volumes");
        }
        if !(1..=1000).contains(&self.connections) || !(1..=1024).contains(&self.depth) {
            return refuse("connections must be 1 to 1000, depth 1 to 1024");
        }
        if self.unit_bytes != 4096 && self.unit_bytes != 512 {
            return refuse("a unit has 4096 or 512 bytes");
        }
        let shares = [self.read_percent, self.flush_percent, self.zero_percent, self.trim_percent];
        if shares.iter().map(|share| u32::from(*share)).sum::<u32>() > 100 {
            return refuse("reads, flushes, zeroings and trims are together more than 100 %");
        }
        if self.hot_percent > 100 || self.fua_percent > 100 {
            return refuse("a share is at most 100 %");
        }
        if self.rate == Some(0) {
            return refuse("a rate of 0 does nothing");
        }
        if self.sizes.choices.iter().any(|(bytes, _)| bytes % self.unit_bytes != 0) {
            return Err(ConfigError(format!(
                "all sizes must be multiples of the unit, {} bytes",
                self.unit_bytes
            )));
        }
        Ok(())
    }
}

impl SizeMix {
    /// The longest possible operation in bytes.
    pub const MAX_BYTES: u32 = 32 << 20;

    /// Always the same length.
    pub fn only(bytes: u32) -> Self {
        Self { choices: vec![(bytes, 1)] }
    }

    /// Reads `4k:70,64k:20,1m:10`: lengths in bytes (`k`, `m`) with weights; a weight is 1 if it is missing.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let wrong = || {
            ConfigError(format!(
                "sizes {text:?}: expected LENGTH:WEIGHT,… such as 4k:70,64k:20,1m:10, up to 32m"
            ))
        };
        let choice = |part: &str| {
            let (length, weight) = part.split_once(':').unwrap_or((part, "1"));
            let bytes = parse_bytes(length).and_then(|bytes| u32::try_from(bytes).ok())?;
            let weight = weight.trim().parse().ok().filter(|weight| (1..=1_000_000).contains(weight))?;
            (bytes > 0 && bytes <= Self::MAX_BYTES && bytes % 512 == 0).then_some((bytes, weight))
        };
        let choices: Option<Vec<_>> = text.split(',').map(choice).collect();
        Ok(Self { choices: choices.ok_or_else(wrong)? })
    }

    pub(super) fn pick(&self, random: &mut Seeded) -> u32 {
        let total: u64 = self.choices.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut left = random.below(total);
        for (bytes, weight) in &self.choices {
            let weight = u64::from(*weight);
            if left < weight {
                return *bytes;
            }
            left -= weight;
        }
        4096
    }
}

/// Reads a number of bytes with an optional `k`, `m` or `g` (powers of 1024).
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix("ib").or(text.strip_suffix('b')).unwrap_or(&text);
    let (digits, factor) = match text.char_indices().last()? {
        (at, 'k') => (text.get(..at)?, 1 << 10),
        (at, 'm') => (text.get(..at)?, 1 << 20),
        (at, 'g') => (text.get(..at)?, 1 << 30),
        _ => (text, 1),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_units_and_weights() {
        let mix = SizeMix::parse("4k:3,1MiB").unwrap();
        assert_eq!(mix.choices, vec![(4096, 3), (1 << 20, 1)]);
        for wrong in ["", "4k:0", "0", "64m", "100", "4k;5", "x:1"] {
            assert!(SizeMix::parse(wrong).unwrap_err().to_string().contains("4k:70"), "{wrong}");
        }
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let good = Config::new(vec!["nbd://x".into()]);
        good.check().unwrap();
        let wrong = [
            Config { uris: vec![], ..good.clone() },
            Config { depth: 0, ..good.clone() },
            Config { unit_bytes: 1024, ..good.clone() },
            Config { read_percent: 60, zero_percent: 60, ..good.clone() },
            Config { rate: Some(0), ..good.clone() },
            Config { sizes: SizeMix::only(512), ..good.clone() },
        ];
        for config in wrong {
            config.check().unwrap_err();
        }
    }
}
