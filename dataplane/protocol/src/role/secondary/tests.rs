//! What a secondary asks for, and when.

use alloc::vec::Vec;

use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, NodeId};
use midspan_format::message::{Message, Welcome};
use midspan_format::superblock::{GroupState, LanePoint, StateLane};

use super::Secondary;
use crate::role::site::fixture::{RING, config};
use crate::stage::fetcher::Target;
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::Buffer;
use crate::vocab::buffer::fixture::{Heap, Plain};
use crate::vocab::effect::{Context, DiskError, DiskOp, Effect, Effects, LinkEvent, Now};
use crate::vocab::tags;

#[test]
fn a_takeover_asks_for_the_rest_of_the_journal_at_once() {
    let config = config();
    let link = config.link(1);
    let mut store = StateStore::new(GroupState::default(), 0);
    let mut secondary: Secondary<Plain> = Secondary::new(config, &store);
    let (mut buffers, mut effects) = (Heap, Effects::with_capacity(64));
    let now = Now { mono: 1_000_000_000, wall: 1 };
    let mut context = Context { now, buffers: &mut buffers, effects: &mut effects };
    secondary.start(&mut context);
    secondary.on_tick(&mut context, &mut store);
    // Two frames are journaled that no manifest has listed yet: nobody knows of them to ask for them.
    let end = Position(4 * 4096);
    let welcome =
        Welcome { node: NodeId(2), area: AreaId([7; 16]), size: RING, journaled: end, ..Welcome::default() };
    secondary.on_link(&mut context, link, LinkEvent::Message(Message::Welcome(welcome)), &mut store);
    context.effects.drain().for_each(drop);
    let target = Target { end, by: NodeId(2), agreed: Position(0) };
    secondary.set_target(&mut context, target, &store);
    let mut reads = Vec::new();
    for effect in context.effects.drain() {
        if let Effect::Send { link: of, message: Message::Read(read) } = effect
            && of == link
        {
            reads.push((read.position, read.length));
        }
    }
    // Behind the look at the ring that was under way.
    assert_eq!(reads, [(Position(0), 4 * 4096)]);
}

#[test]
fn a_secondary_whose_disk_has_failed_rests_between_its_looks_at_the_ring() {
    let config = config();
    let (link, poll) = (config.link(1), u64::from(config.pace.poll_ms) * 1_000_000);
    let mut store = StateStore::new(GroupState::default(), 0);
    let mut secondary: Secondary<Plain> = Secondary::new(config, &store);
    let (mut buffers, mut effects) = (Heap, Effects::with_capacity(64));
    let now = Now { mono: 1_000_000_000, wall: 1 };
    let mut context = Context { now, buffers: &mut buffers, effects: &mut effects };
    secondary.start(&mut context);
    secondary.on_tick(&mut context, &mut store);
    secondary.on_disk(&mut context, tags::token(tags::ACQUIRE, 0), Err(DiskError::Failed), &mut store);
    let welcome = Welcome { node: NodeId(2), area: AreaId([7; 16]), size: RING, ..Welcome::default() };
    secondary.on_link(&mut context, link, LinkEvent::Message(Message::Welcome(welcome)), &mut store);
    for _ in 0..3 {
        context.now.mono += poll;
        secondary.on_tick(&mut context, &mut store);
        assert!(secondary.deadline(u64::MAX) > context.now.mono, "its deadline is always now");
    }
}

#[test]
fn a_lane_that_has_everything_again_is_not_damaged() {
    let config = config();
    let link = config.link(1);
    let mut state = GroupState::default();
    let point = LanePoint { position: Position(8192), sequence: 3, header_checksum: 9 };
    state.lanes = core::iter::once(StateLane { point, ..StateLane::default() }).collect();
    let mut store = StateStore::new(state, 0);
    let mut secondary: Secondary<Plain> = Secondary::new(config, &store);
    let (mut buffers, mut effects) = (Heap, Effects::with_capacity(64));
    let now = Now { mono: 1_000_000_000, wall: 1 };
    let mut context = Context { now, buffers: &mut buffers, effects: &mut effects };
    secondary.start(&mut context);
    recover(&mut secondary, &mut context, &mut store);
    let mut come = |context: &mut Context<'_, Heap>, journaled, checksum| {
        let position = Position(journaled - 4096);
        let last = FrameHeader { position, length: 4096, sequence: 3, checksum, ..FrameHeader::default() };
        let (node, area, journaled) = (NodeId(2), AreaId([7; 16]), Position(journaled));
        let welcome = Welcome { node, area, size: RING, journaled, last: Some(last), ..Welcome::default() };
        context.now.mono += 1_000_000_000;
        secondary.on_tick(context, &mut store);
        secondary.on_link(context, link, LinkEvent::Message(Message::Welcome(welcome)), &mut store);
        let damaged = secondary.obstacle().is_some();
        secondary.on_link(context, link, LinkEvent::Down, &mut store);
        context.effects.drain().for_each(drop);
        damaged
    };
    assert!(!come(&mut context, 8192, 9));
    // A relay that read its disk wrongly at a start,
    assert!(come(&mut context, 4096, 5), "it has less than was fetched from it");
    // another journal that is as long by chance,
    assert!(come(&mut context, 8192, 8), "it does not end where this site does");
    // and the right one. Nothing comes behind it that could show that all is well.
    assert!(!come(&mut context, 8192, 9), "nothing is missing any more");
}

/// What the own ring holds is found again: nothing.
fn recover(secondary: &mut Secondary<Plain>, context: &mut Context<'_, Heap>, store: &mut StateStore) {
    loop {
        let asked: Vec<_> = context.effects.drain().collect();
        let of_disk = asked.into_iter().find_map(|effect| {
            let Effect::Disk { token, op, .. } = effect else { return None };
            (tags::of(token) == tags::OWN_RING).then_some((token, op))
        });
        let Some((token, op)) = of_disk else { return };
        let result = match op {
            DiskOp::Read { length, at, mut into, .. } => {
                into.set_filled(at + length);
                Ok(Some(into))
            }
            DiskOp::Write { .. } | DiskOp::Zero { .. } | DiskOp::Flush => Ok(None),
        };
        secondary.on_disk(context, token, result, store);
    }
}
