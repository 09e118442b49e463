//! What was written once is read for ever: the files in `golden/` are today's bytes, and mean what they meant.
//!
//! `cargo xtask golden` (or `MIDSPAN_GOLDEN=write cargo test -p midspan-format golden`) writes them anew. A changed byte in
//! a file that was released is a new version, not a new golden file.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]
#![allow(missing_docs, reason = "test code")]

mod samples;

use std::path::PathBuf;

use midspan_format::area::AreaSuperblock;
use midspan_format::checked::CheckedFrame;
use midspan_format::control::{Command, Event, EventKind, LossReason, Lost, Report, TakeoverReport};
use midspan_format::dirty_map::DirtyMap;
use midspan_format::frame::{FrameHeader, FrameKind, HEADER_BYTES};
use midspan_format::geometry::{BLOCK, Position};
use midspan_format::heartbeat::Heartbeat;
use midspan_format::message::{Message, RefusedReason, bulk_unit_length};
use midspan_format::superblock::{GroupPermit, GroupState, NodeSuperblock};

/// Whether bytes are read, or are read as what the specimen says.
type Reads = Box<dyn Fn(&[u8]) -> bool>;

/// A golden file: its name, its bytes as written today, and how they are read.
struct Golden {
    name: String,
    bytes: Vec<u8>,
    reads: Reads,
}

fn golden(name: &str, bytes: Vec<u8>, reads: impl Fn(&[u8]) -> bool + 'static) -> Golden {
    Golden { name: name.to_owned(), bytes, reads: Box::new(reads) }
}

fn frames() -> Vec<Golden> {
    let same_marks = |bytes: &[u8]| {
        CheckedFrame::parse(bytes).is_ok_and(|frame| {
            let found: Vec<_> = frame.records().filter_map(|record| frame.mark(&record)).collect();
            samples::marks().iter().all(|mark| found.contains(mark))
        })
    };
    vec![
        golden("frame-journal", samples::journal_frame(), |b| {
            CheckedFrame::parse(b).is_ok_and(|frame| {
                let wanted = samples::journal();
                let data: Vec<u8> = frame.records().flat_map(|record| frame.data(&record)).copied().collect();
                let records = frame.records().eq(wanted.table.records.iter().copied());
                records && data == wanted.data && samples::is_sealed_as(frame.header(), FrameKind::Journal)
            })
        }),
        golden("frame-empty", samples::empty_frame(), |b| {
            CheckedFrame::parse(b).is_ok_and(|frame| {
                frame.records().len() == 0 && samples::is_sealed_as(frame.header(), FrameKind::Journal)
            })
        }),
        golden("frame-marks", samples::marks_frame(), same_marks),
        golden("frame-manifest", samples::manifest_frame(), |b| {
            CheckedFrame::parse(b).is_ok_and(|frame| {
                let manifest = frame.manifest().unwrap();
                let wanted = samples::manifest();
                let is_same = manifest.entries.iter().eq(wanted.entries);
                is_same
                    && manifest.regions.iter().eq(wanted.regions)
                    && samples::is_sealed_as(frame.header(), FrameKind::Manifest)
            })
        }),
        golden("frame-receipt", samples::receipt_frame(), |b| {
            CheckedFrame::parse(b).is_ok_and(|frame| {
                frame.receipt().unwrap().to_receipt() == samples::receipt()
                    && samples::is_sealed_as(frame.header(), FrameKind::Receipt)
            })
        }),
    ]
}

fn blocks() -> Vec<Golden> {
    let mut goldens = vec![
        golden("area", samples::area_block(), |b| AreaSuperblock::decode(b) == Ok(samples::area())),
        golden("node", samples::node_block(), |b| NodeSuperblock::decode(b) == Ok(samples::node())),
        golden("permit", samples::permit_block(), |b| GroupPermit::decode(b) == Ok(samples::permit())),
        golden("state", samples::state_block(), |b| GroupState::decode(b) == Ok(samples::state())),
    ];
    for index in 0..3 {
        goldens.push(golden(&format!("dirty-{index}"), samples::dirty_block(index), move |bytes| {
            let mut map = DirtyMap::new(samples::DIRTY_VOLUMES);
            let mut again = [0; BLOCK];
            let loaded = map.load_block(index, bytes).is_ok();
            map.encode_block(index, &mut again);
            loaded && again == *bytes
        }));
    }
    goldens
}

fn messages() -> Vec<Golden> {
    let mut goldens = Vec::new();
    for (name, message) in samples::messages::all() {
        let mut bytes = vec![0; BLOCK];
        let length = message.encode(&mut bytes).unwrap();
        bytes.truncate(length);
        let wanted = message.clone();
        goldens.push(golden(&format!("message-{name}"), bytes, move |b| {
            Message::decode(b) == Ok(Some((wanted.clone(), length)))
        }));
    }
    let (_, reply) = samples::messages::all().into_iter().find(|(name, _)| *name == "read-reply").unwrap();
    let mut block = [0; BLOCK];
    reply.encode_block(&mut block);
    goldens.push(golden("block-read-reply", block.to_vec(), move |b| {
        Message::decode_block(b) == Ok(reply.clone()) && bulk_unit_length(b) == Ok(Some(BLOCK + 8192))
    }));
    goldens
}

fn planes() -> Vec<Golden> {
    let mut goldens = Vec::new();
    for (name, command) in samples::messages::commands() {
        let bytes = command.encode().unwrap();
        goldens.push(golden(&format!("command-{name}"), bytes, move |b| Command::decode(b) == Ok(command)));
    }
    for (name, report) in samples::messages::reports() {
        let bytes = report.encode().unwrap();
        goldens.push(golden(&format!("report-{name}"), bytes, move |b| {
            Report::decode(b).as_ref() == Ok(&report)
        }));
    }
    goldens
}

fn heartbeats() -> Vec<Golden> {
    let read = |b: &[u8]| Heartbeat::decode(b) == Ok(samples::heartbeats::heartbeat());
    vec![golden("heartbeat", samples::heartbeats::heartbeat().encode().to_vec(), read)]
}

fn all() -> Vec<Golden> {
    [frames(), blocks(), messages(), heartbeats(), planes()].into_iter().flatten().collect()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

#[test]
fn todays_bytes_are_those_of_the_golden_files() {
    let write = std::env::var_os("MIDSPAN_GOLDEN").is_some_and(|value| value == "write");
    for Golden { name, bytes, .. } in all() {
        let path = folder().join(format!("{name}.bin"));
        if write {
            std::fs::write(&path, &bytes).unwrap();
        }
        let kept = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let at = kept.iter().zip(&bytes).position(|(kept, now)| kept != now);
        assert!(kept == bytes, "{name}: byte {at:?} of {} is not what it was", kept.len());
    }
}

#[test]
fn golden_files_are_read_as_what_they_meant() {
    for Golden { name, reads, .. } in all() {
        let kept = std::fs::read(folder().join(format!("{name}.bin"))).unwrap();
        assert!(reads(&kept), "{name}");
    }
}

#[test]
fn every_golden_file_belongs_to_a_specimen() {
    let names: Vec<_> = all().into_iter().map(|golden| format!("{}.bin", golden.name)).collect();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(names.contains(&name), "{name} is written by no specimen");
    }
}

/// Each golden file with a reader that says only whether it accepts the bytes: stricter tests than "reads something else".
fn accepting() -> Vec<Golden> {
    let frame = |_: &str| -> Reads { Box::new(|b| CheckedFrame::parse(b).is_ok()) };
    let block = |name: &str| -> Reads {
        match name {
            "area" => Box::new(|b| AreaSuperblock::decode(b).is_ok()),
            "node" => Box::new(|b| NodeSuperblock::decode(b).is_ok()),
            "permit" => Box::new(|b| GroupPermit::decode(b).is_ok()),
            "state" => Box::new(|b| GroupState::decode(b).is_ok()),
            dirty => {
                let index = dirty.strip_prefix("dirty-").unwrap().parse().unwrap();
                Box::new(move |b| DirtyMap::new(samples::DIRTY_VOLUMES).load_block(index, b).is_ok())
            }
        }
    };
    let message = |name: &str| -> Reads {
        if name.starts_with("block-") {
            Box::new(|b| Message::decode_block(b).is_ok())
        } else {
            // A part of a message is no mistake yet, and no message.
            Box::new(|b| Message::decode(b).is_ok_and(|found| found.is_some()))
        }
    };
    let control =
        |_: &str| -> Reads { Box::new(|b| Command::decode(b).is_ok() || Report::decode(b).is_ok()) };
    let with = |goldens: Vec<Golden>, reads: &dyn Fn(&str) -> Reads| -> Vec<Golden> {
        goldens.into_iter().map(|golden| Golden { reads: reads(&golden.name), ..golden }).collect()
    };
    let heartbeat = |_: &str| -> Reads { Box::new(|b| Heartbeat::decode(b).is_ok()) };
    [
        with(frames(), &frame),
        with(blocks(), &block),
        with(messages(), &message),
        with(heartbeats(), &heartbeat),
        with(planes(), &control),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_single_bit_flip_is_refused() {
    for Golden { name, mut bytes, reads } in accepting() {
        assert!(reads(&bytes), "{name}");
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!reads(&bytes), "{name}: bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(reads(&bytes), "{name}");
    }
}

#[test]
fn truncation_at_every_length_is_refused() {
    for Golden { name, bytes, reads } in accepting() {
        for length in 0..bytes.len() {
            assert!(!reads(&bytes[..length]), "{name}: {length} bytes");
        }
    }
}

#[test]
fn a_head_without_its_data_is_read_and_without_its_end_is_not() {
    for Golden { name, bytes, .. } in frames() {
        let head = FrameHeader::decode(&bytes).unwrap().head_length as usize;
        for length in 0..bytes.len() {
            let is_read = CheckedFrame::parse_head(&bytes[..length]).is_ok();
            assert_eq!(is_read, length >= head, "{name}: {length} bytes");
        }
    }
}

/// Sectors of 512 bytes of which the last ones were not written: old content, or nothing, stands there.
#[test]
fn a_torn_frame_or_block_is_refused() {
    for Golden { name, bytes, reads } in accepting().into_iter().filter(|golden| golden.bytes.len() >= BLOCK)
    {
        for old in [0x00, 0xFF, 0x5A] {
            for at in (512..bytes.len()).step_by(512) {
                let mut torn = bytes.clone();
                torn[at..].fill(old);
                assert!(torn == bytes || !reads(&torn), "{name}: {old:#x} from {at}");
            }
        }
    }
}

#[test]
fn bytes_behind_the_end_do_not_belong_to_it() {
    for Golden { name, mut bytes, reads } in accepting() {
        let is_stream = name.starts_with("message-") || bytes.len() == BLOCK && !name.starts_with("frame-");
        bytes.push(0);
        // The next message follows at once, and what follows a block is another block; all else is exactly its bytes.
        assert_eq!(reads(&bytes), is_stream, "{name}");
    }
}

#[test]
fn a_bulk_unit_is_known_after_256_bytes_and_not_before() {
    let units = frames().into_iter().chain(messages().into_iter().filter(|g| g.name.starts_with("block-")));
    for Golden { name, bytes, .. } in units {
        let data = if name == "block-read-reply" { 8192 } else { 0 };
        for length in 0..bytes.len() {
            let wanted = (length >= HEADER_BYTES).then_some(bytes.len() + data);
            assert_eq!(bulk_unit_length(&bytes[..length]), Ok(wanted), "{name}: {length} bytes");
        }
    }
}

/// The byte at which these messages differ, besides the checksum, and its values.
fn numbers(messages: &[Vec<u8>]) -> (usize, Vec<u8>) {
    let first = &messages[0];
    let differs = |at: &usize| messages.iter().any(|message| message[*at] != first[*at]);
    let places: Vec<usize> = (24..first.len()).filter(differs).collect();
    assert_eq!(places.len(), 1, "they differ in one number");
    (places[0], messages.iter().map(|message| message[places[0]]).collect())
}

/// A variant's number in an archive is its place in the declaration: new ones go to the end.
#[test]
fn numbers_between_the_planes_are_for_ever() {
    let event = |kind| Report::Event(Event { kind, ..samples::messages::event() }).encode().unwrap();
    let plain = [
        EventKind::Serving,
        EventKind::Fenced,
        EventKind::LaneUp,
        EventKind::LaneDown,
        EventKind::LaneLost,
        EventKind::Damaged,
        EventKind::DiskFailed,
        EventKind::RoundBegan,
        EventKind::RoundEnded,
    ];
    let (place, found) = numbers(&plain.map(event));
    // 7 is Refused, which has a second number: as the golden file says.
    assert_eq!(found, [0, 1, 2, 3, 4, 5, 6, 8, 9]);
    assert_eq!(event(EventKind::Refused { reason: RefusedReason::Version })[place], 7);

    let takeover = |reason| {
        let verdict = Lost::Unknown { reason };
        Report::Takeover(TakeoverReport { verdict, ..samples::messages::takeover() }).encode().unwrap()
    };
    let plain = [
        LossReason::LaneUnreachable,
        LossReason::LeftTheLanes,
        LossReason::NoCut,
        LossReason::DiskFailed,
        LossReason::MayBeAlone,
        LossReason::LocalLane,
    ];
    let (place, found) = numbers(&plain.map(takeover));
    assert_eq!(found, [0, 2, 3, 4, 5, 6]);
    assert_eq!(takeover(LossReason::JournalDamaged { position: Position(0) })[place], 1);

    let reasons: Vec<u8> = (1..=14).collect();
    let refused =
        |number: &u8| event(EventKind::Refused { reason: RefusedReason::from_u8(*number).unwrap() });
    let (_, found) = numbers(&reasons.iter().map(refused).collect::<Vec<_>>());
    assert_eq!(found, reasons);
    assert_eq!(RefusedReason::from_u8(15), None);
}
