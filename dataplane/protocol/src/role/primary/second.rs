//! A further lane of the journal that a primary writes: fenced in the epoch in force, told where to go on, filled from memory.
//!
//! It is the way to every other lane set: it becomes the mirror of the first lane, or takes its place (decision 0020).

use alloc::boxed::Box;
use alloc::rc::Rc;

use midspan_format::area::AreaKind;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, Epoch, NodeId};
use midspan_format::message::{FenceIntent, SessionKind};

use crate::lane::fencer::{Fencer, FencerEvent, Plan};
use crate::lane::writer::{Writer, WriterEvent};
use crate::role::site::SiteConfig;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Frame, LinkEvent, LinkId};
use crate::vocab::tip::Tip;

/// What an event meant for the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecondEvent {
    /// Nothing to act on.
    Nothing,
    /// It is fenced: go on with [`Second::open`].
    Fenced,
    /// A newer epoch is in force there.
    Foreign(Epoch),
    /// Its prefix moved, or it was connected.
    Progress,
    /// It cannot be used as it is.
    Failed,
}

/// The lane.
#[derive(Debug)]
pub struct Second<B> {
    node: NodeId,
    /// Which links it uses; see [`SiteConfig::ring_link`].
    side: u32,
    step: Step<B>,
    /// When it was begun.
    pub since: u64,
    /// A set that counts, or may count, has it: what it holds is not dropped.
    in_force: bool,
}

#[derive(Debug)]
enum Step<B> {
    Fencing(Box<Fencer>),
    Open(Box<Writer<B>>),
}

impl<B: Buffer> Second<B> {
    /// A lane at `node` that is to be written in `epoch`. `known`: the newest epoch that this site had followed or left behind
    /// before it began with that one.
    pub fn new(
        config: &SiteConfig,
        node: NodeId,
        side: u32,
        epoch: Epoch,
        known: Epoch,
        now: u64,
        in_force: bool,
    ) -> Self {
        let plan = Plan { takes: Some(epoch), ..config.fence_plan(FenceIntent::Restart, known) };
        let hello = config.hello(SessionKind::Control, AreaKind::Ring, AreaId::NONE, epoch);
        let fencer = Box::new(Fencer::new(config.second_fencer_link(), node, hello, config.pace, plan));
        Self { node, side, step: Step::Fencing(fencer), since: now, in_force }
    }

    /// The node that holds it.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Which links it uses.
    pub fn side(&self) -> u32 {
        self.side
    }

    /// Whether the link is one of this lane's.
    pub fn owns(&self, link: LinkId) -> bool {
        match &self.step {
            Step::Fencing(fencer) => fencer.id() == link,
            Step::Open(writer) => writer.id() == link,
        }
    }

    /// The writer, once the lane is fenced.
    pub fn writer(&mut self) -> Option<&mut Writer<B>> {
        match &mut self.step {
            Step::Fencing(_) => None,
            Step::Open(writer) => Some(writer),
        }
    }

    /// The writer, for whom this lane is the first from now on.
    pub fn into_writer(self) -> Option<Writer<B>> {
        match self.step {
            Step::Fencing(_) => None,
            Step::Open(writer) => Some(*writer),
        }
    }

    /// Everything from its beginning up to here is durable in it; `None` while it is not connected for the first time.
    pub fn journaled(&self) -> Option<Position> {
        match &self.step {
            Step::Open(writer) if writer.size() > 0 => Some(writer.journaled()),
            Step::Open(_) | Step::Fencing(_) => None,
        }
    }

    /// Whether it holds a frame behind the place where it began.
    pub fn has_frames(&self) -> bool {
        matches!(&self.step, Step::Open(writer) if writer.size() > 0 && writer.journaled() > writer.began())
    }

    /// Whether it holds everything from `needed` on.
    pub fn holds(&self, needed: Position) -> bool {
        // One that counts has held what it must since it began to.
        let holds = |writer: &Writer<B>| self.in_force || writer.began() <= needed;
        matches!(&self.step, Step::Open(writer) if writer.size() > 0 && holds(writer))
    }

    /// Whether a set that counts, or may count, has it.
    pub fn is_in_force(&self) -> bool {
        self.in_force
    }

    /// Whether its node answers.
    pub fn answers(&self) -> bool {
        match &self.step {
            Step::Fencing(fencer) => fencer.is_up(),
            Step::Open(_) => true,
        }
    }

    /// Whether it is connected, and takes frames.
    pub fn is_up(&self) -> bool {
        matches!(&self.step, Step::Open(writer) if writer.is_up())
    }

    /// Sending time of the newest request that it has answered.
    pub fn confirmed_at(&self) -> u64 {
        match &self.step {
            Step::Fencing(_) => 0,
            Step::Open(writer) => writer.confirmed_at(),
        }
    }

    /// Frames that it has not acknowledged.
    pub fn pending(&self) -> usize {
        match &self.step {
            Step::Fencing(_) => 0,
            Step::Open(writer) => writer.pending(),
        }
    }

    /// Bytes that it has not acknowledged.
    pub fn owed(&self) -> u64 {
        match &self.step {
            Step::Fencing(_) => u64::MAX,
            Step::Open(writer) => writer.owed(),
        }
    }

    /// Whether data that was filled in is there.
    pub fn is_filled(&self) -> bool {
        matches!(&self.step, Step::Open(writer) if writer.is_filled())
    }

    /// Whether all of it is on its way.
    pub fn is_sent(&self) -> bool {
        matches!(&self.step, Step::Open(writer) if writer.is_sent())
    }

    /// Bytes of its ring; `None` until known.
    pub fn size(&self) -> Option<u64> {
        match &self.step {
            Step::Open(writer) if writer.size() > 0 => Some(writer.size()),
            Step::Open(_) | Step::Fencing(_) => None,
        }
    }

    /// It is fenced: it goes on at `base`, and gets the frames since.
    pub fn open<'a, S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        config: &SiteConfig,
        epoch: Epoch,
        journal: AreaId,
        base: Tip,
        frames: impl Iterator<Item = &'a Rc<Frame<B>>>,
    ) where
        B: 'a,
    {
        let hello = config.hello(SessionKind::Append, AreaKind::Ring, AreaId::NONE, epoch);
        let (link, limits) = (config.ring_link(self.side), config.limits);
        let mut writer = Writer::joining(link, self.node, hello, config.pace, journal, base, limits.frames);
        if self.in_force {
            writer.must_continue();
        }
        for frame in frames {
            writer.append(context, Rc::clone(frame));
        }
        writer.on_tick(context);
        self.step = Step::Open(Box::new(writer));
    }

    /// An event of one of its links.
    pub fn on_link<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        event: LinkEvent<B>,
    ) -> SecondEvent {
        match &mut self.step {
            Step::Fencing(fencer) => match fencer.on_link(context, event) {
                FencerEvent::Done(_) => SecondEvent::Fenced,
                FencerEvent::Foreign(found) => SecondEvent::Foreign(found),
                FencerEvent::Refused(_) => SecondEvent::Failed,
                FencerEvent::Nothing
                | FencerEvent::Probed(_)
                | FencerEvent::Forgotten(_)
                | FencerEvent::Released => SecondEvent::Nothing,
            },
            Step::Open(writer) => {
                let event = writer.on_link(context, event);
                Self::judge(event, writer.epoch())
            }
        }
    }

    /// Timers.
    pub fn on_tick<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        match &mut self.step {
            Step::Fencing(fencer) => fencer.on_tick(context),
            Step::Open(writer) => {
                writer.on_tick(context);
            }
        }
    }

    /// When `on_tick` has something to do next.
    pub fn deadline(&self) -> u64 {
        match &self.step {
            Step::Fencing(fencer) => fencer.deadline(),
            Step::Open(writer) => writer.deadline(),
        }
    }

    /// Ends the sessions.
    pub fn close<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        match &mut self.step {
            Step::Fencing(fencer) => fencer.close(context),
            Step::Open(writer) => writer.close(context),
        }
    }

    fn judge(event: WriterEvent, ours: Epoch) -> SecondEvent {
        match event {
            WriterEvent::Up | WriterEvent::Progress => SecondEvent::Progress,
            WriterEvent::Refused(refused) if refused.epoch > ours => SecondEvent::Foreign(refused.epoch),
            WriterEvent::Lost { .. } => SecondEvent::Failed,
            WriterEvent::Refused(_) | WriterEvent::Nothing | WriterEvent::Restarted | WriterEvent::Down => {
                SecondEvent::Nothing
            }
        }
    }
}
