//! The narrow border to the data plane: its handle, commands and reports on one side, the driver's words on the other.

mod exports;
mod steps;
mod verify;

use std::collections::BTreeMap;
use std::mem;

use midspan_format::control::{GroupCommand, GroupStatus as Measured};
use midspan_format::ids::NodeId;
use midspan_format::superblock::PairState;
use midspan_node::node::NodeHandle;
use midspan_node::port::{Command, CommandId, Note, Reply, Report, RoundNote};
use midspan_node::status::RelayStatus;

use crate::api::types::{ApiError, Change};
use crate::driver::{Action, News, RoundStep, Step};
use crate::events::Tell;
use crate::following::Operation;
use crate::measure::{self, Known};
use crate::words::Names;

pub use self::exports::access;

/// What the port needs of the data plane.
pub trait DataPlane {
    /// Number of shards.
    fn shards(&self) -> usize;

    /// Gives a command to a shard.
    ///
    /// # Errors
    /// Gives it back when the shard's queue is full.
    fn command(&self, shard: usize, id: CommandId, command: Command) -> Result<(), Command>;

    /// The oldest report.
    fn report(&self) -> Option<Report>;
}

impl DataPlane for NodeHandle {
    fn shards(&self) -> usize {
        NodeHandle::shards(self)
    }

    fn command(&self, shard: usize, id: CommandId, command: Command) -> Result<(), Command> {
        NodeHandle::command(self, shard, id, command)
    }

    fn report(&self) -> Option<Report> {
        NodeHandle::report(self)
    }
}

/// A node's objects by their names.
#[derive(Debug)]
pub struct Objects {
    /// This node.
    pub node: NodeId,
    /// Names of all nodes.
    pub names: Names,
    /// The groups of this node.
    pub groups: Vec<Known>,
    /// The exports, by their numbers.
    pub exports: Vec<Offered>,
}

/// An export as hosts know it.
#[derive(Clone, Debug)]
pub struct Offered {
    /// Its name.
    pub name: String,
    /// Writes are refused.
    pub read_only: bool,
}

/// A command that was not answered yet.
#[derive(Debug)]
enum Asked {
    /// An operation of the group with this index.
    Operation(usize, Operation),
    /// How the group with this index stands.
    Group(usize),
    /// How the relay's part on this shard stands.
    Relay(usize),
}

/// An operation that somebody waits for.
#[derive(Debug)]
enum Wait {
    /// It runs.
    Running,
    /// It runs, and its shard has taken it.
    Taken,
    /// It ended; told as soon as the status shows it.
    Ended(News),
}

/// The data plane, as the driver sees it.
#[derive(Debug)]
pub struct Port<P = NodeHandle> {
    plane: P,
    objects: Objects,
    last_command: u64,
    asked: BTreeMap<u64, Asked>,
    /// By index of the group.
    waits: BTreeMap<(usize, Operation), Wait>,
    /// The relay's part on each shard.
    relay: Vec<RelayStatus>,
    /// How each export is served, as told last.
    access: Vec<&'static str>,
    news: Vec<News>,
    ended: Option<String>,
}

impl<P: DataPlane> Port<P> {
    /// A port over a data plane that has just started.
    pub fn new(plane: P, objects: Objects) -> Self {
        let relay = (0..plane.shards()).map(|_| RelayStatus::default()).collect();
        let access = vec![""; objects.exports.len()];
        Self {
            plane,
            objects,
            last_command: 0,
            asked: BTreeMap::new(),
            waits: BTreeMap::new(),
            relay,
            access,
            news: Vec::new(),
            ended: None,
        }
    }

    /// The data plane itself.
    pub fn plane(&self) -> &P {
        &self.plane
    }

    /// Gives it up, to be stopped.
    pub fn into_plane(self) -> P {
        self.plane
    }

    /// Why the data plane has ended, if it has.
    pub fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// Takes all reports, and returns everything that is new.
    pub fn take(&mut self) -> Vec<News> {
        while let Some(report) = self.plane.report() {
            self.on_report(report);
        }
        mem::take(&mut self.news)
    }

    /// Asks how everything stands; answers come as reports. What was asked and not answered is not asked again.
    pub fn poll(&mut self) {
        for index in 0..self.objects.groups.len() {
            self.ask_group(index);
        }
        if self.objects.groups.iter().any(|known| known.holds_lane) {
            for shard in 0..self.relay.len() {
                let waits =
                    self.asked.values().any(|asked| matches!(asked, Asked::Relay(other) if *other == shard));
                if !waits {
                    self.ask(shard, Asked::Relay(shard), Command::RelayStatus);
                }
            }
        }
    }

    /// Carries out what the driver asks.
    pub fn act(&mut self, action: Action) {
        let (group, operation, command) = match action {
            Action::TakeOver { group, accept_loss, dry_run } => {
                (group, Operation::Takeover, GroupCommand::Takeover { accept_loss, dry_run })
            }
            Action::Change { group, change } => {
                let command = match change {
                    Change::Abort => GroupCommand::Abort,
                    Change::Switchover | Change::Failback => GroupCommand::Switchover,
                    Change::Stay => GroupCommand::Stay,
                    Change::Pause => GroupCommand::Pause,
                    Change::Resume => GroupCommand::Resume,
                    Change::Resolve => GroupCommand::Resolve,
                    Change::Prevail => GroupCommand::Prevail,
                    Change::WithoutJournal => GroupCommand::WithoutJournal,
                    Change::EndVerify => GroupCommand::EndVerify,
                };
                (group, Operation::Change(change), command)
            }
            Action::Verify { group, request } => {
                let known = self.objects.groups.iter().find(|known| known.name == group);
                match known.map(|known| verify::command(known, &request)) {
                    Some(Ok(command)) => (group, Operation::Verify, command),
                    Some(Err(error)) => {
                        return self.news.push(News::Refused { group, operation: Operation::Verify, error });
                    }
                    None => (group, Operation::Verify, GroupCommand::EndVerify),
                }
            }
        };
        let Some(index) = self.objects.groups.iter().position(|known| known.name == group) else {
            let error = ApiError::new("not_found", format!("group {group} is not known here"), "");
            return self.news.push(News::Refused { group, operation, error });
        };
        self.waits.insert((index, operation), Wait::Running);
        let shard = self.objects.groups.get(index).map(|known| (known.id, known.shard));
        let Some((id, Some(shard))) = shard else {
            let message = format!("group {group}: this node is a relay and holds no volumes");
            let error = ApiError::new("refused", message, "`midspan status` shows which nodes are sites");
            return self.refuse(index, operation, error);
        };
        if operation == Operation::Takeover {
            self.news.push(News::Step { group: group.clone(), operation, step: Step::Probing });
        }
        if !self.ask(shard, Asked::Operation(index, operation), Command::Group { group: id, command }) {
            let message = format!("group {group}: its shard has too many commands waiting");
            self.refuse(index, operation, ApiError::new("refused", message, "try again in a moment"));
        }
    }

    fn ask_group(&mut self, index: usize) {
        let waits = self.asked.values().any(|asked| matches!(asked, Asked::Group(other) if *other == index));
        let Some(known) = self.objects.groups.get(index).filter(|_| !waits) else { return };
        if let Some(shard) = known.shard {
            let command = Command::GroupStatus(known.id);
            self.ask(shard, Asked::Group(index), command);
        }
    }

    /// Sends a command; false when the shard's queue is full.
    fn ask(&mut self, shard: usize, asked: Asked, command: Command) -> bool {
        self.last_command += 1;
        let sent = self.plane.command(shard, CommandId(self.last_command), command).is_ok();
        if sent {
            self.asked.insert(self.last_command, asked);
        }
        sent
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Reply { id, reply } => {
                if let Some(asked) = self.asked.remove(&id.0) {
                    self.on_reply(&asked, reply);
                }
            }
            Report::Note { group, note } => {
                let known = self.objects.groups.iter().position(|known| Some(known.id) == group);
                self.on_note(known, &note);
            }
            Report::Disk(failure) => {
                let object = format!("disk:{}", failure.path.display());
                let tell = Tell::error("disk_failed", object, failure.to_string())
                    .hint("the disk is not used any more: replace it, then restart this node");
                self.news.push(News::Tell(tell));
            }
            Report::Serving { export, serving } => self.on_serving(export, serving),
            Report::Ended { shard, failure } => {
                let why = failure.unwrap_or_else(|| format!("shard {shard} ended unasked"));
                self.ended.get_or_insert(why);
            }
        }
    }

    fn on_reply(&mut self, asked: &Asked, reply: Reply) {
        match (asked, reply) {
            (Asked::Operation(index, operation), Reply::UnknownGroup) => {
                let message = format!("group {}: its shard does not know it", self.name(*index));
                self.refuse(*index, *operation, ApiError::new("internal", message, "restart the daemon"));
            }
            (Asked::Operation(index, operation), Reply::Taken) => self.on_taken(*index, *operation),
            (Asked::Group(index), Reply::Group(status)) => self.on_status(*index, &status),
            (Asked::Relay(shard), Reply::Relay(status)) => {
                if let Some(part) = self.relay.get_mut(*shard) {
                    *part = *status;
                }
                self.tell_relay();
            }
            (Asked::Operation(..), Reply::Group(_) | Reply::Relay(_))
            | (Asked::Group(_), Reply::Taken | Reply::Relay(_) | Reply::UnknownGroup)
            | (Asked::Relay(_), Reply::Taken | Reply::Group(_) | Reply::UnknownGroup) => {}
        }
    }

    /// A shard has taken an operation. What is more than that is told by notes, or by the next status.
    fn on_taken(&mut self, index: usize, operation: Operation) {
        let Operation::Change(change) = operation else { return };
        let Some(wait) = self.waits.get_mut(&(index, operation)) else { return };
        match change {
            Change::Switchover
            | Change::Stay
            | Change::Failback
            | Change::Prevail
            | Change::WithoutJournal
            | Change::EndVerify => {}
            Change::Abort => *wait = Wait::Taken,
            Change::Resolve => {
                *wait = Wait::Taken;
                self.ask_group(index);
            }
            Change::Pause | Change::Resume => {
                self.changed(index, change);
                self.ask_group(index);
            }
        }
    }

    /// How a group stands; ends what waited for it.
    fn on_status(&mut self, index: usize, status: &Measured) {
        let Some(known) = self.objects.groups.get(index) else { return };
        let mut news = measure::site(&self.objects.names, known, status);
        if known.holds_lane {
            let Objects { node, names, .. } = &self.objects;
            let held = self.relay.iter().flat_map(|part| measure::held(names, known, *node, part));
            news.status.held = held.collect();
            news.status.refused = self.relay.iter().map(|part| measure::refused_of(known, part)).sum();
        }
        self.news.push(News::Group(Box::new(news)));
        let resolve = Operation::Change(Change::Resolve);
        if status.pair != PairState::Split && matches!(self.waits.get(&(index, resolve)), Some(Wait::Taken)) {
            self.changed(index, Change::Resolve);
        }
        let ended =
            |(of, _): &(usize, Operation), wait: &mut Wait| *of == index && matches!(wait, Wait::Ended(_));
        for (_, wait) in self.waits.extract_if(.., ended) {
            if let Wait::Ended(news) = wait {
                self.news.push(news);
            }
        }
    }

    /// A change has ended; told with the next status.
    fn changed(&mut self, index: usize, change: Change) {
        let news = News::Changed { group: self.name(index), change };
        self.waits.insert((index, Operation::Change(change)), Wait::Ended(news));
    }

    /// The relay as a whole: the parts of all shards.
    fn tell_relay(&mut self) {
        let mut whole = RelayStatus::default();
        for part in &self.relay {
            whole.areas.extend(part.areas.iter().cloned());
            whole.refused.extend(part.refused.iter().copied());
        }
        let Objects { node, names, groups, .. } = &self.objects;
        for known in groups.iter().filter(|known| known.shard.is_none()) {
            if let Some(news) = measure::relay(names, known, *node, &whole) {
                self.news.push(News::Group(Box::new(news)));
            }
        }
        let refused = measure::refused(names, &whole.refused);
        self.news.push(News::Areas(measure::areas(names, groups, &whole), refused));
    }

    fn on_note(&mut self, known: Option<usize>, note: &Note) {
        if let (Some(index), Note::Start(step)) = (known, note)
            && self.on_start(index, step)
        {
            return;
        }
        if let (Some(index), Note::Handover(step)) = (known, note)
            && self.on_handover(index, *step)
        {
            return;
        }
        if let (Some(index), Note::Round(step)) = (known, note) {
            let step = match *step {
                RoundNote::Began { round, bytes, in_place } => RoundStep::Began { round, bytes, in_place },
                RoundNote::Sent { .. } => RoundStep::Sent,
                RoundNote::Ended { .. } => RoundStep::Ended,
                RoundNote::Cancelled { .. } => RoundStep::Cancelled,
            };
            self.news.push(News::Round { group: self.name(index), step });
        }
        if let (Some(index), Note::Verify(step)) = (known, note) {
            self.on_verify(index, step);
        }
        let object = match known {
            Some(index) => format!("group:{}", self.name(index)),
            None => "relay".to_owned(),
        };
        if let Some(tell) = self.objects.names.tell(&object, note) {
            self.news.push(News::Tell(tell));
        }
    }

    fn runs(&self, index: usize, operation: Operation) -> bool {
        matches!(self.waits.get(&(index, operation)), Some(Wait::Running | Wait::Taken))
    }

    fn refuse(&mut self, index: usize, operation: Operation, error: ApiError) {
        self.waits.remove(&(index, operation));
        self.news.push(News::Refused { group: self.name(index), operation, error });
    }

    fn name(&self, index: usize) -> String {
        self.objects.groups.get(index).map(|known| known.name.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
