//! Disks and the network do their worst, and the oracle knows what that explains.

use midspan_format::control::LossReason;
use midspan_format::geometry::Position;
use midspan_format::ids::Epoch;
use midspan_protocol::vocab::effect::{Note, StartRefusal};

use crate::event::{Event, NodeIndex};
use crate::harm::Harm;
use crate::swarm::{MS, SECOND};
use crate::trace;
use crate::world::{Phase, World};

/// How long a world with something broken for good is watched when everything else is repaired.
const WATCHED: u64 = 25 * SECOND;
/// How long an operator needs to start a process anew that says that it sees damage.
const RESTART: u64 = 10 * MS;

impl World {
    /// It begins.
    pub(crate) fn do_harm(&mut self, index: usize, harm: Harm) {
        self.figures.harms += 1;
        match harm {
            Harm::BadRead(node) => {
                self.harmed.read[node.0] = true;
                self.nodes[node.0].disks[0].trouble.bad_read = true;
            }
            Harm::ReadError { node, disk, times } => {
                let disk = disk.min(self.nodes[node.0].disks.len() - 1);
                self.harmed.read[node.0] = true;
                self.nodes[node.0].disks[disk].trouble.read_errors = times;
            }
            Harm::Misdirect { by } => {
                let [ring, ..] = self.layout.relay;
                let from = usize::try_from(ring.start).unwrap_or(0);
                let size = usize::try_from(ring.size).unwrap_or(0);
                let by = usize::try_from(by % ring.size).unwrap_or(0);
                self.harmed.ring = true;
                let trouble = &mut self.nodes[NodeIndex::RELAY.0].disks[0].trouble;
                trouble.misdirects = Some((from, from + size, by));
            }
            Harm::RotRing { place } => self.rot_ring(place),
            Harm::Dies { node, disk } => {
                let disk = disk.min(self.nodes[node.0].disks.len() - 1);
                self.harmed.disk[node.0] = true;
                self.harmed.dead_journal[node.0] |= disk == 0;
                self.nodes[node.0].disks[disk].trouble.dead = true;
            }
            Harm::Full { node, disk } => {
                let disk = disk.min(self.nodes[node.0].disks.len() - 1);
                self.harmed.disk[node.0] = true;
                self.nodes[node.0].disks[disk].trouble.full = true;
            }
            // A lane that never began begins well on whatever disk is there: nothing tells that disk from the first one.
            Harm::OtherDisk { .. } if self.watches.ring.end() == Position(0) => {}
            Harm::OtherDisk { node, new_areas, down } => {
                self.power_off(node, down);
                self.harmed.wiped[node.0] = true;
                self.harmed.ring |= self.swarm.lanes.is_none();
                let disk = &mut self.nodes[node.0].disks[0];
                self.layout.renew(node, disk, &mut self.chance, new_areas);
                self.lose_lane(node);
            }
            Harm::Hang { node, time } => {
                let until = self.schedule.now() + time;
                let hung = &mut self.nodes[node.0].hung_until;
                *hung = until.max(*hung);
            }
            Harm::Double { node, time } => {
                self.wire.doubles[node.0] = true;
                self.schedule.after(time, Event::FaultEnds(index));
            }
            Harm::SlowWay { from, to, by, time } => {
                self.wire.late[from.0][to.0] = by;
                self.schedule.after(time, Event::FaultEnds(index));
            }
        }
    }

    /// It ends.
    pub(crate) fn end_harm(&mut self, harm: Harm) {
        match harm {
            Harm::Double { node, .. } => self.wire.doubles[node.0] = false,
            Harm::SlowWay { from, to, .. } => self.wire.late[from.0][to.0] = 0,
            Harm::BadRead(_)
            | Harm::ReadError { .. }
            | Harm::Misdirect { .. }
            | Harm::RotRing { .. }
            | Harm::Dies { .. }
            | Harm::Full { .. }
            | Harm::OtherDisk { .. }
            | Harm::Hang { .. } => {}
        }
    }

    /// Changes a bit below what the last durable frame says of the ring: who reads from there on can know that something is missing.
    fn rot_ring(&mut self, place: u64) {
        let [ring, ..] = self.layout.relay;
        let (known, end) = (self.watches.ring.known(), self.watches.ring.end());
        let oldest = end.0.saturating_sub(ring.size);
        if known.0 <= oldest {
            return;
        }
        self.harmed.ring = true;
        let position = Position(oldest + place % (known.0 - oldest));
        let offset = ring.start + position.0 % ring.size;
        trace::line("fault", || format!("a bit of the ring at {position} rots"));
        self.nodes[NodeIndex::RELAY.0].disks[0].rot(usize::try_from(offset).unwrap_or(0));
    }

    /// What an operation takes longer because the disks of a node answer nothing.
    pub(crate) fn hangs(&self, node: NodeIndex) -> u64 {
        self.nodes[node.0].hung_until.saturating_sub(self.schedule.now())
    }

    /// What can be repaired is: an operator starts anew what saw damage that is not there.
    pub(crate) fn repair_harm(&mut self) {
        self.wire.late = [[0; 4]; 4];
        self.wire.doubles = [false; 4];
        for node in self.places() {
            self.nodes[node.0].hung_until = 0;
            for disk in &mut self.nodes[node.0].disks {
                (disk.trouble.bad_read, disk.trouble.read_errors) = (false, 0);
            }
            if self.harmed.read[node.0] {
                self.kill(node, RESTART);
            }
        }
    }

    /// Whether nothing more has to come of a world in which something is broken for good.
    pub(crate) fn gives_up(&self) -> bool {
        let watched = self.schedule.now() > self.phase_since + WATCHED;
        let over = match self.phase {
            Phase::Faults | Phase::Done => false,
            Phase::Healing | Phase::Reading => watched,
            Phase::Settling | Phase::GoingHome => true,
        };
        over && self.is_broken_for_good()
    }

    /// Whether something is broken that no restart repairs: then nobody has to be served.
    pub(crate) fn is_broken_for_good(&self) -> bool {
        self.harmed.lasts() || self.harmed.wiped.contains(&true) && self.is_bereft()
    }

    /// A takeover finds a lane that nobody held when it was asked for. There is nothing to take over, unless a primary has begun since:
    /// the relay's answer may be long on its way.
    pub(crate) fn on_unheld(&mut self, node: NodeIndex) {
        if self.watches.ring.epoch() == Epoch::NONE {
            self.takeover.asked[node.0] = None;
        } else {
            self.ask_again(node);
        }
    }

    /// A takeover is refused for a reason that only damage explains.
    pub(crate) fn on_odd_refusal(&mut self, node: NodeIndex, refusal: StartRefusal) {
        let alone = matches!(
            refusal,
            StartRefusal::MayLose { why: LossReason::MayBeAlone | LossReason::LeftTheLanes, .. }
        );
        if alone && (self.swarm.accepts || self.alone) {
            // Only with loss accepted; or hosts were answered outside the lanes, and to refuse is right.
            self.takeover.asked[node.0] = None;
        } else if self.swarm.accepts
            && matches!(
                refusal,
                StartRefusal::NotSplit
                    | StartRefusal::NotToBeKept
                    | StartRefusal::NotStarting
                    | StartRefusal::LaneReachable { .. }
                    | StartRefusal::SecondaryAhead
                    | StartRefusal::OtherServes
            )
        {
            // The operator was late.
        } else if self.harmed.lasts() || self.harmed.wiped.contains(&true) {
            self.takeover.asked[node.0] = None;
        } else if self.harmed.may_see_damage() {
            self.ask_again(node);
        } else {
            self.fail("I4", format!("the takeover is refused, but no disk ever failed: {refusal:?}"));
        }
    }

    /// A node says that something is damaged or missing: so it must be.
    pub(crate) fn on_bad_news(&mut self, node: NodeIndex, note: &Note) {
        let harmed = &self.harmed;
        let explained = if matches!(note, Note::Damaged { .. }) {
            self.swarm.wire_rot > 0 || self.swarm.rates.index_rot > 0 || harmed.may_see_damage()
        } else if matches!(note, Note::LaneLost { .. }) {
            self.never_began(note)
                || harmed.wiped.contains(&true)
                || harmed.ring
                || harmed.read[NodeIndex::RELAY.0]
                || harmed.disk[NodeIndex::RELAY.0]
        } else if matches!(note, Note::OtherServes { .. }) {
            // One that died before it could say so serves all the same.
            self.has_two_histories() || self.losing.untold.iter().flatten().any(|untold| untold.taken)
        } else {
            matches!(note, Note::DiskFailed { .. }) && (harmed.disk[node.0] || harmed.read[node.0])
        };
        if !explained {
            self.fail("I8", format!("{node} says {note:?}, but nothing of the kind ever happened"));
        }
    }
}
