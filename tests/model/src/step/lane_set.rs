//! A change of the lane set: add before use, remove after (design §5).

use super::only;
use crate::bounds::Bounds;
use crate::rule::Rule;
use crate::state::{Phase, State, bits};
use crate::vocab::SiteNo;

pub(super) fn ask(bounds: &Bounds, s: &mut State, site: SiteNo) -> Option<()> {
    let from = s.sites[site];
    let other = s.sites[1 - site];
    only(from.phase == Phase::Serving && !from.asking)?;
    let new = *bounds.sets.get(usize::from(from.set) + 1)?;
    if bounds.has(Rule::StartInNewSet) {
        only(new.answers(from.opened))?;
    }
    if from.alone || !bounds.has(Rule::AloneUntilJoined) {
        // Nobody else can take over: what it holds itself has landed.
        s.sites[site].disk |= from.visible(bounds);
        s.sites[site].set += 1;
        return Some(());
    }
    // What is in the fewer lanes has landed at both sites, answered or not: neither start would miss it.
    s.sites[site].disk |= from.visible(bounds);
    let landed = s.sites[site].disk & other.own.held;
    let drained = |write| landed & write != 0 || new.answers(from.holders(write));
    let unanswered = if bounds.has(Rule::UnansweredDrained) { from.own.held } else { 0 };
    if bounds.has(Rule::DrainedFirst) {
        only(bits(from.visible(bounds) | unanswered).all(drained))?;
    }
    let written = s.written;
    let from = &mut s.sites[site];
    from.asking = true;
    from.asked_at = written;
    from.granted = false;
    Some(())
}

pub(super) fn record(s: &mut State, site: SiteNo) -> Option<()> {
    let from = s.sites[1 - site];
    let to = &mut s.sites[site];
    only(from.primary && from.asking && from.recorded >= to.own.tip)?;
    only(!to.primary && to.phase == Phase::Following && to.set == from.set)?;
    to.set += 1;
    s.sites[1 - site].granted = true;
    Some(())
}

pub(super) fn outcome(bounds: &Bounds, s: &mut State, site: SiteNo) -> Option<()> {
    let same = s.sites[1 - site].set > s.sites[site].set && !bounds.has(Rule::OutcomeOfThisAsk);
    let s = &mut s.sites[site];
    only(s.primary && s.asking && (s.granted || same))?;
    s.set += 1;
    s.asking = false;
    s.asked_at = 0;
    s.granted = false;
    Some(())
}
