//! Version numbers: one line for each change. A retired number stays reserved and is never used again.

/// Layout of frames: header, tables, record kinds, marks.
///
/// - 1: the first.
/// - 2: lane sets: the recorded set's version in receipts, a stripe's `data_at` in headers and manifests.
pub const FRAME_VERSION: u16 = 2;

/// Layout of everything on a disk that is not a frame: superblocks, permits, group state, dirty map.
///
/// - 1: the first.
/// - 2: lane sets: permits, group state and area superblocks name the set that is in force and the one asked for.
pub const DISK_VERSION: u16 = 2;

/// What nodes say to each other, and in which order.
///
/// - 1: the first.
/// - 2: lane sets: where a ring begins, heads of stripes, sets asked for and recorded; verify.
/// - 3: what the lane holds that a set is asked for with.
pub const PROTOCOL_VERSION: u16 = 3;

/// Heartbeats, which nodes of different versions send each other, too.
///
/// - 1: the first.
pub const HEARTBEAT_VERSION: u16 = 1;

/// What the planes say to each other.
///
/// - 1, 2: before what a group says had its lane set, exposure and forecasts.
/// - 3: with them.
///
/// - 1: the first.
pub const CONTROL_VERSION: u16 = 3;
