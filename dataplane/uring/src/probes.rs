//! Static user probes (USDT) of the provider `midspan`, one for each stage of a write: a nop until somebody attaches.
//!
//! They stand in this crate because a probe is inline assembly. Arguments of all: group, host request, length, place, and
//! what else the stage tells.

#[usdt::provider(provider = "midspan")]
mod stages {
    fn arrived(group: u32, request: u32, length: u32, place: u64, with: u64) {}
    fn timed(group: u32, request: u32, length: u32, place: u64, with: u64) {}
    fn sealed(group: u32, request: u32, length: u32, place: u64, with: u64) {}
    fn sent(group: u32, request: u32, length: u32, place: u64, with: u64) {}
    fn received(group: u32, request: u32, length: u32, place: u64, with: u64) {}
    fn journaled(group: u32, request: u32, length: u32, place: u64, with: u64) {}
    fn acknowledged(group: u32, request: u32, length: u32, place: u64, with: u64) {}
    fn answered(group: u32, request: u32, length: u32, place: u64, with: u64) {}
    fn written(group: u32, request: u32, length: u32, place: u64, with: u64) {}
    fn asked(group: u32, request: u32, length: u32, place: u64, with: u64) {}
    fn served(group: u32, request: u32, length: u32, place: u64, with: u64) {}
    fn fetched(group: u32, request: u32, length: u32, place: u64, with: u64) {}
    fn acquired(group: u32, request: u32, length: u32, place: u64, with: u64) {}
    fn applied(group: u32, request: u32, length: u32, place: u64, with: u64) {}
}

/// What a probe tells.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// Number of the group.
    pub group: u32,
    /// Number of the host request.
    pub request: u32,
    /// Bytes.
    pub length: u32,
    /// An offset, a time or a position.
    pub place: u64,
    /// What else the stage tells.
    pub with: u64,
}

/// Fires the probe of the stage with a number; nothing where there is none.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the macro passes arguments in registers as wide as `usize`"
)]
pub fn fire(stage: u8, told: Told) {
    let Told { group, request, length, place, with } = told;
    match stage {
        0 => stages::arrived!(|| (group, request, length, place, with)),
        1 => stages::timed!(|| (group, request, length, place, with)),
        2 => stages::sealed!(|| (group, request, length, place, with)),
        3 => stages::sent!(|| (group, request, length, place, with)),
        4 => stages::received!(|| (group, request, length, place, with)),
        5 => stages::journaled!(|| (group, request, length, place, with)),
        6 => stages::acknowledged!(|| (group, request, length, place, with)),
        7 => stages::answered!(|| (group, request, length, place, with)),
        8 => stages::written!(|| (group, request, length, place, with)),
        9 => stages::asked!(|| (group, request, length, place, with)),
        10 => stages::served!(|| (group, request, length, place, with)),
        11 => stages::fetched!(|| (group, request, length, place, with)),
        12 => stages::acquired!(|| (group, request, length, place, with)),
        13 => stages::applied!(|| (group, request, length, place, with)),
        _ => {}
    }
}
