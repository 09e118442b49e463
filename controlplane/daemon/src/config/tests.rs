//! The text of every message, and that the example files of `deploy/examples` pass.

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

#[test]
fn the_sample_is_read_as_written_and_has_no_findings() {
    let config = parse(SITE).unwrap();
    assert_eq!(config.check(), []);
    assert_eq!((config.node.id.get(), config.node.name.as_str()), (1, "a"));
    assert_eq!(config.node.cores, None);
    assert_eq!(config.node.memory, Size::from_mib(256));
    assert!(!config.node.insecure && !config.node.huge_pages);
    let group = &config.groups[0];
    assert_eq!(
        (group.role, group.answer, group.mode),
        (Role::Primary, Answer::Journaled, Mode::MaxProtection)
    );
    assert_eq!(group.lease.duration().as_millis(), 500);
    assert_eq!(
        (group.ring, group.manifest, group.receipt),
        (Size::from_mib(256), Size::from_mib(16), Size::from_mib(4))
    );
    assert_eq!(group.lanes.iter().map(|lane| (lane.id, lane.node.get())).collect::<Vec<_>>(), [(0, 2)]);
    assert_eq!(group.volumes[0].size.unwrap().bytes(), 10 << 30);
    let (_, volume) = config.volume(&config.exports[0].volume).unwrap();
    assert_eq!(volume.path, Path::new("/dev/v0"));
    assert_eq!(config.nbd.listen[1], NbdListen::Unix(PathBuf::from("/run/midspan/nbd.sock")));
}

#[test]
fn relative_paths_are_taken_from_the_folder_of_the_file() {
    let text = with("\"/dev/v0\"", "\"disks/v0\"").replace("unix:/run/midspan/", "unix:");
    let config = Config::parse(Path::new("/etc/midspan/a.toml"), &text).unwrap();
    assert_eq!(config.groups[0].volumes[0].path, Path::new("/etc/midspan/disks/v0"));
    assert_eq!(config.nbd.listen[1], NbdListen::Unix("/etc/midspan/nbd.sock".into()));
    assert_eq!(config.node.journal, Path::new("/var/lib/midspan/a.journal"));
}

#[test]
fn a_policy_for_a_full_ring_that_the_mode_does_not_allow_is_refused() {
    let ring = "ring = \"256MiB\"";
    found(
        &with(ring, "overflow = \"suspend\""),
        &[
            "a.toml:24: group[0].overflow: \"suspend\" leaves the lanes, and mode = \"max-protection\" never does: allowed are \
           \"throttle\" and \"stall\", or mode = \"max-availability\"",
        ],
    );
    found(
        &with(ring, "mode = \"max-availability\"\noverflow = \"stall\""),
        &[
            "a.toml:25: group[0].overflow: \"stall\" lets hosts wait, and mode = \"max-availability\" leaves a full ring: allowed are \
           \"throttle\" and \"suspend\", or mode = \"max-protection\"",
        ],
    );
    found(
        &with(ring, "overflow_threshold = 75"),
        &[
            "a.toml:24: group[0].overflow_threshold: 75 is out of range: allowed are 76 to 95 percent of the ring, of which a round takes \
           up to 75",
        ],
    );
    found(
        &with(ring, "overflow = \"stall\"\nthrottle_max_delay = \"1s\""),
        &[
            "a.toml:25: group[0].throttle_max_delay: no write is held back with this `overflow`: leave the key out, or set \
           overflow = \"throttle\"",
        ],
    );
    found(
        &with(ring, "throttle_max_delay = \"11s\""),
        &["a.toml:24: group[0].throttle_max_delay: 11s is out of range: allowed are 1ms to 10s"],
    );
    for keys in [
        "overflow = \"stall\"",
        "overflow = \"throttle\"\nthrottle_max_delay = \"10s\"\noverflow_threshold = 95",
    ] {
        found(&with(ring, keys), &[]);
    }
    found(&with(ring, "mode = \"max-availability\"\noverflow = \"suspend\""), &[]);
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nonexistent/a.toml")).unwrap_err();
    assert_eq!(error.to_string(), "/nonexistent/a.toml: No such file or directory (os error 2)");
}

#[test]
fn text_that_is_not_toml_names_the_line() {
    refused(
        &with("id = 1\nname = \"a\"", "id =\nname = \"a\""),
        "a.toml:2: string values must be quoted, expected literal string",
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_known_ones() {
    refused(
        &with("path = \"/dev/v0\"", "device = \"/dev/v0\""),
        "a.toml:29: group[0].volume[0].device: unknown field `device`, expected one of `id`, `name`, `path`, `size`",
    );
    refused(
        &with("[nbd]", "[ndb]"),
        "a.toml:32: ndb: unknown field `ndb`, expected one of `node`, `peer`, `group`, `nbd`, `export`",
    );
}

#[test]
fn a_missing_key_names_its_table() {
    refused(
        &with("journal = \"/var/lib/midspan/a.journal\"\n", ""),
        "a.toml:1: node: missing field `journal`",
    );
    refused(&with("path = \"/dev/v0\"\n", ""), "a.toml:26: group[0].volume[0]: missing field `path`");
}

#[test]
fn a_size_needs_a_known_unit() {
    let allowed = "expected a whole number with a unit (B, KiB, MiB, GiB or TiB), such as \"256MiB\"";
    for (value, shown) in [
        ("\"256MB\"", "invalid value: string \"256MB\""),
        ("\"256\"", "invalid value: string \"256\""),
        ("\"-1MiB\"", "invalid value: string \"-1MiB\""),
        ("\"1.5GiB\"", "invalid value: string \"1.5GiB\""),
        ("\"99999999TiB\"", "invalid value: string \"99999999TiB\""),
        ("\"\"", "invalid value: string \"\""),
        ("256", "invalid type: integer `256`"),
    ] {
        refused(&with("\"256MiB\"", value), &format!("a.toml:24: group[0].ring: {shown}, {allowed}"));
    }
}

#[test]
fn sizes_are_read_in_every_unit_and_written_in_the_largest() {
    for (text, bytes, shown) in [
        ("4096B", 4096, "4KiB"),
        ("4097B", 4097, "4097B"),
        ("64 KiB", 65536, "64KiB"),
        ("1024MiB", 1 << 30, "1GiB"),
        ("3TiB", 3 << 40, "3TiB"),
        ("0B", 0, "0B"),
    ] {
        let config = parse(&with("\"256MiB\"", &format!("{text:?}"))).unwrap();
        assert_eq!(
            (config.groups[0].ring.bytes(), config.groups[0].ring.to_string().as_str()),
            (bytes, shown)
        );
    }
}

#[test]
fn a_span_needs_a_known_unit() {
    refused(
        &with("ring = \"256MiB\"", "lease = \"5 minutes\""),
        "a.toml:24: group[0].lease: invalid value: string \"5 minutes\", expected a whole number with a unit (us, ms, s \
         or min), such as \"500ms\"",
    );
    let config = parse(&with("ring = \"256MiB\"", "lease = \"2s\"")).unwrap();
    assert_eq!(config.groups[0].lease.duration().as_secs(), 2);
}

#[test]
fn an_id_is_a_number_from_1_to_65535() {
    for number in [0, 65536, -1] {
        refused(
            &with("id = 1\nname = \"a\"", &format!("id = {number}\nname = \"a\"")),
            &format!(
                "a.toml:2: node.id: invalid value: integer `{number}`, expected a whole number from 1 to 65535"
            ),
        );
    }
}

#[test]
fn an_address_is_an_ip_and_a_port() {
    refused(
        &with("\"127.0.0.1:7002\"", "\"relay:7002\""),
        "a.toml:11: peer[0].address: invalid value: string \"relay:7002\", expected an IP address with a port, such as \
         \"127.0.0.1:7001\"",
    );
    refused(
        &with("\"127.0.0.1:10809\"", "\"unix:\""),
        "a.toml:33: nbd.listen[0]: invalid value: string \"unix:\", expected an IP address with a port, such as \
         \"127.0.0.1:10809\", or \"unix:\" and the path of a socket",
    );
}

#[test]
fn a_name_is_plain() {
    for name in ["", "a/b", "-a", "a b"] {
        refused(
            &with("name = \"a\"", &format!("name = {name:?}")),
            &format!(
                "a.toml:3: node.name: invalid value: string {name:?}, expected a name of 1 to 63 letters, digits, `-`, \
                 `_` or `.` that starts with a letter or digit"
            ),
        );
    }
}

#[test]
fn a_volume_is_named_with_its_group() {
    refused(
        &with("\"db/v0\"", "\"v0\""),
        "a.toml:37: export[0].volume: invalid value: string \"v0\", expected GROUP/VOLUME, such as \"db/v0\"",
    );
}

#[test]
fn a_word_out_of_a_list_is_refused_with_the_list() {
    refused(
        &with("\"primary\"", "\"master\""),
        "a.toml:21: group[0].role: unknown variant `master`, expected one of `primary`, `secondary`, `relay`",
    );
    refused(
        &with("ring = \"256MiB\"", "answer = \"sync\""),
        "a.toml:24: group[0].answer: unknown variant `sync`, expected `journaled` or `journaled+local`",
    );
    refused(
        &with("ring = \"256MiB\"", "mode = \"fast\""),
        "a.toml:24: group[0].mode: unknown variant `fast`, expected one of `max-protection`, `max-availability`, \
         `max-performance`",
    );
}

#[test]
fn two_nodes_cannot_share_id_name_or_address() {
    found(
        &with("id = 3", "id = 2"),
        &[
            "a.toml:14: peer[1].id: node id 2 is taken already by peer[0].id",
            "a.toml:22: group[0].sites[1]: no node has id 3; known are 1, 2, 2",
        ],
    );
    found(
        &with("name = \"b\"", "name = \"a\""),
        &["a.toml:15: peer[1].name: node name \"a\" is taken already by node.name"],
    );
    found(
        &with("127.0.0.1:7003", "127.0.0.1:7002"),
        &["a.toml:16: peer[1].address: address 127.0.0.1:7002 is taken already by peer[0].address"],
    );
}

#[test]
fn beyond_loopback_the_file_must_say_insecure() {
    let reason = "is not a loopback address and connections are not encrypted: allowed are 127.0.0.0/8 and [::1], or \
                  `insecure = true` in [node]";
    found(
        &with("127.0.0.1:7001", "0.0.0.0:7001"),
        &[&format!("a.toml:4: node.listen: 0.0.0.0:7001 {reason}")],
    );
    found(
        &with("127.0.0.1:7002", "10.0.0.2:7002"),
        &[&format!("a.toml:11: peer[0].address: 10.0.0.2:7002 {reason}")],
    );
    let nbd = with("127.0.0.1:10809", "[::]:10809");
    found(&nbd, &[&format!("a.toml:33: nbd.listen[0]: [::]:10809 {reason}")]);
    found(
        &nbd.replacen("id = 1\n", "id = 1\ninsecure = true\n", 1),
        &[
            "a.toml:3: warning: node.insecure: plain TCP is allowed beyond this machine: whoever is on the way can read and \
         change all data",
        ],
    );
    found(&with("127.0.0.1:7002", "[::1]:7002"), &[]);
}

#[test]
fn a_socket_path_has_a_longest_length() {
    let path = format!("/run/{}", "x".repeat(103));
    found(
        &with("/run/midspan/a.sock", &path),
        &["a.toml:5: node.api: the path of a unix socket has at most 107 bytes, this one has 108"],
    );
    found(
        &with("/run/midspan/nbd.sock", &path),
        &["a.toml:33: nbd.listen[1]: the path of a unix socket has at most 107 bytes, this one has 108"],
    );
}

#[test]
fn cores_are_some_and_distinct() {
    let cores = |list: &str| with("id = 1\nname = \"a\"", &format!("id = 1\ncores = {list}\nname = \"a\""));
    found(&cores("[]"), &["a.toml:3: node.cores: at least one core is needed, such as [0]"]);
    found(&cores("[0, 1, 0]"), &["a.toml:3: node.cores[2]: core 0 is taken already by node.cores[0]"]);
}

#[test]
fn memory_is_enough_and_whole_pages() {
    let memory = |text: &str| with("id = 1\nname = \"a\"", &format!("id = 1\n{text}\nname = \"a\""));
    found(
        &memory("memory = \"8MiB\""),
        &["a.toml:3: node.memory: 8MiB is too little, at least 16MiB is needed"],
    );
    found(
        &memory("memory = \"65MiB\"\nhuge_pages = true"),
        &["a.toml:3: node.memory: 65MiB is not a multiple of a huge page, 2MiB"],
    );
}

#[test]
fn a_flight_recorder_is_bounded() {
    let recorder = |text: &str| with("id = 1\nname = \"a\"", &format!("id = 1\n{text}\nname = \"a\""));
    found(
        &recorder("recorder = \"2GiB\""),
        &["a.toml:3: node.recorder: 2GiB is too much, at most 1GiB is possible"],
    );
    found(&recorder("recorder = \"0B\""), &[]);
}

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
            "a.toml:23: group[0].lanes[0].node: node 2 is one of the group's sites: this version has lanes at a relay only",
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
fn lanes_are_some_distinct_and_at_known_nodes() {
    let lane = "{ id = 0, node = 2 }";
    found(
        &with(lane, ""),
        &["a.toml:23: group[0].lanes: at least one lane is needed, such as { id = 0, node = 2 }"],
    );
    found(
        &with(lane, "{ id = 0, node = 7 }"),
        &["a.toml:23: group[0].lanes[0].node: no node has id 7; known are 1, 2, 3"],
    );
    found(
        &with(lane, "{ id = 0, node = 2 }, { id = 0, node = 3 }"),
        &[
            "a.toml:23: group[0].lanes[1].id: lane id 0 is taken already by group[0].lanes[0].id",
            "a.toml:23: group[0].lanes: this version keeps a group's journal in one lane, here are 2",
            "a.toml:23: group[0].lanes[1].node: node 3 is one of the group's sites: this version has lanes at a relay only",
        ],
    );
}

#[test]
fn a_mode_that_does_not_exist_yet_is_refused() {
    found(
        &with("ring = \"256MiB\"", "mode = \"max-performance\""),
        &[
            "a.toml:24: group[0].mode: \"max-performance\" needs a lane at the primary itself, which this version does not \
         have: allowed are \"max-protection\" and \"max-availability\"",
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
fn heartbeats_have_bounds() {
    let node = &parse(SITE).unwrap().node;
    assert_eq!((node.heartbeat, node.heartbeat_pause), (Span::from_ms(100), Span::from_ms(1_000)));
    found(
        &with("id = 1\nname = \"a\"", "heartbeat = \"5ms\"\nid = 1\nname = \"a\""),
        &["a.toml:2: node.heartbeat: 5ms is out of range: allowed are 10ms to 10s"],
    );
    found(
        &with("id = 1\nname = \"a\"", "heartbeat_pause = \"2min\"\nid = 1\nname = \"a\""),
        &["a.toml:2: node.heartbeat_pause: 120s is too long: a node that is silent for 60s is away"],
    );
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

#[test]
fn exports_are_distinct_known_and_reachable() {
    let second = format!("{SITE}\n[[export]]\nname = \"db-v0\"\nvolume = \"db/v9\"\n");
    found(
        &second,
        &[
            "a.toml:40: export[1].name: export name \"db-v0\" is taken already by export[0].name",
            "a.toml:41: export[1].volume: no volume is named db/v9; known are db/v0",
        ],
    );
    let listen = "listen = [\"127.0.0.1:10809\", \"unix:/run/midspan/nbd.sock\"]";
    found(
        &with(listen, ""),
        &[
            "a.toml:35: export[0]: no host can reach the exports: [nbd] needs `listen = [...]` or `systemd = true`",
        ],
    );
    found(&with(listen, "systemd = true"), &[]);
    let long = "x".repeat(4097);
    found(
        &with("\"db-v0\"", &format!("{long:?}")),
        &["a.toml:36: export[0].name: the name of an export has at most 4096 bytes, this one has 4097"],
    );
}

#[test]
fn a_place_is_listened_on_once() {
    found(
        &with("127.0.0.1:10809", "127.0.0.1:7001"),
        &["a.toml:33: nbd.listen[0]: listening place 127.0.0.1:7001 is taken already by node.listen"],
    );
    found(
        &with("/run/midspan/nbd.sock", "/run/midspan/a.sock"),
        &["a.toml:33: nbd.listen[1]: listening place unix:/run/midspan/a.sock is taken already by node.api"],
    );
}

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
