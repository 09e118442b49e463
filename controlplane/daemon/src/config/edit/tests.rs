//! What a file becomes with a group more, and that it is byte for byte the former one when that is taken out again.

use std::path::Path;

use super::*;

const SITE: &str = r#"# A site.
[node]
id = 1
name = "a"
listen = "127.0.0.1:7001"
api = "a.sock"
journal = "a.journal"  # on the fast disk

[[peer]]
id = 2
name = "relay"
address = "127.0.0.1:7002"
[[peer]]
id = 3
name = "b"
address = "127.0.0.1:7003"

# The databases.
[[group]]
id = 1
name = "db"
role = "primary"
sites = [1, 3]
lanes = [{ id = 0, node = 2 }]
[[group.volume]]
id = 1
name = "v0"
path = "db.disk"

[nbd]
listen = ["unix:nbd"]

[[export]]
name = "db"
volume = "db/v0"
"#;

const NEW: &str = r#"# The mail.
[[group]]
id = 2
name = "mail"
role = "primary"
sites = [1, 3]
lanes = [{ id = 0, node = 2 }]
ring = "64MiB"

[[group.volume]]
id = 1
name = "v0"
path = "mail.disk"

[[export]]
name = "mail"
volume = "mail/v0"
"#;

fn site() -> Config {
    Config::parse(Path::new("a.toml"), SITE).unwrap()
}

fn add(text: &str) -> Result<(Config, Vec<Finding>), Finding> {
    site().with(Path::new("new.toml"), &Addition::parse(Path::new("new.toml"), text)?)
}

#[track_caller]
fn refused(text: &str, message: &str) {
    let said = match add(text) {
        Err(finding) => finding.to_string(),
        Ok((_, findings)) => findings.first().map(ToString::to_string).unwrap_or_default(),
    };
    assert_eq!(said, message);
}

#[test]
fn a_group_comes_behind_what_is_there_and_goes_without_a_trace() {
    let (with, findings) = add(NEW).unwrap();
    assert_eq!(findings, []);
    assert_eq!(with.text(), format!("{SITE}\n{NEW}"));
    assert_eq!(with.groups[1].volumes[0].path, Path::new("mail.disk"));
    assert_eq!(with.exports.len(), 2);
    let without = with.without("mail").unwrap();
    assert_eq!(without.text(), format!("{SITE}\n"));
    // From then on the empty line in between is there.
    let (again, _) =
        without.with(Path::new("new.toml"), &Addition::parse(Path::new("n"), NEW).unwrap()).unwrap();
    assert_eq!(again.text(), with.text());
    let first = with.without("db").unwrap();
    let gone = |text: &str| {
        let (before, rest) = text.split_once("# The databases.").unwrap();
        let (_, rest) = rest.split_once("[nbd]").unwrap();
        format!("{before}[nbd]{rest}").replace("[[export]]\nname = \"db\"\nvolume = \"db/v0\"\n\n", "")
    };
    assert_eq!(first.text(), gone(with.text()));
    assert_eq!(first.without("mail").unwrap().text().matches("[[").count(), 2, "the peers are left");
}

#[test]
fn a_file_without_a_last_newline_gets_one() {
    let config = Config::parse(Path::new("a.toml"), SITE.trim_end()).unwrap();
    let addition = Addition::parse(Path::new("new.toml"), NEW.trim_end()).unwrap();
    let (with, _) = config.with(Path::new("new.toml"), &addition).unwrap();
    assert_eq!(with.text(), format!("{SITE}\n{NEW}"));
}

#[test]
fn what_does_not_fit_is_said_with_the_file_and_line_in_which_it_stands() {
    refused(
        &NEW.replace("64MiB", "1MiB"),
        "new.toml:8: group[0].ring: 1MiB is too small, at least 4MiB is needed",
    );
    refused(
        &NEW.replace("\"mail\"\nvolume", "\"db\"\nvolume"),
        "new.toml:16: export[0].name: export name \"db\" is taken already by export[0].name",
    );
    refused(
        &NEW.replace("ring", "rign"),
        "new.toml:8: group[0].rign: unknown field `rign`, expected one of `id`, `name`, `role`, `sites`, `lanes`, `lane_set`, \
         `direct`, `resend`, `answer`, \
         `mode`, `overflow`, `overflow_threshold`, `throttle_max_delay`, `takeover`, `takeover_after`, `isolated`, `control_path`, `initial`, `round_rate`, `lease`, `ring`, `manifest`, `receipt`, \
         `volume`",
    );
    refused("[node]\nid = 7\n", "new.toml:1: node: unknown field `node`, expected `group` or `export`");
    refused("", "new.toml:1: missing field `group`");
    refused(
        &format!("{NEW}{}", NEW.replace("id = 2", "id = 4")),
        "new.toml:19: group[1]: one [[group]] at a time is created: allowed is one",
    );
    refused(
        "group = [{ id = 2, name = \"x\", role = \"relay\", sites = [1, 3], lanes = [] }]",
        "new.toml:1: group[0]: it is added to another file: write it as [[group]]",
    );
    refused("[[group]]\nid = \n", "new.toml:2: string values must be quoted, expected literal string");
}

#[test]
fn a_file_whose_groups_are_not_tables_is_not_touched() {
    let inline = SITE.replace("[[export]]\nname = \"db\"\nvolume = \"db/v0\"\n", "");
    let inline = format!("export = [{{ name = \"db\", volume = \"db/v0\" }}]\n{inline}");
    let config = Config::parse(Path::new("a.toml"), &inline).unwrap();
    let said = config.without("db").unwrap_err().to_string();
    assert!(said.starts_with("a.toml:1: the tables of group db and its exports cannot be told"), "{said}");
}
