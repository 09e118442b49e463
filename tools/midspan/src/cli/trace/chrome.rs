//! A recording in the trace event format, which Perfetto and chrome://tracing read.
//!
//! A node is a process. At the primary each write is a slice with its stages inside, in the first row that is free; at the
//! relay and the secondary each frame is. Arrows (flows) go from a write to its frame at the relay and at the secondary.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write as Out};

use midspan_daemon::api::types::{Role, TraceStage};
use serde_json::{Value, json};

use super::clocks::Clocks;
use super::journey::{Frame, Journeys, Times, Write};
use super::summary::{SPANS, Summary, micros};

/// The stages of one slice, in the order in which they are reached mostly.
const OF_WRITE: [TraceStage; 7] = [
    TraceStage::Arrived,
    TraceStage::Timed,
    TraceStage::Sealed,
    TraceStage::Sent,
    TraceStage::Acknowledged,
    TraceStage::Answered,
    TraceStage::Written,
];
const AT_RELAY: [TraceStage; 3] = [TraceStage::Received, TraceStage::Journaled, TraceStage::Served];
const AT_SECONDARY: [TraceStage; 3] = [TraceStage::Fetched, TraceStage::Acquired, TraceStage::Applied];

/// Writes the file: at most `most` writes, spread evenly, and the frames that carry them.
///
/// # Errors
/// That it cannot be written.
pub fn write(
    out: &mut dyn Out,
    summary: &Summary,
    journeys: &Journeys,
    clocks: &Clocks,
    most: usize,
) -> io::Result<()> {
    let step = journeys.writes.len().div_ceil(most.max(1)).max(1);
    let chosen: Vec<&Write> = journeys.writes.iter().step_by(step).collect();
    let mut page = Page { out, clocks, origin: origin(journeys, clocks), is_first: true };
    let mut about = json!({ "recorded by": "midspan trace", "one write in": step });
    if let (Some(about), Ok(Value::Object(summary))) = (about.as_object_mut(), serde_json::to_value(summary))
    {
        about.extend(summary);
    }
    writeln!(page.out, "{{\"displayTimeUnit\":\"ns\",\"otherData\":{about},\"traceEvents\":[")?;
    page.names()?;
    let of_write = page.writes(&chosen, journeys)?;
    let frames: BTreeSet<u64> = chosen.iter().filter_map(|write| write.frame).collect();
    let at_relay = page.frames(Role::Relay, &AT_RELAY, &frames, journeys)?;
    let at_secondary = page.frames(Role::Secondary, &AT_SECONDARY, &frames, journeys)?;
    page.arrows(&chosen, journeys, &[of_write, at_relay, at_secondary])?;
    writeln!(page.out, "\n]}}")
}

/// The earliest time of all: what the file counts from.
fn origin(journeys: &Journeys, clocks: &Clocks) -> i128 {
    let of = |times: &Times, role_of: fn(TraceStage) -> Role| {
        times.iter().map(|(stage, at)| clocks.align(role_of(*stage), *at)).min()
    };
    let writes = journeys.writes.iter().filter_map(|write| of(&write.times, role_of));
    let frames = journeys.frames.values().filter_map(|frame| of(&frame.times, role_of));
    writes.chain(frames).min().unwrap_or(0)
}

/// Whose clock shows a stage.
fn role_of(stage: TraceStage) -> Role {
    match stage {
        TraceStage::Arrived
        | TraceStage::Timed
        | TraceStage::Sealed
        | TraceStage::Sent
        | TraceStage::Acknowledged
        | TraceStage::Answered
        | TraceStage::Written => Role::Primary,
        TraceStage::Received | TraceStage::Journaled | TraceStage::Served => Role::Relay,
        TraceStage::Asked | TraceStage::Fetched | TraceStage::Acquired | TraceStage::Applied => {
            Role::Secondary
        }
    }
}

/// The word of the span that ends with a stage on the same node.
fn word(to: TraceStage) -> &'static str {
    if to == TraceStage::Acknowledged {
        return "lane";
    }
    SPANS.iter().find(|span| span.to == to && span.from_role == span.to_role).map_or("", |span| span.word)
}

/// Process number of a role.
fn process(role: Role) -> u32 {
    match role {
        Role::Primary => 1,
        Role::Relay => 2,
        Role::Secondary => 3,
        Role::Unknown => 4,
    }
}

/// Rows of a process: each holds slices that do not overlap.
#[derive(Default)]
struct Rows {
    ends: Vec<i128>,
}

impl Rows {
    /// The first row that is free from `from` on; taken until `to`.
    fn take(&mut self, from: i128, to: i128) -> usize {
        let free = self.ends.iter().position(|end| *end <= from).unwrap_or(self.ends.len());
        match self.ends.get_mut(free) {
            Some(end) => *end = to,
            None => self.ends.push(to),
        }
        free + 1
    }
}

/// Row of each write (by number) or frame (by position) that has a slice.
type RowOf = HashMap<u64, usize>;

struct Page<'a> {
    out: &'a mut dyn Out,
    clocks: &'a Clocks,
    origin: i128,
    is_first: bool,
}

impl Page<'_> {
    fn event(&mut self, event: &Value) -> io::Result<()> {
        let comma = if std::mem::take(&mut self.is_first) { "" } else { ",\n" };
        write!(self.out, "{comma}{event}")
    }

    /// Time since the beginning of the file, µs.
    fn time(&self, stage: TraceStage, at: u64) -> i128 {
        self.clocks.align(role_of(stage), at) - self.origin
    }

    fn names(&mut self) -> io::Result<()> {
        for offset in &self.clocks.offsets {
            let pid = process(offset.role);
            let name = format!("{} ({})", offset.node, offset.role.word());
            self.event(
                &json!({"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": name}}),
            )?;
            let sort = json!({"sort_index": pid});
            self.event(
                &json!({"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": sort}),
            )?;
        }
        Ok(())
    }

    fn writes(&mut self, chosen: &[&Write], journeys: &Journeys) -> io::Result<RowOf> {
        let (mut rows, mut row_of) = (Rows::default(), RowOf::default());
        for (number, write) in chosen.iter().enumerate() {
            let known = |stage| Some((stage, journeys.time(write, stage)?));
            let reached: Vec<_> = OF_WRITE.into_iter().filter_map(known).collect();
            let sequence = write.frame.and_then(|at| journeys.frames.get(&at)).map(|frame| frame.sequence);
            let args = json!({
                "volume": write.volume, "offset": write.offset, "length": write.length, "frame": sequence,
                "position": write.frame,
            });
            if let Some(row) = self.slices(Role::Primary, &mut rows, "host write", reached, &args)? {
                row_of.insert(number as u64, row);
            }
        }
        Ok(row_of)
    }

    fn frames(
        &mut self,
        role: Role,
        stages: &[TraceStage],
        chosen: &BTreeSet<u64>,
        journeys: &Journeys,
    ) -> io::Result<RowOf> {
        let (mut rows, mut row_of) = (Rows::default(), RowOf::default());
        for (position, frame) in &journeys.frames {
            if !chosen.is_empty() && !chosen.contains(position) {
                continue;
            }
            let known = |stage: &TraceStage| Some((*stage, *frame.times.get(stage)?));
            let Frame { sequence, length, records, .. } = frame;
            let args = json!({"frame": sequence, "position": position, "length": length, "records": records});
            let reached = stages.iter().filter_map(known).collect();
            if let Some(row) = self.slices(role, &mut rows, "frame", reached, &args)? {
                row_of.insert(*position, row);
            }
        }
        Ok(row_of)
    }

    /// One slice over all that was reached, and in it one for each step, named after the span that it ends. Returns its row.
    fn slices(
        &mut self,
        role: Role,
        rows: &mut Rows,
        name: &str,
        reached: Vec<(TraceStage, u64)>,
        args: &Value,
    ) -> io::Result<Option<usize>> {
        let mut steps: Vec<(i128, TraceStage)> =
            reached.into_iter().map(|(stage, at)| (self.time(stage, at), stage)).collect();
        // With `answer = "journaled+local"` a write is on the disk before it is answered.
        steps.sort_by_key(|(at, _)| *at);
        let (Some((from, _)), Some((to, _))) = (steps.first().copied(), steps.last().copied()) else {
            return Ok(None);
        };
        let (pid, tid) = (process(role), rows.take(from, to));
        let slice = |name: &str, from: i128, to: i128, args: &Value| {
            json!({
                "ph": "X", "name": name, "cat": role.word(), "pid": pid, "tid": tid, "ts": micros(from),
                "dur": micros(to - from), "args": args,
            })
        };
        self.event(&slice(name, from, to, args))?;
        for pair in steps.windows(2) {
            let [(from, _), (to, stage)] = pair else { continue };
            self.event(&slice(word(*stage), *from, *to, &json!({})))?;
        }
        Ok(Some(tid))
    }

    /// An arrow from each write to its frame at the relay and on to the one at the secondary.
    fn arrows(&mut self, chosen: &[&Write], journeys: &Journeys, rows: &[RowOf; 3]) -> io::Result<()> {
        let [of_write, at_relay, at_secondary] = rows;
        for (number, write) in chosen.iter().enumerate() {
            let Some(position) = write.frame else { continue };
            let stop = |stage, row: Option<&usize>| Some((stage, journeys.time(write, stage)?, *row?));
            let stops: Vec<_> = [
                stop(TraceStage::Sent, of_write.get(&(number as u64))),
                stop(TraceStage::Received, at_relay.get(&position)),
                stop(TraceStage::Fetched, at_secondary.get(&position)),
            ]
            .into_iter()
            .flatten()
            .collect();
            if stops.len() < 2 {
                continue;
            }
            for (index, (stage, at, row)) in stops.iter().enumerate() {
                let phase = if index == 0 {
                    "s"
                } else if index + 1 == stops.len() {
                    "f"
                } else {
                    "t"
                };
                let mut event = json!({
                    "ph": phase, "name": "frame", "cat": "frame", "id": number + 1, "pid": process(role_of(*stage)),
                    "tid": row, "ts": micros(self.time(*stage, *at)),
                });
                if phase == "f"
                    && let Some(event) = event.as_object_mut()
                {
                    event.insert("bp".to_owned(), "e".into());
                }
                self.event(&event)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::fixture;
    use super::*;

    fn file(most: usize) -> Value {
        let recordings = fixture::three_nodes(9_000_000_000, 41);
        let (journeys, clocks) = (Journeys::new(&recordings), Clocks::measure(&recordings));
        let summary = Summary::new("vault", &recordings, &journeys, &clocks);
        let mut bytes = Vec::new();
        write(&mut bytes, &summary, &journeys, &clocks, most).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn the_file_keeps_the_rules_of_the_trace_event_format() {
        let found = rules(&file(100));
        assert!(found.slices >= 3 * 6 && found.flows == 3, "{found:?}");
        assert_eq!(found.processes, ["a (primary)", "relay (relay)", "b (secondary)"]);
    }

    #[test]
    fn of_too_many_writes_some_are_left_out_with_their_frames() {
        let file = file(1);
        assert_eq!(file["otherData"]["one write in"], 3);
        assert_eq!(file["otherData"]["writes"], 3);
        let named = |name: &str| {
            file["traceEvents"].as_array().unwrap().iter().filter(|event| event["name"] == name).count()
        };
        assert_eq!((named("host write"), rules(&file).flows), (1, 1));
    }

    /// What a file holds that keeps all rules.
    #[derive(Debug, Default)]
    struct Found {
        slices: usize,
        flows: usize,
        processes: Vec<String>,
    }

    /// The format's rules: needed fields by phase; slices of one thread lie beside or inside each other; a flow begins and
    /// ends once, in slices.
    fn rules(file: &Value) -> Found {
        let mut found = Found::default();
        let mut threads: BTreeMap<(u64, u64), Vec<(f64, f64)>> = BTreeMap::new();
        let mut flows: BTreeMap<u64, Vec<(String, u64, u64, f64)>> = BTreeMap::new();
        for event in file["traceEvents"].as_array().expect("an array of events") {
            let number = |name: &str| event[name].as_u64().unwrap_or_else(|| panic!("no {name}: {event}"));
            let time = |name: &str| event[name].as_f64().unwrap_or_else(|| panic!("no {name}: {event}"));
            assert!(event["name"].as_str().is_some_and(|name| !name.is_empty()), "no name: {event}");
            let thread = (number("pid"), number("tid"));
            match event["ph"].as_str().expect("a phase") {
                "M" if event["name"] == "process_name" => {
                    found.processes.push(event["args"]["name"].as_str().unwrap().to_owned());
                }
                "M" => assert!(event["args"]["sort_index"].is_u64(), "{event}"),
                "X" => {
                    let (from, took) = (time("ts"), time("dur"));
                    assert!(from >= 0.0 && took >= 0.0, "{event}");
                    threads.entry(thread).or_default().push((from, from + took));
                    found.slices += 1;
                }
                phase @ ("s" | "t" | "f") => {
                    assert!(event["cat"].is_string() && (phase != "f" || event["bp"] == "e"), "{event}");
                    let flow = flows.entry(number("id")).or_default();
                    flow.push((phase.to_owned(), thread.0, thread.1, time("ts")));
                }
                other => panic!("phase {other} is not one of ours"),
            }
        }
        for slices in threads.values() {
            for (at, (from, to)) in slices.iter().enumerate() {
                for (other_from, other_to) in &slices[at + 1..] {
                    let apart = *other_from >= to - 1e-6 || *other_to <= from + 1e-6;
                    let inside = *other_from >= from - 1e-6 && *other_to <= to + 1e-6;
                    assert!(apart || inside, "slices cross: {from}..{to} and {other_from}..{other_to}");
                }
            }
        }
        for stops in flows.values() {
            let phases: String = stops.iter().map(|(phase, ..)| phase.as_str()).collect();
            assert!(["sf", "stf"].contains(&phases.as_str()), "{phases}");
            for (_, pid, tid, at) in stops {
                let slices = threads.get(&(*pid, *tid)).expect("a flow stands in a slice's thread");
                assert!(slices.iter().any(|(from, to)| from - 1e-6 <= *at && *at <= to + 1e-6), "{stops:?}");
            }
        }
        found.flows = flows.len();
        found
    }
}
