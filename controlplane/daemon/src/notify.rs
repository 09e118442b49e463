//! Tells systemd how far we are (`sd_notify`), where it asked to be told.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends a state such as `READY=1` to the socket that `NOTIFY_SOCKET` names; does nothing when it names none.
pub fn notify(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&name, state) {
        tracing::warn!(%error, "cannot tell the service manager {state:?} through NOTIFY_SOCKET");
    }
}

fn send(name: &OsString, state: &str) -> io::Result<()> {
    let bytes = name.as_bytes();
    let address = match bytes.split_first() {
        Some((b'@', rest)) => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(OsStr::from_bytes(bytes))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_arrives_at_the_named_socket() {
        let path = std::env::temp_dir().join(format!("midspan-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        send(&path.clone().into_os_string(), "READY=1").unwrap();
        let mut bytes = [0; 32];
        let count = socket.recv(&mut bytes).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(&bytes[..count], b"READY=1");
    }

    #[test]
    fn an_abstract_socket_is_found() {
        let name = format!("midspan-notify-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(&OsString::from(format!("@{name}")), "STOPPING=1").unwrap();
        let mut bytes = [0; 32];
        assert_eq!(socket.recv(&mut bytes).unwrap(), 10);
    }
}
