//! From loads to pictures: which are drawn, and what goes into each.

use serde_json::Value;

use super::bars::{Bar, Bars, Stacks};
use super::chart::{Axis, Chart, Line};
use super::entry::Entry;
use super::scale::Spacing;
use super::unit::Unit;
use crate::compare::figure::spread;

/// Loads that belong into one picture, in the order of their first.
fn groups<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    key: impl Fn(&Entry) -> String,
) -> Vec<(String, Vec<&'a Entry>)> {
    let mut groups: Vec<(String, Vec<&Entry>)> = Vec::new();
    for entry in entries {
        let name = key(entry);
        match groups.iter_mut().find(|(found, _)| *found == name) {
            Some((_, list)) => list.push(entry),
            None => groups.push((name, vec![entry])),
        }
    }
    groups
}

/// Several servers: each load its picture. One server: the depths of a load together.
fn picture(entry: &Entry) -> String {
    if entry.on.is_empty() { entry.family.clone() } else { entry.title.clone() }
}

/// Latency over percentiles.
pub fn latencies(entries: &[Entry]) -> String {
    let x = Axis { spacing: Spacing::Nines, unit: Unit::Percent, title: "percentile" };
    let y = Axis { spacing: Spacing::Log, unit: Unit::Microseconds, title: "latency" };
    lines(entries, x, y, |entry| entry.percentiles.clone())
}

/// Rate over time.
pub fn timelines(entries: &[Entry]) -> String {
    let x = Axis { spacing: Spacing::Linear, unit: Unit::Seconds, title: "time" };
    let y = Axis { spacing: Spacing::Linear, unit: Unit::Plain, title: "operations a second" };
    lines(entries, x, y, |entry| entry.timeline.clone())
}

fn lines(entries: &[Entry], x: Axis, y: Axis, take: fn(&Entry) -> Vec<(f64, f64)>) -> String {
    let charts = groups(entries, picture).into_iter().map(|(title, list)| {
        let lines = list.iter().map(|entry| Line { name: entry.label(), points: take(entry) }).collect();
        Chart { title, x, y, lines, has_dots: false }.html()
    });
    charts.collect()
}

/// Rate over depth, where a load was run with several.
pub fn depths(entries: &[Entry]) -> String {
    let x = Axis { spacing: Spacing::Log, unit: Unit::Plain, title: "depth" };
    let y = Axis { spacing: Spacing::Linear, unit: Unit::Plain, title: "operations a second" };
    let charts = groups(entries, |entry| entry.family.clone()).into_iter().map(|(title, list)| {
        let servers = groups(list, |entry| entry.on.clone());
        let lines = servers.into_iter().map(|(on, list)| {
            let point = |entry: &&Entry| Some((entry.depth?, entry.iops?.median));
            let mut points: Vec<(f64, f64)> = list.iter().filter_map(point).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Line { name: if on.is_empty() { title.clone() } else { on }, points }
        });
        let lines = lines.collect();
        Chart { title, x, y, lines, has_dots: true }.html()
    });
    charts.collect()
}

/// Rates side by side.
pub fn rates(entries: &[Entry]) -> String {
    let pictures = groups(entries, picture).into_iter().map(|(title, list)| {
        let bars = list.iter().filter_map(|entry| {
            Some(Bar { name: entry.label(), spread: entry.iops?, goal: None, is_good: None })
        });
        Bars { title, unit: Unit::Plain, are_ratios: false, bars: bars.collect() }.html()
    });
    pictures.collect()
}

/// CPU time for each operation, by process.
pub fn costs(entries: &[Entry]) -> String {
    let pictures = groups(entries, picture).into_iter().map(|(title, list)| {
        let mut parts: Vec<String> = Vec::new();
        for (part, _) in list.iter().flat_map(|entry| &entry.cpu_us) {
            if !parts.contains(part) {
                parts.push(part.clone());
            }
        }
        let stacks = list.iter().filter(|entry| !entry.cpu_us.is_empty()).map(|entry| {
            let value = |part: &String| {
                entry.cpu_us.iter().find(|(found, _)| found == part).map_or(0.0, |(_, value)| *value)
            };
            (entry.label(), parts.iter().map(value).collect())
        });
        let stacks = stacks.collect();
        Stacks { title, unit: Unit::Microseconds, parts, stacks }.html()
    });
    pictures.collect()
}

/// All ratios with their ranges, and the goals of those that have one.
pub fn ratios(run: &Value) -> String {
    let goals = run.get("goals").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let ranges = run.get("ratio_ranges").and_then(Value::as_object);
    let bars = ranges.into_iter().flatten().filter_map(|(name, range)| {
        let goal = goals.iter().find(|goal| goal.get("ratio").is_some_and(|ratio| ratio == name.as_str()));
        let bar = Bar {
            name: name.rsplit_once("_vs_").map_or(name.as_str(), |(load, _)| load).replace('_', " "),
            spread: spread(range).filter(|spread| spread.min > 0.0)?,
            goal: goal.and_then(|goal| goal.get("goal")?.as_f64()),
            is_good: goal.and_then(|goal| goal.get("reached")?.as_bool()),
        };
        Some((peer_of(name), bar))
    });
    let mut groups: Vec<(String, Vec<Bar>)> = Vec::new();
    for (peer, bar) in bars {
        match groups.iter_mut().find(|(found, _)| *found == peer) {
            Some((_, list)) => list.push(bar),
            None => groups.push((peer, vec![bar])),
        }
    }
    // What goals are set for comes first.
    groups.sort_by_key(|(_, bars)| std::cmp::Reverse(bars.iter().filter(|bar| bar.goal.is_some()).count()));
    let pictures = groups
        .into_iter()
        .map(|(title, bars)| Bars { title, unit: Unit::Plain, are_ratios: true, bars }.html());
    pictures.collect()
}

/// What a ratio is taken over, by its name.
fn peer_of(name: &str) -> String {
    match name.rsplit_once("_vs_") {
        Some((_, peer)) => format!("over {}", peer.replace('_', " ")),
        None => "ratios".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn load(name: &str, on: &str, iops: f64) -> Value {
        json!({
            "name": name, "title": name, "on": on,
            "iops": { "median": iops, "min": iops, "max": iops },
            "percentiles": [[0, 100], [99, 1000]], "timeline": [[0.0, 10.0], [1.0, 20.0]],
            "cpu_us": { "relay": { "median": 3.0, "min": 3.0, "max": 3.0 } },
        })
    }

    #[test]
    fn depths_of_one_server_share_a_picture_and_servers_share_that_of_a_load() {
        let one = Entry::all(&json!({ "loads": [load("w_qd1", "", 1.0), load("w_qd32", "", 9.0)] }));
        assert_eq!(latencies(&one).matches("<figure>").count(), 1);
        assert!(latencies(&one).contains("depth 32"));
        assert!(depths(&one).contains("class=\"dot s0\""));
        let many = Entry::all(&json!({ "loads": [load("w_qd1", "a", 1.0), load("w_qd1", "b", 9.0)] }));
        let drawn = timelines(&many);
        assert_eq!(drawn.matches("<figure>").count(), 1);
        assert!(drawn.contains("line s1") && rates(&many).contains(">b<") && costs(&many).contains("relay"));
        // One depth is no line over depths.
        assert_eq!(depths(&many), "");
    }

    #[test]
    fn ratios_are_drawn_by_what_they_are_over_and_coloured_by_their_goal() {
        let range = json!({ "median": 2.0, "min": 1.0, "max": 3.0 });
        let html = ratios(&json!({
            "ratio_ranges": { "a_vs_quorum": range, "b_vs_qemu_nbd": range },
            "goals": [{ "ratio": "a_vs_quorum", "goal": 4.0, "reached": false }],
        }));
        assert!(html.contains("over quorum") && html.contains("over qemu nbd"), "{html}");
        assert_eq!((html.matches("bar bad").count(), html.matches("class=\"goal\"").count()), (1, 1));
    }
}
