//! The flight recorder alone: what an event costs that a machine has reached.

use std::sync::Arc;

use anyhow::{Context, Result};
use midspan_format::ids::GroupId;
use midspan_node::buffers::PoolBuf;
use midspan_node::counters::AllCounters;
use midspan_node::recorder::{EVENT_BYTES, Milestone, Recorder, Stage as Reached, ring_of};
use midspan_protocol::vocab::effect::Effects;

use super::Stage;

const GROUP: GroupId = GroupId(1);
/// Bytes of the tape, as a node's by default: it does not stay in the core's own cache.
const TAPE_BYTES: usize = 2 << 20;
/// Events of one call to a machine: they share one reading of the clock.
const TOGETHER: u32 = 4;

/// Events that come alone, and several at once.
pub fn stages() -> Result<Vec<Stage>> {
    Ok(vec![
        stage("record", "an event recorded that comes alone", 1)?,
        stage("record_4", "an event recorded, four at once", TOGETHER)?,
    ])
}

fn stage(name: &str, operation: &'static str, together: u32) -> Result<Stage> {
    let (tape, _) = ring_of(TAPE_BYTES / EVENT_BYTES * EVENT_BYTES).context("a tape holds events")?;
    let counters: Arc<AllCounters> = Arc::new(vec![Default::default()]);
    let mut recorder = Recorder::new(Some(tape), (counters, 0), 64, std::iter::once(GROUP));
    let mut effects: Effects<PoolBuf> = Effects::with_capacity(8);
    let mut place = 0;
    Ok(Stage {
        name: name.to_owned(),
        operation,
        bytes: 0,
        floor: None,
        per_step: u64::from(together),
        step: Box::new(move || {
            for request in 0..together {
                place += 4096;
                let stage = Reached::Journaled;
                effects.reach(Milestone { stage, group: GROUP, request, length: 4096, place, with: 1 });
            }
            recorder.reached(&mut effects);
            Ok(())
        }),
    })
}
