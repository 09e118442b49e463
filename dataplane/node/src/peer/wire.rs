//! Where messages begin and end: the only place that knows how the format crate cuts streams.

use midspan_format::frame;
use midspan_format::message::{MAX_MESSAGE, Message, MessageError, bulk_unit_length, message_length};

/// Bytes that must be there before a small message states its length.
pub const SMALL_HEADER: usize = midspan_format::message::HEADER_BYTES;
/// Bytes that must be there before a bulk unit states its length.
pub const BULK_HEADER: usize = frame::HEADER_BYTES;
/// Longest small message, bytes.
pub const SMALL_MAX: usize = MAX_MESSAGE;

/// The bytes are not what the protocol allows: the connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadStream {
    /// They are of another version of the protocol.
    Version,
    /// They are damaged, or of something else.
    Unknown,
}

impl From<MessageError> for BadStream {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Version(_) => Self::Version,
            MessageError::Magic
            | MessageError::Checksum
            | MessageError::Kind(_)
            | MessageError::Length
            | MessageError::Malformed
            | MessageError::Frame(_)
            | MessageError::NoSpace => Self::Unknown,
        }
    }
}

/// Length of the small message at the front; `None` while its header is not complete.
pub fn small_length(bytes: &[u8]) -> Result<Option<usize>, BadStream> {
    Ok(message_length(bytes)?)
}

/// The small message that fills `bytes`.
pub fn decode(bytes: &[u8]) -> Result<Message, BadStream> {
    match Message::decode(bytes)? {
        Some((message, length)) if length == bytes.len() => Ok(message),
        Some(_) | None => Err(BadStream::Unknown),
    }
}

/// Length of the bulk unit at the front; `None` while its header is not complete.
pub fn unit_length(bytes: &[u8]) -> Result<Option<usize>, BadStream> {
    Ok(bulk_unit_length(bytes)?)
}

/// Writes a small message; says how long it is.
pub fn encode(message: &Message, bytes: &mut [u8; SMALL_MAX]) -> usize {
    let length = message.encode(bytes);
    debug_assert!(length.is_ok(), "the longest message fits");
    length.unwrap_or(0)
}
