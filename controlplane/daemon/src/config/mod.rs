//! The configuration of one node: a TOML file, read strictly and checked without starting anything.
//!
//! [`Config::load`] refuses what cannot be read (unknown keys, wrong types, values out of range);
//! [`Config::check`] lists what can be read but does not fit together; [`check_together`] does so for the files of
//! several nodes. [`Config::with`] and [`Config::without`] are the same file with a group more or less. Every message names file, line, field and what is allowed.

mod check;
mod field;
mod finding;
mod schema;
mod text;
mod lines;
mod edit;

use std::path::Path;

pub use check::check_together;
pub use edit::Addition;
pub use finding::{ConfigError, Finding, Severity};
pub use schema::{
    Answer, Config, ControlPath, Direct, Export, Group, Initial, Isolated, Lane, LaneSet, Mode, Nbd, Node,
    Overflow, Peer, Role, Takeover, Volume,
};
pub use text::{Id, NbdListen, Size, Span, VolumeName};

impl Config {
    /// Reads and parses the file of one node; relative paths in it are taken from the file's own folder.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Read`] when the file cannot be read, [`ConfigError::Parse`] with the first thing in it that is
    /// not allowed.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Parses `text` as the content of the file `path`, which need not exist.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Parse`] with the first thing in the text that is not allowed.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let document = toml::Deserializer::parse(text)
            .map_err(|error| ConfigError::Parse(Finding::syntax(path, text, &error)))?;
        let mut config: Self = serde_path_to_error::deserialize(document)
            .map_err(|error| ConfigError::Parse(Finding::value(path, text, &error)))?;
        config.set_source(path, text);
        Ok(config)
    }
}

#[cfg(test)]
mod tests;
