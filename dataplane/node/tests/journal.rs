//! A journal disk is formatted, found again as it was formatted, and refused with one clear sentence where it is not that.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod rig;

use midspan_format::area::{AreaKind, AreaSuperblock};
use midspan_format::geometry::BLOCK_U64;
use midspan_format::ids::{AreaId, DiskId, GroupId, LaneId, NodeId, VolumeId};
use midspan_format::superblock::{
    AREAS_OFFSET, BlockError, GroupState, Role, StateVolume, node_offset, permit_offset, state_offset,
};
use midspan_node::boot::{BootError, Journal};
use midspan_node::config::VolumeConfig;
use midspan_node::format::{DiskUse, FormatError, FormatSpec, Formatted, format};
use midspan_node::volume::{OpenVolume, VolumeError};
use midspan_protocol::role::site::Volume;
use midspan_uring::file::{Access, FileError};
use rig::{A, B, GROUP, LANE, MIB, RELAY, Scratch, flip, peek, poke, relay_group, site_group, spec, volume};

const OTHER: GroupId = GroupId(9);

/// A relay's disk with two groups.
fn relay(scratch: &Scratch) -> (std::path::PathBuf, Formatted) {
    let path = scratch.disk("relay", 16 * MIB);
    let formatted =
        format(&spec(&path, RELAY, vec![relay_group(GROUP, 4 * MIB), relay_group(OTHER, 2 * MIB)]));
    (path, formatted.unwrap())
}

/// A site's disk with one group of two volumes, and the volumes.
fn site(scratch: &Scratch) -> (std::path::PathBuf, Formatted, Vec<VolumeConfig>) {
    let path = scratch.disk("site", 16 * MIB);
    let volumes = vec![volume(1, &scratch.disk("one", 2 * MIB)), volume(5, &scratch.disk("five", MIB))];
    let formatted = format(&spec(&path, A, vec![site_group(GROUP, 4 * MIB, volumes.clone())])).unwrap();
    (path, formatted, volumes)
}

fn open_volumes(configs: &[VolumeConfig]) -> Vec<Volume> {
    let open = |config: &VolumeConfig| {
        OpenVolume::open(config.id, &config.path, config.size, Access::default()).unwrap().volume()
    };
    configs.iter().map(open).collect()
}

/// Starts of the areas of a kind.
fn start_of(formatted: &Formatted, kind: AreaKind) -> u64 {
    formatted.areas.iter().find(|(_, entry)| entry.kind == kind).unwrap().1.start
}

fn refusal(path: &std::path::Path, node: NodeId) -> BootError {
    let error = Journal::open(path, node).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "no disk in: {error}");
    error
}

#[test]
fn a_relay_finds_its_permits_and_areas_as_formatted() {
    let scratch = Scratch::new();
    let (path, formatted) = relay(&scratch);
    assert_eq!((formatted.usage, formatted.size, formatted.areas.len()), (DiskUse::Relay, 16 * MIB, 6));
    let journal = Journal::open(&path, RELAY).unwrap();
    journal.check_usage(DiskUse::Relay).unwrap();
    let permits = journal.relay_permits(None, &[], &[]).unwrap();
    assert_eq!(
        permits.iter().map(|(slot, p)| (*slot, p.group)).collect::<Vec<_>>(),
        [(0, GROUP), (1, OTHER)]
    );
    let found: Vec<_> =
        permits.iter().flat_map(|(_, p)| p.areas().iter().map(|entry| (p.group, *entry))).collect();
    assert_eq!(found, formatted.areas);
    assert!(permits.iter().all(|(_, p)| p.sites == [A, B] && p.primary == NodeId::NONE && !p.deleted));
    let kinds: Vec<_> = found.iter().map(|(_, entry)| (entry.kind, entry.size)).collect();
    let of = |ring| [(AreaKind::Ring, ring), (AreaKind::Manifest, MIB), (AreaKind::Receipt, MIB)];
    assert_eq!(kinds, [of(4 * MIB), of(2 * MIB)].concat());
    // Areas follow each other, each behind its own superblock, from the fixed offset on.
    let mut at = AREAS_OFFSET;
    for (_, entry) in &found {
        assert_eq!(entry.start, at + BLOCK_U64);
        at = entry.start + entry.size;
    }
    assert_eq!(at, formatted.used);
    let only = journal.relay_permits(Some(&[OTHER]), &[], &[]).unwrap();
    assert_eq!(only.iter().map(|(slot, p)| (*slot, p.group)).collect::<Vec<_>>(), [(1, OTHER)]);
    let error = journal.relay_permits(Some(&[GroupId(8)]), &[], &[]).unwrap_err();
    assert_eq!(error, BootError::NoGroup { path: path.clone(), group: GroupId(8) });
}

#[test]
fn a_site_starts_without_a_state_and_with_nothing_marked() {
    let scratch = Scratch::new();
    let (path, formatted, configs) = site(&scratch);
    assert_eq!(formatted.usage, DiskUse::Site);
    let journal = Journal::open(&path, A).unwrap();
    let areas = journal.site_areas(GROUP, [B, A], LANE).unwrap();
    let recovered = journal.recover(GROUP, &areas, &open_volumes(&configs)).unwrap();
    assert!(recovered.state.is_none());
    assert_eq!((recovered.dirty.count(), recovered.dirty.blocks()), (0, 2));
    assert_eq!((areas.own_ring.size, areas.state.size, areas.dirty_map.size), (4 * MIB, 8192, 8192));
    assert!(
        journal.relay_permits(None, &[GROUP], &[]).unwrap().is_empty(),
        "its own areas are not a relay's"
    );
}

#[test]
fn a_recorded_state_and_map_are_found_and_a_damaged_map_block_counts_as_marked() {
    let scratch = Scratch::new();
    let (path, formatted, configs) = site(&scratch);
    let volumes = open_volumes(&configs);
    let (state_at, map_at) =
        (start_of(&formatted, AreaKind::State), start_of(&formatted, AreaKind::DirtyMap));
    let state = |sequence| GroupState {
        sequence,
        group: GROUP,
        role: Role::Primary,
        volumes: volumes
            .iter()
            .map(|v| StateVolume { volume: v.id, size: v.size, identity: v.identity })
            .collect(),
        ..GroupState::default()
    };
    for sequence in [1, 2] {
        let mut block = [0; 4096];
        state(sequence).encode(&mut block);
        poke(&path, state_offset(state_at, sequence), &block);
    }
    let recover = || {
        let journal = Journal::open(&path, A).unwrap();
        let areas = journal.site_areas(GROUP, [A, B], LANE).unwrap();
        journal.recover(GROUP, &areas, &volumes)
    };
    assert_eq!(recover().unwrap().state, Some(state(2)));
    flip(&path, map_at + BLOCK_U64 + 1000);
    let dirty = recover().unwrap().dirty;
    assert!(dirty.is_marked(VolumeId(5), 0) && dirty.is_marked(VolumeId(5), MIB - 1));
    assert!(!dirty.is_marked(VolumeId(1), 0));
    // A torn write of one slot leaves the other.
    flip(&path, state_offset(state_at, 2) + 100);
    assert_eq!(recover().unwrap().state, Some(state(1)));
    // Both: never a first start.
    flip(&path, state_offset(state_at, 1) + 100);
    let error = recover().unwrap_err();
    assert_eq!(
        error,
        BootError::State { path: path.clone(), group: GROUP, offset: state_at, error: BlockError::Checksum }
    );
    assert!(error.to_string().contains("format the disk again and copy the volumes from the other site"));
    // The very first write torn: one slot was never written, the other is no state.
    poke(&path, state_offset(state_at, 2), &[0; 4096]);
    assert!(matches!(recover(), Err(BootError::State { .. })));
    poke(&path, state_offset(state_at, 1), &[0; 4096]);
    assert_eq!(recover().unwrap().state, None);
}

#[test]
fn volumes_that_are_not_those_that_joined_are_refused() {
    let scratch = Scratch::new();
    let (path, formatted, configs) = site(&scratch);
    let volumes = open_volumes(&configs);
    let record = |volumes: &[Volume]| {
        let joined = volumes.iter().map(|v| StateVolume { volume: v.id, size: v.size, identity: v.identity });
        let state =
            GroupState { sequence: 1, group: GROUP, volumes: joined.collect(), ..GroupState::default() };
        let mut block = [0; 4096];
        state.encode(&mut block);
        poke(&path, state_offset(start_of(&formatted, AreaKind::State), 1), &block);
    };
    let journal = Journal::open(&path, A).unwrap();
    let areas = journal.site_areas(GROUP, [A, B], LANE).unwrap();
    let recover = |volumes: &[Volume]| journal.recover(GROUP, &areas, volumes).map(drop);
    record(&volumes);
    assert_eq!(recover(&volumes), Ok(()));
    let (group, path) = (GROUP, path.clone());
    let mut other = volumes.clone();
    other[1].identity[9] ^= 1;
    assert_eq!(
        recover(&other),
        Err(BootError::OtherVolume { path: path.clone(), group, volume: VolumeId(5) })
    );
    let mut smaller = volumes.clone();
    smaller[0].size = MIB;
    let refused = BootError::VolumeSize { group, volume: VolumeId(1), size: MIB, recorded: 2 * MIB };
    assert_eq!(recover(&smaller), Err(refused));
    assert_eq!(recover(&volumes[..1]), Err(BootError::MissingVolume { group, volume: VolumeId(5) }));
    record(&volumes[..1]);
    assert_eq!(recover(&volumes), Err(BootError::NewVolume { group, volume: VolumeId(5) }));
    // Before anything is recorded only the map sets a bound.
    poke(&path, start_of(&formatted, AreaKind::State), &[0; 8192]);
    let mut larger = volumes.clone();
    larger[0].size = 3 << 30;
    let refused = BootError::DirtyMapSize { path, group, blocks: 2, needed: 3 };
    assert_eq!(recover(&larger), Err(refused));
}

#[test]
fn a_swapped_volume_file_has_another_identity() {
    let scratch = Scratch::new();
    let (path, formatted, configs) = site(&scratch);
    let journal = Journal::open(&path, A).unwrap();
    let areas = journal.site_areas(GROUP, [A, B], LANE).unwrap();
    let joined = open_volumes(&configs)
        .into_iter()
        .map(|v| StateVolume { volume: v.id, size: v.size, identity: v.identity })
        .collect();
    let mut block = [0; 4096];
    GroupState { sequence: 1, group: GROUP, volumes: joined, ..GroupState::default() }.encode(&mut block);
    poke(&path, state_offset(start_of(&formatted, AreaKind::State), 1), &block);
    let copy = scratch.disk("copy", 2 * MIB);
    std::fs::rename(copy, &configs[0].path).unwrap();
    let error = journal.recover(GROUP, &areas, &open_volumes(&configs)).unwrap_err();
    assert_eq!(error, BootError::OtherVolume { path, group: GROUP, volume: VolumeId(1) });
}

#[test]
fn what_is_not_this_nodes_journal_disk_is_refused() {
    let scratch = Scratch::new();
    let missing = scratch.path("none");
    assert_eq!(refusal(&missing, RELAY), BootError::File(FileError::NotFound { path: missing.clone() }));
    let empty = scratch.disk("empty", 4 * MIB);
    assert_eq!(refusal(&empty, RELAY), BootError::NotFormatted { path: empty.clone() });
    let odd = scratch.path("odd");
    std::fs::write(&odd, vec![0; 4097]).unwrap();
    assert_eq!(refusal(&odd, RELAY), BootError::DiskSize { path: odd.clone(), size: 4097 });

    let (path, _) = relay(&scratch);
    assert_eq!(refusal(&path, B), BootError::OtherNode { path: path.clone(), found: RELAY, node: B });
    let journal = Journal::open(&path, RELAY).unwrap();
    let (found, wanted) = (DiskUse::Relay, DiskUse::Site);
    let refused = journal.check_usage(wanted).unwrap_err();
    assert_eq!(refused, BootError::OtherUse { path: path.clone(), found, wanted });
    assert!(refused.to_string().contains("was formatted for a relay, and this node is a site"), "{refused}");
    assert_eq!(refusal(&path, RELAY), BootError::File(FileError::AlreadyOpen { path: path.clone() }));
    assert_eq!(
        format(&spec(&path, RELAY, vec![relay_group(GROUP, MIB)])),
        Err(FormatError::File(FileError::AlreadyOpen { path: path.clone() }))
    );
    drop(journal);

    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(15 * MIB).unwrap();
    assert_eq!(
        refusal(&path, RELAY),
        BootError::Shorter { path: path.clone(), size: 15 * MIB, formatted: 16 * MIB }
    );
    file.set_len(20 * MIB).unwrap();
    assert!(Journal::open(&path, RELAY).is_ok(), "a disk may grow");
}

#[test]
fn a_damaged_superblock_is_damage_and_not_an_empty_disk() {
    let scratch = Scratch::new();
    let (path, _) = relay(&scratch);
    // One of the two slots is enough.
    flip(&path, node_offset(1) + 40);
    assert!(Journal::open(&path, RELAY).is_ok());
    flip(&path, node_offset(0) + 40);
    assert_eq!(refusal(&path, RELAY), BootError::Damaged { path: path.clone(), error: BlockError::Checksum });
    let not_empty = |error: FormatError| {
        let FormatError::NotEmpty { found, .. } = error else { panic!("{error}") };
        found
    };
    let again = || format(&spec(&path, RELAY, vec![relay_group(GROUP, MIB)])).unwrap_err();
    assert_eq!(not_empty(again()), "it is a journal disk whose superblock is damaged");
    flip(&path, node_offset(1) + 40);
    assert!(Journal::open(&path, RELAY).is_ok());
}

#[test]
fn another_version_is_told_by_its_number() {
    let scratch = Scratch::new();
    let (path, _) = relay(&scratch);
    let mut block = peek(&path, node_offset(1), 4096);
    block[8] = 77;
    let sum = midspan_format::checksum::checksum(&block[..4088]);
    block[4088..].copy_from_slice(&sum.to_le_bytes());
    poke(&path, node_offset(0), &block);
    poke(&path, node_offset(1), &block);
    assert_eq!(refusal(&path, RELAY), BootError::Version { path, version: 77 });
}

#[test]
fn permits_and_areas_that_are_damaged_or_of_another_disk_are_refused() {
    let scratch = Scratch::new();
    let (path, formatted) = relay(&scratch);
    let permits = [permit_offset(1, 1), permit_offset(1, 2)];
    flip(&path, permits[0] + 64);
    assert!(Journal::open(&path, RELAY).is_ok());
    flip(&path, permits[1] + 64);
    assert_eq!(
        refusal(&path, RELAY),
        BootError::Permit { path: path.clone(), slot: 1, error: BlockError::Checksum }
    );
    permits.iter().for_each(|permit| flip(&path, permit + 64));

    // Wiped: a slot that is in use holds nothing.
    let whole = permits.map(|permit| peek(&path, permit, 4096));
    permits.iter().for_each(|permit| poke(&path, *permit, &[0; 4096]));
    assert_eq!(
        refusal(&path, RELAY),
        BootError::Permit { path: path.clone(), slot: 1, error: BlockError::Magic }
    );
    let first = peek(&path, permit_offset(0, 1), 4096);
    poke(&path, permits[0], &first);
    assert_eq!(refusal(&path, RELAY), BootError::PermitTwice { path: path.clone(), group: GROUP });
    permits.iter().zip(&whole).for_each(|(permit, whole)| poke(&path, *permit, whole));

    let (_, manifest) = formatted.areas[1];
    let offset = manifest.start - BLOCK_U64;
    flip(&path, offset + 64);
    let (group, kind) = (GROUP, AreaKind::Manifest);
    assert_eq!(
        refusal(&path, RELAY),
        BootError::Area { path: path.clone(), group, kind, offset, error: BlockError::Checksum }
    );
    flip(&path, offset + 64);
    for change in 0..3 {
        let mut own = AreaSuperblock::decode(&peek(&path, offset, 4096)).unwrap();
        let before = own;
        match change {
            0 => own.area = AreaId([1; 16]),
            1 => own.disk = DiskId([1; 16]),
            _ => own.size += BLOCK_U64,
        }
        let mut block = [0; 4096];
        own.encode(&mut block);
        poke(&path, offset, &block);
        let refused =
            BootError::OtherArea { path: path.clone(), group, kind, offset, found: own.area, disk: own.disk };
        assert_eq!(refusal(&path, RELAY), refused);
        before.encode(&mut block);
        poke(&path, offset, &block);
    }
    assert!(Journal::open(&path, RELAY).is_ok());
}

#[test]
fn a_group_that_the_disk_was_not_formatted_for_is_refused() {
    let scratch = Scratch::new();
    let (path, _, _) = site(&scratch);
    let journal = Journal::open(&path, A).unwrap();
    let refused = |group, sites, lane| journal.site_areas(group, sites, lane).unwrap_err();
    assert_eq!(refused(OTHER, [A, B], LANE), BootError::NoGroup { path: path.clone(), group: OTHER });
    let other_sites = BootError::OtherSites { path: path.clone(), group: GROUP, found: [A, B] };
    assert_eq!(refused(GROUP, [A, NodeId(4)], LANE), other_sites);
    let lane = LaneId(3);
    let no_area = BootError::NoArea { path, group: GROUP, lane, kind: AreaKind::OwnRing };
    assert_eq!(refused(GROUP, [A, B], lane), no_area);
}

#[test]
fn a_disk_in_use_is_formatted_only_by_force_and_then_nothing_of_the_old_one_is_left() {
    let scratch = Scratch::new();
    let (path, first) = relay(&scratch);
    let again = || spec(&path, RELAY, vec![relay_group(OTHER, MIB)]);
    let refused = FormatError::Formatted { path: path.clone(), node: RELAY, usage: DiskUse::Relay };
    assert!(refused.to_string().contains("of node 2, a relay: to give up what its rings hold"), "{refused}");
    assert_eq!(format(&again()), Err(refused));
    let second = format(&FormatSpec { force: true, ..again() }).unwrap();
    assert_ne!(first.disk, second.disk);
    assert!(second.areas.iter().all(|(_, new)| first.areas.iter().all(|(_, old)| old.area != new.area)));
    let journal = Journal::open(&path, RELAY).unwrap();
    let permits = journal.relay_permits(None, &[], &[]).unwrap();
    assert_eq!(permits.iter().map(|(_, p)| p.group).collect::<Vec<_>>(), [OTHER]);
    assert!(peek(&path, permit_offset(1, 0), 8192).iter().all(|byte| *byte == 0));
}

#[test]
fn a_forced_format_of_a_site_forgets_state_and_marks() {
    let scratch = Scratch::new();
    let (path, formatted, configs) = site(&scratch);
    let areas = [AreaKind::State, AreaKind::DirtyMap].map(|kind| start_of(&formatted, kind));
    for start in areas {
        poke(&path, start, &[0xA5; 8192]);
    }
    let mut again = spec(&path, A, vec![site_group(GROUP, 4 * MIB, configs.clone())]);
    again.force = true;
    let second = format(&again).unwrap();
    assert_eq!([AreaKind::State, AreaKind::DirtyMap].map(|kind| start_of(&second, kind)), areas);
    let journal = Journal::open(&path, A).unwrap();
    let areas = journal.site_areas(GROUP, [A, B], LANE).unwrap();
    let recovered = journal.recover(GROUP, &areas, &open_volumes(&configs)).unwrap();
    assert_eq!((recovered.state, recovered.dirty.count()), (None, 0));
}

#[test]
fn a_disk_with_something_else_on_it_is_not_formatted() {
    let scratch = Scratch::new();
    let path = scratch.disk("other", 16 * MIB);
    let again = || format(&spec(&path, RELAY, vec![relay_group(GROUP, MIB)]));
    for (offset, bytes, says) in [
        (512, b"EFI PART".as_slice(), "partition table"),
        (0x438, &[0x53, 0xEF], "ext4 file system"),
        (70_000, b"x", "unknown data"),
        (16 * MIB - 512, b"EFI PART", "last MiB"),
    ] {
        poke(&path, offset, bytes);
        let before = peek(&path, 0, 16 << 20);
        let error = again().unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("--force") && error.contains("other"), "{error}");
        assert!(peek(&path, 0, 16 << 20) == before, "a refusal writes nothing");
        poke(&path, offset, &vec![0; bytes.len()]);
    }
    poke(&path, 16 * MIB - 512, b"EFI PART");
    let mut forced = spec(&path, RELAY, vec![relay_group(GROUP, MIB)]);
    forced.force = true;
    format(&forced).unwrap();
    assert!(
        peek(&path, 15 * MIB, 1 << 20).iter().all(|byte| *byte == 0),
        "no old mark is left to be believed"
    );
    assert!(Journal::open(&path, RELAY).is_ok());
}

#[test]
fn sizes_that_do_not_fit_are_refused_with_what_is_needed() {
    let scratch = Scratch::new();
    let path = scratch.disk("small", 4 * MIB);
    let try_ring = |ring| format(&spec(&path, RELAY, vec![relay_group(GROUP, ring)]));
    let needed = MIB + 3 * BLOCK_U64 + 2 * MIB + 2 * MIB;
    let refused = FormatError::TooSmall { path: path.clone(), size: 4 * MIB, needed };
    assert!(refused.to_string().contains(&needed.to_string()));
    assert_eq!(try_ring(2 * MIB), Err(refused));
    assert!(matches!(try_ring(u64::MAX - 4095), Err(FormatError::TooSmall { .. })));
    for size in [0, 4097] {
        let refused = FormatError::AreaSize { group: GROUP, kind: "ring", size };
        assert_eq!(try_ring(size), Err(refused));
    }
    assert_eq!(
        try_ring(MIB - 3 * BLOCK_U64).map(|formatted| formatted.used),
        Ok(4 * MIB),
        "to the last block"
    );
    let odd = scratch.path("odd");
    std::fs::write(&odd, vec![0; 4097]).unwrap();
    let refused = FormatError::DiskSize { path: odd.clone(), size: 4097 };
    assert_eq!(format(&spec(&odd, RELAY, vec![relay_group(GROUP, MIB)])), Err(refused));
}

#[test]
fn what_to_format_must_make_sense() {
    let scratch = Scratch::new();
    let path = scratch.disk("disk", 4 * MIB);
    let of = |groups| format(&spec(&path, A, groups)).unwrap_err();
    assert_eq!(of(vec![]), FormatError::NoGroups { path: path.clone() });
    let twice = vec![relay_group(GROUP, MIB), relay_group(GROUP, MIB)];
    assert_eq!(of(twice), FormatError::GroupTwice { group: GROUP });
    let many = (0..65).map(|id| relay_group(GroupId(id), 4096)).collect();
    assert_eq!(of(many), FormatError::TooManyGroups { groups: 65 });
    assert_eq!(of(vec![site_group(GROUP, MIB, vec![])]), FormatError::VolumeCount { group: GROUP, count: 0 });
    let none = scratch.path("none");
    let refused = of(vec![site_group(GROUP, MIB, vec![volume(1, &none)])]);
    let error = VolumeError::File { volume: VolumeId(1), error: FileError::NotFound { path: none } };
    assert_eq!(refused, FormatError::Volume { group: GROUP, error });
    let small = VolumeConfig { size: Some(2 * MIB), ..volume(1, &scratch.disk("volume", MIB)) };
    let refused = of(vec![site_group(GROUP, MIB, vec![small])]).to_string();
    assert!(refused.contains("group 7: volume 1: ") && refused.contains("is too small"), "{refused}");
}

#[test]
fn a_site_can_hold_areas_of_another_group_as_its_relay() {
    let scratch = Scratch::new();
    let path = scratch.disk("both", 16 * MIB);
    let volumes = vec![volume(1, &scratch.disk("one", MIB))];
    let mut foreign = relay_group(OTHER, MIB);
    foreign.sites = [NodeId(8), NodeId(9)];
    let formatted = format(&spec(&path, A, vec![site_group(GROUP, MIB, volumes), foreign])).unwrap();
    assert_eq!(formatted.usage, DiskUse::Site);
    let journal = Journal::open(&path, A).unwrap();
    assert!(journal.site_areas(GROUP, [A, B], LANE).is_ok());
    let permits = journal.relay_permits(None, &[GROUP], &[]).unwrap();
    assert_eq!(permits.iter().map(|(slot, p)| (*slot, p.group)).collect::<Vec<_>>(), [(1, OTHER)]);
}

#[test]
fn until_the_last_writes_a_disk_that_is_formatted_anew_is_no_journal_disk() {
    // What the writes before the last ones leave: everything but the superblock. A crash there is an unfinished format.
    let scratch = Scratch::new();
    let (path, _) = relay(&scratch);
    poke(&path, node_offset(1), &[0; 4096]);
    assert!(Journal::open(&path, RELAY).is_ok());
    poke(&path, node_offset(0), &[0; 4096]);
    assert_eq!(refusal(&path, RELAY), BootError::NotFormatted { path: path.clone() });
    let error = format(&spec(&path, RELAY, vec![relay_group(GROUP, MIB)])).unwrap_err();
    assert!(matches!(error, FormatError::NotEmpty { .. }));
}
