//! Tables that are added to the text of a configuration or taken out of it; everything else in it stays byte for byte.

use std::path::Path;

use serde::Deserialize;

use super::ConfigError;
use super::field::Field;
use super::finding::{Finding, Severity};
use super::lines::tables;
use super::schema::{Config, Export, Group};

/// What a file to be added can say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    #[serde(rename = "group")]
    groups: Vec<Group>,
    #[serde(default, rename = "export")]
    exports: Vec<Export>,
}

/// One `[[group]]`, and the `[[export]]`s of its volumes, in a file of their own.
#[derive(Debug)]
pub struct Addition {
    /// The group. Paths in it are as they stand there.
    pub group: Group,
    exports: usize,
    text: String,
}

impl Addition {
    /// Reads `text` as the content of the file `path`.
    ///
    /// # Errors
    /// The first thing in it that is not allowed.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Finding> {
        let document =
            toml::Deserializer::parse(text).map_err(|error| Finding::syntax(path, text, &error))?;
        let tables: Tables =
            serde_path_to_error::deserialize(document).map_err(|error| Finding::value(path, text, &error))?;
        let refuse = |field: &Field, message: &str| {
            Err(Finding::new(Severity::Error, path, text, field, message.to_owned()))
        };
        for (key, count) in [("group", tables.groups.len()), ("export", tables.exports.len())] {
            for field in (0..count).map(|index| Field::table(key, index)) {
                if !text.get(field.offset(text)..).is_some_and(|rest| rest.starts_with("[[")) {
                    return refuse(&field, &format!("it is added to another file: write it as [[{key}]]"));
                }
            }
        }
        let exports = tables.exports.len();
        let mut groups = tables.groups.into_iter();
        match (groups.next(), groups.next()) {
            (Some(group), None) => Ok(Self { group, exports, text: text.to_owned() }),
            (None, _) => refuse(&Field::default(), "one [[group]] is needed"),
            (Some(_), Some(_)) => {
                refuse(&Field::table("group", 1), "one [[group]] at a time is created: allowed is one")
            }
        }
    }
}

impl Config {
    /// This configuration with the tables of the file `path` behind its own.
    ///
    /// # Errors
    /// What of it does not fit, each finding with the file in which it stands.
    pub fn with(&self, path: &Path, addition: &Addition) -> Result<(Self, Vec<Finding>), Finding> {
        let mut text = self.text().to_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        if !text.is_empty() && !text.ends_with("\n\n") {
            text.push('\n');
        }
        let first_line = text.matches('\n').count() + 1;
        text += &addition.text;
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let place = |finding| self.place(path, first_line, finding);
        let new = Self::parse(self.path(), &text).map_err(|error| match error {
            ConfigError::Parse(finding) => place(finding),
            ConfigError::Read { .. } => Finding::whole(path, "it cannot be added".to_owned()),
        })?;
        let added = (new.groups.len() - self.groups.len(), new.exports.len() - self.exports.len());
        if added != (1, addition.exports) {
            return Err(Finding::whole(
                path,
                format!("its tables do not fit behind those of {}", self.path().display()),
            ));
        }
        let findings = new.check().into_iter().map(place).collect();
        Ok((new, findings))
    }

    /// A finding about the whole, as one about the file in which it stands.
    fn place(&self, path: &Path, first_line: usize, mut finding: Finding) -> Finding {
        let Some(line) = finding.line.checked_sub(first_line) else { return finding };
        finding.path = path.to_owned();
        finding.line = line + 1;
        for (key, own) in [("group", self.groups.len()), ("export", self.exports.len())] {
            let Some(rest) = finding.field.strip_prefix(&format!("{key}[")) else { continue };
            let Some((index, rest)) = rest.split_once(']') else { continue };
            let index = index.parse::<usize>().ok().and_then(|index| index.checked_sub(own));
            finding.field = format!("{key}[{}]{rest}", index.unwrap_or_default());
            break;
        }
        finding
    }

    /// This configuration without a group and the exports of its volumes.
    ///
    /// # Errors
    /// Its tables cannot be told from the rest.
    pub fn without(&self, name: &str) -> Result<Self, Finding> {
        let is_of = |key: &str, index: usize| match key {
            "group" => self.groups.get(index).is_some_and(|group| group.name == name),
            "export" => self.exports.get(index).is_some_and(|export| export.volume.group == name),
            _ => false,
        };
        let text = self.text();
        let mut kept = String::new();
        let mut at = 0;
        for table in tables(text).iter().filter(|table| is_of(&table.key, table.index)) {
            kept += text.get(at..table.lines.start).unwrap_or_default();
            at = table.lines.end.max(at);
        }
        kept += text.get(at..).unwrap_or_default();
        match Self::parse(self.path(), &kept) {
            Ok(new) if new.names() == self.names_without(name) => Ok(new),
            Ok(_) | Err(_) => {
                let message = format!(
                    "the tables of group {name} and its exports cannot be told from the rest: write each as [[group]], \
                     [[group.volume]] or [[export]] on a line of its own"
                );
                Err(Finding::whole(self.path(), message))
            }
        }
    }

    /// Names of all groups and exports.
    fn names(&self) -> [Vec<&str>; 2] {
        self.names_without("")
    }

    /// Those that are left without a group.
    fn names_without(&self, name: &str) -> [Vec<&str>; 2] {
        let groups = self.groups.iter().map(|group| group.name.as_str()).filter(|group| *group != name);
        let exports = self.exports.iter().filter(|export| export.volume.group != name);
        [groups.collect(), exports.map(|export| export.name.as_str()).collect()]
    }
}

#[cfg(test)]
mod tests;
