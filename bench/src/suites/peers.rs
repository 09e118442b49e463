//! `midspan-bench peers`: Midspan and other NBD servers under the same loads on disks of the same kind, in turn.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use midspan_uring::affinity;

use super::Measuring;
use crate::calls::{self, Calls, Process};
use crate::cluster::layout::Layout;
use crate::cluster::{self, Cluster, Cores, Place, Plan};
use crate::disks::Disks;
use crate::environment::Environment;
use crate::figures::Spread;
use crate::floor::exchange::Hop;
use crate::generator::Load;
use crate::hold::Hold;
use crate::peers::contender::{Contender, Found, JOBS, Job};
use crate::peers::host::HostProgram;
use crate::peers::outcome::{Missing, Outcome, Settings};
use crate::peers::program::Peer;
use crate::peers::sample::Sample;
use crate::peers::server::{Server, Shape};
use crate::show::Show;
use crate::window::Tally;

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan-bench peers
  midspan-bench peers --host-program own
  midspan-bench peers --ram --json | tail -n 1
  midspan-bench peers --folder /mnt/nvme --repeats 5 --seconds 3 --html peers.html

The peers are qemu-nbd and qemu-storage-daemon (Debian's qemu-utils) and nbdkit; those that are installed take part.";

/// Arguments of `peers`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub measuring: Measuring,
    /// Whose program is the host; without this fio where it is installed
    #[arg(long, value_name = "PROGRAM")]
    pub host_program: Option<HostProgram>,
    /// Cores of primary, relay, secondary and load generator, for example 0,1,1,0; peers run where the kernel puts them
    #[arg(long, value_name = "P,R,S,L")]
    pub cores: Option<Cores>,
    /// Size of each volume and disk, MiB
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    pub volume_mib: u64,
    /// Size of each ring, MiB: it must hold what one load writes while the secondary is stopped
    #[arg(long, value_name = "MIB", default_value_t = 3072, value_parser = clap::value_parser!(u64).range(64..=1 << 20))]
    pub ring_mib: u64,
    /// Let the mirror's far node answer before a write is durable there, which Midspan's relay never does
    #[arg(long)]
    pub undurable_quorum: bool,
}

/// How long the secondary may take to apply what it was kept from.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(60);

/// Everything that runs.
struct Lab<'a> {
    arguments: &'a Arguments,
    cores: Cores,
    host: HostProgram,
    ring_bytes: u64,
    cluster: Cluster,
    servers: Vec<Server>,
    found: Found,
    behind: BTreeMap<&'static str, Vec<f64>>,
    syscalls: BTreeMap<(usize, Contender), Calls>,
    warnings: Vec<String>,
}

/// Runs the suite.
///
/// # Errors
/// What the kernel, the file system, a node or a peer says.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let measuring = &arguments.measuring;
    let folder = measuring.folder();
    let environment = Environment::of(&folder);
    let smaller = |mib: u64, smoke: u64| if measuring.smoke { smoke } else { mib };
    let plan = Plan {
        midspand: cluster::find_midspand()?,
        layout: Layout::SINGLE,
        volume_bytes: smaller(arguments.volume_mib, 32) << 20,
        // While the secondary is stopped a full ring makes the host wait: even a smoke run writes 100 MiB on a fast machine.
        ring_bytes: smaller(arguments.ring_mib, 384) << 20,
        memory_bytes: 256 << 20,
        cores: arguments.cores.map_or_else(|| Cores::share_out(&affinity::current_cores()), Ok)?,
        host: Hop::Tcp,
    };
    let host = HostProgram::choose(arguments.host_program)?;
    let missing = Missing::find();
    let peers: Vec<Peer> = Peer::ALL.into_iter().filter(|peer| peer.missing().is_none()).collect();
    let contenders = contenders(&peers);
    let repeats = measuring.repeats();
    let show = Show::new((2 + peers.len() + (repeats + 1) * JOBS.len() * contenders.len()) as u64);
    let mut disks = Disks::create(&folder, measuring.ram, false)?;
    let cluster = Cluster::start(&plan, &mut disks, &|what| show.step(what))?;
    let shape =
        Shape { bytes: plan.volume_bytes, devices: measuring.ram, durable: !arguments.undurable_quorum };
    let mut servers = Vec::new();
    for peer in peers {
        show.step(&format!("starting {}", peer.name()));
        servers.push(Server::start(peer, shape, &mut disks)?);
    }
    let mut lab = Lab {
        arguments,
        cores: plan.cores,
        host,
        ring_bytes: plan.ring_bytes,
        cluster,
        servers,
        found: Found::new(),
        behind: BTreeMap::new(),
        syscalls: BTreeMap::new(),
        warnings: Vec::new(),
    };
    let done = (1..=repeats).try_for_each(|number| lab.repeat(number, &contenders, &show));
    let is_counted = !measuring.smoke;
    let done = done.and_then(|()| if is_counted { lab.count_calls(&contenders, &show) } else { Ok(()) });
    show.end();
    let Lab { found, behind, syscalls, warnings, cluster, servers, .. } = lab;
    drop((cluster, servers));
    done?;
    let settings = Settings {
        repeats,
        seconds: measuring.seconds(),
        smoke: measuring.smoke,
        in_memory: measuring.ram,
        durable: !arguments.undurable_quorum,
        host,
        cores: plan.cores,
        volume_bytes: plan.volume_bytes,
        ring_bytes: plan.ring_bytes,
    };
    if let Some(folder) = measuring.hdr()? {
        for ((place, contender), samples) in &found {
            let job = JOBS.get(*place).map_or("load", |job| job.name);
            let tallies: Vec<&Tally> = samples.iter().map(|sample| &sample.tally).collect();
            folder.write(&format!("{job}.{}", contender.name()), &tallies)?;
        }
    }
    let behind = behind.into_iter().filter_map(|(job, bytes)| Some((job, Spread::of(bytes)?)));
    let behind_bytes = behind.collect();
    Ok(Outcome { environment, settings, missing, found, behind_bytes, syscalls, warnings })
}

fn contenders(peers: &[Peer]) -> Vec<Contender> {
    let ours = [Contender::Held, Contender::Attached];
    ours.into_iter().chain(peers.iter().copied().map(Contender::Peer)).collect()
}

impl Lab<'_> {
    /// All loads on all contenders; who is first changes from repeat to repeat, so that nobody always follows the same one.
    fn repeat(&mut self, number: usize, contenders: &[Contender], show: &Show) -> Result<()> {
        let mut turn = contenders.to_vec();
        turn.rotate_left(number % contenders.len());
        for (place, job) in JOBS.iter().enumerate() {
            for contender in &turn {
                show.step(&format!("repeat {number}: {} on {}", job.title, contender.name()));
                let sample = self.measure(number, job, *contender)?;
                self.found.entry((place, *contender)).or_default().push(sample);
            }
        }
        Ok(())
    }

    /// A short run of each load that is not timed, only for the number of system calls.
    fn count_calls(&mut self, contenders: &[Contender], show: &Show) -> Result<()> {
        for (place, job) in JOBS.iter().enumerate() {
            for contender in contenders {
                show.step(&format!("counting system calls: {} on {}", job.title, contender.name()));
                let mut load = self.load(0, job, *contender)?;
                load.window = self.arguments.measuring.window(1.0 / 3.0);
                let processes = self.processes(*contender)?;
                let hold = self.hold(*contender)?;
                let calls = self.host.count(&load, &processes);
                let calls = calls.map_err(|error| self.explain(error, *contender))?;
                drop(hold);
                self.settle(job, *contender)?;
                match calls {
                    Some(calls) => self.syscalls.insert((place, *contender), calls),
                    // Nor for any other.
                    None => return Ok(()),
                };
            }
        }
        Ok(())
    }

    fn measure(&mut self, number: usize, job: &Job, contender: Contender) -> Result<Sample> {
        let (load, processes) = (self.load(number, job, contender)?, self.processes(contender)?);
        let hold = self.hold(contender)?;
        let sample = self.host.measure(&load, &processes).map_err(|error| self.explain(error, contender))?;
        self.note_distance(job, contender)?;
        drop(hold);
        self.settle(job, contender)?;
        Ok(sample)
    }

    fn server(&self, peer: Peer) -> Result<&Server> {
        let server = self.servers.iter().find(|server| server.peer() == peer);
        server.context("only running peers take part")
    }

    fn processes(&self, contender: Contender) -> Result<Vec<Process>> {
        Ok(match contender {
            Contender::Held | Contender::Attached => calls::nodes(&self.cluster),
            Contender::Peer(peer) => self.server(peer)?.processes(),
        })
    }

    /// Stops the secondary where it is not to take part.
    fn hold(&self, contender: Contender) -> Result<Option<Hold>> {
        if contender != Contender::Held {
            return Ok(None);
        }
        let secondary = self.cluster.pid(Place::Secondary).context("no secondary")?;
        Hold::of(secondary).map(Some)
    }

    /// With what the processes themselves have said.
    fn explain(&self, error: anyhow::Error, contender: Contender) -> anyhow::Error {
        match contender {
            Contender::Held | Contender::Attached => error.context(self.cluster.logs()),
            Contender::Peer(peer) => {
                let said = self.server(peer).map(Server::log_end).unwrap_or_default();
                error.context(format!("{}: {said}", peer.name()))
            }
        }
    }

    /// How far the secondary is behind at the end of a load.
    fn note_distance(&mut self, job: &Job, contender: Contender) -> Result<()> {
        match contender {
            Contender::Held => {
                let lacked = self.cluster.behind()?.acquired_bytes.unwrap_or(0);
                if lacked.saturating_mul(10) > self.ring_bytes.saturating_mul(9) {
                    self.warnings.push(format!(
                        "{} filled the ring while the secondary was stopped: give --ring-mib more or --seconds less",
                        job.name
                    ));
                }
            }
            Contender::Attached => {
                if let Some(bytes) = self.cluster.behind()?.applied_bytes {
                    self.behind.entry(job.name).or_default().push(bytes as f64);
                }
            }
            Contender::Peer(_) => (),
        }
        Ok(())
    }

    /// Waits for whatever a load has left to be done, so that it does not meet the next one.
    fn settle(&self, job: &Job, contender: Contender) -> Result<()> {
        if let Contender::Peer(peer) = contender {
            return self.server(peer)?.settle();
        }
        if self.cluster.behind()?.applied_bytes.is_none() {
            // The primary knows no distance yet: the first load was too short for a first report of the secondary.
            return Ok(());
        }
        let caught_up = self.cluster.wait_until_caught_up(CATCH_UP_LIMIT)?;
        ensure!(
            caught_up.is_some(),
            "the secondary has not caught up {} s after {}; {}",
            CATCH_UP_LIMIT.as_secs(),
            job.name,
            self.cluster.logs()
        );
        Ok(())
    }

    fn load(&self, number: usize, job: &Job, contender: Contender) -> Result<Load> {
        let uri = match contender {
            Contender::Held | Contender::Attached => self.cluster.uris().first().context("no export")?,
            Contender::Peer(peer) => self.server(peer)?.uri(),
        };
        Ok(Load {
            uris: vec![uri.to_owned()],
            work: job.work,
            core: self.cores.client,
            seed: number as u64,
            window: self.arguments.measuring.window(1.0),
        })
    }
}
