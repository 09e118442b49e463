//! Each stage of a write alone, in one thread and without I/O: what the software itself costs.

mod journal;
mod store;
mod host;
mod record;

use anyhow::{Context, Result};
use midspan_node::buffers::{PoolBuf, PoolBuffers};
use midspan_protocol::vocab::buffer::{Buffer, Buffers, Slice};
use midspan_protocol::vocab::effect::{Context as Handling, Effect, Effects, Now, Token};
use midspan_uring::{Class, Pool};

use crate::machine;
use crate::window::Window;

/// How many records of how many bytes a frame has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Records in a frame.
    pub records: usize,
    /// Bytes of data of each.
    pub record_bytes: usize,
}

impl Shape {
    /// Bytes of data in a frame.
    pub fn data_bytes(self) -> usize {
        self.records * self.record_bytes
    }

    /// `8x4k`.
    fn name(self) -> String {
        format!("{}x{}k", self.records, self.record_bytes >> 10)
    }
}

/// What is measured.
pub const SHAPES: [Shape; 5] = [
    Shape { records: 1, record_bytes: 4096 },
    Shape { records: 8, record_bytes: 4096 },
    Shape { records: 32, record_bytes: 4096 },
    Shape { records: 1, record_bytes: 128 << 10 },
    Shape { records: 4, record_bytes: 128 << 10 },
];

/// One stage, ready to be run again and again.
pub struct Stage {
    /// Its name in the JSON.
    pub name: String,
    /// What one operation is, for people.
    pub operation: &'static str,
    /// Bytes of data of one operation; 0 where none is touched.
    pub bytes: usize,
    /// The same bytes through the checksum alone: the name of that stage, and how many of its operations.
    pub floor: Option<(String, usize)>,
    /// Operations of one step.
    per_step: u64,
    step: Box<dyn FnMut() -> Result<()>>,
}

impl Stage {
    /// Runs it for a while; nanoseconds of one operation.
    ///
    /// # Errors
    /// When the stage does not do what it is there for.
    pub fn measure(&mut self, window: Window) -> Result<f64> {
        let per_step = self.per_step as f64;
        Ok(machine::step_ns(window, &mut |steps| self.run(steps))? / per_step)
    }

    fn run(&mut self, steps: u64) -> Result<()> {
        for _ in 0..steps {
            (self.step)().with_context(|| self.name.clone())?;
        }
        Ok(())
    }
}

/// All stages in the order of the path, the machine's own floor first. They stay on the calling thread.
///
/// # Errors
/// When there is no memory, or a stage refuses what it is given.
pub fn all() -> Result<Vec<Stage>> {
    let mut stages = floors();
    stages.extend(host::stages()?);
    stages.extend(record::stages()?);
    for shape in SHAPES {
        stages.extend(journal::stages(shape)?);
        stages.extend(store::stages(shape)?);
    }
    Ok(stages)
}

/// What touching so many bytes costs at least.
fn floors() -> Vec<Stage> {
    let mut stages = Vec::new();
    for bytes in [4096, 128 << 10] {
        let kib = bytes >> 10;
        let mut copy = machine::Copying::new(bytes);
        stages.push(Stage {
            name: format!("memcpy_{kib}k"),
            operation: "a copy",
            bytes,
            floor: None,
            per_step: 1,
            step: Box::new(move || {
                copy.step();
                Ok(())
            }),
        });
        let mut sum = machine::Summing::new(bytes);
        stages.push(Stage {
            name: checksum_name(bytes),
            operation: "a checksum",
            bytes,
            floor: None,
            per_step: 1,
            step: Box::new(move || {
                sum.step();
                Ok(())
            }),
        });
    }
    stages
}

fn checksum_name(bytes: usize) -> String {
    format!("checksum_{}k", bytes >> 10)
}

/// What machines are given with each event: buffers, and a list for their effects.
struct Bench {
    buffers: PoolBuffers,
    effects: Effects<PoolBuf>,
    tokens: Vec<Token>,
}

impl Bench {
    /// With so many buffers of a size.
    fn new(size: usize, count: usize) -> Result<Self> {
        let classes = [Class { size: 4096, count: 64 }, Class { size: size.next_multiple_of(4096), count }];
        let buffers = PoolBuffers::new(Pool::new(&classes, false)?);
        Ok(Self { buffers, effects: Effects::with_capacity(4096), tokens: Vec::with_capacity(4096) })
    }

    fn handling(&mut self) -> Handling<'_, PoolBuffers> {
        Handling { now: Now::default(), buffers: &mut self.buffers, effects: &mut self.effects }
    }

    /// A buffer filled with bytes that differ.
    fn filled(&mut self, bytes: usize, seed: u64) -> Result<Slice<PoolBuf>> {
        let mut buf = self.buffers.take(bytes).context("the pool was made too small")?;
        let mut random = midspan::hammer::random::Seeded::new(seed, 2);
        for word in buf.bytes_mut().context("a new buffer has one owner")?.chunks_mut(8) {
            word.copy_from_slice(random.next_word().to_le_bytes().get(..word.len()).unwrap_or_default());
        }
        buf.set_filled(bytes);
        Ok(Slice::new(buf, 0..bytes))
    }

    /// Takes all effects and returns the tokens of the disk operations among them, as if all of them had completed.
    fn completed(&mut self) -> &[Token] {
        self.tokens.clear();
        self.tokens.extend(self.effects.drain().filter_map(|effect| match effect {
            Effect::Disk { token, .. } => Some(token),
            Effect::Connect { .. }
            | Effect::Close { .. }
            | Effect::Send { .. }
            | Effect::SendBlock { .. }
            | Effect::SendFrame { .. }
            | Effect::SendData { .. }
            | Effect::Answer { .. }
            | Effect::Note(_) => None,
        }));
        &self.tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::time::Duration;

    #[test]
    fn every_stage_does_its_work_and_has_a_name_of_its_own() {
        let window = Window { warm: Duration::ZERO, measured: Duration::from_millis(1) };
        let mut stages = all().unwrap();
        let names: BTreeSet<String> = stages.iter().map(|stage| stage.name.clone()).collect();
        assert_eq!(names.len(), stages.len());
        for stage in &mut stages {
            assert!(stage.measure(window).unwrap() > 0.0, "{}", stage.name);
            assert!(stage.floor.as_ref().is_none_or(|(floor, _)| names.contains(floor)), "{}", stage.name);
        }
    }
}
