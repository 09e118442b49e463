//! A TCP proxy that makes a path long: what comes in at one end goes out at the other a while later, unchanged.
//!
//! ```text
//!  connects ──▶ recv ──▶ [ (due, bytes) (due, bytes) … ] ──▶ send ──▶ listens
//!           ◀── send ◀── [ … (due, bytes) (due, bytes) ] ◀── recv ◀──
//! ```
//!
//! One thread with one ring. It delays and limits nothing else: a queue holds what a path of 100 ms carries at 1 GB/s,
//! and where it is full the sender's own window stops it, as on a real path. Opening a connection is not delayed.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use midspan_uring::clock::boottime_ns;
use midspan_uring::socket::SocketOptions;
use midspan_uring::{
    Address, Buf, Class, Completion, Config, Kind, Listener, ListenerId, MAX_PARTS, Pool, Ring, Socket,
    SocketId, Waker,
};

/// What is received at once at most.
const LARGE: usize = 128 * 1024;
/// What fits into this is moved there while it waits, so that many short messages do not hold large buffers.
const SMALL: usize = 4096;
/// Large ones: 100 MB, which is 1 GB/s for the 50 ms of one way and as much again.
const LARGE_COUNT: usize = 800;
/// Small ones: one each 12 us for 50 ms.
const SMALL_COUNT: usize = 4096;

/// A sleep ends so much later than asked (the kernel's default for threads), so that it is asked to end earlier.
const SLACK_NS: u64 = 50_000;
/// What is due so soon is sent at once: between the two it looks at the clock again and again.
const EARLY_NS: u64 = 20_000;

/// How long a path is; all proxies that share it change together.
#[derive(Debug, Default)]
pub struct Distance(AtomicU64);

impl Distance {
    /// From now on there and back take so long.
    pub fn set_round_trip(&self, time: Duration) {
        self.0.store(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) / 2, Ordering::Relaxed);
    }

    /// One way, nanoseconds.
    fn one_way_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A running proxy; its connections are cut when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts one in front of `target`.
    ///
    /// # Errors
    /// When no port is free, or the ring cannot be made.
    pub fn start(target: SocketAddr, distance: Arc<Distance>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free loopback port")?;
        let address = listener.local_addr()?;
        let listener = Listener::adopt(listener.into())?;
        let stop = Arc::new(AtomicBool::new(false));
        let (started, waker) = mpsc::sync_channel(1);
        let thread = {
            let stop = Arc::clone(&stop);
            // A ring stays on the thread that made it.
            thread::spawn(move || match Path::new(listener, target, distance) {
                Ok(mut path) => {
                    let _ = started.send(Ok(path.ring.waker()));
                    if let Err(error) = path.run(&stop) {
                        crate::show::say(&format!(
                            "midspan-bench: the proxy to {target} has ended: {error:#}"
                        ));
                    }
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            })
        };
        let waker = waker.recv().map_err(|_| anyhow!("the proxy's thread has panicked"))??;
        Ok(Self { address, stop, waker, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One direction of a connection.
struct Flow {
    from: SocketId,
    to: SocketId,
    queue: VecDeque<(u64, Buf)>,
    is_receiving: bool,
    /// Parts of the queue's front that are being sent.
    sending: usize,
    /// When the end of the stream is due; nothing comes behind it.
    end_ns: Option<u64>,
    has_ended: bool,
}

impl Flow {
    fn new(from: SocketId, to: SocketId) -> Self {
        let queue = VecDeque::new();
        Self { from, to, queue, is_receiving: false, sending: 0, end_ns: None, has_ended: false }
    }

    /// When there is something to do next.
    fn due_ns(&self) -> Option<u64> {
        match self.queue.front() {
            Some(_) if self.sending > 0 => None,
            Some((due, _)) => Some(*due),
            None => self.end_ns.filter(|_| !self.has_ended),
        }
    }
}

/// A connection: the one that came in and the one that it goes on in, one flow each way.
struct Link {
    sockets: [SocketId; 2],
    flows: [Flow; 2],
    is_closing: bool,
    open: usize,
}

struct Path {
    ring: Ring,
    listener: ListenerId,
    target: SocketAddr,
    distance: Arc<Distance>,
    /// Accepted connections whose other half is still connecting.
    halves: BTreeMap<u64, Socket>,
    links: BTreeMap<u64, Link>,
    next: u64,
}

impl Path {
    fn new(listener: Listener, target: SocketAddr, distance: Arc<Distance>) -> Result<Self> {
        let classes = [Class { size: SMALL, count: SMALL_COUNT }, Class { size: LARGE, count: LARGE_COUNT }];
        let pool = Pool::new(&classes, true)?;
        // Not pinned: it stands for a wire, which takes no core of those that are measured if there is another.
        let mut ring =
            Ring::new(Config { entries: 256, operations: 1024, vectors: 128, descriptors: 128 }, &pool)?;
        let listener = ring.add_listener(listener)?;
        ring.accept(listener, 0)?;
        let (halves, links) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { ring, listener, target, distance, halves, links, next: 1 })
    }

    fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            while let Some(done) = self.ring.next_completion() {
                self.on_completion(done)?;
            }
            let due_ns = self.forward(boottime_ns() + EARLY_NS)?;
            let wait = due_ns.map(|due| due.saturating_sub(boottime_ns() + SLACK_NS));
            // Closer than a sleep can be told, it only looks again.
            self.ring.wait(usize::from(wait != Some(0)), wait.map(Duration::from_nanos))?;
        }
        Ok(())
    }

    fn on_completion(&mut self, done: Completion) -> Result<()> {
        match done.kind {
            Kind::Accept => {
                if !done.more {
                    self.ring.accept(self.listener, 0)?;
                }
                if let Some(socket) = done.socket {
                    self.ring.connect(&Address::Tcp(self.target), self.next)?;
                    self.halves.insert(self.next, socket);
                    self.next += 1;
                }
                Ok(())
            }
            Kind::Connect => {
                let near = self.halves.remove(&done.user);
                // Without a far end the near one is closed: who connected sees it and tries again.
                let (Some(near), Some(far), Ok(_)) = (near, done.socket, done.result) else { return Ok(()) };
                self.join(done.user, near, far)
            }
            Kind::Recv => self.on_received(done),
            Kind::Send => self.on_sent(&done),
            Kind::Close => {
                if let Some(link) = self.links.get_mut(&done.user) {
                    link.open -= 1;
                    if link.open == 0 {
                        self.links.remove(&done.user);
                    }
                }
                Ok(())
            }
            Kind::Read | Kind::Write | Kind::Flush | Kind::Zero => Ok(()),
        }
    }

    fn join(&mut self, number: u64, near: Socket, far: Socket) -> Result<()> {
        let options = SocketOptions::default();
        if near.tune(&options).and_then(|()| far.tune(&options)).is_err() {
            return Ok(());
        }
        let (near, far) = (self.ring.add_socket(near)?, self.ring.add_socket(far)?);
        let flows = [Flow::new(near, far), Flow::new(far, near)];
        self.links.insert(number, Link { sockets: [near, far], flows, is_closing: false, open: 2 });
        Ok(())
    }

    fn on_received(&mut self, done: Completion) -> Result<()> {
        let due_ns = boottime_ns() + self.distance.one_way_ns();
        let received = match (done.result, done.buf) {
            (Ok(0), _) => None,
            (Ok(_), Some(buf)) => Some(self.shrunk(buf)),
            (Ok(_), None) | (Err(_), _) => return self.close(done.user >> 1),
        };
        let Some(flow) = self.flow(done.user) else { return Ok(()) };
        flow.is_receiving = false;
        // A path that has become shorter does not overtake itself.
        let due_ns = due_ns.max(flow.queue.back().map_or(0, |(due, _)| *due));
        match received {
            Some(buf) => flow.queue.push_back((due_ns, buf)),
            None => flow.end_ns = Some(due_ns),
        }
        Ok(())
    }

    /// The same bytes in a small buffer, if they fit and one is free.
    fn shrunk(&self, buf: Buf) -> Buf {
        if buf.filled() > SMALL {
            return buf;
        }
        let small = self.ring.pool().take(SMALL).filter(|small| small.capacity() == SMALL);
        small.and_then(|mut small| small.append(buf.bytes()).map(|_| small)).unwrap_or(buf)
    }

    fn flow(&mut self, user: u64) -> Option<&mut Flow> {
        self.links.get_mut(&(user >> 1))?.flows.get_mut(usize::from(user & 1 == 1))
    }

    fn on_sent(&mut self, done: &Completion) -> Result<()> {
        if done.result.is_err() {
            return self.close(done.user >> 1);
        }
        if let Some(flow) = self.flow(done.user) {
            flow.queue.drain(..flow.sending);
            flow.sending = 0;
        }
        Ok(())
    }

    fn close(&mut self, number: u64) -> Result<()> {
        if let Some(link) = self.links.get_mut(&number)
            && !std::mem::replace(&mut link.is_closing, true)
        {
            for socket in link.sockets {
                self.ring.close(socket, number)?;
            }
        }
        Ok(())
    }

    /// Sends what is due by then, receives where nothing is being received, and says when the next is due.
    fn forward(&mut self, now_ns: u64) -> Result<Option<u64>> {
        let mut next_ns: Option<u64> = None;
        let mut broken = Vec::new();
        for (number, link) in self.links.iter_mut().filter(|(_, link)| !link.is_closing) {
            for (direction, flow) in link.flows.iter_mut().enumerate() {
                let user = number << 1 | direction as u64;
                if flow.due_ns().is_some_and(|due| due <= now_ns)
                    && !push(&mut self.ring, flow, now_ns, user)?
                {
                    broken.push(*number);
                }
                if !flow.is_receiving
                    && flow.end_ns.is_none()
                    && let Some(buf) = self.ring.pool().take(LARGE)
                {
                    self.ring.recv(flow.from, buf, user)?;
                    flow.is_receiving = true;
                }
                next_ns = [next_ns, flow.due_ns()].into_iter().flatten().min();
            }
            if link.flows.iter().all(|flow| flow.has_ended) {
                broken.push(*number);
            }
        }
        for number in broken {
            self.close(number)?;
        }
        Ok(next_ns)
    }
}

/// Sends what is due in this flow; false where its connection is broken.
fn push(ring: &mut Ring, flow: &mut Flow, now_ns: u64, user: u64) -> Result<bool> {
    let due = flow.queue.iter().take(MAX_PARTS).take_while(|(due, _)| *due <= now_ns);
    let parts: Vec<(Buf, Range<usize>)> = due.map(|(_, buf)| (buf.clone(), 0..buf.filled())).collect();
    if parts.is_empty() {
        // The end of the stream: what was sent before it is on its way.
        flow.has_ended = true;
        return Ok(ring.socket(flow.to).is_some_and(|socket| socket.shutdown(Shutdown::Write).is_ok()));
    }
    flow.sending = parts.len();
    Ok(ring.send(flow.to, &parts, user).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn echo(listener: &TcpListener) {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = vec![0; 1 << 20];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            stream.write_all(&bytes[..count]).unwrap();
        }
    }

    /// An echo server behind a proxy of this length; what `play` does with a connection to it.
    fn with_echo(round_trip: Duration, play: impl FnOnce(TcpStream)) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let distance = Arc::new(Distance::default());
        distance.set_round_trip(round_trip);
        let proxy = Proxy::start(listener.local_addr().unwrap(), distance).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| echo(&listener));
            play(TcpStream::connect(proxy.address()).unwrap());
        });
    }

    #[test]
    fn every_byte_arrives_in_order_and_the_end_of_the_stream_behind_them() {
        with_echo(Duration::from_millis(2), |mut stream| {
            let sent: Vec<u8> =
                (0..3_000_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
            let mut sender = stream.try_clone().unwrap();
            let copy = sent.clone();
            let sending = thread::spawn(move || {
                for piece in copy.chunks(70_001) {
                    sender.write_all(piece).unwrap();
                }
                sender.shutdown(Shutdown::Write).unwrap();
            });
            let mut found = Vec::new();
            stream.read_to_end(&mut found).unwrap();
            sending.join().unwrap();
            assert!(found == sent);
        });
    }

    #[test]
    fn an_answer_takes_at_least_the_round_trip() {
        let round_trip = Duration::from_millis(20);
        with_echo(round_trip, |mut stream| {
            let before = boottime_ns();
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0]).unwrap();
            // Each way may be as much too short as is sent early.
            assert!(boottime_ns() - before >= 20_000_000 - 2 * EARLY_NS);
        });
    }

    #[test]
    fn who_finds_nobody_behind_the_proxy_sees_the_connection_closed() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = listener.local_addr().unwrap();
        drop(listener);
        let proxy = Proxy::start(target, Arc::default()).unwrap();
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    }
}
