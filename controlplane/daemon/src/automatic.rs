//! Takeovers that no operator asks for: feeds the decision with what is known, and asks for what it decides.

use midspan_control::automatic::{Automatic, AutomaticFacts, Decision, Outcome};
use midspan_control::verdict::Verdict;
use midspan_format::ids::{GroupId, NodeId};
use midspan_format::superblock::Role as SiteRole;
use tokio::sync::watch;

use crate::api::types::{
    ApiError, AutomaticStatus, GroupStatus, NodeStatus, Role, TakeoverProgress, TakeoverRequest,
};
use crate::config::{Config, Group, Role as Configured, Takeover};
use crate::events::Tell;
use crate::pulse::Pulse;
use crate::view::{AUTOMATIC, Shared};

const MILLISECOND_NS: u64 = 1_000_000;

/// One group that is taken over without an operator.
#[derive(Debug)]
struct Watched {
    name: String,
    id: GroupId,
    after_ns: u64,
    /// The other site, by its index in the roster.
    other: usize,
    /// The nodes that hold lanes, by their indexes in the roster.
    lanes: Vec<usize>,
    automatic: Automatic,
    asked: Option<watch::Receiver<TakeoverProgress>>,
    /// An earlier run of the daemon had asked, and so had heard that the other site was the primary.
    led_before: bool,
}

/// All of them.
#[derive(Debug)]
pub struct Unattended {
    groups: Vec<Watched>,
}

impl Unattended {
    /// The groups of a site that say `takeover = "automatic"`.
    pub fn new(config: &Config, pulse: &Pulse) -> Self {
        let index = |id: crate::config::Id| pulse.roster().index(NodeId(id.get().into()));
        let watched = |group: &Group| {
            let other = group.sites.iter().copied().find(|site| *site != config.node.id)?;
            Some(Watched {
                name: group.name.clone(),
                id: GroupId(group.id.get().into()),
                after_ns: u64::try_from(group.takeover_after.duration().as_nanos()).unwrap_or(u64::MAX),
                other: index(other)?,
                lanes: group.lanes.iter().map(|lane| index(lane.node)).collect::<Option<Vec<_>>>()?,
                automatic: Automatic::default(),
                asked: None,
                led_before: false,
            })
        };
        Self {
            groups: config.groups.iter().filter(|group| is_automatic(group)).filter_map(watched).collect(),
        }
    }

    /// Follows the takeovers that an earlier run of the daemon had asked for and that go on in this one.
    pub fn adopt(&mut self, shared: &Shared) {
        for watched in &mut self.groups {
            watched.asked = shared.automatic_before(&watched.name);
            if watched.asked.is_some() {
                (watched.automatic, watched.led_before) = (Automatic::asked(), true);
            }
        }
    }

    /// Looks at every group, and asks for the takeovers that are due.
    pub fn turn(
        &mut self,
        now_ns: u64,
        pulse: &Pulse,
        status: &NodeStatus,
        shared: &Shared,
    ) -> Vec<AutomaticStatus> {
        let shown = self.groups.iter_mut().filter_map(|watched| {
            let group = status.groups.iter().find(|group| group.group == watched.name)?;
            let why = watched.turn(now_ns, pulse, group, shared);
            let after_ms = watched.after_ns / MILLISECOND_NS;
            // Who is primary waits for nothing.
            (group.role == Role::Secondary).then(|| AutomaticStatus {
                group: watched.name.clone(),
                why: why.to_owned(),
                after_ms,
            })
        });
        shown.collect()
    }
}

impl Watched {
    fn turn(&mut self, now_ns: u64, pulse: &Pulse, group: &GroupStatus, shared: &Shared) -> &'static str {
        self.follow(now_ns, shared);
        let (facts, is_heard) = self.facts(now_ns, pulse, group);
        if is_heard {
            self.automatic.on_heard();
            self.led_before = false;
        }
        match self.automatic.on_look(now_ns, facts) {
            Decision::Wait(why) => why,
            Decision::TakeOver => {
                self.ask(now_ns, pulse, shared);
                "a takeover was asked for"
            }
        }
    }

    fn facts(&self, now_ns: u64, pulse: &Pulse, group: &GroupStatus) -> (AutomaticFacts, bool) {
        let roster = pulse.roster();
        let heard = roster.heard(now_ns, self.other);
        let verdict = heard.map_or(Verdict::CannotTell, |heard| heard.verdict);
        let led = roster.word(self.other, self.id).is_some_and(|word| match word.role {
            SiteRole::Primary => true,
            SiteRole::Secondary => false,
        });
        let led = led || self.led_before;
        let there = || self.lanes.iter().map(|lane| roster.silence_at(now_ns, *lane, self.other));
        let long = |silent_ns: u64| silent_ns >= self.after_ns;
        let facts = AutomaticFacts {
            automatic: true,
            follows: group.role == Role::Secondary && !group.starting && !group.no_cut,
            led,
            dead: verdict == Verdict::NodeDead,
            confirmed: !self.lanes.is_empty() && there().all(|silence| silence.is_some()),
            waited: heard.is_some_and(|heard| long(heard.silent_ns)) && there().flatten().all(long),
            lossless: group.zero_loss == Some(true),
        };
        (facts, verdict == Verdict::Alive)
    }

    /// Asks exactly as an operator would.
    fn ask(&mut self, now_ns: u64, pulse: &Pulse, shared: &Shared) {
        let heard = pulse.roster().heard(now_ns, self.other);
        let here = heard.map_or(0, |heard| heard.silent_ns) / MILLISECOND_NS;
        let there = heard.and_then(|heard| heard.silent_elsewhere_ns).unwrap_or_default() / MILLISECOND_NS;
        let message = format!(
            "the primary {} is dead: silent here for {here} ms, at the relay for {there} ms; this site takes over",
            pulse.name(self.other)
        );
        shared.tell(Tell::warn("takeover_automatic", self.object(), message));
        match shared.takeover(&self.name, TakeoverRequest::default(), AUTOMATIC) {
            Ok(progress) => self.asked = Some(progress),
            // Nothing was begun: the driver has too much to do, an operator's takeover or dry run is under way, or the role
            // has just changed.
            Err(error) => self.refused(now_ns, shared, &error, true),
        }
    }

    /// Looks how the takeover that was asked for ended.
    fn follow(&mut self, now_ns: u64, shared: &Shared) {
        let Some(asked) = &self.asked else { return };
        let progress = asked.borrow().clone();
        let is_gone = asked.has_changed().is_err();
        match (progress.outcome, progress.error) {
            (Some(_), _) => self.automatic.on_outcome(now_ns, Outcome::Taken),
            (None, Some(error)) => self.refused(now_ns, shared, &error, error.code == "timeout"),
            (None, None) if is_gone => {
                let error = ApiError::new("internal", "the takeover was given up", "");
                self.refused(now_ns, shared, &error, true);
            }
            (None, None) => return,
        }
        self.asked = None;
    }

    fn refused(&mut self, now_ns: u64, shared: &Shared, error: &ApiError, may_pass: bool) {
        self.automatic.on_outcome(now_ns, Outcome::Refused { may_pass });
        let (message, next) =
            (&error.message, if may_pass { "it is tried again" } else { "it is not tried again" });
        let tell = Tell::error("takeover_automatic_refused", self.object(), format!("{message}; {next}"));
        shared.tell(tell.hint("`midspan takeover --dry-run` says what one would find now"));
    }

    fn object(&self) -> String {
        format!("group:{}", self.name)
    }
}

/// Whether this node is a site of the group that may take it over without an operator.
fn is_automatic(group: &Group) -> bool {
    match (group.role, group.takeover) {
        (Configured::Primary | Configured::Secondary, Takeover::Automatic) => true,
        (Configured::Primary | Configured::Secondary, Takeover::Manual) | (Configured::Relay, _) => false,
    }
}

#[cfg(test)]
mod tests;
