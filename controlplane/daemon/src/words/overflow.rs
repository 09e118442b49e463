//! What is said of a ring that fills up, and of what a takeover would lose.

use midspan_control::pair::PairState;
use midspan_node::port::OverflowNote;

use crate::api::types::{Amount, GroupStatus};
use crate::events::Tell;

/// The event of a note.
pub fn overflow(object: &str, note: OverflowNote) -> Tell {
    match note {
        OverflowNote::Filling { used, size } => {
            let message = format!("the ring fills up: {used} bytes of {size} are in use");
            Tell::warn("ring_filling", object, message)
                .hint("the secondary does not follow as fast as hosts write: check it and the path to it; `midspan status` shows what is to be expected")
        }
        OverflowNote::Drained { used, size } => {
            let message = format!("the ring has room again: {used} bytes of {size} are in use");
            Tell::info("ring_drained", object, message)
        }
        OverflowNote::Throttles { max_delay_ns } => {
            let ms = max_delay_ns / 1_000_000;
            let message = format!(
                "hosts are paced because the ring fills up: a write is held back for {ms} ms at most"
            );
            Tell::warn("throttle_began", object, message)
                .hint("it ends by itself when the secondary has followed")
        }
        OverflowNote::Flows { delayed } => {
            let message = format!("hosts are not paced any more; {delayed} writes were held back");
            Tell::info("throttle_ended", object, message)
        }
    }
}

/// The event of a primary that leaves the lanes: because the ring is full, or the relay away.
pub fn left_the_lanes(object: &str, full: bool) -> Tell {
    let message = format!(
        "the {}: hosts are answered outside the lanes as soon as the other site can know it, and what changes is marked",
        if full { "ring is full" } else { "relay is away" }
    );
    Tell::error("left_the_lanes", object, message).hint(
        "bring the other site or its path back: a round follows by itself; until then no takeover there is without loss",
    )
}

/// The event of the way back.
pub fn back_in_the_lanes(object: &str) -> Tell {
    let message = "hosts are answered in the lanes again; a round brings the other site what differs";
    Tell::info("back_in_the_lanes", object, message)
}

/// Why a takeover may lose something, where what was measured does not say it: the state does. What was measured as nothing lost
/// is not known then.
pub fn say_why(status: &mut GroupStatus, state: PairState) {
    if status.zero_loss_why.is_empty() {
        let why = match state {
            PairState::InitialCopy | PairState::Resync => {
                "a round that brings the other site what differs has not ended"
            }
            PairState::Fenced => "the other site has taken over: what it has answered is not known here",
            PairState::Split => "both sites have answered hosts, each something that the other has not",
            PairState::TakenOver | PairState::Suspended | PairState::Degraded => {
                "hosts were answered outside the lanes"
            }
            PairState::Damaged => "a disk failed, or the journal is damaged",
            PairState::Paired | PairState::Stalled | PairState::Detached | PairState::Starting
                if status.no_cut =>
            {
                "this site's disks hold no consistent cut"
            }
            PairState::Paired | PairState::Stalled | PairState::Detached | PairState::Starting => {
                "it is not known yet"
            }
        };
        why.clone_into(&mut status.zero_loss_why);
        if let Some(exposure) = &mut status.exposure
            && exposure.takeover_loses.bytes == Some(0)
        {
            exposure.takeover_loses = Amount::default();
        }
    }
}
