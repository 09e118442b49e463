//! After the trouble: everything comes right by itself, or by what an operator would ask again; and then it is judged.

use std::time::Duration;

use midspan::clock::Clock;
use midspan_daemon::api::types::{GroupStatus, OperationState, Role};
use rig::{GROUP, Place, pause};

use crate::arena::{Arena, Asked, other};
use crate::plan::Order;

/// How long it may take until both sites are paired.
const RECOVERY: Duration = Duration::from_secs(240);
/// How long nobody may serve before an operator asks the site without hosts to take over.
const QUIET: Duration = Duration::from_secs(15);
/// How long everything must be well: a site whose lane was fenced by a takeover that came to nothing may not have heard of it.
const STAYS: Duration = Duration::from_millis(500);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// How a command of an operator may end: done, failed, refused, too late, or without an answer.
const ENDS: [i32; 5] = [0, 1, 4, 5, 7];

impl Arena<'_> {
    /// Heals everything, waits until the group is paired, and judges what the site that serves holds. Hosts go on there.
    pub fn settle(&mut self) {
        self.heal();
        let serves = self.wait_well();
        if self.unsure || self.automatic || serves != self.serves {
            self.load.handle().cut();
            self.load.stop_replaced();
            if serves != self.serves {
                self.tally.figures.moves += 1;
                self.tally.say(format_args!("hosts go to {}", serves.name()));
            }
            self.serves = serves;
            self.unsure = false;
        } else {
            self.load.wait_for_answers();
        }
        self.judge();
        self.load.resume(self.uris());
        self.load.wait_for_answers();
        self.tally.figures.rounds += 1;
    }

    /// Stops hosts and nodes in order and demands that both sites hold the same bytes, which are those that hosts were told.
    pub fn compare(&mut self) {
        self.judge();
        self.cluster.compare(self.serves);
        self.tally.figures.compared += 1;
        self.tally.say("both sites' volumes are equal");
    }

    /// Everything starts again where it ended in order.
    pub fn go_on(&mut self) {
        self.start_all();
        let serves = self.wait_well();
        assert!(self.automatic || serves == self.serves, "nobody asked for a change of roles");
        self.serves = serves;
        self.load.resume(self.uris());
        self.load.wait_for_answers();
    }

    /// Judges everything that was written, by content.
    fn judge(&mut self) {
        let verdict = self.load.verify(&self.uris());
        let (answered, possibly) = (verdict.answered, verdict.possibly_answered);
        self.tally.figures.verified += 1;
        self.tally.figures.checked_blocks += verdict.checked_blocks;
        self.tally.say(format_args!(
            "verified at {}: {answered} answered, {possibly} possibly, lost: {}",
            self.serves.name(),
            verdict.lost
        ));
    }

    /// What hosts of this cluster were told goes to the figures; nothing follows.
    pub fn close(mut self) {
        self.load.stop();
        let counts = self.load.counts();
        self.tally.figures.answered += counts.answered;
        self.tally.figures.possibly_answered += counts.possibly_answered;
    }

    /// Waits until both sites are paired, one serves, and nothing that was asked for is under way. Says who serves.
    fn wait_well(&mut self) -> Place {
        let (clock, mut quiet) = (Clock::starting_at(0), Clock::starting_at(0));
        let mut well: Option<(Place, Clock)> = None;
        loop {
            self.nobody_ends_by_itself();
            self.hear_operators();
            let groups = [Place::Primary, Place::Secondary].map(|place| (place, self.look(place)));
            match (self.is_well(&groups), &well) {
                (Some(serves), Some((known, since))) if serves == *known => {
                    if since.elapsed() >= STAYS {
                        return serves;
                    }
                }
                (Some(serves), _) => well = Some((serves, Clock::starting_at(0))),
                (None, _) => well = None,
            }
            let serving = groups.iter().any(|(_, group)| group.as_ref().is_some_and(|group| group.serving));
            if serving || !self.asked.is_empty() || self.is_busy() {
                quiet = Clock::starting_at(0);
            }
            self.let_rounds_go_on(&groups);
            assert!(
                clock.elapsed() < RECOVERY,
                "not paired {} s after everything was healed: {}",
                RECOVERY.as_secs(),
                self.told(&groups)
            );
            if quiet.elapsed() > QUIET {
                self.ask_again(&groups);
                quiet = Clock::starting_at(0);
            }
            pause(LOOK);
        }
    }

    fn look(&mut self, place: Place) -> Option<GroupStatus> {
        self.cluster.node(place).status()?.groups.into_iter().next()
    }

    fn is_well(&mut self, groups: &[(Place, Option<GroupStatus>)]) -> Option<Place> {
        let paired = |group: &GroupStatus| group.state == "paired" && !group.no_cut;
        if !groups.iter().all(|(_, group)| group.as_ref().is_some_and(paired)) {
            return None;
        }
        let serving = |group: &GroupStatus| group.serving && group.role == Role::Primary;
        let serves: Vec<Place> = groups
            .iter()
            .filter(|(_, group)| group.as_ref().is_some_and(serving))
            .map(|(place, _)| *place)
            .collect();
        let &[serves] = serves.as_slice() else { return None };
        let other = groups.iter().find(|(place, _)| *place == other(serves));
        let follows = other.and_then(|(_, group)| group.as_ref()).is_some_and(|g| g.role == Role::Secondary);
        (follows && self.asked.is_empty() && !self.is_busy()).then_some(serves)
    }

    /// Whether a site still works at something that it was asked for.
    fn is_busy(&mut self) -> bool {
        [Place::Primary, Place::Secondary].into_iter().any(|place| {
            self.cluster.node(place).status().is_none()
                || self
                    .cluster
                    .operations(place)
                    .iter()
                    .any(|operation| operation.state == OperationState::Running && operation.kind != "round")
        })
    }

    /// Rounds that an operator holds go on.
    fn let_rounds_go_on(&mut self, groups: &[(Place, Option<GroupStatus>)]) {
        for (place, group) in groups {
            let held =
                group.as_ref().and_then(|group| group.round.as_ref()).is_some_and(|round| round.paused);
            if held {
                self.tally.say(format_args!("the round at {} goes on", place.name()));
                // The site may have handed over meanwhile: then there is nothing to let go.
                let _ = self.cluster.midspan(*place, &["resume", GROUP]);
            }
        }
    }

    /// Nobody serves, and nobody is about to: what a person would do who sees that.
    fn ask_again(&mut self, groups: &[(Place, Option<GroupStatus>)]) {
        let mut sites: Vec<Place> = groups
            .iter()
            .filter(|(_, group)| group.as_ref().is_some_and(|group| group.role == Role::Secondary))
            .map(|(place, _)| *place)
            .collect();
        sites.sort_by_key(|place| *place == self.serves);
        self.tally.say(format_args!("nobody serves: {}", self.told(groups)));
        if let Some(place) = sites.first() {
            self.ask_at(*place, Order::TakeOver);
        }
    }

    /// Judges the commands of operators that have ended.
    fn hear_operators(&mut self) {
        let mut going = Vec::new();
        for mut asked in std::mem::take(&mut self.asked) {
            match asked.program.ended() {
                Some(status) => self.hear(&asked, status.code()),
                None => going.push(asked),
            }
        }
        self.asked = going;
    }

    fn hear(&mut self, asked: &Asked, code: Option<i32>) {
        let read = |ending| std::fs::read_to_string(asked.log.with_extension(ending)).unwrap_or_default();
        let text = format!("{}{}", read("out"), read("err"));
        let word = asked.order.word();
        self.tally
            .say(format_args!("{word} ended with {code:?}: {}", text.lines().last().unwrap_or_default()));
        assert!(code.is_some_and(|code| ENDS.contains(&code)), "{word} ended with {code:?}: {text}");
        assert!(!text.contains("panicked"), "{text}");
        let figures = &mut self.tally.figures;
        match (asked.order, code) {
            (Order::TakeOver, Some(0)) => {
                assert!(text.contains("answered writes lost: 0"), "a takeover that may have lost: {text}");
                figures.takeovers += 1;
            }
            (Order::SwitchOver | Order::FailBack, Some(0)) => figures.switchovers += 1,
            (Order::TakeOver | Order::SwitchOver | Order::FailBack, _) => figures.ended_otherwise += 1,
            (Order::Abort | Order::Pause | Order::Resume, _) => {}
        }
    }

    fn told(&self, groups: &[(Place, Option<GroupStatus>)]) -> String {
        let one = |(place, group): &(Place, Option<GroupStatus>)| {
            let told = group.as_ref().map_or("does not answer".into(), |group| {
                format!("{} {} in {:?} ({})", group.role.word(), group.state, group.epoch, group.meaning)
            });
            format!("{}: {told}", place.name())
        };
        let sites: Vec<String> = groups.iter().map(one).collect();
        format!("{}, {} commands under way", sites.join("; "), self.asked.len())
    }
}
