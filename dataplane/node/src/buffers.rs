//! The engine's pool as the machines know it: newtypes that implement the protocol's buffer traits.

use std::ops::Range;

use midspan_protocol::vocab::buffer::{Buffer, Buffers};
use midspan_uring::{Buf, Pool};

/// Ranges that one operation takes, in order.
pub type Gathered = Vec<(Buf, Range<usize>)>;

/// Adds a range, joined to the one before where it continues that.
pub fn gather(parts: &mut Gathered, buf: &Buf, range: Range<usize>) {
    if let Some((last, before)) = parts.last_mut()
        && before.end == range.start
        && last.same_buffer(buf)
    {
        before.end = range.end;
        return;
    }
    parts.push((buf.clone(), range));
}

/// A buffer of the shard's registered pool.
#[derive(Clone, Debug)]
pub struct PoolBuf(Buf);

impl PoolBuf {
    /// The machines' handle on a buffer.
    pub fn new(buf: Buf) -> Self {
        Self(buf)
    }

    /// The engine's handle.
    pub fn buf(&self) -> &Buf {
        &self.0
    }

    /// Gives the engine's handle back.
    pub fn into_buf(self) -> Buf {
        self.0
    }

    /// Whether this is the only handle.
    pub fn is_unique(&self) -> bool {
        self.0.is_unique()
    }
}

impl Buffer for PoolBuf {
    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        self.0.bytes_mut()
    }

    fn set_filled(&mut self, length: usize) {
        self.0.set_filled(length);
    }

    fn same(&self, other: &Self) -> bool {
        self.0.same_buffer(&other.0)
    }
}

/// The shard's pool as a source of buffers.
#[derive(Clone)]
pub struct PoolBuffers(Pool);

impl PoolBuffers {
    /// The machines' view of a pool.
    pub fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// The pool itself.
    pub fn pool(&self) -> &Pool {
        &self.0
    }
}

impl Buffers for PoolBuffers {
    type Buf = PoolBuf;

    fn take(&mut self, length: usize) -> Option<PoolBuf> {
        self.0.take(length).map(PoolBuf)
    }
}
