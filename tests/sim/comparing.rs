//! `verify`, held against the volumes themselves: it names no difference that is none, whatever hosts write and whoever dies meanwhile,
//! and every flipped bit that was there before it began.
//!
//! Bits flip in blocks that hosts leave alone, within pieces that they write to. Nothing but a round writes there, and no round runs
//! while the sites are compared.

use std::collections::BTreeSet;

use midspan_format::control::GroupCommand;
use midspan_format::geometry::BLOCK;
use midspan_format::record::MAX_RECORD_DATA;
use midspan_protocol::vocab::effect::{VerifyNote, VerifyRefusal, VerifyReport};

use crate::accounts::{Last, Piece};
use crate::event::NodeIndex;
use crate::node::Inbox;
use crate::pages::Pages;
use crate::swarm::SECOND;
use crate::trace;
use crate::world::{Phase, World};

/// The rule, as it is named.
const RULE: &str = "verify";
/// How long the last comparison may take before it is asked for again.
const AGAIN: u64 = 5 * SECOND;

impl World {
    /// Blocks of a volume that hosts use.
    pub(crate) fn host_blocks(&self, volume: usize) -> u64 {
        self.swarm.volumes[volume] - self.swarm.cold
    }

    /// Whether a block is none of the hosts', and may have flipped.
    pub(crate) fn is_cold(&self, volume: usize, block: usize) -> bool {
        self.comparing.flipped && block as u64 >= self.host_blocks(volume)
    }

    /// The same volumes with nothing in blocks that may have flipped.
    pub(crate) fn without_cold(&self, mut image: Vec<Pages>) -> Vec<Pages> {
        if self.comparing.flipped {
            for (volume, pages) in image.iter_mut().enumerate() {
                let from = usize::try_from(self.host_blocks(volume)).unwrap_or(0) * BLOCK;
                pages.zero(from, pages.size() - from);
            }
        }
        image
    }

    /// A bit flips.
    pub(crate) fn flip(&mut self, site: NodeIndex, place: u64) {
        let count = self.swarm.volumes.len() as u64;
        let volume = usize::try_from(place % count).unwrap_or(0);
        let block = self.host_blocks(volume) + place / count % self.swarm.cold;
        let offset = block * BLOCK as u64 + place / 64 % BLOCK as u64;
        self.comparing.flipped = true;
        self.comparing.since.insert(piece(volume, block));
        trace::line(site, || format!("a bit at {offset} of volume {volume} flips"));
        self.nodes[site.0].disks[volume + 1].rot(usize::try_from(offset).unwrap_or(0));
    }

    /// Pieces in which blocks that hosts leave alone differ between the sites.
    fn differing(&self) -> BTreeSet<Piece> {
        let [a, b] = NodeIndex::SITES.map(|site| &self.nodes[site.0].disks);
        let mut pieces = BTreeSet::new();
        for volume in 0..self.swarm.volumes.len() {
            for block in self.host_blocks(volume)..self.swarm.volumes[volume] {
                let at = usize::try_from(block).unwrap_or(0);
                if a[volume + 1].seen().pages()[at] != b[volume + 1].seen().pages()[at] {
                    pieces.insert(piece(volume, block));
                }
            }
        }
        pieces
    }

    /// A run begins, ends, or does not begin.
    pub(crate) fn on_verify(&mut self, node: NodeIndex, note: &VerifyNote) {
        match note {
            VerifyNote::Began { .. } => {
                self.comparing.before = self.differing();
                self.comparing.since.clear();
            }
            VerifyNote::Sent => {}
            VerifyNote::Ended(report) => {
                self.figures.compared += 1;
                if let Err(what) = self.judge_report(report) {
                    self.fail(RULE, format!("{node}: {what}: {report:?}"));
                }
                self.go_on_comparing(report);
            }
            VerifyNote::Refused(VerifyRefusal::UnknownVolume) => {
                self.fail(RULE, format!("{node} does not know its volumes"));
            }
            VerifyNote::Refused(_) => {}
        }
    }

    fn judge_report(&mut self, report: &VerifyReport) -> Result<(), String> {
        let now = self.differing();
        let comparing = &self.comparing;
        let mut named = BTreeSet::new();
        for found in &report.differences {
            let size = u64::from(MAX_RECORD_DATA);
            let last = (found.offset + found.length - 1) / size;
            named.extend((found.offset / size..=last).map(|piece| (found.volume, piece)));
        }
        let may = |piece: &&Piece| {
            now.contains(*piece) || comparing.before.contains(*piece) || comparing.since.contains(*piece)
        };
        if let Some(wrong) = named.iter().find(|piece| !may(piece)) {
            return Err(format!("{wrong:?} does not differ"));
        }
        if report.compared > report.bytes || (report.different == 0) != named.is_empty() {
            return Err("the figures do not fit".to_owned());
        }
        let whole = report.stopped.is_none() && report.compared == report.bytes;
        let missed = comparing.before.iter().find(|piece| now.contains(*piece) && !named.contains(*piece));
        match missed.filter(|_| whole) {
            Some(missed) => Err(format!("{missed:?} differs, and did when it began")),
            None => Ok(()),
        }
    }

    /// In the end the sites are compared until nothing differs.
    fn go_on_comparing(&mut self, report: &VerifyReport) {
        let whole = report.stopped.is_none() && report.compared == report.bytes;
        if self.phase == Phase::Settling && self.comparing.last != Last::Clean {
            let clean = whole && report.differences.is_empty();
            self.comparing.last = if clean { Last::Clean } else { Last::Wanted };
        }
    }

    /// Whether the last comparison has found nothing; else it is asked for.
    pub(crate) fn is_compared(&mut self) -> bool {
        let now = self.schedule.now();
        match self.comparing.last {
            _ if self.swarm.cold == 0 => return true,
            Last::Clean => return true,
            Last::Asked(at) if now < at + AGAIN => return false,
            Last::Wanted | Last::Asked(_) => {}
        }
        self.comparing.last = Last::Asked(now);
        self.ask_verify(0, true);
        false
    }

    /// The operator asks both sites; the primary does it.
    pub(crate) fn ask_verify(&mut self, bytes_per_s: u64, repair: bool) {
        for site in NodeIndex::SITES {
            self.tell(site, Inbox::Command(GroupCommand::Verify { volume: None, bytes_per_s, repair }));
        }
    }
}

fn piece(volume: usize, block: u64) -> Piece {
    (u32::try_from(volume).unwrap_or(u32::MAX), block * BLOCK as u64 / u64::from(MAX_RECORD_DATA))
}
