//! The file of the control state: tables of events and operations, each row a line of JSON.
//!
//! Rows are JSON, so that a later version can add fields without a change of the file's form.

use std::fmt::Display;
use std::fs::File as OsFile;
use std::io;
use std::path::{Path, PathBuf};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::types::{Event, OperationStatus};
use crate::{events, operations};

/// Version of the rows.
const VERSION: u64 = 1;
/// The library's cache, bytes: the whole file is read once and then only written to.
const CACHE: usize = 4 << 20;

const META: TableDefinition<'_, &[u8], u64> = TableDefinition::new("meta");
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const OPERATIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("operations");
/// Groups whose rounds are held, by their names. Files of the first version have no such table.
const HELD: TableDefinition<'_, &[u8], u64> = TableDefinition::new("held");

/// Something to be kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A new event.
    Event(Event),
    /// An operation as it is now.
    Operation(OperationStatus),
    /// Whether an operator holds the rounds of a group.
    Held {
        /// Name of the group.
        group: String,
        /// Whether they are held.
        held: bool,
    },
}

/// What earlier runs have kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// Oldest first.
    pub events: Vec<Event>,
    /// Oldest first.
    pub operations: Vec<OperationStatus>,
    /// Groups whose rounds an operator holds.
    pub held: Vec<String>,
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Its content is not what was written.
    Damaged(String),
    /// It is something else, in use elsewhere, or the system refuses.
    Refused(String),
}

impl Unusable {
    fn damaged(why: impl Display) -> Self {
        Self::Damaged(why.to_string())
    }

    fn refused(why: impl Display) -> Self {
        Self::Refused(why.to_string())
    }
}

/// An open file.
#[derive(Debug)]
pub struct File {
    database: Database,
}

impl File {
    /// Makes a new file under this name; it has the name only when it is whole.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(path: &Path) -> Result<(), Unusable> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Unusable::refused(error)),
            Ok(()) | Err(_) => {}
        }
        let database = Builder::new().set_cache_size(CACHE).create(&new).map_err(Unusable::refused)?;
        prepare(&database).map_err(Unusable::refused)?;
        drop(database);
        std::fs::rename(&new, path).map_err(Unusable::refused)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        OsFile::open(folder).and_then(|folder| folder.sync_all()).map_err(Unusable::refused)
    }

    /// Opens a file, verifies all of it, and reads it.
    ///
    /// # Errors
    /// Why it cannot be used. Some damage makes the library panic: an unknown file is opened by a process of its own
    /// first.
    pub fn open(path: &Path) -> Result<(Self, Kept), Unusable> {
        let mut database = Builder::new().set_cache_size(CACHE).open(path).map_err(unusable)?;
        if !database.check_integrity().map_err(unusable)? {
            // It was repaired to its last commit, which is all that a process that was killed leaves behind.
            tracing::debug!("{}: repaired to the last commit", path.display());
        }
        let kept = read(&database)?;
        Ok((Self { database }, kept))
    }

    /// Keeps entries, all or none of them, and drops what is too old. Durable on return.
    ///
    /// # Errors
    /// What the library says. Nothing can be written after that.
    pub fn write(&self, entries: &[Entry]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut events = transaction.open_table(EVENTS)?;
            let mut operations = transaction.open_table(OPERATIONS)?;
            let mut held_groups = transaction.open_table(HELD)?;
            for entry in entries {
                match entry {
                    Entry::Event(event) => drop(events.insert(event.seq, json(event).as_slice())?),
                    Entry::Operation(operation) => {
                        drop(operations.insert(operation.operation, json(operation).as_slice())?);
                    }
                    Entry::Held { group, held: true } => {
                        drop(held_groups.insert(group.as_bytes(), 1)?);
                    }
                    Entry::Held { group, held: false } => drop(held_groups.remove(group.as_bytes())?),
                }
            }
            keep_newest(&mut events, events::KEPT)?;
            keep_newest(&mut operations, operations::KEPT)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

/// The tables of a new file.
fn prepare(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(EVENTS)?;
    transaction.open_table(OPERATIONS)?;
    transaction.open_table(HELD)?;
    transaction.open_table(META)?.insert(b"version".as_slice(), VERSION)?;
    transaction.commit()?;
    Ok(())
}

fn read(database: &Database) -> Result<Kept, Unusable> {
    let transaction = database.begin_read().map_err(Unusable::damaged)?;
    let meta = transaction.open_table(META).map_err(Unusable::damaged)?;
    let version = meta.get(b"version".as_slice()).map_err(Unusable::damaged)?.map(|version| version.value());
    match version {
        Some(VERSION) => {}
        Some(newer) => {
            return Err(Unusable::Refused(format!(
                "its version is {newer}, and this program knows {VERSION} only"
            )));
        }
        None => return Err(Unusable::damaged("it has no version")),
    }
    let events = transaction.open_table(EVENTS).map_err(Unusable::damaged)?;
    let operations = transaction.open_table(OPERATIONS).map_err(Unusable::damaged)?;
    Ok(Kept { events: rows(&events)?, operations: rows(&operations)?, held: held(&transaction)? })
}

fn held(transaction: &redb::ReadTransaction) -> Result<Vec<String>, Unusable> {
    let table = match transaction.open_table(HELD) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(Unusable::damaged(error)),
    };
    let name = |row: Result<(redb::AccessGuard<'_, &[u8]>, redb::AccessGuard<'_, u64>), StorageError>| {
        let (name, _) = row.map_err(Unusable::damaged)?;
        String::from_utf8(name.value().to_vec()).map_err(Unusable::damaged)
    };
    table.iter().map_err(Unusable::damaged)?.map(name).collect()
}

fn rows<T: DeserializeOwned>(table: &impl ReadableTable<u64, &'static [u8]>) -> Result<Vec<T>, Unusable> {
    let row = |row: Result<(redb::AccessGuard<'_, u64>, redb::AccessGuard<'_, &[u8]>), StorageError>| {
        let (_, value) = row.map_err(Unusable::damaged)?;
        serde_json::from_slice(value.value()).map_err(Unusable::damaged)
    };
    table.iter().map_err(Unusable::damaged)?.map(row).collect()
}

fn keep_newest(table: &mut redb::Table<'_, u64, &[u8]>, count: usize) -> Result<(), StorageError> {
    use redb::ReadableTableMetadata;
    while table.len()? > u64::try_from(count).unwrap_or(u64::MAX) {
        table.pop_first()?;
    }
    Ok(())
}

fn json(row: &impl Serialize) -> Vec<u8> {
    // Structs of strings and numbers are always JSON; an empty row would be found as damage, not as something else.
    serde_json::to_vec(row).unwrap_or_default()
}

/// What an error at opening says about the file.
fn unusable(error: DatabaseError) -> Unusable {
    if let DatabaseError::Storage(StorageError::Io(error)) = &error {
        return io_error(error);
    }
    if let DatabaseError::UpgradeRequired(version) = &error {
        return Unusable::Damaged(format!("its form is of version {version}, which was never written"));
    }
    let damaged =
        matches!(&error, DatabaseError::Storage(StorageError::Corrupted(_)) | DatabaseError::RepairAborted);
    if damaged { Unusable::damaged(error) } else { Unusable::refused(error) }
}

fn io_error(error: &io::Error) -> Unusable {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        Unusable::damaged(error)
    } else if error.kind() == io::ErrorKind::InvalidData {
        Unusable::refused("it is no file of a control state")
    } else {
        Unusable::refused(error)
    }
}

#[cfg(test)]
mod tests;
