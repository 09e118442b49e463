//! What the tests of this folder share: an export that can do everything, and transcripts written as hexadecimal.

use alloc::vec::Vec;

use super::nbd::{BlockSizes, Context, Contexts, Export};

pub(super) const EXPORT: Export<'static> = Export {
    name: "disk",
    description: "",
    size: 1 << 40,
    read_only: false,
    block: BlockSizes::DEFAULT,
    can_trim: true,
    can_zero: true,
    fast_zero: true,
    multi_conn: true,
    dirty_map: true,
    default: false,
    available: Ok(()),
};

pub(super) fn both_contexts() -> Contexts {
    let mut contexts = Contexts::NONE;
    Context::ALL.into_iter().for_each(|context| assert!(contexts.insert(context)));
    contexts
}

/// Bytes written as hexadecimal; blanks and line ends are for the eye.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|digit| !digit.is_whitespace()).collect();
    let value = |digit: char| u8::try_from(digit.to_digit(16).unwrap()).unwrap();
    digits.chunks(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect()
}
