//! A site without its relay: the lanes are left and come back, by the group's rule or by an operator's word; and the two ways
//! that control information takes.

use std::time::Duration;

use midspan::clock::Clock;

use rig::{GROUP, LIMIT, MOMENT, Place, Scene, Shape, pause, wait_for};

const AVAILABLE: &str = "mode = \"max-availability\"\n";

fn scene(site_keys: &'static str) -> Option<Scene> {
    Scene::with(Shape { site_keys, ring_mib: 64, ..Shape::new(1, 16) })
}

#[test]
fn hosts_go_on_without_the_relay_once_the_other_site_knows_it() {
    let Some(mut scene) = scene(AVAILABLE) else { return };
    let disconnects = scene.load.handle().counts().disconnects;
    scene.network.isolate(Place::Relay);
    scene.wait_state(Place::Primary, "degraded");
    scene.hosts_go_on();
    // The secondary knows it, and does not pretend to have everything.
    let group = scene.cluster.group(Place::Secondary);
    assert_eq!(group.zero_loss, Some(false), "{group:?}");
    scene.heal(disconnects);
    // The round has brought everything, and the mark is gone.
    scene.cluster.kill(Place::Primary);
    println!("{}", scene.cluster.take_over());
    scene.load.verify(&scene.cluster.uris(Place::Secondary));
}

#[test]
fn a_takeover_says_that_hosts_were_answered_without_the_relay() {
    let Some(mut scene) = scene(AVAILABLE) else { return };
    scene.network.isolate(Place::Relay);
    scene.wait_state(Place::Primary, "degraded");
    scene.hosts_go_on();
    scene.cluster.kill(Place::Primary);
    scene.network.heal();
    let said = scene.cluster.midspan(Place::Secondary, &["takeover", GROUP, "--yes"]);
    said.badly(&["hosts were answered outside the lanes", " s before now, may be missing", "--accept-loss"]);
    // The primary comes back and goes on with all that it has answered.
    scene.cluster.start(Place::Primary);
    scene.cluster.wait_serving(Place::Primary);
    scene.cluster.wait_paired();
    scene.load.wait_for_answers();
    scene.load.verify(&scene.cluster.uris(Place::Primary));
}

#[test]
fn a_primary_that_nobody_reaches_waits() {
    let Some(mut scene) = scene(AVAILABLE) else { return };
    let disconnects = scene.load.handle().counts().disconnects;
    scene.network.isolate(Place::Primary);
    scene.wait_state(Place::Primary, "stalled");
    let before = scene.answered();
    pause(MOMENT * 4);
    assert_eq!(scene.answered(), before, "nobody can be told that the lanes are left: hosts wait");
    scene.heal(disconnects);
}

/// An isolated primary goes on where the group says so, and both sites are told apart.
#[test]
fn row_both_wrote() {
    let Some(mut scene) = scene("mode = \"max-availability\"\nisolated = \"continue\"\n") else { return };
    scene.network.isolate(Place::Primary);
    scene.wait_state(Place::Primary, "degraded");
    scene.hosts_go_on();
    // No takeover of such a group is without loss.
    let said = scene.cluster.midspan(Place::Secondary, &["takeover", GROUP, "--yes"]);
    said.badly(&["may have gone on where nobody reaches it", "--accept-loss"]);
    let said = scene.cluster.midspan(Place::Secondary, &["takeover", GROUP, "--yes", "--accept-loss"]);
    println!("{}", said.with_code(6, &["s before now, may be missing"]));
    scene.cluster.wait_serving(Place::Secondary);
    scene.load.stop();
    scene.network.heal();
    // Both wrote: the one that was replaced keeps what it has, and does not follow by itself.
    scene.wait_state(Place::Primary, "split");
    let said = scene.cluster.midspan(Place::Primary, &["resolve", GROUP, "--keep", "relay", "--yes"]);
    said.badly(&["was replaced by site-b"]);
    let said =
        scene.cluster.midspan(Place::Primary, &["resolve", GROUP, "--list", "--output", "json"]).well();
    assert!(said.contains("\"bytes\"") && said.contains("ranges"), "{said}");
    let folder = scene.cluster.folder().file("alone");
    let folder = folder.to_str().unwrap();
    println!("{}", scene.cluster.midspan(Place::Primary, &["resolve", GROUP, "--export", folder]).well());
    let said = scene.cluster.midspan(Place::Primary, &["resolve", GROUP, "--keep", "site-b", "--yes"]);
    println!("{}", said.well());
    scene.cluster.wait_paired();
    // Nothing of what was given up is left.
    scene.cluster.compare(Place::Secondary);
}

/// The operator picks the victim: here it is the site that took over, which finds itself in a split in turn.
#[test]
fn row_both_wrote_and_the_replaced_site_is_kept() {
    let Some(mut scene) = scene("mode = \"max-availability\"\nisolated = \"continue\"\n") else { return };
    scene.network.isolate(Place::Primary);
    scene.wait_state(Place::Primary, "degraded");
    scene.hosts_go_on();
    let takeover = ["takeover", GROUP, "--yes", "--accept-loss"];
    println!("{}", scene.cluster.midspan(Place::Secondary, &takeover).with_code(6, &["may be missing"]));
    scene.cluster.wait_serving(Place::Secondary);
    scene.load.stop();
    scene.network.heal();
    scene.wait_state(Place::Primary, "split");
    let keep = ["resolve", GROUP, "--keep", "site-a", "--yes"];
    println!("{}", scene.cluster.midspan(Place::Primary, &keep).well());
    // The word is recorded: it counts for the next process, too.
    scene.cluster.kill(Place::Primary);
    scene.cluster.start(Place::Primary);
    scene.cluster.wait_serving(Place::Primary);
    scene.wait_state(Place::Secondary, "split");
    scene.load.verify(&scene.cluster.uris(Place::Primary));
    scene.load.resume(scene.cluster.uris(Place::Primary));
    scene.load.wait_for_answers();
    // What the other one was told since its takeover is listed there before it is given up.
    println!("{}", scene.cluster.midspan(Place::Secondary, &["resolve", GROUP, "--list"]).well());
    println!("{}", scene.cluster.midspan(Place::Secondary, &keep).well());
    scene.cluster.wait_paired();
    scene.load.stop();
    scene.cluster.wait_no_lag(Place::Primary);
    scene.load.verify(&scene.cluster.uris(Place::Primary));
    scene.cluster.compare(Place::Primary);
}

/// A start without the journal needs an operator, and names what may be missing.
#[test]
fn row_relay_lost_and_primary_restarted() {
    let Some(mut scene) = scene("") else { return };
    // Once a few seconds the primary notes how far its disks are.
    pause(MOMENT * 6);
    scene.load.stop();
    scene.cluster.kill(Place::Primary);
    scene.cluster.kill(Place::Relay);
    scene.cluster.start(Place::Primary);
    scene.wait_state(Place::Primary, "starting");
    let said = scene.cluster.midspan(Place::Primary, &["status", GROUP]).well();
    assert!(said.contains("the start waits for lane 0 at relay"), "{said}");
    let start = ["start", GROUP, "--without-journal", "--yes"];
    scene
        .cluster
        .midspan(Place::Primary, &start)
        .badly(&["the other site can be reached and has more", "run takeover on the other site"]);
    scene.cluster.kill(Place::Secondary);
    let said = scene.cluster.midspan(Place::Primary, &start);
    assert!(said.status.success(), "{said}");
    let text = format!("{}{}", said.out, said.err);
    assert!(
        text.contains("may be missing") && text.contains("hosts are served without the journal"),
        "{text}"
    );
    scene.cluster.wait_serving(Place::Primary);
    scene.wait_state(Place::Primary, "degraded");
    // Everybody is back: what this site serves is what counts, and all of it is sent.
    scene.cluster.start(Place::Relay);
    scene.cluster.start(Place::Secondary);
    scene.cluster.wait_paired();
    scene.cluster.midspan(Place::Primary, &start).badly(&["no start waits for the relay here"]);
    scene.cluster.compare(Place::Primary);
}

#[test]
fn either_way_alone_carries_what_the_sites_must_know_of_each_other() {
    for (site_keys, cut) in [("control_path = \"direct\"\n", None), ("control_path = \"relay\"\n", Some(()))]
    {
        let Some(mut scene) = scene(site_keys) else { return };
        let disconnects = scene.load.handle().counts().disconnects;
        if cut.is_some() {
            scene.network.cut(Place::Primary, Place::Secondary);
        }
        scene.hosts_go_on();
        // Receipts come, and manifests are covered by them.
        scene.cluster.node(Place::Primary).wait("told what is applied", LIMIT, |group| {
            group.lanes.first().and_then(|lane| lane.watermarks.applied).is_some_and(|applied| applied > 0)
        });
        scene.heal(disconnects);
        assert_eq!(scene.kept(), 0, "{site_keys}");
        scene.cluster.kill(Place::Primary);
        println!("{}", scene.cluster.take_over());
        scene.load.verify(&scene.cluster.uris(Place::Secondary));
    }
}

#[test]
fn manifests_are_kept_until_a_receipt_covers_them_also_over_a_restart() {
    let Some(mut scene) = scene("") else { return };
    scene.network.isolate(Place::Secondary);
    scene.wait_state(Place::Secondary, "detached");
    scene.hosts_go_on();
    scene.load.stop();
    pause(MOMENT);
    let before = scene.kept();
    assert!(before > 10, "{before} manifests");
    scene.cluster.kill(Place::Primary);
    scene.cluster.start(Place::Primary);
    scene.cluster.wait_serving(Place::Primary);
    pause(MOMENT);
    let after = scene.kept();
    assert!(after >= before, "{before} were kept, {after} after the restart");
    scene.network.heal();
    scene.cluster.wait_paired();
    scene.cluster.wait_no_lag(Place::Primary);
    pause(MOMENT);
    assert_eq!(scene.kept(), 0);
}

#[test]
fn a_takeover_without_the_relay_serves_what_there_is_and_goes_on_when_the_relay_is_back() {
    let Some(mut scene) = scene("") else { return };
    scene.load.stop();
    scene.cluster.wait_no_lag(Place::Primary);
    scene.cluster.kill(Place::Primary);
    scene.cluster.kill(Place::Relay);
    let takeover = ["takeover", GROUP, "--yes", "--accept-loss"];
    let said = scene.cluster.midspan(Place::Secondary, &takeover);
    println!("{}", said.with_code(6, &["the relay could not be fenced and read", "may be missing"]));
    scene.cluster.wait_serving(Place::Secondary);
    scene.load.verify(&scene.cluster.uris(Place::Secondary));
    scene.load.resume(scene.cluster.uris(Place::Secondary));
    scene.load.wait_for_answers();
    // The lane ends where this site stood: nobody else has answered anything, and what is here is all there is.
    scene.cluster.start(Place::Relay);
    scene.cluster.start(Place::Primary);
    scene.cluster.wait_paired();
    scene.load.wait_for_answers();
    scene.load.verify(&scene.cluster.uris(Place::Secondary));
    println!("{}", scene.cluster.midspan(Place::Secondary, &["failback", GROUP, "--yes"]).well());
    scene.load.verify(&scene.cluster.uris(Place::Primary));
}

#[test]
fn an_abort_that_the_relay_does_not_answer_ends_and_keeps_no_takeover_away() {
    let Some(mut scene) = scene("") else { return };
    scene.load.stop();
    scene.cluster.wait_no_lag(Place::Primary);
    scene.cluster.kill(Place::Primary);
    scene.cluster.kill(Place::Relay);
    let abort = ["takeover", GROUP, "--abort", "--yes", "--wait", "30"];
    scene.cluster.midspan(Place::Secondary, &abort).badly(&["did not answer in time"]);
    let takeover = ["takeover", GROUP, "--yes", "--accept-loss"];
    println!("{}", scene.cluster.midspan(Place::Secondary, &takeover).with_code(6, &["may be missing"]));
    scene.cluster.wait_serving(Place::Secondary);
    scene.load.verify(&scene.cluster.uris(Place::Secondary));
}

#[test]
fn a_former_primary_lets_the_site_that_took_over_without_the_relay_meet_the_lane_first() {
    let Some(mut scene) = scene("") else { return };
    scene.load.stop();
    scene.cluster.wait_no_lag(Place::Primary);
    scene.cluster.kill(Place::Primary);
    scene.cluster.kill(Place::Relay);
    let takeover = ["takeover", GROUP, "--yes", "--accept-loss"];
    println!("{}", scene.cluster.midspan(Place::Secondary, &takeover).with_code(6, &["may be missing"]));
    scene.load.resume(scene.cluster.uris(Place::Secondary));
    // The former primary reaches the relay, and the site that serves does not: it cannot be the first there.
    scene.network.cut(Place::Secondary, Place::Relay);
    scene.cluster.start(Place::Relay);
    scene.cluster.start(Place::Primary);
    wait_for("the former primary should say that it waits", LIMIT, || {
        scene.cluster.node(Place::Primary).status()?;
        scene.cluster.events(Place::Primary).into_iter().find(|event| event.kind == "other_serves")
    });
    scene.hosts_go_on();
    let group = scene.cluster.group(Place::Primary);
    assert!(!group.serving, "{group:?}");
    let said = scene.cluster.midspan(Place::Primary, &["status", GROUP]).well();
    assert!(!said.contains("the start waits for lane"), "nothing is wrong with the lane: {said}");
    let start = ["start", GROUP, "--without-journal", "--yes"];
    scene.cluster.midspan(Place::Primary, &start).badly(&["the other site serves hosts since a takeover"]);
    scene.network.heal();
    scene.cluster.wait_paired();
    scene.load.wait_for_answers();
    scene.load.verify(&scene.cluster.uris(Place::Secondary));
}

#[test]
fn a_dry_run_without_the_relay_says_within_seconds_what_may_be_missing() {
    let Some(mut scene) = scene("") else { return };
    scene.load.stop();
    scene.cluster.wait_no_lag(Place::Primary);
    scene.network.isolate(Place::Secondary);
    scene.wait_state(Place::Secondary, "detached");
    for arguments in [&["--dry-run"][..], &["--dry-run", "--accept-loss"]] {
        let began = Clock::starting_at(0);
        let said = scene.cluster.midspan(Place::Secondary, &[&["takeover", GROUP], arguments].concat());
        let figures = [" s before now, may be missing", " bytes that the journal is known to have held"];
        println!("{}", said.with_code(6, &figures));
        assert!(began.elapsed() < Duration::from_secs(10), "{arguments:?} took {:?}", began.elapsed());
    }
    // Nothing was changed.
    scene.network.heal();
    scene.cluster.wait_paired();
    scene.load.verify(&scene.cluster.uris(Place::Primary));
}

#[test]
fn two_histories_are_told_apart_when_a_site_took_over_without_the_relay() {
    let Some(mut scene) = scene("") else { return };
    scene.network.isolate(Place::Secondary);
    scene.wait_state(Place::Secondary, "detached");
    let takeover = ["takeover", GROUP, "--yes", "--accept-loss"];
    println!("{}", scene.cluster.midspan(Place::Secondary, &takeover).with_code(6, &["may be missing"]));
    scene.cluster.wait_serving(Place::Secondary);
    // The primary lives, and hosts are answered in the lanes.
    scene.hosts_go_on();
    scene.network.heal();
    scene.wait_state(Place::Secondary, "split");
    scene.load.wait_for_answers();
    println!("{}", scene.cluster.midspan(Place::Secondary, &["resolve", GROUP, "--list"]).well());
    let resolve = ["resolve", GROUP, "--keep", "site-a", "--yes"];
    println!("{}", scene.cluster.midspan(Place::Secondary, &resolve).well());
    scene.cluster.wait_paired();
    scene.load.wait_for_answers();
    scene.load.verify(&scene.cluster.uris(Place::Primary));
    scene.cluster.wait_no_lag(Place::Primary);
    scene.cluster.kill(Place::Primary);
    println!("{}", scene.cluster.take_over());
    scene.load.verify(&scene.cluster.uris(Place::Secondary));
}
