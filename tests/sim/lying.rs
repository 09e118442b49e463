//! Planted bugs of the network: what it says itself, or never brings.

use midspan_format::frame::{FrameHeader, FrameKind};
use midspan_format::message::{FenceIntent, Fenced, FencedLane, Message, Progress};
use midspan_protocol::vocab::buffer::Slice;
use midspan_protocol::vocab::effect::LinkId;

use crate::effects::encode;
use crate::event::{ConnId, NodeIndex, Side};
use crate::lies::Lie;
use crate::memory::SimBuf;
use crate::wire::{Keep, Payload};
use crate::world::World;

impl World {
    /// The planted bug of a disk or a clock begins.
    pub(crate) fn plant(&mut self) {
        let permits = usize::try_from(midspan_format::superblock::AREAS_OFFSET).unwrap_or(0);
        let dirty = usize::try_from(self.layout.dirty_offset).unwrap_or(0);
        let [a, relay, b, ..] = self.nodes.as_mut_slice() else { return };
        match self.lie {
            Lie::None | Lie::ProgressTooEarly | Lie::FenceDropped | Lie::PromisesOutside => {}
            Lie::DurableTooEarly => relay.disks[0].lies.durable_too_early = true,
            Lie::LeaseTooShort => relay.clock.rush = 50,
            Lie::FlushDoesNothing => {
                a.disks.iter_mut().skip(1).for_each(|disk| disk.lies.flush_does_nothing = true);
            }
            Lie::OwnRingTooEarly => b.disks[0].lies.durable_too_early = true,
            Lie::PermitForgotten => relay.disks[0].lies.drops = Some((0, permits)),
            Lie::OldReads => a.disks.iter_mut().skip(1).for_each(|disk| disk.lies.old_reads = true),
            Lie::MapNotWritten => b.disks[0].lies.drops = Some((dirty, dirty + 1)),
        }
    }

    /// A planted bug: the primary hears that its frame is journaled when it has just arrived.
    pub(crate) fn lie_about_progress(
        &mut self,
        node: NodeIndex,
        conn: ConnId,
        side: Side,
        unit: &Slice<SimBuf>,
    ) {
        let header = FrameHeader::decode(unit.bytes()).ok();
        let Some(header) = header.filter(|h| node == NodeIndex::RELAY && h.kind == FrameKind::Journal) else {
            return;
        };
        let progress = Message::Progress(Progress { journaled: header.end(), sequence: header.sequence });
        self.wire.send(&mut self.schedule, conn, side, Payload::Small(encode(&progress)), Keep::Nothing);
    }

    /// A planted bug: a takeover's fence never reaches the relay, and is answered all the same.
    pub(crate) fn lie_about_fence(&mut self, node: NodeIndex, link: LinkId, message: &Message) -> bool {
        let Message::Fence(fence) = message else { return false };
        let Some((conn, side)) =
            self.nodes[node.0].process.as_ref().and_then(|p| p.links.get(&link).copied())
        else {
            return false;
        };
        let relay = self.nodes[NodeIndex::RELAY.0].process.as_ref().and_then(|p| p.relay.as_ref());
        let Some(relay) = relay.filter(|_| fence.intent == FenceIntent::Takeover) else { return false };
        let mut fenced =
            Fenced { request: fence.request, epoch: fence.epoch, found: fence.replaces, ..Fenced::default() };
        for area in relay.areas() {
            fenced.push(FencedLane {
                lane: area.entry.lane,
                kind: area.entry.kind,
                area: area.entry.area,
                size: area.entry.size,
                journaled: area.journaled(),
                began: area.entry.began,
                open: true,
                scanning: false,
                last: area.last().copied(),
            });
        }
        self.wire.send(
            &mut self.schedule,
            conn,
            1 - side,
            Payload::Small(encode(&Message::Fenced(fenced))),
            Keep::Nothing,
        );
        true
    }
}
