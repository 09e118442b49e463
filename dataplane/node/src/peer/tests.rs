//! Connections of a shard over loopback, passed by hand.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use midspan_format::area::AreaKind;
use midspan_format::checksum::checksum;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, Epoch, GroupId, LaneId};
use midspan_format::message::{Ping, Refused, RefusedReason, SessionKind};
use midspan_uring::{Buf, Class, Config, Pool};

use super::*;

struct Rig {
    ring: Ring,
    buffers: PoolBuffers,
    events: Events,
    counters: Counters,
    recorder: Recorder,
    links: Links,
}

const NODE: NodeId = NodeId(9);
const GROUP: Owner = Owner::Group(0);

impl Rig {
    fn new(classes: &[Class], peers: &[Peer]) -> Self {
        let pool = Pool::new(classes, false).unwrap();
        let config = Config { entries: 32, operations: 64, vectors: 16, descriptors: 16 };
        Self {
            ring: Ring::new(config, &pool).unwrap(),
            buffers: PoolBuffers::new(pool),
            events: Events::new(),
            counters: Counters::default(),
            recorder: Recorder::off(),
            links: Links::new(1, peers),
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Links, &mut LinkContext<'_>) -> T) -> T {
        let mut context = LinkContext {
            ring: &mut self.ring,
            buffers: &mut self.buffers,
            events: &mut self.events,
            counters: &self.counters,
            recorder: &mut self.recorder,
            now: 1,
        };
        act(&mut self.links, &mut context)
    }

    /// The next event, as the shard's loop would bring it about.
    fn event(&mut self) -> Event {
        for _ in 0..500 {
            while let Some(completion) = self.ring.next_completion() {
                self.with(|links, context| links.on_completion(context, completion));
            }
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            self.with(|links, context| links.flush(context));
            self.ring.wait(1, Some(Duration::from_millis(20))).unwrap();
        }
        panic!("no event");
    }

    /// The next event, which must be a message.
    fn message(&mut self) -> (Owner, LinkId, Message) {
        let event = self.event();
        let Event::Link { owner, link, event: LinkEvent::Message(message) } = event else {
            panic!("{event:?}")
        };
        (owner, link, message)
    }

    /// Everything of the pool that is free now.
    fn take_all(&self) -> Vec<Buf> {
        std::iter::from_fn(|| self.buffers.pool().take(1)).collect()
    }
}

fn hello(kind: SessionKind) -> Hello {
    Hello {
        protocol: midspan_format::version::PROTOCOL_VERSION,
        node: NodeId(1),
        group: GroupId(7),
        kind,
        area_kind: AreaKind::Ring,
        lane: LaneId(0),
        area: AreaId::NONE,
        epoch: Epoch::NONE,
        lease_ms: 500,
    }
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = [0; wire::SMALL_MAX];
    let length = wire::encode(message, &mut bytes);
    bytes[..length].to_vec()
}

fn pair() -> (TcpStream, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (theirs, Socket::adopt(listener.accept().unwrap().0.into()).unwrap())
}

#[test]
fn a_node_of_another_version_refuses_for_its_machine() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = Peer { node: NODE, addresses: vec![Address::Tcp(listener.local_addr().unwrap())] };
    let mut rig = Rig::new(&[Class { size: 16 * 1024, count: 8 }], &[peer]);
    rig.with(|links, context| links.connect(context, GROUP, LinkId(3), NODE, hello(SessionKind::Append)));
    let other = std::thread::spawn(move || {
        let mut socket = listener.accept().unwrap().0;
        let mut greeting = vec![0; encoded(&Message::Hello(hello(SessionKind::Append))).len()];
        socket.read_exact(&mut greeting).unwrap();
        // Its answer is nothing that this version could read, behind a header that all versions share.
        let mut answer = encoded(&Message::Ping(Ping { stamp: 1, answerable: Position::BEYOND }));
        answer[8] = 9;
        let sum = checksum(&answer[..32]);
        answer[32..40].copy_from_slice(&sum.to_le_bytes());
        socket.write_all(&answer).unwrap();
        // Until the node has closed, in whatever way.
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let (owner, link) = (GROUP, LinkId(3));
    let (reason, epoch, journaled) = (RefusedReason::Version, Epoch::NONE, Position(0));
    let refused = Refused { request: 0, reason, epoch, journaled };
    assert_eq!(rig.message(), (owner, link, Message::Refused(refused)));
    assert!(matches!(rig.event(), Event::Link { link: LinkId(3), event: LinkEvent::Down, .. }));
    other.join().unwrap();
}

#[test]
fn a_connection_that_wants_a_small_buffer_does_not_wait_behind_one_that_wants_a_large_one() {
    let classes = [
        Class { size: 4096, count: 2 },
        Class { size: 16 * 1024, count: 2 },
        Class { size: 1 << 20, count: 1 },
    ];
    for small_first in [false, true] {
        let mut rig = Rig::new(&classes, &[]);
        let mut scratches: Vec<Buf> = (0..2).map(|_| rig.buffers.pool().take(16 * 1024).unwrap()).collect();
        let (large, rest): (Vec<Buf>, Vec<Buf>) =
            rig.take_all().into_iter().partition(|buf| buf.capacity() == 1 << 20);
        let ((mut small_peer, small), (_large_peer, large_socket)) = (pair(), pair());
        let mut order = vec![(small, SessionKind::Control), (large_socket, SessionKind::Append)];
        if !small_first {
            order.reverse();
        }
        for (socket, kind) in order {
            // Room for what it sends, and for nothing that it receives.
            scratches.pop();
            assert!(rig.with(|links, context| links.adopt(context, Owner::Relay, socket, hello(kind))));
            assert!(matches!(rig.event(), Event::Hello { .. }));
        }
        assert_eq!(rig.counters.starved_receives.get(), 2);
        drop(rest);
        small_peer
            .write_all(&encoded(&Message::Ping(Ping { stamp: 5, answerable: Position::BEYOND })))
            .unwrap();
        assert_eq!(rig.message().2, Message::Ping(Ping { stamp: 5, answerable: Position::BEYOND }));
        assert_eq!(rig.counters.starved_receives.get(), 2, "one wait counts once");
        drop(large);
    }
}

#[test]
fn a_link_that_its_machine_has_closed_brings_no_more_events() {
    let mut rig = Rig::new(&[Class { size: 16 * 1024, count: 8 }], &[]);
    let (mut peer, socket) = pair();
    assert!(rig.with(|links, context| links.adopt(
        context,
        Owner::Relay,
        socket,
        hello(SessionKind::Control)
    )));
    let Event::Hello { link, .. } = rig.event() else { panic!("no greeting") };
    let ping = encoded(&Message::Ping(Ping { stamp: 1, answerable: Position::BEYOND }));
    peer.write_all(&[ping.clone(), ping.clone(), ping].concat()).unwrap();
    assert!(matches!(rig.event(), Event::Link { event: LinkEvent::Message(_), .. }));
    let last = Message::Ping(Ping { stamp: 2, answerable: Position::BEYOND });
    rig.links.send(link, Out::Message(last.clone()));
    rig.with(|links, context| links.close(context, link));
    assert!(rig.events.is_empty(), "what had come already is taken back");
    // What was queued before the close still goes out, then the end.
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        bytes
    });
    for _ in 0..500 {
        while let Some(completion) = rig.ring.next_completion() {
            rig.with(|links, context| links.on_completion(context, completion));
        }
        if rig.links.open() == 0 {
            break;
        }
        rig.ring.wait(1, Some(Duration::from_millis(20))).unwrap();
    }
    assert_eq!((rig.links.open(), rig.events.len()), (0, 0));
    assert_eq!(reader.join().unwrap(), encoded(&last));
}
