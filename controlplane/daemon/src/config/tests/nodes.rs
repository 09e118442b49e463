//! The node itself and its peers.

use super::*;

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
