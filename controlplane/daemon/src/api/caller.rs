//! Who is behind a connection to the API's socket.

use std::fmt;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

/// User and process at the other end, as the kernel knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    user: Option<u32>,
    process: Option<i32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        match stream.io().peer_cred() {
            Ok(found) => Self { user: Some(found.uid()), process: found.pid() },
            Err(_) => Self { user: None, process: None },
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.user {
            Some(user) => write!(out, "uid {user}")?,
            None => write!(out, "unknown")?,
        }
        match self.process {
            Some(process) => write!(out, ", pid {process}"),
            None => Ok(()),
        }
    }
}
