//! What the engine tells machines: which machine, and what happened.

use std::collections::VecDeque;

use midspan_format::message::Hello;
use midspan_protocol::vocab::effect::{DiskResult, LinkEvent, LinkId, Token};

use crate::buffers::PoolBuf;

/// A machine of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The relay.
    Relay,
    /// A group, by its number in the shard.
    Group(u16),
    /// A lone disk, by its number in the shard.
    Lone(u16),
}

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A connection was made to us and has greeted.
    Hello {
        /// Who listens.
        owner: Owner,
        /// Its name.
        link: LinkId,
        /// The greeting.
        hello: Hello,
    },
    /// Something happened on a connection.
    Link {
        /// Whose connection it is.
        owner: Owner,
        /// Its name.
        link: LinkId,
        /// What happened.
        event: LinkEvent<PoolBuf>,
    },
    /// A disk operation ended.
    Disk {
        /// Who asked for it.
        owner: Owner,
        /// By which name.
        token: Token,
        /// How it ended.
        result: DiskResult<PoolBuf>,
    },
}

/// Events on their way to machines, oldest first.
pub type Events = VecDeque<Event>;
