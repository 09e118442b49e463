//! The io_uring engine: rings, registered buffers, files, sockets, pinning and cross-core wake-ups.
//!
//! The only crate of the workspace with unsafe code. It knows bytes and descriptors, nothing of frames
//! or volumes. The rules that keep it safe:
//!
//! - A buffer given to an operation is owned by the ring until its completion is handed out, by type.
//! - No safe function takes or returns an address.
//! - [`ring::Ring`] waits in `Drop` until the kernel has let go of every operation.
//! - Everything of one shard (pool, buffers, ring) stays on the thread that made it: `!Send` by type.
//!
//! Module order is dependency order.

pub mod errno;
pub mod allocation;
pub mod clock;
pub mod tape;
pub mod affinity;
pub mod probe;
pub mod buffer;
pub mod pool;
pub mod file;
mod congestion;
pub mod socket;
pub mod wake;
pub mod queue;
pub mod op;
#[cfg(feature = "usdt")]
pub mod probes;
mod table;
mod vector;
pub mod ring;

pub use buffer::Buf;
pub use errno::Errno;
pub use file::File;
pub use op::{Completion, Kind, OpId};
pub use pool::{Class, Pool};
pub use ring::{Config, Ring};
pub use socket::{Address, Listener, Socket};
pub use table::{FileId, ListenerId, Refused, SocketId};
pub use wake::Waker;

/// Alignment of every pool buffer and of every direct I/O, in bytes.
pub const ALIGNMENT: usize = 4096;

/// Most parts (buffer ranges) of one vectored send or write.
pub const MAX_PARTS: usize = 72;
