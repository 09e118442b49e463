//! Each deliberate bug still fits the code that it breaks, and stands in the page that says what finds it.

use std::path::Path;

use anyhow::Result;

use super::Finding;
use crate::patches::{self, Patch};

/// The page with the table of all of them.
const PAGE: &str = "docs/verification.md";

pub(super) fn check(root: &Path, paths: &[String], documents: &[(&str, String)]) -> Result<Vec<Finding>> {
    let page = documents.iter().find(|(path, _)| *path == PAGE).map_or("", |(_, text)| text.as_str());
    let mut findings = Vec::new();
    for path in paths.iter().filter(|path| path.ends_with(".patch")) {
        let mut find = |message: String| findings.push(Finding::new(path, 1, message));
        let Some(name) = name_of(path) else {
            find(format!("a patch that is not in {}", patches::FOLDER));
            continue;
        };
        if let Err(error) = Patch::parse(name, &std::fs::read_to_string(root.join(path))?) {
            find(format!("{error:#}"));
        }
        if let Some(words) = patches::check(root, &root.join(path))? {
            find(format!("it does not fit the code any more: {words}"));
        }
        if !page.contains(&format!("| `{name}` |")) {
            find(format!("{PAGE} must say what finds it: `cargo xtask mutations {name}` does"));
        }
    }
    Ok(findings)
}

fn name_of(path: &str) -> Option<&str> {
    path.strip_prefix(patches::FOLDER)?.strip_prefix('/')?.strip_suffix(".patch")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The repository itself is the only code that a patch of it fits.
    #[test]
    fn a_patch_that_fits_nothing_is_found() {
        let root = std::env::temp_dir().join(format!("midspan-mutations-{}", std::process::id()));
        let folder = root.join(patches::FOLDER);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(root.join("code.rs"), "let a = 1;\n").unwrap();
        let patch = |from: &str| {
            format!(
                "Bug: b\nDrops: d\nSeeds: 1 2\n\ndiff --git a/code.rs b/code.rs\n--- a/code.rs\n+++ b/code.rs\n\
                 @@ -1 +1 @@\n-let a = {from};\n+let a = 2;\n"
            )
        };
        std::fs::write(folder.join("fits.patch"), patch("1")).unwrap();
        std::fs::write(folder.join("rots.patch"), patch("3")).unwrap();
        let paths = ["fits", "rots"].map(|name| format!("{}/{name}.patch", patches::FOLDER));
        let page = [(PAGE, "| `fits` | b |\n| `rots` | b |\n".to_owned())];
        let found = check(&root, &paths, &page).unwrap();
        let unlisted = check(&root, &paths[..1], &[]).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(
            found.iter().map(|finding| finding.path.as_str()).collect::<Vec<_>>(),
            [paths[1].as_str()]
        );
        assert_eq!(unlisted.len(), 1);
    }
}
