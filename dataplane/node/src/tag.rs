//! Who a completion belongs to: the top byte of every operation's user data.

/// A disk operation of a machine.
pub const DISK: u8 = 1;
/// A connection between nodes.
pub const LINK: u8 = 2;
/// A listener or a connection that has not greeted yet.
pub const INBOUND: u8 = 3;
/// A front end; the other seven bytes are its own.
pub const FRONT: u8 = 4;

/// Bits that are left to the owner.
pub const REST_BITS: u32 = 56;

/// User data of an owner; `rest` is below 2^56.
pub const fn user(owner: u8, rest: u64) -> u64 {
    debug_assert!(rest >> REST_BITS == 0, "user data of an owner has seven bytes");
    (owner as u64) << REST_BITS | rest
}

/// The owner of a completion.
pub const fn owner(user: u64) -> u8 {
    user.to_be_bytes()[0]
}

/// What the owner gave.
pub const fn rest(user: u64) -> u64 {
    user & ((1 << REST_BITS) - 1)
}
