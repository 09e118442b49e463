//! The fixed set of buffers of one shard: one mapping, a few sizes, registered with the ring as fixed buffers.

use std::ptr::NonNull;
use std::rc::Rc;

use crate::ALIGNMENT;
use crate::buffer::{Buf, Memory, Placement, Shared};
use crate::errno::Errno;

/// The kernel registers at most this many bytes as one fixed buffer; slots never cross such a border.
const CHUNK: usize = 1 << 30;
/// Size of a huge page on every platform this runs on.
const HUGE: usize = 2 << 20;

/// One size of buffer: `count` buffers of `size` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// Bytes of each buffer; a multiple of 4096, at most 1 GiB.
    pub size: usize,
    /// Number of buffers, at least 1.
    pub count: usize,
}

/// What kind of pages the pool got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Reserved huge pages (`vm.nr_hugepages`).
    Huge,
    /// Ordinary pages, with the kernel asked to merge them into huge ones.
    Transparent,
    /// Ordinary pages.
    Small,
}

/// Why no pool could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// A class is empty, not a multiple of 4096, too large, or there are too many.
    #[error("buffer class {0:?} is not possible: sizes are multiples of 4096 up to 1 GiB, counts at least 1")]
    BadClass(Class),
    /// No class at all, or more than the tables can number.
    #[error("a pool needs between 1 and 65535 classes and fewer than 2^32 buffers")]
    BadCount,
    /// The mapping failed.
    #[error("cannot map {bytes} bytes for buffers: {errno}")]
    NoMemory {
        /// Size of the mapping.
        bytes: usize,
        /// The kernel's answer.
        errno: Errno,
    },
}

/// The buffers of one shard. Clones are handles to the same pool; `!Send`, like its buffers.
#[derive(Clone)]
pub struct Pool {
    shared: Rc<Shared>,
    pages: Pages,
}

impl Pool {
    /// Maps the memory for all classes. With `huge_pages` it tries reserved huge pages, then transparent ones.
    ///
    /// # Errors
    /// If a class is impossible or memory is short.
    pub fn new(classes: &[Class], huge_pages: bool) -> Result<Pool, PoolError> {
        let mut classes = classes.to_vec();
        classes.sort_by_key(|class| class.size);
        let (placements, length) = place(&classes)?;
        let (mapping, pages) =
            Mapping::new(length, huge_pages).map_err(|errno| PoolError::NoMemory { bytes: length, errno })?;
        let sizes: Vec<(usize, usize)> = classes.iter().map(|class| (class.size, class.count)).collect();
        Ok(Pool { shared: Rc::new(Shared::new(Box::new(mapping), &sizes, &placements)), pages })
    }

    /// A buffer of at least `len` bytes with nothing filled: the smallest class that fits and has one free.
    /// `None` means back-pressure: wait until a buffer comes back.
    #[must_use]
    pub fn take(&self, len: usize) -> Option<Buf> {
        let shelves = self.shared.shelves().iter().enumerate();
        let mut fitting = shelves.filter(|(_, shelf)| shelf.size >= len && shelf.free.get() > 0);
        fitting.next().and_then(|(class, _)| self.shared.take(class))
    }

    /// Buffers of at least `len` bytes that [`Pool::take`] could hand out now, over all classes.
    #[must_use]
    pub fn available(&self, len: usize) -> usize {
        let shelves = self.shared.shelves().iter();
        shelves.filter(|shelf| shelf.size >= len).map(|shelf| shelf.free.get()).sum()
    }

    /// Each class with the number of its free buffers, smallest first.
    pub fn classes(&self) -> impl Iterator<Item = (Class, usize)> + '_ {
        let shelves = self.shared.shelves().iter();
        shelves.map(|shelf| (Class { size: shelf.size, count: shelf.count }, shelf.free.get()))
    }

    /// What kind of pages the pool got.
    #[must_use]
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// Bytes mapped.
    #[must_use]
    pub fn mapped_bytes(&self) -> usize {
        self.shared.region().len()
    }

    pub(crate) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    /// The registered buffers, in the order of their numbers: address and length of each chunk.
    pub(crate) fn chunks(&self) -> Vec<libc::iovec> {
        let region = self.shared.region();
        let mut chunks = Vec::new();
        let mut offset = 0;
        while offset < region.len() {
            let len = CHUNK.min(region.len() - offset);
            // SAFETY: `offset` is below the mapping's length.
            let base = unsafe { region.base().add(offset) };
            chunks.push(libc::iovec { iov_base: base.as_ptr().cast(), iov_len: len });
            offset += len;
        }
        chunks
    }
}

/// Lays the slots out, none crossing a chunk border; returns them and the bytes needed.
fn place(classes: &[Class]) -> Result<(Vec<Placement>, usize), PoolError> {
    let slots =
        classes.iter().try_fold(0_u32, |sum, class| sum.checked_add(u32::try_from(class.count).ok()?));
    if slots.is_none_or(|slots| slots == 0 || slots == u32::MAX) {
        return Err(PoolError::BadCount);
    }
    let mut placements = Vec::new();
    let mut offset = 0_usize;
    for (number, class) in classes.iter().enumerate() {
        let bad = || PoolError::BadClass(*class);
        if class.size == 0 || class.count == 0 || !class.size.is_multiple_of(ALIGNMENT) || class.size > CHUNK
        {
            return Err(bad());
        }
        let size = u32::try_from(class.size).map_err(|_| bad())?;
        let number = u16::try_from(number).map_err(|_| PoolError::BadCount)?;
        for _ in 0..class.count {
            if offset % CHUNK + class.size > CHUNK {
                offset = offset.next_multiple_of(CHUNK);
            }
            let chunk = u16::try_from(offset / CHUNK).map_err(|_| bad())?;
            placements.push(Placement { offset, size, chunk, class: number });
            offset += class.size;
        }
    }
    Ok((placements, offset.next_multiple_of(HUGE)))
}

/// One private anonymous mapping, 2 MiB aligned.
struct Mapping {
    base: NonNull<u8>,
    len: usize,
    /// What to unmap: with ordinary pages more than `base..base+len`, for the sake of alignment.
    mapped: NonNull<libc::c_void>,
    mapped_len: usize,
}

impl Mapping {
    fn new(len: usize, huge_pages: bool) -> Result<(Mapping, Pages), Errno> {
        if huge_pages && let Ok(mapped) = map(len, libc::MAP_HUGETLB) {
            let mapping = Mapping { base: mapped.cast(), len, mapped, mapped_len: len };
            mapping.advise();
            return Ok((mapping, Pages::Huge));
        }
        let mapped_len = len + HUGE;
        let mapped = map(mapped_len, 0)?;
        let skip = mapped.cast::<u8>().align_offset(HUGE);
        assert!(skip < HUGE, "alignment of a byte pointer is always possible");
        // SAFETY: `skip` is below HUGE and the mapping is HUGE bytes longer than `len`.
        let base = unsafe { mapped.cast::<u8>().add(skip) };
        let mapping = Mapping { base, len, mapped, mapped_len };
        let advised = huge_pages && mapping.madvise(libc::MADV_HUGEPAGE).is_ok();
        mapping.advise();
        Ok((mapping, if advised { Pages::Transparent } else { Pages::Small }))
    }

    /// Volume data stays out of core dumps and of forked children. Neither is worth a failure.
    fn advise(&self) {
        let _ = self.madvise(libc::MADV_DONTDUMP);
        let _ = self.madvise(libc::MADV_DONTFORK);
    }

    fn madvise(&self, advice: libc::c_int) -> Result<(), Errno> {
        // SAFETY: the range is this object's own mapping; none of the advices used discards its content.
        let answer = unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, advice) };
        crate::errno::check(answer).map(drop)
    }
}

fn map(len: usize, flags: libc::c_int) -> Result<NonNull<libc::c_void>, Errno> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no existing memory.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    NonNull::new(address).ok_or(Errno::IO)
}

// SAFETY: the mapping is private to this object from `new` to `drop`, and its address is handed to `buffer` only.
unsafe impl Memory for Mapping {
    fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; `Shared` drops it after its slots, and `Shared` lives as long as any buffer
        // handle or ring, each of which counts on it (`Rc`).
        let answer = unsafe { libc::munmap(self.mapped.as_ptr(), self.mapped_len) };
        debug_assert!(answer == 0, "munmap of an own mapping failed");
    }
}

#[cfg(test)]
mod tests;
