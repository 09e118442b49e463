//! The hammer: a workload whose every unit on disk describes itself, and the verifier that judges what is left of it.
//!
//! Start it with [`Hammer::start`], watch the [`Handle`], take the [`Ledger`] and let it [verify](Ledger::verify) the volumes,
//! wherever they are served then. The rule that judges is in [`register`].

pub mod random;
pub mod config;
pub mod unit;
pub mod register;
pub mod plan;
pub mod ledger;
pub mod stats;
mod flights;
mod connection;
pub mod source;
pub mod run;
pub mod verify;
pub mod ledger_file;
pub mod command;

pub use config::{Config, ConfigError, Initial, OnDisconnect, SizeMix};
pub use ledger::{Counts, Ledger};
pub use run::{Hammer, Handle, StartError};
pub use stats::Snapshot;
pub use verify::{Judge, Progress, Verdict, VerifyError};
