//! The three nodes of a suite: what its command line says of them.

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::Measuring;
use crate::cluster::layout::Layout;
use crate::cluster::{self, Cores, Plan};
use crate::floor::exchange::Hop;

/// Sizes in a smoke run, MiB.
const SMOKE_VOLUME_MIB: u64 = 32;
const SMOKE_RING_MIB: u64 = 32;

/// Who runs where, how large the disks are.
#[derive(Clone, Debug, Args)]
pub struct Nodes {
    /// How the host reaches the primary
    #[arg(long, value_enum, default_value_t = Host::Tcp)]
    pub host: Host,
    /// Cores of primary, relay, secondary and load generator, for example 0,1,1,0
    #[arg(long, value_name = "P,R,S,L")]
    pub cores: Option<Cores>,
    /// Size of the volume, MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    pub volume_mib: u64,
    /// Size of each ring, MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    pub ring_mib: u64,
    /// Keep the folder with disks, configs and logs
    #[arg(long)]
    pub keep: bool,
}

/// How the host reaches the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Host {
    /// TCP on the loopback interface.
    Tcp,
    /// A unix socket.
    Unix,
}

impl Host {
    /// The way.
    pub const fn hop(self) -> Hop {
        match self {
            Host::Tcp => Hop::Tcp,
            Host::Unix => Hop::Unix,
        }
    }

    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Host::Tcp => "tcp",
            Host::Unix => "unix",
        }
    }
}

impl Nodes {
    /// What to start, on these usable cores. The sizes are those of all volumes and all rings together.
    ///
    /// # Errors
    /// When `midspand` is not there, or no core may be used.
    pub fn plan(&self, measuring: &Measuring, layout: &Layout, usable: &[usize]) -> Result<Plan> {
        let mib = |wanted: u64, smoke: u64| if measuring.smoke { wanted.min(smoke) } else { wanted };
        Ok(Plan {
            midspand: cluster::find_midspand()?,
            layout: layout.clone(),
            volume_bytes: share(mib(self.volume_mib, SMOKE_VOLUME_MIB), layout.all_volumes()),
            ring_bytes: share(mib(self.ring_mib, SMOKE_RING_MIB), layout.groups),
            memory_bytes: 256 << 20,
            cores: self.cores.map_or_else(|| Cores::share_out(usable), Ok)?,
            host: self.host.hop(),
        })
    }
}

/// Smallest volume and smallest ring, MiB.
const SMALLEST_MIB: u64 = 16;

/// Bytes of one of so many equal parts, in whole MiB.
fn share(mib: u64, parts: usize) -> u64 {
    (mib / (parts as u64).max(1)).max(SMALLEST_MIB) << 20
}
