//! The README's commands: everything that must hold, and the demo.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::command::{Tests, cargo, exists, run, run_tests, say, shown};
use crate::setup;
use crate::stages::{Outcome, Stages};
use crate::tidy;

/// Packages with the product's two programs, `midspand` and `midspan`.
const PRODUCT: [&str; 4] = ["-p", "midspan-daemon", "-p", "midspan"];
/// Simulator seeds of a full run, the first and how many: the first book, and the fourth, where groups have several lanes.
const SEEDS: [(u32, u32); 2] = [(1, 300), (3_000_500, 500)];
/// Of a quick one.
const SEEDS_QUICK: [(u32, u32); 1] = [(1, 20)];
/// The fuzz targets' own workspace.
const FUZZ: &str = "tests/fuzz";
/// The model's own workspace: its checker stays out of the product's lock file.
const MODEL: &str = "tests/model/Cargo.toml";
/// How the fuzz targets are built, by every command alike: anything else would build them again.
const FUZZ_BUILD: [&str; 4] = ["--sanitizer", "none", "--codegen-units", "16"];
/// How long each of them runs, seconds.
const FUZZ_SECONDS: u32 = 3;
/// How many run at a time: each keeps one core busy.
const FUZZ_AT_ONCE: usize = 2;

/// Runs all stages; false where one is broken.
pub fn run_stages(root: &Path, quick: bool, no_setup: bool) -> Result<bool> {
    let mut stages = Stages::default();
    if !quick && !no_setup {
        stages.run("set-up", || setup::run_setup(false).map(Outcome::from))?;
    }
    let held = |command: &mut Command| run(command).map(Outcome::from);
    stages.run("format", || held(cargo(root).args(["fmt", "--all", "--check"])))?;
    stages.run("tidy", || tidy::run(root).map(Outcome::from))?;
    stages.run("clippy", || {
        held(cargo(root).args(["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    if !quick {
        stages.run("deny", || deny(root))?;
        stages.run("build", || held(&mut build(root)))?;
    }
    let mut tests = Tests::default();
    stages.run("tests", || tests_of_all_crates(root, quick, &mut tests))?;
    if !quick {
        stages.run("doc tests", || {
            let mut command = cargo(root);
            command.args(["test", "--locked", "--workspace", "--doc"]);
            run_tests(command, &mut tests).map(Outcome::from)
        })?;
    }
    stages.run("simulator", || {
        let books: &[(u32, u32)] = if quick { &SEEDS_QUICK } else { &SEEDS };
        let mut held = true;
        for (first, seeds) in books {
            held &= run(&mut simulate(root, *first, *seeds))?;
        }
        Ok(Outcome::from(held))
    })?;
    if !quick {
        stages.run("model", || run_tests(model(root), &mut tests).map(Outcome::from))?;
        stages.run("fuzz smoke", || fuzz(root))?;
    }
    let held = stages.summary()?;
    if tests.flaky > 0 {
        say(&format!(
            "{} passed only when they were run again: FLAKY above; each is a bug to be found",
            tests.flaky
        ))?;
    }
    say(&format!("{} passed, {} failed", tests.passed, tests.failed))?;
    Ok(held)
}

/// Licences, sources and unwanted crates; advisories need the network and are not asked for.
fn deny(root: &Path) -> Result<Outcome> {
    if !exists("cargo-deny") {
        say("    cargo-deny is not installed: `cargo xtask setup` does that")?;
        return Ok(Outcome::Skipped);
    }
    let mut command = cargo(root);
    command.args(["deny", "--log-level", "error", "--locked", "check", "bans", "licenses", "sources"]);
    run(&mut command).map(Outcome::from)
}

fn build(root: &Path) -> Command {
    let mut command = cargo(root);
    command.args(["build", "--locked", "--release"]).args(PRODUCT);
    command
}

/// One test process after another where nextest is there: it gives each its time limit. Else plain cargo test.
fn tests_of_all_crates(root: &Path, quick: bool, tests: &mut Tests) -> Result<Outcome> {
    let nextest = exists("cargo-nextest");
    let mut command = cargo(root);
    command.args(if nextest { ["nextest", "run"].as_slice() } else { &["test"] });
    command.args(["--locked", "--workspace", "--no-fail-fast"]);
    if quick {
        command.args(["--lib", "--bins"]);
    } else if !nextest {
        command.arg("--tests");
    }
    // The suites run the product that was just built.
    command.env("MIDSPAN_BIN", release(root));
    run_tests(command, tests).map(Outcome::from)
}

fn simulate(root: &Path, first: u32, seeds: u32) -> Command {
    let mut command = cargo(root);
    command.args([
        "run",
        "--quiet",
        "--locked",
        "--release",
        "-p",
        "midspan-tests",
        "--bin",
        "simulate",
        "--",
    ]);
    command.args(["--first", &first.to_string(), "--seeds", &seeds.to_string()]);
    command
}

/// Every state of the model's short runs, and each sentence of the design left out.
fn model(root: &Path) -> Command {
    let mut command = cargo(root);
    command.args(["test", "--locked", "--manifest-path", MODEL]);
    command
}

/// A few seconds for each fuzz target, two at a time: one build, then every decoder meets arbitrary bytes. Without a
/// sanitizer: the compiler we pin has none, and the decoders have no unsafe code.
fn fuzz(root: &Path) -> Result<Outcome> {
    if !exists("cargo-fuzz") {
        say("    cargo-fuzz is not installed: `cargo xtask setup` does that")?;
        return Ok(Outcome::Skipped);
    }
    let targets = fuzz_targets(root)?;
    let mut build = cargo(root);
    build.args(["fuzz", "build", "--fuzz-dir", FUZZ]).args(FUZZ_BUILD);
    if !run(&mut build)? {
        return Ok(Outcome::Broken);
    }
    let queue = Mutex::new(targets.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run_targets = || {
        let mut held = true;
        while let Some(target) = next() {
            held &= fuzz_target(root, &target)?;
        }
        Ok(held)
    };
    let held: Result<Vec<bool>> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..FUZZ_AT_ONCE).map(|_| scope.spawn(run_targets)).collect();
        runs.into_iter().map(|run| run.join().unwrap_or_else(|_| bail!("a fuzz run panicked"))).collect()
    });
    Ok(Outcome::from(held?.into_iter().all(|held| held)))
}

/// Names of all targets, in order.
fn fuzz_targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join(FUZZ).join("fuzz_targets");
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let names =
        entries.map(|entry| Ok(entry?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned())));
    let mut targets: Vec<String> = names.filter_map(Result::transpose).collect::<Result<_>>()?;
    targets.sort_unstable();
    if targets.is_empty() {
        bail!("{} holds no fuzz target", folder.display());
    }
    Ok(targets)
}

/// Runs one target from its committed seeds; false where it crashed, with all it said. What it finds on the way stays in
/// the folder for builds, so that the next run goes on from there.
fn fuzz_target(root: &Path, target: &str) -> Result<bool> {
    let built =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(FUZZ).join("target"), Into::into);
    let found = root.join(built).join("corpus").join(target);
    std::fs::create_dir_all(&found).with_context(|| found.display().to_string())?;
    let mut command = cargo(root);
    command.args(["fuzz", "run", "--fuzz-dir", FUZZ]).args(FUZZ_BUILD).arg(target);
    command.arg(&found).arg(format!("{FUZZ}/corpus/{target}"));
    command.args(["--", &format!("-max_total_time={FUZZ_SECONDS}"), "-timeout=10", "-rss_limit_mb=1024"]);
    let output = command.output().with_context(|| format!("cannot start `{}`", shown(&command)))?;
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        let runs = words.lines().find(|line| line.starts_with("Done ")).unwrap_or("ran");
        say(&format!("    {target}: {runs}"))?;
    } else {
        say(&format!("    $ {}\n{words}    {target}: BROKEN", shown(&command)))?;
    }
    Ok(output.status.success())
}

/// The folder of the product's programs.
fn release(root: &Path) -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
    target.join("release")
}

/// Builds the product and runs its demo.
pub fn demo(root: &Path, arguments: &[String]) -> Result<bool> {
    let mut build = build(root);
    // The demo's last line on standard output is its result: cargo's own words stay on standard error.
    if !build.status()?.success() {
        bail!("the product does not build");
    }
    let mut command = Command::new(release(root).join("midspan"));
    command.arg("demo").args(arguments);
    Ok(command.status()?.success())
}

/// Writes the golden files of the formats anew.
pub fn golden(root: &Path) -> Result<bool> {
    let mut command = cargo(root);
    command.args(["test", "--locked", "-p", "midspan-format", "golden"]).env("MIDSPAN_GOLDEN", "write");
    run(&mut command)
}
