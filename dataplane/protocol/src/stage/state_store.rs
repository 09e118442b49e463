//! A site's durable facts about a group (role, epoch, cut, fence set), written as one block to alternating slots.

use midspan_format::geometry::BLOCK_U64;
use midspan_format::superblock::{GroupState, STATE_BYTES};

use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, Disk, DiskOp};
use crate::vocab::tags;

/// The state and what of it is durable.
#[derive(Debug)]
pub struct StateStore {
    state: GroupState,
    offset: u64,
    changes: u64,
    saved: u64,
    saving: Option<u64>,
    failed: bool,
}

impl StateStore {
    /// A store whose two slots begin at `offset` of the journal disk; `state` is what was found there.
    pub fn new(state: GroupState, offset: u64) -> Self {
        debug_assert!(offset.is_multiple_of(BLOCK_U64));
        Self { state, offset, changes: 0, saved: 0, saving: None, failed: false }
    }

    /// The facts, durable or on their way.
    pub fn get(&self) -> &GroupState {
        &self.state
    }

    /// Changes the facts; returns the number to wait for with [`StateStore::is_saved`].
    pub fn change<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        change: impl FnOnce(&mut GroupState),
    ) -> u64 {
        change(&mut self.state);
        self.changes += 1;
        self.poke(context);
        self.changes
    }

    /// The newest change.
    pub fn newest(&self) -> u64 {
        self.changes
    }

    /// Whether a change is durable.
    pub fn is_saved(&self, change: u64) -> bool {
        self.saved >= change
    }

    /// Whether the disk failed a write: nothing later is durable.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Whether no write runs.
    pub fn is_idle(&self) -> bool {
        self.saving.is_none()
    }

    /// Whether a change waits for a buffer.
    pub fn wants_to_write(&self) -> bool {
        self.saving.is_none() && self.saved != self.changes && !self.failed
    }

    /// Writes what changed; again after the pool was empty.
    pub fn poke<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        if !self.wants_to_write() {
            return;
        }
        let Some(mut block) = context.buffers.take(STATE_BYTES) else { return rare!(StateStarved) };
        self.state.sequence += 1;
        let Some(bytes) = block.bytes_mut().and_then(|b| b.first_chunk_mut::<STATE_BYTES>()) else { return };
        self.state.encode(bytes);
        block.set_filled(STATE_BYTES);
        self.saving = Some(self.changes);
        let offset = self.offset + self.state.sequence % 2 * STATE_BYTES as u64;
        let data = Slice::new(block, 0..STATE_BYTES);
        context.disk(
            Disk::Journal,
            tags::token(tags::STATE, 0),
            DiskOp::Write { offset, data, durable: true },
        );
    }

    /// The write ended.
    pub fn on_disk<S: Buffers>(&mut self, context: &mut Context<'_, S>, failed: bool) {
        if let Some(change) = self.saving.take()
            && !failed
        {
            self.saved = change;
        }
        rare!(StateUnsaved if failed);
        self.failed |= failed;
        self.poke(context);
    }
}
