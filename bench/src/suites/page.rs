//! `midspan-bench report`: a run's JSON as a page with pictures.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::compare::figure::Run;
use crate::html;

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan-bench report run.json -o report.html

The file is what a suite writes with --json; its last line counts. Every suite can write the page itself: --html FILE.";

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// JSON of a run
    pub run: PathBuf,
    /// Where the page goes
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    pub output: PathBuf,
}

/// Writes the page.
///
/// # Errors
/// When the run cannot be read or the page not be written.
pub fn run(arguments: &Arguments) -> Result<()> {
    write(&Run::read(&arguments.run)?, &arguments.output)
}

/// Writes the page of a run.
///
/// # Errors
/// What the file system says.
pub fn write(run: &Run, to: &Path) -> Result<()> {
    std::fs::write(to, html::page(run)).with_context(|| format!("writing {}", to.display()))
}
