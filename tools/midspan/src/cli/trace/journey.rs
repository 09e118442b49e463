//! Joins the events of all nodes to journeys: each write, the frame it travelled in, and when it reached what.
//!
//! Times are each node's own; [`super::clocks`] brings them together.

use std::collections::{BTreeMap, HashMap, VecDeque};

use midspan_daemon::api::types::{Role, TraceEvent, TraceStage};

use super::record::Recording;

/// When stages were reached, nanoseconds since the boot of the node that recorded them.
pub type Times = BTreeMap<TraceStage, u64>;

/// One write of a host.
#[derive(Clone, Debug, Default)]
pub struct Write {
    /// Its offset in the volume, bytes.
    pub offset: u64,
    /// Its length, bytes.
    pub length: u32,
    /// The volume.
    pub volume: u64,
    /// What it reached on the primary by itself.
    pub times: Times,
    /// Position of the frame that carries it.
    pub frame: Option<u64>,
}

/// One frame.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// Counts the frames of the lane; 0 when it was not seen being sent.
    pub sequence: u64,
    /// Bytes.
    pub length: u32,
    /// Records in it; 0 when its sealing was not seen.
    pub records: u32,
    /// What it reached, on any node.
    pub times: Times,
}

/// All journeys of a recording.
#[derive(Debug, Default)]
pub struct Journeys {
    /// Writes, in the order in which they came.
    pub writes: Vec<Write>,
    /// Frames by position.
    pub frames: BTreeMap<u64, Frame>,
}

impl Journeys {
    /// Joins what was recorded.
    pub fn new(recordings: &[Recording]) -> Self {
        let mut journeys = Self::default();
        // The primary first: it names the frames.
        for recording in recordings.iter().filter(|recording| recording.role == Role::Primary) {
            journeys.on_primary(&recording.events);
        }
        for recording in recordings {
            journeys.on_frames(&recording.events);
        }
        journeys
    }

    /// When a write reached a stage, by itself or in its frame.
    pub fn time(&self, write: &Write, stage: TraceStage) -> Option<u64> {
        let of_frame = || self.frames.get(&write.frame?)?.times.get(&stage);
        write.times.get(&stage).or_else(of_frame).copied()
    }

    /// Follows writes by request, entry and time, until their frames are sealed and their answers given.
    fn on_primary(&mut self, events: &[TraceEvent]) {
        let mut by_request: HashMap<u32, usize> = HashMap::new();
        let mut by_entry: HashMap<u64, usize> = HashMap::new();
        let mut timed: VecDeque<(u64, usize)> = VecDeque::new();
        for TraceEvent(at, stage, request, length, place, with) in events.iter().copied() {
            let known = match stage {
                TraceStage::Arrived => {
                    by_request.insert(request, self.writes.len());
                    self.writes.push(Write { offset: place, length, volume: with, ..Write::default() });
                    Some(self.writes.len() - 1)
                }
                TraceStage::Timed => {
                    let known = by_request.get(&request).copied();
                    if let Some(index) = known {
                        by_entry.insert(with, index);
                        timed.push_back((place, index));
                    } else {
                        by_entry.remove(&with);
                    }
                    known
                }
                TraceStage::Sealed => {
                    self.frames.insert(place, Frame { length, records: request, ..Frame::default() });
                    while let Some((_, index)) = timed.pop_front_if(|(time, _)| *time <= with) {
                        if let Some(write) = self.writes.get_mut(index) {
                            write.frame = Some(place);
                        }
                    }
                    None
                }
                TraceStage::Answered => by_request.remove(&request),
                TraceStage::Written => by_entry.remove(&with),
                TraceStage::Sent
                | TraceStage::Received
                | TraceStage::Journaled
                | TraceStage::Acknowledged
                | TraceStage::Asked
                | TraceStage::Served
                | TraceStage::Fetched
                | TraceStage::Acquired
                | TraceStage::Applied => None,
            };
            if let Some(write) = known.and_then(|index| self.writes.get_mut(index)) {
                write.times.entry(stage).or_insert(at);
            }
        }
    }

    /// Follows frames: those that an event names, those in a range, or all before a position.
    fn on_frames(&mut self, events: &[TraceEvent]) {
        let mut reached: BTreeMap<TraceStage, u64> = BTreeMap::new();
        for TraceEvent(at, stage, _, length, place, with) in events.iter().copied() {
            match stage {
                TraceStage::Arrived | TraceStage::Timed | TraceStage::Answered | TraceStage::Written => {}
                TraceStage::Sealed | TraceStage::Sent | TraceStage::Received | TraceStage::Fetched => {
                    let frame = self.frames.entry(place).or_insert(Frame { length, ..Frame::default() });
                    frame.times.entry(stage).or_insert(at);
                    if stage != TraceStage::Sealed {
                        frame.sequence = with;
                    }
                }
                TraceStage::Asked | TraceStage::Served => {
                    let end = place.saturating_add(u64::from(length));
                    for (_, frame) in self.frames.range_mut(place..end) {
                        frame.times.entry(stage).or_insert(at);
                    }
                }
                TraceStage::Journaled
                | TraceStage::Acknowledged
                | TraceStage::Acquired
                | TraceStage::Applied => {
                    let from = reached.insert(stage, place).unwrap_or(0).min(place);
                    for (position, frame) in self.frames.range_mut(from..place) {
                        if position.saturating_add(u64::from(frame.length)) <= place {
                            frame.times.entry(stage).or_insert(at);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn two_writes_of_one_frame_share_its_way_and_keep_their_own() {
        let journeys = Journeys::new(&fixture::three_nodes(0, 0));
        let [first, second] = &journeys.writes[..2] else { panic!("two writes") };
        assert_eq!((first.frame, second.frame), (Some(8192), Some(8192)));
        assert_eq!((first.offset, second.offset), (4096, 65536));
        assert_eq!(first.times.len() + journeys.frames[&8192].times.len(), 14, "{journeys:?}");
        assert!(journeys.time(first, TraceStage::Arrived) < journeys.time(second, TraceStage::Arrived));
        assert_eq!(journeys.time(first, TraceStage::Journaled), journeys.time(second, TraceStage::Journaled));
        assert_eq!(journeys.frames[&8192].sequence, 7);
    }

    #[test]
    fn a_request_number_that_is_used_again_is_another_write() {
        let journeys = Journeys::new(&fixture::three_nodes(0, 0));
        let last = journeys.writes.last().unwrap();
        assert_eq!((journeys.writes.len(), last.frame), (3, Some(20480)));
        assert!(journeys.time(last, TraceStage::Applied).is_none(), "the recording ended before");
    }
}
