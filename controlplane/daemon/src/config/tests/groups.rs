//! The groups: sites, takeovers, areas, volumes.

use super::*;

#[test]
fn a_group_has_two_known_sites() {
    found(&with("[1, 3]", "[1]"), &["a.toml:22: group[0].sites: a group has two sites, here are 1"]);
    found(
        &with("[1, 3]", "[1, 1]"),
        &["a.toml:22: group[0].sites[1]: site 1 is taken already by group[0].sites[0]"],
    );
    found(&with("[1, 3]", "[1, 9]"), &["a.toml:22: group[0].sites[1]: no node has id 9; known are 1, 2, 3"]);
}

#[test]
fn the_role_fits_the_sites() {
    found(
        &with("[1, 3]", "[2, 3]"),
        &[
            "a.toml:21: group[0].role: this node, 1, is none of the group's sites 2, 3: allowed is \"relay\"",
            "a.toml:23: group[0].lanes[0].node: node 2 is one of the group's sites: a lane there needs direct = \"allow\" or \
             mode = \"max-performance\"",
            "a.toml:23: group[0].lanes: at least one lane stands at a relay, unless mode = \"max-performance\": name one, such as \
             { id = 0, node = 2 }",
        ],
    );
    found(
        &with("\"primary\"", "\"relay\""),
        &[
            "a.toml:21: group[0].role: this node, 1, is one of the group's sites: allowed are \"primary\" and \"secondary\"",
            "a.toml:23: group[0].lanes: this node, 1, is the group's relay but holds none of its lanes",
            "a.toml:26: group[0].volume: a relay holds no volumes: allowed is none",
        ],
    );
}

#[test]
fn takeovers_are_manual_and_isolated_primaries_stall_unless_the_file_says_otherwise() {
    let group = &parse(SITE).unwrap().groups[0];
    assert_eq!((group.takeover, group.isolated), (Takeover::Manual, Isolated::Stall));
    assert_eq!(group.takeover_after, Span::from_ms(10_000));
    found(&with("ring = \"256MiB\"", "takeover = \"automatic\"\ntakeover_after = \"3s\""), &[]);
    found(
        &with("ring = \"256MiB\"", "takeover_after = \"500ms\""),
        &["a.toml:24: group[0].takeover_after: 500ms is out of range: allowed are 1s to 3600s"],
    );
}

#[test]
fn an_isolated_primary_goes_on_only_where_the_lanes_may_be_left_and_nobody_takes_over_by_itself() {
    found(
        &with("ring = \"256MiB\"", "isolated = \"continue\""),
        &[
            "a.toml:24: group[0].isolated: a primary goes on without its lanes only with mode = \"max-availability\": set that, \
           or isolated = \"stall\"",
        ],
    );
    found(
        &with("ring = \"256MiB\"", "mode = \"max-availability\"\nisolated = \"continue\""),
        &[
            "a.toml:25: warning: group[0].isolated: a primary that reaches no other node goes on: both sites can come to hold writes that \
           the other has not, and every takeover of this group needs --accept-loss",
        ],
    );
    found(
        &with("ring = \"256MiB\"", "takeover = \"automatic\"\nisolated = \"continue\""),
        &[
            "a.toml:25: group[0].isolated: with takeover = \"automatic\" both sites would answer hosts at the same time: \
           allowed is \"stall\"",
        ],
    );
}

#[test]
fn control_information_takes_both_ways_unless_the_file_says_otherwise() {
    assert_eq!(parse(SITE).unwrap().groups[0].control_path, ControlPath::Both);
    let direct = parse(&with("ring = \"256MiB\"", "control_path = \"direct\"")).unwrap();
    assert_eq!(direct.groups[0].control_path, ControlPath::Direct);
    assert!(parse(&with("ring = \"256MiB\"", "control_path = \"neither\"")).is_err());
}

#[test]
fn areas_have_a_least_size_and_whole_blocks() {
    found(
        &with("\"256MiB\"", "\"1MiB\""),
        &["a.toml:24: group[0].ring: 1MiB is too small, at least 4MiB is needed"],
    );
    found(
        &with("\"256MiB\"", "\"8388609B\""),
        &["a.toml:24: group[0].ring: 8388609B is not a multiple of 4096 bytes"],
    );
    found(
        &with("ring = \"256MiB\"", "receipt = \"4KiB\""),
        &["a.toml:24: group[0].receipt: 4KiB is too small, at least 1MiB is needed"],
    );
}

#[test]
fn the_lease_has_bounds() {
    for (text, shown) in [("10ms", "10ms"), ("2min", "120s")] {
        found(
            &with("ring = \"256MiB\"", &format!("lease = {text:?}")),
            &[&format!("a.toml:24: group[0].lease: {shown} is out of range: allowed are 50ms to 60s")],
        );
    }
}

#[test]
fn a_volume_has_whole_blocks_and_a_place_of_its_own() {
    found(
        &with("\"10GiB\"", "\"10000B\""),
        &["a.toml:30: group[0].volume[0].size: 10000B is not a multiple of 4096 bytes"],
    );
    found(
        &with("\"10GiB\"", "\"0B\""),
        &["a.toml:30: group[0].volume[0].size: a volume has at least 4096 bytes"],
    );
    let second = "size = \"10GiB\"\n[[group.volume]]\nid = 1\nname = \"v0\"\npath = \"/dev/v0\"\n";
    found(
        &with("size = \"10GiB\"\n", second),
        &[
            "a.toml:32: group[0].volume[1].id: volume id 1 is taken already by group[0].volume[0].id",
            "a.toml:33: group[0].volume[1].name: volume name \"v0\" is taken already by group[0].volume[0].name",
            "a.toml:34: group[0].volume[1].path: disk /dev/v0 is taken already by group[0].volume[0].path",
        ],
    );
    found(
        &with("/dev/v0", "/var/lib/midspan/a.journal"),
        &[
            "a.toml:29: group[0].volume[0].path: disk /var/lib/midspan/a.journal is taken already by node.journal",
        ],
    );
}

#[test]
fn a_site_has_volumes() {
    let (before, after) = (SITE.find("[[group.volume]]").unwrap(), SITE.find("[nbd]").unwrap());
    let text = format!("{}{}", &SITE[..before], &SITE[after..]);
    found(
        &text,
        &[
            "a.toml:18: group[0]: a site needs at least one [[group.volume]]",
            "a.toml:31: export[0].volume: no volume is named db/v0; known are none",
        ],
    );
}

#[test]
fn two_groups_cannot_share_id_or_name() {
    let second = "[[group]]\nid = 1\nname = \"db\"\nrole = \"relay\"\nsites = [2, 3]\nlanes = [{ id = 0, node = 1 }]\n\n[nbd]";
    found(
        &with("[nbd]", second),
        &[
            "a.toml:33: group[1].id: group id 1 is taken already by group[0].id",
            "a.toml:34: group[1].name: group name \"db\" is taken already by group[0].name",
        ],
    );
}
