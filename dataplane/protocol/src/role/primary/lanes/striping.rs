//! Two lanes that share the data of frames: which of them gets it, and what is done when one is lost (claim 10, decision 0021).
//!
//! ```text
//!  awaited ─▶ on: a large frame's data goes to the lane that has less to do, its head to both
//!              │ ▲
//!     one lost ▼ │ back before it counted alone
//!            filling: the other gets all data that it lacks, from memory ─▶ it counts alone ─▶ off ─▶ both again ─▶ on
//! ```
//! What is answered is as far in both lanes as where each holds everything. So both end alike but for what nobody was answered for, and
//! whoever reads them knows by the shorter one where the journal ends.

use alloc::vec;
use alloc::vec::Vec;

use midspan_format::geometry::Position;
use midspan_format::ids::NodeId;
use midspan_format::superblock::FenceSet;

use super::LOST_NS;
use crate::role::policy::LanePolicy;
use crate::role::primary::Primary;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::Context;

/// How two lanes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stripe {
    /// They do not: each holds everything, or there is one.
    Off,
    /// One of them has not been there since this role began. Nothing is sealed meanwhile: it may hold what was left out, and a start that
    /// met it so would not know which of both goes on.
    Awaited,
    /// Each large frame's data goes to one of them.
    On,
    /// One is lost: the first lane, or the second, gets all data, and counts alone when it has it.
    Filling { first: bool },
}

impl<B: Buffer> Primary<B> {
    /// The node whose lane alone gets the data of the next frame; none: it goes to each.
    pub(in crate::role::primary) fn place_of_data(&self) -> NodeId {
        let lanes = &self.lanes;
        if lanes.stripe != Stripe::On || lanes.asked.is_some() {
            return NodeId::NONE;
        }
        if self.sealer.next_length() < self.config.limits.shared_bytes {
            return NodeId::NONE;
        }
        match lanes.second.as_ref() {
            Some(second) if second.owed() < self.ring.owed() => second.node(),
            Some(_) => self.ring.node(),
            None => NodeId::NONE,
        }
    }

    /// Whether something may be sealed: the lanes that share are known to stand at the same place.
    pub(in crate::role::primary) fn may_seal(&self) -> bool {
        self.lanes.stripe != Stripe::Awaited
    }

    /// Whether two lanes share the data of frames.
    pub(in crate::role::primary) fn shares(&self) -> bool {
        self.lanes.stripe != Stripe::Off
    }

    /// Whether the lanes are to share, by the configuration of now.
    fn is_to_share(&self) -> bool {
        self.config.lane_policy == LanePolicy::Stripe
    }

    /// What a set of two lanes that are both there is to become, where the configuration says another kind than it is: lanes that begin to
    /// share, or one of them alone, from which every other kind begins. A mirror of which the other site is bound to one lane goes by that one
    /// for a moment, before it is lost with nobody to ask. Nothing that cannot wait, so not while the lanes may have to be left.
    pub(super) fn other_kind(&self) -> Option<Vec<NodeId>> {
        let (first, second) = (self.ring.node(), self.lanes.second.as_ref()?.node());
        let both = self.second_is_good() && self.ring.is_up();
        if !both || self.handover.is_some() || self.departs || self.full_since.is_some() {
            return None;
        }
        let is_striped = self.lanes.set.is_striped();
        let is_listed = |node: &NodeId| self.config.lanes.contains(node);
        match self.config.lane_policy {
            _ if self.for_bound(None).is_some() => {
                rare!(MirrorByOne);
                self.for_bound(None).map(|node| vec![node])
            }
            LanePolicy::Stripe if is_striped => None,
            LanePolicy::Mirror if !is_striped => None,
            LanePolicy::Stripe => {
                let all = [first, second];
                (self.is_kept() && all.iter().all(is_listed)).then(|| all.to_vec())
            }
            LanePolicy::Mirror | LanePolicy::Failover | LanePolicy::Local => {
                let whole = [(true, first), (false, second)].into_iter();
                let mut whole = whole.filter(|(which, _)| self.holds_all_data(*which));
                whole.find(|(_, node)| is_listed(node)).map(|(_, node)| vec![node])
            }
        }
    }

    /// This role begins: lanes that share are awaited.
    pub(super) fn await_stripe(&mut self) {
        if self.lanes.set.is_striped() {
            self.lanes.stripe = Stripe::Awaited;
            self.ring.share(true, true);
        }
    }

    /// This role goes by one lane of two that shared, alone, and what the other one holds is of no use: it goes on elsewhere.
    pub(super) fn drop_stripe(&mut self) {
        if self.lanes.stripe != Stripe::Off {
            self.lanes.set.nodes = core::iter::once(self.ring.node()).collect();
            self.lanes.stripe = Stripe::Off;
            self.share(false);
            self.sealer.mark_doubled(self.lanes.is_doubled());
            self.ring.preset_answerable(Position::BEYOND);
        }
    }

    /// A set counts from now on.
    pub(super) fn settle_stripe(&mut self, set: &FenceSet) {
        let on = set.is_striped();
        self.lanes.has_shared |= on;
        self.lanes.stripe = if on { Stripe::On } else { Stripe::Off };
        self.share(on);
    }

    /// Goes on from one step to the next, where that is due.
    pub(super) fn keep_stripe<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let both = self.second_is_good() && self.ring.is_up();
        match self.lanes.stripe {
            Stripe::Off => {}
            Stripe::Awaited if both && !self.lanes.held_back => {
                self.lanes.stripe = Stripe::On;
                self.share(true);
            }
            // One that had to be begun again got whole frames so far.
            Stripe::On if both && self.is_to_share() => self.share(true),
            // The other one may hold what was left out: nothing is sealed before this one counts alone.
            Stripe::Awaited => {}
            Stripe::On => {
                // One of them is lost, or the group is to be of another kind now, which begins with one lane.
                if let Some(first) = self.survivor(context.now.mono).or(both.then_some(true)) {
                    self.fill(context, first);
                }
            }
            Stripe::Filling { .. } if both && self.is_to_share() => {
                rare!(StripeIsBack);
                self.lanes.stripe = Stripe::On;
                self.share(false);
                self.share(true);
            }
            Stripe::Filling { first } if self.survivor(context.now.mono) == Some(!first) => {
                rare!(StripeTurns);
                self.share(true);
                self.lanes.stripe = Stripe::On;
                self.fill(context, !first);
            }
            Stripe::Filling { first } => {
                let done = self.holds_all_data(first);
                let (sent, pending) = match (first, self.lanes.second.as_ref()) {
                    (true, _) => (self.ring.is_sent(), self.ring.pending()),
                    (false, Some(second)) if second.is_up() => (second.is_sent(), second.pending()),
                    (false, _) => (false, usize::MAX),
                };
                if !done && sent && pending == 0 && self.handover.is_none() {
                    // What comes behind it says that it is there.
                    self.seal_empty(context);
                }
            }
        }
    }

    /// The second lane has to be begun again: it is not the one that gets everything.
    pub(super) fn drop_filling(&mut self) {
        if self.lanes.stripe == (Stripe::Filling { first: false }) {
            self.lanes.stripe = Stripe::On;
        }
    }

    /// Whether lanes that share wait for one that is lost: what it holds is in no memory.
    pub(super) fn is_torn(&self) -> bool {
        match self.lanes.stripe {
            Stripe::Awaited | Stripe::On => true,
            Stripe::Off => false,
            Stripe::Filling { first: true } => !self.ring.is_up(),
            Stripe::Filling { first: false } => !self.second_is_good(),
        }
    }

    /// Whether a lane of two that share holds all data that may still be needed.
    pub(super) fn holds_all_data(&self, first: bool) -> bool {
        match self.lanes.stripe {
            Stripe::Off => true,
            Stripe::Awaited => first && self.is_kept(),
            Stripe::On => false,
            Stripe::Filling { first: which } if which != first => false,
            Stripe::Filling { first: true } => self.ring.is_filled(),
            Stripe::Filling { first: false } => {
                self.lanes.second.as_ref().is_some_and(|second| second.is_filled())
            }
        }
    }

    /// The lane that is there while the other one is lost: the first, or the second.
    fn survivor(&self, now: u64) -> Option<bool> {
        let is_lost = |since: Option<u64>| since.is_some_and(|since| now >= since + LOST_NS);
        match (is_lost(self.lost_since), is_lost(self.lanes.second_lost)) {
            (true, false) if self.second_is_good() => Some(false),
            (false, true) if self.ring.is_up() => Some(true),
            (true | false, _) => None,
        }
    }

    /// Whether memory has all data that may still be needed.
    fn is_kept(&self) -> bool {
        let needed = self.filled_from();
        self.ring.tip().is_some_and(|tip| self.lanes.resend.base(tip).position <= needed)
    }

    /// The other lane is lost: this one gets all data that it lacks, if memory has it.
    fn fill<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, first: bool) {
        if !self.is_kept() {
            rare!(StripeNotKept);
            return;
        }
        rare!(StripeFills);
        let resend = &self.lanes.resend;
        if first {
            self.ring.fill(context, resend.frames());
        } else if let Some(writer) = self.lanes.second.as_mut().and_then(|second| second.writer()) {
            writer.fill(context, resend.frames());
        }
        self.lanes.stripe = Stripe::Filling { first };
    }

    fn share(&mut self, on: bool) {
        self.ring.share(on, !on);
        if let Some(writer) = self.lanes.second.as_mut().and_then(|second| second.writer()) {
            writer.share(on, !on);
        }
    }
}
