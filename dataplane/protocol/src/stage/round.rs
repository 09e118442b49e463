//! A round at its source: which marked regions are sent next, and where the round stands (design §7, "one repair").
//!
//! ```text
//!  Waiting ─▶ Sending ─▶ Sent ─▶ Clearing ─▶ over
//!     ▲          │  (the target cannot stage it: given up, and begun again in place)
//!     └──────────┘
//! ```
//! Upholds I6: the map that was frozen at the Begin is given up only when the target's cut has reached the End; until the
//! End is in the lane, live writes are marked too.

use alloc::vec::Vec;

use midspan_format::dirty_map::DirtyMap;
use midspan_format::geometry::{BLOCK_U64, Position, REGION_BYTES};
use midspan_format::ids::VolumeId;
use midspan_format::time::Time;

/// Bytes of one piece at most: as much as a record can carry.
pub const PIECE: u64 = midspan_format::record::MAX_RECORD_DATA as u64;
/// Of the target's ring, what a round leaves free: for frames without records, and for the mark that ends it with whatever is
/// fetched in one go with it, which is written as a whole.
const SLACK: u64 = 64 * BLOCK_U64 + midspan_format::message::MAX_READ as u64;

/// What the target has said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Bytes of its own ring.
    pub staging: u64,
    /// Its disks hold no cut.
    pub no_cut: bool,
}

/// A round as it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its name: the time of its Begin.
    pub round: u64,
    /// The target gives up its cut until the End.
    pub in_place: bool,
    /// Monotonic time of the Begin.
    pub at: u64,
    /// Bytes of the regions that were frozen.
    pub bytes: u64,
    /// Of them, what was sent.
    pub sent: u64,
}

#[derive(Debug)]
enum Step {
    Waiting,
    Sending {
        begun: Begun,
        frozen: DirtyMap,
        next: Option<(VolumeId, u64)>,
        /// What lies in the target's ring since the Begin at most, and how much fits there.
        staged: u64,
        fits: u64,
    },
    Sent {
        begun: Begun,
        time: Time,
        end: Option<Position>,
    },
    Clearing {
        begun: Begun,
    },
}

/// The round.
#[derive(Debug)]
pub struct Round {
    volumes: Vec<(VolumeId, u64)>,
    step: Step,
    /// An operator holds it.
    pub paused: bool,
    /// The target's ring was too small for it once.
    in_place: bool,
    /// Pieces that are being read.
    reading: usize,
    /// The next piece is sent at this time at the earliest.
    next_at: u64,
}

impl Round {
    /// A round over volumes of these sizes that has not begun.
    pub fn new(volumes: Vec<(VolumeId, u64)>) -> Self {
        Self { volumes, step: Step::Waiting, paused: false, in_place: false, reading: 0, next_at: 0 }
    }

    /// Whether it has not begun.
    pub fn is_waiting(&self) -> bool {
        matches!(self.step, Step::Waiting)
    }

    /// Whether live writes must be marked, too.
    pub fn is_marking(&self) -> bool {
        match self.step {
            Step::Waiting | Step::Sending { .. } => true,
            Step::Sent { .. } | Step::Clearing { .. } => false,
        }
    }

    /// The round that runs.
    pub fn begun(&self) -> Option<Begun> {
        match &self.step {
            Step::Waiting => None,
            Step::Sending { begun, .. } | Step::Sent { begun, .. } | Step::Clearing { begun } => Some(*begun),
        }
    }

    /// Whether everything was sent.
    pub fn is_sent(&self) -> bool {
        match self.step {
            Step::Waiting | Step::Sending { .. } => false,
            Step::Sent { .. } | Step::Clearing { .. } => true,
        }
    }

    /// Pieces that are being read.
    pub fn reading(&self) -> usize {
        self.reading
    }

    /// Begins at `time`: freezes the map.
    pub fn begin(&mut self, now: u64, time: Time, map: &DirtyMap, target: Target) -> Begun {
        let bytes = map.count() * REGION_BYTES;
        let fits = target.staging.saturating_sub(SLACK);
        // Half of it for the regions: live writes are staged, too.
        let in_place = self.in_place || target.no_cut || bytes > fits / 2;
        let begun = Begun { round: time.0, in_place, at: now, bytes, sent: 0 };
        let next = self.volumes.first().map(|(volume, _)| (*volume, 0));
        self.step = Step::Sending { begun, frozen: map.clone(), next, staged: 2 * BLOCK_U64, fits };
        begun
    }

    /// The next piece: volume, offset and length in bytes. It is being read from now on.
    pub fn next_piece(&mut self) -> Option<(VolumeId, u64, u64)> {
        let Step::Sending { frozen, next, .. } = &mut self.step else { return None };
        let found = next.and_then(|from| frozen.next_marked(from, PIECE / REGION_BYTES));
        let Some((volume, offset, regions)) = found else {
            *next = None;
            return None;
        };
        let end = offset + regions * REGION_BYTES;
        *next = Some((volume, end));
        let size = self.volumes.iter().find(|(id, _)| *id == volume).map_or(0, |(_, size)| *size);
        self.reading += 1;
        Some((volume, offset, end.min(size) - offset))
    }

    /// A piece was not taken after all: it comes again.
    pub fn put_back(&mut self, volume: VolumeId, offset: u64) {
        self.reading = self.reading.saturating_sub(1);
        if let Step::Sending { next, .. } = &mut self.step {
            *next = Some((volume, offset));
        }
    }

    /// A piece was read and has its time, or could not be read.
    pub fn on_read(&mut self, now: u64, length: u64, bytes_per_s: u64) {
        self.reading = self.reading.saturating_sub(1);
        if let Step::Sending { begun, .. } = &mut self.step {
            begun.sent += length.next_multiple_of(REGION_BYTES);
        }
        if let Some(pause) = (length * 1_000_000_000).checked_div(bytes_per_s) {
            self.next_at = self.next_at.max(now) + pause;
        }
    }

    /// Whether a piece may be sent now, as far as the rate says.
    pub fn is_due(&self, now: u64) -> bool {
        !self.paused && now >= self.next_at
    }

    /// When the next piece may be sent.
    pub fn due_at(&self) -> u64 {
        let sends = !self.paused
            && match &self.step {
                Step::Sending { next, .. } => next.is_some(),
                Step::Waiting | Step::Sent { .. } | Step::Clearing { .. } => false,
            };
        if sends { self.next_at } else { u64::MAX }
    }

    /// Whether everything that was frozen has its time: the End can follow.
    pub fn is_complete(&self) -> bool {
        self.reading == 0 && matches!(self.step, Step::Sending { next: None, .. })
    }

    /// A record of `length` bytes of data is to follow. `false`: the target could not stage it, and the round must be given up
    /// before it.
    pub fn has_room(&mut self, length: u64) -> bool {
        let Step::Sending { begun, staged, fits, .. } = &mut self.step else { return true };
        // In the worst case each record travels alone, with a head of its own.
        *staged += length + BLOCK_U64;
        begun.in_place || *staged <= *fits
    }

    /// Given up; what it had frozen is still marked.
    pub fn cancel(&mut self) {
        self.step = Step::Waiting;
        self.in_place = true;
    }

    /// Its End has this time.
    pub fn on_end(&mut self, time: Time) {
        if let Some(begun) = self.begun() {
            self.step = Step::Sent { begun, time, end: None };
        }
    }

    /// A frame was sealed.
    pub fn on_sealed(&mut self, last_time: Time, frame_end: Position) {
        if let Step::Sent { time, end, .. } = &mut self.step
            && end.is_none()
            && last_time >= *time
        {
            *end = Some(frame_end);
        }
    }

    /// Behind the End, once that is sealed.
    pub fn end(&self) -> Option<Position> {
        match &self.step {
            Step::Sent { end, .. } => *end,
            Step::Waiting | Step::Sending { .. } | Step::Clearing { .. } => None,
        }
    }

    /// The target's cut has reached the End: the marks are being removed.
    pub fn on_reached(&mut self) {
        if let Some(begun) = self.begun() {
            self.step = Step::Clearing { begun };
        }
    }

    /// Whether the marks are being removed.
    pub fn is_clearing(&self) -> bool {
        matches!(self.step, Step::Clearing { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_its_target_cannot_stage_is_given_up_before_the_ring_is_full_and_begun_in_place() {
        let volumes = [(VolumeId(1), 64 * REGION_BYTES)];
        let mut map = DirtyMap::new(volumes.iter().copied());
        map.mark(VolumeId(1), 0, REGION_BYTES);
        let target = Target { staging: SLACK + 8 * REGION_BYTES, no_cut: false };
        let mut round = Round::new(volumes.to_vec());
        assert!(!round.begin(0, Time(1), &map, target).in_place);
        assert!(round.has_room(REGION_BYTES), "the piece itself");
        // Live writes are staged, too.
        let staged: u64 = core::iter::repeat(REGION_BYTES).take_while(|length| round.has_room(*length)).sum();
        assert!((5 * REGION_BYTES..7 * REGION_BYTES).contains(&staged), "{staged}");
        round.cancel();
        assert!(round.begin(1, Time(2), &map, target).in_place);
        assert!(round.has_room(u64::from(u32::MAX)), "nothing is staged");
    }

    #[test]
    fn a_round_of_more_than_half_of_the_targets_ring_begins_in_place() {
        let volumes = [(VolumeId(1), 64 * REGION_BYTES)];
        let mut map = DirtyMap::new(volumes.iter().copied());
        let target = Target { staging: SLACK + 8 * REGION_BYTES, no_cut: false };
        map.mark(VolumeId(1), 0, 4 * REGION_BYTES);
        assert!(!Round::new(volumes.to_vec()).begin(0, Time(1), &map, target).in_place);
        map.mark(VolumeId(1), 4 * REGION_BYTES, 1);
        assert!(Round::new(volumes.to_vec()).begin(0, Time(1), &map, target).in_place);
    }
}
