//! Measures three ways to get frames from a socket into aligned memory, where they can be written to a disk as they are.
//!
//! `cargo run --release -p midspan-uring --example receive`. Needs two cores: one sends, one receives.
//!
//! | way | |
//! | --- | --- |
//! | direct | one receive for each frame, exactly its length, straight into the aligned slot |
//! | chunk | receives of whatever is there into a slot of 1 MiB; frames lie one behind the other in it |
//! | provided | one multishot receive into small buffers that the kernel picks; each is copied to the aligned slot |
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a tool of developers: it may stop with a panic"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering, fence};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use midspan_uring::affinity;
use midspan_uring::clock::boottime_ns;

/// The slot that frames must come to lie in.
const SLOT_BYTES: usize = 1 << 20;
/// Provided buffers: as many as hold four slots.
const PROVIDED_BYTES: usize = 16 << 10;
const PROVIDED: u16 = 256;
/// Bytes that one streaming run moves.
const STREAM_BYTES: usize = 2 << 30;
/// Frames of one run there and back.
const EXCHANGES: usize = 20_000;
const REPLY: [u8; 64] = [7; 64];

/// Page-aligned zeroed memory, never given back: this program ends soon.
fn pages(bytes: usize) -> &'static mut [u8] {
    // SAFETY: an anonymous mapping of its own, at no address that is asked for.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
            -1,
            0,
        )
    };
    assert!(at != libc::MAP_FAILED, "no memory");
    // SAFETY: the mapping has just been made, is that long, zeroed, and nobody else knows it.
    unsafe { std::slice::from_raw_parts_mut(at.cast(), bytes) }
}

/// A ring as the engine makes it.
fn ring() -> IoUring {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(1024);
    builder.build(64).unwrap()
}

fn submit(ring: &mut IoUring, entry: &squeue::Entry) {
    // SAFETY: all memory that entries here name is mapped until the program ends.
    unsafe { ring.submission().push(entry) }.unwrap();
}

fn next(ring: &mut IoUring) -> cqueue::Entry {
    loop {
        if let Some(done) = ring.completion().next() {
            return done;
        }
        ring.submit_and_wait(1).unwrap();
    }
}

/// Gets frames from a socket, one behind the other.
trait Way {
    /// Waits until the next frame of `bytes` lies in one piece in aligned memory; its last byte.
    fn frame(&mut self, bytes: usize) -> u8;
}

struct Direct {
    ring: IoUring,
    fd: RawFd,
    slot: &'static mut [u8],
}

impl Way for Direct {
    fn frame(&mut self, bytes: usize) -> u8 {
        let entry = opcode::Recv::new(Fd(self.fd), self.slot.as_mut_ptr(), bytes as u32)
            .flags(libc::MSG_WAITALL)
            .build();
        submit(&mut self.ring, &entry);
        assert_eq!(next(&mut self.ring).result(), bytes as i32);
        self.slot[bytes - 1]
    }
}

struct Chunk {
    ring: IoUring,
    fd: RawFd,
    slot: &'static mut [u8],
    /// Bytes that are there, and those of them that were taken.
    filled: usize,
    taken: usize,
}

impl Way for Chunk {
    fn frame(&mut self, bytes: usize) -> u8 {
        if self.taken + bytes > SLOT_BYTES {
            // The next slot begins with the frame that was cut: its part is moved.
            self.slot.copy_within(self.taken..self.filled, 0);
            (self.filled, self.taken) = (self.filled - self.taken, 0);
        }
        while self.filled < self.taken + bytes {
            let room = &mut self.slot[self.filled..];
            let entry = opcode::Recv::new(Fd(self.fd), room.as_mut_ptr(), room.len() as u32).build();
            submit(&mut self.ring, &entry);
            let got = next(&mut self.ring).result();
            assert!(got > 0, "{got}");
            self.filled += got as usize;
        }
        self.taken += bytes;
        self.slot[self.taken - 1]
    }
}

struct Provided {
    ring: IoUring,
    fd: RawFd,
    slot: &'static mut [u8],
    filled: usize,
    taken: usize,
    buffers: &'static mut [u8],
    entries: *mut BufRingEntry,
    tail: u16,
    armed: bool,
}

impl Provided {
    fn new(fd: RawFd) -> Self {
        let ring = ring();
        let entries = pages(usize::from(PROVIDED) * size_of::<BufRingEntry>()).as_mut_ptr().cast();
        // SAFETY: the entries are mapped, page-aligned, as many as said, until the program ends.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries as u64, PROVIDED, 0, 0) }.unwrap();
        let buffers = pages(PROVIDED_BYTES * usize::from(PROVIDED));
        let slot = pages(SLOT_BYTES);
        let mut way = Self { ring, fd, slot, filled: 0, taken: 0, buffers, entries, tail: 0, armed: false };
        (0..PROVIDED).for_each(|number| way.give(number));
        way
    }

    /// Gives a buffer to the kernel.
    fn give(&mut self, number: u16) {
        let at = usize::from(self.tail & (PROVIDED - 1));
        let buffer = &self.buffers[usize::from(number) * PROVIDED_BYTES..];
        // SAFETY: `at` is below the number of entries, which lie in one mapping.
        let entry = unsafe { self.entries.add(at) };
        // SAFETY: mapped, aligned, and the kernel reads this entry only once the tail is past it.
        let entry = unsafe { &mut *entry };
        entry.set_addr(buffer.as_ptr() as u64);
        entry.set_len(PROVIDED_BYTES as u32);
        entry.set_bid(number);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the base address of the registered ring.
        let tail = unsafe { BufRingEntry::tail(self.entries) };
        // SAFETY: the tail lies in the mapped ring, is aligned, and the kernel only reads it.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        fence(Ordering::Release);
        tail.store(self.tail, Ordering::Release);
    }
}

impl Way for Provided {
    fn frame(&mut self, bytes: usize) -> u8 {
        if self.taken + bytes > SLOT_BYTES {
            self.slot.copy_within(self.taken..self.filled, 0);
            (self.filled, self.taken) = (self.filled - self.taken, 0);
        }
        while self.filled < self.taken + bytes {
            if !std::mem::replace(&mut self.armed, true) {
                submit(&mut self.ring, &opcode::RecvMulti::new(Fd(self.fd), 0).build());
            }
            let done = next(&mut self.ring);
            self.armed = cqueue::more(done.flags());
            let Some(number) = cqueue::buffer_select(done.flags()) else {
                assert_eq!(done.result(), -libc::ENOBUFS);
                continue;
            };
            let got = done.result() as usize;
            let mut from = usize::from(number) * PROVIDED_BYTES;
            let end = from + got;
            // What does not fit into the slot begins the next one.
            while from < end {
                let fits = (end - from).min(SLOT_BYTES - self.filled);
                if fits == 0 {
                    self.slot.copy_within(self.taken.., 0);
                    (self.filled, self.taken) = (self.filled - self.taken, 0);
                    continue;
                }
                self.slot[self.filled..][..fits].copy_from_slice(&self.buffers[from..][..fits]);
                self.filled += fits;
                from += fits;
            }
            self.give(number);
        }
        self.taken += bytes;
        self.slot[self.taken - 1]
    }
}

fn way(name: &str, socket: &TcpStream) -> Box<dyn Way> {
    let fd = socket.as_raw_fd();
    match name {
        "direct" => Box::new(Direct { ring: ring(), fd, slot: pages(SLOT_BYTES) }),
        "chunk" => Box::new(Chunk { ring: ring(), fd, slot: pages(SLOT_BYTES), filled: 0, taken: 0 }),
        _ => Box::new(Provided::new(fd)),
    }
}

/// CPU time of this thread, nanoseconds, to the microsecond.
fn cpu_ns() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is a live place of this frame for what is asked.
    let answer = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
    assert_eq!(answer, 0);
    // SAFETY: zeroed, and filled by the call: numbers.
    let usage = unsafe { usage.assume_init() };
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1000;
    ns(usage.ru_utime) + ns(usage.ru_stime)
}

/// What one run found.
#[derive(Clone, Copy, Default)]
struct Found {
    /// Streaming: megabytes a second, and the receiver's CPU time for each frame, ns.
    mbps: f64,
    cpu_ns: f64,
    /// There and back: half of all, ns.
    p50_ns: f64,
}

fn measure(name: &str, bytes: usize) -> Found {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let cores = affinity::current_cores();
    let (first, last) = (cores[0], *cores.last().unwrap());
    let frames = STREAM_BYTES / bytes;
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            affinity::pin(last).unwrap();
            let mut far = far;
            let mut way = way(name, &far);
            let (began, cpu) = (boottime_ns(), cpu_ns());
            for _ in 0..frames {
                assert_eq!(way.frame(bytes), 3);
            }
            let (took, cpu) = (boottime_ns() - began, cpu_ns() - cpu);
            for _ in 0..EXCHANGES {
                way.frame(bytes);
                far.write_all(&REPLY).unwrap();
            }
            (took, cpu)
        });
        affinity::pin(first).unwrap();
        let frame = vec![3; bytes];
        (0..frames).for_each(|_| near.write_all(&frame).unwrap());
        let mut each = Vec::with_capacity(EXCHANGES);
        for _ in 0..EXCHANGES {
            let began = boottime_ns();
            near.write_all(&frame).unwrap();
            near.read_exact(&mut REPLY.clone()).unwrap();
            each.push(boottime_ns() - began);
        }
        let (took, cpu) = receiver.join().unwrap();
        each.sort_unstable();
        Found {
            mbps: (frames * bytes) as f64 * 1e3 / took as f64,
            cpu_ns: cpu as f64 / frames as f64,
            p50_ns: each[EXCHANGES / 2] as f64,
        }
    })
}

fn main() {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{:<10} {:>12} {:>10} {:>14} {:>16}",
        "way", "frame bytes", "MB/s", "CPU ns a frame", "there+back p50 ns"
    )
    .unwrap();
    // A frame of one 4 KiB and of one 128 KiB write: a block of head before the data.
    for bytes in [8192, 132 << 10] {
        // In turn, several times: what disturbs one disturbs all.
        let ways = ["direct", "chunk", "provided"];
        let mut found = ways.map(|_| Vec::new());
        for _ in 0..5 {
            for (name, list) in ways.iter().zip(&mut found) {
                list.push(measure(name, bytes));
            }
        }
        for (name, list) in ways.iter().zip(&found) {
            let median = |take: fn(&Found) -> f64| {
                let mut all: Vec<f64> = list.iter().map(take).collect();
                all.sort_by(f64::total_cmp);
                all[all.len() / 2]
            };
            let (mbps, cpu, p50) = (median(|f| f.mbps), median(|f| f.cpu_ns), median(|f| f.p50_ns));
            writeln!(out, "{name:<10} {bytes:>12} {mbps:>10.0} {cpu:>14.0} {p50:>16.0}").unwrap();
        }
    }
}
