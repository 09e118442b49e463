//! What a readable configuration must also satisfy: how its tables fit together, in one file and over several.

mod export;
mod lanes;
mod group;
mod node;
mod overflow;
mod report;
mod together;

pub use together::check_together;

use super::finding::Finding;
use super::schema::Config;
use report::Report;

impl Config {
    /// Everything in the file that does not fit together, in the order of the file's lines.
    ///
    /// Nothing is opened or asked: a file can be checked on another machine than its own.
    pub fn check(&self) -> Vec<Finding> {
        let mut report = Report::new(self);
        node::check(self, &mut report);
        group::check(self, &mut report);
        overflow::check(self, &mut report);
        export::check(self, &mut report);
        report.into_findings()
    }
}
