//! How a group stands, told truthfully: watermarks, lag and what a takeover now would lose (I1).

use midspan_format::control::{
    GroupStatus, LaneStatus, LossReason, MAX_SHOWN_MANIFESTS, ManifestStatus, RoundStatus,
};
use midspan_format::geometry::REGION_BYTES;
use midspan_format::superblock::{GroupState, PairState, Role};
use midspan_format::time::Time;

use crate::role::exposure;
use crate::role::group::{Group, Play};
use crate::role::primary::{Primary, Repair};
use crate::role::secondary::Secondary;
use crate::role::start::Start;
use crate::stage::manifests::Kept;
use crate::vocab::buffer::Buffer;
use crate::vocab::effect::Now;

/// The status of a group.
pub(super) fn status<B: Buffer>(group: &Group<B>, now: Now) -> GroupStatus {
    let state = group.store.get();
    let status = GroupStatus {
        group: group.config.group,
        role: state.role,
        pair: state.pair,
        epoch: state.epoch,
        serving: group.is_serving(),
        fenced_by: group.fenced_by,
        cut: state.cut,
        last_time: state.clock,
        zero_loss: true,
        dirty_regions: group.tracker.as_ref().map(|tracker| tracker.map().count()),
        disk_failed: group.store.failed(),
        no_cut: state.role == Role::Secondary && state.round_in_place,
        lanes_holding: if state.set.is_striped() { 2 } else { state.set.k.max(1) },
        lanes_share: state.set.is_striped(),
        lanes_wanted: group.config.lane_policy.lanes_wanted(),
        lanes_changing: !state.asked.is_none(),
        ..GroupStatus::default()
    };
    let lane = LaneStatus { lane: group.config.lane, node: group.config.relay, ..LaneStatus::default() };
    match &group.play {
        Play::Starting(start) => of_start(status, lane, start),
        Play::Opening(primary, _) => {
            let status = of_primary(status, lane, primary, now);
            GroupStatus { starting: true, ..status }
        }
        Play::Primary(primary) | Play::Leaving(primary) => of_primary(status, lane, primary, now),
        Play::Secondary(secondary) => of_follower(group, status, lane, secondary, now),
        Play::TakingOver(secondary, _) => {
            let status = of_follower(group, status, lane, secondary, now);
            GroupStatus { starting: true, ..status }
        }
        Play::Resuming { fencer, .. } => {
            let lane = LaneStatus { connected: fencer.is_up(), ..lane };
            outside(GroupStatus { starting: true, lanes: one(lane), ..status }, state, now)
        }
        Play::Outside(site) => {
            let direct = site.direct();
            let dirty_regions = direct.tracker().map(|tracker| tracker.map().count());
            let answered = direct.answered();
            let bytes = dirty_regions.unwrap_or(0) * REGION_BYTES;
            let round = Some(RoundStatus { paused: site.paused, bytes, ..RoundStatus::default() });
            let lane = LaneStatus { connected: site.comeback().is_up(), ..lane };
            let status = GroupStatus { round, ..status };
            let role = Role::Primary;
            outside(GroupStatus { role, dirty_regions, answered, lanes: one(lane), ..status }, state, now)
        }
        Play::Fenced(rejoin) => {
            let pair = if group.split { PairState::Split } else { PairState::Fenced };
            let lane = LaneStatus { connected: rejoin.is_up(), ..lane };
            // What the other site holds this one cannot say.
            GroupStatus { pair, zero_loss: false, lanes: one(lane), ..status }
        }
        Play::Aborting(secondary, ..) => of_follower(group, status, lane, secondary, now),
        Play::Stopped => GroupStatus { lanes: one(lane), ..status },
    }
}

fn one(lane: LaneStatus) -> alloc::vec::Vec<LaneStatus> {
    alloc::vec![lane]
}

/// Hosts are answered outside the lanes: no takeover by the other site could have everything.
fn outside(status: GroupStatus, state: &GroupState, now: Now) -> GroupStatus {
    let marked = status.dirty_regions.map(|regions| regions * REGION_BYTES);
    let since = if state.left { state.left_cut } else { state.cut };
    let exposure = exposure::outside(marked, since, now.wall);
    GroupStatus {
        zero_loss: false,
        why: Some(LossReason::LeftTheLanes),
        exposure,
        lanes_holding: 0,
        ..status
    }
}

fn round_status<B: Buffer>(repair: &Repair<B>) -> RoundStatus {
    let round = repair.round();
    let begun = round.begun();
    RoundStatus {
        round: begun.map_or(0, |begun| begun.round),
        in_place: begun.is_some_and(|begun| begun.in_place),
        paused: round.paused,
        sent: round.is_sent(),
        bytes: begun.map_or_else(|| repair.tracker().map().count() * REGION_BYTES, |begun| begun.bytes),
        bytes_sent: begun.map_or(0, |begun| begun.sent.min(begun.bytes)),
        began_ns: begun.map_or(0, |begun| begun.at),
    }
}

fn of_start<B: Buffer>(status: GroupStatus, lane: LaneStatus, start: &Start<B>) -> GroupStatus {
    let facts = start.facts();
    let known = facts.epoch == status.epoch;
    let lane = LaneStatus {
        connected: start.is_connected(),
        journaled: known.then_some(facts.ring.journaled),
        landed: known.then_some(facts.landed.0),
        damaged: start.damaged(),
        ring_size: facts.ring.size,
        ..lane
    };
    let why = start.damaged().map(|position| LossReason::JournalDamaged { position });
    // A round that an earlier process had begun has not ended.
    let whole = matches!(status.pair, PairState::Paired | PairState::Simplex);
    let why = why.or((!whole).then_some(LossReason::LeftTheLanes));
    GroupStatus {
        role: Role::Primary,
        starting: true,
        zero_loss: why.is_none(),
        why,
        disk_failed: status.disk_failed || start.failed(),
        lanes: one(lane),
        ..status
    }
}

fn manifest_status(kept: &Kept) -> ManifestStatus {
    ManifestStatus {
        end: kept.end,
        from: kept.from,
        to: kept.to,
        frames: kept.frames,
        runs: kept.runs,
        first_time: kept.times.0,
        last_time: kept.times.1,
    }
}

fn of_primary<B: Buffer>(
    status: GroupStatus,
    lane: LaneStatus,
    primary: &Primary<B>,
    now: Now,
) -> GroupStatus {
    let found = primary.status(now.mono);
    let (ring_size, ring_used) = found.ring;
    let received = found.received;
    let last_time = primary.clock();
    // Before the first receipt nothing is known of the secondary.
    let applied = (received.staging > 0).then_some(received.applied);
    let lane = LaneStatus {
        connected: found.connected,
        sealed: Some(found.sealed),
        journaled: Some(found.journaled),
        acquired: applied.map(|_| received.acquired),
        applied,
        landed: Some(found.landed),
        ring_size,
        ring_used,
        ..lane
    };
    let lag_bytes = applied.map(|applied| found.sealed.0.saturating_sub(applied.0));
    let behind = last_time.0.saturating_sub(received.cut.0);
    let round = primary.repair().map(round_status);
    // What hosts were told outside the lanes is safe only from the answerable End on (I1).
    let at_risk = primary.repair().is_some_and(|repair| {
        let end = repair.round().end();
        repair.round().is_marking() || end.is_none_or(|end| found.journaled < end) && !repair.has_ended()
    });
    let map = primary.repair().map(|repair| repair.tracker().map().count());
    let mut lanes = one(lane);
    if let Some((node, connected)) = primary.second_lane() {
        lanes.push(LaneStatus { lane: lane.lane, node, connected, ..LaneStatus::default() });
    }
    let local = primary.lane_set().first() == primary.node();
    let why = at_risk.then_some(LossReason::LeftTheLanes).or(local.then_some(LossReason::LocalLane));
    let marks = exposure::Marks {
        sealed: found.sealed,
        journaled: found.journaled,
        acquired: applied.map(|_| received.acquired),
        newest: last_time,
        unjournaled: found.pending_since.0,
        unacquired: found.pending_since.1,
        cut: received.cut,
    };
    let marked = map.filter(|_| at_risk).map(|regions| regions * REGION_BYTES);
    GroupStatus {
        exposure: exposure::in_the_lanes(&marks, marked, local),
        overflow: Some(primary.overflow_status()),
        round,
        verify: primary.verify_status(),
        zero_loss: why.is_none(),
        why,
        dirty_regions: map.or(status.dirty_regions),
        role: Role::Primary,
        lease: found.lease,
        lag_bytes,
        lag_ns: lag_bytes.map(|bytes| if bytes == 0 { 0 } else { behind }),
        last_time,
        cut: received.cut,
        answered: found.answered,
        ring_full: found.ring_full,
        manifests_kept: primary.manifests().count() as u64,
        manifests: primary.manifests().take(MAX_SHOWN_MANIFESTS).map(manifest_status).collect(),
        disk_failed: status.disk_failed || found.disk_failed,
        lanes,
        lanes_holding: primary.lanes_holding(),
        lanes_share: primary.lane_set().is_striped(),
        lanes_changing: primary.is_asking(),
        ..status
    }
}

/// A secondary, also while it takes over or gives that up: what it knows of the primary stays true.
fn of_follower<B: Buffer>(
    group: &Group<B>,
    status: GroupStatus,
    lane: LaneStatus,
    secondary: &Secondary<B>,
    now: Now,
) -> GroupStatus {
    let state = group.store.get();
    let left = (state.left || state.told_left > Time::ZERO).then_some(LossReason::LeftTheLanes);
    let local = state.set.first() == group.config.other_site();
    let why = left.or(group.config.alone.then_some(LossReason::MayBeAlone));
    let why = why.or(local.then_some(LossReason::LocalLane));
    let status = of_secondary(GroupStatus { why, ..status }, lane, secondary);
    let since = left.map(|_| if state.left { state.left_cut } else { state.told_left });
    let behind =
        status.lanes.first().and_then(|lane| Some(lane.journaled?.0.saturating_sub(lane.acquired?.0)));
    let exposed = exposure::following(behind, status.zero_loss, since, now.wall);
    let exposure = if local { exposure::following_its_own_lane(exposed) } else { exposed };
    GroupStatus { exposure, ..status }
}

fn of_secondary<B: Buffer>(status: GroupStatus, lane: LaneStatus, secondary: &Secondary<B>) -> GroupStatus {
    let found = secondary.status();
    let lane = LaneStatus {
        connected: found.connected,
        journaled: found.connected.then_some(found.journaled),
        acquired: Some(found.acquired),
        applied: Some(found.persisted),
        damaged: found.damaged,
        ring_size: found.ring_size,
        ring_used: found.acquired.0.saturating_sub(found.persisted.0),
        fetched: Some(found.fetched),
        ..lane
    };
    let mut lanes = one(lane);
    if let Some((node, connected, fetched)) = found.beside {
        let fetched = Some(fetched);
        lanes.push(LaneStatus { lane: lane.lane, node, connected, fetched, ..LaneStatus::default() });
    }
    let newest = found.newest.max(found.applied_time);
    let lag_bytes = found.connected.then(|| found.journaled.0.saturating_sub(found.persisted.0));
    let why = match found.damaged {
        Some(position) => Some(LossReason::JournalDamaged { position }),
        None if found.disk_failed => Some(LossReason::DiskFailed),
        None if status.no_cut => Some(LossReason::NoCut),
        None => status.why,
    };
    GroupStatus {
        starting: found.recovering,
        lag_bytes,
        lag_ns: lag_bytes.map(|bytes| if bytes == 0 { 0 } else { newest.0.saturating_sub(found.cut.0) }),
        last_time: newest,
        epoch: status.epoch.max(found.epoch),
        cut: found.cut,
        disk_failed: status.disk_failed || found.disk_failed,
        zero_loss: why.is_none(),
        why,
        lanes,
        ..status
    }
}
