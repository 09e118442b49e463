//! What an NBD server has to say about itself: exports, what each can do, what a session agreed on, and the list of what we support.

use super::nbd_wire::{cmd, cmd_flag, export_flag, opt};

/// The largest payload of one request or one reply, in bytes: 32 MiB, what portable clients count on.
pub const MAX_PAYLOAD: u32 = 32 << 20;

/// The largest payload of a refused request that is read and thrown away, in bytes, so that the connection lives on: all that
/// a 32-bit length can state. An extended header that states more ends the connection.
pub const MAX_SKIP: u64 = u32::MAX as u64;

/// The longest message that goes with an error of the transmission phase, in bytes; longer ones are cut.
pub const MAX_ERROR_TEXT: usize = 160;

/// Options that we answer with more than "unknown": the number, and its name in the protocol document.
pub const OPTIONS: &[(u32, &str)] = &[
    (opt::EXPORT_NAME, "NBD_OPT_EXPORT_NAME"),
    (opt::ABORT, "NBD_OPT_ABORT"),
    (opt::LIST, "NBD_OPT_LIST"),
    (opt::INFO, "NBD_OPT_INFO"),
    (opt::GO, "NBD_OPT_GO"),
    (opt::STRUCTURED_REPLY, "NBD_OPT_STRUCTURED_REPLY"),
    (opt::LIST_META_CONTEXT, "NBD_OPT_LIST_META_CONTEXT"),
    (opt::SET_META_CONTEXT, "NBD_OPT_SET_META_CONTEXT"),
    (opt::EXTENDED_HEADERS, "NBD_OPT_EXTENDED_HEADERS"),
];

/// One command that we serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandRow {
    /// The number on the wire.
    pub code: u16,
    /// Its name in the protocol document.
    pub name: &'static str,
    /// The flags it may carry. `FUA` is on every row: the protocol wants it accepted, if only to be ignored. `DF` counts only
    /// with structured replies, `PAYLOAD_LEN` only with extended headers.
    pub flags: u16,
    /// Whether it changes data, and is therefore refused by a read-only export.
    pub writes: bool,
}

/// Commands that we serve, and the flags that each may carry; anything else is answered with "invalid".
pub const COMMANDS: &[CommandRow] = &[
    CommandRow { code: cmd::READ, name: "NBD_CMD_READ", flags: cmd_flag::FUA | cmd_flag::DF, writes: false },
    CommandRow {
        code: cmd::WRITE,
        name: "NBD_CMD_WRITE",
        flags: cmd_flag::FUA | cmd_flag::PAYLOAD_LEN,
        writes: true,
    },
    CommandRow { code: cmd::DISC, name: "NBD_CMD_DISC", flags: cmd_flag::FUA, writes: false },
    CommandRow { code: cmd::FLUSH, name: "NBD_CMD_FLUSH", flags: cmd_flag::FUA, writes: false },
    CommandRow { code: cmd::TRIM, name: "NBD_CMD_TRIM", flags: cmd_flag::FUA, writes: true },
    CommandRow { code: cmd::CACHE, name: "NBD_CMD_CACHE", flags: cmd_flag::FUA, writes: false },
    CommandRow {
        code: cmd::WRITE_ZEROES,
        name: "NBD_CMD_WRITE_ZEROES",
        flags: cmd_flag::FUA | cmd_flag::NO_HOLE | cmd_flag::FAST_ZERO,
        writes: true,
    },
    CommandRow {
        code: cmd::BLOCK_STATUS,
        name: "NBD_CMD_BLOCK_STATUS",
        flags: cmd_flag::FUA | cmd_flag::REQ_ONE | cmd_flag::PAYLOAD_LEN,
        writes: false,
    },
];

/// Sizes an export advertises, in bytes. The rules of the protocol hold from construction on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSizes {
    minimum: u32,
    preferred: u32,
    maximum: u32,
}

impl BlockSizes {
    /// Byte-granular requests, best in blocks of 4 KiB, up to [`MAX_PAYLOAD`].
    pub const DEFAULT: Self = Self { minimum: 1, preferred: 4096, maximum: MAX_PAYLOAD };

    /// `None` unless `minimum` is a power of two up to 64 KiB, `preferred` a power of two of at least `minimum` and 512, and
    /// `maximum` a multiple of `minimum`, at least `preferred` and at most [`MAX_PAYLOAD`].
    pub fn new(minimum: u32, preferred: u32, maximum: u32) -> Option<Self> {
        let minimum_holds = minimum.is_power_of_two() && minimum <= 1 << 16;
        let preferred_holds = preferred.is_power_of_two() && preferred >= minimum.max(512);
        let maximum_holds =
            minimum_holds && maximum.is_multiple_of(minimum) && (preferred..=MAX_PAYLOAD).contains(&maximum);
        (minimum_holds && preferred_holds && maximum_holds).then_some(Self { minimum, preferred, maximum })
    }

    /// Offsets and lengths are multiples of this.
    pub fn minimum(self) -> u32 {
        self.minimum
    }

    /// Offsets and lengths are best multiples of this.
    pub fn preferred(self) -> u32 {
        self.preferred
    }

    /// A read or a write is no longer than this.
    pub fn maximum(self) -> u32 {
        self.maximum
    }
}

/// What a client may know about one export, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export<'a> {
    /// Its name, up to 4096 bytes.
    pub name: &'a str,
    /// A sentence for humans; empty for none.
    pub description: &'a str,
    /// Size in bytes; a multiple of the minimum block size.
    pub size: u64,
    /// Whether writes, zeroes and trims are refused.
    pub read_only: bool,
    /// The sizes it advertises.
    pub block: BlockSizes,
    /// Whether `TRIM` is served.
    pub can_trim: bool,
    /// Whether `WRITE_ZEROES` is served.
    pub can_zero: bool,
    /// Whether zeroes are always faster than writing them; if not, `FAST_ZERO` is answered with "not supported".
    pub fast_zero: bool,
    /// Whether a flush on one connection covers what was answered on all of them.
    pub multi_conn: bool,
    /// Whether `midspan:dirty` can be asked for.
    pub dirty_map: bool,
    /// Whether it is what a client gets that names no export.
    pub default: bool,
    /// Why it may not be opened now, as a sentence for humans.
    pub available: Result<(), &'a str>,
}

/// The exports of a server, numbered from 0. They must stay the same while one [`Negotiation`] is called, and may change between
/// two calls: a machine keeps names, not numbers.
///
/// [`Negotiation`]: super::negotiation::Negotiation
pub trait Exports {
    /// The export with this number; `None` behind the last one.
    fn export(&self, index: usize) -> Option<Export<'_>>;
}

impl Exports for [Export<'_>] {
    fn export(&self, index: usize) -> Option<Export<'_>> {
        self.get(index).copied()
    }
}

/// Every export, in order.
pub fn all<E: Exports + ?Sized>(exports: &E) -> impl Iterator<Item = Export<'_>> {
    (0..).map_while(|index| exports.export(index))
}

/// The export with this name; the empty name means the default one: the one flagged so, or the only one.
pub fn find<'e, E: Exports + ?Sized>(exports: &'e E, name: &[u8]) -> Option<(usize, Export<'e>)> {
    let mut numbered = all(exports).enumerate();
    if let Some(found) = numbered.find(|(_, export)| export.name.as_bytes() == name) {
        return Some(found);
    }
    if !name.is_empty() {
        return None;
    }
    let flagged = all(exports).enumerate().find(|(_, export)| export.default);
    let only = if exports.export(1).is_none() { exports.export(0).map(|export| (0, export)) } else { None };
    flagged.or(only)
}

/// A kind of fact about ranges, that `BLOCK_STATUS` can report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// Holes and zeroes: [`state::HOLE`](super::nbd_wire::state::HOLE) and [`state::ZERO`](super::nbd_wire::state::ZERO).
    Allocation,
    /// What the other side may lack: [`state::DIRTY`](super::nbd_wire::state::DIRTY).
    Dirty,
}

impl Context {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Allocation, Self::Dirty];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allocation => "base:allocation",
            Self::Dirty => "midspan:dirty",
        }
    }

    /// The number that names it in requests and replies of a session.
    pub fn id(self) -> u32 {
        match self {
            Self::Allocation => 1,
            Self::Dirty => 2,
        }
    }

    /// The context with this number.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|context| context.id() == id)
    }
}

/// A set of contexts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contexts {
    allocation: bool,
    dirty: bool,
}

impl Contexts {
    /// No context.
    pub const NONE: Self = Self { allocation: false, dirty: false };

    /// Adds one; says whether it was new.
    pub fn insert(&mut self, context: Context) -> bool {
        let place = match context {
            Context::Allocation => &mut self.allocation,
            Context::Dirty => &mut self.dirty,
        };
        !core::mem::replace(place, true)
    }

    /// Whether the set has it.
    pub fn contains(self, context: Context) -> bool {
        match context {
            Context::Allocation => self.allocation,
            Context::Dirty => self.dirty,
        }
    }

    /// Whether the set has none.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// Its members, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Context> {
        Context::ALL.into_iter().filter(move |context| self.contains(*context))
    }
}

/// The shape of headers and replies that a client asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// 32-bit lengths, and one simple reply to each request.
    #[default]
    Simple,
    /// 32-bit lengths, and chunks where there is something to say.
    Structured,
    /// 64-bit lengths, and chunks always.
    Extended,
}

/// What one connection agreed on: all that the transmission phase needs to know. Plain data: it may move to another thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    pub(super) mode: Mode,
    pub(super) size: u64,
    pub(super) block: BlockSizes,
    pub(super) flags: u16,
    pub(super) fast_zero: bool,
    pub(super) contexts: Contexts,
}

impl Session {
    /// A session on `export`, as a negotiation ends with.
    pub fn new(export: &Export<'_>, mode: Mode, contexts: Contexts) -> Self {
        let contexts = if mode == Mode::Simple { Contexts::NONE } else { contexts };
        let flags = export_flags(export, mode, contexts);
        Self { mode, size: export.size, block: export.block, flags, fast_zero: export.fast_zero, contexts }
    }

    /// The shape of headers and replies.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Size of the export in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The sizes that were advertised, and are enforced.
    pub fn block(&self) -> BlockSizes {
        self.block
    }

    /// The transmission flags that were advertised.
    pub fn flags(&self) -> u16 {
        self.flags
    }

    /// The contexts that `BLOCK_STATUS` reports.
    pub fn contexts(&self) -> Contexts {
        self.contexts
    }
}

fn export_flags(export: &Export<'_>, mode: Mode, contexts: Contexts) -> u16 {
    let writable = !export.read_only;
    let rows = [
        (
            true,
            export_flag::HAS_FLAGS
                | export_flag::SEND_FLUSH
                | export_flag::SEND_FUA
                | export_flag::SEND_CACHE,
        ),
        (export.read_only, export_flag::READ_ONLY),
        (writable && export.can_trim, export_flag::SEND_TRIM),
        // Also when zeroes are slow: the flag then gets its quick "not supported", which is what it is for.
        (writable && export.can_zero, export_flag::SEND_WRITE_ZEROES | export_flag::SEND_FAST_ZERO),
        (mode != Mode::Simple, export_flag::SEND_DF),
        (export.multi_conn, export_flag::CAN_MULTI_CONN),
        (mode == Mode::Extended && !contexts.is_empty(), export_flag::BLOCK_STATUS_PAYLOAD),
    ];
    rows.into_iter().filter(|(holds, _)| *holds).fold(0, |flags, (_, flag)| flags | flag)
}

/// Why the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The client said goodbye.
    #[error("the client left")]
    Goodbye,
    /// The client set a flag that was not offered.
    #[error("the client set unknown handshake flags")]
    UnknownClientFlags,
    /// A message did not start with its magic number.
    #[error("a message of the client does not start with its magic number")]
    BadMagic,
    /// A client without fixed newstyle sent something else than `EXPORT_NAME`.
    #[error("the client sent an option without fixed newstyle negotiation")]
    NotFixedNewstyle,
    /// An option stated an absurd length.
    #[error("the client stated an absurd option length")]
    OptionTooLong,
    /// `EXPORT_NAME` named no export, and cannot be answered with an error.
    #[error("the client named an export that does not exist")]
    UnknownExport,
    /// `EXPORT_NAME` named an export that may not be opened, and cannot be answered with an error.
    #[error("the client named an export that may not be opened now")]
    UnavailableExport,
    /// `EXPORT_NAME` came after `EXTENDED_HEADERS`.
    #[error("the client mixed EXPORT_NAME with extended headers")]
    ExportNameWithExtendedHeaders,
    /// An extended header stated an absurd payload length.
    #[error("the client stated an absurd payload length")]
    PayloadTooLong,
}
