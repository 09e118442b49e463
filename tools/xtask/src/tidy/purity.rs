//! Pure crates know no clock, no hash order and no operating system; elsewhere only `clock.rs` reads the clock.

use super::Finding;
use crate::source::{Source, words};

/// Crates that run unchanged in the simulator.
const PURE: [&str; 3] = ["dataplane/format/src/", "dataplane/protocol/src/", "controlplane/core/src/"];
/// Ways to read the clock or to wait for time to pass.
const CLOCKS: [&str; 4] = ["Instant::now", "SystemTime::now", "thread::sleep", "clock_gettime"];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let pure = PURE.iter().find(|folder| source.path.starts_with(**folder));
    if let Some(folder) = pure
        && source.path == format!("{folder}lib.rs")
        && !source.code.contains("#![no_std]")
    {
        findings.push(Finding::new(&source.path, 1, "a pure crate is `#![no_std]`"));
    }
    let is_clock = source.path.ends_with("/clock.rs");
    for (line, code) in source.production() {
        if let Some(clock) = CLOCKS.iter().find(|clock| code.contains(**clock)).filter(|_| !is_clock) {
            findings.push(Finding::new(
                &source.path,
                line,
                format!("{clock}: time is a parameter; only clock.rs reads it"),
            ));
        }
        if pure.is_some()
            && let Some(word) = words(code).find(|word| ["HashMap", "HashSet", "std"].contains(word))
        {
            findings.push(Finding::new(&source.path, line, format!("`{word}` has no place in a pure crate")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_crates_declare_no_std_and_use_none() {
        assert_eq!(check(&Source::new("dataplane/format/src/lib.rs", "//! X.\n")).len(), 1);
        let text =
            "//! X, std.\n#![no_std]\nuse std::x;\nstruct A(HashMap);\n#[cfg(test)]\nextern crate std;\n";
        let found = check(&Source::new("dataplane/format/src/lib.rs", text));
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(check(&Source::new("dataplane/node/src/lib.rs", text)), []);
    }

    #[test]
    fn only_the_clock_file_reads_the_clock() {
        let text = "let a = Instant::now();\n";
        assert_eq!(check(&Source::new("dataplane/node/src/shard.rs", text)).len(), 1);
        assert_eq!(check(&Source::new("dataplane/node/src/clock.rs", text)), []);
        assert_eq!(check(&Source::new("dataplane/node/src/shard/tests.rs", text)), []);
    }
}
