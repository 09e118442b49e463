//! One message of each kind, and one value of each kind between the planes.

use midspan_format::area::AreaKind;
use midspan_format::checked::CheckedFrame;
use midspan_format::control::{
    AreaStatus, Command, Event, EventKind, GroupCommand, GroupStatus, LaneStatus, LossReason, Lost,
    RefusedStatus, Report, RoundStatus, TakeoverReport,
};
use midspan_format::exposure::{Amount, Exposure, OverflowStatus};
use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::ids::AreaId;
use midspan_format::message::{
    AreaCreate, AreaDelete, AreaInfo, AreaList, Areas, Begin, Fence, FenceIntent, Fenced, FencedLane, Head,
    Hello, Leaving, Left, Message, Ping, Pong, Progress, Read, ReadReply, Refused, RefusedReason, Release,
    Released, SessionKind, SetAsked, SetRecorded, Welcome,
};
use midspan_format::superblock::{PairState, Role};
use midspan_format::version::PROTOCOL_VERSION;

use super::{CUT, EPOCH, FORMER, GROUP, LANE, PRIMARY, RELAY, SECONDARY, area_id, journal_frame};

fn last() -> FrameHeader {
    *CheckedFrame::parse(&journal_frame()).unwrap().header()
}

const REQUEST: u64 = 0x4142;
const POSITION: Position = Position(1 << 20);
const JOURNALED: Position = Position(2 << 20);

pub fn all() -> Vec<(&'static str, Message)> {
    let [hello, welcome] = handshake();
    let [create, areas] = area_keeping();
    let refused =
        Refused { request: REQUEST, reason: RefusedReason::TooOld, epoch: EPOCH, journaled: JOURNALED };
    let read = Read {
        request: REQUEST,
        position: POSITION,
        length: 65536,
        wait_ms: 500,
        known: true,
        framed: true,
        without: RELAY,
    };
    let reply = ReadReply { request: REQUEST, position: POSITION, length: 8192, journaled: JOURNALED };
    let begin = Begin { journal: area_id(0x20), position: POSITION, sequence: 41, chain: 0x3132, last: None };
    let delete = AreaDelete { request: REQUEST, group: GROUP, area: AreaId::NONE, epoch: EPOCH };
    vec![
        ("hello", hello),
        ("welcome", welcome),
        ("refused", Message::Refused(refused)),
        ("progress", Message::Progress(Progress { journaled: JOURNALED, sequence: 42 })),
        ("ping", Message::Ping(Ping { stamp: CUT.0, answerable: JOURNALED })),
        ("pong", Message::Pong(Pong { stamp: CUT.0 })),
        ("read", Message::Read(read)),
        ("read-reply", Message::ReadReply(reply)),
        ("fence", fence()),
        ("fenced", fenced()),
        ("release", Message::Release(Release { request: REQUEST, group: GROUP, epoch: EPOCH })),
        ("released", Message::Released(Released { request: REQUEST })),
        ("area-create", create),
        ("area-delete", Message::AreaDelete(delete)),
        ("area-list", Message::AreaList(AreaList { request: REQUEST, group: GROUP, skip: 24 })),
        ("areas", areas),
        ("leaving", Message::Leaving(Leaving { group: GROUP, epoch: EPOCH, cut: CUT })),
        ("left", Message::Left(Left { epoch: EPOCH })),
        ("begin", Message::Begin(begin)),
        ("head", Message::Head(Head { length: 4096 })),
        ("set-asked", set_asked()),
        ("set-recorded", Message::SetRecorded(SetRecorded { epoch: EPOCH, version: 3 })),
    ]
}

fn set_asked() -> Message {
    let (set, holds) = (super::fence_set(), Position(1_802_240));
    Message::SetAsked(SetAsked { group: GROUP, epoch: EPOCH, set, holds })
}

fn handshake() -> [Message; 2] {
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        node: PRIMARY,
        group: GROUP,
        kind: SessionKind::Append,
        area_kind: AreaKind::Manifest,
        lane: LANE,
        area: area_id(0x20),
        epoch: EPOCH,
        lease_ms: 500,
    };
    let welcome = Welcome {
        node: RELAY,
        area: area_id(0x20),
        epoch: EPOCH,
        primary: PRIMARY,
        secondary: SECONDARY,
        size: 16 << 20,
        journaled: JOURNALED,
        began: POSITION,
        last: Some(last()),
    };
    [Message::Hello(hello), Message::Welcome(welcome)]
}

fn fence() -> Message {
    Message::Fence(Fence {
        request: REQUEST,
        group: GROUP,
        replaces: FORMER,
        epoch: EPOCH,
        known: FORMER,
        primary: PRIMARY,
        secondary: SECONDARY,
        intent: FenceIntent::Takeover,
        lease_ms: 500,
    })
}

fn fenced() -> Message {
    let lane = FencedLane {
        lane: LANE,
        kind: AreaKind::Ring,
        area: area_id(0x20),
        size: 16 << 20,
        journaled: JOURNALED,
        began: Position(4096),
        open: true,
        scanning: false,
        last: Some(last()),
    };
    let scanning = FencedLane { kind: AreaKind::Manifest, open: false, scanning: true, last: None, ..lane };
    let lanes = [lane, scanning].into_iter().collect();
    Message::Fenced(Fenced {
        request: REQUEST,
        epoch: EPOCH,
        found: FORMER,
        former: SECONDARY,
        released: true,
        lanes,
    })
}

fn area_keeping() -> [Message; 2] {
    let create = AreaCreate {
        request: REQUEST,
        group: GROUP,
        lane: LANE,
        kind: AreaKind::Ring,
        area: area_id(0x20),
        size: 16 << 20,
        sites: [PRIMARY, SECONDARY],
        epoch: EPOCH,
    };
    let info = AreaInfo {
        area: area_id(0x20),
        lane: LANE,
        kind: AreaKind::Receipt,
        open: true,
        size: 1 << 20,
        journaled: JOURNALED,
    };
    let areas = Areas { request: REQUEST, epoch: EPOCH, more: true, areas: [info].into_iter().collect() };
    [Message::AreaCreate(create), Message::Areas(areas)]
}

pub fn commands() -> Vec<(&'static str, Command)> {
    let command = GroupCommand::Takeover { accept_loss: true, dry_run: false };
    vec![
        ("takeover", Command::Group { group: GROUP, command }),
        ("abort", Command::Group { group: GROUP, command: GroupCommand::Abort }),
        ("switchover", Command::Group { group: GROUP, command: GroupCommand::Switchover }),
        ("resolve", Command::Group { group: GROUP, command: GroupCommand::Resolve }),
        ("pause", Command::Group { group: GROUP, command: GroupCommand::Pause }),
        ("resume", Command::Group { group: GROUP, command: GroupCommand::Resume }),
        ("group-status", Command::GroupStatus { group: GROUP }),
        ("area-status", Command::AreaStatus),
        ("stop", Command::Stop),
    ]
}

fn exposure() -> Exposure {
    Exposure {
        primary: Amount::NONE,
        in_flight: Amount::of(8192, 1_000),
        relay: Amount::of(1 << 20, 2_000_000),
        loss: Amount { bytes: None, ns: Some(3) },
    }
}

fn overflow() -> OverflowStatus {
    OverflowStatus {
        leaves: true,
        threshold: 80,
        crossed: true,
        throttled: true,
        waiting: 3,
        delayed: 700,
        pace_bytes_per_s: Some(4 << 20),
        max_delay_ns: 200_000_000,
    }
}

pub fn reports() -> Vec<(&'static str, Report)> {
    let lane = LaneStatus {
        lane: LANE,
        node: RELAY,
        connected: true,
        sealed: Some(Position(5 << 20)),
        journaled: Some(Position(4 << 20)),
        acquired: Some(Position(3 << 20)),
        applied: None,
        landed: Some(Position(1 << 20)),
        damaged: None,
        ring_size: 16 << 20,
        ring_used: 4 << 20,
        fetched: Some(9 << 20),
    };
    let status = GroupStatus {
        group: GROUP,
        role: Role::Primary,
        pair: PairState::Paired,
        epoch: EPOCH,
        serving: true,
        lanes: vec![lane],
        lanes_holding: 1,
        lanes_wanted: 2,
        lanes_share: true,
        lanes_changing: true,
        lag_bytes: Some(4096),
        lag_ns: Some(1_000_000),
        last_time: CUT,
        cut: CUT,
        answered: 1234,
        why: Some(REASON),
        round: Some(RoundStatus {
            round: 11,
            in_place: true,
            bytes: 1 << 30,
            bytes_sent: 1 << 20,
            ..RoundStatus::default()
        }),
        exposure: exposure(),
        overflow: Some(overflow()),
        ..GroupStatus::default()
    };
    let area = AreaStatus {
        group: GROUP,
        kind: AreaKind::Ring,
        lane: LANE,
        area: area_id(0x20),
        size: 16 << 20,
        writer: PRIMARY,
        epoch: EPOCH,
        journaled: Position(4 << 20),
        open: true,
    };
    let refused = RefusedStatus { node: SECONDARY, reason: RefusedReason::OlderEpoch, count: 3 };
    vec![
        ("taken", Report::Taken),
        ("unknown-group", Report::UnknownGroup),
        ("group", Report::Group(status)),
        ("areas", Report::Areas(vec![area], vec![refused])),
        ("takeover", Report::Takeover(takeover())),
        ("event", Report::Event(event())),
    ]
}

const REASON: LossReason = LossReason::JournalDamaged { position: Position(1 << 20) };

pub fn takeover() -> TakeoverReport {
    TakeoverReport {
        group: GROUP,
        epoch: EPOCH,
        frames: 10,
        bytes: 81920,
        last_time: CUT,
        marked_regions: 4,
        took_ns: 5_000_000,
        verdict: Lost::Unknown { reason: REASON },
    }
}

pub fn event() -> Event {
    let kind = EventKind::Refused { reason: RefusedReason::OlderEpoch };
    Event { group: GROUP, kind, node: SECONDARY, epoch: EPOCH, position: Position(4096) }
}
