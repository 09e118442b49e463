//! The oracle that sees only what hosts see: every block a linearizable register, whatever crashed meanwhile.
//!
//! An answered write is found by every later read until it is overwritten; an unanswered one may be there or not; none is ever
//! torn within a block; what a read returned was true at an instant between its start and its end (I1, I4, I11).

use std::collections::{BTreeMap, BTreeSet};

use crate::content::{self, CELL, CELLS_PER_BLOCK, Held};
use crate::pages::{Page, Pages};
use crate::register::{Register, Wrong};

/// What a host asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole blocks.
    Read,
    /// Whole cells.
    Write,
    /// Whole blocks.
    Zero,
    /// Everything answered before is durable.
    Flush,
}

/// One request of a host, in cells.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    /// What.
    pub kind: Kind,
    /// Number of the volume.
    pub volume: usize,
    /// First cell.
    pub first: u64,
    /// Cells.
    pub count: u64,
    start: u64,
    end: Option<u64>,
}

impl Op {
    /// When it was sent.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// When it was answered.
    pub fn end(&self) -> Option<u64> {
        self.end
    }

    /// Whether it is about a cell.
    pub fn covers(&self, cell: u64) -> bool {
        (self.first..self.first + self.count).contains(&cell)
    }
}

/// What is remembered of a block, so that it is judged again only when that could say something else: a verdict behind the last
/// change of its registers stays what it is, whenever it is asked for.
#[derive(Clone, Debug, Default)]
struct Block {
    /// The instant of the last change of one of its registers.
    changed: u64,
    /// What was looked at last, what that says, and when it was found to be right.
    known: Option<(Page, [Held; CELLS_PER_BLOCK], u64)>,
}

/// The history of all volumes.
pub struct History {
    /// First register of each volume.
    bases: Vec<usize>,
    registers: Vec<Register>,
    /// By block of all registers.
    blocks: Vec<Block>,
    ops: BTreeMap<u64, Op>,
    /// Requests that can still be answered, by start.
    open: BTreeSet<(u64, u64)>,
    instant: u64,
    /// What began before was given up, as far as it was not there.
    restarted: u64,
    /// Writes answered so far.
    pub answered: u64,
    /// Reads answered so far.
    pub read: u64,
}

impl History {
    /// Volumes of so many cells, all zero.
    pub fn new(cells: &[u64]) -> Self {
        let mut bases = Vec::new();
        let mut total = 0;
        for count in cells {
            bases.push(total);
            total += usize::try_from(*count).unwrap_or(0);
        }
        Self {
            bases,
            registers: vec![Register::default(); total],
            blocks: vec![Block::default(); total.div_ceil(CELLS_PER_BLOCK)],
            ops: BTreeMap::new(),
            open: BTreeSet::new(),
            instant: 0,
            restarted: 0,
            answered: 0,
            read: 0,
        }
    }

    /// A host sends a request; gives its name, which also is what a write leaves in its cells.
    pub fn begin(&mut self, kind: Kind, volume: usize, first: u64, count: u64) -> u64 {
        self.instant += 1;
        let start = self.instant;
        let name = self.ops.len() as u64 + 1;
        self.ops.insert(name, Op { kind, volume, first, count, start, end: None });
        self.open.insert((start, name));
        if matches!(kind, Kind::Write | Kind::Zero) {
            for cell in first..first + count {
                self.register(volume, cell).begin(name, kind == Kind::Zero, start);
            }
        }
        name
    }

    /// No answer can come any more: what was asked may have happened or not.
    pub fn abandon(&mut self, name: u64) {
        if let Some(op) = self.ops.get(&name) {
            self.open.remove(&(op.start, name));
        }
    }

    /// Whether a request ended without an answer.
    pub fn was_abandoned(&self, name: u64) -> bool {
        self.ops.get(&name).is_some_and(|op| op.end.is_none() && !self.open.contains(&(op.start, name)))
    }

    /// A write, zero request or flush was answered.
    pub fn answer(&mut self, name: u64) -> Result<(), String> {
        let Some(op) = self.close(name) else {
            return Err(format!("op {name} was answered and never asked"));
        };
        if op.kind == Kind::Flush {
            return Ok(());
        }
        self.answered += 1;
        let (end, oldest) = (self.instant, self.oldest());
        for cell in op.first..op.first + op.count {
            let outcome = self.register(op.volume, cell).end(name, end, oldest);
            outcome.map_err(|wrong| self.explain(name, op.volume, cell, None, wrong))?;
        }
        Ok(())
    }

    /// A read was answered with these cells.
    pub fn answer_read(&mut self, name: u64, cells: &[Held]) -> Result<(), String> {
        let Some(op) = self.close(name) else {
            return Err(format!("op {name} was answered and never asked"));
        };
        if cells.len() as u64 != op.count {
            return Err(format!("read {name} of {} cells was answered with {}", op.count, cells.len()));
        }
        self.read += 1;
        let (start, end, oldest) = (op.start, self.instant, self.oldest());
        for (cell, held) in (op.first..).zip(cells) {
            let outcome = self.register(op.volume, cell).observe(*held, start, end, oldest);
            outcome.map_err(|wrong| self.explain(name, op.volume, cell, Some(*held), wrong))?;
        }
        for (block, cells) in (0..).zip(cells.chunks(CELLS_PER_BLOCK)) {
            let first = op.first + block * CELLS_PER_BLOCK as u64;
            self.whole(name, op.volume, first, cells)?;
        }
        Ok(())
    }

    /// Whether volumes that hold this have every answered write.
    pub fn holds(&mut self, image: &[Pages]) -> Result<(), String> {
        for (volume, pages) in image.iter().enumerate() {
            let first = self.bases[volume] / CELLS_PER_BLOCK;
            for (block, page) in pages.pages().iter().enumerate() {
                let Block { changed, known } = &self.blocks[first + block];
                let known = known.as_ref().filter(|(known, ..)| known.is_same(page));
                if known.is_some_and(|(.., at)| at > changed) {
                    continue;
                }
                let number = u32::try_from(volume).unwrap_or(u32::MAX);
                let cells = known.map_or_else(
                    || content::cells(number, block as u64, page.bytes()),
                    |(_, cells, _)| *cells,
                );
                self.permits(volume, block, &cells)?;
                self.blocks[first + block].known = Some((page.clone(), cells, self.instant));
            }
        }
        Ok(())
    }

    fn permits(&self, volume: usize, block: usize, held: &[Held]) -> Result<(), String> {
        let first = block * CELLS_PER_BLOCK;
        let registers = &self.registers[self.bases[volume] + first..];
        for ((cell, held), register) in (first as u64..).zip(held).zip(registers) {
            let permitted = register.permits(*held, self.instant);
            permitted.map_err(|wrong| self.explain(0, volume, cell, Some(*held), wrong))?;
        }
        Ok(())
    }

    /// A request.
    pub fn op(&self, name: u64) -> Option<&Op> {
        self.ops.get(&name)
    }

    /// All requests that count, by name.
    pub fn named(&self) -> impl Iterator<Item = (u64, &Op)> {
        self.ops.iter().map(|(name, op)| (*name, op)).filter(|(_, op)| !self.is_before_restart(op))
    }

    /// Whether it was sent before the history began in which it would count.
    pub fn is_before_restart(&self, op: &Op) -> bool {
        op.start <= self.restarted
    }

    /// Whether a request began before the history did in which it would count.
    pub fn is_given_up(&self, name: u64) -> bool {
        self.ops.get(&name).is_some_and(|op| op.start <= self.restarted)
    }

    /// What hosts were told does not count any more: volumes hold this, or they look what is there.
    pub fn restart(&mut self, image: Option<&[Pages]>) {
        self.instant += 1;
        self.restarted = self.instant;
        self.open.clear();
        let newest = self.ops.len() as u64;
        self.blocks.fill(Block { changed: self.instant, known: None });
        let count = self.bases.len();
        for volume in 0..count {
            let first = self.bases[volume];
            let end = self.bases.get(volume + 1).copied().unwrap_or(self.registers.len());
            for (cell, register) in (0_u64..).zip(&mut self.registers[first..end]) {
                let at = usize::try_from(cell).unwrap_or(0) * CELL;
                let number = u32::try_from(volume).unwrap_or(u32::MAX);
                let held = image.map(|image| content::classify(number, cell, &image[volume].at(at)[..CELL]));
                register.restart(held, newest, self.restarted);
            }
        }
    }

    fn close(&mut self, name: u64) -> Option<Op> {
        self.instant += 1;
        let op = self.ops.get_mut(&name)?;
        if !self.open.remove(&(op.start, name)) {
            return None;
        }
        op.end = Some(self.instant);
        Some(*op)
    }

    fn oldest(&self) -> u64 {
        self.open.first().map_or(self.instant, |(start, _)| *start)
    }

    fn register(&mut self, volume: usize, cell: u64) -> &mut Register {
        let index = self.bases[volume] + usize::try_from(cell).unwrap_or(usize::MAX);
        self.blocks[index / CELLS_PER_BLOCK].changed = self.instant;
        &mut self.registers[index]
    }

    /// One block of a read is one state of that block: its writes can be put in an order in which none is torn.
    fn whole(&mut self, name: u64, volume: usize, first: u64, cells: &[Held]) -> Result<(), String> {
        let mut present: Vec<(u64, Op)> = Vec::new();
        for held in cells {
            if let Held::Op(op) = held
                && present.iter().all(|(known, _)| known != op)
                && let Some(info) = self.ops.get(op).filter(|info| info.start > self.restarted)
            {
                present.push((*op, *info));
            }
        }
        for (op, info) in &present {
            let end = self.instant;
            for cell in (first..).take(cells.len()).filter(|c| info.covers(*c)) {
                self.register(volume, cell).happened(*op, end);
            }
        }
        // before[x] = which of the others came before x, as bits.
        let mut before = vec![0_u64; present.len()];
        for (cell, held) in (first..).zip(cells) {
            let covering = || present.iter().enumerate().filter(|(_, (_, info))| info.covers(cell));
            match held {
                // Zeroes come in whole blocks: they would have taken all of an earlier write.
                Held::Zero => {
                    if let Some((_, (op, _))) = covering().next() {
                        return Err(format!(
                            "read {name}: block of cell {first} of volume {volume} is torn: op {op} without cell {cell}: {cells:?}"
                        ));
                    }
                }
                Held::Op(op) => {
                    let Some(at) = present.iter().position(|(known, _)| known == op) else { continue };
                    for (other, _) in covering().filter(|(other, _)| *other != at) {
                        before[at] |= 1 << other;
                    }
                }
                Held::Foreign(_) => {}
            }
        }
        for (at, (_, info)) in present.iter().enumerate() {
            for (other, (_, earlier)) in present.iter().enumerate() {
                if earlier.end.is_some_and(|end| end < info.start) {
                    before[at] |= 1 << other;
                }
            }
        }
        for _ in 0..present.len() {
            for at in 0..present.len() {
                let through =
                    (0..present.len()).filter(|o| before[at] >> o & 1 == 1).fold(0, |all, o| all | before[o]);
                before[at] |= through;
            }
        }
        match (0..present.len()).find(|at| before[*at] >> at & 1 == 1) {
            Some(at) => Err(format!(
                "read {name}: block of cell {first} of volume {volume} is torn around op {}: {cells:?}",
                present[at].0
            )),
            None => Ok(()),
        }
    }

    fn explain(&self, name: u64, volume: usize, cell: u64, held: Option<Held>, wrong: Wrong) -> String {
        let at = format!("cell {cell} (block {}) of volume {volume}", cell / CELLS_PER_BLOCK as u64);
        let what = held
            .map_or_else(|| format!("the end of write {name}"), |held| format!("read {name} found {held:?}"));
        match wrong {
            Wrong::Foreign => format!("{what} in {at}: nobody wrote that there"),
            Wrong::Stale(by) => {
                let by_op = self.ops.get(&by).map_or_else(String::new, |op| format!(": {op:?}"));
                format!("{what} in {at}, where op {by} was before{by_op}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        History::new(&[64])
    }

    #[test]
    fn a_lost_answered_write_is_noticed() {
        let mut history = history();
        let write = history.begin(Kind::Write, 0, 0, 8);
        history.answer(write).unwrap();
        let read = history.begin(Kind::Read, 0, 0, 8);
        assert!(history.answer_read(read, &[Held::Zero; 8]).is_err());
    }

    #[test]
    fn a_torn_block_is_noticed_though_each_cell_alone_is_possible() {
        let mut history = history();
        let write = history.begin(Kind::Write, 0, 0, 8);
        let read = history.begin(Kind::Read, 0, 0, 8);
        let mut cells = [Held::Op(write); 8];
        cells[7] = Held::Zero;
        assert!(history.answer_read(read, &cells).unwrap_err().contains("torn"));
    }

    #[test]
    fn two_writes_in_two_orders_within_a_block_are_noticed() {
        let mut history = history();
        let first = history.begin(Kind::Write, 0, 0, 8);
        let second = history.begin(Kind::Write, 0, 0, 8);
        let read = history.begin(Kind::Read, 0, 0, 8);
        let mut cells = [Held::Op(first); 8];
        cells[3] = Held::Op(second);
        assert!(history.answer_read(read, &cells).unwrap_err().contains("torn"));
    }

    #[test]
    fn a_small_write_within_a_block_is_no_tear() {
        let mut history = history();
        let whole = history.begin(Kind::Write, 0, 0, 8);
        history.answer(whole).unwrap();
        let part = history.begin(Kind::Write, 0, 2, 3);
        let read = history.begin(Kind::Read, 0, 0, 8);
        let mut cells = [Held::Op(whole); 8];
        cells[2..5].fill(Held::Op(part));
        history.answer_read(read, &cells).unwrap();
        let again = history.begin(Kind::Read, 0, 0, 8);
        assert!(history.answer_read(again, &[Held::Op(whole); 8]).is_err());
    }
}
