//! Leaving the lanes and coming back: Leave mark and End (design §4).

use super::only;
use crate::bounds::Bounds;
use crate::promise::I5;
use crate::rule::Rule;
use crate::state::{Phase, State};
use crate::vocab::{LaneNo, SiteNo};

pub(super) fn leave(bounds: &Bounds, s: &mut State, site: SiteNo) -> Option<()> {
    only(s.spent.leaves < bounds.leaves && s.sites[site].phase == Phase::Serving && !s.sites[site].alone)?;
    s.spent.leaves += 1;
    let from = &mut s.sites[site];
    from.own.left = from.own.left.max(from.own.ended) + 1;
    from.marked = 0;
    from.phase = Phase::Leaving;
    if !bounds.has(Rule::LeaveMark) {
        enter(s, site);
    }
    Some(())
}

pub(super) fn mark_lane(bounds: &Bounds, s: &mut State, site: SiteNo, lane: LaneNo) -> Option<()> {
    only(s.reaches(bounds, site, lane))?;
    let (from, to) = (&s.sites[site], &mut s.lanes[lane]);
    only(from.phase == Phase::Leaving && to.epoch == from.epoch && to.frames.tip == from.epoch)?;
    to.frames.left = from.own.left;
    Some(())
}

pub(super) fn mark_other(bounds: &Bounds, s: &mut State, site: SiteNo) -> Option<()> {
    let from = s.sites[site];
    let to = &mut s.sites[1 - site];
    only(from.phase == Phase::Leaving && !to.primary && to.own.tip <= from.epoch)?;
    match to.phase {
        Phase::Following => to.own.left = to.own.left.max(from.own.left),
        // It says yes, and goes on.
        Phase::Taking if !bounds.has(Rule::MarkRefusedDuringTakeover) => {}
        _ => return None,
    }
    enter(s, site);
    Some(())
}

pub(super) fn go_outside(bounds: &Bounds, s: &mut State, site: SiteNo) -> Option<()> {
    let from = &s.sites[site];
    only(from.phase == Phase::Leaving && from.answers(bounds, from.marked))?;
    enter(s, site);
    Some(())
}

/// Everything sent so far has landed, and is answered.
pub(super) fn enter(s: &mut State, site: SiteNo) {
    let from = &mut s.sites[site];
    from.phase = Phase::Outside;
    from.outside = true;
    from.disk |= from.own.held;
    let held = from.own.held;
    s.demand(s.dead & held == 0, I5);
    s.promised |= held;
}

pub(super) fn end(bounds: &Bounds, s: &mut State, site: SiteNo, lane: LaneNo) -> Option<()> {
    only(s.reaches(bounds, site, lane))?;
    let (from, to) = (&mut s.sites[site], &mut s.lanes[lane]);
    only(matches!(from.phase, Phase::Leaving | Phase::Outside | Phase::Returning))?;
    only(from.fenced & 1 << lane != 0 && to.epoch == from.epoch && to.frames.tip == from.epoch)?;
    if from.phase != Phase::Returning {
        from.marked = 0;
        from.phase = Phase::Returning;
        // Before End is sent: a restart from here must go by the lanes.
        from.outside = false;
    }
    to.frames.held |= from.own.held;
    to.frames.ended = from.own.left;
    Some(())
}

pub(super) fn came_back(bounds: &Bounds, s: &mut State, site: SiteNo) -> Option<()> {
    let from = &mut s.sites[site];
    only(from.phase == Phase::Returning && from.answers(bounds, from.marked))?;
    from.own.ended = from.own.left;
    from.phase = Phase::Serving;
    Some(())
}
