//! One specimen of everything that Midspan writes, with every field set to something that shows.

#![allow(dead_code, reason = "each suite uses its part")]

use midspan_format::area::{AreaKind, AreaSuperblock};
use midspan_format::checksum::checksum;
use midspan_format::dirty_map::{BLOCK_COVERS, DirtyMap};
use midspan_format::frame::{FrameHeader, FrameKind};
use midspan_format::geometry::{BLOCK, Position};
use midspan_format::ids::{AreaId, DiskId, Epoch, GroupId, LaneId, NodeId, VolumeId};
use midspan_format::manifest::{ManifestEntry, ManifestTable, RegionRun};
use midspan_format::mark::{
    DigestKind, Handover, LaneMember, LaneSet, LaneUse, Leave, LeaveReason, Mark, RoundBegin, RoundEnd,
    RoundOutcome, RoundReason, Verify,
};
use midspan_format::receipt::{Difference, LaneReceipt, Receipt};
use midspan_format::record::{MAY_UNMAP, OF_ROUND, Record, RecordKind};
use midspan_format::seal::{
    RecordTable, manifest_head_length, receipt_head_length, records_head_length, seal_manifest, seal_receipt,
    seal_records,
};
use midspan_format::superblock::{
    AreaEntry, AreaHint, DiskUse, FenceSet, GroupPermit, GroupState, LanePoint, NodeSuperblock, PairState,
    Role, StateLane, StateVolume,
};
use midspan_format::time::Time;

pub mod heartbeats;
pub mod messages;
pub mod repair;

pub const GROUP: GroupId = GroupId(0x0102_0304);
pub const LANE: LaneId = LaneId(5);
pub const PRIMARY: NodeId = NodeId(1);
pub const SECONDARY: NodeId = NodeId(2);
pub const RELAY: NodeId = NodeId(3);
pub const EPOCH: Epoch = Epoch { number: 7, node: PRIMARY };
pub const FORMER: Epoch = Epoch { number: 6, node: SECONDARY };
pub const CUT: Time = Time(1_800_000_000_000_000_100);

pub fn area_id(seed: u8) -> AreaId {
    AreaId(core::array::from_fn(|i| seed.wrapping_add(i as u8)))
}

pub fn data(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed).wrapping_add((i >> 8) as u8)).collect()
}

pub fn header(kind: FrameKind) -> FrameHeader {
    FrameHeader {
        kind,
        group: GROUP,
        lane: LANE,
        origin_lane: LaneId(6),
        area: area_id(0x10),
        epoch: EPOCH,
        sequence: 42,
        position: Position(3 << 20),
        chain: 0x1122_3344_5566_7788,
        first_time: CUT,
        last_time: Time(CUT.0 + 50),
        closed_time: Time(CUT.0 + 51),
        landed: Position(2 << 20),
        landed_time: Time(CUT.0 - 9),
        journaled: Position(5 << 19),
        data_at: NodeId(2),
        ..FrameHeader::default()
    }
}

/// Whether a header says what [`header`] gives; lengths, counts and checksums are the sealer's.
pub fn is_sealed_as(found: &FrameHeader, kind: FrameKind) -> bool {
    let sealed = FrameHeader {
        length: found.length,
        table_length: found.table_length,
        head_length: found.head_length,
        records: found.records,
        body_checksum: found.body_checksum,
        checksum: found.checksum,
        ..header(kind)
    };
    *found == sealed
}

/// Gathers records and their data.
#[derive(Default)]
pub struct Builder {
    pub table: RecordTable,
    pub data: Vec<u8>,
}

impl Builder {
    pub fn record(mut self, kind: RecordKind, flags: u8, range: (u32, u64, u64), data: &[u8]) -> Self {
        let (volume, offset, length) = range;
        let time = CUT.0 + self.table.records.len() as u64;
        let (data_block, sum) =
            if data.is_empty() { (0, 0) } else { ((self.data.len() / BLOCK) as u32, checksum(data)) };
        self.table.records.push(Record {
            time,
            offset,
            length,
            checksum: sum,
            volume,
            data_block,
            kind: kind as u8,
            flags,
            reserved: [0; 6],
        });
        self.data.extend_from_slice(data);
        self
    }

    pub fn write(self, volume: u32, offset: u64, data: &[u8]) -> Self {
        self.record(RecordKind::Write, 0, (volume, offset, data.len() as u64), data)
    }

    pub fn mark(self, mark: Mark, range: (u32, u64, u64)) -> Self {
        let mut block = [0; BLOCK];
        mark.encode(&mut block);
        self.record(mark.kind(), 0, range, &block)
    }

    pub fn seal(self) -> Vec<u8> {
        self.seal_as(header(FrameKind::Journal)).1
    }

    pub fn seal_as(self, mut header: FrameHeader) -> (FrameHeader, Vec<u8>) {
        let mut bytes = vec![0xEE; records_head_length(self.table.records.len())];
        let length = seal_records(&mut header, &self.table, self.data.len() as u32, &mut bytes).unwrap();
        assert_eq!(length, bytes.len());
        bytes.extend_from_slice(&self.data);
        (header, bytes)
    }
}

pub fn journal() -> Builder {
    Builder::default()
        .write(1, 1 << 30, &data(1, 2 * BLOCK))
        .record(RecordKind::Zero, MAY_UNMAP, (2, 1 << 40, 1 << 32), &[])
        .write(2, 0, &data(2, BLOCK))
}

pub fn journal_frame() -> Vec<u8> {
    journal().seal()
}

pub fn empty_frame() -> Vec<u8> {
    Builder::default().seal()
}

pub fn marks() -> [Mark; 6] {
    [
        Mark::RoundBegin(RoundBegin {
            round: 11,
            epoch: EPOCH,
            reason: RoundReason::Failback,
            in_place: true,
            map_generation: 12,
            regions: 13,
            from_cut: CUT,
        }),
        Mark::RoundEnd(RoundEnd {
            round: 11,
            outcome: RoundOutcome::Cancelled,
            map_generation: 12,
            regions: 10,
            began: CUT,
        }),
        Mark::LaneSet(LaneSet {
            version: 3,
            epoch: EPOCH,
            n: 2,
            k: 1,
            lanes: [
                LaneMember {
                    lane: LANE,
                    node: RELAY,
                    usage: LaneUse::Closed,
                    ring: area_id(0x20),
                    manifest: area_id(0x30),
                    receipt: area_id(0x40),
                    resent_until: CUT,
                },
                LaneMember { lane: LaneId(6), node: SECONDARY, ring: area_id(0x50), ..LaneMember::default() },
            ]
            .into_iter()
            .collect(),
        }),
        Mark::Leave(Leave {
            epoch: EPOCH,
            reason: LeaveReason::Suspended,
            cut: CUT,
            map_generation: 14,
            former: PRIMARY,
            former_landed: LanePoint { position: Position(5 << 12), sequence: 4, header_checksum: 0x5152 },
            former_landed_time: CUT,
        }),
        Mark::Handover(Handover { epoch: EPOCH, to: SECONDARY }),
        Mark::Verify(Verify {
            run: 15,
            kind: DigestKind::Blake3,
            digest: core::array::from_fn(|i| 0xA0 + i as u8),
        }),
    ]
}

pub fn marks_frame() -> Vec<u8> {
    let [begin, end, set, leave, handover, verify] = marks();
    Builder::default()
        .mark(begin, (0, 0, 0))
        .record(RecordKind::RoundData, 0, (1, 65536, BLOCK as u64), &data(3, BLOCK))
        .record(RecordKind::Zero, OF_ROUND, (1, 131_072, 65536), &[])
        .mark(verify, (1, 0, 1 << 20))
        .mark(end, (0, 0, 0))
        .mark(set, (0, 0, 0))
        .mark(leave, (0, 0, 0))
        .mark(handover, (0, 0, 0))
        .seal()
}

pub fn manifest() -> ManifestTable {
    let entry = ManifestEntry {
        epoch_number: 7,
        epoch_node: 1,
        sequence: 40,
        position: 1 << 20,
        first_time: CUT.0,
        last_time: CUT.0 + 3,
        header_checksum: 0x0102_0304_0506_0708,
        length: 8192,
        lane: 5,
        origin_lane: 6,
        first_region: 0,
        regions: 2,
        data_at: 3,
    };
    let next = ManifestEntry {
        sequence: 41,
        position: (1 << 20) + 8192,
        first_region: 2,
        regions: 1,
        length: 4096,
        ..entry
    };
    let run = |volume, first, count| RegionRun { volume, first, count };
    ManifestTable { entries: vec![entry, next], regions: vec![run(1, 16, 1), run(2, 0, 4096), run(1, 17, 1)] }
}

pub fn manifest_frame() -> Vec<u8> {
    let table = manifest();
    let mut bytes = vec![0xEE; manifest_head_length(table.entries.len(), table.regions.len())];
    seal_manifest(&mut header(FrameKind::Manifest), &table, &mut bytes).unwrap();
    bytes
}

pub fn receipt() -> Receipt {
    let lane = LaneReceipt {
        epoch_number: 7,
        position: 4 << 20,
        header_checksum: 0x1112_1314_1516_1718,
        applied: 3 << 20,
        sequence: 77,
        epoch_node: 1,
        lane: 5,
        ..LaneReceipt::default()
    };
    let other = LaneReceipt { lane: 6, position: 1 << 20, ..lane };
    Receipt {
        cut: CUT.0,
        manifest: 12 << 12,
        fence_version: 3,
        round: 11,
        staging: 13 << 12,
        flags: 1,
        run: 0x2122_2324_2526_2728,
        compared: 9 << 20,
        different: 3 << 17,
        lanes: vec![lane, other],
        differences: vec![
            Difference { time: CUT.0 - 5, offset: 1 << 30, length: 2 << 17, volume: 2, reserved: 0 },
            Difference { time: CUT.0 - 2, offset: 1 << 12, length: 1 << 17, volume: 3, reserved: 0 },
        ],
    }
}

pub fn receipt_frame() -> Vec<u8> {
    let table = receipt();
    let mut bytes = vec![0xEE; receipt_head_length(table.lanes.len(), table.differences.len())];
    seal_receipt(&mut header(FrameKind::Receipt), &table, &mut bytes).unwrap();
    bytes
}

fn block(encode: impl FnOnce(&mut [u8; BLOCK])) -> Vec<u8> {
    let mut block = [0xEE; BLOCK];
    encode(&mut block);
    block.to_vec()
}

pub fn area() -> AreaSuperblock {
    AreaSuperblock {
        area: area_id(0x10),
        disk: DiskId([0x77; 16]),
        kind: AreaKind::Manifest,
        group: GROUP,
        lane: LANE,
        start: 257 * 4096,
        size: 64 << 20,
        created_ns: CUT.0,
    }
}

pub fn area_block() -> Vec<u8> {
    block(|out| area().encode(out))
}

pub fn node() -> NodeSuperblock {
    NodeSuperblock {
        sequence: 9,
        disk: DiskId([0x77; 16]),
        node: RELAY,
        usage: DiskUse::Site,
        size_bytes: 1 << 40,
        created_ns: CUT.0,
        groups: 3,
        free_offset: 1 << 30,
    }
}

pub fn node_block() -> Vec<u8> {
    block(|out| node().encode(out))
}

pub fn permit() -> GroupPermit {
    let hint =
        AreaHint { position: Position(1 << 20), header_checksum: 0x2122, journaled: Position(2 << 20) };
    let entry = |kind, seed, start| AreaEntry {
        area: area_id(seed),
        kind,
        lane: LANE,
        start,
        size: 16 << 20,
        hint,
        journal: area_id(0x50),
        stale_to: Position(3 << 20),
        began: Position(1 << 20),
    };
    GroupPermit {
        sequence: 10,
        group: GROUP,
        epoch: EPOCH,
        primary: PRIMARY,
        secondary: SECONDARY,
        sites: [PRIMARY, SECONDARY],
        lease_ms: 500,
        former: SECONDARY,
        former_epoch: FORMER,
        deleted: true,
        areas: [
            entry(AreaKind::Ring, 0x20, 257 << 12),
            entry(AreaKind::Manifest, 0x30, 1 << 26),
            entry(AreaKind::Receipt, 0x40, 1 << 27),
        ]
        .into_iter()
        .collect(),
    }
}

pub fn permit_block() -> Vec<u8> {
    block(|out| permit().encode(out))
}

pub fn fence_set() -> FenceSet {
    FenceSet { epoch: EPOCH, version: 3, ..FenceSet::of(&[RELAY, SECONDARY], 2) }
}

pub fn state() -> GroupState {
    let point = LanePoint { position: Position(1 << 20), sequence: 41, header_checksum: 0x3132 };
    let lane = StateLane {
        lane: LANE,
        node: RELAY,
        usage: LaneUse::Standby,
        ring: area_id(0x20),
        manifest: area_id(0x30),
        receipt: area_id(0x40),
        point,
    };
    let volume = |volume, size| StateVolume { volume: VolumeId(volume), size, identity: [volume as u8; 24] };
    GroupState {
        sequence: 12,
        group: GROUP,
        role: Role::Primary,
        pair: PairState::TakenOver,
        epoch: EPOCH,
        cut: CUT,
        clock: Time(CUT.0 + 99),
        manifest: Position(1 << 16),
        set: fence_set(),
        asked: FenceSet { version: 4, ..FenceSet::of(&[SECONDARY], 1) },
        bound: RELAY,
        shared: true,
        left: true,
        left_cut: Time(CUT.0 - 1),
        takeover_step: 4,
        accept_loss: true,
        takeover_replaces: FORMER,
        takeover_epoch: EPOCH,
        dirty_generation: 14,
        round: 11,
        told_from: CUT.0 + 1,
        round_in_place: true,
        lanes: [lane, StateLane { lane: LaneId(6), node: SECONDARY, ..lane }].into_iter().collect(),
        volumes: [volume(1, 1 << 40), volume(2, 1 << 30)].into_iter().collect(),
        former_landed: LanePoint { position: Position(2 << 20), ..point },
        former_landed_time: Time(CUT.0 - 2),
        whole_at: Position(3 << 20),
        handover: true,
        handover_epoch: FORMER,
        told_left: Time(CUT.0 + 2),
        landed: Position(5 << 20),
        landed_time: Time(CUT.0 - 1),
        acquired: Position(4 << 20),
        by_word: true,
        answered: true,
    }
}

pub fn state_block() -> Vec<u8> {
    block(|out| state().encode(out))
}

pub const DIRTY_VOLUMES: [(VolumeId, u64); 2] =
    [(VolumeId(1), 4096), (VolumeId(2), BLOCK_COVERS + (5 << 20))];

/// With marks in all three blocks.
pub fn dirty_map() -> DirtyMap {
    let mut map = DirtyMap::new(DIRTY_VOLUMES);
    map.set_generation(21);
    map.mark(VolumeId(1), 0, 4096);
    map.mark(VolumeId(2), 65536, 1);
    map.mark(VolumeId(2), BLOCK_COVERS - 4096, 65536 * 3);
    map
}

pub fn dirty_block(index: usize) -> Vec<u8> {
    block(|out| dirty_map().encode_block(index, out))
}
