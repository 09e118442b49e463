//! The lane at the primary itself, alone: hosts wait for nobody, and what a takeover loses is said before.

use super::*;

const SITES: &[Place] = &[Place::Relay, Place::Secondary, Place::Primary];
const LOCAL: &str = "mode = \"max-performance\"\n";

fn local() -> Stage {
    let mut stage = Stage::begin(shape(SITES, LOCAL, ""));
    wait_lanes(&mut stage.cluster, Place::Primary, &[Place::Primary]);
    stage
}

#[test]
fn a_takeover_without_the_primary_needs_a_word_and_serves_the_last_cut() {
    let mut stage = local();
    for place in [Place::Primary, Place::Secondary] {
        stage.cluster.node(place).wait("unable to promise anything", LIMIT, |group| {
            group.zero_loss == Some(false) && group.zero_loss_why.contains("the lane at the primary itself")
        });
    }
    stage.load.stop();
    stage.cluster.wait_no_lag(Place::Primary);
    stage.cluster.kill(Place::Primary);
    // One that is begun without the word waits half a minute for the lane before it says the same.
    let said = stage.cluster.midspan(Place::Secondary, &["takeover", GROUP, "--dry-run"]);
    println!("{}", said.with_code(6, &["may be missing"]));
    let said = stage.cluster.midspan(Place::Secondary, &["takeover", GROUP, "--yes", "--accept-loss"]);
    println!("{}", said.with_code(6, &["may be missing"]));
    stage.cluster.wait_serving(Place::Secondary);
    // Hosts had stopped and all was applied: the last cut is all there is.
    stage.verify(Place::Secondary);
    stage.load.resume(stage.cluster.uris(Place::Secondary));
    stage.load.wait_for_answers();
    // The former primary follows what counts now.
    stage.load.stop();
    stage.cluster.start(Place::Primary);
    stage.cluster.wait_follows(Place::Primary);
    stage.cluster.wait_paired();
    stage.both_hold_the_same(Place::Secondary);
}

#[test]
fn a_primary_restarts_from_its_own_lane_and_a_switchover_loses_nothing() {
    let mut stage = local();
    // Nobody else is needed for hosts to be answered.
    stage.cluster.kill(Place::Relay);
    stage.cluster.kill(Place::Secondary);
    stage.hosts_notice_nothing();
    stage.cluster.kill(Place::Primary);
    stage.cluster.start(Place::Primary);
    stage.cluster.wait_serving(Place::Primary);
    stage.load.wait_for_answers();
    stage.verify(Place::Primary);
    stage.cluster.start(Place::Relay);
    stage.cluster.start(Place::Secondary);
    stage.cluster.wait_paired();
    stage.load.resume(stage.cluster.uris(Place::Primary));
    stage.load.wait_for_answers();
    println!("{}", stage.cluster.midspan(Place::Primary, &["switchover", GROUP, "--yes"]).well());
    stage.cluster.wait_serving(Place::Secondary);
    stage.load.stop_replaced();
    stage.verify(Place::Secondary);
    wait_lanes(&mut stage.cluster, Place::Secondary, &[Place::Secondary]);
    stage.cluster.wait_paired();
    stage.cluster.compare(Place::Secondary);
}
