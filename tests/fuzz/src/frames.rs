//! Frames built from fuzz input byte by byte, without the sealer; and what must hold of every frame that is accepted.

use midspan_format::checked::CheckedFrame;
use midspan_format::checksum::checksum;
use midspan_format::frame::{FrameHeader, FrameKind, HEADER_BYTES, MAX_FRAME, MAX_HEAD, head_length};
use midspan_format::geometry::{BLOCK, Position};
use midspan_format::ids::{AreaId, Epoch, GroupId, LaneId, NodeId};
use midspan_format::manifest::ManifestTable;
use midspan_format::mark::Mark;
use midspan_format::record::{Record, RecordKind, Shape};
use midspan_format::seal::{RecordTable, seal_manifest, seal_receipt, seal_records};
use midspan_format::time::Time;

use crate::input::Input;

/// A header that is right but for its table: kind and times from the input.
pub fn header(kind: FrameKind, input: &mut Input<'_>) -> FrameHeader {
    let first_time = Time(u64::from(input.u16()));
    FrameHeader {
        kind,
        group: GroupId(4),
        lane: LaneId(1),
        origin_lane: LaneId(1),
        area: AreaId([7; 16]),
        epoch: Epoch { number: 3, node: NodeId(1) },
        sequence: 9,
        position: Position(1 << 20),
        first_time,
        last_time: Time(first_time.0 + u64::from(input.u16())),
        ..FrameHeader::default()
    }
}

/// Puts a table and data behind a header: every length, count and checksum fits, whatever the table says.
pub fn assemble(mut header: FrameHeader, table: &[u8], entries: usize, data: &[u8]) -> Vec<u8> {
    let head = head_length(table.len());
    header.table_length = table.len() as u32;
    header.head_length = head as u32;
    header.length = (head + data.len()) as u32;
    header.records = entries as u32;
    header.body_checksum = checksum(table);
    let mut frame = vec![0; head];
    frame[..HEADER_BYTES].copy_from_slice(&header.encode());
    frame[HEADER_BYTES..HEADER_BYTES + table.len()].copy_from_slice(table);
    frame.extend_from_slice(data);
    frame
}

/// An archived list, as it stands in a table: how far back its first entry lies, and how many there are.
pub fn list(back: usize, entries: usize) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&(back as u32).wrapping_neg().to_le_bytes());
    bytes[4..].copy_from_slice(&(entries as u32).to_le_bytes());
    bytes
}

/// What everybody who uses a checked frame relies on, said in other words than the decoder's.
pub fn holds(frame: &CheckedFrame<'_>, bytes: &[u8]) {
    let header = frame.header();
    assert!(header.length <= MAX_FRAME && header.head_length <= MAX_HEAD);
    assert_eq!((header.length as usize % BLOCK, header.head_length as usize % BLOCK), (0, 0));
    assert_eq!(FrameHeader::decode(&header.encode()), Ok(*header));
    assert_eq!(header.encode(), bytes[..HEADER_BYTES]);
    let mut end = header.head_length as usize;
    let mut time = header.first_time.0;
    for record in frame.records() {
        let kind = record.check().expect("an accepted record holds");
        assert_eq!((record.reserved, record.offset % 4096, record.length % 4096), ([0; 6], 0, 0));
        assert!((time..=header.last_time.0).contains(&record.time));
        time = record.time;
        let range = frame.data_range(&record);
        if kind.has_data() {
            assert_eq!(range.start, end);
            assert!(range.end > range.start && range.end <= header.length as usize);
            end = range.end;
        } else {
            assert!(range.is_empty());
        }
        if kind.shape() == Shape::RangeWithData {
            assert_eq!(range.len() as u64, record.length);
        }
    }
    if header.kind == FrameKind::Journal {
        assert_eq!(end, header.length as usize);
    }
    if let Some(manifest) = frame.manifest() {
        for entry in manifest.entries.iter() {
            assert!(entry.end() > entry.start() && entry.length <= MAX_FRAME);
            assert!(entry.first_time <= entry.last_time && entry.last_time <= Time::MAX.0);
            assert_eq!((entry.position % 4096, entry.length % 4096), (0, 0));
            assert_eq!(manifest.regions_of(&entry).len(), entry.regions as usize);
        }
        assert!(
            manifest.regions.iter().all(|run| run.count > 0 && run.first.checked_add(run.count).is_some())
        );
    }
    if let Some(receipt) = frame.receipt() {
        assert!(receipt.cut <= Time::MAX.0 && receipt.manifest % 4096 == 0);
        for lane in receipt.lanes.iter() {
            assert_eq!((lane.reserved, lane.position % 4096, lane.applied % 4096), ([0; 2], 0, 0));
        }
    }
}

/// What must hold once the data is checked as well.
pub fn holds_with_data(frame: &CheckedFrame<'_>) {
    for record in frame.records() {
        let data = frame.data(&record);
        assert_eq!(data.len() as u64, record.data_length());
        if !data.is_empty() {
            assert_eq!(checksum(data), record.checksum);
        }
        let kind = record.kind().expect("an accepted record has a kind");
        let is_plain = matches!(kind, RecordKind::Write | RecordKind::Zero | RecordKind::RoundData);
        match frame.mark(&record) {
            None => assert!(is_plain),
            Some(mark) => same_mark(&mark, kind, data),
        }
    }
}

/// A mark is read from exactly the bytes that it is written as.
pub fn same_mark(mark: &Mark, kind: RecordKind, data: &[u8]) {
    let mut again = [0xEE; BLOCK];
    mark.encode(&mut again);
    assert_eq!(mark.kind(), kind);
    assert!(again == *data, "{mark:?}");
}

/// Seals anew what was accepted: the same head comes out. Only the place of an empty list is free.
pub fn reseals(frame: &CheckedFrame<'_>, bytes: &[u8]) {
    let mut header = *frame.header();
    let mut out = vec![0xEE; header.head_length as usize];
    let (sealed, is_free) = match header.kind {
        FrameKind::Journal => {
            let table = RecordTable { records: frame.records().collect() };
            let data = header.data_length();
            (seal_records(&mut header, &table, data, &mut out), table.records.is_empty())
        }
        FrameKind::Manifest => {
            let view = frame.manifest().expect("of this kind");
            let table = ManifestTable {
                entries: view.entries.iter().collect(),
                regions: view.regions.iter().collect(),
            };
            let is_free = table.entries.is_empty() || table.regions.is_empty();
            (seal_manifest(&mut header, &table, &mut out), is_free)
        }
        FrameKind::Receipt => {
            let receipt = frame.receipt().expect("of this kind").to_receipt();
            let is_free = receipt.lanes.is_empty() || receipt.differences.is_empty();
            (seal_receipt(&mut header, &receipt, &mut out), is_free)
        }
    };
    assert_eq!(sealed, Ok(out.len()), "what is accepted can be sealed");
    if !is_free {
        assert!(out == bytes[..out.len()], "sealed anew it is the same");
    }
}

/// A record from its 48 bytes, as `docs/formats.md` gives them.
pub fn record(bytes: &[u8; 48]) -> Record {
    let mut input = Input::new(bytes);
    Record {
        time: input.u64(),
        offset: input.u64(),
        length: input.u64(),
        checksum: input.u64(),
        volume: input.u32(),
        data_block: input.u32(),
        kind: input.byte(),
        flags: input.byte(),
        reserved: input.array(),
    }
}
