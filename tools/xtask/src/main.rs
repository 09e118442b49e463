//! `cargo xtask`: the repository's chores. It needs nothing but cargo and what it installs itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

mod clock;
mod command;
mod source;
mod tree;
mod patches;
mod tidy;
mod setup;
mod stages;
mod test;
mod mutations;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the Midspan repository")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Installs what the suites need: Debian packages, cargo-deny, cargo-nextest. Says what it installs.
    Setup {
        /// Only reports what is missing; fails if something is.
        #[arg(long)]
        check: bool,
    },
    /// Runs everything that must hold: set-up, format, lints, tidy, licences, build, tests, simulator seeds.
    ///
    /// Example: cargo xtask test --quick
    Test {
        /// Without set-up, release build and the suites with real processes: for between two edits.
        #[arg(long)]
        quick: bool,
        /// Does not install anything; what is missing fails where it is needed.
        #[arg(long)]
        no_setup: bool,
    },
    /// Checks the house rules that the compiler does not: file sizes, module order, names, clocks, debts.
    Tidy,
    /// Puts each deliberate bug of tests/mutations into a copy of the tree, and lets the simulator find it: the oracle on trial.
    ///
    /// Ends with the table of docs/verification.md, and fails where a bug was not found, does not fit the code any more, or does not
    /// build. The tree itself is only read.
    ///
    /// Example: cargo xtask mutations answer-before-journaled no-lease
    Mutations {
        /// Bugs by name; all if none is named.
        names: Vec<String>,
        /// Only lists them: name, first seed, how many seeds, what is wrong.
        #[arg(long)]
        list: bool,
        /// Threads of the simulator; all cores by default.
        #[arg(long)]
        jobs: Option<usize>,
    },
    /// Builds the product and runs `midspan demo` with the given arguments.
    ///
    /// Example: cargo xtask demo --seconds 10 --json
    Demo {
        /// Arguments of `midspan demo`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Writes the golden files of the formats anew. Look at the difference: a changed byte is a new format version.
    Golden,
}

fn main() -> ExitCode {
    match run(Arguments::parse().chore) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<bool> {
    let root = root()?;
    match chore {
        Chore::Setup { check } => setup::run_setup(check),
        Chore::Test { quick, no_setup } => test::run_stages(&root, quick, no_setup),
        Chore::Tidy => tidy::run(&root),
        Chore::Mutations { names, list, jobs } => {
            mutations::run_trials(&root, &mutations::Wanted { names, list, jobs })
        }
        Chore::Demo { arguments } => test::demo(&root, &arguments),
        Chore::Golden => test::golden(&root),
    }
}

/// The repository: two folders above this crate.
fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map(Path::to_owned).context("this crate lies in tools/xtask of the repository")
}
