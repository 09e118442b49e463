//! Gathers the findings of one file.

use std::collections::BTreeMap;

use super::super::field::Field;
use super::super::finding::{Finding, Severity};
use super::super::schema::Config;

/// The findings about one file so far.
pub(super) struct Report<'config> {
    config: &'config Config,
    findings: Vec<Finding>,
}

impl<'config> Report<'config> {
    pub(super) fn new(config: &'config Config) -> Self {
        Self { config, findings: Vec::new() }
    }

    /// The node cannot start like this.
    pub(super) fn error(&mut self, field: &Field, message: String) {
        self.add(Severity::Error, field, message);
    }

    /// The node can start, the operator should know.
    pub(super) fn warning(&mut self, field: &Field, message: String) {
        self.add(Severity::Warning, field, message);
    }

    fn add(&mut self, severity: Severity, field: &Field, message: String) {
        let (path, text) = (self.config.path(), self.config.text());
        self.findings.push(Finding::new(severity, path, text, field, message));
    }

    /// Reports every value that an earlier field has already; `what` names it in the message.
    pub(super) fn distinct<T: Ord>(
        &mut self,
        what: impl Fn(&T) -> String,
        values: impl IntoIterator<Item = (Field, T)>,
    ) {
        let mut seen: BTreeMap<T, Field> = BTreeMap::new();
        for (field, value) in values {
            match seen.get(&value) {
                Some(first) => {
                    self.error(&field, format!("{} is taken already by {first}", what(&value)));
                }
                None => {
                    seen.insert(value, field);
                }
            }
        }
    }

    pub(super) fn into_findings(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|finding| finding.line);
        self.findings
    }
}

/// `a, b, c` for a message that says what is allowed; `none` where nothing is.
pub(super) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}
