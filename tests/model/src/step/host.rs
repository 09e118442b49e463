//! A write's way: host, lane, disk, answer (design §4).

use super::only;
use crate::bounds::Bounds;
use crate::promise::{I1, I5};
use crate::rule::Rule;
use crate::state::{Phase, State};
use crate::vocab::{LaneNo, SiteNo, Writes};

pub(super) fn write(bounds: &Bounds, s: &mut State, site: SiteNo) -> Option<()> {
    only(s.written < bounds.writes)?;
    let phase = s.sites[site].phase;
    let outside = phase == Phase::Outside || phase == Phase::Returning && !bounds.has(Rule::EndBeforeOutside);
    only(outside || matches!(phase, Phase::Serving | Phase::Returning))?;
    let write = 1 << s.written;
    s.written += 1;
    // What a replaced primary is asked for can only be left unanswered.
    if s.sites[site].epoch < s.served {
        s.dead |= write;
    }
    s.sites[site].own.held |= write;
    if outside {
        // The bit is durable and the data written before the answer.
        s.demand(s.dead & write == 0, I5);
        s.sites[site].disk |= write;
        s.promised |= write;
    }
    Some(())
}

pub(super) fn append(
    bounds: &Bounds,
    s: &mut State,
    site: SiteNo,
    lane: LaneNo,
    write: Writes,
) -> Option<()> {
    only(s.reaches(bounds, site, lane))?;
    let (from, to) = (&s.sites[site], &mut s.lanes[lane]);
    only(matches!(from.phase, Phase::Opening | Phase::Serving | Phase::Leaving | Phase::Returning))?;
    only(from.own.held & write != 0 && from.opened & 1 << lane != 0)?;
    only(to.epoch == from.epoch || !bounds.has(Rule::OldEpochRefused))?;
    only((to.queue | to.frames.held) & write == 0)?;
    // Each lane carries its frames in order; what the start found is sent again before.
    let sent = to.frames.held & !from.own.start | to.queue;
    only((to.queue == 0 || to.queue_epoch == from.epoch) && sent < write)?;
    to.queue |= write;
    to.queue_epoch = from.epoch;
    if bounds.in_flight { Some(()) } else { durable(bounds, s, lane) }
}

pub(super) fn durable(bounds: &Bounds, s: &mut State, lane: LaneNo) -> Option<()> {
    let lane = &mut s.lanes[lane];
    only(lane.queue != 0)?;
    let write = 1 << lane.queue.trailing_zeros();
    lane.queue &= !write;
    if lane.queue_epoch < lane.frames.tip && bounds.has(Rule::OldEpochRefused) {
        // It lands where the new epoch's first frame lies: the chain ends there.
        lane.frames.held &= lane.frames.start;
    } else {
        lane.frames.held |= write;
    }
    if lane.queue == 0 {
        lane.queue_epoch = crate::vocab::Epoch::NONE;
    }
    Some(())
}

pub(super) fn progress(bounds: &Bounds, s: &mut State, site: SiteNo, lane: LaneNo) -> Option<()> {
    only(s.reaches(bounds, site, lane))?;
    let (to, from) = (&mut s.sites[site], &s.lanes[lane]);
    only(matches!(to.phase, Phase::Opening | Phase::Serving | Phase::Leaving | Phase::Returning))?;
    let former =
        from.epoch > to.epoch && !(bounds.has(Rule::NoProgressToFormer) && bounds.has(Rule::OldEpochRefused));
    only(from.epoch == to.epoch || former)?;
    let tip = from.frames.tip;
    only(tip == to.epoch || !bounds.has(Rule::OldEpochRefused) && tip > to.epoch)?;
    to.journaled[lane] = from.frames.held;
    to.opened |= 1 << lane;
    to.lease |= 1 << lane;
    let mark = match to.phase {
        Phase::Leaving => from.frames.left == to.own.left,
        Phase::Returning => from.frames.ended == to.own.left,
        _ => false,
    };
    if mark {
        to.marked |= 1 << lane;
    }
    Some(())
}

pub(super) fn answer(bounds: &Bounds, s: &mut State, site: SiteNo, write: Writes) -> Option<()> {
    let from = &s.sites[site];
    only(matches!(from.phase, Phase::Serving | Phase::Returning))?;
    only(from.own.held & write != 0 && s.promised & write == 0)?;
    only(from.answers(bounds, from.holders(write)))?;
    s.demand(s.dead & write == 0, if s.sites[site].epoch < s.served { I5 } else { I1 });
    s.sites[site].answered |= write;
    s.promised |= write;
    Some(())
}
