//! Timers of machines on a shard that never rests.

use midspan_format::area::AreaKind;
use midspan_format::dirty_map::DirtyMap;
use midspan_format::ids::{AreaId, LaneId, NodeId, VolumeId};
use midspan_format::superblock::{AreaEntry, AreaHint, Role};
use midspan_protocol::role::policy::LanePolicy;
use midspan_protocol::role::site::{AnswerMode, ControlPath, Recovered, SiteConfig, Volume};
use midspan_protocol::vocab::limits::{Limits, Pace};
use midspan_uring::file::Access;
use midspan_uring::{Buf, Class, File, Pool, Ring};

use super::*;
use crate::disk::Disks;
use crate::engine::MyCounters;
use crate::inbound::Inbound;
use crate::peer::Links;

const MS: u64 = 1_000_000;

fn engine(pool: Pool) -> Engine {
    let config = midspan_uring::Config { entries: 8, operations: 64, vectors: 8, descriptors: 8 };
    Engine {
        ring: Ring::new(config, &pool).unwrap(),
        buffers: PoolBuffers::new(pool),
        unanswered: 0,
        disks: Disks::new(64),
        links: Links::new(1, &[]),
        inbound: Inbound::default(),
        events: std::collections::VecDeque::new(),
        answers: std::collections::VecDeque::new(),
        notes: std::collections::VecDeque::new(),
        counters: MyCounters::new(std::sync::Arc::default(), 0),
        recorder: crate::recorder::Recorder::off(),
    }
}

/// A group that follows, and begins by reading its own ring.
fn group() -> Group<PoolBuf> {
    let volume = Volume { id: VolumeId(1), size: 1 << 20, identity: [0; 24] };
    let (area, kind, lane, hint) = (AreaId([1; 16]), AreaKind::Ring, LaneId(0), AreaHint::default());
    let config = SiteConfig {
        node: NodeId(3),
        group: GroupId(7),
        sites: [NodeId(1), NodeId(3)],
        initial_role: Role::Secondary,
        initial_copy: false,
        may_leave: false,
        alone: false,
        control: ControlPath::Both,
        lane,
        relay: NodeId(2),
        lanes: Vec::from([NodeId(2)]),
        lane_policy: LanePolicy::Failover,
        direct: false,
        resend_bytes: 64 << 20,
        volumes: vec![volume],
        answer: AnswerMode::Journaled,
        own_ring: AreaEntry { area, kind, lane, start: 4 << 20, size: 4 << 20, hint, ..AreaEntry::default() },
        state_offset: 1 << 20,
        dirty_offset: 2 << 20,
        first_link: 0,
        limits: Limits::default(),
        pace: Pace::default(),
    };
    let mut state = config.first_state();
    state.lanes_mut()[0].ring = AreaId([2; 16]);
    Group::new(config, Recovered { state: Some(state), dirty: DirtyMap::new([(volume.id, volume.size)]) })
}

#[test]
fn timers_run_on_a_shard_that_never_rests() {
    let pool = Pool::new(&[Class { size: 1 << 20, count: 4 }], false).unwrap();
    // Whatever finds the pool empty wants to be called again a little later, counted from its last call.
    let held: Vec<Buf> = std::iter::from_fn(|| pool.take(1)).collect();
    let mut engine = engine(pool);
    let path = std::env::temp_dir().join(format!("midspan-machines-{}", std::process::id()));
    std::fs::write(&path, vec![0; 16 << 20]).unwrap();
    let file = File::open(&path, Access { direct: false, ..Access::default() }).unwrap();
    std::fs::remove_file(&path).unwrap();
    let journal = engine.disks.add(&mut engine.ring, file).unwrap();
    engine.disks.set_journal(journal);
    let mut machines = Machines::new(None, vec![GroupSlot::new(GroupId(7), group())], Vec::new());
    let at = |mono| Now { mono, wall: mono };
    machines.start(&mut engine, at(1000 * MS));
    assert!(machines.on_tick(&mut engine, at(1000 * MS)), "timers run once at the start");
    // The flush before its ring is read.
    let flushed = loop {
        match engine.ring.next_completion() {
            Some(completion) => break completion,
            None => engine.ring.wait(1, None).unwrap(),
        }
    };
    engine.on_completion(1000 * MS, flushed);
    while let Some(event) = engine.events.pop_front() {
        machines.on_event(&mut engine, at(1000 * MS), event);
    }
    machines.plan();
    let due = machines.due();
    assert!(due > 1000 * MS && due < 1100 * MS, "{due}");
    let mut now = 1000 * MS;
    while now < due {
        now += MS / 10;
        machines.on_drained(&mut engine, at(now));
        machines.plan();
        assert!(machines.due() <= due, "a pass puts the timers off");
    }
    assert!(machines.on_tick(&mut engine, at(now)));
    machines.plan();
    assert!(machines.due() > due && !machines.on_tick(&mut engine, at(now)));
    drop(held);
}
