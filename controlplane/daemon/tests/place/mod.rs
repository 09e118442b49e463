//! A folder with the configs and disks of three nodes, and `midspand` as a process in it.
#![allow(dead_code, reason = "each suite uses its part")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Bytes of each journal disk.
pub const JOURNAL: u64 = 48 << 20;
/// Bytes of the volume.
pub const VOLUME: u64 = 8 << 20;

/// How long a daemon may take for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// The three nodes: name, id, role.
const NODES: [(&str, u16, &str); 3] = [("a", 1, "primary"), ("relay", 2, "relay"), ("b", 3, "secondary")];

/// A folder of a test's own with three nodes, not formatted; removed at its end.
pub struct Place {
    folder: PathBuf,
    ports: [u16; 3],
}

impl Place {
    pub fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("midspand-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let listeners = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let place = Self { folder, ports: listeners.map(|listener| listener.local_addr().unwrap().port()) };
        for (name, ..) in NODES {
            place.zeroes(&format!("{name}.journal"), JOURNAL);
            if name != "relay" {
                place.zeroes(&format!("{name}.disk"), VOLUME);
            }
            std::fs::write(place.file(&format!("{name}.toml")), place.text(name)).unwrap();
        }
        place
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file of zeroes.
    pub fn zeroes(&self, name: &str, bytes: u64) {
        let zeroes = vec![0; usize::try_from(bytes).unwrap()];
        std::fs::write(self.file(name), zeroes).unwrap();
    }

    /// Address at which a node listens for nodes.
    pub fn port(&self, node: &str) -> u16 {
        self.ports[NODES.iter().position(|(name, ..)| *name == node).unwrap()]
    }

    /// Changes a node's config.
    pub fn change(&self, node: &str, old: &str, new: &str) {
        let path = self.file(&format!("{node}.toml"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{old} is not in:\n{text}");
        std::fs::write(path, text.replace(old, new)).unwrap();
    }

    fn text(&self, node: &str) -> String {
        let (_, id, role) = NODES.into_iter().find(|(name, ..)| *name == node).unwrap();
        let mut text = format!(
            "[node]\nid = {id}\nname = \"{node}\"\nlisten = \"127.0.0.1:{}\"\napi = \"{node}.api\"\n\
             journal = \"{node}.journal\"\nmemory = \"32MiB\"\n",
            self.port(node)
        );
        for (peer, id, _) in NODES.into_iter().filter(|(name, ..)| *name != node) {
            let port = self.port(peer);
            text += &format!("[[peer]]\nid = {id}\nname = \"{peer}\"\naddress = \"127.0.0.1:{port}\"\n");
        }
        text += &format!(
            "[[group]]\nid = 1\nname = \"vault\"\nrole = \"{role}\"\ninitial = \"equal\"\nsites = [1, 3]\n\
             lanes = [{{ id = 0, node = 2 }}]\nring = \"16MiB\"\nmanifest = \"4MiB\"\nreceipt = \"1MiB\"\n"
        );
        if role != "relay" {
            text += &format!(
                "[[group.volume]]\nid = 1\nname = \"v0\"\npath = \"{node}.disk\"\n[nbd]\n\
                 listen = [\"unix:{node}.nbd\"]\n[[export]]\nname = \"disk\"\nvolume = \"vault/v0\"\n"
            );
        }
        text
    }

    /// Runs `midspand` on a node's config to its end.
    pub fn run(&self, node: &str, arguments: &[&str]) -> Output {
        midspand(&[&["--config", self.file(&format!("{node}.toml")).to_str().unwrap()], arguments].concat())
    }

    /// Formats a node's journal disk.
    pub fn format(&self, node: &str) {
        let kind = if node == "relay" { "relay" } else { "site" };
        let output = self.run(node, &["--format", kind]);
        assert_eq!(code(&output), 0, "{output:?}");
    }

    /// Starts a node and waits until it answers.
    pub fn start(&self, node: &str) -> Daemon {
        let log = std::fs::File::create(self.file(&format!("{node}.log"))).unwrap();
        let child = Command::new(binary())
            .arg("--config")
            .arg(self.file(&format!("{node}.toml")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let log = self.file(&format!("{node}.log"));
        let mut daemon = Daemon { child, api: self.file(&format!("{node}.api")), log };
        daemon.wait("up", |_| true);
        daemon
    }

    /// Formats and starts all three.
    pub fn all(&self) -> [Daemon; 3] {
        ["relay", "b", "a"].map(|node| {
            self.format(node);
            self.start(node)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A running `midspand`; killed when dropped.
pub struct Daemon {
    child: Child,
    api: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Starts a prepared command that serves hosts on a unix socket, and waits until it does.
    pub fn of(mut command: Command, socket: &Path) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let mut daemon = Self { child, api: PathBuf::new(), log: PathBuf::new() };
        let began = Instant::now();
        while UnixStream::connect(socket).is_err() {
            assert!(daemon.child.try_wait().unwrap().is_none(), "it ended before it served");
            assert!(began.elapsed() < LIMIT, "it does not serve in time");
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    /// Asks the API; the status line and the body.
    pub fn ask(&self, request: &str, body: &str) -> std::io::Result<(u16, String)> {
        let mut stream = UnixStream::connect(&self.api)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let head = format!(
            "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body.to_owned()))
    }

    /// A GET with a JSON answer.
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(&format!("GET {path}"), "").unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Waits until the node's status is as wanted.
    pub fn wait(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("ended ({status}) before it was {what}; its log:\n{}", self.log());
            }
            let status = self.ask("GET /v1/status", "").ok().filter(|(code, _)| *code == 200);
            let status: Option<Value> = status.and_then(|(_, body)| serde_json::from_str(&body).ok());
            if let Some(status) = status.as_ref().filter(|status| wanted(status)) {
                return status.clone();
            }
            assert!(began.elapsed() < LIMIT, "not {what} in time: {status:?}; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        let kill = Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.child.id())]).status();
        assert!(kill.unwrap().success());
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < LIMIT, "it does not end; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The group in a status.
pub fn vault(status: &Value) -> &Value {
    &status["groups"][0]
}

/// The `midspand` that belongs to this build: this package's own, else beside the other binaries.
pub fn binary() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        if let Some(own) = option_env!("CARGO_BIN_EXE_midspand") {
            return own.into();
        }
        let test = std::env::current_exe().unwrap();
        let folder = test.ancestors().nth(2).unwrap();
        let found = folder.join("midspand");
        if !found.is_file() {
            let release = folder.ends_with("release").then_some("--release");
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "--locked", "-p", "midspan-daemon"]).args(release);
            assert!(cargo.status().unwrap().success(), "midspand does not build");
        }
        found
    })
}

pub fn midspand(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).stdin(Stdio::null()).output().unwrap()
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"))
}

/// Everything it printed.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
