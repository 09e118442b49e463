//! The way to a value in the file, `group[0].ring`, and the line on which it stands.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One step from a table or array to what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// The way from the top of the file to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Field(Vec<Step>);

impl Field {
    /// The value or table of this key.
    pub(super) fn key(mut self, key: &str) -> Self {
        self.0.push(Step::Key(key.to_owned()));
        self
    }

    /// The element with this index.
    pub(super) fn index(mut self, index: usize) -> Self {
        self.0.push(Step::Index(index));
        self
    }

    /// The `index`th of the tables `[[key]]` at the top of the file.
    pub(super) fn table(key: &str, index: usize) -> Self {
        Self::default().key(key).index(index)
    }

    /// The way on which deserialisation stopped.
    pub(super) fn from_serde(path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment;
        let step = |segment: &Segment| match segment {
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { variant } => Some(Step::Key(variant.clone())),
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Unknown => None,
        };
        Self(path.iter().filter_map(step).collect())
    }

    /// Byte offset at which the value starts, or the nearest enclosing table that is there.
    pub(super) fn offset(&self, text: &str) -> usize {
        let Ok(document) = DeTable::parse(text) else { return 0 };
        let mut offset = document.span().start;
        let mut here = DeValue::Table(document.into_inner());
        for step in &self.0 {
            let Some(value) = enter(here, step) else { return offset };
            offset = value.span().start;
            here = value.into_inner();
        }
        offset
    }
}

fn enter<'text>(here: DeValue<'text>, step: &Step) -> Option<Spanned<DeValue<'text>>> {
    match (here, step) {
        (DeValue::Table(mut table), Step::Key(key)) => table.remove(key.as_str()),
        (DeValue::Array(array), Step::Index(index)) => array.into_iter().nth(*index),
        _ => None,
    }
}

impl fmt::Display for Field {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if place == 0 => write!(out, "{key}")?,
                Step::Key(key) => write!(out, ".{key}")?,
                Step::Index(index) => write!(out, "[{index}]")?,
            }
        }
        Ok(())
    }
}
