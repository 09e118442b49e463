//! A relay whose disk was formatted anew: whatever is asked, nobody takes it for an empty journal.

use std::fs;
use std::time::Duration;

use rig::{GROUP, Place, pause};

use crate::arena::{Arena, other};
use crate::plan::Lasts;

/// How long a primary without its journal is watched: it must not serve.
const WATCHED: Duration = Duration::from_secs(2);

impl Arena<'_> {
    /// The relay comes back with an empty disk: its lane is lost, said so, and no takeover says that nothing is lost. Then the
    /// right disk is back, or the group begins anew with what the site with hosts holds.
    pub(crate) fn wipe(&mut self, restart: bool, anew: bool) {
        let (serves, idle) = (self.serves, other(self.serves));
        let heard = |arena: &mut Self, place| {
            arena.cluster.status(place);
            arena.cluster.events(place).last().map_or(0, |event| event.seq)
        };
        let before = heard(self, serves);
        self.kill(&[Place::Relay], Lasts::Round);
        let away = self.swap_relay_disk();
        self.tally.say("the relay's disk is formatted anew");
        if restart {
            self.kill(&[serves], Lasts::Round);
        }
        self.heal();
        let told = self.wait_lane_refused(serves, before);
        self.tally.say(format_args!("{}: {told}", serves.name()));
        if restart {
            pause(WATCHED);
            let group = self.cluster.group(serves);
            assert!(!group.serving, "a primary without its journal serves: {group:?}");
        }
        // It may go on when the right disk is back.
        self.unsure = true;
        let asked = ["takeover", GROUP, "--yes", "--wait", "30"];
        let said = self.cluster.midspan(idle, &asked);
        assert!(!said.status.success() && !said.out.contains("lost: 0"), "{said}");
        // Beginning anew trusts this site's disks alone: they hold everything only where nobody killed it, and the manual
        // has it at the group's home.
        if anew && !restart && serves == Place::Primary {
            self.begin_group_anew();
        } else {
            self.kill(&[Place::Relay], Lasts::Round);
            fs::rename(&away, self.cluster.journal(Place::Relay)).unwrap();
            self.heal();
            self.tally.say("the relay has its disk again");
        }
    }

    /// As the manual says: all nodes end, all journal disks are formatted anew, and the volumes of the site that holds what
    /// hosts wrote last are copied to the other one.
    fn begin_group_anew(&mut self) {
        self.load.handle().cut();
        self.load.stop_replaced();
        self.stop_nodes_in_order();
        for place in Place::ALL {
            self.begin_anew(place);
        }
        self.start_all();
        self.cluster.wait_serving(Place::Primary);
        self.load.resume(self.uris());
        self.tally.figures.begun_anew += 1;
        self.tally.say("the group has begun anew");
    }
}
