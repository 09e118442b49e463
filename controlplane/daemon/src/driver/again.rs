//! Operations that an earlier run of the daemon did not end: they are asked of the data plane again as soon as it is known how
//! the group stands.
//!
//! The steps are those of the data plane, which recorded what was reached, and asking for them again is the same as going on.
//! Not gone on with is what has come about otherwise meanwhile, and what the present contradicts: a site that serves again is
//! not taken over because of what was asked before its return.

use crate::api::types::{ApiError, Change, GroupStatus, PeerStatus, Role, TakeoverOutcome};
use crate::driver::handing::Handing;
use crate::events::Tell;
use crate::following::Operation;
use crate::operations::{Before, Ended};
use crate::view::Shared;
use midspan_control::pair::PairState;

use super::{Action, Driver};

/// How long the other site may take to say whether it serves. It cannot be told from one that is dead after that.
const HEARD_NS: u64 = 1_000_000_000;

/// An operation that is to go on.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) before: Before,
    pub(super) since_ns: u64,
    /// What is asked then.
    pub(super) action: Action,
    /// Somebody has ended it meanwhile.
    pub(super) cancelled: bool,
}

/// What becomes of it.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Not known yet.
    Wait,
    /// The data plane is asked.
    Ask,
    /// It had come about when the daemon ended, or did since.
    Done,
    /// This site has handed over; the other one is to serve.
    HandedOver,
    /// It makes no sense any more.
    Refused(ApiError),
}

impl Again {
    fn look(&self, now_ns: u64, found: &GroupStatus, peers: &[PeerStatus]) -> Next {
        if self.cancelled {
            let message = format!("group {}: it was cancelled before it went on", found.group);
            return Next::Refused(refused(message));
        }
        match &self.action {
            Action::TakeOver { .. } => self.look_at_takeover(now_ns, found, peers),
            Action::Change { change, .. } => match change {
                Change::Switchover | Change::Failback => look_at_roles(found),
                Change::Resolve => look_at_split(found),
                Change::Abort
                | Change::Stay
                | Change::Pause
                | Change::Resume
                | Change::Prevail
                | Change::WithoutJournal
                | Change::EndVerify => Next::Ask,
            },
            Action::Verify { .. } => Next::Ask,
        }
    }

    fn look_at_takeover(&self, now_ns: u64, found: &GroupStatus, peers: &[PeerStatus]) -> Next {
        let group = &found.group;
        if let Some(by) = &found.fenced_by {
            let message = format!("group {group}: this site was replaced by {} meanwhile", by.node);
            return Next::Refused(refused(message));
        }
        match found.role {
            Role::Unknown => return Next::Wait,
            Role::Relay => return Next::Refused(refused(format!("group {group}: this node is a relay now"))),
            // It was recorded as the last step.
            Role::Primary if found.serving => return Next::Done,
            Role::Primary => return Next::Wait,
            Role::Secondary => {}
        }
        let said = |peer: &PeerStatus| peer.groups.iter().any(|said| said.group == *group);
        let serves = |peer: &&PeerStatus| peer.groups.iter().any(|said| said.group == *group && said.serving);
        if let Some(peer) = peers.iter().find(serves) {
            let message = format!("group {group}: {} serves hosts: the takeover does not go on", peer.node);
            return Next::Refused(ApiError::new(
                "refused",
                message,
                "what it had fenced is given back; if it is still wanted, ask for it again",
            ));
        }
        let waited = now_ns.saturating_sub(self.since_ns) >= HEARD_NS;
        if waited || peers.iter().any(said) { Next::Ask } else { Next::Wait }
    }
}

/// Until the other site has fenced, a restart of the former primary goes on as primary; once it has, it follows.
fn look_at_roles(found: &GroupStatus) -> Next {
    if found.state == PairState::Split.word() {
        let message = format!("group {}: both sites have answered hosts meanwhile", found.group);
        return Next::Refused(refused(message));
    }
    match found.role {
        Role::Primary if found.serving => Next::Ask,
        Role::Primary | Role::Unknown => Next::Wait,
        Role::Secondary => Next::HandedOver,
        Role::Relay => Next::Refused(refused(format!("group {}: this node is a relay now", found.group))),
    }
}

fn look_at_split(found: &GroupStatus) -> Next {
    match found.role {
        Role::Unknown => Next::Wait,
        Role::Primary | Role::Secondary | Role::Relay if found.state == PairState::Split.word() => Next::Ask,
        // A split lasts until it is resolved.
        Role::Secondary => Next::Done,
        Role::Primary | Role::Relay => Next::Wait,
    }
}

fn refused(message: String) -> ApiError {
    ApiError::new("refused", message, "`midspan status` shows the roles")
}

impl Driver {
    /// What is asked now ends what was to go on.
    pub(super) fn end_again(&mut self, asked: &Action) {
        let Action::Change { group, change } = asked else { return };
        let ended: &[Operation] = match change {
            Change::Abort => &[Operation::Takeover],
            Change::Stay => &[Operation::Change(Change::Switchover), Operation::Change(Change::Failback)],
            Change::Prevail => &[Operation::Change(Change::Resolve)],
            Change::Switchover
            | Change::Failback
            | Change::Pause
            | Change::Resume
            | Change::Resolve
            | Change::WithoutJournal
            | Change::EndVerify => &[],
        };
        for operation in ended {
            if let Some(again) = self.again.get_mut(&(group.clone(), *operation)) {
                again.cancelled = true;
            }
        }
    }

    /// Looks at what is to go on of a group, now that it is known how it stands.
    pub(super) fn look_at_again(&mut self, shared: &Shared, now_ns: u64, group: &str) {
        let view = shared.view();
        let status = &view.status;
        let Some(found) = status.groups.iter().find(|found| found.group == group) else { return };
        let of_group = |(name, _): &&(String, Operation)| name == group;
        let looked = self.again.iter().filter(|(key, _)| of_group(key));
        let looked = looked.map(|(key, again)| (key.clone(), again.look(now_ns, found, &status.peers)));
        let decided: Vec<_> = looked.filter(|(_, next)| *next != Next::Wait).collect();
        drop(view);
        for (key, next) in decided {
            if let Some(again) = self.again.remove(&key) {
                self.decide(shared, now_ns, again, key, next);
            }
        }
    }

    fn decide(&mut self, shared: &Shared, now_ns: u64, again: Again, key: (String, Operation), next: Next) {
        let (group, operation) = key;
        let Again { before, action, .. } = again;
        match (next, operation) {
            (Next::Wait, _) => {}
            (Next::Ask, _) => self.due.push(action),
            (Next::Refused(error), _) => self.on_refused(shared, now_ns, group, operation, error),
            (Next::Done, Operation::Takeover) => self.on_taken_before(shared, now_ns, group, &action),
            (Next::Done, Operation::Change(change)) => self.on_changed(shared, now_ns, group, change, None),
            (Next::HandedOver, Operation::Takeover) | (Next::Done | Next::HandedOver, Operation::Verify) => {}
            (Next::HandedOver, Operation::Change(change)) => {
                let (drained_ns, epoch) = (None, before.epoch);
                let handing =
                    Handing { change, drained_ns, since_ns: now_ns, epoch, certain: before.handed_over };
                self.handing.insert(group, handing);
            }
        }
    }

    /// The takeover was recorded, and the daemon ended before it could say so.
    fn on_taken_before(&mut self, shared: &Shared, now_ns: u64, group: String, action: &Action) {
        let accepted = matches!(action, Action::TakeOver { accept_loss: true, .. });
        // Without that word it would have been refused.
        let statement = if accepted {
            "whether answered writes were lost is not known any more: the daemon ended before it was said"
        } else {
            "answered writes lost: 0"
        };
        let view = shared.view();
        let found = view.status.groups.iter().find(|found| found.group == group);
        let epoch = found.map(|found| found.epoch.clone()).unwrap_or_default();
        drop(view);
        let message = format!(
            "taken over before the daemon ended; serves in epoch {}@{}; {statement}",
            epoch.number, epoch.node
        );
        let object = format!("group:{group}");
        shared.tell(if accepted {
            Tell::warn("takeover_done", object, message)
        } else {
            Tell::info("takeover_done", object, message)
        });
        let Some(running) = self.running.remove(&(group, Operation::Takeover)) else { return };
        let outcome = TakeoverOutcome {
            epoch,
            lost_nothing: !accepted,
            statement: statement.to_owned(),
            took_ms: running.elapsed_ms(now_ns),
            ..TakeoverOutcome::default()
        };
        shared.end_operation(running.operation, Ended::done(outcome.statement.clone()));
        running.on_taken(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{Epoch, PeerGroup};

    const SECOND: u64 = 1_000_000_000;

    fn again(change: Option<Change>) -> Again {
        let group = "vault".to_owned();
        let action = match change {
            None => Action::TakeOver { group, accept_loss: false, dry_run: false },
            Some(change) => Action::Change { group, change },
        };
        Again { before: Before::default(), since_ns: 10 * SECOND, action, cancelled: false }
    }

    fn group(role: Role, serving: bool, state: &str) -> GroupStatus {
        GroupStatus { group: "vault".into(), role, serving, state: state.into(), ..GroupStatus::default() }
    }

    fn peer(serving: bool) -> Vec<PeerStatus> {
        let said = PeerGroup { group: "vault".into(), serving, ..PeerGroup::default() };
        vec![PeerStatus { node: "a".into(), groups: vec![said], ..PeerStatus::default() }]
    }

    #[test]
    fn a_takeover_goes_on_where_the_other_site_says_that_it_does_not_serve_or_says_nothing() {
        let (again, here) = (again(None), group(Role::Secondary, false, "paired"));
        assert_eq!(again.look(10 * SECOND, &here, &peer(false)), Next::Ask);
        assert_eq!(again.look(10 * SECOND, &here, &[]), Next::Wait);
        assert_eq!(again.look(11 * SECOND, &here, &[]), Next::Ask);
        assert_eq!(again.look(20 * SECOND, &group(Role::Unknown, false, "starting"), &[]), Next::Wait);
    }

    #[test]
    fn a_takeover_does_not_go_on_against_a_site_that_serves_or_has_replaced_this_one() {
        let (again, here) = (again(None), group(Role::Secondary, false, "paired"));
        let Next::Refused(error) = again.look(20 * SECOND, &here, &peer(true)) else { panic!("goes on") };
        assert!(
            error.message.contains("a serves hosts") && error.hint.contains("ask for it again"),
            "{error:?}"
        );
        let by = Some(Epoch { number: 7, node: "a".into() });
        let replaced = GroupStatus { fenced_by: by, ..group(Role::Primary, false, "fenced") };
        let Next::Refused(error) = again.look(20 * SECOND, &replaced, &[]) else { panic!("goes on") };
        assert!(error.message.contains("replaced by a"), "{error:?}");
    }

    #[test]
    fn what_is_ended_before_it_could_go_on_does_not() {
        let mut driver = Driver::default();
        let group = "vault".to_owned();
        driver.again.insert((group.clone(), Operation::Takeover), again(None));
        driver.end_again(&Action::Change { group: group.clone(), change: Change::Stay });
        let looked = |driver: &Driver| {
            let found = driver.again.get(&("vault".to_owned(), Operation::Takeover)).unwrap();
            found.look(20 * SECOND, &self::group(Role::Secondary, false, "paired"), &[])
        };
        assert_eq!(looked(&driver), Next::Ask);
        driver.end_again(&Action::Change { group, change: Change::Abort });
        assert!(matches!(looked(&driver), Next::Refused(error) if error.message.contains("cancelled")));
    }

    #[test]
    fn a_takeover_that_was_recorded_is_done_when_hosts_are_served() {
        let again = again(None);
        assert_eq!(again.look(20 * SECOND, &group(Role::Primary, false, "taken_over"), &[]), Next::Wait);
        assert_eq!(again.look(20 * SECOND, &group(Role::Primary, true, "taken_over"), &[]), Next::Done);
    }

    #[test]
    fn a_change_of_roles_begins_anew_at_a_primary_and_waits_for_the_other_site_at_a_secondary() {
        for change in [Change::Switchover, Change::Failback] {
            let again = again(Some(change));
            let looked = |role, serving, state| again.look(10 * SECOND, &group(role, serving, state), &[]);
            assert_eq!(looked(Role::Primary, false, "starting"), Next::Wait);
            assert_eq!(looked(Role::Primary, true, "paired"), Next::Ask);
            assert_eq!(looked(Role::Primary, false, "fenced"), Next::Wait, "it follows in a moment");
            assert_eq!(looked(Role::Secondary, false, "paired"), Next::HandedOver);
            assert!(matches!(looked(Role::Primary, false, "split"), Next::Refused(_)));
        }
    }

    #[test]
    fn a_split_that_is_gone_was_resolved() {
        let again = again(Some(Change::Resolve));
        assert_eq!(again.look(10 * SECOND, &group(Role::Primary, false, "split"), &[]), Next::Ask);
        assert_eq!(again.look(10 * SECOND, &group(Role::Secondary, false, "paired"), &[]), Next::Done);
    }
}
