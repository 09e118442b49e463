//! What was made or removed, for people and for programs.

use std::fmt::Write as _;
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
}

/// What was done.
pub enum What<'a> {
    /// The group is there.
    Created {
        /// Bytes of the journal disk that are free with it.
        free_bytes: u64,
        /// Bytes of the journal disk.
        size_bytes: u64,
    },
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
        let mut text = String::new();
        let is = if manner.dry_run { "would be" } else { "is" };
        match what {
            What::Created { free_bytes, size_bytes } => {
                let _ = writeln!(text, "group {group} ({id}) {is} created at {node}");
                self.areas(&mut text);
                let _ = writeln!(text, "  {journal}: {free_bytes} of {size_bytes} bytes are free then");
                if let Some(left) = self.change.left_behind {
                    let _ = writeln!(
                        text,
                        "  a deleted group of this id left epoch {left} behind: the new one begins beyond it"
                    );
                }
                if self.change.resumed {
                    let _ =
                        writeln!(text, "  its areas were there already, of an attempt that had not ended");
                }
            }
            What::Deleted { configured, exports, volumes, lost } => {
                let _ = writeln!(text, "group {group} ({id}) {is} deleted at {node}");
                self.areas(&mut text);
                for lost in lost {
                    let how = if manner.force { "given up" } else { "needs --force" };
                    let _ = writeln!(text, "  {how}: {lost}");
                }
                if self.change.areas.is_empty() {
                    let _ = writeln!(text, "  {journal}: nothing of it was there");
                }
                if !configured {
                    let _ = writeln!(text, "  {file}: it was not there");
                }
                for export in exports {
                    let _ = writeln!(text, "  export {export} goes with it");
                }
                for volume in volumes {
                    let _ = writeln!(text, "  volume {}: untouched", volume.display());
                }
            }
        }
        text += &match (manner.dry_run, what) {
            (true, _) => "nothing was changed\n".to_owned(),
            (false, What::Created { .. }) => {
                format!(
                    "{file} has it now: it takes effect at midspand's next start, at each node of the group\n"
                )
            }
            (false, What::Deleted { .. }) => "it takes effect at midspand's next start\n".to_owned(),
        };
        text
    }

    fn areas(&self, text: &mut String) {
        for area in &self.change.areas {
            let (lane, kind, size, start) = (area.lane.0, kind_name(area.kind), area.size, area.start);
            let _ = writeln!(text, "  lane {lane}: {kind}, {size} bytes at {start}");
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
            "dry_run": manner.dry_run,
        });
        let more = match what {
            What::Created { free_bytes, size_bytes } => {
                json!({ "action": "created", "free_bytes": free_bytes, "size_bytes": size_bytes })
            }
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
