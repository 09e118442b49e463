//! A small blocking NBD server around the machines, for tests: disks are vectors, every connection has a thread.
//!
//! It receives as the real one will: headers and the start of a payload come out of a stream buffer, the rest of a large payload
//! goes straight to where it belongs.
#![allow(dead_code, reason = "every test file uses its part")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use midspan_protocol::host::nbd::{BlockSizes, Context, Export, Mode, Session};
use midspan_protocol::host::nbd_wire::{Errno, state};
use midspan_protocol::host::negotiation::{INPUT_BYTES, Negotiation, Outcome};
use midspan_protocol::host::reply::Head;
use midspan_protocol::host::status::StatusChunk;
use midspan_protocol::host::transmission::{Command, Request, Step};

/// Dirty and allocation are known for each of these, in bytes.
const REGION: usize = 4096;
/// Reads are answered in pieces of this size, in bytes, when the client allows it.
const PIECE: usize = 64 << 10;
/// Reading this byte fails, on exports that have a bad block.
pub const BAD_OFFSET: u64 = 1 << 20;

/// A disk and how it is exported.
pub struct Disk {
    pub export: Export<'static>,
    pub bad_block: bool,
    bytes: Mutex<Vec<u8>>,
    dirty: Mutex<Vec<bool>>,
}

impl Disk {
    pub fn new(name: &'static str, size: usize) -> Self {
        let export = Export {
            name,
            description: "",
            size: size as u64,
            read_only: false,
            block: BlockSizes::DEFAULT,
            can_trim: true,
            can_zero: true,
            fast_zero: true,
            multi_conn: true,
            dirty_map: true,
            default: false,
            available: Ok(()),
        };
        let dirty = Mutex::new(vec![false; size.div_ceil(REGION)]);
        Self { export, bad_block: false, bytes: Mutex::new(vec![0; size]), dirty }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub fn fill(self, bytes: &[u8]) -> Self {
        self.bytes.lock().unwrap()[..bytes.len()].copy_from_slice(bytes);
        self
    }

    pub fn contents(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn write(&self, offset: u64, length: usize, change: impl FnOnce(&mut [u8])) {
        let start = usize::try_from(offset).unwrap();
        change(&mut self.bytes.lock().unwrap()[start..start + length]);
        self.dirty.lock().unwrap()[start / REGION..(start + length).div_ceil(REGION)].fill(true);
    }

    /// Flags of the region at `offset`, and bytes from there to its end.
    fn extent(&self, context: Context, offset: u64) -> (u64, u32) {
        let start = usize::try_from(offset).unwrap();
        let index = start / REGION;
        let flags = match context {
            Context::Allocation => {
                let bytes = self.bytes.lock().unwrap();
                let end = bytes.len().min((index + 1) * REGION);
                if bytes[index * REGION..end].iter().all(|byte| *byte == 0) {
                    state::HOLE | state::ZERO
                } else {
                    0
                }
            }
            Context::Dirty => {
                if self.dirty.lock().unwrap()[index] {
                    state::DIRTY
                } else {
                    0
                }
            }
        };
        (((index + 1) * REGION - start) as u64, flags)
    }
}

/// A server that lives until the end of the test process.
pub struct Server {
    pub disks: Arc<Vec<Disk>>,
    pub port: u16,
    /// The mode of every session there was.
    modes: Arc<Mutex<Vec<Mode>>>,
}

impl Server {
    /// Serves on a free port of the loopback interface.
    pub fn start(disks: Vec<Disk>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { disks: Arc::new(disks), port, modes: Arc::default() };
        let (disks, modes) = (server.disks.clone(), server.modes.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (disks, modes) = (disks.clone(), modes.clone());
                stream.set_nodelay(true).unwrap();
                thread::spawn(move || serve(&stream, &disks, &modes));
            }
        });
        server
    }

    /// Serves on a unix socket as well.
    pub fn listen_unix(&self, path: &Path) {
        let listener = UnixListener::bind(path).unwrap();
        let (disks, modes) = (self.disks.clone(), self.modes.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (disks, modes) = (disks.clone(), modes.clone());
                thread::spawn(move || serve(&stream, &disks, &modes));
            }
        });
    }

    pub fn uri(&self, export: &str) -> String {
        format!("nbd://127.0.0.1:{}/{export}", self.port)
    }

    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }

    pub fn saw(&self, mode: Mode) -> bool {
        self.modes.lock().unwrap().contains(&mode)
    }
}

/// Both kinds of stream, by reference.
trait Stream {
    fn receive(&self, into: &mut [u8]) -> usize;
    fn send(&self, bytes: &[u8]) -> bool;
}

macro_rules! stream {
    ($kind:ty) => {
        impl Stream for $kind {
            fn receive(&self, into: &mut [u8]) -> usize {
                let mut stream = self;
                stream.read(into).unwrap_or(0)
            }

            fn send(&self, bytes: &[u8]) -> bool {
                let mut stream = self;
                stream.write_all(bytes).is_ok()
            }
        }
    };
}
stream!(TcpStream);
stream!(UnixStream);

/// What was received and not consumed.
struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Receives once; false at the end of the stream.
    fn receive(&mut self, stream: &dyn Stream) -> bool {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let count = stream.receive(&mut self.bytes[self.end..]);
        self.end += count;
        count > 0
    }

    /// Takes what is here of a payload, then receives the rest directly.
    fn payload(&mut self, stream: &dyn Stream, into: &mut [u8]) -> bool {
        let here = into.len().min(self.end - self.start);
        into[..here].copy_from_slice(&self.bytes[self.start..self.start + here]);
        self.start += here;
        let mut filled = here;
        while filled < into.len() {
            match stream.receive(&mut into[filled..]) {
                0 => return false,
                count => filled += count,
            }
        }
        true
    }
}

fn serve(stream: &dyn Stream, disks: &[Disk], modes: &Mutex<Vec<Mode>>) {
    let mut input = Input { bytes: vec![0; INPUT_BYTES.max(64 << 10)], start: 0, end: 0 };
    let Some((disk, session)) = negotiate(stream, disks, &mut input) else { return };
    modes.lock().unwrap().push(session.mode());
    loop {
        match session.on_header(input.unread()) {
            Step::NeedMore => {
                if !input.receive(stream) {
                    return;
                }
            }
            Step::Request { consumed, request, payload } => {
                input.start += consumed;
                let mut data = vec![0; payload as usize];
                if !input.payload(stream, &mut data) || !carry_out(stream, disk, &session, &request, &data) {
                    return;
                }
            }
            Step::Answer { consumed, mut skip, to, result } => {
                input.start += consumed;
                while skip > 0 {
                    let mut waste = vec![0; skip.min(1 << 20) as usize];
                    if !input.payload(stream, &mut waste) {
                        return;
                    }
                    skip -= waste.len() as u64;
                }
                if !stream.send(session.encode_answer(to, result).bytes()) {
                    return;
                }
            }
            Step::Disconnect | Step::Close(_) => return,
        }
    }
}

fn negotiate<'d>(stream: &dyn Stream, disks: &'d [Disk], input: &mut Input) -> Option<(&'d Disk, Session)> {
    let exports: Vec<Export<'_>> = disks.iter().map(|disk| disk.export).collect();
    let mut machine = Negotiation::new();
    let mut out = Negotiation::greeting().to_vec();
    loop {
        if !stream.send(&out) {
            return None;
        }
        out.clear();
        let progress = machine.on_bytes(input.unread(), exports.as_slice(), &mut out);
        input.start += progress.consumed;
        match progress.outcome {
            Outcome::Reply => {}
            Outcome::NeedMore => {
                if !input.receive(stream) {
                    return None;
                }
            }
            Outcome::Ready { export, session } => {
                return stream.send(&out).then_some((&disks[export], session));
            }
            Outcome::Close(_) => {
                stream.send(&out);
                return None;
            }
        }
    }
}

fn carry_out(stream: &dyn Stream, disk: &Disk, session: &Session, request: &Request, data: &[u8]) -> bool {
    let length = usize::try_from(request.length).unwrap();
    match request.command {
        Command::Read { whole } => return answer_read(stream, disk, session, request, whole),
        Command::Write { .. } => disk.write(request.offset, length, |bytes| bytes.copy_from_slice(data)),
        Command::Trim { .. } | Command::WriteZeroes { .. } => {
            disk.write(request.offset, length, |bytes| bytes.fill(0))
        }
        Command::Flush | Command::Cache => {}
        Command::BlockStatus { contexts, .. } => {
            let count = contexts.iter().count();
            return contexts.iter().enumerate().all(|(index, context)| {
                let mut memory = vec![0; 4096];
                let mut chunk = StatusChunk::new(session, request, context, &mut memory);
                while chunk.wants_more() && request.offset + chunk.covered() < session.size() {
                    let (length, flags) = disk.extent(context, request.offset + chunk.covered());
                    chunk.push(length, flags);
                }
                stream.send(chunk.finish(index + 1 == count))
            });
        }
    }
    stream.send(session.encode_done(request.reply_to()).bytes())
}

fn answer_read(stream: &dyn Stream, disk: &Disk, session: &Session, request: &Request, whole: bool) -> bool {
    let start = usize::try_from(request.offset).unwrap();
    let length = usize::try_from(request.length).unwrap();
    let data = disk.bytes.lock().unwrap()[start..start + length].to_vec();
    let range = request.offset..request.offset + request.length;
    let bad = disk.bad_block && range.contains(&BAD_OFFSET);
    let to = request.reply_to();
    let error = session.encode_error_at(to, Errno::Io, "the disk has a bad block here", BAD_OFFSET, true);
    let with_data = |head: Head, data: &[u8]| stream.send(head.bytes()) && stream.send(data);
    if session.mode() == Mode::Simple && bad {
        return stream.send(error.bytes());
    }
    if whole {
        // A failure that shows too late: what is missing is sent as zeroes, and the error follows.
        let head = session.encode_data(request, request.offset, u32::try_from(length).unwrap(), !bad);
        return with_data(head, &data) && (!bad || stream.send(error.bytes()));
    }
    // Backwards, to see that clients put pieces where they belong.
    let pieces: Vec<(usize, &[u8])> = data.chunks(PIECE).enumerate().collect();
    for (index, piece) in pieces.into_iter().rev() {
        let offset = request.offset + (index * PIECE) as u64;
        let bytes = u32::try_from(piece.len()).unwrap();
        let last = index == 0 && !bad;
        let is_bad = bad && (offset..offset + u64::from(bytes)).contains(&BAD_OFFSET);
        let sent = if is_bad {
            true
        } else if piece.iter().all(|byte| *byte == 0) {
            stream.send(session.encode_hole(request, offset, bytes, last).bytes())
        } else {
            with_data(session.encode_data(request, offset, bytes, last), piece)
        };
        if !sent {
            return false;
        }
    }
    !bad || stream.send(error.bytes())
}
