//! The shortest NBD handshake: fixed newstyle, GO, simple replies; gives the socket to whoever generates load on it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use midspan::nbd_client::{Endpoint, Uri};
use midspan_uring::Socket;

use crate::engine;

const INIT_MAGIC: u64 = 0x4e42_444d_4147_4943;
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const FIXED_NEWSTYLE: u16 = 1;
const NO_ZEROES: u16 = 2;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERROR: u32 = 1 << 31;
const INFO_EXPORT: u16 = 0;
const FLAG_READ_ONLY: u16 = 2;

/// How long the server may take for each step.
const PATIENCE: Duration = Duration::from_secs(10);
/// More is no option reply.
const LONGEST_REPLY: u32 = 64 * 1024;

/// A connection in its transmission phase.
#[derive(Debug)]
pub struct Connected {
    /// The socket.
    pub socket: Socket,
    /// Size of the export in bytes.
    pub size: u64,
}

/// Connects to an export that can be written to.
///
/// # Errors
/// What the network or the server says, with the address.
pub fn connect(uri: &str) -> Result<Connected> {
    let parsed = Uri::parse(uri)?;
    let (fd, size) = open(&parsed).with_context(|| format!("connecting to {uri}"))?;
    let socket = Socket::adopt(fd)?;
    socket.tune(&engine::socket_options())?;
    Ok(Connected { socket, size })
}

/// Connects and agrees; the connection and the export's size.
fn open(uri: &Uri) -> Result<(OwnedFd, u64)> {
    match &uri.endpoint {
        Endpoint::Unix(path) => {
            let mut stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let size = greet(&mut stream, &uri.export)?;
            stream.set_read_timeout(None)?;
            Ok((stream.into(), size))
        }
        Endpoint::Tcp { host, port } => {
            let mut stream = TcpStream::connect((host.as_str(), *port))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let size = greet(&mut stream, &uri.export)?;
            stream.set_read_timeout(None)?;
            Ok((stream.into(), size))
        }
    }
}

/// Agrees on the export and returns its size.
fn greet(stream: &mut (impl Read + Write), export: &str) -> Result<u64> {
    ensure!(
        u64::from_be_bytes(take(stream)?) == INIT_MAGIC && u64::from_be_bytes(take(stream)?) == OPTION_MAGIC,
        "no NBD server with newstyle negotiation answers"
    );
    let flags = u16::from_be_bytes(take(stream)?);
    ensure!(flags & FIXED_NEWSTYLE != 0, "the server does not speak fixed newstyle");
    let mut out = u32::from(flags & (FIXED_NEWSTYLE | NO_ZEROES)).to_be_bytes().to_vec();
    let name = u32::try_from(export.len()).context("the export's name is too long")?;
    out.extend_from_slice(&OPTION_MAGIC.to_be_bytes());
    out.extend_from_slice(&OPT_GO.to_be_bytes());
    out.extend_from_slice(&(name + 6).to_be_bytes());
    out.extend_from_slice(&name.to_be_bytes());
    out.extend_from_slice(export.as_bytes());
    // No piece of information is asked for: size and flags come always.
    out.extend_from_slice(&0_u16.to_be_bytes());
    stream.write_all(&out)?;
    let mut found = None;
    loop {
        ensure!(u64::from_be_bytes(take(stream)?) == OPTION_REPLY_MAGIC, "a malformed reply to GO");
        let _option: [u8; 4] = take(stream)?;
        let kind = u32::from_be_bytes(take(stream)?);
        let length = u32::from_be_bytes(take(stream)?);
        ensure!(length <= LONGEST_REPLY, "an absurdly long reply to GO");
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload)?;
        match kind {
            REP_ACK => break,
            REP_INFO => found = export_info(&payload).or(found),
            error if error & REP_ERROR != 0 => {
                let said = String::from_utf8_lossy(&payload).into_owned();
                bail!("the server refuses export {export:?} (reply {}): {said}", error & !REP_ERROR)
            }
            other => bail!("an unknown reply to GO ({other})"),
        }
    }
    let (size, flags) = found.context("the server did not tell the export's size")?;
    ensure!(flags & FLAG_READ_ONLY == 0, "export {export:?} is read-only");
    Ok(size)
}

/// Size and flags, if this piece of information holds them.
fn export_info(payload: &[u8]) -> Option<(u64, u16)> {
    let (kind, rest) = payload.split_first_chunk()?;
    let (size, rest) = rest.split_first_chunk()?;
    (u16::from_be_bytes(*kind) == INFO_EXPORT)
        .then_some((u64::from_be_bytes(*size), u16::from_be_bytes(*rest.first_chunk()?)))
}

fn take<const N: usize>(stream: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that has said everything beforehand.
    struct Said(std::io::Cursor<Vec<u8>>);

    impl Read for Said {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(into)
        }
    }

    impl Write for Said {
        fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
            Ok(from.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn greeted(replies: &[(u32, &[u8])]) -> Result<u64> {
        let mut said = [INIT_MAGIC.to_be_bytes(), OPTION_MAGIC.to_be_bytes()].concat();
        said.extend_from_slice(&(FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
        for (kind, payload) in replies {
            said.extend_from_slice(&OPTION_REPLY_MAGIC.to_be_bytes());
            said.extend_from_slice(&OPT_GO.to_be_bytes());
            said.extend_from_slice(&kind.to_be_bytes());
            said.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
            said.extend_from_slice(payload);
        }
        greet(&mut Said(std::io::Cursor::new(said)), "disk")
    }

    fn info(size: u64, flags: u16) -> Vec<u8> {
        [&INFO_EXPORT.to_be_bytes()[..], &size.to_be_bytes()[..], &flags.to_be_bytes()[..]].concat()
    }

    #[test]
    fn the_size_is_found_among_other_information() {
        let found = greeted(&[(REP_INFO, &info(1 << 30, 1)), (REP_INFO, &[0, 3, 0, 0]), (REP_ACK, &[])]);
        assert_eq!(found.unwrap(), 1 << 30);
    }

    #[test]
    fn a_refusal_names_the_export_and_what_the_server_said() {
        let error = greeted(&[(REP_ERROR | 6, b"no such export")]).unwrap_err().to_string();
        assert!(error.contains("disk") && error.contains("no such export"), "{error}");
    }

    #[test]
    fn a_read_only_export_is_refused() {
        let error = greeted(&[(REP_INFO, &info(1 << 30, 1 | FLAG_READ_ONLY)), (REP_ACK, &[])]).unwrap_err();
        assert!(error.to_string().contains("read-only"), "{error}");
    }

    #[test]
    fn an_agreement_without_a_size_is_refused() {
        assert!(greeted(&[(REP_ACK, &[])]).unwrap_err().to_string().contains("size"));
    }
}
