//! What was made or removed, for people and for programs.

use std::io::Write;
use std::path::Path;

use midspan_format::ids::{Epoch, GroupId};
use midspan_node::format::kind_name;
use midspan_node::groups::Change;
use serde_json::{Value, json};

use super::Manner;
use crate::config::Config;

/// A change of one group at one node.
pub struct Told<'a> {
    /// The node.
    pub config: &'a Config,
    /// The group's name.
    pub group: &'a str,
    /// Its number.
    pub id: GroupId,
    /// On the journal disk.
    pub change: &'a Change,
    /// Bytes of the journal disk that are free then.
    pub free_bytes: u64,
    /// Bytes of the journal disk.
    pub size_bytes: u64,
}

/// What was done.
pub enum What<'a> {
    /// The group is there.
    Created,
    /// The group is gone.
    Deleted {
        /// It was in the configuration.
        configured: bool,
        /// Its exports.
        exports: Vec<&'a str>,
        /// Its volumes, which stay as they are.
        volumes: Vec<&'a Path>,
        /// What was given up.
        lost: Vec<String>,
    },
}

impl Told<'_> {
    /// Prints it. Where nobody reads it any more, it is done all the same.
    pub fn tell(&self, what: &What<'_>, manner: Manner, out: &mut dyn Write) {
        let text =
            if manner.json { format!("{}\n", self.json(what, manner)) } else { self.text(what, manner) };
        let _ = out.write_all(text.as_bytes());
    }

    fn text(&self, what: &What<'_>, manner: Manner) -> String {
        let (group, id, node) = (self.group, self.id, &self.config.node.name);
        let (file, journal) = (self.config.path().display(), self.config.node.journal.display());
        let is = if manner.dry_run { "would be" } else { "is" };
        let (word, effect) = match what {
            What::Created => (
                "created",
                format!(
                    "{file} has it now: it takes effect at midspand's next start, at each node of the group"
                ),
            ),
            What::Deleted { .. } => ("deleted", "it takes effect at midspand's next start".to_owned()),
        };
        let mut lines = vec![format!("group {group} ({id}) {is} {word} at {node}")];
        lines.extend(self.change.areas.iter().map(|area| {
            let (lane, kind, size, start) = (area.lane.0, kind_name(area.kind), area.size, area.start);
            format!("  lane {lane}: {kind}, {size} bytes at {start}")
        }));
        if self.change.areas.is_empty() {
            lines.push(format!("  {journal}: nothing of it was there"));
        }
        lines.push(format!("  {journal}: {} of {} bytes are free then", self.free_bytes, self.size_bytes));
        self.details(what, manner, &mut lines);
        lines.push(if manner.dry_run { "nothing was changed".to_owned() } else { effect });
        lines.push(String::new());
        lines.join("\n")
    }

    fn details(&self, what: &What<'_>, manner: Manner, lines: &mut Vec<String>) {
        let left = self.change.left_behind;
        match what {
            What::Created => {
                lines.extend(left.map(|left| {
                    format!(
                        "  a deleted group of this id left epoch {left} behind: the new one begins beyond it"
                    )
                }));
                if self.change.resumed {
                    lines.push("  its areas were there already, of an attempt that had not ended".to_owned());
                }
            }
            What::Deleted { configured, exports, volumes, lost } => {
                lines.extend(left.map(|left| {
                    format!("  its ids and epoch {left} stay behind: whoever still asks for it is refused")
                }));
                let how = if manner.force { "given up" } else { "needs --force" };
                lines.extend(lost.iter().map(|lost| format!("  {how}: {lost}")));
                if !configured {
                    lines.push(format!("  {}: it was not there", self.config.path().display()));
                }
                lines.extend(exports.iter().map(|export| format!("  export {export} goes with it")));
                lines
                    .extend(volumes.iter().map(|volume| format!("  volume {}: untouched", volume.display())));
            }
        }
    }

    fn json(&self, what: &What<'_>, manner: Manner) -> Value {
        let area = |area: &midspan_format::superblock::AreaEntry| {
            json!({
                "kind": kind_name(area.kind).replace(' ', "_"), "lane": area.lane.0, "area": area.area.to_string(),
                "offset": area.start, "size_bytes": area.size,
            })
        };
        let epoch = |epoch: Epoch| json!({ "number": epoch.number, "node_id": epoch.node.0 });
        let mut value = json!({
            "group": self.group, "group_id": self.id.0, "node": self.config.node.name,
            "config": self.config.path(), "journal": self.config.node.journal,
            "areas": self.change.areas.iter().map(area).collect::<Vec<_>>(),
            "left_behind": self.change.left_behind.map(epoch), "resumed": self.change.resumed,
            "free_bytes": self.free_bytes, "size_bytes": self.size_bytes, "dry_run": manner.dry_run,
        });
        let more = match what {
            What::Created => json!({ "action": "created" }),
            What::Deleted { configured, exports, volumes, lost } => json!({
                "action": "deleted", "configured": configured, "exports": exports, "volumes_untouched": volumes,
                "lost": lost,
            }),
        };
        if let (Value::Object(all), Value::Object(more)) = (&mut value, more) {
            all.extend(more);
        }
        value
    }
}
