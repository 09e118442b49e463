//! Fuzzing starts from what the formats and the examples are today: each golden file and each example stands in a corpus.

use std::path::Path;

use anyhow::Result;

use super::Finding;

const GOLDEN: &str = "dataplane/format/golden/";
const EXAMPLES: &str = "deploy/examples/";
const CORPUS: &str = "tests/fuzz/corpus";
const COMMAND: &str = "cargo run --manifest-path tests/fuzz/Cargo.toml --example seeds";

pub(super) fn check(root: &Path, paths: &[String]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in paths {
        let Some(copy) = copy_of(path) else { continue };
        if std::fs::read(root.join(&copy)).ok() != Some(std::fs::read(root.join(path))?) {
            findings.push(Finding::new(path, 1, format!("{copy} is not the same: run `{COMMAND}`")));
        }
    }
    Ok(findings)
}

/// Where a corpus holds this file as it is.
fn copy_of(path: &str) -> Option<String> {
    if let Some(name) = path.strip_prefix(EXAMPLES).filter(|name| name.ends_with(".toml")) {
        return Some(format!("{CORPUS}/config/{}", name.replace('/', "-")));
    }
    let name = path.strip_prefix(GOLDEN)?.strip_suffix(".bin")?;
    let (target, name) = match name.split_once('-') {
        Some((target @ ("frame" | "message"), rest)) => (target, rest),
        Some(("command" | "report", _)) => ("control", name),
        None => (name, "whole"),
        Some(_) => return None,
    };
    Some(format!("{CORPUS}/{target}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_file_has_its_corpus() {
        let copies = [
            ("deploy/examples/striped/relay.toml", "config/striped-relay.toml"),
            ("dataplane/format/golden/message-area-list.bin", "message/area-list"),
            ("dataplane/format/golden/report-group.bin", "control/report-group"),
            ("dataplane/format/golden/permit.bin", "permit/whole"),
        ];
        for (path, copy) in copies {
            assert_eq!(copy_of(path).as_deref(), Some(format!("{CORPUS}/{copy}").as_str()));
        }
        assert_eq!(copy_of("deploy/README.md"), None);
        assert_eq!(copy_of("dataplane/format/golden/dirty-0.bin"), None);
    }

    #[test]
    fn a_stale_corpus_is_found() {
        let root = std::env::temp_dir().join(format!("midspan-corpora-{}", std::process::id()));
        let paths = ["permit", "state"].map(|name| format!("{GOLDEN}{name}.bin"));
        for (path, copy) in paths.iter().zip(["new", "old"]) {
            let copied = root.join(copy_of(path).unwrap());
            for (path, bytes) in [(root.join(path), "new"), (copied, copy)] {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
        }
        let found = check(&root, &paths).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].message.contains("corpus/state/whole"), "{found:?}");
    }
}
