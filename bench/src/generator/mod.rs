//! The load generator: requests over one or more NBD connections, from one pinned thread.
//!
//! It must be cheap, since it shares the cores with what it measures: replies are received many at a time, the requests that
//! follow them leave together in one vectored send whose data is never copied, and nothing is allocated while it runs.

mod load;
mod stream;
mod arrival;
mod connection;
mod drive;

pub use arrival::Pace;
pub use drive::{Outcome, run};
pub use load::{Arrival, Gauge, Load, Mix, Pattern, Work};

#[cfg(test)]
mod tests;
