//! Operations in flight: what each one holds until its completion is handed out, and the completion itself.

use crate::buffer::Buf;
use crate::errno::Errno;
use crate::socket::Socket;

/// What kind of operation completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`crate::Ring::read`].
    Read,
    /// [`crate::Ring::write`] or [`crate::Ring::write_vectored`].
    Write,
    /// [`crate::Ring::flush`].
    Flush,
    /// [`crate::Ring::zero`].
    Zero,
    /// [`crate::Ring::accept`].
    Accept,
    /// [`crate::Ring::connect`].
    Connect,
    /// [`crate::Ring::recv`] or [`crate::Ring::recv_exact`].
    Recv,
    /// [`crate::Ring::send`].
    Send,
    /// [`crate::Ring::close`] or [`crate::Ring::close_listener`]: nothing of it is in flight any more.
    Close,
}

/// The end of an operation (or, with `more`, one of several answers of it).
#[derive(Debug)]
#[must_use]
pub struct Completion {
    /// What the caller gave with the operation.
    pub user: u64,
    /// Which operation it was.
    pub kind: Kind,
    /// Bytes moved (reads, writes, receives, sends), else 0. A write or send that succeeds has moved everything. A read is
    /// short only at the end of the file. A receive of 0 means that the peer has closed its side.
    pub result: Result<u32, Errno>,
    /// The buffer given to `read`, `write` or `recv`; for those that fill, `filled` has moved on by `result`. Also on error.
    pub buf: Option<Buf>,
    /// The new connection (accept, connect). Tune it, then add it to a ring.
    pub socket: Option<Socket>,
    /// Further completions of this operation will come (accept). False: it has ended; accept again if wanted.
    pub more: bool,
}

/// Names an operation that has been accepted, for [`crate::Ring::cancel`]. Stale names are harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl OpId {
    /// Names no operation, ever; the user data of requests nobody waits for.
    pub(crate) const NOTHING: OpId = OpId { index: NONE, generation: NONE };

    /// What travels through the kernel with the operation.
    pub(crate) fn user_data(self) -> u64 {
        (u64::from(self.generation) << 32) | u64::from(self.index)
    }

    /// The inverse of [`OpId::user_data`].
    pub(crate) fn from_user_data(user_data: u64) -> OpId {
        let index = u32::try_from(user_data & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let generation = u32::try_from(user_data >> 32).unwrap_or(u32::MAX);
        OpId { index, generation }
    }
}

/// Marks the end of a list of operations, or no slot.
pub(crate) const NONE: u32 = u32::MAX;

/// What an operation does and what it holds meanwhile. The buffers in here are what the kernel may touch.
pub(crate) enum Work {
    /// Fills `buf` above its filled bytes, from a file.
    Read {
        buf: Buf,
        offset: u64,
    },
    /// Writes `total` bytes of `buf` from `start`.
    Write {
        buf: Buf,
        start: usize,
        offset: u64,
        durable: bool,
    },
    /// Writes the parts of a vector.
    WriteVectored {
        vector: u32,
        offset: u64,
        durable: bool,
        chunk: Option<u16>,
    },
    Flush,
    Zero {
        offset: u64,
        len: u64,
        unmap: bool,
    },
    Accept,
    /// `vector` holds the address.
    Connect {
        socket: Socket,
        vector: u32,
    },
    /// Fills `buf` above its filled bytes, from a socket; `whole`: until `total` bytes are there.
    Recv {
        buf: Buf,
        whole: bool,
    },
    /// Sends `total` bytes of `buf` from `start`.
    Send {
        buf: Buf,
        start: usize,
    },
    /// Sends the parts of a vector.
    SendVectored {
        vector: u32,
    },
    /// Reads the waker's eventfd.
    Wake,
}

/// One accepted operation.
pub(crate) struct Op {
    pub(crate) user: u64,
    /// Descriptor slot, or [`NONE`].
    pub(crate) slot: u32,
    /// Bytes to move, and moved so far.
    pub(crate) total: u32,
    pub(crate) done: u32,
    /// Somebody wants it to end: a short result is not continued.
    pub(crate) cancelled: bool,
    /// The next send of the same socket, or [`OpId::NOTHING`].
    pub(crate) next: OpId,
    pub(crate) work: Work,
}

impl Op {
    pub(crate) fn new(user: u64, slot: u32, total: u32, work: Work) -> Op {
        Op { user, slot, total, done: 0, cancelled: false, next: OpId::NOTHING, work }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.work {
            Work::Read { .. } => Kind::Read,
            Work::Write { .. } | Work::WriteVectored { .. } => Kind::Write,
            Work::Flush | Work::Wake => Kind::Flush,
            Work::Zero { .. } => Kind::Zero,
            Work::Accept => Kind::Accept,
            Work::Connect { .. } => Kind::Connect,
            Work::Recv { .. } => Kind::Recv,
            Work::Send { .. } | Work::SendVectored { .. } => Kind::Send,
        }
    }
}

/// All operations of a ring, allocated once.
pub(crate) struct Ops {
    cells: Box<[Cell]>,
    free: Vec<u32>,
}

struct Cell {
    generation: u32,
    op: Option<Op>,
}

impl Ops {
    pub(crate) fn new(count: u32) -> Ops {
        let cells = (0..count).map(|_| Cell { generation: 0, op: None }).collect();
        Ops { cells, free: (0..count).rev().collect() }
    }

    /// Operations that still fit.
    pub(crate) fn room(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn in_use(&self) -> usize {
        self.cells.len() - self.free.len()
    }

    /// Puts an operation in a free cell; `None` if there is none.
    pub(crate) fn insert(&mut self, op: Op) -> Option<OpId> {
        let index = self.free.pop()?;
        let cell = self.cells.get_mut(index as usize)?;
        assert!(cell.op.is_none(), "a free cell holds an operation");
        cell.op = Some(op);
        Some(OpId { index, generation: cell.generation })
    }

    pub(crate) fn get(&self, id: OpId) -> Option<&Op> {
        let cell = self.cells.get(id.index as usize).filter(|cell| cell.generation == id.generation)?;
        cell.op.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: OpId) -> Option<&mut Op> {
        let cell = self.cells.get_mut(id.index as usize).filter(|cell| cell.generation == id.generation)?;
        cell.op.as_mut()
    }

    /// Takes an operation out: the kernel is done with it.
    pub(crate) fn remove(&mut self, id: OpId) -> Option<Op> {
        let cell = self.cells.get_mut(id.index as usize).filter(|cell| cell.generation == id.generation)?;
        let op = cell.op.take()?;
        cell.generation = cell.generation.wrapping_add(1);
        self.free.push(id.index);
        Some(op)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_name_finds_nothing_even_when_the_cell_is_used_again() {
        let mut ops = Ops::new(1);
        let old = ops.insert(Op::new(1, NONE, 0, Work::Flush)).unwrap();
        assert!(ops.insert(Op::new(2, NONE, 0, Work::Flush)).is_none());
        assert_eq!(ops.remove(old).unwrap().user, 1);
        let new = ops.insert(Op::new(3, NONE, 0, Work::Flush)).unwrap();
        assert_eq!(new.index, old.index);
        assert!(ops.get(old).is_none() && ops.get_mut(old).is_none() && ops.remove(old).is_none());
        assert_eq!(ops.get(new).unwrap().user, 3);
        assert_eq!((ops.room(), ops.in_use()), (0, 1));
    }

    #[test]
    fn names_survive_the_trip_through_the_kernel() {
        let id = OpId { index: 7, generation: u32::MAX };
        assert_eq!(OpId::from_user_data(id.user_data()), id);
        assert_ne!(id, OpId::NOTHING);
    }
}
