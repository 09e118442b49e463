//! What is not read at all: unknown keys, wrong types, values out of range.

use super::*;

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
