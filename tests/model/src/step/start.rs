//! One start: restart and takeover take a newer epoch, read, record, open the lanes and serve (design §5 and §7).

use super::only;
use crate::bounds::Bounds;
use crate::promise::{GHOST, I1, I4};
use crate::rule::Rule;
use crate::state::{Frames, Phase, State};
use crate::vocab::{Epoch, LANES, LaneNo, Lanes, SiteNo};

pub(super) fn restart(bounds: &Bounds, s: &mut State, site: SiteNo, probed: Lanes) -> Option<()> {
    let before = s.sites[site].phase;
    only(s.sites[site].primary && matches!(before, Phase::Stopped | Phase::Fenced))?;
    if s.sites[site].outside {
        // The mark that stands is its permission: no takeover can have happened but with accepted loss.
        only(before == Phase::Stopped && probed == 1)?;
        s.sites[site].phase = Phase::Outside;
        s.sites[site].epoch = s.sites[site].recorded;
        return Some(());
    }
    s.sites[site].phase = Phase::Starting;
    only(may_begin(bounds, s, site, probed))?;
    let foreign = (0..LANES).any(|lane| probed & 1 << lane != 0 && is_foreign(bounds, s, site, lane));
    if foreign {
        only(before == Phase::Stopped)?;
        s.sites[site].phase = Phase::Fenced;
        return Some(());
    }
    s.sites[site].own = Frames::EMPTY;
    begin(bounds, s, site, probed)
}

pub(super) fn takeover(bounds: &Bounds, s: &mut State, site: SiteNo, probed: Lanes) -> Option<()> {
    only(s.spent.takeovers < bounds.takeovers)?;
    only(!s.sites[site].primary && s.sites[site].phase == Phase::Following)?;
    only(!s.sites[site].own.is_left() || !bounds.has(Rule::MarkStopsTakeover))?;
    s.spent.takeovers += 1;
    s.sites[site].phase = Phase::Taking;
    only(may_begin(bounds, s, site, probed))?;
    begin(bounds, s, site, probed)
}

/// Whether the probed lanes are just enough.
fn may_begin(bounds: &Bounds, s: &State, site: SiteNo, probed: Lanes) -> bool {
    let s_site = &s.sites[site];
    let listed = (0..LANES).all(|lane| probed & 1 << lane == 0 || s.reaches(bounds, site, lane));
    let fewer = (0..LANES).filter(|lane| probed & 1 << lane != 0);
    listed
        && s_site.stops(bounds, probed)
        && fewer.into_iter().all(|l| !s_site.stops(bounds, probed & !(1 << l)))
}

/// Chooses an epoch above all that were found.
fn begin(bounds: &Bounds, s: &mut State, site: SiteNo, probed: Lanes) -> Option<()> {
    let found = (0..LANES).filter(|lane| probed & 1 << lane != 0).map(|lane| s.lanes[lane].epoch);
    let known = s.sites[site].known;
    let number = found.fold(known, Epoch::max).number() + 1;
    only(number <= bounds.epochs)?;
    let s = &mut s.sites[site];
    s.forget();
    s.epoch = Epoch::new(number, site);
    if bounds.has(Rule::EpochRecordedFirst) {
        s.known = s.epoch;
    }
    Some(())
}

/// Whether a primary finds here that another node has replaced it.
fn is_foreign(bounds: &Bounds, s: &State, site: SiteNo, lane: LaneNo) -> bool {
    let (s, lane) = (&s.sites[site], &s.lanes[lane]);
    let given_back = lane.released && lane.former == Some(site as u8);
    let own = lane.epoch == Epoch::NONE || lane.epoch.is_of(site);
    // An older one of another node is one that this site has replaced in other lanes.
    !own && !given_back && lane.epoch > s.recorded && bounds.has(Rule::OwnEpochsOnly)
}

pub(super) fn ask_fence(bounds: &Bounds, s: &mut State, site: SiteNo, lane: LaneNo) -> Option<()> {
    only(s.reaches(bounds, site, lane))?;
    let found = s.lanes[lane].epoch;
    let phase = s.sites[site].phase;
    only(matches!(phase, Phase::Starting | Phase::Taking | Phase::Opening | Phase::Serving))?;
    only(s.sites[site].epoch > found)?;
    only(phase == Phase::Taking || !is_foreign(bounds, s, site, lane))?;
    s.sites[site].asked[lane] = (s.sites[site].epoch, found);
    if bounds.in_flight { Some(()) } else { fence(bounds, s, site, lane) }
}

pub(super) fn fence(bounds: &Bounds, s: &mut State, site: SiteNo, lane: LaneNo) -> Option<()> {
    let (epoch, replaces) = s.sites[site].asked[lane];
    only(epoch != Epoch::NONE)?;
    s.sites[site].asked[lane] = (Epoch::NONE, Epoch::NONE);
    let lane = &mut s.lanes[lane];
    let names = lane.epoch == replaces && epoch > lane.epoch;
    if !names && bounds.has(Rule::GreaterEpoch) {
        return Some(());
    }
    let other = 1 - site;
    if lane.epoch.is_of(other) {
        lane.former = Some(other as u8);
        lane.owing |= !lane.released;
    }
    lane.released = false;
    lane.epoch = epoch;
    if bounds.has(Rule::DurableFence) {
        lane.durable = epoch;
    }
    Some(())
}

pub(super) fn fenced(bounds: &Bounds, s: &mut State, site: SiteNo, lane: LaneNo) -> Option<()> {
    only(s.reaches(bounds, site, lane))?;
    let (to, from) = (&mut s.sites[site], &mut s.lanes[lane]);
    only(matches!(to.phase, Phase::Starting | Phase::Taking | Phase::Opening | Phase::Serving))?;
    only(from.epoch == to.epoch && to.fenced & 1 << lane == 0)?;
    only(!from.owing || !bounds.has(Rule::Lease))?;
    if from.queue_epoch < from.epoch && bounds.has(Rule::Settled) {
        from.queue = 0;
        from.queue_epoch = Epoch::NONE;
    }
    to.fenced |= 1 << lane;
    if matches!(to.phase, Phase::Starting | Phase::Taking) {
        to.own.merge(&from.frames, bounds);
    }
    Some(())
}

pub(super) fn record(bounds: &Bounds, s: &mut State, site: SiteNo) -> Option<()> {
    let to = &mut s.sites[site];
    only(matches!(to.phase, Phase::Starting | Phase::Taking) && to.stops(bounds, to.fenced))?;
    if to.phase == Phase::Taking {
        only(!to.own.is_left() || !bounds.has(Rule::MarkStopsTakeover))?;
        to.alone = true;
    } else {
        // What has landed has been answerable, or was written outside the lanes.
        to.own.held |= to.disk;
    }
    let applied = to.disk;
    to.primary = true;
    to.recorded = to.epoch;
    to.known = to.known.max(to.epoch);
    to.own.tip = to.epoch;
    to.own.start = to.own.held;
    to.disk = to.own.held;
    to.phase = Phase::Opening;
    s.demand(applied & !s.sites[site].own.held == 0, I4);
    Some(())
}

pub(super) fn open(bounds: &Bounds, s: &mut State, site: SiteNo, lane: LaneNo) -> Option<()> {
    only(s.reaches(bounds, site, lane))?;
    let (from, to) = (&s.sites[site], &mut s.lanes[lane]);
    only(matches!(from.phase, Phase::Opening | Phase::Serving) && from.fenced & 1 << lane != 0)?;
    only(to.epoch == from.epoch && to.frames.tip < from.epoch)?;
    to.frames.tip = from.epoch;
    to.frames.start = from.own.start;
    if bounds.has(Rule::StartDecides) {
        to.frames.held &= from.own.start;
    }
    Some(())
}

pub(super) fn serve(bounds: &Bounds, s: &mut State, site: SiteNo) -> Option<()> {
    let from = &s.sites[site];
    only(from.phase == Phase::Opening && from.answers(bounds, from.lease))?;
    if bounds.has(Rule::ResentBeforeServing) {
        only(from.answerable(bounds) == from.own.held && from.answers(bounds, from.opened))?;
    }
    let served = from.own.held;
    s.demand(s.promised & !served == 0, I1);
    s.demand(s.dead & served == 0, GHOST);
    s.dead |= s.all_written() & !served;
    s.promised |= served;
    s.served = s.served.max(s.sites[site].epoch);
    s.sites[site].phase = Phase::Serving;
    Some(())
}

pub(super) fn refused(bounds: &Bounds, s: &mut State, site: SiteNo, lane: LaneNo) -> Option<()> {
    only(s.reaches(bounds, site, lane) && s.lanes[lane].epoch > s.sites[site].epoch)?;
    let to = &mut s.sites[site];
    match to.phase {
        Phase::Taking => {
            to.phase = Phase::Following;
            to.forget();
        }
        Phase::Serving if !bounds.has(Rule::RefusedIsFenced) => {
            super::outside::enter(s, site);
            return Some(());
        }
        Phase::Starting
        | Phase::Opening
        | Phase::Serving
        | Phase::Leaving
        | Phase::Outside
        | Phase::Returning => {
            to.phase = Phase::Fenced;
            to.outside = false;
            to.forget();
        }
        Phase::Stopped | Phase::Following | Phase::Fenced => return None,
    }
    Some(())
}

pub(super) fn abort(bounds: &Bounds, s: &mut State, site: SiteNo) -> Option<()> {
    only(s.spent.aborts < bounds.aborts)?;
    s.spent.aborts += 1;
    let to = &mut s.sites[site];
    match to.phase {
        Phase::Taking => {
            to.giving = to.epoch;
            to.phase = Phase::Following;
            to.forget();
        }
        // An earlier process began it.
        Phase::Following if to.known.is_of(site) && to.known > to.recorded => to.giving = to.known,
        Phase::Serving if !bounds.has(Rule::NoReleaseOnceRecorded) => to.giving = to.epoch,
        _ => return None,
    }
    Some(())
}

pub(super) fn release(s: &mut State, site: SiteNo, lane: LaneNo) -> Option<()> {
    let (from, to) = (&s.sites[site], &mut s.lanes[lane]);
    only(from.giving != Epoch::NONE && to.epoch == from.giving)?;
    to.released = true;
    Some(())
}
