//! All that can happen. Whether it can happen now is judged by its step.

use crate::state::bits;
use crate::vocab::{LANES, LaneNo, Lanes, SITES, SiteNo, Writes};

/// One event. What it stands for in the code is in `docs/model.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A host sends a write.
    Write(SiteNo),
    /// A frame arrives at a lane.
    Append(SiteNo, LaneNo, Writes),
    /// The oldest frame on its way to the disk is durable.
    Durable(LaneNo),
    /// A lane's answer arrives: what is journaled, and the lease.
    Progress(SiteNo, LaneNo),
    /// A write is answered.
    Answer(SiteNo, Writes),
    /// The lease and the drift margin have passed since a relay last answered a former writer.
    LeasePassed(LaneNo),
    /// A site's process dies; the newest writes have landed, or not.
    Crash(SiteNo, bool),
    /// A relay's process dies and comes back.
    CrashRelay(LaneNo),
    /// A relay comes back as another area.
    Wipe(LaneNo),
    /// A primary begins, having probed these lanes.
    Restart(SiteNo, Lanes),
    /// An operator asks for a takeover; these lanes are probed.
    Takeover(SiteNo, Lanes),
    /// A fence is sent.
    AskFence(SiteNo, LaneNo),
    /// It arrives.
    Fence(SiteNo, LaneNo),
    /// Its answer arrives, and what the lane holds is read.
    Fenced(SiteNo, LaneNo),
    /// All is read: the new epoch is recorded, the disks hold what was read.
    Record(SiteNo),
    /// The first frame of the new epoch is durable: what the start left out is cut off.
    Open(SiteNo, LaneNo),
    /// Hosts are served.
    Serve(SiteNo),
    /// A lane refuses the site for a newer epoch.
    Refused(SiteNo, LaneNo),
    /// `takeover --abort`, or what an earlier process fenced is given back.
    Abort(SiteNo),
    /// A release arrives.
    Release(SiteNo, LaneNo),
    /// A secondary acquires what a lane holds.
    Fetch(SiteNo, LaneNo),
    /// A secondary applies.
    Apply(SiteNo),
    /// A former primary becomes the other's secondary, and a round has brought it up.
    Return(SiteNo),
    /// A primary begins to leave the lanes.
    Leave(SiteNo),
    /// The Leave mark is durable in a lane.
    MarkLane(SiteNo, LaneNo),
    /// The other site has recorded the Leave mark and said so.
    MarkOther(SiteNo),
    /// The mark is where it must be: hosts are served outside the lanes.
    GoOutside(SiteNo),
    /// The End of a round, and what it sent, is durable in a lane.
    End(SiteNo, LaneNo),
    /// End is known to be answerable.
    CameBack(SiteNo),
    /// The next lane set is asked for.
    AskSet(SiteNo),
    /// The secondary records it.
    RecordSet(SiteNo),
    /// The primary learns that it is recorded.
    Outcome(SiteNo),
}

/// Every action there is, for so many writes.
pub fn all(written: u8, out: &mut Vec<Action>) {
    use Action::*;
    for site in SITES {
        let of_site = [
            Write, Record, Serve, Abort, Apply, Return, Leave, MarkOther, GoOutside, CameBack, AskSet,
            RecordSet, Outcome,
        ];
        out.extend(of_site.iter().map(|action| action(site)));
        out.extend([Crash(site, false), Crash(site, true)]);
        for lanes in 1..1 << LANES {
            out.extend([Restart(site, lanes), Takeover(site, lanes)]);
        }
        let writes = bits(((1_u16 << written) - 1) as Writes);
        for write in writes.clone() {
            out.push(Answer(site, write));
        }
        let of_lane = [Progress, AskFence, Fence, Fenced, Open, Refused, Release, Fetch, MarkLane, End];
        for lane in 0..LANES {
            out.extend(of_lane.iter().map(|action| action(site, lane)));
            out.extend(writes.clone().map(|write| Append(site, lane, write)));
        }
    }
    for lane in 0..LANES {
        out.extend([Durable(lane), LeasePassed(lane), CrashRelay(lane), Wipe(lane)]);
    }
}
