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
mod early;
mod scene;

use std::panic::resume_unwind;
use std::sync::LazyLock;
use std::time::Duration;

use midspan::clock::{Clock, Signal};

pub use cluster::{Cluster, GROUP};
pub use early::Early;
pub use failing::{Failing, Fails};
pub use folder::{Folder, create_disk, same_content};
pub use journal::{Journal, dump, flip};
pub use load::Load;
pub use lone::Lone;
pub use meddler::{Harm, Meddler, Way};
pub use mount::may_mount;
pub use network::{Network, can_cut};
pub use node::Node;
pub use place::Place;
pub use program::{Background, Program, Said, midspan, midspand, signal};
pub use scene::{MOMENT, Scene};
pub use shape::{Shape, free_ports};

/// Limit for whatever takes a moment: nobody measures here, but a machine may be busy with other things.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for.
const GLANCE: Duration = Duration::from_millis(10);

/// Somebody wants everything to end.
static INTERRUPT: LazyLock<Signal> = LazyLock::new(Signal::default);

/// What a wait that was interrupted unwinds with: whatever was made is taken away on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

/// Ends every wait of this process, from now on, by unwinding.
pub fn interrupt() {
    INTERRUPT.raise();
}

/// Whether somebody has.
pub fn is_interrupted() -> bool {
    INTERRUPT.is_raised()
}

/// Lets time pass.
pub fn pause(time: Duration) {
    if std::thread::panicking() {
        Signal::default().wait(time);
    } else if INTERRUPT.wait(time) {
        resume_unwind(Box::new(Interrupted));
    }
}

/// Looks until there is something; panics where there is nothing within `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    look_until(what, limit, look, pause)
}

/// The same for what is to be ended, also while everything is.
fn wait_for_end<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    look_until(what, limit, look, |time| {
        Signal::default().wait(time);
    })
}

fn look_until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Option<T>,
    rest: impl Fn(Duration),
) -> T {
    let clock = Clock::starting_at(0);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock.elapsed() < limit, "waited {} s in vain: {what}", limit.as_secs());
        rest(GLANCE);
    }
}
