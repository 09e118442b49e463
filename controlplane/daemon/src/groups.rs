//! `midspand --group-create` and `--group-delete`: a group more or less on the journal disk and in the configuration of a node
//! that does not run.
//!
//! The new configuration is written beside the former one, then the journal disk is changed, then the configuration takes its
//! place. A group that is deleted leaves the configuration last, too: until then its name tells which one is meant. What was
//! cut off is finished by the same command.

use std::io::{self, Write};
use std::path::Path;

use midspan_format::ids::GroupId;
use midspan_node::boot::Journal;
use midspan_node::groups;

use crate::check;
use crate::config::{Addition, Config, Finding, Group, Severity};
use crate::exit::{self, Failure};
use crate::format;
use crate::refusal::{check_disk, check_disks, of_stopped};
use crate::replace::Prepared;
use crate::translate;
use judge::losses;
use told::{Told, What};

mod judge;
mod told;

/// How a change is made and told of.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Nothing is changed.
    pub dry_run: bool,
    /// Also where something is lost by it.
    pub force: bool,
    /// For programs.
    pub json: bool,
}

/// Adds the group of the file `addition` to the node of the configuration `path`.
///
/// # Errors
/// Why nothing was added, or what is to be done again.
pub fn create(path: &Path, addition: &Path, manner: Manner, out: &mut dyn Write) -> Result<u8, Failure> {
    let config = check::load(path, &mut io::stderr())?;
    let text = std::fs::read_to_string(addition).map_err(|error| unreadable(addition, &error))?;
    let added = Addition::parse(addition, &text).map_err(|finding| unfit(addition, &[finding]))?;
    refuse_known(&config, &added.group)?;
    let (new, findings) = config.with(addition, &added).map_err(|finding| unfit(addition, &[finding]))?;
    let known = config.check();
    let findings: Vec<Finding> = findings.into_iter().filter(|finding| !known.contains(finding)).collect();
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(unfit(addition, &findings));
    }
    show(&findings);
    check_disks(&new)?;
    let journal = open(&config, manner)?;
    let group =
        new.groups.last().ok_or_else(|| Failure::other("the group is not in the new configuration"))?;
    let needs = format::group(new.node.id, group)
        .ok_or_else(|| Failure::other("the group has no sites or no lane"))?;
    let change = groups::create(&journal, &needs)?;
    if !manner.dry_run {
        let prepared = prepare(&config, &new)?;
        change.carry_out(&journal).map_err(|error| Failure::from(error).hint(again("group create")))?;
        take_effect(prepared, &config, "group create")?;
    }
    let told = Told {
        config: &config,
        group: &group.name,
        id: translate::group_id(group.id),
        change: &change,
        free_bytes: groups::free_bytes(&journal).saturating_sub(change.bytes()),
        size_bytes: journal.file().size(),
    };
    told.tell(&What::Created, manner, out);
    Ok(exit::OK)
}

/// Removes a group, named by its name or number, from the node of the configuration `path`.
///
/// # Errors
/// Why nothing was removed, or what is to be done again.
pub fn delete(path: &Path, group: &str, manner: Manner, out: &mut dyn Write) -> Result<u8, Failure> {
    let config = check::load(path, &mut io::stderr())?;
    let found = find(&config, group);
    let journal = open(&config, manner)?;
    let number = || group.parse().ok().map(GroupId);
    let id = found.map(|found| translate::group_id(found.id)).or_else(number);
    let permit = journal.permits().iter().map(|(_, permit)| permit).find(|permit| Some(permit.group) == id);
    let (Some(id), true) = (id, found.is_some() || permit.is_some_and(|permit| !permit.deleted)) else {
        return Err(unknown(&config, &journal, group));
    };
    let new = match found {
        Some(found) => Some(config.without(&found.name).map_err(|finding| unfit(path, &[finding]))?),
        None => None,
    };
    let name = found.map_or_else(|| id.to_string(), |found| found.name.clone());
    let lost = match permit {
        Some(permit) if !permit.deleted => losses(&config, &journal, permit)?,
        Some(_) | None => Vec::new(),
    };
    if !lost.is_empty() && !manner.force && !manner.dry_run {
        let message = format!("group {name} at {} is not deleted: {}", config.node.name, lost.join("; "));
        return Err(Failure::new(exit::REFUSED, message).hint(
            "let the other site catch up, until `midspan status` says `paired` and nothing is behind, or give that up with \
             --force",
        ));
    }
    let change = match permit {
        Some(_) => groups::delete(&journal, id)?,
        None => groups::Change::none(),
    };
    if !manner.dry_run {
        let prepared = new.as_ref().map(|new| prepare(&config, new)).transpose()?;
        change.carry_out(&journal).map_err(|error| Failure::from(error).hint(again("group delete")))?;
        if let Some(prepared) = prepared {
            take_effect(prepared, &config, "group delete")?;
        }
    }
    let exports: Vec<&str> = match found {
        Some(found) => {
            let exports = config.exports.iter().filter(|export| export.volume.group == found.name);
            exports.map(|export| export.name.as_str()).collect()
        }
        None => Vec::new(),
    };
    let volumes: Vec<_> =
        found.iter().flat_map(|found| &found.volumes).map(|volume| volume.path.as_path()).collect();
    let told = Told {
        config: &config,
        group: &name,
        id,
        change: &change,
        free_bytes: groups::free_bytes(&journal).saturating_add(change.bytes()),
        size_bytes: journal.file().size(),
    };
    told.tell(&What::Deleted { configured: found.is_some(), exports, volumes, lost }, manner, out);
    Ok(exit::OK)
}

/// By its name, else by its number.
fn find<'config>(config: &'config Config, group: &str) -> Option<&'config Group> {
    let named = config.groups.iter().find(|found| found.name == group);
    named.or_else(|| config.groups.iter().find(|found| found.id.to_string() == group))
}

/// The journal disk: for this process alone, or only to be looked at.
fn open(config: &Config, manner: Manner) -> Result<Journal, Failure> {
    check_disk("the journal disk", &config.node.journal)?;
    let (path, node) = (&config.node.journal, translate::node_id(config.node.id));
    let journal = if manner.dry_run { Journal::look(path, node) } else { Journal::open(path, node) };
    journal.map_err(|error| of_stopped(error, &config.node.api))
}

/// Writes the new text beside the file. From when the journal disk was opened nobody else changes the file by these commands;
/// what somebody did before that must not be lost.
fn prepare(config: &Config, new: &Config) -> Result<Prepared, Failure> {
    let path = config.path();
    let failed = |error: io::Error| {
        Failure::other(format!("{} cannot be written anew: {error}", path.display()))
            .hint("nothing was changed; the folder of the file must be writable")
    };
    if std::fs::read_to_string(path).map_err(failed)? != config.text() {
        let message = format!("{} was changed meanwhile", path.display());
        return Err(Failure::new(exit::REFUSED, message).hint("nothing was changed: run it again"));
    }
    Prepared::new(path, new.text()).map_err(failed)
}

fn take_effect(prepared: Prepared, config: &Config, command: &str) -> Result<(), Failure> {
    prepared.take_effect().map_err(|error| {
        let message = format!("{} cannot be replaced: {error}", config.path().display());
        Failure::other(message).hint(format!("the journal disk is changed already: {}", again(command)))
    })
}

fn again(command: &str) -> String {
    format!("when the cause is removed, `midspan {command}` with the same arguments finishes it")
}

fn refuse_known(config: &Config, group: &Group) -> Result<(), Failure> {
    let known = config.groups.iter().find(|known| known.id == group.id || known.name == group.name);
    let Some(known) = known else { return Ok(()) };
    let file = config.path().display();
    let message = format!(
        "group {} ({}) cannot be created: group {} ({}) is in {file} already",
        group.name, group.id, known.name, known.id
    );
    Err(Failure::new(exit::REFUSED, message).hint("id and name must both be new there"))
}

fn unknown(config: &Config, journal: &Journal, group: &str) -> Failure {
    let named = config.groups.iter().map(|group| format!("{} ({})", group.name, group.id));
    let living =
        journal.permits().iter().filter(|(_, permit)| !permit.deleted).map(|(_, permit)| permit.group);
    let unnamed = living.filter(|id| config.groups.iter().all(|known| translate::group_id(known.id) != *id));
    let unnamed = unnamed.map(|id| format!("{id} (on the journal disk only)"));
    let known: Vec<String> = named.chain(unnamed).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let message = format!("no group {group} is in {} or on its journal disk", config.path().display());
    Failure::new(exit::NOT_FOUND, message).hint(format!("known are {known}"))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::NotFound { exit::NOT_FOUND } else { exit::FAILURE };
    Failure::new(code, format!("{}: {error}", path.display()))
}

/// Shows what is wrong, and says that nothing is done.
fn unfit(path: &Path, findings: &[Finding]) -> Failure {
    show(findings);
    Failure::other(format!("{}: nothing was changed", path.display()))
}

fn show(findings: &[Finding]) {
    for finding in findings {
        // Where nobody reads it, the failure itself says enough.
        let _ = writeln!(io::stderr(), "{finding}");
    }
}
