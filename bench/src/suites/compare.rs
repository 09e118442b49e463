//! `midspan-bench compare`: what changed from one run to another, beyond noise.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::compare::figure::Run;
use crate::compare::verdict::Verdict;

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan-bench compare before.json after.json
  midspan-bench compare before.json after.json --threshold 10 --json

The files are what a suite writes with --json; their last line counts. A figure has changed when its ranges in both runs
lie apart and its medians differ by more than the threshold.
Exit code: 0 when no figure is worse, 1 when at least one is, 2 when the files cannot be compared.";

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// JSON of the first run
    pub before: PathBuf,
    /// JSON of the second run
    pub after: PathBuf,
    /// Smaller changes of a median than this do not count, percent
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, value_parser = percent)]
    pub threshold: f64,
    /// Show the figures that did not change, too
    #[arg(long)]
    pub all: bool,
    /// End with one line of JSON
    #[arg(long)]
    pub json: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=1000.0).contains(&percent) => Ok(percent),
        Ok(_) | Err(_) => Err("a number of percent from 0 to 1000 is needed".to_owned()),
    }
}

/// Compares.
///
/// # Errors
/// When a file is not there or holds no run.
pub fn run(arguments: &Arguments) -> Result<Verdict> {
    let (before, after) = (Run::read(&arguments.before)?, Run::read(&arguments.after)?);
    Ok(Verdict::of(&before, &after, arguments.threshold))
}
