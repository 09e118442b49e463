//! How the command ends: exit codes that scripts can rely on, and refusals that say what would help.

use std::fmt;
use std::io;

use midspan_daemon::api::types::ApiError;

/// Exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Something failed.
    Failure = 1,
    /// The command line is wrong (clap exits with the same number).
    Usage = 2,
    /// The object does not exist.
    NotFound = 3,
    /// The state does not allow it.
    Refused = 4,
    /// It took longer than was allowed.
    TimedOut = 5,
    /// Done, but something is not as it should be.
    Degraded = 6,
    /// No daemon answers on the socket.
    Unreachable = 7,
}

/// What every long help ends with.
pub const EXIT_CODES: &str = "Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 refused by state, 5 timed out, \
     6 degraded, 7 daemon unreachable";

/// Why a command did not end well.
#[derive(Debug)]
pub struct Failure {
    /// Exit code; `None` when the reader of our output went away, which is no failure.
    pub exit: Option<Exit>,
    /// What is wrong, naming the object.
    pub message: String,
    /// What would help; may be empty.
    pub hint: String,
}

/// Outcome of a command.
pub type Outcome = Result<Exit, Failure>;

impl Failure {
    /// A failure with its exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit: Some(exit), message: message.into(), hint: String::new() }
    }

    /// The plain kind.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(Exit::Failure, message)
    }

    /// Says what would help.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// An input or output failure on a named object.
    pub fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let exit = if missing { Exit::NotFound } else { Exit::Failure };
        Self::new(exit, format!("{what}: {error}"))
    }
}

impl From<io::Error> for Failure {
    /// Only for writing our own output: elsewhere [`Failure::io`] names the object.
    fn from(error: io::Error) -> Self {
        let exit = (error.kind() != io::ErrorKind::BrokenPipe).then_some(Exit::Failure);
        Self { exit, message: format!("cannot write the output: {error}"), hint: String::new() }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let exit = match error.code.as_str() {
            "not_found" => Exit::NotFound,
            "refused" => Exit::Refused,
            "timeout" => Exit::TimedOut,
            "bad_request" => Exit::Usage,
            _ => Exit::Failure,
        };
        Self { exit: Some(exit), message: error.message, hint: error.hint }
    }
}
