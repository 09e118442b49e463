//! Handles to memory that somebody else owns: the engine's registered pool in production, plain vectors in the simulator.

use core::ops::Range;

/// A reference-counted handle to one aligned buffer. Cloning shares it; the last drop gives it back to its pool.
///
/// The filled prefix is immutable while it is shared; the kernel may append behind it.
pub trait Buffer: Clone {
    /// Size of the buffer in bytes.
    fn capacity(&self) -> usize;
    /// The filled prefix.
    fn bytes(&self) -> &[u8];
    /// The whole buffer, if nobody else holds it.
    fn bytes_mut(&mut self) -> Option<&mut [u8]>;
    /// Says how many leading bytes are filled now; at most the capacity.
    fn set_filled(&mut self, length: usize);
    /// Whether both handles name the same buffer.
    fn same(&self, other: &Self) -> bool;
}

/// A bounded source of buffers.
pub trait Buffers {
    /// The handle type.
    type Buf: Buffer;
    /// A buffer of at least `length` bytes, uniquely owned, with nothing filled; `None` when the pool is exhausted.
    fn take(&mut self, length: usize) -> Option<Self::Buf>;
}

/// A range inside a buffer, kept alive together with it.
#[derive(Clone, Debug)]
pub struct Slice<B> {
    buf: B,
    start: u32,
    length: u32,
}

impl<B: Buffer> Slice<B> {
    /// The given range of a buffer's filled prefix.
    ///
    /// # Panics
    /// When the range is not inside the buffer: a programmer error.
    pub fn new(buf: B, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= buf.capacity(), "slice outside its buffer");
        let start = u32::try_from(range.start).unwrap_or(u32::MAX);
        let length = u32::try_from(range.end - range.start).unwrap_or(u32::MAX);
        Self { buf, start, length }
    }

    /// The bytes. Empty if the buffer was never filled that far.
    pub fn bytes(&self) -> &[u8] {
        self.buf.bytes().get(self.range()).unwrap_or_default()
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.length as usize
    }

    /// Whether the slice has no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The range inside the buffer.
    pub fn range(&self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.length as usize
    }

    /// The buffer handle.
    pub fn buffer(&self) -> &B {
        &self.buf
    }

    /// Gives the handle back.
    pub fn into_buffer(self) -> B {
        self.buf
    }

    /// A part of this slice, relative to its start.
    ///
    /// # Panics
    /// When `range` reaches beyond the slice: a programmer error.
    pub fn part(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "part outside its slice");
        let start = self.start as usize;
        Self::new(self.buf.clone(), start + range.start..start + range.end)
    }

    /// Joins `next` to the end of `self` if it lies directly behind in the same buffer; says whether it did.
    pub fn join(&mut self, next: &Self) -> bool {
        let adjacent = self.buf.same(&next.buf) && self.range().end == next.range().start;
        if adjacent {
            self.length += next.length;
        }
        adjacent
    }
}

#[cfg(test)]
pub(crate) mod fixture;
