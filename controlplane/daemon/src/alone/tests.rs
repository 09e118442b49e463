//! A journal disk and a volume as files, with the state of a split.

use std::os::unix::fs::FileExt;

use midspan_format::geometry::BLOCK;
use midspan_format::superblock::{StateVolume, state_offset};
use midspan_node::config::VolumeConfig;
use midspan_node::format::{FormatSpec, GroupAreas, GroupFormat, format};

use super::*;

const VOLUME: u64 = 40 * REGION_BYTES + 8192;

struct Fixture {
    folder: PathBuf,
    place: Place,
    state_at: u64,
    map_at: u64,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A formatted journal disk for volumes 1 and 2, whose second one is what it is read from.
fn fixture(name: &str) -> Fixture {
    let folder = std::env::temp_dir().join(format!("midspan-alone-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).unwrap();
    let journal = folder.join("journal");
    std::fs::File::create(&journal).unwrap().set_len(8 << 20).unwrap();
    let volume = |number: u32| {
        let path = folder.join(format!("v{number}"));
        let bytes: Vec<u8> = (0..VOLUME).map(|at| u8::try_from(at / 4096 % 251).unwrap()).collect();
        std::fs::write(&path, bytes).unwrap();
        PlacedVolume { id: VolumeId(number), name: format!("v{number}"), path }
    };
    let volumes = vec![volume(1), volume(2)];
    let sites = [midspan_format::ids::NodeId(1), midspan_format::ids::NodeId(3)];
    let config =
        |placed: &PlacedVolume| VolumeConfig { id: placed.id, path: placed.path.clone(), size: None };
    let areas = GroupAreas::Site { ring: 1 << 20, volumes: volumes.iter().map(config).collect(), lane: None };
    let group = GroupFormat { group: GroupId(7), sites, lane: LaneId(0), areas };
    let spec = FormatSpec { path: journal.clone(), node: sites[0], groups: vec![group], force: false };
    let formatted = format(&spec).unwrap();
    let start = |kind| formatted.areas.iter().find(|(_, entry)| entry.kind == kind).unwrap().1.start;
    let place = Place { group: "vault".into(), id: GroupId(7), lane: LaneId(0), journal, volumes };
    let (state_at, map_at) =
        (start(midspan_format::area::AreaKind::State), start(midspan_format::area::AreaKind::DirtyMap));
    Fixture { folder, place, state_at, map_at }
}

impl Fixture {
    fn write(&self, offset: u64, bytes: &[u8]) {
        let file = std::fs::File::options().write(true).open(&self.place.journal).unwrap();
        file.write_all_at(bytes, offset).unwrap();
    }

    fn record(&self, state: &GroupState) {
        let mut slot = [0; BLOCK];
        state.encode(&mut slot);
        self.write(state_offset(self.state_at, state.sequence), &slot);
    }

    fn mark(&self, marks: &[(u32, u64, u64)]) {
        let mut map = DirtyMap::new([(VolumeId(1), VOLUME), (VolumeId(2), VOLUME)]);
        for (volume, offset, length) in marks {
            map.mark(VolumeId(*volume), *offset, *length);
        }
        for index in 0..map.blocks() {
            let mut block = [0; BLOCK];
            map.encode_block(index, &mut block);
            self.write(self.map_at + index as u64 * BLOCK_U64, &block);
        }
    }
}

fn left() -> GroupState {
    let volume = |number| StateVolume { volume: VolumeId(number), size: VOLUME, ..StateVolume::default() };
    GroupState {
        sequence: 3,
        group: GroupId(7),
        role: Role::Primary,
        left: true,
        left_cut: Time(1_000),
        clock: Time(2_000),
        volumes: [volume(1), volume(2)].into_iter().collect(),
        ..GroupState::default()
    }
}

#[test]
fn neighbours_are_one_range_and_the_last_one_ends_with_its_volume() {
    let fixture = fixture("ranges");
    fixture.record(&left());
    fixture.mark(&[
        (1, 100, 1),
        (1, REGION_BYTES, REGION_BYTES),
        (1, 7 * REGION_BYTES, 1),
        (2, VOLUME - 1, 1),
    ]);
    let answer = fixture.place.read().unwrap().answer(&fixture.place, 0, 10);
    let range = |volume, offset_bytes, length_bytes| AloneRange { volume, offset_bytes, length_bytes };
    let expected = [
        range(1, 0, 2 * REGION_BYTES),
        range(1, 7 * REGION_BYTES, REGION_BYTES),
        range(2, 40 * REGION_BYTES, 8192),
    ];
    assert_eq!(answer.ranges, expected);
    assert_eq!((answer.ranges_total, answer.bytes), (3, 3 * REGION_BYTES + 8192));
    assert_eq!((answer.left_ns, answer.newest_ns), (Some(1_000), Some(2_000)));
    let volumes: Vec<_> = answer.volumes.iter().map(|v| (v.name.as_str(), v.ranges, v.bytes)).collect();
    assert_eq!(volumes, [("v1", 2, 3 * REGION_BYTES), ("v2", 1, 8192)]);
    let page = fixture.place.read().unwrap().answer(&fixture.place, 1, 1);
    assert_eq!((page.ranges.as_slice(), page.ranges_total), (&expected[1..2], 3));
}

#[test]
fn a_damaged_block_of_the_map_counts_as_all_marked() {
    let fixture = fixture("damage");
    fixture.record(&left());
    fixture.mark(&[(2, 0, 1)]);
    fixture.write(fixture.map_at + 4000, b"rot");
    let answer = fixture.place.read().unwrap().answer(&fixture.place, 0, 10);
    assert_eq!(answer.volumes.iter().map(|volume| volume.bytes).collect::<Vec<_>>(), [VOLUME, REGION_BYTES]);
}

#[test]
fn a_site_that_answered_nobody_alone_holds_nothing_alone() {
    let fixture = fixture("state");
    assert!(matches!(fixture.place.read(), Err(AloneError::Journal { .. })), "no state was recorded yet");
    for state in [GroupState { left: false, ..left() }, GroupState { role: Role::Secondary, ..left() }] {
        fixture.record(&state);
        let error = ApiError::from(fixture.place.read().unwrap_err());
        assert_eq!(error.code, "refused", "{error:?}");
        let piece = Piece { volume: VolumeId(1), offset: 0, length: 4096 };
        assert!(matches!(fixture.place.piece(piece), Err(AloneError::NotAlone { .. })));
    }
}

#[test]
fn a_piece_is_what_stands_on_the_disk() {
    let fixture = fixture("piece");
    fixture.record(&left());
    let piece =
        |volume, offset, length| fixture.place.piece(Piece { volume: VolumeId(volume), offset, length });
    let bytes = piece(2, 3 * 4096, 2 * 4096).unwrap();
    assert!(
        bytes.len() == 8192 && bytes[..4096].iter().all(|b| *b == 3) && bytes[4096..].iter().all(|b| *b == 4)
    );
    assert_eq!(piece(1, VOLUME - 4096, 4096).unwrap().len(), 4096);
    assert!(matches!(piece(1, VOLUME - 4096, 8192), Err(AloneError::Beyond { .. })));
    assert!(matches!(piece(3, 0, 4096), Err(AloneError::NoVolume { .. })));
    std::fs::remove_file(fixture.folder.join("v1")).unwrap();
    let error = ApiError::from(piece(1, 0, 4096).unwrap_err());
    assert!(error.message.contains("v1") && !error.hint.is_empty(), "{error:?}");
}

#[test]
fn a_piece_is_asked_for_in_whole_blocks() {
    let piece = Piece { volume: VolumeId(3), offset: 8192, length: 4096 };
    assert_eq!(Piece::parse(Some("volume=3&offset=8192&length=4096")), Some(piece));
    for query in [
        "volume=3&offset=8192",
        "volume=3&offset=1&length=4096",
        "volume=3&offset=0&length=0",
        "volume=3&offset=0&length=4198400",
        "volume=x&offset=0&length=4096",
        "volume=3&offset=0&length=4096&more=1",
    ] {
        assert_eq!(Piece::parse(Some(query)), None, "{query}");
    }
    assert_eq!(Piece::parse(None), None);
}
