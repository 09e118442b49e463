//! The permits of a relay on their way to and from its disk: fences, releases, lazily kept hints.

use alloc::vec::Vec;

use midspan_format::geometry::BLOCK;
use midspan_format::ids::{Epoch, GroupId, NodeId};
use midspan_format::message::{
    Fence, FenceIntent, Fenced, FencedLane, Message, RefusedReason, Release, Released,
};
use midspan_format::superblock::{AreaEntry, AreaHint, GroupPermit, permit_offset};

use crate::role::relay::TAG_PERMIT;
use crate::stage::area::{Area, Health};
use crate::stage::guard::{Guard, Pending};
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, Disk, DiskOp, Effect, LinkId, Note, Token};

/// Hints are written at most this often, unless much was appended since.
const HINT_NS: u64 = 1_000_000_000;

#[derive(Debug)]
struct Slot {
    number: u32,
    guard: Guard,
    /// A write of the permit block runs; it carries this decision number.
    writing: Option<u64>,
    /// Decisions so far, and the newest one that is durable.
    decided: u64,
    durable: u64,
    /// Slots that must still be written before a fence is answered: it must not stand in one only, which can rot.
    copies_left: u8,
    /// Who gave its epoch back, by which request, and the change that says so: it is answered when that is durable.
    giving: Option<(LinkId, u64, u64)>,
    hints_at: u64,
    failed: bool,
}

impl Slot {
    fn wants_to_write(&self) -> bool {
        self.writing.is_none() && (self.decided > self.durable || self.copies_left > 0) && !self.failed
    }
}

/// All permits of a node.
#[derive(Debug)]
pub struct Permits {
    slots: Vec<Slot>,
}

impl Permits {
    /// The permits found on the disk with their slot numbers.
    pub fn new(permits: Vec<(u32, GroupPermit)>, started_at: u64) -> Self {
        let slots = permits.into_iter().map(|(number, permit)| Slot {
            number,
            guard: Guard::new(permit, started_at),
            writing: None,
            decided: 0,
            durable: 0,
            copies_left: 0,
            giving: None,
            hints_at: 0,
            failed: false,
        });
        Self { slots: slots.collect() }
    }

    /// The guard of a group.
    pub fn guard(&self, group: GroupId) -> Option<&Guard> {
        self.slots.iter().map(|s| &s.guard).find(|g| g.permit.group == group)
    }

    /// A fence or a probe. A probe is answered at once; a fence is decided here and answered by [`Permits::settle`].
    ///
    /// # Errors
    /// The reason of the refusal and the epoch found.
    pub fn on_fence<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        from: NodeId,
        fence: &Fence,
        areas: &[Area<S::Buf>],
    ) -> Result<(), (RefusedReason, Epoch)> {
        let Some(slot) = self.slots.iter_mut().find(|s| s.guard.permit.group == fence.group) else {
            return Err((RefusedReason::UnknownGroup, Epoch::NONE));
        };
        let found = slot.guard.permit.epoch;
        if fence.intent == FenceIntent::Probe {
            let fenced = facts(&slot.guard, fence.request, found, areas);
            context.ask(Effect::Send { link, message: Message::Fenced(fenced) });
            return Ok(());
        }
        if slot.failed {
            rare!(FencePermitLost);
            return Err((RefusedReason::Damaged, found));
        }
        let answered =
            areas.iter().filter(|a| a.group == fence.group).map(|a| a.answered_at).max().unwrap_or(0);
        slot.guard.fence(context.now.mono, from, link, fence, answered).map_err(|reason| (reason, found))?;
        slot.decided += 1;
        slot.copies_left = 2;
        Ok(())
    }

    /// The present writer gives its lease back.
    pub fn release(&mut self, from: NodeId, group: GroupId, epoch: Epoch) {
        if let Some(slot) = self.slots.iter_mut().find(|s| s.guard.permit.group == group)
            && slot.guard.permit.primary == from
            && slot.guard.permit.epoch == epoch
        {
            slot.guard.released = true;
        }
    }

    /// The holder of the epoch in force gives it back. That it did is durable before it is answered: a node that forgot it would keep the
    /// former writer away, and nobody may look at a lane that has left the set meanwhile.
    pub fn give_back<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        from: NodeId,
        release: &Release,
    ) {
        let request = release.request;
        let slot = self.slots.iter_mut().find(|s| s.guard.permit.group == release.group);
        let Some(slot) = slot.filter(|s| s.guard.holder() == from && s.guard.permit.epoch == release.epoch)
        else {
            return context.ask(Effect::Send { link, message: Message::Released(Released { request }) });
        };
        slot.guard.give_back();
        slot.decided += 1;
        slot.copies_left = 2;
        slot.giving = Some((link, request, slot.decided));
    }

    /// The asker of a fence is gone; the fence stands, unanswered. So does what was given back.
    pub fn forget_link(&mut self, link: LinkId) {
        for slot in &mut self.slots {
            slot.giving = slot.giving.filter(|(asker, ..)| *asker != link);
            if let Some(Pending { link: asker, .. }) = slot.guard.pending.as_mut()
                && *asker == Some(link)
            {
                rare!(FenceAskerGone);
                *asker = None;
            }
        }
    }

    /// A permit block was written.
    pub fn on_written(&mut self, index: usize, failed: bool) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let Some(decision) = slot.writing.take() else { return };
        slot.failed |= failed;
        if !failed {
            slot.durable = slot.durable.max(decision);
            if decision == slot.decided {
                slot.copies_left = slot.copies_left.saturating_sub(1);
            }
        }
        let everywhere = slot.durable == slot.decided && slot.copies_left == 0;
        if let Some(pending) = slot.guard.pending.as_mut() {
            pending.durable = everywhere && !slot.failed;
        }
    }

    /// Changes what the permit says of an area; the number of that change. `None` where there is no such area.
    pub fn change_area(&mut self, group: GroupId, entry: &AreaEntry) -> Option<u64> {
        let slot = self.slots.iter_mut().find(|slot| slot.guard.permit.group == group)?;
        *slot.guard.permit.areas_mut().iter_mut().find(|found| found.area == entry.area)? = *entry;
        slot.decided += 1;
        slot.copies_left = 2;
        Some(slot.decided)
    }

    /// Whether a change is durable, in both slots.
    pub fn is_saved(&self, group: GroupId, change: u64) -> bool {
        let slot = self.slots.iter().find(|slot| slot.guard.permit.group == group);
        slot.is_some_and(|slot| slot.durable >= change && slot.copies_left == 0 && !slot.failed)
    }

    /// The group of a permit by its place.
    pub fn group_at(&self, index: usize) -> Option<GroupId> {
        self.slots.get(index).map(|slot| slot.guard.permit.group)
    }

    /// Takes the areas' prefixes into the permits, so that a restart knows where to look and what must be there (I8).
    pub fn refresh_hints<B: Buffer>(&mut self, now: u64, areas: &[Area<B>]) {
        for slot in &mut self.slots {
            let group = slot.guard.permit.group;
            let mut changed = false;
            let mut far = false;
            for entry in slot.guard.permit.areas_mut() {
                // One that is about to go on elsewhere has said so: what it holds until then is no hint any more.
                let is_it = |a: &&Area<B>| a.group == group && a.entry.area == entry.area && !a.begins();
                let found = areas.iter().find(is_it);
                let Some((area, last)) = found.and_then(|a| a.last().map(|l| (a, l))) else { continue };
                let journaled = area.journaled();
                let hint = AreaHint { position: last.position, header_checksum: last.checksum, journaled };
                far |= journaled.0.saturating_sub(entry.hint.journaled.0) > entry.size / 8;
                changed |= entry.hint.journaled != journaled;
                if now >= slot.hints_at + HINT_NS || far {
                    entry.hint = hint;
                }
            }
            if changed && (now >= slot.hints_at + HINT_NS || far) {
                slot.hints_at = now;
                slot.decided += 1;
            }
        }
    }

    /// Writes what must be written, answers what can be answered.
    pub fn settle<S: Buffers>(&mut self, context: &mut Context<'_, S>, areas: &[Area<S::Buf>]) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.wants_to_write() {
                write_permit(context, index, slot);
            }
            let is_saved = |change| slot.durable >= change && slot.copies_left == 0 && !slot.failed;
            if let Some((link, request, _)) = slot.giving.take_if(|(.., change)| is_saved(*change)) {
                context.ask(Effect::Send { link, message: Message::Released(Released { request }) });
            }
            let group = slot.guard.permit.group;
            let settled = areas.iter().filter(|a| a.group == group).all(Area::is_settled);
            if !settled || !slot.guard.is_due(context.now.mono) {
                continue;
            }
            let Some(pending) = slot.guard.pending.take() else { continue };
            let permit = &slot.guard.permit;
            let waited_ns = context.now.mono - pending.since;
            context.note(Note::FenceDone { former: pending.found, epoch: permit.epoch, waited_ns });
            if let Some(link) = pending.link {
                let fenced = facts(&slot.guard, pending.request, pending.found, areas);
                context.ask(Effect::Send { link, message: Message::Fenced(fenced) });
            }
        }
    }

    /// When something is due: a fence's lease, the next hint, a write that found no buffer (tried again `soon`).
    pub fn deadline(&self, soon: u64) -> u64 {
        let due = self.slots.iter().filter_map(|s| s.guard.pending.map(|p| p.lease_until.max(soon)));
        let starved = self.slots.iter().any(Slot::wants_to_write);
        let hints = soon + HINT_NS / 4;
        due.min().unwrap_or(u64::MAX).min(if starved { soon } else { hints })
    }
}

fn write_permit<S: Buffers>(context: &mut Context<'_, S>, index: usize, slot: &mut Slot) {
    let Some(mut block) = context.buffers.take(BLOCK) else { return rare!(PermitStarved) };
    slot.guard.permit.sequence += 1;
    let Some(bytes) = block.bytes_mut().and_then(|b| b.first_chunk_mut::<BLOCK>()) else { return };
    slot.guard.permit.encode(bytes);
    block.set_filled(BLOCK);
    slot.writing = Some(slot.decided);
    let offset = permit_offset(slot.number, slot.guard.permit.sequence);
    let token = Token(TAG_PERMIT | (index as u64) << 40);
    let data = Slice::new(block, 0..BLOCK);
    context.disk(Disk::Journal, token, DiskOp::Write { offset, data, durable: true });
}

/// What a taker must know of every area of the group here.
fn facts<B: Buffer>(guard: &Guard, request: u64, found: Epoch, areas: &[Area<B>]) -> Fenced {
    let (permit, released) = (&guard.permit, guard.released);
    let (epoch, former) = (permit.epoch, permit.former);
    let mut fenced = Fenced { request, epoch, found, former, released, lanes: Default::default() };
    for area in areas.iter().filter(|a| a.group == permit.group) {
        fenced.push(FencedLane {
            lane: area.entry.lane,
            kind: area.entry.kind,
            area: area.entry.frames(),
            size: area.entry.size,
            journaled: area.journaled(),
            began: area.entry.began,
            open: area.health == Health::Open,
            scanning: area.health == Health::Scanning,
            last: area.last().copied(),
        });
    }
    fenced
}
