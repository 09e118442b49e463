//! From the data plane's measurements to what the API shows: numbers get names, nothing is derived.

mod exposure;

use midspan_control::pair::PairFacts;
use midspan_control::takeover::TakeoverFacts;
use midspan_format::area::AreaKind;
use midspan_format::control::{
    GroupStatus as Measured, LaneStatus as MeasuredLane, LossReason, ManifestStatus as MeasuredManifest,
    RoundStatus as MeasuredRound, VerifyStatus as MeasuredVerify,
};
use midspan_format::geometry::{Position, REGION_BYTES};
use midspan_format::ids::{GroupId, NodeId};
use midspan_format::superblock::{PairState, Role as SiteRole};
use midspan_format::time::Time;
use midspan_node::port::StartReport;
use midspan_node::status::{AreaStatus as MeasuredArea, Health, RefusedCount, RelayStatus};

use crate::api::types::{
    AreaStatus, GroupStatus, KeptManifests, LaneStatus, ManifestStatus, RefusedStatus, RingUse, Role,
    RoundStatus, VerifyStatus, VolumeStatus, Watermarks,
};
use crate::driver::{GroupNews, Report};
use crate::words::{self, Names};

/// A group of this node, as configured.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: GroupId,
    /// Its two sites.
    pub sites: Vec<NodeId>,
    /// The site that is its primary by configuration; `None` at a relay.
    pub home: Option<NodeId>,
    /// The shard that drives its volumes; `None` at a relay.
    pub shard: Option<usize>,
    /// Whether a lane of it may stand here.
    pub holds_lane: bool,
    /// Its volumes here.
    pub volumes: Vec<VolumeStatus>,
}

impl Known {
    /// The group before anything was measured.
    pub fn unmeasured(&self) -> GroupStatus {
        let role = if self.shard.is_some() { Role::Unknown } else { Role::Relay };
        GroupStatus {
            group: self.name.clone(),
            group_id: self.id.0.into(),
            role,
            state: "starting".to_owned(),
            meaning: "the daemon has just started".to_owned(),
            volumes: self.volumes.clone(),
            ..GroupStatus::default()
        }
    }
}

/// A group whose volumes are here.
pub fn site(names: &Names, known: &Known, measured: &Measured) -> GroupNews {
    let primary = match measured.role {
        SiteRole::Primary => true,
        SiteRole::Secondary => false,
    };
    let lane = |lane: &MeasuredLane| LaneStatus {
        ring: RingUse { full: measured.ring_full, ..ring(lane) },
        ..site_lane(names, lane)
    };
    let status = GroupStatus {
        role: if primary { Role::Primary } else { Role::Secondary },
        epoch: names.epoch(measured.epoch),
        serving: measured.serving,
        starting: measured.starting,
        fenced_by: measured.fenced_by.map(|epoch| names.epoch(epoch)),
        zero_loss: Some(measured.zero_loss),
        zero_loss_why: measured.why.map(words::loss).unwrap_or_default(),
        exposure: Some(exposure::exposure(&measured.exposure)),
        overflow: measured.overflow.as_ref().map(exposure::overflow),
        // Outside the lanes nobody counts them.
        answered: (!is_outside(measured.pair)).then_some(measured.answered),
        last_time_ns: time(measured.last_time),
        cut_ns: time(measured.cut),
        lanes: measured.lanes.iter().map(lane).collect(),
        lanes_holding: Some(measured.lanes_holding.into()),
        lanes_wanted: Some(measured.lanes_wanted.into()),
        lanes_share: measured.lanes_share,
        lanes_changing: measured.lanes_changing,
        dirty_bytes: measured.dirty_regions.map(|regions| regions.saturating_mul(REGION_BYTES)),
        home: known.home.map(|home| names.node(home)),
        round: measured.round.as_ref().map(round),
        verify: measured.verify.as_ref().map(verify),
        no_cut: measured.no_cut,
        ..known.unmeasured()
    };
    let lanes = &measured.lanes;
    // A lane that is only to take a place keeps nobody waiting.
    let holding = usize::from(measured.lanes_holding.max(1));
    let pair = PairFacts {
        primary,
        serving: measured.serving,
        lanes_up: !lanes.is_empty() && lanes.iter().take(holding).all(|lane| lane.connected),
        fenced: measured.fenced_by.is_some() || measured.pair == PairState::Fenced,
        outside: is_outside(measured.pair),
        damaged: measured.disk_failed || lanes.iter().any(|lane| lane.damaged.is_some()),
        copying: measured.pair == PairState::InitialCopy,
        resyncing: measured.pair == PairState::Resync,
        split: measured.pair == PairState::Split,
        suspended: measured.pair == PairState::Suspended,
        degraded: measured.pair == PairState::Degraded,
    };
    let applied_time_ns = measured.lag_ns.map(|lag| measured.last_time.0.saturating_sub(lag));
    let manifests = KeptManifests {
        kept: measured.manifests_kept,
        manifests: measured.manifests.iter().map(manifest).collect(),
    };
    GroupNews { status, pair, applied_time_ns, behind_bytes: measured.lag_bytes, manifests }
}

fn manifest(kept: &MeasuredManifest) -> ManifestStatus {
    ManifestStatus {
        end: kept.end.0,
        from: kept.from.0,
        to: kept.to.0,
        frames: kept.frames.into(),
        region_runs: kept.runs.into(),
        first_time_ns: kept.first_time.0,
        last_time_ns: kept.last_time.0,
    }
}

/// Whether hosts are answered outside the lanes in this state.
const fn is_outside(pair: PairState) -> bool {
    match pair {
        PairState::TakenOver | PairState::Suspended | PairState::Degraded => true,
        PairState::Simplex
        | PairState::InitialCopy
        | PairState::Paired
        | PairState::Resync
        | PairState::Split
        | PairState::Fenced => false,
    }
}

fn round(round: &MeasuredRound) -> RoundStatus {
    RoundStatus {
        round: (round.round != 0).then_some(round.round),
        in_place: round.in_place,
        paused: round.paused,
        sent: round.sent,
        bytes: round.bytes,
        bytes_sent: round.bytes_sent,
        percent: percent(round.sent, round.bytes_sent, round.bytes),
        ..RoundStatus::default()
    }
}

fn verify(found: &MeasuredVerify) -> VerifyStatus {
    VerifyStatus {
        bytes: found.bytes,
        bytes_sent: found.bytes_sent,
        compared_bytes: found.compared,
        different_bytes: found.different,
        percent: percent(found.bytes_sent >= found.bytes, found.bytes_sent, found.bytes),
        ..VerifyStatus::default()
    }
}

/// To a tenth, and 100 only when everything was sent.
fn percent(is_sent: bool, sent: u64, bytes: u64) -> f64 {
    if is_sent {
        return 100.0;
    }
    let permille = u128::from(sent) * 1000 / u128::from(bytes.max(1));
    f64::from(u16::try_from(permille.min(999)).unwrap_or(999)) / 10.0
}

fn site_lane(names: &Names, lane: &MeasuredLane) -> LaneStatus {
    let position = |position: Option<Position>| position.map(|position| position.0);
    LaneStatus {
        lane: lane.lane.0.into(),
        node: names.node(lane.node),
        connected: lane.connected,
        watermarks: Watermarks {
            sealed: position(lane.sealed),
            journaled: position(lane.journaled),
            acquired: position(lane.acquired),
            applied: position(lane.applied),
            landed: position(lane.landed),
        },
        damaged_at: position(lane.damaged),
        ring: RingUse::default(),
        fetched_bytes: lane.fetched,
    }
}

fn ring(lane: &MeasuredLane) -> RingUse {
    let known = lane.ring_size > 0;
    RingUse {
        size_bytes: known.then_some(lane.ring_size),
        used_bytes: known.then_some(lane.ring_used),
        ..RingUse::default()
    }
}

/// The areas of lanes that this node holds.
pub fn areas(names: &Names, groups: &[Known], relay: &RelayStatus) -> Vec<AreaStatus> {
    relay.areas.iter().map(|measured| area(names, groups, measured)).collect()
}

fn area(names: &Names, groups: &[Known], measured: &MeasuredArea) -> AreaStatus {
    let known = groups.iter().find(|known| known.id == measured.group);
    let writer = match measured.kind {
        AreaKind::Receipt => measured.secondary,
        AreaKind::Ring | AreaKind::Manifest | AreaKind::State | AreaKind::DirtyMap | AreaKind::OwnRing => {
            measured.primary
        }
    };
    let open = measured.health == Health::Open;
    AreaStatus {
        group: known.map_or_else(|| format!("group {}", measured.group.0), |known| known.name.clone()),
        kind: kind(measured.kind).to_owned(),
        area: measured.area.to_string(),
        lane: measured.lane.0.into(),
        writer: if writer == NodeId::NONE { String::new() } else { names.node(writer) },
        writer_connected: measured.has_writer,
        epoch: names.epoch(measured.epoch),
        size_bytes: measured.size,
        journaled: open.then_some(measured.journaled.0),
        health: health(measured.health).to_owned(),
    }
}

const fn kind(kind: AreaKind) -> &'static str {
    match kind {
        AreaKind::Ring => "ring",
        AreaKind::Manifest => "manifest",
        AreaKind::Receipt => "receipt",
        AreaKind::State => "state",
        AreaKind::DirtyMap => "dirty_map",
        AreaKind::OwnRing => "own_ring",
    }
}

const fn health(health: Health) -> &'static str {
    match health {
        Health::Scanning => "scanning",
        Health::Open => "open",
        Health::Damaged => "damaged",
        Health::Failed => "failed",
    }
}

/// A group whose journal this node holds as the relay `node`; `None` where it has no ring of it.
pub fn relay(names: &Names, known: &Known, node: NodeId, relay: &RelayStatus) -> Option<GroupNews> {
    let of_group = || relay.areas.iter().filter(|area| area.group == known.id);
    let first = of_group().find(|area| area.kind == AreaKind::Ring)?;
    let worst = of_group().map(|area| area.health).max_by_key(|health| severity(*health));
    let worst = worst.unwrap_or(Health::Open);
    let status = GroupStatus {
        role: Role::Relay,
        state: health(worst).to_owned(),
        meaning: relay_meaning(names, worst, first),
        epoch: names.epoch(first.epoch),
        lanes: held(names, known, node, relay),
        refused: refused_of(known, relay),
        ..known.unmeasured()
    };
    Some(GroupNews { status, ..GroupNews::default() })
}

/// The lanes of a group that this node, `node`, holds.
pub fn held(names: &Names, known: &Known, node: NodeId, relay: &RelayStatus) -> Vec<LaneStatus> {
    let lane = |area: &MeasuredArea| LaneStatus {
        lane: area.lane.0.into(),
        node: names.node(node),
        connected: true,
        watermarks: Watermarks {
            journaled: (area.health == Health::Open).then_some(area.journaled.0),
            ..Watermarks::default()
        },
        damaged_at: (area.health == Health::Damaged).then_some(area.journaled.0),
        ring: RingUse { size_bytes: Some(area.size), ..RingUse::default() },
        fetched_bytes: None,
    };
    let rings = relay.areas.iter().filter(|area| area.group == known.id && area.kind == AreaKind::Ring);
    rings.map(lane).collect()
}

/// Requests of the group's sites that were refused here.
pub fn refused_of(known: &Known, relay: &RelayStatus) -> u64 {
    let refused = relay.refused.iter().filter(|refused| known.sites.contains(&refused.node));
    refused.map(|refused| refused.count).sum()
}

const fn severity(health: Health) -> u8 {
    match health {
        Health::Open => 0,
        Health::Scanning => 1,
        Health::Damaged => 2,
        Health::Failed => 3,
    }
}

fn relay_meaning(names: &Names, health: Health, ring: &MeasuredArea) -> String {
    match health {
        Health::Scanning => "finds the end of its journal after the start; nodes wait until then".to_owned(),
        Health::Damaged => "the journal ends before what was once journaled: nothing is appended; \
             `midspan journal dump` of this disk shows where"
            .to_owned(),
        Health::Failed => {
            "the journal disk failed: it is not used until it is replaced and the node restarted".to_owned()
        }
        Health::Open if !ring.epoch.is_held() => {
            "holds the group's journal; no primary has started yet".to_owned()
        }
        Health::Open if ring.primary == NodeId::NONE => {
            "holds the group's journal; a takeover was given back, and nobody has written since".to_owned()
        }
        Health::Open if ring.has_writer => {
            format!("holds the group's journal; its writer {} is connected", names.node(ring.primary))
        }
        Health::Open => format!("holds the group's journal; its writer {} is away", names.node(ring.primary)),
    }
}

/// What a relay refused, by node and reason.
pub fn refused(names: &Names, refused: &[RefusedCount]) -> Vec<RefusedStatus> {
    let one = |refused: &RefusedCount| RefusedStatus {
        node: names.node(refused.node),
        reason: words::refused_word(refused.reason).to_owned(),
        count: refused.count,
    };
    refused.iter().map(one).collect()
}

/// What a takeover, or a probe for one, found.
pub fn takeover(names: &Names, found: &StartReport) -> Report {
    Report {
        facts: facts(found),
        epoch: names.epoch(found.epoch),
        frames: found.frames,
        bytes: found.bytes,
        last_time_ns: time(Time(found.last_time)),
        marked_regions: found.marked_regions,
        kept_to_ns: time(Time(found.kept_to)),
        missing_bytes: found.missing_bytes,
    }
}

fn facts(found: &StartReport) -> TakeoverFacts {
    let good = TakeoverFacts { lanes_reached: true, journal_whole: true, within_lanes: true, cut_held: true };
    match found.why {
        None => TakeoverFacts { lanes_reached: found.lost_nothing, ..good },
        Some(LossReason::LaneUnreachable) => TakeoverFacts { lanes_reached: false, ..good },
        Some(LossReason::JournalDamaged { .. }) => TakeoverFacts { journal_whole: false, ..good },
        Some(LossReason::LeftTheLanes | LossReason::MayBeAlone | LossReason::LocalLane) => {
            TakeoverFacts { within_lanes: false, ..good }
        }
        Some(LossReason::NoCut | LossReason::DiskFailed) => TakeoverFacts { cut_held: false, ..good },
    }
}

fn time(time: Time) -> Option<u64> {
    (time != Time::ZERO).then_some(time.0)
}

#[cfg(test)]
mod tests;
