//! How many groups, volumes and cores the nodes have, and the part of their configs that says so.

use std::path::PathBuf;

use anyhow::{Result, ensure};

/// Name of the first group.
pub const GROUP: &str = "bench";
/// Name of the first volume and its export.
pub const EXPORT: &str = "disk";

/// What a group's primary does when its ring has been full, or its relay away, for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Hosts wait: nobody is answered outside the lanes.
    Protection,
    /// It leaves the lanes, and a round brings the other site what differs.
    Availability,
}

/// What a cluster is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Groups.
    pub groups: usize,
    /// Volumes of each group.
    pub volumes: usize,
    /// Cores of every node's data path; empty: each node has the one that is meant for it.
    pub cores: Vec<usize>,
    /// What every group does where it would have to wait for long.
    pub mode: Mode,
}

impl Layout {
    /// One group with one volume, each node on its own core.
    pub const SINGLE: Self = Self { groups: 1, volumes: 1, cores: Vec::new(), mode: Mode::Protection };

    /// Of all groups.
    pub fn all_volumes(&self) -> usize {
        self.groups * self.volumes
    }

    /// Names of the exports, group by group: `disk`, `disk2`, …
    pub fn exports(&self) -> Vec<String> {
        (1..=self.all_volumes()).map(|number| numbered(EXPORT, number)).collect()
    }

    /// The node's `cores`.
    pub fn cores_text(&self, own: usize) -> String {
        if self.cores.is_empty() {
            return own.to_string();
        }
        self.cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// What a site says of every group's mode; nothing where it is the default.
    pub const fn mode_text(&self) -> &'static str {
        match self.mode {
            Mode::Protection => "",
            Mode::Availability => "mode = \"max-availability\"\n",
        }
    }

    /// The groups of a node's config: each begins with number and name, goes on with `rest`, and ends with its volumes, which
    /// are those of `disks` in order, or none where there are no disks.
    ///
    /// # Errors
    /// When there are disks, but not one for each volume: a mistake in this program.
    pub fn groups_text(&self, rest: &str, disks: &[PathBuf]) -> Result<String> {
        ensure!(disks.is_empty() || disks.len() == self.all_volumes(), "a disk for each volume is needed");
        let exports = self.exports();
        let mut text = String::new();
        for group in 0..self.groups {
            let (id, name) = (group + 1, numbered(GROUP, group + 1));
            text += &format!("\n[[group]]\nid = {id}\nname = \"{name}\"\n{rest}");
            let volumes = exports.iter().zip(disks).skip(group * self.volumes).take(self.volumes);
            for (id, (name, disk)) in (1..).zip(volumes) {
                let path = disk.display();
                text += &format!("\n[[group.volume]]\nid = {id}\nname = \"{name}\"\npath = \"{path}\"\n");
            }
        }
        Ok(text)
    }

    /// The exports of a config, each named as its volume.
    pub fn exports_text(&self) -> String {
        let export = |(index, name): (usize, String)| {
            let group = numbered(GROUP, index / self.volumes.max(1) + 1);
            format!("\n[[export]]\nname = \"{name}\"\nvolume = \"{group}/{name}\"\n")
        };
        self.exports().into_iter().enumerate().map(export).collect()
    }
}

/// The first has no number.
fn numbered(name: &str, number: usize) -> String {
    if number == 1 { name.to_owned() } else { format!("{name}{number}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_belong_to_their_groups_and_exports_name_them() {
        let layout = Layout { groups: 2, volumes: 2, cores: vec![0, 3], ..Layout::SINGLE };
        assert_eq!(layout.exports(), ["disk", "disk2", "disk3", "disk4"]);
        let disks: Vec<PathBuf> = ["a", "b", "c", "d"].map(PathBuf::from).into();
        let text = layout.groups_text("role = \"primary\"\n", &disks).unwrap();
        let groups: Vec<&str> = text.split("[[group]]").skip(1).collect();
        assert_eq!(groups.len(), 2);
        assert!(groups[0].contains("path = \"b\"") && !groups[0].contains("path = \"c\""), "{text}");
        assert!(groups[1].contains("name = \"bench2\"") && groups[1].contains("path = \"d\""), "{text}");
        assert!(groups.iter().all(|group| group.contains("role") && group.contains("id = 2")), "{text}");
        let exports = layout.exports_text();
        assert!(exports.contains("name = \"disk3\"\nvolume = \"bench2/disk3\""), "{exports}");
        assert_eq!(layout.cores_text(9), "0, 3");
    }

    #[test]
    fn a_relay_has_groups_without_volumes_and_each_node_its_own_core() {
        let text = Layout::SINGLE.groups_text("role = \"relay\"\n", &[]).unwrap();
        assert!(text.contains("name = \"bench\"") && !text.contains("volume"), "{text}");
        assert_eq!(Layout::SINGLE.cores_text(9), "9");
        assert!(Layout { groups: 2, ..Layout::SINGLE }.groups_text("", &[PathBuf::from("a")]).is_err());
    }
}
