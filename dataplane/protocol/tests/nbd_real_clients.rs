//! The NBD machines, served by a small test server, against the clients that people use: libnbd, nbdinfo, nbdcopy, qemu and fio.
//!
//! A test whose client is not installed says so and passes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]
#![allow(missing_docs, reason = "test code")]

mod nbd_server;

use std::fs;
use std::path::PathBuf;
use std::process::{self, Command, Output};

use midspan_protocol::host::nbd::{BlockSizes, Mode};
use nbd_server::{Disk, Server};

const MIB: usize = 1 << 20;

/// The program, under a time limit; `None` (and a word about it) when it is not installed.
fn client(program: &str) -> Option<Command> {
    let found =
        Command::new("sh").args(["-c", &format!("command -v {program} && command -v timeout")]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        println!("skipped: {program} (or timeout) is not installed");
        return None;
    }
    let mut command = Command::new("timeout");
    command.args(["120", program]);
    Some(command)
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?} failed: {}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

fn stdout(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).unwrap()
}

/// A folder for one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("midspan-nbd-{}-{name}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Bytes that look random and are the same each time, with a hole in the middle.
fn pattern(size: usize) -> Vec<u8> {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes: Vec<u8> = (0..size)
        .map(|_| {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (word >> 56) as u8
        })
        .collect();
    bytes[size / 2..size / 2 + size / 8].fill(0);
    bytes
}

fn assert_same(left: &[u8], right: &[u8]) {
    let differs = left.iter().zip(right).position(|(left, right)| left != right);
    assert_eq!((left.len(), differs), (right.len(), None), "first difference");
}

/// Runs a Python script in which `h` is an unconnected libnbd handle and `uri` the export's URI.
fn libnbd(server: &Server, export: &str, script: &str) {
    let Some(mut python) = client("/usr/bin/python3") else { return };
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
    let uri = format!("uri = '{}'\n", server.uri(export));
    let mut python = client("/usr/bin/python3").unwrap();
    run(python.args(["-c", &[prelude, &uri, script].concat()]));
}

fn three() -> Vec<Disk> {
    vec![
        Disk::new("alpha", 8 * MIB)
            .with(|disk| disk.export.description = "the first disk")
            .fill(&pattern(MIB)),
        Disk::new("beta", 4 * MIB).with(|disk| {
            disk.export.read_only = true;
            disk.export.default = true;
        }),
        Disk::new("gamma", 4 * MIB)
            .with(|disk| disk.export.available = Err("gamma is a secondary here: it cannot be opened")),
    ]
}

#[test]
fn nbdinfo_describes_an_export() {
    let server = Server::start(three());
    let Some(mut nbdinfo) = client("nbdinfo") else { return };
    let json = stdout(nbdinfo.args(["--json", &server.uri("alpha")]));
    for fact in [
        "\"protocol\": \"newstyle-fixed\"",
        "\"structured\": true",
        "\"export-name\": \"alpha\"",
        "\"description\": \"the first disk\"",
        "\"export-size\": 8388608",
        "\"base:allocation\"",
        "\"midspan:dirty\"",
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
    let json = stdout(client("nbdinfo").unwrap().args(["--json", &server.uri("")]));
    assert!(json.contains("\"export-name\": \"\"") || json.contains("\"export-name\": \"beta\""), "{json}");
    assert!(json.contains("\"is_read_only\": true") && json.contains("\"can_trim\": false"), "{json}");
}

#[test]
fn nbdinfo_lists_exports() {
    let server = Server::start(three());
    let Some(mut nbdinfo) = client("nbdinfo") else { return };
    let listed = nbdinfo.args(["--list", "--json", &server.uri("")]).output().unwrap();
    let text =
        String::from_utf8_lossy(&listed.stdout).into_owned() + &String::from_utf8_lossy(&listed.stderr);
    assert!(text.contains("alpha") && text.contains("beta"), "{text}");
    assert!(!client("nbdinfo").unwrap().arg(server.uri("gamma")).output().unwrap().status.success());
    let open = Server::start(vec![Disk::new("one", MIB), Disk::new("two", MIB)]);
    let listed = stdout(client("nbdinfo").unwrap().args(["--list", &open.uri("")]));
    assert!(listed.contains("export=\"one\"") && listed.contains("export=\"two\""), "{listed}");
}

#[test]
fn nbdinfo_maps_allocation_and_dirt() {
    let server = Server::start(three());
    let Some(mut nbdinfo) = client("nbdinfo") else { return };
    let fields = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let map = stdout(nbdinfo.args(["--map", &server.uri("alpha")]));
    let expect = [
        "0 524288 0 data",
        "524288 131072 3 hole,zero",
        "655360 393216 0 data",
        "1048576 7340032 3 hole,zero",
    ];
    assert_eq!(fields(&map), expect);
    libnbd(&server, "alpha", "h.connect_uri(uri)\nh.pwrite(b'x', 5 * MIB)\nh.shutdown()\n");
    let map = stdout(client("nbdinfo").unwrap().args(["--map=midspan:dirty", &server.uri("alpha")]));
    let starts: Vec<String> =
        fields(&map).iter().map(|line| line.splitn(4, ' ').take(3).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(starts, ["0 5242880 0", "5242880 4096 1", "5246976 3141632 0"], "{map}");
}

#[test]
fn nbdcopy_copies_in_and_out_over_many_connections() {
    let server = Server::start(vec![Disk::new("disk", 24 * MIB)]);
    let folder = Folder::new("nbdcopy");
    let socket = folder.file("nbd.sock");
    server.listen_unix(&socket);
    let source = pattern(24 * MIB);
    fs::write(folder.file("in"), &source).unwrap();
    let Some(mut nbdcopy) = client("nbdcopy") else { return };
    run(nbdcopy.args(["--connections=4", "--flush"]).arg(folder.file("in")).arg(server.uri("disk")));
    assert_same(&server.disks[0].contents(), &source);
    let unix = format!("nbd+unix:///disk?socket={}", socket.display());
    run(client("nbdcopy").unwrap().args(["--connections=4", &unix]).arg(folder.file("out")));
    assert_same(&fs::read(folder.file("out")).unwrap(), &source);
    run(client("nbdcopy")
        .unwrap()
        .args(["--request-size=33554432"])
        .arg(folder.file("in"))
        .arg(server.uri("disk")));
    assert_same(&server.disks[0].contents(), &source);
}

#[test]
fn libnbd_reads_and_writes_with_structured_replies() {
    let server = Server::start(vec![Disk::new("disk", 128 * MIB)]);
    libnbd(
        &server,
        "disk",
        "
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.add_meta_context('midspan:dirty')
h.connect_uri(uri)
assert h.get_structured_replies_negotiated()
assert h.get_protocol() == 'newstyle-fixed'
assert h.can_meta_context('midspan:dirty')
data = os.urandom(3 * MIB + 17)
h.pwrite(data, 4099, nbd.CMD_FLAG_FUA)
assert h.pread(len(data), 4099) == data
chunks = []
h.pread_structured(len(data), 4099, lambda *chunk: chunks.append(chunk[1:3]), nbd.CMD_FLAG_DF)
assert chunks == [(4099, nbd.READ_DATA)], chunks
h.pread_structured(64 * 4096, 0, lambda *chunk: chunks.append(chunk[1:3]))
assert chunks[1:] == [(65536 * piece, nbd.READ_DATA) for piece in (3, 2, 1, 0)], chunks
h.pread_structured(65536, 100 * MIB, lambda *chunk: chunks.append(chunk[1:3]))
assert chunks[5:] == [(100 * MIB, nbd.READ_HOLE)], chunks
big = os.urandom(32 * MIB)
h.pwrite(big, 64 * MIB)
h.flush()
assert h.pread(32 * MIB, 64 * MIB) == big
h.zero(MIB, 64 * MIB, nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_NO_HOLE)
h.zero(MIB, 65 * MIB, nbd.CMD_FLAG_FAST_ZERO)
h.trim(MIB, 66 * MIB, nbd.CMD_FLAG_FUA)
h.cache(100 * MIB, 0)
assert h.pread(2 * MIB, 64 * MIB) == bytes(2 * MIB)
found = {}
h.block_status(128 * MIB, 0, lambda context, offset, entries, error: found.__setitem__(context, (offset, entries)))
assert found['base:allocation'][0] == 0 and found['base:allocation'][1][:2] == [4096, 3], found
assert found['midspan:dirty'][1][:4] == [4096, 0, 3 * MIB + 4096, 1], found['midspan:dirty']
h.block_status(4096 * 4, 0, lambda context, offset, entries, error: found.__setitem__(context, entries), nbd.CMD_FLAG_REQ_ONE)
assert found == {'base:allocation': [4096, 3], 'midspan:dirty': [4096, 0]}, found
h.shutdown()
",
    );
    assert!(server.saw(Mode::Structured));
}

#[test]
fn libnbd_reads_and_writes_with_simple_replies() {
    let server = Server::start(vec![Disk::new("disk", 80 * MIB)]);
    libnbd(
        &server,
        "disk",
        "
h.set_request_structured_replies(False)
h.connect_uri(uri)
assert not h.get_structured_replies_negotiated()
assert not h.can_df()
data = os.urandom(32 * MIB)
h.pwrite(data, 1)
assert h.pread(32 * MIB, 1) == data
h.zero(4096, 4096)
h.trim(4096, 8192)
h.cache(4096, 0)
h.flush()
assert h.pread(8192, 4096) == bytes(8192)
h.set_strict_mode(0)
fails(errno.EINVAL, h.pread, 1, 80 * MIB)
fails(errno.ENOSPC, h.pwrite, b'x', 80 * MIB)
assert h.pread(1, 0) == b'\\0'
h.shutdown()
",
    );
    assert!(server.saw(Mode::Simple));
}

#[test]
fn libnbd_falls_back_to_the_oldest_way_to_name_an_export() {
    let server = Server::start(vec![Disk::new("disk", MIB)]);
    libnbd(
        &server,
        "disk",
        "
h.set_handshake_flags(0)
h.connect_uri(uri)
h.pwrite(b'old', 7)
assert h.pread(3, 7) == b'old'
assert h.get_protocol() == 'newstyle'
h.shutdown()
",
    );
}

#[test]
fn libnbd_sees_every_error_and_keeps_its_connection() {
    let disks = vec![
        Disk::new("disk", 80 * MIB),
        Disk::new("fixed", 4 * MIB).with(|disk| {
            disk.export.read_only = true;
            disk.export.block = BlockSizes::new(512, 4096, 1 << 20).unwrap();
        }),
        Disk::new("slow", 4 * MIB).with(|disk| disk.export.fast_zero = false),
    ];
    let server = Server::start(disks);
    libnbd(
        &server,
        "disk",
        "
h.connect_uri(uri)
h.set_strict_mode(0)
fails(errno.ENOSPC, h.pwrite, b'xy', 80 * MIB - 1)
fails(errno.ENOSPC, h.zero, 2, 80 * MIB - 1)
fails(errno.EINVAL, h.trim, 2, 80 * MIB - 1)
fails(errno.EINVAL, h.pread, 2, 80 * MIB - 1)
fails(errno.EINVAL, h.cache, 2, 80 * MIB - 1)
fails(errno.EINVAL, h.pwrite, bytes(32 * MIB + 1), 0)
fails(errno.EINVAL, h.pwrite, bytes(64 * MIB), 0)
fails(errno.EINVAL, h.pread, 32 * MIB + 1, 0)
fails(errno.EOVERFLOW, h.pread_structured, 32 * MIB + 1, 0, lambda *chunk: 0, nbd.CMD_FLAG_DF)
fails(errno.EINVAL, h.trim, 512, 0, nbd.CMD_FLAG_REQ_ONE)
fails(errno.EINVAL, h.flush, nbd.CMD_FLAG_FAST_ZERO)
fails(errno.EINVAL, h.block_status, 512, 0, lambda *arguments: 0)
h.pwrite(b'', 0)
h.trim(0, 0)
assert h.pread(0, 0) == b''
h.pwrite(b'alive', 0)
assert h.pread(5, 0) == b'alive'
h.shutdown()
",
    );
    libnbd(
        &server,
        "fixed",
        "
h.connect_uri(uri)
h.set_strict_mode(0)
assert h.is_read_only() and h.get_block_size(nbd.SIZE_MINIMUM) == 512 and h.get_block_size(nbd.SIZE_MAXIMUM) == MIB
fails(errno.EPERM, h.pwrite, bytes(512), 0)
fails(errno.EPERM, h.zero, 512, 0)
fails(errno.EPERM, h.trim, 512, 0)
fails(errno.EINVAL, h.pread, 100, 0)
fails(errno.EINVAL, h.pread, 512, 100)
fails(errno.EINVAL, h.pread, MIB + 512, 0)
h.flush()
assert h.pread(512, 512) == bytes(512)
",
    );
    libnbd(
        &server,
        "slow",
        "
h.connect_uri(uri)
h.pwrite(b'x', 0)
assert h.can_fast_zero()
fails(errno.ENOTSUP, h.zero, 512, 0, nbd.CMD_FLAG_FAST_ZERO)
assert h.pread(1, 0) == b'x'
h.zero(512, 0)
assert h.pread(1, 0) == b'\\0'
",
    );
}

#[test]
fn a_failure_in_the_middle_of_a_read_is_an_error_and_the_connection_lives() {
    let server = Server::start(vec![
        Disk::new("disk", 4 * MIB).with(|disk| disk.bad_block = true).fill(&[7; 3 * MIB]),
    ]);
    libnbd(
        &server,
        "disk",
        "
h.connect_uri(uri)
errors = []
def on_chunk(data, offset, status, error):
    if status == nbd.READ_ERROR: errors.append((offset, error.value))
for flags in [0, nbd.CMD_FLAG_DF]:
    fails(errno.EIO, h.pread, 2 * MIB, 0)
    fails(errno.EIO, h.pread_structured, 2 * MIB, 0, on_chunk, flags)
    assert h.pread(65536, 0) == b'\\x07' * 65536
assert errors == [(MIB, errno.EIO)] * 2, errors
simple = nbd.NBD()
simple.set_request_structured_replies(False)
simple.connect_uri(uri)
fails(errno.EIO, simple.pread, 2 * MIB, 0)
assert simple.pread(1, 0) == b'\\x07'
",
    );
}

#[test]
fn libnbd_haggles_option_by_option() {
    let server = Server::start(three());
    libnbd(
        &server,
        "alpha",
        "
h.set_opt_mode(True)
h.connect_uri(uri)
names = []
assert h.opt_list(lambda name, description: names.append((name, description))) == 3
assert names == [('alpha', 'the first disk'), ('beta', ''), ('gamma', '')], names
contexts = []
h.opt_list_meta_context(contexts.append)
assert contexts == ['base:allocation', 'midspan:dirty'], contexts
contexts.clear()
h.add_meta_context('midspan:')
h.opt_list_meta_context(contexts.append)
assert contexts == ['midspan:dirty'], contexts
h.set_export_name('gamma')
fails(errno.ENOTSUP, h.opt_go)
h.set_export_name('nothing')
fails(errno.ENOENT, h.opt_info)
h.set_export_name('beta')
h.set_full_info(True)
h.opt_info()
assert h.get_size() == 4 * MIB and h.get_canonical_export_name() == 'beta'
h.set_export_name('alpha')
h.opt_go()
assert h.get_export_description() == 'the first disk'
",
    );
    libnbd(&server, "", "h.set_opt_mode(True)\nh.connect_uri(uri)\nh.opt_abort()\n");
}

#[test]
fn qemu_img_shows_why_an_export_cannot_be_opened() {
    let server = Server::start(three());
    for (name, reason) in
        [("gamma", "gamma is a secondary here"), ("delta", "this server has no export 'delta'")]
    {
        let Some(mut qemu_img) = client("qemu-img") else { return };
        let refused = qemu_img.args(["info", &server.uri(name)]).output().unwrap();
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && text.contains(reason), "{text}");
    }
}

#[test]
fn qemu_img_converts_compares_and_maps() {
    let server = Server::start(vec![Disk::new("disk", 24 * MIB)]);
    let folder = Folder::new("qemu-img");
    let source = pattern(24 * MIB);
    fs::write(folder.file("in"), &source).unwrap();
    let Some(mut qemu_img) = client("qemu-img") else { return };
    let info = stdout(qemu_img.args(["info", "--output=json", &server.uri("disk")]));
    assert!(info.contains("\"virtual-size\": 25165824"), "{info}");
    let uri = server.uri("disk");
    run(client("qemu-img")
        .unwrap()
        .args(["convert", "-n", "-f", "raw", "-O", "raw"])
        .arg(folder.file("in"))
        .arg(&uri));
    assert_same(&server.disks[0].contents(), &source);
    let compare = ["compare", "-f", "raw", "-F", "raw"];
    run(client("qemu-img").unwrap().args(compare).arg(folder.file("in")).arg(&uri));
    run(client("qemu-img")
        .unwrap()
        .args(["convert", "-f", "raw", "-O", "raw"])
        .arg(&uri)
        .arg(folder.file("out")));
    assert_same(&fs::read(folder.file("out")).unwrap(), &source);
    let map = stdout(client("qemu-img").unwrap().args(["map", "--output=json", "-f", "raw", &uri]));
    assert!(
        map.contains("\"start\": 12582912, \"length\": 3145728") && map.contains("\"zero\": true"),
        "{map}"
    );
    assert!(server.saw(Mode::Extended) || server.saw(Mode::Structured), "qemu negotiates chunks");
}

/// qemu from 8.2 on asks for extended headers first; what it did is then known to have gone through them.
#[test]
fn qemu_io_writes_zeroes_and_discards() {
    let server = Server::start(vec![Disk::new("disk", 64 * MIB)]);
    let Some(mut qemu_io) = client("qemu-io") else { return };
    let uri = server.uri("disk");
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
    let output = stdout(qemu_io.args(["-f", "raw", &uri]));
    assert!(!output.contains("failed") && !output.contains("rror"), "{output}");
    assert_eq!(server.disks[0].contents()[12345..12345 + 678], [0x11; 678]);
    let version = stdout(client("qemu-io").unwrap().arg("--version"));
    let major: Option<u32> =
        version.split("version ").nth(1).and_then(|rest| rest.split('.').next()?.parse().ok());
    assert!(major.is_none_or(|major| major < 9) || server.saw(Mode::Extended), "{version}");
}

#[test]
fn fio_verifies_what_it_wrote() {
    let server = Server::start(vec![Disk::new("disk", 64 * MIB)]);
    let Some(mut fio) = client("fio") else { return };
    let engines = String::from_utf8_lossy(&fio.arg("--enghelp").output().unwrap().stdout).into_owned();
    if !engines.contains("nbd") {
        println!("skipped: this fio has no nbd engine");
        return;
    }
    let folder = Folder::new("fio");
    let uri = format!("--uri={}", server.uri("disk"));
    for job in [["--bs=4k", "--iodepth=16"], ["--bs=512-256k", "--iodepth=4"]] {
        let mut fio = client("fio").unwrap();
        fio.current_dir(&folder.0).args([
            "--name=verify",
            "--ioengine=nbd",
            "--rw=randwrite",
            "--verify=crc32c",
        ]);
        fio.args(["--size=32m", "--do_verify=1", "--verify_fatal=1", "--randseed=7", &uri]).args(job);
        run(&mut fio);
    }
}
