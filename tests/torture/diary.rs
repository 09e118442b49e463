//! A host that writes one block after the other and keeps a diary: what was answered, and when. Where an operator accepts a loss, it
//! tells whether what is missing is what was reported.

use midspan::nbd_client::Client;
use rig::LIMIT;

use crate::clock::wall_ns;

/// Bytes of each entry.
const BLOCK: usize = 4096;
const BLOCK_U64: u64 = 4096;
/// Bytes at the end of the first volume that are the diary's alone.
pub const BYTES: u64 = 1 << 20;
/// Entries that fit.
pub const ENTRIES: u64 = BYTES / BLOCK_U64;

/// The diary of one round.
#[derive(Debug)]
pub struct Diary {
    client: Client,
    round: u64,
    at: u64,
    /// When each entry was answered, by the wall clock that the nodes have.
    answered_ns: Vec<u64>,
}

/// What is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Entries that are there.
    pub kept: u64,
    /// Entries that were answered and are not.
    pub lost: u64,
}

impl Diary {
    /// A new one, in place of that of any other round.
    pub fn begin(uri: &str, round: u64) -> Self {
        let client = Client::connect(uri, LIMIT).unwrap();
        let at = client.size() - BYTES;
        Self { client, round, at, answered_ns: Vec::new() }
    }

    /// Entries so far.
    pub fn entries(&self) -> u64 {
        self.answered_ns.len() as u64
    }

    /// Writes so many more, each when the one before was answered.
    pub fn write(&mut self, count: u64) {
        for _ in 0..count {
            let number = self.entries();
            assert!(number < ENTRIES, "the diary is full");
            self.client.write(self.at + number * BLOCK_U64, &entry(self.round, number), false).unwrap();
            self.answered_ns.push(wall_ns());
        }
    }

    /// Reads it where hosts are served now. A takeover reported that what was answered after `kept_to` may be missing; everything
    /// before is there, and so are all entries up to `in_lanes`. As each was written behind the one before, what is there is a
    /// beginning.
    pub fn judge(&self, uri: &str, kept_to: u64, in_lanes: u64) -> Left {
        let mut client = Client::connect(uri, LIMIT).unwrap();
        let is_there = |number: u64| {
            let mut found = [0; BLOCK];
            client.read(self.at + number * BLOCK_U64, &mut found).unwrap();
            found == entry(self.round, number)
        };
        let there: Vec<bool> = (0..self.entries()).map(is_there).collect();
        judge(&there, &self.answered_ns, kept_to, in_lanes)
    }
}

fn judge(there: &[bool], answered_ns: &[u64], kept_to: u64, in_lanes: u64) -> Left {
    let kept = there.iter().take_while(|there| **there).count();
    let holes = there.iter().skip(kept).filter(|there| **there).count();
    assert_eq!(holes, 0, "entry {kept} is missing, and later ones are there: that is no cut");
    let kept_of = answered_ns.iter().filter(|answered| **answered <= kept_to).count();
    assert!(
        kept >= kept_of,
        "{kept_of} entries were answered before {kept_to}, of which only {kept} are there"
    );
    assert!(kept as u64 >= in_lanes, "{in_lanes} entries are in the lanes, of which only {kept} are there");
    Left { kept: kept as u64, lost: (there.len() - kept) as u64 }
}

fn entry(round: u64, number: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    for (place, word) in block.chunks_exact_mut(8).zip([round, number, !round].into_iter().cycle()) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reported_may_be_missing() {
        let left = judge(&[true, true, false, false], &[10, 20, 30, 40], 25, 1);
        assert_eq!(left, Left { kept: 2, lost: 2 });
        assert_eq!(judge(&[true, true], &[10, 20], 0, 0), Left { kept: 2, lost: 0 });
    }

    #[test]
    #[should_panic(expected = "3 entries were answered before")]
    fn what_is_not_reported_may_not() {
        judge(&[true, true, false, false], &[10, 20, 30, 40], 30, 0);
    }

    #[test]
    #[should_panic(expected = "that is no cut")]
    fn what_is_left_is_a_beginning() {
        judge(&[true, false, true], &[10, 20, 30], 0, 0);
    }

    #[test]
    #[should_panic(expected = "2 entries are in the lanes")]
    fn what_is_in_the_lanes_is_kept() {
        judge(&[true, false], &[10, 20], 0, 2);
    }
}
