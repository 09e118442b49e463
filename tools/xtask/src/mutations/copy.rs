//! A copy of the tree to be harmed: only files that differ are written, so that cargo builds again only what changed.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

use crate::tree;

/// Makes `copy` equal to the files below `root`.
pub(super) fn bring_up_to_date(root: &Path, copy: &Path) -> Result<()> {
    std::fs::create_dir_all(copy).with_context(|| copy.display().to_string())?;
    let wanted = tree::files(root)?;
    for path in &wanted {
        let (from, to) = (root.join(path), copy.join(path));
        let bytes = std::fs::read(&from).with_context(|| from.display().to_string())?;
        if std::fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        std::fs::write(&to, bytes).with_context(|| to.display().to_string())?;
    }
    let wanted: BTreeSet<String> = wanted.into_iter().collect();
    for path in tree::files(copy)?.iter().filter(|path| !wanted.contains(*path)) {
        std::fs::remove_file(copy.join(path)).with_context(|| path.clone())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_added_or_removed_is_as_in_the_tree_again() {
        let folder = std::env::temp_dir().join(format!("midspan-copy-{}", std::process::id()));
        let (root, copy) = (folder.join("root"), folder.join("copy"));
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::write(root.join("a/one"), "1").unwrap();
        std::fs::write(root.join("two"), "2").unwrap();
        bring_up_to_date(&root, &copy).unwrap();
        std::fs::write(copy.join("a/one"), "harmed").unwrap();
        std::fs::write(copy.join("three"), "3").unwrap();
        std::fs::remove_file(copy.join("two")).unwrap();
        bring_up_to_date(&root, &copy).unwrap();
        let files = tree::files(&copy).unwrap();
        let one = std::fs::read_to_string(copy.join("a/one")).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!((files, one.as_str()), (vec!["a/one".to_owned(), "two".to_owned()], "1"));
    }
}
