//! Tests of the detector.

use super::*;

const MS: u64 = 1_000_000;
const SETTINGS: Settings =
    Settings { interval_ns: 100 * MS, pause_ns: 0, suspect: Suspicion::SUSPECT, dead: Suspicion::DEAD };

/// A detector that heard a heartbeat every 100 ms until `end_ms`.
fn steady(settings: Settings, end_ms: u64) -> Detector {
    let mut detector = Detector::new(settings, 0);
    for at in (0..=end_ms).step_by(100) {
        detector.on_heartbeat(at * MS);
        detector.check();
    }
    detector
}

/// Silence after which it is dead, milliseconds.
fn patience_ms(detector: &Detector, now_ms: u64) -> u64 {
    (0..100_000).find(|ms| detector.level((now_ms + ms) * MS) == Level::Dead).unwrap()
}

#[test]
fn the_table_is_that_of_the_normal_distribution() {
    // -log10 of the tail at 1, 2, 3 and 6 deviations: 0.1587, 0.02275, 0.00135, 9.866e-10.
    for (above, phi) in [(0, 301), (1_000, 800), (2_000, 1_643), (3_000, 2_870), (6_000, 9_006)] {
        assert_eq!(normal(above), phi);
    }
    assert_eq!(normal(u64::MAX), Suspicion::MAX.0);
    assert!((0..10_000).all(|above| normal(above) <= normal(above + 1)));
}

#[test]
fn suspicion_grows_with_the_silence_and_ends_with_a_heartbeat() {
    let mut detector = steady(SETTINGS, 20_000);
    assert_eq!(detector.level(20_100 * MS), Level::Alive);
    assert_eq!(detector.level(20_800 * MS), Level::Suspect);
    assert_eq!(detector.level(22_000 * MS), Level::Dead);
    detector.on_heartbeat(22_001 * MS);
    assert_eq!(detector.level(22_100 * MS), Level::Alive);
}

#[test]
fn a_longer_silence_is_never_less_suspect() {
    let mut detector = Detector::new(SETTINGS, 0);
    let mut now = 0;
    for step in 0..500u64 {
        now += 1 + step * 7_919 % 400;
        detector.on_heartbeat(now * MS);
        detector.check();
        let mut last = Suspicion(0);
        for silence in (0..5_000).step_by(13) {
            let here = detector.suspicion((now + silence) * MS);
            assert!(here >= last, "{here:?} after {last:?}, {silence} ms after {now}");
            last = here;
        }
    }
}

#[test]
fn the_acceptable_pause_comes_on_top() {
    let strict = patience_ms(&steady(SETTINGS, 20_000), 20_000);
    let lenient = patience_ms(&steady(Settings { pause_ns: 1_000 * MS, ..SETTINGS }, 20_000), 20_000);
    assert_eq!(lenient, strict + 1_000);
}

#[test]
fn who_was_never_heard_is_suspect_and_then_dead() {
    let detector = Detector::new(SETTINGS, 5_000 * MS);
    assert!(!detector.was_heard());
    assert_eq!(detector.level(5_000 * MS), Level::Suspect);
    assert_eq!(detector.level(7_000 * MS), Level::Dead);
}

#[test]
fn a_peer_that_says_that_it_sends_seldomer_is_not_late() {
    let mut detector = Detector::new(SETTINGS, 0);
    detector.expect(10 * MS);
    assert_eq!(patience_ms(&detector, 0), patience_ms(&Detector::new(SETTINGS, 0), 0));
    detector.expect(1_000 * MS);
    detector.on_heartbeat(MS);
    assert_eq!(detector.level(2_000 * MS), Level::Alive);
    assert_eq!(detector.level(30_000 * MS), Level::Dead);
}

#[test]
fn an_outage_does_not_blind_the_detector() {
    let mut detector = steady(SETTINGS, 20_000);
    let before = patience_ms(&detector, 20_000);
    detector.on_heartbeat(20_000 * MS + 3_600_000 * MS);
    let after = patience_ms(&detector, 3_620_000);
    assert!(after < before * 11 / 10, "{before} became {after}");
}

#[test]
fn a_burst_of_late_heartbeats_makes_nobody_impatient() {
    let mut detector = steady(SETTINGS, 20_000);
    let before = patience_ms(&detector, 20_000);
    (0..WINDOW as u64).for_each(|n| detector.on_heartbeat((20_000 + n) * MS));
    assert!(patience_ms(&detector, 20_127) >= before);
}

#[test]
fn a_path_that_loses_every_second_heartbeat_is_given_twice_the_time() {
    let mut detector = Detector::new(SETTINGS, 0);
    (0..400u64).for_each(|n| detector.on_heartbeat(n * 200 * MS));
    let (lossy, steady) = (patience_ms(&detector, 79_800), patience_ms(&steady(SETTINGS, 20_000), 20_000));
    assert!(lossy.abs_diff(2 * steady) <= 2, "{lossy} and {steady}");
}

#[test]
fn an_own_pause_is_not_the_peers_silence() {
    let mut detector = steady(SETTINGS, 20_000);
    detector.forgive(10_000 * MS, 30_000 * MS);
    assert_eq!(detector.level(30_000 * MS), Level::Alive);
    // It never moves what was heard into the future.
    detector.forgive(u64::MAX, 30_000 * MS);
    assert_eq!(detector.silent_ns(30_000 * MS), 0);
    assert_eq!(detector.level(32_000 * MS), Level::Dead);
}

#[test]
fn extremes_do_not_overflow() {
    let settings = Settings { interval_ns: u64::MAX, pause_ns: u64::MAX, ..SETTINGS };
    for settings in [settings, SETTINGS, Settings { interval_ns: MICROSECOND_NS, ..SETTINGS }] {
        let mut detector = Detector::new(settings, u64::MAX);
        detector.expect(u64::MAX);
        for n in 0..300u64 {
            let at = if n % 2 == 0 { 0 } else { u64::MAX };
            detector.on_heartbeat(at);
            detector.forgive(u64::MAX, at);
            detector.check();
            assert!(detector.suspicion(u64::MAX) <= Suspicion::MAX);
            assert!(detector.suspicion(0) <= Suspicion::MAX);
        }
    }
}
