//! Which step a site is in, found from what it asks of its driver; and the drills of a run, which strike within a step.
//!
//! Nothing here changes what a machine does: it looks at effects before they are carried out, and ends processes between two
//! of them.

use midspan_format::area::AreaKind;
use midspan_format::control::GroupCommand;
use midspan_format::frame::FrameKind;
use midspan_format::mark::{Mark, RoundOutcome};
use midspan_format::message::{Message, SessionKind};
use midspan_format::superblock::{GroupState, PairState, Role};
use midspan_protocol::vocab::effect::{
    DiskOp, Effect, HandoverNote, Note, RoundNote, StartNote, StartRefusal, Token,
};
use midspan_protocol::vocab::tags;

use crate::drills::DrillState;
use crate::event::NodeIndex;
use crate::memory::SimBuf;
use crate::node::Inbox;
use crate::plan::Deed;
use crate::steps::{Sign, Step, To, next};
use crate::trace;
use crate::world::{Phase, World};

/// Whether a primary in this state answers outside the lanes.
fn is_outside(pair: PairState) -> bool {
    matches!(pair, PairState::TakenOver | PairState::InitialCopy | PairState::Suspended | PairState::Degraded)
}

impl World {
    /// An effect of a site is to be carried out: where its step ends, or a drill's time has come, that happens first.
    pub(crate) fn foresee(&mut self, node: NodeIndex, effect: &Effect<SimBuf>) {
        if node.is_relay() {
            return;
        }
        let signs = self.signs(node, effect);
        self.see(node, &signs);
        let lit = self.sights.drills.iter_mut().find_map(|(_, state)| match state {
            DrillState::Lit(site, left) if *site == node => Some(left),
            DrillState::Lit(..) | DrillState::Waiting(_) | DrillState::Done => None,
        });
        match lit {
            Some(left) if *left > 0 => *left -= 1,
            Some(_) => self.strike(node),
            None => {}
        }
    }

    /// A site shows signs: it moves to the step to which the first of them leads.
    pub(crate) fn see(&mut self, node: NodeIndex, signs: &[Sign]) {
        let step = self.sights.steps[node.0];
        let Some(to) = signs.iter().find_map(|sign| next(step, *sign)) else { return };
        let to = match to {
            To::Step(step) => Some(step),
            To::Idle => None,
            To::Look => self.look(node),
        };
        self.enter_step(node, to);
    }

    fn enter_step(&mut self, node: NodeIndex, to: Option<Step>) {
        if to == self.sights.steps[node.0] {
            return;
        }
        let life = self.nodes[node.0].lives;
        self.strike(node);
        if self.nodes[node.0].process_of(life).is_none() {
            return;
        }
        self.sights.steps[node.0] = to;
        trace::line(node, || format!("step: {}", to.map_or("none", Step::words)));
        let Some(step) = to else { return };
        for (drill, state) in &mut self.sights.drills {
            match state {
                DrillState::Waiting(0) if drill.step == step => {
                    *state = DrillState::Lit(node, drill.fuse);
                    return;
                }
                DrillState::Waiting(left) if drill.step == step => *left -= 1,
                DrillState::Waiting(_) | DrillState::Lit(..) | DrillState::Done => {}
            }
        }
    }

    /// The deed of the drill that is lit at a site is done.
    fn strike(&mut self, node: NodeIndex) {
        let lit = |state: &DrillState| matches!(state, DrillState::Lit(site, _) if *site == node);
        let Some((drill, state)) = self.sights.drills.iter_mut().find(|(_, state)| lit(state)) else {
            return;
        };
        *state = DrillState::Done;
        let (deed, down) = (drill.deed, drill.down);
        if self.phase != Phase::Faults {
            return;
        }
        trace::line(node, || format!("drill: {deed:?} in {:?}", self.sights.steps[node.0]));
        match deed {
            Deed::Die => self.kill(node, down),
            Deed::Power => {
                self.power_off(node, down);
                self.kill(node, down);
            }
            Deed::Relay => self.kill(NodeIndex::RELAY, down),
            Deed::Other => self.kill(node.other_site(), down),
            Deed::Forget => {
                self.takeover.asked[node.0] = None;
                self.kill(node, down);
            }
            Deed::Abort => self.tell(node, Inbox::Command(GroupCommand::Abort)),
        }
    }

    /// A process has died: it died within its own step, and its peers' steps saw it die.
    pub(crate) fn count_death(&mut self, index: NodeIndex) {
        for site in [NodeIndex::A, NodeIndex::B] {
            let who = match index {
                relay if relay.is_relay() => 1,
                died if died == site => 0,
                _ => 2,
            };
            if let Some(step) = self.sights.steps[site.0] {
                self.figures.deaths.count(step, who);
            }
        }
        self.sights.steps[index.0] = None;
        for (_, state) in &mut self.sights.drills {
            if matches!(state, DrillState::Lit(site, _) if *site == index) {
                *state = DrillState::Waiting(0);
            }
        }
    }

    /// A site's process begins.
    pub(crate) fn see_boot(&mut self, node: NodeIndex) {
        let state = self.layout.state(self.nodes[node.0].disks[0].seen());
        let role =
            state.map_or(if node == NodeIndex::A { Role::Primary } else { Role::Secondary }, |s| s.role);
        let step = match (role, state) {
            (Role::Primary, Some(state)) if is_outside(state.pair) => Some(Step::Resume),
            (Role::Primary, _) => Some(Step::StartProbe),
            (Role::Secondary, _) => self.look_at_target(node),
        };
        self.enter_step(node, step);
    }

    /// A command reaches a site.
    pub(crate) fn see_command(&mut self, node: NodeIndex, command: GroupCommand) {
        let follows = self.role_of(node) == Some(Role::Secondary);
        let step = self.sights.steps[node.0];
        let takes = step.is_some_and(|step| {
            (Step::TakeProbe.index()..=Step::UndoRelease.index()).contains(&step.index())
        });
        let goes_on = step
            .is_some_and(|step| (Step::GoOnFence.index()..=Step::GoOnOpen.index()).contains(&step.index()));
        let returns = matches!(step, Some(Step::ReturnLook | Step::HandLeave));
        match command {
            GroupCommand::Takeover { .. } if follows && !takes && !goes_on && !returns => {
                self.see(node, &[Sign::Asked]);
            }
            GroupCommand::Abort if follows && !goes_on && !returns && step != Some(Step::TakeRecord) => {
                self.see(node, &[Sign::AbortAsked]);
            }
            GroupCommand::Takeover { .. }
            | GroupCommand::Abort
            | GroupCommand::Switchover
            | GroupCommand::Resolve
            | GroupCommand::WithoutJournal
            | GroupCommand::Pause
            | GroupCommand::Resume
            | GroupCommand::Stay
            | GroupCommand::Prevail
            | GroupCommand::Verify { .. }
            | GroupCommand::EndVerify
            | GroupCommand::Stop => {}
        }
    }

    /// Something became durable in a site's own ring.
    pub(crate) fn see_own_ring(&mut self, node: NodeIndex) {
        let marks = std::mem::take(&mut self.watches.own(node).marks);
        for mark in marks {
            let sign = match mark {
                Mark::RoundBegin(begin) if begin.in_place => Sign::OwnInPlace,
                Mark::RoundBegin(_) => Sign::OwnBegin,
                Mark::RoundEnd(end) if end.outcome == RoundOutcome::Complete => Sign::OwnEnd,
                Mark::RoundEnd(_) | Mark::Leave(_) => Sign::OwnAway,
                Mark::LaneSet(_) | Mark::Handover(_) | Mark::Verify(_) => continue,
            };
            self.see(node, &[sign]);
        }
    }

    /// The step of a site that has just ended another one: by its role, and what it has recorded.
    fn look(&self, node: NodeIndex) -> Option<Step> {
        let (role, pair, serving) = self.stands(node)?;
        match role {
            Role::Primary if serving && is_outside(pair) => Some(Step::OutAlone),
            Role::Primary if serving && pair == PairState::Resync => Some(Step::RoundWait),
            Role::Primary => None,
            Role::Secondary => self.look_at_target(node),
        }
    }

    fn look_at_target(&self, node: NodeIndex) -> Option<Step> {
        let state = self.layout.state(self.nodes[node.0].disks[0].seen())?;
        if state.handover {
            return Some(Step::GoOnProbe);
        }
        let own = &self.watches.own[usize::from(node == NodeIndex::B)];
        state.left.then_some(match own.in_round {
            Some(true) => Step::InPlace,
            Some(false) => Step::Stage,
            None => Step::CatchUp,
        })
    }

    fn signs(&self, node: NodeIndex, effect: &Effect<SimBuf>) -> Vec<Sign> {
        match effect {
            Effect::Connect { hello, .. } if hello.area_kind == AreaKind::Ring => match hello.kind {
                SessionKind::Append => vec![Sign::Append],
                SessionKind::Fetch => vec![Sign::Fetch],
                SessionKind::Control | SessionKind::Direct => Vec::new(),
            },
            Effect::Send { message: Message::Release(_), .. }
            | Effect::SendBlock { message: Message::Release(_), .. } => vec![Sign::Release],
            Effect::SendFrame { frame, .. } if frame.header.kind == FrameKind::Journal => vec![Sign::Frame],
            Effect::Disk { token, op, .. } => self.disk_signs(node, *token, op),
            Effect::Note(note) => of_note(note).into_iter().collect(),
            Effect::Connect { .. }
            | Effect::Close { .. }
            | Effect::Send { .. }
            | Effect::SendBlock { .. }
            | Effect::SendFrame { .. }
            | Effect::SendData { .. }
            | Effect::Answer { .. } => Vec::new(),
        }
    }

    fn disk_signs(&self, node: NodeIndex, token: Token, op: &DiskOp<SimBuf>) -> Vec<Sign> {
        match (tags::of(token), op) {
            (tags::STATE, DiskOp::Write { data, .. }) => {
                GroupState::decode(data.bytes()).map(|state| of_state(&state)).unwrap_or_default()
            }
            (tags::TRACKER, DiskOp::Write { .. }) => {
                let group = self.nodes[node.0].process.as_ref().and_then(|process| process.group.as_ref());
                let marked = group.and_then(|group| group.map()).is_none_or(|map| map.count() > 0);
                if marked { vec![Sign::Marks] } else { vec![Sign::Cleared, Sign::Marks] }
            }
            (tags::LAND, DiskOp::Flush) => vec![Sign::Flush],
            _ => Vec::new(),
        }
    }
}

/// What a state that is being written says.
fn of_state(state: &GroupState) -> Vec<Sign> {
    let of_role = match state.role {
        Role::Primary if state.handover => Some(Sign::SavedGiving),
        Role::Primary if is_outside(state.pair) && state.answered => Some(Sign::SavedAnswered),
        Role::Primary if state.pair == PairState::Resync => Some(Sign::SavedResync),
        Role::Primary if state.pair == PairState::Paired => Some(Sign::SavedPaired),
        Role::Primary => None,
        Role::Secondary if state.handover => Some(Sign::SavedGiven),
        Role::Secondary if !state.left => Some(Sign::SavedWhole),
        Role::Secondary => None,
    };
    let follower = (state.role == Role::Secondary).then_some(Sign::SavedFollower);
    of_role.into_iter().chain(follower).chain([Sign::Saved]).collect()
}

/// What a note says.
fn of_note(note: &Note) -> Option<Sign> {
    match note {
        Note::Serving { .. } => Some(Sign::Serving),
        Note::Fenced { .. } => Some(Sign::Fenced),
        Note::Rejoined { .. } => Some(Sign::Rejoined),
        Note::LeftTheLanes { .. } => Some(Sign::LeftTheLanes),
        Note::Damaged { .. } | Note::LaneLost { .. } | Note::OtherServes { .. } => Some(Sign::Obstacle),
        Note::Start(start) => match start {
            StartNote::Fencing => Some(Sign::Fencing),
            StartNote::Reading { .. } => Some(Sign::Reading),
            StartNote::Redoing => Some(Sign::Redoing),
            StartNote::Refused(
                StartRefusal::Running | StartRefusal::NotSecondary | StartRefusal::Stopping,
            ) => None,
            StartNote::Refused(_) => Some(Sign::Refused),
            StartNote::Aborted => Some(Sign::Aborted),
            StartNote::Skipping { .. } | StartNote::Done(_) | StartNote::Probed(_) => None,
        },
        Note::Handover(HandoverNote::Draining) => Some(Sign::Draining),
        Note::Handover(HandoverNote::Given { .. }) => Some(Sign::Given),
        // Asked for twice, or to be undone too late: the first one goes on.
        Note::Handover(
            HandoverNote::Refused(midspan_protocol::vocab::effect::HandoverRefusal::Running)
            | HandoverNote::NotCancelled,
        ) => None,
        Note::Handover(HandoverNote::Refused(_)) => Some(Sign::Stays),
        Note::Round(RoundNote::Began { .. }) => Some(Sign::Began),
        Note::Round(RoundNote::Sent { .. }) => Some(Sign::Sent),
        Note::Round(RoundNote::Cancelled { .. }) => Some(Sign::Cancelled),
        Note::Round(RoundNote::Ended { .. }) => Some(Sign::Ended),
        Note::LaneUp { .. }
        | Note::LaneSet { .. }
        | Note::LaneDown { .. }
        | Note::LaneRefused { .. }
        | Note::Refused { .. }
        | Note::FenceDone { .. }
        | Note::Verify(_)
        | Note::BackInTheLanes
        | Note::Overflow(_)
        | Note::DiskFailed { .. } => None,
    }
}
