//! The data plane's notes in words for people: what happened, to which object, what to do next.

mod lanes;
mod overflow;
mod verify;

use std::collections::BTreeMap;

use midspan_format::control::LossReason;
use midspan_format::ids::{Epoch as NodeEpoch, NodeId};
use midspan_format::message::RefusedReason;
use midspan_node::port::{
    HandoverNote, HandoverRefusal, Missing, Note, RoundNote, StartNote, StartRefusal, StartReport,
};

use crate::api::time::utc;
use crate::api::types::{ApiError, Epoch};
use crate::clock;
use crate::events::Tell;

pub use self::overflow::say_why;
pub use self::verify::{
    is_complete as verify_is_complete, statement as verify_statement, stop as verify_stop, verify_error,
};

/// Names of nodes by their numbers.
#[derive(Clone, Debug, Default)]
pub struct Names {
    nodes: BTreeMap<u64, String>,
}

impl Names {
    /// Names of some nodes.
    pub fn new(nodes: impl Iterator<Item = (u64, String)>) -> Self {
        Self { nodes: nodes.collect() }
    }

    /// The name of a node; its number where it is not configured.
    pub fn node(&self, id: NodeId) -> String {
        let number = u64::from(id.0);
        self.nodes.get(&number).cloned().unwrap_or_else(|| format!("node {number}"))
    }

    /// An epoch with its node's name.
    pub fn epoch(&self, epoch: NodeEpoch) -> Epoch {
        let node = if epoch.is_held() { self.node(epoch.node) } else { String::new() };
        Epoch { number: epoch.number, node }
    }

    fn show(&self, epoch: NodeEpoch) -> String {
        if epoch == NodeEpoch::NONE {
            return "none".to_owned();
        }
        if !epoch.is_held() {
            return format!("{}, which nobody holds", epoch.number);
        }
        format!("{}@{}", epoch.number, self.node(epoch.node))
    }

    /// What a note says; `None` for what only moves a progress bar.
    pub fn tell(&self, object: &str, note: &Note) -> Option<Tell> {
        Some(match note {
            Note::Serving { epoch } => {
                Tell::info("serving", object, format!("hosts are served in epoch {}", self.show(*epoch)))
            }
            Note::Fenced { ours, found } => Tell::error("fenced", object, self.fenced(*ours, *found))
                .hint("the other site has taken over: hosts must use it"),
            Note::LaneUp { node, journaled } => self.lane_up(object, *node, journaled.0),
            Note::LaneDown { node } => self.lane_down(object, *node),
            Note::LaneSet { set } => self.lane_set(object, set),
            Note::OtherServes { node } => self.other_serves(object, *node),
            Note::LaneLost { node, had, found } => self.lane_lost(object, *node, had.0, found.0),
            Note::LaneRefused { node, reason } => {
                let message = format!("{} refuses us: {}", self.node(*node), refused(*reason));
                let is_deleted = *reason == RefusedReason::Deleted;
                Tell::error("lane_refused", object, message).hint(if is_deleted {
                    "`midspan group delete` removes it from this node, too"
                } else {
                    "compare the configs of both nodes with `midspan config check A B`"
                })
            }
            Note::Damaged { node, position } => {
                Tell::error("damaged", object, self.damaged(*node, position.0))
                    .hint("`midspan journal dump` of that node's disk shows where the damage begins")
            }
            Note::DiskFailed { disk_is_journal, volume } => {
                let volume = (!disk_is_journal).then(|| format!("volume {}", volume.0));
                let disk = volume.unwrap_or_else(|| "the journal disk".to_owned());
                Tell::error("disk_failed", object, format!("{disk} failed; it is not used any more"))
                    .hint("replace the disk, then restart this node")
            }
            Note::Refused { node, reason } => {
                let message = format!("a request of {} was refused: {}", self.node(*node), refused(*reason));
                Tell::warn("request_refused", object, message)
            }
            Note::FenceDone { former, epoch, waited_ns } => {
                Tell::info("fence_done", object, self.fence_done(*former, *epoch, *waited_ns))
            }
            Note::Start(step) => return self.start(object, step),
            Note::Handover(step) => handover(object, *step),
            Note::Round(step) => round(object, *step),
            Note::Verify(step) => return verify::verify(object, step),
            Note::LeftTheLanes { full } => overflow::left_the_lanes(object, *full),
            Note::BackInTheLanes => overflow::back_in_the_lanes(object),
            Note::Overflow(note) => overflow::overflow(object, *note),
            Note::Rejoined { epoch, has_cut } => {
                let copy =
                    if *has_cut { "its disks hold the cut of the takeover" } else { "its disks hold no cut" };
                let message = format!("follows the primary of epoch {}; {copy}", self.show(*epoch));
                Tell::info("rejoined", object, message)
            }
        })
    }

    fn fenced(&self, ours: NodeEpoch, found: NodeEpoch) -> String {
        let (ours, found) = (self.show(ours), self.show(found));
        format!("fenced: epoch {found} replaced ours ({ours}); nothing is served here any more")
    }

    fn other_serves(&self, object: &str, node: NodeId) -> Tell {
        let node = self.node(node);
        let message =
            format!("{node} serves hosts since a takeover without the relay: this site waits to follow it");
        Tell::warn("other_serves", object, message).hint(format!(
            "it goes on by itself when {node} has reached the relay: check the path between the two"
        ))
    }

    fn damaged(&self, node: NodeId, position: u64) -> String {
        let node = self.node(node);
        format!("a frame from {node} at position {position} does not verify; it is not used")
    }

    fn fence_done(&self, former: NodeEpoch, epoch: NodeEpoch, waited_ns: u64) -> String {
        let (former, epoch, ms) = (self.show(former), self.show(epoch), waited_ns / 1_000_000);
        format!("epoch {epoch} replaces {former}, after waiting {ms} ms for the former writer's lease")
    }

    fn start(&self, object: &str, step: &StartNote) -> Option<Tell> {
        match step {
            StartNote::Fencing | StartNote::Reading { .. } | StartNote::Redoing | StartNote::Probed(_) => {
                None
            }
            StartNote::Skipping { landed, last } => {
                Some(Tell::error("start_without_journal", object, skipping(landed.0, last.0)))
            }
            StartNote::Done(report) => Some(self.start_done(object, report)),
            StartNote::Aborted => {
                let message = "what the takeover had fenced is given back: the former primary may go on";
                Some(Tell::info("takeover_aborted", object, message))
            }
            StartNote::Refused(refusal) => {
                let ApiError { message, .. } = self.start_refused(object, *refusal);
                Some(Tell::warn("takeover_refused", object, message))
            }
        }
    }

    fn start_done(&self, object: &str, report: &StartReport) -> Tell {
        let mut message = format!(
            "start in epoch {}: {} frames ({} bytes) brought to the disks in {} ms",
            self.show(report.epoch),
            report.frames,
            report.bytes,
            report.took_ns / 1_000_000
        );
        match report.why {
            None if report.lost_nothing => Tell::info("start_done", object, message),
            None => Tell::error("start_done", object, message + "; answered writes may be missing"),
            Some(reason) => {
                message += &format!("; answered writes may be missing: {}", loss(reason));
                Tell::error("start_done", object, message)
            }
        }
    }

    /// Why a takeover was refused, and what would help. `object` is `group:NAME`.
    pub fn start_refused(&self, object: &str, refusal: StartRefusal) -> ApiError {
        let group = object.replacen(':', " ", 1);
        let (message, hint) = match refusal {
            StartRefusal::NotSecondary => (
                "this site is not its secondary".to_owned(),
                "a takeover runs on the secondary's site; `midspan status` shows the roles",
            ),
            StartRefusal::Running => (
                "a start or takeover is running already".to_owned(),
                "wait for its end; `midspan status` shows where it stands",
            ),
            StartRefusal::LaneUnreachable { node, missing } => (
                format!(
                    "the lane at {} did not answer in time; this site stays secondary{}",
                    self.node(node),
                    missing.map(|missing| figures("; without it", missing)).unwrap_or_default()
                ),
                "a takeover fences the relay first: bring it or the path to it back, then run takeover again; `--accept-loss` goes on \
                 without it. What an earlier one has fenced is given back by itself once the relay answers",
            ),
            StartRefusal::LaneRefused { node, reason } => (
                format!("{} refuses it: {}", self.node(node), refused(reason)),
                "another takeover may have been first: `midspan status` at both sites shows the epochs",
            ),
            StartRefusal::MayLose { why, missing } => {
                let missing = missing.map(|missing| figures(";", missing)).unwrap_or_default();
                (format!("answered writes may be missing: {}{missing}", loss(why)), accept_loss(why))
            }
            StartRefusal::NoCut => (
                "this site's disks hold no consistent cut: a copy to it has not ended".to_owned(),
                "let the copy from the other site end first; it goes on by itself when that site is there",
            ),
            StartRefusal::NothingToAbort => (
                "there is no unfinished takeover here".to_owned(),
                "`midspan status` shows what this site is",
            ),
            StartRefusal::NotSplit => (
                "this site holds nothing alone that it could give up".to_owned(),
                "`midspan status` shows the roles; resolve runs on the site in state `split`",
            ),
            StartRefusal::NotToBeKept => (
                "this site cannot be kept: its disks do not hold all that it answered, or the lane does not say where the other site stands"
                    .to_owned(),
                "`midspan resolve --export` saves what it alone holds; --keep with the other site's name gives it up",
            ),
            StartRefusal::NotStarting => {
                ("no start waits for the relay here".to_owned(), "`midspan status` shows what this site is")
            }
            StartRefusal::LaneReachable { node } => (
                format!("{} answers: the start goes on by itself", self.node(node)),
                "`midspan status` shows where it stands; nothing answered is given up",
            ),
            StartRefusal::SecondaryAhead => (
                "the other site can be reached and has more than this site's disks hold for sure".to_owned(),
                "run takeover on the other site: it loses less than a start here would",
            ),
            StartRefusal::OtherServes => (
                "the other site serves hosts since a takeover".to_owned(),
                "bring the relay back: this site then follows by itself",
            ),
            StartRefusal::Stopping => ("the daemon is ending".to_owned(), "start it again first"),
        };
        let code =
            if matches!(refusal, StartRefusal::LaneUnreachable { .. }) { "timeout" } else { "refused" };
        ApiError::new(code, format!("{group}: {message}"), hint)
    }
}

fn handover(object: &str, step: HandoverNote) -> Tell {
    match step {
        HandoverNote::Draining => {
            Tell::info("switchover", object, "hosts wait until the other site has everything")
        }
        HandoverNote::Given { took_ns } => {
            let ms = took_ns / 1_000_000;
            Tell::info(
                "switchover_given",
                object,
                format!("handed over to the other site; hosts waited {ms} ms here"),
            )
        }
        HandoverNote::Refused(refusal) => {
            let (message, hint) = handover_refused(refusal);
            Tell::warn("switchover_refused", object, message).hint(hint)
        }
        HandoverNote::NotCancelled => {
            let (message, hint) = NOT_CANCELLED;
            Tell::warn("cancel_refused", object, message).hint(hint)
        }
    }
}

/// Why a switchover did not happen, and what would help.
pub const fn handover_refused(refusal: HandoverRefusal) -> (&'static str, &'static str) {
    match refusal {
        HandoverRefusal::NotPrimary => (
            "this site is not the group's primary in the lanes",
            "a switchover runs on the primary's site; `midspan status` shows the roles",
        ),
        HandoverRefusal::Running => ("a switchover is running already", "wait for its end"),
        HandoverRefusal::NotPaired => (
            "the other site is not up to date: a round has not ended",
            "wait until `midspan status` says `paired`, then run it again",
        ),
        HandoverRefusal::SecondaryAway => (
            "the secondary did not follow in time; this site goes on as primary",
            "`midspan status` at the secondary shows what keeps it; run it again when it follows",
        ),
        HandoverRefusal::Cancelled => (
            "it was cancelled; this site goes on as primary",
            "`midspan operations` shows who asked for that",
        ),
        HandoverRefusal::Replaced => (
            "the other site has taken over meanwhile; this one follows it",
            "`midspan operations` at the other site shows who asked for that",
        ),
        HandoverRefusal::Failed => (
            "a disk of this site failed, or the daemon is ending",
            "see the events; a takeover on the other site does not need this one's disks",
        ),
    }
}

/// What an operator is told who wants to take back what is recorded, and what would help.
const NOT_CANCELLED: (&str, &str) = (
    "no change of roles runs here that could still be given up",
    "what is handed over comes back by a switchover at the other site; `midspan status` shows the roles",
);

/// A change of roles is not cancelled.
pub fn not_cancelled(group: &str) -> ApiError {
    let (message, hint) = NOT_CANCELLED;
    ApiError::new("refused", format!("group {group}: {message}"), hint)
}

/// [`handover_refused`] as a refusal of the API.
pub fn handover_error(group: &str, refusal: HandoverRefusal) -> ApiError {
    let (message, hint) = handover_refused(refusal);
    let code = match refusal {
        HandoverRefusal::SecondaryAway => "timeout",
        HandoverRefusal::NotPrimary
        | HandoverRefusal::Running
        | HandoverRefusal::NotPaired
        | HandoverRefusal::Cancelled
        | HandoverRefusal::Replaced
        | HandoverRefusal::Failed => "refused",
    };
    ApiError::new(code, format!("group {group}: {message}"), hint)
}

fn round(object: &str, step: RoundNote) -> Tell {
    match step {
        RoundNote::Began { round, bytes, in_place } => {
            let message = format!("round {round} began: {bytes} bytes to send");
            if in_place {
                Tell::warn(
                    "round_began",
                    object,
                    message + "; the other site's copy is inconsistent until its end",
                )
                .hint("no takeover there is possible until then")
            } else {
                Tell::info(
                    "round_began",
                    object,
                    message + "; the other site keeps its last cut until its end",
                )
            }
        }
        RoundNote::Sent { round, bytes } => {
            Tell::info("round_sent", object, format!("round {round}: all {bytes} bytes are sent"))
        }
        RoundNote::Ended { round, took_ns } => {
            let ms = took_ns / 1_000_000;
            Tell::info(
                "round_ended",
                object,
                format!("round {round} ended after {ms} ms: both sites hold the same"),
            )
        }
        RoundNote::Cancelled { round } => {
            Tell::warn("round_cancelled", object, format!("round {round} was given up; another one follows"))
        }
    }
}

/// From when on something may be missing after a start without the journal.
pub fn skipping(landed: u64, last: u64) -> String {
    let from = if landed == 0 { "the group's beginning".to_owned() } else { utc(landed) };
    let until = if last == 0 { String::new() } else { format!(", which was at {} or later", utc(last)) };
    format!(
        "the relay is not read: writes that were answered between {from} and the end of this site's last run{until} may be missing"
    )
}

/// What may be missing where a takeover is refused.
fn figures(before: &str, missing: Missing) -> String {
    let Missing { kept_to, bytes } = missing;
    let said = may_be_missing((kept_to > 0).then_some(kept_to), bytes, clock::wall_ns());
    format!("{before}{}", said.trim_start_matches(';'))
}

/// What may be missing after a takeover, in seconds and bytes.
pub fn may_be_missing(kept_to: Option<u64>, missing_bytes: u64, now_ns: u64) -> String {
    let Some(kept_to) = kept_to else { return "; this site holds nothing of the journal".to_owned() };
    let tenths = now_ns.saturating_sub(kept_to) / 100_000_000;
    let (seconds, tenth) = (tenths / 10, tenths % 10);
    let at = utc(kept_to);
    format!(
        "; what was answered after {at}, {seconds}.{tenth} s before now, may be missing, among it {missing_bytes} bytes that the \
         journal is known to have held"
    )
}

/// Why an answered write may be missing, in words.
pub fn loss(reason: LossReason) -> String {
    match reason {
        LossReason::LaneUnreachable => "the relay cannot be read".to_owned(),
        LossReason::JournalDamaged { position } => {
            format!("the journal is damaged at position {}, before its end", position.0)
        }
        LossReason::LeftTheLanes => "hosts were answered outside the lanes".to_owned(),
        LossReason::NoCut => "this site's disks hold no consistent cut".to_owned(),
        LossReason::DiskFailed => "a disk of this site failed".to_owned(),
        LossReason::MayBeAlone => {
            "with isolated = \"continue\" the primary may have gone on where nobody reaches it".to_owned()
        }
        LossReason::LocalLane => {
            "hosts are answered from the lane at the primary itself, and it is lost with it".to_owned()
        }
    }
}

fn accept_loss(reason: LossReason) -> &'static str {
    match reason {
        LossReason::LaneUnreachable => {
            "bring the relay or the path to it back and run takeover again; `--accept-loss` serves the last cut without it"
        }
        LossReason::JournalDamaged { .. } => {
            "`midspan journal dump` of the relay's disk shows where; `--accept-loss` serves what is before it"
        }
        LossReason::LeftTheLanes => {
            "bring the old primary back if it exists; `--accept-loss` serves the last cut without it"
        }
        LossReason::NoCut => "let the copy from the other site end first",
        LossReason::DiskFailed => "replace the disk; the events name it",
        LossReason::MayBeAlone => {
            "make sure that the primary is down, then run takeover with `--accept-loss`"
        }
        LossReason::LocalLane => {
            "bring the primary back; `--accept-loss` serves the last cut without what only its lane holds"
        }
    }
}

/// Why a request was refused, in words.
pub fn refused(reason: RefusedReason) -> &'static str {
    match reason {
        RefusedReason::Version => "it speaks another protocol version",
        RefusedReason::UnknownGroup => "it knows no such group",
        RefusedReason::UnknownArea => "it has no such area",
        RefusedReason::ForeignArea => "the area there has another id than the recorded one",
        RefusedReason::NotPermitted => "the node may not do that",
        RefusedReason::OlderEpoch => "a newer epoch is in force",
        RefusedReason::EpochFound => "another epoch is in force than the one to be replaced",
        RefusedReason::Damaged => "the area or its disk is damaged",
        RefusedReason::TooOld => "the range was overwritten",
        RefusedReason::Beyond => "the range lies beyond what is journaled",
        RefusedReason::Full => "no space is left",
        RefusedReason::BadFrame => "the frame does not verify, or does not continue the area",
        RefusedReason::Busy => "not now",
        RefusedReason::Deleted => "the group or area was deleted",
    }
}

/// [`refused`] as one word, stable for scripts.
pub const fn refused_word(reason: RefusedReason) -> &'static str {
    match reason {
        RefusedReason::Version => "version",
        RefusedReason::UnknownGroup => "unknown_group",
        RefusedReason::UnknownArea => "unknown_area",
        RefusedReason::ForeignArea => "foreign_area",
        RefusedReason::NotPermitted => "not_permitted",
        RefusedReason::OlderEpoch => "older_epoch",
        RefusedReason::EpochFound => "epoch_found",
        RefusedReason::Damaged => "damaged",
        RefusedReason::TooOld => "too_old",
        RefusedReason::Beyond => "beyond",
        RefusedReason::Full => "full",
        RefusedReason::BadFrame => "bad_frame",
        RefusedReason::Busy => "busy",
        RefusedReason::Deleted => "deleted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_missing_is_said_in_seconds_and_bytes() {
        let said = may_be_missing(Some(1_795_530_645_123_000_000), 4096, 1_795_530_647_623_000_000);
        assert_eq!(
            said,
            "; what was answered after 2026-11-24T14:30:45.123Z, 2.5 s before now, may be missing, among it 4096 bytes that the \
             journal is known to have held"
        );
        assert_eq!(may_be_missing(None, 0, 5), "; this site holds nothing of the journal");
    }
}
