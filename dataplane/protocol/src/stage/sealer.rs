//! Gathers records into frames and seals them at the lane's tip: batching comes from load, not from a timer (design §4).

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;

use midspan_format::checksum::checksum;
use midspan_format::frame::{FrameHeader, FrameKind, IN_TWO_LANES};
use midspan_format::geometry::{BLOCK, BLOCK_U64, Position};
use midspan_format::ids::{AreaId, Epoch, GroupId, LaneId, NodeId, VolumeId};
use midspan_format::mark::Mark;
use midspan_format::record::{MAX_RECORDS, MAY_UNMAP, OF_ROUND, Record, RecordKind};
use midspan_format::seal::{RecordTable, records_head_length, seal_records};
use midspan_format::time::Time;

use crate::stage::frame_pool::FramePool;
use crate::stage::inflight::{OpKind, WriteView};
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::Frame;
use crate::vocab::tip::Tip;

/// Most data bytes of one frame; with the head it stays below the format's largest frame.
pub const FRAME_DATA: u64 = 512 * 1024;

#[derive(Debug)]
struct Waiting<B> {
    op: u32,
    record: Record,
    data: Option<Slice<B>>,
}

/// In place of an entry of the in-flight table: nobody waits for the record to be on the disk.
const NO_OP: u32 = u32::MAX;

/// The lane's identity as it stands in every header.
#[derive(Clone, Copy, Debug)]
pub struct LaneIdentity {
    /// The group.
    pub group: GroupId,
    /// The lane.
    pub lane: LaneId,
    /// The area.
    pub area: AreaId,
    /// The epoch.
    pub epoch: Epoch,
    /// Flags of every journal frame.
    pub flags: u8,
}

/// Watermarks that travel in the header, as known when the frame is sealed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// The primary's disks hold everything before it, flushed.
    pub landed: Position,
    /// Time of the last record up to there.
    pub landed_time: Time,
    /// Durable in the lane before it.
    pub journaled: Position,
    /// Where the frame's data goes, if not to each lane.
    pub data_at: NodeId,
}

/// The open frame of one lane, and memory for sealed ones that is used again and again.
#[derive(Debug)]
pub struct Sealer<B> {
    identity: LaneIdentity,
    waiting: VecDeque<Waiting<B>>,
    /// How many of them hosts wait for.
    of_hosts: usize,
    table: RecordTable,
    last_time: Time,
    frames: FramePool<B>,
}

impl<B: Buffer> Sealer<B> {
    /// A sealer with room for `capacity` waiting records, all later than `last_time`.
    pub fn new(identity: LaneIdentity, capacity: usize, last_time: Time) -> Self {
        Self {
            identity,
            waiting: VecDeque::with_capacity(capacity),
            of_hosts: 0,
            table: RecordTable { records: Vec::with_capacity(MAX_RECORDS) },
            last_time,
            frames: FramePool::new(capacity, MAX_RECORDS + 1),
        }
    }

    /// Whether two lanes must hold what is sealed from now on.
    pub fn mark_doubled(&mut self, doubled: bool) {
        let flags = self.identity.flags & !IN_TWO_LANES;
        self.identity.flags = if doubled { flags | IN_TWO_LANES } else { flags };
    }

    /// Whether what waits is something that a host waits for.
    pub fn holds_hosts_up(&self) -> bool {
        self.of_hosts > 0
    }

    /// Forgets what waits: it goes another way.
    pub fn clear(&mut self) {
        self.of_hosts = 0;
        self.waiting.clear();
    }

    /// Records that wait to be sealed.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether records wait to be sealed.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a write with its time. `op` comes back when its frame is sealed.
    pub fn join(&mut self, op: u32, time: Time, write: WriteView<B>) {
        let (kind, flags) = match write.kind {
            OpKind::Zero { unmap } => (RecordKind::Zero, if unmap { MAY_UNMAP } else { 0 }),
            OpKind::Write | OpKind::Read => (RecordKind::Write, 0),
            OpKind::Copy { .. } => return self.join_copy(time, write),
        };
        let record = Record {
            time: time.0,
            offset: write.offset,
            length: write.length,
            checksum: write.data.as_ref().map_or(0, |d| checksum(d.bytes())),
            volume: write.volume.0,
            data_block: 0,
            kind: kind as u8,
            flags,
            reserved: [0; 6],
        };
        self.of_hosts += 1;
        self.waiting.push_back(Waiting { op, record, data: write.data });
    }

    /// Takes what a round has read; a range of zeroes travels without data.
    fn join_copy(&mut self, time: Time, copy: WriteView<B>) {
        let data = copy.data.filter(|data| !is_zero(data.bytes()));
        let (kind, flags) = match data {
            Some(_) => (RecordKind::RoundData, 0),
            None => (RecordKind::Zero, OF_ROUND),
        };
        let record = Record {
            time: time.0,
            offset: copy.offset,
            length: copy.length,
            checksum: data.as_ref().map_or(0, |d| checksum(d.bytes())),
            volume: copy.volume.0,
            kind: kind as u8,
            flags,
            ..Record::default()
        };
        self.waiting.push_back(Waiting { op: NO_OP, record, data });
    }

    /// Takes a mark with its time, in a block of its own.
    pub fn join_mark(&mut self, block: B, time: Time, mark: &Mark) {
        self.join_mark_of(block, time, mark, (VolumeId(0), 0, 0));
    }

    /// Takes a mark of a range: volume, offset and length.
    pub fn join_mark_of(
        &mut self,
        mut block: B,
        time: Time,
        mark: &Mark,
        (volume, offset, length): (VolumeId, u64, u64),
    ) {
        let bytes = block.bytes_mut().and_then(|b| b.first_chunk_mut::<BLOCK>());
        assert!(bytes.is_some(), "a block for a mark is not whole");
        if let Some(bytes) = bytes {
            mark.encode(bytes);
        }
        block.set_filled(BLOCK);
        let data = Slice::new(block, 0..BLOCK);
        let record = Record {
            time: time.0,
            offset,
            length,
            checksum: checksum(data.bytes()),
            volume: volume.0,
            kind: mark.kind() as u8,
            ..Record::default()
        };
        self.waiting.push_back(Waiting { op: NO_OP, record, data: Some(data) });
    }

    /// Bytes that the next frame would take at the tip: what fits of the waiting records, or an empty frame.
    pub fn next_length(&self) -> u64 {
        let (count, data) = self.fitting();
        records_head_length(count) as u64 + data
    }

    /// Seals the next frame at `tip`, of what waits. The sealed entries are appended to `ops`.
    /// `None` when the pool has no buffer for the head.
    pub fn seal<S: Buffers<Buf = B>>(
        &mut self,
        buffers: &mut S,
        tip: Tip,
        known: Known,
        ops: &mut Vec<u32>,
    ) -> Option<Rc<Frame<B>>> {
        let (count, data_length) = self.fitting();
        self.seal_first(buffers, tip, known, count, data_length, ops)
    }

    /// Seals a frame without records: it carries watermarks. Records that wait keep waiting, so it closes no time that
    /// one of them has.
    pub fn seal_empty<S: Buffers<Buf = B>>(
        &mut self,
        buffers: &mut S,
        tip: Tip,
        known: Known,
    ) -> Option<Rc<Frame<B>>> {
        self.seal_first(buffers, tip, known, 0, 0, &mut Vec::new())
    }

    fn seal_first<S: Buffers<Buf = B>>(
        &mut self,
        buffers: &mut S,
        tip: Tip,
        known: Known,
        count: usize,
        data_length: u64,
        ops: &mut Vec<u32>,
    ) -> Option<Rc<Frame<B>>> {
        let head_length = records_head_length(count);
        let mut head = buffers.take(head_length)?;
        let mut frame = self.frames.take();
        let body = Rc::get_mut(&mut frame)?;
        self.table.records.clear();
        let mut block = 0;
        for _ in 0..count {
            let Some(mut waiting) = self.waiting.pop_front() else { break };
            if let Some(slice) = waiting.data {
                waiting.record.data_block = block;
                block += u32::try_from(slice.len() as u64 / BLOCK_U64).unwrap_or(0);
                body.parts.push(slice);
            }
            self.table.records.push(waiting.record);
            if waiting.op != NO_OP {
                self.of_hosts = self.of_hosts.saturating_sub(1);
                ops.push(waiting.op);
            }
        }
        let first = self.table.records.first().map_or(self.last_time, |r| Time(r.time));
        let last = self.table.records.last().map_or(self.last_time, |r| Time(r.time));
        self.last_time = self.last_time.max(last);
        let mut header = self.header(tip, first, last, known);
        let out = head.bytes_mut()?.get_mut(..head_length)?;
        let data_length = u32::try_from(data_length).unwrap_or(0);
        let sealed = seal_records(&mut header, &self.table, data_length, out);
        assert!(sealed.is_ok(), "a frame that no reader would take: {sealed:?}");
        head.set_filled(head_length);
        body.header = header;
        body.parts.insert(0, Slice::new(head, 0..head_length));
        Some(frame)
    }

    /// Gives a sealed frame back whose bytes nobody needs any more.
    pub fn recycle(&mut self, frame: Rc<Frame<B>>) {
        self.frames.give(frame);
    }

    /// So, where others may hold it, too: whoever holds it last gives it. In the pool it would keep its memory.
    pub fn recycle_last(&mut self, frame: Rc<Frame<B>>) {
        if Rc::strong_count(&frame) == 1 {
            self.frames.give(frame);
        }
    }

    fn header(&self, tip: Tip, first: Time, last: Time, known: Known) -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Journal,
            flags: self.identity.flags,
            group: self.identity.group,
            lane: self.identity.lane,
            origin_lane: self.identity.lane,
            area: self.identity.area,
            epoch: self.identity.epoch,
            sequence: tip.sequence,
            position: tip.position,
            chain: tip.chain,
            first_time: first,
            last_time: last,
            closed_time: last,
            landed: known.landed,
            landed_time: known.landed_time,
            journaled: known.journaled,
            data_at: known.data_at,
            ..FrameHeader::default()
        }
    }

    /// How many of the waiting records fit one frame, and their data bytes.
    fn fitting(&self) -> (usize, u64) {
        let mut data = 0;
        let mut count = 0;
        for waiting in self.waiting.iter().take(MAX_RECORDS) {
            let more = waiting.data.as_ref().map_or(0, |d| d.len() as u64);
            if data + more > FRAME_DATA {
                break;
            }
            data += more;
            count += 1;
        }
        (count, data)
    }
}

/// Whether all bytes are zero: by words of 16 bytes, as a block is long.
fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}
