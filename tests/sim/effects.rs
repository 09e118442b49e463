//! What machines ask is carried out, under the eyes of the oracle: no effect may break an invariant.

use midspan_format::checksum::checksum;
use midspan_format::control::LossReason;
use midspan_format::frame::{FrameHeader, FrameKind};
use midspan_format::geometry::{BLOCK, Position};
use midspan_format::message::{Hello, MAX_MESSAGE, Message, RefusedReason};
use midspan_format::superblock::Role;
use midspan_protocol::vocab::buffer::{Buffer, Slice};
use midspan_protocol::vocab::effect::{
    Disk, DiskOp, Effect, Frame, HandoverNote, HostError, LinkId, Note, Parts, RequestId, RoundNote,
    StartNote, StartRefusal, StartReport, Token,
};

use crate::client::Reply;
use crate::content;
use crate::disk::Owner;
use crate::event::{DiskIndex, Event, NodeIndex};
use crate::history::Kind;
use crate::layout::node_id;
use crate::lies::Lie;
use crate::memory::{self, SimBuf};
use crate::swarm::US;
use crate::trace;
use crate::wire::{Keep, Payload};
use crate::words::{describe_effect, name};
use crate::world::World;

impl World {
    /// Carries one effect out.
    pub(crate) fn execute(&mut self, node: NodeIndex, owner: Owner, effect: Effect<SimBuf>) {
        trace::line(node, || describe_effect(&effect));
        match effect {
            Effect::Connect { link, node: to, hello } => self.connect(node, link, to, &hello),
            Effect::Close { link } => {
                let process = self.nodes[node.0].process.as_mut();
                if let Some((conn, side)) = process.and_then(|process| process.links.remove(&link)) {
                    self.wire.close(&mut self.schedule, conn, side);
                }
            }
            Effect::Send { link, message } => {
                self.on_said(node, owner, link, &message);
                if self.lie == Lie::FenceDropped && self.lie_about_fence(node, link, &message) {
                    return;
                }
                let payload = Payload::Small(encode(&message));
                self.send(node, link, payload, Keep::Nothing);
            }
            Effect::SendBlock { link, message } => {
                self.on_said(node, owner, link, &message);
                self.send(node, link, Payload::Bulk(encode_block(&message)), Keep::Nothing);
            }
            Effect::SendFrame { link, frame } => {
                self.on_frame_sent(node, &frame);
                let bytes = frame_bytes(&frame);
                self.send(node, link, Payload::Bulk(bytes), Keep::Frame(frame));
            }
            Effect::SendData { link, message, parts } => {
                self.on_said(node, owner, link, &message);
                let bytes = with_parts(&message, &parts);
                self.send(node, link, Payload::Bulk(bytes), Keep::Parts(Box::new(parts)));
            }
            Effect::Disk { disk, token, op, .. } => self.start_disk(node, owner, disk, token, op),
            Effect::Answer { request, result } => self.answer(node, request, result),
            Effect::Note(note) => self.on_note(node, note),
        }
    }

    fn connect(&mut self, node: NodeIndex, link: LinkId, to: midspan_format::ids::NodeId, hello: &Hello) {
        let Some(target) = self.places().into_iter().find(|n| node_id(*n) == to) else {
            return self.fail("contract", format!("{node} connects to node {to}, which does not exist"));
        };
        let Some(process) = self.nodes[node.0].process.as_mut() else { return };
        if process.links.contains_key(&link) {
            return self.fail("contract", format!("{node} connects {} again", name(link)));
        }
        let greeting = encode(&Message::Hello(*hello));
        let conn = self.wire.connect(&mut self.schedule, (node, process.life, link), target, hello, greeting);
        process.links.insert(link, (conn, 0));
    }

    fn send(&mut self, node: NodeIndex, link: LinkId, payload: Payload, keep: Keep) {
        let conn = self.nodes[node.0].process.as_ref().and_then(|process| process.links.get(&link).copied());
        // Gone already: its machine has been told, or will be.
        let Some((conn, side)) = conn else { return };
        self.wire.send(&mut self.schedule, conn, side, payload, keep);
    }

    /// Ring space is used again only when nobody needs it any more (I3).
    fn on_frame_sent(&mut self, node: NodeIndex, frame: &Frame<SimBuf>) {
        let header = &frame.header;
        if header.kind != FrameKind::Journal {
            return self.on_receipt_sent(node, frame);
        }
        let Some(over) = header.end().0.checked_sub(self.swarm.ring) else { return };
        let other = node.other_site();
        let mut acquired = self.watches.own(other).end();
        if acquired.0 < over {
            // What a site recorded as its point lies behind it, whatever its ring holds.
            let recorded = self.layout.state(self.nodes[other.0].disks[0].durable());
            let recorded = recorded.and_then(|s| s.lanes().first().map(|lane| lane.point.position));
            acquired = acquired.max(recorded.unwrap_or_default());
        }
        let landed = self.watches.ring.landed.max(self.watches.manifest.landed);
        // A lane begins only where the primary's disks hold everything before.
        let eyes = self.watches.journal.eyes.iter().filter(|eye| eye.is_of(self.watches.ring.area()));
        let landed = eyes.map(|eye| eye.began().max(eye.manifest.landed)).fold(landed, Position::max);
        if acquired.0 < over && !self.is_outside(node) {
            let what =
                format!("{node} overwrites up to {over}, but the other site has acquired {acquired} only");
            self.fail("I3", what);
        }
        // Where the index rots, the oracle's eye on it ends; the machines may have read on.
        if landed.0 < over && self.swarm.rates.index_rot == 0 {
            self.fail("I3", format!("{node} overwrites up to {over}, but the durable landed is {landed}"));
        }
    }

    fn start_disk(&mut self, node: NodeIndex, owner: Owner, disk: Disk, token: Token, op: DiskOp<SimBuf>) {
        let index = match disk {
            Disk::Journal => DiskIndex(0),
            Disk::Volume(volume) => DiskIndex(volume.0 as usize + 1),
        };
        if index.0 >= self.nodes[node.0].disks.len() {
            return self.fail("contract", format!("{node} has no {disk:?}"));
        }
        match disk {
            Disk::Journal => self.on_journal_write(node, owner, &op),
            Disk::Volume(volume) => self.on_volume_write(node, volume.0, &op),
        }
        let pace = self.swarm.disks[node.like()];
        let (bytes, durable) = match &op {
            DiskOp::Write { data, durable, .. } => (data.len() as u64, *durable),
            DiskOp::Read { length, .. } => (*length as u64, false),
            DiskOp::Flush => (0, true),
            DiskOp::Zero { length, durable, .. } => (*length / 16, *durable),
        };
        let typical = pace.latency + if durable { pace.durable } else { 0 };
        let slowness = self.nodes[node.0].slowness;
        let delay = self.disk_random.latency(typical) * slowness
            + bytes * 1000 / pace.bytes_per_us
            + self.hangs(node);
        let number = self.nodes[node.0].disks[index.0].submit(owner, token, op);
        self.schedule.after(delay, Event::Disk { node, disk: index, number });
        let in_flight = self.nodes[node.0].disks[index.0].in_flight();
        if in_flight > 20_000 {
            self.fail("I10", format!("{in_flight} operations on {disk:?} of {node}"));
        }
    }

    /// After a fence no frame of an older epoch goes to the relay's ring (I5); own ring space is used again only below the
    /// persisted cut (I3).
    fn on_journal_write(&mut self, node: NodeIndex, owner: Owner, op: &DiskOp<SimBuf>) {
        let DiskOp::Write { offset, data, .. } = op else { return };
        let Ok(header) = FrameHeader::decode(data.bytes()) else { return };
        if header.kind != FrameKind::Journal {
            return;
        }
        let eye = self.watches.journal.eye(node).filter(|_| owner == Owner::Relay);
        if let Some(eye) = eye.filter(|eye| eye.holds(*offset)) {
            if let Some(fenced) = eye.fenced.filter(|fenced| header.epoch < *fenced)
                && !self.watches.journal.knows(&header)
            {
                let what = format!(
                    "a frame of epoch {} that is not in the journal is written at {node} after the fence by {fenced}",
                    header.epoch
                );
                self.fail("I5", what);
            }
            return;
        }
        match node {
            NodeIndex::RELAY if self.watches.ring.holds(*offset) && !self.watches.journal.is_used() => {
                if let Some(fenced) = self.fenced.filter(|fenced| header.epoch < *fenced) {
                    self.fail(
                        "I5",
                        format!("a frame of epoch {} is written after the fence by {fenced}", header.epoch),
                    );
                }
            }
            NodeIndex::A | NodeIndex::B if self.watches.own(node).holds(*offset) => {
                let end = header.position.0 + data.len() as u64;
                let state = self.layout.state(self.nodes[node.0].disks[0].durable());
                let kept =
                    state.and_then(|s| s.lanes().first().map(|lane| lane.point.position)).unwrap_or_default();
                let follows = state.is_some_and(|state| state.role == Role::Secondary);
                if end > kept.0 + self.swarm.own_ring && follows {
                    self.fail(
                        "I3",
                        format!("{node} overwrites its ring up to {end}, but its cut is at {kept}"),
                    );
                }
            }
            _ => {}
        }
    }

    /// The one rule: a volume never gets what no journal holds; outside the lanes, only what is durably marked (I6).
    fn on_volume_write(&mut self, node: NodeIndex, volume: u32, op: &DiskOp<SimBuf>) {
        let (offset, length, sum) = match op {
            DiskOp::Write { offset, data, .. } => (*offset, data.len() as u64, checksum(data.bytes())),
            DiskOp::Zero { offset, length, .. } => (*offset, *length, 0),
            DiskOp::Read { .. } | DiskOp::Flush => return,
        };
        if self.is_outside(node) {
            let map = self.layout.map(self.nodes[node.0].disks[0].durable());
            let regions = offset / 65536..(offset + length).div_ceil(65536);
            let marked = |region: u64| map.is_marked(midspan_format::ids::VolumeId(volume), region * 65536);
            if let Some(region) = regions.clone().find(|region| !marked(*region)) {
                self.fail("I6", format!("{node} writes {offset}+{length} of volume {volume}, but region {region} is not durably marked"));
            }
            return;
        }
        let key = (volume, offset, length, sum);
        self.see_journal();
        let follows = self.role_of(node) == Some(Role::Secondary);
        let own = self.watches.own(node);
        own.advance(self.nodes[node.0].disks[0].durable());
        // A site that became a secondary later is seen from there on only: the relay has what it had acquired before.
        let held =
            if follows && own.is_whole() { own.has_key(&key) } else { self.watches.ring.has_key(&key) };
        if !held && !self.watches.journal.ever_had(&key) {
            let seen = self.watches.journal.told(&self.watches.ring);
            eprintln!("{seen}");
            self.fail(
                "one rule",
                format!("{node} writes {offset}+{length} of volume {volume}, which no journal holds durably"),
            );
        }
    }

    /// An answer leaves: it must be safe (I1), and not be given by one who serves no more (I5, I11).
    fn answer(&mut self, node: NodeIndex, request: RequestId, result: Result<Option<SimBuf>, HostError>) {
        let op = self.nodes[node.0].process.as_mut().and_then(|process| process.requests.remove(&request.0));
        let Some((op, sent)) = op.and_then(|op| self.sent.get(&op).map(|sent| (op, *sent))) else {
            return self.fail("contract", format!("{node} answers {request:?}, which it does not have"));
        };
        if let Some(reign) =
            self.reign.filter(|reign| reign.node != node && sent.at > reign.since && result.is_ok())
            && !self.is_given_up(node)
        {
            let rule = if sent.kind == Kind::Read { "I11" } else { "I5" };
            let what = format!("{node} answers op {op}, which was asked after {} began to serve", reign.node);
            self.fail(rule, what);
        }
        if result.is_ok() && !self.is_outside(node) && self.watches.journal.is_used() {
            self.is_in_the_lanes(node, op);
        } else if result.is_ok() && !self.is_outside(node) {
            self.on_answered(op);
        } else if result.is_ok() && matches!(sent.kind, Kind::Write | Kind::Zero) && !self.is_given_up(node) {
            self.outside = Some(node);
        }
        self.losing.beside |= result.is_ok() && self.is_beside(node, op);
        let reply = match result {
            Err(error) => Reply::Failed(error),
            Ok(Some(data)) if sent.kind == Kind::Read => {
                let first = sent.offset / content::CELL as u64;
                let length = usize::try_from(sent.length).unwrap_or(usize::MAX);
                if data.bytes().len() < length {
                    return self
                        .fail("contract", format!("read {op} of {length} bytes got {}", data.bytes().len()));
                }
                let volume = u32::try_from(sent.volume).unwrap_or(u32::MAX);
                let cells = (first..).zip(data.bytes()[..length].chunks_exact(content::CELL));
                Reply::Data(cells.map(|(cell, bytes)| content::classify(volume, cell, bytes)).collect())
            }
            Ok(_) if sent.kind == Kind::Read => {
                return self.fail("contract", format!("read {op} was answered without data"));
            }
            Ok(_) => Reply::Done,
        };
        self.replies.insert(op, reply);
        let delay = self.host_random.latency(30 * US);
        self.schedule.after(delay, Event::Answer { op });
    }

    /// What is durable now of the journal.
    fn see_journal(&mut self) {
        if self.watches.journal.is_used() {
            return self.see_lanes();
        }
        self.watches.ring.advance(self.nodes[NodeIndex::RELAY.0].disks[0].told());
    }

    /// I1: at the moment of the answer the frame is durable at the relay.
    fn on_answered(&mut self, op: u64) {
        let Some(sent) = self.sent.get(&op).copied() else { return };
        self.watches.ring.advance(self.nodes[NodeIndex::RELAY.0].disks[0].told());
        let volume = u32::try_from(sent.volume).unwrap_or(u32::MAX);
        let safe = match sent.kind {
            Kind::Read | Kind::Flush => true,
            Kind::Write => self.watches.ring.has_op(op),
            Kind::Zero => self.watches.ring.has_key(&(volume, sent.offset, sent.length, 0)),
        };
        if !safe {
            self.fail(
                "I1",
                format!("op {op} is answered, but no durable frame of the relay holds it: {sent:?}"),
            );
        }
    }

    /// A start or a takeover ended: what it says of losses must be true.
    fn on_start_done(&mut self, node: NodeIndex, report: &StartReport) {
        self.figures.starts += 1;
        if self.swarm.accepts {
            return self.judge_loss(node, report);
        }
        if report.lost_nothing && self.outside.is_some_and(|other| other != node) {
            let what = format!("{node} says that nothing is lost, but hosts were answered outside the lanes");
            self.fail("I1", what);
        }
        if !report.lost_nothing {
            self.fail("I4", format!("{node} cannot say that nothing is lost: {report:?}"));
        }
    }

    fn on_start_refused(&mut self, node: NodeIndex, refusal: StartRefusal) {
        self.losing.over[node.0] |= refusal != StartRefusal::Running;
        if self.losing.pending[node.0].is_some() && refusal != StartRefusal::Running {
            return self.word_refused(node, refusal);
        }
        match refusal {
            // The operator asked twice, or while a planned one ran, or the relay is away: tries again.
            StartRefusal::Running | StartRefusal::LaneUnreachable { .. } => self.ask_again(node),
            StartRefusal::NotSecondary | StartRefusal::Stopping | StartRefusal::NothingToAbort => {
                self.takeover.asked[node.0] = None;
            }
            // What hosts were told outside the lanes is not here: no loss is accepted.
            StartRefusal::MayLose { why: LossReason::LeftTheLanes, .. } | StartRefusal::NoCut
                if self.alone =>
            {
                self.takeover.asked[node.0] = None;
            }
            // A second round follows the first where hosts wrote meanwhile.
            StartRefusal::NoCut if self.in_place => self.takeover.asked[node.0] = None,
            // No primary held the lane when it was asked for.
            StartRefusal::MayLose { why: LossReason::LaneUnreachable, .. }
                if self.takeover.unheld[node.0] =>
            {
                self.on_unheld(node);
            }
            // The other site's operator was quicker. The relay refuses from its decision on, and answers that fence later.
            StartRefusal::LaneRefused { reason: RefusedReason::OlderEpoch, .. }
                if self.decided.is_some_and(|decided| decided.node != node_id(node))
                    || self.takeover.asked[node.other_site().0].is_some() =>
            {
                self.takeover.asked[node.0] = None;
            }
            StartRefusal::LaneRefused { .. }
            | StartRefusal::NotStarting
            | StartRefusal::LaneReachable { .. }
            | StartRefusal::SecondaryAhead
            | StartRefusal::OtherServes
            | StartRefusal::MayLose { .. }
            | StartRefusal::NoCut
            | StartRefusal::NotSplit
            | StartRefusal::NotToBeKept => self.on_odd_refusal(node, refusal),
        }
    }

    /// Whether no other site has begun to serve since this one did.
    fn reigns(&self, node: NodeIndex) -> bool {
        self.reign.is_none_or(|reign| reign.node == node)
    }

    fn on_note(&mut self, node: NodeIndex, note: Note) {
        match note {
            Note::Serving { epoch } => self.on_serving(node, epoch),
            Note::Start(StartNote::Done(report)) => self.on_start_done(node, &report),
            Note::Start(StartNote::Refused(refusal)) => self.on_start_refused(node, refusal),
            Note::Start(StartNote::Aborted) => self.takeover.asked = [None; 3],
            Note::Start(
                StartNote::Fencing | StartNote::Reading { .. } | StartNote::Redoing | StartNote::Probed(_),
            )
            | Note::Fenced { .. }
            | Note::LaneUp { .. }
            | Note::LaneSet { .. }
            | Note::LaneDown { .. }
            | Note::LaneRefused { .. }
            | Note::Refused { .. }
            | Note::BackInTheLanes
            | Note::Overflow(_)
            | Note::Handover(
                HandoverNote::Draining | HandoverNote::Given { .. } | HandoverNote::NotCancelled,
            ) => {}
            Note::Verify(note) => self.on_verify(node, &note),
            Note::Start(StartNote::Skipping { landed, .. }) => self.judge_skipping(node, landed.0),
            Note::FenceDone { epoch, .. } => self.decided = self.decided.max(Some(epoch)),
            Note::Rejoined { .. } => self.watches.own(node).returns = true,
            Note::LeftTheLanes { full } => {
                self.figures.leaves += 1;
                self.figures.losses += u64::from(!full);
                self.alone = true;
            }
            // From the answerable End on everything is in the lanes. What a site says that was replaced meanwhile is about its own round.
            Note::Round(RoundNote::Sent { .. }) if self.reigns(node) => self.outside = None,
            Note::Round(RoundNote::Ended { .. }) if self.reigns(node) => {
                self.figures.rounds += 1;
                (self.alone, self.outside, self.in_place) = (false, None, false);
            }
            Note::Round(RoundNote::Began { in_place, .. }) if self.reigns(node) => self.in_place = in_place,
            Note::Round(RoundNote::Cancelled { .. }) if self.reigns(node) => self.in_place = false,
            Note::Round(_) => {}
            Note::Handover(HandoverNote::Refused(refusal)) => {
                if self.going_home == Some(node) {
                    // An operator tries again.
                    trace::line(node, || format!("does not hand over: {refusal:?}"));
                    self.going_home = None;
                }
            }
            Note::LaneLost { .. }
            | Note::DiskFailed { .. }
            | Note::OtherServes { .. }
            | Note::Damaged { .. } => self.on_bad_news(node, &note),
        }
    }
}

pub(crate) fn encode(message: &Message) -> Vec<u8> {
    let mut bytes = [0; MAX_MESSAGE];
    let length = message.encode(&mut bytes).expect("a message fits its greatest length");
    bytes[..length].to_vec()
}

/// A frame as it goes out.
pub(crate) fn frame_bytes(frame: &Frame<SimBuf>) -> Vec<u8> {
    let mut bytes = memory::vector(frame.parts.iter().map(Slice::len).sum());
    for part in &frame.parts {
        bytes.extend_from_slice(part.bytes());
    }
    bytes
}

fn encode_block(message: &Message) -> Vec<u8> {
    let mut block = [0; BLOCK];
    message.encode_block(&mut block);
    block.to_vec()
}

fn with_parts(message: &Message, parts: &Parts<SimBuf>) -> Vec<u8> {
    let parts_length: usize = parts.iter().flatten().map(Slice::len).sum();
    let mut block = [0; BLOCK];
    message.encode_block(&mut block);
    let mut bytes = memory::vector(BLOCK + parts_length);
    bytes.extend_from_slice(&block);
    for part in parts.iter().flatten() {
        bytes.extend_from_slice(part.bytes());
    }
    bytes
}
