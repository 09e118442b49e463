//! The second half of the scenario `failback`: writes on the other site, the return of the lost one, a round, and the roles
//! home.

use std::time::Duration;

use midspan::clock::Clock;
use midspan::hammer::{Config, Hammer, Ledger};
use midspan_daemon::api::types::{Change, GroupStatus, NodeStatus, Role};

use super::layout::{GROUP, Layout, Place};
use super::node::Node;
use super::show::Show;
use super::{Arguments, Failure, TAKEOVER_LIMIT, watch, workload};

/// How long the lost site may take to be brought up.
const ROUND_LIMIT: Duration = Duration::from_secs(120);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(200);

/// What came of it.
pub struct Home {
    /// Everything that was ever written.
    pub ledger: Ledger,
    /// Milliseconds that hosts waited while the roles went home.
    pub pause_ms: u64,
}

/// Writes on at the site that took over, lets the lost one come back meanwhile, and hands its role back.
///
/// # Errors
/// A node does not come up, or the change of roles is refused.
pub fn go_home(
    arguments: &Arguments,
    layout: &Layout,
    secondary: &Node,
    ledger: Ledger,
    show: &Show,
) -> Result<(Home, Node), Failure> {
    let config = Config { uris: vec![layout.uri(Place::Secondary)], ..workload(arguments, layout) };
    let handle = Hammer::resume(config, ledger).map_err(|error| Failure::other(error.to_string()))?;
    let half = Duration::from_secs(arguments.seconds).div_f64(2.0);
    watch(&handle, secondary, half, show);
    show.say(&format!(
        "hosts write on at site-b: {} answered writes so far",
        handle.snapshot().counts.answered
    ));

    let primary = Node::start(layout, Place::Primary)?;
    show.say("site-a comes back: it finds itself replaced, and follows");
    let round_bytes = wait_paired(secondary, &primary, show)?;
    show.say(&format!(
        "both sites hold the same again: a round sent {} MiB, hosts went on",
        round_bytes >> 20
    ));
    watch(&handle, secondary, half.min(Duration::from_secs(3)), show);

    show.live("failback: hosts wait until site-a has everything");
    let client = secondary.client().clone().with_silence(Some(TAKEOVER_LIMIT));
    let last = client.change(GROUP, Change::Failback, &mut |_| {})?;
    if let Some(error) = last.error {
        return Err(error.into());
    }
    let outcome = last.outcome.ok_or_else(|| Failure::other("the failback has no outcome"))?;
    let pause_ms = outcome.host_pause_ms.unwrap_or(0);
    let clock = Clock::starting_at(0);
    while !serves(&primary) {
        if clock.elapsed() > TAKEOVER_LIMIT {
            return Err(Failure::other("site-a does not serve after the failback"));
        }
        midspan::clock::Signal::default().wait(Duration::from_millis(5));
    }
    let pause_ms = pause_ms + u64::try_from(clock.elapsed().as_millis()).unwrap_or(0);
    show.say(&format!("roles are home; hosts waited {pause_ms} ms"));
    handle.wait_finished(Duration::from_secs(2));
    handle.cut();
    Ok((Home { ledger: handle.into_ledger(), pause_ms }, primary))
}

fn serves(node: &Node) -> bool {
    node.client().status().is_ok_and(|status| status.groups.iter().any(|group| group.serving))
}

/// Waits until both sites say that they hold the same; says how many bytes the round sent.
fn wait_paired(secondary: &Node, primary: &Node, show: &Show) -> Result<u64, Failure> {
    let clock = Clock::starting_at(0);
    let mut sent = 0;
    loop {
        let statuses = (secondary.client().status(), primary.client().status());
        if let (Ok(serving), Ok(following)) = &statuses {
            if let Some(round) = group(serving).and_then(|group| group.round.as_ref()) {
                sent = sent.max(round.bytes_sent);
                let left = round.bytes.saturating_sub(round.bytes_sent) >> 20;
                show.live(&format!("round: {} MiB sent, {left} MiB left, hosts write on", sent >> 20));
            }
            if is_paired(serving, Role::Primary) && is_paired(following, Role::Secondary) {
                return Ok(sent);
            }
        }
        if clock.elapsed() > ROUND_LIMIT {
            let message = format!("the sites do not hold the same after {} s", ROUND_LIMIT.as_secs());
            return Err(Failure::other(message));
        }
        midspan::clock::Signal::default().wait(LOOK);
    }
}

fn group(status: &NodeStatus) -> Option<&GroupStatus> {
    status.groups.iter().find(|group| group.group == GROUP)
}

fn is_paired(status: &NodeStatus, role: Role) -> bool {
    group(status).is_some_and(|group| group.state == "paired" && group.role == role)
}
