//! What fails: processes, relays, areas; and time that passes.

use super::only;
use crate::bounds::Bounds;
use crate::rule::Rule;
use crate::state::{Frames, Phase, State};
use crate::vocab::{Epoch, LaneNo, SITES, SiteNo};

/// Whatever a former writer was told before is older than the lease by now, on every clock: that is what the drift
/// margin is for.
pub(super) fn lease_passed(s: &mut State, lane: LaneNo) -> Option<()> {
    only(s.lanes[lane].owing)?;
    s.lanes[lane].owing = false;
    let writer = s.lanes[lane].epoch;
    for site in SITES {
        if !writer.is_of(site) {
            s.sites[site].lease &= !(1 << lane);
        }
    }
    Some(())
}

pub(super) fn crash(bounds: &Bounds, s: &mut State, site: SiteNo, landed: bool) -> Option<()> {
    only(s.spent.crashes < bounds.crashes)?;
    s.spent.crashes += 1;
    let s = &mut s.sites[site];
    if !s.primary {
        only(s.phase == Phase::Taking && !landed)?;
        s.phase = Phase::Following;
        s.forget();
        return Some(());
    }
    only(s.phase != Phase::Stopped)?;
    if landed {
        let newest = s.answered | s.answerable(bounds);
        only(
            matches!(s.phase, Phase::Serving | Phase::Leaving | Phase::Returning)
                && s.disk | newest != s.disk,
        )?;
        s.disk |= newest;
    }
    s.own = Frames { held: s.disk, ..Frames::EMPTY };
    s.phase = Phase::Stopped;
    if !bounds.has(Rule::AskingDurable) {
        s.asking = false;
        s.asked_at = 0;
        s.granted = false;
    }
    s.forget();
    Some(())
}

pub(super) fn crash_relay(bounds: &Bounds, s: &mut State, lane: LaneNo) -> Option<()> {
    only(s.spent.relay_crashes < bounds.relay_crashes)?;
    s.spent.relay_crashes += 1;
    let lane = &mut s.lanes[lane];
    lane.queue = 0;
    lane.queue_epoch = Epoch::NONE;
    lane.released = false;
    lane.epoch = lane.durable;
    // It does not know when it last answered the writer that it has replaced: it waits since its start.
    lane.owing = lane.former.is_some() && bounds.has(Rule::LeaseAfterRestart);
    Some(())
}

pub(super) fn wipe(bounds: &Bounds, s: &mut State, lane: LaneNo) -> Option<()> {
    only(s.spent.wipes < bounds.wipes && s.lanes[lane].epoch != Epoch::NONE)?;
    s.spent.wipes += 1;
    let lane = &mut s.lanes[lane];
    lane.wiped = true;
    lane.frames = Frames::EMPTY;
    lane.epoch = Epoch::NONE;
    lane.durable = Epoch::NONE;
    lane.former = None;
    lane.released = false;
    lane.owing = false;
    lane.queue = 0;
    lane.queue_epoch = Epoch::NONE;
    Some(())
}
