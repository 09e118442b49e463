//! Socket activation: listeners passed by systemd's protocol are adopted once.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use midspan_uring::Listener;

/// Serves one connection of the passed listener; does nothing in an ordinary test run.
#[test]
fn child_that_is_activated() {
    if std::env::var_os("MIDSPAN_TEST_ACTIVATED").is_none() {
        return;
    }
    let mut listeners = Listener::from_systemd();
    assert!(Listener::from_systemd().is_empty(), "only once");
    let (name, listener) = listeners.pop().unwrap();
    assert!(listeners.is_empty(), "standard output is no listener");
    use std::os::fd::AsFd;
    let listener = std::net::TcpListener::from(listener.as_fd().try_clone_to_owned().unwrap());
    listener.accept().unwrap().0.write_all(name.as_bytes()).unwrap();
}

#[test]
fn passed_listeners_are_adopted_with_their_names() {
    assert!(Listener::from_systemd().is_empty(), "nothing is passed to this process");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    // The shell puts the listener (its standard input) where systemd puts it, next to something that is no listener.
    let script = "exec 3>&1 4<&0; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=other:nbd exec \"$0\" --exact child_that_is_activated";
    let mut child = Command::new("sh")
        .args(["-c", script, std::env::current_exe().unwrap().to_str().unwrap()])
        .env("MIDSPAN_TEST_ACTIVATED", "1")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut greeting = String::new();
    std::net::TcpStream::connect(address).unwrap().read_to_string(&mut greeting).unwrap();
    assert_eq!(greeting, "nbd");
    assert!(child.wait().unwrap().success());
}
