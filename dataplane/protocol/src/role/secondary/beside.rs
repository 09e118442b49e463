//! A second lane that is read where two share the data of frames (decision 0021).

use midspan_format::area::AreaKind;
use midspan_format::ids::{AreaId, NodeId};
use midspan_format::message::SessionKind;

use super::Secondary;
use crate::lane::reader::Reader;
use crate::role::site::SiteConfig;
use crate::stage::fetcher::Target;
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::Context;

impl<B: Buffer> Secondary<B> {
    /// The lane beside the one that is read, if that takes this site for its primary.
    pub fn named_beside(&self) -> Option<NodeId> {
        self.fetcher.named_beside()
    }

    /// The lane beside, where that alone holds the newest frame.
    pub fn stands_beside(&self) -> Option<NodeId> {
        self.fetcher.stands_beside()
    }

    /// A takeover has fenced the lanes: bring exactly what is before the target to the volumes.
    pub fn set_target<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        target: Target,
        store: &StateStore,
    ) {
        self.fetcher.set_target(context, target);
        self.turn_beside(context, store);
        self.fetch(context);
    }

    /// What comes next is in another lane beside than the one that is read.
    pub(super) fn turn_beside<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        store: &StateStore,
    ) {
        if let Some(node) = self.fetcher.wants_beside() {
            let reader = beside_at(&self.config, store, node);
            let shares = beside(&self.config, store).is_some_and(|beside| beside.node() == node);
            self.fetcher.read_beside(context, Some(reader), shares);
        }
    }

    /// A takeover is under way, or is not any more.
    pub fn hold_lanes(&mut self, takes: bool) {
        self.fetcher.hold(takes);
    }

    /// The set of lanes is another one: whether the one that is read shares the data of frames.
    pub fn follow_set<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, store: &StateStore) {
        let reader = beside(&self.config, store);
        if reader.as_ref().map(Reader::node) != self.fetcher.shares_with() {
            self.fetcher.read_beside(context, reader, true);
        }
    }
}

/// A reader of the lane that shares the data of frames with the one that is read, if one does.
pub(super) fn beside(config: &SiteConfig, store: &StateStore) -> Option<Reader> {
    let state = store.get();
    let shares = |node: &NodeId| state.set.is_striped() && *node != config.relay;
    let node = state.set.nodes.iter().copied().find(shares)?;
    Some(beside_at(config, store, node))
}

/// A reader of the lane at `node`.
fn beside_at(config: &SiteConfig, store: &StateStore, node: NodeId) -> Reader {
    let state = store.get();
    let ring = state.lanes().first().map_or(AreaId::NONE, |lane| lane.ring);
    let hello = config.hello(SessionKind::Fetch, AreaKind::Ring, ring, state.epoch);
    Reader::new(config.beside_link(), node, hello, config.pace, config.limits.fetches)
}
