//! Hosts are answered where no relay and no other site knows of it, and an operator accepts that loss: it is said before and
//! after, and nothing else is missing.

use std::time::Duration;

use midspan_daemon::api::types::TakeoverProgress;
use rig::{GROUP, LIMIT, Place, wait_for};

use crate::arena::{Arena, other};
use crate::diary::Diary;
use crate::plan::Lasts;

/// A site that has lost its lane leaves it within this time.
const LEAVES: Duration = Duration::from_secs(60);

impl Arena<'_> {
    /// So many entries of a diary are answered in the lanes, so many outside them; then the other site takes over. `dead`: the site
    /// with hosts is killed before, else it is cut off from everybody and goes on, where the group lets it.
    pub(crate) fn lose(&mut self, in_lanes: u64, outside: u64, dead: bool) {
        let (serves, idle) = (self.serves, other(self.serves));
        // Everything that these hosts were told is in the lanes: it is all there afterwards.
        self.load.stop();
        let mut diary = Diary::begin(&self.cluster.uri(serves, 1), self.tally.figures.rounds);
        diary.write(in_lanes);
        if self.alone {
            self.isolate(serves);
        } else {
            self.isolate(Place::Relay);
        }
        diary.write(1);
        self.cluster.node(serves).wait("outside the lanes", LEAVES, |group| group.state == "degraded");
        diary.write(outside - 1);
        if dead || !self.alone {
            self.kill(&[serves], Lasts::Round);
        }
        if !self.alone {
            self.mend();
        }
        self.accept(idle, &diary, in_lanes);
        (self.serves, self.unsure) = (idle, false);
        self.tally.figures.moves += 1;
        self.load.resume(self.uris());
        self.heal();
        self.give_up(serves, idle);
    }

    /// The other site takes over by an operator's word, and is judged.
    fn accept(&mut self, idle: Place, diary: &Diary, in_lanes: u64) {
        let asked = ["takeover", GROUP, "--yes", "--wait", "60"];
        let said = self.cluster.midspan(idle, &asked);
        assert!(!said.out.contains("lost: 0"), "{said}");
        let told = said.with_code(4, &["--accept-loss"]);
        self.tally.say(format_args!("refused: {}", told.lines().last().unwrap_or_default()));
        let asked = [&asked[..], &["--accept-loss", "--output", "json"]].concat();
        let told = self.cluster.midspan(idle, &asked).with_code(6, &[]);
        let line = told.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{told}"));
        let progress: TakeoverProgress = serde_json::from_str(line).unwrap();
        let outcome = progress.outcome.unwrap_or_else(|| panic!("{told}"));
        assert!(!outcome.lost_nothing && !outcome.statement.contains("lost: 0"), "{told}");
        self.cluster.wait_serving(idle);
        self.load.verify(&self.cluster.uris(idle));
        let left = diary.judge(&self.cluster.uri(idle, 1), outcome.kept_to_ns.unwrap_or(0), in_lanes);
        let figures = &mut self.tally.figures;
        figures.accepted_losses += 1;
        figures.lost_as_reported += left.lost;
        self.tally.say(format_args!(
            "{} of {} entries are there, as reported: {}",
            left.kept,
            diary.entries(),
            outcome.statement
        ));
    }

    /// The site that was replaced is back: what it alone holds is given up by an operator, too.
    fn give_up(&mut self, former: Place, keeps: Place) {
        let state = wait_for("the site that was replaced should see what it is", LIMIT, || {
            let group = self.cluster.group(former);
            ["split", "paired", "resync"].contains(&group.state.as_str()).then_some(group.state)
        });
        self.tally.say(format_args!("{} is {state}", former.name()));
        if state == "split" {
            let resolve = ["resolve", GROUP, "--keep", keeps.name(), "--yes"];
            self.cluster.midspan(former, &resolve).well();
        }
    }
}
