//! The NBD server of a shard: connections, from accept over negotiation to the last reply.
//!
//! ```text
//!  accept ─▶ greeting ─ ready ─▶ conn ◀── hand-over from shard 0
//!                                 │ serve: headers, payloads ─▶ work: requests, pieces ─▶ owner
//!                                 ◀── outgoing: one gathered send at a time ◀── answer ◀───┘
//! ```
//!
//! The rules that keep it fast and bounded: a payload lands once, where it is written from; what a pass brings about leaves
//! in one send a connection; each connection holds at most its bounds, and receives nothing more at them; whatever finds the
//! shard's memory or places used up waits in `waiting` and is tried again when something came back.
//!
//! A connection whose socket is being closed has left its slab already: what still completes for it names a stale key.

mod bounds;
mod split;
mod input;
mod outgoing;
mod work;
mod conn;
mod serve;
mod answer;
mod catalog;
mod greeting;
mod listeners;
mod arrival;

use std::collections::VecDeque;

use midspan_protocol::vocab::effect::{HostError, RequestId};
use midspan_uring::{Completion, Kind, Listener, SocketId};

use crate::buffers::Gathered;
use crate::exports::ExportId;
use crate::frontend::{FrontEnd, FrontSetup, Handover, Host, HostResult};
use crate::slab::{Key, Slab};
use bounds::CONNECTIONS;
use catalog::Catalog;
use conn::{Conn, Pause};
use greeting::Greeting;
use listeners::Listeners;
use work::Work;

/// Connections that are tried again in vain before the others are left for the next time.
const VAIN_TRIES: usize = 8;

/// The NBD front end of one shard.
#[derive(Debug)]
pub struct NbdFrontEnd {
    catalog: Catalog,
    listeners: Listeners,
    greetings: Slab<Greeting>,
    conns: Slab<Conn>,
    work: Work,
    /// Connections that wait for places or memory, or were freed from their own bounds.
    waiting: VecDeque<Key>,
    /// Connections that have something to send and no send running.
    ready: Vec<Key>,
    gathered: Gathered,
    /// Sockets that the kernel has not let go of.
    closing: usize,
    /// Connections at a time.
    limit: usize,
    /// The earliest deadline of negotiations and of the look for stalled clients, or earlier.
    tick_at: u64,
    /// Connections wait for what others of the shard give back without telling: when to try them again.
    retry_at: u64,
    /// When to look for clients that stall; memory is short.
    look_at: Option<u64>,
    /// We stop: when what is under way is given up.
    stop_at: Option<u64>,
}

impl NbdFrontEnd {
    /// A front end without connections. Its tables are allocated here.
    pub fn new(setup: &FrontSetup) -> Self {
        Self {
            catalog: Catalog::new(setup.exports.clone()),
            listeners: Listeners::default(),
            greetings: Slab::new(CONNECTIONS),
            conns: Slab::new(CONNECTIONS),
            work: Work::new(setup.requests),
            waiting: VecDeque::with_capacity(CONNECTIONS),
            ready: Vec::with_capacity(CONNECTIONS),
            gathered: Vec::with_capacity(midspan_uring::MAX_PARTS),
            closing: 0,
            limit: CONNECTIONS,
            tick_at: u64::MAX,
            retry_at: u64::MAX,
            look_at: None,
            stop_at: None,
        }
    }

    /// Connections that are open or being closed.
    pub fn connections(&self) -> usize {
        self.greetings.len() + self.conns.len() + self.closing
    }

    /// Pieces whose owner has not answered, or whose bytes wait for earlier ones.
    pub fn pieces(&self) -> usize {
        self.work.len()
    }

    /// Lets a connection do what it can, and keeps in mind what it waits for.
    fn proceed(&mut self, host: &mut Host<'_>, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let pause = conn.proceed(key, &mut self.work, host);
        conn.blocked = pause == Pause::Own;
        match pause {
            Pause::Input | Pause::Own => {}
            Pause::Shared => self.wait(key),
            Pause::Memory => {
                self.wait(key);
                let at = *self.look_at.get_or_insert(host.now.mono + bounds::LOOK_NS);
                self.tick_at = self.tick_at.min(at);
            }
            Pause::Broken => return self.hang_up(host, key),
        }
        self.look_after(host, key);
    }

    /// The connection is tried again when something became free.
    fn wait(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if !std::mem::replace(&mut conn.waiting, true) {
            self.waiting.push_back(key);
        }
    }

    /// After anything that concerned a connection: is there something to send, is it done?
    fn look_after(&mut self, host: &mut Host<'_>, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.is_over() {
            return self.hang_up(host, key);
        }
        if conn.out.wants_send() && !std::mem::replace(&mut conn.ready, true) {
            self.ready.push(key);
        }
    }

    /// Something of the connection was answered or sent: its own bounds may let it go on.
    fn unblock(&mut self, key: Key) {
        if self.conns.get_mut(key).is_some_and(|conn| std::mem::replace(&mut conn.blocked, false)) {
            self.wait(key);
        }
    }

    fn on_received(&mut self, host: &mut Host<'_>, key: Key, completion: Completion) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let received = match (completion.result, completion.buf) {
            (Ok(count), Some(buf)) => conn.on_received(buf, usize::try_from(count).unwrap_or(0)),
            (Ok(_) | Err(_), _) => Err(Pause::Broken),
        };
        if received.is_ok() { self.proceed(host, key) } else { self.hang_up(host, key) }
    }

    fn on_sent(&mut self, host: &mut Host<'_>, key: Key, completion: &Completion) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.held.remove(conn.out.on_sent());
        if completion.result.is_err() {
            return self.hang_up(host, key);
        }
        self.unblock(key);
        self.look_after(host, key);
    }

    fn start_send(&mut self, host: &mut Host<'_>, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.ready = false;
        conn.out.gather(&conn.session, &mut self.gathered);
        if self.gathered.is_empty() {
            return;
        }
        conn.since = host.now.mono;
        let sent = host.ring.send(conn.socket, &self.gathered, conn::user(key, conn::SENT));
        self.gathered.clear();
        if sent.is_err() {
            self.hang_up(host, key);
        }
    }

    /// Closes a connection at once. What its requests have under way is answered into the void.
    fn hang_up(&mut self, host: &mut Host<'_>, key: Key) {
        let Some(conn) = self.conns.remove(key) else { return };
        if let Some(active) = conn.unfinished() {
            self.work.complete(active);
            self.work.end_orphan(active);
        }
        self.close(host, conn.socket);
    }

    fn close(&mut self, host: &mut Host<'_>, socket: SocketId) {
        if host.ring.close(socket, Host::user(conn::CLOSED << 48)).is_ok() {
            self.closing += 1;
        }
    }

    /// Closes every connection that fits.
    fn hang_up_those(&mut self, host: &mut Host<'_>, fits: impl Fn(&Conn) -> bool) {
        while let Some(key) = self.conns.find(&fits) {
            self.hang_up(host, key);
        }
    }

    /// Tries those again that wait. After a few in vain the others are left for the next time: they wait for the same.
    fn retry(&mut self, host: &mut Host<'_>) {
        let mut vain = 0;
        for _ in 0..self.waiting.len() {
            let Some(key) = self.waiting.pop_front() else { break };
            if let Some(conn) = self.conns.get_mut(key) {
                conn.waiting = false;
            }
            self.proceed(host, key);
            vain += usize::from(self.conns.get(key).is_some_and(|conn| conn.waiting));
            if vain == VAIN_TRIES {
                break;
            }
        }
        self.retry_at = host.now.mono + bounds::TRY_NS;
        if self.waiting.is_empty() {
            self.look_at = None;
            self.retry_at = u64::MAX;
        }
    }

    /// The earliest deadline, by looking at all.
    fn next_tick(&self) -> u64 {
        let greetings = self.greetings.values().map(|greeting| greeting.until);
        let others = [self.look_at, self.stop_at.filter(|_| !self.conns.is_empty())];
        greetings.chain(others.into_iter().flatten()).min().unwrap_or(u64::MAX)
    }
}

impl FrontEnd for NbdFrontEnd {
    fn listen(&mut self, host: &mut Host<'_>, listeners: Vec<Listener>) {
        self.listeners.add(host.ring, host.now.mono, listeners);
    }

    fn on_completion(&mut self, host: &mut Host<'_>, rest: u64, completion: Completion) {
        let key = Key::from_raw(rest);
        match rest >> 48 {
            conn::ACCEPTED => {
                let now = host.now.mono;
                let Completion { more, socket, .. } = completion;
                let socket = self.listeners.on_accepted(now, key.raw(), more, socket);
                if let Some(socket) = socket.filter(|_| !self.is_full()) {
                    self.greet(host, socket);
                }
            }
            conn::LISTENER_CLOSED => self.listeners.on_closed(),
            conn::GREETING_SENT | conn::GREETING_RECEIVED => {
                self.on_greeting_completion(host, key, completion)
            }
            conn::SENT => self.on_sent(host, key, &completion),
            conn::RECEIVED => self.on_received(host, key, completion),
            conn::CLOSED => {
                debug_assert!(completion.kind == Kind::Close, "only closes carry this number");
                self.closing = self.closing.saturating_sub(1);
            }
            _ => debug_assert!(false, "an operation of somebody else"),
        }
    }

    fn on_answer(&mut self, host: &mut Host<'_>, request: RequestId, result: HostResult) {
        let Some((piece, active, key)) = self.work.named(request) else {
            debug_assert!(false, "an answer to nothing");
            return;
        };
        let result = result.map(|buf| buf.map(crate::buffers::PoolBuf::into_buf));
        let result = answer::checked(&mut self.work, (piece, active), result);
        if result.as_ref().err() == Some(&HostError::NotServing) {
            self.hang_up(host, key);
        }
        let Some(conn) = self.conns.get_mut(key) else {
            drop(self.work.answer(piece, result));
            return self.work.end_orphan(active);
        };
        if conn.on_answer(&mut self.work, (piece, active), result).is_err() {
            self.hang_up(host, key);
            return self.work.end_orphan(active);
        }
        self.unblock(key);
        self.look_after(host, key);
    }

    fn on_export(&mut self, host: &mut Host<'_>, export: ExportId) {
        if host.exports.get(export).is_none_or(|e| !e.is_serving()) {
            self.hang_up_those(host, |conn| conn.export == export);
        }
    }

    fn on_handover(&mut self, host: &mut Host<'_>, handover: Handover) {
        if !self.is_full() {
            // Without room the socket is dropped, and with it the connection.
            let _ = self.take_up(host, handover);
        }
    }

    fn on_drained(&mut self, host: &mut Host<'_>) {
        self.retry(host);
        while let Some(key) = self.ready.pop() {
            self.start_send(host, key);
        }
    }

    fn on_tick(&mut self, host: &mut Host<'_>) {
        let now = host.now.mono;
        self.listeners.on_tick(host.ring, now);
        if now < self.tick_at {
            return;
        }
        while let Some(key) = self.greetings.find(|greeting| now >= greeting.until) {
            self.end_greeting(host, key);
        }
        if self.look_at.is_some_and(|at| now >= at) {
            self.look_at = Some(now + bounds::LOOK_NS);
            self.hang_up_those(host, |conn| conn.stalls(now));
        }
        if self.stop_at.is_some_and(|at| now >= at) {
            self.hang_up_those(host, |_| true);
        }
        self.tick_at = self.next_tick();
    }

    fn deadline(&self) -> u64 {
        self.tick_at.min(self.retry_at).min(self.listeners.deadline())
    }

    fn stop(&mut self, host: &mut Host<'_>) {
        let until = host.now.mono + bounds::FAREWELL_NS;
        self.stop_at = Some(until);
        self.tick_at = self.tick_at.min(until);
        self.listeners.stop(host.ring);
        while let Some(key) = self.greetings.find(|_| true) {
            self.end_greeting(host, key);
        }
        let keys: Vec<Key> = self.conns.keys().collect();
        for key in keys {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.leaving = true;
            }
            self.look_after(host, key);
        }
    }

    fn is_closed(&self) -> bool {
        self.listeners.is_closed() && self.connections() == 0
    }
}

#[cfg(test)]
mod tests;
