//! The port between the planes: bounded queues of plain messages, commands down to the shards, reports up.
//!
//! Replies are never dropped; notes are, when nobody takes them, and are counted then.

use std::collections::VecDeque;

use midspan_format::control::{GroupCommand, GroupStatus};
use midspan_format::ids::GroupId;
use midspan_uring::Waker;
use midspan_uring::queue::{Receiver, Sender, to_shard, to_task};
use midspan_uring::wake::Signal;

pub use midspan_protocol::vocab::effect::{
    HandoverNote, HandoverRefusal, Missing, Note, RoundNote, StartNote, StartRefusal, StartReport,
    VerifyNote, VerifyRefusal, VerifyReport, VerifyStop,
};
pub use midspan_protocol::vocab::overflow::OverflowNote;

use crate::disk::DiskFailure;
use crate::exports::ExportId;
use crate::status::RelayStatus;

/// Commands on their way to one shard.
pub const COMMANDS: usize = 64;
/// Reports on their way from all shards.
pub const REPORTS: usize = 1024;

/// Names a command in its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandId(pub u64);

/// What the control plane asks of a shard.
#[derive(Clone, Debug)]
pub enum Command {
    /// Something of a group.
    Group {
        /// The group.
        group: GroupId,
        /// What.
        command: GroupCommand,
    },
    /// How a group stands.
    GroupStatus(GroupId),
    /// How the areas of the relay stand.
    RelayStatus,
    /// Answer what can be answered, close everything, end.
    Stop,
}

/// The answer to a command.
#[derive(Clone, Debug)]
pub enum Reply {
    /// It was taken; notes tell how it goes on.
    Taken,
    /// The group as it stands.
    Group(Box<GroupStatus>),
    /// The relay as it stands.
    Relay(Box<RelayStatus>),
    /// This shard has no such group.
    UnknownGroup,
}

/// What a shard tells.
#[derive(Clone, Debug)]
pub enum Report {
    /// The answer to a command.
    Reply {
        /// Which command.
        id: CommandId,
        /// The answer.
        reply: Reply,
    },
    /// A machine's note; of a group, or of the relay.
    Note {
        /// The group; `None` for the relay.
        group: Option<GroupId>,
        /// What it says.
        note: Note,
    },
    /// A disk failed for the first time.
    Disk(DiskFailure),
    /// An export started or stopped being served.
    Serving {
        /// Which.
        export: ExportId,
        /// Whether it is served now.
        serving: bool,
    },
    /// The shard has ended: in order, or for a reason.
    Ended {
        /// Its number.
        shard: usize,
        /// Why, when it was not asked to.
        failure: Option<String>,
    },
}

/// The control plane's end of a shard's command queue.
pub type CommandSender = Sender<(CommandId, Command)>;

/// A shard's ends.
pub struct ShardPort {
    commands: Receiver<(CommandId, Command)>,
    reports: Sender<Report>,
    /// Replies that found the queue full.
    unsent: VecDeque<Report>,
    dropped: u64,
}

impl ShardPort {
    /// A port of the shard behind `waker`, and the control plane's end of its commands.
    pub fn new(waker: &Waker, reports: Sender<Report>) -> (Self, CommandSender) {
        let (sender, commands) = to_shard(COMMANDS, waker);
        (Self { commands, reports, unsent: VecDeque::with_capacity(COMMANDS), dropped: 0 }, sender)
    }

    /// The oldest command. None is taken while replies cannot leave.
    pub fn take(&mut self) -> Option<(CommandId, Command)> {
        while let Some(report) = self.unsent.pop_front() {
            if let Err(report) = self.reports.push(report) {
                self.unsent.push_front(report);
                return None;
            }
        }
        self.commands.pop()
    }

    /// Sends something that must arrive.
    pub fn reply(&mut self, report: Report) {
        if let Err(report) = self.reports.push(report) {
            self.unsent.push_back(report);
        }
    }

    /// Sends something that may be lost when nobody listens.
    pub fn tell(&mut self, report: Report) {
        if self.reports.push(report).is_err() {
            self.dropped += 1;
        }
    }

    /// Whether replies wait for room.
    pub fn is_stuck(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Reports that nobody took.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// The queue of reports: the shards' end, and the control plane's, which `signal` makes readable.
pub fn reports(signal: &Signal) -> (Sender<Report>, Receiver<Report>) {
    to_task(REPORTS, signal)
}
