//! What waits to be sent on one connection: in order, many messages in one operation, one operation at a time.

use std::collections::VecDeque;
use std::rc::Rc;

use midspan_format::geometry::BLOCK;
use midspan_format::message::Message;
use midspan_protocol::vocab::buffer::Slice;
use midspan_protocol::vocab::effect::{Frame, Parts};
use midspan_uring::{Buf, MAX_PARTS};

use crate::buffers::{Gathered, PoolBuf, gather};
use crate::peer::wire;
use crate::recorder::Recorder;

/// Bytes of the buffer that messages and blocks are encoded in.
pub const SCRATCH_BYTES: usize = 16 * 1024;
/// Beyond so many bytes nothing more joins a send: the rest goes with the next one.
const SEND_BYTES: usize = 1 << 20;

/// One thing to send.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it lies in a queue that is allocated once; a box would be allocated each time"
)]
pub enum Out {
    /// A message of the small direction.
    Message(Message),
    /// A block message.
    Block(Message),
    /// A sealed frame.
    Frame(Rc<Frame<PoolBuf>>),
    /// A block message and data behind it.
    Data(Message, Parts<PoolBuf>),
}

/// The queue of one connection.
#[derive(Debug)]
pub struct Outgoing {
    queue: VecDeque<Out>,
    scratch: Buf,
    /// A send runs; it carries so many `Data` and so many items.
    sending: Option<(u32, u32)>,
}

impl Outgoing {
    /// An empty queue that encodes into `scratch`, of at least [`SCRATCH_BYTES`].
    pub fn new(scratch: Buf) -> Self {
        assert!(scratch.capacity() >= SCRATCH_BYTES.max(wire::SMALL_MAX), "too small to encode a message");
        Self { queue: VecDeque::with_capacity(64), scratch, sending: None }
    }

    /// Queues one thing.
    pub fn push(&mut self, out: Out) {
        self.queue.push_back(out);
    }

    /// Whether nothing waits and nothing is being sent.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.sending.is_none()
    }

    /// Whether a send runs.
    pub fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.queue.clear();
    }

    /// Takes what the next send carries; nothing while a send runs. Whoever calls must send what it gets.
    pub fn gather(&mut self, parts: &mut Gathered, recorder: &mut Recorder) {
        parts.clear();
        if self.sending.is_some() || self.queue.is_empty() {
            return;
        }
        // The last send has ended, so nobody else holds the scratch buffer.
        self.scratch.set_filled(0);
        let (mut datas, mut items, mut bytes) = (0, 0, 0);
        while let Some(out) = self.queue.front() {
            if bytes >= SEND_BYTES || parts.len() + most_parts(out) > MAX_PARTS || !self.fits(out) {
                break;
            }
            let Some(out) = self.queue.pop_front() else { break };
            items += 1;
            match out {
                Out::Message(message) => bytes += self.encode(&message, parts),
                Out::Block(message) => bytes += self.encode_block(&message, parts),
                Out::Frame(frame) => {
                    recorder.sent(&frame.header);
                    bytes += add_slices(parts, frame.parts.iter());
                }
                Out::Data(message, slices) => {
                    bytes += self.encode_block(&message, parts);
                    bytes += add_slices(parts, slices.iter().flatten());
                    datas += 1;
                }
            }
        }
        assert!(items > 0, "the first item of a queue always fits an empty send");
        self.sending = Some((datas, items));
    }

    /// The send ended: number of `Data` it carried, and of items.
    pub fn on_sent(&mut self) -> (u32, u32) {
        self.sending.take().unwrap_or((0, 0))
    }

    fn fits(&self, out: &Out) -> bool {
        let need = match out {
            Out::Message(_) => wire::SMALL_MAX,
            Out::Block(_) | Out::Data(..) => BLOCK,
            Out::Frame(_) => 0,
        };
        need <= self.scratch.room()
    }

    fn encode(&mut self, message: &Message, parts: &mut Gathered) -> usize {
        let mut bytes = [0; wire::SMALL_MAX];
        let length = wire::encode(message, &mut bytes);
        self.append(bytes.get(..length).unwrap_or_default(), parts)
    }

    fn encode_block(&mut self, message: &Message, parts: &mut Gathered) -> usize {
        let mut bytes = [0; BLOCK];
        message.encode_block(&mut bytes);
        self.append(&bytes, parts)
    }

    fn append(&mut self, bytes: &[u8], parts: &mut Gathered) -> usize {
        let range = self.scratch.append(bytes);
        debug_assert!(range.is_some(), "asked before whether it fits");
        if let Some(range) = range {
            gather(parts, &self.scratch, range);
        }
        bytes.len()
    }
}

/// Most ranges that an item needs.
fn most_parts(out: &Out) -> usize {
    match out {
        Out::Message(_) | Out::Block(_) => 1,
        Out::Frame(frame) => frame.parts.len(),
        Out::Data(_, slices) => 1 + slices.iter().flatten().count(),
    }
}

fn add_slices<'a>(parts: &mut Gathered, slices: impl Iterator<Item = &'a Slice<PoolBuf>>) -> usize {
    let mut bytes = 0;
    for slice in slices {
        gather(parts, slice.buffer().buf(), slice.range());
        bytes += slice.len();
    }
    bytes
}
