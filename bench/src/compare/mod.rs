//! Two runs next to each other: what changed beyond noise.

pub mod figure;
pub mod difference;
pub mod verdict;
