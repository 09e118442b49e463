//! How `midspand` ends: exit codes, the same as those of the `midspan` command, and one sentence that says why.

use std::fmt;
use std::io;

use crate::api::socket::SocketError;

/// Done.
pub const OK: u8 = 0;
/// Something failed.
pub const FAILURE: u8 = 1;
/// The command line does not fit what it names.
pub const USAGE: u8 = 2;
/// Something that was named does not exist.
pub const NOT_FOUND: u8 = 3;
/// The state does not allow it.
pub const REFUSED: u8 = 4;

/// Why the daemon did not start, or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code.
    pub code: u8,
    /// What is wrong, naming the object.
    pub message: String,
    /// What would help; may be empty.
    pub hint: String,
}

impl Failure {
    /// A failure with its exit code.
    pub fn new(code: u8, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string(), hint: String::new() }
    }

    /// The plain kind.
    pub fn other(message: impl fmt::Display) -> Self {
        Self::new(FAILURE, message)
    }

    /// Says what would help.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(out, "\n  hint: {}", self.hint) }
    }
}

impl From<SocketError> for Failure {
    fn from(error: SocketError) -> Self {
        match &error {
            SocketError::InUse(_) | SocketError::NotASocket(_) => Self::new(REFUSED, error),
            SocketError::Refused { error: why, .. } if why.kind() == io::ErrorKind::NotFound => {
                Self::new(NOT_FOUND, error).hint("create its folder")
            }
            SocketError::Refused { .. } => Self::other(error),
        }
    }
}
