//! Takes a newer epoch in a lane: probe, then fence (I5, design §5 and §7).

use midspan_format::ids::{Epoch, GroupId, NodeId};
use midspan_format::message::{Fence, FenceIntent, Fenced, Hello, Message, RefusedReason, Release};

use crate::lane::link::Link;
use crate::vocab::buffer::Buffers;
use crate::vocab::effect::{Context, Effect, LinkEvent, LinkId, Note};
use crate::vocab::limits::Pace;

/// Pause before a refused or unanswered request is tried again.
const RETRY_NS: u64 = 100_000_000;

/// Pause before a lane that has forgotten a fence is asked again.
const FORGOTTEN_NS: u64 = 1_000_000_000;

/// What the fence is for.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The group.
    pub group: GroupId,
    /// This node, which becomes the primary.
    pub node: NodeId,
    /// The other site.
    pub other: NodeId,
    /// A restart replaces only epochs of its own node.
    pub intent: FenceIntent,
    /// Newest epoch this node knows: the new one is greater.
    pub known: Epoch,
    /// This epoch is taken, in a further lane: it is in force in another one already. Else one that no lane has seen.
    pub takes: Option<Epoch>,
    /// The new epoch is greater than this one, too, which no lane that is to be fenced need know of; it permits nothing.
    pub beyond: Epoch,
    /// Several lanes count, and this one may not have been fenced by the newest epoch: an older one there is none that was forgotten.
    pub may_lag: bool,
    /// It was fenced once, at least: one that knows of nobody is another disk.
    pub was_fenced: bool,
}

/// How it ended, or that it has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FencerEvent {
    /// Under way.
    Nothing,
    /// The lane answers, and this is what it holds: go on with [`Fencer::fence`], or close. Comes again when the
    /// connection broke meanwhile.
    Probed(Fenced),
    /// Done: the lane is ours, and this is what it holds.
    Done(Fenced),
    /// Another node holds a newer epoch; a restart must not replace it.
    Foreign(Epoch),
    /// The lane knows only an older epoch than this node: it has forgotten a fence, or is a copy of an older one. It is
    /// asked again.
    Forgotten(Epoch),
    /// The epoch in force was given back.
    Released,
    /// The lane refuses for good.
    Refused(RefusedReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Idle { retry_at: u64 },
    Probing,
    Probed { found: Epoch },
    Fencing { epoch: Epoch },
    Releasing,
    Ended,
}

/// The fencer of one lane.
#[derive(Debug)]
pub struct Fencer {
    link: Link,
    plan: Plan,
    lease_ms: u32,
    step: Step,
    requests: u64,
    /// The last refusal that was told: the same one is not told again and again.
    told: Option<RefusedReason>,
}

impl Fencer {
    /// A fencer over a control session greeted by `hello`.
    pub fn new(id: LinkId, node: NodeId, hello: Hello, pace: Pace, plan: Plan) -> Self {
        // A fence is answered only after the former writer's lease: that silence is not a dead link.
        let patient = Pace { silence_ns: pace.silence_ns + pace.lease_ns * 2, ..pace };
        let lease_ms = hello.lease_ms;
        Self {
            link: Link::new(id, node, hello, patient),
            plan,
            lease_ms,
            step: Step::Idle { retry_at: 0 },
            requests: 0,
            told: None,
        }
    }

    /// The epoch that it takes is to be greater than this one, too.
    pub fn beyond(mut self, epoch: Epoch) -> Self {
        self.plan.beyond = epoch.max(self.plan.beyond);
        self
    }

    /// So, of an epoch that was heard of meanwhile.
    pub fn reach_beyond(&mut self, epoch: Epoch) {
        self.plan.beyond = self.plan.beyond.max(epoch);
    }

    /// The link's name.
    pub fn id(&self) -> LinkId {
        self.link.id
    }

    /// The node of the lane.
    pub fn node(&self) -> NodeId {
        self.link.node
    }

    /// Whether the lane's node answers.
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Whether a lane has answered that goes on: it was looked at, or is being fenced.
    pub fn has_looked(&self) -> bool {
        matches!(self.step, Step::Probed { .. } | Step::Fencing { .. } | Step::Releasing)
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.step == Step::Ended
    }

    /// An event of the link.
    pub fn on_link<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        event: LinkEvent<S::Buf>,
    ) -> FencerEvent {
        let now = context.now.mono;
        match event {
            LinkEvent::Down => {
                self.link.on_down(now);
                if self.step != Step::Ended {
                    rare!(FencerCutOff);
                    self.step = Step::Idle { retry_at: now };
                }
                FencerEvent::Nothing
            }
            LinkEvent::Message(Message::Welcome(_)) => {
                self.link.on_welcome(now);
                self.probe(context);
                FencerEvent::Nothing
            }
            LinkEvent::Message(Message::Fenced(fenced)) if fenced.request == self.requests => {
                self.link.on_heard(now, true);
                self.on_fenced(context, fenced)
            }
            LinkEvent::Message(Message::Released(released)) if released.request == self.requests => {
                self.close(context);
                FencerEvent::Released
            }
            LinkEvent::Message(Message::Refused(refused)) => {
                self.link.on_heard(now, true);
                self.step = Step::Idle { retry_at: now + RETRY_NS };
                let reason = refused.reason;
                if matches!(reason, RefusedReason::Busy | RefusedReason::EpochFound) {
                    rare!(FencerPutOff);
                    return FencerEvent::Nothing;
                }
                rare!(FencerRefused);
                if self.told.replace(reason) != Some(reason) {
                    context.note(Note::LaneRefused { node: self.link.node, reason });
                }
                self.link.drop_connection(context);
                FencerEvent::Refused(reason)
            }
            LinkEvent::Message(_) | LinkEvent::Unit(_) | LinkEvent::Sent => FencerEvent::Nothing,
        }
    }

    /// Timers.
    pub fn on_tick<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        if self.step == Step::Ended {
            return;
        }
        if self.link.on_tick(context) {
            self.step = Step::Idle { retry_at: context.now.mono };
        }
        if let Step::Idle { retry_at } = self.step
            && self.link.is_up()
            && context.now.mono >= retry_at
        {
            self.probe(context);
        }
    }

    /// When `on_tick` has something to do next.
    pub fn deadline(&self) -> u64 {
        match self.step {
            Step::Ended => u64::MAX,
            Step::Idle { retry_at } if self.link.is_up() => retry_at.min(self.link.deadline()),
            Step::Idle { .. }
            | Step::Probing
            | Step::Probed { .. }
            | Step::Fencing { .. }
            | Step::Releasing => self.link.deadline(),
        }
    }

    /// Takes a newer epoch than the one that the probe found. Without effect unless the last event was
    /// [`FencerEvent::Probed`].
    pub fn fence<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        let Step::Probed { found } = self.step else { return };
        let number = found.number.max(self.plan.known.number).max(self.plan.beyond.number) + 1;
        let epoch = self.plan.takes.unwrap_or(Epoch { number, node: self.plan.node });
        self.step = Step::Fencing { epoch };
        self.send(context, found, epoch, self.plan.intent);
    }

    /// Whether the lane was asked for an epoch, and has not answered.
    pub fn is_fencing(&self) -> bool {
        matches!(self.step, Step::Fencing { .. })
    }

    /// Asks once more, a moment later. Without effect unless the last event was [`FencerEvent::Probed`].
    pub fn look_again(&mut self, now: u64) {
        if matches!(self.step, Step::Probed { .. }) {
            self.step = Step::Idle { retry_at: now + RETRY_NS };
        }
    }

    /// Gives the epoch back that the probe found. Without effect unless the last event was [`FencerEvent::Probed`].
    pub fn release<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        let Step::Probed { found } = self.step else { return };
        self.requests += 1;
        self.step = Step::Releasing;
        self.link.on_asked(context.now.mono);
        let release = Release { request: self.requests, group: self.plan.group, epoch: found };
        context.ask(Effect::Send { link: self.link.id, message: Message::Release(release) });
    }

    /// Ends the session.
    pub fn close<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        self.step = Step::Ended;
        self.link.close(context);
    }

    fn probe<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        self.step = Step::Probing;
        self.send(context, Epoch::NONE, Epoch::NONE, FenceIntent::Probe);
    }

    fn send<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        replaces: Epoch,
        epoch: Epoch,
        intent: FenceIntent,
    ) {
        self.requests += 1;
        self.link.on_asked(context.now.mono);
        let fence = Fence {
            request: self.requests,
            group: self.plan.group,
            replaces,
            epoch,
            known: self.plan.known,
            primary: self.plan.node,
            secondary: self.plan.other,
            intent,
            lease_ms: self.lease_ms,
        };
        context.ask(Effect::Send { link: self.link.id, message: Message::Fence(fence) });
    }

    /// A further lane answers: its epoch is replaced, unless it is newer than what this node knows of.
    fn on_probed_further<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        fenced: Fenced,
        takes: Epoch,
    ) -> FencerEvent {
        let found = fenced.epoch;
        let scanning = fenced.lanes().iter().any(|lane| lane.scanning);
        if found == takes && !fenced.released && !scanning {
            self.close(context);
            return FencerEvent::Done(fenced);
        }
        if found > takes && found.node != self.plan.node {
            self.close(context);
            return FencerEvent::Foreign(found);
        }
        if found >= takes || scanning {
            self.step = Step::Idle { retry_at: context.now.mono + RETRY_NS };
            return FencerEvent::Nothing;
        }
        self.step = Step::Probed { found };
        self.fence(context);
        FencerEvent::Nothing
    }

    fn on_fenced<S: Buffers>(&mut self, context: &mut Context<'_, S>, fenced: Fenced) -> FencerEvent {
        match self.step {
            Step::Probing => {
                let found = fenced.epoch;
                if let Some(takes) = self.plan.takes {
                    return self.on_probed_further(context, fenced, takes);
                }
                let emptied = self.plan.was_fenced && self.plan.beyond.is_held() && !found.is_held();
                if emptied || found < self.plan.known && !self.plan.may_lag {
                    rare!(FencerForgotten);
                    self.step = Step::Idle { retry_at: context.now.mono + FORGOTTEN_NS };
                    return FencerEvent::Forgotten(found);
                }
                // One that a takeover left unfenced may still have an older epoch of the other site (decision 0019, rule 4).
                let lags = self.plan.may_lag && found <= self.plan.known;
                let foreign = found.is_held() && found.node != self.plan.node && !lags;
                let given_back = fenced.released && fenced.former == self.plan.node;
                if foreign && !given_back && self.plan.intent == FenceIntent::Restart {
                    rare!(FencerForeign);
                    self.close(context);
                    return FencerEvent::Foreign(found);
                }
                // Areas that are still being scanned have no prefix yet.
                if fenced.lanes().iter().any(|lane| lane.scanning) {
                    rare!(FencerBeforeScan);
                    self.step = Step::Idle { retry_at: context.now.mono + RETRY_NS };
                    return FencerEvent::Nothing;
                }
                self.step = Step::Probed { found };
                FencerEvent::Probed(fenced)
            }
            Step::Fencing { epoch } if fenced.epoch == epoch => {
                self.close(context);
                FencerEvent::Done(fenced)
            }
            Step::Fencing { .. }
            | Step::Probed { .. }
            | Step::Idle { .. }
            | Step::Releasing
            | Step::Ended => FencerEvent::Nothing,
        }
    }
}
