//! What an action does, or that it cannot happen now.

mod fault;
mod host;
mod lane_set;
mod outside;
mod secondary;
mod start;

use crate::action::Action;
use crate::bounds::Bounds;
use crate::state::State;

/// The state after `action`; nothing where it cannot happen, or changes nothing.
pub fn step(bounds: &Bounds, before: &State, action: Action) -> Option<State> {
    let mut after = *before;
    let s = &mut after;
    let b = bounds;
    match action {
        Action::Write(site) => host::write(b, s, site),
        Action::Append(site, lane, write) => host::append(b, s, site, lane, write),
        Action::Durable(lane) => host::durable(b, s, lane),
        Action::Progress(site, lane) => host::progress(b, s, site, lane),
        Action::Answer(site, write) => host::answer(b, s, site, write),
        Action::LeasePassed(lane) => fault::lease_passed(s, lane),
        Action::Crash(site, landed) => fault::crash(b, s, site, landed),
        Action::CrashRelay(lane) => fault::crash_relay(b, s, lane),
        Action::Wipe(lane) => fault::wipe(b, s, lane),
        Action::Restart(site, lanes) => start::restart(b, s, site, lanes),
        Action::Takeover(site, lanes) => start::takeover(b, s, site, lanes),
        Action::AskFence(site, lane) => start::ask_fence(b, s, site, lane),
        Action::Fence(site, lane) => start::fence(b, s, site, lane),
        Action::Fenced(site, lane) => start::fenced(b, s, site, lane),
        Action::Record(site) => start::record(b, s, site),
        Action::Open(site, lane) => start::open(b, s, site, lane),
        Action::Serve(site) => start::serve(b, s, site),
        Action::Refused(site, lane) => start::refused(b, s, site, lane),
        Action::Abort(site) => start::abort(b, s, site),
        Action::Release(site, lane) => start::release(s, site, lane),
        Action::Fetch(site, lane) => secondary::fetch(b, s, site, lane),
        Action::Apply(site) => secondary::apply(b, s, site),
        Action::Return(site) => secondary::join(b, s, site),
        Action::Leave(site) => outside::leave(b, s, site),
        Action::MarkLane(site, lane) => outside::mark_lane(b, s, site, lane),
        Action::MarkOther(site) => outside::mark_other(b, s, site),
        Action::GoOutside(site) => outside::go_outside(b, s, site),
        Action::End(site, lane) => outside::end(b, s, site, lane),
        Action::CameBack(site) => outside::came_back(b, s, site),
        Action::AskSet(site) => lane_set::ask(b, s, site),
        Action::RecordSet(site) => lane_set::record(s, site),
        Action::Outcome(site) => lane_set::outcome(b, s, site),
    }?;
    (after != *before).then_some(after)
}

/// Something, where `held`.
fn only(held: bool) -> Option<()> {
    held.then_some(())
}
