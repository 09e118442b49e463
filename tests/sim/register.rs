//! What is known of one cell: which writes it may hold, and the rule that judges what it does hold.
//!
//! A cell is a register. Each write is a value of its own; all operations on that value form a *cluster*: the write, and the
//! reads that returned it. Of a cluster two instants matter: `first_end`, by which the value had certainly been written (end of
//! the write, or of a read that returned it), and `last_start`, at which it was certainly not yet overwritten (start of the
//! write, or of a read that returned it). `V.first_end < W.last_start` says: V was written before W was overwritten, so V
//! before W. A history is wrong exactly if for two clusters both V before W and W before V are true (Gibbons and Korach,
//! 1997, for registers whose values are unique). A write that was never answered and that no read returned ends never: it
//! precedes nothing, so it may be there or not.

use crate::content::Held;

/// The end of what has no end.
pub const NEVER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cluster {
    /// 0 = what was there before the first write.
    op: u64,
    zero: bool,
    /// It took effect for certain, so that it can make others stale.
    counted: bool,
    last_start: u64,
    first_end: u64,
}

/// What contradicts a read or the end of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// What was found was certainly overwritten before, by this op.
    Stale(u64),
    /// Nobody wrote it.
    Foreign,
}

/// What a read tells of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// That a cluster, by its place, is there.
    By(usize),
    /// Nothing, as several may be: zeroes have no author.
    Several,
    /// Nothing, as it is what ops of before may have left.
    Left,
}

/// One cell.
#[derive(Clone, Debug, Default)]
pub struct Register {
    clusters: Vec<Cluster>,
    /// The newest op that forgotten clusters know of.
    gone: u64,
    /// What ops up to this one have left here is not known, nor what was before.
    blank: u64,
}

impl Register {
    fn touch(&mut self) {
        if self.clusters.is_empty() && self.blank == 0 {
            self.clusters.push(Cluster { op: 0, zero: true, counted: true, last_start: 0, first_end: 0 });
        }
    }

    /// A write begins, before it is sent.
    pub fn begin(&mut self, op: u64, zero: bool, start: u64) {
        self.touch();
        self.clusters.push(Cluster { op, zero, counted: false, last_start: start, first_end: NEVER });
    }

    /// A write was answered. `oldest`: start of the oldest operation that can still be answered.
    pub fn end(&mut self, op: u64, end: u64, oldest: u64) -> Result<(), Wrong> {
        let Some(index) = self.clusters.iter().position(|c| c.op == op) else { return Ok(()) };
        let cluster = &mut self.clusters[index];
        cluster.first_end = cluster.first_end.min(end);
        cluster.counted = true;
        let cluster = *cluster;
        let conflict = self.conflict(index, cluster.last_start, cluster.first_end);
        self.forget(oldest);
        conflict.map_or(Ok(()), |op| Err(Wrong::Stale(op)))
    }

    /// A read that began at `start` and ended at `end` returned `held`.
    pub fn observe(&mut self, held: Held, start: u64, end: u64, oldest: u64) -> Result<(), Wrong> {
        self.touch();
        match self.judge(held, start, end)? {
            Told::By(index) => {
                let cluster = &mut self.clusters[index];
                cluster.last_start = cluster.last_start.max(start);
                cluster.first_end = cluster.first_end.min(end);
                cluster.counted = true;
            }
            Told::Several => {}
            Told::Left => return Ok(()),
        }
        self.forget(oldest);
        Ok(())
    }

    fn judge(&self, held: Held, start: u64, end: u64) -> Result<Told, Wrong> {
        let fits = |cluster: &Cluster| match held {
            Held::Zero => cluster.zero,
            Held::Op(op) => !cluster.zero && cluster.op == op,
            Held::Foreign(_) => false,
        };
        let mut candidates = (0..self.clusters.len()).filter(|index| fits(&self.clusters[*index]));
        let bounds = |cluster: &Cluster| (cluster.last_start.max(start), cluster.first_end.min(end));
        let mut possible = candidates.clone().filter(|index| {
            let (last_start, first_end) = bounds(&self.clusters[*index]);
            self.conflict(*index, last_start, first_end).is_none()
        });
        let (found, more) = (possible.next(), possible.next().is_some());
        if found.is_none() && self.may_be_left(held) {
            let over = self.clusters.iter().find(|c| c.counted && c.first_end < start);
            return over.map_or(Ok(Told::Left), |over| Err(Wrong::Stale(over.op)));
        }
        let Some(index) = found else {
            let candidate = candidates.next();
            let stale = candidate.and_then(|index| {
                let (last_start, first_end) = bounds(&self.clusters[index]);
                self.conflict(index, last_start, first_end)
            });
            let was_there = matches!(held, Held::Zero) || candidate.is_some() || self.gone != 0;
            return Err(match (stale, held) {
                (Some(op), _) => Wrong::Stale(op),
                (None, Held::Zero | Held::Op(_)) if was_there => Wrong::Stale(self.gone),
                (None, Held::Zero | Held::Op(_) | Held::Foreign(_)) => Wrong::Foreign,
            });
        };
        Ok(if more { Told::Several } else { Told::By(index) })
    }

    /// Whether the cell may hold this now, so that a read would be right to return it.
    pub fn permits(&self, held: Held, now: u64) -> Result<(), Wrong> {
        if self.clusters.is_empty() && self.blank == 0 {
            return if held == Held::Zero { Ok(()) } else { Err(Wrong::Foreign) };
        }
        self.judge(held, now, now).map(|_| ())
    }

    /// A write was seen in another cell of the same block by `end`: it has happened here too.
    pub fn happened(&mut self, op: u64, end: u64) {
        if let Some(cluster) = self.clusters.iter_mut().find(|c| c.op == op) {
            cluster.first_end = cluster.first_end.min(end);
            cluster.counted = true;
        }
    }

    /// Begins anew with what is there, or with whatever ops up to `newest` have left there.
    pub fn restart(&mut self, held: Option<Held>, newest: u64, now: u64) {
        self.clusters.clear();
        (self.gone, self.blank) = (0, newest);
        if let Some(held) = held {
            let (op, zero) = match held {
                Held::Op(op) => (op, false),
                Held::Zero | Held::Foreign(_) => (0, true),
            };
            self.clusters.push(Cluster { op, zero, counted: true, last_start: now, first_end: now });
            self.blank = 0;
        }
    }

    fn may_be_left(&self, held: Held) -> bool {
        match held {
            Held::Zero => self.blank > 0,
            Held::Op(op) => op <= self.blank,
            Held::Foreign(_) => false,
        }
    }

    fn conflict(&self, of: usize, last_start: u64, first_end: u64) -> Option<u64> {
        let others = self.clusters.iter().enumerate().filter(|(index, other)| *index != of && other.counted);
        others
            .map(|(_, other)| other)
            .find(|other| other.first_end < last_start && first_end < other.last_start)
            .map(|other| other.op)
    }

    /// Drops the clusters that no read to come may return: a newer one was certainly there before any of them began.
    fn forget(&mut self, oldest: u64) {
        let over = self.clusters.iter().filter(|c| c.counted && c.first_end < oldest);
        let Some((start, op)) = over.map(|c| (c.last_start, c.op)).max() else { return };
        let before = self.clusters.len();
        self.clusters.retain(|c| c.op == op || c.first_end >= oldest || c.first_end >= start);
        if self.clusters.len() != before {
            self.gone = op;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answered_write_is_read() {
        let mut register = Register::default();
        register.begin(1, false, 1);
        assert_eq!(register.end(1, 2, 3), Ok(()));
        assert_eq!(register.observe(Held::Zero, 3, 4, 3), Err(Wrong::Stale(1)));
        assert_eq!(register.observe(Held::Op(1), 3, 4, 5), Ok(()));
        assert!(register.observe(Held::Op(9), 3, 4, 5).is_err(), "nobody wrote that");
    }

    #[test]
    fn what_a_cell_may_hold_is_said_without_a_read() {
        let mut register = Register::default();
        assert_eq!(register.permits(Held::Zero, 1), Ok(()));
        assert_eq!(register.permits(Held::Op(1), 1), Err(Wrong::Foreign));
        register.begin(1, false, 1);
        assert_eq!((register.permits(Held::Zero, 2), register.permits(Held::Op(1), 2)), (Ok(()), Ok(())));
        register.end(1, 3, 3).unwrap();
        assert_eq!(register.permits(Held::Zero, 4), Err(Wrong::Stale(1)));
        assert_eq!(register.permits(Held::Op(1), 4), Ok(()));
    }

    #[test]
    fn an_unanswered_write_may_be_there_or_not_but_not_both() {
        let mut register = Register::default();
        register.begin(1, false, 1);
        assert_eq!(register.observe(Held::Zero, 3, 4, 3), Ok(()));
        assert_eq!(register.observe(Held::Op(1), 5, 6, 5), Ok(()));
        assert_eq!(register.observe(Held::Zero, 7, 8, 7), Err(Wrong::Stale(1)));
    }

    #[test]
    fn a_read_under_way_with_a_write_may_see_either() {
        let mut register = Register::default();
        register.begin(1, false, 1);
        register.end(1, 2, 2).unwrap();
        register.begin(2, false, 3);
        assert_eq!(register.observe(Held::Op(2), 4, 5, 3), Ok(()));
        assert_eq!(register.observe(Held::Op(1), 6, 7, 3), Err(Wrong::Stale(2)));
    }

    #[test]
    fn two_reads_that_see_two_writes_in_two_orders_are_wrong() {
        let mut register = Register::default();
        register.begin(1, false, 1);
        register.begin(2, false, 1);
        register.observe(Held::Op(1), 2, 3, 1).unwrap();
        register.observe(Held::Op(2), 4, 5, 1).unwrap();
        assert!(register.observe(Held::Op(1), 6, 7, 1).is_err());
    }
}
