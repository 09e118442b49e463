//! One rule of the protocol a test: which requests hold, which are refused, and with what.

use alloc::vec::Vec;

use super::super::fixture::{self, both_contexts};
use super::super::nbd::{BlockSizes, Export, MAX_PAYLOAD};
use super::*;

const SIZE: u64 = 1 << 30;
const BOTH: u16 = cmd_flag::FUA | cmd_flag::PAYLOAD_LEN;

const EXPORT: Export<'static> = Export { size: SIZE, ..fixture::EXPORT };

fn session(mode: Mode) -> Session {
    Session::new(&EXPORT, mode, both_contexts())
}

fn bytes(mode: Mode, flags: u16, command: u16, offset: u64, length: u64) -> Vec<u8> {
    let extended = mode == Mode::Extended;
    let magic: u32 = if extended { 0x21e4_1c71 } else { 0x2560_9513 };
    let mut bytes = magic.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend(command.to_be_bytes());
    bytes.extend(*b"a cookie");
    bytes.extend(offset.to_be_bytes());
    if extended {
        bytes.extend(length.to_be_bytes());
    } else {
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
    }
    bytes
}

/// The step for a whole header; every shorter prefix must ask for more.
fn step(session: &Session, flags: u16, command: u16, offset: u64, length: u64) -> Step {
    let bytes = bytes(session.mode(), flags, command, offset, length);
    for cut in 0..bytes.len() {
        assert_eq!(session.on_header(&bytes[..cut]), Step::NeedMore);
    }
    session.on_header(&bytes)
}

fn refusal(step: Step) -> (Errno, u64) {
    let Step::Answer { skip, result: Err(refusal), to, .. } = step else { panic!("not refused: {step:?}") };
    assert_eq!(to.cookie.to_be_bytes(), *b"a cookie");
    (refusal.errno, skip)
}

fn errno(session: &Session, flags: u16, command: u16, offset: u64, length: u64) -> Errno {
    refusal(step(session, flags, command, offset, length)).0
}

fn command(session: &Session, flags: u16, code: u16, offset: u64, length: u64) -> Command {
    let found = step(session, flags, code, offset, length);
    let Step::Request { consumed, request, .. } = found else { panic!("not a request: {found:?}") };
    assert_eq!(consumed, session.header_bytes());
    assert_eq!((request.offset, request.length), (offset, length));
    assert_eq!(request.cookie.to_be_bytes(), *b"a cookie");
    request.command
}

#[test]
fn a_header_is_decoded_byte_by_byte() {
    let compact =
        [0x25, 0x60, 0x95, 0x13, 0, 1, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 2, 0];
    let request = Request {
        cookie: 0x0102_0304_0506_0708,
        command: Command::Write { fua: true },
        offset: 4096,
        length: 512,
    };
    for mode in [Mode::Simple, Mode::Structured] {
        let step = session(mode).on_header(&[&compact[..], b"payload"].concat());
        assert_eq!(step, Step::Request { consumed: 28, request, payload: 512 });
    }
    let extended = [
        0x21, 0xe4, 0x1c, 0x71, 0, 0x21, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0,
        0, 0, 2, 0,
    ];
    let step = session(Mode::Extended).on_header(&extended);
    assert_eq!(step, Step::Request { consumed: 32, request, payload: 512 });
}

#[test]
fn the_wrong_magic_closes() {
    for (mine, theirs) in [(Mode::Simple, Mode::Extended), (Mode::Extended, Mode::Structured)] {
        let stream = [bytes(theirs, 0, cmd::READ, 0, 512), bytes(theirs, 0, cmd::READ, 0, 512)].concat();
        assert_eq!(session(mine).on_header(&stream), Step::Close(CloseReason::BadMagic));
    }
}

#[test]
fn every_command_carries_its_flags() {
    let simple = session(Mode::Simple);
    let extended = session(Mode::Extended);
    let fua = cmd_flag::FUA;
    assert_eq!(command(&simple, 0, cmd::READ, 0, 512), Command::Read { whole: true });
    assert_eq!(command(&extended, fua, cmd::READ, 0, 512), Command::Read { whole: false });
    assert_eq!(command(&extended, cmd_flag::DF, cmd::READ, 0, 512), Command::Read { whole: true });
    assert_eq!(command(&extended, BOTH, cmd::WRITE, 0, 512), Command::Write { fua: true });
    assert_eq!(command(&simple, 0, cmd::WRITE, 0, 512), Command::Write { fua: false });
    assert_eq!(command(&simple, fua, cmd::FLUSH, 0, 0), Command::Flush);
    assert_eq!(command(&simple, fua, cmd::TRIM, 0, SIZE), Command::Trim { fua: true });
    assert_eq!(command(&simple, fua, cmd::CACHE, 0, SIZE), Command::Cache);
    let zeroes = command(&simple, fua | cmd_flag::FAST_ZERO, cmd::WRITE_ZEROES, 0, SIZE);
    assert_eq!(zeroes, Command::WriteZeroes { fua: true, no_hole: false });
    let zeroes = command(&simple, cmd_flag::NO_HOLE, cmd::WRITE_ZEROES, 0, SIZE);
    assert_eq!(zeroes, Command::WriteZeroes { fua: false, no_hole: true });
    let status = command(&extended, fua | cmd_flag::REQ_ONE, cmd::BLOCK_STATUS, 0, SIZE);
    assert_eq!(status, Command::BlockStatus { one: true, contexts: both_contexts() });
}

#[test]
fn only_flags_of_the_command_are_accepted() {
    for mode in [Mode::Simple, Mode::Structured, Mode::Extended] {
        let session = session(mode);
        for row in COMMANDS.iter().filter(|row| row.code != cmd::DISC) {
            for bit in 0..16 {
                let flag = 1_u16 << bit;
                let mut allowed = row.flags;
                if mode == Mode::Simple {
                    allowed &= !cmd_flag::DF;
                }
                // A write that has the flag, and a status that has it and no payload, are other tests' matters.
                if flag == cmd_flag::PAYLOAD_LEN && row.flags & flag != 0 && mode == Mode::Extended {
                    continue;
                }
                allowed &= !cmd_flag::PAYLOAD_LEN;
                let (extra, length) = match row.code {
                    cmd::FLUSH => (0, 0),
                    cmd::WRITE if mode == Mode::Extended => (cmd_flag::PAYLOAD_LEN, 512),
                    _ => (0, 512),
                };
                // A status request needs chunks to begin with.
                if row.code == cmd::BLOCK_STATUS && mode == Mode::Simple {
                    continue;
                }
                let found = step(&session, flag | extra, row.code, 0, length);
                if flag & allowed == 0 {
                    assert_eq!(refusal(found).0, Errno::Invalid, "{mode:?} {} flag {flag:#x}", row.name);
                } else {
                    assert!(matches!(found, Step::Request { .. }), "{mode:?} {} flag {flag:#x}", row.name);
                }
            }
        }
    }
}

#[test]
fn unknown_commands_are_invalid_and_keep_the_connection() {
    for code in [8, 9, 100, u16::MAX] {
        assert_eq!(refusal(step(&session(Mode::Simple), 0, code, 0, 512)), (Errno::Invalid, 0));
        let with_payload = step(&session(Mode::Extended), cmd_flag::PAYLOAD_LEN, code, 0, 512);
        assert_eq!(refusal(with_payload), (Errno::Invalid, 512));
    }
}

#[test]
fn a_payload_where_none_belongs_is_skipped() {
    for code in [cmd::READ, cmd::FLUSH, cmd::TRIM, cmd::CACHE, cmd::WRITE_ZEROES] {
        let found = step(&session(Mode::Extended), cmd_flag::PAYLOAD_LEN, code, 0, 4096);
        assert_eq!(refusal(found), (Errno::Invalid, 4096));
    }
}

#[test]
fn beyond_the_end_there_is_no_space_to_write_and_nothing_to_read() {
    let session = session(Mode::Extended);
    for (offset, length) in [(SIZE, 1), (SIZE - 511, 512), (u64::MAX, 1), (1, SIZE), (u64::MAX - 511, 512)] {
        assert_eq!(errno(&session, 0, cmd::WRITE_ZEROES, offset, length), Errno::NoSpace);
        for code in [cmd::TRIM, cmd::CACHE, cmd::BLOCK_STATUS] {
            assert_eq!(errno(&session, 0, code, offset, length), Errno::Invalid);
        }
        if length <= u64::from(MAX_PAYLOAD) {
            let write = step(&session, cmd_flag::PAYLOAD_LEN, cmd::WRITE, offset, length);
            assert_eq!(refusal(write), (Errno::NoSpace, length));
            assert_eq!(errno(&session, 0, cmd::READ, offset, length), Errno::Invalid);
        }
    }
    assert_eq!(command(&session, 0, cmd::READ, SIZE - 512, 512), Command::Read { whole: false });
}

#[test]
fn payloads_have_a_limit_and_what_exceeds_it_is_skipped() {
    let limit = u64::from(MAX_PAYLOAD);
    for mode in [Mode::Simple, Mode::Extended] {
        let session = session(mode);
        let flag = if mode == Mode::Extended { cmd_flag::PAYLOAD_LEN } else { 0 };
        assert_eq!(command(&session, flag, cmd::WRITE, 0, limit), Command::Write { fua: false });
        assert_eq!(refusal(step(&session, flag, cmd::WRITE, 0, limit + 1)), (Errno::Invalid, limit + 1));
        assert_eq!(refusal(step(&session, flag, cmd::WRITE, 0, MAX_SKIP)), (Errno::Invalid, MAX_SKIP));
        assert_eq!(errno(&session, 0, cmd::READ, 0, limit + 1), Errno::Invalid);
    }
    let extended = session(Mode::Extended);
    assert_eq!(errno(&extended, cmd_flag::DF, cmd::READ, 0, limit + 1), Errno::Overflow);
    for length in [MAX_SKIP + 1, u64::MAX] {
        let found = step(&extended, cmd_flag::PAYLOAD_LEN, cmd::WRITE, 0, length);
        assert_eq!(found, Step::Close(CloseReason::PayloadTooLong));
    }
}

/// qemu 8.2 to 10.0 leave the flag out, and its server takes such writes.
#[test]
fn an_extended_write_has_data_also_without_the_flag() {
    let session = session(Mode::Extended);
    assert_eq!(command(&session, 0, cmd::WRITE, 0, 512), Command::Write { fua: false });
    assert_eq!(refusal(step(&session, 0, cmd::WRITE, SIZE, 512)), (Errno::NoSpace, 512));
    let found = step(&session, 0, cmd::WRITE, 0, MAX_SKIP + 1);
    assert_eq!(found, Step::Close(CloseReason::PayloadTooLong));
}

#[test]
fn requests_are_aligned_to_the_advertised_minimum() {
    let export = Export { block: BlockSizes::new(512, 4096, 1 << 20).unwrap(), ..EXPORT };
    let session = Session::new(&export, Mode::Structured, both_contexts());
    for code in [cmd::READ, cmd::WRITE, cmd::TRIM, cmd::CACHE, cmd::WRITE_ZEROES, cmd::BLOCK_STATUS] {
        let skip = if code == cmd::WRITE { 512 } else { 0 };
        assert_eq!(refusal(step(&session, 0, code, 256, 512)), (Errno::Invalid, skip));
        assert_eq!(errno(&session, 0, code, 512, 100), Errno::Invalid);
        command(&session, 0, code, 512, 1024);
    }
    assert_eq!(
        errno(&session, 0, cmd::READ, 0, (1 << 20) + 512),
        Errno::Invalid,
        "the advertised maximum counts"
    );
    command(&self::session(Mode::Simple), 0, cmd::READ, 13, 7);
}

#[test]
fn a_read_only_export_permits_no_change() {
    let session = Session::new(&Export { read_only: true, ..EXPORT }, Mode::Structured, Contexts::NONE);
    assert_eq!(refusal(step(&session, 0, cmd::WRITE, 0, 512)), (Errno::Permission, 512));
    assert_eq!(errno(&session, 0, cmd::TRIM, 0, 512), Errno::Permission);
    assert_eq!(errno(&session, cmd_flag::FAST_ZERO, cmd::WRITE_ZEROES, 0, 512), Errno::Permission);
    command(&session, 0, cmd::READ, 0, 512);
    command(&session, 0, cmd::FLUSH, 0, 0);
    command(&session, 0, cmd::CACHE, 0, 512);
}

#[test]
fn what_the_export_cannot_do_is_refused() {
    let plain = Export { can_trim: false, can_zero: false, ..EXPORT };
    let session = Session::new(&plain, Mode::Simple, Contexts::NONE);
    assert_eq!(errno(&session, 0, cmd::TRIM, 0, 512), Errno::Invalid);
    assert_eq!(errno(&session, cmd_flag::FAST_ZERO, cmd::WRITE_ZEROES, 0, 512), Errno::Invalid);
    assert_eq!(errno(&session, 0, cmd::BLOCK_STATUS, 0, 512), Errno::Invalid, "no context was selected");
    let slow = Session::new(&Export { fast_zero: false, ..EXPORT }, Mode::Simple, Contexts::NONE);
    assert_eq!(errno(&slow, cmd_flag::FAST_ZERO, cmd::WRITE_ZEROES, 0, 512), Errno::NotSupported);
    command(&slow, 0, cmd::WRITE_ZEROES, 0, 512);
}

#[test]
fn requests_for_nothing_succeed_at_once_but_status() {
    for mode in [Mode::Simple, Mode::Structured, Mode::Extended] {
        let session = session(mode);
        for code in [cmd::READ, cmd::WRITE, cmd::TRIM, cmd::CACHE, cmd::WRITE_ZEROES] {
            let payload = mode == Mode::Extended && code == cmd::WRITE;
            let flags = if payload { cmd_flag::PAYLOAD_LEN } else { 0 };
            let found = step(&session, flags, code, SIZE, 0);
            assert!(matches!(found, Step::Answer { skip: 0, result: Ok(()), .. }), "{found:?}");
            let beyond = step(&session, flags, code, SIZE + 1, 0);
            assert!(matches!(beyond, Step::Answer { skip: 0, result: Err(_), .. }), "{beyond:?}");
        }
        assert_eq!(errno(&session, 0, cmd::BLOCK_STATUS, 0, 0), Errno::Invalid);
    }
}

#[test]
fn a_flush_has_no_range() {
    assert_eq!(errno(&session(Mode::Simple), 0, cmd::FLUSH, 512, 0), Errno::Invalid);
    assert_eq!(errno(&session(Mode::Simple), 0, cmd::FLUSH, 0, 512), Errno::Invalid);
}

#[test]
fn a_goodbye_is_taken_however_it_is_said() {
    for mode in [Mode::Simple, Mode::Extended] {
        assert_eq!(step(&session(mode), 0, cmd::DISC, 0, 0), Step::Disconnect);
        assert_eq!(step(&session(mode), 0xffff, cmd::DISC, 7, 7), Step::Disconnect);
    }
}

fn filtered(session: &Session, payload: &[u8]) -> Step {
    let length = payload.len() as u64;
    let header =
        bytes(Mode::Extended, cmd_flag::PAYLOAD_LEN | cmd_flag::REQ_ONE, cmd::BLOCK_STATUS, 512, length);
    let whole = [&header, payload].concat();
    let full = session.on_header(&whole);
    if let Step::Request { consumed, .. } = full {
        assert_eq!(consumed, whole.len(), "the filter is consumed as a part of the header");
        for cut in 0..whole.len() {
            assert_eq!(session.on_header(&whole[..cut]), Step::NeedMore);
        }
    }
    full
}

#[test]
fn a_status_request_can_name_its_contexts() {
    let session = session(Mode::Extended);
    let filter = |length: u64, ids: &[u32]| {
        let ids = ids.iter().flat_map(|id| id.to_be_bytes());
        filtered(&session, &length.to_be_bytes().into_iter().chain(ids).collect::<Vec<u8>>())
    };
    let Step::Request { request, payload: 0, .. } = filter(4096, &[2]) else { panic!("a filter that holds") };
    let mut dirty = Contexts::NONE;
    dirty.insert(Context::Dirty);
    assert_eq!(request.command, Command::BlockStatus { one: true, contexts: dirty });
    assert_eq!((request.offset, request.length), (512, 4096), "the length is the one in the payload");
    let Step::Request { request, .. } = filter(4096, &[2, 1]) else { panic!("a filter that holds") };
    assert_eq!(request.command, Command::BlockStatus { one: true, contexts: both_contexts() });
    for (length, ids) in
        [(4096, &[0][..]), (4096, &[1, 1]), (4096, &[3, 1]), (0, &[1]), (SIZE, &[1]), (u64::MAX, &[2])]
    {
        let found = filter(length, ids);
        assert_eq!(refusal(found), (Errno::Invalid, 0), "length {length} contexts {ids:?}");
        let Step::Answer { consumed, .. } = found else { panic!() };
        assert_eq!(consumed, 32 + 8 + 4 * ids.len());
    }
    for length in [0_usize, 8, 13, 20, 4096] {
        let found = filtered(&session, &Vec::from_iter((0..length).map(|_| 0)));
        assert_eq!(refusal(found), (Errno::Invalid, length as u64), "a payload of {length} bytes");
    }
    let unselected = Session::new(&EXPORT, Mode::Extended, Contexts::NONE);
    assert_eq!(refusal(filtered(&unselected, &[0; 12])), (Errno::Invalid, 12));
    let mut one = Contexts::NONE;
    one.insert(Context::Allocation);
    let one = Session::new(&EXPORT, Mode::Extended, one);
    assert_eq!(
        refusal(filtered(&one, &[0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2])),
        (Errno::Invalid, 0),
        "not selected"
    );
}
