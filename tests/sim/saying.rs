//! What relays say is held against what is durable.

use midspan_format::area::AreaKind;
use midspan_format::geometry::Position;
use midspan_format::ids::Epoch;
use midspan_format::message::Message;
use midspan_protocol::vocab::effect::LinkId;

use crate::disk::Owner;
use crate::event::NodeIndex;
use crate::world::World;

impl World {
    /// What a relay says of its areas must be true (I2), what it says after a fence is remembered (I5).
    pub(crate) fn on_said(&mut self, node: NodeIndex, owner: Owner, link: LinkId, message: &Message) {
        let Some(areas) = self.layout.areas(node).filter(|_| owner == Owner::Relay) else { return };
        match message {
            Message::Progress(progress) => {
                self.on_claim(node, self.kind_of(node, link), progress.journaled);
            }
            Message::Welcome(welcome) => {
                let kind = areas.iter().find(|entry| entry.area == welcome.area).map(|entry| entry.kind);
                let kind = kind.or_else(|| self.watches.journal.eye(node)?.kind_of(welcome.area));
                if let Some(kind) = kind {
                    self.on_claim(node, kind, welcome.journaled);
                }
            }
            Message::ReadReply(reply) => {
                if reply.position.0 + u64::from(reply.length) > reply.journaled.0 && reply.length > 0 {
                    self.fail("I2", format!("a range beyond the journaled prefix is read: {reply:?}"));
                }
            }
            Message::Fenced(fenced) => {
                for lane in fenced.lanes().iter().filter(|lane| lane.open) {
                    self.on_claim(node, lane.kind, lane.journaled);
                }
                let ring = fenced.lanes().iter().find(|lane| lane.kind == AreaKind::Ring);
                let to = ring.map(|ring| ring.journaled).unwrap_or_default();
                if fenced.epoch > fenced.found {
                    if let Some(eye) = self.watches.journal.eye(node) {
                        eye.fenced = eye.fenced.max(Some(fenced.epoch));
                    }
                    self.fenced = self.fenced.max(Some(fenced.epoch));
                    self.note_fence(node, fenced.epoch, to);
                } else if self.is_shared()
                    && ring.is_some_and(|ring| ring.open)
                    && self.watches.journal.eye(node).is_some_and(|eye| eye.epoch < fenced.epoch)
                {
                    // The relay ended between its fence and its answer: who took the epoch hears of it by a look, before it writes there.
                    self.note_fence(node, fenced.epoch, to);
                }
            }
            Message::Hello(_)
            | Message::Refused(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Read(_)
            | Message::Fence(_)
            | Message::Release(_)
            | Message::Released(_)
            | Message::AreaCreate(_)
            | Message::AreaDelete(_)
            | Message::AreaList(_)
            | Message::Areas(_)
            | Message::Leaving(_)
            | Message::Left(_)
            | Message::Begin(_)
            | Message::SetAsked(_)
            | Message::SetRecorded(_)
            | Message::Head(_) => {}
        }
    }

    /// A lane is fenced in an epoch, at the end that its node tells of last before anything of that epoch is in it: a look may be answered
    /// while the fence waits for what was on its way to the disk.
    fn note_fence(&mut self, node: NodeIndex, epoch: Epoch, to: Position) {
        let journal = self.watches.ring.area();
        let Some(eye) = self.watches.journal.eye(node) else { return };
        // No start goes by a ring of another journal.
        let (is_of, untouched) = (eye.is_of(journal), eye.epoch < epoch);
        if !is_of {
            return;
        }
        match self.fences.iter_mut().find(|(known, _)| *known == (epoch, node)) {
            Some((_, end)) if untouched => *end = to,
            Some(_) => {}
            None => self.fences.push(((epoch, node), to)),
        }
    }

    /// The area of a session of the relay: by the welcome that opened it.
    fn kind_of(&self, node: NodeIndex, link: LinkId) -> AreaKind {
        let sessions = self.nodes[node.0].process.as_ref().and_then(|p| p.relay.as_ref());
        let area = sessions.and_then(|relay| relay.areas().iter().find(|area| area.session == Some(link)));
        area.map_or(AreaKind::Ring, |area| area.entry.kind)
    }
}
