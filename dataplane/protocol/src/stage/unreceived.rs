//! The regions of frames that the secondary may not have acquired: what must be marked when the lanes are left without
//! their relay (I6, design §4).
//!
//! ```text
//!  former: frames before `former_end`  │  current: frames behind it
//!  everything before `former_end` is acquired ─▶ former is forgotten, current takes its place
//! ```
//! Two maps that never grow stand for any number of frames; a region stays in them a little longer than it must.

use midspan_format::dirty_map::DirtyMap;
use midspan_format::geometry::Position;
use midspan_format::ids::VolumeId;

use crate::stage::tracker::Tracker;

/// The maps change places at most this often.
const PACE_NS: u64 = 1_000_000_000;

/// The regions.
#[derive(Debug)]
pub struct Unreceived {
    current: DirtyMap,
    former: DirtyMap,
    former_end: Position,
    changed_at: u64,
    /// Of the frames before it nobody has told the regions.
    unknown_before: Position,
}

impl Unreceived {
    /// Of a lane whose frames before `tip` are not known.
    pub fn new(volumes: impl Iterator<Item = (VolumeId, u64)> + Clone, tip: Position) -> Self {
        let map = || DirtyMap::new(volumes.clone());
        Self { current: map(), former: map(), former_end: Position(0), changed_at: 0, unknown_before: tip }
    }

    /// A frame that was sealed writes this range.
    pub fn mark(&mut self, volume: VolumeId, offset: u64, length: u64) {
        self.current.mark(volume, offset, length);
    }

    /// The secondary has acquired everything before `acquired`; the lane's next frame goes to `tip`.
    pub fn on_acquired(&mut self, now: u64, acquired: Position, tip: Position) {
        let due = now >= self.changed_at + PACE_NS;
        if due && acquired >= self.former_end && self.current.count() > 0 {
            self.former.clear_all();
            core::mem::swap(&mut self.former, &mut self.current);
            (self.former_end, self.changed_at) = (tip, now);
        }
    }

    /// Marks what the secondary, which has acquired everything before `acquired`, may lack.
    pub fn mark_in(&self, tracker: &mut Tracker, acquired: Position) {
        if acquired < self.unknown_before {
            rare!(UnreceivedUnknown);
            return tracker.mark_all();
        }
        tracker.merge(&self.current);
        if acquired < self.former_end {
            tracker.merge(&self.former);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: VolumeId = VolumeId(0);
    const REGION: u64 = 64 * 1024;

    fn marked(unreceived: &Unreceived, acquired: u64) -> u64 {
        let mut tracker = Tracker::new(DirtyMap::new([(VOLUME, 64 * REGION)]), 0, 1);
        unreceived.mark_in(&mut tracker, Position(acquired));
        tracker.map().count()
    }

    #[test]
    fn what_may_be_missing_is_marked_and_what_is_acquired_is_forgotten() {
        let mut unreceived = Unreceived::new([(VOLUME, 64 * REGION)].into_iter(), Position(4096));
        unreceived.mark(VOLUME, 0, 4096);
        assert_eq!(marked(&unreceived, 0), 64, "nobody knows what lay before the tip");
        assert_eq!(marked(&unreceived, 4096), 1);
        unreceived.on_acquired(PACE_NS, Position(4096), Position(8192));
        unreceived.mark(VOLUME, REGION, 4096);
        assert_eq!(marked(&unreceived, 4096), 2, "both frames may be missing");
        assert_eq!(marked(&unreceived, 8192), 1, "the first one is acquired");
        unreceived.on_acquired(PACE_NS * 3, Position(4096), Position(12288));
        assert_eq!(marked(&unreceived, 4096), 2, "it is not: nothing is forgotten");
        unreceived.on_acquired(PACE_NS * 3, Position(8192), Position(12288));
        unreceived.on_acquired(PACE_NS * 5, Position(12288), Position(12288));
        assert_eq!(marked(&unreceived, 12288), 0);
    }

    #[test]
    fn the_maps_do_not_change_places_with_each_receipt() {
        let mut unreceived = Unreceived::new([(VOLUME, 64 * REGION)].into_iter(), Position(0));
        unreceived.mark(VOLUME, 0, 4096);
        unreceived.on_acquired(PACE_NS, Position(0), Position(4096));
        unreceived.mark(VOLUME, REGION, 4096);
        unreceived.on_acquired(PACE_NS + 2, Position(8192), Position(8192));
        assert_eq!(marked(&unreceived, 8192), 1, "marked a little longer than it must be, never shorter");
        unreceived.on_acquired(PACE_NS * 3, Position(8192), Position(8192));
        assert_eq!(marked(&unreceived, 8192), 0);
    }
}
