//! Top bytes of the tokens of a site's machines, so that a completion finds its stage.

use super::effect::Token;

/// Host requests on the local disk.
pub const INFLIGHT: u8 = 1;
/// A host's FLUSH on a volume's disk; the low bits are the request.
pub const HOST_FLUSH: u8 = 2;
/// Dirty map blocks.
pub const TRACKER: u8 = 3;
/// Records that are brought to the volumes.
pub const APPLIER: u8 = 4;
/// Frames written into the site's own ring.
pub const ACQUIRE: u8 = 5;
/// Reads of the site's own ring.
pub const OWN_RING: u8 = 6;
/// The group state block.
pub const STATE: u8 = 7;
/// Flushes that move `landed` or the cut.
pub const LAND: u8 = 8;

/// The stage that a token belongs to.
pub const fn of(token: Token) -> u8 {
    token.0.to_be_bytes()[0]
}

/// A token of a stage.
pub const fn token(tag: u8, rest: u64) -> Token {
    Token((tag as u64) << 56 | rest)
}
