//! A site that holds a lane of its own group.

use midspan_format::area::AreaKind;
use midspan_format::ids::{AreaId, LaneId};
use midspan_format::message::RefusedReason;
use midspan_node::status::{AreaStatus, Health, RefusedCount};

use super::*;

fn ring() -> AreaStatus {
    AreaStatus {
        group: GroupId(7),
        lane: LaneId(0),
        kind: AreaKind::Ring,
        area: AreaId([1; 16]),
        size: 1 << 20,
        health: Health::Open,
        journaled: Position(4096),
        received: Position(4096),
        has_writer: true,
        epoch: Epoch { number: 4, node: NodeId(1) },
        primary: NodeId(1),
        secondary: NodeId(3),
    }
}

#[test]
fn a_site_with_a_lane_shows_it_as_a_relay_would() {
    let mut port = port(false);
    port.objects.groups = vec![Known { holds_lane: true, ..known("vault", 7, Some(1)) }];
    port.poll();
    let commands = port.commands();
    let asked: Vec<bool> =
        commands.iter().map(|(.., command)| matches!(command, Command::RelayStatus)).collect();
    assert_eq!(asked, [false, true, true]);
    let refused = vec![RefusedCount { node: NodeId(1), reason: RefusedReason::Busy, count: 3 }];
    let part = RelayStatus { areas: vec![ring()], refused };
    let group = Reply::Group(Box::new(GroupStatus { group: GroupId(7), ..GroupStatus::default() }));
    let news = port.after([
        Report::Reply { id: commands[2].1, reply: Reply::Relay(Box::new(part)) },
        Report::Reply { id: commands[0].1, reply: group },
    ]);
    let [News::Areas(areas, _), News::Group(group)] = &news[..] else { panic!("{news:?}") };
    assert_eq!((areas[0].kind.as_str(), areas[0].journaled), ("ring", Some(4096)));
    // The site stays a site: what its relay says stands beside what the group says.
    let status = &group.status;
    assert_eq!((status.role, status.refused), (crate::api::types::Role::Secondary, 3));
    assert_eq!((status.held[0].node.as_str(), status.held[0].watermarks.journaled), ("node 3", Some(4096)));
    assert!(status.lanes.is_empty());
}
