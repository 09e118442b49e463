//! Rounds: how fast they are and when they will have ended, and each of them as an operation that nobody had to ask for.

use std::collections::BTreeMap;

use midspan_control::estimate::SendRate;
use midspan_control::pair::PairState;

use crate::api::types::{ApiError, GroupStatus};
use crate::operations::{Begun, Ended, Share};
use crate::view::Shared;

/// Who asks for a round.
const BY_ITSELF: &str = "midspan: the sites differ";

/// A round made progress or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundStep {
    /// It began: its number, the bytes to send, and whether the other site gives up its cut until the end.
    Began {
        /// Its number.
        round: u64,
        /// Bytes to send.
        bytes: u64,
        /// The other site has no cut until the end.
        in_place: bool,
    },
    /// Everything is sent.
    Sent,
    /// The sites hold the same.
    Ended,
    /// It was given up; another one follows.
    Cancelled,
}

/// The round of one group.
#[derive(Debug, Default)]
struct Round {
    /// Its number, as measured.
    number: Option<u64>,
    rate: SendRate,
    /// Its operation, until that has ended.
    operation: Option<u64>,
}

/// Those of all groups.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    of: BTreeMap<String, Round>,
}

impl Rounds {
    /// The data plane tells how a round gets on.
    pub(super) fn on_step(&mut self, shared: &Shared, group: &str, step: RoundStep) {
        let round = self.of.entry(group.to_owned()).or_default();
        match (step, round.operation) {
            (RoundStep::Began { round: number, bytes, in_place }, former) => {
                if let Some(former) = former {
                    shared.end_operation(former, given_up("another round has begun"));
                }
                let operation = begin(shared, group, in_place);
                let message = format!("round {number}: sends {bytes} bytes that may differ");
                shared.step_operation(operation, "sending", &message);
                round.operation = Some(operation);
            }
            (RoundStep::Sent, Some(operation)) => {
                shared.step_operation(operation, "sent", "the other site is to apply the rest");
            }
            (RoundStep::Ended, Some(operation)) => {
                shared.end_operation(operation, Ended::done("both sites hold the same"));
                round.operation = None;
            }
            (RoundStep::Cancelled, Some(operation)) => {
                shared.end_operation(operation, given_up("it was given up; another one follows"));
                round.operation = None;
            }
            (RoundStep::Sent | RoundStep::Ended | RoundStep::Cancelled, None) => {}
        }
    }

    /// Rate and end of the round, from how far it was before.
    pub(super) fn estimate(&mut self, shared: &Shared, now_ns: u64, status: &mut GroupStatus) {
        let Some(found) = &mut status.round else {
            if let Some(operation) = self.of.remove(&status.group).and_then(|round| round.operation) {
                shared.end_operation(operation, given_up("this site sends nothing any more"));
            }
            return;
        };
        let round = self.of.entry(status.group.clone()).or_default();
        if round.number != found.round {
            (round.number, round.rate) = (found.round, SendRate::default());
        }
        if found.paused {
            round.rate.on_pause();
        } else {
            round.rate.on_sample(now_ns, found.bytes_sent);
            found.bytes_per_second = round.rate.bytes_per_second();
            let seconds = round.rate.seconds_to_end(found.bytes);
            found.eta_seconds = seconds.and_then(|s| u32::try_from(s).ok()).map(f64::from);
        }
        if let (Some(operation), Some(_)) = (round.operation, found.round) {
            let share = Share {
                percent: found.percent,
                bytes_per_second: found.bytes_per_second,
                eta_seconds: found.eta_seconds,
            };
            shared.view().operations.share(operation, share);
            if found.paused {
                shared.step_operation(operation, "held", "`midspan resume` lets it go on");
            } else if !found.sent {
                shared.step_operation(operation, "sending", "what may differ is sent to the other site");
            }
        }
    }
}

fn begin(shared: &Shared, group: &str, in_place: bool) -> u64 {
    let view = shared.view();
    let found = view.status.groups.iter().find(|found| found.group == group);
    let (epoch, state) = found.map(|found| (found.epoch.number, found.state.clone())).unwrap_or_default();
    drop(view);
    let with = match (state == PairState::InitialCopy.word(), in_place) {
        (true, _) => "initial_copy",
        (false, true) => "in_place",
        (false, false) => "",
    };
    let (group, asked_by) = (group.to_owned(), BY_ITSELF.to_owned());
    shared.begin_operation(Begun { group, kind: "round", with: with.to_owned(), asked_by, epoch })
}

fn given_up(message: &str) -> Ended {
    Ended::refused(&ApiError::new("refused", message, "`midspan status` shows what is still to be sent"))
}
