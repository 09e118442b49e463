//! Replies byte by byte, against transcripts made by hand from the protocol document.

use super::super::fixture::{EXPORT, hex};
use super::super::nbd::Contexts;
use super::*;

fn session(mode: Mode) -> Session {
    Session::new(&EXPORT, mode, Contexts::NONE)
}

fn request(command: Command) -> Request {
    Request { cookie: 0x0102_0304_0506_0708, command, offset: 0x1000, length: 0x800 }
}

fn read(whole: bool) -> Request {
    request(Command::Read { whole })
}

#[test]
fn simple_sessions_have_simple_replies() {
    let session = session(Mode::Simple);
    let to = read(true).reply_to();
    let ok = hex("67446698 00000000 0102030405060708");
    assert_eq!(session.encode_done(to).bytes(), ok);
    assert_eq!(session.encode_data(&read(true), 0x1000, 0x800, true).bytes(), ok);
    let nospace = hex("67446698 0000001c 0102030405060708");
    assert_eq!(session.encode_error(to, Errno::NoSpace, "full").bytes(), nospace);
    assert_eq!(session.encode_error_at(to, Errno::NoSpace, "full", 0x1200, true).bytes(), nospace);
}

#[test]
fn structured_sessions_have_chunks_for_reads_and_errors() {
    let session = session(Mode::Structured);
    let to = read(false).reply_to();
    assert_eq!(session.encode_done(to).bytes(), hex("668e33ef 0001 0000 0102030405060708 00000000"));
    let write = request(Command::Write { fua: false }).reply_to();
    assert_eq!(session.encode_done(write).bytes(), hex("67446698 00000000 0102030405060708"));
    assert_eq!(
        session.encode_data(&read(false), 0x1200, 0x200, false).bytes(),
        hex("668e33ef 0000 0001 0102030405060708 00000208 0000000000001200")
    );
    assert_eq!(
        session.encode_hole(&read(false), 0x1400, 0x400, true).bytes(),
        hex("668e33ef 0001 0002 0102030405060708 0000000c 0000000000001400 00000400")
    );
    assert_eq!(
        session.encode_error(write, Errno::Permission, "no").bytes(),
        hex("668e33ef 0001 8001 0102030405060708 00000008 00000001 0002 6e6f")
    );
    assert_eq!(
        session.encode_error_at(to, Errno::Io, "bad", 0x1400, false).bytes(),
        hex("668e33ef 0000 8002 0102030405060708 00000011 00000005 0003 626164 0000000000001400")
    );
}

#[test]
fn extended_sessions_have_chunks_for_everything() {
    let session = session(Mode::Extended);
    let to = request(Command::Flush).reply_to();
    let start = "0102030405060708 0000000000001000";
    let expect =
        |flags_and_type: &str, rest: &str| hex(&[" 6e8a278c ", flags_and_type, start, rest].concat());
    assert_eq!(session.encode_done(to).bytes(), expect("0001 0000", "0000000000000000"));
    assert_eq!(
        session.encode_data(&read(true), 0x1000, 0x800, true).bytes(),
        expect("0001 0001", "0000000000000808 0000000000001000")
    );
    assert_eq!(
        session.encode_hole(&read(false), 0x1200, 0x200, false).bytes(),
        expect("0000 0002", "000000000000000c 0000000000001200 00000200")
    );
    assert_eq!(
        session.encode_error(to, Errno::Shutdown, "").bytes(),
        expect("0001 8001", "0000000000000006 0000006c 0000")
    );
    assert_eq!(
        session.encode_error_at(to, Errno::Overflow, "x", 0x1300, true).bytes(),
        expect("0001 8002", "000000000000000f 0000004b 0001 78 0000000000001300")
    );
}

#[test]
fn answers_are_success_or_error() {
    let session = session(Mode::Structured);
    let to = request(Command::Cache).reply_to();
    let refusal = Refusal { errno: Errno::Invalid, text: "why" };
    assert_eq!(session.encode_answer(to, Ok(())).bytes(), session.encode_done(to).bytes());
    assert_eq!(
        session.encode_answer(to, Err(refusal)).bytes(),
        session.encode_error(to, Errno::Invalid, "why").bytes()
    );
}

#[test]
fn long_messages_are_cut_between_characters_and_fit() {
    let text = "ä".repeat(MAX_ERROR_TEXT);
    let shifted = [" ", text.as_str()].concat();
    for (text, kept) in [(text.as_str(), MAX_ERROR_TEXT), (shifted.as_str(), MAX_ERROR_TEXT - 1)] {
        let head = session(Mode::Extended).encode_error_at(read(false).reply_to(), Errno::Io, text, 0, true);
        assert_eq!(head.bytes().len(), 32 + 6 + kept + 8);
        assert!(core::str::from_utf8(&head.bytes()[38..38 + kept]).is_ok());
    }
}

#[test]
#[should_panic(expected = "a piece of what must be sent whole")]
fn what_must_be_whole_is_never_split() {
    session(Mode::Structured).encode_data(&read(true), 0x1000, 0x400, false);
}

#[test]
#[should_panic(expected = "data outside its request")]
fn data_outside_the_request_is_a_programmer_error() {
    session(Mode::Structured).encode_data(&read(false), 0x1400, 0x800, false);
}
