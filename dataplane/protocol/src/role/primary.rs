//! The primary's machine: host → journal → answer → local disk (design §4). It routes; decisions stand in the stages.
//!
//! Upholds I1 (a write is answered only when its frame is journaled), I3 (ring space is used again only below a receipt and
//! a `landed` that is durable in the lane), I5 (refused for a newer epoch: nothing is answered from that instant) and I11
//! (reads need the lease, and never see what is not answerable).

mod answer;
mod begin;
mod departing;
mod handing;
mod heard;
mod lanes;
mod overflow;
mod repair;
mod seal;
mod second;
mod status;
mod verify;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;

use midspan_format::area::AreaKind;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, Epoch, VolumeId};
use midspan_format::message::SessionKind;
use midspan_format::superblock::GroupState;
use midspan_format::time::{GroupClock, Time};

pub use self::begin::Begin;
use self::lanes::Lanes;
use self::overflow::Overflow;
pub use self::repair::Repair;
pub use self::status::PrimaryStatus;
use self::verify::Verifying;
use crate::lane::reader::Reader;
use crate::lane::site_link::{SiteEvent, SiteLink};
use crate::lane::writer::Writer;
use crate::role::direct::{answer, host_error};
use crate::role::site::{AnswerMode, RECALL_LINK, SiteConfig};
use crate::stage::inflight::{Inflight, OpKind, Steps};
use crate::stage::landing::Landing;
use crate::stage::manifests::Manifests;
use crate::stage::recall::Recall;
use crate::stage::receipts::{Receipts, Received};
use crate::stage::sealer::{LaneIdentity, Sealer};
use crate::stage::unreceived::Unreceived;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{
    Context, Disk, DiskOp, DiskResult, Effect, Frame, HostError, HostOp, HostRequest, LinkEvent, LinkId,
    Note, RequestId, Token, VerifyStop,
};
use crate::vocab::tags;

/// Latest wall time that is believed (2260): a clock beyond it would run into the latest time that a frame may carry.
const LATEST_WALL: u64 = Time::MAX.0 - (1 << 56);

/// The primary.
#[derive(Debug)]
pub struct Primary<B> {
    config: SiteConfig,
    epoch: Epoch,
    clock: GroupClock,
    inflight: Inflight<B>,
    steps: Steps,
    sealer: Sealer<B>,
    ring: Writer<B>,
    manifest_writer: Writer<B>,
    manifests: Manifests<B>,
    recall: Option<Recall>,
    receipts: Receipts,
    /// To the secondary, past the relay.
    site_link: Option<SiteLink>,
    /// What the secondary may lack, where the lanes may be left.
    unreceived: Option<Unreceived>,
    landing: Landing<B>,
    /// What differs at the other site, until a round has brought it there.
    repair: Option<Box<Repair<B>>>,
    /// Paces hosts while the ring fills.
    overflow: Overflow<B>,
    verifying: Verifying<B>,
    landed_durable: Position,
    lanes: Lanes<B>,
    /// Reads that wait for the lease, and read data that waits for it.
    waiting_reads: VecDeque<u32>,
    held: VecDeque<(u32, B)>,
    /// Reads that are asked again outside the lanes.
    taken: Vec<HostRequest<B>>,
    /// Flushes that wait for the lease.
    waiting_flushes: VecDeque<RequestId>,
    answerable: Vec<u32>,
    flushes: usize,
    answered: u64,
    ring_full: bool,
    /// Since when it is.
    full_since: Option<u64>,
    /// Since when the relay is away.
    lost_since: Option<u64>,
    /// It has been there in this role.
    was_up: bool,
    /// When the secondary last said something new.
    heard_at: u64,
    /// The lanes are being left: nothing more is sealed.
    departs: bool,
    /// The newer epoch that refused us.
    fenced: Option<Epoch>,
    /// This role ends: what is under way settles, nothing else happens.
    closed: bool,
    /// The frame that hands the role over.
    handover: Option<Rc<Frame<B>>>,
}

impl<B: Buffer> Primary<B> {
    /// A primary that begins where its start ended.
    pub fn new(config: SiteConfig, begin: Begin) -> Self {
        let limits = config.limits;
        let pace = config.pace;
        let (ring_area, _, ring_tip) = begin.ring;
        let (manifest_area, manifest_size, manifest_tip) = begin.manifest;
        let writer = |link, kind, area, tip| {
            let hello = config.hello(SessionKind::Append, kind, area, begin.epoch);
            Writer::new(link, config.relay, hello, pace, Some(tip), limits.frames)
        };
        let ring = writer(config.link(0), AreaKind::Ring, ring_area, ring_tip);
        let manifest_writer = writer(config.link(1), AreaKind::Manifest, manifest_area, manifest_tip);
        let by_relay = config.control.by_relay();
        let reader = |link, kind| {
            let hello = config.hello(SessionKind::Fetch, kind, AreaId::NONE, begin.epoch);
            Reader::new(link, config.relay, hello, pace, 4)
        };
        let receipts = by_relay.then(|| reader(config.link(2), AreaKind::Receipt));
        let recalls = by_relay && manifest_tip.position > Position(0);
        let recall = recalls.then(|| reader(config.link(RECALL_LINK), AreaKind::Manifest));
        let recall = recall.map(|reader| Recall::new(reader, manifest_tip.position));
        let resend = if config.lanes.len() > 1 { config.resend_bytes } else { 0 };
        // What the disks hold now was read from the lanes that count, and nobody waits for an answer to it.
        let floor = begin.last.map_or(Position(0), |last| last.journaled).max(begin.landed.0);
        let may_leave = config.may_leave || config.alone;
        let volumes_of = config.volumes.iter().map(|v| (v.id, v.size));
        let flags = config.frame_flags();
        let identity =
            |area| LaneIdentity { group: config.group, lane: config.lane, area, epoch: begin.epoch, flags };
        let volumes = config.volumes.iter().map(|v| v.id).collect();
        // Manifests below the newest receipt are free; until it is read, nothing is.
        let covered = Position(manifest_tip.position.0.saturating_sub(manifest_size / 2));
        let mut manifests = Manifests::new(identity(manifest_area), covered, limits.frames * 4, begin.last);
        if !by_relay {
            manifests.go_direct(manifest_tip);
        }
        Self {
            epoch: begin.epoch,
            clock: GroupClock::new(begin.clock),
            inflight: Inflight::new(limits.requests, tags::INFLIGHT),
            steps: Steps::new(limits.requests),
            sealer: Sealer::new(identity(ring_area), limits.requests, begin.clock),
            ring,
            manifest_writer,
            manifests,
            recall,
            receipts: Receipts::new(receipts, config.lane, pace.poll_ms),
            site_link: (config.tells() || may_leave).then(|| config.site_link(begin.epoch)),
            unreceived: may_leave.then(|| Unreceived::new(volumes_of, ring_tip.position)),
            landing: Landing::new(volumes, begin.landed, limits.frames, limits.requests),
            repair: None,
            overflow: Overflow::new(begin.ring.1, &limits, &pace),
            verifying: Verifying::new(),
            landed_durable: begin.landed_durable,
            lanes: Lanes::new(config.relay, &begin, floor, resend),
            waiting_reads: VecDeque::with_capacity(limits.requests),
            held: VecDeque::with_capacity(limits.requests),
            taken: Vec::new(),
            waiting_flushes: VecDeque::with_capacity(limits.requests),
            answerable: Vec::with_capacity(limits.requests),
            flushes: 0,
            answered: 0,
            ring_full: false,
            full_since: None,
            lost_since: None,
            was_up: false,
            heard_at: 0,
            departs: false,
            fenced: None,
            closed: false,
            handover: None,
            config,
        }
    }

    /// The other site differs: a round is to bring it up, and live writes are marked until its End.
    pub fn set_repair(&mut self, repair: Repair<B>) {
        self.repair = Some(Box::new(repair));
    }

    /// The disks hold everything before it, flushed, and the time of the last record there.
    pub fn landed(&self) -> (Position, Time) {
        self.landing.landed()
    }

    /// Whether the secondary says that its disks hold no cut, and no round is to bring it one.
    pub fn lacks_all(&self) -> bool {
        self.receipts.newest.no_cut && self.repair.is_none() && !self.closed && !self.departs
    }

    /// What the secondary has said so far.
    pub fn received(&self) -> Received {
        self.receipts.newest
    }

    /// What the secondary had said before this role began, as recorded: it has not become less.
    pub fn remember(&mut self, state: &GroupState) {
        self.receipts.newest.acquired = self.receipts.newest.acquired.max(state.acquired);
        self.manifests.on_receipt(state.manifest, state.acquired);
        if let Some(recall) = self.recall.as_mut() {
            recall.begin(state.manifest);
        }
        self.begin_lanes(state);
    }

    /// Whether no disk operation runs.
    pub fn is_idle(&self) -> bool {
        self.inflight.is_empty() && self.flushes == 0 && self.landing.is_idle()
    }

    /// The newest time given or seen.
    pub fn clock(&self) -> Time {
        self.clock.last()
    }

    /// A host request.
    pub fn on_host<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, request: HostRequest<B>) {
        if self.closed {
            return answer(context, request.id, Err(HostError::NotServing));
        }
        if let Some(request) = self.hold_back(context, request) {
            self.admit(context, request);
        }
    }

    fn admit<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, request: HostRequest<B>) {
        let room = !self.ring_full && self.landing.has_room() && self.inflight.has_room();
        let is_stale = self.landing.is_stale(request.volume) && request.op.needs_old_bytes();
        if is_stale || (self.landing.failed() && !room) {
            rare!(PrimaryDiskFailed);
            // What the disk holds may be older than what was answered; and nothing more can land, so no space is freed any more.
            return answer(context, request.id, Err(HostError::Io));
        }
        match self.inflight.enter(context, request, &mut self.steps) {
            Ok(_) => self.proceed(context),
            // Everything answered is journaled: in this mode a flush has nothing left to do. But a primary that may have
            // been replaced says nothing.
            Err(HostRequest { id, op: HostOp::Flush, .. }) if self.config.answer == AnswerMode::Journaled => {
                if self.has_lease(context.now.mono) {
                    answer(context, id, Ok(None));
                } else {
                    rare!(FlushWaitsForLease);
                    self.waiting_flushes.push_back(id);
                }
            }
            Err(HostRequest { id, volume, op: HostOp::Flush }) => {
                self.flushes += 1;
                let token = tags::token(tags::HOST_FLUSH, u64::from(volume.0) << 32 | u64::from(id.0));
                context.disk(Disk::Volume(volume), token, DiskOp::Flush);
            }
            Err(refused) => answer(context, refused.id, Err(HostError::NotServing)),
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
            tags::INFLIGHT => {
                if let Some(done) = self.inflight.on_disk(token, result, &mut self.steps) {
                    self.on_finished(context, done);
                }
            }
            tags::HOST_FLUSH => {
                self.flushes -= 1;
                let request = RequestId(u32::try_from(token.0 & 0xFFFF_FFFF).unwrap_or(0));
                if result.is_err() {
                    rare!(HostFlushFails);
                    // What the drive dropped is said once: a later flush would succeed over it.
                    let volume = VolumeId(u32::try_from((token.0 >> 32) & 0xFF_FFFF).unwrap_or(0));
                    self.landing.on_failed(volume);
                    context.note(Note::DiskFailed { disk_is_journal: false, volume });
                }
                self.answer_flushed(context, request, result.map(|_| None).map_err(host_error));
            }
            tags::LAND => {
                if result.is_err() {
                    rare!(LandingUnflushed);
                    let volume = VolumeId(u32::try_from(token.0 & 0xFFFF_FFFF).unwrap_or(0));
                    self.landing.on_failed(volume);
                    context.note(Note::DiskFailed { disk_is_journal: false, volume });
                }
                self.landing.on_flushed();
            }
            tags::TRACKER => self.on_marked(context, token, result.is_err()),
            _ => debug_assert!(false, "a token of somebody else"),
        }
        self.proceed(context);
    }

    /// Something happened on one of the group's links.
    pub fn on_link<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        event: LinkEvent<B>,
    ) {
        if link == self.ring.id() {
            let outcome = self.ring.on_link(context, event);
            self.on_writer(context, outcome, true);
        } else if link == self.manifest_writer.id() {
            let outcome = self.manifest_writer.on_link(context, event);
            self.on_writer(context, outcome, false);
        } else if self.receipts.owns(link) {
            let before = self.receipts.newest;
            if self.receipts.on_link(context, event) {
                self.on_receipt(context, before);
            }
        } else if let Some(site) = self.site_link.as_mut().filter(|site| site.id() == link) {
            if let SiteEvent::Recorded(recorded) = site.on_link(context, event) {
                self.lanes.set_recorded(recorded);
            }
            let told = site.epoch();
            if told > self.epoch && told.node == self.config.other_site() && self.fenced.is_none() {
                // It has replaced this one, and says so before a lane can.
                rare!(PrimaryReplacedBySite);
                self.fenced = Some(told);
                context.note(Note::Fenced { ours: self.epoch, found: told });
                return self.close(context);
            }
        } else if self.owns_second(link) {
            self.on_second(context, event);
        } else if let Some(recall) = self.recall.as_mut().filter(|recall| recall.owns(link)) {
            recall.on_link(context, event, &mut self.manifests);
        }
        self.proceed(context);
    }

    /// The driver has delivered a batch of events: seal what has gathered.
    pub fn on_drained<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.inflight.retry(context);
        self.drive_round(context);
        self.drive_verify(context);
        self.drive_overflow(context);
        self.seal(context);
        self.issue_manifest(context);
        let urgent = self.used() > self.ring_size() / 2;
        let journaled = self.journaled();
        let others = self.repair.as_ref().map_or(0, |repair| repair.others(journaled));
        if self.landing.flush(context, self.config.pace.flush_ns, urgent, others) && others > 0 {
            self.on_landing(context);
        }
        if self.keeps_frames() {
            self.forget_received();
        }
        self.proceed(context);
    }

    /// Timers.
    pub fn on_tick<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let outcome = self.ring.on_tick(context);
        self.on_writer(context, outcome, true);
        self.lost_since = self.lost_since.filter(|_| !self.ring.is_up());
        self.was_up |= self.ring.is_up();
        if !self.ring.is_up() {
            self.lost_since.get_or_insert(context.now.mono);
        }
        if self.config.control.by_relay() {
            let outcome = self.manifest_writer.on_tick(context);
            self.on_writer(context, outcome, false);
        }
        self.receipts.on_tick(context);
        if let Some(site) = self.site_link.as_mut() {
            site.on_tick(context);
        }
        if let Some(recall) = self.recall.as_mut() {
            recall.on_tick(context);
        }
        self.keep_lanes(context);
        self.on_drained(context);
    }

    /// When `on_tick` has something to do next; `soon` is when what found the pool empty is tried again.
    pub fn deadline(&self, soon: u64) -> u64 {
        let pace = &self.config.pace;
        let manifests =
            if self.config.control.by_relay() { self.manifest_writer.deadline() } else { u64::MAX };
        let site = self.site_link.as_ref().map_or(u64::MAX, SiteLink::deadline);
        let recall = self.recall.as_ref().map_or(u64::MAX, Recall::deadline);
        let writers = self.ring.deadline().min(self.lanes.deadline()).min(manifests).min(site).min(recall);
        let manifest =
            if self.manifest_fits() { self.manifests.due_at(pace.manifest_ns).max(soon) } else { u64::MAX };
        let waits = self.inflight.is_starved() || self.wants_to_seal();
        let starved = if waits { soon } else { u64::MAX };
        let stages = manifest.min(self.landing.deadline(pace.flush_ns)).min(starved);
        writers
            .min(self.receipts.deadline())
            .min(stages)
            .min(self.round_deadline(soon))
            .min(self.overflow_deadline(soon))
            .min(self.verify_deadline(soon))
    }

    /// Closes the links and fails what waits: this role ends.
    pub fn close<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.stop_verify(context, VerifyStop::NotPaired);
        self.closed = true;
        self.ring.close(context);
        self.close_second(context);
        self.manifest_writer.close(context);
        self.receipts.close(context);
        if let Some(site) = self.site_link.as_mut() {
            site.close(context);
        }
        if let Some(recall) = self.recall.as_mut() {
            recall.close(context);
        }
        while let Some((op, _)) = self.held.pop_front() {
            self.end_op(context, op, Err(HostError::NotServing));
        }
        for request in core::mem::take(&mut self.taken).into_iter().chain(self.overflow.take()) {
            answer(context, request.id, Err(HostError::NotServing));
        }
        while let Some(request) = self.waiting_flushes.pop_front() {
            answer(context, request, Err(HostError::NotServing));
        }
        let effects = &mut context.effects;
        self.inflight.abandon(|request| {
            effects.push(Effect::Answer { request, result: Err(HostError::NotServing) });
        });
        self.waiting_reads.clear();
        self.steps.join.clear();
        self.steps.disk.clear();
    }

    /// Whether reads may be answered now (I11).
    pub fn has_lease(&self, now: u64) -> bool {
        !self.closed && now < self.confirmed_at() + self.config.pace.lease_ns
    }

    /// Does what has become possible, in order, until nothing is left.
    pub(super) fn proceed<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        while self.closed
            && let Some(op) = self.steps.join.pop().or_else(|| self.steps.disk.pop())
        {
            self.end_op(context, op, Err(HostError::NotServing));
        }
        loop {
            // Times are given in the order in which writes joined.
            let mut at = 0;
            // A piece of a round that leaves lets others join behind it.
            while let Some(&op) = self.steps.join.get(at) {
                at += 1;
                let Some(view) = self.inflight.view(op) else { continue };
                if view.kind == (OpKind::Copy { digest: true }) {
                    self.join_digest(context, op, &view);
                    continue;
                }
                self.before_join(context, &view);
                let time = self.clock.next(context.now.wall.min(LATEST_WALL));
                self.reach_timed(context, op, time, &view);
                let (is_copy, length) = (view.kind == OpKind::Copy { digest: false }, view.length);
                self.sealer.join(op, time, view);
                if is_copy {
                    self.on_copied(context.now.mono, length);
                    self.inflight.leave(context, op, &mut self.steps);
                }
            }
            self.steps.join.clear();
            let Some(op) = self.steps.disk.pop() else { return };
            if !self.inflight.is_read(op) {
                let durable = self.config.answer == AnswerMode::JournaledLocal && self.inflight.is_fua(op);
                self.inflight.start_disk(context, op, durable);
            } else if self.landing.is_stale(self.volume_of(op)) {
                // The disk that failed a write is older than what was answered: it serves nothing any more.
                self.end_op(context, op, Err(HostError::Io));
            } else if self.has_lease(context.now.mono) {
                self.inflight.start_disk(context, op, false);
            } else {
                rare!(ReadWaitsForLease);
                self.waiting_reads.push_back(op);
            }
        }
    }
}
