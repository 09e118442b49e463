//! The ring's descriptors: registered files, sockets and listeners, and what is in flight on each.

use crate::errno::Errno;
use crate::file::File;
use crate::op::OpId;
use crate::socket::{Listener, Socket};

/// A file that a ring owns. Stale ids are refused, never mistaken for another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub(crate) Key);

/// A connected socket that a ring owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub(crate) Key);

/// A listener that a ring owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub(crate) Key);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    generation: u32,
}

/// Why an operation was not accepted. Nothing was started; buffers passed by value are dropped, so clone what must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No free operation, vector or descriptor slot: wait for completions. [`crate::Ring::room`] tells beforehand.
    #[error("too many operations or descriptors in use")]
    Full,
    /// The id names nothing (closed, or never of this ring).
    #[error("no such file, socket or listener")]
    Unknown,
    /// Something is still in flight there: a receive on the socket, into the buffer, or anything when it is to be removed.
    #[error("still in use by an operation in flight")]
    Busy,
    /// The socket is being closed, or one of its sends has failed, so that its stream is broken.
    #[error("the socket is closing or broken")]
    Closed,
    /// Direct I/O needs offset, length and buffer position in multiples of the file's block.
    #[error("offset, length or buffer position is not aligned to the file's blocks")]
    Misaligned,
    /// A range reaches beyond the filled bytes, is empty, has too many parts, or the buffer has no room.
    #[error("a range is empty, beyond the filled bytes or the buffer, or has too many parts")]
    OutOfRange,
    /// The buffer is of another pool than the ring's.
    #[error("the buffer is not of this ring's pool")]
    Foreign,
    /// The kernel refused at once.
    #[error("{0}")]
    Kernel(Errno),
}

/// What a slot holds.
enum Target {
    Free,
    File(File),
    Socket(Socket),
    Listener(Listener),
}

/// What is going on on one descriptor.
pub(crate) struct Activity {
    /// Operations accepted for it and not yet completed.
    pub(crate) in_flight: u32,
    /// Set when it is being closed: the `user` of the close.
    pub(crate) closing: Option<u64>,
    /// A receive is in flight.
    pub(crate) receiving: bool,
    /// The last receive has left bytes behind, as far as known.
    pub(crate) nonempty: bool,
    /// A send has failed: what the peer has seen ends in the middle of something.
    pub(crate) broken: bool,
    /// The send in flight, and the last one queued behind it.
    pub(crate) first_send: OpId,
    pub(crate) last_send: OpId,
}

impl Activity {
    const IDLE: Activity = Activity {
        in_flight: 0,
        closing: None,
        receiving: false,
        nonempty: true,
        broken: false,
        first_send: OpId::NOTHING,
        last_send: OpId::NOTHING,
    };
}

struct Entry {
    generation: u32,
    target: Target,
    activity: Activity,
}

/// The descriptors of a ring, allocated once.
pub(crate) struct Table {
    entries: Box<[Entry]>,
    free: Vec<u32>,
}

impl Table {
    pub(crate) fn new(count: u32) -> Table {
        let entries = (0..count)
            .map(|_| Entry { generation: 0, target: Target::Free, activity: Activity::IDLE })
            .collect();
        Table { entries, free: (0..count).rev().collect() }
    }

    /// The slot that the next `add` takes, to be registered with the kernel first.
    pub(crate) fn next_free(&self) -> Option<u32> {
        self.free.last().copied()
    }

    fn add(&mut self, target: Target) -> Key {
        let Some(slot) = self.free.pop() else { unreachable!("the caller has asked for a free slot") };
        let Some(entry) = self.entries.get_mut(slot as usize) else {
            unreachable!("free slots are of this table")
        };
        entry.target = target;
        entry.activity = Activity::IDLE;
        Key { slot, generation: entry.generation }
    }

    pub(crate) fn add_file(&mut self, file: File) -> FileId {
        FileId(self.add(Target::File(file)))
    }

    pub(crate) fn add_socket(&mut self, socket: Socket) -> SocketId {
        SocketId(self.add(Target::Socket(socket)))
    }

    pub(crate) fn add_listener(&mut self, listener: Listener) -> ListenerId {
        ListenerId(self.add(Target::Listener(listener)))
    }

    fn entry(&self, key: Key) -> Option<&Entry> {
        self.entries.get(key.slot as usize).filter(|entry| entry.generation == key.generation)
    }

    pub(crate) fn file(&self, id: FileId) -> Option<&File> {
        match &self.entry(id.0)?.target {
            Target::File(file) => Some(file),
            Target::Free | Target::Socket(_) | Target::Listener(_) => None,
        }
    }

    pub(crate) fn socket(&self, id: SocketId) -> Option<&Socket> {
        match &self.entry(id.0)?.target {
            Target::Socket(socket) => Some(socket),
            Target::Free | Target::File(_) | Target::Listener(_) => None,
        }
    }

    pub(crate) fn listener(&self, id: ListenerId) -> Option<&Listener> {
        match &self.entry(id.0)?.target {
            Target::Listener(listener) => Some(listener),
            Target::Free | Target::File(_) | Target::Socket(_) => None,
        }
    }

    /// The block of the file in a slot, 1 if it is no file.
    pub(crate) fn block(&self, slot: u32) -> u32 {
        match self.entries.get(slot as usize).map(|entry| &entry.target) {
            Some(Target::File(file)) => file.block(),
            Some(Target::Free | Target::Socket(_) | Target::Listener(_)) | None => 1,
        }
    }

    /// What goes on in a slot that is in use.
    pub(crate) fn activity(&mut self, slot: u32) -> Option<&mut Activity> {
        let entry = self.entries.get_mut(slot as usize)?;
        match entry.target {
            Target::Free => None,
            Target::File(_) | Target::Socket(_) | Target::Listener(_) => Some(&mut entry.activity),
        }
    }

    /// As [`Table::activity`], by a key that may be stale.
    pub(crate) fn live(&mut self, key: Key) -> Result<&mut Activity, Refused> {
        self.entry(key).ok_or(Refused::Unknown)?;
        self.activity(key.slot).ok_or(Refused::Unknown)
    }

    fn free(&mut self, slot: u32) -> Target {
        let Some(entry) = self.entries.get_mut(slot as usize) else { return Target::Free };
        assert!(entry.activity.in_flight == 0, "a descriptor was removed under an operation");
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(slot);
        std::mem::replace(&mut entry.target, Target::Free)
    }

    /// Gives up an idle slot and closes what it held.
    pub(crate) fn close(&mut self, slot: u32) {
        drop(self.free(slot));
    }

    /// Gives up an idle slot that holds a file.
    pub(crate) fn take_file(&mut self, slot: u32) -> Option<File> {
        match self.free(slot) {
            Target::File(file) => Some(file),
            Target::Free | Target::Socket(_) | Target::Listener(_) => None,
        }
    }

    /// Gives up an idle slot that holds a socket.
    pub(crate) fn take_socket(&mut self, slot: u32) -> Option<Socket> {
        match self.free(slot) {
            Target::Socket(socket) => Some(socket),
            Target::Free | Target::File(_) | Target::Listener(_) => None,
        }
    }
}
