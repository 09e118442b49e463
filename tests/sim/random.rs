//! The one source of chance: everything random in a run comes from its seed.

/// Mixes a word well (the finaliser of SplitMix64): equal inputs give equal outputs, near ones unrelated ones.
pub fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// A generator (xoshiro256++). Each part of a run has its own, so that a change in one leaves the others' choices alone.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The generator of a seed and a stream of it.
    pub fn new(seed: u64, stream: u64) -> Self {
        let base = mix(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ mix(stream));
        Self {
            state: [1, 2, 3, 4].map(|n: u64| mix(base.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)))),
        }
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        let (b2, a2) = (b ^ c, a ^ d);
        self.state = [a2, b2, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        u64::try_from((u128::from(self.draw()) * u128::from(bound)) >> 64).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// An index below `bound`.
    pub fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap_or(0)
    }

    /// True so many times in a million.
    pub fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }

    /// True in `percent` of a hundred cases.
    pub fn percent(&mut self, percent: u32) -> bool {
        self.chance(percent * 10_000)
    }

    /// One of a few values.
    pub fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.index(values.len())]
    }

    /// A number around `typical`, rarely much larger: most things are quick and a few are slow.
    pub fn latency(&mut self, typical: u64) -> u64 {
        let spread = typical / 2 + self.below(typical + 1);
        match self.below(64) {
            0 => spread * 8,
            1..4 => spread * 3,
            _ => spread,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_numbers_and_streams_differ() {
        let mut first = Random::new(7, 1);
        let mut again = Random::new(7, 1);
        let mut other = Random::new(7, 2);
        let numbers: Vec<u64> = (0..50).map(|_| first.draw()).collect();
        assert!((0..50).all(|n| again.draw() == numbers[n]));
        assert!((0..50).any(|n| other.draw() != numbers[n]));
    }

    #[test]
    fn numbers_stay_in_their_bounds() {
        let mut random = Random::new(1, 1);
        assert!((0..1000).all(|_| (3..=9).contains(&random.range(3, 9))));
        assert!((0..1000).all(|_| random.below(1) == 0));
    }
}
