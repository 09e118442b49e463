//! Seeded numbers: the same seed gives the same workload on every machine.

/// The step of the sequence (2^64 divided by the golden ratio), as in SplitMix64.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The SplitMix64 generator.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// A generator of its own for each pair of seed and stream.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(mix(mix(seed.wrapping_add(STEP)) ^ stream.wrapping_add(1).wrapping_mul(STEP)))
    }

    /// The next 64 bits.
    pub fn next_word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number below `limit`; 0 if `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        let wide = u128::from(self.next_word()) * u128::from(limit);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// True in `percent` of 100 cases.
    pub fn percent(&mut self, percent: u8) -> bool {
        self.below(100) < u64::from(percent)
    }
}

/// Spreads every bit of a word over all bits (the finaliser of SplitMix64; one to one).
pub fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
