//! `midspand` as a process: checking configs, exit codes, where findings point.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A folder of a test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("midspand-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const RELAY: &str = r#"
[node]
id = 2
name = "relay"
listen = "127.0.0.1:7002"
api = "relay.api"
journal = "relay.journal"

[[peer]]
id = 1
name = "site-a"
address = "127.0.0.1:7001"

[[peer]]
id = 3
name = "site-b"
address = "127.0.0.1:7003"

[[group]]
id = 1
name = "vault"
role = "relay"
sites = [1, 3]
lanes = [{ id = 0, node = 2 }]
ring = "64MiB"
"#;

fn midspand(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_midspand")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"))
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_good_config_is_ok_and_nothing_is_started() {
    let folder = Folder::new("good");
    let file = folder.write("relay.toml", RELAY);
    let output = midspand(&["--config", &file, "--check"]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(printed(&output).contains(&format!("{file}: ok")));
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
}

#[test]
fn an_unknown_key_is_refused_with_file_line_and_field() {
    let folder = Folder::new("unknown");
    let file = folder.write("relay.toml", &RELAY.replace("ring = ", "rign = "));
    let output = midspand(&["--config", &file, "--check"]);
    assert_eq!(code(&output), 1, "{output:?}");
    let line = RELAY.lines().position(|line| line.starts_with("ring")).unwrap() + 1;
    assert!(printed(&output).contains(&format!("{file}:{line}:")), "{output:?}");
    assert!(printed(&output).contains("rign"));
}

#[test]
fn a_missing_config_exits_with_3() {
    let output = midspand(&["--config", "/no/such/config.toml", "--check"]);
    assert_eq!(code(&output), 3, "{output:?}");
    assert!(printed(&output).contains("/no/such/config.toml"));
}

#[test]
fn two_nodes_of_one_number_do_not_fit_together() {
    let folder = Folder::new("together");
    let one = folder.write("one.toml", RELAY);
    let other = folder.write("other.toml", &RELAY.replace("\"relay\"\nlisten", "\"other\"\nlisten"));
    assert_eq!(code(&midspand(&["--config", &one, "--check"])), 0);
    let output = midspand(&["--check", "--config", &one, "--config", &other]);
    assert_eq!(code(&output), 1, "{output:?}");
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    let lines: [&[&str]; 4] = [
        &[],
        &["--check"],
        &["--serve-disk", "/x"],
        &["--config", "/x", "--serve-disk", "/x", "--socket", "/y"],
    ];
    for line in lines {
        assert_eq!(code(&midspand(line)), 2, "{line:?}");
    }
}
