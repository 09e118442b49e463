//! What is wrong in a file and where: `FILE:LINE: FIELD: what, and what is allowed`.

use std::fmt;
use std::path::{Path, PathBuf};

use super::field::Field;

/// Whether a node starts in spite of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The node does not start.
    Error,
    /// The node starts; the operator should know.
    Warning,
}

/// One thing in a file that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether a node starts in spite of it.
    pub severity: Severity,
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The field, such as `group[0].ring`; empty where the text is not TOML.
    pub field: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl Finding {
    pub(super) fn new(severity: Severity, path: &Path, text: &str, field: &Field, message: String) -> Self {
        let line = line_of(text, field.offset(text));
        Self { severity, path: path.to_owned(), line, field: field.to_string(), message }
    }

    /// It is about the file, not about one line of it.
    pub(super) fn whole(path: &Path, message: String) -> Self {
        Self { severity: Severity::Error, path: path.to_owned(), line: 1, field: String::new(), message }
    }

    /// The text is not TOML.
    pub(super) fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        Self::at(path, text, error, String::new())
    }

    /// The text is TOML but not a configuration.
    pub(super) fn value(
        path: &Path,
        text: &str,
        error: &serde_path_to_error::Error<toml::de::Error>,
    ) -> Self {
        Self::at(path, text, error.inner(), Field::from_serde(error.path()).to_string())
    }

    fn at(path: &Path, text: &str, error: &toml::de::Error, field: String) -> Self {
        let offset = error.span().map_or(0, |span| span.start);
        let message = error.message().to_owned();
        Self { severity: Severity::Error, path: path.to_owned(), line: line_of(text, offset), field, message }
    }
}

/// The line, from 1, of a byte offset.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: ", self.path.display(), self.line)?;
        match self.severity {
            Severity::Error => {}
            Severity::Warning => write!(out, "warning: ")?,
        }
        if !self.field.is_empty() {
            write!(out, "{}: ", self.field)?;
        }
        write!(out, "{}", self.message)
    }
}

/// Why a file is no configuration at all.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file says something that is not allowed.
    #[error("{0}")]
    Parse(Finding),
}
