//! The suites: each file one command, with its arguments, what it measures, and its report.

pub mod nodes;
pub mod jobs;
pub mod series;
pub mod quick;
pub mod write;
pub mod read;
pub mod multi;
pub mod floor;
pub mod load;
pub mod peers;
pub mod compare;
pub mod page;
pub mod scenes;
pub mod path;
pub mod drain;
pub mod takeover;
pub mod round;
pub mod distance;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::disks::MEMORY;
use crate::floor::Trial;
use crate::hdr;
use crate::window::Window;

/// Where and how long: what suites have in their command lines alike.
#[derive(Clone, Debug, Args)]
pub struct Measuring {
    /// Folder in which disks are made; by default the system's for temporary files, with --ram memory
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Put the disks on loop devices over files in memory: what the software alone costs (needs root)
    #[arg(long)]
    pub ram: bool,
    /// How often all is measured, floor and path in turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub repeats: u16,
    /// Seconds that each load is measured in each repeat
    #[arg(long, value_name = "S", default_value_t = 1.5, value_parser = seconds)]
    pub seconds: f64,
    /// For function only: small disks, one repeat of a tenth of a second; the figures mean nothing
    #[arg(long, conflicts_with_all = ["repeats", "seconds"])]
    pub smoke: bool,
    /// Write each load's latencies to DIR for the HdrHistogram tools: NAME.hgrm (microseconds) and NAME.hlog
    #[arg(long, value_name = "DIR")]
    pub hdr: Option<PathBuf>,
    /// End with one line of JSON; the tables go to the error output
    #[arg(long)]
    pub json: bool,
    /// Write a page with pictures, too
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Seconds of each load in a smoke run.
const SMOKE_SECONDS: f64 = 0.1;

impl Measuring {
    /// The folder.
    pub fn folder(&self) -> PathBuf {
        let default = || if self.ram { PathBuf::from(MEMORY) } else { std::env::temp_dir() };
        self.folder.clone().unwrap_or_else(default)
    }

    /// How often all is measured.
    pub fn repeats(&self) -> usize {
        if self.smoke { 1 } else { usize::from(self.repeats) }
    }

    /// Seconds that each load is measured in each repeat.
    pub fn seconds(&self) -> f64 {
        if self.smoke { SMOKE_SECONDS } else { self.seconds }
    }

    /// How thoroughly floors are looked for.
    pub fn trial(&self) -> Trial {
        if self.smoke { Trial::HASTY } else { Trial::THOROUGH }
    }

    /// The folder for the HdrHistogram tools, if one is wanted; it is there then.
    ///
    /// # Errors
    /// What the file system says.
    pub fn hdr(&self) -> anyhow::Result<Option<hdr::Folder>> {
        self.hdr.as_deref().map(hdr::Folder::create).transpose()
    }

    /// A window of this part of the measured seconds, after a fifth of it as warm-up.
    pub fn window(&self, part: f64) -> Window {
        let measured = Duration::from_secs_f64(self.seconds() * part);
        Window { warm: measured / 5, measured }
    }
}

/// Seconds that make sense.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => Ok(seconds),
        Ok(_) | Err(_) => Err("a number of seconds from 0.01 to 3600 is needed".to_owned()),
    }
}
