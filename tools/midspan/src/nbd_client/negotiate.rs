//! The handshake: fixed newstyle, structured replies when offered, then GO.

use std::io::{Read, Write};

use super::error::NbdError;
use super::wire;

/// What the server said about the export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportInfo {
    /// Size in bytes.
    pub size: u64,
    /// The transmission flags, as sent.
    pub flags: u16,
    /// The block sizes, if the server told them.
    pub block_sizes: Option<BlockSizes>,
    /// Whether reads are answered in chunks.
    pub structured: bool,
}

/// The server's constraints, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSizes {
    /// Offsets and lengths must be multiples of this.
    pub minimum: u32,
    /// Offsets and lengths should be multiples of this.
    pub preferred: u32,
    /// The longest read or write.
    pub maximum: u32,
}

impl ExportInfo {
    /// Whether writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.flags & 0x2 != 0
    }

    /// Whether FLUSH is understood.
    pub fn can_flush(&self) -> bool {
        self.flags & 0x4 != 0
    }

    /// Whether the FUA flag is understood.
    pub fn can_fua(&self) -> bool {
        self.flags & 0x8 != 0
    }

    /// Whether TRIM is understood.
    pub fn can_trim(&self) -> bool {
        self.flags & 0x20 != 0
    }

    /// Whether WRITE_ZEROES is understood.
    pub fn can_write_zeroes(&self) -> bool {
        self.flags & 0x40 != 0
    }

    /// Whether a flush on one connection covers the writes of all.
    pub fn is_multi_conn(&self) -> bool {
        self.flags & 0x100 != 0
    }

    /// The longest read or write, in bytes: as told, else the protocol's 32 MiB.
    pub fn max_payload_bytes(&self) -> u32 {
        self.block_sizes.map_or(32 << 20, |sizes| sizes.maximum.min(32 << 20))
    }
}

pub(super) fn negotiate(stream: &mut (impl Read + Write), export: &str) -> Result<ExportInfo, NbdError> {
    if export.len() > 4096 {
        return Err(NbdError::Protocol("an export's name has at most 4096 bytes"));
    }
    if wire::take_u64(stream)? != wire::INIT_MAGIC || wire::take_u64(stream)? != wire::OPTION_MAGIC {
        return Err(NbdError::Protocol("the peer is no NBD server with newstyle negotiation"));
    }
    let flags = wire::take_u16(stream)?;
    if flags & wire::FIXED_NEWSTYLE == 0 {
        return Err(NbdError::Protocol("the server does not speak fixed newstyle"));
    }
    let ours = u32::from(flags & (wire::FIXED_NEWSTYLE | wire::NO_ZEROES));
    let mut out = ours.to_be_bytes().to_vec();
    wire::put_option(&mut out, wire::OPT_STRUCTURED_REPLY, &[]);
    send(stream, &out)?;
    let (reply, _) = option_reply(stream, wire::OPT_STRUCTURED_REPLY)?;
    go(stream, export, reply == wire::REP_ACK)
}

fn go(stream: &mut (impl Read + Write), export: &str, structured: bool) -> Result<ExportInfo, NbdError> {
    let mut data = Vec::new();
    data.extend_from_slice(&u32::try_from(export.len()).unwrap_or(0).to_be_bytes());
    data.extend_from_slice(export.as_bytes());
    data.extend_from_slice(&1_u16.to_be_bytes());
    data.extend_from_slice(&wire::INFO_BLOCK_SIZE.to_be_bytes());
    let mut out = Vec::new();
    wire::put_option(&mut out, wire::OPT_GO, &data);
    send(stream, &out)?;

    let mut told = None;
    let mut block_sizes = None;
    loop {
        let (reply, payload) = option_reply(stream, wire::OPT_GO)?;
        if reply & wire::REP_ERROR != 0 {
            return Err(NbdError::Refused {
                export: export.to_owned(),
                reply: wire::option_error_name(reply),
                message: String::from_utf8_lossy(&payload).into_owned(),
            });
        }
        match reply {
            wire::REP_ACK => break,
            wire::REP_INFO => read_info(&payload, &mut told, &mut block_sizes)?,
            _ => return Err(NbdError::Protocol("unknown reply to GO")),
        }
    }
    let (size, flags) = told.ok_or(NbdError::Protocol("the server did not tell the export's size"))?;
    Ok(ExportInfo { size, flags, block_sizes, structured })
}

fn read_info(
    mut payload: &[u8],
    told: &mut Option<(u64, u16)>,
    block_sizes: &mut Option<BlockSizes>,
) -> Result<(), NbdError> {
    let from = &mut payload;
    match wire::take_u16(from)? {
        wire::INFO_EXPORT => *told = Some((wire::take_u64(from)?, wire::take_u16(from)?)),
        wire::INFO_BLOCK_SIZE => {
            let sizes = BlockSizes {
                minimum: wire::take_u32(from)?,
                preferred: wire::take_u32(from)?,
                maximum: wire::take_u32(from)?,
            };
            if sizes.minimum == 0 || sizes.maximum < sizes.minimum {
                return Err(NbdError::Protocol("the server's block sizes contradict each other"));
            }
            *block_sizes = Some(sizes);
        }
        // Kinds that we did not ask for (name, description) may be sent and are skipped.
        _ => {}
    }
    Ok(())
}

fn option_reply(stream: &mut impl Read, option: u32) -> Result<(u32, Vec<u8>), NbdError> {
    if wire::take_u64(stream)? != wire::OPTION_REPLY_MAGIC || wire::take_u32(stream)? != option {
        return Err(NbdError::Protocol("malformed reply to an option"));
    }
    let reply = wire::take_u32(stream)?;
    let length = wire::take_u32(stream)?;
    Ok((reply, wire::take_message(stream, length)?))
}

fn send(stream: &mut impl Write, bytes: &[u8]) -> Result<(), NbdError> {
    stream.write_all(bytes).map_err(|error| NbdError::from_io(&error))
}
