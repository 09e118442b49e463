//! Three nodes that send each other heartbeats, and what they think when some of them get lost.

use alloc::vec;

use super::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const A: NodeId = NodeId(1);
const RELAY: NodeId = NodeId(2);
const B: NodeId = NodeId(3);
const GROUP: GroupId = GroupId(1);

fn roster(node: NodeId, incarnation: u64, now_ns: u64) -> Roster {
    let others = [A, RELAY, B].into_iter().filter(|other| *other != node);
    let peer = |peer: NodeId| PeerSetup {
        node: peer,
        groups: if peer == RELAY { vec![] } else { vec![GROUP] },
        shares: vec![GROUP],
        asks: [A, RELAY, B].into_iter().filter(|other| *other != node && *other != peer).collect(),
    };
    let peers = others.map(peer).collect();
    Roster::new(Setup { node, incarnation, settings: Settings::default(), peers }, now_ns)
}

struct World {
    now_ns: u64,
    nodes: Vec<Roster>,
    /// Dead nodes.
    dead: Vec<NodeId>,
    /// Ways on which nothing arrives, from and to.
    cut: Vec<(NodeId, NodeId)>,
}

impl World {
    fn new() -> Self {
        let nodes = [A, RELAY, B].map(|node| roster(node, 1, SECOND)).into();
        Self { now_ns: SECOND, nodes, dead: vec![], cut: vec![] }
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now_ns += 100 * MS;
            let mut under_way = Vec::new();
            for node in self.nodes.iter_mut().filter(|node| !self.dead.contains(&node.node)) {
                let epoch = Epoch { number: 1, node: A };
                let role = if node.node == A { Role::Primary } else { Role::Secondary };
                let told = ToldGroup { group: GROUP, epoch, role, serving: node.node == A };
                let groups = if node.node == RELAY { vec![] } else { vec![told] };
                under_way.extend((0..2).filter_map(|to| node.heartbeat(self.now_ns, to, &groups)));
            }
            self.now_ns += MS;
            for heartbeat in under_way.iter().filter(|h| !self.cut.contains(&(h.from, h.to))) {
                let to = self.nodes.iter_mut().find(|node| node.node == heartbeat.to).unwrap();
                to.on_heartbeat(self.now_ns, heartbeat).unwrap();
                to.check();
            }
        }
    }

    fn node(&mut self, node: NodeId) -> &mut Roster {
        self.nodes.iter_mut().find(|found| found.node == node).unwrap()
    }

    fn heard(&mut self, by: NodeId, node: NodeId) -> Heard {
        let now_ns = self.now_ns;
        let by = self.node(by);
        by.heard(now_ns, by.index(node).unwrap()).unwrap()
    }

    fn verdict(&mut self, by: NodeId, node: NodeId) -> Verdict {
        self.heard(by, node).verdict
    }
}

#[test]
fn nodes_that_hear_each_other_are_alive_and_know_the_way() {
    let mut world = World::new();
    assert_eq!(world.verdict(B, A), Verdict::Suspect);
    world.run(5_000);
    for (by, node) in [(A, RELAY), (A, B), (RELAY, A), (RELAY, B), (B, A), (B, RELAY)] {
        let heard = world.heard(by, node);
        assert_eq!((heard.verdict, heard.was_heard), (Verdict::Alive, true));
        assert_eq!(heard.rtt_ns, Some(2 * MS));
    }
    let b = world.node(B);
    let word = b.word(b.index(A).unwrap(), GROUP).unwrap();
    assert_eq!((word.role, word.serving, word.epoch.number), (Role::Primary, true, 1));
    assert_eq!(b.word(b.index(RELAY).unwrap(), GROUP), None);
}

#[test]
fn a_node_that_nobody_hears_is_dead_and_the_silences_say_since_when() {
    let mut world = World::new();
    world.run(5_000);
    world.dead.push(A);
    world.run(2_000);
    assert_eq!(world.verdict(B, A), Verdict::Suspect);
    world.run(3_000);
    assert_eq!(world.verdict(B, A), Verdict::NodeDead);
    assert_eq!(world.verdict(RELAY, A), Verdict::NodeDead);
    let heard = world.heard(B, A);
    for silent in [heard.silent_ns, heard.silent_elsewhere_ns.unwrap()] {
        assert!((5 * SECOND..6 * SECOND).contains(&silent), "{silent}");
    }
    assert_eq!(world.verdict(B, RELAY), Verdict::Alive);
}

#[test]
fn a_node_that_the_relay_hears_is_not_dead() {
    let mut world = World::new();
    world.run(5_000);
    world.cut = vec![(A, B), (B, A)];
    world.run(10_000);
    assert_eq!((world.verdict(A, B), world.verdict(B, A)), (Verdict::PathDead, Verdict::PathDead));
    assert!(world.heard(B, A).silent_elsewhere_ns.unwrap() < SECOND);
    world.cut.clear();
    world.run(1_000);
    assert_eq!(world.verdict(B, A), Verdict::Alive);
}

#[test]
fn who_is_cut_off_itself_cannot_tell() {
    let mut world = World::new();
    world.run(5_000);
    world.cut = vec![(A, B), (RELAY, B)];
    world.run(10_000);
    assert_eq!((world.verdict(B, A), world.verdict(B, RELAY)), (Verdict::CannotTell, Verdict::CannotTell));
    assert_eq!(world.heard(B, A).silent_elsewhere_ns, None);
}

#[test]
fn a_relay_that_has_just_started_says_nothing_of_nodes_it_did_not_wait_for() {
    let mut world = World::new();
    world.run(5_000);
    world.dead.extend([A, RELAY]);
    world.run(10_000);
    assert_eq!(world.verdict(B, A), Verdict::CannotTell);
    let now_ns = world.now_ns;
    *world.node(RELAY) = roster(RELAY, 2, now_ns);
    world.dead.retain(|node| *node == A);
    world.run(1_000);
    assert_eq!((world.verdict(B, RELAY), world.verdict(B, A)), (Verdict::Alive, Verdict::CannotTell));
    world.run(3_000);
    assert_eq!(world.verdict(B, A), Verdict::NodeDead);
    // The relay can vouch only for the time since its own start.
    assert!(world.heard(B, A).silent_elsewhere_ns.unwrap() < 5 * SECOND);
}

#[test]
fn an_own_pause_makes_nobody_silent() {
    let mut world = World::new();
    world.run(5_000);
    world.now_ns += 60 * SECOND;
    let now_ns = world.now_ns;
    world.node(B).on_own_pause(now_ns, 60 * SECOND);
    assert_eq!((world.verdict(B, A), world.verdict(B, RELAY)), (Verdict::Alive, Verdict::Alive));
    assert_eq!(world.verdict(A, B), Verdict::CannotTell);
}

#[test]
fn a_verdict_is_announced_when_it_lasts() {
    let mut world = World::new();
    world.run(5_000);
    let now_ns = world.now_ns;
    let b = world.node(B);
    let index = b.index(A).unwrap();
    let change = b.change(now_ns, index).unwrap();
    assert_eq!((change.before, change.now), (Verdict::Suspect, Verdict::Alive));
    assert_eq!(b.change(now_ns + 10 * MS, index), None);
    // It changes at once, and is not announced at once.
    assert_eq!(b.heard(now_ns + 900 * MS, index).unwrap().verdict, Verdict::Alive);
    assert!(b.change(now_ns + 900 * MS, index).is_none());
    let later = b.change(now_ns + 30 * SECOND, index).unwrap();
    assert_eq!((later.before, later.now), (Verdict::Alive, Verdict::CannotTell));
}

#[test]
fn heartbeats_of_strangers_for_others_and_from_before_are_not_used() {
    let (mut a, mut b) = (roster(A, 1, 0), roster(B, 1, 0));
    let to_b = a.index(B).unwrap();
    let old = a.heartbeat(SECOND, to_b, &[]).unwrap();
    let new = a.heartbeat(2 * SECOND, to_b, &[]).unwrap();
    assert_eq!(b.on_heartbeat(3 * SECOND, &new), Ok(()));
    assert_eq!(b.on_heartbeat(3 * SECOND, &new), Err(Ignored::Old));
    assert_eq!(b.on_heartbeat(3 * SECOND, &old), Err(Ignored::Old));
    let stranger = Heartbeat { from: NodeId(9), ..new };
    assert_eq!(b.on_heartbeat(3 * SECOND, &stranger), Err(Ignored::Stranger));
    assert_eq!(b.on_heartbeat(3 * SECOND, &Heartbeat { to: RELAY, ..new }), Err(Ignored::NotForUs));
    assert_eq!(b.on_other_version(3 * SECOND, NodeId(9), B), Err(Ignored::Stranger));
    // It started again, with an earlier clock; a straggler from before comes after that.
    let again = roster(A, 2, 0).heartbeat(SECOND, to_b, &[]).unwrap();
    assert_eq!(b.on_heartbeat(4 * SECOND, &again), Ok(()));
    let mut straggler = new;
    straggler.payload.stamp += 1;
    assert_eq!(b.on_heartbeat(4 * SECOND, &straggler), Err(Ignored::Old));
}

#[test]
fn a_node_of_another_version_is_heard() {
    let mut b = roster(B, 1, 0);
    let a = b.index(A).unwrap();
    (1..100).for_each(|n| b.on_other_version(n * 100 * MS, A, B).unwrap());
    assert_eq!(b.heard(10 * SECOND, a).unwrap().verdict, Verdict::Alive);
}

#[test]
fn what_does_not_fit_into_one_heartbeat_comes_in_the_next() {
    let groups: Vec<_> = (1..=19u32).map(GroupId).collect();
    let peers = vec![PeerSetup { node: A, groups: vec![], shares: groups.clone(), asks: vec![] }];
    let setup = Setup { node: B, incarnation: 1, settings: Settings::default(), peers };
    let mut b = Roster::new(setup, 0);
    let all: Vec<_> =
        groups.iter().map(|group| ToldGroup { group: *group, ..ToldGroup::default() }).collect();
    let mut seen = Vec::new();
    for n in 1..=3 {
        let heartbeat = b.heartbeat(n, 0, &all).unwrap();
        assert_eq!(heartbeat.payload.groups.len(), MAX_TOLD_GROUPS);
        seen.extend(heartbeat.payload.groups.iter().map(|told| told.group));
    }
    assert!(groups.iter().all(|group| seen.contains(group)));
    // Groups of others are not told.
    let stranger = ToldGroup { group: GroupId(99), ..ToldGroup::default() };
    assert!(b.heartbeat(9, 0, &[stranger]).unwrap().payload.groups.is_empty());
}
