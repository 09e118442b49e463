//! The rules that must hold in every state, by their names.

/// I1: every answered write is in what a start serves: no takeover says "lost: 0" wrongly.
pub const I1: &str = "I1: what serves holds everything answered";
/// I4: the volumes hold a cut of the journal that is served.
pub const I4: &str = "I4: volumes hold nothing that the journal lacks";
/// I5: after a taker serves, the former primary answers nothing asked since.
pub const I5: &str = "I5: two never both answer";
/// I11: a read sees everything answered.
pub const I11: &str = "I11: no read is stale";
/// What a start left out never comes back.
pub const GHOST: &str = "no write comes back from the dead";

/// The rules that are broken by an event or seen in a state.
pub const RULES: [&str; 5] = [I1, I4, I5, I11, GHOST];
