//! The host's stages: NBD requests and replies, and the table of what is in flight.

use anyhow::{Context, Result, anyhow, bail, ensure};
use midspan_node::buffers::PoolBuf;
use midspan_protocol::host::nbd::{BlockSizes, Contexts, Export, Mode, Session};
use midspan_protocol::host::transmission::Step;
use midspan_protocol::stage::inflight::{Inflight, Steps};
use midspan_protocol::vocab::buffer::{Buffer, Buffers};
use midspan_protocol::vocab::effect::{HostOp, HostRequest, RequestId};

use super::journal::VOLUME;
use super::{Bench, Stage};

/// Bytes of a write.
const WRITE_BYTES: usize = 4096;
/// The same as it stands in a request.
const WRITE_LENGTH: u32 = 4096;
/// Requests that stand in the table meanwhile.
const OTHERS: usize = 31;
/// Room in the table, as a node's has.
const ROOM: usize = 1024;

/// The stages.
pub fn stages() -> Result<Vec<Stage>> {
    Ok(vec![nbd(), alone()?, overlap()?])
}

fn stage(name: &str, operation: &'static str, per_step: u64, step: Box<dyn FnMut() -> Result<()>>) -> Stage {
    Stage { name: name.to_owned(), operation, bytes: 0, floor: None, per_step, step }
}

/// A write's head is parsed and judged, and its reply built.
fn nbd() -> Stage {
    let export = Export {
        name: "disk",
        description: "",
        size: 1 << 30,
        read_only: false,
        block: BlockSizes::DEFAULT,
        can_trim: true,
        can_zero: true,
        fast_zero: false,
        multi_conn: true,
        dirty_map: false,
        default: true,
        available: Ok(()),
    };
    let session = Session::new(&export, Mode::Simple, Contexts::NONE);
    let mut head = [0_u8; 28];
    let mut number: u64 = 0;
    let step = move || {
        number += 1;
        let offset = number * WRITE_BYTES as u64 % export.size;
        let fields: [&[u8]; 6] = [
            &0x2560_9513_u32.to_be_bytes(),
            &0_u16.to_be_bytes(),
            &1_u16.to_be_bytes(),
            &number.to_be_bytes(),
            &offset.to_be_bytes(),
            &WRITE_LENGTH.to_be_bytes(),
        ];
        for (place, byte) in head.iter_mut().zip(fields.into_iter().flatten()) {
            *place = *byte;
        }
        let Step::Request { request, payload, .. } = session.on_header(std::hint::black_box(&head)) else {
            bail!("a write was not taken for one");
        };
        ensure!(payload == WRITE_LENGTH && request.cookie == number, "another request than was sent");
        let reply = std::hint::black_box(session.encode_done(request.reply_to()));
        ensure!(reply.bytes().len() == 16, "no simple reply");
        Ok(())
    };
    stage("nbd_request_and_reply", "a write's head parsed, its reply built", 1, Box::new(step))
}

/// The table with a pool behind it.
struct Table {
    bench: Bench,
    inflight: Inflight<PoolBuf>,
    steps: Steps,
}

impl Table {
    fn new() -> Result<Self> {
        let bench = Bench::new(WRITE_BYTES, OTHERS + 2)?;
        let mut table = Self { bench, inflight: Inflight::new(ROOM, 1), steps: Steps::new(ROOM) };
        for other in 1..=OTHERS {
            table.enter(other as u64 * WRITE_BYTES as u64)?;
        }
        Ok(table)
    }

    /// A write comes, takes its time, and is answerable: it may go to the disk.
    fn enter(&mut self, offset: u64) -> Result<u32> {
        let mut data = self.bench.buffers.take(WRITE_BYTES).context("the pool was made too small")?;
        data.set_filled(WRITE_BYTES);
        let op = HostOp::Write { offset, length: WRITE_BYTES, data, fua: false };
        let request = HostRequest { id: RequestId(1), volume: VOLUME, op };
        let entered = self.inflight.enter(&mut self.bench.handling(), request, &mut self.steps);
        let id = entered.map_err(|_| anyhow!("the table is full"))?;
        ensure!(self.steps.join.pop() == Some(id), "a whole write takes its time at once");
        self.inflight.allow_disk(id, &mut self.steps);
        Ok(id)
    }

    /// Its disk write starts and completes at once, and it leaves.
    fn complete(&mut self) -> Result<()> {
        let id = self.steps.disk.pop().context("nothing may go to the disk")?;
        self.inflight.start_disk(&mut self.bench.handling(), id, false);
        let token = self.bench.completed().first().copied().context("no disk write was started")?;
        let finished =
            self.inflight.on_disk(token, Ok(None), &mut self.steps).context("nothing has ended")?;
        self.inflight.leave(&mut self.bench.handling(), finished.id, &mut self.steps);
        Ok(())
    }
}

fn alone() -> Result<Stage> {
    let mut table = Table::new()?;
    table.steps.disk.clear();
    let step = move || {
        table.enter(0)?;
        table.complete()
    };
    Ok(stage(
        "inflight_alone",
        "a write enters, goes to the disk, leaves; 31 others there",
        1,
        Box::new(step),
    ))
}

fn overlap() -> Result<Stage> {
    let mut table = Table::new()?;
    table.steps.disk.clear();
    let step = move || {
        table.enter(0)?;
        table.enter(0)?;
        ensure!(table.steps.disk.len() == 1, "the second write has to wait for the first");
        table.complete()?;
        table.complete()
    };
    Ok(stage("inflight_overlap", "the same of two that overlap, each", 2, Box::new(step)))
}
