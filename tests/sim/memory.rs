//! Memory of a simulated process: a bounded pool whose buffers are plain vectors.
//!
//! A buffer that comes back is given out again with its old content: whoever reads what was never filled, sees it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use midspan_format::geometry::BLOCK;
use midspan_protocol::vocab::buffer::{Buffer, Buffers};

use crate::pages::Page;
use crate::random::Random;

/// Longest buffer for which some memory is kept free, bytes.
const SMALL: usize = 64 * 1024;
/// The smallest buffer, bytes.
const SMALLEST: usize = 4096;

/// Memory that nobody uses, by size.
type Free = BTreeMap<usize, Vec<Data>>;

#[derive(Debug)]
struct Shared {
    limit: usize,
    used: Cell<usize>,
    free: RefCell<Free>,
    /// How often in a million the pool is empty for no reason.
    starve: Cell<u32>,
    random: RefCell<Random>,
}

/// What pools that are gone had, by size.
#[derive(Default)]
struct Spares {
    /// In this run: given out as it is, like what a pool gets back itself.
    known: Free,
    /// In runs before this one, which must not be seen.
    unknown: Free,
}

thread_local! {
    static SPARES: RefCell<Spares> = RefCell::default();
}

/// A run begins on this thread.
pub fn begin() {
    SPARES.with_borrow_mut(|spares| {
        for (size, mut free) in std::mem::take(&mut spares.known) {
            spares.unknown.entry(size).or_default().append(&mut free);
        }
    });
}

/// Memory for a pool that has none of this size. Asking the system for it costs more than the rest.
fn fresh(size: usize) -> Data {
    let known = SPARES.with_borrow_mut(|spares| spares.known.get_mut(&size).and_then(Vec::pop));
    known.unwrap_or_else(|| {
        let spare = SPARES.with_borrow_mut(|spares| spares.unknown.get_mut(&size).and_then(Vec::pop));
        let mut data = spare.unwrap_or_default();
        data.bytes[..data.touched].fill(0xA5);
        data.bytes.resize(size, 0xA5);
        data.zeroes.clear();
        data.touched = 0;
        data
    })
}

impl Drop for Shared {
    fn drop(&mut self) {
        // A thread that ends keeps nothing.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            for (size, mut free) in std::mem::take(self.free.get_mut()) {
                spares.known.entry(size).or_default().append(&mut free);
            }
        });
    }
}

thread_local! {
    /// Vectors for what goes over the wire, by their room.
    static VECTORS: RefCell<BTreeMap<usize, Vec<Vec<u8>>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Vectors of one size that are kept, at most.
const VECTORS_KEPT: usize = 64;

/// Bytes of the buffer that holds so many.
fn class(length: usize) -> usize {
    length.next_power_of_two().max(SMALLEST)
}

/// An empty vector with room for so many bytes, and for a whole buffer of them.
pub fn vector(length: usize) -> Vec<u8> {
    let room = class(length);
    let kept = VECTORS.with_borrow_mut(|vectors| vectors.get_mut(&room).and_then(Vec::pop));
    kept.unwrap_or_else(|| Vec::with_capacity(room))
}

/// A vector is not needed any more.
pub fn give_back(mut vector: Vec<u8>) {
    vector.clear();
    VECTORS.with_borrow_mut(|vectors| {
        let kept = vectors.entry(vector.capacity()).or_default();
        if kept.len() < VECTORS_KEPT {
            kept.push(vector);
        }
    });
}

/// A pool; clones name the same one.
#[derive(Clone, Debug)]
pub struct Pool(Rc<Shared>);

/// Bytes, and what is known of them.
#[derive(Debug, Default)]
struct Data {
    bytes: Vec<u8>,
    /// Blocks that hold zeroes for sure: an empty ring is read again and again.
    zeroes: Vec<bool>,
    /// Nothing behind it was ever changed.
    touched: usize,
}

#[derive(Debug)]
struct Memory {
    data: Data,
    filled: Cell<usize>,
    pool: Rc<Shared>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        let size = data.bytes.len();
        self.pool.used.set(self.pool.used.get() - size);
        self.pool.free.borrow_mut().entry(size).or_default().push(data);
    }
}

/// A handle to one buffer.
#[derive(Clone)]
pub struct SimBuf(Rc<Memory>);

impl fmt::Debug for SimBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.0.filled.get(), self.0.data.bytes.len())
    }
}

impl Pool {
    /// A pool of `limit` bytes.
    pub fn new(limit: usize, random: Random) -> Self {
        Self(Rc::new(Shared {
            limit,
            used: Cell::new(0),
            free: RefCell::default(),
            starve: Cell::new(0),
            random: RefCell::new(random),
        }))
    }

    /// Makes the pool look empty so many times in a million.
    pub fn set_starving(&self, per_million: u32) {
        self.0.starve.set(per_million);
    }

    /// Bytes that can still be given out.
    pub fn available(&self) -> usize {
        self.0.limit - self.0.used.get()
    }

    /// Bytes in all.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Whether little is left: then remembered frames are given back.
    pub fn is_short(&self) -> bool {
        self.available() < self.0.limit / 4
    }

    /// A buffer, whatever chance says.
    pub fn take_surely(&self, length: usize) -> Option<SimBuf> {
        let size = class(length);
        if self.available() < size {
            return None;
        }
        self.0.used.set(self.0.used.get() + size);
        let old = self.0.free.borrow_mut().get_mut(&size).and_then(Vec::pop);
        let data = old.unwrap_or_else(|| fresh(size));
        Some(SimBuf(Rc::new(Memory { data, filled: Cell::new(0), pool: Rc::clone(&self.0) })))
    }
}

impl Buffers for Pool {
    type Buf = SimBuf;

    fn take(&mut self, length: usize) -> Option<SimBuf> {
        if self.0.random.borrow_mut().chance(self.0.starve.get()) {
            return None;
        }
        // The real pool has classes: large buffers do not take the memory of small ones.
        if length > SMALL && self.available() < length.next_power_of_two() + self.0.limit / 8 {
            return None;
        }
        self.take_surely(length)
    }
}

impl SimBuf {
    /// Fills bytes from `at` on. `None`: somebody else holds the buffer.
    pub fn take_over(&mut self, at: usize, from: Vec<u8>) -> Option<()> {
        let Data { bytes, zeroes, touched } = &mut Rc::get_mut(&mut self.0)?.data;
        let end = at + from.len();
        bytes[at..end].copy_from_slice(&from);
        zeroes.clear();
        *touched = (*touched).max(end);
        give_back(from);
        Some(())
    }

    /// Fills it with these bytes, and nothing else. `None`: somebody else holds the buffer.
    pub fn hold(&mut self, mut from: Vec<u8>) -> Option<()> {
        let Data { bytes, zeroes, touched } = &mut Rc::get_mut(&mut self.0)?.data;
        zeroes.clear();
        *touched = from.len();
        from.resize(bytes.len(), 0xA5);
        give_back(std::mem::replace(bytes, from));
        Some(())
    }

    /// Fills whole blocks from `at` on, as a disk does. `None`: somebody else holds the buffer.
    pub fn load(&mut self, at: usize, pages: &[Page]) -> Option<()> {
        let Data { bytes, zeroes, touched } = &mut Rc::get_mut(&mut self.0)?.data;
        assert!(at.is_multiple_of(BLOCK), "a disk reads into whole blocks");
        zeroes.resize(bytes.len() / BLOCK, false);
        *touched = (*touched).max(at + pages.len() * BLOCK);
        let blocks = bytes.chunks_exact_mut(BLOCK).zip(zeroes).skip(at / BLOCK);
        for ((bytes, zero), page) in blocks.zip(pages) {
            if !(page.is_zero() && *zero) {
                bytes.copy_from_slice(page.bytes());
                *zero = page.is_zero();
            }
        }
        Some(())
    }
}

impl Buffer for SimBuf {
    fn capacity(&self) -> usize {
        self.0.data.bytes.len()
    }

    fn bytes(&self) -> &[u8] {
        &self.0.data.bytes[..self.0.filled.get()]
    }

    fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        let data = &mut Rc::get_mut(&mut self.0)?.data;
        data.zeroes.clear();
        data.touched = data.bytes.len();
        Some(&mut data.bytes)
    }

    fn set_filled(&mut self, length: usize) {
        assert!(length <= self.capacity(), "filled beyond the buffer's end");
        assert!(Rc::strong_count(&self.0) == 1, "only the sole handle may change what is already filled");
        self.0.filled.set(length);
    }

    fn same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_is_bounded_and_takes_buffers_back() {
        let mut pool = Pool::new(16384, Random::new(1, 1));
        let first = pool.take(5000).unwrap();
        assert_eq!(first.capacity(), 8192);
        let second = pool.take(8192).unwrap();
        assert!(pool.take(1).is_none());
        drop(first);
        assert!(pool.take(1).is_some());
        drop(second);
        assert_eq!(pool.available(), 16384);
    }

    #[test]
    fn shared_buffers_cannot_be_changed() {
        let mut pool = Pool::new(1 << 20, Random::new(1, 1));
        let mut buffer = pool.take(100).unwrap();
        buffer.bytes_mut().unwrap()[0] = 1;
        buffer.set_filled(1);
        let other = buffer.clone();
        assert!(buffer.bytes_mut().is_none() && buffer.same(&other));
        assert_eq!(other.bytes(), [1]);
    }

    #[test]
    fn what_a_disk_reads_is_there_whatever_was_there_before() {
        let mut pool = Pool::new(1 << 20, Random::new(1, 1));
        let mut buffer = pool.take(2 * BLOCK).unwrap();
        let (zero, one) = (Page::default(), Page::new(&[1; BLOCK]));
        let mut reads = |change: bool, pages: [&Page; 2]| {
            if change {
                buffer.bytes_mut().unwrap()[5] = 7;
            }
            buffer.load(0, &pages.map(Page::clone)).unwrap();
            buffer.set_filled(2 * BLOCK);
            assert_eq!(buffer.bytes(), [pages[0].bytes(), pages[1].bytes()].concat());
        };
        reads(false, [&zero, &one]);
        reads(false, [&zero, &zero]);
        reads(true, [&zero, &zero]);
        reads(false, [&one, &zero]);
    }
}
