//! The transmission phase in two halves, one to send requests and one to receive replies, so that many can be under way.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::error::{Command, NbdError};
use super::stream::Stream;
use super::wire;

/// A request that has no complete reply yet, and what has come of its reply.
#[derive(Debug)]
struct Waiting {
    command: Command,
    offset: u64,
    length: usize,
    data: Vec<u8>,
    covered: usize,
    errno: u32,
}

type WaitingTable = Arc<Mutex<BTreeMap<u64, Waiting>>>;

/// The answer to one request.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// The cookie of the request.
    pub cookie: u64,
    /// What was asked.
    pub command: Command,
    /// 0, or the server's error number.
    pub errno: u32,
    /// The data of a successful read, else empty.
    pub data: Vec<u8>,
}

impl Reply {
    /// The data, or the server's error.
    pub fn into_result(self) -> Result<Vec<u8>, NbdError> {
        if self.errno == 0 {
            Ok(self.data)
        } else {
            Err(NbdError::Server { command: self.command, errno: self.errno })
        }
    }
}

/// Ends a connection from another thread: blocked halves return with an error.
#[derive(Debug)]
pub struct Closer(Stream);

impl Closer {
    /// Ends the connection at once, without the protocol's goodbye.
    pub fn close(&self) {
        self.0.shutdown();
    }
}

/// The half that sends requests. An error of any method means that the connection is dead; the request may still be done.
#[derive(Debug)]
pub struct Sender {
    stream: Stream,
    waiting: WaitingTable,
    scratch: Vec<u8>,
}

/// The half that receives replies, in whatever order the server gives them.
#[derive(Debug)]
pub struct Receiver {
    stream: BufReader<Stream>,
    waiting: WaitingTable,
    structured: bool,
}

pub(super) fn halves(stream: Stream, structured: bool) -> Result<(Sender, Receiver), NbdError> {
    let reading = stream.try_clone().map_err(|error| NbdError::from_io(&error))?;
    let waiting = WaitingTable::default();
    let sender = Sender { stream, waiting: Arc::clone(&waiting), scratch: Vec::new() };
    let receiver = Receiver { stream: BufReader::with_capacity(64 * 1024, reading), waiting, structured };
    Ok((sender, receiver))
}

impl Sender {
    /// Sends a write. With `fua` the server answers when it is durable.
    pub fn submit_write(&mut self, cookie: u64, offset: u64, data: &[u8], fua: bool) -> Result<(), NbdError> {
        let flags = if fua { wire::COMMAND_FUA } else { 0 };
        self.submit(Command::Write, flags, cookie, offset, data.len(), data)
    }

    /// Sends a read of `length` bytes.
    pub fn submit_read(&mut self, cookie: u64, offset: u64, length: u32) -> Result<(), NbdError> {
        self.submit(Command::Read, 0, cookie, offset, to_usize(length), &[])
    }

    /// Sends a flush.
    pub fn submit_flush(&mut self, cookie: u64) -> Result<(), NbdError> {
        self.submit(Command::Flush, 0, cookie, 0, 0, &[])
    }

    /// Sends a zeroing of `length` bytes; unless `may_unmap` the space stays allocated.
    pub fn submit_zero(
        &mut self,
        cookie: u64,
        offset: u64,
        length: u32,
        may_unmap: bool,
        fua: bool,
    ) -> Result<(), NbdError> {
        let flags =
            if fua { wire::COMMAND_FUA } else { 0 } | if may_unmap { 0 } else { wire::COMMAND_NO_HOLE };
        self.submit(Command::WriteZeroes, flags, cookie, offset, to_usize(length), &[])
    }

    /// Sends a trim of `length` bytes.
    pub fn submit_trim(&mut self, cookie: u64, offset: u64, length: u32, fua: bool) -> Result<(), NbdError> {
        let flags = if fua { wire::COMMAND_FUA } else { 0 };
        self.submit(Command::Trim, flags, cookie, offset, to_usize(length), &[])
    }

    /// Tells the server that no more requests follow. It answers what it has, then closes.
    pub fn submit_goodbye(&mut self) -> Result<(), NbdError> {
        self.scratch.clear();
        wire::put_request(&mut self.scratch, 0, wire::COMMAND_DISCONNECT, 0, 0, 0);
        self.stream.write_all(&self.scratch).map_err(|error| NbdError::from_io(&error))
    }

    /// A handle that ends this connection from another thread.
    pub fn closer(&self) -> Result<Closer, NbdError> {
        self.stream.try_clone().map(Closer).map_err(|error| NbdError::from_io(&error))
    }

    /// Limits every wait for the network, of both halves.
    pub(super) fn set_timeout(&self, timeout: Option<Duration>) -> Result<(), NbdError> {
        self.stream.set_timeout(timeout).map_err(|error| NbdError::from_io(&error))
    }

    fn submit(
        &mut self,
        command: Command,
        flags: u16,
        cookie: u64,
        offset: u64,
        length: usize,
        payload: &[u8],
    ) -> Result<(), NbdError> {
        let wire_length = u32::try_from(length)
            .map_err(|_| NbdError::Protocol("a request has at most 4 GiB minus one byte"))?;
        let data = if command == Command::Read { vec![0; length] } else { Vec::new() };
        let entry = Waiting { command, offset, length, data, covered: 0, errno: 0 };
        // Before sending: the reply may come before `write_all` returns.
        if self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(cookie, entry).is_some() {
            return Err(NbdError::Protocol("this cookie is in use by another request"));
        }
        self.scratch.clear();
        let number = wire::command_number(command);
        wire::put_request(&mut self.scratch, flags, number, cookie, offset, wire_length);
        self.scratch.extend_from_slice(payload);
        self.stream.write_all(&self.scratch).map_err(|error| NbdError::from_io(&error))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // Without this the server would keep the connection for as long as the other half lives.
        self.stream.shutdown();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // A sender that is blocked on a server which nobody listens to would be so for ever.
        self.stream.get_ref().shutdown();
    }
}

impl Receiver {
    /// Waits for the next complete reply. An error means that the connection is dead.
    pub fn next_reply(&mut self) -> Result<Reply, NbdError> {
        loop {
            let reply = match wire::take_u32(&mut self.stream)? {
                wire::SIMPLE_REPLY_MAGIC => Some(self.simple()?),
                wire::CHUNK_MAGIC => self.chunk()?,
                _ => return Err(NbdError::Protocol("a reply with an unknown magic number")),
            };
            if let Some(reply) = reply {
                return Ok(reply);
            }
        }
    }

    fn simple(&mut self) -> Result<Reply, NbdError> {
        let errno = wire::take_u32(&mut self.stream)?;
        let cookie = wire::take_u64(&mut self.stream)?;
        let mut entry = self.claim(cookie)?;
        if entry.command == Command::Read && errno == 0 {
            if self.structured {
                return Err(NbdError::Protocol(
                    "a simple reply to a read after structured replies were agreed on",
                ));
            }
            self.stream.read_exact(&mut entry.data).map_err(|error| NbdError::from_io(&error))?;
        }
        let data = if errno == 0 { entry.data } else { Vec::new() };
        Ok(Reply { cookie, command: entry.command, errno, data })
    }

    fn chunk(&mut self) -> Result<Option<Reply>, NbdError> {
        let flags = wire::take_u16(&mut self.stream)?;
        let kind = wire::take_u16(&mut self.stream)?;
        let cookie = wire::take_u64(&mut self.stream)?;
        let length = wire::take_u32(&mut self.stream)?;
        if !self.structured {
            return Err(NbdError::Protocol("a structured reply that was not agreed on"));
        }
        let mut entry = self.claim(cookie)?;
        match kind {
            wire::CHUNK_NONE if length == 0 => {}
            wire::CHUNK_OFFSET_DATA => self.data_chunk(&mut entry, length)?,
            wire::CHUNK_OFFSET_HOLE => self.hole_chunk(&mut entry, length)?,
            kind if kind & wire::CHUNK_ERROR != 0 => {
                let message = wire::take_message(&mut self.stream, length)?;
                entry.errno = wire::take_u32(&mut message.as_slice())?.max(1);
            }
            _ => return Err(NbdError::Protocol("an unknown kind of chunk")),
        }
        if flags & wire::CHUNK_DONE == 0 {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(cookie, entry);
            return Ok(None);
        }
        if entry.errno == 0 && entry.covered != entry.data.len() {
            return Err(NbdError::Protocol("a read was answered with too little data"));
        }
        let data = if entry.errno == 0 { entry.data } else { Vec::new() };
        Ok(Some(Reply { cookie, command: entry.command, errno: entry.errno, data }))
    }

    fn data_chunk(&mut self, entry: &mut Waiting, length: u32) -> Result<(), NbdError> {
        let length = length.checked_sub(8).ok_or(NbdError::Protocol("a data chunk without an offset"))?;
        let offset = wire::take_u64(&mut self.stream)?;
        let place = entry.place(offset, length)?;
        self.stream.read_exact(place).map_err(|error| NbdError::from_io(&error))
    }

    fn hole_chunk(&mut self, entry: &mut Waiting, length: u32) -> Result<(), NbdError> {
        if length != 12 {
            return Err(NbdError::Protocol("a hole chunk of a wrong length"));
        }
        let offset = wire::take_u64(&mut self.stream)?;
        let hole = wire::take_u32(&mut self.stream)?;
        entry.place(offset, hole)?.fill(0);
        Ok(())
    }

    fn claim(&self, cookie: u64) -> Result<Waiting, NbdError> {
        let entry = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&cookie);
        entry.ok_or(NbdError::Protocol("a reply to nothing that was asked"))
    }
}

impl Waiting {
    /// The part of the data that a chunk at `offset` (absolute) fills.
    fn place(&mut self, offset: u64, length: u32) -> Result<&mut [u8], NbdError> {
        const OUTSIDE: NbdError = NbdError::Protocol("a chunk outside of the read that it answers");
        if self.command != Command::Read {
            return Err(NbdError::Protocol("data in the reply to a request that reads nothing"));
        }
        let length = to_usize(length);
        let first =
            offset.checked_sub(self.offset).and_then(|first| usize::try_from(first).ok()).ok_or(OUTSIDE)?;
        let last = first.checked_add(length).filter(|last| *last <= self.length).ok_or(OUTSIDE)?;
        self.covered += length;
        self.data.get_mut(first..last).ok_or(OUTSIDE)
    }
}

fn to_usize(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
