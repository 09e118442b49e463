//! What happens in a round, from its dice alone: the same seed plans the same trouble whatever comes of it.

use std::time::Duration;

use midspan::hammer::random::Seeded;
use rig::Place;

use crate::scenario::Scenario;

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// So long.
    For(Duration),
    /// Until everything is healed.
    Round,
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The site without hosts takes over, wherever the other one is.
    TakeOver,
    /// A takeover is undone.
    Abort,
    /// The site with hosts hands over.
    SwitchOver,
    /// It hands over to the group's home.
    FailBack,
    /// Rounds are held.
    Pause,
    /// Rounds go on.
    Resume,
}

impl Order {
    /// The command.
    pub const fn word(self) -> &'static str {
        match self {
            Order::TakeOver => "takeover",
            Order::Abort => "takeover --abort",
            Order::SwitchOver => "switchover",
            Order::FailBack => "failback",
            Order::Pause => "pause",
            Order::Resume => "resume",
        }
    }

    /// Whether hosts may find themselves at a site that was replaced.
    pub const fn moves_hosts(self) -> bool {
        match self {
            Order::TakeOver | Order::SwitchOver | Order::FailBack => true,
            Order::Abort | Order::Pause | Order::Resume => false,
        }
    }
}

/// One thing that is done to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// SIGKILL to these at the same moment.
    Kill(Vec<Place>, Lasts),
    /// SIGSTOP.
    Stop(Place, Lasts),
    /// The path between two nodes drops everything.
    Cut(Place, Place),
    /// Both paths of a node do.
    Isolate(Place),
    /// All paths are open again.
    Mend,
    /// The site without hosts is killed, or stands still, until the ring is full.
    Fill {
        /// Killed.
        dead: bool,
    },
    /// The relay's disk is formatted anew.
    Wipe {
        /// The site with hosts is killed and started, too.
        restart: bool,
        /// The group begins anew with it, as the manual says; else the right disk comes back.
        anew: bool,
    },
    /// An operator asks for something.
    Ask(Order),
    /// Hosts are answered outside the lanes, and an operator accepts that this is lost.
    Lose {
        /// Writes before, in the lanes.
        in_lanes: u64,
        /// Writes outside them.
        outside: u64,
        /// The site with hosts is killed before the other one takes over.
        dead: bool,
    },
}

/// Trouble, and the time before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long nothing happens before.
    pub after: Duration,
    /// What happens then.
    pub trouble: Trouble,
}

/// Plans a round.
pub fn round(scenario: Scenario, dice: &mut Seeded) -> Vec<Step> {
    let mut plan = Vec::new();
    let (least, most) = match scenario {
        Scenario::Kills | Scenario::Stops | Scenario::Cuts => (1, 4),
        Scenario::Full => {
            plan.push(fill(dice));
            (0, 2)
        }
        Scenario::RelayWiped => {
            plan.push(Trouble::Wipe { restart: dice.percent(40), anew: dice.percent(30) });
            (0, 0)
        }
        Scenario::AcceptLoss => {
            let (in_lanes, outside) = (dice.below(100), 1 + dice.below(100));
            plan.push(Trouble::Lose { in_lanes, outside, dead: dice.percent(50) });
            (0, 2)
        }
        Scenario::Roles | Scenario::Lanes => (1, 5),
        Scenario::Mixed => {
            if dice.percent(15) {
                plan.push(fill(dice));
            }
            (2, 7)
        }
    };
    let count = least + dice.below(most - least + 1);
    plan.extend((0..count).map(|_| any(scenario, dice)));
    plan.into_iter().map(|trouble| Step { after: moment(dice, 700), trouble }).collect()
}

fn any(scenario: Scenario, dice: &mut Seeded) -> Trouble {
    let places = scenario.places();
    match scenario {
        Scenario::Kills | Scenario::Full | Scenario::RelayWiped | Scenario::AcceptLoss => kill(dice, places),
        Scenario::Stops if dice.percent(20) => kill(dice, places),
        Scenario::Stops => stop(dice, places),
        Scenario::Cuts if dice.percent(20) => kill(dice, places),
        Scenario::Cuts => cut(dice, places),
        Scenario::Roles if dice.percent(35) => kill(dice, places),
        Scenario::Roles => Trouble::Ask(order(dice)),
        Scenario::Mixed | Scenario::Lanes => match dice.below(4) {
            0 => kill(dice, places),
            1 => stop(dice, places),
            2 => cut(dice, places),
            _ => Trouble::Ask(order(dice)),
        },
    }
}

fn kill(dice: &mut Seeded, among: &[Place]) -> Trouble {
    let count = if dice.percent(60) { 1 } else { 2 + dice.below(2) };
    let mut places = among.to_vec();
    while places.len() as u64 > count {
        places.remove(usize::try_from(dice.below(places.len() as u64)).unwrap());
    }
    Trouble::Kill(places, lasts(dice, 40, 700))
}

fn stop(dice: &mut Seeded, among: &[Place]) -> Trouble {
    Trouble::Stop(place(dice, among), lasts(dice, 0, 2500))
}

fn cut(dice: &mut Seeded, among: &[Place]) -> Trouble {
    match dice.below(10) {
        0..=4 => {
            let mut ends = among.to_vec();
            while ends.len() > 2 {
                ends.remove(usize::try_from(dice.below(ends.len() as u64)).unwrap());
            }
            Trouble::Cut(ends[0], ends[1])
        }
        5..=7 => Trouble::Isolate(place(dice, among)),
        _ => Trouble::Mend,
    }
}

fn fill(dice: &mut Seeded) -> Trouble {
    Trouble::Fill { dead: dice.percent(50) }
}

fn order(dice: &mut Seeded) -> Order {
    match dice.below(20) {
        0..=7 => Order::TakeOver,
        8..=12 => Order::SwitchOver,
        13..=14 => Order::FailBack,
        15 => Order::Abort,
        16..=17 => Order::Pause,
        _ => Order::Resume,
    }
}

/// A duration below `most_ms`, none at all in `none_percent` of the cases, or the rest of the round in a fifth of them.
fn lasts(dice: &mut Seeded, none_percent: u8, most_ms: u64) -> Lasts {
    if dice.percent(20) {
        Lasts::Round
    } else if dice.percent(none_percent) {
        Lasts::For(Duration::ZERO)
    } else {
        Lasts::For(moment(dice, most_ms))
    }
}

fn place(dice: &mut Seeded, among: &[Place]) -> Place {
    among[usize::try_from(dice.below(among.len() as u64)).unwrap()]
}

fn moment(dice: &mut Seeded, most_ms: u64) -> Duration {
    Duration::from_micros(dice.below(most_ms * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(scenario: Scenario) -> Vec<Step> {
        (0..200).flat_map(|number| round(scenario, &mut Seeded::new(7, number))).collect()
    }

    #[test]
    fn the_same_seed_plans_the_same_round() {
        for scenario in Scenario::ALL {
            assert_eq!(rounds(scenario), rounds(scenario), "{}", scenario.name());
        }
    }

    #[test]
    fn each_scenario_plans_what_it_is_named_after() {
        let has = |scenario, wanted: fn(&Trouble) -> bool| {
            assert!(rounds(scenario).iter().any(|step| wanted(&step.trouble)), "{}", scenario.name());
        };
        for places in 1..=3 {
            assert!(
                rounds(Scenario::Kills)
                    .iter()
                    .any(|step| matches!(&step.trouble, Trouble::Kill(killed, _) if killed.len() == places))
            );
        }
        has(Scenario::Stops, |trouble| matches!(trouble, Trouble::Stop(_, Lasts::Round)));
        has(Scenario::Cuts, |trouble| matches!(trouble, Trouble::Cut(..)));
        has(Scenario::Cuts, |trouble| matches!(trouble, Trouble::Isolate(_)));
        has(Scenario::Full, |trouble| matches!(trouble, Trouble::Fill { dead: false }));
        has(Scenario::RelayWiped, |trouble| matches!(trouble, Trouble::Wipe { anew: true, .. }));
        has(Scenario::RelayWiped, |trouble| matches!(trouble, Trouble::Wipe { anew: false, .. }));
        has(Scenario::AcceptLoss, |trouble| matches!(trouble, Trouble::Lose { dead: true, .. }));
        has(Scenario::AcceptLoss, |trouble| matches!(trouble, Trouble::Lose { dead: false, .. }));
        has(
            Scenario::Lanes,
            |trouble| matches!(trouble, Trouble::Kill(killed, _) if killed.contains(&Place::Alternate)),
        );
        has(Scenario::Lanes, |trouble| matches!(trouble, Trouble::Cut(Place::Alternate, _)));
        for scenario in [Scenario::Roles, Scenario::Mixed] {
            has(scenario, |trouble| *trouble == Trouble::Ask(Order::TakeOver));
            has(scenario, |trouble| *trouble == Trouble::Ask(Order::SwitchOver));
        }
    }

    #[test]
    fn only_scenarios_with_a_network_cut_paths() {
        for scenario in Scenario::ALL.into_iter().filter(|scenario| !scenario.needs_network()) {
            let cuts = |step: &Step| matches!(step.trouble, Trouble::Cut(..) | Trouble::Isolate(_));
            assert!(!rounds(scenario).iter().any(cuts), "{}", scenario.name());
        }
    }
}
