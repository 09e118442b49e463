//! What the control plane decides, as pure functions over facts: no I/O, no clock, no threads.
//!
//! It sees watermarks and counts, never a block of data. Every decision is a table of rows with a sentence each, and a
//! test walks all inputs and demands that exactly one row matches.

#![no_std]

extern crate alloc;

pub mod table;
pub mod pair;
pub mod takeover;
pub mod estimate;
pub mod fault;
pub mod verdict;
pub mod roster;
pub mod automatic;
