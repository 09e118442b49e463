//! TCP and unix sockets through the ring, against the standard library's sockets as the other side.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod rig;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use midspan_uring::socket::SocketOptions;
use midspan_uring::{Address, Errno, Kind, Listener, MAX_PARTS, Refused, Ring, Socket};
use rig::{Scratch, filled, next, next_within, ring, tcp_pair};

fn any_port() -> Address {
    Address::Tcp("127.0.0.1:0".parse().unwrap())
}

#[test]
fn a_listener_accepts_connections_until_it_is_closed() {
    let mut ring = ring();
    let listener = ring.add_listener(Listener::bind(&any_port()).unwrap()).unwrap();
    let local = ring.listener(listener).unwrap().local().unwrap();
    ring.accept(listener, 5).unwrap();
    ring.wait(0, None).unwrap();
    let mut peers = Vec::new();
    for _ in 0..3 {
        peers.push(std::net::TcpStream::connect(local).unwrap());
        let done = next(&mut ring);
        assert_eq!((done.user, done.kind, done.result, done.more), (5, Kind::Accept, Ok(0), true));
        let socket = done.socket.unwrap();
        socket.tune(&SocketOptions::default()).unwrap();
        assert_eq!(socket.peer().unwrap(), peers.last().unwrap().local_addr().unwrap());
    }
    ring.close_listener(listener, 6).unwrap();
    let last = next(&mut ring);
    assert_eq!((last.kind, last.result, last.more), (Kind::Accept, Err(Errno::CANCELED), false));
    let closed = next(&mut ring);
    assert_eq!((closed.user, closed.kind), (6, Kind::Close));
    assert!(std::net::TcpStream::connect(local).is_err());
    assert_eq!(ring.accept(listener, 5), Err(Refused::Unknown));
}

#[test]
fn a_connection_is_made_over_tcp_and_unix() {
    let scratch = Scratch::new();
    for address in
        [any_port(), Address::Tcp("[::1]:0".parse().unwrap()), Address::Unix(scratch.path("socket"))]
    {
        let mut ring = ring();
        let Ok(listener) = Listener::bind(&address) else {
            println!("skipped: cannot listen at {address}");
            continue;
        };
        let address = listener.local().map_or(address, Address::Tcp);
        let listener = ring.add_listener(listener).unwrap();
        ring.accept(listener, 1).unwrap();
        ring.connect(&address, 2).unwrap();
        let (first, second) = (next(&mut ring), next(&mut ring));
        let (accepted, connected) =
            if first.kind == Kind::Accept { (first, second) } else { (second, first) };
        assert_eq!((connected.user, connected.result), (2, Ok(0)));
        let (accepted, connected) = (accepted.socket.unwrap(), connected.socket.unwrap());
        connected.tune(&SocketOptions::default()).unwrap();
        let (left, right) = (ring.add_socket(accepted).unwrap(), ring.add_socket(connected).unwrap());
        let buf = filled(&ring, 1000, 3);
        ring.send(left, &[(buf, 0..1000)], 3).unwrap();
        ring.recv_exact(right, ring.pool().take(1000).unwrap(), 1000, 4).unwrap();
        let both = [next(&mut ring), next(&mut ring)];
        assert!(both.iter().all(|done| done.result == Ok(1000)), "{both:?}");
    }
}

#[test]
fn a_refused_connection_is_an_error_of_its_completion() {
    let mut ring = ring();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    ring.connect(&Address::Tcp(free), 1).unwrap();
    let done = next(&mut ring);
    assert_eq!((done.kind, done.result), (Kind::Connect, Err(Errno::CONNECTION_REFUSED)));
    assert!(done.socket.is_none());
}

#[test]
fn a_connect_without_an_answer_can_be_cancelled() {
    let mut ring = ring();
    // A full accept queue of a listener that never accepts: further connects get no answer.
    let full = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(full.local_addr().unwrap());
    let mut held = Vec::new();
    let stuck = loop {
        let op = ring.connect(&address, 1).unwrap();
        match next_within(&mut ring, Duration::from_millis(300)) {
            Some(done) => held.push(done.socket.unwrap()),
            None => break op,
        }
        assert!(held.len() < 10_000);
    };
    ring.cancel(stuck);
    let done = next(&mut ring);
    assert_eq!((done.result, done.socket.is_none()), (Err(Errno::CANCELED), true));
    ring.cancel(stuck);
    assert!(next_within(&mut ring, Duration::from_millis(10)).is_none(), "a stale name is harmless");
}

#[test]
fn receives_append_and_see_the_end() {
    let mut ring = ring();
    let (mut peer, socket) = tcp_pair(&mut ring);
    peer.write_all(b"hello ").unwrap();
    let buf = ring.pool().take(4096).unwrap();
    ring.recv(socket, buf.clone(), 1).unwrap();
    assert_eq!(
        ring.recv(socket, ring.pool().take(1).unwrap(), 1),
        Err(Refused::Busy),
        "one receive a socket"
    );
    assert_eq!(next(&mut ring).result, Ok(6));
    let seen = buf.clone();
    ring.recv(socket, buf.clone(), 2).unwrap();
    ring.wait(0, None).unwrap();
    assert_eq!(seen.bytes(), b"hello ");
    peer.write_all(b"world").unwrap();
    assert_eq!(next(&mut ring).result, Ok(5));
    assert_eq!(buf.bytes(), b"hello world");
    peer.shutdown(Shutdown::Write).unwrap();
    ring.recv(socket, buf.clone(), 3).unwrap();
    assert_eq!(next(&mut ring).result, Ok(0));
    assert_eq!(buf.filled(), 11);
}

#[test]
fn an_exact_receive_waits_for_all_and_tells_how_much_came_before_the_end() {
    let mut ring = ring();
    let (mut peer, socket) = tcp_pair(&mut ring);
    ring.recv_exact(socket, ring.pool().take(200_000).unwrap(), 200_000, 1).unwrap();
    ring.wait(0, None).unwrap();
    let sender = std::thread::spawn(move || {
        for piece in vec![7; 200_000].chunks(1111) {
            peer.write_all(piece).unwrap();
        }
        peer.write_all(&[8; 100]).unwrap();
    });
    let done = next(&mut ring);
    assert_eq!(done.result, Ok(200_000));
    assert!(done.buf.unwrap().bytes().iter().all(|&byte| byte == 7));
    ring.recv_exact(socket, ring.pool().take(4096).unwrap(), 4096, 1).unwrap();
    let done = next(&mut ring);
    assert_eq!((done.result, done.buf.unwrap().filled()), (Ok(100), 100));
    sender.join().unwrap();
}

/// Fills a socket whose peer does not read until a send stays in flight; returns what the peer will see.
fn big_sends(ring: &mut Ring, socket: midspan_uring::SocketId, rounds: u64) -> Vec<u8> {
    let mut expected = Vec::new();
    for round in 0..rounds {
        let buf = filled(ring, 1 << 20, round as u8);
        let parts: Vec<_> = (0..MAX_PARTS).map(|part| (buf.clone(), part..part * 100 + 9000)).collect();
        parts.iter().for_each(|(buf, range)| expected.extend_from_slice(&buf.bytes()[range.clone()]));
        ring.send(socket, &parts, round).unwrap();
    }
    expected
}

#[test]
fn big_vectors_through_a_small_socket_buffer_arrive_whole_and_in_order() {
    let mut ring = ring();
    let (mut peer, socket) = tcp_pair(&mut ring);
    let small = SocketOptions { send_buffer: Some(4096), ..SocketOptions::default() };
    ring.socket(socket).unwrap().tune(&small).unwrap();
    let expected = big_sends(&mut ring, socket, 4);
    let total = expected.len();
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; total];
        peer.read_exact(&mut all).unwrap();
        all
    });
    for round in 0..4 {
        let done = next(&mut ring);
        assert_eq!((done.user, done.kind, done.result), (round, Kind::Send, Ok(total as u32 / 4)));
    }
    assert!(reader.join().unwrap() == expected);
}

#[test]
fn sending_to_a_dead_peer_fails_the_queue_and_breaks_the_socket() {
    let mut ring = ring();
    let (peer, socket) = tcp_pair(&mut ring);
    let small = SocketOptions { send_buffer: Some(4096), ..SocketOptions::default() };
    ring.socket(socket).unwrap().tune(&small).unwrap();
    big_sends(&mut ring, socket, 4);
    ring.wait(0, None).unwrap();
    drop(peer);
    let first = next(&mut ring);
    let reset = [Err(Errno::BROKEN_PIPE), Err(Errno::CONNECTION_RESET)];
    assert!(first.user == 0 && reset.contains(&first.result), "{first:?}");
    for round in 1..4 {
        let done = next(&mut ring);
        assert_eq!((done.user, done.result), (round, Err(Errno::CANCELED)));
    }
    let buf = filled(&ring, 10, 1);
    assert_eq!(ring.send(socket, &[(buf, 0..10)], 9), Err(Refused::Closed));
    ring.close(socket, 10).unwrap();
    assert_eq!(next(&mut ring).kind, Kind::Close);
    assert_eq!(ring.pool().available(1 << 20), 4);
}

#[test]
fn closing_ends_everything_and_then_says_so() {
    let mut ring = ring();
    let (_peer, socket) = tcp_pair(&mut ring);
    let small = SocketOptions { send_buffer: Some(4096), ..SocketOptions::default() };
    ring.socket(socket).unwrap().tune(&small).unwrap();
    ring.recv(socket, ring.pool().take(4096).unwrap(), 100).unwrap();
    big_sends(&mut ring, socket, 4);
    while next_within(&mut ring, Duration::from_millis(50)).is_some() {}
    ring.close(socket, 200).unwrap();
    assert_eq!(ring.close(socket, 201), Err(Refused::Closed));
    assert_eq!(ring.recv(socket, ring.pool().take(1).unwrap(), 1), Err(Refused::Busy));
    let buf = filled(&ring, 10, 1);
    assert_eq!(ring.send(socket, &[(buf, 0..10)], 9), Err(Refused::Closed));
    let mut users = Vec::new();
    loop {
        let done = next(&mut ring);
        if done.kind == Kind::Close {
            assert_eq!(done.user, 200);
            break;
        }
        assert_eq!(done.result, Err(Errno::CANCELED));
        users.push(done.user);
    }
    users.sort_unstable();
    assert_eq!(users.last(), Some(&100));
    assert_eq!(ring.in_flight(), 0);
    assert_eq!((ring.pool().available(1), ring.socket(socket).is_none()), (84, true));
}

#[test]
fn a_socket_moves_to_another_thread() {
    let mut ring = ring();
    let (mut peer, id) = tcp_pair(&mut ring);
    let op = ring.recv(id, ring.pool().take(4096).unwrap(), 1).unwrap();
    assert_eq!(ring.remove_socket(id).unwrap_err(), Refused::Busy);
    ring.cancel(op);
    assert_eq!(next(&mut ring).result, Err(Errno::CANCELED));
    let socket: Socket = ring.remove_socket(id).unwrap();
    assert!(ring.socket(id).is_none());
    peer.write_all(b"for the other core").unwrap();
    std::thread::spawn(move || {
        let mut ring = rig::ring();
        let id = ring.add_socket(socket).unwrap();
        ring.recv(id, ring.pool().take(4096).unwrap(), 1).unwrap();
        assert_eq!(next(&mut ring).buf.unwrap().bytes(), b"for the other core");
    })
    .join()
    .unwrap();
}

#[test]
fn small_messages_are_appended_while_earlier_ones_are_on_their_way() {
    let mut ring = ring();
    let (mut peer, socket) = tcp_pair(&mut ring);
    let mut out = ring.pool().take(4096).unwrap();
    for number in 0..100_u8 {
        let range = out.append(&[number; 40]).unwrap();
        ring.send(socket, &[(out.clone(), range)], u64::from(number)).unwrap();
    }
    for number in 0..100 {
        let done = next(&mut ring);
        assert_eq!((done.user, done.result), (number, Ok(40)));
    }
    let mut all = [0; 4000];
    peer.read_exact(&mut all).unwrap();
    assert!(all.chunks(40).zip(0_u8..).all(|(message, number)| message == [number; 40]));
}

#[test]
fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let address = Address::Unix(path.clone());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left behind, as by a killed process");
    let listener = Listener::bind(&address).unwrap();
    assert_eq!(Listener::bind(&address).unwrap_err(), Errno::ADDRESS_IN_USE);
    drop(listener);
    assert!(!path.exists());
    std::fs::write(&path, "data").unwrap();
    assert_eq!(Listener::bind(&address).unwrap_err(), Errno::ADDRESS_IN_USE, "no socket: hands off");
}

#[test]
fn a_non_blocking_socket_of_another_runtime_still_waits_in_the_ring() {
    let mut ring = ring();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let ours = listener.accept().unwrap().0;
    ours.set_nonblocking(true).unwrap();
    let socket = ring.add_socket(Socket::adopt(ours.into()).unwrap()).unwrap();
    ring.recv(socket, ring.pool().take(4096).unwrap(), 1).unwrap();
    assert!(next_within(&mut ring, Duration::from_millis(20)).is_none());
    peer.write_all(b"x").unwrap();
    assert_eq!(next(&mut ring).result, Ok(1));
    assert_eq!(
        Listener::adopt(std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into()).unwrap_err(),
        Errno::INVALID
    );
}

#[test]
fn an_address_that_a_dying_process_still_holds_is_waited_for() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let addresses = [Address::Tcp(tcp.local_addr().unwrap()), Address::Unix(path)];
    std::thread::scope(|scope| {
        let binding = addresses.each_ref().map(|address| scope.spawn(|| Listener::bind(address)));
        std::thread::park_timeout(std::time::Duration::from_millis(100));
        drop((tcp, unix));
        for bound in binding {
            assert!(bound.join().unwrap().is_ok());
        }
    });
}
