//! What did not verify is read again before everything is marked.

use alloc::vec;

use midspan_format::dirty_map::DirtyMap;
use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::ids::AreaId;
use midspan_format::superblock::GroupState;
use midspan_format::time::Time;

use super::*;
use crate::lane::tail::Span;
use crate::role::secondary::Secondary;
use crate::role::site::fixture::config;
use crate::role::takeover::{Asked, DAMAGE_NS};
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::fixture::{Heap, Plain};
use crate::vocab::buffer::{Buffer, Slice};
use crate::vocab::effect::{Context, Effects, Now};

const VOLUME: VolumeId = VolumeId(1);
const REGION: u64 = 64 * 1024;
/// Where what has landed ends.
const LANDED: Position = Position(8192);

struct Rig {
    takeover: Takeover,
    tracker: Tracker,
    effects: Effects<Plain>,
    now: Now,
}

impl Rig {
    /// A takeover that has begun to read what the other site may lack.
    fn new() -> Self {
        let config = config();
        let store = StateStore::new(GroupState::default(), 0);
        let secondary: Secondary<Plain> = Secondary::new(config.clone(), &store);
        let tracker = Tracker::new(DirtyMap::new([(VOLUME, 64 * REGION)]), 0, 1);
        let asked = Asked { accept_loss: false, dry_run: false, handed: None };
        let now = Now { mono: 1_000_000_000, wall: 1 };
        let mut takeover = Takeover::new(config, now.mono, asked, &store, &secondary, &tracker);
        takeover.facts.landed = (LANDED, Time(5));
        takeover.facts.ring.journaled = Position(LANDED.0 + 4096);
        let span =
            Span { area: AreaId([7; 16]), from: LANDED, to: Position(LANDED.0 + 4096), last_checksum: 9 };
        let tail = takeover.config.tail(span, takeover.facts.epoch);
        takeover.step = Step::Marking(Marking { tail, since: now.mono, again_at: 0 });
        Self { takeover, tracker, effects: Effects::with_capacity(16), now }
    }

    fn comes(&mut self, event: TailEvent<Plain>) {
        let mut buffers = Heap;
        let mut context = Context { now: self.now, buffers: &mut buffers, effects: &mut self.effects };
        self.takeover.on_tail(&mut context, event, &mut self.tracker);
    }

    fn is_marking(&self) -> bool {
        matches!(self.takeover.step, Step::Marking(_))
    }
}

#[test]
fn what_is_read_wrongly_once_costs_the_other_site_nothing() {
    let mut rig = Rig::new();
    rig.comes(TailEvent::Damaged(LANDED));
    assert!(rig.is_marking() && rig.tracker.map().count() == 0, "it is read again");
    let Step::Marking(marking) = &rig.takeover.step else { panic!("marking") };
    assert_eq!(marking.again_at, rig.now.mono + RETRY_NS, "not at once");
    let mut buffer = Heap.take(4096).unwrap();
    buffer.set_filled(4096);
    let header =
        FrameHeader { position: LANDED, sequence: 4, chain: 8, length: 4096, ..FrameHeader::default() };
    rig.comes(TailEvent::Frames(vec![(header, Slice::new(buffer, 0..4096))]));
    let named = LanePoint { position: LANDED, sequence: 3, header_checksum: 8 };
    assert_eq!(rig.takeover.former_landed, named, "the mark can name where the other site comes up from");
}

#[test]
fn damage_that_lasts_marks_everything() {
    let mut rig = Rig::new();
    rig.comes(TailEvent::Damaged(LANDED));
    rig.now.mono += DAMAGE_NS - 1;
    rig.comes(TailEvent::Damaged(LANDED));
    assert!(rig.is_marking());
    rig.now.mono += 1;
    rig.comes(TailEvent::Damaged(LANDED));
    assert!(matches!(rig.takeover.step, Step::SavingMarks));
    assert_eq!((rig.takeover.former_landed, rig.tracker.map().count()), (LanePoint::default(), 64));
}
