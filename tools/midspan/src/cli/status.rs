//! `midspan status`: one node and its groups, as tables for people or JSON for programs.

mod lanes;

use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use clap::{Args, ValueEnum};
use midspan_daemon::api::types::{GroupStatus, LaneStatus, NodeStatus, RingUse, Role, RoundStatus};

use super::cells::{epoch, table, unknown};
use super::client::Client;
use super::exit::{Exit, Failure, Outcome};
use super::exposure;
use super::peers;
use super::size;
use midspan::clock::Signal;

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan status
  midspan status --output json
  midspan status --watch --interval 2
  midspan status --check

With --check the exit code is 6 when a group is degraded.";

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only this group
    pub group: Option<String>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub output: Form,
    /// Print one line of JSON (with `seq`) whenever the interval has passed, until interrupted
    #[arg(long)]
    pub watch: bool,
    /// Seconds between two lines of --watch
    #[arg(long, value_name = "SECS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,
    /// Exit with 6 when a group is degraded
    #[arg(long)]
    pub check: bool,
}

/// Form of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Runs the command.
///
/// # Errors
/// That the daemon is not there, or knows no such group.
pub fn run(client: &Client, arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let mut seq = 0u64;
    loop {
        let status = select(client.status()?, arguments.group.as_deref())?;
        if arguments.watch {
            seq += 1;
            line(out, seq, &status)?;
            Signal::default().wait(Duration::from_secs(arguments.interval));
            continue;
        }
        match arguments.output {
            Form::Table => out.write_all(text(&status).as_bytes())?,
            Form::Json => {
                let json =
                    serde_json::to_string_pretty(&status).map_err(|e| Failure::other(e.to_string()))?;
                writeln!(out, "{json}")?;
            }
        }
        let degraded = arguments.check && status.groups.iter().any(|g| !is_healthy(g));
        return Ok(if degraded { Exit::Degraded } else { Exit::Ok });
    }
}

fn select(mut status: NodeStatus, group: Option<&str>) -> Result<NodeStatus, Failure> {
    if let Some(name) = group {
        status.groups.retain(|g| g.group == name);
        if status.groups.is_empty() {
            return Err(Failure::new(
                Exit::NotFound,
                format!("group {name} is not known at node {}", status.node),
            )
            .hint("`midspan status` lists the groups of the node"));
        }
    }
    Ok(status)
}

fn line(out: &mut dyn Write, seq: u64, status: &NodeStatus) -> Result<(), Failure> {
    let mut value = serde_json::to_value(status).map_err(|error| Failure::other(error.to_string()))?;
    if let Some(object) = value.as_object_mut() {
        object.insert("seq".to_owned(), seq.into());
    }
    writeln!(out, "{value}")?;
    out.flush()?;
    Ok(())
}

/// Whether nothing needs attention.
pub fn is_healthy(group: &GroupStatus) -> bool {
    let state = if group.role == Role::Relay { "open" } else { "paired" };
    // Those that are only to take a place keep nobody waiting.
    let holding = usize::try_from(group.lanes_holding.unwrap_or(u64::MAX).max(1)).unwrap_or(usize::MAX);
    let lanes = || group.lanes.iter().take(holding).chain(&group.held);
    group.state == state
        && !lanes::is_exposed(group)
        && group.zero_loss != Some(false)
        && !group.no_cut
        && lanes().all(|lane| lane.connected && lane.damaged_at.is_none() && !lane.ring.full)
}

/// The tables.
pub fn text(status: &NodeStatus) -> String {
    let kind = format!("{:?}", status.kind).to_lowercase();
    let mut text = format!(
        "node {} ({kind}), midspand {}, pid {}, up {}\n",
        status.node,
        status.version,
        status.pid,
        span(status.uptime_ms)
    );
    if status.groups.is_empty() {
        text += "no groups\n";
        return text;
    }
    let mut groups =
        table(&["group", "role", "state", "epoch", "serving", "zero loss", "lag", "behind", "dirty"]);
    let mut lanes = table(&[
        "group",
        "lane",
        "at",
        "connected",
        "sealed",
        "journaled",
        "acquired",
        "applied",
        "landed",
        "ring",
    ]);
    for group in &status.groups {
        groups.add_row(group_row(group));
        for lane in group.lanes.iter().chain(held(group)) {
            lanes.add_row(lane_row(&group.group, lane));
        }
    }
    let _ = writeln!(text, "\n{groups}\n\n{lanes}");
    text += &peers::text(status);
    text.push('\n');
    for group in &status.groups {
        sentences(&mut text, &status.node, group);
    }
    // Busy means: come again, which nodes do by themselves.
    for refused in status.refused.iter().filter(|refused| refused.reason != "busy") {
        let _ = writeln!(text, "refused {} requests of {}: {}", refused.count, refused.node, refused.reason);
    }
    text
}

/// Lanes that stand at a site and that its own group does not use: they are told from what the site's relay says.
fn held(group: &GroupStatus) -> impl Iterator<Item = &LaneStatus> {
    group.held.iter().filter(|held| group.lanes.iter().all(|lane| lane.node != held.node))
}

/// What the tables cannot say.
fn sentences(text: &mut String, node: &str, group: &GroupStatus) {
    let name = &group.group;
    if !group.meaning.is_empty() {
        let _ = writeln!(text, "{name}: {}", group.meaning);
    }
    if let Some(by) = &group.fenced_by {
        let _ = writeln!(text, "{name}: fenced by epoch {}", epoch(by));
    }
    if !group.zero_loss_why.is_empty() {
        let _ = writeln!(text, "{name}: a takeover may lose something: {}", group.zero_loss_why);
    }
    exposure::sentences(text, group);
    lanes::sentences(text, group);
    if let Some(found) = &group.round {
        let _ = writeln!(text, "{name}: {}", round(found));
    }
    if let Some(found) = &group.verify {
        let (percent, bytes) = (found.percent, size::show(found.bytes));
        let _ = write!(text, "{name}: verify: {percent} % of {bytes} read");
        if let Some(seconds) = found.eta_seconds {
            let _ = write!(text, ", {seconds:.0} s left");
        }
        let _ = writeln!(text, "; {} differ so far", size::show(found.different_bytes));
    }
    if group.no_cut {
        let _ = writeln!(
            text,
            "{name}: this site's disks hold no consistent cut until the round's end: no takeover is possible here"
        );
    }
    if group.role == Role::Primary
        && let Some(home) = &group.home
        && home != node
    {
        let _ = writeln!(text, "{name}: away from its home {home}: `midspan failback {name}` hands it back");
    }
    for lane in group.lanes.iter().chain(held(group)) {
        if group.starting && group.role == Role::Primary && !lane.connected {
            let _ = writeln!(
                text,
                "{name}: the start waits for lane {} at {}, whose journal is read first; where that is gone for good: `midspan start {name} --without-journal`",
                lane.lane, lane.node
            );
        }
        if let Some(position) = lane.damaged_at {
            let _ = writeln!(
                text,
                "{name}: lane {} at {} is damaged at position {position}",
                lane.lane, lane.node
            );
        }
        if lane.ring.full {
            let _ =
                writeln!(text, "{name}: the ring is full: host writes wait until the secondary has followed");
        }
    }
}

/// How far a round is.
fn round(round: &RoundStatus) -> String {
    let mut text = match round.round {
        Some(number) => format!("round {number}: "),
        None => "a round is to come: ".to_owned(),
    };
    let _ = write!(
        text,
        "{} % sent, {} of {}",
        round.percent,
        size::show(round.bytes_sent),
        size::show(round.bytes)
    );
    if let Some(rate) = round.bytes_per_second {
        let _ = write!(text, ", {}/s", size::show(rate));
    }
    if let Some(seconds) = round.eta_seconds.filter(|_| !round.sent) {
        let _ = write!(text, ", {seconds:.0} s left");
    }
    if round.sent {
        text += ", the other site brings it to its disks";
    }
    if round.paused {
        text += "; held, `midspan resume` lets it go on";
    }
    if round.in_place {
        text += "; in place: the target's copy is inconsistent until the end";
    }
    text
}

fn group_row(group: &GroupStatus) -> Vec<String> {
    vec![
        group.group.clone(),
        group.role.word().to_owned(),
        group.state.clone(),
        epoch(&group.epoch),
        yes_no(Some(group.serving)),
        yes_no(group.zero_loss),
        bytes(group.lag.applied_bytes),
        group.lag.seconds.map_or_else(unknown, |s| format!("{s:.3} s")),
        bytes(group.dirty_bytes),
    ]
}

fn lane_row(group: &str, lane: &LaneStatus) -> Vec<String> {
    let marks = &lane.watermarks;
    let mut row =
        vec![group.to_owned(), lane.lane.to_string(), lane.node.clone(), yes_no(Some(lane.connected))];
    for mark in [marks.sealed, marks.journaled, marks.acquired, marks.applied, marks.landed] {
        row.push(mark.map_or_else(unknown, |position| position.to_string()));
    }
    row.push(ring(&lane.ring));
    row
}

fn ring(ring: &RingUse) -> String {
    let (Some(used), Some(total)) = (ring.used_bytes, ring.size_bytes) else { return unknown() };
    let percent = if total == 0 { 0 } else { u128::from(used) * 100 / u128::from(total) };
    let mut text = format!("{percent} % of {}", size::show(total));
    if let Some(seconds) = ring.full_in_seconds {
        let _ = write!(text, ", full in {seconds:.0} s");
    }
    text
}

fn bytes(count: Option<u64>) -> String {
    count.map_or_else(unknown, size::show)
}

fn yes_no(value: Option<bool>) -> String {
    value.map_or_else(unknown, |value| if value { "yes" } else { "no" }.to_owned())
}

fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use midspan_daemon::api::types::{Epoch, Lag, Role, Watermarks};

    fn sample() -> NodeStatus {
        let lane = LaneStatus {
            lane: 0,
            node: "relay".into(),
            connected: true,
            watermarks: Watermarks { sealed: Some(8192), journaled: Some(8192), ..Watermarks::default() },
            damaged_at: None,
            fetched_bytes: None,
            ring: RingUse { size_bytes: Some(1 << 20), used_bytes: Some(1 << 19), ..RingUse::default() },
        };
        let group = GroupStatus {
            group: "vault".into(),
            role: Role::Primary,
            state: "paired".into(),
            epoch: Epoch { number: 3, node: "a".into() },
            lag: Lag { applied_bytes: Some(4096), seconds: Some(0.0042), ..Lag::default() },
            lanes: vec![lane],
            ..GroupStatus::default()
        };
        NodeStatus { node: "a".into(), uptime_ms: 61_000, groups: vec![group], ..NodeStatus::default() }
    }

    #[test]
    fn the_table_shows_role_epoch_lag_and_ring() {
        let text = text(&sample());
        for part in ["primary", "paired", "3@a", "4 KiB", "0.004 s", "50 % of 1 MiB", "1 min 1 s"] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }

    #[test]
    fn an_unknown_group_is_not_found() {
        assert_eq!(select(sample(), Some("other")).unwrap_err().exit, Some(Exit::NotFound));
    }

    #[test]
    fn a_lane_that_is_away_makes_a_group_unhealthy() {
        let mut status = sample();
        assert!(is_healthy(&status.groups[0]));
        status.groups[0].lanes[0].connected = false;
        assert!(!is_healthy(&status.groups[0]));
    }

    #[test]
    fn a_lane_that_a_site_holds_is_shown_once_and_its_damage_is_said() {
        let mut status = sample();
        let here = LaneStatus { lane: 0, node: "a".into(), connected: true, ..LaneStatus::default() };
        status.groups[0].held = vec![here.clone()];
        let rows = |status: &NodeStatus| text(status).lines().filter(|line| line.contains(" a ")).count();
        let with = rows(&status);
        assert!(is_healthy(&status.groups[0]));
        // Where the group uses it, what the group knows of it says more.
        status.groups[0].lanes.push(here);
        assert_eq!(rows(&status), with);
        status.groups[0].lanes.pop();
        status.groups[0].held[0].damaged_at = Some(4096);
        assert!(!is_healthy(&status.groups[0]));
        assert!(text(&status).contains("lane 0 at a is damaged at position 4096"));
    }

    #[test]
    fn a_relay_is_healthy_while_its_areas_are_open() {
        let group =
            |state: &str| GroupStatus { role: Role::Relay, state: state.into(), ..GroupStatus::default() };
        assert!(is_healthy(&group("open")));
        assert!(!is_healthy(&group("damaged")) && !is_healthy(&group("scanning")));
    }

    #[test]
    fn what_needs_attention_is_said_in_sentences() {
        let mut status = sample();
        status.groups[0].fenced_by = Some(Epoch { number: 9, node: "b".into() });
        status.groups[0].zero_loss_why = "hosts were answered outside the lanes".into();
        status.groups[0].lanes[0].damaged_at = Some(4096);
        let text = text(&status);
        for part in ["fenced by epoch 9@b", "answered outside the lanes", "damaged at position 4096"] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_round_is_told_in_a_sentence() {
        let mut status = sample();
        status.groups[0].home = Some("b".into());
        status.groups[0].no_cut = true;
        status.groups[0].round = Some(RoundStatus {
            round: Some(4),
            in_place: true,
            paused: true,
            bytes: 1 << 20,
            bytes_sent: 1 << 19,
            percent: 50.0,
            bytes_per_second: Some(4096),
            eta_seconds: Some(128.0),
            ..RoundStatus::default()
        });
        let text = text(&status);
        for part in [
            "round 4: 50 % sent, 512 KiB of 1 MiB, 4 KiB/s, 128 s left",
            "midspan resume",
            "inconsistent until the end",
            "no takeover is possible here",
            "`midspan failback vault`",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        assert!(!is_healthy(&status.groups[0]));
    }
}
