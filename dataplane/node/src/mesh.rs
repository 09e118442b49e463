//! Between the shards of a node: sockets that another shard accepted or negotiated, handed over through bounded queues.

use std::collections::BTreeMap;
use std::sync::Arc;

use midspan_format::ids::GroupId;
use midspan_format::message::{Hello, SessionKind};
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

/// Which shard holds what of a group. Where a site holds a lane, too, that need not be the same one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// The shard whose relay holds a group's areas.
    pub areas: BTreeMap<GroupId, usize>,
    /// The shard of a group whose volumes are here.
    pub groups: BTreeMap<GroupId, usize>,
}

impl Routes {
    /// The shard that listens to whoever greets so; shard 0 for unknown groups, so that it can refuse them.
    pub fn shard_of(&self, hello: &Hello) -> usize {
        let shards = match hello.kind {
            SessionKind::Direct => &self.groups,
            SessionKind::Append | SessionKind::Fetch | SessionKind::Control => &self.areas,
        };
        shards.get(&hello.group).copied().unwrap_or(0)
    }
}

/// One shard's ends of the queues.
pub struct Mesh {
    senders: Vec<Sender<Handed>>,
    receiver: Receiver<Handed>,
    routes: Arc<Routes>,
}

impl Mesh {
    /// See [`Routes::shard_of`].
    pub fn shard_of(&self, hello: &Hello) -> usize {
        self.routes.shard_of(hello)
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

/// Joins the shards behind `wakers`.
pub fn weave(wakers: &[Waker], routes: Routes) -> Vec<Mesh> {
    let routes = Arc::new(routes);
    let (senders, receivers): (Vec<_>, Vec<_>) = wakers.iter().map(|waker| to_shard(CAPACITY, waker)).unzip();
    let mesh = |receiver| Mesh { senders: senders.clone(), receiver, routes: Arc::clone(&routes) };
    receivers.into_iter().map(mesh).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_and_its_lane_at_the_same_site_are_found_each_on_its_own_shard() {
        let (group, stranger) = (GroupId(7), GroupId(8));
        let routes = Routes { areas: BTreeMap::from([(group, 1)]), groups: BTreeMap::from([(group, 2)]) };
        let shard = |kind, group| routes.shard_of(&Hello { kind, group, ..Hello::default() });
        for kind in [SessionKind::Append, SessionKind::Fetch, SessionKind::Control] {
            assert_eq!((shard(kind, group), shard(kind, stranger)), (1, 0));
        }
        assert_eq!((shard(SessionKind::Direct, group), shard(SessionKind::Direct, stranger)), (2, 0));
    }
}
