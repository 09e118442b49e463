//! The command line's HTTP client: arbitrary bytes for a daemon's response, in pieces of any size.
#![no_main]

use std::io::{self, Read};

use libfuzzer_sys::fuzz_target;
use midspan_fuzz::http::read_response;
use midspan_fuzz::input::Input;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let largest = usize::from(input.byte()) + 1;
    let answer = input.rest();
    let all = read(Pieces { left: answer, largest: answer.len().max(1) });
    let cut = read(Pieces { left: answer, largest });
    // However it is cut: the same status, the same body, the same kind of error.
    assert_eq!(all, cut);
    if let Ok((_, body)) = all {
        assert!(body.len() <= answer.len(), "no more comes out than was sent");
    }
});

type Found = Result<(u16, Vec<u8>), io::ErrorKind>;

fn read(from: Pieces<'_>) -> Found {
    let mut response = read_response(from).map_err(|error| error.kind())?;
    let mut body = Vec::new();
    response.body.read_to_end(&mut body).map_err(|error| error.kind())?;
    Ok((response.status, body))
}

/// A stream that gives so many bytes at a time.
struct Pieces<'a> {
    left: &'a [u8],
    largest: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.largest.min(into.len()).min(self.left.len());
        let (piece, left) = self.left.split_at(count);
        into[..count].copy_from_slice(piece);
        self.left = left;
        Ok(count)
    }
}
