//! A run of `verify` at the primary: which range is read next, and when all of it is compared (design §7).
//!
//! ```text
//!  Reading ─▶ Sent ─▶ (the secondary's cut is behind the last record) over
//! ```

use alloc::vec::Vec;

use midspan_format::geometry::Position;
use midspan_format::ids::VolumeId;
use midspan_format::time::Time;

/// Bytes whose digest one record carries at most.
pub const PIECE: u64 = midspan_format::record::MAX_RECORD_DATA as u64;

/// A run.
#[derive(Debug)]
pub struct Verification {
    /// Its name: the time at which it began.
    pub run: u64,
    /// What differs is to be sent by a round at its end.
    pub repair: bool,
    /// Monotonic time of its begin.
    pub began_at: u64,
    /// Bytes to be compared.
    pub bytes: u64,
    /// Bytes of them whose records have their times.
    pub sent: u64,
    volumes: Vec<(VolumeId, u64)>,
    next: (usize, u64),
    bytes_per_s: u64,
    next_at: u64,
    /// Pieces that are being read.
    reading: usize,
    /// Time of the last record.
    last_time: Time,
    end: Option<Position>,
}

impl Verification {
    /// A run over volumes of these sizes, that begins now.
    pub fn new(run: u64, now: u64, volumes: Vec<(VolumeId, u64)>, bytes_per_s: u64, repair: bool) -> Self {
        let bytes = volumes.iter().map(|(_, size)| size).sum();
        Self {
            run,
            repair,
            began_at: now,
            bytes,
            sent: 0,
            volumes,
            next: (0, 0),
            bytes_per_s,
            next_at: now,
            reading: 0,
            last_time: Time(run),
            end: None,
        }
    }

    /// Pieces that are being read.
    pub fn reading(&self) -> usize {
        self.reading
    }

    /// The next piece: volume, offset and length. It is being read from now on.
    pub fn next_piece(&mut self) -> Option<(VolumeId, u64, u64)> {
        let (index, offset) = self.next;
        let (volume, size) = *self.volumes.get(index)?;
        let length = (size - offset).min(PIECE);
        let end = offset + length;
        self.next = if end < size { (index, end) } else { (index + 1, 0) };
        self.reading += 1;
        Some((volume, offset, length))
    }

    /// The last piece was not taken after all: it comes again.
    pub fn put_back(&mut self, volume: VolumeId, offset: u64) {
        self.reading = self.reading.saturating_sub(1);
        if let Some(index) = self.volumes.iter().position(|(id, _)| *id == volume) {
            self.next = (index, offset);
        }
    }

    /// A piece was read, and its record has this time.
    pub fn on_read(&mut self, now: u64, length: u64, time: Time) {
        self.reading = self.reading.saturating_sub(1);
        self.sent += length;
        self.last_time = time;
        if let Some(pause) = (length * 1_000_000_000).checked_div(self.bytes_per_s) {
            self.next_at = self.next_at.max(now) + pause;
        }
    }

    /// Whether every piece has its time.
    pub fn is_sent(&self) -> bool {
        self.reading == 0 && self.next.0 >= self.volumes.len()
    }

    /// When the next piece may be read; `u64::MAX` when there is none.
    pub fn due_at(&self) -> u64 {
        if self.next.0 < self.volumes.len() { self.next_at } else { u64::MAX }
    }

    /// A frame was sealed.
    pub fn on_sealed(&mut self, last_time: Time, frame_end: Position) {
        if self.is_sent() && self.end.is_none() && last_time >= self.last_time {
            self.end = Some(frame_end);
        }
    }

    /// Behind its last record, once that is sealed.
    pub fn end(&self) -> Option<Position> {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn every_byte_is_read_once_and_the_end_is_behind_the_last_record() {
        let sizes = [(VolumeId(3), PIECE + 4096), (VolumeId(9), PIECE)];
        let mut run = Verification::new(50, 0, sizes.to_vec(), 0, false);
        assert_eq!(run.bytes, 2 * PIECE + 4096);
        let mut time = 50;
        for wanted in [(VolumeId(3), 0, PIECE), (VolumeId(3), PIECE, 4096), (VolumeId(9), 0, PIECE)] {
            assert_eq!(run.next_piece(), Some(wanted));
            run.put_back(wanted.0, wanted.1);
            assert_eq!(run.next_piece(), Some(wanted), "what was not taken comes again");
            run.on_sealed(Time(u64::MAX >> 1), Position(4096));
            assert_eq!(run.end(), None, "it is still being read");
            time += 1;
            run.on_read(0, wanted.2, Time(time));
        }
        assert_eq!((run.next_piece(), run.sent, run.due_at()), (None, run.bytes, u64::MAX));
        run.on_sealed(Time(time - 1), Position(4096));
        assert_eq!(run.end(), None, "the last record is not in this frame");
        run.on_sealed(Time(time), Position(8192));
        run.on_sealed(Time(time + 9), Position(12288));
        assert_eq!(run.end(), Some(Position(8192)));
    }

    #[test]
    fn the_rate_is_kept() {
        let mut run = Verification::new(50, MS, [(VolumeId(1), 8 * PIECE)].to_vec(), 128 << 20, false);
        assert_eq!(run.due_at(), MS);
        run.next_piece();
        run.on_read(2 * MS, PIECE, Time(60));
        assert_eq!(run.due_at(), 2 * MS + 976_562);
    }
}
