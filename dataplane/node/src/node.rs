//! A whole node in this process: opens what the configuration names, starts one shard per core, and is its handle.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use midspan_format::ids::GroupId;
use midspan_uring::queue::{Receiver, Sender};
use midspan_uring::tape::Reader;
use midspan_uring::wake::{SignalReceiver, signal};
use midspan_uring::{Errno, Waker};

pub use crate::plan::StartError;

use crate::boot::Journal;
use crate::config::NodeConfig;
use crate::counters::AllCounters;
use crate::exports::Exports;
use crate::frontend::{self, MakeFrontEnd};
use crate::mesh::{self, Mesh, Routes};
use crate::plan::Plan;
use crate::port::{self, Command, CommandId, CommandSender, Report, ShardPort};
use crate::start::{self, Ready, ShardPlan, Wiring};

/// A running node.
pub struct NodeHandle {
    shards: Vec<ShardHandle>,
    groups: BTreeMap<GroupId, usize>,
    reports: Receiver<Report>,
    signal: SignalReceiver,
    counters: Arc<AllCounters>,
    recorders: Vec<Reader>,
    exports: Arc<Exports>,
    listening: Option<SocketAddr>,
    hosts_at: Vec<Option<SocketAddr>>,
    /// Keeps the journal disk exclusively ours.
    _journal: Option<Journal>,
}

struct ShardHandle {
    commands: CommandSender,
    thread: Option<JoinHandle<()>>,
}

/// Starts a node whose hosts come over NBD.
///
/// # Errors
/// One sentence with what is wrong; nothing is left running.
pub fn start(config: NodeConfig) -> Result<NodeHandle, StartError> {
    start_with(config, frontend::default_front_end())
}

/// Starts a node with another front end.
///
/// # Errors
/// One sentence with what is wrong; nothing is left running.
pub fn start_with(config: NodeConfig, front: MakeFrontEnd) -> Result<NodeHandle, StartError> {
    launch(Plan::new(config, &front)?)
}

impl NodeHandle {
    /// The shards.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The shard of a group whose volumes are here.
    pub fn shard_of(&self, group: GroupId) -> Option<usize> {
        self.groups.get(&group).copied()
    }

    /// Gives a command to a shard; its reply comes as a report.
    ///
    /// # Errors
    /// Gives it back when the shard's queue is full or there is no such shard.
    pub fn command(&self, shard: usize, id: CommandId, command: Command) -> Result<(), Command> {
        match self.shards.get(shard) {
            Some(handle) => handle.commands.push((id, command)).map_err(|(_, command)| command),
            None => Err(command),
        }
    }

    /// The oldest report.
    pub fn report(&self) -> Option<Report> {
        self.reports.pop()
    }

    /// Readable when there are reports: clear it, then take them all.
    pub fn signal(&self) -> &SignalReceiver {
        &self.signal
    }

    /// The counters of all shards.
    pub fn counters(&self) -> &Arc<AllCounters> {
        &self.counters
    }

    /// The shards' flight recorders, by number of the shard; none when nothing is recorded.
    pub fn recorders(&self) -> &[Reader] {
        &self.recorders
    }

    /// All exports.
    pub fn exports(&self) -> &Arc<Exports> {
        &self.exports
    }

    /// Where other nodes connect to.
    pub fn listening(&self) -> Option<SocketAddr> {
        self.listening
    }

    /// Where hosts connect to, for each listener; `None` for unix sockets.
    pub fn hosts_at(&self) -> &[Option<SocketAddr>] {
        &self.hosts_at
    }

    /// Stops all shards and waits for their end, blocking.
    pub fn stop(mut self) {
        self.stop_all();
    }

    fn stop_all(&mut self) {
        for handle in &self.shards {
            let mut stop = (CommandId(0), Command::Stop);
            while !handle.has_ended() {
                match handle.commands.push(stop) {
                    Ok(()) => break,
                    Err(refused) => stop = refused,
                }
                // A shard takes no command while its replies cannot leave, and nobody else takes those now.
                while self.reports.pop().is_some() {}
                std::thread::yield_now();
            }
        }
        for handle in &mut self.shards {
            if let Some(thread) = handle.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

impl ShardHandle {
    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        self.stop_all();
    }
}

fn launch(plan: Plan) -> Result<NodeHandle, StartError> {
    let Plan { shards: plans, groups, routes, counters, recorders, exports, listening, hosts_at, journal } =
        plan;
    let (sender, receiver) = signal().map_err(StartError::Resources)?;
    let (report_sender, reports) = port::reports(&sender);
    let (ready, begun) = mpsc::channel::<Ready>();
    let count = plans.len();
    let mut started = Started { wirings: Vec::new(), threads: Vec::new() };
    for plan in plans {
        let (wiring, wired) = mpsc::channel::<Wiring>();
        started.threads.push(spawn(plan, ready.clone(), wired, report_sender.clone())?);
        started.wirings.push(wiring);
    }
    drop(ready);
    let wakers = all_ready(&begun, count)?;
    let shards = started.wire(
        mesh::weave(&wakers, Routes { areas: routes, groups: groups.clone() }),
        &wakers,
        &report_sender,
    );
    let signal = receiver;
    Ok(NodeHandle {
        shards,
        groups,
        reports,
        signal,
        counters,
        recorders,
        exports,
        listening,
        hosts_at,
        _journal: journal,
    })
}

/// Threads that have begun and wait to be wired. Dropped before, they end, and that is waited for: their files are free
/// again then.
struct Started {
    wirings: Vec<mpsc::Sender<Wiring>>,
    threads: Vec<JoinHandle<()>>,
}

impl Started {
    fn wire(mut self, meshes: Vec<Mesh>, wakers: &[Waker], reports: &Sender<Report>) -> Vec<ShardHandle> {
        let wirings = std::mem::take(&mut self.wirings);
        let threads = std::mem::take(&mut self.threads);
        let mut shards = Vec::new();
        for ((mesh, waker), (wiring, thread)) in
            meshes.into_iter().zip(wakers).zip(wirings.into_iter().zip(threads))
        {
            let (port, commands) = ShardPort::new(waker, reports.clone());
            // A thread that has ended meanwhile says so by a report.
            let _ = wiring.send((mesh, port));
            shards.push(ShardHandle { commands, thread: Some(thread) });
        }
        shards
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.wirings.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn spawn(
    plan: ShardPlan,
    ready: mpsc::Sender<Ready>,
    wired: mpsc::Receiver<Wiring>,
    reports: Sender<Report>,
) -> Result<JoinHandle<()>, StartError> {
    let shard = plan.number;
    let named = std::thread::Builder::new().name(format!("shard-{shard}"));
    let thread = named.spawn(move || {
        let ended = start::run(plan, &ready, &wired);
        let failure = ended.err().map(|errno| format!("the ring of shard {shard} broke: {errno}"));
        // Nobody may be left to hear it.
        let _ = reports.push(Report::Ended { shard, failure });
    });
    thread.map_err(|error| StartError::Resources(error.into()))
}

/// Waits until every shard has begun or one has failed; then the others end by themselves.
fn all_ready(begun: &mpsc::Receiver<Ready>, count: usize) -> Result<Vec<Waker>, StartError> {
    let mut wakers: Vec<Option<Waker>> = (0..count).map(|_| None).collect();
    for _ in 0..count {
        let Ok((shard, waker)) = begun.recv() else { return Err(StartError::Resources(Errno::CANCELED)) };
        let waker = waker?;
        if let Some(place) = wakers.get_mut(shard) {
            *place = Some(waker);
        }
    }
    Ok(wakers.into_iter().flatten().collect())
}
