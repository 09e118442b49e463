//! What a group does while its ring fills.

use super::*;

#[test]
fn a_policy_for_a_full_ring_that_the_mode_does_not_allow_is_refused() {
    let ring = "ring = \"256MiB\"";
    found(
        &with(ring, "overflow = \"suspend\""),
        &[
            "a.toml:24: group[0].overflow: \"suspend\" leaves the lanes, and mode = \"max-protection\" never does: allowed are \
           \"throttle\" and \"stall\", or mode = \"max-availability\"",
        ],
    );
    found(
        &with(ring, "mode = \"max-availability\"\noverflow = \"stall\""),
        &[
            "a.toml:25: group[0].overflow: \"stall\" lets hosts wait, and mode = \"max-availability\" leaves a full ring: allowed are \
           \"throttle\" and \"suspend\", or mode = \"max-protection\"",
        ],
    );
    found(
        &with(ring, "overflow_threshold = 75"),
        &[
            "a.toml:24: group[0].overflow_threshold: 75 is out of range: allowed are 76 to 95 percent of the ring, of which a round takes \
           up to 75",
        ],
    );
    found(
        &with(ring, "overflow = \"stall\"\nthrottle_max_delay = \"1s\""),
        &[
            "a.toml:25: group[0].throttle_max_delay: no write is held back with this `overflow`: leave the key out, or set \
           overflow = \"throttle\"",
        ],
    );
    found(
        &with(ring, "throttle_max_delay = \"11s\""),
        &["a.toml:24: group[0].throttle_max_delay: 11s is out of range: allowed are 1ms to 10s"],
    );
    for keys in [
        "overflow = \"stall\"",
        "overflow = \"throttle\"\nthrottle_max_delay = \"10s\"\noverflow_threshold = 95",
    ] {
        found(&with(ring, keys), &[]);
    }
    found(&with(ring, "mode = \"max-availability\"\noverflow = \"suspend\""), &[]);
}
