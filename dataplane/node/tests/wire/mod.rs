//! A small NBD client with simple replies, for suites that must not depend on an installed one.
#![allow(dead_code, reason = "each suite uses a part of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

const OPTION: u64 = 0x4948_4156_454f_5054;
const GO: u32 = 7;
const REQUEST: u32 = 0x2560_9513;
const SIMPLE: u32 = 0x6744_6698;

/// Commands.
pub const READ: u16 = 0;
pub const WRITE: u16 = 1;
pub const FLUSH: u16 = 3;

/// A connection to an export.
pub struct Wire {
    stream: TcpStream,
    next: u64,
}

/// Something that was sent and is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sent(u64);

impl Wire {
    /// Opens an export; the server's sentence when it refuses.
    pub fn open(at: SocketAddr, export: &str) -> Result<Self, String> {
        let mut wire = Self { stream: TcpStream::connect(at).unwrap(), next: 0 };
        wire.stream.set_nodelay(true).unwrap();
        wire.bytes(18).ok_or("the connection was closed")?;
        let name = u32::try_from(export.len()).unwrap();
        let mut hello = [&3_u32.to_be_bytes()[..], &OPTION.to_be_bytes(), &GO.to_be_bytes()].concat();
        hello.extend((name + 6).to_be_bytes().into_iter().chain(name.to_be_bytes()));
        hello.extend(export.bytes().chain([0, 0]));
        wire.stream.write_all(&hello).unwrap();
        loop {
            let head = wire.bytes(20).ok_or("the connection was closed")?;
            let data = wire.bytes(word(&head[16..]) as usize).ok_or("the connection was closed")?;
            match word(&head[12..]) {
                1 => return Ok(wire),
                kind if kind >> 31 != 0 => return Err(String::from_utf8(data).unwrap()),
                _ => {}
            }
        }
    }

    /// Sends a request; `None` when the connection is gone.
    pub fn send(&mut self, command: u16, offset: u64, length: usize, payload: &[u8]) -> Option<Sent> {
        self.next += 1;
        let mut bytes = REQUEST.to_be_bytes().to_vec();
        bytes.extend([0, 0].into_iter().chain(command.to_be_bytes()));
        bytes.extend(self.next.to_be_bytes().into_iter().chain(offset.to_be_bytes()));
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.extend_from_slice(payload);
        self.stream.write_all(&bytes).ok()?;
        Some(Sent(self.next))
    }

    /// The next reply, which is none to a read: what was answered, and the error; `None` when the connection is gone.
    pub fn reply(&mut self) -> Option<(Sent, u32)> {
        let head = self.bytes(16)?;
        assert_eq!(word(&head), SIMPLE);
        Some((Sent(u64::from_be_bytes(head[8..].try_into().unwrap())), word(&head[4..])))
    }

    /// Writes and waits; nothing else may be under way.
    pub fn write(&mut self, offset: u64, payload: &[u8]) {
        let sent = self.send(WRITE, offset, payload.len(), payload).unwrap();
        assert_eq!(self.reply(), Some((sent, 0)));
    }

    /// Reads and waits; nothing else may be under way.
    pub fn read(&mut self, offset: u64, length: usize) -> Vec<u8> {
        let sent = self.send(READ, offset, length, &[]).unwrap();
        assert_eq!(self.reply(), Some((sent, 0)));
        self.bytes(length).unwrap()
    }

    /// Flushes and waits; nothing else may be under way.
    pub fn flush(&mut self) {
        let sent = self.send(FLUSH, 0, 0, &[]).unwrap();
        assert_eq!(self.reply(), Some((sent, 0)));
    }

    /// The next bytes; `None` when the connection ends before.
    pub fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).ok().map(|()| bytes)
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}
