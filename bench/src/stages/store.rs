//! The stages of those who store: the relay's decision to append, the secondary's applying; disks complete at once.

use anyhow::{Context, Result, anyhow, ensure};
use midspan_format::area::AreaKind;
use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::superblock::{AreaEntry, AreaHint};
use midspan_format::time::Time;
use midspan_node::buffers::PoolBuf;
use midspan_protocol::stage::applier::Applier;
use midspan_protocol::stage::area::Area;
use midspan_protocol::vocab::buffer::{Buffer, Buffers, Slice};
use midspan_protocol::vocab::tip::Tip;

use super::journal::{self, AREA, GROUP, LANE, VOLUME};
use super::{Bench, Shape, Stage, checksum_name};

/// Size of the ring and of the volume; nothing is stored.
const DISK_BYTES: u64 = 1 << 30;
/// Frames and records that the applier may hold, as a node's does.
const APPLY_FRAMES: usize = 1024;
const APPLY_RECORDS: usize = 4096;

/// Frames of a chain, each in a buffer of its own, as a socket delivers them.
struct Chain {
    bench: Bench,
    frames: Vec<(FrameHeader, Slice<PoolBuf>)>,
}

impl Chain {
    fn new(shape: Shape) -> Result<Self> {
        let (bytes, headers) = journal::chain(shape)?;
        let longest = headers.iter().map(|header| header.length as usize).max().unwrap_or(0);
        let mut bench = Bench::new(longest, headers.len() + 1)?;
        let mut frames = Vec::new();
        let mut rest = bytes.as_slice();
        for header in headers {
            let (frame, behind) =
                rest.split_at_checked(header.length as usize).context("a chain is whole")?;
            let mut buf = bench.buffers.take(frame.len()).context("the pool was made too small")?;
            let room = buf.bytes_mut().and_then(|bytes| bytes.get_mut(..frame.len()));
            room.context("a new buffer has one owner")?.copy_from_slice(frame);
            buf.set_filled(frame.len());
            frames.push((header, Slice::new(buf, 0..frame.len())));
            rest = behind;
        }
        Ok(Self { bench, frames })
    }
}

/// The stages for frames of this shape.
pub fn stages(shape: Shape) -> Result<Vec<Stage>> {
    Ok(vec![append(shape)?, apply(shape)?])
}

/// A frame arrives at the relay, is verified, written, and moves the prefix.
fn append(shape: Shape) -> Result<Stage> {
    let mut chain = Chain::new(shape)?;
    let entry = AreaEntry {
        area: AREA,
        kind: AreaKind::Ring,
        lane: LANE,
        start: 1 << 20,
        size: DISK_BYTES,
        hint: AreaHint::default(),
        ..AreaEntry::default()
    };
    let mut area = Area::new(entry, GROUP, midspan_format::ids::NodeId(2), 1, 0);
    let step = move || {
        area.open_at(Position(0), None);
        area.begin_session();
        for (header, frame) in &chain.frames {
            let taken = area.on_frame(&mut chain.bench.handling(), frame.clone(), journal::epoch());
            taken.map_err(|reason| anyhow!("a frame was refused: {reason:?}"))?;
            chain.bench.completed();
            for at in 0..chain.bench.tokens.len() {
                if let Some(&token) = chain.bench.tokens.get(at) {
                    area.on_appended(&mut chain.bench.handling(), token, false);
                }
            }
            ensure!(area.journaled() == header.end(), "the prefix has not moved");
        }
        Ok(())
    };
    Ok(Stage {
        name: format!("append_{}", shape.name()),
        operation: "a frame verified and appended at the relay",
        bytes: shape.data_bytes(),
        floor: Some((checksum_name(shape.record_bytes), shape.records)),
        per_step: journal::CHAIN as u64,
        step: Box::new(step),
    })
}

/// A frame, acquired and verified before, goes to the secondary's disk.
fn apply(shape: Shape) -> Result<Stage> {
    let mut chain = Chain::new(shape)?;
    let volumes = vec![(VOLUME, DISK_BYTES)];
    let mut applier = Applier::new(volumes, APPLY_FRAMES, APPLY_RECORDS, 1, Tip::default(), Time(0));
    let step = move || {
        for (header, frame) in &chain.frames {
            let taken = applier.push(&mut chain.bench.handling(), header, frame, false);
            taken.map_err(|error| anyhow!("a frame cannot be applied: {error:?}"))?;
            chain.bench.completed();
            for at in 0..chain.bench.tokens.len() {
                if let Some(&token) = chain.bench.tokens.get(at) {
                    applier.on_disk(&mut chain.bench.handling(), token, Ok(None));
                }
            }
            ensure!(applier.applied() == Tip::after(header), "the frame is not applied");
        }
        Ok(())
    };
    Ok(Stage {
        name: format!("apply_{}", shape.name()),
        operation: "a frame applied at the secondary",
        // The data goes by in its buffer: no byte of it is touched.
        bytes: 0,
        floor: None,
        per_step: journal::CHAIN as u64,
        step: Box::new(step),
    })
}
