//! Messages between nodes in a stream: arbitrary bytes, and the same with the checksums repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use midspan_format::message::{HEADER_BYTES, MAX_MESSAGE, MAX_READ, Message, message_length};
use midspan_fuzz::repair;

fuzz_target!(|bytes: &[u8]| {
    look(bytes);
    let mut bytes = bytes.to_vec();
    repair::message(&mut bytes);
    look(&bytes);
});

fn look(bytes: &[u8]) {
    let stated = message_length(bytes);
    if let Ok(Some(length)) = stated {
        assert!((HEADER_BYTES..=MAX_MESSAGE).contains(&length));
    }
    let found = Message::decode(bytes);
    match &found {
        Ok(Some((message, length))) => {
            assert_eq!(stated, Ok(Some(*length)));
            let mut again = [0xEE; MAX_MESSAGE];
            assert_eq!(message.encode(&mut again), Ok(*length));
            assert!(again[..*length] == bytes[..*length], "{message:?}");
            bounded(message);
        }
        Ok(None) => assert!(stated.is_ok_and(|length| length.is_none_or(|length| length > bytes.len()))),
        Err(_) => {}
    }
    // A part is never taken for the whole, and is refused only if the whole is.
    for end in [0, 1, 7, 39, 40, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let part = Message::decode(&bytes[..end.min(bytes.len())]);
        match (&found, part) {
            (_, Ok(None)) => {}
            (Ok(Some((_, length))), Ok(Some((_, part)))) => assert!(*length == part && part <= end),
            (found, part) => assert_eq!(*found, part),
        }
    }
}

/// Lengths that a reader would act on.
fn bounded(message: &Message) {
    if let Message::Read(read) = message {
        assert!(read.length <= MAX_READ && read.length % 4096 == 0);
    }
    if let Message::ReadReply(reply) = message {
        assert!(reply.length <= MAX_READ && reply.length % 4096 == 0);
    }
    if let Message::Head(head) = message {
        assert!(head.length <= MAX_READ && head.length % 4096 == 0);
    }
}
