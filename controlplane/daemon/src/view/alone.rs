//! When it may be told what this site alone holds: only in a split, because nothing writes its volumes then.

use midspan_control::pair::PairState;

use crate::alone::Place;
use crate::api::types::{ApiError, Epoch, GroupStatus, Role};

use super::Shared;

/// What the journal disk does not say of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Where the group is kept.
    pub place: Place,
    /// This node.
    pub node: String,
    /// The epoch that replaced this site.
    pub replaced_by: Option<Epoch>,
    /// When this site found that out, if the event is kept.
    pub replaced_ns: Option<u64>,
}

impl Shared {
    /// The group's split.
    ///
    /// # Errors
    /// The group is not known here, or is in no split at this site.
    pub fn split(&self, group: &str) -> Result<Split, ApiError> {
        self.permit(group, is_split)?;
        let view = self.view();
        let found = view.status.groups.iter().find(|found| found.group == group);
        let place = self.places.iter().find(|place| place.group == group).cloned();
        let place = place.ok_or_else(|| super::unknown_group(group, &view.status.node))?;
        Ok(Split {
            place,
            node: view.status.node.clone(),
            replaced_by: found.and_then(|found| found.fenced_by.clone()),
            replaced_ns: view.events.last_time_ns("fenced", &format!("group:{group}")),
        })
    }
}

fn is_split(found: &GroupStatus, node: &str) -> Result<(), ApiError> {
    let group = &found.group;
    let message = match found.role {
        Role::Relay => format!("group {group}: node {node} is a relay and holds no volumes"),
        Role::Primary | Role::Secondary | Role::Unknown if found.state == PairState::Split.word() => {
            return Ok(());
        }
        Role::Primary | Role::Secondary | Role::Unknown => {
            format!("group {group}: node {node} is in state {}, not in a split", found.state)
        }
    };
    let hint = "what one site alone holds is listed on the site in state `split`, until that is resolved";
    Err(ApiError::new("refused", message, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_alone_is_told_in_a_split_and_in_no_other_state() {
        for (role, state, told) in [
            (Role::Primary, "split", true),
            (Role::Secondary, "split", true),
            (Role::Primary, "fenced", false),
            (Role::Primary, "taken_over", false),
            (Role::Secondary, "paired", false),
            (Role::Unknown, "starting", false),
            (Role::Relay, "open", false),
        ] {
            let found =
                GroupStatus { group: "vault".into(), role, state: state.into(), ..GroupStatus::default() };
            let outcome = is_split(&found, "a");
            assert_eq!(outcome.is_ok(), told, "{role:?} {state}: {outcome:?}");
            if let Err(error) = outcome {
                assert!(error.message.contains("group vault: node a") && !error.hint.is_empty(), "{error:?}");
            }
        }
    }
}
