//! Whether a shard that has nothing to do looks for work a little while before it sleeps: learned from what looking brought.
//!
//! To wake a sleeping thread, a core may have to be woken too; that takes as long as a write to a fast disk. Looking avoids it
//! where the next event comes soon. It costs where the core is needed by others, so others go first (the shard yields), and
//! where they then keep the core for long, or nothing was found, the next sleeps come without looking: twice as many each time.

/// Others that kept the core for so long want it for themselves, nanoseconds.
const HELD_NS: u64 = 1_000_000;
/// Most sleeps between two tries.
const MOST_SKIPPED: u32 = 1 << 12;

/// The state between two passes.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// How long to look at most, nanoseconds; 0: never.
    longest_ns: u64,
    /// When the present try began, and when it looked last.
    looking: Option<(u64, u64)>,
    /// Sleeps after the last try that failed.
    penalty: u32,
    /// Sleeps until the next try.
    skip: u32,
}

impl Idle {
    /// Looks for up to `longest_ns` nanoseconds; never if that is 0.
    pub fn new(longest_ns: u64) -> Self {
        Self { longest_ns, looking: None, penalty: 0, skip: 0 }
    }

    /// A pass that began now had something to do.
    pub fn on_work(&mut self, now: u64) {
        match self.looking.take() {
            Some((_, last)) if now.saturating_sub(last) > HELD_NS => self.give_up(MOST_SKIPPED),
            Some(_) => self.penalty /= 2,
            None => {}
        }
    }

    /// A pass that began now had nothing to do: whether to look again at once, instead of sleeping.
    pub fn looks(&mut self, now: u64) -> bool {
        if self.longest_ns == 0 {
            return false;
        }
        match &mut self.looking {
            Some((_, last)) if now.saturating_sub(*last) > HELD_NS => self.give_up(MOST_SKIPPED),
            Some((since, last)) if now.saturating_sub(*since) < self.longest_ns => {
                *last = now;
                return true;
            }
            Some(_) => self.give_up((self.penalty * 2 + 1).min(MOST_SKIPPED)),
            None if self.skip > 0 => self.skip -= 1,
            None => {
                self.looking = Some((now, now));
                return true;
            }
        }
        false
    }

    /// Looking makes no sense now, whatever it brought before: the shard sleeps.
    pub fn sleeps(&mut self) {
        self.looking = None;
    }

    fn give_up(&mut self, penalty: u32) {
        self.looking = None;
        self.penalty = penalty;
        self.skip = penalty;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets `events` events come, each `gap` after the last, where each look takes `step`; says how many were waited for by
    /// looking, and how long looking took altogether.
    fn wait_for(idle: &mut Idle, events: usize, gap: u64, step: u64) -> (usize, u64) {
        let (mut looked, mut spent) = (0, 0);
        for _ in 0..events {
            let mut waited = 0;
            while waited < gap && idle.looks(waited) {
                waited += step;
            }
            spent += waited;
            looked += usize::from(waited >= gap);
            idle.on_work(waited);
        }
        (looked, spent)
    }

    #[test]
    fn events_that_come_soon_are_waited_for_awake() {
        let mut idle = Idle::new(20_000);
        assert_eq!(wait_for(&mut idle, 1000, 5_000, 100).0, 1000);
    }

    #[test]
    fn looking_in_vain_is_given_up_and_tried_again_rarely() {
        let mut idle = Idle::new(20_000);
        let (looked, spent) = wait_for(&mut idle, 100_000, 150_000, 100);
        assert_eq!(looked, 0);
        assert!(spent < 50 * 20_100, "{spent} ns for nothing");
    }

    #[test]
    fn it_is_taken_up_again_when_events_come_sooner() {
        let mut idle = Idle::new(20_000);
        wait_for(&mut idle, 100_000, 150_000, 100);
        wait_for(&mut idle, 2 * MOST_SKIPPED as usize, 5_000, 100);
        assert!(wait_for(&mut idle, 10_000, 5_000, 100).0 > 9_000);
    }

    #[test]
    fn a_core_that_others_keep_is_left_to_them() {
        let mut idle = Idle::new(200_000);
        let (_, spent) = wait_for(&mut idle, 4000, 100_000, 3_000_000);
        assert!(spent < 3 * 3_000_000, "{spent} ns waited for others");
    }

    #[test]
    fn nothing_is_looked_for_when_told_so() {
        assert_eq!(wait_for(&mut Idle::new(0), 10, 5_000, 100), (0, 0));
    }
}
