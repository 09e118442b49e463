//! By which of two lanes that share the data of frames a site comes back into them: by the one that ends first (decision 0021).

use alloc::vec::Vec;

use midspan_format::frame::IN_TWO_LANES;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, Epoch, NodeId};
use midspan_format::message::FencedLane;
use midspan_format::superblock::GroupState;

use crate::lane::fencer::{Fencer, FencerEvent};
use crate::role::facts::{LaneFacts, recorded_behind};
use crate::role::site::SiteConfig;
use crate::vocab::buffer::Buffers;
use crate::vocab::effect::{Context, LinkEvent, LinkId};

/// Both are asked what they hold.
#[derive(Debug)]
pub(super) struct Survey {
    probes: Vec<(Fencer, Option<FencedLane>)>,
    /// The recorded journal; none where none is.
    journal: AreaId,
    /// What the other site has left behind.
    behind: Epoch,
    /// An epoch of the other site that is newer, in either lane, and in which.
    replaced: Option<(NodeId, Epoch)>,
}

impl Survey {
    /// Of the lanes that share; `None` where none do, or where one was asked for to count alone: it has all data, and the way back is by it.
    pub(super) fn of(config: &SiteConfig, state: &GroupState) -> Option<Self> {
        let nodes = state.set.nodes.iter().enumerate();
        let prober = |(index, node): (usize, &NodeId)| {
            (config.prober(u32::try_from(index).unwrap_or(0), *node, state.epoch), None)
        };
        let journal = state.lanes().first().map(|lane| lane.ring).unwrap_or_default();
        let behind = recorded_behind(state, config.node);
        let probes = || nodes.map(prober).collect();
        let replaced = !state.asked.is_none() && state.asked.second().is_none();
        (state.set.is_striped() && !replaced).then(|| Self {
            probes: probes(),
            journal,
            behind,
            replaced: None,
        })
    }

    /// The lane and the epoch by which the other site has replaced this one: whom any lane would refuse does not come back by the other (I5).
    pub(super) fn replaced(&self) -> Option<(NodeId, Epoch)> {
        self.replaced
    }

    /// Whether one of them answers.
    pub(super) fn is_up(&self) -> bool {
        self.probes.iter().any(|(fencer, _)| fencer.is_up())
    }

    /// An event of one of its links. The lane to go by and the end of the other one, once both are known.
    pub(super) fn on_link<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        event: LinkEvent<S::Buf>,
        config: &SiteConfig,
    ) -> Option<(NodeId, Position)> {
        let (fencer, ring) = self.probes.iter_mut().find(|(fencer, _)| fencer.id() == link)?;
        if let FencerEvent::Probed(fenced) = fencer.on_link(context, event) {
            let given_back = fenced.released && fenced.former == config.node;
            let foreign = fenced.epoch.is_held() && fenced.epoch.node != config.node && !given_back;
            if foreign && fenced.epoch > self.behind {
                self.replaced = Some((fencer.node(), fenced.epoch));
            }
            *ring = LaneFacts::new(&fenced, config.lane).map(|facts| facts.ring).filter(|ring| ring.open);
            if ring.is_none() {
                fencer.look_again(context.now.mono);
            }
        }
        let mut ends = Vec::new();
        for (fencer, ring) in &self.probes {
            let ring = (*ring)?;
            // What this site has said in one of them alone is read there.
            let said =
                ring.last.filter(|last| last.flags & IN_TWO_LANES == 0 && last.epoch.node == config.node);
            ends.push(((ring.journaled, ring.last.is_none()), ring.area, fencer.node(), said));
        }
        // One that never began with this journal, or whose disk was replaced, says nothing of where it ends.
        let of_it = || ends.iter().filter(|(_, area, ..)| *area == self.journal);
        let said =
            of_it().filter(|(.., said)| said.is_some()).max_by_key(|(.., said)| said.map(|last| last.epoch));
        if let Some((.., node, _)) = said {
            return Some((*node, Position::BEYOND));
        }
        let first = of_it().min_by_key(|(end, ..)| *end).or(ends.first())?;
        Some((first.2, of_it().map(|(end, ..)| end.0).max().unwrap_or(first.0.0)))
    }

    /// Timers.
    pub(super) fn on_tick<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        for (fencer, _) in &mut self.probes {
            fencer.on_tick(context);
        }
    }

    /// When `on_tick` has something to do next.
    pub(super) fn deadline(&self) -> u64 {
        self.probes.iter().map(|(fencer, _)| fencer.deadline()).min().unwrap_or(u64::MAX)
    }

    /// Ends the sessions.
    pub(super) fn close<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        for (fencer, _) in &mut self.probes {
            fencer.close(context);
        }
    }
}
