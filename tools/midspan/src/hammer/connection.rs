//! One connection of the hammer: it keeps its queue filled, tells the ledger about every start and end, and comes back when it
//! is lost, if it should.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::config::{Config, OnDisconnect};
use super::flights::{Flight, Flights, Room};
use super::ledger::{Finding, VolumeLedger, sentence};
use super::plan::{Action, Plan, Planned};
use super::register::{Judgement, Kind};
use super::stats::Stats;
use super::unit::{self, Author, Content, Run};
use crate::clock::{Clock, Signal};
use crate::nbd_client::{Client, Closer, NbdError, Receiver, Reply, Sender};

/// How long a thread waits before it looks at the stop signal again.
const GLANCE: Duration = Duration::from_millis(50);
/// The pause after an error, so that a server that refuses everything is not flooded.
const ERROR_PAUSE: Duration = Duration::from_millis(20);
/// Pauses between attempts to connect again: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// What all connections of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) run: Run,
    pub(super) clock: Clock,
    pub(super) stop: Signal,
    pub(super) stats: Stats,
    pub(super) volumes: Vec<Mutex<VolumeLedger>>,
    /// For each connection, what cuts it.
    pub(super) closers: Mutex<Vec<Option<Closer>>>,
    pub(super) messages: Mutex<Vec<String>>,
}

impl Shared {
    fn volume(&self, volume: usize) -> MutexGuard<'_, VolumeLedger> {
        match self.volumes.get(volume) {
            Some(ledger) => ledger.lock().unwrap_or_else(PoisonError::into_inner),
            // Both come from one list of addresses, see `run.rs`.
            None => unreachable!("a connection to a volume that the run does not have"),
        }
    }

    fn note(&self, message: String) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.len() < 100 {
            messages.push(message);
        }
    }

    pub(super) fn set_closer(&self, index: usize, closer: Option<Closer>) {
        let mut closers = self.closers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = closers.get_mut(index) {
            *slot = closer;
        }
    }
}

/// One connection, across all its reconnections.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    /// Its number among all connections of the run.
    pub(super) index: usize,
    pub(super) volume: usize,
    pub(super) uri: String,
    pub(super) plan: Plan,
    pub(super) next_op: u64,
}

impl Connection {
    /// Works until the stop signal, or until the connection is lost for good.
    pub(super) fn work(mut self, client: Client) {
        let mut client = Some(client);
        while let Some(up) = client.take() {
            self.shared.stats.connection(true);
            let lost = self.session(up);
            self.shared.stats.connection(false);
            if self.shared.stop.is_raised() {
                return;
            }
            self.shared.stats.count(|counts| counts.disconnects += 1);
            self.shared.note(format!("{}: {lost}", self.uri));
            client = match self.shared.config.on_disconnect {
                OnDisconnect::Stop => None,
                OnDisconnect::Reconnect { give_up_after } => self.reconnect(give_up_after),
            };
        }
    }

    fn reconnect(&self, give_up_after: Duration) -> Option<Client> {
        let since = Clock::starting_at(0);
        let mut pause = BACKOFF.0;
        loop {
            if self.shared.stop.wait(pause) {
                return None;
            }
            match Client::connect(&self.uri, self.shared.config.connect_timeout) {
                Ok(client) => {
                    self.shared.stats.count(|counts| counts.reconnects += 1);
                    return Some(client);
                }
                Err(error) if since.elapsed() > give_up_after => {
                    self.shared.note(format!("{}: gave up: {error}", self.uri));
                    return None;
                }
                Err(_) => pause = (pause * 2).min(BACKOFF.1),
            }
        }
    }

    /// Uses one connection until it ends, and says why it ended.
    fn session(&mut self, client: Client) -> NbdError {
        let halves = client.split().and_then(|(sender, receiver)| Ok((sender.closer()?, sender, receiver)));
        let (closer, mut sender, receiver) = match halves {
            Ok(halves) => halves,
            Err(error) => return error,
        };
        self.shared.set_closer(self.index, Some(closer));
        let flights = Flights::default();
        let (shared, volume) = (Arc::clone(&self.shared), self.volume);
        let refused = AtomicBool::new(false);
        let error = thread::scope(|scope| {
            let receiving = || receive(&shared, volume, &flights, &refused, receiver);
            let receiving =
                thread::Builder::new().name("hammer-receive".into()).spawn_scoped(scope, receiving);
            let sent = self.send(&flights, &refused, &mut sender);
            // Cuts the connection: the receiver must not outlive the sender.
            drop(sender);
            let received = match receiving {
                Ok(thread) => {
                    thread.join().unwrap_or(NbdError::Protocol("the receiving thread has panicked"))
                }
                Err(error) => NbdError::Disconnected { reason: error.to_string() },
            };
            // The receiver knows better why a connection ended, unless it was the sender who ended it.
            sent.err().filter(|_| matches!(received, NbdError::Disconnected { .. })).unwrap_or(received)
        });
        self.shared.set_closer(self.index, None);
        self.abandon(&flights);
        error
    }

    fn send(&mut self, flights: &Flights, refused: &AtomicBool, sender: &mut Sender) -> Result<(), NbdError> {
        let depth = usize::try_from(self.shared.config.depth).unwrap_or(1);
        let pace = Pace::of(&self.shared.config);
        let mut due = self.shared.clock.now_ns();
        let mut payload = Vec::new();
        while !self.shared.stop.is_raised() {
            match flights.wait_below(depth, GLANCE) {
                Room::Dead => return Ok(()),
                Room::Full => continue,
                Room::Free => {}
            }
            if refused.swap(false, Ordering::Relaxed) {
                self.shared.stop.wait(ERROR_PAUSE);
            }
            due = pace.wait(&self.shared, due);
            let planned = self.plan.next_operation();
            self.launch(flights, sender, planned, &mut payload)?;
        }
        // A stop: what is under way should still be answered.
        let drained = Clock::starting_at(0);
        while drained.elapsed() < self.shared.config.drain_timeout
            && flights.wait_below(1, GLANCE) == Room::Full
        {}
        sender.submit_goodbye()
    }

    fn launch(
        &mut self,
        flights: &Flights,
        sender: &mut Sender,
        planned: Planned,
        payload: &mut Vec<u8>,
    ) -> Result<(), NbdError> {
        let op = self.next_op;
        self.next_op += 1;
        let run = self.shared.run;
        let offset = planned.first_unit * u64::from(run.unit_bytes);
        let length = planned.units * run.unit_bytes;
        if matches!(planned.action, Action::Change { kind: Kind::Data, .. }) {
            let volume = u32::try_from(self.volume).unwrap_or(u32::MAX);
            let author = Author { volume, op, first_unit: planned.first_unit, units: planned.units };
            payload.resize(usize::try_from(length).unwrap_or(0), 0);
            unit::fill(&run, &author, payload);
        }
        // The start is read under the ledger's lock: starts come to the ledger in the order of the clock.
        let mut ledger = self.shared.volume(self.volume);
        let start_ns = self.shared.clock.now_ns();
        ledger.begin(op, start_ns);
        if let Action::Change { kind, .. } = planned.action {
            ledger.begin_write(op, kind, start_ns, planned.first_unit, planned.units);
        }
        drop(ledger);
        flights.launch(op, Flight { planned, start_ns });
        match planned.action {
            Action::Read => sender.submit_read(op, offset, length),
            Action::Flush => sender.submit_flush(op),
            Action::Change { kind: Kind::Data, fua, .. } => sender.submit_write(op, offset, payload, fua),
            Action::Change { trim: true, fua, .. } => sender.submit_trim(op, offset, length, fua),
            // Alternating, so that both kinds of zeroes are exercised.
            Action::Change { fua, .. } => sender.submit_zero(op, offset, length, op.is_multiple_of(2), fua),
        }
    }

    fn abandon(&self, flights: &Flights) {
        for (op, flight) in flights.take_all() {
            self.shared.volume(self.volume).abandon(op, flight.start_ns);
            if matches!(flight.planned.action, Action::Change { .. }) {
                self.shared.stats.count(|counts| counts.possibly_answered += 1);
            }
        }
    }
}

/// The time between two operations of one connection.
#[derive(Clone, Copy, Debug)]
struct Pace {
    interval_ns: u64,
}

impl Pace {
    fn of(config: &Config) -> Self {
        let connections = u64::from(config.connections) * u64::try_from(config.uris.len()).unwrap_or(1);
        let interval_ns = config.rate.map_or(0, |rate| connections * 1_000_000_000 / u64::from(rate.max(1)));
        Self { interval_ns }
    }

    /// Waits until `due` and says when the next operation is due. Lost time is not made up for.
    fn wait(self, shared: &Shared, due: u64) -> u64 {
        if self.interval_ns == 0 {
            return due;
        }
        let early = due.saturating_sub(shared.clock.now_ns());
        if early > 0 {
            shared.stop.wait(Duration::from_nanos(early));
        }
        due.max(shared.clock.now_ns().saturating_sub(self.interval_ns)) + self.interval_ns
    }
}

/// Takes replies until the connection ends, and says why it ended.
fn receive(
    shared: &Shared,
    volume: usize,
    flights: &Flights,
    refused: &AtomicBool,
    mut receiver: Receiver,
) -> NbdError {
    loop {
        match receiver.next_reply() {
            Ok(reply) => {
                let end_ns = shared.clock.now_ns();
                if let Some(flight) = flights.land(reply.cookie) {
                    if reply.errno != 0 {
                        refused.store(true, Ordering::Relaxed);
                    }
                    conclude(shared, volume, flight, end_ns, reply);
                }
            }
            Err(error) => {
                flights.declare_dead();
                return error;
            }
        }
    }
}

/// Tells the ledger and the figures about a reply.
fn conclude(shared: &Shared, volume: usize, flight: Flight, end_ns: u64, reply: Reply) {
    let (op, start, planned) = (reply.cookie, flight.start_ns, flight.planned);
    if reply.errno != 0 {
        shared.volume(volume).abandon(op, start);
        let changes = matches!(planned.action, Action::Change { .. });
        shared.stats.count(|counts| {
            counts.errors += 1;
            counts.possibly_answered += u64::from(changes);
        });
        if let Err(error) = reply.into_result() {
            shared.note(format!(
                "volume {volume}, unit {}, {} units: {error}",
                planned.first_unit, planned.units
            ));
        }
        return;
    }
    match planned.action {
        Action::Flush => {
            shared.volume(volume).abandon(op, start);
            shared.stats.count(|counts| counts.flushes += 1);
        }
        Action::Change { .. } => {
            let wrong = shared.volume(volume).end_write(op, start, end_ns, planned.first_unit, planned.units);
            shared.stats.answered(start, end_ns);
            for (number, other) in wrong {
                let held = format!("reads contradict the order of {} and another write", unit::describe(op));
                let told = sentence(volume, number, &held, Judgement::Stale { missing: other });
                report(shared, Finding::Stale(told));
            }
        }
        Action::Read => {
            let bytes = usize::try_from(shared.run.unit_bytes).unwrap_or(4096);
            let place = u32::try_from(volume).unwrap_or(u32::MAX);
            let units = (planned.first_unit..).zip(reply.data.chunks_exact(bytes));
            let contents: Vec<Content> =
                units.map(|(number, unit)| unit::classify(&shared.run, place, number, unit)).collect();
            let torn = shared.config.tolerate_torn_reads;
            let bounds = (start, end_ns);
            let findings =
                shared.volume(volume).end_read(volume, op, bounds, planned.first_unit, &contents, torn);
            shared.stats.count(|counts| counts.reads += 1);
            findings.into_iter().for_each(|finding| report(shared, finding));
        }
    }
}

fn report(shared: &Shared, finding: Finding) {
    shared.stats.count(|counts| match finding {
        Finding::Stale(told) => {
            counts.stale_reads += 1;
            counts.add_example(told);
        }
        Finding::Corrupt(told) => {
            counts.corrupt_reads += 1;
            counts.add_example(told);
        }
        Finding::Torn => counts.torn_reads += 1,
    });
}
