//! The dirty map on its way to the disk: outside the lanes a bit is durable before the write that sets it (I6).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use midspan_format::dirty_map::DirtyMap;
use midspan_format::geometry::{BLOCK, BLOCK_U64};
use midspan_format::ids::VolumeId;

use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, Disk, DiskOp, Token};
use crate::vocab::tags;

#[derive(Clone, Copy, Debug, Default)]
struct BlockState {
    /// Changes so far, and how many of them are durable.
    changes: u64,
    durable: u64,
    /// Changes that the running write carries.
    writing: Option<u64>,
    /// Changes that the present barrier wants durable.
    barrier: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    op: u32,
    /// Map blocks and how many changes of each must be durable.
    needs: [(usize, u64); 2],
}

/// What marking a range came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// All bits are durable.
    Durable,
    /// The write waits for a block of the map.
    Waits,
    /// The map's disk failed: the write must not happen.
    Never,
}

/// The map, its place on the journal disk, and who waits for it.
#[derive(Debug)]
pub struct Tracker {
    map: DirtyMap,
    offset: u64,
    blocks: Box<[BlockState]>,
    waiters: VecDeque<Waiter>,
    failed: bool,
}

impl Tracker {
    /// A tracker of a map that lies at `offset` of the journal disk, for at most `capacity` waiting writes.
    pub fn new(map: DirtyMap, offset: u64, capacity: usize) -> Self {
        let blocks = alloc::vec![BlockState::default(); map.blocks()].into_boxed_slice();
        Self { map, offset, blocks, waiters: VecDeque::with_capacity(capacity), failed: false }
    }

    /// The map.
    pub fn map(&self) -> &DirtyMap {
        &self.map
    }

    /// Whether its disk failed: nothing can be marked any more.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Whether everything marked is durable.
    pub fn is_durable(&self) -> bool {
        self.blocks.iter().all(|b| b.durable == b.changes)
    }

    /// Marks a range for a waiting write; unless all its bits are durable already, `op` comes out of
    /// [`Tracker::on_disk`].
    pub fn mark<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        op: u32,
        volume: VolumeId,
        offset: u64,
        length: u64,
    ) -> Marked {
        let needs = self.set(volume, offset, length);
        if self.is_met(&needs) {
            return Marked::Durable;
        }
        self.waiters.push_back(Waiter { op, needs });
        self.poke(context);
        Marked::Waits
    }

    /// Marks a range that nobody waits for.
    pub fn mark_silently(&mut self, volume: VolumeId, offset: u64, length: u64) {
        self.set(volume, offset, length);
    }

    /// Begins to make everything marked so far durable: see [`Tracker::is_barrier_met`].
    pub fn begin_barrier<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        for state in &mut self.blocks {
            state.barrier = state.changes;
        }
        self.poke(context);
    }

    /// Whether everything that was marked before the last barrier is durable.
    pub fn is_barrier_met(&self) -> bool {
        self.blocks.iter().all(|b| b.durable >= b.barrier)
    }

    /// Marks what is marked in another map over the same volumes; nobody waits for it.
    pub fn merge(&mut self, other: &DirtyMap) {
        self.map.merge(other);
        for state in &mut self.blocks {
            state.changes += 1;
        }
    }

    /// Removes all marks: nothing differs any more.
    pub fn clear_all(&mut self) {
        self.map.clear_all();
        for state in &mut self.blocks {
            state.changes += 1;
        }
    }

    /// Marks everything: it cannot be said what differs.
    pub fn mark_all(&mut self) {
        self.map.mark_all(None);
        for state in &mut self.blocks {
            state.changes += 1;
        }
    }

    /// Starts the block writes that are due; again after the pool was empty.
    pub fn poke<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        for (index, state) in self.blocks.iter_mut().enumerate() {
            if state.writing.is_some() || state.durable == state.changes || self.failed {
                continue;
            }
            let Some(mut block) = context.buffers.take(BLOCK) else { return rare!(MarksStarved) };
            let Some(bytes) = block.bytes_mut().and_then(|b| b.first_chunk_mut::<BLOCK>()) else { return };
            self.map.encode_block(index, bytes);
            block.set_filled(BLOCK);
            state.writing = Some(state.changes);
            let offset = self.offset + index as u64 * BLOCK_U64;
            let data = Slice::new(block, 0..BLOCK);
            let token = tags::token(tags::TRACKER, index as u64);
            context.disk(Disk::Journal, token, DiskOp::Write { offset, data, durable: true });
        }
    }

    /// A map block was written; writes whose bits are durable now (after a failure: all that wait) are
    /// appended to `ready`.
    pub fn on_disk<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        token: Token,
        failed: bool,
        ready: &mut Vec<u32>,
    ) {
        let index = usize::try_from(token.0 & 0xFFFF_FFFF).unwrap_or(usize::MAX);
        if let Some(state) = self.blocks.get_mut(index)
            && let Some(written) = state.writing.take()
            && !failed
        {
            state.durable = state.durable.max(written);
        }
        rare!(MarksUnsaved if failed);
        self.failed |= failed;
        for _ in 0..self.waiters.len() {
            let Some(waiter) = self.waiters.pop_front() else { break };
            if failed || self.is_met(&waiter.needs) {
                ready.push(waiter.op);
            } else {
                self.waiters.push_back(waiter);
            }
        }
        self.poke(context);
    }

    fn set(&mut self, volume: VolumeId, offset: u64, length: u64) -> [(usize, u64); 2] {
        let touched = self.map.mark(volume, offset, length);
        for index in touched.changed.iter().flatten() {
            if let Some(state) = self.blocks.get_mut(*index) {
                state.changes += 1;
            }
        }
        touched.blocks.map(|index| (index, self.blocks.get(index).map_or(0, |b| b.changes)))
    }

    fn is_met(&self, needs: &[(usize, u64); 2]) -> bool {
        needs.iter().all(|(index, changes)| self.blocks.get(*index).is_none_or(|b| b.durable >= *changes))
    }
}
