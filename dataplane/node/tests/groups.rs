//! Groups are added to a formatted journal disk and removed from it: whole or not at all wherever it stops, and nothing else changes.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod rig;

use std::path::{Path, PathBuf};

use midspan_format::area::AreaKind;
use midspan_format::geometry::BLOCK_U64;
use midspan_format::ids::{Epoch, GroupId, NodeId, VolumeId};
use midspan_format::superblock::{
    AreaEntry, GroupPermit, GroupState, PairState, Role, StateVolume, permit_offset, state_offset,
};
use midspan_node::boot::{BootError, Journal};
use midspan_node::format::{DiskUse, FormatError, GroupAreas, GroupFormat, LaneSizes, format};
use midspan_node::groups::{Change, GroupError, create, delete, free_bytes, unreceived};
use rig::{A, B, GROUP, LANE, MIB, RELAY, Scratch, flip, peek, poke, relay_group, site_group, spec, volume};

const NEW: GroupId = GroupId(9);
const SIZE: u64 = 16 * MIB;

/// A relay's disk with one group, in the middle of which nothing of the others may change.
fn relay(scratch: &Scratch, name: &str) -> PathBuf {
    let path = scratch.disk(name, SIZE);
    format(&spec(&path, RELAY, vec![relay_group(GROUP, 2 * MIB)])).unwrap();
    path
}

fn site(scratch: &Scratch, name: &str) -> (PathBuf, GroupFormat) {
    let path = scratch.disk(name, SIZE);
    let volumes =
        [("v1", 1), ("v2", 2)].map(|(v, id)| vec![volume(id, &scratch.disk(&format!("{name}.{v}"), MIB))]);
    let [first, second] = volumes;
    format(&spec(&path, A, vec![site_group(GROUP, 2 * MIB, first)])).unwrap();
    (path, site_group(NEW, 2 * MIB, second))
}

fn permit(journal: &Journal, group: GroupId) -> Option<GroupPermit> {
    journal.permits().iter().map(|(_, permit)| *permit).find(|permit| permit.group == group)
}

fn is_there(path: &Path, node: NodeId, group: GroupId) -> bool {
    let journal = Journal::open(path, node).unwrap();
    permit(&journal, group).is_some_and(|permit| !permit.deleted)
}

/// All bytes of a group's areas with their superblocks, and its permit.
fn kept(path: &Path, node: NodeId, group: GroupId) -> (GroupPermit, Vec<Vec<u8>>) {
    let found = permit(&Journal::open(path, node).unwrap(), group).unwrap();
    let bytes = |area: &AreaEntry| peek(path, area.start - BLOCK_U64, (area.size + BLOCK_U64) as usize);
    (found, found.areas().iter().map(bytes).collect())
}

fn create_whole(path: &Path, node: NodeId, group: &GroupFormat) -> Change {
    let journal = Journal::open(path, node).unwrap();
    let change = create(&journal, group).unwrap();
    change.carry_out(&journal).unwrap();
    change
}

fn delete_whole(path: &Path, node: NodeId, group: GroupId) -> Change {
    let journal = Journal::open(path, node).unwrap();
    let change = delete(&journal, group).unwrap();
    change.carry_out(&journal).unwrap();
    change
}

/// No byte of one living area is another's.
fn check_apart(path: &Path, node: NodeId) {
    let journal = Journal::open(path, node).unwrap();
    let living = journal.permits().iter().filter(|(_, permit)| !permit.deleted);
    let mut ranges: Vec<_> = living
        .flat_map(|(_, permit)| permit.areas())
        .map(|area| (area.start - BLOCK_U64, area.start + area.size))
        .collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{ranges:?}");
    assert!(ranges.last().is_none_or(|(_, end)| *end <= journal.file().size()));
}

/// Stops a creation after each write, looks, and does it again: a whole group or none, and the others as they were.
fn stop_everywhere(path: &Path, node: NodeId, group: &GroupFormat) {
    let others = kept(path, node, GROUP);
    let before = peek(path, 0, SIZE as usize);
    let steps = create(&Journal::open(path, node).unwrap(), group).unwrap().steps().len();
    let mut seen = Vec::new();
    for stop in 0..=steps {
        poke(path, 0, &before);
        let journal = Journal::open(path, node).unwrap();
        let change = create(&journal, group).unwrap();
        change.steps().iter().take(stop).for_each(|step| step.carry_out(&journal).unwrap());
        drop(journal);
        seen.push(is_there(path, node, NEW));
        check_apart(path, node);
        assert!(kept(path, node, GROUP) == others, "stopped after {stop} writes");
        let again = create_whole(path, node, group);
        assert_eq!(again.resumed, seen[stop], "stopped after {stop} writes");
        assert!(is_there(path, node, NEW));
        check_apart(path, node);
        assert!(kept(path, node, GROUP) == others, "done again after {stop} writes");
        // One block that rots brings back nothing and takes nothing away.
        let (slot, found) = {
            let journal = Journal::open(path, node).unwrap();
            *journal.permits().iter().find(|(_, permit)| permit.group == NEW).unwrap()
        };
        flip(path, permit_offset(slot, found.sequence) + 100);
        assert_eq!(permit(&Journal::open(path, node).unwrap(), NEW).unwrap().areas(), found.areas());
        flip(path, (found.sequence % 2) * BLOCK_U64 + 100);
        assert!(is_there(path, node, NEW));
    }
    assert!(!seen[0] && seen[steps] && seen.is_sorted(), "{seen:?}");
}

#[test]
fn a_creation_that_stops_anywhere_leaves_a_whole_group_or_none_and_can_be_done_again() {
    let scratch = Scratch::new();
    stop_everywhere(&relay(&scratch, "relay"), RELAY, &relay_group(NEW, 3 * MIB));
    let (path, group) = site(&scratch, "site");
    stop_everywhere(&path, A, &group);
}

#[test]
fn so_does_one_with_the_id_of_a_deleted_group() {
    let scratch = Scratch::new();
    let path = relay(&scratch, "relay");
    create_whole(&path, RELAY, &relay_group(NEW, MIB));
    delete_whole(&path, RELAY, NEW);
    stop_everywhere(&path, RELAY, &relay_group(NEW, 3 * MIB));
    let (path, group) = site(&scratch, "site");
    create_whole(&path, A, &group);
    delete_whole(&path, A, NEW);
    stop_everywhere(&path, A, &group);
}

#[test]
fn a_deletion_that_stops_anywhere_leaves_a_whole_group_or_none_and_can_be_done_again() {
    let scratch = Scratch::new();
    let at_relay = relay(&scratch, "relay");
    create_whole(&at_relay, RELAY, &relay_group(NEW, MIB));
    let (at_site, group) = site(&scratch, "site");
    create_whole(&at_site, A, &group);
    for (path, node) in [(at_relay, RELAY), (at_site, A)] {
        let (others, before) = (kept(&path, node, GROUP), peek(&path, 0, SIZE as usize));
        let areas = permit(&Journal::open(&path, node).unwrap(), NEW).unwrap();
        let steps = delete(&Journal::open(&path, node).unwrap(), NEW).unwrap().steps().len();
        for stop in 0..=steps {
            poke(&path, 0, &before);
            let journal = Journal::open(&path, node).unwrap();
            let change = delete(&journal, NEW).unwrap();
            change.steps().iter().take(stop).for_each(|step| step.carry_out(&journal).unwrap());
            drop(journal);
            assert_eq!(is_there(&path, node, NEW), stop == 0, "stopped after {stop} writes");
            assert_eq!(delete_whole(&path, node, NEW).resumed, stop > 0);
            assert!(!is_there(&path, node, NEW));
            assert!(kept(&path, node, GROUP) == others);
            for area in areas.areas() {
                let superblock = peek(&path, area.start - BLOCK_U64, 4096);
                assert!(superblock.iter().all(|byte| *byte == 0), "{:?} is left", area.kind);
            }
        }
        // In a block that rots stands nothing that would bring it back.
        let newest = permit(&Journal::open(&path, node).unwrap(), NEW).unwrap().sequence;
        flip(&path, permit_offset(1, newest) + 100);
        assert!(!is_there(&path, node, NEW));
    }
}

#[test]
fn a_deletion_done_again_clears_nothing_that_is_anothers_now() {
    let scratch = Scratch::new();
    let path = relay(&scratch, "relay");
    create_whole(&path, RELAY, &relay_group(NEW, MIB));
    delete_whole(&path, RELAY, NEW);
    create_whole(&path, RELAY, &relay_group(GroupId(10), MIB));
    let others = kept(&path, RELAY, GroupId(10));
    assert!(delete_whole(&path, RELAY, NEW).resumed);
    assert!(kept(&path, RELAY, GroupId(10)) == others);
}

#[test]
fn a_group_with_a_deleted_ones_id_begins_beyond_its_epoch_and_with_other_areas() {
    let scratch = Scratch::new();
    let path = relay(&scratch, "relay");
    let first = create_whole(&path, RELAY, &relay_group(NEW, MIB));
    assert_eq!(first.left_behind, None);
    let mut used = permit(&Journal::open(&path, RELAY).unwrap(), NEW).unwrap();
    used.sequence += 1;
    (used.epoch, used.primary, used.secondary, used.lease_ms) = (Epoch { number: 5, node: B }, B, A, 700);
    let mut block = [0; 4096];
    used.encode(&mut block);
    poke(&path, permit_offset(1, used.sequence), &block);

    let refused = create(&Journal::open(&path, RELAY).unwrap(), &relay_group(NEW, MIB)).unwrap_err();
    assert_eq!(refused, GroupError::InUse { path: path.clone(), group: NEW });
    delete_whole(&path, RELAY, NEW);
    let left = permit(&Journal::open(&path, RELAY).unwrap(), NEW).unwrap();
    assert!(left.deleted && left.epoch == used.epoch && left.areas() == used.areas());
    let journal = Journal::open(&path, RELAY).unwrap();
    let served = journal.relay_permits(Some(&[GROUP]), &[], &[]).unwrap();
    assert_eq!(
        served.iter().map(|(_, p)| (p.group, p.deleted)).collect::<Vec<_>>(),
        [(GROUP, false), (NEW, true)]
    );
    let configured = journal.relay_permits(Some(&[GROUP, NEW]), &[], &[]).unwrap_err();
    assert_eq!(configured, BootError::Deleted { path: path.clone(), group: NEW });
    drop(journal);

    let second = create_whole(&path, RELAY, &relay_group(NEW, MIB));
    assert_eq!(second.left_behind, Some(used.epoch));
    let found = permit(&Journal::open(&path, RELAY).unwrap(), NEW).unwrap();
    assert_eq!(found.epoch, Epoch { number: 6, node: NodeId::NONE });
    assert_eq!((found.primary, found.former, found.lease_ms), (NodeId::NONE, B, 700));
    assert!(second.areas.iter().all(|new| first.areas.iter().all(|old| old.area != new.area)));
    assert_eq!(unreceived(&Journal::open(&path, RELAY).unwrap(), &found), Ok(0));
}

#[test]
fn space_of_a_deleted_group_is_used_again_and_what_is_missing_is_said() {
    let scratch = Scratch::new();
    let path = relay(&scratch, "relay");
    let free = |path: &Path| free_bytes(&Journal::open(path, RELAY).unwrap());
    let before = free(&path);
    assert_eq!(before, SIZE - MIB - 4 * MIB - 3 * BLOCK_U64);
    let large = relay_group(NEW, 8 * MIB);
    create_whole(&path, RELAY, &large);
    let left = before - 10 * MIB - 3 * BLOCK_U64;
    assert_eq!(free(&path), left);
    let third = relay_group(GroupId(10), 2 * MIB);
    let refused = create(&Journal::open(&path, RELAY).unwrap(), &third).unwrap_err();
    let needed = 4 * MIB + 3 * BLOCK_U64;
    let group = GroupId(10);
    assert_eq!(refused, GroupError::NoRoom { path: path.clone(), group, needed, free: left, largest: left });
    assert!(refused.to_string().contains(&needed.to_string()), "{refused}");
    delete_whole(&path, RELAY, NEW);
    assert_eq!(free(&path), before);
    create_whole(&path, RELAY, &third);
    create_whole(&path, RELAY, &relay_group(NEW, 2 * MIB));
    check_apart(&path, RELAY);
    // A disk that has grown is used as far as it reaches now.
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(2 * SIZE).unwrap();
    create_whole(&path, RELAY, &relay_group(GroupId(11), 12 * MIB));
    check_apart(&path, RELAY);
    assert_eq!(Journal::open(&path, RELAY).unwrap().superblock().size_bytes, 2 * SIZE);
}

#[test]
fn what_is_on_the_disk_with_other_sizes_or_for_another_use_is_not_taken() {
    let scratch = Scratch::new();
    let path = relay(&scratch, "relay");
    create_whole(&path, RELAY, &relay_group(NEW, MIB));
    let of = |group: &GroupFormat| create(&Journal::open(&path, RELAY).unwrap(), group).unwrap_err();
    let otherwise = GroupError::Otherwise { path: path.clone(), group: NEW };
    assert_eq!(of(&relay_group(NEW, 2 * MIB)), otherwise);
    assert_eq!(of(&GroupFormat { sites: [A, NodeId(8)], ..relay_group(NEW, MIB) }), otherwise);
    let volumes = vec![volume(1, &scratch.disk("volume", MIB))];
    let (found, wanted) = (DiskUse::Relay, DiskUse::Site);
    let other_use = BootError::OtherUse { path: path.clone(), found, wanted };
    assert_eq!(of(&site_group(GroupId(10), MIB, volumes.clone())), GroupError::Boot(other_use));
    let size = FormatError::AreaSize { group: GroupId(10), kind: "ring", size: 5 };
    assert_eq!(of(&relay_group(GroupId(10), 5)), GroupError::Format(size));
    let none = delete(&Journal::open(&path, RELAY).unwrap(), GroupId(10)).unwrap_err();
    assert_eq!(none, GroupError::Boot(BootError::NoGroup { path: path.clone(), group: GroupId(10) }));
    // Where no group is left the disk can become the other kind's.
    for group in [GROUP, NEW] {
        delete_whole(&path, RELAY, group);
    }
    create_whole(&path, RELAY, &site_group(GroupId(10), MIB, volumes));
    assert_eq!(Journal::open(&path, RELAY).unwrap().usage(), DiskUse::Site);
    // And back, when the last site's group leaves a relay's alone.
    create_whole(&path, RELAY, &relay_group(GroupId(11), MIB));
    assert_eq!(Journal::open(&path, RELAY).unwrap().usage(), DiskUse::Site);
    delete_whole(&path, RELAY, GroupId(10));
    assert_eq!(Journal::open(&path, RELAY).unwrap().usage(), DiskUse::Relay);
}

#[test]
fn a_disk_has_places_for_64_groups_and_a_site_uses_those_of_deleted_ones_again() {
    let scratch = Scratch::new();
    let at_relay = scratch.disk("relay", SIZE);
    let small = |id| GroupFormat {
        areas: GroupAreas::Relay(LaneSizes { ring: 4096, manifest: 4096, receipt: 4096 }),
        ..relay_group(GroupId(id), 4096)
    };
    format(&spec(&at_relay, RELAY, (1..=64).map(small).collect())).unwrap();
    delete_whole(&at_relay, RELAY, GroupId(7));
    let full = create(&Journal::open(&at_relay, RELAY).unwrap(), &small(65)).unwrap_err();
    assert_eq!(full, GroupError::NoSlot { path: at_relay.clone(), group: GroupId(65) });
    create_whole(&at_relay, RELAY, &small(7));

    let (at_site, group) = site(&scratch, "site");
    create_whole(&at_site, A, &group);
    delete_whole(&at_site, A, NEW);
    create_whole(&at_site, A, &GroupFormat { group: GroupId(10), ..group });
    let journal = Journal::open(&at_site, A).unwrap();
    assert_eq!(journal.permits().iter().map(|(_, p)| p.group).collect::<Vec<_>>(), [GROUP, GroupId(10)]);
}

#[test]
fn what_a_site_recorded_of_a_group_is_found_without_its_volumes() {
    let scratch = Scratch::new();
    let (path, group) = site(&scratch, "site");
    create_whole(&path, A, &group);
    let journal = Journal::open(&path, A).unwrap();
    let areas = journal.site_areas(NEW, [A, B], LANE).unwrap();
    assert_eq!(journal.recorded(NEW, &areas.state, &areas.dirty_map), Ok(None));
    let state = GroupState {
        sequence: 1,
        group: NEW,
        role: Role::Primary,
        pair: PairState::Suspended,
        volumes: std::iter::once(StateVolume { volume: VolumeId(2), size: MIB, identity: [7; 24] }).collect(),
        ..GroupState::default()
    };
    let mut block = [0; 4096];
    state.encode(&mut block);
    poke(&path, state_offset(areas.state.start, 1), &block);
    let found = journal.recorded(NEW, &areas.state, &areas.dirty_map).unwrap();
    assert_eq!(found, Some((state, 0)));
    assert!(areas.own_ring.kind == AreaKind::OwnRing);
    drop(journal);
    let refused = create(&Journal::open(&path, A).unwrap(), &group).unwrap_err();
    assert_eq!(refused, GroupError::InUse { path, group: NEW });
}
