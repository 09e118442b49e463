//! What is said of a group's lane set: which lanes hold the journal, how many should, and what is under way to change it.

use std::fmt::Write as _;

use midspan_daemon::api::types::GroupStatus;

/// Whether fewer lanes hold the journal than are to.
pub fn is_exposed(group: &GroupStatus) -> bool {
    match (group.lanes_holding, group.lanes_wanted) {
        (Some(holding), Some(wanted)) => 0 < holding && holding < wanted,
        (None, _) | (_, None) => false,
    }
}

/// Says it, where there is more to say than the table does.
pub fn sentences(text: &mut String, group: &GroupStatus) {
    let name = &group.group;
    let holding = usize::try_from(group.lanes_holding.unwrap_or(0)).unwrap_or(0);
    let nodes: Vec<&str> = group.lanes.iter().map(|lane| lane.node.as_str()).collect();
    let (held, coming) = nodes.split_at(holding.min(nodes.len()));
    if group.lanes_share && holding > 1 {
        let at = if held.len() > 1 {
            format!("the lanes at {}", held.join(" and "))
        } else {
            "two lanes".to_owned()
        };
        let _ = writeln!(
            text,
            "{name}: each write's head is in {at}, the data of a large one in one of them; what the secondary has not received is lost with \
             the primary and either of them"
        );
    } else if let Some(first) = held.first().filter(|_| holding > 1) {
        let _ = match held.len() {
            // A secondary knows of the one that it reads.
            1 => {
                writeln!(text, "{name}: each write is in {holding} lanes; this site reads the one at {first}")
            }
            _ => writeln!(text, "{name}: each write is in the lanes at {}", held.join(" and ")),
        };
    }
    if is_exposed(group) {
        let at = held.first().copied().unwrap_or_default();
        let _ = writeln!(text, "{name}: exposed: single relay: the journal is in the lane at {at} alone");
    }
    for node in coming.iter().filter(|_| holding > 0) {
        let _ =
            writeln!(text, "{name}: a lane at {node} is tried: it is filled first, and counts after that");
    }
    if group.lanes_changing {
        let _ = writeln!(text, "{name}: the lanes change: waits for the other site to record it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use midspan_daemon::api::types::LaneStatus;

    fn group(nodes: &[&str], holding: u64, wanted: u64, changing: bool) -> GroupStatus {
        let lane = |node: &&str| LaneStatus { node: (*node).to_owned(), ..LaneStatus::default() };
        GroupStatus {
            group: "vault".into(),
            lanes: nodes.iter().map(lane).collect(),
            lanes_holding: Some(holding),
            lanes_wanted: Some(wanted),
            lanes_changing: changing,
            ..GroupStatus::default()
        }
    }

    fn said(nodes: &[&str], holding: u64, wanted: u64, changing: bool) -> String {
        let group = group(nodes, holding, wanted, changing);
        let mut text = String::new();
        sentences(&mut text, &group);
        assert_eq!(is_exposed(&group), text.contains("exposed"), "{text}");
        text
    }

    #[test]
    fn one_lane_as_wanted_is_in_the_table_only() {
        assert_eq!(said(&["r"], 1, 1, false), "");
        assert_eq!(said(&["r"], 0, 2, false), "", "outside the lanes");
    }

    #[test]
    fn a_mirror_names_both_its_lanes_or_says_that_it_is_exposed() {
        assert_eq!(said(&["r", "s"], 2, 2, false), "vault: each write is in the lanes at r and s\n");
        assert_eq!(
            said(&["r"], 2, 2, false),
            "vault: each write is in 2 lanes; this site reads the one at r\n"
        );
        assert_eq!(
            said(&["r"], 1, 2, false),
            "vault: exposed: single relay: the journal is in the lane at r alone\n"
        );
    }

    #[test]
    fn a_stripe_says_that_its_data_is_in_one_lane() {
        let share = |nodes: &[&str], holding| {
            let mut group = group(nodes, holding, 1, false);
            group.lanes_share = true;
            let mut text = String::new();
            sentences(&mut text, &group);
            text
        };
        let said = share(&["r", "s"], 2);
        assert!(
            said.starts_with(
                "vault: each write's head is in the lanes at r and s, the data of a large one in one of them;"
            ),
            "{said}"
        );
        assert!(said.ends_with("is lost with the primary and either of them\n"), "{said}");
        assert!(
            share(&["r"], 2).starts_with("vault: each write's head is in two lanes,"),
            "a secondary reads both"
        );
        assert_eq!(share(&["r"], 1), "", "one of them is left");
    }

    #[test]
    fn a_change_under_way_is_said() {
        let text = said(&["r", "s"], 1, 1, false);
        assert_eq!(text, "vault: a lane at s is tried: it is filled first, and counts after that\n");
        let text = said(&["r", "s"], 2, 1, true);
        assert_eq!(
            text,
            "vault: each write is in the lanes at r and s\nvault: the lanes change: waits for the other site to record it\n"
        );
    }
}
