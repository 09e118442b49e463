//! The example files, and files of several nodes against each other.

use super::*;

fn examples() -> Vec<Config> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples");
    ["site-a.toml", "relay.toml", "site-b.toml"]
        .iter()
        .map(|name| Config::load(&folder.join(name)).unwrap())
        .collect()
}

#[test]
fn the_examples_pass_alone_and_together() {
    let examples = examples();
    for config in &examples {
        assert_eq!(config.check(), []);
    }
    assert_eq!(check_together(&examples), []);
}

#[test]
fn the_examples_with_two_relays_pass_alone_and_together() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples");
    let kinds = [
        ("failover", LaneSet::Failover),
        ("mirrored", LaneSet::Mirror),
        ("striped", LaneSet::Stripe),
        ("striped-one-machine", LaneSet::Stripe),
    ];
    for (kind, lane_set) in kinds {
        let load = |name: &&str| Config::load(&examples.join(kind).join(name)).unwrap();
        let files: Vec<Config> =
            ["site-a.toml", "relay.toml", "site-b.toml", "relay-2.toml"].iter().map(load).collect();
        for config in &files {
            let warned = config.check().iter().any(|finding| finding.field.ends_with("lane_set"));
            assert_eq!(config.check().len(), usize::from(warned), "{:?}", config.check());
            assert_eq!(warned, lane_set == LaneSet::Stripe);
            assert_eq!((config.groups[0].lane_set, config.groups[0].lanes.len()), (lane_set, 2));
        }
        assert_eq!(check_together(&files), []);
    }
}

/// The messages about the file of site B, changed, next to that of site A.
#[track_caller]
fn found_beside_a(old: &str, new: &str, messages: &[&str]) {
    let mut examples = examples();
    let a = Config::parse(Path::new("a.toml"), examples[0].text()).unwrap();
    let text = examples.remove(2).text().replace(old, new);
    let b = Config::parse(Path::new("b.toml"), &text).unwrap();
    let findings: Vec<String> = check_together(&[a, b])
        .iter()
        .map(|finding| {
            let text = finding.to_string();
            text.strip_prefix(&format!("b.toml:{}: ", finding.line)).unwrap().to_owned()
        })
        .collect();
    assert_eq!(findings, messages);
}

#[test]
fn a_group_has_one_id_and_is_in_the_files_of_all_its_nodes() {
    found_beside_a(
        "[[group]]\nid = 1",
        "[[group]]\nid = 7",
        &["group[0].id: group \"db\" has id 1 in a.toml: it must be the same at all nodes"],
    );
    found_beside_a(
        "[[group]]\nid = 1\nname = \"db\"",
        "[[group]]\nid = 7\nname = \"other\"",
        &["group[0].id: node 1 has a part in this group, and a.toml has no group 7"],
    );
}

#[test]
fn a_group_has_one_primary_over_all_files() {
    found_beside_a(
        "role = \"secondary\"",
        "role = \"primary\"",
        &["group[0].role: the group has its primary already in a.toml: allowed is \"secondary\""],
    );
}

#[test]
fn the_files_of_a_group_say_the_same() {
    let same = "in a.toml: it must be the same at all nodes";
    let cases = [
        ("name = \"db\"", "name = \"data\"", format!("group[0].name: the group's name is \"db\" {same}")),
        ("sites = [1, 3]", "sites = [3, 1]", format!("group[0].sites: the sites are 1, 3 {same}")),
        ("node = 2 }", "node = 3 }", format!("group[0].lanes: the lanes are {{ id = 0, node = 2 }} {same}")),
        (
            "name = \"v0\"",
            "name = \"v1\"",
            format!("group[0].volume[0].name: the volume's name is \"v0\" {same}"),
        ),
        (
            "id = 1\nname = \"v0\"",
            "id = 5\nname = \"v0\"",
            format!("group[0].volume[0].id: the volumes are 1 {same}"),
        ),
        ("\"10GiB\"", "\"9GiB\"", format!("group[0].volume[0].size: the volume's size is 10GiB {same}")),
        (
            "sites = [1, 3]",
            "control_path = \"direct\"\nsites = [1, 3]",
            format!("group[0].control_path: control information takes the way \"both\" {same}"),
        ),
        (
            "sites = [1, 3]",
            "lane_set = \"mirror\"\nsites = [1, 3]",
            format!("group[0].lane_set: the lane set is \"failover\" {same}"),
        ),
        (
            "sites = [1, 3]",
            "direct = \"allow\"\nsites = [1, 3]",
            format!("group[0].direct: a direct lane is \"never\" {same}"),
        ),
        (
            "mode = \"max-protection\"",
            "mode = \"max-performance\"",
            format!("group[0].mode: the mode is \"max-protection\" {same}"),
        ),
        (
            "sites = [1, 3]",
            "initial = \"equal\"\nsites = [1, 3]",
            format!("group[0].initial: the volumes' first content is \"copy\" {same}"),
        ),
    ];
    for (old, new, message) in cases {
        found_beside_a(old, new, &[&message]);
    }
}

#[test]
fn nodes_are_known_by_one_id_name_and_address() {
    found_beside_a(
        "id = 3\nname = \"b\"",
        "id = 1\nname = \"b\"",
        &["node.id: node id 1 is taken already by the node of a.toml"],
    );
    found_beside_a(
        "id = 3\nname = \"b\"",
        "id = 3\nname = \"c\"",
        &["node.name: a.toml calls this node \"b\""],
    );
    found_beside_a("name = \"a\"", "name = \"x\"", &["peer[0].name: node 1 is called \"a\" in a.toml"]);
    found_beside_a(
        "127.0.0.1:7001",
        "127.0.0.1:7009",
        &["peer[0].address: node 1 listens on 127.0.0.1:7001, says a.toml"],
    );
}
