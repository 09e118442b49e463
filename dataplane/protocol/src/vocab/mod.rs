//! The words that all machines share: buffers, effects, limits, tokens and interval overlap.

pub mod buffer;
pub mod limits;
pub mod milestone;
pub mod overflow;
pub mod effect;
pub mod interval;
pub mod tip;
pub mod tags;
