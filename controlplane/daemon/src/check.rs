//! `midspand --check`: what is wrong in configs, each finding on a line that names file, line and field.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError, Finding, Severity, check_together};
use crate::exit::{self, Failure};

/// Reads and checks one config with which a node is to start; prints what is wrong in it.
///
/// # Errors
/// When it is missing, or a node must not start with it.
pub fn load(path: &Path, out: &mut dyn Write) -> Result<Config, Failure> {
    let config = Config::load(path).map_err(unreadable)?;
    if findings(&config.check(), out)? {
        return Ok(config);
    }
    let message = format!("{}: a node cannot start with this config", path.display());
    Err(Failure::other(message).hint("`midspan config check` checks it without starting anything"))
}

/// Checks several configs, each alone and all together. The exit code says whether a node may start with each.
///
/// # Errors
/// When the findings cannot be printed.
pub fn files(paths: &[PathBuf], out: &mut dyn Write) -> Result<u8, Failure> {
    let mut configs = Vec::new();
    let mut good = true;
    for path in paths {
        match Config::load(path) {
            Ok(config) => {
                good &= findings(&config.check(), out)?;
                configs.push(config);
            }
            Err(ConfigError::Parse(finding)) => good &= findings(&[finding], out)?,
            Err(error @ ConfigError::Read { .. }) => {
                writeln!(out, "{error}").map_err(closed)?;
                return Ok(unreadable(error).code);
            }
        }
    }
    good &= findings(&check_together(&configs), out)?;
    if good {
        for path in paths {
            writeln!(out, "{}: ok", path.display()).map_err(closed)?;
        }
    }
    Ok(if good { exit::OK } else { exit::FAILURE })
}

/// Prints findings; says whether a node may start in spite of them.
fn findings(findings: &[Finding], out: &mut dyn Write) -> Result<bool, Failure> {
    for finding in findings {
        writeln!(out, "{finding}").map_err(closed)?;
    }
    Ok(findings.iter().all(|finding| finding.severity != Severity::Error))
}

fn unreadable(error: ConfigError) -> Failure {
    let missing =
        matches!(&error, ConfigError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound);
    Failure::new(if missing { exit::NOT_FOUND } else { exit::FAILURE }, error)
}

fn closed(error: io::Error) -> Failure {
    Failure::other(format!("the findings cannot be printed: {error}"))
}
