//! The roles of a node: they route events between stages; a decision about data belongs in a stage.

pub mod relay_fence;
pub mod relay;
pub mod direct;
pub mod policy;
pub mod site;
pub mod facts;
pub mod primary;
pub mod unfenced;
pub mod comeback;
pub mod outside;
pub mod rejoin;
pub mod secondary;
pub mod start;
pub mod takeover;
pub mod group;
mod exposure;
mod standing;
