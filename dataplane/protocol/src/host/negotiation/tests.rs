//! Handshakes byte by byte, against transcripts made by hand from the protocol document.

use alloc::vec;
use alloc::vec::Vec;
use core::slice;

use super::super::fixture::{self, hex};
use super::super::nbd::BlockSizes;
use super::super::nbd_wire::export_flag as flag;
use super::*;

fn export(name: &'static str) -> Export<'static> {
    Export { name, size: 1 << 20, ..fixture::EXPORT }
}

fn two() -> [Export<'static>; 2] {
    [Export { description: "first disk", ..export("a") }, Export { default: true, ..export("b") }]
}

fn option(code: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    [b"IHAVEOPT".as_slice(), &code.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

fn string(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

fn info_data(name: &str, wanted: &[u16]) -> Vec<u8> {
    let mut data = string(name);
    data.extend(u16::try_from(wanted.len()).unwrap().to_be_bytes());
    wanted.iter().for_each(|kind| data.extend(kind.to_be_bytes()));
    data
}

fn meta_data(name: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = string(name);
    data.extend(u32::try_from(queries.len()).unwrap().to_be_bytes());
    queries.iter().for_each(|query| data.extend(string(query)));
    data
}

fn fixed() -> Negotiation {
    let mut machine = Negotiation::new();
    let progress = machine.on_bytes(&[0, 0, 0, 3], two().as_slice(), &mut Vec::new());
    assert_eq!(progress, Progress { consumed: 4, outcome: Outcome::Reply });
    machine
}

fn send(machine: &mut Negotiation, exports: &[Export<'_>], code: u32, data: &[u8]) -> (Outcome, Vec<u8>) {
    let bytes = option(code, data);
    let mut out = Vec::new();
    for cut in 0..bytes.len() {
        let progress = machine.on_bytes(&bytes[..cut], exports, &mut out);
        if progress.outcome != Outcome::NeedMore {
            return (progress.outcome, out);
        }
        assert_eq!((progress.consumed, out.len()), (0, 0));
    }
    let progress = machine.on_bytes(&bytes, exports, &mut out);
    assert_eq!(progress.consumed, bytes.len());
    (progress.outcome, out)
}

/// The replies in some output: type and data of each.
fn replies(code: u32, mut out: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut found = vec![];
    while !out.is_empty() {
        let mut reader = Reader::new(out);
        assert_eq!(reader.u64(), Some(wire::OPTION_REPLY_MAGIC));
        assert_eq!(reader.u32(), Some(code));
        let kind = reader.u32().unwrap();
        let length = reader.u32().unwrap() as usize;
        found.push((kind, reader.bytes(length).unwrap().to_vec()));
        out = reader.rest();
    }
    found
}

fn refused(machine: &mut Negotiation, code: u32, data: &[u8]) -> u32 {
    let (outcome, out) = send(machine, &two(), code, data);
    assert_eq!(outcome, Outcome::Reply);
    let [(kind, text)] = replies(code, &out).try_into().unwrap();
    assert!(!text.is_empty() && core::str::from_utf8(&text).is_ok(), "every refusal says why");
    kind
}

fn ready(outcome: Outcome) -> (usize, Session) {
    let Outcome::Ready { export, session } = outcome else { panic!("not ready: {outcome:?}") };
    (export, session)
}

#[test]
fn the_greeting_is_the_one_of_fixed_newstyle() {
    assert_eq!(Negotiation::greeting().to_vec(), [b"NBDMAGICIHAVEOPT".as_slice(), &[0, 3]].concat());
}

#[test]
fn unknown_client_flags_close() {
    let mut machine = Negotiation::new();
    let progress = machine.on_bytes(&[0, 0, 0, 4], two().as_slice(), &mut Vec::new());
    assert_eq!(progress.outcome, Outcome::Close(CloseReason::UnknownClientFlags));
    let again = machine.on_bytes(&option(opt::LIST, b""), two().as_slice(), &mut Vec::new());
    assert_eq!(again.outcome, progress.outcome, "closed stays closed");
}

#[test]
fn a_client_without_fixed_newstyle_may_only_name_an_export() {
    let mut out = Vec::new();
    let mut machine = Negotiation::new();
    machine.on_bytes(&[0; 4], two().as_slice(), &mut out);
    let progress = machine.on_bytes(&option(opt::LIST, b""), two().as_slice(), &mut out);
    assert_eq!(progress.outcome, Outcome::Close(CloseReason::NotFixedNewstyle));

    let mut machine = Negotiation::new();
    machine.on_bytes(&[0; 4], two().as_slice(), &mut out);
    let (outcome, out) = send(&mut machine, &two(), opt::EXPORT_NAME, b"a");
    assert_eq!(ready(outcome).0, 0);
    let transcript = [hex("0000000000100000 0d6d"), vec![0; 124]].concat();
    assert_eq!(out, transcript, "size, flags and the padding the client did not ask to leave out");
}

#[test]
fn export_name_without_padding_is_ten_bytes_and_closes_when_it_cannot_be_served() {
    let (outcome, out) = send(&mut fixed(), &two(), opt::EXPORT_NAME, b"");
    assert_eq!((ready(outcome).0, out), (1, hex("0000000000100000 0d6d")), "no name: the default export");
    let (outcome, out) = send(&mut fixed(), &two(), opt::EXPORT_NAME, b"zz");
    assert_eq!((outcome, out.len()), (Outcome::Close(CloseReason::UnknownExport), 0));
    let away = [Export { available: Err("secondary"), ..export("a") }];
    let (outcome, _) = send(&mut fixed(), &away, opt::EXPORT_NAME, b"a");
    assert_eq!(outcome, Outcome::Close(CloseReason::UnavailableExport));
    let mut machine = fixed();
    send(&mut machine, &two(), opt::EXTENDED_HEADERS, b"");
    let (outcome, _) = send(&mut machine, &two(), opt::EXPORT_NAME, b"a");
    assert_eq!(outcome, Outcome::Close(CloseReason::ExportNameWithExtendedHeaders));
}

#[test]
fn a_list_names_every_export() {
    let exports = [two()[0], Export { available: Err("no"), ..export("b") }];
    let (outcome, out) = send(&mut fixed(), &exports, opt::LIST, b"");
    let transcript = hex("0003e889045565a9 00000003 00000002 0000000f 00000001 61 6669727374206469736b
         0003e889045565a9 00000003 00000002 00000005 00000001 62
         0003e889045565a9 00000003 00000001 00000000");
    assert_eq!((outcome, out), (Outcome::Reply, transcript));
}

#[test]
fn go_with_every_fact_is_answered_byte_by_byte() {
    let data = info_data("a", &[info::EXPORT, info::NAME, info::DESCRIPTION, info::BLOCK_SIZE, 99]);
    let (outcome, out) = send(&mut fixed(), &two(), opt::GO, &data);
    assert_eq!(ready(outcome).0, 0);
    let transcript = hex("0003e889045565a9 00000007 00000003 0000000c 0000 0000000000100000 0d6d
         0003e889045565a9 00000007 00000003 00000003 0001 61
         0003e889045565a9 00000007 00000003 0000000c 0002 6669727374206469736b
         0003e889045565a9 00000007 00000003 0000000e 0003 00000001 00001000 02000000
         0003e889045565a9 00000007 00000001 00000000");
    assert_eq!(out, transcript);
}

#[test]
fn info_says_the_same_as_go_and_stays_in_negotiation() {
    let mut machine = fixed();
    send(&mut machine, &two(), opt::EXTENDED_HEADERS, b"");
    send(&mut machine, &two(), opt::SET_META_CONTEXT, &meta_data("b", &["base:allocation"]));
    let data = info_data("", &[info::NAME]);
    let (outcome, described) = send(&mut machine, &two(), opt::INFO, &data);
    assert_eq!(outcome, Outcome::Reply);
    let (outcome, started) = send(&mut machine, &two(), opt::GO, &data);
    assert_eq!(ready(outcome).0, 1);
    assert_eq!(replies(opt::INFO, &described), replies(opt::GO, &started));
    assert_eq!(replies(opt::GO, &started)[1].1, b"\0\x01b", "the canonical name");
}

#[test]
fn an_export_that_may_not_be_opened_is_refused_with_its_message() {
    let exports = [Export { available: Err("secondary: take over first"), ..export("a") }];
    for code in [opt::GO, opt::INFO] {
        let (outcome, out) = send(&mut fixed(), &exports, code, &info_data("a", &[]));
        assert_eq!(outcome, Outcome::Reply);
        assert_eq!(replies(code, &out), vec![(rep::ERR_POLICY, b"secondary: take over first".to_vec())]);
    }
}

#[test]
fn unknown_exports_are_refused_and_the_message_names_them_harmlessly() {
    let (_, out) = send(&mut fixed(), &two(), opt::GO, &info_data("x\ny", &[]));
    assert_eq!(
        replies(opt::GO, &out),
        vec![(rep::ERR_UNKNOWN, b"this server has no export 'x\\ny'".to_vec())]
    );
    let nobody_is_default = [export("a"), export("b")];
    let (_, out) = send(&mut fixed(), &nobody_is_default, opt::GO, &info_data("", &[]));
    assert_eq!(replies(opt::GO, &out)[0].0, rep::ERR_UNKNOWN);
    let (outcome, _) = send(&mut fixed(), &nobody_is_default[..1], opt::GO, &info_data("", &[]));
    assert_eq!(ready(outcome).0, 0, "the only export is the default one");
    let (_, out) = send(&mut fixed(), &[], opt::GO, &info_data("", &[]));
    assert_eq!(replies(opt::GO, &out)[0].0, rep::ERR_UNKNOWN);
}

#[test]
fn malformed_options_are_invalid_and_negotiation_goes_on() {
    let mut machine = fixed();
    send(&mut machine, &two(), opt::STRUCTURED_REPLY, b"");
    let long = "n".repeat(wire::MAX_STRING_BYTES + 1);
    let cases: &[(u32, Vec<u8>)] = &[
        (opt::LIST, vec![0]),
        (opt::STRUCTURED_REPLY, vec![0]),
        (opt::EXTENDED_HEADERS, vec![0]),
        (opt::GO, vec![]),
        (opt::GO, vec![0, 0, 0, 9, b'a', 0, 0]),
        (opt::GO, [info_data("a", &[3]), vec![0]].concat()),
        (opt::GO, info_data("a", &[3])[..7].to_vec()),
        (opt::INFO, info_data(&long, &[])),
        (opt::LIST_META_CONTEXT, vec![0, 0, 0, 0]),
        (opt::SET_META_CONTEXT, [meta_data("a", &["base:"]), vec![0]].concat()),
        (opt::SET_META_CONTEXT, meta_data("a", &["base:"])[..12].to_vec()),
        (opt::LIST_META_CONTEXT, meta_data("a", &[&long])),
        (opt::LIST_META_CONTEXT, [string("a"), vec![0xff; 4]].concat()),
    ];
    for (code, data) in cases {
        assert_eq!(
            refused(&mut machine, *code, data),
            rep::ERR_INVALID,
            "option {code} with {} bytes",
            data.len()
        );
    }
    let (outcome, _) = send(&mut machine, &two(), opt::GO, &info_data("a", &[]));
    ready(outcome);
}

#[test]
fn options_we_do_not_know_are_unsupported() {
    for code in [0, 4, opt::STARTTLS, 12, u32::MAX] {
        assert!(OPTIONS.iter().all(|(known, _)| *known != code));
        assert_eq!(refused(&mut fixed(), code, b"whatever"), rep::ERR_UNSUP);
    }
}

#[test]
fn abort_is_acknowledged_whatever_data_it_announces() {
    for length in [0_u32, 1, u32::MAX] {
        let bytes = [b"IHAVEOPT".as_slice(), &opt::ABORT.to_be_bytes(), &length.to_be_bytes()].concat();
        let mut out = Vec::new();
        let progress = fixed().on_bytes(&bytes, two().as_slice(), &mut out);
        assert_eq!(progress, Progress { consumed: 16, outcome: Outcome::Close(CloseReason::Goodbye) });
        assert_eq!(replies(opt::ABORT, &out), vec![(rep::ACK, vec![])]);
    }
}

#[test]
fn options_that_are_too_long_are_skipped_or_close() {
    let mut machine = fixed();
    send(&mut machine, &two(), opt::STRUCTURED_REPLY, b"");
    send(&mut machine, &two(), opt::SET_META_CONTEXT, &meta_data("a", &["base:allocation"]));
    for (code, kind) in [(opt::SET_META_CONTEXT, rep::ERR_TOO_BIG), (77, rep::ERR_UNSUP)] {
        let data = vec![0; MAX_OPTION_BYTES + 1];
        let bytes = option(code, &data);
        let mut out = Vec::new();
        let head = machine.on_bytes(&bytes, two().as_slice(), &mut out);
        assert_eq!(head, Progress { consumed: 16, outcome: Outcome::Reply });
        let part = machine.on_bytes(&data[..9], two().as_slice(), &mut out);
        assert_eq!(part, Progress { consumed: 9, outcome: Outcome::NeedMore });
        let rest = machine.on_bytes(&[&data[9..], b"next"].concat(), two().as_slice(), &mut out);
        assert_eq!(rest, Progress { consumed: data.len() - 9, outcome: Outcome::Reply });
        assert_eq!(replies(code, &out)[0].0, kind);
    }
    let (outcome, _) = send(&mut machine, &two(), opt::GO, &info_data("a", &[]));
    assert!(ready(outcome).1.contexts().is_empty(), "a selection that failed selects nothing");
    for (code, length) in [(opt::LIST, MAX_SKIPPED_OPTION_BYTES + 1), (opt::EXPORT_NAME, 16385)] {
        let bytes = [b"IHAVEOPT".as_slice(), &code.to_be_bytes(), &length.to_be_bytes()].concat();
        let progress = fixed().on_bytes(&bytes, two().as_slice(), &mut Vec::new());
        assert_eq!(progress.outcome, Outcome::Close(CloseReason::OptionTooLong));
    }
}

#[test]
fn an_option_without_magic_closes() {
    let progress = fixed().on_bytes(&[0x55; 16], two().as_slice(), &mut Vec::new());
    assert_eq!(progress.outcome, Outcome::Close(CloseReason::BadMagic));
}

#[test]
fn modes_are_negotiated_and_extended_headers_win() {
    let mode = |codes: &[u32]| {
        let mut machine = fixed();
        for code in codes {
            let (_, out) = send(&mut machine, &two(), *code, b"");
            assert_eq!(replies(*code, &out), vec![(rep::ACK, vec![])]);
        }
        let (outcome, _) = send(&mut machine, &two(), opt::GO, &info_data("a", &[]));
        (ready(outcome).1.mode(), machine)
    };
    assert_eq!(mode(&[]).0, Mode::Simple);
    assert_eq!(mode(&[opt::STRUCTURED_REPLY, opt::STRUCTURED_REPLY]).0, Mode::Structured);
    assert_eq!(mode(&[opt::EXTENDED_HEADERS]).0, Mode::Extended);
    let (found, mut machine) = mode(&[opt::STRUCTURED_REPLY, opt::EXTENDED_HEADERS]);
    assert_eq!(found, Mode::Extended);
    assert_eq!(refused(&mut machine, opt::STRUCTURED_REPLY, b""), rep::ERR_EXT_HEADER_REQD);
}

#[test]
fn contexts_need_chunks() {
    for code in [opt::LIST_META_CONTEXT, opt::SET_META_CONTEXT] {
        assert_eq!(refused(&mut fixed(), code, &meta_data("a", &[])), rep::ERR_INVALID);
    }
}

fn names(code: u32, exports: &[Export<'_>], queries: &[&str]) -> Vec<Vec<u8>> {
    let mut machine = fixed();
    send(&mut machine, exports, opt::STRUCTURED_REPLY, b"");
    let (_, out) = send(&mut machine, exports, code, &meta_data("", queries));
    let mut found = replies(code, &out);
    assert_eq!(found.pop(), Some((rep::ACK, vec![])));
    found
        .into_iter()
        .inspect(|(kind, _)| assert_eq!(*kind, rep::META_CONTEXT))
        .map(|(_, data)| data)
        .collect()
}

#[test]
fn contexts_are_listed_and_selected_as_each_query_says() {
    let clean = [Export { dirty_map: false, ..export("a") }];
    let list = opt::LIST_META_CONTEXT;
    let base = b"\0\0\0\0base:allocation".to_vec();
    let dirty = b"\0\0\0\0midspan:dirty".to_vec();
    assert_eq!(names(list, &two(), &[]), [base.clone(), dirty.clone()]);
    assert_eq!(names(list, &clean, &[])[..], *slice::from_ref(&base));
    assert_eq!(names(list, &two(), &["base:"])[..], *slice::from_ref(&base));
    assert_eq!(names(list, &two(), &["midspan:"])[..], *slice::from_ref(&dirty));
    assert_eq!(names(list, &two(), &["midspan:dirty", "base:nothing", "qemu:", "nonsense", ""]), [dirty]);
    assert_eq!(names(list, &clean, &["midspan:dirty", "base:", "base:allocation"]), [base]);
    let set = opt::SET_META_CONTEXT;
    assert!(names(set, &two(), &[]).is_empty());
    assert!(names(set, &two(), &["base:", "midspan:"]).is_empty(), "wildcards select nothing");
    assert_eq!(
        names(set, &two(), &["midspan:dirty", "base:allocation", "midspan:dirty"]),
        [b"\0\0\0\x01base:allocation".to_vec(), b"\0\0\0\x02midspan:dirty".to_vec()]
    );
}

#[test]
fn contexts_count_for_the_export_they_were_selected_for_and_the_last_selection_wins() {
    let exports = two();
    let session = |selections: &[(&str, &[&str])], name: &str| {
        let mut machine = fixed();
        send(&mut machine, &exports, opt::EXTENDED_HEADERS, b"");
        for (name, queries) in selections {
            send(&mut machine, &exports, opt::SET_META_CONTEXT, &meta_data(name, queries));
        }
        ready(send(&mut machine, &exports, opt::GO, &info_data(name, &[])).0).1
    };
    let both: &[&str] = &["base:allocation", "midspan:dirty"];
    let selected = session(&[("b", both)], "");
    assert_eq!(
        selected.contexts().iter().collect::<Vec<_>>(),
        Context::ALL,
        "by its name or as the default one"
    );
    assert_ne!(selected.flags() & flag::BLOCK_STATUS_PAYLOAD, 0);
    let other = session(&[("b", both)], "a");
    assert!(other.contexts().is_empty());
    assert_eq!(other.flags() & flag::BLOCK_STATUS_PAYLOAD, 0);
    assert!(session(&[("a", both), ("nowhere", both)], "a").contexts().is_empty());
    let last = session(&[("a", both), ("a", &["midspan:dirty"])], "a");
    assert_eq!(last.contexts().iter().collect::<Vec<_>>(), [Context::Dirty]);
}

#[test]
fn flags_say_what_the_export_can() {
    let simple = |export: Export<'_>| Session::new(&export, Mode::Simple, Contexts::NONE).flags();
    let always = flag::HAS_FLAGS | flag::SEND_FLUSH | flag::SEND_FUA | flag::SEND_CACHE;
    let zeroes = flag::SEND_WRITE_ZEROES | flag::SEND_FAST_ZERO;
    assert_eq!(simple(export("a")), always | zeroes | flag::SEND_TRIM | flag::CAN_MULTI_CONN);
    assert_eq!(simple(Export { fast_zero: false, ..export("a") }), simple(export("a")));
    assert_eq!(
        simple(Export { read_only: true, multi_conn: false, ..export("a") }),
        always | flag::READ_ONLY
    );
    let plain = Export { can_trim: false, can_zero: false, multi_conn: false, ..export("a") };
    assert_eq!(simple(plain), always);
    assert_eq!(Session::new(&plain, Mode::Structured, Contexts::NONE).flags(), always | flag::SEND_DF);
}

#[test]
fn block_sizes_keep_the_rules_of_the_protocol() {
    assert!(BlockSizes::new(512, 4096, 32 << 20).is_some());
    assert!(BlockSizes::new(65536, 65536, 65536).is_some());
    for (minimum, preferred, maximum) in [
        (0, 4096, 1 << 20),
        (3, 4096, 1 << 20),
        (1 << 17, 1 << 17, 1 << 20),
        (1, 256, 1 << 20),
        (4096, 512, 1 << 20),
        (512, 4096, 4097),
        (512, 4096, 512),
        (1, 4096, (32 << 20) + 1),
    ] {
        assert_eq!(BlockSizes::new(minimum, preferred, maximum), None, "{minimum} {preferred} {maximum}");
    }
}
