//! The node's exports as a client may know them now: what each can do, and why one cannot be opened.

use std::sync::Arc;

use midspan_protocol::host::nbd::{self, BlockSizes};

use crate::exports::{Backing, Export, ExportId, Exports};

/// All exports, with what is said to whoever wants to open one that is not served.
#[derive(Debug)]
pub(super) struct Catalog {
    exports: Arc<Exports>,
    refusals: Vec<String>,
}

impl Catalog {
    /// The sentences are made here, once.
    pub(super) fn new(exports: Arc<Exports>) -> Self {
        let refusals = exports.all().iter().map(refusal).collect();
        Self { exports, refusals }
    }

    /// Number of the export at a place in the list.
    pub(super) fn id(&self, index: usize) -> Option<ExportId> {
        self.exports.all().get(index).map(|export| export.id)
    }
}

impl nbd::Exports for Catalog {
    fn export(&self, index: usize) -> Option<nbd::Export<'_>> {
        let export = self.exports.all().get(index)?;
        let why = self.refusals.get(index).map_or("", String::as_str);
        Some(nbd::Export {
            name: &export.name,
            description: &export.description,
            size: export.size,
            read_only: export.read_only,
            block: BlockSizes::DEFAULT,
            can_trim: true,
            can_zero: true,
            // No payload has to travel: it is never slower than the write it stands for.
            fast_zero: true,
            // A flush covers what was answered on all connections, because all of an export have one owner.
            multi_conn: true,
            dirty_map: matches!(export.backing, Backing::Group(_)),
            default: export.default,
            available: if export.is_serving() { Ok(()) } else { Err(why) },
        })
    }
}

fn refusal(export: &Export) -> String {
    let name = &export.name;
    match export.backing {
        Backing::Group(_) => format!(
            "export '{name}' is not served at this site now: it is the secondary of the group, or has not ended its start. \
             Connect to the primary; if that is lost, run `midspan takeover` here"
        ),
        Backing::Simplex => {
            format!("export '{name}' is not served now: this node is starting or about to stop; try again")
        }
    }
}
