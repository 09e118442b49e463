//! The NBD client against the servers of this machine.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

mod servers;

use std::time::Duration;

use midspan::nbd_client::{Client, NbdError};
use servers::liar::{Liar, Lie};
use servers::{Folder, Server};

const PATIENCE: Duration = Duration::from_secs(20);

fn exercise(uri: &str) {
    let mut client = Client::connect(uri, PATIENCE).unwrap();
    assert_eq!(client.size(), 4 << 20);
    assert!(!client.info().is_read_only());
    let data: Vec<u8> = (0..100_000_u32).map(|at| (at / 7) as u8).collect();
    client.write(8192, &data[..65536], true).unwrap();
    let mut back = vec![0; 65536 + 8192];
    client.read(4096, &mut back).unwrap();
    assert_eq!(back[4096..65536 + 4096], data[..65536]);
    assert!(back[..4096].iter().all(|byte| *byte == 0));
    client.flush().unwrap();
    client.zero(8192, 4096, true, false).unwrap();
    client.trim(12288, 4096).unwrap();
    client.read(8192, &mut back[..4096]).unwrap();
    assert!(back[..4096].iter().all(|byte| *byte == 0));
    client.disconnect().unwrap();
}

#[test]
fn one_request_after_the_other_with_each_server() {
    let folder = Folder::new();
    if let Some(server) = Server::qemu_nbd(&folder.disk("disk", 4 << 20), &folder.path("socket")) {
        exercise(&server.uri);
    }
    if let Some(server) = Server::nbdkit_memory("4M") {
        exercise(&server.uri);
    }
    // Without structured replies.
    let plain = Liar::start(&folder.path("liar"), vec![0; 4 << 20], Lie::Honest);
    exercise(&plain.uri);
}

#[test]
fn a_refusal_and_an_absent_server_are_named() {
    let folder = Folder::new();
    let gone = format!("nbd+unix:///vol?socket={}", folder.path("nothing").display());
    let error = Client::connect(&gone, PATIENCE).unwrap_err();
    assert!(matches!(error, NbdError::Connect { .. }), "{error}");
    assert!(error.to_string().contains(&gone), "{error}");

    let Some(server) = Server::qemu_nbd(&folder.disk("disk", 1 << 20), &folder.path("socket")) else {
        return;
    };
    let wrong = server.uri.replace("vol", "another");
    let error = Client::connect(&wrong, PATIENCE).unwrap_err();
    assert!(matches!(&error, NbdError::Refused { export, .. } if export == "another"), "{error}");
    assert!(error.to_string().contains("NBD_REP_ERR_UNKNOWN"), "{error}");
}

#[test]
fn an_error_reply_leaves_the_connection_usable() {
    let folder = Folder::new();
    let Some(server) = Server::qemu_nbd(&folder.disk("disk", 1 << 20), &folder.path("socket")) else {
        return;
    };
    let mut client = Client::connect(&server.uri, PATIENCE).unwrap();
    let mut beyond = [0; 512];
    let error = client.read(1 << 20, &mut beyond).unwrap_err();
    assert!(matches!(error, NbdError::Server { errno: 22, .. }), "{error}");
    let error = client.write(1 << 20, &beyond, false).unwrap_err();
    // ENOSPC says the protocol, but not every server.
    assert!(matches!(error, NbdError::Server { errno: 28 | 22, .. }), "{error}");
    client.read(0, &mut beyond).unwrap();
}

#[test]
fn many_requests_under_way_are_all_answered() {
    let folder = Folder::new();
    let Some(server) = Server::qemu_nbd(&folder.disk("disk", 4 << 20), &folder.path("socket")) else {
        return;
    };
    let (mut sender, mut receiver) = Client::connect(&server.uri, PATIENCE).unwrap().split().unwrap();
    for cookie in 0..64_u64 {
        sender.submit_write(cookie, cookie * 4096, &[cookie as u8 + 1; 4096], false).unwrap();
    }
    for _ in 0..64 {
        assert_eq!(receiver.next_reply().unwrap().errno, 0);
    }
    for cookie in 0..64_u64 {
        sender.submit_read(cookie, cookie * 4096, 4096).unwrap();
    }
    for _ in 0..64 {
        let reply = receiver.next_reply().unwrap();
        assert_eq!(reply.data, vec![reply.cookie as u8 + 1; 4096]);
    }
    sender.submit_flush(9).unwrap();
    assert_eq!(receiver.next_reply().unwrap().cookie, 9);
}

#[test]
fn a_killed_server_and_a_closer_end_a_blocked_receiver() {
    let folder = Folder::new();
    let Some(server) = Server::qemu_nbd(&folder.disk("disk", 1 << 20), &folder.path("socket")) else {
        return;
    };
    let (sender, mut receiver) = Client::connect(&server.uri, PATIENCE).unwrap().split().unwrap();
    let waiting = std::thread::spawn(move || receiver.next_reply());
    server.kill();
    assert!(matches!(waiting.join().unwrap(), Err(NbdError::Disconnected { .. })));
    drop(sender);

    let liar = Liar::start(&folder.path("liar"), vec![0; 4096], Lie::Honest);
    let (sender, mut receiver) = Client::connect(&liar.uri, PATIENCE).unwrap().split().unwrap();
    let closer = sender.closer().unwrap();
    let waiting = std::thread::spawn(move || receiver.next_reply());
    closer.close();
    assert!(matches!(waiting.join().unwrap(), Err(NbdError::Disconnected { .. })));
}

#[test]
fn a_silent_server_runs_into_the_time_limit() {
    let folder = Folder::new();
    let path = folder.path("silent");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let uri = format!("nbd+unix:///?socket={}", path.display());
    let error = Client::connect(&uri, Duration::from_millis(100)).unwrap_err();
    assert!(matches!(error, NbdError::Timeout), "{error}");
}
