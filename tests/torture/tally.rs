//! What a run has done, in figures, and its progress in lines.

use std::fmt;

use midspan::clock::Clock;
use serde::Serialize;

/// The figures of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Clusters that were made.
    pub clusters: u64,
    /// Rounds of trouble that were healed and verified.
    pub rounds: u64,
    /// SIGKILL.
    pub kills: u64,
    /// SIGSTOP.
    pub stops: u64,
    /// Paths that were cut, one by one.
    pub cuts: u64,
    /// Rings that were filled.
    pub fills: u64,
    /// Disks of a relay that were formatted anew.
    pub wipes: u64,
    /// Groups that began anew after that.
    pub begun_anew: u64,
    /// Takeovers with a loss that was accepted, which is what was reported.
    pub accepted_losses: u64,
    /// Writes that were answered and lost so, each within what was reported.
    pub lost_as_reported: u64,
    /// Takeovers that ended well.
    pub takeovers: u64,
    /// Planned changes of roles that ended well.
    pub switchovers: u64,
    /// Takeovers and switchovers that were refused, undone, or whose site was killed while their end was waited for.
    pub ended_otherwise: u64,
    /// Rounds of repair that were held.
    pub pauses: u64,
    /// Times that hosts were taken to the other site.
    pub moves: u64,
    /// Writes that were answered.
    pub answered: u64,
    /// Writes that were sent and never answered: they may be there or not.
    pub possibly_answered: u64,
    /// Times that everything written was judged by content.
    pub verified: u64,
    /// Blocks that were judged.
    pub checked_blocks: u64,
    /// Times that both sites' volumes were compared byte for byte.
    pub compared: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} rounds on {} clusters: {} kills, {} stops, {} cuts, {} full rings, {} wiped relays ({} begun anew), \
             {} accepted losses ({} writes, as reported), {} takeovers, {} switchovers ({} of both ended otherwise), {} pauses, hosts moved {} times; \
             {} writes answered, {} possibly, verified {} times ({} blocks), sites compared {} times",
            self.rounds,
            self.clusters,
            self.kills,
            self.stops,
            self.cuts,
            self.fills,
            self.wipes,
            self.begun_anew,
            self.accepted_losses,
            self.lost_as_reported,
            self.takeovers,
            self.switchovers,
            self.ended_otherwise,
            self.pauses,
            self.moves,
            self.answered,
            self.possibly_answered,
            self.verified,
            self.checked_blocks,
            self.compared
        )
    }
}

/// The figures, and a line for whatever happens.
#[derive(Debug)]
pub struct Tally {
    /// The figures.
    pub figures: Figures,
    began: Clock,
    round: String,
}

impl Tally {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self { figures: Figures::default(), began: Clock::starting_at(0), round: String::new() }
    }

    /// What follows belongs to this round.
    pub fn begin_round(&mut self, scenario: &str) {
        self.round = format!("round {} ({scenario})", self.figures.rounds + 1);
    }

    /// Seconds since the beginning.
    pub fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Tells of something.
    pub fn say(&self, what: impl fmt::Display) {
        eprintln!("{:8.1} s  {}: {what}", self.seconds(), self.round);
    }
}
