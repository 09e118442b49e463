//! The handshake: greets, haggles over options, and ends with a [`Session`] on one export or with a reason to close.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::nbd::{CloseReason, Context, Contexts, Export, Exports, Mode, OPTIONS, Session, all, find};
use super::nbd_wire::{
    self as wire, CLIENT_FLAGS_BYTES, GREETING_BYTES, OPTION_HEADER_BYTES, OptionHeader, Reader,
    handshake_flag, info, opt, rep,
};
use super::option::{append_error, append_reply, parse_info, parse_queries};

/// The longest option data that is looked at, in bytes; longer options are skipped and answered with "too big".
pub const MAX_OPTION_BYTES: usize = 16 << 10;

/// The longest option data that is skipped, in bytes; more ends the connection.
pub const MAX_SKIPPED_OPTION_BYTES: u32 = 32 << 20;

/// Bytes of input the driver must be able to hold: a whole option.
pub const INPUT_BYTES: usize = OPTION_HEADER_BYTES + MAX_OPTION_BYTES;

/// What one call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes at the front of the input that are done with.
    pub consumed: usize,
    /// What to do next, after everything in the output was sent.
    pub outcome: Outcome,
}

/// What to do next. Whatever it is, the output is sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Call again with more input behind what was not consumed.
    NeedMore,
    /// Call again with what was not consumed.
    Reply,
    /// Negotiation is over: what follows in the input are requests of this session.
    Ready {
        /// The number of the chosen export.
        export: usize,
        /// What was agreed on.
        session: Session,
    },
    /// End the connection.
    Close(CloseReason),
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The greeting went out; the client's flags are next.
    ClientFlags,
    /// An option is next.
    Options,
    /// The data of an option that is too long is next.
    Skipping { option: u32, left: u32 },
    /// Over.
    Ended(CloseReason),
}

/// The server's side of fixed newstyle negotiation. It keeps names of exports, never their numbers, and changes nothing outside
/// itself; one call handles at most one message of the client.
#[derive(Debug)]
pub struct Negotiation {
    state: State,
    fixed_newstyle: bool,
    no_zeroes: bool,
    mode: Mode,
    /// Contexts, and the canonical name of the export they were selected for.
    selected: Option<(String, Contexts)>,
}

impl Default for Negotiation {
    fn default() -> Self {
        Self::new()
    }
}

impl Negotiation {
    /// A negotiation whose [`greeting`](Self::greeting) is on its way.
    pub fn new() -> Self {
        Self {
            state: State::ClientFlags,
            fixed_newstyle: false,
            no_zeroes: false,
            mode: Mode::Simple,
            selected: None,
        }
    }

    /// What a server sends as soon as a client connects.
    pub fn greeting() -> [u8; GREETING_BYTES] {
        let mut bytes = [0; GREETING_BYTES];
        let flags = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
        let words = wire::INIT_MAGIC.to_be_bytes().into_iter().chain(wire::OPTION_MAGIC.to_be_bytes());
        bytes.iter_mut().zip(words.chain(flags.to_be_bytes())).for_each(|(place, byte)| *place = byte);
        bytes
    }

    /// Handles at most one message at the front of `input`, which holds everything received and not yet consumed (up to
    /// [`INPUT_BYTES`]), and appends the answer to `out`, which the driver sends and clears before the next call.
    pub fn on_bytes<E: Exports + ?Sized>(
        &mut self,
        input: &[u8],
        exports: &E,
        out: &mut Vec<u8>,
    ) -> Progress {
        let progress = match self.state {
            State::ClientFlags => self.on_client_flags(input),
            State::Options => self.on_option(input, exports, out),
            State::Skipping { option, left } => self.on_skipped(option, left, input, out),
            State::Ended(reason) => Progress { consumed: 0, outcome: Outcome::Close(reason) },
        };
        assert!(progress.consumed <= input.len(), "consumed more than there was");
        if let Outcome::Close(reason) = progress.outcome {
            self.state = State::Ended(reason);
        }
        progress
    }

    fn on_client_flags(&mut self, input: &[u8]) -> Progress {
        let Some(flags) = Reader::new(input).u32() else { return need_more(0) };
        let fixed = u32::from(handshake_flag::FIXED_NEWSTYLE);
        let no_zeroes = u32::from(handshake_flag::NO_ZEROES);
        if flags & !(fixed | no_zeroes) != 0 {
            return close(CLIENT_FLAGS_BYTES, CloseReason::UnknownClientFlags);
        }
        self.fixed_newstyle = flags & fixed != 0;
        self.no_zeroes = flags & no_zeroes != 0;
        self.state = State::Options;
        Progress { consumed: CLIENT_FLAGS_BYTES, outcome: Outcome::Reply }
    }

    fn on_option<E: Exports + ?Sized>(&mut self, input: &[u8], exports: &E, out: &mut Vec<u8>) -> Progress {
        let OptionHeader { option, length } = match wire::decode_option(input) {
            Ok(Some(header)) => header,
            Ok(None) => return need_more(0),
            Err(wire::BadMagic) => return close(0, CloseReason::BadMagic),
        };
        if !self.fixed_newstyle && option != opt::EXPORT_NAME {
            return close(OPTION_HEADER_BYTES, CloseReason::NotFixedNewstyle);
        }
        if option == opt::ABORT {
            // Data is ignored, so there is no need to wait for it.
            append_reply(out, option, rep::ACK, &[]);
            return close(OPTION_HEADER_BYTES, CloseReason::Goodbye);
        }
        let data_bytes = usize::try_from(length).unwrap_or(usize::MAX);
        if data_bytes > MAX_OPTION_BYTES {
            if option == opt::EXPORT_NAME || length > MAX_SKIPPED_OPTION_BYTES {
                return close(OPTION_HEADER_BYTES, CloseReason::OptionTooLong);
            }
            self.forget_selection(option);
            self.state = State::Skipping { option, left: length };
            return Progress { consumed: OPTION_HEADER_BYTES, outcome: Outcome::Reply };
        }
        let consumed = OPTION_HEADER_BYTES + data_bytes;
        let Some(data) = input.get(OPTION_HEADER_BYTES..consumed) else { return need_more(0) };
        let outcome = match option {
            opt::EXPORT_NAME => self.on_export_name(data, exports, out),
            opt::LIST => on_list(data, exports, out),
            opt::INFO | opt::GO => self.on_info(option, data, exports, out),
            opt::STRUCTURED_REPLY => self.on_structured_reply(data, out),
            opt::EXTENDED_HEADERS => self.on_extended_headers(data, out),
            opt::LIST_META_CONTEXT | opt::SET_META_CONTEXT => {
                self.on_meta_context(option, data, exports, out)
            }
            opt::STARTTLS => refuse(out, option, rep::ERR_UNSUP, "this server has no TLS"),
            _ => refuse(out, option, rep::ERR_UNSUP, "unknown option"),
        };
        Progress { consumed, outcome }
    }

    fn on_skipped(&mut self, option: u32, left: u32, input: &[u8], out: &mut Vec<u8>) -> Progress {
        let there = u32::try_from(input.len()).unwrap_or(u32::MAX).min(left);
        let consumed = usize::try_from(there).unwrap_or(usize::MAX);
        if there < left {
            self.state = State::Skipping { option, left: left - there };
            return need_more(consumed);
        }
        self.state = State::Options;
        let known = OPTIONS.iter().any(|(code, _)| *code == option);
        let kind = if known { rep::ERR_TOO_BIG } else { rep::ERR_UNSUP };
        Progress { consumed, outcome: refuse(out, option, kind, "the option is too long") }
    }

    fn on_export_name<E: Exports + ?Sized>(
        &mut self,
        name: &[u8],
        exports: &E,
        out: &mut Vec<u8>,
    ) -> Outcome {
        if self.mode == Mode::Extended {
            return Outcome::Close(CloseReason::ExportNameWithExtendedHeaders);
        }
        let Some((index, export)) = find(exports, name) else {
            return Outcome::Close(CloseReason::UnknownExport);
        };
        if export.available.is_err() {
            return Outcome::Close(CloseReason::UnavailableExport);
        }
        let session = self.session(&export);
        out.extend_from_slice(&session.size().to_be_bytes());
        out.extend_from_slice(&session.flags().to_be_bytes());
        if !self.no_zeroes {
            out.extend_from_slice(&[0; wire::EXPORT_NAME_PADDING_BYTES]);
        }
        Outcome::Ready { export: index, session }
    }

    fn on_structured_reply(&mut self, data: &[u8], out: &mut Vec<u8>) -> Outcome {
        let option = opt::STRUCTURED_REPLY;
        if !data.is_empty() {
            return refuse(out, option, rep::ERR_INVALID, "this option has no data");
        }
        match self.mode {
            Mode::Simple | Mode::Structured => {
                self.mode = Mode::Structured;
                agree(out, option)
            }
            Mode::Extended => {
                refuse(out, option, rep::ERR_EXT_HEADER_REQD, "extended headers are in use already")
            }
        }
    }

    fn on_extended_headers(&mut self, data: &[u8], out: &mut Vec<u8>) -> Outcome {
        if !data.is_empty() {
            return refuse(out, opt::EXTENDED_HEADERS, rep::ERR_INVALID, "this option has no data");
        }
        self.mode = Mode::Extended;
        agree(out, opt::EXTENDED_HEADERS)
    }

    fn on_info<E: Exports + ?Sized>(
        &mut self,
        option: u32,
        data: &[u8],
        exports: &E,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let Some((name, wanted)) = parse_info(data) else {
            return refuse(out, option, rep::ERR_INVALID, "the option is malformed");
        };
        let (index, export) = match open(option, name, exports, out) {
            Ok(found) => found,
            Err(refused) => return refused,
        };
        let session = self.session(&export);
        let size = session.size().to_be_bytes();
        let flags = session.flags().to_be_bytes();
        append_reply(out, option, rep::INFO, &[&info::EXPORT.to_be_bytes(), &size, &flags]);
        if wanted.name {
            append_reply(out, option, rep::INFO, &[&info::NAME.to_be_bytes(), export.name.as_bytes()]);
        }
        if wanted.description && !export.description.is_empty() {
            let description = export.description.as_bytes();
            append_reply(out, option, rep::INFO, &[&info::DESCRIPTION.to_be_bytes(), description]);
        }
        // Also when nobody asked: the sizes are enforced either way.
        let block = export.block;
        let [minimum, preferred, maximum] =
            [block.minimum(), block.preferred(), block.maximum()].map(u32::to_be_bytes);
        let kind = info::BLOCK_SIZE.to_be_bytes();
        append_reply(out, option, rep::INFO, &[&kind, &minimum, &preferred, &maximum]);
        append_reply(out, option, rep::ACK, &[]);
        if option == opt::GO { Outcome::Ready { export: index, session } } else { Outcome::Reply }
    }

    fn on_meta_context<E: Exports + ?Sized>(
        &mut self,
        option: u32,
        data: &[u8],
        exports: &E,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let selecting = option == opt::SET_META_CONTEXT;
        self.forget_selection(option);
        if self.mode == Mode::Simple {
            return refuse(out, option, rep::ERR_INVALID, "metadata contexts need structured replies");
        }
        let Some((name, queries)) = parse_queries(data) else {
            return refuse(out, option, rep::ERR_INVALID, "the option is malformed");
        };
        let (_, export) = match open(option, name, exports, out) {
            Ok(found) => found,
            Err(refused) => return refused,
        };
        let mut contexts = Contexts::NONE;
        for context in Context::ALL.into_iter().filter(|context| offers(&export, *context)) {
            let all = !selecting && queries.is_empty();
            if all || queries.clone().any(|query| matches(query, context, !selecting)) {
                contexts.insert(context);
                let id = if selecting { context.id() } else { 0 };
                append_reply(out, option, rep::META_CONTEXT, &[&id.to_be_bytes(), context.name().as_bytes()]);
            }
        }
        if selecting {
            self.selected = Some((String::from(export.name), contexts));
        }
        agree(out, option)
    }

    /// Even a selection that fails replaces the one before.
    fn forget_selection(&mut self, option: u32) {
        if option == opt::SET_META_CONTEXT {
            self.selected = None;
        }
    }

    fn session(&self, export: &Export<'_>) -> Session {
        let contexts = match &self.selected {
            Some((name, contexts)) if name == export.name => *contexts,
            Some(_) | None => Contexts::NONE,
        };
        Session::new(export, self.mode, contexts)
    }
}

fn need_more(consumed: usize) -> Progress {
    Progress { consumed, outcome: Outcome::NeedMore }
}

fn close(consumed: usize, reason: CloseReason) -> Progress {
    Progress { consumed, outcome: Outcome::Close(reason) }
}

fn agree(out: &mut Vec<u8>, option: u32) -> Outcome {
    append_reply(out, option, rep::ACK, &[]);
    Outcome::Reply
}

fn refuse(out: &mut Vec<u8>, option: u32, kind: u32, reason: &str) -> Outcome {
    append_error(out, option, kind, reason);
    Outcome::Reply
}

fn on_list<E: Exports + ?Sized>(data: &[u8], exports: &E, out: &mut Vec<u8>) -> Outcome {
    if !data.is_empty() {
        return refuse(out, opt::LIST, rep::ERR_INVALID, "this option has no data");
    }
    for export in all(exports) {
        let name = export.name.as_bytes();
        let length = u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes();
        append_reply(out, opt::LIST, rep::SERVER, &[&length, name, export.description.as_bytes()]);
    }
    agree(out, opt::LIST)
}

/// Finds an export that may be opened now, or answers why there is none.
fn open<'e, E: Exports + ?Sized>(
    option: u32,
    name: &[u8],
    exports: &'e E,
    out: &mut Vec<u8>,
) -> Result<(usize, Export<'e>), Outcome> {
    let Some((index, export)) = find(exports, name) else {
        let reason = match core::str::from_utf8(name) {
            Ok("") => String::from("this server has no default export: name one"),
            Ok(name) => format!("this server has no export '{}'", wire::cut(name, 256).escape_debug()),
            Err(_) => String::from("this server has no such export"),
        };
        return Err(refuse(out, option, rep::ERR_UNKNOWN, &reason));
    };
    match export.available {
        Ok(()) => Ok((index, export)),
        Err(reason) => Err(refuse(out, option, rep::ERR_POLICY, reason)),
    }
}

fn offers(export: &Export<'_>, context: Context) -> bool {
    match context {
        Context::Allocation => true,
        Context::Dirty => export.dirty_map,
    }
}

/// Whether a query means this context: its full name or, when listing, its namespace with the colon.
fn matches(query: &[u8], context: Context, listing: bool) -> bool {
    let name = context.name();
    let namespace = name.split_inclusive(':').next().unwrap_or(name);
    query == name.as_bytes() || (listing && query == namespace.as_bytes())
}

#[cfg(test)]
mod tests;
