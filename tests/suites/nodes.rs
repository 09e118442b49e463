//! The suites with real processes: three nodes, or one disk served alone, and the programs that people use with them.
//!
//! `tests/README.md` says what each shows and how to run it alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

mod stranger;
mod clients;
mod filesystem;
mod kill;
mod home;
mod rounds;
mod verify;
mod undone;
mod postgres;
mod paths;
mod without_relay;
mod lanes;
mod bad;
mod overflow;
mod bounds;
mod torture;
mod many;
