//! The node's durable control state: what happened and what was asked for, kept over restarts.
//!
//! It is for people: the data plane never reads it, and a node serves without it. A file that is damaged is put aside and
//! told of, never trusted and never deleted.

mod file;
mod writer;

pub use file::{Entry, Kept};
pub use writer::{NotKept, Writer};

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::events::Tell;
use crate::exit::{self, Failure};
use file::{File, Unusable};

/// What the start found.
#[derive(Debug)]
pub struct State {
    /// Where new entries go; `None`: nothing is kept.
    pub writer: Option<Writer>,
    /// What earlier runs have kept.
    pub kept: Kept,
    /// What people must know about it.
    pub tells: Vec<Tell>,
}

/// Where a node keeps its state unless its config says otherwise: in systemd's `StateDirectory`, else beside its socket.
pub fn default_place(node: &str, api: &Path) -> PathBuf {
    let systemd = std::env::var_os("STATE_DIRECTORY").filter(|folders| !folders.is_empty());
    let folder = systemd.and_then(|folders| std::env::split_paths(&folders).next());
    let folder = folder.or_else(|| api.parent().map(Path::to_owned)).unwrap_or_default();
    folder.join(format!("{node}.redb"))
}

/// Opens the state, and begins a new one where there is none or a damaged one. Always ends with something to go on with.
pub fn open(path: &Path, now_ns: u64) -> State {
    open_with(path, now_ns, check_apart)
}

fn open_with(path: &Path, now_ns: u64, check: impl Fn(&Path) -> Result<(), Unusable>) -> State {
    let mut tells = Vec::new();
    let opened = match try_open(path, &check) {
        Err(Unusable::Damaged(why)) => put_aside(path, now_ns, &why).and_then(|tell| {
            tells.push(tell);
            try_open(path, &check)
        }),
        other => other,
    };
    match opened {
        Ok((file, kept)) => State { writer: Some(Writer::start(file)), kept, tells },
        Err(Unusable::Damaged(why) | Unusable::Refused(why)) => {
            let message = format!(
                "{}: cannot be used: {why}; events and operations of this run are not kept",
                path.display()
            );
            let tell = Tell::warn("state_unusable", object(path), message).hint(
                "replication does not need it; move it away or set `state` in [node], then restart the node",
            );
            tells.push(tell);
            State { writer: None, kept: Kept::default(), tells }
        }
    }
}

fn try_open(path: &Path, check: impl Fn(&Path) -> Result<(), Unusable>) -> Result<(File, Kept), Unusable> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => check(path)?,
        Ok(_) => return Err(Unusable::Refused("it is no regular file".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => File::create(path)?,
        Err(error) => return Err(Unusable::Refused(error.to_string())),
    }
    File::open(path)
}

/// Gives a damaged file another name, under which it stays.
fn put_aside(path: &Path, now_ns: u64, why: &str) -> Result<Tell, Unusable> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".damaged-{}", now_ns / 1_000_000_000));
    let aside = PathBuf::from(name);
    std::fs::rename(path, &aside).map_err(|error| {
        Unusable::Refused(format!("it is damaged ({why}) and cannot be put aside: {error}"))
    })?;
    let message = format!(
        "{}: is damaged: {why}; it was put aside as {}, a new one begins",
        path.display(),
        aside.display()
    );
    Ok(Tell::error("state_damaged", object(path), message)
        .hint("the history before is lost; replication is not concerned; check the disk under it"))
}

fn object(path: &Path) -> String {
    format!("state:{}", path.display())
}

/// Has a process of its own read the file first: on some damage the library panics, and that would end the node.
fn check_apart(path: &Path) -> Result<(), Unusable> {
    let output = Command::new("/proc/self/exe")
        .arg("--check-state")
        .arg(path)
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Unusable::Refused(format!("it cannot be checked: {error}")))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(exit::OK) => Ok(()),
        Some(exit::REFUSED) => Err(Unusable::Refused(said)),
        Some(exit::FAILURE) => Err(Unusable::Damaged(said)),
        // The library gave up in the middle of it.
        _ => Err(Unusable::Damaged("it cannot be read".to_owned())),
    }
}

/// Reads the file, as the process of its own that the start of a node starts; prints why it cannot be used.
///
/// # Errors
/// When that cannot be printed.
pub fn check(path: &Path, out: &mut dyn Write) -> Result<u8, Failure> {
    let (code, why) = match File::open(path) {
        Ok(_) => return Ok(exit::OK),
        Err(Unusable::Damaged(why)) => (exit::FAILURE, why),
        Err(Unusable::Refused(why)) => (exit::REFUSED, why),
    };
    writeln!(out, "{why}").map_err(Failure::other)?;
    Ok(code)
}

#[cfg(test)]
mod tests;
