//! Other servers of the same protocol, on disks of the same kind: what Midspan is compared with.

pub mod program;
pub mod fio;
pub mod host;
pub mod sample;
pub mod server;
pub mod contender;
pub mod ratios;
pub mod goals;
pub mod outcome;
