//! The glue of a node: pinned shards that join the pure machines of the protocol to the io_uring engine.
//!
//! No byte is interpreted here beyond where a message ends; no decision about data is made here. Module order is
//! dependency order.

mod tag;
mod slab;
pub mod clock;
pub mod counters;
pub mod buffers;
pub mod exports;
pub mod recorder;
mod event;
mod background;
pub mod disk;
pub mod peer;
mod inbound;
pub mod config;
pub mod status;
pub mod frontend;
mod engine;
mod machines;
mod mesh;
mod idle;
pub mod port;
mod shard;
mod start;
mod signature;
pub mod volume;
pub mod format;
pub mod boot;
pub mod groups;
mod plan;
pub mod node;
