//! What a site in a split holds and the other one has not: asked of the daemon, and shown.

mod image;
mod meter;
pub mod export;

use std::io::Write;

use midspan_daemon::api::types::{AloneRange, HeldAlone};

use super::cells::{epoch, table, utc};
use super::client::{Client, encode};
use super::exit::Failure;
use super::size;

/// Ranges that are asked for at a time.
const PAGE: usize = 10_000;

/// Asks for all of it.
///
/// # Errors
/// The daemon's refusal: the group is in no split here.
pub fn gather(client: &Client, group: &str) -> Result<HeldAlone, Failure> {
    let path = format!("/v1/groups/{}/alone", encode(group));
    let mut held: HeldAlone = client.get(&format!("{path}?after=0&limit={PAGE}"))?;
    while (held.ranges.len() as u64) < held.ranges_total {
        let next: HeldAlone = client.get(&format!("{path}?after={}&limit={PAGE}", held.ranges.len()))?;
        if next.ranges.is_empty() || next.ranges_total != held.ranges_total {
            let message = format!("group {group}: what is held alone changed while it was listed");
            return Err(
                Failure::other(message).hint("`midspan status` shows how the group stands; list it again")
            );
        }
        held.ranges.extend(next.ranges);
    }
    Ok(held)
}

/// The name of a volume.
fn name(held: &HeldAlone, range: &AloneRange) -> String {
    let found = held.volumes.iter().find(|volume| volume.volume == range.volume);
    found.map_or_else(|| format!("volume {}", range.volume), |volume| volume.name.clone())
}

/// When it was written, in a sentence.
fn written(held: &HeldAlone) -> String {
    let node = &held.node;
    let from = held.left_ns.map(|at| format!("after {}, when {node} left the lanes", utc(at)));
    let to = match (held.replaced_ns, held.newest_ns) {
        (Some(at), _) => Some(format!("before {}, when {node} found itself replaced", utc(at))),
        // A bound is not known; what was recorded last is no bound.
        (None, Some(at)) => Some(format!("the newest time recorded is {}", utc(at))),
        (None, None) => None,
    };
    let parts: Vec<String> = [from, to].into_iter().flatten().collect();
    if parts.is_empty() {
        "when it was written is not known".to_owned()
    } else {
        format!("written {}", parts.join("; "))
    }
}

/// Shows it, with `most` ranges at most.
///
/// # Errors
/// The output cannot be written.
pub fn show(held: &HeldAlone, most: usize, out: &mut dyn Write) -> Result<(), Failure> {
    let (group, node) = (&held.group, &held.node);
    let (bytes, count) = (size::show(held.bytes), held.ranges_total);
    writeln!(out, "group {group}: {node} alone holds {bytes} in {}", ranges(count))?;
    if let Some(by) = &held.replaced_by {
        writeln!(out, "it was replaced by epoch {}", epoch(by))?;
    }
    writeln!(out, "{}", written(held))?;
    writeln!(out, "{}", held.times)?;
    writeln!(out, "regions of 64 KiB are marked: what differs may be less than a range")?;
    for volume in &held.volumes {
        let (bytes, of) = (size::show(volume.bytes), size::show(volume.size_bytes));
        writeln!(out, "{}: {bytes} of {of} in {}", volume.name, ranges(volume.ranges))?;
    }
    if held.ranges.is_empty() {
        return Ok(());
    }
    let mut rows = table(&["volume", "offset", "length"]);
    for range in held.ranges.iter().take(most) {
        rows.add_row([name(held, range), range.offset_bytes.to_string(), range.length_bytes.to_string()]);
    }
    writeln!(out, "{rows}")?;
    if let Some(more) = held.ranges.len().checked_sub(most).filter(|more| *more > 0) {
        writeln!(out, "... and {} more: `midspan resolve {group} --list` shows all", ranges(more as u64))?;
    }
    Ok(())
}

fn ranges(count: u64) -> String {
    if count == 1 { "1 range".to_owned() } else { format!("{count} ranges") }
}

#[cfg(test)]
mod tests {
    use midspan_daemon::api::types::{AloneVolume, Epoch};

    use super::*;

    fn held() -> HeldAlone {
        let volume =
            AloneVolume { volume: 1, name: "v0".into(), size_bytes: 1 << 20, bytes: 196_608, ranges: 2 };
        let range = |offset_bytes, length_bytes| AloneRange { volume: 1, offset_bytes, length_bytes };
        HeldAlone {
            group: "vault".into(),
            node: "a".into(),
            replaced_by: Some(Epoch { number: 5, node: "b".into() }),
            left_ns: Some(1_795_530_645_123_000_000),
            newest_ns: Some(1_795_530_646_123_000_000),
            replaced_ns: Some(1_795_530_700_000_000_000),
            times: "of the group".into(),
            bytes: 196_608,
            ranges_total: 2,
            volumes: vec![volume],
            ranges: vec![range(0, 65_536), range(131_072, 131_072)],
        }
    }

    fn text(held: &HeldAlone, most: usize) -> String {
        let mut out = Vec::new();
        show(held, most, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn it_says_what_since_when_until_when_and_by_whom_it_was_replaced() {
        let text = text(&held(), 10);
        for part in [
            "a alone holds 192 KiB in 2 ranges",
            "replaced by epoch 5@b",
            "after 2026-11-24T14:30:45.123Z, when a left the lanes; before 2026-11-24T14:31:40.000Z",
            "of the group",
            "v0: 192 KiB of 1 MiB in 2 ranges",
            "131072",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("... and"), "{text}");
    }

    #[test]
    fn a_long_list_is_cut_where_it_is_only_a_question() {
        let text = text(&held(), 1);
        assert!(text.contains("and 1 range more") && !text.contains("131072  131072"), "{text}");
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let held = HeldAlone { replaced_ns: None, newest_ns: None, left_ns: None, ..held() };
        assert!(text(&held, 1).contains("when it was written is not known"));
    }
}
