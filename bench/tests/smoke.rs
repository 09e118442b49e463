//! Every suite from the outside: it runs with `--smoke`, ends well, and its JSON holds what was promised. No figure is judged.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The daemon that the suites start: from the folder that `MIDSPAN_BIN` names; else the one built last of those in the target
/// folder of this test.
fn midspand() -> PathBuf {
    if let Some(folder) = std::env::var_os("MIDSPAN_BIN") {
        return Path::new(&folder).join("midspand");
    }
    // target/PROFILE/midspan-bench
    let target = Path::new(env!("CARGO_BIN_EXE_midspan-bench")).ancestors().nth(2).unwrap();
    let built = |profile: &str| {
        let path = target.join(profile).join("midspand");
        Some((fs::metadata(&path).and_then(|found| found.modified()).ok()?, path))
    };
    let newest = ["release", "debug"].into_iter().filter_map(built).max();
    let (_, path) = newest.unwrap_or_else(|| {
        panic!(
            "there is no midspand in {}: `cargo build --release -p midspan-daemon` makes it, MIDSPAN_BIN names another folder",
            target.display()
        )
    });
    path
}

/// Runs a suite to its end and returns its line of JSON.
fn smoke(suite: &str, more: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_midspan-bench"));
    command.args([suite, "--smoke", "--json"]).args(more).env("MIDSPAND", midspand());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{suite} ended with {}: {said}", output.status);
    assert!(said.contains("smoke run"), "a smoke run must say so: {said}");
    let line = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&report["suite"], &report["settings"]["smoke"]), (&Value::from(suite), &Value::from(true)));
    assert!(report["environment"]["kernel"].is_string());
    report
}

/// Each load of these names is there with all that a report needs, and so are at most that many ratios. Nothing may have
/// completed within a window so short where others keep the disk busy; in all of them together something has.
fn holds(report: &Value, loads: &[&str], ratios: usize) {
    let found = report["loads"].as_array().unwrap();
    let names: Vec<&str> = found.iter().map(|load| load["name"].as_str().unwrap()).collect();
    assert_eq!(names, loads);
    for load in found {
        let completes = load["iops"]["median"].as_f64().unwrap() > 0.0;
        assert_eq!(load["p50_us"].is_object(), completes, "{load}");
        assert_eq!(load["percentiles"].as_array().unwrap().is_empty(), !completes, "{load}");
        assert!(load["title"].is_string() && load["cpu_us"].is_object(), "{load}");
        // Counting takes longer than a smoke run.
        assert!(load["syscalls"].as_object().unwrap().is_empty(), "{load}");
        assert_eq!(load["timeline"].as_array().unwrap().len(), 20, "{load}");
    }
    assert!(found.iter().any(|load| load["p50_us"].is_object()), "nothing has ever completed");
    let values = report["ratios"].as_object().unwrap();
    assert!((1..=ratios).contains(&values.len()) && values.values().all(Value::is_number), "{values:?}");
}

#[test]
fn quick_runs_and_writes_files_for_the_histogram_tools() {
    let folder = std::env::temp_dir().join(format!("midspan-smoke-hdr-{}", std::process::id()));
    let report = smoke("quick", &["--hdr", folder.to_str().unwrap()]);
    let loads = ["randwrite_4k_qd1", "randwrite_4k_qd32", "write_128k_qd8"];
    holds(&report, &loads, 5);
    for name in loads {
        for kind in ["hgrm", "hlog"] {
            let path = folder.join(format!("{name}.{kind}"));
            assert!(fs::metadata(&path).unwrap().len() > 0, "{}", path.display());
        }
        assert!(report["path"][name]["iops"].is_object() && report["floor"][name]["answer"].is_object());
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn write_runs() {
    let report = smoke("write", &[]);
    let loads = [
        "randwrite_4k_qd1",
        "randwrite_4k_qd4",
        "randwrite_4k_qd32",
        "randwrite_4k_qd128",
        "write_64k_qd8",
        "write_1m_qd4",
        "mixed_4k_qd32",
        "fsync_4k_qd1",
        "fsync_4k_qd16",
        "randwrite_4k_rate70",
    ];
    holds(&report, &loads, 10);
    let load =
        |name: &str| report["loads"].as_array().unwrap().iter().find(|load| load["name"] == name).unwrap();
    assert!(load("mixed_4k_qd32")["reads"]["p50_us"].is_object());
    assert!(load("randwrite_4k_rate70")["open"]["offered_iops"].is_object());
    assert!(load("randwrite_4k_qd32").get("open").is_none());
}

#[test]
fn read_runs() {
    let report = smoke("read", &["--host", "unix"]);
    holds(&report, &["randread_4k_qd1", "randread_4k_qd32", "read_128k_qd8"], 4);
    assert!(report["disk_reads"]["randread_4k_qd1"]["p50_us"].is_object());
}

#[test]
fn multi_runs() {
    let report = smoke("multi", &[]);
    let mut loads = vec!["randwrite_4k_v1c1", "randwrite_4k_v1c4", "randwrite_4k_v4c1", "randwrite_4k_v4c4"];
    let mut ratios = 4;
    if report["environment"]["cores"].as_u64().unwrap() > 1 {
        loads.extend(["randwrite_4k_v4c4_two_cores", "randwrite_4k_v4c4_two_cores_two_groups"]);
        ratios = 6;
    }
    holds(&report, &loads, ratios);
    let connections: Vec<&Value> =
        report["loads"].as_array().unwrap().iter().map(|load| &load["connections"]).collect();
    assert_eq!(connections[..4], [1, 4, 4, 16]);
}

#[test]
fn floor_runs_without_nodes() {
    let report = smoke("floor", &[]);
    assert!(report["floor"]["randwrite_4k_qd1"]["answer"]["p50_us"].is_object());
    assert_eq!(report["loads"], Value::Array(Vec::new()));
}

#[test]
fn peers_runs_with_those_that_are_installed_and_draws_a_page() {
    let page = std::env::temp_dir().join(format!("midspan-smoke-page-{}.html", std::process::id()));
    let report = smoke("peers", &["--html", page.to_str().unwrap()]);
    let loads = report["loads"].as_array().unwrap();
    let missing = report["missing"].as_array().unwrap();
    let by = |on: &str| loads.iter().filter(|load| load["on"] == on).count();
    for on in ["midspan", "midspan_attached", "quorum", "qemu_nbd", "nbdkit"] {
        let is_missing = missing.iter().any(|peer| peer["peer"] == on);
        assert_eq!(by(on), if is_missing { 0 } else { 6 }, "{on}");
    }
    assert_eq!(report["goals"].as_array().unwrap().len(), 7);
    assert!(report["ratios"].is_object() && report["ratio_ranges"].is_object());
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("<svg") && html.ends_with("</html>\n"));
    fs::remove_file(page).unwrap();
}

#[test]
fn a_run_compared_with_itself_is_the_same_and_what_is_no_run_is_refused() {
    let run = std::env::temp_dir().join(format!("midspan-smoke-run-{}.json", std::process::id()));
    fs::write(&run, r#"{"suite":"quick","path":{"a":{"iops":{"median":2.0,"min":1.0,"max":3.0}}}}"#).unwrap();
    let compare = |other: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_midspan-bench"));
        command.arg("compare").args([&run, other]).output().unwrap().status.code()
    };
    assert_eq!(compare(&run), Some(0));
    let worse = run.with_extension("worse");
    fs::write(&worse, r#"{"suite":"quick","path":{"a":{"iops":{"median":0.5,"min":0.4,"max":0.6}}}}"#)
        .unwrap();
    assert_eq!(compare(&worse), Some(1));
    assert_eq!(compare(Path::new("/nonexistent/run.json")), Some(2));
    fs::remove_file(run).unwrap();
    fs::remove_file(worse).unwrap();
}

#[test]
fn path_measures_each_stage_without_nodes_and_draws_a_page() {
    let page = std::env::temp_dir().join(format!("midspan-smoke-path-{}.html", std::process::id()));
    let report = smoke("path", &["--html", page.to_str().unwrap()]);
    assert!(fs::read_to_string(&page).unwrap().contains("<svg"));
    fs::remove_file(page).unwrap();
    for name in ["nbd_request_and_reply", "inflight_overlap", "seal_8x4k", "walk_1x128k", "append_32x4k"] {
        assert!(report["stages"][name]["ns"]["median"].as_f64().unwrap() > 0.0, "{name}");
    }
    assert!(report["ratios"]["seal_32x4k_vs_checksum"].is_number());
}

#[test]
fn drain_works_a_backlog_off() {
    let report = smoke("drain", &[]);
    assert!(report["ratios"]["drain_vs_fill"].is_number());
    let drain = &report["drains"]["randwrite_4k_qd32"];
    assert!(drain["journal_bytes"]["median"].as_f64() > drain["data_bytes"]["median"].as_f64(), "{drain}");
}

#[test]
fn takeover_serves_what_the_primary_answered() {
    let report = smoke("takeover", &[]);
    assert!(report["ratios"]["takeover_s_vs_goal"].is_number());
    let with_backlog = &report["takeovers"]["backlog_8mib"];
    assert!(
        with_backlog["backlog_bytes"]["median"].as_f64().unwrap() >= f64::from(8 << 20),
        "{with_backlog}"
    );
}

#[test]
fn round_brings_up_a_secondary_that_was_away_for_longer_than_the_ring_lasts() {
    let report = smoke("round", &[]);
    for name in ["alone", "beside_writes"] {
        let round = &report["rounds"][name];
        assert!(round["dirty_bytes"]["median"].as_f64().unwrap() >= f64::from(8 << 20), "{round}");
        assert!(
            round["journal_bytes"]["median"].as_f64() > round["dirty_bytes"]["median"].as_f64(),
            "{round}"
        );
    }
    for name in ["round_bytes_vs_dirty", "round_rate_vs_slower", "round_rate_vs_device_share"] {
        assert!(report["ratios"][name].as_f64().unwrap() > 0.0, "{name}");
    }
    // The host beside the round may have got no answer while that ran.
    assert_eq!(report["loads"].as_array().unwrap().len(), 2);
}

#[test]
fn distance_measures_over_paths_of_each_length() {
    let report = smoke("distance", &[]);
    let far = &report["answer_by_far"]["far_100ms"];
    assert!(far["round_trip_us"]["median"].as_f64().unwrap() > 99_000.0, "{far}");
    assert!(report["answer_by_relay"]["relay_200us"].is_object());
    assert!(report["carried"]["far_100ms"]["drain_mbps"]["median"].is_number());
}
