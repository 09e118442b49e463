//! What a secondary asks for, and when.

use alloc::vec::Vec;

use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, GroupId, LaneId, NodeId};
use midspan_format::message::{Message, Welcome};
use midspan_format::superblock::{AreaEntry, GroupState, Role};

use super::Secondary;
use crate::role::policy::LanePolicy;
use crate::role::site::{AnswerMode, ControlPath, SiteConfig};
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::fixture::{Heap, Plain};
use crate::vocab::effect::{Context, DiskError, Effect, Effects, LinkEvent, Now};
use crate::vocab::limits::{Limits, Pace};
use crate::vocab::tags;

const RING: u64 = 1 << 20;

fn config() -> SiteConfig {
    SiteConfig {
        node: NodeId(3),
        group: GroupId(1),
        sites: [NodeId(1), NodeId(3)],
        initial_role: Role::Secondary,
        initial_copy: false,
        may_leave: false,
        alone: false,
        control: ControlPath::Both,
        lane: LaneId(0),
        relay: NodeId(2),
        lanes: Vec::from([NodeId(2)]),
        lane_policy: LanePolicy::Failover,
        direct: false,
        resend_bytes: 64 << 20,
        volumes: Vec::new(),
        answer: AnswerMode::Journaled,
        own_ring: AreaEntry { size: RING, ..AreaEntry::default() },
        state_offset: 0,
        dirty_offset: 8192,
        first_link: 0,
        limits: Limits::default(),
        pace: Pace::default(),
    }
}

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
    secondary.set_target(&mut context, end);
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
