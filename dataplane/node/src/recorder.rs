//! The flight recorder of a shard: what each write reached, and when, in a fixed ring; and how long each span took.
//!
//! Always on. An event costs one reading of the time stamp counter and a few stores: no lock, no allocation, no
//! formatting. Machines say what was reached ([`Milestone`]); what only the glue knows (a request came, a frame went to the
//! kernel, an answer or a disk write ended) is noted here.

mod flow;

use std::sync::Arc;

use midspan_format::frame::{FrameHeader, FrameKind};
use midspan_format::geometry::Position;
use midspan_format::ids::GroupId;
use midspan_protocol::vocab::buffer::Buffer;
use midspan_protocol::vocab::effect::{DiskResult, Effects, HostOp, HostRequest, RequestId, Token};
pub use midspan_protocol::vocab::milestone::{Milestone, Stage};
use midspan_protocol::vocab::tags;
use midspan_uring::clock::Ticker;
pub use midspan_uring::tape::Reader;
use midspan_uring::tape::{Copied, RECORD_WORDS, Record, Writer, tape};

use crate::counters::AllCounters;
use crate::counters::spans::{Span, Spans};
use crate::exports::{Backing, Export};
use flow::Flow;

/// Bytes of one event.
pub const EVENT_BYTES: usize = RECORD_WORDS * size_of::<u64>();

/// An event as it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Nanoseconds since boot.
    pub at: u64,
    /// What was reached.
    pub milestone: Milestone,
}

impl Recorded {
    /// Reads a record of the tape; `None` where it names a stage that does not exist.
    pub fn parse(record: &Record) -> Option<Self> {
        let [at, what, whose, place, with] = *record;
        let stage = *Stage::ALL.get(usize::try_from(what & 0xFF).ok()?)?;
        let (group, request) = (GroupId(low(whose)), low(whose >> 32));
        let milestone = Milestone { stage, group, request, length: low(what >> 32), place, with };
        Some(Self { at, milestone })
    }

    fn record(&self) -> Record {
        let Milestone { stage, group, request, length, place, with } = self.milestone;
        let what = u64::from(length) << 32 | stage as u64;
        [self.at, what, u64::from(request) << 32 | u64::from(group.0), place, with]
    }
}

fn low(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0)
}

/// The shard's end of a tape, and everybody else's. `None` when `bytes` are too few for one event: nothing is recorded.
pub fn ring_of(bytes: usize) -> Option<(Writer, Reader)> {
    let records = bytes / EVENT_BYTES;
    (records > 0).then(|| tape(records))
}

/// The events from number `from` on, at most `limit`, and where to go on.
pub fn read(recorder: &Reader, from: u64, limit: usize) -> (Vec<Recorded>, Copied) {
    let mut records = Vec::new();
    let copied = recorder.copy(from, limit, &mut records);
    (records.iter().filter_map(Recorded::parse).collect(), copied)
}

/// A host request that was not answered yet.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    /// When it came; 0: nobody asks, or it is no write.
    at: u64,
    group: GroupId,
    /// Its entry in the in-flight table, once it has its time.
    op: Option<u32>,
}

/// The recorder.
#[derive(Debug)]
pub struct Recorder {
    tape: Option<Writer>,
    ticker: Ticker,
    counters: Arc<AllCounters>,
    shard: usize,
    /// By number of the request.
    requests: Box<[Asked]>,
    flows: Vec<Flow>,
}

impl Recorder {
    /// A recorder of one shard's groups, for at most `requests` host requests at a time.
    pub fn new(
        tape: Option<Writer>,
        (counters, shard): (Arc<AllCounters>, usize),
        requests: usize,
        groups: impl Iterator<Item = GroupId>,
    ) -> Self {
        let requests = if tape.is_some() { requests } else { 0 };
        let mut flows: Vec<Flow> = Vec::new();
        for group in groups {
            if tape.is_some() && flows.iter().all(|flow| flow.group != group) {
                flows.push(Flow::new(group, requests));
            }
        }
        let requests = vec![Asked::default(); requests].into_boxed_slice();
        Self { tape, ticker: Ticker::new(), counters, shard, requests, flows }
    }

    /// A recorder that records nothing.
    pub fn off() -> Self {
        Self::new(None, (Arc::default(), 0), 0, std::iter::empty())
    }

    /// A host's request on an export is whole in memory.
    pub fn arrived<B>(&mut self, export: Option<&Export>, request: &HostRequest<B>) {
        let (offset, length) = match request.op {
            HostOp::Write { offset, length, .. } => (offset, length as u64),
            HostOp::Zero { offset, length, .. } => (offset, length),
            HostOp::Read { .. } | HostOp::Flush => return,
        };
        let Some(Backing::Group(group)) = export.map(|export| export.backing) else { return };
        let at = self.now();
        if let Some(asked) = self.requests.get_mut(request.id.0 as usize) {
            *asked = Asked { at, group, op: None };
        }
        let (request, with) = (request.id.0, u64::from(request.volume.0));
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.put(at, Milestone { stage: Stage::Arrived, group, request, length, place: offset, with });
    }

    /// What machines have reached.
    pub fn reached<B>(&mut self, effects: &mut Effects<B>) {
        let mut at = 0;
        for milestone in effects.drain_milestones() {
            // One reading for all that one call to a machine brought about.
            if at == 0 {
                at = self.now();
            }
            self.follow(at, &milestone);
            self.put(at, milestone);
        }
    }

    /// A frame is given to the kernel.
    pub fn sent(&mut self, header: &FrameHeader) {
        if header.kind == FrameKind::Journal && self.tape.is_some() {
            let (at, milestone) = (self.now(), Milestone::frame(Stage::Sent, header));
            self.follow(at, &milestone);
            self.put(at, milestone);
        }
    }

    /// A host request is answered.
    pub fn answered(&mut self, request: RequestId) {
        let Some(asked) = self.requests.get_mut(request.0 as usize) else { return };
        let Asked { at: since, group, op } = std::mem::take(asked);
        if since == 0 {
            return;
        }
        let at = self.now();
        if let Some(spans) = spans(&self.counters, self.shard) {
            spans.record(Span::Answer, at.saturating_sub(since));
        }
        if let (Some(flow), Some(op)) = (flow(&mut self.flows, group), op) {
            flow.answered(op, at);
        }
        let request = request.0;
        self.put(at, Milestone { stage: Stage::Answered, group, request, length: 0, place: 0, with: 0 });
    }

    /// A disk operation of a group ended.
    pub fn on_disk<B: Buffer>(&mut self, group: GroupId, token: Token, result: &DiskResult<B>) {
        // A read gives a buffer back.
        let is_write = tags::of(token) == tags::INFLIGHT && matches!(result, Ok(None));
        if !is_write || self.tape.is_none() {
            return;
        }
        let (at, op) = (self.now(), low(token.0));
        if let (Some(flow), Some(spans)) = (flow(&mut self.flows, group), spans(&self.counters, self.shard)) {
            flow.written(op, at, spans);
        }
        let stage = Stage::Written;
        self.put(at, Milestone { stage, group, request: 0, length: 0, place: 0, with: u64::from(op) });
    }

    /// Ends and begins the spans at whose ends a milestone stands.
    fn follow(&mut self, at: u64, milestone: &Milestone) {
        let Some(spans) = spans(&self.counters, self.shard) else { return };
        if milestone.stage == Stage::Timed
            && let Some(asked) =
                self.requests.get_mut(milestone.request as usize).filter(|asked| asked.at > 0)
        {
            asked.op = Some(low(milestone.with));
            spans.record(Span::Admit, at.saturating_sub(asked.at));
        }
        if let Some(flow) = flow(&mut self.flows, milestone.group) {
            flow.reached(at, milestone, spans);
        }
    }

    fn put(&mut self, at: u64, milestone: Milestone) {
        if let Some(tape) = self.tape.as_mut() {
            tape.push(Recorded { at, milestone }.record());
            #[cfg(feature = "usdt")]
            probe(milestone);
        }
    }

    fn now(&mut self) -> u64 {
        if self.tape.is_some() { self.ticker.now() } else { 0 }
    }
}

/// Fires the static probe of a stage.
#[cfg(feature = "usdt")]
fn probe(milestone: Milestone) {
    use midspan_uring::probes::{Told, fire};
    let Milestone { stage, group, request, length, place, with } = milestone;
    fire(stage as u8, Told { group: group.0, request, length, place, with });
}

fn spans(counters: &AllCounters, shard: usize) -> Option<&Spans> {
    counters.get(shard).map(|counters| &counters.spans)
}

fn flow(flows: &mut [Flow], group: GroupId) -> Option<&mut Flow> {
    flows.iter_mut().find(|flow| flow.group == group)
}

/// Behind a frame.
fn end_of(milestone: &Milestone) -> Position {
    Position(milestone.place.saturating_add(u64::from(milestone.length)))
}

#[cfg(test)]
mod tests;
