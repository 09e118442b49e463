//! The recorder over a tape of its own: events, spans, and what is not recorded.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use midspan_format::ids::VolumeId;
use midspan_protocol::vocab::effect::Effects;

use super::*;
use crate::exports::ExportId;

const GROUP: GroupId = GroupId(7);

struct Rig {
    recorder: Recorder,
    reader: Reader,
    counters: Arc<AllCounters>,
    effects: Effects<()>,
    export: Export,
}

impl Rig {
    fn new() -> Self {
        let counters: Arc<AllCounters> = Arc::new(vec![Default::default()]);
        let (writer, reader) = ring_of(64 * EVENT_BYTES).unwrap();
        let groups = std::iter::once(GROUP);
        let recorder = Recorder::new(Some(writer), (Arc::clone(&counters), 0), 4, groups);
        let export = Export {
            id: ExportId(0),
            name: "disk".into(),
            description: String::new(),
            size: 1 << 20,
            read_only: false,
            default: false,
            backing: Backing::Group(GROUP),
            volume: VolumeId(1),
            shard: 0,
            serving: true.into(),
        };
        Self { recorder, reader, counters, effects: Effects::with_capacity(8), export }
    }

    fn ask(&mut self, id: u32, op: HostOp<()>) {
        let request = HostRequest { id: RequestId(id), volume: VolumeId(1), op };
        self.recorder.arrived(Some(&self.export), &request);
    }

    fn reach(&mut self, milestone: Milestone) {
        self.effects.reach(milestone);
        self.recorder.reached(&mut self.effects);
    }

    fn recorded(&self) -> Vec<Recorded> {
        let mut records = Vec::new();
        self.reader.copy(0, 64, &mut records);
        records.iter().map(|record| Recorded::parse(record).unwrap()).collect()
    }

    fn counts(&self, span: Span) -> u64 {
        let (_, found) = self.counters[0].spans.all().find(|(named, _)| *named == span).unwrap();
        found.buckets().map(|(_, count)| count).sum()
    }
}

fn frame(stage: Stage, position: u64, length: u32) -> Milestone {
    Milestone { stage, group: GROUP, request: 0, length, place: position, with: 1 }
}

#[test]
fn a_write_is_followed_from_its_arrival_to_the_own_disk() {
    let mut rig = Rig::new();
    rig.ask(2, HostOp::Write { offset: 4096, length: 4096, data: (), fua: false });
    let timed = Milestone { request: 2, place: 50, with: 3, ..frame(Stage::Timed, 0, 4096) };
    rig.reach(timed);
    rig.reach(Milestone { request: 1, with: 50, ..frame(Stage::Sealed, 8192, 8192) });
    let header = FrameHeader {
        group: GROUP,
        position: Position(8192),
        length: 8192,
        sequence: 9,
        ..Default::default()
    };
    rig.recorder.sent(&header);
    rig.reach(Milestone::prefix(Stage::Acknowledged, GROUP, Position(16384)));
    rig.recorder.answered(RequestId(2));
    rig.recorder.on_disk::<crate::buffers::PoolBuf>(GROUP, tags::token(tags::INFLIGHT, 3), &Ok(None));
    let recorded = rig.recorded();
    let stages: Vec<_> = recorded.iter().map(|event| event.milestone.stage.word()).collect();
    assert_eq!(stages, ["arrived", "timed", "sealed", "sent", "acknowledged", "answered", "written"]);
    assert_eq!(recorded[1].milestone, timed);
    assert_eq!(recorded[3].milestone.with, 9);
    assert!(recorded.windows(2).all(|pair| pair[0].at <= pair[1].at));
    for span in [Span::Admit, Span::Seal, Span::Send, Span::Lane, Span::Answer, Span::Write] {
        assert_eq!(rig.counts(span), 1, "{span:?}");
    }
}

#[test]
fn one_prefix_ends_all_frames_before_it_and_none_behind() {
    let mut rig = Rig::new();
    for position in [0, 8192, 16384] {
        rig.reach(frame(Stage::Received, position, 8192));
    }
    rig.reach(Milestone::prefix(Stage::Journaled, GROUP, Position(16384)));
    assert_eq!(rig.counts(Span::Journal), 2);
    // The writer came again and goes on from there: what was under way then never ends.
    rig.reach(frame(Stage::Received, 8192, 4096));
    rig.reach(Milestone::prefix(Stage::Journaled, GROUP, Position(24576)));
    assert_eq!(rig.counts(Span::Journal), 3);
}

#[test]
fn reads_and_requests_of_lone_disks_are_not_recorded() {
    let mut rig = Rig::new();
    rig.ask(0, HostOp::Read { offset: 0, length: 4096, into: () });
    rig.ask(1, HostOp::Flush);
    rig.recorder.answered(RequestId(0));
    rig.recorder.answered(RequestId(1));
    rig.export.backing = Backing::Simplex;
    rig.ask(2, HostOp::Write { offset: 0, length: 4096, data: (), fua: false });
    rig.recorder.answered(RequestId(2));
    assert!(rig.recorded().is_empty());
}

#[test]
fn a_recorder_that_is_off_forgets_milestones() {
    let (mut recorder, mut effects) = (Recorder::off(), Effects::<()>::with_capacity(1));
    for _ in 0..3 {
        effects.reach(frame(Stage::Fetched, 0, 4096));
        recorder.reached(&mut effects);
        assert_eq!(effects.drain_milestones().count(), 0);
    }
}
