//! What can go wrong between an NBD client and its server.

use std::io;

/// The commands of a request, for messages and replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `NBD_CMD_READ`
    Read,
    /// `NBD_CMD_WRITE`
    Write,
    /// `NBD_CMD_FLUSH`
    Flush,
    /// `NBD_CMD_TRIM`
    Trim,
    /// `NBD_CMD_WRITE_ZEROES`
    WriteZeroes,
}

/// An error of the client. Only [`NbdError::Server`] leaves the connection usable.
#[derive(Debug, thiserror::Error)]
pub enum NbdError {
    /// The address cannot be understood.
    #[error("NBD address {uri:?}: {reason}")]
    Uri {
        /// The address as given.
        uri: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No connection could be made.
    #[error("cannot connect to {uri}: {source}")]
    Connect {
        /// The address as given.
        uri: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The server does not serve this export to us.
    #[error("the server refuses export {export:?} ({reply}){}{message}", if .message.is_empty() { "" } else { ": " })]
    Refused {
        /// The export's name.
        export: String,
        /// The protocol's word for the refusal, such as `NBD_REP_ERR_UNKNOWN`.
        reply: String,
        /// The server's own message; often empty.
        message: String,
    },
    /// The peer says what no NBD server may say, or lacks what we need.
    #[error("NBD protocol: {0}")]
    Protocol(&'static str),
    /// Nothing came within the time limit.
    #[error("the NBD server did not answer in time")]
    Timeout,
    /// The connection is gone. Requests without a reply may or may not have been done.
    #[error("the NBD connection is closed{}{reason}", if .reason.is_empty() { "" } else { ": " })]
    Disconnected {
        /// The system's reason; empty for an orderly end.
        reason: String,
    },
    /// The server answered a request with an error.
    #[error("{command:?} failed at the server: {} (error {errno})", errno_name(*.errno))]
    Server {
        /// What was asked.
        command: Command,
        /// The NBD error number.
        errno: u32,
    },
}

impl NbdError {
    pub(super) fn from_io(error: &io::Error) -> Self {
        // Of the many kinds only these two mean that time ran out; all others mean that the stream is unusable.
        let kind = error.kind();
        if kind == io::ErrorKind::WouldBlock || kind == io::ErrorKind::TimedOut {
            Self::Timeout
        } else if kind == io::ErrorKind::UnexpectedEof {
            Self::Disconnected { reason: String::new() }
        } else {
            Self::Disconnected { reason: error.to_string() }
        }
    }
}

/// The protocol's name of an error number.
pub fn errno_name(errno: u32) -> &'static str {
    match errno {
        1 => "EPERM",
        5 => "EIO",
        12 => "ENOMEM",
        22 => "EINVAL",
        28 => "ENOSPC",
        75 => "EOVERFLOW",
        95 => "ENOTSUP",
        108 => "ESHUTDOWN",
        _ => "unknown error",
    }
}
