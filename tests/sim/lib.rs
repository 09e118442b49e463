//! The deterministic simulator: a whole cluster in virtual time from one seed, and the oracle that judges it.
//!
//! The machines are those of production; simulated are the disks, the network, the clocks, the memory, the hosts and the operator.
//!
//! ```text
//!  seed ─▶ swarm (sizes, rates) ─▶ plan (faults), drills, atlas  hosts ─▶ history (what hosts may see)
//!                     └─▶ world: schedule ─▶ pass ─▶ machines ─▶ effects ─▶ disk, wire
//!                                                     watch (what is durable) ─▶ checks (I1–I11 by number)
//! ```
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the simulator is a test: where an assumption of its own is wrong, it must stop"
)]

pub mod random;
pub mod schedule;
pub mod trace;
mod event;
pub mod harm;
mod pages;
mod memory;
mod content;
mod register;
mod history;
mod cuts;
mod disk;
mod wire;
pub mod steps;
pub mod swarm;
mod moments;
pub mod orders;
pub mod plan;
pub mod drills;
pub mod atlas;
pub mod lanes;
pub mod operators;
mod accounts;
mod layout;
mod watch;
mod lane_eye;
mod journal;
mod node;
pub mod lies;
mod client;
mod words;
pub mod world;
mod pass;
mod sights;
mod effects;
mod lying;
mod saying;
mod striking;
mod hosts;
mod faults;
mod harming;
mod comparing;
mod losing;
mod operating;
mod promises;
mod checks;
mod judging;
mod sharing;
pub mod run;
pub mod shrink;
pub mod unseen;
