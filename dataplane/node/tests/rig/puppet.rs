//! A front end that a test plays on: hosts without a protocol, whose requests and answers are plain values.
#![allow(dead_code, reason = "each suite uses a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use midspan_node::exports::ExportId;
use midspan_node::frontend::{FrontEnd, Handover, Host, HostResult, MakeFrontEnd};
use midspan_protocol::vocab::buffer::Buffer;
use midspan_protocol::vocab::effect::{HostError, HostOp, HostRequest, RequestId};
use midspan_uring::{Completion, Listener};

/// How often a shard looks for what the test asks.
const POLL_NS: u64 = 200_000;
/// No answer comes so late.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a host asks.
#[derive(Clone, Debug)]
pub enum Ask {
    Read { offset: u64, length: usize },
    Write { offset: u64, data: Vec<u8>, fua: bool },
    Zero { offset: u64, length: u64 },
    Flush,
}

/// What it is told: a read's bytes, else nothing.
pub type Answer = Result<Vec<u8>, HostError>;

#[derive(Default)]
struct State {
    next: u64,
    asked: BTreeMap<ExportId, VecDeque<(u64, Ask)>>,
    answers: BTreeMap<u64, Answer>,
    serving: BTreeMap<ExportId, bool>,
    /// Their shard has ended.
    gone: Vec<ExportId>,
}

/// The test's end.
#[derive(Clone, Default)]
pub struct Hosts(Arc<(Mutex<State>, Condvar)>);

impl Hosts {
    /// What [`midspan_node::node::start_with`] wants.
    pub fn front_end(&self) -> MakeFrontEnd {
        let hosts = self.clone();
        Arc::new(move |setup| {
            let exports = setup.exports.of_shard(setup.shard).map(|export| export.id).collect();
            let (waiting, poll_at, stopped) = (BTreeMap::new(), 0, false);
            Box::new(Puppet { hosts: hosts.clone(), exports, waiting, next: 0, poll_at, stopped })
        })
    }

    pub fn ask(&self, export: ExportId, ask: Ask) -> u64 {
        let mut state = self.0.0.lock().unwrap();
        state.next += 1;
        let id = state.next;
        if state.gone.contains(&export) {
            state.answers.insert(id, Err(HostError::NotServing));
            return id;
        }
        state.asked.entry(export).or_default().push_back((id, ask));
        id
    }

    pub fn answer(&self, id: u64) -> Answer {
        self.until(&format!("answer {id}"), |state| state.answers.remove(&id))
    }

    pub fn call(&self, export: ExportId, ask: Ask) -> Answer {
        self.answer(self.ask(export, ask))
    }

    pub fn write(&self, export: ExportId, offset: u64, data: Vec<u8>) {
        self.call(export, Ask::Write { offset, data, fua: false }).unwrap();
    }

    pub fn read(&self, export: ExportId, offset: u64, length: usize) -> Vec<u8> {
        self.call(export, Ask::Read { offset, length }).unwrap()
    }

    /// Waits until an export is served, or is not any more.
    pub fn wait_serving(&self, export: ExportId, serving: bool) {
        self.until("serving", |state| (state.serving.get(&export) == Some(&serving)).then_some(()));
    }

    /// Waits, for something that nobody tells.
    pub fn wait_until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        for _ in 0..3000 {
            if let Some(found) = look() {
                return found;
            }
            let state = self.0.0.lock().unwrap();
            drop(self.0.1.wait_timeout(state, Duration::from_millis(10)).unwrap());
        }
        panic!("it did not happen: {what}");
    }

    fn until<T>(&self, what: &str, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut found = None;
        let state = self.0.0.lock().unwrap();
        let waits = |state: &mut State| {
            found = look(state);
            found.is_none()
        };
        drop(self.0.1.wait_timeout_while(state, PATIENCE, waits).unwrap());
        found.unwrap_or_else(|| panic!("it did not come: {what}"))
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }
}

/// A shard's end.
struct Puppet {
    hosts: Hosts,
    exports: Vec<ExportId>,
    waiting: BTreeMap<u32, u64>,
    next: u32,
    poll_at: u64,
    stopped: bool,
}

impl Puppet {
    fn take(&mut self, host: &mut Host<'_>) {
        let hosts = self.hosts.clone();
        let mut state = hosts.0.0.lock().unwrap();
        for export in self.exports.clone() {
            let Some(asked) = state.asked.get_mut(&export) else { continue };
            while host.room() > 0 {
                let Some((id, ask)) = asked.front() else { break };
                let Some(op) = op(host, ask) else { break };
                self.next += 1;
                let volume = host.exports.get(export).unwrap().volume;
                let request = HostRequest { id: RequestId(self.next), volume, op };
                host.submit(export, request).unwrap();
                self.waiting.insert(self.next, *id);
                asked.pop_front();
            }
        }
    }
}

/// The operation, if there is a buffer for it.
fn op(host: &Host<'_>, ask: &Ask) -> Option<HostOp<midspan_node::buffers::PoolBuf>> {
    Some(match ask {
        Ask::Read { offset, length } => {
            HostOp::Read { offset: *offset, length: *length, into: host.take(*length)? }
        }
        Ask::Write { offset, data, fua } => {
            let skip = usize::try_from(offset % 4096).unwrap();
            let mut buf = host.take((skip + data.len()).next_multiple_of(4096))?;
            buf.bytes_mut().unwrap()[skip..skip + data.len()].copy_from_slice(data);
            buf.set_filled(skip + data.len());
            HostOp::Write { offset: *offset, length: data.len(), data: buf, fua: *fua }
        }
        Ask::Zero { offset, length } => {
            HostOp::Zero { offset: *offset, length: *length, unmap: false, fua: false }
        }
        Ask::Flush => HostOp::Flush,
    })
}

impl FrontEnd for Puppet {
    fn listen(&mut self, _host: &mut Host<'_>, _listeners: Vec<Listener>) {}

    fn on_completion(&mut self, _host: &mut Host<'_>, _rest: u64, _completion: Completion) {}

    fn on_answer(&mut self, _host: &mut Host<'_>, request: RequestId, result: HostResult) {
        let id = self.waiting.remove(&request.0).expect("an answer to a request");
        let answer = result.map(|buf| buf.map_or(Vec::new(), |buf| buf.bytes().to_vec()));
        self.hosts.tell(|state| assert!(state.answers.insert(id, answer).is_none()));
    }

    fn on_export(&mut self, host: &mut Host<'_>, export: ExportId) {
        let serving = host.exports.get(export).unwrap().is_serving();
        self.hosts.tell(|state| {
            state.serving.insert(export, serving);
        });
    }

    fn on_handover(&mut self, _host: &mut Host<'_>, _handover: Handover) {}

    fn on_drained(&mut self, host: &mut Host<'_>) {
        if !self.stopped {
            self.take(host);
        }
    }

    fn on_tick(&mut self, host: &mut Host<'_>) {
        self.poll_at = host.now.mono + POLL_NS;
    }

    fn deadline(&self) -> u64 {
        if self.stopped { u64::MAX } else { self.poll_at }
    }

    fn stop(&mut self, _host: &mut Host<'_>) {
        self.stopped = true;
    }

    fn is_closed(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Drop for Puppet {
    /// Whoever still waits is told: its node is gone.
    fn drop(&mut self) {
        let (exports, waiting) = (std::mem::take(&mut self.exports), std::mem::take(&mut self.waiting));
        self.hosts.tell(|state| {
            let unasked = exports.iter().filter_map(|export| state.asked.remove(export));
            let unasked: Vec<u64> = unasked.flatten().map(|(id, _)| id).collect();
            for id in unasked.into_iter().chain(waiting.into_values()) {
                state.answers.insert(id, Err(HostError::NotServing));
            }
            state.serving.extend(exports.iter().map(|export| (*export, false)));
            state.gone.extend(exports);
        });
    }
}
