//! Writes that nobody waits for: how many of them a disk is given at a time.
//!
//! A disk serves what it was given about in order, so a durable write, which a host's answer waits for, takes as long as all
//! that stands before it. Few writes are therefore given at once, and more the longer the line is: a burst is taken off
//! slowly while answers go on, and a line that does not get shorter is taken off as fast as the disk can.

use crate::slab::{Key, Slab};

/// Writes that a disk is given at once when hardly any wait.
const FEW: usize = 4;
/// One more is given for so many that wait.
const SHARE: usize = 16;

#[derive(Debug)]
struct Waiting<T> {
    write: T,
    next: Option<Key>,
}

/// The line of one disk.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    ends: Option<(Key, Key)>,
    waiting: usize,
    running: usize,
}

/// A line for each disk. All memory for waiting writes is allocated by [`Background::new`].
#[derive(Debug)]
pub struct Background<T> {
    places: Slab<Waiting<T>>,
    lines: Vec<Line>,
}

impl<T> Background<T> {
    /// No disks yet; room for `capacity` waiting writes.
    pub fn new(capacity: usize) -> Self {
        Self { places: Slab::new(capacity), lines: Vec::new() }
    }

    /// One more disk, with the next number.
    pub fn add_disk(&mut self) {
        self.lines.push(Line::default());
    }

    /// Number of disks.
    pub fn disks(&self) -> usize {
        self.lines.len()
    }

    /// Writes that wait.
    pub fn waiting(&self) -> usize {
        self.places.len()
    }

    /// Puts a write at the end of a disk's line.
    ///
    /// # Errors
    /// Gives it back when there is no room.
    pub fn push(&mut self, disk: usize, write: T) -> Result<(), T> {
        let Some(line) = self.lines.get_mut(disk) else { return Err(write) };
        let key = self.places.insert(Waiting { write, next: None }).map_err(|waiting| waiting.write)?;
        line.waiting += 1;
        line.ends = match line.ends {
            None => Some((key, key)),
            Some((first, last)) => {
                if let Some(last) = self.places.get_mut(last) {
                    last.next = Some(key);
                }
                Some((first, key))
            }
        };
        Ok(())
    }

    /// The next write that the disk may be given now.
    pub fn next(&mut self, disk: usize) -> Option<T> {
        let line = self.lines.get_mut(disk).filter(|line| line.running < FEW + line.waiting / SHARE)?;
        let write = take(&mut self.places, line)?;
        line.running += 1;
        Some(write)
    }

    /// The write behind it, if it `joins`: the disk is given both as one, which ends once.
    pub fn next_joined(&mut self, disk: usize, joins: impl FnOnce(&T) -> bool) -> Option<T> {
        let line = self.lines.get_mut(disk)?;
        let (first, _) = line.ends?;
        self.places.get(first).filter(|waiting| joins(&waiting.write))?;
        take(&mut self.places, line)
    }

    /// A write that [`Background::next`] gave has ended.
    pub fn on_end(&mut self, disk: usize) {
        if let Some(line) = self.lines.get_mut(disk) {
            line.running = line.running.saturating_sub(1);
        }
    }
}

/// Takes the first write out of a line.
fn take<T>(places: &mut Slab<Waiting<T>>, line: &mut Line) -> Option<T> {
    let (first, last) = line.ends?;
    let Waiting { write, next } = places.remove(first)?;
    line.ends = next.map(|next| (next, last));
    line.waiting -= 1;
    Some(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(background: &mut Background<u32>, disk: usize) -> Vec<u32> {
        std::iter::from_fn(|| background.next(disk)).collect()
    }

    fn lines(disks: usize, capacity: usize) -> Background<u32> {
        let mut lines = Background::new(capacity);
        (0..disks).for_each(|_| lines.add_disk());
        lines
    }

    #[test]
    fn writes_leave_in_the_order_in_which_they_came() {
        let mut lines = lines(1, 1000);
        let mut left = Vec::new();
        for number in 0..500 {
            lines.push(0, number).unwrap();
            left.extend(given(&mut lines, 0));
            if number % 3 == 0 {
                lines.on_end(0);
            }
        }
        while lines.waiting() > 0 {
            lines.on_end(0);
            left.extend(given(&mut lines, 0));
        }
        assert_eq!(left, (0..500).collect::<Vec<u32>>());
    }

    #[test]
    fn few_are_given_at_once_and_more_when_many_wait() {
        let mut lines = lines(1, 1000);
        (0..=FEW).for_each(|_| lines.push(0, 0).unwrap());
        assert_eq!(given(&mut lines, 0).len(), FEW);
        assert_eq!(given(&mut lines, 0).len(), 0, "the rest waits until one has ended");
        lines.on_end(0);
        assert_eq!(given(&mut lines, 0).len(), 1);
        (0..800).for_each(|number| lines.push(0, number).unwrap());
        let many = given(&mut lines, 0).len();
        assert!(many > 40 && many < 60, "{many}");
    }

    #[test]
    fn disks_do_not_wait_for_each_other() {
        let mut lines = lines(2, 1000);
        (0..100).for_each(|number| lines.push(0, number).unwrap());
        given(&mut lines, 0);
        lines.push(1, 7).unwrap();
        assert_eq!(given(&mut lines, 1), [7]);
    }

    #[test]
    fn a_write_that_joins_another_takes_no_turn_of_its_own() {
        let mut lines = lines(1, 1000);
        (0..20).for_each(|number| lines.push(0, number).unwrap());
        assert_eq!(lines.next(0), Some(0));
        assert_eq!(lines.next_joined(0, |next| *next == 2), None, "it stays where it is");
        let joined: Vec<u32> = std::iter::from_fn(|| lines.next_joined(0, |next| *next < 10)).collect();
        assert_eq!(joined, (1..10).collect::<Vec<u32>>());
        assert_eq!(given(&mut lines, 0).len(), FEW - 1);
        lines.on_end(0);
        assert_eq!(given(&mut lines, 0), [13]);
    }

    #[test]
    fn without_room_a_write_is_given_back() {
        let mut lines = lines(1, 1);
        assert_eq!((lines.push(0, 1), lines.push(0, 2), lines.push(1, 3)), (Ok(()), Err(2), Err(3)));
    }
}
