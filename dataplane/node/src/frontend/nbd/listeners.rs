//! Where hosts connect to: accepts until it is told to stop, and again after a pause when the kernel could not.

use midspan_uring::{Listener, ListenerId, Ring, Socket};

use super::bounds::RETRY_NS;
use super::conn::{ACCEPTED, LISTENER_CLOSED};
use crate::frontend::Host;

/// The listeners of shard 0.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// By their numbers; `None` where none is accepting any more.
    open: Vec<Option<ListenerId>>,
    /// Accepting ended for lack of something; it is tried again at this time.
    retry_at: Option<u64>,
    /// Those that the kernel has not let go of.
    closing: usize,
    /// Those for which accepting must be started again.
    idle: Vec<usize>,
}

impl Listeners {
    /// Takes listeners over and starts accepting. One that the ring has no place for is closed.
    pub(super) fn add(&mut self, ring: &mut Ring, now: u64, listeners: Vec<Listener>) {
        for listener in listeners {
            let number = self.open.len();
            self.open.push(ring.add_listener(listener).ok());
            self.accept(ring, now, number);
        }
    }

    /// An accept of listener `number` answered: the connection, if there is one.
    pub(super) fn on_accepted(
        &mut self,
        now: u64,
        number: u64,
        more: bool,
        socket: Option<Socket>,
    ) -> Option<Socket> {
        if !more {
            // Too many open files, or the like: not at once again.
            self.pause(now, usize::try_from(number).unwrap_or(usize::MAX));
        }
        socket
    }

    /// The kernel has let go of a listener.
    pub(super) fn on_closed(&mut self) {
        self.closing = self.closing.saturating_sub(1);
    }

    /// Accepts again where it ended, if the pause is over.
    pub(super) fn on_tick(&mut self, ring: &mut Ring, now: u64) {
        if self.retry_at.is_none_or(|at| now < at) {
            return;
        }
        self.retry_at = None;
        for _ in 0..self.idle.len() {
            let Some(number) = self.idle.pop() else { break };
            self.accept(ring, now, number);
        }
    }

    /// When `on_tick` has something to do.
    pub(super) fn deadline(&self) -> u64 {
        self.retry_at.unwrap_or(u64::MAX)
    }

    /// Accepts nothing more.
    pub(super) fn stop(&mut self, ring: &mut Ring) {
        self.retry_at = None;
        self.idle.clear();
        for (number, place) in (0..).zip(self.open.iter_mut()) {
            let Some(listener) = place.take() else { continue };
            if ring.close_listener(listener, Host::user(LISTENER_CLOSED << 48 | number)).is_ok() {
                self.closing += 1;
            }
        }
    }

    /// Whether, after [`Listeners::stop`], nothing is open any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closing == 0 && self.open.iter().all(Option::is_none)
    }

    fn accept(&mut self, ring: &mut Ring, now: u64, number: usize) {
        let Some(listener) = self.open.get(number).copied().flatten() else { return };
        let user = Host::user(ACCEPTED << 48 | number as u64);
        if ring.accept(listener, user).is_err() {
            self.pause(now, number);
        }
    }

    fn pause(&mut self, now: u64, number: usize) {
        if self.open.get(number).is_some_and(Option::is_some) && !self.idle.contains(&number) {
            self.idle.push(number);
            self.retry_at = Some(now + RETRY_NS);
        }
    }
}
