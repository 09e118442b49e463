//! What the API may ask of a group, by what is known of it; the data plane decides again when it gets there.

use midspan_control::pair::PairState;
use tokio::sync::watch;

use crate::api::types::{
    ApiError, Change, ChangeProgress, GroupStatus, ResolveRequest, Role, TakeoverProgress, TakeoverRequest,
    VerifyProgress, VerifyRequest,
};

use crate::following::Operation;
use crate::operations::{Begun, Ended};

use super::{Request, Shared, unknown_group};

impl Shared {
    /// Begins a takeover, or joins the same one that runs.
    ///
    /// # Errors
    /// When the group is not known here, this node is not its secondary, another one runs that was asked for in another way,
    /// or the driver cannot take it.
    pub fn takeover(
        &self,
        group: &str,
        request: TakeoverRequest,
        asked_by: &str,
    ) -> Result<watch::Receiver<TakeoverProgress>, ApiError> {
        self.permit(group, may_take_over)?;
        let differs = |runs: &TakeoverRequest, number| another_runs(group, *runs, number);
        self.takeovers.join_or_begin(group.to_owned(), request, group, differs, |progress| {
            let operation = self.begin(group, Operation::Takeover, request.with(), asked_by);
            progress.send_modify(|first| first.operation = operation);
            let asked =
                Request::Takeover { operation, group: group.to_owned(), request, before: None, progress };
            self.ask_or_end(operation, asked)
        })
    }

    /// The newest step of the group's last takeover.
    pub fn last_takeover(&self, group: &str) -> Option<TakeoverProgress> {
        self.takeovers.newest(&group.to_owned())
    }

    /// Begins a comparison of the sites, or joins the same one that runs.
    ///
    /// # Errors
    /// When the group is not known here, is not `paired` with its primary here, another one runs that was asked for in another
    /// way, or the driver cannot take it.
    pub fn verify(
        &self,
        group: &str,
        request: VerifyRequest,
        asked_by: &str,
    ) -> Result<watch::Receiver<VerifyProgress>, ApiError> {
        self.permit(group, may_verify)?;
        let differs = |_: &VerifyRequest, number| {
            let message = format!("group {group}: another verify is running already (operation {number})");
            ApiError::new(
                "refused",
                message,
                "wait for its end, or end it with `midspan verify GROUP --cancel`",
            )
        };
        self.verifies.join_or_begin(group.to_owned(), request.clone(), group, differs, |progress| {
            let operation = self.begin(group, Operation::Verify, &request.with(), asked_by);
            progress.send_modify(|first| first.operation = operation);
            self.ask_or_end(
                operation,
                Request::Verify { operation, group: group.to_owned(), request, progress },
            )
        })
    }

    /// Begins a change, or joins the same one that runs.
    ///
    /// # Errors
    /// When the group is not known here, its state does not allow it, or the driver cannot take it.
    pub fn change(
        &self,
        group: &str,
        change: Change,
        asked_by: &str,
    ) -> Result<watch::Receiver<ChangeProgress>, ApiError> {
        self.change_with(group, change, "", asked_by)
    }

    /// Gives up what this site alone holds, if the one that is to be kept is the one that replaced it.
    ///
    /// # Errors
    /// Those of [`Shared::change`]; another site is named.
    pub fn resolve(
        &self,
        group: &str,
        request: &ResolveRequest,
        asked_by: &str,
    ) -> Result<watch::Receiver<ChangeProgress>, ApiError> {
        let keep = &request.keep;
        let mut change = Change::Resolve;
        self.permit(group, |found, node| {
            may_change(found, node, Change::Resolve)?;
            if node == keep {
                change = Change::Prevail;
                return Ok(());
            }
            may_keep(found, keep)
        })?;
        self.change_with(group, change, &format!("keep {keep}"), asked_by)
    }

    fn change_with(
        &self,
        group: &str,
        change: Change,
        with: &str,
        asked_by: &str,
    ) -> Result<watch::Receiver<ChangeProgress>, ApiError> {
        // One that runs is joined, whatever this site has become by it.
        if !self.changes.runs(&(group.to_owned(), change)) {
            self.permit(group, |found, node| may_change(found, node, change))?;
        }
        let other = match change {
            Change::Switchover => Some(Change::Failback),
            Change::Failback => Some(Change::Switchover),
            Change::Resolve => Some(Change::Prevail),
            Change::Prevail => Some(Change::Resolve),
            Change::Abort
            | Change::Stay
            | Change::Pause
            | Change::Resume
            | Change::WithoutJournal
            | Change::EndVerify => None,
        };
        if let Some(other) = other
            && self.changes.runs(&(group.to_owned(), other))
        {
            let message = format!("group {group}: a {} is running already", other.word());
            return Err(ApiError::new(
                "refused",
                message,
                "wait for its end; `midspan status` shows the roles",
            ));
        }
        let differs = |_: &String, number| {
            let message =
                format!("group {group}: a {} is running already (operation {number})", change.word());
            ApiError::new("refused", message, "wait for its end")
        };
        self.changes.join_or_begin((group.to_owned(), change), with.to_owned(), group, differs, |progress| {
            let operation = self.begin(group, Operation::Change(change), with, asked_by);
            progress.send_modify(|first| first.operation = operation);
            let asked =
                Request::Change { operation, group: group.to_owned(), change, before: None, progress };
            self.ask_or_end(operation, asked)
        })
    }

    fn begin(&self, group: &str, operation: Operation, with: &str, asked_by: &str) -> u64 {
        let view = self.view();
        let found = view.status.groups.iter().find(|found| found.group == group);
        let epoch = found.map_or(0, |found| found.epoch.number);
        drop(view);
        self.begin_operation(Begun {
            epoch,
            group: group.to_owned(),
            kind: operation.word(),
            with: with.to_owned(),
            asked_by: asked_by.to_owned(),
        })
    }

    fn ask_or_end(&self, operation: u64, request: Request) -> Result<(), ApiError> {
        self.ask(request).inspect_err(|error| {
            self.end_operation(operation, Ended::refused(error));
        })
    }

    pub(super) fn permit(
        &self,
        group: &str,
        rule: impl FnOnce(&GroupStatus, &str) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let view = self.view();
        let node = &view.status.node;
        match view.status.groups.iter().find(|found| found.group == group) {
            Some(found) => rule(found, node),
            None => Err(unknown_group(group, node)),
        }
    }
}

const ON_SECONDARY: &str = "a takeover runs on the secondary's site";
const ON_SPLIT: &str = "resolve runs on the site in state `split`, which gives up what it alone holds";
const ON_PRIMARY: &str = "run it on the primary's site; `midspan status` shows the roles";

/// What runs answers another question than the one that is asked.
fn another_runs(group: &str, runs: TakeoverRequest, number: u64) -> ApiError {
    let what = match (runs.dry_run, runs.accept_loss) {
        (true, false) => "a dry run of a takeover",
        (true, true) => "a dry run of a takeover with --accept-loss",
        (false, false) => "a takeover without --accept-loss",
        (false, true) => "a takeover with --accept-loss",
    };
    let message = format!("group {group}: {what} is running already (operation {number}); it is not joined");
    let hint = if runs.dry_run {
        "nothing was changed: ask again when it has ended, a few seconds after its begin at most".to_owned()
    } else {
        format!(
            "nothing was changed: wait for its end, or end it with `midspan takeover {group} --abort`, then ask again; \
             `midspan operations` shows it"
        )
    };
    ApiError::new("refused", message, hint)
}

fn may_take_over(found: &GroupStatus, node: &str) -> Result<(), ApiError> {
    match found.role {
        Role::Secondary => Ok(()),
        Role::Primary => Err(is_primary(found, node, ON_SECONDARY)),
        Role::Relay | Role::Unknown => Err(no_site(found, node, ON_SECONDARY)),
    }
}

/// Only where both sites are to hold the same is a difference one.
fn may_verify(found: &GroupStatus, node: &str) -> Result<(), ApiError> {
    match found.role {
        Role::Primary if found.state == PairState::Paired.word() => Ok(()),
        Role::Primary => {
            let message = format!("group {}: it is in state {}, not `paired`", found.group, found.state);
            Err(ApiError::new("refused", message, "wait until `midspan status` says `paired`"))
        }
        Role::Secondary => {
            let message = format!("group {}: node {node} is its secondary", found.group);
            Err(ApiError::new("refused", message, ON_PRIMARY))
        }
        Role::Relay | Role::Unknown => Err(no_site(found, node, ON_PRIMARY)),
    }
}

fn may_change(found: &GroupStatus, node: &str, change: Change) -> Result<(), ApiError> {
    match (change, found.role) {
        (Change::Resolve | Change::Prevail, Role::Relay | Role::Unknown) => {
            Err(no_site(found, node, ON_SPLIT))
        }
        (Change::Resolve | Change::Prevail, Role::Primary | Role::Secondary)
            if found.state == PairState::Split.word() =>
        {
            Ok(())
        }
        (Change::Resolve | Change::Prevail, Role::Primary | Role::Secondary) => {
            let message = format!("group {}: node {node} is in state {}", found.group, found.state);
            Err(ApiError::new("refused", message, ON_SPLIT))
        }
        (Change::Abort, Role::Secondary)
        | (
            Change::Switchover | Change::Stay | Change::Pause | Change::Resume | Change::EndVerify,
            Role::Primary,
        ) => Ok(()),
        (Change::Abort, Role::Primary) => Err(is_primary(
            found,
            node,
            "there is no unfinished takeover here; `midspan switchover` swaps the roles",
        )),
        (Change::Abort, Role::Relay | Role::Unknown) => Err(no_site(found, node, ON_SECONDARY)),
        (Change::Failback, Role::Primary) => may_go_home(found, node),
        (Change::WithoutJournal, Role::Primary) => Ok(()),
        (
            Change::Switchover
            | Change::Stay
            | Change::Failback
            | Change::Pause
            | Change::Resume
            | Change::WithoutJournal
            | Change::EndVerify,
            Role::Secondary,
        ) => {
            let message = format!("group {}: node {node} is its secondary", found.group);
            Err(ApiError::new("refused", message, ON_PRIMARY))
        }
        (
            Change::Switchover
            | Change::Stay
            | Change::Failback
            | Change::Pause
            | Change::Resume
            | Change::WithoutJournal
            | Change::EndVerify,
            Role::Relay | Role::Unknown,
        ) => Err(no_site(found, node, ON_PRIMARY)),
    }
}

/// Only the site that replaced this one can be kept.
fn may_keep(found: &GroupStatus, keep: &str) -> Result<(), ApiError> {
    let group = &found.group;
    match &found.fenced_by {
        Some(by) if by.node == keep => Ok(()),
        Some(by) => {
            let message = format!("group {group}: this site was replaced by {}, not by {keep}", by.node);
            let hint = format!(
                "--keep {} gives up what this site alone holds (export that first if it matters), --keep with this site's name keeps it",
                by.node
            );
            Err(ApiError::new("refused", message, hint))
        }
        None => {
            let message = format!("group {group}: this site does not know yet which one replaced it");
            Err(ApiError::new("refused", message, "try again in a moment"))
        }
    }
}

/// A failback goes to the site that is primary by configuration, and to no other.
fn may_go_home(found: &GroupStatus, node: &str) -> Result<(), ApiError> {
    match found.home.as_deref() {
        Some(home) if home != node => Ok(()),
        Some(home) => {
            let message = format!("group {}: it is at home at {home} already", found.group);
            Err(ApiError::new("refused", message, "`midspan switchover` hands over to the other site"))
        }
        None => {
            let message = format!("group {}: node {node} does not know its home", found.group);
            Err(ApiError::new("refused", message, "`midspan switchover` hands over to the other site"))
        }
    }
}

fn is_primary(found: &GroupStatus, node: &str, hint: &str) -> ApiError {
    let message =
        format!("group {}: node {node} is its primary already, in state {}", found.group, found.state);
    ApiError::new("refused", message, hint)
}

/// A node that is neither its primary nor its secondary, or does not know yet.
fn no_site(found: &GroupStatus, node: &str, hint: &str) -> ApiError {
    let group = &found.group;
    if found.role == Role::Relay {
        let message = format!("group {group}: node {node} is a relay and holds no volumes");
        ApiError::new("refused", message, hint)
    } else {
        let message = format!("group {group}: node {node} does not know its role yet");
        ApiError::new("refused", message, "try again in a moment")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::Epoch;

    const ROLES: [Role; 4] = [Role::Primary, Role::Secondary, Role::Relay, Role::Unknown];

    fn group(role: Role, home: Option<&str>) -> GroupStatus {
        let home = home.map(str::to_owned);
        GroupStatus { group: "vault".into(), role, home, ..GroupStatus::default() }
    }

    #[test]
    fn each_change_is_possible_in_one_role_and_every_refusal_says_what_helps() {
        for change in Change::ALL.into_iter().filter(|change| *change != Change::Resolve) {
            let wanted = if change == Change::Abort { Role::Secondary } else { Role::Primary };
            for role in ROLES {
                let outcome = may_change(&group(role, Some("a")), "b", change);
                assert_eq!(outcome.is_ok(), role == wanted, "{change:?} {role:?}: {outcome:?}");
                if let Err(error) = outcome {
                    assert!(error.message.contains("vault") && !error.hint.is_empty(), "{error:?}");
                }
            }
        }
    }

    #[test]
    fn the_sites_are_compared_by_a_paired_primary_only() {
        for (role, state, possible) in [
            (Role::Primary, "paired", true),
            (Role::Primary, "resync", false),
            (Role::Primary, "degraded", false),
            (Role::Secondary, "paired", false),
            (Role::Relay, "open", false),
        ] {
            let found = GroupStatus { state: state.into(), ..group(role, None) };
            let outcome = may_verify(&found, "b");
            assert_eq!(outcome.is_ok(), possible, "{role:?} {state}");
            assert!(outcome.err().is_none_or(|error| !error.hint.is_empty()));
        }
    }

    #[test]
    fn only_a_split_is_resolved() {
        for (role, state, possible) in [
            (Role::Primary, "split", true),
            (Role::Secondary, "split", true),
            (Role::Primary, "fenced", false),
            (Role::Secondary, "paired", false),
            (Role::Relay, "open", false),
        ] {
            let found = GroupStatus { state: state.into(), ..group(role, None) };
            assert_eq!(may_change(&found, "b", Change::Resolve).is_ok(), possible, "{role:?} {state}");
        }
    }

    #[test]
    fn only_the_site_that_replaced_this_one_is_kept() {
        let split = |node: Option<&str>| GroupStatus {
            fenced_by: node.map(|node| Epoch { number: 4, node: node.into() }),
            ..group(Role::Primary, None)
        };
        assert!(may_keep(&split(Some("b")), "b").is_ok());
        let error = may_keep(&split(Some("b")), "a").unwrap_err();
        assert_eq!(error.message, "group vault: this site was replaced by b, not by a");
        assert!(error.code == "refused" && error.hint.contains("--keep b"), "{error:?}");
        assert!(may_keep(&split(None), "b").is_err());
    }

    #[test]
    fn a_failback_goes_home_only() {
        let primary = |home| may_change(&group(Role::Primary, home), "b", Change::Failback);
        assert!(primary(Some("a")).is_ok());
        assert!(primary(Some("b")).unwrap_err().message.contains("at home at b already"));
        assert!(primary(None).is_err());
    }
}
