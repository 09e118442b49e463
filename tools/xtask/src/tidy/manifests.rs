//! Every crate is under the workspace's lints; the engine repeats the table, but for unsafe code.

use super::Finding;

const ENGINE: &str = "dataplane/uring/Cargo.toml";

pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let is_root = text.contains("[workspace]");
    if is_root || path == ENGINE || path.starts_with("tests/fuzz/") {
        return Vec::new();
    }
    let mut lines = text.lines();
    let inherits = lines.any(|line| line == "[lints]") && lines.next() == Some("workspace = true");
    if inherits {
        return Vec::new();
    }
    vec![Finding::new(path, 1, "a crate has `[lints]` with `workspace = true`")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_inherits_the_lints() {
        assert_eq!(check("a/Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n"), []);
        assert_eq!(check("a/Cargo.toml", "[package]\n").len(), 1);
        assert_eq!(check("a/Cargo.toml", "[package]\n[lints.rust]\nx = 1\n").len(), 1);
    }
}
