//! The control plane's process `midspand`: configuration, operator's API and the shards' start.
//!
//! Without the feature `server` only [`api::types`] and the like exist: what clients of the HTTP API need, with no
//! dependency but serde. Module order is dependency order.

pub mod api;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "server")]
mod configured;
#[cfg(feature = "server")]
mod exit;
#[cfg(feature = "server")]
mod clock;
#[cfg(feature = "server")]
mod notify;
#[cfg(feature = "server")]
mod events;
#[cfg(feature = "server")]
mod operations;
#[cfg(feature = "server")]
mod state;
#[cfg(feature = "server")]
mod metrics;
#[cfg(feature = "server")]
mod following;
#[cfg(feature = "server")]
mod alone;
#[cfg(feature = "server")]
mod view;
#[cfg(feature = "server")]
mod pulse;
#[cfg(feature = "server")]
mod automatic;
#[cfg(feature = "server")]
mod heartbeat;
#[cfg(feature = "server")]
mod recording;
#[cfg(feature = "server")]
mod words;
#[cfg(feature = "server")]
mod driver;
#[cfg(feature = "server")]
mod openapi;
#[cfg(feature = "server")]
mod routes;
#[cfg(feature = "server")]
mod serve;
#[cfg(feature = "server")]
mod check;
#[cfg(feature = "server")]
mod cores;
#[cfg(feature = "server")]
mod translate;
#[cfg(feature = "server")]
mod measure;
#[cfg(feature = "server")]
mod samples;
#[cfg(feature = "server")]
mod port;
#[cfg(feature = "server")]
mod holder;
#[cfg(feature = "server")]
mod refusal;
#[cfg(feature = "server")]
mod format;
#[cfg(feature = "server")]
mod replace;
#[cfg(feature = "server")]
mod groups;
#[cfg(feature = "server")]
mod run;
#[cfg(feature = "server")]
pub mod command;
