//! The shard's engine: ring, buffers, disks and connections. Machines' effects go in, events for machines come out.

use std::collections::VecDeque;
use std::sync::Arc;

use midspan_format::ids::NodeId;
use midspan_format::message::RefusedReason;
use midspan_protocol::vocab::effect::{Effect, LinkId, Note, RequestId};
use midspan_uring::{Completion, Ring};

use crate::buffers::{PoolBuf, PoolBuffers};
use crate::counters::{AllCounters, Counters};
use crate::disk::{Disks, Request};
use crate::event::{Events, Owner};
use crate::frontend::HostResult;
use crate::inbound::{Greeted, Inbound, Outcome};
use crate::peer::outgoing::Out;
use crate::peer::{LinkContext, Links};
use crate::recorder::Recorder;
use crate::tag;

/// Large buffers that are kept free for receiving: below, remembered frames are given back.
const LARGE_RESERVE: usize = 4;
/// What counts as a large buffer, bytes.
const LARGE: usize = 1 << 20;

/// Where the counters of a shard are.
#[derive(Clone, Debug)]
pub struct MyCounters {
    all: Arc<AllCounters>,
    shard: usize,
    none: Arc<Counters>,
}

impl MyCounters {
    /// The counters of one shard.
    pub fn new(all: Arc<AllCounters>, shard: usize) -> Self {
        Self { all, shard, none: Arc::default() }
    }

    /// The counters.
    pub fn get(&self) -> &Counters {
        self.all.get(self.shard).map_or(&self.none, |padded| padded)
    }
}

/// What a completion came to, beyond events.
#[derive(Debug)]
pub enum Routed {
    /// Nothing more.
    Done,
    /// It is the front end's.
    Front(Completion),
    /// A connection that was made to us has greeted.
    Greeted(Greeted),
}

/// The engine.
pub struct Engine {
    /// The ring.
    pub ring: Ring,
    /// The pool.
    pub buffers: PoolBuffers,
    /// The open files.
    pub disks: Disks,
    /// The connections.
    pub links: Links,
    /// Who is greeting (shard 0).
    pub inbound: Inbound,
    /// What happened and was not given to machines yet.
    pub events: Events,
    /// Answers to the front end.
    pub answers: VecDeque<(RequestId, HostResult)>,
    /// Notes of machines.
    pub notes: VecDeque<(Owner, Note)>,
    /// The shard's counters.
    pub counters: MyCounters,
    /// Host requests that machines have and did not answer yet.
    pub unanswered: usize,
    /// What writes have reached.
    pub recorder: Recorder,
}

impl Engine {
    /// Carries one effect out. `now` is monotonic.
    pub fn execute(&mut self, now: u64, owner: Owner, effect: Effect<PoolBuf>) {
        match effect {
            Effect::Connect { link, node, hello } => {
                self.with_links(now, |links, context| links.connect(context, owner, link, node, hello));
            }
            Effect::Close { link } => self.with_links(now, |links, context| links.close(context, link)),
            Effect::Send { link, message } => self.send(link, Out::Message(message)),
            Effect::SendBlock { link, message } => self.send(link, Out::Block(message)),
            Effect::SendFrame { link, frame } => self.send(link, Out::Frame(frame)),
            Effect::SendData { link, message, parts } => self.send(link, Out::Data(message, parts)),
            Effect::Disk { disk, token, op, awaited } => {
                let (ring, events) = (&mut self.ring, &mut self.events);
                self.disks.start(ring, events, now, Request { owner, disk, token, op, awaited });
            }
            Effect::Answer { request, result } => {
                if result.is_err() {
                    self.counters.get().host_errors.add(1);
                }
                self.unanswered = self.unanswered.saturating_sub(1);
                self.recorder.answered(request);
                self.answers.push_back((request, result));
            }
            Effect::Note(note) => self.notes.push_back((owner, note)),
        }
    }

    /// Turns a completion into events, or says whose it is.
    pub fn on_completion(&mut self, now: u64, completion: Completion) -> Routed {
        self.counters.get().completions.add(1);
        match tag::owner(completion.user) {
            tag::DISK => {
                let (disks, counters) = (&mut self.disks, self.counters.get());
                disks.on_completion(
                    &mut self.ring,
                    &mut self.buffers,
                    &mut self.events,
                    counters,
                    now,
                    completion,
                );
                Routed::Done
            }
            tag::LINK => {
                self.with_links(now, |links, context| links.on_completion(context, completion));
                Routed::Done
            }
            tag::INBOUND => {
                match self.inbound.on_completion(&mut self.ring, &mut self.buffers, now, completion) {
                    Outcome::Nothing => Routed::Done,
                    Outcome::Greeted(greeted) => Routed::Greeted(greeted),
                    Outcome::OtherVersion => {
                        let note = Note::Refused { node: NodeId::NONE, reason: RefusedReason::Version };
                        self.notes.push_back((Owner::Relay, note));
                        Routed::Done
                    }
                }
            }
            _ => Routed::Front(completion),
        }
    }

    /// Takes over a connection that has greeted, for a machine.
    pub fn adopt(&mut self, now: u64, owner: Owner, greeted: Greeted) {
        self.with_links(now, |links, context| {
            links.adopt(context, owner, greeted.socket, greeted.hello);
        });
    }

    /// Starts what the pass has made possible. The last thing before the ring is entered.
    pub fn flush(&mut self, now: u64) {
        self.with_links(now, Links::flush);
        self.disks.retry(&mut self.ring, &mut self.buffers, &mut self.events, now);
    }

    /// Timers of the engine itself; says whether any was due.
    pub fn on_tick(&mut self, now: u64) -> bool {
        let due = self.deadline() <= now;
        if due {
            self.with_links(now, Links::on_tick);
            self.inbound.on_tick(&mut self.ring, now);
        }
        due
    }

    /// When `on_tick` has something to do.
    pub fn deadline(&self) -> u64 {
        self.links.deadline().min(self.inbound.deadline())
    }

    /// Whether remembered frames should give their buffers back.
    pub fn is_short_of_buffers(&self) -> bool {
        self.buffers.pool().available(LARGE) < LARGE_RESERVE
    }

    /// Accepts no more connections.
    pub fn stop_accepting(&mut self) {
        self.inbound.stop(&mut self.ring);
    }

    /// Ends all connections; machines are not told.
    pub fn close_links(&mut self, now: u64) {
        self.with_links(now, Links::close_all);
    }

    fn send(&mut self, link: LinkId, out: Out) {
        self.links.send(link, out);
    }

    fn with_links(&mut self, now: u64, act: impl FnOnce(&mut Links, &mut LinkContext<'_>)) {
        let mut context = LinkContext {
            ring: &mut self.ring,
            buffers: &mut self.buffers,
            events: &mut self.events,
            counters: self.counters.get(),
            recorder: &mut self.recorder,
            now,
        };
        act(&mut self.links, &mut context);
    }
}
