//! The house rules that the compiler does not hold, each as a check that names file and line.

mod corpora;
mod debts;
mod files;
mod links;
mod manifests;
mod mutations;
mod names;
mod order;
mod purity;

use std::path::Path;

use anyhow::{Context, Result};

use crate::command::say;
use crate::source::Source;
use crate::tree;

/// One break of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

/// Checks the repository; false where a rule is broken.
pub fn run(root: &Path) -> Result<bool> {
    let paths = tree::files(root)?;
    let mut sources = Vec::new();
    let mut documents = Vec::new();
    for path in &paths {
        let read = || std::fs::read_to_string(root.join(path)).with_context(|| path.clone());
        if path.ends_with(".rs") {
            sources.push(Source::new(path, &read()?));
        } else if path.ends_with(".md") || path.ends_with("Cargo.toml") {
            documents.push((path.as_str(), read()?));
        }
    }
    let mut findings = check(&paths, &sources, &documents);
    findings.extend(mutations::check(root, &paths, &documents)?);
    findings.extend(corpora::check(root, &paths)?);
    findings.sort();
    for finding in &findings {
        say(&format!("{}:{}: {}", finding.path, finding.line, finding.message))?;
    }
    say(&format!("tidy: {} Rust files, {} findings", sources.len(), findings.len()))?;
    Ok(findings.is_empty())
}

fn check(paths: &[String], sources: &[Source], documents: &[(&str, String)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        findings.extend(files::check(source));
        findings.extend(names::check(source));
        findings.extend(debts::check(source));
        findings.extend(purity::check(source));
    }
    findings.extend(order::check(sources));
    for (path, text) in documents {
        if path.ends_with("Cargo.toml") {
            findings.extend(manifests::check(path, text));
        } else {
            findings.extend(links::check(path, text, paths));
        }
    }
    findings.extend(files::seeds(paths, documents));
    findings
}
