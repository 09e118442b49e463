//! What volumes hold of a history of which a part may be lost: whether it is a cut, and whether what is said to be there is.

use crate::content::{self, Held};
use crate::history::{History, Kind, Op};
use crate::pages::Pages;

impl History {
    /// Whether volumes hold nothing but what hosts wrote there; where it is a *cut*, everything answered before the newest op that is there
    /// began; and everything answered that is said to be `kept`.
    ///
    /// # Errors
    /// What is missing, or foreign.
    pub fn is_cut(&self, image: &[Pages], cut: bool, kept: impl Fn(u64) -> bool) -> Result<(), String> {
        let mut held = Vec::with_capacity(image.len());
        let mut newest = 0;
        for (volume, pages) in image.iter().enumerate() {
            let number = u32::try_from(volume).unwrap_or(u32::MAX);
            let blocks = (0..).zip(pages.pages());
            let cells: Vec<Held> =
                blocks.flat_map(|(block, page)| content::cells(number, block, page.bytes())).collect();
            for (cell, found) in (0..).zip(&cells) {
                newest = newest.max(self.began(*found, volume, cell)?);
            }
            held.push(cells);
        }
        let zeroes: Vec<&Op> =
            self.named().filter(|(_, op)| op.kind == Kind::Zero).map(|(_, op)| op).collect();
        for (name, op) in self.named().filter(|(_, op)| matches!(op.kind, Kind::Write | Kind::Zero)) {
            let Some(end) = op.end() else { continue };
            let must = cut && end < newest || kept(name);
            if !must {
                continue;
            }
            for cell in op.first..op.first + op.count {
                let found = held[op.volume][usize::try_from(cell).unwrap_or(usize::MAX)];
                let is_there = match found {
                    Held::Zero => {
                        let later = |zero: &&&Op| {
                            zero.volume == op.volume
                                && zero.covers(cell)
                                && zero.end().is_none_or(|end| end >= op.start())
                        };
                        op.kind == Kind::Zero || zeroes.iter().any(|zero| later(&zero))
                    }
                    Held::Op(other) => {
                        other == name
                            || self.op(other).is_some_and(|other| {
                                !self.is_before_restart(other)
                                    && other.end().is_none_or(|end| end >= op.start())
                            })
                    }
                    Held::Foreign(_) => false,
                };
                if !is_there {
                    let why = if kept(name) { "said to be kept" } else { "older than what is there" };
                    return Err(format!(
                        "op {name} was answered, is {why}, and is not in cell {cell} of volume {}: {found:?}",
                        op.volume
                    ));
                }
            }
        }
        Ok(())
    }

    /// When what a cell holds was asked for; 0 where that does not matter any more.
    fn began(&self, held: Held, volume: usize, cell: u64) -> Result<u64, String> {
        let foreign = || format!("cell {cell} of volume {volume} holds {held:?}, which nobody wrote there");
        match held {
            Held::Zero => Ok(0),
            Held::Foreign(_) => Err(foreign()),
            Held::Op(name) => {
                let op =
                    self.op(name).filter(|op| op.volume == volume && op.covers(cell)).ok_or_else(foreign)?;
                Ok(if self.is_before_restart(op) { 0 } else { op.start() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::CELL;

    fn image(cells: &[(u64, u64)]) -> Vec<Pages> {
        let mut pages = Pages::new(64 * CELL);
        for (cell, op) in cells {
            let at = usize::try_from(*cell).unwrap() * CELL;
            let mut bytes = [0; CELL];
            content::fill(*op, 0, *cell, &mut bytes);
            pages.write(at, &bytes);
        }
        vec![pages]
    }

    /// Two writes of a cell each, one after the other.
    fn two() -> History {
        let mut history = History::new(&[64]);
        for cell in 0..2 {
            let write = history.begin(Kind::Write, 0, cell, 1);
            history.answer(write).unwrap();
        }
        history
    }

    #[test]
    fn a_beginning_is_a_cut_and_an_end_without_it_is_none() {
        let history = two();
        for cut in [vec![], vec![(0, 1)], vec![(0, 1), (1, 2)]] {
            history.is_cut(&image(&cut), true, |_| false).unwrap();
        }
        assert!(history.is_cut(&image(&[(1, 2)]), true, |_| false).is_err());
        history.is_cut(&image(&[(1, 2)]), false, |_| false).unwrap();
        assert!(history.is_cut(&image(&[(1, 1)]), false, |_| false).is_err(), "it never was there");
    }

    #[test]
    fn what_is_said_to_be_kept_must_be_there() {
        let history = two();
        assert!(history.is_cut(&image(&[]), true, |op| op == 1).is_err());
        history.is_cut(&image(&[(0, 1)]), true, |op| op == 1).unwrap();
    }

    #[test]
    fn after_a_loss_hosts_go_by_what_is_there() {
        let mut history = two();
        let there = image(&[(0, 1)]);
        history.restart(Some(&there));
        let read = history.begin(Kind::Read, 0, 0, 8);
        let mut cells = [Held::Zero; 8];
        cells[0] = Held::Op(1);
        history.answer_read(read, &cells).unwrap();
        let again = history.begin(Kind::Read, 0, 0, 8);
        cells[1] = Held::Op(2);
        assert!(history.answer_read(again, &cells).is_err(), "what was lost does not come back");
    }

    #[test]
    fn where_nobody_knows_what_is_there_a_new_write_counts_all_the_same() {
        let mut history = two();
        history.restart(None);
        let mut cells = [Held::Zero; 8];
        cells[1] = Held::Op(2);
        let read = history.begin(Kind::Read, 0, 0, 8);
        history.answer_read(read, &cells).unwrap();
        let write = history.begin(Kind::Write, 0, 1, 1);
        history.answer(write).unwrap();
        let read = history.begin(Kind::Read, 0, 0, 8);
        assert!(history.answer_read(read, &cells).is_err());
    }
}
