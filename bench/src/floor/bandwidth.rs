//! How many bytes a second the disk takes durably, and loopback carries: what nothing large can exceed.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::append;
use super::exchange::{self, Exchange, Hop};
use super::{FRAME_HEAD, LANE_REPLY};
use crate::disks::Disks;
use crate::window::{Tally, Window};

/// Size of the file, of one unit, and how many are under way.
const FILE_BYTES: u64 = 128 << 20;
const UNIT_BYTES: usize = 128 << 10;
const UNITS: usize = 8;
/// How long each is measured.
const WINDOW: Window = Window { warm: Duration::from_millis(50), measured: Duration::from_millis(300) };
/// How often it is tried on a machine that is too busy to get anything done meanwhile.
const TRIES: usize = 20;

/// A disk whose bandwidth is wanted.
#[derive(Debug)]
pub struct Bandwidth {
    path: PathBuf,
}

impl Bandwidth {
    /// Makes it beside the nodes' disks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(disks: &mut Disks) -> Result<Self> {
        Ok(Self { path: disks.add("bandwidth", FILE_BYTES)? })
    }

    /// What the disk takes, bytes a second: durable appends of 128 KiB.
    ///
    /// # Errors
    /// What the kernel says, or that nothing was durable in time.
    pub fn of_disk(&self, core: usize) -> Result<f64> {
        rate("append was durable", || {
            // A thread of its own: it is pinned, this one is not.
            let running = || append::measure(&self.path, UNIT_BYTES, UNITS, core, WINDOW);
            let ended = thread::scope(|scope| scope.spawn(running).join());
            ended.map_err(|_| anyhow!("the measuring thread has panicked"))?
        })
    }
}

/// What loopback carries from one core to another, bytes of data a second: frames of 128 KiB, each with a head and a reply.
///
/// # Errors
/// What the kernel says, or that nothing arrived in time.
pub fn of_path(cores: [usize; 2]) -> Result<f64> {
    let exchange = Exchange {
        hop: Hop::Tcp,
        frame_bytes: FRAME_HEAD + UNIT_BYTES,
        in_flight: UNITS,
        reply_bytes: LANE_REPLY,
        cores,
        awake: false,
        append_to: None,
    };
    rate("frame arrived", || exchange::measure(&exchange, WINDOW))
}

fn rate(what: &str, measure: impl Fn() -> Result<Tally>) -> Result<f64> {
    for _ in 0..TRIES {
        let rate = measure()?.per_second() * UNIT_BYTES as f64;
        if rate > 0.0 {
            return Ok(rate);
        }
    }
    bail!("no {what} {TRIES} times in {} ms", WINDOW.measured.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_and_path_have_a_bandwidth() {
        // A folder of its own: other tests make disks, too, in a folder that is named after this process.
        let parent = std::env::temp_dir().join(format!("midspan-bandwidth-{}", std::process::id()));
        std::fs::create_dir(&parent).unwrap();
        let mut disks = Disks::create(&parent, false, false).unwrap();
        let core = *midspan_uring::affinity::current_cores().first().unwrap();
        assert!(Bandwidth::create(&mut disks).unwrap().of_disk(core).unwrap() > 0.0);
        assert!(of_path([core, core]).unwrap() > 0.0);
        drop(disks);
        std::fs::remove_dir(parent).unwrap();
    }
}
