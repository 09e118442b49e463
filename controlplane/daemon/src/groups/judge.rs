//! What would be lost if a group were deleted here, as far as the journal disk of this node tells.

use midspan_format::area::AreaKind;
use midspan_format::superblock::{AreaEntry, GroupPermit, GroupState, PairState, Role};
use midspan_node::boot::Journal;
use midspan_node::groups::unreceived;

use crate::config::Config;
use crate::exit::Failure;
use crate::words::Names;

/// Each in one sentence; none where nothing is lost.
///
/// # Errors
/// The disk cannot be read.
pub fn losses(config: &Config, journal: &Journal, permit: &GroupPermit) -> Result<Vec<String>, Failure> {
    let area = |kind| permit.areas().iter().find(|entry| entry.kind == kind);
    match (area(AreaKind::State), area(AreaKind::DirtyMap)) {
        (Some(state), Some(map)) => {
            let mut losses = at_site(journal, permit, state, map);
            if permit.holds_lane() {
                losses.extend(in_lane(config, journal, permit)?);
            }
            Ok(losses)
        }
        (Some(_) | None, _) => in_lane(config, journal, permit),
    }
}

fn at_site(journal: &Journal, permit: &GroupPermit, state: &AreaEntry, map: &AreaEntry) -> Vec<String> {
    match journal.recorded(permit.group, state, map) {
        Ok(Some((state, dirty_bytes))) => of_state(&state, dirty_bytes),
        Ok(None) => Vec::new(),
        // Nobody knows what it was.
        Err(error) => vec![error.to_string()],
    }
}

/// A secondary gives up a copy; a primary what the other site has not got.
fn of_state(state: &GroupState, dirty_bytes: u64) -> Vec<String> {
    let what = match (state.role, state.pair) {
        (Role::Secondary, _) | (Role::Primary, PairState::Simplex | PairState::Paired) => return Vec::new(),
        (Role::Primary, PairState::InitialCopy) => "the other site was never copied to its end",
        (Role::Primary, PairState::Suspended) => {
            "hosts were answered outside the lanes, because the ring was full"
        }
        (Role::Primary, PairState::Resync) => "a round to the other site has not ended",
        (Role::Primary, PairState::Degraded) => "hosts were answered outside the lanes",
        (Role::Primary, PairState::TakenOver) => "hosts were answered here since a takeover",
        (Role::Primary, PairState::Split) => "both sites answered hosts",
        (Role::Primary, PairState::Fenced) => {
            "the other site has taken over, and what this one may lack or have alone is not settled"
        }
    };
    let bytes =
        if dirty_bytes == 0 { "what differs is".to_owned() } else { format!("{dirty_bytes} bytes are") };
    vec![format!(
        "this site is its primary, and {what}: {bytes} only in the volumes here, and no longer marked"
    )]
}

fn in_lane(config: &Config, journal: &Journal, permit: &GroupPermit) -> Result<Vec<String>, Failure> {
    let bytes = unreceived(journal, permit)?;
    if bytes == 0 {
        return Ok(Vec::new());
    }
    let own = (config.node.id, config.node.name.clone());
    let peers = config.peers.iter().map(|peer| (peer.id, peer.name.clone()));
    let names = Names::new(std::iter::once(own).chain(peers).map(|(id, name)| (u64::from(id.get()), name)));
    let secondary = names.node(permit.secondary);
    Ok(vec![format!(
        "{secondary} has not received {bytes} bytes of the journal that stands here: a takeover there would lose what was \
         answered with them"
    )])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_outside_the_lanes_alone_has_something_to_lose() {
        let of = |role, pair, dirty| of_state(&GroupState { role, pair, ..GroupState::default() }, dirty);
        for pair in [PairState::Simplex, PairState::Paired] {
            assert!(of(Role::Primary, pair, 0).is_empty());
        }
        for pair in [PairState::InitialCopy, PairState::Suspended, PairState::Resync, PairState::TakenOver] {
            assert!(of(Role::Primary, pair, 65_536)[0].contains("65536 bytes are only in the volumes here"));
            assert!(of(Role::Secondary, pair, 65_536).is_empty());
        }
        assert!(of(Role::Primary, PairState::Split, 0)[0].contains("both sites answered hosts"));
    }
}
