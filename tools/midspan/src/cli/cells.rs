//! What all tables for people share: their look, and what stands in their cells.

use comfy_table::{ContentArrangement, Table, presets};
pub use midspan_daemon::api::time::utc;
use midspan_daemon::api::types::Epoch;

/// A table without lines.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table
}

/// An epoch as `number@node`.
pub fn epoch(epoch: &Epoch) -> String {
    if epoch.node.is_empty() { unknown() } else { format!("{}@{}", epoch.number, epoch.node) }
}

/// For what is not known.
pub fn unknown() -> String {
    "-".to_owned()
}
