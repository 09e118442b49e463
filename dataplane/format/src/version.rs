//! Version numbers: one line for each change. A retired number stays reserved and is never used again.

/// Layout of frames: header, tables, record kinds, marks.
///
/// - 1: the first.
pub const FRAME_VERSION: u16 = 1;

/// Layout of everything on a disk that is not a frame: superblocks, permits, group state, dirty map.
///
/// - 1: the first.
pub const DISK_VERSION: u16 = 1;

/// What nodes say to each other, and in which order.
///
/// - 1: the first.
pub const PROTOCOL_VERSION: u16 = 1;

/// Heartbeats, which nodes of different versions send each other, too.
///
/// - 1: the first.
pub const HEARTBEAT_VERSION: u16 = 1;

/// What the planes say to each other.
///
/// - 1: the first.
pub const CONTROL_VERSION: u16 = 2;
