//! After warm-up a shard allocates nothing for what a host asks over NBD.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod rig;
mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use midspan_format::ids::VolumeId;
use midspan_node::config::{Address, ExportConfig, Listen, LoneConfig, MemoryConfig, NodeConfig, Source};
use midspan_node::exports::ExportId;
use midspan_node::frontend::nbd::NbdFrontEnd;
use midspan_node::frontend::{FrontEnd, Handover, Host, HostResult};
use midspan_node::node::start_with;
use midspan_protocol::vocab::effect::RequestId;
use midspan_uring::allocation::{self, Counting};
use midspan_uring::{Completion, Listener};
use rig::{A, MIB, Scratch};
use wire::{FLUSH, READ, WRITE, Wire};

#[global_allocator]
static COUNTING: Counting = Counting;

const VOLUME: u64 = 16 * MIB;

/// The front end, and how often its shard has allocated.
struct Counted {
    front: NbdFrontEnd,
    allocations: Arc<AtomicU64>,
}

impl FrontEnd for Counted {
    fn listen(&mut self, host: &mut Host<'_>, listeners: Vec<Listener>) {
        self.front.listen(host, listeners);
    }
    fn on_completion(&mut self, host: &mut Host<'_>, rest: u64, completion: Completion) {
        self.front.on_completion(host, rest, completion);
    }
    fn on_answer(&mut self, host: &mut Host<'_>, request: RequestId, result: HostResult) {
        self.front.on_answer(host, request, result);
    }
    fn on_export(&mut self, host: &mut Host<'_>, export: ExportId) {
        self.front.on_export(host, export);
    }
    fn on_handover(&mut self, host: &mut Host<'_>, handover: Handover) {
        self.front.on_handover(host, handover);
    }
    fn on_drained(&mut self, host: &mut Host<'_>) {
        self.front.on_drained(host);
        self.allocations.store(allocation::count(), Ordering::Relaxed);
    }
    fn on_tick(&mut self, host: &mut Host<'_>) {
        self.front.on_tick(host);
    }
    fn deadline(&self) -> u64 {
        self.front.deadline()
    }
    fn stop(&mut self, host: &mut Host<'_>) {
        self.front.stop(host);
    }
    fn is_closed(&self) -> bool {
        self.front.is_closed()
    }
}

/// Small and large, aligned and not, in bursts of 32.
fn turn(wire: &mut Wire, data: &[u8], number: u64) {
    let length = [4096, 4096, 700, 131_072, 300_001][number as usize % 5];
    let at = |n: u64| (number * 7 + n) * 12_345 % (VOLUME - 400_000);
    let mut open: BTreeSet<_> =
        (0..32).map(|n| wire.send(WRITE, at(n) / 512 * 512, length, &data[..length]).unwrap()).collect();
    open.insert(wire.send(FLUSH, 0, 0, &[]).unwrap());
    while !open.is_empty() {
        let (sent, error) = wire.reply().unwrap();
        assert!(error == 0 && open.remove(&sent));
    }
    (0..32).for_each(|n| assert!(wire.send(READ, at(n), length, &[]).is_some()));
    for _ in 0..32 {
        assert_eq!(wire.reply().unwrap().1, 0);
        wire.bytes(length).unwrap();
    }
}

#[test]
fn a_host_that_is_at_work_costs_no_allocation() {
    let scratch = Scratch::new();
    let mut config = NodeConfig::new(A);
    config.cores = vec![0];
    config.memory = MemoryConfig { huge_pages: false, ..MemoryConfig::of_bytes(64 << 20) };
    config.lone = vec![LoneConfig { id: VolumeId(1), path: scratch.disk("disk", VOLUME) }];
    let (name, source) = ("disk".to_owned(), Source::Lone(VolumeId(1)));
    config.exports =
        vec![ExportConfig { name, description: String::new(), source, read_only: false, default: false }];
    config.front = vec![Listen::At(Address::Tcp("127.0.0.1:0".parse().unwrap()))];
    let allocations = Arc::new(AtomicU64::new(0));
    let seen = allocations.clone();
    let front = move |setup: &_| -> Box<dyn FrontEnd> {
        Box::new(Counted { front: NbdFrontEnd::new(setup), allocations: seen.clone() })
    };
    let node = start_with(config, Arc::new(front)).unwrap();
    let at = node.hosts_at()[0].unwrap();
    let mut wires = [Wire::open(at, "disk").unwrap(), Wire::open(at, "disk").unwrap()];
    let data: Vec<u8> = (0..400_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut work = |turns: std::ops::Range<u64>| {
        turns.for_each(|number| wires.iter_mut().for_each(|wire| turn(wire, &data, number)));
        allocations.load(Ordering::Relaxed)
    };
    let before = work(0..20);
    let after = work(20..60);
    assert!(before > 0, "the allocator counts");
    assert_eq!(after - before, 0, "allocations in {} requests", 40 * 2 * 65);
    node.stop();
}
