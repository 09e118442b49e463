//! The text of every message, and that the example files of `deploy/examples` pass; by what the messages are about.

mod words;
mod nodes;
mod groups;
mod lanes;
mod overflow;
mod exports;
mod together;

use std::path::{Path, PathBuf};

use super::*;

const SITE: &str = r#"[node]
id = 1
name = "a"
listen = "127.0.0.1:7001"
api = "/run/midspan/a.sock"
journal = "/var/lib/midspan/a.journal"

[[peer]]
id = 2
name = "relay"
address = "127.0.0.1:7002"

[[peer]]
id = 3
name = "b"
address = "127.0.0.1:7003"

[[group]]
id = 1
name = "db"
role = "primary"
sites = [1, 3]
lanes = [{ id = 0, node = 2 }]
ring = "256MiB"

[[group.volume]]
id = 1
name = "v0"
path = "/dev/v0"
size = "10GiB"

[nbd]
listen = ["127.0.0.1:10809", "unix:/run/midspan/nbd.sock"]

[[export]]
name = "db-v0"
volume = "db/v0"
"#;

/// The site's file with one piece of its text replaced.
fn with(old: &str, new: &str) -> String {
    assert_eq!(SITE.matches(old).count(), 1, "{old} must occur once");
    SITE.replacen(old, new, 1)
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("a.toml"), text)
}

#[track_caller]
fn refused(text: &str, message: &str) {
    assert_eq!(parse(text).unwrap_err().to_string(), message);
}

#[track_caller]
fn found(text: &str, messages: &[&str]) {
    let findings: Vec<String> = parse(text).unwrap().check().iter().map(ToString::to_string).collect();
    assert_eq!(findings, messages);
}
