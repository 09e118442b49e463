//! Finds less of a seed that still breaks the same rule: fewer faults, then fewer requests of hosts (delta debugging).
//!
//! Faults are left out by their place in the plan of the seed, so what is found can be run again by anybody. Leaving one out changes
//! what chance does behind it: what is found is a shorter history that breaks the rule, not a part of the longer one.

use crate::lies::Lie;
use crate::plan::Less;
use crate::run::{Options, run, world_of};
use crate::trace::Tracing;

/// Runs at most.
const TRIES: u64 = 600;

/// How a run ended that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The rule, or the assertion of a machine.
    pub class: String,
    /// When, virtual nanoseconds; `u64::MAX` where that is not known.
    pub at: u64,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// What can be left out.
    pub less: Less,
    /// The rule that is broken with the rest.
    pub class: String,
    /// Faults in the plan of the seed.
    pub planned: usize,
    /// Of those: left.
    pub kept: Vec<usize>,
    /// Runs it took.
    pub tries: u64,
}

struct Search<'judge> {
    judge: &'judge mut dyn FnMut(&Less) -> Option<Verdict>,
    class: String,
    planned: usize,
    kept: Vec<usize>,
    requests: Option<u64>,
    tries: u64,
}

/// Judges a seed in this very process; an assertion of a machine ends it.
pub fn judge(seed: u64, lie: Lie, less: &Less) -> Option<Verdict> {
    let outcome = run(seed, Options { tracing: Tracing::Off, lie, less: less.clone() });
    outcome.err().map(|failure| Verdict { class: failure.broken.rule.to_owned(), at: failure.broken.at })
}

/// Leaves out of a seed what it can do without; `judge` says how a run ends. `None`: the seed breaks no rule.
pub fn shrink(seed: u64, judge: &mut dyn FnMut(&Less) -> Option<Verdict>) -> Option<Shrunk> {
    let whole = judge(&Less::default())?;
    let (swarm, plan) = world_of(seed);
    // What begins later has no part in it.
    let kept = (0..plan.len()).filter(|index| plan[*index].at <= whole.at).collect();
    let mut search =
        Search { judge, class: whole.class, planned: plan.len(), kept: Vec::new(), requests: None, tries: 1 };
    if !search.takes(kept, None) {
        search.kept = (0..plan.len()).collect();
    }
    search.leave_faults_out();
    search.ask_less(swarm.load.requests);
    search.leave_faults_out();
    let less = search.less(&search.kept, search.requests);
    let Search { class, planned, kept, tries, .. } = search;
    Some(Shrunk { less, class, planned, kept, tries })
}

impl Search<'_> {
    fn less(&self, kept: &[usize], requests: Option<u64>) -> Less {
        Less { without: (0..self.planned).filter(|index| !kept.contains(index)).collect(), requests }
    }

    /// Whether so much is enough; then nothing more is kept.
    fn takes(&mut self, kept: Vec<usize>, requests: Option<u64>) -> bool {
        if self.tries >= TRIES {
            return false;
        }
        self.tries += 1;
        let less = self.less(&kept, requests);
        let same = (self.judge)(&less).is_some_and(|verdict| verdict.class == self.class);
        if same {
            (self.kept, self.requests) = (kept, requests);
        }
        same
    }

    /// First half of the faults, then a quarter, and in the end one by one.
    fn leave_faults_out(&mut self) {
        let mut size = self.kept.len().div_ceil(2);
        while size > 0 {
            let mut from = 0;
            while from < self.kept.len() {
                let mut rest = self.kept.clone();
                rest.drain(from..(from + size).min(self.kept.len()));
                if !self.takes(rest, self.requests) {
                    from += size;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    fn ask_less(&mut self, requests: u64) {
        let mut step = requests / 2;
        while step > 0 {
            let fewer = self.requests.unwrap_or(requests).checked_sub(step);
            let took = fewer.is_some_and(|fewer| self.takes(self.kept.clone(), Some(fewer)));
            if !took {
                step /= 2;
            }
        }
    }
}
