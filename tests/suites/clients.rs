//! Other people's NBD clients against our exports: fio, nbdcopy, nbdinfo, Python's libnbd, qemu-img, qemu-io.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use midspan::hammer::random::Seeded;
use serde_json::Value;

use rig::{Cluster, Folder, GROUP, LIMIT, Lone, Place, Program, Shape, create_disk, same_content};

/// MiB of each export: more than the largest payload.
const MIB: u64 = 48;

/// An export that clients are let loose on.
struct Target {
    uri: String,
    tcp: String,
    folder: PathBuf,
}

impl Target {
    fn battery(&self) {
        self.python();
        self.nbdinfo();
        for uri in [&self.uri, &self.tcp] {
            self.nbdcopy(uri);
            self.qemu_img(uri);
            fio(uri, &["--rw=randwrite", "--bsrange=512-128k", "--blockalign=512", "--bs_unaligned=1"]);
            fio(uri, &["--rw=randwrite", "--bssplit=4k/70:16k/20:64k/10", "--fsync=16"]);
            fio(uri, &["--rw=randtrimwrite", "--bs=8k"]);
            qemu_io(uri);
        }
    }

    /// Before anything was written: the script begins with zeroes.
    fn python(&self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/clients/odd_requests.py");
        // Debian's libnbd is a module of Debian's Python, whatever other ones there are.
        let python = ["/usr/bin/python3", "python3"].into_iter().find(|path| {
            let imported = Program::new(path).args(["-c", "import nbd"]).run();
            imported.status.success()
        });
        let python = python.expect("a Python with libnbd: `cargo xtask setup` installs python3-libnbd");
        Program::new(python).arg(script).args([self.uri.as_str(), "7"]).run().well();
    }

    fn nbdinfo(&self) {
        let text = Program::new("nbdinfo").args(["--json", &self.uri]).run().well();
        let info: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&info["protocol"], &info["structured"]),
            (&"newstyle-fixed".into(), &true.into()),
            "{text}"
        );
        let export = &info["exports"][0];
        assert_eq!(export["export-size"], MIB << 20, "{text}");
        for (key, wanted) in [
            ("is_read_only", false),
            ("can_flush", true),
            ("can_fua", true),
            ("can_df", true),
            ("can_trim", true),
            ("can_zero", true),
            ("can_cache", true),
            ("can_multi_conn", true),
        ] {
            assert_eq!(export[key], wanted, "{key} in {text}");
        }
        assert!(export["contexts"].as_array().unwrap().contains(&"base:allocation".into()), "{text}");
        assert_eq!(export["block_size_maximum"], 32 << 20, "{text}");
        // Both transports tell the same of everything but the address.
        let tcp = Program::new("nbdinfo").args(["--json", &self.tcp]).run().well();
        assert_eq!(tcp.replace(&self.tcp, &self.uri), text);
        // The extents cover the whole.
        let map = Program::new("nbdinfo").args(["--json", "--map", &self.uri]).run().well();
        let map: Value = serde_json::from_str(&map).unwrap();
        let covered: u64 =
            map.as_array().unwrap().iter().map(|extent| extent["length"].as_u64().unwrap()).sum();
        assert_eq!(covered, MIB << 20, "{map}");
    }

    /// A file to the export and back.
    fn nbdcopy(&self, uri: &str) {
        let (there, back) = (self.folder.join("there"), self.folder.join("back"));
        patchwork(&there, 1);
        Program::new("nbdcopy").args(["--flush", "--requests=64"]).arg(&there).arg(uri).run().well();
        Program::new("nbdcopy").arg(uri).arg(&back).run().well();
        same_content(&there, &back);
        fs::remove_file(back).unwrap();
    }

    fn qemu_img(&self, uri: &str) {
        let (there, back) = (self.folder.join("there"), self.folder.join("back.qcow2"));
        patchwork(&there, 2);
        let qemu = |words: &[&str]| Program::new("qemu-img").args(words);
        qemu(&["convert", "-n", "-f", "raw", "-O", "raw"]).arg(&there).arg(uri).run().well();
        qemu(&["compare", "-f", "raw", "-F", "raw"]).arg(&there).arg(uri).run().well();
        qemu(&["convert", "-f", "raw", "-O", "qcow2"]).arg(uri).arg(&back).run().well();
        qemu(&["compare", "-f", "raw", "-F", "qcow2"]).arg(&there).arg(&back).run().well();
        fs::remove_file(back).unwrap();
        // A difference would have been noticed.
        Program::new("qemu-io").args(["-f", "raw", "-c", "write -P 0x5a 5M 1M", uri]).run().well();
        qemu(&["compare", "-f", "raw", "-F", "raw"]).arg(&there).arg(uri).run().with_code(1, &["mismatch"]);
    }
}

/// Writes, and reads everything back with its checksums.
fn fio(uri: &str, how: &[&str]) {
    let fio = Program::new("fio").args(["--name=suite", "--ioengine=nbd", "--iodepth=32", "--randseed=7"]);
    let fio = fio.args([
        "--verify=crc32c",
        "--do_verify=1",
        "--verify_fatal=1",
        "--verify_state_save=0",
        "--output-format=json",
    ]);
    let said = fio.args(how).args([format!("--uri={uri}"), format!("--size={MIB}m")]).run().well();
    // Notes may stand before the JSON.
    let report: Value = serde_json::from_str(&said[said.find('{').unwrap()..]).unwrap();
    let job = &report["jobs"][0];
    assert_eq!(job["error"], 0, "{said}");
    let (written, read) =
        (job["write"]["io_bytes"].as_u64().unwrap(), job["read"]["io_bytes"].as_u64().unwrap());
    assert!(written > MIB << 19 && read >= written, "{written} bytes written, {read} verified: {said}");
}

/// Patterns, unaligned ones too; zeroes and discards over them.
fn qemu_io(uri: &str) {
    let commands = [
        "write -P 0x11 0 4M",
        "aio_write -P 0x22 1M 64k",
        "aio_write -P 0x33 1088k 64k",
        "aio_flush",
        "write -P 0x44 777 1234",
        "write -f -P 0x55 2M 128k",
        "flush",
        "read -P 0x11 0 777",
        "read -P 0x44 777 1234",
        "read -P 0x11 2011 2085",
        "read -P 0x22 1M 64k",
        "read -P 0x33 1088k 64k",
        "read -P 0x55 2M 128k",
        "write -z 2M 64k",
        "write -z -u 2112k 4k",
        "write -z 3M 777",
        "discard 1M 64k",
        "read -P 0 2M 68k",
        "read -P 0x55 2116k 60k",
        "read -P 0 3M 777",
        "read -P 0x11 3146505 1000",
        "read -P 0 1M 64k",
        "read -P 0x33 1088k 64k",
    ];
    let qemu = Program::new("qemu-io").args(["-f", "raw", "-d", "unmap"]);
    let said = qemu.args(commands.iter().flat_map(|command| ["-c", command])).arg(uri).run().well();
    assert!(!said.contains("failed"), "{said}");
    // A wrong pattern would have been noticed.
    let qemu = Program::new("qemu-io").args([
        "-f",
        "raw",
        "-c",
        "read -P 0x12 4M 4k",
        "-c",
        "read -P 0x77 777 10",
        uri,
    ]);
    assert!(qemu.run().out.contains("Pattern verification failed"));
}

/// A file of random data with ranges of zeroes and of equal bytes.
fn patchwork(path: &Path, seed: u64) {
    let mut dice = Seeded::new(seed, 0);
    let mut file = fs::File::create(path).unwrap();
    for _ in 0..MIB * 16 {
        let patch: Vec<u8> = match dice.below(4) {
            0 => vec![0; 1 << 16],
            1 => vec![0xa5; 1 << 16],
            _ => (0..1 << 13).flat_map(|_| dice.next_word().to_le_bytes()).collect(),
        };
        file.write_all(&patch).unwrap();
    }
}

/// Brings an export's content into a file.
fn content(uri: &str, path: &Path) {
    Program::new("nbdcopy").arg(uri).arg(path).run().well();
}

#[test]
fn other_peoples_clients_are_served_by_the_primary_and_the_secondary_has_what_they_wrote() {
    let mut cluster = Cluster::running(Shape::new(1, MIB));
    let (uri, tcp) = (cluster.uri(Place::Primary, 1), cluster.tcp_uri(Place::Primary, 1));
    Target { uri: uri.clone(), tcp, folder: cluster.folder().path().to_owned() }.battery();
    let (before, after) = (cluster.folder().file("before"), cluster.folder().file("after"));
    content(&uri, &before);
    cluster.wait_caught_up();
    cluster.kill(Place::Primary);
    cluster.take_over();
    for uri in [cluster.uri(Place::Secondary, 1), cluster.tcp_uri(Place::Secondary, 1)] {
        content(&uri, &after);
        same_content(&before, &after);
        fs::remove_file(&after).unwrap();
    }
    same_content(&before, &cluster.disk(Place::Secondary, 1));
}

#[test]
fn other_peoples_clients_are_served_by_a_disk_without_replication() {
    let lone = Lone::serve(MIB << 20);
    Target { uri: lone.uri(), tcp: lone.tcp_uri(), folder: lone.folder().path().to_owned() }.battery();
    let after = lone.folder().file("after");
    content(&lone.uri(), &after);
    same_content(&after, &lone.folder().file("disk"));
}

#[test]
fn a_secondary_refuses_hosts_and_says_what_to_do() {
    let mut cluster = Cluster::running(Shape::new(2, 8));
    for uri in [cluster.uri(Place::Secondary, 2), cluster.tcp_uri(Place::Secondary, 2)] {
        let said = Program::new("qemu-img").args(["info", &uri]).run();
        said.badly(&["'v2'", "secondary", "Connect to the primary", "midspan takeover"]);
        Program::new("nbdinfo").arg(&uri).run().badly(&["v2"]);
    }
    // It stays as it is.
    assert!(cluster.node(Place::Secondary).ended().is_none());
    assert!(!cluster.group(Place::Secondary).serving);
    // A client that begins before the takeover has ended is served once it has.
    cluster.kill(Place::Primary);
    cluster.take_over();
    Program::new("nbdinfo").arg(cluster.uri(Place::Secondary, 2)).run().well();
}

#[test]
fn an_export_that_does_not_exist_is_refused_by_name() {
    let lone = Lone::serve(1 << 20);
    let uri = format!("nbd+unix:///other?socket={}", lone.socket().display());
    Program::new("qemu-img").args(["info", &uri]).run().badly(&["other"]);
    Program::new("nbdinfo").arg(lone.uri()).run().well();
}

#[test]
fn sigterm_ends_a_server_with_0_and_a_stale_socket_is_no_obstacle() {
    let mut lone = Lone::serve(8 << 20);
    let fill =
        |uri: &str| Program::new("qemu-io").args(["-f", "raw", "-c", "write -P 0x77 0 8M", uri]).run().well();
    fill(&lone.uri());
    assert_eq!(lone.server().terminate().code(), Some(0));
    assert!(!lone.socket().exists(), "a server that ends in order takes its socket with it");
    lone.again();
    // Killed: the socket stays behind, and is no obstacle.
    lone.server().kill();
    assert!(lone.socket().exists(), "the test needs a stale socket");
    lone.again();
    Program::new("qemu-io").args(["-f", "raw", "-c", "read -P 0x77 0 8M", &lone.uri()]).run().well();
    // Of a server that runs neither the socket nor the disk is taken.
    let other = lone.folder().file("other");
    create_disk(&other, 1 << 20);
    let serve = || Program::new(rig::midspan()).args(["nbd", "serve"]);
    let socket = lone.socket();
    serve()
        .arg(&other)
        .arg("--socket")
        .arg(&socket)
        .run()
        .with_code(4, &[socket.to_str().unwrap(), "in use"]);
    let disk = lone.folder().file("disk");
    let second = serve().arg(&disk).arg("--socket").arg(lone.folder().file("second")).run();
    second.with_code(4, &[disk.to_str().unwrap()]);
    Program::new("qemu-io").args(["-f", "raw", "-c", "read -P 0x77 0 8M", &lone.uri()]).run().well();
    assert_eq!(lone.server().terminate().code(), Some(0));
}

/// Every node ends in order when it is asked to, also under a client that is connected.
#[test]
fn sigterm_and_stop_end_nodes_with_0() {
    let mut cluster = Cluster::running(Shape::new(1, 8));
    let uri = cluster.uri(Place::Primary, 1);
    let idle =
        Program::new("qemu-io").args(["-f", "raw", "-c", "write -P 1 0 1M", "-c", "sleep 60000", &uri]);
    let _idle = idle.start(&cluster.folder().file("idle"));
    cluster.wait_written(1 << 20);
    cluster.midspan(Place::Primary, &["stop"]).well();
    assert!(cluster.bury(Place::Primary), "the primary did not end with 0: {}", cluster.log(Place::Primary));
    for place in [Place::Secondary, Place::Relay] {
        cluster.node(place).signal("TERM");
        assert!(cluster.bury(place), "{} did not end with 0: {}", place.name(), cluster.log(place));
    }
    assert!(!cluster.socket(Place::Primary).exists(), "the socket should be gone");
    // And everything is there again.
    for place in Place::ALL {
        cluster.start(place);
    }
    cluster.wait_serving(Place::Primary);
    Program::new("qemu-io").args(["-f", "raw", "-c", "read -P 1 0 1M", &uri]).run().well();
}

#[test]
fn systemd_hands_over_its_sockets() {
    let folder = Folder::new();
    let (disk, socket) = (folder.file("disk"), folder.file("nbd"));
    create_disk(&disk, 1 << 20);
    let activate = Program::new("systemd-socket-activate").arg("--listen").arg(&socket);
    let serve = activate.arg(rig::midspan()).args(["nbd", "serve"]).arg(&disk).args(["--export", "disk"]);
    let mut server = serve.start(&folder.file("server"));
    rig::wait_for("systemd's socket", LIMIT, || socket.exists().then_some(()));
    let uri = format!("nbd+unix:///disk?socket={}", socket.display());
    Program::new("qemu-io").args(["-f", "raw", "-c", "write -P 3 0 64k", &uri]).run().well();
    Program::new("qemu-io").args(["-f", "raw", "-c", "read -P 3 0 64k", &uri]).run().well();
    assert_eq!(server.terminate().code(), Some(0), "{}", server.err());
    assert!(socket.exists(), "the socket is systemd's");
}

/// A node with `systemd = true` serves its exports on the sockets of systemd, beside its own.
#[test]
fn a_node_serves_on_the_sockets_of_systemd() {
    let mut cluster = Cluster::new(Shape::new(1, 8));
    cluster.write_config(Place::Primary, |text| text.replace("[nbd]\n", "[nbd]\nsystemd = true\n"));
    for place in Place::ALL {
        cluster.format(place).well();
    }
    cluster.start(Place::Relay);
    cluster.start(Place::Secondary);
    let socket = cluster.folder().file("passed");
    let activate = Program::new("systemd-socket-activate").arg("--listen").arg(&socket);
    let node = activate.arg(rig::midspand()).arg("--config").arg(cluster.config(Place::Primary));
    let mut node = node.start(&cluster.folder().file("node"));
    rig::wait_for("systemd's socket", LIMIT, || socket.exists().then_some(()));
    let uri = format!("nbd+unix:///v1?socket={}", socket.display());
    // The first connection starts the node; until its start has ended hosts are refused.
    rig::wait_for("the node should serve", LIMIT, || {
        let said = Program::new("qemu-io").args(["-f", "raw", "-c", "write -P 9 0 64k", &uri]).run();
        said.status.success().then_some(())
    });
    let own = cluster.uri(Place::Primary, 1);
    Program::new("qemu-io").args(["-f", "raw", "-c", "read -P 9 0 64k", &own]).run().well();
    rig::wait_for("status should say so, too", LIMIT, || {
        let status = cluster.midspan(Place::Primary, &["status", GROUP]).well();
        status.contains("paired").then_some(())
    });
    assert_eq!(node.terminate().code(), Some(0), "{}", node.err());
}
