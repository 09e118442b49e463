//! The command as a process: exit codes, refusals that say what would help, output into closed pipes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A folder of a test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("midspan-cli-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn midspan(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_midspan"))
        .args(arguments)
        .env_remove("MIDSPAN_SOCKET")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    for line in [&["statsu"][..], &[], &["volume", "create"], &["volume", "create", "/x", "--size", "1GB"]] {
        assert_eq!(code(&midspan(line)), 2, "{line:?}");
    }
}

#[test]
fn an_absent_daemon_exits_with_7_and_names_the_socket() {
    let folder = Folder::new("absent");
    let socket = folder.file("api.sock");
    for line in [&["status"][..], &["takeover", "vault", "--yes"], &["stop"]] {
        let output = midspan(&[line, &["--socket", &socket]].concat());
        assert_eq!(code(&output), 7, "{line:?}: {output:?}");
        assert!(said(&output).contains(&socket) && said(&output).contains("hint:"), "{output:?}");
    }
}

#[test]
fn a_takeover_without_a_terminal_must_be_confirmed_on_the_command_line() {
    let output = midspan(&["takeover", "vault"]);
    assert_eq!(code(&output), 4);
    assert!(said(&output).contains("--yes"));
}

#[test]
fn a_volume_is_zero_filled_and_never_overwritten_unasked() {
    let folder = Folder::new("volume");
    let file = folder.file("disk.img");
    assert_eq!(code(&midspan(&["volume", "create", &file, "--size", "3MiB"])), 0);
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.len() == 3 << 20 && bytes.iter().all(|byte| *byte == 0));
    std::fs::write(&file, "precious").unwrap();
    let refused = midspan(&["volume", "create", &file, "--size", "3MiB"]);
    assert_eq!(code(&refused), 4);
    assert!(said(&refused).contains("--force"));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    assert_eq!(code(&midspan(&["volume", "create", &file, "--size", "1MiB", "--force"])), 0);
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 1 << 20);
}

#[test]
fn a_volume_of_an_odd_size_is_a_usage_error_and_leaves_nothing() {
    let folder = Folder::new("odd");
    let file = folder.file("disk.img");
    for size in ["0", "5000"] {
        assert_eq!(code(&midspan(&["volume", "create", &file, "--size", size])), 2);
    }
    assert!(std::fs::metadata(&file).is_err());
    let missing = midspan(&["volume", "create", &folder.file("no/such/disk"), "--size", "4096"]);
    assert_eq!(code(&missing), 3);
}

#[test]
fn a_volume_is_nothing_that_is_no_file() {
    let output = midspan(&["volume", "create", "/dev/null", "--size", "4096", "--force"]);
    assert_eq!(code(&output), 4, "{output:?}");
}

#[test]
fn a_missing_midspand_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_midspan"))
        .args(["config", "check", "/none.toml"])
        .env("MIDSPAND", "/no/such/midspand")
        .output()
        .unwrap();
    assert_eq!(code(&output), 3);
    assert!(said(&output).contains("/no/such/midspand"));
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_no_panic() {
    for arguments in [&["completions", "bash"][..], &["--help"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_midspan"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(!said(&output).contains("panicked"), "{output:?}");
        assert_eq!(code(&output), 0, "{output:?}");
    }
}

#[test]
fn completions_name_the_commands() {
    let output = midspan(&["completions", "bash"]);
    let script = String::from_utf8(output.stdout).unwrap();
    for command in [
        "status",
        "takeover",
        "switchover",
        "failback",
        "pause",
        "resume",
        "events",
        "operations",
        "volume",
        "relay",
        "completions",
    ] {
        assert!(script.contains(command), "{command}");
    }
}
