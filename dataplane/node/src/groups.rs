//! Adds a group to a journal disk that is formatted already, and removes one, without touching what other groups have there.
//!
//! ```text
//!  create  1  the node superblock, where the disk or its used part has grown     nobody has use of that yet
//!          2  areas in free space: content and superblocks                      nobody names them yet
//!          3  the permit                                                        from here on the group is there,
//!          4  the node superblock counts the permit's slot, if it is a new one  where the slot is new: from here on
//!  delete  1  the permit says `deleted`                                         from here on the group is gone
//!          2  the superblocks of its areas are cleared                          their space was free from 1 on
//! ```
//! Each step is one durable write of whole blocks. What counts stands in two slots, and both are written: else one block that
//! rots would bring back a group whose space is another's. Doing it again after a crash finishes it.

use midspan_format::area::{AreaKind, AreaSuperblock};
use midspan_format::dirty_map::DirtyMap;
use midspan_format::geometry::{BLOCK, BLOCK_U64};
use midspan_format::ids::{Epoch, GroupId, NodeId};
use midspan_format::superblock::{
    AreaEntry, DiskUse, GROUP_SLOTS, GroupPermit, NodeSuperblock, node_offset, permit_offset,
};

pub use backlog::unreceived;
pub use error::GroupError;
pub use space::free_bytes;

use crate::boot::{BootError, Journal};
use crate::clock;
use crate::format::areas::{Needs, new_area, read, write, write_area};
use crate::format::{FIRST, FormatError, GroupFormat};

mod backlog;
mod error;
mod space;

/// What is to be written, in order.
#[derive(Debug)]
pub struct Change {
    steps: Vec<Step>,
    /// The group's areas.
    pub areas: Vec<AreaEntry>,
    /// The epoch that a deleted group of this id left behind.
    pub left_behind: Option<Epoch>,
    /// An earlier attempt had got the group there, or away, already.
    pub resumed: bool,
}

/// One durable write.
#[derive(Debug)]
pub struct Step(Write);

#[derive(Debug)]
enum Write {
    Node(NodeSuperblock),
    Area { superblock: NodeSuperblock, group: GroupId, entry: AreaEntry, map: Option<DirtyMap> },
    Permit { slot: u32, permit: Box<GroupPermit> },
    Clear { offset: u64 },
}

impl Step {
    /// Carries it out.
    ///
    /// # Errors
    /// The disk.
    pub fn carry_out(&self, journal: &Journal) -> Result<(), FormatError> {
        let file = journal.file();
        match &self.0 {
            Write::Node(node) => write(file, node_offset(node.sequence), |block| node.encode(block)),
            Write::Area { superblock, group, entry, map } => {
                write_area(file, superblock, *group, entry, map.as_ref())
            }
            Write::Permit { slot, permit } => {
                write(file, permit_offset(*slot, permit.sequence), |block| permit.encode(block))
            }
            Write::Clear { offset } => write(file, *offset, |_| {}),
        }
    }
}

impl Change {
    /// Its writes, in the order in which they must become durable.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Carries all of it out.
    ///
    /// # Errors
    /// The disk. Doing the whole again, with the disk opened anew, finishes it.
    pub fn carry_out(&self, journal: &Journal) -> Result<(), FormatError> {
        self.steps.iter().try_for_each(|step| step.carry_out(journal))
    }

    /// Nothing is to be done: the disk has nothing of the group.
    pub fn none() -> Self {
        Self::new(Vec::new())
    }

    /// Bytes that are free no more, or free again.
    pub fn bytes(&self) -> u64 {
        let areas = self.areas.iter().map(|entry| entry.size + BLOCK_U64).sum();
        if self.resumed { 0 } else { areas }
    }

    fn new(areas: Vec<AreaEntry>) -> Self {
        Self { steps: Vec::new(), areas, left_behind: None, resumed: false }
    }

    fn push(&mut self, write: Write) {
        self.steps.push(Step(write));
    }

    /// Both slots, the older one first: until that is written the newer one counts.
    fn node(&mut self, node: &mut NodeSuperblock) {
        for _ in FIRST {
            node.sequence += 1;
            self.push(Write::Node(*node));
        }
    }

    fn permit(&mut self, slot: u32, mut permit: GroupPermit) {
        for _ in FIRST {
            permit.sequence += 1;
            self.push(Write::Permit { slot, permit: Box::new(permit) });
        }
    }
}

/// How a group is added to the disk. Nothing is written yet.
///
/// # Errors
/// There is no room, the disk is for something else, or the group is there and in use.
pub fn create(journal: &Journal, group: &GroupFormat) -> Result<Change, GroupError> {
    let needs = Needs::of(group)?;
    let former = journal.permits().iter().find(|(_, permit)| permit.group == group.group);
    if let Some((slot, permit)) = former.filter(|(_, permit)| !permit.deleted) {
        return finish(journal, group, &needs, *slot, permit);
    }
    let mut node = *journal.superblock();
    let (before, size) = (node, journal.file().size());
    node.usage = usage_with(journal, &needs)?;
    let slot = free_slot(journal, group.group)?;
    let sizes: Vec<u64> = needs.areas.iter().map(|(_, size)| *size).collect();
    let places = space::places(journal, size, &sizes).map_err(|room| GroupError::NoRoom {
        path: journal.file().path().to_owned(),
        group: group.group,
        needed: room.needed,
        free: room.free,
        largest: room.largest,
    })?;
    let areas = needs.areas.iter().zip(places);
    let areas = areas.map(|((kind, size), place)| new_area(*kind, group.lane, place, *size));
    let areas = areas.collect::<Result<Vec<_>, _>>()?;
    let mut change = Change::new(areas);
    let end = change.areas.iter().map(|entry| entry.start + entry.size).max().unwrap_or_default();
    node.size_bytes = if end > node.size_bytes { size } else { node.size_bytes };
    node.free_offset = node.free_offset.max(end);
    if node != before {
        change.node(&mut node);
    }
    let superblock = NodeSuperblock { created_ns: clock::now().wall, ..node };
    for entry in change.areas.clone() {
        let map = needs.map.as_ref().filter(|_| entry.kind == AreaKind::DirtyMap).cloned();
        change.push(Write::Area { superblock, group: group.group, entry, map });
    }
    let replaced = journal.permits().iter().find(|(number, _)| *number == slot).map(|(_, permit)| permit);
    let mut permit = begin(group, former.map(|(_, permit)| permit));
    permit.sequence = replaced.map_or(0, |permit| permit.sequence);
    permit.areas = change.areas.iter().copied().collect();
    change.left_behind = former.map(|(_, permit)| permit.epoch);
    change.permit(slot, permit);
    if slot >= node.groups {
        node.groups = slot + 1;
        change.node(&mut node);
    }
    Ok(change)
}

/// What a group begins with: after a deleted one of the same id an epoch beyond its, that nobody holds. Who wrote that one
/// may answer reads for as long as its lease ran.
fn begin(group: &GroupFormat, former: Option<&GroupPermit>) -> GroupPermit {
    let permit = GroupPermit { group: group.group, sites: group.sites, ..GroupPermit::default() };
    let Some(left) = former else { return permit };
    GroupPermit {
        epoch: left.epoch.vacant_after(),
        former: if left.primary == NodeId::NONE { left.former } else { left.primary },
        former_epoch: left.epoch,
        lease_ms: left.lease_ms,
        ..permit
    }
}

/// An attempt that was cut off had got the group there: what counts is written to both slots, and that is all.
fn finish(
    journal: &Journal,
    group: &GroupFormat,
    needs: &Needs,
    slot: u32,
    permit: &GroupPermit,
) -> Result<Change, GroupError> {
    let (path, group, sites) = (journal.file().path().to_owned(), group.group, group.sites);
    if is_used(journal, permit)? {
        return Err(GroupError::InUse { path, group });
    }
    let found: Vec<(AreaKind, u64)> = permit.areas().iter().map(|entry| (entry.kind, entry.size)).collect();
    if permit.sites != sites || found != needs.areas {
        return Err(GroupError::Otherwise { path, group });
    }
    let mut change = Change::new(permit.areas().to_vec());
    change.resumed = true;
    change.left_behind = Some(permit.former_epoch).filter(|epoch| *epoch != Epoch::NONE);
    change.permit(slot, *permit);
    change.node(&mut journal.superblock().clone());
    Ok(change)
}

/// Whether the group was ever started with these areas.
fn is_used(journal: &Journal, permit: &GroupPermit) -> Result<bool, GroupError> {
    if permit.epoch.is_held() {
        return Ok(true);
    }
    let file = journal.file();
    for entry in permit.areas().iter().filter(|entry| entry.kind == AreaKind::State) {
        if read(file, entry.start, entry.size)?.iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the disk is for when the group is there, too: a site's can hold areas of a relay beside its own.
fn usage_with(journal: &Journal, needs: &Needs) -> Result<DiskUse, GroupError> {
    let wanted =
        if is_site(needs.areas.iter().map(|(kind, _)| *kind)) { DiskUse::Site } else { DiskUse::Relay };
    let is_empty = journal.permits().iter().all(|(_, permit)| permit.deleted);
    match (journal.usage(), wanted) {
        (_, wanted) if is_empty => Ok(wanted),
        (DiskUse::Site, DiskUse::Site | DiskUse::Relay) => Ok(DiskUse::Site),
        (DiskUse::Relay, DiskUse::Relay) => Ok(DiskUse::Relay),
        (found @ DiskUse::Relay, DiskUse::Site) => {
            Err(BootError::OtherUse { path: journal.file().path().to_owned(), found, wanted }.into())
        }
    }
}

fn is_site(mut kinds: impl Iterator<Item = AreaKind>) -> bool {
    kinds.any(|kind| kind == AreaKind::State)
}

/// The group's former slot, else one of a deleted group that had no lane here, which leaves nothing behind, else a new one.
fn free_slot(journal: &Journal, group: GroupId) -> Result<u32, GroupError> {
    let deleted = || journal.permits().iter().filter(|(_, permit)| permit.deleted);
    let own = deleted().find(|(_, permit)| permit.group == group);
    let is_forgotten =
        |permit: &GroupPermit| is_site(permit.areas().iter().map(|entry| entry.kind)) && !permit.holds_lane();
    let forgotten = || deleted().find(|(_, permit)| is_forgotten(permit));
    match own.or_else(forgotten) {
        Some((slot, _)) => Ok(*slot),
        None if journal.superblock().groups < GROUP_SLOTS => Ok(journal.superblock().groups),
        None => Err(GroupError::NoSlot { path: journal.file().path().to_owned(), group }),
    }
}

/// How a group is removed from the disk. Nothing is written yet. Where a lane stood, its ids and epoch
/// stay.
///
/// # Errors
/// The disk has nothing of it, or cannot be read.
pub fn delete(journal: &Journal, group: GroupId) -> Result<Change, GroupError> {
    let found = journal.permits().iter().find(|(_, permit)| permit.group == group);
    let Some(&(slot, permit)) = found else {
        return Err(BootError::NoGroup { path: journal.file().path().to_owned(), group }.into());
    };
    let mut change = Change::new(permit.areas().to_vec());
    change.resumed = permit.deleted;
    change.left_behind = Some(permit.epoch).filter(|epoch| *epoch != Epoch::NONE);
    change.permit(slot, GroupPermit { deleted: true, ..permit });
    for entry in permit.areas() {
        if permit.deleted && !is_left(journal, entry)? {
            continue;
        }
        change.push(Write::Clear { offset: entry.start - BLOCK_U64 });
    }
    let others = || journal.permits().iter().filter(|(_, other)| !other.deleted && other.group != group);
    let mut areas = others().flat_map(|(_, other)| other.areas().iter().map(|entry| entry.kind));
    if others().next().is_some() && journal.usage() == DiskUse::Site && !is_site(&mut areas) {
        // What is left is a relay's.
        change.node(&mut NodeSuperblock { usage: DiskUse::Relay, ..*journal.superblock() });
    }
    Ok(change)
}

/// Whether the superblock of an area of a deleted group still stands at its place, and that is nobody's else.
fn is_left(journal: &Journal, entry: &AreaEntry) -> Result<bool, FormatError> {
    let offset = entry.start - BLOCK_U64;
    if space::is_taken(journal, offset) {
        return Ok(false);
    }
    let block = read(journal.file(), offset, BLOCK as u64)?;
    Ok(AreaSuperblock::decode(&block).is_ok_and(|own| own.area == entry.area))
}
