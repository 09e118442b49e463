//! Between the shards of a node: sockets that another shard accepted or negotiated, handed over through bounded queues.

use std::collections::BTreeMap;
use std::sync::Arc;

use midspan_format::ids::GroupId;
use midspan_uring::Waker;
use midspan_uring::queue::{Receiver, Sender, to_shard};

use crate::frontend::Handover;
use crate::inbound::Greeted;

/// Sockets on their way to one shard.
const CAPACITY: usize = 256;

/// What one shard gives to another.
#[derive(Debug)]
pub enum Handed {
    /// A connection of another node that has greeted.
    Greeted(Greeted),
    /// A host's connection that has chosen an export.
    Front(Handover),
}

/// One shard's ends of the queues.
pub struct Mesh {
    senders: Vec<Sender<Handed>>,
    receiver: Receiver<Handed>,
    routes: Arc<BTreeMap<GroupId, usize>>,
}

impl Mesh {
    /// The shard whose relay holds a group's areas; shard 0 for unknown groups, so that it can refuse them.
    pub fn shard_of(&self, group: GroupId) -> usize {
        self.routes.get(&group).copied().unwrap_or(0)
    }

    /// Hands something to a shard.
    ///
    /// # Errors
    /// Gives it back when that shard's queue is full.
    pub fn give(&self, shard: usize, handed: Handed) -> Result<(), Handed> {
        match self.senders.get(shard) {
            Some(sender) => sender.push(handed),
            None => Err(handed),
        }
    }

    /// The oldest thing that another shard has given.
    pub fn take(&self) -> Option<Handed> {
        self.receiver.pop()
    }
}

/// Joins the shards behind `wakers`; `routes` says which shard holds which group.
pub fn weave(wakers: &[Waker], routes: BTreeMap<GroupId, usize>) -> Vec<Mesh> {
    let routes = Arc::new(routes);
    let (senders, receivers): (Vec<_>, Vec<_>) = wakers.iter().map(|waker| to_shard(CAPACITY, waker)).unzip();
    let mesh = |receiver| Mesh { senders: senders.clone(), receiver, routes: Arc::clone(&routes) };
    receivers.into_iter().map(mesh).collect()
}
