//! Whether file systems can be mounted here: needs root, fuse and loop devices.

use std::path::Path;

use super::program::Program;

/// Whether this machine lets us mount; says why not, and fails where `CI=true`.
pub fn may_mount() -> bool {
    let Err(why) = can_mount() else { return true };
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must be able to run this: {why}");
    println!("not run: {why}");
    false
}

fn can_mount() -> Result<(), String> {
    let root = Program::new("id").arg("-u").run().well();
    if root.trim() != "0" {
        return Err("mounting needs root".into());
    }
    if !Path::new("/dev/fuse").exists() {
        return Err("there is no /dev/fuse".into());
    }
    let losetup = Program::new("losetup").arg("--find").run();
    if losetup.status.success() { Ok(()) } else { Err(format!("there is no loop device: {losetup}")) }
}
