//! A client that says exactly what a test wants it to say, whether that is right or wrong.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use midspan_protocol::host::nbd::Mode;
use midspan_protocol::host::nbd_wire::{self as wire, chunk, cmd, opt, rep};

use super::rig::Rig;

/// A connection.
pub struct Client {
    stream: Stream,
    pub mode: Mode,
    pub size: u64,
    next: u64,
    /// Command, offset and length of what is not answered.
    open: BTreeMap<u64, (u16, u64, u64)>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A whole reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub cookie: u64,
    pub error: u32,
    /// Chunks of data: offset and bytes.
    pub data: Vec<(u64, Vec<u8>)>,
    /// Extents: length and flags.
    pub extents: Vec<(u64, u64)>,
}

impl Client {
    pub fn tcp(rig: &Rig) -> Self {
        let stream = TcpStream::connect(rig.tcp).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self::new(Stream::Tcp(stream))
    }

    pub fn unix(rig: &Rig) -> Self {
        let stream = UnixStream::connect(&rig.unix).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self::new(Stream::Unix(stream))
    }

    fn new(stream: Stream) -> Self {
        Self { stream, mode: Mode::Simple, size: 0, next: 1, open: BTreeMap::new() }
    }

    /// Connects and opens an export.
    pub fn open(rig: &Rig, export: &str, mode: Mode) -> Self {
        let mut client = Self::tcp(rig);
        client.go(export, mode).unwrap();
        client
    }

    /// Greets and opens an export; the server's sentence when it refuses.
    pub fn go(&mut self, export: &str, mode: Mode) -> Result<(), String> {
        self.mode = mode;
        let mut greeting = [0; 18];
        assert!(self.read(&mut greeting), "no greeting");
        self.write(&3_u32.to_be_bytes());
        match mode {
            Mode::Simple => {}
            Mode::Structured => self.option(opt::STRUCTURED_REPLY, &[]).map(drop)?,
            Mode::Extended => self.option(opt::EXTENDED_HEADERS, &[]).map(drop)?,
        }
        let name = |rest: &[u8]| {
            [&u32::try_from(export.len()).unwrap().to_be_bytes(), export.as_bytes(), rest].concat()
        };
        if mode != Mode::Simple {
            let query = b"\0\0\0\x01\0\0\0\x0fbase:allocation";
            self.option(opt::SET_META_CONTEXT, &name(query))?;
        }
        let facts = self.option(opt::GO, &name(&[0, 0]))?;
        let fact = facts.iter().find(|fact| fact.starts_with(&[0, 0])).unwrap();
        self.size = u64::from_be_bytes(fact[2..10].try_into().unwrap());
        Ok(())
    }

    /// Sends an option; gives the replies before the last.
    pub fn option(&mut self, option: u32, data: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let head = [&wire::OPTION_MAGIC.to_be_bytes()[..], &option.to_be_bytes()].concat();
        self.write(&[&head[..], &u32::try_from(data.len()).unwrap().to_be_bytes(), data].concat());
        let mut replies = Vec::new();
        loop {
            let mut head = [0; 20];
            assert!(self.read(&mut head), "no reply to option {option}");
            let mut data = vec![0; word(&head[16..]) as usize];
            assert!(self.read(&mut data));
            match word(&head[12..]) {
                rep::ACK => return Ok(replies),
                kind if kind >> 31 != 0 => return Err(String::from_utf8(data).unwrap()),
                _ => replies.push(data),
            }
        }
    }

    /// A request as it goes on the wire; it counts as sent.
    pub fn encode(&mut self, command: u16, flags: u16, offset: u64, length: u64, payload: &[u8]) -> Vec<u8> {
        let cookie = self.next;
        self.next += 1;
        self.open.insert(cookie, (command, offset, length));
        let extended = self.mode == Mode::Extended;
        let magic = if extended { wire::EXTENDED_REQUEST_MAGIC } else { wire::REQUEST_MAGIC };
        let flags = flags | if extended && command == cmd::WRITE { wire::cmd_flag::PAYLOAD_LEN } else { 0 };
        let mut bytes =
            [magic.to_be_bytes(), [flags.to_be_bytes(), command.to_be_bytes()].concat().try_into().unwrap()]
                .concat();
        bytes.extend(cookie.to_be_bytes().into_iter().chain(offset.to_be_bytes()));
        if extended {
            bytes.extend(length.to_be_bytes());
        } else {
            bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        }
        bytes.extend_from_slice(payload);
        bytes
    }

    /// Sends a request; gives its cookie.
    pub fn send(&mut self, command: u16, flags: u16, offset: u64, length: u64, payload: &[u8]) -> u64 {
        let bytes = self.encode(command, flags, offset, length, payload);
        self.write(&bytes);
        self.next - 1
    }

    /// Sends a request and waits for its reply, the only one there may be.
    pub fn ask(&mut self, command: u16, flags: u16, offset: u64, length: u64, payload: &[u8]) -> Reply {
        let cookie = self.send(command, flags, offset, length, payload);
        let reply = self.reply().expect("a reply");
        assert_eq!(reply.cookie, cookie);
        reply
    }

    pub fn write_at(&mut self, offset: u64, payload: &[u8]) {
        assert_eq!(self.ask(cmd::WRITE, 0, offset, payload.len() as u64, payload).error, 0);
    }

    pub fn read_at(&mut self, offset: u64, length: u64) -> Vec<u8> {
        let reply = self.ask(cmd::READ, 0, offset, length, &[]);
        assert_eq!(reply.error, 0);
        reply.joined(offset, length)
    }

    /// The next reply, wholly; `None` at the end of the connection.
    pub fn reply(&mut self) -> Option<Reply> {
        let mut reply = Reply::default();
        loop {
            let mut magic = [0; 4];
            if !self.read(&mut magic) {
                return None;
            }
            let last = match u32::from_be_bytes(magic) {
                wire::SIMPLE_REPLY_MAGIC => self.simple(&mut reply)?,
                wire::STRUCTURED_REPLY_MAGIC => self.chunk(&mut reply, false)?,
                wire::EXTENDED_REPLY_MAGIC => self.chunk(&mut reply, true)?,
                magic => panic!("a reply begins with {magic:#x}"),
            };
            if last {
                assert!(self.open.remove(&reply.cookie).is_some(), "an answer to nothing: {reply:?}");
                return Some(reply);
            }
        }
    }

    fn simple(&mut self, reply: &mut Reply) -> Option<bool> {
        let mut head = [0; 12];
        self.read(&mut head).then_some(())?;
        reply.error = word(&head);
        reply.cookie = long(&head[4..]);
        let (command, offset, length) = *self.open.get(&reply.cookie).expect("an answer to nothing");
        assert!(command != cmd::READ || self.mode == Mode::Simple);
        if command == cmd::READ && reply.error == 0 {
            let mut data = vec![0; usize::try_from(length).unwrap()];
            self.read(&mut data).then_some(())?;
            reply.data.push((offset, data));
        }
        Some(true)
    }

    fn chunk(&mut self, reply: &mut Reply, extended: bool) -> Option<bool> {
        assert_eq!(extended, self.mode == Mode::Extended);
        let mut head = vec![0; if extended { 28 } else { 16 }];
        self.read(&mut head).then_some(())?;
        let (flags, kind) = (word(&head) >> 16, u16::try_from(word(&head) & 0xffff).unwrap());
        reply.cookie = long(&head[4..]);
        let length =
            if extended { usize::try_from(long(&head[20..])).unwrap() } else { word(&head[12..]) as usize };
        let mut data = vec![0; length];
        self.read(&mut data).then_some(())?;
        match kind {
            chunk::NONE => assert_eq!(length, 0),
            chunk::OFFSET_DATA => reply.data.push((long(&data), data[8..].to_vec())),
            chunk::ERROR | chunk::ERROR_OFFSET => reply.error = word(&data),
            chunk::BLOCK_STATUS => {
                let extents = data[4..].chunks(8).map(|e| (u64::from(word(e)), u64::from(word(&e[4..]))));
                reply.extents.extend(extents);
            }
            chunk::BLOCK_STATUS_EXT => {
                reply.extents.extend(data[8..].chunks(16).map(|e| (long(e), long(&e[8..]))))
            }
            kind => panic!("a chunk of kind {kind}"),
        }
        Some(flags & 1 != 0)
    }

    pub fn write(&mut self, bytes: &[u8]) {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        }
        .unwrap();
    }

    /// Says that nothing more will be sent.
    pub fn shut(&mut self) {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
        }
        .unwrap();
    }

    /// Writes as much as goes without waiting for the other side to read, and says how much it was.
    pub fn write_until_stuck(&mut self, bytes: &[u8]) -> usize {
        let Stream::Tcp(stream) = &mut self.stream else { panic!("over TCP only") };
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut written = 0;
        while let Ok(count) = stream.write(&bytes[written..]) {
            written += count;
            if written == bytes.len() {
                break;
            }
        }
        written
    }

    /// Reads what comes within a moment.
    pub fn read_some(&mut self, into: &mut [u8]) {
        let Stream::Tcp(stream) = &mut self.stream else { panic!("over TCP only") };
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let _ = stream.read(into);
    }

    /// False at the end of the connection.
    pub fn read(&mut self, into: &mut [u8]) -> bool {
        let result = match &mut self.stream {
            Stream::Tcp(stream) => stream.read_exact(into),
            Stream::Unix(stream) => stream.read_exact(into),
        };
        match result {
            Ok(()) => true,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("nothing came in time"),
            Err(_) => false,
        }
    }

    /// Whether the server has closed the connection, without another byte.
    pub fn is_ended(&mut self) -> bool {
        !self.read(&mut [0])
    }
}

impl Reply {
    /// The data of a read, whose chunks must cover the range once.
    pub fn joined(&self, offset: u64, length: u64) -> Vec<u8> {
        let mut chunks = self.data.clone();
        chunks.sort();
        let mut bytes = Vec::new();
        for (at, data) in chunks {
            assert_eq!(at, offset + bytes.len() as u64, "chunks leave a gap or overlap");
            bytes.extend(data);
        }
        assert_eq!(bytes.len() as u64, length);
        bytes
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

fn long(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}
