//! Connections that other nodes make to us, from accept to greeting; then their shard takes them over.
//!
//! At most [`GREETING`] connections greet at the same time, each for at most [`PATIENCE_NS`]; further ones are closed. Who
//! greets in another version of the protocol is told so.

use std::net::Shutdown;

use midspan_format::geometry::Position;
use midspan_format::ids::Epoch;
use midspan_format::message::{Hello, Message, Refused as Refusal, RefusedReason};
use midspan_uring::socket::SocketOptions;
use midspan_uring::{Completion, Kind, Listener, ListenerId, Refused, Ring, Socket, SocketId};

use crate::buffers::{PoolBuf, PoolBuffers};
use crate::peer::splitter::{Item, Mode, Splitter};
use crate::peer::wire::{self, BadStream};
use crate::slab::{Key, Slab};
use crate::tag;

/// Connections that may greet at the same time.
pub const GREETING: usize = 128;
/// How long a greeting may take.
pub const PATIENCE_NS: u64 = 5_000_000_000;

const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const CLOSE: u64 = 2;
const SEND: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The greeting comes.
    Greeting,
    /// It was of another version: the refusal goes out, what comes is thrown away.
    Refusing,
    /// The kernel is asked to let go.
    Closing,
}

#[derive(Debug)]
struct Greeting {
    socket: SocketId,
    splitter: Splitter,
    until: u64,
    phase: Phase,
}

/// What a completion came to.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing more.
    Nothing,
    /// A connection has greeted.
    Greeted(Greeted),
    /// Somebody greeted in another version of the protocol, the first time since the start.
    OtherVersion,
}

/// A connection that has greeted.
#[derive(Debug)]
pub struct Greeted {
    /// The connection, with nothing in flight on it.
    pub socket: Socket,
    /// What it said.
    pub hello: Hello,
}

/// The listener and who is greeting.
#[derive(Debug)]
pub struct Inbound {
    listener: Option<ListenerId>,
    greeting: Slab<Greeting>,
    /// Accepting ended for lack of something; it is tried again at this time.
    retry_at: Option<u64>,
    /// It was told that somebody greets in another version.
    told: bool,
}

impl Default for Inbound {
    fn default() -> Self {
        Self { listener: None, greeting: Slab::new(GREETING), retry_at: None, told: false }
    }
}

impl Inbound {
    /// Starts accepting.
    ///
    /// # Errors
    /// The ring has no room.
    pub fn listen(&mut self, ring: &mut Ring, listener: Listener) -> Result<(), Refused> {
        let listener = ring.add_listener(listener)?;
        self.listener = Some(listener);
        ring.accept(listener, tag::user(tag::INBOUND, ACCEPT << 48)).map(drop)
    }

    /// A completion with the tag of inbound connections.
    pub fn on_completion(
        &mut self,
        ring: &mut Ring,
        buffers: &mut PoolBuffers,
        now: u64,
        completion: Completion,
    ) -> Outcome {
        let rest = tag::rest(completion.user);
        let key = Key::from_raw(rest);
        match (rest >> 48, completion.kind) {
            (ACCEPT, Kind::Accept) => self.on_accepted(ring, buffers, now, completion),
            (RECEIVE, _) => return self.on_received(ring, buffers, key, &completion),
            (SEND, _) => self.on_refusal_sent(ring, key, &completion),
            (CLOSE, _) => {
                self.greeting.remove(key);
            }
            _ => {}
        }
        Outcome::Nothing
    }

    /// Closes those that take too long; accepts again after a pause.
    pub fn on_tick(&mut self, ring: &mut Ring, now: u64) {
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            self.accept(ring, now);
        }
        while let Some(key) = self.greeting.find(|g| g.phase != Phase::Closing && now >= g.until) {
            self.close(ring, key);
        }
    }

    /// When `on_tick` has something to do.
    pub fn deadline(&self) -> u64 {
        let retry = self.retry_at.unwrap_or(u64::MAX);
        if self.greeting.is_empty() {
            return retry;
        }
        self.greeting.values().filter(|g| g.phase != Phase::Closing).map(|g| g.until).fold(retry, u64::min)
    }

    /// Accepts nothing more and closes who is greeting.
    pub fn stop(&mut self, ring: &mut Ring) {
        if let Some(listener) = self.listener.take() {
            let _ = ring.close_listener(listener, tag::user(tag::INBOUND, ACCEPT << 48));
        }
        let keys: Vec<Key> = self.greeting.keys().collect();
        for key in keys {
            self.close(ring, key);
        }
    }

    fn accept(&mut self, ring: &mut Ring, now: u64) {
        let Some(listener) = self.listener else { return };
        if ring.accept(listener, tag::user(tag::INBOUND, ACCEPT << 48)).is_err() {
            self.retry_at = Some(now + 100_000_000);
        }
    }

    fn on_accepted(&mut self, ring: &mut Ring, buffers: &mut PoolBuffers, now: u64, completion: Completion) {
        if !completion.more {
            // Too many open files, or the like: not at once again.
            self.retry_at = Some(now + 100_000_000);
        }
        let Some(socket) = completion.socket.filter(|_| self.greeting.has_room()) else { return };
        let _ = socket.tune(&SocketOptions::default());
        let Ok(socket) = ring.add_socket(socket) else { return };
        let splitter = Splitter::new(Mode::Greeting, wire::SMALL_MAX);
        let greeting = Greeting { socket, splitter, until: now + PATIENCE_NS, phase: Phase::Greeting };
        if let Ok(key) = self.greeting.insert(greeting) {
            self.receive(ring, buffers, key);
        }
    }

    fn receive(&mut self, ring: &mut Ring, buffers: &mut PoolBuffers, key: Key) {
        let Some(greeting) = self.greeting.get_mut(key) else { return };
        let started = greeting.splitter.target(buffers).map(|target| {
            let user = tag::user(tag::INBOUND, RECEIVE << 48 | key.raw());
            let buf = PoolBuf::into_buf(target.buf);
            match target.exactly {
                Some(length) => ring.recv_exact(greeting.socket, buf, length, user),
                None => ring.recv(greeting.socket, buf, user),
            }
        });
        // Out of buffers: whoever greets now has to come again.
        if !matches!(started, Some(Ok(_))) {
            self.close(ring, key);
        }
    }

    fn on_received(
        &mut self,
        ring: &mut Ring,
        buffers: &mut PoolBuffers,
        key: Key,
        completion: &Completion,
    ) -> Outcome {
        let Some(greeting) = self.greeting.get_mut(key) else { return Outcome::Nothing };
        let item = match (completion.result, greeting.phase) {
            (_, Phase::Closing) => return Outcome::Nothing,
            (Ok(count), Phase::Refusing) if count > 0 => {
                greeting.splitter.discard();
                Ok(None)
            }
            (Ok(count), Phase::Greeting) if count > 0 => greeting.splitter.take_item(),
            (Ok(_) | Err(_), Phase::Greeting | Phase::Refusing) => Err(BadStream::Unknown),
        };
        match item {
            Ok(None) => self.receive(ring, buffers, key),
            Ok(Some(Item::Message(Message::Hello(hello)))) => {
                let greeted = self.greeting.remove(key).and_then(|g| ring.remove_socket(g.socket).ok());
                return greeted
                    .map_or(Outcome::Nothing, |socket| Outcome::Greeted(Greeted { socket, hello }));
            }
            Err(BadStream::Version) => {
                self.refuse(ring, buffers, key);
                if !std::mem::replace(&mut self.told, true) {
                    return Outcome::OtherVersion;
                }
            }
            Ok(Some(_)) | Err(BadStream::Unknown) => self.close(ring, key),
        }
        Outcome::Nothing
    }

    /// Tells whoever greets in another version which one this is: the header of a message is the same in all versions.
    fn refuse(&mut self, ring: &mut Ring, buffers: &mut PoolBuffers, key: Key) {
        let refusal = Message::Refused(Refusal {
            request: 0,
            reason: RefusedReason::Version,
            epoch: Epoch::NONE,
            journaled: Position(0),
        });
        let mut bytes = [0; wire::SMALL_MAX];
        let length = wire::encode(&refusal, &mut bytes);
        let started = self.greeting.get_mut(key).and_then(|greeting| {
            let mut buf = buffers.pool().take(wire::SMALL_MAX)?;
            let range = buf.append(bytes.get(..length)?)?;
            greeting.phase = Phase::Refusing;
            ring.send(greeting.socket, &[(buf, range)], tag::user(tag::INBOUND, SEND << 48 | key.raw())).ok()
        });
        match started {
            // What still comes is read, or closing would reset the connection before the refusal is there.
            Some(_) => {
                if let Some(greeting) = self.greeting.get_mut(key) {
                    greeting.splitter.discard();
                }
                self.receive(ring, buffers, key);
            }
            None => self.close(ring, key),
        }
    }

    fn on_refusal_sent(&mut self, ring: &mut Ring, key: Key, completion: &Completion) {
        let Some(greeting) = self.greeting.get(key) else { return };
        let ended = ring.socket(greeting.socket).map(|socket| socket.shutdown(Shutdown::Write));
        if completion.result.is_err() || !matches!(ended, Some(Ok(()))) {
            self.close(ring, key);
        }
    }

    fn close(&mut self, ring: &mut Ring, key: Key) {
        let Some(greeting) = self.greeting.get_mut(key) else { return };
        if std::mem::replace(&mut greeting.phase, Phase::Closing) == Phase::Closing {
            return;
        }
        let socket = greeting.socket;
        if ring.close(socket, tag::user(tag::INBOUND, CLOSE << 48 | key.raw())).is_err() {
            self.greeting.remove(key);
        }
    }
}
