//! Installs what the suites need, and says what and why.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::command::{exists, run, say};

/// A program of another project that the suites run.
struct Program {
    name: &'static str,
    /// Debian package.
    package: &'static str,
    reason: &'static str,
}

const fn program(name: &'static str, package: &'static str, reason: &'static str) -> Program {
    Program { name, package, reason }
}

const PROGRAMS: [Program; 14] = [
    program("fio", "fio", "load with verification over NBD"),
    program("nbdinfo", "libnbd-bin", "libnbd's clients: nbdinfo, nbdcopy"),
    program("nbdfuse", "libnbd-bin", "an export as a file, for a file system on it"),
    program("nbdkit", "nbdkit", "the NBD server we are measured against"),
    program("qemu-io", "qemu-utils", "qemu-io patterns, qemu-img convert and compare"),
    program("mkfs.ext4", "e2fsprogs", "the file system of the suite"),
    program("pg_ctlcluster", "postgresql", "the database of the drill"),
    program("losetup", "mount", "loop devices: raw disks for the suites"),
    program("nft", "nftables", "cuts links between nodes"),
    program("ip", "iproute2", "network namespaces"),
    program("curl", "curl", "asks the API as a person would"),
    program("jq", "jq", "reads its answers"),
    program("systemd-socket-activate", "systemd", "socket activation"),
    program("c++", "g++", "compiles libFuzzer"),
];

/// Python's module of libnbd has no program; its package is looked for by name.
const LIBRARIES: [(&str, &str); 1] = [("python3-libnbd", "libnbd from Python, for the odd request")];

/// A cargo command from crates.io.
struct CargoTool {
    name: &'static str,
    version: &'static str,
    reason: &'static str,
}

const CARGO_TOOLS: [CargoTool; 3] = [
    CargoTool { name: "cargo-deny", version: "0.20.2", reason: "licences, sources and unwanted crates" },
    CargoTool {
        name: "cargo-nextest",
        version: "0.9.143",
        reason: "each test in its own process, with a time limit",
    },
    CargoTool { name: "cargo-fuzz", version: "0.13.2", reason: "arbitrary bytes for every decoder" },
];

/// Installs what is missing, or with `only_report` only names it; true where nothing is missing in the end.
pub fn run_setup(only_report: bool) -> Result<bool> {
    let packages = missing_packages()?;
    let tools: Vec<&CargoTool> = CARGO_TOOLS.iter().filter(|tool| !exists(tool.name)).collect();
    for tool in &tools {
        say(&format!("    missing: {} (crates.io): {}", tool.name, tool.reason))?;
    }
    if packages.is_empty() && tools.is_empty() {
        say("    set-up: nothing is missing")?;
        return Ok(true);
    }
    if only_report {
        return Ok(false);
    }
    if !packages.is_empty() {
        install_packages(&packages)?;
    }
    for tool in tools {
        install_tool(tool)?;
    }
    Ok(true)
}

/// Names each missing program with its reason; returns the packages, each once.
fn missing_packages() -> Result<Vec<&'static str>> {
    let mut packages = Vec::new();
    for program in PROGRAMS.iter().filter(|program| !exists(program.name)) {
        say(&format!(
            "    missing: {} (Debian package {}): {}",
            program.name, program.package, program.reason
        ))?;
        packages.push(program.package);
    }
    for (package, reason) in LIBRARIES {
        if !is_installed(package) {
            say(&format!("    missing: Debian package {package}: {reason}"))?;
            packages.push(package);
        }
    }
    packages.sort_unstable();
    packages.dedup();
    Ok(packages)
}

/// Whether dpkg knows the package as installed; where there is no dpkg, the package is not asked for.
fn is_installed(package: &str) -> bool {
    let query =
        Command::new("dpkg-query").args(["-W", "-f=${Status}", package]).stderr(Stdio::null()).output();
    query.map_or(true, |query| query.stdout.ends_with(b"ok installed"))
}

fn install_packages(packages: &[&str]) -> Result<()> {
    let by_hand = format!("apt-get install {}", packages.join(" "));
    if !exists("apt-get") {
        bail!("this is no Debian: install by its own means what Debian's `{by_hand}` would");
    }
    let words: &[&str] = if is_root() {
        &["apt-get"]
    } else if exists("sudo") {
        &["sudo", "apt-get"]
    } else {
        bail!("not root and no sudo: run as root `{by_hand}`, then try again");
    };
    say(&format!("    installing with apt-get: {}", packages.join(" ")))?;
    let apt = |arguments: &[&str]| {
        let mut all = words.iter().chain(arguments);
        let mut command = Command::new(all.next().unwrap_or(&"apt-get"));
        command.args(all).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null());
        run(&mut command)
    };
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(packages);
    if !apt(&["update"])? || !apt(&install)? {
        bail!("apt-get failed: run as root `apt-get update && {by_hand}`, then try again");
    }
    Ok(())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

/// From source, but without optimisation: it runs once for a second, and compiling it well would take minutes.
fn install_tool(tool: &CargoTool) -> Result<()> {
    say(&format!("    installing with cargo: {} {}", tool.name, tool.version))?;
    let mut command = Command::new("cargo");
    command.args(["install", "--quiet", "--locked", tool.name, "--version", tool.version]);
    command.current_dir(std::env::temp_dir());
    for (key, value) in [("OPT_LEVEL", "0"), ("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "false")] {
        command.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    if !run(&mut command)? {
        bail!("cargo install {} failed", tool.name);
    }
    Ok(())
}
