//! After a start: what the own ring holds beyond the recorded cut is found again, along the chain (I2, the one rule).

use midspan_format::frame::FrameKind;
use midspan_format::geometry::{BLOCK, Position};

use super::Secondary;
use crate::recovery::walk::{Found, Walk};
use crate::stage::acquirer::Acquirer;
use crate::stage::ring_read::{ReadStep, RingRead};
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, DiskResult};
use crate::vocab::tags;

/// Finding again what the own ring holds beyond the recorded cut.
#[derive(Debug)]
pub(super) enum Recovery {
    /// What a drive still had in its cache is made durable before it counts (I2).
    Flushing,
    Reading {
        read: RingRead,
        walk: Walk,
        /// Bytes of a read; fewer when a block in reach cannot be read.
        chunk: usize,
        /// Where a read found no more: it ends there only if the next one says so, too. The lane may not hold it any longer.
        doubted: Option<Position>,
    },
    Done,
}

impl<B: Buffer> Secondary<B> {
    pub(super) fn on_recovery<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        result: DiskResult<B>,
    ) {
        match &mut self.recovery {
            Recovery::Flushing => {
                if result.is_err() {
                    rare!(OwnRingUnflushed);
                    self.disk_failed = true;
                    return;
                }
                let walk = Walk::behind(self.area, FrameKind::Journal, self.cut.persisted().tip);
                let read = RingRead::new(tags::token(tags::OWN_RING, 0));
                let ring = usize::try_from(self.config.own_ring.size).unwrap_or(usize::MAX);
                let chunk = (self.config.limits.fetch_bytes as usize).min(ring);
                self.recovery = Recovery::Reading { read, walk, chunk, doubted: None };
            }
            Recovery::Reading { read, walk, chunk, doubted } => match read.on_disk(context, result) {
                ReadStep::Running => {}
                // What lies before the block that cannot be read is taken; the rest comes from the lane again.
                ReadStep::Failed(_) if *chunk > BLOCK => *chunk = (*chunk / 2).next_multiple_of(BLOCK),
                ReadStep::Failed(_) => {
                    rare!(OwnRingUnreadable);
                    self.fetcher.begin_at(walk.tip());
                    self.recovery = Recovery::Done;
                }
                ReadStep::Done(_, data) => {
                    let before = walk.tip().position;
                    let ended = take_acquired(walk, &data, &mut self.acquirer);
                    let here = walk.tip().position;
                    if (ended || here == before) && doubted.replace(here) == Some(here) {
                        self.fetcher.begin_at(walk.tip());
                        self.recovery = Recovery::Done;
                    }
                }
            },
            Recovery::Done => debug_assert!(false, "recovery has ended"),
        }
    }
}

/// Hands the frames found in the own ring to the acquirer; `true` when the chain ended inside `data`.
fn take_acquired<B: Buffer>(walk: &mut Walk, data: &Slice<B>, acquirer: &mut Acquirer<B>) -> bool {
    let mut done = 0;
    loop {
        match walk.next(data.bytes().get(done..).unwrap_or_default()) {
            Found::Frame(header, range) => {
                acquirer.push_acquired(header, data.part(done..done + range.end));
                done += range.end;
            }
            Found::More(_) => return false,
            Found::Head(_) | Found::End => return true,
        }
    }
}
