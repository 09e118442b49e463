//! No promises to finish later, and no unsafe code outside the engine.

use super::Finding;
use crate::source::{Source, words};

/// Marks of unfinished work, in pieces so that this file does not find itself.
const MARKS: [&str; 4] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
const MACROS: [&str; 2] = [concat!("todo", "!"), concat!("unimplemented", "!")];
/// The one crate with unsafe code.
const ENGINE: &str = "dataplane/uring/";

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, text) in (1..).zip(source.text.lines()) {
        if let Some(mark) = words(text).find(|word| MARKS.contains(word)) {
            findings.push(Finding::new(
                &source.path,
                line,
                format!("{mark}: do it, or write it down as an issue"),
            ));
        }
    }
    for (line, code) in source.lines() {
        if let Some(found) = MACROS.iter().find(|name| code.contains(**name)) {
            findings.push(Finding::new(&source.path, line, format!("`{found}` in the tree")));
        }
        if !source.path.starts_with(ENGINE) && words(code).any(|word| word == "unsafe") {
            findings.push(Finding::new(&source.path, line, "unsafe code belongs in dataplane/uring"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_macros_are_found() {
        let text = format!("// {}: later\nfn a() {{ {}() }}\n", concat!("TO", "DO"), concat!("todo", "!"));
        assert_eq!(check(&Source::new("a/src/b.rs", &text)).len(), 2);
    }

    #[test]
    fn unsafe_is_allowed_in_the_engine_only() {
        let text = "#![allow(unsafe_code)] // unsafe\nfn a() { unsafe { b() } }\n";
        let found = check(&Source::new("dataplane/node/src/b.rs", text));
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2]);
        assert_eq!(check(&Source::new("dataplane/uring/src/b.rs", text)), []);
    }
}
