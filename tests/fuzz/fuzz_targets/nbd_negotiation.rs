//! The NBD handshake: a client's bytes, cut in any way, lead to the same talk, within bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use midspan_fuzz::input::Input;
use midspan_fuzz::nbd::{Cuts, exports, negotiate};
use midspan_protocol::host::negotiation::Outcome;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let cuts: [u8; 4] = input.array();
    let stream = input.rest();
    let whole = negotiate(stream, Cuts::new(&[]));
    assert_eq!(negotiate(stream, Cuts::new(&cuts)), whole);
    if let Outcome::Ready { export, session } = whole.end {
        let export = exports()[export];
        assert!(export.available.is_ok() && session.size() == export.size);
    }
});
