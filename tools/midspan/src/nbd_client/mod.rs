//! A small blocking NBD client: connect and agree, then either one request at a time or two halves that keep a queue filled.
//!
//! It speaks fixed newstyle, GO, and structured replies when the server offers them. It exists so that nothing need be
//! installed to drive, verify and demonstrate exports; and it shares no code with our server.

pub mod error;
pub mod uri;
mod stream;
mod wire;
pub mod negotiate;
pub mod pipeline;

use std::time::Duration;

pub use error::{Command, NbdError};
pub use negotiate::{BlockSizes, ExportInfo};
pub use pipeline::{Closer, Receiver, Reply, Sender};
pub use uri::{Endpoint, Uri};

/// A connection to one export.
#[derive(Debug)]
pub struct Client {
    info: ExportInfo,
    sender: Sender,
    receiver: Receiver,
    next_cookie: u64,
}

impl Client {
    /// Connects and agrees on the export. `timeout` limits the connection, and later each synchronous call's wait for the
    /// network; the halves of [`Client::split`] wait without limit.
    pub fn connect(uri: &str, timeout: Duration) -> Result<Self, NbdError> {
        let parsed = Uri::parse(uri)?;
        let refused = |source| NbdError::Connect { uri: uri.to_owned(), source };
        let mut stream = stream::Stream::connect(&parsed.endpoint, timeout).map_err(refused)?;
        stream.set_timeout(Some(timeout)).map_err(|error| NbdError::from_io(&error))?;
        let info = negotiate::negotiate(&mut stream, &parsed.export)?;
        let (sender, receiver) = pipeline::halves(stream, info.structured)?;
        Ok(Self { info, sender, receiver, next_cookie: 0 })
    }

    /// What the server said about the export.
    pub fn info(&self) -> &ExportInfo {
        &self.info
    }

    /// The export's size in bytes.
    pub fn size(&self) -> u64 {
        self.info.size
    }

    /// The two halves, for many requests at once. They wait without limit; [`Sender::closer`] ends them.
    pub fn split(self) -> Result<(Sender, Receiver), NbdError> {
        self.sender.set_timeout(None)?;
        Ok((self.sender, self.receiver))
    }

    /// The two halves, each of whose waits for the network has this limit.
    pub fn split_limited(self, timeout: Duration) -> Result<(Sender, Receiver), NbdError> {
        self.sender.set_timeout(Some(timeout))?;
        Ok((self.sender, self.receiver))
    }

    /// Fills `buffer` from `offset`.
    pub fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), NbdError> {
        let length =
            u32::try_from(buffer.len()).map_err(|_| NbdError::Protocol("a read has at most 4 GiB"))?;
        let cookie = self.cookie();
        self.sender.submit_read(cookie, offset, length)?;
        buffer.copy_from_slice(&self.finish()?);
        Ok(())
    }

    /// Writes `data` at `offset`; with `fua` durably.
    pub fn write(&mut self, offset: u64, data: &[u8], fua: bool) -> Result<(), NbdError> {
        let cookie = self.cookie();
        self.sender.submit_write(cookie, offset, data, fua)?;
        self.finish().map(drop)
    }

    /// Makes all answered writes durable.
    pub fn flush(&mut self) -> Result<(), NbdError> {
        let cookie = self.cookie();
        self.sender.submit_flush(cookie)?;
        self.finish().map(drop)
    }

    /// Zeroes `length` bytes; see [`Sender::submit_zero`].
    pub fn zero(&mut self, offset: u64, length: u32, may_unmap: bool, fua: bool) -> Result<(), NbdError> {
        let cookie = self.cookie();
        self.sender.submit_zero(cookie, offset, length, may_unmap, fua)?;
        self.finish().map(drop)
    }

    /// Trims `length` bytes.
    pub fn trim(&mut self, offset: u64, length: u32) -> Result<(), NbdError> {
        let cookie = self.cookie();
        self.sender.submit_trim(cookie, offset, length, false)?;
        self.finish().map(drop)
    }

    /// Ends the connection in order and waits until the server has closed it.
    pub fn disconnect(mut self) -> Result<(), NbdError> {
        self.sender.submit_goodbye()?;
        match self.receiver.next_reply() {
            Err(NbdError::Disconnected { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(NbdError::Protocol("a reply after the goodbye")),
        }
    }

    fn cookie(&mut self) -> u64 {
        self.next_cookie += 1;
        self.next_cookie
    }

    fn finish(&mut self) -> Result<Vec<u8>, NbdError> {
        // Only one request is under way, and the receiver refuses a reply to anything else.
        self.receiver.next_reply()?.into_result()
    }
}
