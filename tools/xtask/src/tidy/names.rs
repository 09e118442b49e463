//! Nothing is called helper, util, manager or common: such a name says that nobody decided what belongs there.

use super::Finding;
use crate::source::{Source, words};

const REFUSED: [&str; 8] = ["helper", "helpers", "util", "utils", "manager", "managers", "common", "misc"];
/// Keywords behind which a name is chosen.
const NAMING: [&str; 6] = ["mod", "struct", "enum", "trait", "fn", "type"];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let stem = source.path.strip_suffix(".rs").unwrap_or(&source.path);
    if let Some(part) = stem.split('/').find(|part| is_refused(part)) {
        findings.push(Finding::new(
            &source.path,
            1,
            format!("`{part}` is no name for a file or folder: say what it does"),
        ));
    }
    for (line, code) in source.lines() {
        let mut keyword = "";
        for word in words(code) {
            if NAMING.contains(&keyword) && is_refused(word) {
                findings.push(Finding::new(
                    &source.path,
                    line,
                    format!("`{word}` is no name: say what it does"),
                ));
            }
            keyword = word;
        }
    }
    findings
}

/// Whether a part of `snake_case` or `CamelCase` is a refused word.
fn is_refused(name: &str) -> bool {
    let mut parts = vec![String::new()];
    for character in name.chars() {
        if character == '_' || character.is_uppercase() {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut()
            && character != '_'
        {
            part.extend(character.to_lowercase());
        }
    }
    parts.iter().any(|part| REFUSED.contains(&part.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_words_are_found_in_paths_and_names() {
        assert_eq!(check(&Source::new("a/src/ring_util.rs", "")).len(), 1);
        assert_eq!(check(&Source::new("a/src/common/b.rs", "")).len(), 1);
        assert_eq!(check(&Source::new("a/src/b.rs", "pub struct RingManager;\nfn helper() {}\n")).len(), 2);
    }

    #[test]
    fn other_names_and_uses_of_foreign_ones_pass() {
        assert_eq!(
            check(&Source::new("a/src/utilisation.rs", "let helper = common(manager); // fn helper")),
            []
        );
    }
}
