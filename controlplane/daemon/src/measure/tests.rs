//! What the API shows of measured groups, areas and starts.

use midspan_format::ids::{AreaId, Epoch, LaneId};
use midspan_format::message::RefusedReason;

use super::*;

fn names() -> Names {
    Names::new([(1, "a".to_owned()), (2, "relay".to_owned()), (3, "b".to_owned())].into_iter())
}

fn known(shard: Option<usize>) -> Known {
    Known {
        name: "vault".into(),
        id: GroupId(7),
        sites: vec![NodeId(1), NodeId(3)],
        home: Some(NodeId(1)),
        shard,
        holds_lane: shard.is_none(),
        volumes: vec![VolumeStatus { name: "v0".into(), ..VolumeStatus::default() }],
    }
}

fn measured() -> Measured {
    let lane = MeasuredLane {
        node: NodeId(2),
        connected: true,
        sealed: Some(Position(12_288)),
        journaled: Some(Position(8192)),
        ring_size: 1 << 20,
        ring_used: 4096,
        ..MeasuredLane::default()
    };
    Measured {
        group: GroupId(7),
        role: SiteRole::Primary,
        pair: PairState::Paired,
        epoch: Epoch { number: 4, node: NodeId(1) },
        serving: true,
        lanes: vec![lane],
        lag_bytes: Some(4096),
        lag_ns: Some(3),
        last_time: Time(10),
        answered: 17,
        dirty_regions: Some(2),
        zero_loss: true,
        ..Measured::default()
    }
}

#[test]
fn a_site_is_shown_with_names_and_what_is_not_known_stays_unknown() {
    let news = site(&names(), &known(Some(0)), &measured());
    let status = &news.status;
    assert_eq!((status.group.as_str(), status.group_id, status.role), ("vault", 7, Role::Primary));
    assert_eq!((status.epoch.number, status.epoch.node.as_str()), (4, "a"));
    assert_eq!(status.volumes.len(), 1);
    assert_eq!((status.last_time_ns, status.cut_ns, status.answered), (Some(10), None, Some(17)));
    assert_eq!(status.dirty_bytes, Some(2 * REGION_BYTES));
    let lane = &status.lanes[0];
    assert_eq!((lane.node.as_str(), lane.connected), ("relay", true));
    assert_eq!((lane.watermarks.sealed, lane.watermarks.acquired), (Some(12_288), None));
    assert_eq!((lane.ring.size_bytes, lane.ring.used_bytes), (Some(1 << 20), Some(4096)));
    assert_eq!((news.applied_time_ns, news.behind_bytes), (Some(7), Some(4096)));
    let facts = PairFacts { primary: true, serving: true, lanes_up: true, ..PairFacts::default() };
    assert_eq!(news.pair, facts);
}

#[test]
fn a_ring_of_unknown_size_has_no_use() {
    let mut measured = measured();
    measured.lanes[0].ring_size = 0;
    let news = site(&names(), &known(Some(0)), &measured);
    assert_eq!(news.status.lanes[0].ring.used_bytes, None);
}

#[test]
fn what_takes_trust_away_becomes_a_fact_of_the_pair() {
    let facts = |change: fn(&mut Measured)| {
        let mut measured = measured();
        change(&mut measured);
        site(&names(), &known(Some(0)), &measured).pair
    };
    assert!(facts(|m| m.fenced_by = Some(Epoch { number: 5, node: NodeId(3) })).fenced);
    assert!(facts(|m| m.pair = PairState::Fenced).fenced);
    assert!(facts(|m| m.pair = PairState::TakenOver).outside);
    assert!(facts(|m| m.disk_failed = true).damaged);
    assert!(facts(|m| m.lanes[0].damaged = Some(Position(0))).damaged);
    assert!(!facts(|m| m.lanes[0].connected = false).lanes_up);
    assert!(!facts(|m| m.lanes.clear()).lanes_up);
    let away = |m: &mut Measured| m.lanes.push(MeasuredLane { node: NodeId(4), ..MeasuredLane::default() });
    assert!(facts(away).lanes_up, "a lane that is only to take a place counts");
    let both = |m: &mut Measured| {
        m.lanes.push(MeasuredLane { node: NodeId(4), ..MeasuredLane::default() });
        m.lanes_holding = 2;
    };
    assert!(!facts(both).lanes_up, "the mirror's second lane does not count");
}

fn ring_area(health: Health) -> MeasuredArea {
    MeasuredArea {
        group: GroupId(7),
        lane: LaneId(0),
        kind: AreaKind::Ring,
        area: AreaId([0xab; 16]),
        size: 1 << 20,
        health,
        journaled: Position(4096),
        received: Position(8192),
        has_writer: true,
        epoch: Epoch { number: 4, node: NodeId(1) },
        primary: NodeId(1),
        secondary: NodeId(3),
    }
}

#[test]
fn a_relay_shows_its_ring_as_the_lane_and_counts_what_the_sites_were_refused() {
    let count = |node, count| RefusedCount { node: NodeId(node), reason: RefusedReason::OlderEpoch, count };
    let status =
        RelayStatus { areas: vec![ring_area(Health::Open)], refused: vec![count(1, 2), count(9, 5)] };
    let group = relay(&names(), &known(None), NodeId(2), &status).unwrap().status;
    assert_eq!((group.role, group.state.as_str(), group.refused), (Role::Relay, "open", 2));
    assert!(group.meaning.contains("its writer a is connected"));
    assert_eq!(group.lanes[0].watermarks.journaled, Some(4096));
    assert_eq!(group.zero_loss, None);
    let refused = refused(&names(), &status.refused);
    assert_eq!(
        (refused[1].node.as_str(), refused[1].reason.as_str(), refused[1].count),
        ("node 9", "older_epoch", 5)
    );
}

#[test]
fn an_area_that_is_not_open_says_so_and_shows_no_prefix() {
    let status = RelayStatus { areas: vec![ring_area(Health::Damaged)], refused: Vec::new() };
    let shown = areas(&names(), &[known(None)], &status);
    assert_eq!((shown[0].health.as_str(), shown[0].journaled), ("damaged", None));
    assert_eq!(
        (shown[0].group.as_str(), shown[0].writer.as_str(), shown[0].kind.as_str()),
        ("vault", "a", "ring")
    );
    let group = relay(&names(), &known(None), NodeId(2), &status).unwrap().status;
    assert_eq!((group.state.as_str(), group.lanes[0].damaged_at), ("damaged", Some(4096)));
}

#[test]
fn zero_lost_is_said_only_where_the_start_says_it_without_a_reason() {
    use midspan_control::takeover::Statement;
    let found = |lost_nothing, why| StartReport { lost_nothing, why, ..StartReport::default() };
    let says_zero = |found: &StartReport| Statement::of(takeover(&names(), found).facts).lost_nothing();
    assert!(says_zero(&found(true, None)));
    assert!(!says_zero(&found(false, None)));
    for why in [
        LossReason::LaneUnreachable,
        LossReason::JournalDamaged { position: Position(1) },
        LossReason::LeftTheLanes,
        LossReason::NoCut,
        LossReason::DiskFailed,
    ] {
        assert!(!says_zero(&found(true, Some(why))), "{why:?}");
    }
}

#[test]
fn a_round_is_shown_with_how_far_it_is_and_hundred_percent_only_at_its_end() {
    let mut measured = measured();
    measured.pair = PairState::InitialCopy;
    measured.no_cut = true;
    let shown = |measured: &Measured| site(&names(), &known(Some(0)), measured);
    let mut round = MeasuredRound { bytes: 3000, bytes_sent: 1000, paused: true, ..MeasuredRound::default() };
    measured.round = Some(round);
    let news = shown(&measured);
    assert!(news.pair.copying && !news.pair.resyncing && news.status.no_cut);
    assert_eq!(news.status.home.as_deref(), Some("a"));
    let found = news.status.round.unwrap();
    assert_eq!((found.round, found.paused, found.bytes_sent, found.percent), (None, true, 1000, 33.3));
    (round.round, round.bytes_sent) = (5, 3000);
    measured.round = Some(round);
    measured.pair = PairState::Resync;
    let news = shown(&measured);
    assert!(news.pair.resyncing);
    assert_eq!(news.status.round.map(|round| (round.round, round.percent)), Some((Some(5), 99.9)));
    measured.round = Some(MeasuredRound { sent: true, ..round });
    assert_eq!(shown(&measured).status.round.map(|round| round.percent), Some(100.0));
    measured.round = Some(MeasuredRound::default());
    assert_eq!(shown(&measured).status.round.map(|round| round.percent), Some(0.0));
}
