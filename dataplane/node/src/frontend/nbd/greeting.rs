//! One connection while it negotiates: what the machine says goes out through one small buffer, piece by piece.

use midspan_protocol::host::nbd::Session;
use midspan_protocol::host::negotiation::{Negotiation, Outcome};
use midspan_uring::{Buf, SocketId};

use super::bounds;
use super::catalog::Catalog;
use super::conn::{GREETING_RECEIVED, GREETING_SENT, user};
use super::input::Input;
use crate::frontend::Host;
use crate::slab::Key;

/// What happens when all was sent.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// The machine goes on.
    GoOn,
    /// Negotiation is over.
    Ready(usize, Session),
    /// The connection is closed.
    Close,
}

/// How far a negotiation came.
#[derive(Clone, Copy, Debug)]
pub(super) enum Progress {
    /// An operation runs.
    Running,
    /// It is over: number of the export in the catalog, and what was agreed on.
    Ready(usize, Session),
    /// The connection must be closed.
    Close,
}

/// A negotiation.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) socket: SocketId,
    pub(super) input: Input,
    pub(super) scratch: Buf,
    pub(super) until: u64,
    machine: Negotiation,
    out: Vec<u8>,
    /// Bytes of `out` that were given to the kernel.
    sent: usize,
    then: Then,
}

impl Greeting {
    /// A connection that was just accepted. What it says first waits to be sent by [`Greeting::go_on`].
    pub(super) fn new(socket: SocketId, input: Buf, scratch: Buf, now: u64) -> Self {
        Self {
            socket,
            input: Input::new(input),
            scratch,
            until: now + bounds::PATIENCE_NS,
            machine: Negotiation::new(),
            out: Negotiation::greeting().to_vec(),
            sent: 0,
            then: Then::GoOn,
        }
    }

    /// Sends what is to be said, else lets the machine go on. No operation runs when it is called.
    pub(super) fn go_on(&mut self, me: Key, catalog: &Catalog, host: &mut Host<'_>) -> Progress {
        loop {
            if self.sent < self.out.len() {
                return self.send(me, host);
            }
            self.out.clear();
            self.sent = 0;
            match self.then {
                Then::GoOn => {}
                Then::Ready(export, session) => return Progress::Ready(export, session),
                Then::Close => return Progress::Close,
            }
            let progress = self.machine.on_bytes(self.input.unread(), catalog, &mut self.out);
            self.input.consume(progress.consumed);
            match progress.outcome {
                Outcome::Reply => {}
                Outcome::NeedMore => return self.receive(me, host),
                Outcome::Ready { export, session } => self.then = Then::Ready(export, session),
                Outcome::Close(_) => self.then = Then::Close,
            }
        }
    }

    /// A receive ended with `count` bytes; none: the client is gone.
    pub(super) fn on_received(&mut self, buf: Buf, count: usize) -> bool {
        self.input.on_received(buf, count);
        count > 0
    }

    fn send(&mut self, me: Key, host: &mut Host<'_>) -> Progress {
        // The last send has ended, so nobody else holds the scratch buffer.
        self.scratch.set_filled(0);
        let left = self.out.get(self.sent..).unwrap_or_default();
        let piece = left.get(..left.len().min(self.scratch.room())).unwrap_or_default();
        let Some(range) = self.scratch.append(piece) else { return Progress::Close };
        self.sent += range.len();
        let parts = [(self.scratch.clone(), range)];
        running(host.ring.send(self.socket, &parts, user(me, GREETING_SENT)).is_ok())
    }

    fn receive(&mut self, me: Key, host: &mut Host<'_>) -> Progress {
        let pool = host.buffers.pool();
        // Out of buffers: whoever negotiates now has to come again.
        let Some(buf) = self.input.target(|length| bounds::take(pool, length)) else {
            return Progress::Close;
        };
        running(host.ring.recv(self.socket, buf, user(me, GREETING_RECEIVED)).is_ok())
    }
}

fn running(is_running: bool) -> Progress {
    if is_running { Progress::Running } else { Progress::Close }
}
