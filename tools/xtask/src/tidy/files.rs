//! Each file says what it is for and stays readable in one go.

use super::Finding;
use crate::source::Source;

/// Most lines of a file without its tests.
const LINES_MAX: usize = 500;
/// The folder of kept simulator seeds, and the page that says what each showed.
const SEEDS: &str = "tests/seeds/";
const SEEDS_PAGE: &str = "tests/seeds/README.md";

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !source.text.starts_with("//! ") {
        findings.push(Finding::new(
            &source.path,
            1,
            "the first line must be a `//!` comment with the file's one responsibility",
        ));
    }
    let lines = source.lines_without_tests();
    if lines > LINES_MAX && !source.is_test_file() {
        let message = format!(
            "{lines} lines without tests, at most {LINES_MAX} are allowed: split it by responsibility"
        );
        findings.push(Finding::new(&source.path, LINES_MAX + 1, message));
    }
    findings
}

/// A kept seed is worth what is known about it.
pub(super) fn seeds(paths: &[String], documents: &[(&str, String)]) -> Vec<Finding> {
    let page = documents.iter().find(|(path, _)| *path == SEEDS_PAGE).map_or("", |(_, text)| text.as_str());
    let kept = paths.iter().filter_map(|path| path.strip_prefix(SEEDS)).filter(|name| *name != "README.md");
    kept.filter(|name| !page.contains(name))
        .map(|name| {
            Finding::new(&format!("{SEEDS}{name}"), 1, format!("{SEEDS_PAGE} must say what this seed showed"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_starts_with_its_responsibility() {
        assert_eq!(check(&Source::new("a.rs", "use x;\n")).len(), 1);
        assert_eq!(check(&Source::new("a.rs", "//! Keeps x.\n")), []);
    }

    #[test]
    fn long_files_are_refused_but_for_their_tests() {
        let long = format!("//! X.\n{}", "fn a() {}\n".repeat(500));
        assert_eq!(check(&Source::new("a/src/b.rs", &long)).len(), 1);
        assert_eq!(check(&Source::new("a/src/b/tests.rs", &long)), []);
        let tests = format!("//! X.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "fn a() {}\n".repeat(500));
        assert_eq!(check(&Source::new("a/src/b.rs", &tests)), []);
    }

    #[test]
    fn a_seed_nobody_describes_is_refused() {
        let paths = [
            "tests/seeds/17.txt".to_owned(),
            "tests/seeds/18.txt".to_owned(),
            "tests/seeds/README.md".to_owned(),
        ];
        let page = [("tests/seeds/README.md", "- `17.txt`: a torn header".to_owned())];
        let found = seeds(&paths, &page);
        assert_eq!(
            found.iter().map(|finding| finding.path.as_str()).collect::<Vec<_>>(),
            ["tests/seeds/18.txt"]
        );
    }
}
