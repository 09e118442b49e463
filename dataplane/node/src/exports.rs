//! What hosts can open on this node: names, sizes, which shard owns them, and whether they are served now.

use std::sync::atomic::{AtomicBool, Ordering};

use midspan_format::ids::{GroupId, VolumeId};

/// Number of an export, from 0; the same on all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExportId(pub u32);

/// What stands behind an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A volume of a replicated group.
    Group(GroupId),
    /// A lone disk, not replicated.
    Simplex,
}

/// An export and its state.
#[derive(Debug)]
pub struct Export {
    /// Its number.
    pub id: ExportId,
    /// The name that hosts use.
    pub name: String,
    /// A sentence for humans; may be empty.
    pub description: String,
    /// Size in bytes, a multiple of 4096.
    pub size: u64,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether a host that names no export gets this one.
    pub default: bool,
    /// What stands behind it.
    pub backing: Backing,
    /// The volume that requests must name.
    pub volume: VolumeId,
    /// The shard that owns it.
    pub shard: usize,
    pub(crate) serving: AtomicBool,
}

impl Export {
    /// Whether hosts may use it now. On another shard than its own the answer may be a moment old.
    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }

    /// Says whether it is served; true if that is new.
    pub(crate) fn set_serving(&self, serving: bool) -> bool {
        let new = self.is_serving() != serving;
        if new {
            self.serving.store(serving, Ordering::Release);
        }
        new
    }
}

/// All exports of a node, fixed at its start.
#[derive(Debug, Default)]
pub struct Exports {
    list: Vec<Export>,
}

impl Exports {
    /// The exports in the order of their numbers.
    pub(crate) fn new(list: Vec<Export>) -> Self {
        Self { list }
    }

    /// All exports.
    pub fn all(&self) -> &[Export] {
        &self.list
    }

    /// The export with this number.
    pub fn get(&self, id: ExportId) -> Option<&Export> {
        self.list.get(id.0 as usize)
    }

    /// The exports that a shard owns.
    pub fn of_shard(&self, shard: usize) -> impl Iterator<Item = &Export> {
        self.list.iter().filter(move |e| e.shard == shard)
    }
}
