//! The seam between a shard and its front end: what a front end is told, and what it can do.
//!
//! ```text
//!   accept, recv, send on the shard's ring      HostRequest ─▶ queue of the export's owner ─▶ group or lone disk
//!        ▲             │ completions with                                                         │
//!        │             ▼ the front end's tag                                                      ▼
//!      Host ◀──── FrontEnd ◀──────────────────────── on_answer(RequestId, result) ◀────── Effect::Answer
//! ```
//!
//! One front end lives on every shard. The one on shard 0 gets the listeners, accepts and negotiates; when an export of
//! another shard was chosen, it hands the socket over. A front end names its requests itself and finds them again by
//! that name. It is called by one thread only, never twice at the same time, and never blocks.

pub mod nbd;

use std::collections::VecDeque;
use std::sync::Arc;

use midspan_protocol::host::nbd::Session;
use midspan_protocol::vocab::effect::{HostError, HostRequest, Now, RequestId};
use midspan_uring::{Completion, Listener, Ring, Socket};

use crate::buffers::{PoolBuf, PoolBuffers};
use crate::exports::{ExportId, Exports};
use crate::recorder::Recorder;
use crate::tag;

/// Outcome of a host request: a read gives its filled buffer back.
pub type HostResult = Result<Option<PoolBuf>, HostError>;

/// What a shard tells its front end. Every call may use [`Host`] freely; what it asks of machines happens after it returns.
pub trait FrontEnd {
    /// Takes the listeners over (shard 0 only, once, before anything else).
    fn listen(&mut self, host: &mut Host<'_>, listeners: Vec<Listener>);

    /// An operation ended whose user data came from [`Host::user`]; `rest` is what was given there.
    fn on_completion(&mut self, host: &mut Host<'_>, rest: u64, completion: Completion);

    /// A request that [`Host::submit`] took was carried out or not. `NotServing`: drop the connection.
    fn on_answer(&mut self, host: &mut Host<'_>, request: RequestId, result: HostResult);

    /// An export of this shard starts or stops being served; [`Exports`] says which. Requests that are under way are still
    /// answered one by one.
    fn on_export(&mut self, host: &mut Host<'_>, export: ExportId);

    /// A connection that another shard has negotiated.
    fn on_handover(&mut self, host: &mut Host<'_>, handover: Handover);

    /// Once after each batch of events: answers gathered meanwhile can go out in one send; buffers and queue places may
    /// have become free.
    fn on_drained(&mut self, host: &mut Host<'_>);

    /// A deadline of the front end was reached.
    fn on_tick(&mut self, host: &mut Host<'_>);

    /// Monotonic time at which [`FrontEnd::on_tick`] wants to be called; `u64::MAX` for never.
    fn deadline(&self) -> u64;

    /// The shard stops: accept nothing, close everything. Called once; completions go on coming.
    fn stop(&mut self, host: &mut Host<'_>);

    /// Whether, after [`FrontEnd::stop`], nothing is open any more.
    fn is_closed(&self) -> bool;
}

/// Makes the front end of a shard, on the shard's thread.
pub type MakeFrontEnd = Arc<dyn Fn(&FrontSetup) -> Box<dyn FrontEnd> + Send + Sync>;

/// The front end of every node: NBD.
pub fn default_front_end() -> MakeFrontEnd {
    Arc::new(|setup| Box::new(nbd::NbdFrontEnd::new(setup)))
}

/// What a front end is told when it is made.
#[derive(Clone, Debug)]
pub struct FrontSetup {
    /// Number of the shard.
    pub shard: usize,
    /// All exports of the node.
    pub exports: Arc<Exports>,
    /// Requests (pieces) it may have submitted and not yet been answered, over all its connections.
    pub requests: usize,
}

/// A negotiated connection on its way to the shard that owns its export.
#[derive(Debug)]
pub struct Handover {
    /// The connection, with nothing in flight on it.
    pub socket: Socket,
    /// The chosen export.
    pub export: ExportId,
    /// What was agreed on.
    pub session: Session,
    /// Bytes that were received and not consumed; mostly none.
    pub unread: Vec<u8>,
}

/// The dirty maps behind the exports of this shard.
pub trait Marks {
    /// Whether the byte at `offset` of an export may differ at the other site, and before which offset that holds at least.
    /// `None` when there is no map, or nothing at that place.
    fn extent(&self, export: ExportId, offset: u64) -> Option<(bool, u64)>;
}

/// No export has a dirty map.
pub struct NoMarks;

impl Marks for NoMarks {
    fn extent(&self, _: ExportId, _: u64) -> Option<(bool, u64)> {
        None
    }
}

/// What a front end can use during a call.
pub struct Host<'a> {
    /// The shard's ring: sockets are added, operated on and closed here, with user data of [`Host::user`] only.
    pub ring: &'a mut Ring,
    /// The shard's buffers. `None` of a take is back-pressure: try again in [`FrontEnd::on_drained`].
    pub buffers: &'a mut PoolBuffers,
    /// All exports of the node.
    pub exports: &'a Exports,
    /// What may differ at the other site.
    pub marks: &'a dyn Marks,
    /// The time of this call.
    pub now: Now,
    pub(crate) shard: usize,
    pub(crate) asked: &'a mut Asked,
    pub(crate) recorder: &'a mut Recorder,
}

impl Host<'_> {
    /// User data by which a completion comes back to the front end; `rest` is below 2^56.
    pub const fn user(rest: u64) -> u64 {
        tag::user(tag::FRONT, rest)
    }

    /// Number of this shard.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// A pool buffer of at least `length` bytes.
    pub fn take(&self, length: usize) -> Option<PoolBuf> {
        self.buffers.pool().take(length).map(PoolBuf::new)
    }

    /// Gives a request to the owner of an export of this shard. It is answered by [`FrontEnd::on_answer`], later and once.
    /// Requests of one export keep their order.
    ///
    /// # Errors
    /// Gives the request back when the owner's queue is full: try again in [`FrontEnd::on_drained`].
    pub fn submit(
        &mut self,
        export: ExportId,
        request: HostRequest<PoolBuf>,
    ) -> Result<(), HostRequest<PoolBuf>> {
        if self.asked.requests.len() >= self.asked.limit {
            return Err(request);
        }
        self.recorder.arrived(self.exports.get(export), &request);
        self.asked.requests.push_back((export, request));
        Ok(())
    }

    /// Requests that [`Host::submit`] takes now.
    pub fn room(&self) -> usize {
        self.asked.limit.saturating_sub(self.asked.requests.len())
    }

    /// Sends a connection to the shard that owns its export, whichever that is. A shard that cannot take it closes it.
    pub fn hand_over(&mut self, handover: Handover) {
        self.asked.handovers.push(handover);
    }
}

/// What front ends have asked and machines have not taken yet.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) requests: VecDeque<(ExportId, HostRequest<PoolBuf>)>,
    pub(crate) handovers: Vec<Handover>,
    pub(crate) limit: usize,
}

impl Asked {
    pub(crate) fn new(limit: usize) -> Self {
        Self { requests: VecDeque::with_capacity(limit), handovers: Vec::with_capacity(16), limit }
    }
}
