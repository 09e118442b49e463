//! Reads the flight recorders of several nodes while they go on recording.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use midspan::clock::{Clock, Signal};
use midspan_daemon::api::types::{GroupRecording, Role, ShardRecording, TraceEvent};

use super::super::client::Client;
use super::super::exit::Failure;

/// How often each node is asked; a recorder of 2 MiB holds more than 500,000 events a second for so long.
const PAUSE: Duration = Duration::from_millis(80);

/// Answers of one node that are read before the others' turn.
const READS: usize = 64;

/// What one node recorded of the group.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Name of the node.
    pub node: String,
    /// What it was for the group at the end.
    pub role: Role,
    /// Its wall clock minus its time since boot.
    pub boot_at_ns: i128,
    /// Events, oldest first.
    pub events: Vec<TraceEvent>,
    /// Events that were overwritten before they could be read.
    pub lost: u64,
}

/// Records for so many seconds; without, takes what is there.
///
/// # Errors
/// The first refusal, or that a daemon is not there.
pub fn record(clients: &[Client], group: &str, seconds: Option<u64>) -> Result<Vec<Recording>, Failure> {
    let mut tapes = Vec::new();
    for client in clients {
        tapes.push(Tape::begin(client, group, seconds.is_none())?);
    }
    let Some(seconds) = seconds else {
        for tape in &mut tapes {
            tape.drain(group)?;
        }
        return Ok(tapes.into_iter().map(Tape::end).collect());
    };
    let show = Show::new(seconds, std::io::stderr().is_terminal());
    let clock = Clock::starting_at(0);
    let end = Duration::from_secs(seconds);
    while clock.elapsed() < end {
        Signal::default().wait(PAUSE.min(end.saturating_sub(clock.elapsed())));
        for tape in &mut tapes {
            tape.drain(group)?;
        }
        show.step(clock.elapsed(), tapes.iter().map(|tape| tape.recording.events.len()).sum());
    }
    show.end();
    Ok(tapes.into_iter().map(Tape::end).collect())
}

/// One node's recorders and where to go on reading them.
struct Tape<'a> {
    client: &'a Client,
    next: Vec<u64>,
    recording: Recording,
    /// Events lost before the first one was read are none of this recording.
    first: bool,
}

impl<'a> Tape<'a> {
    fn begin(client: &'a Client, group: &str, past: bool) -> Result<Self, Failure> {
        let answer = client.recording(group, None)?;
        let next = answer.shards.iter().map(|shard| if past { 0 } else { shard.next }).collect();
        let recording = Recording {
            node: answer.node.clone(),
            role: answer.role,
            boot_at_ns: i128::from(answer.wall_ns) - i128::from(answer.boot_ns),
            events: Vec::new(),
            lost: 0,
        };
        Ok(Self { client, next, recording, first: past })
    }

    /// Reads until nothing more is there, or the others wait too long for their turn.
    fn drain(&mut self, group: &str) -> Result<(), Failure> {
        for _ in 0..READS {
            let GroupRecording { shards, role, .. } = self.client.recording(group, Some(&self.next))?;
            self.recording.role = role;
            let more = shards.iter().any(|shard| shard.more);
            self.next.clear();
            for ShardRecording { next, lost, events, .. } in shards {
                self.next.push(next);
                self.recording.lost += if self.first { 0 } else { lost };
                self.recording.events.extend(events);
            }
            self.first = false;
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn end(mut self) -> Recording {
        // Shards were read one behind the other.
        self.recording.events.sort_by_key(|event| event.0);
        self.recording
    }
}

/// Progress for people; nothing where no terminal is.
struct Show {
    bar: Option<ProgressBar>,
}

impl Show {
    fn new(seconds: u64, terminal: bool) -> Self {
        let bar = terminal.then(|| {
            let style = ProgressStyle::with_template("recording {bar:30} {msg}").ok();
            let bar = ProgressBar::new(seconds * 1000);
            style.map_or(bar.clone(), |style| bar.with_style(style))
        });
        Self { bar }
    }

    fn step(&self, elapsed: Duration, events: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
            bar.set_message(format!("{:.1} s, {events} events", elapsed.as_secs_f64()));
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
