//! The oracle on trial: each deliberate bug is put into a copy of the tree, and the simulator has to find it.
//!
//! ```text
//!  tree ─▶ target/mutations/tree ─▶ patch ─▶ build ─▶ simulate ─▶ the smallest seed that fails, which holds without the bug
//! ```
//! The tree itself is only read. What is built stays in `target/mutations/build`, so that each bug costs the crates that it changes.

mod copy;
mod trial;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use self::trial::{Found, Verdict};
use crate::command::{cargo, run, say};
use crate::patches::{self, Patch};

/// Where everything of this chore lies, below the repository.
const FOLDER: &str = "target/mutations";

/// What an operator wants.
pub struct Wanted {
    /// Bugs by name; all if there is none.
    pub names: Vec<String>,
    /// Only say what there is.
    pub list: bool,
    /// Threads of the simulator; all cores by default.
    pub jobs: Option<usize>,
}

/// The places of the chore.
struct Places {
    /// As the tree was when the chore began: it may be worked on meanwhile.
    origin: PathBuf,
    /// What is harmed.
    tree: PathBuf,
    build: PathBuf,
    /// The simulator of the tree as it is.
    whole: PathBuf,
}

/// Tries the bugs; false where one was not found.
pub fn run_trials(root: &Path, wanted: &Wanted) -> Result<bool> {
    let patches = chosen(root, &wanted.names)?;
    if wanted.list {
        for Patch { name, bug, first, seeds, .. } in &patches {
            say(&format!("{name:<34} {first:>7} +{seeds:<5} {bug}"))?;
        }
        return Ok(true);
    }
    let folder = root.join(FOLDER);
    let [origin, tree, build_in, whole] =
        ["origin", "tree", "build", "simulate"].map(|name| folder.join(name));
    let places = Places { origin, tree, build: build_in, whole };
    copy::bring_up_to_date(root, &places.origin)?;
    copy::bring_up_to_date(&places.origin, &places.tree)?;
    ensure!(build(&places)?, "the simulator does not build as it is");
    // Whoever runs the former one keeps it.
    let next = places.whole.with_extension("next");
    std::fs::copy(places.simulator(), &next)?;
    std::fs::rename(&next, &places.whole)?;
    let mut verdicts = Vec::new();
    for (number, patch) in (1..).zip(&patches) {
        say(&format!("[{number}/{}] {}: {}", patches.len(), patch.name, patch.bug))?;
        let verdict = try_one(&places, patch, wanted.jobs)?;
        say(&format!("    {verdict}"))?;
        verdicts.push((patch, verdict));
    }
    copy::bring_up_to_date(&places.origin, &places.tree)?;
    say(&table(&verdicts))?;
    let found = verdicts.iter().filter(|(_, verdict)| verdict.is_found()).count();
    say(&format!("{found} of {} found", verdicts.len()))?;
    Ok(found == verdicts.len())
}

fn chosen(root: &Path, names: &[String]) -> Result<Vec<Patch>> {
    let all = patches::load(root)?;
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|patch| patch.name != **name)) {
        bail!(
            "there is no {}/{unknown}.patch; `cargo xtask mutations --list` says what there is",
            patches::FOLDER
        );
    }
    Ok(all.into_iter().filter(|patch| names.is_empty() || names.contains(&patch.name)).collect())
}

fn try_one(places: &Places, patch: &Patch, jobs: Option<usize>) -> Result<Verdict> {
    copy::bring_up_to_date(&places.origin, &places.tree)?;
    if let Err(error) = patches::apply(&places.tree, &places.origin.join(patch.path())) {
        return Ok(Verdict::Unfit(error.to_string()));
    }
    if !build(places)? {
        return Ok(Verdict::Unbuilt);
    }
    let verdict = trial::simulate(&places.simulator(), patch, jobs)?;
    Ok(match verdict {
        Verdict::Found(Found { seed, .. }) if !trial::holds(&places.whole, seed)? => Verdict::Sick(seed),
        Verdict::Found(_)
        | Verdict::Missed
        | Verdict::Silent
        | Verdict::Unfit(_)
        | Verdict::Unbuilt
        | Verdict::Sick(_) => verdict,
    })
}

impl Places {
    fn simulator(&self) -> PathBuf {
        self.build.join("release").join("simulate")
    }
}

/// As a release, so that hundreds of seeds take seconds; without what only makes the product faster.
fn build(places: &Places) -> Result<bool> {
    let mut command = cargo(&places.tree);
    command.args(["build", "--quiet", "--locked", "--release", "-p", "midspan-tests", "--bin", "simulate"]);
    command.env("CARGO_TARGET_DIR", &places.build).env("CARGO_PROFILE_RELEASE_LTO", "off");
    command.env("CARGO_INCREMENTAL", "1");
    run(&mut command)
}

/// The table of docs/verification.md.
fn table(verdicts: &[(&Patch, Verdict)]) -> String {
    let mut lines = vec![
        "| bug | what is wrong | what it drops | seeds | found by |".to_owned(),
        "| --- | --- | --- | --- | --- |".to_owned(),
    ];
    for (Patch { name, bug, drops, first, seeds }, verdict) in verdicts {
        let (count, words) = match verdict {
            Verdict::Found(found) => (format!("{} of {seeds}", found.seed - first + 1), found.words.as_str()),
            Verdict::Missed => (format!("none of {seeds}"), "not found"),
            Verdict::Silent | Verdict::Unfit(_) | Verdict::Unbuilt | Verdict::Sick(_) => {
                ("–".to_owned(), "not tried to its end")
            }
        };
        let book = if *first == 1 { String::new() } else { format!(", from {first}") };
        lines.push(format!("| `{name}` | {bug} | {drops} | {count}{book} | {} |", words.replace('|', "\\|")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_how_many_seeds_it_took_and_what_was_not_found() {
        let patch = |name: &str| Patch {
            name: name.to_owned(),
            bug: "b".to_owned(),
            drops: "I6".to_owned(),
            first: 100,
            seeds: 300,
        };
        let (one, other) = (patch("one"), patch("other"));
        let found = Verdict::Found(Found { seed: 102, words: "I6: a|b".to_owned() });
        let text = table(&[(&one, found), (&other, Verdict::Missed)]);
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| `one` | b | I6 | 3 of 300, from 100 | I6: a\\|b |",
                "| `other` | b | I6 | none of 300, from 100 | not found |"
            ]
        );
    }
}
