//! The journal's stages: sealing records into a frame, verifying it, walking along a chain.

use anyhow::{Context, Result, bail, ensure};
use midspan_format::checked::CheckedFrame;
use midspan_format::frame::{FrameHeader, FrameKind};
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, Epoch, GroupId, LaneId, NodeId, VolumeId};
use midspan_format::time::Time;
use midspan_node::buffers::PoolBuf;
use midspan_protocol::recovery::walk::{Found, Walk};
use midspan_protocol::stage::inflight::{OpKind, WriteView};
use midspan_protocol::stage::sealer::{Known, LaneIdentity, Sealer};
use midspan_protocol::vocab::buffer::Slice;
use midspan_protocol::vocab::tip::Tip;

use super::{Bench, Shape, Stage, checksum_name};

/// The area that all frames here are sealed for.
pub const AREA: AreaId = AreaId([7; 16]);
/// Their group.
pub const GROUP: GroupId = GroupId(1);
/// Their lane.
pub const LANE: LaneId = LaneId(0);
/// The volume that all records here are of.
pub const VOLUME: VolumeId = VolumeId(1);
/// Frames of a chain.
pub const CHAIN: usize = 16;

/// The epoch that all frames here are sealed in.
pub fn epoch() -> Epoch {
    Epoch { number: 1, node: NodeId(1) }
}

/// Seals frames of one shape, one behind the other.
struct Seals {
    bench: Bench,
    shape: Shape,
    sealer: Sealer<PoolBuf>,
    data: Vec<Slice<PoolBuf>>,
    tip: Tip,
    time: u64,
    ops: Vec<u32>,
}

impl Seals {
    fn new(shape: Shape) -> Result<Self> {
        let mut bench = Bench::new(shape.record_bytes, shape.records + 2)?;
        let data = (0..shape.records).map(|number| bench.filled(shape.record_bytes, number as u64));
        let data = data.collect::<Result<_>>()?;
        let identity = LaneIdentity { group: GROUP, lane: LANE, area: AREA, epoch: epoch(), flags: 0 };
        Ok(Self {
            bench,
            shape,
            sealer: Sealer::new(identity, shape.records, Time(1)),
            data,
            tip: Tip::behind(Position(0), None),
            time: 1,
            ops: Vec::with_capacity(shape.records),
        })
    }

    /// Seals the next frame and lets `take` have it.
    fn seal(&mut self, take: &mut dyn FnMut(&FrameHeader, &[Slice<PoolBuf>])) -> Result<()> {
        for (number, data) in self.data.iter().enumerate() {
            self.time += 1;
            let length = data.len() as u64;
            let write = WriteView {
                volume: VOLUME,
                offset: number as u64 * length,
                length,
                kind: OpKind::Write,
                data: Some(data.clone()),
            };
            self.sealer.join(u32::try_from(number)?, Time(self.time), write);
        }
        self.ops.clear();
        let frame = self.sealer.seal(&mut self.bench.buffers, self.tip, Known::default(), &mut self.ops);
        let frame = frame.context("no buffer for the head")?;
        ensure!(self.ops.len() == self.shape.records, "not all records went into one frame");
        self.tip = Tip::after(&frame.header);
        take(&frame.header, &frame.parts);
        self.sealer.recycle(frame);
        Ok(())
    }
}

/// A chain of frames as it lies in a ring, and the headers.
pub fn chain(shape: Shape) -> Result<(Vec<u8>, Vec<FrameHeader>)> {
    let mut seals = Seals::new(shape)?;
    let (mut bytes, mut headers) = (Vec::new(), Vec::new());
    for _ in 0..CHAIN {
        seals.seal(&mut |header, parts| {
            headers.push(*header);
            parts.iter().for_each(|part| bytes.extend_from_slice(part.bytes()));
        })?;
    }
    Ok((bytes, headers))
}

/// The stages for frames of this shape.
pub fn stages(shape: Shape) -> Result<Vec<Stage>> {
    let floor = Some((checksum_name(shape.record_bytes), shape.records));
    let stage = |name: &str, operation, per_step, step| Stage {
        name: format!("{name}_{}", shape.name()),
        operation,
        bytes: shape.data_bytes(),
        floor: floor.clone(),
        per_step,
        step,
    };
    let mut seals = Seals::new(shape)?;
    let (bytes, headers) = chain(shape)?;
    let first = headers.first().context("a chain has frames")?.length as usize;
    let frame = bytes.get(..first).context("a chain holds its first frame")?.to_vec();
    Ok(vec![
        stage("seal", "records sealed into a frame", 1, Box::new(move || seals.seal(&mut |_, _| {}))),
        stage(
            "verify",
            "a frame verified",
            1,
            Box::new(move || {
                let checked = CheckedFrame::parse(&frame)?;
                ensure!(checked.header().sequence == 1, "another frame than was sealed");
                Ok(())
            }),
        ),
        stage("walk", "a frame found along the chain", CHAIN as u64, Box::new(move || walk(&bytes))),
    ])
}

/// Finds all frames of a chain.
fn walk(bytes: &[u8]) -> Result<()> {
    let mut walk = Walk::behind(AREA, FrameKind::Journal, Tip::behind(Position(0), None));
    let mut at = 0;
    for _ in 0..CHAIN {
        match walk.next(bytes.get(at..).unwrap_or_default()) {
            Found::Frame(_, range) => at += range.end,
            Found::Head(_) | Found::More(_) | Found::End => bail!("the chain ends at {at}"),
        }
    }
    Ok(())
}
