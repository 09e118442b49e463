//! A group becomes of another kind: `lane_set` is changed in the files of both sites, and both are started anew.

use super::*;

impl Stage {
    /// What who changes a file does: both sites' files, then a restart of the secondary, then one of the primary.
    fn becomes(&mut self, kind: &str) {
        for place in [Place::Secondary, Place::Primary] {
            self.cluster.write_config(place, |text| {
                let line = |line: &str| match line.starts_with("lane_set = ") {
                    true => format!("lane_set = \"{kind}\"\n"),
                    false => format!("{line}\n"),
                };
                text.lines().map(line).collect()
            });
            self.cluster.kill(place);
            self.cluster.start(place);
        }
        self.cluster.wait_serving(Place::Primary);
        self.verify(Place::Primary);
        self.load.resume(self.cluster.uris(Place::Primary));
        let (share, holding) = match kind {
            "stripe" => (true, 2),
            "mirror" => (false, 2),
            _ => (false, 1),
        };
        self.cluster.node(Place::Primary).wait(&format!("as a {kind}"), LIMIT, |group| {
            group.serving && group.lanes_share == share && group.lanes_holding == Some(holding)
        });
        self.hosts_notice_nothing_more();
    }

    fn hosts_notice_nothing_more(&self) {
        let before = self.load.counts();
        self.load.wait_for_answers();
        let after = self.load.counts();
        assert_eq!((before.errors, before.disconnects), (after.errors, after.disconnects), "{after:?}");
    }
}

#[test]
fn a_group_becomes_of_every_kind_under_load() {
    let cluster = Cluster::running(shape(RELAYS, "", FAILOVER));
    let load = Load::of_sizes(&cluster, "4k:50,128k:50");
    let mut stage = Stage { load, cluster };
    stage.load.wait_for_answers();
    for kind in ["stripe", "mirror", "stripe", "failover", "mirror", "failover"] {
        stage.becomes(kind);
    }
    stage.both_hold_the_same(Place::Primary);
}

#[test]
fn a_mirror_that_was_a_stripe_survives_the_loss_of_the_primary_and_either_relay() {
    for dies in RELAYS {
        let cluster = Cluster::running(shape(RELAYS, "", STRIPE));
        let load = Load::of_sizes(&cluster, "4k:50,128k:50");
        let mut stage = Stage { load, cluster };
        stage.load.wait_for_answers();
        stage.becomes("mirror");
        stage.cluster.kill(*dies);
        stage.take_over();
        stage.cluster.start(*dies);
        stage.cluster.start(Place::Primary);
        stage.cluster.wait_paired();
        stage.both_hold_the_same(Place::Secondary);
    }
}
