//! Losses that an operator accepts: what is said of them is held against what is really lost, and from then on hosts go by one site's history.
//!
//! A takeover serves a cut: whatever it holds, everything answered before that was asked is there too. What was answered up to the time that
//! is reported is there in any case. A site that goes on beside it (two histories) answers as it may, and nobody who is asked there is
//! believed; the operator chooses in a split, and in the end both sites are equal again, as ever.

use midspan_format::control::GroupCommand;
use midspan_format::ids::Epoch;
use midspan_format::message::Message;
use midspan_format::superblock::{GroupState, PairState, Role};
use midspan_format::time::Time;
use midspan_protocol::vocab::effect::{LinkEvent, LinkId, StartRefusal, StartReport};

use crate::accounts::{Said, Untold};
use crate::event::NodeIndex;
use crate::history::Kind;
use crate::layout::node_id;
use crate::memory::SimBuf;
use crate::node::Inbox;
use crate::orders::Word;
use crate::pages::Pages;
use crate::plan::Fault;
use crate::swarm::{MS, SECOND};
use crate::trace;
use crate::world::{Phase, Reign, World};

/// How long an operator looks at a split before the next word.
const CONSIDERS: u64 = 700 * MS;
/// How long before somebody who waits for a death looks again.
const LOOKS: u64 = 20 * MS;
/// How long nobody serves before the operator thinks that nobody will.
const NOBODY: u64 = 10 * SECOND;
/// How long before a word is repeated.
const REPEATS: u64 = SECOND;

impl World {
    /// Whether two sites may have served since a loss was accepted.
    pub(crate) fn has_two_histories(&self) -> bool {
        self.losing.crown.is_some()
    }

    /// Whether a site may leave out of the journal what hosts know of: it accepts a loss, or there are two histories.
    pub(crate) fn may_lose(&self) -> bool {
        let losing = &self.losing;
        self.has_two_histories()
            || losing.pending.iter().any(Option::is_some)
            || losing.untold.iter().any(Option::is_some)
    }

    /// Whether a takeover at this site may end with a loss that was accepted, and has said nothing yet.
    pub(crate) fn may_take_with_loss(&self, site: NodeIndex) -> bool {
        self.losing.pending[site.0].is_some() || self.losing.untold[site.0].is_some()
    }

    /// Whether what a site answers is not for hosts to rely on.
    pub(crate) fn is_given_up(&self, node: NodeIndex) -> bool {
        self.losing.apart || self.losing.crown.is_some_and(|crown| crown != node)
    }

    /// Whether an answer is a history of its own: not one for what both lanes of a mirror held, and the taker has read, which its writer hears of
    /// late from the lane that was not fenced.
    pub(crate) fn is_beside(&self, node: NodeIndex, op: u64) -> bool {
        let Some(sent) = self.sent.get(&op).filter(|_| self.is_given_up(node)) else { return false };
        let volume = u32::try_from(sent.volume).unwrap_or(u32::MAX);
        let journal = &self.watches.journal;
        let place = match sent.kind {
            Kind::Read | Kind::Flush => return false,
            Kind::Write => journal.place_of_op(op),
            Kind::Zero => journal.place_of_zeroes(&(volume, sent.offset, sent.length, 0)),
        };
        place.is_none_or(|place| place > self.losing.shared)
    }

    /// The site that does not serve takes over, whatever is lost.
    pub(crate) fn accept_loss(&mut self, dead: bool) {
        let site = self.reign.map_or(NodeIndex::B, |reign| reign.node.other_site());
        if dead && self.nodes[site.other_site().0].process.is_some() {
            let at = self.schedule.now() + LOOKS;
            return self.plan_more(at, vec![Fault::Word(Word::AcceptLoss { dead })]);
        }
        self.accept_loss_at(site);
    }

    fn accept_loss_at(&mut self, site: NodeIndex) {
        self.losing.pending[site.0] = Some(Said::Takeover);
        let life = self.life_of(site).unwrap_or(0);
        // One that was recorded in a process that has died since is said by the next one, whatever is asked there meanwhile.
        if self.losing.untold[site.0].is_none_or(|untold| !untold.taken) {
            let before = self.recorded(site).takeover_epoch;
            self.losing.untold[site.0] = Some(Untold { life, before, taken: false });
        }
        self.ask_takeover(site, true);
    }

    /// A site is to start without the journal.
    pub(crate) fn start_without_journal(&mut self, site: NodeIndex, again: u32) {
        let serves = self.stands(site).is_some_and(|(_, _, serves)| serves);
        if serves || self.has_two_histories() {
            return;
        }
        self.losing.pending[site.0] = Some(Said::Start);
        self.tell(site, Inbox::Command(GroupCommand::WithoutJournal));
        if again > 0 {
            let fault = Fault::Word(Word::WithoutJournal { site, again: again - 1 });
            let at = self.schedule.now() + REPEATS;
            self.plan_more(at, vec![fault]);
        }
    }

    /// A start or takeover has ended: what it says of losses is true, and what it serves is what hosts go by.
    pub(crate) fn judge_loss(&mut self, node: NodeIndex, report: &StartReport) {
        if report.lost_nothing && self.waits_to_leave(node) {
            return;
        }
        let said = self.losing.pending[node.0].take();
        let image = self.seen_volumes(node);
        let untold = self.losing.untold[node.0].take();
        if report.lost_nothing {
            let life = self.life_of(node);
            let died = untold.is_some_and(|untold| untold.taken && Some(untold.life) != life);
            return self.judge_promise(node, &image, died);
        }
        let Some(said) = said else {
            return self.fail("I1", format!("{node} accepts a loss that nobody accepted: {report:?}"));
        };
        self.figures.accepted += 1;
        let other = node.other_site();
        let left = self.recorded(other).left_cut.0;
        if self.outside == Some(other) && report.kept_to > left {
            let what =
                format!("{other} answered outside the lanes from {left} on, and {node} says: {report:?}");
            self.fail("I1", what);
        }
        let times = &self.watches.ring.times;
        let kept = |op| times.get(&op).is_some_and(|time| *time <= report.kept_to);
        // Another history is not judged by this one.
        if !self.has_two_histories() && said != Said::Keep {
            let outcome = self.history.is_cut(&image, said == Said::Takeover, kept);
            self.demand("I4", outcome.map_err(|what| format!("{node} accepts a loss: {what}: {report:?}")));
        }
        trace::line("oracle", || format!("hosts go by {node} from now on"));
        self.history.restart(Some(&image));
        (self.losing.crown, self.losing.apart, self.outside) = (Some(node), false, None);
        self.losing.told = [None; 3];
        let held = self.watches.own(node).end();
        self.losing.shared = held.min(self.watches.ring.end());
        self.watches.journal.given_up = self.watches.ring.end();
        self.losing.frames = self.watches.ring.frames_by(node_id(node));
    }

    /// A start says that nothing is lost: then nothing is, or what is was accepted in a process that has died since.
    fn judge_promise(&mut self, node: NodeIndex, image: &[Pages], died: bool) {
        if self.is_given_up(node) {
            return;
        }
        let Err(lost) = self.history.holds(image) else { return };
        if !died {
            return self.fail("I1", format!("{node} says that nothing is lost: {lost}"));
        }
        self.figures.accepted += 1;
        let outcome = self.history.is_cut(image, true, |_| false);
        self.demand("I4", outcome.map_err(|what| format!("{node} has accepted a loss: {what}")));
        self.history.restart(Some(image));
        (self.losing.crown, self.outside) = (Some(node), None);
    }

    /// A start past the journal says from when on something may be missing.
    pub(crate) fn judge_skipping(&mut self, node: NodeIndex, landed: u64) {
        if self.has_two_histories() {
            return;
        }
        let image = self.seen_volumes(node);
        let times = &self.watches.ring.times;
        let kept = |op| times.get(&op).is_some_and(|time| *time <= landed);
        let outcome = self.history.is_cut(&image, false, kept);
        self.demand("I4", outcome.map_err(|what| format!("{node} skips what is behind {landed}: {what}")));
    }

    /// A site serves that no word has called. A takeover that needed none has everything that hosts were told at the other site: it is
    /// held to that, unless that one has taken over without a fence, or goes on by a word of which it could tell nobody yet.
    pub(crate) fn serves_beside(&mut self, node: NodeIndex) {
        let other = self.recorded(node.other_site());
        let unfenced = other.role == Role::Primary && other.by_word && other.takeover_replaces != Epoch::NONE;
        let untold = self.losing.untold[node.other_site().0].is_some_and(|untold| untold.taken);
        if self.losing.crown.is_none() && untold && unfenced && self.watches.journal.is_used() {
            // It died before it could say so, and serves on in its next process.
            trace::line("oracle", || format!("{node} serves beside a loss that nobody was told of"));
            (self.losing.crown, self.losing.apart) = (Some(node.other_site()), true);
            return;
        }
        let takes =
            self.takeover.asked[node.0].is_some() && !unfenced && !self.is_unheard_of(node.other_site());
        if takes && !self.losing.apart && self.losing.crown == Some(node.other_site()) {
            self.losing.crown = Some(node);
        } else if self.is_given_up(node) && self.losing.pending[node.0].is_none() && !self.losing.apart {
            trace::line("oracle", || format!("{node} serves, too"));
            self.losing.apart = true;
        }
    }

    /// Whether a site serves by a word, and neither the relay nor the other site had anything of it since: it comes to light when they meet.
    /// What the taker itself has put into the lane, its own mark before it serves, tells it nothing.
    fn is_unheard_of(&self, site: NodeIndex) -> bool {
        let other = site.other_site();
        let life = self.life_of(other);
        let told = self.losing.recorded[other.0] || life.is_some() && self.losing.told[other.0] == life;
        let silent = self.watches.ring.frames_by(node_id(site)) == self.losing.frames;
        self.losing.crown == Some(site) && self.recorded(site).by_word && silent && !told
    }

    /// Something has come to the group of a site: a lane's answer, or the other site's word that it answers outside the lanes. Which of them
    /// was first says whether a takeover there must know of it.
    /// A lane that was only looked at, and is away again, has decided nothing.
    pub(crate) fn look_for_news(&mut self, node: NodeIndex, link: LinkId, event: &LinkEvent<SimBuf>) {
        let Some(life) = self.life_of(node) else { return };
        let answered = &mut self.losing.answered[node.0];
        match event {
            LinkEvent::Message(Message::Fenced(fenced)) => {
                *answered = Some((life, (fenced.epoch == fenced.found).then_some(link)));
            }
            LinkEvent::Down if *answered == Some((life, Some(link))) => *answered = None,
            LinkEvent::Unit(unit) if answered.is_none_or(|(of, _)| of != life) => {
                if let Ok(Message::Leaving(_)) = Message::decode_block(unit.bytes()) {
                    self.losing.told[node.0] = Some(life);
                }
            }
            LinkEvent::Message(_) | LinkEvent::Unit(_) | LinkEvent::Sent | LinkEvent::Down => {}
        }
    }

    /// A site's state says what it knows of the other one as a secondary; what it forgets when it takes over it has known.
    pub(crate) fn look_at_what_is_known(&mut self, node: NodeIndex, state: &GroupState) {
        if state.role == Role::Secondary {
            self.losing.recorded[node.0] = state.left || state.told_left > Time::ZERO;
            return;
        }
        let life = self.life_of(node);
        let untold = self.losing.untold[node.0].as_mut();
        if let Some(untold) = untold.filter(|untold| !untold.taken && state.takeover_epoch > untold.before) {
            (untold.taken, untold.life) = (true, life.unwrap_or(untold.life));
        }
    }

    fn life_of(&self, node: NodeIndex) -> Option<u64> {
        self.nodes[node.0].process.as_ref().map(|process| process.life)
    }

    /// A word of an operator came to nothing.
    pub(crate) fn word_refused(&mut self, node: NodeIndex, refusal: StartRefusal) {
        trace::line("oracle", || format!("{node} refuses a word: {refusal:?}"));
        // A takeover by that word is recorded, and waits for its lane: it has come to something.
        let taken = self.losing.untold[node.0].is_some_and(|untold| untold.taken);
        if refusal != StartRefusal::NotSecondary || !taken {
            self.losing.pending[node.0] = None;
        }
        self.losing.untold[node.0] = self.losing.untold[node.0].filter(|untold| untold.taken);
        self.losing.kept |= refusal == StartRefusal::NotToBeKept;
        self.takeover.asked[node.0] = None;
    }

    /// The operator looks at both sites.
    pub(crate) fn operate(&mut self) {
        if !self.swarm.accepts {
            return;
        }
        self.look_for_peace();
        self.look_for_nobody();
        let now = self.schedule.now();
        for site in NodeIndex::SITES {
            let splits = self.stands(site).is_some_and(|(_, pair, _)| pair == PairState::Split);
            if !splits || now < self.losing.looks_at[site.0] {
                continue;
            }
            if self.losing.looks_at[site.0] == 0 {
                self.losing.looks_at[site.0] = now + CONSIDERS;
                continue;
            }
            self.losing.looks_at[site.0] = now + CONSIDERS;
            let other_serves = self.stands(site.other_site()).is_some_and(|(_, _, serves)| serves);
            let alone = !other_serves && self.phase != Phase::Faults;
            self.losing.beside = false;
            if !self.losing.kept && (self.swarm.keeps || alone) {
                self.losing.kept = true;
                self.losing.pending[site.0] = Some(Said::Keep);
                self.tell(site, Inbox::Command(GroupCommand::Prevail));
            } else if other_serves || alone {
                self.tell(site, Inbox::Command(GroupCommand::Resolve));
                self.give_up(site);
            }
        }
    }

    /// An operator gives up what this site alone holds: hosts go by the other one from now on, whatever it has told them.
    fn give_up(&mut self, site: NodeIndex) {
        let other = Some(site.other_site());
        if self.losing.apart || self.losing.crown != other {
            self.history.restart(None);
            (self.losing.crown, self.losing.apart, self.outside) = (other, false, None);
            self.reigns_again(other);
        }
    }

    /// A site serves on, and the other one does not any more.
    fn reigns_again(&mut self, site: Option<NodeIndex>) {
        let since = self.schedule.now();
        let stands = site.and_then(|node| Some((node, self.standing(node)?.epoch)));
        self.reign = stands.map(|(node, epoch)| Reign { node, epoch, since }).or(self.reign);
    }

    /// A role that was handed over is given up with what was taken beside it: the site that had it takes over again.
    fn look_for_nobody(&mut self) {
        let stands = NodeIndex::SITES.map(|site| self.standing(site));
        let follow = stands.iter().all(|status| status.as_ref().is_some_and(|s| s.role == Role::Secondary));
        let now = self.schedule.now();
        let since = *self.losing.idle_since.get_or_insert(now);
        if !follow || self.phase == Phase::Faults {
            self.losing.idle_since = None;
        } else if now > since + NOBODY && self.takeover.asked.iter().all(Option::is_none) {
            let whole = |site: &NodeIndex| {
                stands[usize::from(*site == NodeIndex::B)].as_ref().is_some_and(|s| !s.no_cut)
            };
            self.losing.idle_since = None;
            if let Some(site) = NodeIndex::SITES.into_iter().find(whole) {
                // Where a primary may go on with nobody to tell, none is permitted otherwise.
                if self.swarm.alone {
                    self.accept_loss_at(site);
                } else {
                    self.ask_takeover(site, false);
                }
            }
        }
    }

    /// One of two histories was given up, and both sites hold the other one.
    fn look_for_peace(&mut self) {
        if !self.has_two_histories() || !self.is_whole() {
            return;
        }
        let serving =
            NodeIndex::SITES.into_iter().find(|site| self.stands(*site).is_some_and(|(_, _, serves)| serves));
        if self.losing.apart || serving != self.losing.crown {
            // Which of the two it was nobody has said to hosts: they look what is there.
            self.history.restart(None);
        }
        trace::line("oracle", || format!("one history again: {serving:?}"));
        if std::mem::take(&mut self.losing.beside) {
            let what = format!(
                "hosts were answered at two sites, and one history is left without a word: {serving:?}"
            );
            self.fail("I5", what);
        }
        self.reigns_again(serving);
        if std::mem::take(&mut self.losing.beside) {
            let what = format!(
                "hosts were answered at two sites, and one history is left without a word: {serving:?}"
            );
            self.fail("I5", what);
        }
        let since = self.schedule.now();
        let stands = serving.and_then(|node| Some((node, self.standing(node)?.epoch)));
        self.reign = stands.map(|(node, epoch)| Reign { node, epoch, since }).or(self.reign);
        (self.losing.crown, self.losing.apart, self.outside) = (None, false, None);
        self.losing.looks_at = [0; 3];
    }

    fn seen_volumes(&self, node: NodeIndex) -> Vec<Pages> {
        self.nodes[node.0].disks[1..].iter().map(|disk| disk.seen().clone()).collect()
    }
}
