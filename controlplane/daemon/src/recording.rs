//! What the flight recorders of the shards hold of one group, in the API's words.

use midspan_node::recorder::{Milestone, Reader, Recorded, Stage, read};

use crate::api::query::After;
use crate::api::types::{GroupRecording, ShardRecording, TraceEvent, TraceStage};

/// Events of one shard in one answer at most.
const EVENTS: usize = 16 * 1024;

/// Fills an answer with what the recorders hold of a group.
pub fn fill(answer: &mut GroupRecording, recorders: &[Reader], from: &After) {
    for (shard, reader) in recorders.iter().enumerate() {
        let after = match from {
            After::Now => reader.written(),
            After::Numbers(numbers) => numbers.get(shard).copied().unwrap_or(0),
        };
        let (recorded, copied) = read(reader, after, EVENTS);
        let of_group = |recorded: &&Recorded| u64::from(recorded.milestone.group.0) == answer.group_id;
        let events = recorded.iter().filter(of_group).map(event).collect();
        let more = copied.next < reader.written();
        answer.shards.push(ShardRecording { shard, next: copied.next, lost: copied.lost, more, events });
    }
}

fn event(recorded: &Recorded) -> TraceEvent {
    let Milestone { stage, request, length, place, with, .. } = recorded.milestone;
    TraceEvent(recorded.at, word(stage), request, length, place, with)
}

fn word(stage: Stage) -> TraceStage {
    match stage {
        Stage::Arrived => TraceStage::Arrived,
        Stage::Timed => TraceStage::Timed,
        Stage::Sealed => TraceStage::Sealed,
        Stage::Sent => TraceStage::Sent,
        Stage::Received => TraceStage::Received,
        Stage::Journaled => TraceStage::Journaled,
        Stage::Acknowledged => TraceStage::Acknowledged,
        Stage::Answered => TraceStage::Answered,
        Stage::Written => TraceStage::Written,
        Stage::Asked => TraceStage::Asked,
        Stage::Served => TraceStage::Served,
        Stage::Fetched => TraceStage::Fetched,
        Stage::Acquired => TraceStage::Acquired,
        Stage::Applied => TraceStage::Applied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_has_one_word_everywhere() {
        for stage in Stage::ALL {
            let json = serde_json::to_string(&word(stage)).unwrap();
            assert_eq!(json, format!("\"{}\"", stage.word()));
        }
    }
}
