//! The deliberate bugs of `tests/mutations`: what each says of itself, and whether it still fits the code.
//!
//! ```text
//! Bug: what is wrong then              what follows is a diff,
//! Drops: the rule that it breaks       as git writes it
//! Seeds: 1 300                         the first seed, and within how many the simulator finds it
//! ```

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};

/// Where they lie.
pub const FOLDER: &str = "tests/mutations";

/// One deliberate bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The file's name without its ending.
    pub name: String,
    /// What is wrong with it.
    pub bug: String,
    /// The rule, or the sentence of the design, that it breaks.
    pub drops: String,
    /// The first seed to be run.
    pub first: u64,
    /// Within how many seeds it must be found.
    pub seeds: u64,
}

impl Patch {
    /// Reads what stands before the diff.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let header = text.split_once("\ndiff --git ").map(|(header, _)| header);
        let header = header.context("there is no diff as `git diff` writes it")?;
        let field = |key: &str| {
            let mut lines = header.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            let words = lines.next().with_context(|| format!("there is no line `{key}: …`"))?;
            ensure!(lines.next().is_none(), "there are two lines `{key}: …`");
            Ok(words.trim().to_owned())
        };
        let (bug, drops, seeds) = (field("Bug")?, field("Drops")?, field("Seeds")?);
        let numbers = seeds.split_once(' ').and_then(|(first, count)| {
            Some((first.parse().ok()?, count.parse().ok().filter(|count| *count > 0)?))
        });
        let (first, seeds) =
            numbers.with_context(|| format!("`Seeds: {seeds}` is not a first and a count"))?;
        ensure!(header.lines().filter(|line| !line.is_empty()).count() == 3, "the header has three lines");
        Ok(Self { name: name.to_owned(), bug, drops, first, seeds })
    }

    /// Its file, below the repository.
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(format!("{}.patch", self.name))
    }
}

/// All of them, by name.
pub fn load(root: &Path) -> Result<Vec<Patch>> {
    let folder = root.join(FOLDER);
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut patches = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "patch") {
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            patches.push(Patch::parse(&name, &text).with_context(|| path.display().to_string())?);
        }
    }
    patches.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(patches)
}

/// Whether the patch at `path` fits the files below `tree`; if not, what git says.
pub fn check(tree: &Path, path: &Path) -> Result<Option<String>> {
    let output = git_apply(tree, path, true)?;
    Ok((!output.status.success()).then(|| first_line(&output)))
}

/// Changes the files below `tree`.
pub fn apply(tree: &Path, path: &Path) -> Result<()> {
    let output = git_apply(tree, path, false)?;
    if !output.status.success() {
        bail!("{}", first_line(&output));
    }
    Ok(())
}

/// Paths in the patch are taken from `tree`, whatever repository that lies in.
fn git_apply(tree: &Path, path: &Path, only_check: bool) -> Result<Output> {
    let tree = tree.canonicalize().with_context(|| tree.display().to_string())?;
    let path = path.canonicalize().with_context(|| path.display().to_string())?;
    let mut git = Command::new("git");
    git.arg("apply").args(only_check.then_some("--check")).arg(path).current_dir(&tree);
    git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    git.env("GIT_CEILING_DIRECTORIES", tree.parent().unwrap_or(&tree));
    git.output().context("cannot start `git`")
}

fn first_line(output: &Output) -> String {
    let words = String::from_utf8_lossy(&output.stderr);
    words.lines().next().unwrap_or("git says nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "Bug: it forgets\nDrops: I6\nSeeds: 1000000 300\n";

    #[test]
    fn a_patch_says_what_it_breaks_and_which_seeds_find_it() {
        let patch = Patch::parse("forgets", &format!("{HEADER}\ndiff --git a/x b/x\n")).unwrap();
        assert_eq!((patch.bug.as_str(), patch.drops.as_str()), ("it forgets", "I6"));
        assert_eq!((patch.first, patch.seeds), (1_000_000, 300));
        assert_eq!(patch.path(), Path::new("tests/mutations/forgets.patch"));
    }

    #[test]
    fn a_header_that_lacks_something_or_has_more_is_refused() {
        let diff = "\ndiff --git a/x b/x\n";
        for text in [
            HEADER.to_owned(),
            format!("Bug: b\nDrops: d\n{diff}"),
            format!("Bug: b\nDrops: d\nSeeds: 300\n{diff}"),
            format!("Bug: b\nDrops: d\nSeeds: 1 0\n{diff}"),
            format!("Bug: b\n{HEADER}{diff}"),
            format!("{HEADER}And more\n{diff}"),
        ] {
            assert!(Patch::parse("x", &text).is_err(), "{text}");
        }
    }
}
