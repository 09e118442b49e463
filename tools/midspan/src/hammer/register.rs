//! What is known of one unit: the writes that it may still hold, and the rule that judges what it does hold.
//!
//! A unit is a register. Each write is a value of its own, and all operations on that value form a *cluster*: the write itself,
//! and the reads that returned it. Of a cluster only two instants matter:
//!
//! * `first_end`: the value had certainly been written by then (end of the write, or of a read that returned it);
//! * `last_start`: the value was certainly not yet overwritten then (start of the write, or of a read that returned it).
//!
//! `V.first_end < W.last_start` says that V was written before W was overwritten, that is V before W. So a history is wrong
//! exactly if for two clusters both are true: V before W and W before V (Gibbons and Korach, 1997, for registers whose values are
//! unique). An unanswered write that no read returned has no end (infinity): it precedes nothing, so it may be there or not.
//! The final content is a read after everything.
//!
//! A cluster is forgotten once every read to come that returned it would be wrong. That needs the start of the oldest operation
//! still under way: instants before it cannot be used any more.

/// The end of an operation that has no answer.
pub const NEVER: u64 = u64::MAX;

/// How a write changes a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Self-describing data.
    Data,
    /// Zeroes.
    Zero,
    /// A trim whose effect is not promised: zeroes, or nothing.
    MaybeZero,
}

/// What was found in a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Data of this op.
    Op(u64),
    /// Zeroes.
    Zero,
    /// Bytes that are not of this run, by their digest (never 0).
    Other(u64),
}

/// The judgement on what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It may be there.
    Right,
    /// It was certainly overwritten, among others by this op.
    Stale {
        /// The latest write that should be there; 0 if it is not known.
        missing: u64,
    },
    /// It was never there.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Initial,
    Data,
    Zero,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cluster {
    pub(super) op: u64,
    pub(super) value: Value,
    /// Whether it took effect for certain, so that it can make others stale.
    pub(super) counted: bool,
    /// See [`Kind::MaybeZero`].
    pub(super) optional: bool,
    pub(super) last_start: u64,
    pub(super) first_end: u64,
}

/// The history knowledge of one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    /// The digest of the content before the run; 0 for zeroes.
    pub(super) initial: u64,
    /// The greatest `last_start` of all forgotten clusters, and its op.
    pub(super) gone_start: u64,
    pub(super) gone_op: u64,
    /// Whether any write of zeroes was ever begun.
    pub(super) zeroed: bool,
    /// Reads have contradicted each other: no more live judgements, they would repeat the first one.
    pub(super) contradicted: bool,
    /// Whether any write was ever begun; else only the initial content is right.
    pub(super) touched: bool,
    pub(super) clusters: Vec<Cluster>,
}

impl Register {
    /// A unit that no write has touched.
    pub fn untouched(initial_digest: u64) -> Self {
        Self { initial: initial_digest, ..Self::default() }
    }

    /// A write begins (before it is sent).
    pub fn begin(&mut self, op: u64, kind: Kind, start: u64) {
        if !self.touched {
            self.touched = true;
            self.clusters.push(Cluster {
                op: 0,
                value: Value::Initial,
                counted: true,
                optional: false,
                last_start: 0,
                first_end: 0,
            });
        }
        self.zeroed |= kind != Kind::Data;
        self.clusters.push(Cluster {
            op,
            value: if kind == Kind::Data { Value::Data } else { Value::Zero },
            counted: false,
            optional: kind == Kind::MaybeZero,
            last_start: start,
            first_end: NEVER,
        });
    }

    /// A write was answered. `oldest` is the start of the oldest operation on the volume that is still under way. An error
    /// names an op that a read has wrongly returned or wrongly not returned.
    pub fn end(&mut self, op: u64, end: u64, oldest: u64) -> Result<(), u64> {
        let Some(index) = self.clusters.iter().position(|cluster| cluster.op == op) else {
            return Ok(());
        };
        let mut outcome = Ok(());
        if let Some(cluster) = self.clusters.get_mut(index) {
            cluster.first_end = cluster.first_end.min(end);
            cluster.counted |= !cluster.optional;
            let (counted, last_start, first_end) = (cluster.counted, cluster.last_start, cluster.first_end);
            if counted
                && !self.contradicted
                && let Some(other) = self.conflict(index, last_start, first_end)
            {
                self.contradicted = true;
                outcome = Err(other);
            }
        }
        self.forget(oldest);
        outcome
    }

    /// A read returned `held`.
    pub fn observe(&mut self, held: Held, start: u64, end: u64, oldest: u64) -> Judgement {
        let judgement = self.judge_read(held, start, end, true);
        self.forget(oldest);
        judgement
    }

    /// Judges what is there after everything.
    pub fn judge(&self, held: Held) -> Judgement {
        self.clone().judge_read(held, NEVER, NEVER, false)
    }

    /// Whether a write of this unit was under way in some instant since `start`: then a read may have seen it half done,
    /// if the server does not promise more.
    pub fn was_written_since(&self, start: u64) -> bool {
        self.clusters.iter().any(|cluster| cluster.op != 0 && cluster.first_end >= start)
    }

    fn judge_read(&mut self, held: Held, start: u64, end: u64, live: bool) -> Judgement {
        if live && self.contradicted {
            return Judgement::Right;
        }
        if !self.touched {
            let is_initial = match held {
                Held::Zero => self.initial == 0,
                Held::Other(digest) => self.initial == digest,
                Held::Op(_) => false,
            };
            return if is_initial { Judgement::Right } else { Judgement::Foreign };
        }
        let mut possible = 0_usize;
        let mut the_one = None;
        let mut candidate = None;
        for (index, cluster) in
            self.clusters.iter().enumerate().filter(|(_, cluster)| self.matches(cluster, held))
        {
            candidate = Some(index);
            let (last_start, first_end) = (cluster.last_start.max(start), cluster.first_end.min(end));
            if self.conflict(index, last_start, first_end).is_none() {
                possible += 1;
                the_one = Some((index, last_start, first_end));
            }
        }
        let Some((index, last_start, first_end)) = the_one else {
            return self.wrong(held, candidate);
        };
        // Zeroes have no author. Only when a single write of zeroes is possible has the read told something.
        if live
            && possible == 1
            && let Some(cluster) = self.clusters.get_mut(index)
        {
            cluster.last_start = last_start;
            cluster.first_end = first_end;
            cluster.counted = true;
        }
        Judgement::Right
    }

    fn wrong(&self, held: Held, candidate: Option<usize>) -> Judgement {
        let was_there = match held {
            Held::Op(_) => true,
            Held::Zero => self.initial == 0 || self.zeroed,
            Held::Other(digest) => self.initial == digest,
        };
        if !was_there {
            return Judgement::Foreign;
        }
        let others = self
            .clusters
            .iter()
            .enumerate()
            .filter(|(index, other)| other.counted && Some(*index) != candidate);
        let latest = others.map(|(_, other)| (other.last_start, other.op)).max().unwrap_or((0, 0));
        Judgement::Stale { missing: latest.max((self.gone_start, self.gone_op)).1 }
    }

    fn matches(&self, cluster: &Cluster, held: Held) -> bool {
        match cluster.value {
            Value::Data => held == Held::Op(cluster.op),
            Value::Zero => held == Held::Zero,
            Value::Initial => held == if self.initial == 0 { Held::Zero } else { Held::Other(self.initial) },
        }
    }

    /// An op whose cluster would be before and after this one, if this one had these bounds.
    fn conflict(&self, of: usize, last_start: u64, first_end: u64) -> Option<u64> {
        let contradicts = |other: &Cluster| other.first_end < last_start && first_end < other.last_start;
        let others = self.clusters.iter().enumerate().filter(|(index, other)| *index != of && other.counted);
        others.map(|(_, other)| other).find(|other| contradicts(other)).map(|other| other.op)
    }

    /// Drops the clusters that no read to come may return. What they say about the order of the others is not needed any more:
    /// the last instant at which one of them was read is before `oldest`, so before the end of everything that stays and is not
    /// known to be overwritten.
    fn forget(&mut self, oldest: u64) {
        let is_over = |cluster: &&Cluster| cluster.counted && cluster.first_end < oldest;
        let over = self.clusters.iter().filter(is_over);
        let Some((start, op)) = over.map(|cluster| (cluster.last_start, cluster.op)).max() else {
            return;
        };
        let mut gone = (self.gone_start, self.gone_op);
        self.clusters.retain(|cluster| {
            let is_dead = cluster.op != op && cluster.first_end < oldest && cluster.first_end < start;
            if is_dead && cluster.counted {
                gone = gone.max((cluster.last_start, cluster.op));
            }
            !is_dead
        });
        (self.gone_start, self.gone_op) = gone;
    }
}

#[cfg(test)]
#[path = "register/tests.rs"]
mod tests;
