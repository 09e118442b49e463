//! The NBD numbers and byte layouts that a client needs (all big-endian). It is written apart from the server's on purpose: a
//! mistake in one of the two must not be shared by both.

use std::io::Read;

use super::error::{Command, NbdError};

pub(super) const INIT_MAGIC: u64 = 0x4e42_444d_4147_4943;
pub(super) const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
pub(super) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
pub(super) const REQUEST_MAGIC: u32 = 0x2560_9513;
pub(super) const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
pub(super) const CHUNK_MAGIC: u32 = 0x668e_33ef;

pub(super) const FIXED_NEWSTYLE: u16 = 1;
pub(super) const NO_ZEROES: u16 = 2;

pub(super) const OPT_GO: u32 = 7;
pub(super) const OPT_STRUCTURED_REPLY: u32 = 8;

pub(super) const REP_ACK: u32 = 1;
pub(super) const REP_INFO: u32 = 3;
pub(super) const REP_ERROR: u32 = 1 << 31;

pub(super) const INFO_EXPORT: u16 = 0;
pub(super) const INFO_BLOCK_SIZE: u16 = 3;

pub(super) const COMMAND_FUA: u16 = 1;
pub(super) const COMMAND_NO_HOLE: u16 = 2;

pub(super) const COMMAND_DISCONNECT: u16 = 2;

pub(super) const CHUNK_DONE: u16 = 1;
pub(super) const CHUNK_NONE: u16 = 0;
pub(super) const CHUNK_OFFSET_DATA: u16 = 1;
pub(super) const CHUNK_OFFSET_HOLE: u16 = 2;
pub(super) const CHUNK_ERROR: u16 = 1 << 15;

/// The longest payload of an option reply or of an error chunk that we accept, in bytes.
pub(super) const MAX_MESSAGE_BYTES: u32 = 64 * 1024;

pub(super) fn command_number(command: Command) -> u16 {
    match command {
        Command::Read => 0,
        Command::Write => 1,
        Command::Flush => 3,
        Command::Trim => 4,
        Command::WriteZeroes => 6,
    }
}

pub(super) fn option_error_name(reply: u32) -> String {
    match reply & !REP_ERROR {
        1 => "NBD_REP_ERR_UNSUP".into(),
        2 => "NBD_REP_ERR_POLICY".into(),
        3 => "NBD_REP_ERR_INVALID".into(),
        4 => "NBD_REP_ERR_PLATFORM".into(),
        5 => "NBD_REP_ERR_TLS_REQD".into(),
        6 => "NBD_REP_ERR_UNKNOWN".into(),
        7 => "NBD_REP_ERR_SHUTDOWN".into(),
        8 => "NBD_REP_ERR_BLOCK_SIZE_REQD".into(),
        9 => "NBD_REP_ERR_TOO_BIG".into(),
        other => format!("error reply {other}"),
    }
}

/// Appends a request header.
pub(super) fn put_request(to: &mut Vec<u8>, flags: u16, command: u16, cookie: u64, offset: u64, length: u32) {
    to.extend_from_slice(&REQUEST_MAGIC.to_be_bytes());
    to.extend_from_slice(&flags.to_be_bytes());
    to.extend_from_slice(&command.to_be_bytes());
    to.extend_from_slice(&cookie.to_be_bytes());
    to.extend_from_slice(&offset.to_be_bytes());
    to.extend_from_slice(&length.to_be_bytes());
}

/// Appends an option. The data must be shorter than 4 GiB; names are bounded by the caller.
pub(super) fn put_option(to: &mut Vec<u8>, option: u32, data: &[u8]) {
    to.extend_from_slice(&OPTION_MAGIC.to_be_bytes());
    to.extend_from_slice(&option.to_be_bytes());
    to.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend_from_slice(data);
}

/// Reads `N` bytes.
pub(super) fn take<const N: usize>(from: &mut impl Read) -> Result<[u8; N], NbdError> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map_err(|error| NbdError::from_io(&error))?;
    Ok(bytes)
}

/// Reads a 16-bit number.
pub(super) fn take_u16(from: &mut impl Read) -> Result<u16, NbdError> {
    take(from).map(u16::from_be_bytes)
}

/// Reads a 32-bit number.
pub(super) fn take_u32(from: &mut impl Read) -> Result<u32, NbdError> {
    take(from).map(u32::from_be_bytes)
}

/// Reads a 64-bit number.
pub(super) fn take_u64(from: &mut impl Read) -> Result<u64, NbdError> {
    take(from).map(u64::from_be_bytes)
}

/// Reads `length` bytes, refusing more than [`MAX_MESSAGE_BYTES`].
pub(super) fn take_message(from: &mut impl Read, length: u32) -> Result<Vec<u8>, NbdError> {
    if length > MAX_MESSAGE_BYTES {
        return Err(NbdError::Protocol("the server announced an absurdly long message"));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    from.read_exact(&mut bytes).map_err(|error| NbdError::from_io(&error))?;
    Ok(bytes)
}
