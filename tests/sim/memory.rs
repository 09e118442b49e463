//! Memory of a simulated process: a bounded pool whose buffers are plain vectors.
//!
//! A buffer that comes back is given out again with its old content: whoever reads what was never filled, sees it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use midspan_protocol::vocab::buffer::{Buffer, Buffers};

use crate::random::Random;

/// Longest buffer for which some memory is kept free, bytes.
const SMALL: usize = 64 * 1024;
/// The smallest buffer, bytes.
const SMALLEST: usize = 4096;

#[derive(Debug)]
struct Shared {
    limit: usize,
    used: Cell<usize>,
    free: RefCell<BTreeMap<usize, Vec<Vec<u8>>>>,
    /// How often in a million the pool is empty for no reason.
    starve: Cell<u32>,
    random: RefCell<Random>,
}

thread_local! {
    /// What pools that are gone had, by size.
    static SPARES: RefCell<BTreeMap<usize, Vec<Vec<u8>>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Memory that was never filled. It comes from a pool that is gone where it can: asking the system for it costs more than the rest.
fn fresh(size: usize) -> Vec<u8> {
    let spare = SPARES.with_borrow_mut(|spares| spares.get_mut(&size).and_then(Vec::pop));
    let mut data = spare.unwrap_or_else(|| Vec::with_capacity(size));
    data.clear();
    data.resize(size, 0xA5);
    data
}

impl Drop for Shared {
    fn drop(&mut self) {
        // A thread that ends keeps nothing.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            for (size, mut free) in std::mem::take(self.free.get_mut()) {
                spares.entry(size).or_default().append(&mut free);
            }
        });
    }
}

/// A pool; clones name the same one.
#[derive(Clone, Debug)]
pub struct Pool(Rc<Shared>);

#[derive(Debug)]
struct Memory {
    data: Vec<u8>,
    filled: Cell<usize>,
    pool: Rc<Shared>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        self.pool.used.set(self.pool.used.get() - data.len());
        self.pool.free.borrow_mut().entry(data.len()).or_default().push(data);
    }
}

/// A handle to one buffer.
#[derive(Clone)]
pub struct SimBuf(Rc<Memory>);

impl fmt::Debug for SimBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.0.filled.get(), self.0.data.len())
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
        let size = length.next_power_of_two().max(SMALLEST);
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

impl Buffer for SimBuf {
    fn capacity(&self) -> usize {
        self.0.data.len()
    }

    fn bytes(&self) -> &[u8] {
        &self.0.data[..self.0.filled.get()]
    }

    fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        Rc::get_mut(&mut self.0).map(|memory| memory.data.as_mut_slice())
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
}
