//! After warm-up no shard allocates for what hosts do, whether it is the primary's, the relay's or the secondary's.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;

use midspan_format::ids::{NodeId, VolumeId};
use midspan_format::superblock::Role;
use midspan_node::config::{
    Address, AnswerMode, ControlPath, ExportConfig, GroupConfig, LanePolicy, Limits, Listen, MemoryConfig,
    NodeConfig, Pace, Source,
};
use midspan_node::exports::ExportId;
use midspan_node::format::format;
use midspan_node::frontend::{FrontEnd, Handover, Host, HostResult, MakeFrontEnd};
use midspan_node::node::{NodeHandle, start_with};
use midspan_node::peer::Peer;
use midspan_protocol::vocab::buffer::Buffer;
use midspan_protocol::vocab::effect::{HostOp, HostRequest, RequestId};
use midspan_uring::allocation::{self, Counting};
use midspan_uring::{Completion, Listener};
use rig::{A, B, GROUP, LANE, MIB, RELAY, Scratch, relay_group, site_group, spec};

#[global_allocator]
static COUNTING: Counting = Counting;

const VOLUME: u64 = 8 * MIB;
/// Requests that are kept in flight.
const DEPTH: usize = 32;
/// Answers before allocations count: every table, queue and ring has been around by then.
const WARM_UP: u64 = 20_000;
const COUNTED: u64 = 20_000;

/// What a shard has published.
#[derive(Default)]
struct Seen {
    answered: AtomicU64,
    allocations: AtomicU64,
}

/// Keeps an export busy, if there is one here: three writes, then a read, all over the volume, some overlapping.
struct Load {
    seen: Arc<Seen>,
    waker: Thread,
    serving: bool,
    free: Vec<u32>,
    turn: u64,
    stopped: bool,
}

impl Load {
    fn ask(&mut self, host: &mut Host<'_>) {
        while self.serving && !self.stopped && host.room() > 0 {
            let Some(id) = self.free.pop() else { return };
            let length = if self.turn.is_multiple_of(5) { 16384 } else { 4096 };
            let Some(mut buf) = host.take(length) else { return self.free.push(id) };
            let offset = self.turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (VOLUME / 4096 - 4) * 4096;
            let op = if self.turn.is_multiple_of(4) {
                HostOp::Read { offset, length, into: buf }
            } else {
                buf.bytes_mut().unwrap()[..length].fill(self.turn as u8);
                buf.set_filled(length);
                HostOp::Write { offset, length, data: buf, fua: false }
            };
            self.turn += 1;
            let request = HostRequest { id: RequestId(id), volume: VolumeId(1), op };
            assert!(host.submit(ExportId(0), request).is_ok());
        }
    }
}

impl FrontEnd for Load {
    fn listen(&mut self, _host: &mut Host<'_>, _listeners: Vec<Listener>) {}
    fn on_completion(&mut self, _host: &mut Host<'_>, _rest: u64, _completion: Completion) {}
    fn on_answer(&mut self, _host: &mut Host<'_>, request: RequestId, result: HostResult) {
        assert!(result.is_ok() || self.stopped);
        self.free.push(request.0);
        let answered = self.seen.answered.fetch_add(1, Ordering::Relaxed) + 1;
        if answered.is_multiple_of(1000) {
            self.waker.unpark();
        }
    }
    fn on_export(&mut self, host: &mut Host<'_>, export: ExportId) {
        self.serving = host.exports.get(export).unwrap().is_serving();
    }
    fn on_handover(&mut self, _host: &mut Host<'_>, _handover: Handover) {}
    fn on_drained(&mut self, host: &mut Host<'_>) {
        self.ask(host);
        self.seen.allocations.store(allocation::count(), Ordering::Relaxed);
    }
    fn on_tick(&mut self, _host: &mut Host<'_>) {}
    fn deadline(&self) -> u64 {
        u64::MAX
    }
    fn stop(&mut self, _host: &mut Host<'_>) {
        self.stopped = true;
    }
    fn is_closed(&self) -> bool {
        self.free.len() == DEPTH
    }
}

fn front_end(seen: &Arc<Seen>) -> MakeFrontEnd {
    let (seen, waker) = (Arc::clone(seen), std::thread::current());
    Arc::new(move |_| {
        let (seen, waker, free) = (Arc::clone(&seen), waker.clone(), (0..DEPTH as u32).collect());
        Box::new(Load { seen, waker, serving: false, free, turn: 0, stopped: false })
    })
}

fn config(scratch: &Scratch, node: NodeId) -> NodeConfig {
    let mut config = NodeConfig::new(node);
    config.cores = vec![0];
    config.memory = MemoryConfig { huge_pages: false, ..MemoryConfig::of_bytes(64 << 20) };
    config.journal = Some(scratch.path(&format!("{node}.journal")));
    config.requests = DEPTH;
    config
}

fn site(scratch: &Scratch, node: NodeId, relay: &NodeHandle) -> NodeConfig {
    let journal = scratch.disk(&format!("{node}.journal"), 16 * MIB);
    let volumes = vec![rig::volume(1, &scratch.disk(&format!("{node}.volume"), VOLUME))];
    format(&spec(&journal, node, vec![site_group(GROUP, 8 * MIB, volumes.clone())])).unwrap();
    let mut config = config(scratch, node);
    config.peers = vec![Peer { node: RELAY, addresses: vec![Address::Tcp(relay.listening().unwrap())] }];
    config.groups = vec![GroupConfig {
        group: GROUP,
        sites: [A, B],
        initial_role: if node == A { Role::Primary } else { Role::Secondary },
        initial_copy: false,
        may_leave: false,
        alone: false,
        control: ControlPath::Both,
        lane: LANE,
        lanes: vec![RELAY],
        lane_policy: LanePolicy::Failover,
        direct: false,
        resend_bytes: 64 << 20,
        answer: AnswerMode::Journaled,
        volumes,
        limits: Limits { requests: DEPTH, ..Limits::default() },
        pace: Pace::default(),
    }];
    let (name, source) = ("disk".to_owned(), Source::Group(GROUP, VolumeId(1)));
    config.exports =
        vec![ExportConfig { name, description: String::new(), source, read_only: false, default: false }];
    config
}

#[test]
fn a_loaded_shard_allocates_nothing() {
    let scratch = Scratch::new();
    let seen: [Arc<Seen>; 3] = std::array::from_fn(|_| Arc::default());
    let [at_relay, at_b, at_a] = &seen;
    let journal = scratch.disk("2.journal", 16 * MIB);
    format(&spec(&journal, RELAY, vec![relay_group(GROUP, 8 * MIB)])).unwrap();
    let mut of_relay = config(&scratch, RELAY);
    of_relay.listen = Some(Listen::At(Address::Tcp("127.0.0.1:0".parse().unwrap())));
    let relay = start_with(of_relay, front_end(at_relay)).unwrap();
    let secondary = start_with(site(&scratch, B, &relay), front_end(at_b)).unwrap();
    let primary = start_with(site(&scratch, A, &relay), front_end(at_a)).unwrap();
    let wait = |answers: u64| {
        while at_a.answered.load(Ordering::Relaxed) < answers {
            std::thread::park();
        }
        seen.each_ref().map(|seen| seen.allocations.load(Ordering::Relaxed))
    };
    let before = wait(WARM_UP);
    let after = wait(WARM_UP + COUNTED);
    for handle in [primary, secondary, relay] {
        handle.stop();
    }
    assert!(before.iter().all(|count| *count > 0), "the allocator counts");
    for (place, node) in ["the relay", "the secondary", "the primary"].into_iter().enumerate() {
        let count = after[place] - before[place];
        assert_eq!(count, 0, "allocations of {node} in {COUNTED} answers");
    }
}
