//! What happens when, in virtual time: events leave in the order of their time, and of their coming where times are equal. An alarm has
//! a place of its own: the next one replaces it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

struct Entry<E> {
    at: u64,
    number: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    /// The heap gives its greatest first: the earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// The events to come.
pub struct Schedule<E> {
    heap: BinaryHeap<Entry<E>>,
    alarms: Vec<Option<Entry<E>>>,
    numbers: u64,
    now: u64,
}

impl<E> Schedule<E> {
    /// Nothing to come; time begins at `now`, nanoseconds.
    pub fn new(now: u64) -> Self {
        Self { heap: BinaryHeap::new(), alarms: Vec::new(), numbers: 0, now }
    }

    /// Virtual time, nanoseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Events taken or to come, since the beginning.
    pub fn count(&self) -> u64 {
        self.numbers
    }

    /// Lets something happen at a time; not before now.
    pub fn at(&mut self, at: u64, event: E) {
        let entry = self.entry(at, event);
        self.heap.push(entry);
    }

    /// Lets something happen at a time, instead of what this alarm was set to.
    pub fn set(&mut self, alarm: usize, at: u64, event: E) {
        let entry = self.entry(at, event);
        if self.alarms.len() <= alarm {
            self.alarms.resize_with(alarm + 1, || None);
        }
        self.alarms[alarm] = Some(entry);
    }

    fn entry(&mut self, at: u64, event: E) -> Entry<E> {
        self.numbers += 1;
        Entry { at: at.max(self.now), number: self.numbers, event }
    }

    /// Lets something happen after a while.
    pub fn after(&mut self, delay: u64, event: E) {
        self.at(self.now.saturating_add(delay), event);
    }

    /// The next event; time moves to it.
    pub fn take(&mut self) -> Option<E> {
        let alarm = self.alarms.iter_mut().max_by(|first, second| first.cmp(second));
        let entry = match alarm {
            Some(alarm) if alarm.as_ref() > self.heap.peek() => alarm.take()?,
            Some(_) | None => self.heap.pop()?,
        };
        self.now = entry.at;
        Some(entry.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_by_order() {
        let mut schedule = Schedule::new(10);
        schedule.at(30, 'c');
        schedule.after(5, 'a');
        schedule.at(15, 'b');
        schedule.at(3, '0');
        let order: Vec<(u64, char)> =
            std::iter::from_fn(|| schedule.take().map(|e| (schedule.now(), e))).collect();
        assert_eq!(order, [(10, '0'), (15, 'a'), (15, 'b'), (30, 'c')]);
    }

    #[test]
    fn an_alarm_is_replaced_and_comes_in_its_turn() {
        let mut schedule = Schedule::new(0);
        schedule.set(1, 5, 'x');
        schedule.at(20, 'b');
        schedule.set(1, 20, 'c');
        schedule.set(0, 10, 'a');
        schedule.at(20, 'd');
        let order: Vec<char> = std::iter::from_fn(|| schedule.take()).collect();
        assert_eq!((order, schedule.count()), (vec!['a', 'b', 'c', 'd'], 5));
    }
}
