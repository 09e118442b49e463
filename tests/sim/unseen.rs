//! Rare paths that no seed passes, each with the reason and what shows it instead.

use midspan_protocol::rare::{Rare, passed};

/// The list: the suite `rare` demands that its seeds pass every other path, and none of these.
pub const UNSEEN: &[(Rare, &str)] = &[
    (Rare::BoundLaneKept, NARROW),
    (Rare::OutsideDoubtsOn, SILENT),
    (Rare::WriterLaneLost, REFUSED_FIRST),
    (Rare::PrimaryLaneLost, REFUSED_FIRST),
    (Rare::ReceiptsLaneLost, REFUSED_FIRST),
    (Rare::ComebackLaneLost, REFUSED_FIRST),
    (Rare::RelayBeforeWelcome, FOREIGN),
    (Rare::WriterIndexEndsInside, FOREIGN),
    (Rare::DirectGivenUp, NARROW),
    (Rare::RelayLaneDamaged, NARROW),
    (Rare::ReplayUnreadable, NARROW),
    (Rare::StartRedoDamaged, NARROW),
    (Rare::StartRedoReplaced, NARROW),
    (Rare::ComebackTurnsToShorter, STRIPES),
    (Rare::FetcherElsewhere, STRIPES),
    (Rare::FetcherTurnsBack, STRIPES),
];

/// What a relay sees before a site does.
const REFUSED_FIRST: &str = "the relay itself refuses another area, and damage; one that was set back to an older state: suite `bad::rot`";
/// What our own machines never do.
const FOREIGN: &str = "no machine of ours does that: for peers that are none of ours";
/// What the first seeds of stripes do not come by.
const STRIPES: &str = "of two lanes that share: none of some 10,000 seeds from 4000000 on does, no test does";
/// A lane that is away just then.
const SILENT: &str = "the lane of a site that has taken over must be away just when the other site restarts: test in `role/outside/doubting.rs`";
/// What nobody has seen yet.
const NARROW: &str =
    "two things must fall into the same few milliseconds: no seed of some ten thousand did, no test does";

/// Which of the listed paths this process has passed and `told` does not name yet; then it does.
pub fn found(told: &mut Vec<Rare>) -> Vec<Rare> {
    let listed = UNSEEN.iter().map(|(path, _)| *path);
    let found: Vec<Rare> = listed.filter(|path| passed(*path) > 0 && !told.contains(path)).collect();
    told.extend(&found);
    found
}

/// What this process has passed: never, and how often; `all`: also those that were passed.
pub fn report(all: bool) -> String {
    let reason = |path| UNSEEN.iter().find(|(known, _)| *known == path).map(|(_, reason)| *reason);
    let never = Rare::ALL.into_iter().filter(|path| passed(*path) == 0).count();
    let mut lines = vec![format!("{never} of {} rare paths were never passed", Rare::ALL.len())];
    for path in Rare::ALL {
        let count = passed(path);
        if all || count == 0 {
            let name = format!("{path:?}");
            let known = reason(path).filter(|_| count == 0).map(|why| format!(" ({why})"));
            lines.push(format!("{count:>10}  {name:<24} {}{}", path.words(), known.unwrap_or_default()));
        }
    }
    lines.join("\n")
}
