//! Exports and counters: what is told of them, and what is read without asking a shard.

use midspan_node::exports::{Export, ExportId};

use super::{DataPlane, Offered, Port};
use crate::driver::News;
use crate::events::Tell;
use crate::samples;

impl<P: DataPlane> Port<P> {
    pub(super) fn on_serving(&mut self, export: ExportId, serving: bool) {
        let index = export.0 as usize;
        let Some(Offered { name, .. }) = self.objects.exports.get(index) else { return };
        let message = if serving { "hosts are served" } else { "hosts are not served" };
        self.news.push(News::Tell(Tell::info("export", format!("export:{name}"), message)));
        self.show_access(index, serving);
    }

    /// Tells how an export is served, where that is new.
    fn show_access(&mut self, index: usize, serving: bool) {
        let (Some(last), Some(export)) = (self.access.get_mut(index), self.objects.exports.get(index)) else {
            return;
        };
        let access = access(serving, export.read_only);
        if *last != access {
            *last = access;
            self.news.push(News::Export { export: export.name.clone(), access });
        }
    }
}

impl Port {
    /// What the data plane counts, and how its exports are served: read without asking a shard.
    pub fn look(&mut self) {
        self.news.push(News::Counters(samples::samples(self.plane.counters())));
        // A report that exports are served may have been lost when nobody listened.
        let serving: Vec<bool> = self.plane.exports().all().iter().map(Export::is_serving).collect();
        for (index, serving) in serving.into_iter().enumerate() {
            self.show_access(index, serving);
        }
    }
}

/// How hosts are served.
pub const fn access(serving: bool, read_only: bool) -> &'static str {
    match (serving, read_only) {
        (false, _) => "not_served",
        (true, true) => "read_only",
        (true, false) => "read_write",
    }
}
