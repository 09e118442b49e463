//! A group at a site: which role it plays now, and the way from one role to the next.
//!
//! ```text
//!            ┌─────────▶ Starting ──▶ Primary ──┬──▶ Fenced (a newer epoch exists: answers nothing) ──┐
//!  recorded ─┤                ┌─────────▲──┬────┘                                                    │
//!   state    ├─▶ Secondary ◀──┼─────────┼──┘ (handed over)                                          │
//!            │     │  ▲       │         └──────────┐ (the other site is there again: a round)        │
//!            │     └──┼─▶ TakingOver ──▶ Outside ──┘ (outside the lanes, changes are marked)         │
//!            └─────── ┼ ▶ Resuming ────────▲                                                         │
//!                     └──────────────────────────────────────────────────────────────────────────────┘
//! ```
//! A role's operations have settled before the next role begins (design §7). Hosts are served in `Primary` and `Outside` only.

mod alone;
mod following;
mod giving;
mod handover;
mod hearing;
mod lane_set;
mod lanes;
mod look;
mod turn;
mod verify;

use alloc::boxed::Box;
use alloc::vec::Vec;

use midspan_format::control::GroupCommand;
use midspan_format::ids::Epoch;
use midspan_format::superblock::Role;

use self::alone::Alone;
use self::handover::Handover;
use self::hearing::Hearing;
use self::lane_set::Setting;
use self::lanes::is_outside;
use crate::lane::fencer::{Fencer, FencerEvent};
use crate::role::direct::answer;
use crate::role::outside::Outside;
use crate::role::primary::Primary;
use crate::role::rejoin::Rejoin;
use crate::role::secondary::Secondary;
use crate::role::site::{FENCER_LINK, Recovered, SiteConfig};
use crate::role::start::Start;
use crate::role::takeover::{Asked, Takeover};
use crate::role::unfenced;
use crate::stage::state_store::StateStore;
use crate::stage::tracker::Tracker;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{
    Context, Disk, DiskOp, DiskResult, HostError, HostRequest, LinkEvent, LinkId, Note, StartReport, Token,
};
use crate::vocab::tags;

/// Pause before something that found the pool empty is tried again.
const STARVED_NS: u64 = 2_000_000;

/// What this site is for the group now.
#[derive(Debug)]
pub(super) enum Play<B> {
    /// Primary on its way to serve.
    Starting(Box<Start<B>>),
    /// The disks hold everything; the lane must grant its lease first. What the start found is told then.
    Opening(Box<Primary<B>>, StartReport),
    /// Serves, in the lanes.
    Primary(Box<Primary<B>>),
    /// Was primary; its operations settle before anything else.
    Leaving(Box<Primary<B>>),
    /// Follows the primary.
    Secondary(Box<Secondary<B>>),
    /// Becomes primary.
    TakingOver(Box<Secondary<B>>, Box<Takeover>),
    /// Served outside the lanes before this process began; makes sure that nobody has replaced it.
    Resuming {
        fencer: Box<Fencer>,
        since: u64,
        /// What an earlier process had on its way to the map is on stable media.
        flushed: bool,
    },
    /// Serves outside the lanes: changes are marked for the other site.
    Outside(Box<Outside<B>>),
    /// A newer epoch exists; looks where to follow.
    Fenced(Box<Rejoin>),
    /// Gives back what a takeover has fenced, and lets the secondary's operations settle. The relay has until then to answer.
    Aborting(Box<Secondary<B>>, Box<Fencer>, u64),
    /// Told to end.
    Stopped,
}

/// The machine of a group at a site.
#[derive(Debug)]
pub struct Group<B> {
    pub(super) config: SiteConfig,
    pub(super) store: StateStore,
    /// The dirty map, until the role that serves outside the lanes has it.
    pub(super) tracker: Option<Tracker>,
    pub(super) play: Play<B>,
    pub(super) fenced_by: Option<Epoch>,
    /// Both sites hold writes that the other has not: an operator decides.
    pub(super) split: bool,
    /// An operator has decided that this site gives its writes up.
    resolved: bool,
    /// An operator keeps this site, of a split, against the one that replaced it.
    prevails: bool,
    /// The primary's role is being handed over.
    handover: Option<Handover>,
    /// The lanes are being left.
    departs: bool,
    /// That is because the relay is away.
    relay_lost: bool,
    /// An operator holds the round.
    held: bool,
    /// What was handed to this site is tried again then.
    handover_at: u64,
    /// Gives an epoch back that this site took and has no use for.
    giver: Option<Box<Fencer>>,
    give_at: u64,
    /// The question before a start without the journal.
    alone: Option<Box<Alone>>,
    /// When the primary's `landed` was last taken into the state.
    landed_kept_at: u64,
    /// Where the other site tells what it must not lose with the relay.
    hearing: Option<Hearing>,
    /// What is under way with the lane set.
    setting: Setting,
    ready: Vec<u32>,
    /// The node ends.
    stopping: bool,
    /// Time of the last event: what found the pool empty then is tried again a little later.
    seen: u64,
}

impl<B: Buffer> Group<B> {
    /// A group as configured, and as found on the site's journal disk.
    pub fn new(mut config: SiteConfig, recovered: Recovered) -> Self {
        let state = recovered.state.unwrap_or_else(|| config.first_state());
        config.relay = lanes::begins_with(&state).unwrap_or(config.relay);
        let store = StateStore::new(state, config.state_offset);
        let tracker = Tracker::new(recovered.dirty, config.dirty_offset, config.limits.requests);
        let play = match (state.role, state.pair) {
            (Role::Primary, pair) if is_outside(pair) => {
                let fencer = Box::new(unfenced::fencer(&config, &state));
                Play::Resuming { fencer, since: 0, flushed: false }
            }
            (Role::Primary, _) => Play::Starting(Box::new(Start::new(config.clone(), &store))),
            (Role::Secondary, _) => Play::Secondary(Box::new(Secondary::new(config.clone(), &store))),
        };
        Self {
            config,
            store,
            tracker: Some(tracker),
            play,
            fenced_by: None,
            split: false,
            resolved: false,
            prevails: false,
            handover: None,
            departs: false,
            relay_lost: false,
            held: false,
            handover_at: 0,
            giver: None,
            give_at: 0,
            alone: None,
            landed_kept_at: 0,
            hearing: None,
            setting: Setting::default(),
            ready: Vec::new(),
            stopping: false,
            seen: 0,
        }
    }

    /// Begins.
    pub fn start<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        match &mut self.play {
            Play::Secondary(secondary) => secondary.start(context),
            Play::Resuming { .. } => {
                context.disk(Disk::Journal, tags::token(tags::OWN_RING, 0), DiskOp::Flush);
            }
            Play::Starting(_)
            | Play::Opening(..)
            | Play::Primary(_)
            | Play::Leaving(_)
            | Play::TakingOver(..)
            | Play::Outside(_)
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => {}
        }
        self.on_tick(context);
    }

    /// A host request. The driver asks [`Group::has_room`] first.
    pub fn on_host<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, request: HostRequest<B>) {
        match &mut self.play {
            Play::Primary(primary) => primary.on_host(context, request),
            Play::Outside(outside) => outside.on_host(context, request),
            Play::Starting(_)
            | Play::Opening(..)
            | Play::Leaving(_)
            | Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Resuming { .. }
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => answer(context, request.id, Err(HostError::NotServing)),
        }
    }

    /// The control plane asks something.
    pub fn on_command<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, command: GroupCommand) {
        match command {
            GroupCommand::Takeover { accept_loss, dry_run } => {
                self.begin_takeover(context, Asked { accept_loss, dry_run, handed: None });
            }
            GroupCommand::Abort => self.abort(context),
            GroupCommand::Switchover => self.begin_handover(context),
            GroupCommand::Stay => self.cancel_handover(context),
            GroupCommand::Resolve => self.resolve(context),
            GroupCommand::Prevail => self.prevail(context),
            GroupCommand::WithoutJournal => self.start_without_journal(context),
            GroupCommand::Pause => self.hold_round(true),
            GroupCommand::Resume => self.hold_round(false),
            GroupCommand::Verify { volume, bytes_per_s, repair } => {
                self.begin_verify(context, volume, bytes_per_s, repair);
            }
            GroupCommand::EndVerify => self.end_verify(context),
            GroupCommand::Stop => self.stop(context),
        }
    }

    /// Something happened on one of the group's links.
    pub fn on_link<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        event: LinkEvent<B>,
    ) {
        if self.hears(link) {
            return self.on_heard(context, event);
        }
        if self.asks_alone(link) {
            return self.on_alone(context, event);
        }
        let Self { store, tracker, play, config, .. } = self;
        match play {
            Play::Starting(start) => {
                let outcome = start.on_link(context, link, event, store);
                self.on_start(context, outcome);
            }
            Play::Primary(primary) => {
                primary.on_link(context, link, event);
                self.look_at_primary(context);
            }
            Play::Opening(primary, _) => {
                primary.on_link(context, link, event);
                self.look_for_lease(context);
            }
            Play::Secondary(_) if link == config.link(FENCER_LINK) => self.on_giver(context, event),
            Play::Secondary(secondary) => {
                secondary.on_link(context, link, event, store);
                self.look_for_handover(context);
            }
            Play::TakingOver(secondary, takeover) => {
                let Some(tracker) = tracker.as_mut() else { return };
                let outcome = if secondary.owns(link) {
                    secondary.on_link(context, link, event, store);
                    takeover.on_progress(context, secondary, store, tracker)
                } else {
                    takeover.on_link(context, link, event, secondary, store, tracker)
                };
                self.on_takeover(context, outcome);
            }
            Play::Resuming { fencer, .. } => {
                let event = fencer.on_link(context, event);
                self.on_resumed(context, event);
            }
            Play::Outside(outside) => {
                let outcome = outside.on_link(context, link, event, store);
                self.on_outside(context, outcome);
            }
            Play::Fenced(rejoin) => {
                let outcome = rejoin.on_link(context, link, event);
                self.on_rejoin(context, outcome);
            }
            Play::Aborting(_, fencer, _) => {
                let event = fencer.on_link(context, event);
                self.on_aborted(context, event);
            }
            Play::Leaving(_) | Play::Stopped => {}
        }
    }

    /// A disk operation completed.
    pub fn on_disk<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        token: Token,
        result: DiskResult<B>,
    ) {
        match tags::of(token) {
            tags::STATE => self.on_saved(context, result.is_err()),
            tags::TRACKER if self.tracker.is_some() => self.on_marked(context, token, result.is_err()),
            _ => self.on_role_disk(context, token, result),
        }
    }

    /// The driver has delivered a batch of events.
    pub fn on_drained<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.store.poke(context);
        match &mut self.play {
            Play::Primary(primary) | Play::Opening(primary, _) | Play::Leaving(primary) => {
                primary.on_drained(context)
            }
            Play::Outside(outside) => outside.on_drained(context),
            Play::Starting(_)
            | Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Resuming { .. }
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => {}
        }
        self.go_on_hearing(context);
        self.finish_leaving(context);
    }

    /// Timers.
    pub fn on_tick<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.seen = context.now.mono;
        self.go_on_alone(context);
        self.turn_to_other_lane(context);
        self.look_at_next_lane(context);
        let Self { store, tracker, play, .. } = self;
        store.poke(context);
        match play {
            Play::Starting(start) => {
                let outcome = start.on_tick(context, store);
                self.on_start(context, outcome);
                self.mark_again(context);
            }
            Play::Primary(primary) => {
                primary.on_tick(context);
                self.look_at_primary(context);
            }
            Play::Opening(primary, _) => {
                primary.on_tick(context);
                self.look_for_lease(context);
            }
            Play::Leaving(primary) => {
                primary.on_drained(context);
                self.finish_leaving(context);
            }
            Play::Secondary(secondary) => {
                secondary.on_tick(context, store);
                self.give_back(context);
                self.look_for_handover(context);
            }
            Play::TakingOver(secondary, takeover) => {
                let Some(tracker) = tracker.as_mut() else { return };
                secondary.on_tick(context, store);
                let outcome = takeover.on_progress(context, secondary, store, tracker);
                self.on_takeover(context, outcome);
            }
            Play::Resuming { fencer, since, flushed } => {
                if *since == 0 {
                    *since = context.now.mono;
                }
                if *flushed {
                    fencer.on_tick(context);
                }
            }
            Play::Outside(outside) => {
                let outcome = outside.on_tick(context, store);
                self.on_outside(context, outcome);
            }
            Play::Fenced(rejoin) => {
                if !self.split || self.prevails {
                    rejoin.on_tick(context, store.get().epoch);
                }
            }
            Play::Aborting(..) => self.go_on_aborting(context),
            Play::Stopped => {}
        }
    }

    fn on_saved<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, failed: bool) {
        let Self { store, tracker, play, config, .. } = self;
        store.on_disk(context, failed);
        if failed {
            context.note(Note::DiskFailed { disk_is_journal: true, volume: first_volume(config) });
        }
        match play {
            Play::Starting(start) => {
                let outcome = start.on_saved(context, store);
                self.on_start(context, outcome);
            }
            Play::Secondary(secondary) => {
                secondary.on_saved(context, store);
                self.forget_marks(context);
                self.look_for_handover(context);
            }
            Play::Outside(outside) => {
                let outcome = outside.on_saved(context, store);
                self.on_outside(context, outcome);
            }
            Play::Primary(_) => self.look_at_primary(context),
            Play::TakingOver(secondary, takeover) => {
                let Some(tracker) = tracker.as_mut() else { return };
                secondary.on_saved(context, store);
                let outcome = takeover.on_progress(context, secondary, store, tracker);
                self.on_takeover(context, outcome);
            }
            Play::Aborting(secondary, ..) => {
                secondary.on_saved(context, store);
                self.on_aborted(context, FencerEvent::Nothing);
            }
            Play::Opening(..)
            | Play::Leaving(_)
            | Play::Resuming { .. }
            | Play::Fenced(_)
            | Play::Stopped => {}
        }
    }

    fn on_marked<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, token: Token, failed: bool) {
        let Self { store, tracker: Some(tracker), play, config, ready, .. } = self else { return };
        tracker.on_disk(context, token, failed, ready);
        ready.clear();
        if failed {
            context.note(Note::DiskFailed { disk_is_journal: true, volume: first_volume(config) });
        }
        if let Play::TakingOver(secondary, takeover) = play {
            let outcome = takeover.on_progress(context, secondary, store, tracker);
            self.on_takeover(context, outcome);
        } else {
            self.mark_again(context);
        }
    }

    fn on_role_disk<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        token: Token,
        result: DiskResult<B>,
    ) {
        let Self { store, tracker, play, config, .. } = self;
        match play {
            Play::Starting(start) => {
                let outcome = start.on_disk(context, token, result, store);
                self.on_start(context, outcome);
            }
            Play::Primary(primary) | Play::Opening(primary, _) => {
                primary.on_disk(context, token, result);
                self.look_at_primary(context);
            }
            Play::Leaving(primary) => {
                primary.on_disk(context, token, result);
                self.finish_leaving(context);
            }
            Play::Secondary(secondary) => {
                secondary.on_disk(context, token, result, store);
                self.look_for_handover(context);
            }
            Play::TakingOver(secondary, takeover) => {
                let Some(tracker) = tracker.as_mut() else { return };
                secondary.on_disk(context, token, result, store);
                let outcome = takeover.on_progress(context, secondary, store, tracker);
                self.on_takeover(context, outcome);
            }
            Play::Outside(outside) => {
                let outcome = outside.on_disk(context, token, result, store);
                self.on_outside(context, outcome);
            }
            Play::Resuming { flushed, .. } => {
                // Marks that were read but are not durable must not be trusted (I6): only now anything is served.
                *flushed = result.is_ok();
                if result.is_err() {
                    context.note(Note::DiskFailed { disk_is_journal: true, volume: first_volume(config) });
                }
                self.on_tick(context);
            }
            Play::Aborting(secondary, ..) => {
                secondary.on_disk(context, token, result, store);
                self.on_aborted(context, FencerEvent::Nothing);
            }
            Play::Fenced(_) | Play::Stopped => {}
        }
    }
}

/// A failed journal disk concerns no volume; a note has to name one.
fn first_volume(config: &SiteConfig) -> midspan_format::ids::VolumeId {
    config.volumes.first().map_or(midspan_format::ids::VolumeId(0), |volume| volume.id)
}
