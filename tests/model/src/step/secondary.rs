//! A secondary: it acquires, it applies, and a former primary becomes one (design §2 and §7).

use super::only;
use crate::bounds::Bounds;
use crate::rule::Rule;
use crate::state::{Frames, Phase, State, bits};
use crate::vocab::{Epoch, LANES, LaneNo, SiteNo, Writes};

pub(super) fn fetch(bounds: &Bounds, s: &mut State, site: SiteNo, lane: LaneNo) -> Option<()> {
    only(s.sites[site].phase == Phase::Following && s.reaches(bounds, site, lane))?;
    let frames = s.lanes[lane].frames;
    s.sites[site].own.merge(&frames, bounds);
    Some(())
}

pub(super) fn apply(bounds: &Bounds, s: &mut State, site: SiteNo) -> Option<()> {
    let to = s.sites[site];
    only(to.phase == Phase::Following)?;
    let set = bounds.sets[usize::from(to.set)];
    let final_here = |write| {
        if !bounds.has(Rule::AppliesAnswerable) {
            return true;
        }
        let holds = |lane: &LaneNo| {
            let frames = &s.lanes[*lane].frames;
            s.is_usable(bounds, *lane) && frames.tip == to.own.tip && frames.held & write != 0
        };
        set.answers((0..LANES).filter(holds).fold(0, |lanes, lane| lanes | 1 << lane))
    };
    // A change that it has not recorded stands in the way of what comes after it.
    let asker = &s.sites[1 - site];
    let waits = asker.asking && asker.set == to.set && bounds.has(Rule::SetInTimeOrder);
    let due = if waits { ((1_u16 << asker.asked_at) - 1) as Writes } else { Writes::MAX };
    let newly = bits(to.own.held & !to.disk & due)
        .filter(|&write| final_here(write))
        .fold(0, |all, write| all | write);
    s.sites[site].disk |= newly;
    Some(())
}

/// The other site serves, and nothing of what this one wrote last counts: a round has sent what differs, and its lane set
/// is copied durably.
pub(super) fn join(bounds: &Bounds, s: &mut State, site: SiteNo) -> Option<()> {
    only(s.spent.returns < bounds.returns)?;
    s.spent.returns += 1;
    let other = s.sites[1 - site];
    only(other.phase == Phase::Serving && !other.asking && other.answers(bounds, other.lease))?;
    let to = &mut s.sites[site];
    only(to.primary && matches!(to.phase, Phase::Stopped | Phase::Fenced) && !to.outside)?;
    only(other.recorded > to.recorded)?;
    to.primary = false;
    to.phase = Phase::Following;
    to.disk = other.visible(bounds);
    to.own = Frames { held: to.disk, ..other.own };
    to.set = other.set;
    to.asking = false;
    to.asked_at = 0;
    to.granted = false;
    to.alone = false;
    to.giving = Epoch::NONE;
    to.known = to.known.max(other.epoch);
    to.forget();
    s.sites[1 - site].alone = false;
    Some(())
}
