//! Plain memory as buffers, for unit tests.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;

use super::{Buffer, Buffers};

#[derive(Debug)]
struct Memory {
    data: Vec<u8>,
    filled: Cell<usize>,
}

/// A buffer on the heap.
#[derive(Clone, Debug)]
pub(crate) struct Plain(Rc<Memory>);

/// A source that is never exhausted.
#[derive(Debug, Default)]
pub(crate) struct Heap;

impl Buffers for Heap {
    type Buf = Plain;

    fn take(&mut self, length: usize) -> Option<Plain> {
        let data = alloc::vec![0; length.next_multiple_of(4096)];
        Some(Plain(Rc::new(Memory { data, filled: Cell::new(0) })))
    }
}

impl Buffer for Plain {
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
        self.0.filled.set(length);
    }

    fn same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}
