//! Whose program is the host that loads all who are compared: this one's generator, or fio.
//!
//! fio takes several times as much of the cores that all share, and sends its requests one at a time. Both are facts of most
//! hosts, so it is the default where it is installed; a host with cores of its own is nearer to the generator.

use anyhow::{Result, bail};
use serde::Serialize;

use super::fio;
use super::program::Program;
use super::sample::{self, Sample};
use crate::calls::{self, Calls, Process};
use crate::generator::Load;

/// fio with its NBD engine.
const FIO: Program = Program { name: "fio", package: "fio" };

/// The program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostProgram {
    /// fio, with its NBD engine
    Fio,
    /// The load generator of this program: cheap, sends all that is due in one system call
    Own,
}

impl HostProgram {
    /// The one that is wanted; without a wish fio where it is installed.
    ///
    /// # Errors
    /// fio is wanted and not installed.
    pub fn choose(wanted: Option<Self>) -> Result<Self> {
        match (wanted, FIO.find()) {
            (Some(Self::Own), _) | (None, None) => Ok(Self::Own),
            (Some(Self::Fio) | None, Some(_)) => Ok(Self::Fio),
            (Some(Self::Fio), None) => bail!("fio is not installed (Debian: apt install fio)"),
        }
    }

    /// What it is called, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fio => "fio (engine nbd), where the kernel puts it",
            Self::Own => "the load generator of midspan-bench, pinned",
        }
    }

    /// Runs a load and says what each process used for it.
    ///
    /// # Errors
    /// What the server or fio says, or that one of the processes has ended.
    pub fn measure(self, load: &Load, processes: &[Process]) -> Result<Sample> {
        match self {
            Self::Fio => fio::measure(load, processes),
            Self::Own => sample::measure(load, processes),
        }
    }

    /// Runs a load and counts system calls; `None` where nobody may count them.
    ///
    /// # Errors
    /// What the server or fio says.
    pub fn count(self, load: &Load, processes: &[Process]) -> Result<Option<Calls>> {
        match self {
            Self::Fio => calls::count(processes, || fio::run(load).map(|report| report.operations)),
            Self::Own => calls::count_load(load, processes),
        }
    }
}
