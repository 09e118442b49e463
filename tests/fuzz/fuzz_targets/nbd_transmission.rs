//! NBD requests: a client's bytes, cut in any way, are the same requests; what is let through keeps every promise.
#![no_main]

use libfuzzer_sys::fuzz_target;
use midspan_fuzz::input::Input;
use midspan_fuzz::nbd::{Cuts, answer, session, transmit};
use midspan_protocol::host::transmission::Step;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let session = session(&mut input);
    let cuts: [u8; 4] = input.array();
    let stream = input.rest();
    let whole = transmit(&session, stream, Cuts::new(&[]));
    assert_eq!(transmit(&session, stream, Cuts::new(&cuts)), whole);
    for step in whole {
        if let Step::Request { request, .. } = step {
            answer(&session, &request, &mut input);
        }
    }
});
