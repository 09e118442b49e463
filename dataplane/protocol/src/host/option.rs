//! Shapes of the options that have any: what their data says, and how a reply to an option looks. No state.

use alloc::vec::Vec;

use super::nbd_wire::{self as wire, Reader, info};

/// The longest reason that goes with a refused option, in bytes; longer ones are cut.
const MAX_REASON_BYTES: usize = 1024;

/// The facts that a client asked for and that are not sent unasked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub(super) name: bool,
    pub(super) description: bool,
}

/// `INFO` and `GO`: length and name of the export (32 bits + bytes), number of facts (16 bits), the facts (16 bits each).
pub(super) fn parse_info(data: &[u8]) -> Option<(&[u8], Wanted)> {
    let mut reader = Reader::new(data);
    let name = reader.string()?;
    let count = reader.u16()?;
    let mut wanted = Wanted::default();
    for _ in 0..count {
        match reader.u16()? {
            info::NAME => wanted.name = true,
            info::DESCRIPTION => wanted.description = true,
            _ => {}
        }
    }
    reader.rest().is_empty().then_some((name, wanted))
}

/// The queries of a `META_CONTEXT` option, known to be well-formed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queries<'a> {
    reader: Reader<'a>,
}

impl Queries<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.reader.rest().is_empty()
    }
}

impl<'a> Iterator for Queries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.reader.string()
    }
}

/// `META_CONTEXT`: length and name of the export, number of queries (32 bits), length and bytes of each query.
pub(super) fn parse_queries(data: &[u8]) -> Option<(&[u8], Queries<'_>)> {
    let mut reader = Reader::new(data);
    let name = reader.string()?;
    let count = reader.u32()?;
    let queries = Queries { reader };
    for _ in 0..count {
        reader.string()?;
    }
    reader.rest().is_empty().then_some((name, queries))
}

/// Appends one reply to an option.
///
/// ```text
/// 0      8       12     16      20
/// │magic │option │type  │length │ data
/// ```
pub(super) fn append_reply(out: &mut Vec<u8>, option: u32, kind: u32, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.extend_from_slice(&wire::OPTION_REPLY_MAGIC.to_be_bytes());
    out.extend_from_slice(&option.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// Appends a refusal, with a reason for humans.
pub(super) fn append_error(out: &mut Vec<u8>, option: u32, kind: u32, reason: &str) {
    append_reply(out, option, kind, &[wire::cut(reason, MAX_REASON_BYTES).as_bytes()]);
}
