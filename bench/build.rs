//! Puts the commit that is built into the program, so that figures name it.

use std::path::Path;
use std::process::Command;

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let git = |words: &[&str]| {
        let asked = Command::new("git").arg("-C").arg(&folder).args(words).output();
        let answer = asked.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
    };
    // Changes with every commit, wherever this checkout keeps it; without it (an unpacked archive) there is nothing to follow.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"]).map(|log| folder.join(log));
    let followed = log.filter(|log| log.is_file()).unwrap_or_else(|| Path::new("build.rs").to_owned());
    println!("cargo::rerun-if-changed={}", followed.display());
    let commit = git(&["rev-parse", "--short=12", "HEAD"]);
    println!("cargo::rustc-env=MIDSPAN_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}
