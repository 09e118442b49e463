//! How long hosts wait while lanes change: the longest time without an answer, watched until all is as it should be.

use std::time::Duration;

use midspan::clock::{Clock, Signal};
use midspan::hammer::Handle;
use midspan_daemon::api::types::GroupStatus;

use super::layout::GROUP;
use super::node::Node;
use super::show::Show;
use crate::cli::exit::{Exit, Failure};

/// Between two looks at the answers.
const LOOK: Duration = Duration::from_millis(5);
/// Looks at the answers for each question to the primary.
const ASK_EVERY: u32 = 20;

/// Waits until the primary says of the group what is wanted, and hosts are answered again; gives the longest pause in
/// milliseconds.
///
/// # Errors
/// When that does not come in time, or the workload ends.
pub fn watch(
    handle: &Handle,
    primary: &Node,
    what: &str,
    limit: Duration,
    show: &Show,
    wanted: impl Fn(&GroupStatus) -> bool,
) -> Result<u64, Failure> {
    let clock = Clock::starting_at(0);
    let mut answers = handle.snapshot().counts.answered;
    let (mut last, mut longest, mut shown) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut is_there = false;
    for look in 0u32.. {
        Signal::default().wait(LOOK);
        let now = clock.elapsed();
        let answered = handle.snapshot().counts.answered;
        longest = longest.max(now.saturating_sub(last));
        if answered != answers {
            (answers, last) = (answered, now);
            if is_there {
                break;
            }
        }
        if !is_there && look.is_multiple_of(ASK_EVERY) {
            is_there = group(primary).is_some_and(|group| wanted(&group));
        }
        if handle.is_finished() {
            return Err(Failure::other(format!("the workload ended before {what}")));
        }
        if now > limit {
            let message = format!("{what}: not after {} s", limit.as_secs());
            return Err(Failure::new(Exit::TimedOut, message));
        }
        if now.saturating_sub(shown) >= show.interval() {
            shown = now;
            let waits = now.saturating_sub(last).as_millis();
            show.live(&format!("waiting until {what}; the last answer to a host was {waits} ms ago"));
        }
    }
    Ok(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX))
}

/// The demo's group as a node sees it.
pub fn group(node: &Node) -> Option<GroupStatus> {
    node.client().status().ok()?.groups.into_iter().find(|group| group.group == GROUP)
}
