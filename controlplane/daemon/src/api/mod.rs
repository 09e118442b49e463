//! The operator's HTTP API: JSON over a unix socket.

pub mod time;
pub mod query;
pub mod types;
#[cfg(feature = "server")]
pub mod socket;
#[cfg(feature = "server")]
pub(crate) mod route;
#[cfg(feature = "server")]
pub(crate) mod caller;
#[cfg(feature = "server")]
pub(crate) mod refusal;
#[cfg(feature = "server")]
pub(crate) mod stream;
