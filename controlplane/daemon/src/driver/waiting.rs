//! Those who wait for an operation, and what they are told.

use tokio::sync::watch;

use crate::api::types::{
    ApiError, Change, ChangeOutcome, ChangeProgress, Progress, TakeoverOutcome, TakeoverProgress,
    VerifyOutcome, VerifyProgress, VerifyStatus,
};

use super::Step;
use crate::words;

/// An operation that was asked for and has not ended.
#[derive(Debug)]
pub(super) struct Running {
    /// Its number.
    pub(super) operation: u64,
    /// When it was asked for.
    pub(super) since_ns: u64,
    /// What may be missing by an operator's word: whoever hears of the end only must be told of it, too.
    pub(super) skipped: Option<String>,
    pub(super) waiting: Waiting,
}

/// Where its steps are told.
#[derive(Debug)]
pub(super) enum Waiting {
    Takeover { dry_run: bool, progress: watch::Sender<TakeoverProgress> },
    Change(watch::Sender<ChangeProgress>),
    Verify(watch::Sender<VerifyProgress>),
}

impl Waiting {
    pub(super) fn is_dry_run(&self) -> bool {
        match self {
            Waiting::Takeover { dry_run, .. } => *dry_run,
            Waiting::Change(_) | Waiting::Verify(_) => false,
        }
    }
}

impl Running {
    pub(super) fn elapsed_ms(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.since_ns) / 1_000_000
    }

    /// It goes on.
    pub(super) fn on_step(&mut self, now_ns: u64, step: Step, phase: &str, message: &str) {
        let elapsed_ms = self.elapsed_ms(now_ns);
        if let Step::Skipping { .. } = step {
            self.skipped = Some(message.to_owned());
        }
        match &self.waiting {
            Waiting::Takeover { progress, .. } => {
                progress.send_modify(|p| show(p, step, (phase, message), elapsed_ms));
            }
            Waiting::Change(progress) => {
                progress.send_modify(|p| show(p, step, (phase, message), elapsed_ms));
            }
            Waiting::Verify(progress) => {
                progress.send_modify(|p| show(p, step, (phase, message), elapsed_ms));
            }
        }
    }

    /// The takeover ended.
    pub(super) fn on_taken(self, outcome: TakeoverOutcome) {
        match self.waiting {
            Waiting::Takeover { progress, .. } => {
                let (message, elapsed_ms) = (outcome.statement.clone(), outcome.took_ms);
                progress.send_modify(|p| end(p, message, elapsed_ms, outcome));
            }
            Waiting::Change(_) | Waiting::Verify(_) => {}
        }
    }

    /// The change ended.
    pub(super) fn on_changed(self, outcome: ChangeOutcome) {
        match self.waiting {
            Waiting::Change(progress) => {
                let (message, elapsed_ms) = (outcome.statement.clone(), outcome.took_ms);
                progress.send_modify(|p| end(p, message, elapsed_ms, outcome));
            }
            Waiting::Takeover { .. } | Waiting::Verify(_) => {}
        }
    }

    /// A comparison goes on.
    pub(super) fn on_compared(&mut self, now_ns: u64, found: &VerifyStatus) {
        let elapsed_ms = self.elapsed_ms(now_ns);
        let Waiting::Verify(progress) = &self.waiting else { return };
        let rate = found.bytes_per_second.map_or_else(String::new, |rate| format!(", {} MiB/s", rate >> 20));
        let left = found.eta_seconds.map_or_else(String::new, |seconds| format!(", {seconds} s left"));
        let message = format!(
            "compares the sites: {} %{rate}{left}; {} bytes differ so far",
            found.percent, found.different_bytes
        );
        progress.send_modify(|p| {
            (p.position, p.end) = (Some(found.bytes_sent), Some(found.bytes));
            (p.message, p.elapsed_ms) = (message, elapsed_ms);
        });
    }

    /// The comparison ended.
    pub(super) fn on_verified(self, outcome: VerifyOutcome) {
        match self.waiting {
            Waiting::Verify(progress) => {
                let (message, elapsed_ms) = (outcome.statement.clone(), outcome.took_ms);
                progress.send_modify(|p| end(p, message, elapsed_ms, outcome));
            }
            Waiting::Takeover { .. } | Waiting::Change(_) => {}
        }
    }

    /// It was refused.
    pub(super) fn on_refused(self, now_ns: u64, error: ApiError) {
        let elapsed_ms = self.elapsed_ms(now_ns);
        match self.waiting {
            Waiting::Takeover { progress, .. } => progress.send_modify(|p| refuse(p, elapsed_ms, error)),
            Waiting::Change(progress) => progress.send_modify(|p| refuse(p, elapsed_ms, error)),
            Waiting::Verify(progress) => progress.send_modify(|p| refuse(p, elapsed_ms, error)),
        }
    }
}

/// A step in a word and in a sentence.
pub(super) fn said(step: Step) -> (&'static str, String) {
    match step {
        Step::Probing => ("probing", "asks the lanes what they hold".to_owned()),
        Step::Fencing => (
            "fencing",
            "fences the relay: waits until the old primary can answer no read any more".to_owned(),
        ),
        Step::Reading { from, to } => {
            ("reading", format!("reads and verifies the journal from {from} to {to}"))
        }
        Step::Skipping { landed, last } => ("skipping", words::skipping(landed, last)),
        Step::Redoing => ("redoing", "brings this site's disks up to the journal's end".to_owned()),
        Step::Draining => ("draining", "hosts wait until the other site has everything".to_owned()),
        Step::Comparing { bytes } => ("comparing", format!("compares {bytes} bytes of both sites")),
        Step::Compared => ("compared", "the other site compares the rest".to_owned()),
        Step::HandedOver => ("handed_over", "the other site is to go on; this one steps back".to_owned()),
    }
}

/// What is said where it was not recorded that this site had handed over.
pub(super) const SERVES_NOW: &str = "the other site goes on as primary; `midspan events` there tells whether it was handed the role or took over";

/// The event that a change is done, and what is so then.
pub(super) const fn changed(change: Change) -> (&'static str, &'static str) {
    match change {
        Change::Abort => (
            "takeover_aborted",
            "the takeover is undone: this site is secondary, the former primary may go on",
        ),
        Change::Switchover => {
            ("switchover_done", "the other site goes on as primary; answered writes lost: 0")
        }
        Change::Stay => (
            "switchover_cancelled",
            "the change of roles is given up: this site stays primary, hosts are served on",
        ),
        Change::Failback => ("failback_done", "the group's home goes on as primary; answered writes lost: 0"),
        Change::Pause => ("round_held", "rounds are held until they are resumed"),
        Change::Resume => ("round_resumed", "rounds go on"),
        Change::EndVerify => ("verify_cancelled", "the comparison of the sites is ended before its time"),
        Change::WithoutJournal => (
            "started_without_journal",
            "hosts are served without the journal; everything is marked to be sent to the other site",
        ),
        Change::Prevail => (
            "split_kept",
            "this site goes on with what it holds; the other site finds itself replaced, and `midspan resolve` there gives up what it alone holds",
        ),
        Change::Resolve => {
            ("split_resolved", "what this site alone held is given up; it follows the site that replaced it")
        }
    }
}

fn show<T>(progress: &mut Progress<T>, step: Step, (phase, message): (&str, &str), elapsed_ms: u64) {
    phase.clone_into(&mut progress.phase);
    message.clone_into(&mut progress.message);
    if let Step::Reading { from, to } = step {
        (progress.position, progress.end) = (Some(from), Some(to));
    }
    progress.elapsed_ms = elapsed_ms;
}

fn end<T>(progress: &mut Progress<T>, message: String, elapsed_ms: u64, outcome: T) {
    "done".clone_into(&mut progress.phase);
    (progress.message, progress.elapsed_ms) = (message, elapsed_ms);
    progress.outcome = Some(outcome);
}

fn refuse<T>(progress: &mut Progress<T>, elapsed_ms: u64, error: ApiError) {
    "refused".clone_into(&mut progress.phase);
    progress.message.clone_from(&error.message);
    progress.elapsed_ms = elapsed_ms;
    progress.error = Some(error);
}
