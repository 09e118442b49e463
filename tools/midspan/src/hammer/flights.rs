//! The requests under way on one connection, shared by its sending and its receiving thread.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::plan::Planned;

/// A request that was sent, or is being sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) planned: Planned,
    pub(super) start_ns: u64,
}

#[derive(Debug, Default)]
struct Table {
    flying: BTreeMap<u64, Flight>,
    dead: bool,
}

/// The table of requests under way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    table: Mutex<Table>,
    changed: Condvar,
}

/// What a wait has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is room for one more.
    Free,
    /// Not in time.
    Full,
    /// The connection is lost.
    Dead,
}

impl Flights {
    /// Before it is sent: its reply may come before the call to send it returns.
    pub(super) fn launch(&self, op: u64, flight: Flight) {
        self.lock().flying.insert(op, flight);
    }

    /// A reply came.
    pub(super) fn land(&self, op: u64) -> Option<Flight> {
        let flight = self.lock().flying.remove(&op);
        self.changed.notify_all();
        flight
    }

    /// The connection is lost.
    pub(super) fn declare_dead(&self) {
        self.lock().dead = true;
        self.changed.notify_all();
    }

    /// Waits until fewer than `limit` are under way, at most for `patience`.
    pub(super) fn wait_below(&self, limit: usize, patience: Duration) -> Room {
        let busy = |table: &mut Table| !table.dead && table.flying.len() >= limit;
        let waited = self.changed.wait_timeout_while(self.lock(), patience, busy);
        let (table, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match (table.dead, table.flying.len() < limit) {
            (true, _) => Room::Dead,
            (false, true) => Room::Free,
            (false, false) => Room::Full,
        }
    }

    /// Everything that never had a reply.
    pub(super) fn take_all(&self) -> BTreeMap<u64, Flight> {
        std::mem::take(&mut self.lock().flying)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
