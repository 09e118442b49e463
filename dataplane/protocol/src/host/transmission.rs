//! Requests: decodes one header, judges it as the protocol and the session demand, and says what follows it.

use super::nbd::{COMMANDS, CloseReason, CommandRow, Context, Contexts, MAX_SKIP, Mode, Session};
use super::nbd_wire::{
    self as wire, EXTENDED_REQUEST_BYTES, Errno, REQUEST_BYTES, Reader, RequestHeader, cmd, cmd_flag,
    export_flag,
};

/// Bytes the driver must be able to hold for [`Session::on_header`]: the longest header with a payload that is part of it.
pub const HEADER_BYTES: usize = EXTENDED_REQUEST_BYTES + 16;

/// What a reply must name. Small and [`Copy`], so that it can stay with a request until the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    pub(super) cookie: u64,
    pub(super) offset: u64,
    /// With structured replies, a read is never answered by a simple reply.
    pub(super) read: bool,
}

/// What the client wants, with the flags that belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send data.
    Read {
        /// In one chunk ("don't fragment"). A session with simple replies always wants that.
        whole: bool,
    },
    /// Take data: the payload.
    Write {
        /// Durable before it is answered.
        fua: bool,
    },
    /// Make every write durable that was answered so far, on any connection.
    Flush,
    /// Forget what is in the range.
    Trim {
        /// Durable before it is answered.
        fua: bool,
    },
    /// Expect reads; changes nothing.
    Cache,
    /// Make the range read as zeroes.
    WriteZeroes {
        /// Durable before it is answered.
        fua: bool,
        /// The range must stay allocated.
        no_hole: bool,
    },
    /// Describe the range.
    BlockStatus {
        /// One extent for each context, no longer than the request.
        one: bool,
        /// What to describe: never empty.
        contexts: Contexts,
    },
}

/// A request that holds: allowed, inside the export, aligned, and longer than nothing (but for a flush, which has no range).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The client's name for it; not unique.
    pub cookie: u64,
    /// What to do.
    pub command: Command,
    /// Where, in bytes.
    pub offset: u64,
    /// How many bytes. At most the advertised maximum for a read or a write; up to the whole export for the others.
    pub length: u64,
}

impl Request {
    /// What its reply must name.
    pub fn reply_to(&self) -> ReplyTo {
        ReplyTo {
            cookie: self.cookie,
            offset: self.offset,
            read: matches!(self.command, Command::Read { .. }),
        }
    }
}

/// Why a request is answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The number.
    pub errno: Errno,
    /// The sentence; only clients with structured replies see it.
    pub text: &'static str,
}

/// What is at the front of the input, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call again with more input; nothing is consumed.
    NeedMore,
    /// Carry out a request, and answer it.
    Request {
        /// Bytes of the header, at the front of the input.
        consumed: usize,
        /// What to do.
        request: Request,
        /// Bytes of data that follow: the length of a write, else 0.
        payload: u32,
    },
    /// Answer at once, without carrying anything out ([`Session::encode_answer`]).
    Answer {
        /// Bytes of the header, at the front of the input.
        consumed: usize,
        /// Bytes that follow and must be thrown away *before* the answer is sent: clients do not expect to be answered while they
        /// still send.
        skip: u64,
        /// What to name in the reply.
        to: ReplyTo,
        /// Success (there was nothing to do), or why not.
        result: Result<(), Refusal>,
    },
    /// The client leaves: serve what is under way, then close. No reply.
    Disconnect,
    /// End this connection now.
    Close(CloseReason),
}

impl Session {
    /// Bytes of a request header in this session, without any payload.
    pub fn header_bytes(&self) -> usize {
        if self.mode == Mode::Extended { EXTENDED_REQUEST_BYTES } else { REQUEST_BYTES }
    }

    /// Looks at the request at the front of `input`, which holds what was received and not yet consumed. Keeps no state: the same
    /// bytes always give the same step, and [`Step::NeedMore`] can be asked again with more of them.
    pub fn on_header(&self, input: &[u8]) -> Step {
        let extended = self.mode == Mode::Extended;
        let header = match wire::decode_request(extended, input) {
            Ok(Some(header)) => header,
            Ok(None) => return Step::NeedMore,
            Err(wire::BadMagic) => return Step::Close(CloseReason::BadMagic),
        };
        if header.command == cmd::DISC {
            return Step::Disconnect;
        }
        let says_payload = extended && header.flags & cmd_flag::PAYLOAD_LEN != 0;
        // A write has data, flag or not: qemu's client leaves the flag out, and data must never be taken for requests.
        let has_payload = says_payload || header.command == cmd::WRITE;
        let payload = if has_payload { header.length } else { 0 };
        if payload > MAX_SKIP {
            return Step::Close(CloseReason::PayloadTooLong);
        }
        if header.command == cmd::BLOCK_STATUS && says_payload {
            return self.on_filtered_status(&header, input);
        }
        let result = self.judge(&header);
        self.step(&header, self.header_bytes(), payload, result)
    }

    fn step(
        &self,
        header: &RequestHeader,
        consumed: usize,
        payload: u64,
        result: Result<Command, Refusal>,
    ) -> Step {
        let to = ReplyTo { cookie: header.cookie, offset: header.offset, read: header.command == cmd::READ };
        match result {
            Err(refusal) => Step::Answer { consumed, skip: payload, to, result: Err(refusal) },
            Ok(command) if header.length == 0 && command != Command::Flush => {
                Step::Answer { consumed, skip: payload, to, result: Ok(()) }
            }
            Ok(command) => {
                let RequestHeader { cookie, offset, length, .. } = *header;
                let payload = u32::try_from(payload).unwrap_or(u32::MAX);
                Step::Request { consumed, request: Request { cookie, command, offset, length }, payload }
            }
        }
    }

    /// A status request that names its contexts: the length of the range and the contexts come as payload, which is so short that
    /// it is taken for a part of the header.
    ///
    /// ```text
    /// 32      40          40 + 4n
    /// │length │n contexts │
    /// ```
    fn on_filtered_status(&self, header: &RequestHeader, input: &[u8]) -> Step {
        let mut filtered = *header;
        let offered = self.flags & export_flag::BLOCK_STATUS_PAYLOAD != 0;
        let fits = matches!(header.length, 12 | 16);
        if !offered || !fits {
            let text = if offered {
                "the payload does not name contexts"
            } else {
                "no metadata context was selected"
            };
            return self.step(header, EXTENDED_REQUEST_BYTES, header.length, Err(invalid(text)));
        }
        let end = EXTENDED_REQUEST_BYTES + usize::try_from(header.length).unwrap_or(usize::MAX);
        let Some(payload) = input.get(EXTENDED_REQUEST_BYTES..end) else { return Step::NeedMore };
        let mut reader = Reader::new(payload);
        filtered.length = reader.u64().unwrap_or(0);
        let mut contexts = Contexts::NONE;
        while let Some(id) = reader.u32() {
            let known = Context::from_id(id).filter(|context| self.contexts.contains(*context));
            if !known.is_some_and(|context| contexts.insert(context)) {
                let refusal = invalid("a context that was not selected, or was named twice");
                return self.step(&filtered, end, 0, Err(refusal));
            }
        }
        let result = self.judge(&filtered).map(|command| match command {
            Command::BlockStatus { one, .. } => Command::BlockStatus { one, contexts },
            Command::Read { .. }
            | Command::Write { .. }
            | Command::Flush
            | Command::Trim { .. }
            | Command::Cache
            | Command::WriteZeroes { .. } => command,
        });
        self.step(&filtered, end, 0, result)
    }

    /// Whether the request may be carried out. The order is qemu's: command and flags, permission, size, range, alignment.
    fn judge(&self, header: &RequestHeader) -> Result<Command, Refusal> {
        let row = COMMANDS.iter().find(|row| row.code == header.command).ok_or(invalid("unknown command"))?;
        self.judge_flags(row, header.flags)?;
        if row.writes && self.flags & export_flag::READ_ONLY != 0 {
            return Err(Refusal { errno: Errno::Permission, text: "the export is read-only" });
        }
        let command = self.judge_command(header)?;
        if command == Command::Flush {
            return match (header.offset, header.length) {
                (0, 0) => Ok(command),
                _ => Err(invalid("a flush has no range")),
            };
        }
        let moves_data = matches!(header.command, cmd::READ | cmd::WRITE);
        if moves_data && header.length > u64::from(self.block.maximum()) {
            let whole = command == Command::Read { whole: true } && self.mode != Mode::Simple;
            let errno = if whole { Errno::Overflow } else { Errno::Invalid };
            return Err(Refusal { errno, text: "longer than the maximum payload" });
        }
        self.judge_range(header)?;
        Ok(command)
    }

    fn judge_flags(&self, row: &CommandRow, flags: u16) -> Result<(), Refusal> {
        let unknown = match self.mode {
            Mode::Simple => cmd_flag::DF | cmd_flag::PAYLOAD_LEN,
            Mode::Structured => cmd_flag::PAYLOAD_LEN,
            Mode::Extended => 0,
        };
        let allowed = row.flags & !unknown;
        if flags & !allowed == 0 { Ok(()) } else { Err(invalid("a flag that this command does not have")) }
    }

    fn judge_command(&self, header: &RequestHeader) -> Result<Command, Refusal> {
        let has = |flag| header.flags & flag != 0;
        let can = |flag| self.flags & flag != 0;
        let fua = has(cmd_flag::FUA);
        match header.command {
            cmd::READ => Ok(Command::Read { whole: has(cmd_flag::DF) || self.mode == Mode::Simple }),
            cmd::WRITE => Ok(Command::Write { fua }),
            cmd::FLUSH => Ok(Command::Flush),
            cmd::TRIM if can(export_flag::SEND_TRIM) => Ok(Command::Trim { fua }),
            cmd::CACHE => Ok(Command::Cache),
            cmd::WRITE_ZEROES if !can(export_flag::SEND_WRITE_ZEROES) => {
                Err(invalid("the export cannot write zeroes"))
            }
            cmd::WRITE_ZEROES if has(cmd_flag::FAST_ZERO) && !self.fast_zero => {
                Err(Refusal { errno: Errno::NotSupported, text: "zeroes are not faster than a write" })
            }
            cmd::WRITE_ZEROES => Ok(Command::WriteZeroes { fua, no_hole: has(cmd_flag::NO_HOLE) }),
            cmd::BLOCK_STATUS if self.contexts.is_empty() => Err(invalid("no metadata context was selected")),
            cmd::BLOCK_STATUS if header.length == 0 => Err(invalid("the status of nothing")),
            cmd::BLOCK_STATUS => {
                Ok(Command::BlockStatus { one: has(cmd_flag::REQ_ONE), contexts: self.contexts })
            }
            _ => Err(invalid("the export does not support this command")),
        }
    }

    fn judge_range(&self, header: &RequestHeader) -> Result<(), Refusal> {
        let RequestHeader { offset, length, .. } = *header;
        if offset.checked_add(length).is_none_or(|end| end > self.size) {
            // A disk that is too short has no space for what is written; a read or a trim beyond it is simply wrong.
            let errno = match header.command {
                cmd::WRITE | cmd::WRITE_ZEROES => Errno::NoSpace,
                _ => Errno::Invalid,
            };
            return Err(Refusal { errno, text: "beyond the end of the export" });
        }
        let minimum = u64::from(self.block.minimum());
        if offset.is_multiple_of(minimum) && length.is_multiple_of(minimum) {
            Ok(())
        } else {
            Err(invalid("not aligned to the minimum block size"))
        }
    }
}

fn invalid(text: &'static str) -> Refusal {
    Refusal { errno: Errno::Invalid, text }
}

#[cfg(test)]
mod tests;
