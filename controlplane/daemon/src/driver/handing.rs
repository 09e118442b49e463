//! A planned change of roles once this site has handed over: it ends when the other site serves, and not before.
//!
//! That is heard in two ways. The other site's heartbeats say whether it serves; where only the path to it is dead, its epoch in
//! the lane does, which it takes a moment before it serves.

use midspan_control::verdict::Verdict;

use crate::api::types::{ApiError, Change, GroupStatus, PeerStatus, Role};
use crate::events::Tell;
use crate::following::Operation;
use crate::operations::Ended;
use crate::view::Shared;

use super::{Driver, waiting};

/// How long the other site may take; it goes on by itself later, too.
const LIMIT_NS: u64 = 30_000_000_000;

/// This site has handed over, and the other one does not serve yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handing {
    /// What was asked for.
    pub(super) change: Change,
    /// How long hosts waited here, where this run of the daemon saw it.
    pub(super) drained_ns: Option<u64>,
    /// When they were refused here.
    pub(super) since_ns: u64,
    /// Number of the epoch that was handed over.
    pub(super) epoch: u64,
    /// It is known that it was handed over: else the other site may as well have taken over.
    pub(super) certain: bool,
}

/// How long hosts waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    /// From the first one that waited here until the other site was seen to serve.
    pub(super) whole_ns: u64,
    /// Of that at this site; from then on they were refused here.
    pub(super) here_ns: u64,
}

/// Where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Not there yet.
    Waits,
    /// The other site serves.
    Served(Option<Pause>),
    /// It will not be waited for any longer.
    GivenUp(ApiError),
}

impl Handing {
    /// Looks at what is known now of this site, the node `own`, and of the others.
    pub(super) fn look(&self, now_ns: u64, own: &str, group: &GroupStatus, peers: &[PeerStatus]) -> Outcome {
        let waited_ns = now_ns.saturating_sub(self.since_ns);
        if self.is_served(own, group, peers) {
            let pause = |here_ns: u64| Pause { whole_ns: here_ns.saturating_add(waited_ns), here_ns };
            return Outcome::Served(self.drained_ns.map(pause));
        }
        let name = &group.group;
        if group.role == Role::Primary && group.serving && group.epoch.number > self.epoch {
            let message = format!("group {name}: this site had handed over, and serves again");
            let hint = "a takeover here was first; `midspan operations` shows who asked for it";
            return Outcome::GivenUp(ApiError::new("refused", message, hint));
        }
        if waited_ns < LIMIT_NS {
            return Outcome::Waits;
        }
        let seconds = LIMIT_NS / 1_000_000_000;
        let message = format!(
            "group {name}: this site has handed over, and the other one does not serve yet after {seconds} s"
        );
        let hint = "nothing is lost, and no host is served meanwhile: the other site goes on by itself when it runs \
                    and reaches the relay; where it is gone for good, `midspan takeover` here";
        Outcome::GivenUp(ApiError::new("timeout", message, hint))
    }

    fn is_served(&self, own: &str, group: &GroupStatus, peers: &[PeerStatus]) -> bool {
        let is_newer = |epoch: &crate::api::types::Epoch| {
            epoch.number > self.epoch && epoch.node != own && !epoch.node.is_empty()
        };
        let mut said = peers.iter().flat_map(|peer| &peer.groups).filter(|said| said.group == group.group);
        if said.any(|said| said.serving && is_newer(&said.epoch)) {
            return true;
        }
        let is_in_lane = group.role == Role::Secondary
            && is_newer(&group.epoch)
            && group.lanes.iter().any(|lane| lane.connected);
        // As long as it is heard its own word counts; and one that died with its epoch taken serves nobody.
        let other = peers.iter().find(|peer| peer.node == group.epoch.node);
        is_in_lane && other.is_none_or(is_cut_off)
    }
}

/// Whether a node that lives may well not be heard.
fn is_cut_off(peer: &PeerStatus) -> bool {
    [Verdict::PathDead, Verdict::CannotTell].iter().any(|verdict| verdict.word() == peer.verdict)
}

impl Driver {
    /// This site refuses hosts from now on.
    pub(super) fn on_handed_over(
        &mut self,
        shared: &Shared,
        now_ns: u64,
        group: String,
        change: Change,
        drained_ns: u64,
    ) {
        let view = shared.view();
        let found = view.status.groups.iter().find(|found| found.group == group);
        let epoch = found.map_or(0, |found| found.epoch.number);
        let drained_ns = Some(drained_ns);
        self.handing.insert(group, Handing { change, drained_ns, since_ns: now_ns, epoch, certain: true });
    }

    /// Ends a change of roles when the other site serves.
    pub(super) fn look_at_handing(&mut self, shared: &Shared, now_ns: u64, group: &str) {
        let Some(handing) = self.handing.get(group).copied() else { return };
        let view = shared.view();
        let status = &view.status;
        let Some(found) = status.groups.iter().find(|found| found.group == group) else { return };
        let outcome = handing.look(now_ns, &status.node, found, &status.peers);
        drop(view);
        match outcome {
            Outcome::Waits => return,
            Outcome::Served(pause) if handing.certain => {
                self.on_changed(shared, now_ns, group.to_owned(), handing.change, pause);
            }
            Outcome::Served(pause) => {
                let (kind, _) = waiting::changed(handing.change);
                self.end_change(shared, now_ns, group, handing.change, (kind, waiting::SERVES_NOW), pause);
            }
            Outcome::GivenUp(error) => self.on_given_up(shared, now_ns, group, handing.change, error),
        }
        self.handing.remove(group);
    }

    /// The other site is not waited for any longer. Nothing of it is undone.
    fn on_given_up(&mut self, shared: &Shared, now_ns: u64, group: &str, change: Change, error: ApiError) {
        let message = format!("{}: {}", change.word(), error.message);
        let tell = Tell::warn("switchover_unanswered", format!("group:{group}"), message);
        shared.tell(tell.hint(error.hint.clone()));
        if let Some(running) = self.running.remove(&(group.to_owned(), Operation::Change(change))) {
            shared.end_operation(running.operation, Ended::refused(&error));
            running.on_refused(now_ns, error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{Epoch, LaneStatus, PeerGroup};

    const MS: u64 = 1_000_000;
    const HANDING: Handing = Handing {
        change: Change::Switchover,
        drained_ns: Some(8 * MS),
        since_ns: 100 * MS,
        epoch: 4,
        certain: true,
    };

    fn group(role: Role, number: u64, node: &str, connected: bool) -> GroupStatus {
        GroupStatus {
            group: "vault".into(),
            role,
            epoch: Epoch { number, node: node.into() },
            serving: role == Role::Primary,
            lanes: vec![LaneStatus { connected, ..LaneStatus::default() }],
            ..GroupStatus::default()
        }
    }

    fn peer(number: u64, serving: bool, verdict: Verdict) -> Vec<PeerStatus> {
        let epoch = Epoch { number, node: "b".into() };
        let said = PeerGroup { group: "vault".into(), epoch, serving, ..PeerGroup::default() };
        let verdict = verdict.word().to_owned();
        vec![PeerStatus { node: "b".into(), verdict, groups: vec![said], ..PeerStatus::default() }]
    }

    #[test]
    fn it_ends_when_the_other_site_says_that_it_serves_in_a_newer_epoch() {
        let mine = group(Role::Secondary, 4, "a", false);
        for peers in [peer(4, true, Verdict::Alive), peer(5, false, Verdict::Alive), Vec::new()] {
            assert_eq!(HANDING.look(400 * MS, "a", &mine, &peers), Outcome::Waits, "{peers:?}");
        }
        let pause = Pause { whole_ns: 308 * MS, here_ns: 8 * MS };
        let served = peer(5, true, Verdict::Alive);
        assert_eq!(HANDING.look(400 * MS, "a", &mine, &served), Outcome::Served(Some(pause)));
    }

    #[test]
    fn where_it_is_not_heard_its_epoch_in_the_lane_says_it() {
        let there = group(Role::Secondary, 5, "b", true);
        let served = |mine: &GroupStatus, peers: &[PeerStatus]| {
            matches!(HANDING.look(400 * MS, "a", mine, peers), Outcome::Served(_))
        };
        for (verdict, cut_off) in [
            (Verdict::Alive, false),
            (Verdict::Suspect, false),
            (Verdict::PathDead, true),
            (Verdict::NodeDead, false),
            (Verdict::CannotTell, true),
        ] {
            assert_eq!(served(&there, &peer(4, false, verdict)), cut_off, "{verdict:?}");
        }
        assert!(served(&there, &[]), "nobody watches it");
        assert!(!served(&group(Role::Secondary, 5, "b", false), &[]), "the lane is away: an old word");
        assert!(!served(&group(Role::Secondary, 5, "a", true), &[]), "an epoch of this site");
        assert!(!served(&group(Role::Secondary, 4, "b", true), &[]), "an older epoch");
    }

    #[test]
    fn it_says_after_a_while_that_the_other_site_does_not_serve_and_what_to_do() {
        let mine = group(Role::Secondary, 4, "a", true);
        assert_eq!(HANDING.look(LIMIT_NS, "a", &mine, &[]), Outcome::Waits);
        let Outcome::GivenUp(error) = HANDING.look(LIMIT_NS + 100 * MS, "a", &mine, &[]) else {
            panic!("waits")
        };
        assert_eq!(error.code, "timeout");
        assert!(error.message.contains("has handed over") && error.hint.contains("takeover"), "{error:?}");
    }

    #[test]
    fn a_takeover_back_ends_it() {
        let mine = group(Role::Primary, 4, "a", true);
        assert_eq!(HANDING.look(400 * MS, "a", &mine, &[]), Outcome::Waits, "not measured again yet");
        let mine = group(Role::Primary, 6, "a", true);
        let Outcome::GivenUp(error) = HANDING.look(400 * MS, "a", &mine, &[]) else { panic!("waits") };
        assert_eq!(error.code, "refused");
    }
}
