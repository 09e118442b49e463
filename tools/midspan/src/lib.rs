//! The library under the `midspan` command: an NBD client of our own and the hammer that drives and verifies volumes.

pub mod clock;
pub mod nbd_client;
pub mod hammer;
