//! Decision tables: rows of what each fact must be, of which exactly one matches any input.

/// What a row demands of one fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// It must be so.
    Yes,
    /// It must not be so.
    No,
    /// It does not matter.
    Any,
}

impl Want {
    /// Whether the fact is as demanded.
    pub const fn holds(self, fact: bool) -> bool {
        match self {
            Want::Yes => fact,
            Want::No => !fact,
            Want::Any => true,
        }
    }
}

/// Whether every fact is as demanded; the n-th demand is for the n-th fact.
pub fn matches<const N: usize>(wants: &[Want; N], facts: &[bool; N]) -> bool {
    wants.iter().zip(facts).all(|(want, fact)| want.holds(*fact))
}

/// All inputs of `N` facts, for tests that walk a table.
pub fn all_inputs<const N: usize>() -> impl Iterator<Item = [bool; N]> {
    (0u32..1 << N).map(|bits| core::array::from_fn(|fact| bits >> fact & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_inputs_are_all_different() {
        let inputs: [[bool; 3]; 8] = core::array::from_fn(|n| all_inputs::<3>().nth(n).unwrap());
        for (n, input) in inputs.iter().enumerate() {
            assert!(!inputs[..n].contains(input));
        }
        assert_eq!(all_inputs::<3>().count(), 8);
    }
}
