//! Starting, watching and stopping a run.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::config::{Config, ConfigError, Initial};
use super::connection::{Connection, Shared};
use super::ledger::{Counts, Ledger, VolumeLedger};
use super::plan::{Place, Plan};
use super::random::mix;
use super::source::{SourceError, scan};
use super::stats::{Snapshot, Stats};
use super::unit::{Run, first_op_of};
use crate::clock::{Clock, Signal};
use crate::nbd_client::{Client, ExportInfo, NbdError};

/// The part of a volume that is used by default is at most this long, in bytes.
const DEFAULT_SPAN_BYTES: u64 = 256 << 20;
/// Writers are numbered below this.
const MAX_WRITERS: u32 = 1 << 20;

/// Why a run cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings make no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An export cannot be used.
    #[error("{uri}: {source}")]
    Export {
        /// The export's address.
        uri: String,
        /// Why.
        source: NbdError,
    },
    /// An export does not fit.
    #[error("{uri}: {told}")]
    Unfit {
        /// The export's address.
        uri: String,
        /// Why.
        told: String,
    },
    /// The content before the run cannot be read.
    #[error("{uri}: first reading: {source}")]
    Scan {
        /// The export's address.
        uri: String,
        /// Why.
        source: SourceError,
    },
    /// The system gives no more threads or memory.
    #[error("the system refuses: {0}")]
    System(String),
}

/// Starts runs.
#[derive(Clone, Copy, Debug)]
pub struct Hammer;

/// A run that is going on.
#[derive(Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    next_writer: u32,
}

impl Hammer {
    /// Connects everything and starts. `run_id` tells this run's data from that of all others: give it something random.
    pub fn start(config: Config, run_id: u64) -> Result<Handle, StartError> {
        Self::begin(config, run_id, None)
    }

    /// Goes on where an earlier run has stopped, for instance on the other site after a takeover: what that run has written
    /// stays under judgement. Volumes, units and spans are those of the ledger.
    pub fn resume(config: Config, ledger: Ledger) -> Result<Handle, StartError> {
        Self::begin(config, ledger.run.run_id, Some(ledger))
    }

    fn begin(mut config: Config, run_id: u64, former: Option<Ledger>) -> Result<Handle, StartError> {
        if let Some(former) = &former {
            config.unit_bytes = former.run.unit_bytes;
        }
        config.check()?;
        let ledger = match former {
            Some(former) if former.volumes() == config.uris.len() => former,
            Some(former) => {
                return Err(ConfigError(format!("the ledger has {} volumes", former.volumes())).into());
            }
            None => new_ledger(&config, run_id)?,
        };
        let clients = connect_all(&config, &ledger)?;
        launch(config, ledger, clients)
    }
}

impl Handle {
    /// The figures now. Starts a new window.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.stats.snapshot(self.shared.clock.now_ns())
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.shared.stats.counts()
    }

    /// What went wrong on connections and requests, as sentences (the first 100).
    pub fn messages(&self) -> Vec<String> {
        self.shared.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether all connections have ended by themselves.
    pub fn is_finished(&self) -> bool {
        self.workers.iter().all(JoinHandle::is_finished)
    }

    /// Waits until all connections have ended by themselves, at most for `limit`; says whether they have.
    pub fn wait_finished(&self, limit: Duration) -> bool {
        let since = Clock::starting_at(0);
        let never = Signal::default();
        while !self.is_finished() && since.elapsed() < limit {
            never.wait(Duration::from_millis(2));
        }
        self.is_finished()
    }

    /// Stops: no new requests; waits for those under way, at most as long as the settings say; then cuts the connections.
    pub fn stop(&mut self) {
        self.shared.stop.raise();
        if !self.wait_finished(self.shared.config.drain_timeout) {
            self.cut();
        }
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                let mut messages = self.shared.messages.lock().unwrap_or_else(PoisonError::into_inner);
                messages.push("a connection's thread has panicked".into());
            }
        }
    }

    /// Cuts all connections at once, as if the network failed.
    pub fn cut(&self) {
        let closers = self.shared.closers.lock().unwrap_or_else(PoisonError::into_inner);
        closers.iter().flatten().for_each(crate::nbd_client::Closer::close);
    }

    /// Stops and hands over what is needed to judge the volumes.
    pub fn into_ledger(mut self) -> Ledger {
        self.stop();
        let take = |volume: &Mutex<VolumeLedger>| {
            std::mem::take(&mut *volume.lock().unwrap_or_else(PoisonError::into_inner))
        };
        Ledger {
            run: self.shared.run,
            counts: self.shared.stats.counts(),
            next_writer: self.next_writer,
            volumes: self.shared.volumes.iter().map(take).collect(),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A run that nobody holds any more must not go on; nobody waits for its answers either.
        self.shared.stop.raise();
        if !self.workers.is_empty() {
            self.cut();
        }
    }
}

fn new_ledger(config: &Config, run_id: u64) -> Result<Ledger, StartError> {
    // An id of 0 would make an empty header ours.
    let run = Run { run_id: mix(run_id) | 1, seed: config.seed, unit_bytes: config.unit_bytes };
    let mut volumes = Vec::new();
    for uri in &config.uris {
        let export = |source| StartError::Export { uri: uri.clone(), source };
        let client = Client::connect(uri, config.connect_timeout).map_err(export)?;
        let available = client.size() / 4096 * 4096;
        let span = config.span_bytes.unwrap_or(available.min(DEFAULT_SPAN_BYTES)) / 4096 * 4096;
        if span == 0 || span > client.size() {
            let told = format!("a span of {span} bytes on a volume of {} bytes", client.size());
            return Err(StartError::Unfit { uri: uri.clone(), told });
        }
        let units = span / u64::from(run.unit_bytes);
        let initial = match config.initial {
            Initial::Zeroes => vec![0; usize::try_from(units).unwrap_or(0)],
            Initial::Scan => scan(client, config.connect_timeout, span, run.unit_bytes)
                .map_err(|source| StartError::Scan { uri: uri.clone(), source })?,
        };
        volumes.push(VolumeLedger::new(initial));
    }
    Ok(Ledger { run, counts: Counts::default(), next_writer: 1, volumes })
}

/// For each volume, its connections.
fn connect_all(config: &Config, ledger: &Ledger) -> Result<Vec<Vec<Client>>, StartError> {
    let connect = |volume: usize, uri: &String| {
        let client = Client::connect(uri, config.connect_timeout)
            .map_err(|source| StartError::Export { uri: uri.clone(), source })?;
        let span = ledger.span_units(volume) * u64::from(ledger.run.unit_bytes);
        unfit(client.info(), span, ledger.run.unit_bytes)
            .map_or(Ok(client), |told| Err(StartError::Unfit { uri: uri.clone(), told }))
    };
    let all = |(volume, uri)| (0..config.connections).map(|_| connect(volume, uri)).collect();
    config.uris.iter().enumerate().map(all).collect()
}

fn unfit(info: &ExportInfo, span: u64, unit_bytes: u32) -> Option<String> {
    let minimum = info.block_sizes.map_or(1, |sizes| sizes.minimum);
    if info.is_read_only() {
        Some("the export is read-only".into())
    } else if info.size < span {
        Some(format!("the export has {} bytes, the run needs {span}", info.size))
    } else if !unit_bytes.is_multiple_of(minimum) {
        Some(format!("the export takes multiples of {minimum} bytes, a unit has {unit_bytes}"))
    } else {
        None
    }
}

fn launch(config: Config, ledger: Ledger, clients: Vec<Vec<Client>>) -> Result<Handle, StartError> {
    let first_writer = ledger.next_writer;
    let connections = u32::try_from(clients.iter().map(Vec::len).sum::<usize>()).unwrap_or(MAX_WRITERS);
    let next_writer = first_writer.saturating_add(connections);
    if next_writer > MAX_WRITERS {
        return Err(ConfigError("too many connections over all runs of this ledger".into()).into());
    }
    // Later than all that the ledger knows: what went before is before.
    let clock = Clock::starting_at(ledger.latest() + 1);
    let spans: Vec<u64> = (0..ledger.volumes()).map(|volume| ledger.span_units(volume)).collect();
    let stats =
        Stats::new(ledger.counts, clock.now_ns()).map_err(|error| StartError::System(error.to_string()))?;
    let shared = Arc::new(Shared {
        run: ledger.run,
        clock,
        stop: Signal::default(),
        stats,
        volumes: ledger.volumes.into_iter().map(Mutex::new).collect(),
        closers: Mutex::new(
            std::iter::repeat_with(|| None).take(clients.iter().map(Vec::len).sum()).collect(),
        ),
        messages: Mutex::default(),
        config,
    });
    let mut handle = Handle { shared: Arc::clone(&shared), workers: Vec::new(), next_writer };
    let mut writer = first_writer;
    for (volume, (clients, span)) in clients.into_iter().zip(spans).enumerate() {
        let uri = shared.config.uris.get(volume).cloned().unwrap_or_default();
        for (number, client) in (0..).zip(clients) {
            let place = Place::of(&shared.config, span, number);
            let connection = Connection {
                index: handle.workers.len(),
                volume,
                uri: uri.clone(),
                plan: Plan::new(&shared.config, client.info(), place, writer),
                next_op: first_op_of(writer),
                shared: Arc::clone(&shared),
            };
            writer += 1;
            let thread =
                thread::Builder::new().name("hammer-send".into()).spawn(move || connection.work(client));
            match thread {
                Ok(thread) => handle.workers.push(thread),
                Err(error) => {
                    handle.stop();
                    return Err(StartError::System(error.to_string()));
                }
            }
        }
    }
    Ok(handle)
}
