//! The clients that people use, against a real node that serves lone disks: libnbd, nbdinfo, nbdcopy, qemu and fio.
//!
//! A test whose client is not installed says so and passes.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod rig;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};

use midspan_format::ids::VolumeId;
use midspan_format::superblock::Role;
use midspan_node::config::{
    Address, AnswerMode, ControlPath, ExportConfig, GroupConfig, LanePolicy, Limits, Listen, LoneConfig,
    MemoryConfig, NodeConfig, Pace, Source,
};
use midspan_node::exports::{Backing, Export};
use midspan_node::format::format;
use midspan_node::node::{NodeHandle, start};
use rig::{A, B, GROUP, LANE, MIB, RELAY, Scratch, peek, site_group, spec, volume};

/// A node whose exports are lone disks, and where it can be reached.
struct Served {
    node: Option<NodeHandle>,
    scratch: Scratch,
    tcp: SocketAddr,
    unix: PathBuf,
}

impl Served {
    /// Two shards, so that every second export is on another one than negotiates.
    fn new(exports: &[(&str, u64)]) -> Self {
        let (mut config, scratch) = (NodeConfig::new(A), Scratch::new());
        for (number, (name, size)) in (0..).zip(exports) {
            let id = VolumeId(number);
            config.lone.push(LoneConfig { id, path: scratch.disk(name, *size) });
            config.exports.push(ExportConfig { name: (*name).into(), ..exported(Source::Lone(id)) });
        }
        Self::start(config, scratch)
    }

    fn start(mut config: NodeConfig, scratch: Scratch) -> Self {
        let unix = scratch.path("nbd.sock");
        config.cores = vec![0, 0];
        config.memory = MemoryConfig { huge_pages: false, ..MemoryConfig::of_bytes(32 << 20) };
        let any = Address::Tcp("127.0.0.1:0".parse().unwrap());
        config.front = vec![Listen::At(any), Listen::At(Address::Unix(unix.clone()))];
        let node = start(config).unwrap();
        let lone = |export: &&Export| export.backing == Backing::Simplex;
        while !node.exports().all().iter().filter(lone).all(Export::is_serving) {
            std::thread::yield_now();
        }
        let tcp = node.hosts_at()[0].unwrap();
        Self { node: Some(node), scratch, tcp, unix }
    }

    fn uri(&self, export: &str) -> String {
        format!("nbd://{}/{export}", self.tcp)
    }

    /// Stops the node and gives what lies on a disk then.
    fn contents(mut self, disk: &str) -> Vec<u8> {
        self.node.take().unwrap().stop();
        let path = self.scratch.path(disk);
        let length = fs::metadata(&path).unwrap().len();
        peek(&path, 0, length as usize)
    }
}

fn exported(source: Source) -> ExportConfig {
    ExportConfig { name: "disk".into(), description: String::new(), source, read_only: false, default: false }
}

/// The program, under a time limit; `None` (and a word about it) when it is not installed.
fn program(name: &str) -> Option<Command> {
    let found = Command::new("sh").args(["-c", &format!("command -v {name} && command -v timeout")]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        println!("skipped: {name} (or timeout) is not installed");
        return None;
    }
    let mut command = Command::new("timeout");
    command.args(["120", name]);
    Some(command)
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?} failed: {}\n{said}\n{complained}", output.status);
    output
}

fn stdout(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).unwrap()
}

fn assert_same(left: &[u8], right: &[u8]) {
    let differs = left.iter().zip(right).position(|(left, right)| left != right);
    assert_eq!((left.len(), differs), (right.len(), None), "first difference");
}

/// Runs a Python script in which `h` is an unconnected libnbd handle and `uri` the export's URI.
fn libnbd(node: &Served, export: &str, script: &str) {
    let Some(mut python) = program("/usr/bin/python3") else { return };
    if !python.args(["-c", "import nbd"]).output().unwrap().status.success() {
        println!("skipped: libnbd for Python is not installed");
        return;
    }
    let prelude = "
import errno, nbd, os
h = nbd.NBD()
MIB = 1 << 20
def fails(number, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except nbd.Error as error:
        assert error.errnum == number, f'{error.errno} {error}'
        return str(error)
    raise AssertionError('should have failed')
";
    let uri = format!("uri = '{}'\n", node.uri(export));
    let mut python = program("/usr/bin/python3").unwrap();
    run(python.args(["-c", &[prelude, &uri, script].concat()]));
}

/// Bytes that look random and are the same each time.
fn pattern(size: u64) -> Vec<u8> {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        word.to_be_bytes()[0]
    };
    (0..size).map(next).collect()
}

/// A lone disk, one for reading only, and a volume of a group whose primary is the other site.
fn three() -> Served {
    let (mut config, scratch) = (NodeConfig::new(A), Scratch::new());
    for (number, (name, size)) in (0..).zip([("alpha", 8 * MIB), ("beta", 4 * MIB)]) {
        config.lone.push(LoneConfig { id: VolumeId(number), path: scratch.disk(name, size) });
    }
    let gamma = volume(1, &scratch.disk("gamma", 4 * MIB));
    let journal = scratch.disk("journal", 16 * MIB);
    format(&spec(&journal, A, vec![site_group(GROUP, 4 * MIB, vec![gamma.clone()])])).unwrap();
    config.journal = Some(journal);
    config.groups.push(GroupConfig {
        group: GROUP,
        sites: [A, B],
        initial_role: Role::Secondary,
        initial_copy: false,
        may_leave: false,
        alone: false,
        control: ControlPath::Both,
        lane: LANE,
        lanes: vec![RELAY],
        lane_policy: LanePolicy::Failover,
        direct: false,
        resend_bytes: 64 << 20,
        answer: AnswerMode::Journaled,
        volumes: vec![gamma],
        limits: Limits { requests: 64, ..Limits::default() },
        pace: Pace::default(),
    });
    config.exports = vec![
        ExportConfig {
            name: "alpha".into(),
            description: "the first disk".into(),
            ..exported(Source::Lone(VolumeId(0)))
        },
        ExportConfig {
            name: "beta".into(),
            read_only: true,
            default: true,
            ..exported(Source::Lone(VolumeId(1)))
        },
        ExportConfig { name: "gamma".into(), ..exported(Source::Group(GROUP, VolumeId(1))) },
    ];
    Served::start(config, scratch)
}

#[test]
fn nbdinfo_describes_lists_and_maps() {
    let node = three();
    let Some(mut nbdinfo) = program("nbdinfo") else { return };
    let json = stdout(nbdinfo.args(["--json", &node.uri("alpha")]));
    for fact in [
        "\"protocol\": \"newstyle-fixed\"",
        "\"structured\": true",
        "\"description\": \"the first disk\"",
        "\"export-size\": 8388608",
        "\"base:allocation\"",
        "\"is_read_only\": false",
        "\"can_cache\": true",
        "\"can_df\": true",
        "\"can_fast_zero\": true",
        "\"can_flush\": true",
        "\"can_fua\": true",
        "\"can_multi_conn\": true",
        "\"can_trim\": true",
        "\"can_zero\": true",
        "\"block_size_minimum\": 1",
        "\"block_size_preferred\": 4096",
        "\"block_size_maximum\": 33554432",
    ] {
        assert!(json.contains(fact), "{fact} is not in {json}");
    }
    assert!(!json.contains("midspan:dirty"), "there is no dirty map to be asked for");
    let json = stdout(program("nbdinfo").unwrap().args(["--json", &node.uri("")]));
    assert!(json.contains("\"is_read_only\": true") && json.contains("\"export-size\": 4194304"), "{json}");
    let map = stdout(program("nbdinfo").unwrap().args(["--map", &node.uri("alpha")]));
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "8388608", "0", "data"]);
    libnbd(
        &node,
        "alpha",
        "
h.set_opt_mode(True)
h.connect_uri(uri)
names = []
h.opt_list(lambda name, description: names.append((name, description)))
assert names == [('alpha', 'the first disk'), ('beta', ''), ('gamma', '')], names
h.set_export_name('gamma')
fails(errno.ENOTSUP, h.opt_go)
h.set_export_name('nothing')
fails(errno.ENOENT, h.opt_info)
h.set_export_name('alpha')
h.opt_go()
assert h.pread(4096, 0) == bytes(4096)
",
    );
}

#[test]
fn qemu_img_shows_why_an_export_cannot_be_opened() {
    let node = three();
    let Some(mut qemu_img) = program("qemu-img") else { return };
    let refused = qemu_img.args(["info", &node.uri("gamma")]).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("midspan takeover"), "{text}");
}

#[test]
fn nbdcopy_copies_in_and_out_over_many_connections() {
    for large in
        [&["--connections=4", "--flush"][..], &["--request-size=33554432", "--requests=4", "--flush"]]
    {
        let node = Served::new(&[("other", MIB), ("disk", 64 * MIB)]);
        let source = pattern(64 * MIB);
        let (from, to) = (node.scratch.path("in"), node.scratch.path("out"));
        fs::write(&from, &source).unwrap();
        let Some(mut nbdcopy) = program("nbdcopy") else { return };
        run(nbdcopy.args(large).arg(&from).arg(node.uri("disk")));
        let unix = format!("nbd+unix:///disk?socket={}", node.unix.display());
        run(program("nbdcopy").unwrap().args(large).arg(&unix).arg(&to));
        assert_same(&fs::read(&to).unwrap(), &source);
        assert_same(&node.contents("disk"), &source);
    }
}

#[test]
fn libnbd_reads_and_writes_with_every_shape_of_reply() {
    for setup in ["", "h.set_request_structured_replies(False)\n"] {
        let node = Served::new(&[("disk", 128 * MIB)]);
        let script = "
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.connect_uri(uri)
data = os.urandom(3 * MIB + 17)
h.pwrite(data, 4099, nbd.CMD_FLAG_FUA)
assert h.pread(len(data), 4099) == data
big = os.urandom(32 * MIB)
h.pwrite(big, 64 * MIB + 1)
h.flush()
assert h.pread(32 * MIB, 64 * MIB + 1) == big
h.zero(MIB, 64 * MIB, nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_NO_HOLE)
h.zero(MIB, 65 * MIB, nbd.CMD_FLAG_FAST_ZERO)
h.trim(MIB, 66 * MIB, nbd.CMD_FLAG_FUA)
h.cache(100 * MIB, 0)
assert h.pread(3 * MIB, 64 * MIB) == bytes(3 * MIB)
if h.get_structured_replies_negotiated():
    chunks = []
    h.pread_structured(len(data), 4099, lambda *chunk: chunks.append(chunk[1:3]), nbd.CMD_FLAG_DF)
    assert chunks == [(4099, nbd.READ_DATA)], chunks
    chunks.clear()
    h.pread_structured(len(data), 4099, lambda *chunk: chunks.append(chunk[1:3]))
    assert len(chunks) > 1 and min(chunks) == (4099, nbd.READ_DATA), chunks
    found = []
    h.block_status(128 * MIB, 0, lambda context, offset, entries, error: found.extend(entries))
    assert found == [128 * MIB, 0], found
h.set_strict_mode(0)
fails(errno.EINVAL, h.pread, 1, 128 * MIB)
fails(errno.ENOSPC, h.pwrite, b'x', 128 * MIB)
fails(errno.EINVAL, h.pwrite, bytes(32 * MIB + 1), 0)
assert h.pread(1, 0) == b'\\0'
h.shutdown()
";
        libnbd(&node, "disk", &[setup, script].concat());
    }
}

#[test]
fn a_flush_on_one_connection_comes_after_the_writes_of_another() {
    let node = Served::new(&[("disk", 16 * MIB)]);
    libnbd(
        &node,
        "disk",
        "
other = nbd.NBD()
h.connect_uri(uri)
other.connect_uri(uri)
assert h.can_multi_conn() and other.can_multi_conn()
for n in range(100):
    h.pwrite(bytes([n]) * 4096, n * 4096)
    other.flush()
    assert other.pread(4096, n * 4096) == bytes([n]) * 4096
",
    );
}

#[test]
fn qemu_img_converts_and_compares() {
    let node = Served::new(&[("other", MIB), ("disk", 24 * MIB)]);
    let mut source = pattern(24 * MIB);
    source[8 << 20..12 << 20].fill(0);
    let (from, to) = (node.scratch.path("in"), node.scratch.path("out"));
    fs::write(&from, &source).unwrap();
    let Some(mut qemu_img) = program("qemu-img") else { return };
    let uri = node.uri("disk");
    let convert = ["convert", "-f", "raw", "-O", "raw"];
    run(qemu_img.args(convert).arg("-n").arg(&from).arg(&uri));
    run(program("qemu-img").unwrap().args(["compare", "-f", "raw", "-F", "raw"]).arg(&from).arg(&uri));
    run(program("qemu-img").unwrap().args(convert).arg(&uri).arg(&to));
    assert_same(&fs::read(&to).unwrap(), &source);
    assert_same(&node.contents("disk"), &source);
}

#[test]
fn qemu_io_writes_zeroes_and_discards() {
    let node = Served::new(&[("disk", 64 * MIB)]);
    let Some(mut qemu_io) = program("qemu-io") else { return };
    let script = [
        "write -P 0xab 0 1M",
        "write -f -P 0xcd 1M 31M",
        "read -P 0xab 0 1M",
        "read -P 0xcd 1M 31M",
        "write -z -u 512K 512K",
        "write -z 40M 20M",
        "discard 1M 1M",
        "flush",
        "read -P 0 512k 512k",
        "read -P 0 1M 1M",
        "write -P 0x11 12345 678",
        "read -P 0x11 12345 678",
        "aio_write -P 0x22 4M 4M",
        "aio_write -P 0x33 8M 4M",
        "aio_flush",
        "read -P 0x22 4M 4M",
        "read -P 0x33 8M 4M",
    ];
    script.iter().for_each(|line| {
        qemu_io.args(["-c", line]);
    });
    let output = stdout(qemu_io.args(["-f", "raw", &node.uri("disk")]));
    assert!(!output.contains("failed") && !output.contains("rror"), "{output}");
    assert_eq!(node.contents("disk")[12345..12345 + 678], [0x11; 678]);
}

#[test]
fn fio_verifies_what_it_wrote() {
    let node = Served::new(&[("disk", 64 * MIB)]);
    let Some(mut fio) = program("fio") else { return };
    let engines = String::from_utf8_lossy(&fio.arg("--enghelp").output().unwrap().stdout).into_owned();
    if !engines.contains("nbd") {
        println!("skipped: this fio has no nbd engine");
        return;
    }
    let uri = format!("--uri={}", node.uri("disk"));
    for job in [["--bs=4k", "--iodepth=32"], ["--bs=512-256k", "--iodepth=16"]] {
        let mut fio = program("fio").unwrap();
        let ways =
            ["--name=verify", "--ioengine=nbd", "--rw=randwrite", "--verify=crc32c", "--verify_fatal=1"];
        fio.current_dir(node.scratch.path("")).args(ways);
        run(fio.args(["--size=32m", "--do_verify=1", "--randseed=7", &uri]).args(job));
    }
}
