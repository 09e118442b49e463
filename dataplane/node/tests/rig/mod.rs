//! What the suites of this crate share: a scratch folder with disks, and nodes that are formatted and configured.
#![allow(dead_code, reason = "each suite uses a part of it")]

pub mod puppet;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use midspan_format::ids::{GroupId, LaneId, NodeId, VolumeId};
use midspan_node::config::VolumeConfig;
use midspan_node::format::{FormatSpec, GroupAreas, GroupFormat, LaneSizes};
use midspan_uring::File;
use midspan_uring::file::Access;

pub const A: NodeId = NodeId(1);
pub const RELAY: NodeId = NodeId(2);
pub const B: NodeId = NodeId(3);
pub const GROUP: GroupId = GroupId(7);
pub const LANE: LaneId = LaneId(0);
pub const MIB: u64 = 1 << 20;

/// A folder on the real disk, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("node-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A preallocated file of `size` bytes.
    pub fn disk(&self, name: &str, size: u64) -> PathBuf {
        let path = self.path(name);
        File::preallocate(&path, size, &mut |_| {}).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn volume(id: u32, path: &Path) -> VolumeConfig {
    VolumeConfig { id: VolumeId(id), path: path.to_owned(), size: None }
}

pub fn lane_sizes(ring: u64) -> LaneSizes {
    LaneSizes { ring, manifest: MIB, receipt: MIB }
}

pub fn relay_group(group: GroupId, ring: u64) -> GroupFormat {
    let areas = GroupAreas::Relay(lane_sizes(ring));
    GroupFormat { group, sites: [A, B], lane: LANE, areas }
}

pub fn site_group(group: GroupId, ring: u64, volumes: Vec<VolumeConfig>) -> GroupFormat {
    GroupFormat { group, sites: [A, B], lane: LANE, areas: GroupAreas::Site { ring, volumes, lane: None } }
}

/// A site's part, with a lane of the group beside it.
pub fn site_group_with_lane(group: GroupId, ring: u64, volumes: Vec<VolumeConfig>) -> GroupFormat {
    let areas = GroupAreas::Site { ring, volumes, lane: Some(lane_sizes(ring)) };
    GroupFormat { group, sites: [A, B], lane: LANE, areas }
}

pub fn spec(path: &Path, node: NodeId, groups: Vec<GroupFormat>) -> FormatSpec {
    FormatSpec { path: path.to_owned(), node, groups, force: false }
}

fn buffered(path: &Path) -> File {
    File::open(path, Access { direct: false, write: true, exclusive: false }).unwrap()
}

/// Writes to a disk behind everybody's back.
pub fn poke(path: &Path, offset: u64, bytes: &[u8]) {
    buffered(path).write_at(bytes, offset).unwrap();
}

pub fn peek(path: &Path, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    assert_eq!(buffered(path).read_at(&mut bytes, offset).unwrap(), length);
    bytes
}

/// Changes one bit.
pub fn flip(path: &Path, offset: u64) {
    let mut byte = peek(path, offset, 1);
    byte[0] ^= 1;
    poke(path, offset, &byte);
}
