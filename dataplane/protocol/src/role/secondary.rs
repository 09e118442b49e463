//! The secondary's machine: fetch → verify → own ring → volumes in time order → cut → receipt. It routes.
//!
//! Upholds the one rule (nothing reaches a volume before it is durable in the own ring), I3 (own ring space is used again
//! only below the persisted cut), I4 and I9.

use midspan_format::area::AreaKind;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, Epoch, NodeId, VolumeId};
use midspan_format::message::SessionKind;
use midspan_format::receipt::{LaneReceipt, MAX_DIFFERENCES, Receipt};
use midspan_format::time::Time;

use alloc::vec;
use alloc::vec::Vec;

use self::apply::Replay;
use self::beside::beside;
use self::recovery::Recovery;
use crate::lane::reader::Reader;
use crate::lane::site_link::{SiteEvent, SiteLink};
use crate::lane::writer::{Writer, WriterEvent};
use crate::role::site::SiteConfig;
use crate::stage::acquirer::Acquirer;
use crate::stage::applier::Applier;
use crate::stage::course::Mode;
use crate::stage::cut::{Cut, Point};
use crate::stage::fetcher::Fetcher;
use crate::stage::frame_pool::FramePool;
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Disk, DiskOp, DiskResult, LinkEvent, LinkId, Note, Token};
use crate::vocab::milestone::{Milestone, Stage};
use crate::vocab::tags;
use crate::vocab::tip::Tip;

mod apply;
mod beside;
mod receipt;
mod recovery;

/// Receipts on their way whose memory is used again.
const RECEIPTS: usize = 24;

/// Figures for status.
#[derive(Clone, Copy, Debug, Default)]
pub struct SecondaryStatus {
    /// The relay is connected.
    pub connected: bool,
    /// The relay's prefix as last heard.
    pub journaled: Position,
    /// In the own ring before this position.
    pub acquired: Position,
    /// On the volumes before this position.
    pub applied: Position,
    /// Time of the last record on the volumes.
    pub applied_time: Time,
    /// Time of the newest record known to be in the lane.
    pub newest: Time,
    /// The epoch in force at the lane, as far as known.
    pub epoch: Epoch,
    /// The persisted cut.
    pub cut: Time,
    /// Its position.
    pub persisted: Position,
    /// Bytes of the own ring.
    pub ring_size: u64,
    /// Where a frame did not verify.
    pub damaged: Option<Position>,
    /// A local disk failed.
    pub disk_failed: bool,
    /// Still reading its own ring after a start.
    pub recovering: bool,
    /// Bytes that came of the lane.
    pub fetched: u64,
    /// The lane beside it, where two share the data: its node, whether it is connected, bytes that came of it.
    pub beside: Option<(NodeId, bool, u64)>,
}

/// The secondary.
#[derive(Debug)]
pub struct Secondary<B> {
    config: SiteConfig,
    recovery: Recovery,
    fetcher: Fetcher<B>,
    acquirer: Acquirer<B>,
    applier: Applier<B>,
    cut: Cut,
    receipts: Writer<B>,
    /// To the primary, past the relay.
    site_link: Option<SiteLink>,
    /// The newest receipt did not go this way: to the relay, to the primary.
    untold: [bool; 2],
    receipt: Receipt,
    frames: FramePool<B>,
    receipt_at: u64,
    /// The change that recorded the ring's identity: nothing is acquired before it is durable.
    identity: Option<u64>,
    area: AreaId,
    /// A frame that names a volume we do not have: nothing goes on.
    foreign: Option<VolumeId>,
    disk_failed: bool,
    /// What the volumes are to the frames that come.
    mode: Mode,
    /// A staged round that is being written.
    replay: Option<Replay<B>>,
    /// The change that recorded that a round in place gives up the cut.
    in_place: Option<u64>,
    /// The last frame handed the primary's role to this site.
    handed: bool,
    /// The recorded state says that the volumes hold no cut.
    no_cut: bool,
    /// Nothing on the disks is certain: what this site held was given up, or it never held anything.
    blank: bool,
    /// The relay refuses receipts because this very site is its primary.
    named: bool,
    /// Digests are compared from here on: what lies before it may have been written by an earlier process already, and what
    /// came later, too.
    compares_from: Option<Position>,
}

impl<B: Buffer> Secondary<B> {
    /// A secondary that goes on where the recorded state ends.
    pub fn new(config: SiteConfig, store: &StateStore) -> Self {
        let state = store.get();
        let lane = state.lanes().first().copied().unwrap_or_default();
        let tip = Tip::from_point(&lane.point);
        let limits = config.limits;
        let pace = config.pace;
        let manifest_hello = config.hello(SessionKind::Fetch, AreaKind::Manifest, AreaId::NONE, state.epoch);
        let manifests = config
            .control
            .by_relay()
            .then(|| Reader::new(config.link(0), config.relay, manifest_hello, pace, 4));
        let ring_hello = config.hello(SessionKind::Fetch, AreaKind::Ring, lane.ring, state.epoch);
        let ring = Reader::new(config.link(1), config.relay, ring_hello, pace, limits.fetches);
        let receipt_hello = config.hello(SessionKind::Append, AreaKind::Receipt, AreaId::NONE, state.epoch);
        let receipts = Writer::new(config.link(2), config.relay, receipt_hello, pace, None, 4);
        let volumes: Vec<_> = config.volumes.iter().map(|v| (v.id, v.size)).collect();
        let ids = volumes.iter().map(|(id, _)| *id).collect();
        let point = Point { tip, time: state.cut, manifest: state.manifest };
        let applier =
            Applier::new(volumes, limits.apply_frames, limits.apply_records, tags::APPLIER, tip, state.cut);
        let mut fetcher = Fetcher::new(manifests, ring, tip, state.manifest, limits, pace);
        fetcher.begin_beside(beside(&config, store), &config.lanes, config.node);
        if lane.ring == AreaId::NONE && config.lanes.len() > 1 {
            fetcher.await_frames();
        }
        Self {
            recovery: if lane.ring == AreaId::NONE { Recovery::Done } else { Recovery::Flushing },
            fetcher,
            acquirer: Acquirer::new(config.own_ring_place(), tip, limits.apply_frames),
            applier,
            cut: Cut::new(ids, point),
            receipts,
            site_link: config.tells().then(|| config.site_link(state.epoch)),
            untold: [false; 2],
            receipt: first_receipt(),
            frames: FramePool::new(RECEIPTS, 1),
            receipt_at: 0,
            identity: (lane.ring != AreaId::NONE).then_some(0),
            area: lane.ring,
            foreign: None,
            disk_failed: false,
            mode: Mode::recorded(state),
            replay: None,
            in_place: None,
            handed: state.handover,
            no_cut: state.round_in_place,
            // Elsewhere the disks hold a cut, or come to one along the chain.
            blank: Mode::recorded(state) == Mode::Away
                && state.round_in_place
                && state.whole_at == Position(0),
            named: false,
            compares_from: None,
            config,
        }
    }

    /// Nothing is acquired before this change is durable: it says what this site is.
    pub fn wait_for(&mut self, change: u64) {
        // Where the ring is not known yet, recording it comes later.
        self.identity = self.identity.map(|known| known.max(change));
    }

    /// Begins.
    pub fn start<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if let Recovery::Flushing = self.recovery {
            context.disk(Disk::Journal, tags::token(tags::OWN_RING, 0), DiskOp::Flush);
        }
    }

    /// A takeover goes on with what is acquired: the journal's rest cannot be read.
    pub fn stop_fetching<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.fetcher.close(context);
    }

    /// Whether the lane can be read.
    pub fn has_lane(&self) -> bool {
        self.fetcher.is_reading()
    }

    /// Whether recovery from the own ring has ended.
    pub fn is_recovered(&self) -> bool {
        matches!(self.recovery, Recovery::Done)
    }

    /// The persisted cut.
    pub fn persisted(&self) -> Point {
        self.cut.persisted()
    }

    /// Behind the last acquired frame.
    pub fn acquired(&self) -> Tip {
        self.acquirer.acquired()
    }

    /// Behind the last frame that is acquired, or about to be.
    pub fn taken(&self) -> Position {
        self.acquirer.taken()
    }

    /// Largest prefix of the lane that its node has told.
    pub fn heard(&self) -> Position {
        self.fetcher.journaled
    }

    /// Whether no disk operation runs.
    pub fn is_idle(&self) -> bool {
        self.applier.is_idle() && self.acquirer.is_idle() && self.cut.is_idle() && !self.is_replaying()
    }

    /// Whether no disk operation runs, though work may wait.
    pub fn is_settled(&self) -> bool {
        self.applier.is_settled() && self.acquirer.is_settled() && self.cut.is_idle() && !self.is_reading()
    }

    /// Whether the relay takes this site for the primary, which it is not: a takeover has fenced it and did not end.
    pub fn is_named_primary(&self) -> bool {
        if self.config.control.by_relay() { self.named } else { self.fetcher.primary == self.config.node }
    }

    /// Whether a link is one of this role's.
    pub fn owns(&self, link: LinkId) -> bool {
        let site = self.site_link.as_ref().is_some_and(|site| site.id() == link);
        site || link == self.receipts.id() || self.fetcher.owns(link)
    }

    /// What stands in the way of ever reaching the journal's end, if anything does.
    pub fn obstacle(&self) -> Option<Note> {
        let node = self.config.relay;
        if let Some(volume) = self.foreign.or(self.applier.failed()).or(self.cut.failed()) {
            return Some(Note::DiskFailed { disk_is_journal: false, volume });
        }
        if self.disk_failed {
            return Some(Note::DiskFailed { disk_is_journal: true, volume: VolumeId(0) });
        }
        let stuck = self.fetcher.damaged().or(self.fetcher.cut_off());
        stuck.map(|position| Note::Damaged { node, position })
    }

    /// Whether that is only a lane that shares the data of frames and is away.
    pub fn waits_beside(&self) -> bool {
        self.fetcher.damaged().is_none() && self.fetcher.cut_off().is_some()
    }

    /// An event of one of the links.
    pub fn on_link<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        event: LinkEvent<B>,
        store: &mut StateStore,
    ) {
        if link == self.receipts.id() {
            match self.receipts.on_link(context, event) {
                WriterEvent::Lost { had, found } => {
                    rare!(ReceiptsLaneLost);
                    context.note(Note::LaneLost { node: self.config.relay, had, found });
                }
                // What was told is lost there: it is told again.
                WriterEvent::Restarted => {
                    rare!(ReceiptsToldAgain);
                    self.receipt = first_receipt();
                }
                WriterEvent::Refused(refused) => self.named = refused.epoch.node == self.config.node,
                WriterEvent::Up => self.named = false,
                WriterEvent::Nothing | WriterEvent::Progress | WriterEvent::Down => {}
            }
        } else if let Some(site) = self.site_link.as_mut().filter(|site| site.id() == link) {
            if site.on_link(context, event) == SiteEvent::Up {
                self.untold[1] = true;
            }
        } else if self.fetcher.owns(link) {
            self.fetcher.on_link(context, link, event, &mut self.acquirer);
            self.record_identity(context, store);
            self.turn_beside(context, store);
        }
        self.advance(context, store);
    }

    /// A disk operation completed.
    pub fn on_disk<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        token: Token,
        result: DiskResult<B>,
        store: &mut StateStore,
    ) {
        let failed = result.is_err();
        match tags::of(token) {
            tags::APPLIER => {
                if self.applier.on_disk(context, token, result) {
                    let applied = self.applier.applied().position;
                    context.reach(Milestone::prefix(Stage::Applied, self.config.group, applied));
                }
                if let Some(volume) = self.applier.failed().filter(|_| failed) {
                    context.note(Note::DiskFailed { disk_is_journal: false, volume });
                }
            }
            tags::ACQUIRE => {
                if self.acquirer.on_disk(token, failed) {
                    let acquired = self.acquirer.acquired().position;
                    context.reach(Milestone::prefix(Stage::Acquired, self.config.group, acquired));
                }
                self.disk_failed |= failed;
                if failed {
                    context.note(Note::DiskFailed { disk_is_journal: true, volume: VolumeId(0) });
                }
            }
            tags::LAND => {
                let volume = VolumeId(u32::try_from(token.0 & 0xFFFF_FFFF).unwrap_or(0));
                self.cut.on_flushed(context, volume, failed, store);
            }
            tags::OWN_RING if Self::is_of_replay(token) => self.on_replay_read(context, result),
            tags::OWN_RING => self.on_recovery(context, result),
            _ => debug_assert!(false, "a token of somebody else"),
        }
        self.advance(context, store);
    }

    /// The state was written.
    pub fn on_saved<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, store: &mut StateStore) {
        self.cut.on_saved(store);
        self.advance(context, store);
    }

    /// Timers.
    pub fn on_tick<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, store: &mut StateStore) {
        if self.is_recovered() {
            self.fetcher.on_tick(context);
            self.turn_beside(context, store);
            if self.config.control.by_relay() {
                self.receipts.on_tick(context);
            }
            if let Some(site) = self.site_link.as_mut() {
                site.on_tick(context);
            }
        }
        self.advance(context, store);
    }

    /// When `on_tick` has something to do next; `soon` is when what found the pool empty is tried again.
    pub fn deadline(&self, soon: u64) -> u64 {
        let cut = match self.is_replaying() {
            true if self.is_replay_starved() => soon,
            true => u64::MAX,
            false => self.cut.deadline(self.applier.applied().position, self.cut_pace()),
        };
        let receipt = self.receipt_due();
        let links = if self.is_recovered() {
            let receipts = if self.config.control.by_relay() { self.receipts.deadline() } else { u64::MAX };
            let site = self.site_link.as_ref().map_or(u64::MAX, SiteLink::deadline);
            self.fetcher.deadline().min(receipts).min(site)
        } else {
            u64::MAX
        };
        let starved = match &self.recovery {
            Recovery::Reading { read, .. } if !read.is_busy() && self.acquirer.held() == 0 => soon,
            Recovery::Flushing | Recovery::Reading { .. } | Recovery::Done => u64::MAX,
        };
        let compares = if self.applier.is_starved() { soon } else { u64::MAX };
        cut.min(receipt.max(soon)).min(links).min(starved).min(compares)
    }

    /// Figures for status.
    pub fn status(&self) -> SecondaryStatus {
        SecondaryStatus {
            connected: self.fetcher.is_up(),
            journaled: self.fetcher.journaled,
            acquired: self.acquirer.acquired().position,
            applied: self.applier.applied().position,
            applied_time: self.applier.applied_time(),
            newest: self.fetcher.newest,
            epoch: self.receipts.epoch().max(self.acquirer.acquired().epoch),
            cut: self.cut.persisted().time,
            persisted: self.cut.persisted().tip.position,
            ring_size: self.config.own_ring.size,
            damaged: self.fetcher.damaged(),
            disk_failed: self.disk_failed
                || self.foreign.or(self.applier.failed()).or(self.cut.failed()).is_some(),
            recovering: !self.is_recovered(),
            fetched: self.fetcher.fetched(),
            beside: self.fetcher.fetched_beside(),
        }
    }

    /// Ends the sessions.
    pub fn close<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.applier.leave_out(context);
        self.fetcher.close(context);
        self.receipts.close(context);
        if let Some(site) = self.site_link.as_mut() {
            site.close(context);
        }
    }

    /// The primary has told a manifest, past the relay.
    pub fn on_told<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        frame: &[u8],
        store: &mut StateStore,
    ) {
        if self.is_recovered() && self.config.tells() {
            let room = self.acquirer.has_room() && self.obstacle_is_transient();
            self.fetcher.take_told(context, frame, room);
            self.advance(context, store);
        }
    }

    /// Moves everything that can move.
    fn advance<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, store: &mut StateStore) {
        self.no_cut = store.get().round_in_place;
        self.applier.compare(context);
        if self.compares_from.is_none() && self.is_recovered() && self.fetcher.is_up() {
            self.compares_from = Some(self.fetcher.journaled.max(self.acquirer.acquired().position));
        }
        self.apply(context, store);
        if let Recovery::Reading { read, walk, chunk, .. } = &mut self.recovery
            && !read.is_busy()
            && self.acquirer.held() == 0
        {
            read.start(context, self.config.own_ring_place(), walk.tip().position, *chunk);
        }
        if self.is_recovered() {
            self.fetch(context);
            if self.identity.is_some_and(|change| store.is_saved(change)) {
                self.acquirer.poke(context, self.cut.persisted().tip.position);
            }
            self.issue_receipt(context);
        }
        if self.is_replaying() {
            return;
        }
        let manifest = self.fetcher.manifest_done(self.applier.applied().position);
        let manifest = if manifest.0 == u64::MAX { self.cut.persisted().manifest } else { manifest };
        let to = Point { tip: self.applier.applied(), time: self.applier.applied_time(), manifest };
        self.cut.poke(context, to, self.cut_pace());
    }

    /// Asks for what is wanted next, as far as there is room for it.
    fn fetch<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if self.is_recovered() {
            let room = self.acquirer.has_room() && self.obstacle_is_transient();
            self.fetcher.poke(context, room);
        }
    }

    /// The last move of the cut before a takeover serves has no reason to wait: nothing else comes that it could take along.
    fn cut_pace(&self) -> u64 {
        let is_last = self.fetcher.target() == Some(self.applier.applied().position);
        if is_last { 0 } else { self.config.pace.flush_ns }
    }

    fn obstacle_is_transient(&self) -> bool {
        self.foreign.is_none() && !self.disk_failed && self.applier.failed().is_none()
    }

    fn record_identity<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, store: &mut StateStore) {
        let Some(area) = self.fetcher.area().filter(|_| self.identity.is_none()) else { return };
        self.area = area;
        let change = store.change(context, |state| {
            if let Some(lane) = state.lanes_mut().first_mut() {
                lane.ring = area;
            }
        });
        self.identity = Some(change);
    }
}

/// Nothing was told.
fn first_receipt() -> Receipt {
    let differences = Vec::with_capacity(MAX_DIFFERENCES);
    Receipt { lanes: vec![LaneReceipt::default()], differences, ..Receipt::default() }
}

#[cfg(test)]
mod tests;
