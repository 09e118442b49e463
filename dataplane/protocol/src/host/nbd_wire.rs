//! Every constant and byte layout of the NBD protocol that we speak: numbers and bytes, no state and no policy.
//!
//! All integers are big-endian. Names follow the protocol document (`NBD_OPT_GO` is [`opt::GO`]), so that the two can be read
//! side by side.

/// First word a server sends: `NBDMAGIC`.
pub const INIT_MAGIC: u64 = 0x4e42_444d_4147_4943;
/// Second word a server sends, and the first of every option: `IHAVEOPT`.
pub const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// First word of every reply to an option.
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// First word of a request with a 32-bit length.
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
/// First word of a request with a 64-bit length.
pub const EXTENDED_REQUEST_MAGIC: u32 = 0x21e4_1c71;
/// First word of a simple reply.
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// First word of a structured reply chunk.
pub const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;
/// First word of an extended reply chunk.
pub const EXTENDED_REPLY_MAGIC: u32 = 0x6e8a_278c;

/// Bytes of the server's greeting.
pub const GREETING_BYTES: usize = 18;
/// Bytes of the client's flags.
pub const CLIENT_FLAGS_BYTES: usize = 4;
/// Bytes of an option before its data.
pub const OPTION_HEADER_BYTES: usize = 16;
/// Bytes of an option reply before its data.
pub const OPTION_REPLY_HEADER_BYTES: usize = 20;
/// Zeroes behind the answer to `EXPORT_NAME`, for clients that did not ask to leave them out.
pub const EXPORT_NAME_PADDING_BYTES: usize = 124;
/// Bytes of a request with a 32-bit length.
pub const REQUEST_BYTES: usize = 28;
/// Bytes of a request with a 64-bit length.
pub const EXTENDED_REQUEST_BYTES: usize = 32;
/// Bytes of a simple reply before its data.
pub const SIMPLE_REPLY_BYTES: usize = 16;
/// Bytes of a structured reply chunk before its payload.
pub const STRUCTURED_REPLY_BYTES: usize = 20;
/// Bytes of an extended reply chunk before its payload.
pub const EXTENDED_REPLY_BYTES: usize = 32;
/// The longest string the protocol allows (names, queries, messages), in bytes.
pub const MAX_STRING_BYTES: usize = 4096;

/// Handshake flags of the server (16 bits), and those of the client (32 bits): the same two bits.
pub mod handshake_flag {
    /// Fixed newstyle negotiation: options are answered.
    pub const FIXED_NEWSTYLE: u16 = 1;
    /// No padding behind the answer to `EXPORT_NAME`.
    pub const NO_ZEROES: u16 = 2;
}

/// Transmission flags: what an export can do.
pub mod export_flag {
    /// The flags field means something.
    pub const HAS_FLAGS: u16 = 1;
    /// Writes are refused.
    pub const READ_ONLY: u16 = 1 << 1;
    /// `FLUSH` is understood.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// The flag `FUA` is understood.
    pub const SEND_FUA: u16 = 1 << 3;
    /// `TRIM` is understood.
    pub const SEND_TRIM: u16 = 1 << 5;
    /// `WRITE_ZEROES` and the flag `NO_HOLE` are understood.
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
    /// The flag `DF` is understood.
    pub const SEND_DF: u16 = 1 << 7;
    /// A flush on one connection covers writes answered on all.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    /// `CACHE` is understood.
    pub const SEND_CACHE: u16 = 1 << 10;
    /// The flag `FAST_ZERO` is understood.
    pub const SEND_FAST_ZERO: u16 = 1 << 11;
    /// `BLOCK_STATUS` takes a payload that names contexts.
    pub const BLOCK_STATUS_PAYLOAD: u16 = 1 << 12;
}

/// Options a client may send during negotiation.
pub mod opt {
    /// Select an export and start; cannot report an error.
    pub const EXPORT_NAME: u32 = 1;
    /// Leave politely.
    pub const ABORT: u32 = 2;
    /// Name the exports.
    pub const LIST: u32 = 3;
    /// Upgrade to TLS.
    pub const STARTTLS: u32 = 5;
    /// Describe an export.
    pub const INFO: u32 = 6;
    /// Describe an export and start.
    pub const GO: u32 = 7;
    /// Use structured replies.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// Name the metadata contexts of an export.
    pub const LIST_META_CONTEXT: u32 = 9;
    /// Select metadata contexts of an export.
    pub const SET_META_CONTEXT: u32 = 10;
    /// Use 64-bit lengths and one shape of reply.
    pub const EXTENDED_HEADERS: u32 = 11;
}

/// Types of a reply to an option.
pub mod rep {
    const ERROR: u32 = 1 << 31;
    /// Done, or agreed.
    pub const ACK: u32 = 1;
    /// One export.
    pub const SERVER: u32 = 2;
    /// One fact about an export.
    pub const INFO: u32 = 3;
    /// One metadata context.
    pub const META_CONTEXT: u32 = 4;
    /// This server does not know the option.
    pub const ERR_UNSUP: u32 = ERROR | 1;
    /// The server may not do this now.
    pub const ERR_POLICY: u32 = ERROR | 2;
    /// The option is malformed, or out of place.
    pub const ERR_INVALID: u32 = ERROR | 3;
    /// There is no such export.
    pub const ERR_UNKNOWN: u32 = ERROR | 6;
    /// The server is being shut down.
    pub const ERR_SHUTDOWN: u32 = ERROR | 7;
    /// The option is too long.
    pub const ERR_TOO_BIG: u32 = ERROR | 9;
    /// Not possible besides extended headers.
    pub const ERR_EXT_HEADER_REQD: u32 = ERROR | 10;
}

/// Facts about an export.
pub mod info {
    /// Size and transmission flags.
    pub const EXPORT: u16 = 0;
    /// The canonical name.
    pub const NAME: u16 = 1;
    /// A sentence for humans.
    pub const DESCRIPTION: u16 = 2;
    /// Minimum, preferred and maximum sizes.
    pub const BLOCK_SIZE: u16 = 3;
}

/// Commands of the transmission phase.
pub mod cmd {
    /// Read data.
    pub const READ: u16 = 0;
    /// Write data.
    pub const WRITE: u16 = 1;
    /// Leave politely; has no reply.
    pub const DISC: u16 = 2;
    /// Make answered writes durable.
    pub const FLUSH: u16 = 3;
    /// Forget a range.
    pub const TRIM: u16 = 4;
    /// Expect reads of a range.
    pub const CACHE: u16 = 5;
    /// Write zeroes without sending them.
    pub const WRITE_ZEROES: u16 = 6;
    /// Describe a range.
    pub const BLOCK_STATUS: u16 = 7;
}

/// Flags of a command.
pub mod cmd_flag {
    /// Durable before it is answered.
    pub const FUA: u16 = 1;
    /// Zeroes must stay allocated.
    pub const NO_HOLE: u16 = 1 << 1;
    /// One content chunk at most.
    pub const DF: u16 = 1 << 2;
    /// One extent for each context.
    pub const REQ_ONE: u16 = 1 << 3;
    /// Fail rather than write zeroes slowly.
    pub const FAST_ZERO: u16 = 1 << 4;
    /// The length counts bytes that follow the header.
    pub const PAYLOAD_LEN: u16 = 1 << 5;
}

/// Types and flags of reply chunks.
pub mod chunk {
    /// Flag: the last chunk of a reply.
    pub const DONE: u16 = 1;
    /// Nothing (more) to say.
    pub const NONE: u16 = 0;
    /// Data at an offset.
    pub const OFFSET_DATA: u16 = 1;
    /// Zeroes at an offset.
    pub const OFFSET_HOLE: u16 = 2;
    /// Extents with 32-bit lengths.
    pub const BLOCK_STATUS: u16 = 5;
    /// Extents with 64-bit lengths.
    pub const BLOCK_STATUS_EXT: u16 = 6;
    /// An error.
    pub const ERROR: u16 = (1 << 15) | 1;
    /// An error at an offset.
    pub const ERROR_OFFSET: u16 = (1 << 15) | 2;
}

/// Flags of an extent.
pub mod state {
    /// `base:allocation`: nothing is allocated here.
    pub const HOLE: u32 = 1;
    /// `base:allocation`: reads as zeroes.
    pub const ZERO: u32 = 2;
    /// `midspan:dirty`: the other side may lack what is here.
    pub const DIRTY: u32 = 1;
}

/// Error values the protocol allows in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Errno {
    /// Not permitted, such as a write to a read-only export.
    Permission = 1,
    /// Input or output failed.
    Io = 5,
    /// No memory.
    NoMemory = 12,
    /// The request makes no sense.
    Invalid = 22,
    /// No space: also the answer to a write beyond the end.
    NoSpace = 28,
    /// Too large to be answered in one piece.
    Overflow = 75,
    /// Cannot be done that way.
    NotSupported = 95,
    /// The server is being shut down.
    Shutdown = 108,
}

impl Errno {
    /// The number on the wire.
    pub fn code(self) -> u32 {
        self as u32
    }
}

/// Reads integers and strings off the front of some bytes; `None` as soon as they do not suffice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the front.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next 16 bits.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A 32-bit length and that many bytes; `None` also when the length is beyond what a string may have.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        if length > MAX_STRING_BYTES { None } else { self.bytes(length) }
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }
}

/// An option as it starts.
///
/// ```text
/// 0        8       12       16
/// │IHAVEOPT│option │length  │ length bytes of data
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionHeader {
    /// One of [`opt`], or anything.
    pub option: u32,
    /// Bytes of data that follow.
    pub length: u32,
}

/// The first word was not the one that must stand there: the stream cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadMagic;

/// Decodes the start of an option; `Ok(None)` when there are too few bytes.
pub fn decode_option(input: &[u8]) -> Result<Option<OptionHeader>, BadMagic> {
    let mut reader = Reader::new(input);
    let (Some(magic), Some(option), Some(length)) = (reader.u64(), reader.u32(), reader.u32()) else {
        return Ok(None);
    };
    if magic == OPTION_MAGIC { Ok(Some(OptionHeader { option, length })) } else { Err(BadMagic) }
}

/// A request header, of either width.
///
/// ```text
/// 0      4      6        8       16      24             28/32
/// │magic │flags │command │cookie │offset │length 32/64  │ payload
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Bits of [`cmd_flag`], or anything.
    pub flags: u16,
    /// One of [`cmd`], or anything.
    pub command: u16,
    /// The client's name for the request.
    pub cookie: u64,
    /// Where, in bytes from the start of the export.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// Decodes a request header; `Ok(None)` when there are too few bytes.
pub fn decode_request(extended: bool, input: &[u8]) -> Result<Option<RequestHeader>, BadMagic> {
    let mut reader = Reader::new(input);
    let magic = if extended { EXTENDED_REQUEST_MAGIC } else { REQUEST_MAGIC };
    let fields = (reader.u32(), reader.u16(), reader.u16(), reader.u64(), reader.u64());
    let length = if extended { reader.u64() } else { reader.u32().map(u64::from) };
    let ((Some(found), Some(flags), Some(command), Some(cookie), Some(offset)), Some(length)) =
        (fields, length)
    else {
        return Ok(None);
    };
    if found == magic {
        Ok(Some(RequestHeader { flags, command, cookie, offset, length }))
    } else {
        Err(BadMagic)
    }
}

/// The longest prefix of `text` that has at most `limit` bytes and cuts no character.
pub fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or_default()
}
