//! The rig of the tests with real processes: three nodes on loopback in a folder of their own, and other people's programs.
//!
//! It sees the product as an operator does: by its two programs, its API and its disks. Nothing here knows the data plane.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "the rig is a test: where something is not as wanted, it panics"
)]

mod folder;
mod program;
mod place;
mod shape;
mod network;
mod node;
mod cluster;
mod lone;
mod meddler;
mod journal;
mod load;
mod mount;
mod failing;
mod scene;

use std::time::Duration;

use midspan::clock::{Clock, Signal};

pub use cluster::{Cluster, GROUP};
pub use failing::{Failing, Fails};
pub use folder::{Folder, create_disk, same_content};
pub use journal::{Journal, flip};
pub use load::Load;
pub use lone::Lone;
pub use meddler::{Harm, Meddler, Way};
pub use mount::may_mount;
pub use node::Node;
pub use network::{Network, can_cut};
pub use place::Place;
pub use program::{Background, Program, Said, midspan, midspand};
pub use scene::{MOMENT, Scene};
pub use shape::{Shape, free_ports};

/// Limit for whatever takes a moment: nobody measures here, but a machine may be busy with other things.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for.
const GLANCE: Duration = Duration::from_millis(10);

/// Lets time pass.
pub fn pause(time: Duration) {
    Signal::default().wait(time);
}

/// Looks until there is something; panics where there is nothing within `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let clock = Clock::starting_at(0);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock.elapsed() < limit, "waited {} s in vain: {what}", limit.as_secs());
        pause(GLANCE);
    }
}
