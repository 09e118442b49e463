//! What the data plane does, never how: pure machines that take one event and give all its effects.
//!
//! No socket, file, clock, thread or randomness exists here: the node crate drives these machines with io_uring, the
//! simulator drives the very same code in virtual time. Modules stand in dependency order: each imports only those above it.
#![no_std]

extern crate alloc;

#[macro_use]
pub mod rare;
pub mod vocab;
pub mod recovery;
pub mod lane;
pub mod stage;
pub mod host;
pub mod role;
