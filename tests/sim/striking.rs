//! Who is struck when a change of the lane set comes to a moment of the plan.

use midspan_format::frame::FrameHeader;
use midspan_format::message::Message;
use midspan_format::superblock::GroupState;
use midspan_protocol::vocab::effect::{DiskOp, Effect, Note};
use midspan_protocol::vocab::tags;

use crate::event::NodeIndex;
use crate::memory::SimBuf;
use crate::moments::{Blow, Moment, Strike};
use crate::plan::Fault;
use crate::trace;
use crate::world::{Phase, World};

/// What a machine's effect shows.
fn moment_of(effect: &Effect<SimBuf>) -> Option<Moment> {
    match effect {
        Effect::SendBlock { message, .. } | Effect::Send { message, .. } => match message {
            Message::Begin(_) => Some(Moment::Begins),
            Message::SetAsked(_) => Some(Moment::Asks),
            Message::SetRecorded(_) => Some(Moment::Recorded),
            Message::Hello(_)
            | Message::Welcome(_)
            | Message::Refused(_)
            | Message::Progress(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Read(_)
            | Message::ReadReply(_)
            | Message::Fence(_)
            | Message::Fenced(_)
            | Message::Release(_)
            | Message::Released(_)
            | Message::AreaCreate(_)
            | Message::AreaDelete(_)
            | Message::AreaList(_)
            | Message::Areas(_)
            | Message::Leaving(_)
            | Message::Left(_)
            | Message::Head(_) => None,
        },
        Effect::SendFrame { frame, .. } => {
            let FrameHeader { flags, .. } = frame.header;
            (flags & midspan_format::frame::IN_TWO_LANES != 0).then_some(Moment::Doubled)
        }
        Effect::Disk { token, op: DiskOp::Write { data, .. }, .. } if tags::of(*token) == tags::STATE => {
            let asked = GroupState::decode(midspan_protocol::vocab::buffer::Slice::bytes(data)).ok()?;
            (!asked.asked.is_none()).then_some(Moment::Records)
        }
        Effect::Note(Note::LaneSet { .. }) => Some(Moment::Counts),
        Effect::Connect { .. }
        | Effect::Close { .. }
        | Effect::SendData { .. }
        | Effect::Disk { .. }
        | Effect::Answer { .. }
        | Effect::Note(_) => None,
    }
}

impl World {
    /// An effect of a site is to be carried out: somebody may be struck then.
    pub(crate) fn look_for_moment(&mut self, node: NodeIndex, effect: &Effect<SimBuf>) {
        if self.strikes.is_empty() || self.phase != Phase::Faults {
            return;
        }
        let Some(moment) = moment_of(effect) else { return };
        let mut due = None;
        for (at, strike) in self.strikes.iter_mut().enumerate().filter(|(_, s)| s.moment == moment) {
            if strike.skip == 0 {
                due = due.or(Some(at));
            } else {
                strike.skip -= 1;
            }
        }
        let Some(at) = due else { return };
        let Strike { blow, fuse, time, .. } = self.strikes.remove(at);
        trace::line(node, || format!("strike: {blow:?} at {moment:?}"));
        let kill = |node| Fault::Kill { node, fuse, down: time };
        let now = self.schedule.now();
        let faults = match blow {
            Blow::Here => vec![kill(node)],
            Blow::There => vec![kill(node.other_site())],
            Blow::At(node) => vec![kill(node)],
            Blow::Power(node) => vec![Fault::Power { node, down: time }],
            Blow::Apart => vec![Fault::Cut { from: NodeIndex::A, to: NodeIndex::B, both: true, time }],
            Blow::Both(relay) => {
                let site = self.reign.map_or(NodeIndex::A, |reign| reign.node);
                let asked = vec![Fault::TakeoverAt(site.other_site())];
                self.plan_more(now + self.swarm.pace.silence_ns / 3, asked);
                vec![kill(site), kill(relay)]
            }
        };
        if let (Blow::Here, Some(node)) = (blow, self.nodes.get_mut(node.0)) {
            // In the middle of what it does.
            (node.fuse, node.down) = (Some(fuse), time);
        } else {
            self.plan_more(now, faults);
        }
    }
}
