//! What passes through the table beside host requests: pieces of a round or a verify; and what leaves it unanswered for another role.

use alloc::vec::Vec;

use midspan_format::geometry::BLOCK_U64;
use midspan_format::ids::VolumeId;

use super::{Inflight, Op, OpKind, Phase, SIDE_COPY, SIDE_SHIFT, Steps};
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Disk, DiskOp, HostOp, HostRequest, RequestId, Token};
use crate::vocab::interval::{Access, Blocks};

impl<B: Buffer> Inflight<B> {
    /// Takes a range in that a round is to send, or a verify the `digest` of, as large as `into` at most; `None` when the table is full. It waits for what
    /// is before it in its range, is read, and is reported in [`Steps::join`]; what comes after it waits until it has left, so
    /// it never carries older content than a write with an earlier time (design §7).
    pub fn enter_copy<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        volume: VolumeId,
        (offset, length): (u64, u64),
        digest: bool,
        into: B,
        steps: &mut Steps,
    ) -> Option<u32> {
        if !self.has_room() {
            return None;
        }
        let blocks =
            Blocks { volume: volume.0, first: offset / BLOCK_U64, count: length.div_ceil(BLOCK_U64) };
        self.earlier.clear();
        let id = self.ranges.enter(blocks, Access::Write, &mut self.earlier)?;
        let op = Op {
            request: None,
            volume,
            offset,
            length,
            kind: OpKind::Copy { digest },
            fua: false,
            phase: Phase::Clear,
            behind_untimed: self.earlier_is_untimed(),
            data: Some(into),
        };
        if let Some(slot) = self.ops.get_mut(id as usize) {
            *slot = Some(op);
        }
        if self.ranges.blockers(id) == 0 {
            self.on_clear(context, id, steps);
        }
        Some(id)
    }

    pub(super) fn start_copy<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, id: u32) {
        let token = Token(self.tag | SIDE_COPY << SIDE_SHIFT | u64::from(id));
        let Some(op) = self.ops.get_mut(id as usize).and_then(Option::as_mut) else { return };
        op.phase = Phase::Fill { reads_left: 1, failed: false };
        let (offset, length) = (op.start(), usize::try_from(op.span()).unwrap_or(0));
        if let Some(into) = op.data.take() {
            context.disk(Disk::Volume(op.volume), token, DiskOp::Read { offset, length, at: 0, into });
        }
    }

    /// Disk operations that run, or whose result waits for its role.
    pub fn running(&self) -> usize {
        let runs = |op: &&Op<B>| matches!(op.phase, Phase::OnDisk | Phase::Fill { .. });
        self.ops.iter().flatten().filter(runs).count()
    }

    /// Drops every entry whose disk operation does not run, reporting each request that was not answered (a role that
    /// ends, a fenced primary).
    pub fn abandon(&mut self, mut report: impl FnMut(RequestId)) {
        self.starved.clear();
        for id in 0..self.ops.len() {
            let Some(slot) = self.ops.get_mut(id) else { break };
            let running =
                slot.as_ref().is_none_or(|op| matches!(op.phase, Phase::OnDisk | Phase::Fill { .. }));
            if running {
                continue;
            }
            if let Some(request) = slot.take().and_then(|op| op.request) {
                report(request);
            }
            self.released.clear();
            self.ranges.leave(u32::try_from(id).unwrap_or(u32::MAX), &mut self.released);
        }
    }

    /// A read that was not answered after all.
    pub fn put_back(&mut self, id: u32, data: B) {
        if let Some(op) = self.ops.get_mut(id as usize).and_then(Option::as_mut) {
            op.data = Some(data);
            op.phase = Phase::Free;
        }
    }

    /// A read that waits, as the host asked it; its entry is still to leave.
    pub fn take_read(&mut self, id: u32) -> Option<HostRequest<B>> {
        let op = self.ops.get_mut(id as usize).and_then(Option::as_mut)?;
        let (request, into) = (op.request.take()?, op.data.take()?);
        let length = usize::try_from(op.length).unwrap_or(0);
        let read = HostOp::Read { offset: op.offset, length, into };
        Some(HostRequest { id: request, volume: op.volume, op: read })
    }

    /// Takes every request that was not answered, as the host asked it, for whoever plays the next role: in the order in which
    /// they came, or the earlier of two writes of one range would win. Only while nothing runs; the table is empty afterwards.
    pub fn take_requests(&mut self) -> Vec<HostRequest<B>> {
        self.starved.clear();
        let mut requests = Vec::new();
        let end = u32::try_from(self.ops.len()).unwrap_or(u32::MAX);
        let mut order: Vec<u32> = (0..end).filter(|id| self.op(*id).is_some()).collect();
        order.sort_unstable_by_key(|id| self.ranges.arrival(*id));
        for id in order {
            let Some(op) = self.ops.get_mut(id as usize).and_then(Option::take) else { continue };
            self.released.clear();
            self.ranges.leave(id, &mut self.released);
            let Op { request: Some(id), volume, offset, length, kind, fua, data, .. } = op else { continue };
            let bytes = usize::try_from(length).unwrap_or(0);
            let op = match (kind, data) {
                (OpKind::Read, Some(into)) => HostOp::Read { offset, length: bytes, into },
                (OpKind::Write, Some(data)) => HostOp::Write { offset, length: bytes, data, fua },
                (OpKind::Zero { unmap }, _) => HostOp::Zero { offset, length, unmap, fua },
                (OpKind::Read | OpKind::Write, None) | (OpKind::Copy { .. }, _) => continue,
            };
            requests.push(HostRequest { id, volume, op });
        }
        requests
    }
}
