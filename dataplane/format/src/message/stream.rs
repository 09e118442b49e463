//! Messages as bytes: alone, as a block, and where a unit of a byte stream ends.

use super::Message;
use super::payload::{
    AreaCreate, AreaDelete, AreaList, Areas, Begin, Fence, Fenced, Head, Hello, Leaving, Left, Ping, Pong,
    Progress, Read, ReadReply, Refused, Release, Released, SetAsked, SetRecorded, Welcome,
};
use crate::checksum::checksum;
use crate::frame::{FrameError, FrameHeader, HEADER_BYTES as FRAME_HEADER_BYTES};
use crate::geometry::{BLOCK, is_whole_blocks};
use crate::version::PROTOCOL_VERSION;
use crate::wire::{Malformed, Put, Take, Wire, is_zero};

/// Bytes of a message's header.
pub const HEADER_BYTES: usize = 40;
/// A message, header included, at most; every one also fits a block.
pub const MAX_MESSAGE: usize = BLOCK;
/// Data of one [`ReadReply`] at most, bytes: with its block it fits a receive buffer of 1 MiB, and holds any frame.
pub const MAX_READ: u32 = 768 * 1024;

const MAGIC: [u8; 8] = *b"MSPMESSG";

const _: () = assert!(MAX_READ >= crate::frame::MAX_FRAME && is_whole_blocks(MAX_READ as u64));

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Something else.
    #[error("no message begins there")]
    Magic,
    /// Header or payload do not verify.
    #[error("the message's checksum is wrong")]
    Checksum,
    /// Of another version of Midspan.
    #[error("protocol version {0} is not known to this program")]
    Version(u16),
    /// A kind that does not exist.
    #[error("message kind {0} is not known")]
    Kind(u16),
    /// A length that its kind cannot have.
    #[error("the message's length is impossible")]
    Length,
    /// A payload that its kind cannot have.
    #[error("the message's content is impossible")]
    Malformed,
    /// In a bulk direction: a frame whose header is wrong.
    #[error("frame: {0}")]
    Frame(FrameError),
    /// The place to encode into is too small.
    #[error("no space for the message")]
    NoSpace,
}

impl From<Malformed> for MessageError {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

/// Number and type of each message. Numbers are for ever.
macro_rules! kinds {
    ($($number:literal => $name:ident,)*) => {
        $(const _: () = assert!(HEADER_BYTES + $name::BYTES <= MAX_MESSAGE);)*

        impl Message {
            fn kind(&self) -> u16 {
                match self { $(Self::$name(_) => $number,)* }
            }

            fn payload_length(&self) -> usize {
                match self { $(Self::$name(_) => $name::BYTES,)* }
            }

            fn put(&self, out: &mut Put<'_>) {
                match self { $(Self::$name(payload) => payload.put(out),)* }
            }

            fn take(kind: u16, input: &mut Take<'_>) -> Result<Self, MessageError> {
                match kind {
                    $($number => Ok(Self::$name($name::take(input)?)),)*
                    other => Err(MessageError::Kind(other)),
                }
            }
        }

        fn length_of(kind: u16) -> Option<usize> {
            match kind {
                $($number => Some($name::BYTES),)*
                _ => None,
            }
        }
    };
}

kinds! {
    1 => Hello,
    2 => Welcome,
    3 => Refused,
    4 => Progress,
    5 => Ping,
    6 => Pong,
    7 => Read,
    8 => ReadReply,
    9 => Fence,
    10 => Fenced,
    11 => Release,
    12 => Released,
    13 => AreaCreate,
    14 => AreaDelete,
    15 => AreaList,
    16 => Areas,
    17 => Leaving,
    18 => Left,
    19 => Begin,
    20 => SetAsked,
    21 => SetRecorded,
    22 => Head,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    kind: u16,
    payload: usize,
    payload_checksum: u64,
}

impl Header {
    /// The header at the front; `None` while it is not complete.
    fn decode(bytes: &[u8]) -> Result<Option<Self>, MessageError> {
        // Wrong from the first byte on: no need to wait for more.
        if bytes.iter().zip(&MAGIC).any(|(byte, wanted)| byte != wanted) {
            return Err(MessageError::Magic);
        }
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let (covered, sum) = bytes.split_last_chunk::<8>().ok_or(MessageError::Magic)?;
        if checksum(covered) != u64::from_le_bytes(*sum) {
            return Err(MessageError::Checksum);
        }
        let mut input = Take::new(covered);
        input.bytes(MAGIC.len())?;
        let version = u16::take(&mut input)?;
        if version != PROTOCOL_VERSION {
            return Err(MessageError::Version(version));
        }
        let kind = u16::take(&mut input)?;
        let length = u32::take(&mut input)?;
        input.zeroes(8)?;
        let payload_checksum = u64::take(&mut input)?;
        let payload = length_of(kind).ok_or(MessageError::Kind(kind))?;
        if length as usize != payload {
            return Err(MessageError::Length);
        }
        Ok(Some(Self { kind, payload, payload_checksum }))
    }
}

impl Message {
    /// Writes the message alone; says how long it is.
    ///
    /// # Errors
    /// `out` is too small; [`MAX_MESSAGE`] bytes always suffice.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, MessageError> {
        let length = HEADER_BYTES + self.payload_length();
        let out = out.get_mut(..length).ok_or(MessageError::NoSpace)?;
        let (header, payload) = out.split_at_mut_checked(HEADER_BYTES).ok_or(MessageError::NoSpace)?;
        self.put(&mut Put::new(payload));
        let mut fields = Put::new(header);
        fields.bytes(&MAGIC);
        PROTOCOL_VERSION.put(&mut fields);
        self.kind().put(&mut fields);
        u32::try_from(payload.len()).unwrap_or(u32::MAX).put(&mut fields);
        fields.zeroes(8);
        checksum(payload).put(&mut fields);
        if let Some((covered, sum)) = header.split_last_chunk_mut::<8>() {
            *sum = checksum(covered).to_le_bytes();
        }
        Ok(length)
    }

    /// Reads the message at the front of `bytes` and says how long it is; `None` while it is not complete.
    ///
    /// # Errors
    /// What stands there is not a message and never becomes one.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, MessageError> {
        let Some(header) = Header::decode(bytes)? else { return Ok(None) };
        let length = HEADER_BYTES + header.payload;
        let Some(payload) = bytes.get(HEADER_BYTES..length) else { return Ok(None) };
        if checksum(payload) != header.payload_checksum {
            return Err(MessageError::Checksum);
        }
        let mut input = Take::new(payload);
        let message = Self::take(header.kind, &mut input)?;
        input.finish()?;
        message.check()?;
        Ok(Some((message, length)))
    }

    /// Writes the message at the start of a block, zeroes behind it.
    pub fn encode_block(&self, block: &mut [u8; BLOCK]) {
        block.fill(0);
        let length = self.encode(block);
        debug_assert!(length.is_ok(), "every message fits a block");
    }

    /// Reads the message of the block at the front of `bytes`; what follows the block is not looked at.
    ///
    /// # Errors
    /// It is none, or shorter than a block.
    pub fn decode_block(bytes: &[u8]) -> Result<Self, MessageError> {
        let block = bytes.first_chunk::<BLOCK>().ok_or(MessageError::Length)?;
        let (message, length) = Self::decode(block)?.ok_or(MessageError::Length)?;
        if is_zero(block.get(length..).unwrap_or_default()) {
            Ok(message)
        } else {
            Err(MessageError::Malformed)
        }
    }

    fn check(&self) -> Result<(), MessageError> {
        let length = match self {
            Self::Read(read) => read.length,
            Self::ReadReply(reply) => reply.length,
            Self::Head(head) => head.length,
            Self::Hello(_)
            | Self::Welcome(_)
            | Self::Refused(_)
            | Self::Progress(_)
            | Self::Ping(_)
            | Self::Pong(_)
            | Self::Fence(_)
            | Self::Fenced(_)
            | Self::Release(_)
            | Self::Released(_)
            | Self::AreaCreate(_)
            | Self::AreaDelete(_)
            | Self::AreaList(_)
            | Self::Areas(_)
            | Self::Leaving(_)
            | Self::Left(_)
            | Self::Begin(_)
            | Self::SetAsked(_)
            | Self::SetRecorded(_) => 0,
        };
        if length <= MAX_READ && is_whole_blocks(length.into()) { Ok(()) } else { Err(MessageError::Length) }
    }
}

/// Bytes of the small message at the front of a stream; `None` while its header is not complete.
///
/// # Errors
/// What stands there is not a message.
pub fn message_length(bytes: &[u8]) -> Result<Option<usize>, MessageError> {
    Ok(Header::decode(bytes)?.map(|header| HEADER_BYTES + header.payload))
}

/// Bytes of the bulk unit (a frame, or a block message with its data) at the front of a stream; `None` while fewer than
/// 256 bytes of it have come. At most [`BLOCK`] + [`MAX_READ`].
///
/// # Errors
/// What stands there is neither.
pub fn bulk_unit_length(bytes: &[u8]) -> Result<Option<usize>, MessageError> {
    let Some(prefix) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
    if !prefix.starts_with(&MAGIC) {
        let header = FrameHeader::decode(prefix).map_err(|error| match error {
            FrameError::Magic => MessageError::Magic,
            FrameError::Short
            | FrameError::Long
            | FrameError::HeaderChecksum
            | FrameError::Version(_)
            | FrameError::Kind(_)
            | FrameError::Reserved
            | FrameError::Length
            | FrameError::Position
            | FrameError::Time
            | FrameError::Unaligned
            | FrameError::TableChecksum
            | FrameError::Table
            | FrameError::Record { .. }
            | FrameError::Surplus
            | FrameError::Padding => MessageError::Frame(error),
        })?;
        return Ok(Some(header.length as usize));
    }
    let header = Header::decode(prefix)?.ok_or(MessageError::Length)?;
    if header.kind != READ_REPLY && header.kind != HEAD {
        return Ok(Some(BLOCK));
    }
    match Message::decode(prefix)? {
        Some((Message::ReadReply(reply), _)) => Ok(Some(BLOCK + reply.length as usize)),
        Some((Message::Head(head), _)) => Ok(Some(BLOCK + head.length as usize)),
        Some(_) | None => Err(MessageError::Malformed),
    }
}

const READ_REPLY: u16 = 8;
const HEAD: u16 = 22;

const _: () = assert!(
    HEADER_BYTES + ReadReply::BYTES <= FRAME_HEADER_BYTES && HEADER_BYTES + Head::BYTES <= FRAME_HEADER_BYTES
);
