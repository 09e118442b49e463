//! Every byte that Midspan puts on a disk or a wire, and nothing else: no I/O, no clock, no policy.
//!
//! ```text
//!  vocabulary   ids  time  geometry  checksum  version
//!  a frame      record  mark  manifest  receipt  ▶ frame (header) ▶ table ▶ seal (write side)  checked (read side)
//!  a disk       area  superblock/{node, permit, state}  dirty_map
//!  a session    message      a datagram  heartbeat         planes: control
//! ```
//!
//! Rules of all formats: little-endian, no padding, reserved bytes are zero and checked, a checksum over everything, every
//! length bounded before it is used. [`docs/formats.md`] of the repository shows them as pictures; `golden/` pins them.
//!
//! [`docs/formats.md`]: https://example.invalid/midspan

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod ids;
pub mod time;
pub mod geometry;
pub mod checksum;
pub mod version;
pub mod list;
mod wire;
pub mod block;
pub mod point;
pub mod record;
pub mod mark;
pub mod manifest;
pub mod receipt;
pub mod frame;
pub mod table;
pub mod seal;
pub mod checked;
pub mod area;
pub mod superblock;
pub mod dirty_map;
pub mod message;
pub mod heartbeat;
pub mod exposure;
pub mod control;
