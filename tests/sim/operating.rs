//! An operator's words are carried out, and who is to be lost before one of them.

use midspan_format::control::GroupCommand;

use crate::event::NodeIndex;
use crate::node::Inbox;
use crate::orders::{Lost, Word};
use crate::plan::Fault;
use crate::swarm::{MS, SECOND};
use crate::world::{Phase, World};

impl World {
    /// An operator says a word.
    pub(crate) fn say(&mut self, word: Word) {
        match word {
            Word::Verify { bytes_per_s, repair } => self.ask_verify(bytes_per_s, repair),
            Word::EndVerify => {
                for site in NodeIndex::SITES {
                    self.tell(site, Inbox::Command(GroupCommand::EndVerify));
                }
            }
            Word::Flip { site, place } => self.flip(site, place),
            Word::AcceptLoss { dead } => self.accept_loss(dead),
            Word::Lose(lost) => self.lose_all(lost),
            Word::LoseAtLanded(lost) => self.losing.trap = Some(lost),
            Word::WithoutJournal { site, again } => self.start_without_journal(site, again),
        }
    }

    /// The primary, the relay and perhaps the other site are lost at once, and the primary is to start alone.
    pub(crate) fn lose_all(&mut self, lost: Lost) {
        let now = self.schedule.now() + lost.after;
        let kill = |node, down| Fault::Kill { node, fuse: 0, down };
        let site = NodeIndex::A;
        let first =
            if lost.power { Fault::Power { node: site, down: lost.down } } else { kill(site, lost.down) };
        self.plan_more(now, vec![first]);
        // What was sent last is journaled, and perhaps fetched, and not on its own disks.
        let (soon, later) = (self.chance.below(20 * MS), self.chance.below(40 * MS));
        self.plan_more(now + soon, vec![kill(NodeIndex::RELAY, lost.relay)]);
        if self.swarm.lanes.is_some() {
            self.plan_more(now + soon, vec![kill(NodeIndex::RELAY2, lost.relay)]);
        }
        if lost.other > 0 {
            self.plan_more(now + later, vec![kill(NodeIndex::B, lost.other)]);
        }
        let at = now + lost.down + self.chance.range(300 * MS, 2 * SECOND);
        self.plan_more(at, vec![Fault::Word(Word::WithoutJournal { site, again: 6 })]);
    }

    /// The primary's state has been saved: it may say that more has landed.
    pub(crate) fn look_at_landed(&mut self, landed: u64) {
        let before = std::mem::replace(&mut self.losing.landed, landed);
        if landed > before
            && let Some(lost) = self.losing.trap.take().filter(|_| self.phase == Phase::Faults)
        {
            self.lose_all(lost);
        }
    }
}
