//! The unix socket of the API: a stale one is removed, a live one is left alone, only the owner may connect.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why the socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process answers there.
    #[error("{}: another process listens on this API socket; is midspand running already?", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket has the name.
    #[error("{}: exists and is not a socket; move it away or change `api` in the config", .0.display())]
    NotASocket(PathBuf),
    /// The system's refusal.
    #[error("{}: cannot listen on this API socket: {error}", path.display())]
    Refused {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// The listening socket; its name is removed when this is dropped.
#[derive(Debug)]
pub struct ApiSocket {
    path: PathBuf,
    listener: UnixListener,
}

impl ApiSocket {
    /// Listens on `path`, after removing a socket there that nobody listens on.
    ///
    /// # Errors
    /// When somebody listens on it, it is no socket, or the system refuses.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let refused = |error| SocketError::Refused { path: path.to_owned(), error };
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(SocketError::NotASocket(path.to_owned()));
            }
            Ok(_) => {
                if UnixStream::connect(path).is_ok() {
                    return Err(SocketError::InUse(path.to_owned()));
                }
                std::fs::remove_file(path).map_err(refused)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refused(error)),
        }
        let listener = UnixListener::bind(path).map_err(refused)?;
        let socket = Self { path: path.to_owned(), listener };
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(refused)?;
        socket.listener.set_nonblocking(true).map_err(refused)?;
        Ok(socket)
    }

    /// The listener, for the runtime.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for ApiSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("midspan-api-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_stale_socket_is_replaced_and_the_new_one_is_private() {
        let path = path("stale");
        drop(UnixListener::bind(&path).unwrap());
        let socket = ApiSocket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_live_socket_is_left_alone() {
        let path = path("live");
        let live = ApiSocket::bind(&path).unwrap();
        assert!(matches!(ApiSocket::bind(&path), Err(SocketError::InUse(_))));
        assert!(path.exists());
        drop(live);
    }

    #[test]
    fn a_file_of_that_name_is_never_removed() {
        let path = path("file");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(ApiSocket::bind(&path), Err(SocketError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
    }
}
