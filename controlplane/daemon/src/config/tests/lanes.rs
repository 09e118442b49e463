//! The lanes of a group, and the policies that need some of them.

use super::*;

const LANE: &str = "{ id = 0, node = 2 }";
const BOTH_SITES: &str = "{ id = 0, node = 2 }, { id = 1, node = 1 }, { id = 2, node = 3 }";
const TWO_RELAYS: &str = "{ id = 0, node = 2 }, { id = 1, node = 4 }";
const NEEDS: &str = "a lane there needs direct = \"allow\" or mode = \"max-performance\"";
const LOSES: &str = "a.toml:24: warning: group[0].mode: hosts are answered before another node holds what they wrote: a takeover \
                     without the primary loses what the other site has not received, and needs --accept-loss";

/// The site's file with these lanes and further keys, and with a second relay, node 4, behind everything.
fn lanes(lanes: &str, keys: &str) -> String {
    let text = with(LANE, lanes).replacen("ring = \"256MiB\"", keys, 1);
    text + "\n[[peer]]\nid = 4\nname = \"relay2\"\naddress = \"127.0.0.1:7004\"\n"
}

#[test]
fn lanes_are_some_distinct_and_at_known_nodes() {
    found(
        &with(LANE, ""),
        &["a.toml:23: group[0].lanes: at least one lane is needed, such as { id = 0, node = 2 }"],
    );
    found(
        &with(LANE, "{ id = 0, node = 7 }"),
        &["a.toml:23: group[0].lanes[0].node: no node has id 7; known are 1, 2, 3"],
    );
    found(
        &lanes("{ id = 0, node = 2 }, { id = 0, node = 4 }, { id = 1, node = 2 }", ""),
        &[
            "a.toml:23: group[0].lanes[1].id: lane id 0 is taken already by group[0].lanes[0].id",
            "a.toml:23: group[0].lanes[2].node: the lane of node 2 is taken already by group[0].lanes[0].node",
        ],
    );
    let nine: Vec<String> = (0..9).map(|id| format!("{{ id = {id}, node = {} }}", 10 + id)).collect();
    let findings = parse(&with(LANE, &nine.join(", "))).unwrap().check();
    let first = findings.first().map(ToString::to_string);
    assert_eq!(
        first.as_deref(),
        Some("a.toml:23: group[0].lanes: a group has at most 8 lanes, here are 9"),
        "{findings:?}"
    );
}

#[test]
fn lanes_stand_at_several_relays_in_the_order_of_the_file() {
    found(&lanes("{ id = 3, node = 4 }, { id = 0, node = 2 }", ""), &[]);
    let group = &parse(SITE).unwrap().groups[0];
    assert_eq!(
        (group.lane_set, group.direct, group.resend),
        (LaneSet::Failover, Direct::Never, Size::from_mib(256))
    );
}

#[test]
fn a_lane_at_a_site_is_said_in_so_many_words() {
    found(
        &lanes(BOTH_SITES, ""),
        &[
            &format!("a.toml:23: group[0].lanes[1].node: node 1 is one of the group's sites: {NEEDS}"),
            &format!("a.toml:23: group[0].lanes[2].node: node 3 is one of the group's sites: {NEEDS}"),
        ],
    );
    found(&lanes(BOTH_SITES, "direct = \"allow\""), &[]);
    found(
        &lanes("{ id = 0, node = 2 }, { id = 1, node = 3 }", "direct = \"allow\""),
        &[
            "a.toml:24: warning: group[0].direct: of the sites 1, 3 one has a lane: while it is the primary, no lane is at the other \
             site",
        ],
    );
    found(
        &lanes(LANE, "direct = \"allow\""),
        &[
            "a.toml:24: group[0].direct: \"allow\" needs lanes at the sites: name them in `lanes`, or set \"never\"",
        ],
    );
    found(
        &lanes("{ id = 1, node = 1 }, { id = 2, node = 3 }", "direct = \"allow\""),
        &[
            "a.toml:23: group[0].lanes: at least one lane stands at a relay, unless mode = \"max-performance\": name one, such as \
             { id = 0, node = 2 }",
        ],
    );
}

#[test]
fn two_lanes_at_a_time_need_two_relays() {
    let key = "lane_set = \"mirror\"".to_owned();
    found(&lanes(TWO_RELAYS, &key), &[]);
    // Lanes at the sites do not count: they hold the journal only where no relay can.
    for (given, keys) in [(LANE, key.clone()), (BOTH_SITES, format!("{key}\ndirect = \"allow\""))] {
        found(
            &lanes(given, &keys),
            &[
                "a.toml:24: group[0].lane_set: \"mirror\" needs lanes at two relays at least, here are 1: allowed is \"failover\"",
            ],
        );
    }
    found(
        &lanes(TWO_RELAYS, "lane_set = \"stripe\""),
        &[
            "a.toml:24: warning: group[0].lane_set: stripes are young: several failures at once may leave a group that waits, or says \
             too little of what it could lose; docs/lanes.md says more, \"mirror\" and \"failover\" are the safer choice",
        ],
    );
    refused(
        &lanes(TWO_RELAYS, "lane_set = \"raid\""),
        "a.toml:24: group[0].lane_set: unknown variant `raid`, expected one of `failover`, `mirror`, `stripe`",
    );
    refused(
        &lanes(TWO_RELAYS, "direct = \"always\""),
        "a.toml:24: group[0].direct: unknown variant `always`, expected `allow` or `never`",
    );
}

#[test]
fn max_performance_has_the_lanes_of_both_sites_and_says_what_it_costs() {
    let performance = "mode = \"max-performance\"";
    found(&lanes("{ id = 1, node = 1 }, { id = 2, node = 3 }", performance), &[LOSES]);
    found(
        &lanes(BOTH_SITES, performance),
        &[
            "a.toml:23: warning: group[0].lanes[0].node: with mode = \"max-performance\" the lane at node 2 is never used",
            LOSES,
        ],
    );
    found(
        &lanes("{ id = 1, node = 1 }", performance),
        &[
            "a.toml:24: group[0].mode: \"max-performance\" needs a lane at each site, there is none at 3: name it in `lanes`, or \
             set \"max-availability\"",
            LOSES,
        ],
    );
}

#[test]
fn max_performance_excludes_what_cannot_be_kept_with_it() {
    let refusals = [
        (
            "takeover = \"automatic\"",
            "takeover: with mode = \"max-performance\" the journal stands at the primary alone, and a takeover without it always \
             loses something: allowed is \"manual\"",
        ),
        (
            "lane_set = \"mirror\"",
            "lane_set: with mode = \"max-performance\" the lane at the primary is used alone: allowed is \"failover\"",
        ),
        (
            "direct = \"allow\"",
            "direct: with mode = \"max-performance\" hosts never wait for the other site: allowed is \"never\"",
        ),
        (
            "isolated = \"continue\"",
            "isolated: a primary goes on without its lanes only with mode = \"max-availability\": set that, or isolated = \
             \"stall\"",
        ),
    ];
    for (key, message) in refusals {
        found(
            &lanes(
                "{ id = 1, node = 1 }, { id = 2, node = 3 }",
                &format!("mode = \"max-performance\"\n{key}"),
            ),
            &[LOSES, &format!("a.toml:25: group[0].{message}")],
        );
    }
}

#[test]
fn memory_for_a_lost_lane_has_bounds() {
    found(
        &lanes(LANE, "resend = \"1MiB\""),
        &["a.toml:24: group[0].resend: 1MiB is out of range: allowed are 16MiB to 64GiB"],
    );
    found(&lanes(LANE, "resend = \"16MiB\""), &[]);
}
