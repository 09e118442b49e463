//! Which crate may know which: the table of the house as data, held against the manifests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Whether a crate may use crates from outside beyond those listed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outside {
    /// Only these, by name.
    Only(&'static [&'static str]),
    /// Any that `FORBIDDEN` does not keep for others.
    Any,
}

/// One row: a crate, where it lies, which of ours and which from outside it may depend on.
struct Row {
    name: &'static str,
    folder: &'static str,
    ours: &'static [&'static str],
    outside: Outside,
}

const FORMAT: &str = "midspan-format";
const PROTOCOL: &str = "midspan-protocol";
const URING: &str = "midspan-uring";
const NODE: &str = "midspan-node";
const CONTROL: &str = "midspan-control";
const DAEMON: &str = "midspan-daemon";
const CLI: &str = "midspan";
const RIG: &str = "midspan-rig";
const TESTS: &str = "midspan-tests";

/// Records go right, numbers go left; pure crates decide, one crate touches the kernel, thin crates connect them.
const TABLE: [Row; 11] = [
    // Pure: every byte on disk or wire. Its crates from outside work without an operating system.
    Row {
        name: FORMAT,
        folder: "dataplane/format",
        ours: &[],
        outside: Outside::Only(&["rkyv", "blake3", "crc-fast", "zerocopy", "thiserror"]),
    },
    // Pure: what to do, never how.
    Row {
        name: PROTOCOL,
        folder: "dataplane/protocol",
        ours: &[FORMAT],
        outside: Outside::Only(&["thiserror"]),
    },
    // All unsafe code; knows bytes and descriptors, nothing of ours.
    Row {
        name: URING,
        folder: "dataplane/uring",
        ours: &[],
        outside: Outside::Only(&["io-uring", "libc", "core_affinity", "crossbeam", "thiserror", "usdt"]),
    },
    // Glue of the data plane: no async runtime, no control crate.
    Row {
        name: NODE,
        folder: "dataplane/node",
        ours: &[FORMAT, PROTOCOL, URING],
        outside: Outside::Only(&["crossbeam", "hdrhistogram", "thiserror"]),
    },
    // Pure: states and policy of the control plane.
    Row {
        name: CONTROL,
        folder: "controlplane/core",
        ours: &[FORMAT],
        outside: Outside::Only(&["thiserror"]),
    },
    // Of node it may use the port and the boot only.
    Row {
        name: DAEMON,
        folder: "controlplane/daemon",
        ours: &[FORMAT, CONTROL, NODE],
        outside: Outside::Any,
    },
    Row {
        name: "midspan-bench",
        folder: "bench",
        ours: &[FORMAT, PROTOCOL, URING, NODE, CLI],
        outside: Outside::Any,
    },
    // Of the daemon it has the API's types only, which a test below demands.
    Row { name: CLI, folder: "tools/midspan", ours: &[FORMAT, DAEMON], outside: Outside::Any },
    Row { name: "xtask", folder: "tools/xtask", ours: &[], outside: Outside::Any },
    // Real processes, seen as an operator sees them: of the daemon it has the API's types only, too.
    Row { name: RIG, folder: "tests/rig", ours: &[DAEMON, CLI], outside: Outside::Any },
    Row {
        name: TESTS,
        folder: "tests",
        ours: &[FORMAT, PROTOCOL, URING, NODE, CONTROL, DAEMON, CLI, RIG],
        outside: Outside::Any,
    },
];

/// Crates from outside that only some of ours may name as a dependency.
const FORBIDDEN: [(&[&str], &[&str]); 4] = [
    // The kernel is touched in one place.
    (&["io-uring", "libc", "core_affinity", "nix", "rustix", "tokio-uring", "libublk"], &[URING]),
    // A runtime belongs to the control plane only.
    (&["axum", "hyper"], &[DAEMON]),
    // The torture hears signals by it, without a line of unsafe code.
    (&["tokio"], &[DAEMON, TESTS]),
    (&["rkyv", "crc-fast"], &[FORMAT]),
];

/// A dependency as a manifest names it.
struct Dependency {
    name: String,
    is_ours: bool,
    /// For tests, benches and examples only.
    is_dev: bool,
    default_features: bool,
    features: Vec<String>,
}

struct Package {
    name: String,
    folder: String,
    dependencies: Vec<Dependency>,
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn packages() -> Vec<Package> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let root = text(&metadata["workspace_root"]);
    let dependency = |value: &Value| Dependency {
        name: text(&value["name"]),
        is_ours: value["path"].is_string(),
        is_dev: value["kind"] == "dev",
        default_features: value["uses_default_features"].as_bool().unwrap(),
        features: value["features"].as_array().unwrap().iter().map(text).collect(),
    };
    let package = |value: &Value| {
        let manifest = text(&value["manifest_path"]);
        let folder = Path::new(&manifest).parent().unwrap().strip_prefix(&root).unwrap();
        Package {
            name: text(&value["name"]),
            folder: folder.to_str().unwrap().to_owned(),
            dependencies: value["dependencies"].as_array().unwrap().iter().map(dependency).collect(),
        }
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

fn row(package: &Package) -> &'static Row {
    TABLE
        .iter()
        .find(|row| row.name == package.name)
        .unwrap_or_else(|| panic!("{} is not in the table", package.name))
}

#[test]
fn the_table_has_exactly_the_crates_of_the_workspace() {
    let table: BTreeSet<_> = TABLE.iter().map(|row| (row.name.to_owned(), row.folder.to_owned())).collect();
    let workspace: BTreeSet<_> =
        packages().into_iter().map(|package| (package.name, package.folder)).collect();
    assert_eq!(workspace, table, "a new crate needs a new border, not a new topic");
}

/// Dev-dependencies too: a test of one crate that needs another one belongs in `tests`.
#[test]
fn a_crate_imports_of_ours_only_what_the_table_allows() {
    for package in packages() {
        let allowed = row(&package).ours;
        for dependency in package.dependencies.iter().filter(|dependency| dependency.is_ours) {
            assert!(
                allowed.contains(&dependency.name.as_str()),
                "{} may not import {}",
                package.name,
                dependency.name
            );
        }
    }
}

/// Looser for dev-dependencies: tests, benches and examples may use any crate from outside.
#[test]
fn a_crate_imports_from_outside_only_what_the_table_allows() {
    for package in packages() {
        let row = row(&package);
        let outside =
            package.dependencies.iter().filter(|dependency| !dependency.is_ours && !dependency.is_dev);
        for dependency in outside {
            let name = dependency.name.as_str();
            if let Outside::Only(allowed) = row.outside {
                assert!(allowed.contains(&name), "{} may not depend on {name}", package.name);
            }
            for (crates, holders) in FORBIDDEN {
                let free = !crates.contains(&name) || holders.contains(&row.name);
                assert!(free, "{} may not depend on {name}: that is for {holders:?}", package.name);
            }
        }
    }
}

/// The command and the rig reach the daemon over its socket: the server, and with it the data plane, stays out of them.
#[test]
fn the_command_has_the_types_of_the_api_and_not_the_server() {
    let packages = packages();
    for name in [CLI, RIG] {
        let package = packages.iter().find(|package| package.name == name).unwrap();
        let mut dependencies = package.dependencies.iter();
        let daemon = dependencies.find(|dependency| dependency.name == DAEMON && !dependency.is_dev).unwrap();
        let features = &daemon.features;
        assert!(!daemon.default_features && features.is_empty(), "{name}: {features:?}");
    }
}

/// These change every byte of an archive, for the whole graph: they are stated and never inherited from a default.
#[test]
fn the_layout_of_archives_is_pinned_by_features() {
    let packages = packages();
    let format = packages.iter().find(|package| package.name == FORMAT).unwrap();
    let rkyv = format.dependencies.iter().find(|dependency| dependency.name == "rkyv").unwrap();
    assert!(!rkyv.default_features);
    for feature in ["little_endian", "aligned", "pointer_width_32", "bytecheck"] {
        assert!(rkyv.features.iter().any(|stated| stated == feature), "{feature} must be stated");
    }
}

#[test]
fn the_table_has_no_cycle() {
    let mut settled: BTreeSet<&str> = BTreeSet::new();
    while settled.len() < TABLE.len() {
        let ready: Vec<&str> = TABLE
            .iter()
            .filter(|row| !settled.contains(row.name) && row.ours.iter().all(|name| settled.contains(name)))
            .map(|row| row.name)
            .collect();
        assert!(!ready.is_empty(), "a cycle among the rest of {settled:?}");
        settled.extend(ready);
    }
}
