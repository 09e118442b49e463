//! The counted handle to one pool buffer, and the bookkeeping its safety rests on.
//!
//! ```text
//!  base                filled                       capacity
//!   |   readable by all   |   free, or the kernel is   |
//!   |   handles           |   receiving into it        |
//! ```
//!
//! The append-only rule: bytes below `filled` never change while more than one handle exists; bytes above it are
//! written by at most one party (one operation, or [`Buf::append`]). `filled` only falls through the sole handle.

use std::cell::Cell;
use std::fmt;
use std::ptr::NonNull;
use std::rc::Rc;

/// Marks the end of a free list.
const NONE: u32 = u32::MAX;

/// One buffer of the pool: where it lies and who uses it.
pub(crate) struct Slot {
    /// First byte; `capacity` bytes from here belong to this slot alone.
    base: NonNull<u8>,
    capacity: u32,
    /// Number of the registered (fixed) buffer that contains this slot.
    chunk: u16,
    class: u16,
    refs: Cell<u32>,
    filled: Cell<u32>,
    /// An operation is writing above `filled`.
    receiving: Cell<bool>,
    next_free: Cell<u32>,
}

/// The slots of one size.
pub(crate) struct Shelf {
    pub(crate) size: usize,
    pub(crate) count: usize,
    pub(crate) free: Cell<usize>,
    head: Cell<u32>,
}

/// The mapped memory and its slots; freed when the last handle and the last ring are gone.
pub(crate) struct Shared {
    slots: Box<[Slot]>,
    shelves: Box<[Shelf]>,
    /// Dropped last (field order): unmaps the memory all slots point into.
    region: Box<dyn Memory>,
}

/// Memory that stays mapped, readable and writable, from creation to drop.
///
/// # Safety
/// `base..base + len` must be one live mapping that nothing else in the process reads or writes.
pub(crate) unsafe trait Memory {
    /// Start of the mapping.
    fn base(&self) -> NonNull<u8>;
    /// Its length in bytes.
    fn len(&self) -> usize;
}

/// Where one slot of a new pool lies.
pub(crate) struct Placement {
    pub(crate) offset: usize,
    pub(crate) size: u32,
    pub(crate) chunk: u16,
    pub(crate) class: u16,
}

impl Shared {
    /// Lays `placements` (disjoint, within the region; classes ascending) over `region`.
    pub(crate) fn new(region: Box<dyn Memory>, sizes: &[(usize, usize)], placements: &[Placement]) -> Shared {
        let shelves: Box<[Shelf]> = sizes
            .iter()
            .map(|&(size, count)| Shelf { size, count, free: Cell::new(0), head: Cell::new(NONE) })
            .collect();
        let mut end = 0;
        let slots = placements
            .iter()
            .map(|place| {
                let size = place.size as usize;
                assert!(place.offset >= end, "slots overlap");
                end = place.offset + size;
                assert!(end <= region.len(), "a slot lies outside the region");
                Slot {
                    // SAFETY: the asserts above keep `offset` within the one mapping `region` stands for.
                    base: unsafe { region.base().add(place.offset) },
                    capacity: place.size,
                    chunk: place.chunk,
                    class: place.class,
                    refs: Cell::new(0),
                    filled: Cell::new(0),
                    receiving: Cell::new(false),
                    next_free: Cell::new(NONE),
                }
            })
            .collect();
        let shared = Shared { slots, shelves, region };
        for index in (0..shared.slots.len()).rev() {
            shared.put_back(u32::try_from(index).unwrap_or(NONE));
        }
        shared
    }

    pub(crate) fn shelves(&self) -> &[Shelf] {
        &self.shelves
    }

    pub(crate) fn region(&self) -> &dyn Memory {
        self.region.as_ref()
    }

    fn slot(&self, index: u32) -> &Slot {
        match self.slots.get(index as usize) {
            Some(slot) => slot,
            None => unreachable!("slot numbers come from this table"),
        }
    }

    fn shelf(&self, slot: &Slot) -> &Shelf {
        match self.shelves.get(usize::from(slot.class)) {
            Some(shelf) => shelf,
            None => unreachable!("class numbers come from this table"),
        }
    }

    /// Takes the first free slot of the class, if any.
    pub(crate) fn take(self: &Rc<Shared>, class: usize) -> Option<Buf> {
        let shelf = self.shelves.get(class)?;
        let index = shelf.head.get();
        if index == NONE {
            return None;
        }
        let slot = self.slot(index);
        assert!(slot.refs.get() == 0, "a slot on the free list is in use");
        shelf.head.set(slot.next_free.get());
        shelf.free.set(shelf.free.get() - 1);
        slot.refs.set(1);
        slot.filled.set(0);
        Some(Buf { shared: Rc::clone(self), index })
    }

    fn put_back(&self, index: u32) {
        let slot = self.slot(index);
        let shelf = self.shelf(slot);
        slot.next_free.set(shelf.head.get());
        shelf.head.set(index);
        shelf.free.set(shelf.free.get() + 1);
    }
}

/// A counted handle to one pool buffer. `Clone` adds a reference, the last drop returns the buffer to its pool.
///
/// Handles never leave the thread of their pool (`!Send`).
///
/// ```compile_fail
/// fn sendable<T: Send>() {}
/// sendable::<midspan_uring::Buf>();
/// ```
pub struct Buf {
    shared: Rc<Shared>,
    index: u32,
}

impl Buf {
    fn slot(&self) -> &Slot {
        self.shared.slot(self.index)
    }

    /// Size of the buffer in bytes (the class size, a multiple of 4096).
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slot().capacity as usize
    }

    /// How many bytes from the start hold data.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.slot().filled.get() as usize
    }

    /// Bytes that can still be appended.
    #[must_use]
    pub fn room(&self) -> usize {
        self.capacity() - self.filled()
    }

    /// The filled bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let slot = self.slot();
        // SAFETY: `base..base+filled` lies in the slot and is initialised (mapped memory starts zeroed). Nobody writes
        // below `filled` while this borrow lives: the append-only rule above, kept by `bytes_mut`, `set_filled` (which
        // need the sole handle, mutably) and by the ring, which only receives at or above `filled`.
        unsafe { std::slice::from_raw_parts(slot.base.as_ptr(), slot.filled.get() as usize) }
    }

    /// True if this is the only handle, so that no operation uses the buffer either.
    #[must_use]
    pub fn is_unique(&self) -> bool {
        self.slot().refs.get() == 1
    }

    /// The whole buffer for writing (what lies above `filled` is left over from earlier use), if this is the only handle.
    #[must_use]
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        if !self.is_unique() {
            return None;
        }
        let slot = self.slot();
        // SAFETY: the sole handle is borrowed mutably, so no other slice exists, and no operation runs on the slot,
        // because each holds a handle of its own (kept by `op`). All bytes are mapped and initialised.
        Some(unsafe { std::slice::from_raw_parts_mut(slot.base.as_ptr(), slot.capacity as usize) })
    }

    /// Declares the first `filled` bytes to be data.
    ///
    /// # Panics
    /// If this is not the only handle, or `filled` exceeds the capacity: both are errors in the program.
    pub fn set_filled(&mut self, filled: usize) {
        assert!(self.is_unique(), "only the sole handle may change what is already filled");
        assert!(filled <= self.capacity(), "filled beyond the buffer's capacity");
        self.slot().filled.set(u32::try_from(filled).unwrap_or(0));
    }

    /// Copies `bytes` behind the filled ones and returns the range they took; `None` if they do not fit or an operation is
    /// receiving into this buffer. Other handles may exist, and earlier bytes may be on their way out.
    #[must_use]
    pub fn append(&mut self, bytes: &[u8]) -> Option<std::ops::Range<usize>> {
        let slot = self.slot();
        let start = self.filled();
        if slot.receiving.get() || bytes.len() > self.room() {
            return None;
        }
        // SAFETY: `filled` is at most the capacity (kept by `set_filled`, `append` and `end_receive`).
        let target = unsafe { slot.base.add(start) };
        // SAFETY: the target range lies in the slot above `filled`, where no slice and, as `receiving` is false, no
        // operation reaches; `bytes` cannot overlap it for the same reason (slices of this slot end at `filled`).
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target.as_ptr(), bytes.len()) };
        let end = start + bytes.len();
        slot.filled.set(u32::try_from(end).unwrap_or(slot.capacity));
        Some(start..end)
    }

    /// True while an operation is receiving into this buffer.
    #[must_use]
    pub fn is_receiving(&self) -> bool {
        self.slot().receiving.get()
    }

    /// True if both handles name the same buffer.
    #[must_use]
    pub fn same_buffer(&self, other: &Buf) -> bool {
        self.index == other.index && Rc::ptr_eq(&self.shared, &other.shared)
    }

    /// True if the buffer comes from the pool behind `shared`.
    pub(crate) fn is_from(&self, shared: &Rc<Shared>) -> bool {
        Rc::ptr_eq(&self.shared, shared)
    }

    /// Number of the registered buffer the slot lies in.
    pub(crate) fn chunk(&self) -> u16 {
        self.slot().chunk
    }

    /// Address of byte `at`, which must be at most the capacity. For the ring only.
    pub(crate) fn address(&self, at: usize) -> NonNull<u8> {
        let slot = self.slot();
        assert!(at <= slot.capacity as usize, "an address outside the buffer");
        // SAFETY: the assert keeps the result within (or one past) the slot.
        unsafe { slot.base.add(at) }
    }

    /// Reserves the bytes above `filled` for one operation. False if another one has them.
    pub(crate) fn begin_receive(&self) -> bool {
        !self.slot().receiving.replace(true)
    }

    /// Ends the reservation: the operation has put `count` bytes behind the filled ones.
    pub(crate) fn end_receive(&self, count: usize) {
        let slot = self.slot();
        assert!(slot.receiving.replace(false), "no operation was receiving");
        let filled = self.filled() + count;
        assert!(filled <= slot.capacity as usize, "the kernel wrote beyond the buffer");
        slot.filled.set(u32::try_from(filled).unwrap_or(slot.capacity));
    }
}

impl Clone for Buf {
    fn clone(&self) -> Buf {
        let refs = &self.slot().refs;
        assert!(refs.get() < u32::MAX, "too many handles");
        refs.set(refs.get() + 1);
        Buf { shared: Rc::clone(&self.shared), index: self.index }
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        let slot = self.slot();
        let refs = slot.refs.get() - 1;
        slot.refs.set(refs);
        if refs == 0 {
            assert!(!slot.receiving.get(), "a buffer was freed while the kernel was writing to it");
            self.shared.put_back(self.index);
        }
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buf#{}({}/{})", self.index, self.filled(), self.capacity())
    }
}
