//! A shard with two lone disks, passed by hand: nothing that is ready waits, and nothing changes its order.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use midspan_format::ids::VolumeId;
use midspan_format::message::Hello;
use midspan_protocol::role::direct::Direct;
use midspan_protocol::vocab::buffer::Buffer;
use midspan_protocol::vocab::effect::{HostOp, HostRequest, RequestId};
use midspan_uring::file::Access;
use midspan_uring::wake::signal;
use midspan_uring::{Class, Completion, File, Listener, Pool, Ring, Socket};

use super::*;
use crate::buffers::{PoolBuf, PoolBuffers};
use crate::disk::Disks;
use crate::engine::MyCounters;
use crate::exports::{Backing, Export};
use crate::frontend::{Handover, HostResult};
use crate::inbound::Inbound;
use crate::mesh::weave;
use crate::peer::Links;
use crate::port::reports;

const VOLUME: VolumeId = VolumeId(1);
/// Requests that each lone disk takes at a time.
const ROOM: usize = 2;

/// What the test wants written, and what was answered, in order.
#[derive(Default)]
struct Script {
    /// Asked in the call that says that an export is served.
    when_served: Vec<(u32, u8)>,
    /// Asked once per batch.
    wanted: std::collections::VecDeque<(u32, u8)>,
    answered: Vec<u32>,
    open: usize,
}

/// A front end that writes its number to the first block of an export.
struct Scripted(Rc<RefCell<Script>>);

impl Scripted {
    fn ask(&self, host: &mut Host<'_>, export: u32, number: u8) {
        let mut data = host.take(4096).unwrap();
        data.bytes_mut().unwrap().fill(number);
        data.set_filled(4096);
        let op = HostOp::Write { offset: 0, length: 4096, data, fua: false };
        let id = RequestId(u32::from(number));
        host.submit(ExportId(export), HostRequest { id, volume: VOLUME, op }).unwrap();
        self.0.borrow_mut().open += 1;
    }
}

impl FrontEnd for Scripted {
    fn listen(&mut self, _host: &mut Host<'_>, _listeners: Vec<Listener>) {}
    fn on_completion(&mut self, _host: &mut Host<'_>, _rest: u64, _completion: Completion) {}
    fn on_answer(&mut self, _host: &mut Host<'_>, request: RequestId, result: HostResult) {
        assert!(result.is_ok());
        let mut script = self.0.borrow_mut();
        script.answered.push(request.0);
        script.open -= 1;
    }
    fn on_export(&mut self, host: &mut Host<'_>, _export: ExportId) {
        let asked = std::mem::take(&mut self.0.borrow_mut().when_served);
        asked.into_iter().for_each(|(export, number)| self.ask(host, export, number));
    }
    fn on_handover(&mut self, _host: &mut Host<'_>, _handover: Handover) {}
    fn on_drained(&mut self, host: &mut Host<'_>) {
        while host.room() > 0 {
            let Some((export, number)) = self.0.borrow_mut().wanted.pop_front() else { break };
            self.ask(host, export, number);
        }
    }
    fn on_tick(&mut self, _host: &mut Host<'_>) {}
    fn deadline(&self) -> u64 {
        u64::MAX
    }
    fn stop(&mut self, _host: &mut Host<'_>) {}
    fn is_closed(&self) -> bool {
        self.0.borrow().open == 0
    }
}

/// A shard with two lone disks, which the test passes by hand.
struct Rig {
    shard: Shard,
    script: Rc<RefCell<Script>>,
    folder: std::path::PathBuf,
    _ends: Box<dyn std::any::Any>,
}

impl Rig {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("midspan-shard-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let pool =
            Pool::new(&[Class { size: 4096, count: 64 }, Class { size: 1 << 20, count: 8 }], false).unwrap();
        let config = midspan_uring::Config { entries: 8, operations: 64, vectors: 8, descriptors: 8 };
        let mut engine = Engine {
            ring: Ring::new(config, &pool).unwrap(),
            buffers: PoolBuffers::new(pool),
            unanswered: 0,
            disks: Disks::new(64),
            links: Links::new(0, &[]),
            inbound: Inbound::default(),
            events: std::collections::VecDeque::new(),
            answers: std::collections::VecDeque::new(),
            notes: std::collections::VecDeque::new(),
            counters: MyCounters::new(Arc::default(), 0),
            recorder: crate::recorder::Recorder::off(),
        };
        let mut exports = Vec::new();
        for number in 0..2_u16 {
            let file = open(&folder.join(number.to_string()));
            let disk = engine.disks.add(&mut engine.ring, file).unwrap();
            engine.disks.set_volume(Owner::Lone(number), VOLUME, disk);
            exports.push(Export {
                id: ExportId(number.into()),
                name: number.to_string(),
                description: String::new(),
                size: 1 << 20,
                read_only: false,
                default: false,
                backing: Backing::Simplex,
                volume: VOLUME,
                shard: 0,
                serving: AtomicBool::new(false),
            });
        }
        let lone = (0..2).map(|_| Direct::<PoolBuf>::new(ROOM, None)).collect();
        let waker = engine.ring.waker();
        let (sender, signal) = signal().unwrap();
        let (report_sender, report_receiver) = reports(&sender);
        let (port, commands) = ShardPort::new(&waker, report_sender);
        let script = Rc::new(RefCell::new(Script::default()));
        let shard = Shard::new(Parts {
            number: 0,
            engine,
            machines: Machines::new(None, Vec::new(), lone),
            front: Box::new(Scripted(Rc::clone(&script))),
            exports: Arc::new(Exports::new(exports)),
            owners: (0..2).map(|number| Some(Owner::Lone(number))).collect(),
            mesh: weave(&[waker], crate::mesh::Routes::default()).pop().unwrap(),
            port,
            spin_ns: 0,
            requests: 64,
        });
        let _ends = Box::new((signal, report_receiver, commands));
        Self { shard, script, folder, _ends }
    }

    /// Passes until everything is answered, sleeping in between as the shard would.
    fn settle(&mut self) {
        for _ in 0..1000 {
            self.shard.pass(clock::now());
            if self.script.borrow().open == 0 && self.script.borrow().wanted.is_empty() {
                return;
            }
            self.shard.rest(clock::now().mono, false).unwrap();
        }
        panic!("not everything was answered");
    }

    fn first_byte(&self, disk: usize) -> u8 {
        std::fs::read(self.folder.join(disk.to_string())).unwrap()[0]
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn open(path: &Path) -> File {
    File::preallocate(path, 1 << 20, &mut |_| {}).unwrap();
    File::open(path, Access { direct: false, ..Access::default() }).unwrap()
}

#[test]
fn what_is_asked_when_an_export_begins_to_be_served_waits_for_no_other_event() {
    let mut rig = Rig::new();
    rig.script.borrow_mut().when_served = vec![(0, 1)];
    rig.shard.pass(clock::now());
    assert_eq!(rig.script.borrow().open, 1);
    assert!(rig.shard.more, "the shard would sleep on a request that it has not given to its machine");
    rig.settle();
    assert_eq!(rig.first_byte(0), 1);
}

#[test]
fn requests_keep_their_order_while_their_owner_has_no_room() {
    let mut rig = Rig::new();
    // All to the same block: the last one stays, whoever had to wait for room.
    rig.script.borrow_mut().wanted = (1..=50).map(|number| (u32::from(number % 5 == 0), number)).collect();
    rig.settle();
    assert_eq!((rig.first_byte(0), rig.first_byte(1)), (49, 50));
    let answered = rig.script.borrow().answered.clone();
    let of = |disk: bool| answered.iter().copied().filter(move |number| (number % 5 == 0) == disk);
    assert!(of(true).is_sorted() && of(false).is_sorted(), "overlapping writes end in order: {answered:?}");
}

#[test]
fn an_owner_without_room_does_not_hold_up_another() {
    let mut rig = Rig::new();
    rig.script.borrow_mut().wanted = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5)].into();
    rig.shard.pass(clock::now());
    let waiting: Vec<u32> = rig.shard.asked.requests.iter().map(|(_, request)| request.id.0).collect();
    assert_eq!(waiting, [3, 4], "in their order, and nothing of the disk that has room");
    rig.script.borrow_mut().wanted = [(1, 6), (1, 7), (0, 8)].into();
    rig.shard.pass(clock::now());
    let waiting: Vec<u32> = rig.shard.asked.requests.iter().map(|(_, request)| request.id.0).collect();
    assert_eq!(waiting, [3, 4, 7, 8]);
    rig.settle();
}

#[test]
fn a_stopping_shard_answers_what_it_has_and_then_ends() {
    let mut rig = Rig::new();
    rig.script.borrow_mut().wanted = (1..=20).map(|number| (0, number)).collect();
    let now = clock::now();
    // A node that is connected and does not let go.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let _peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let socket = Socket::adopt(listener.accept().unwrap().0.into()).unwrap();
    rig.shard.parts.engine.adopt(now.mono, Owner::Relay, Greeted { socket, hello: Hello::default() });
    assert_eq!(rig.shard.parts.engine.links.open(), 1);
    rig.shard.pass(now);
    let reply = rig.shard.on_command(now, Command::Stop);
    assert!(matches!(reply, Reply::Taken));
    // Its time does not pass: it ends because it is done, not because it is late.
    let mut ended = false;
    for _ in 0..1000 {
        rig.shard.pass(now);
        ended = rig.shard.is_over(now.mono);
        if ended {
            break;
        }
        rig.shard.parts.engine.ring.wait(1, Some(Duration::from_millis(10))).unwrap();
    }
    assert!(ended);
    assert_eq!((rig.script.borrow().answered.len(), rig.first_byte(0)), (20, 20));
}
