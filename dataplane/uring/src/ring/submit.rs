//! Accepts operations: checks what is asked, takes the buffers over, hands them to the kernel.

use std::ops::Range;

use super::{Deferred, Ring};
use crate::MAX_PARTS;
use crate::buffer::Buf;
use crate::op::{NONE, Op, OpId, Work};
use crate::socket::{Address, Socket};
use crate::table::{FileId, ListenerId, Refused, SocketId};

impl Ring {
    /// Reads `len` bytes at `offset` behind the filled bytes of `buf`, which grow by what came.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn read(
        &mut self,
        file: FileId,
        buf: Buf,
        len: usize,
        offset: u64,
        user: u64,
    ) -> Result<OpId, Refused> {
        self.check_aligned(file, &buf, buf.filled(), len, offset)?;
        let total = self.check_room(&buf, len)?;
        let reserved = buf.clone();
        let id = self.accept_op(file.0.slot, user, total, Work::Read { buf, offset })?;
        self.reserve(id, &reserved)
    }

    /// Writes `range`, which must be filled, of `buf` at `offset`. `durable`: completes when the data is on stable storage
    /// (`RWF_DSYNC`), without a flush of its own. After a failure the content of the range is unknown.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn write(
        &mut self,
        file: FileId,
        buf: Buf,
        range: Range<usize>,
        offset: u64,
        durable: bool,
        user: u64,
    ) -> Result<OpId, Refused> {
        self.check_aligned(file, &buf, range.start, range.len(), offset)?;
        let total = self.check_filled(&buf, &range)?;
        let work = Work::Write { buf, start: range.start, offset, durable };
        let id = self.accept_op(file.0.slot, user, total, work)?;
        self.start(id);
        Ok(id)
    }

    /// Writes up to 72 filled ranges one behind the other at `offset`, as one write.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn write_vectored(
        &mut self,
        file: FileId,
        parts: &[(Buf, Range<usize>)],
        offset: u64,
        durable: bool,
        user: u64,
    ) -> Result<OpId, Refused> {
        if let [(buf, range)] = parts {
            return self.write(file, buf.clone(), range.clone(), offset, durable, user);
        }
        for (buf, range) in parts {
            self.check_aligned(file, buf, range.start, range.len(), offset)?;
        }
        let total = self.check_parts(parts)?;
        let chunk = parts.first().map(|(buf, _)| buf.chunk()).filter(|_| self.vectored_fixed);
        let chunk = chunk.filter(|&chunk| parts.iter().all(|(buf, _)| buf.chunk() == chunk));
        let vector = self.take_vector(parts)?;
        let work = Work::WriteVectored { vector, offset, durable, chunk };
        let id = self.accept_with_vector(file.0.slot, user, total, work, vector)?;
        self.start(id);
        Ok(id)
    }

    /// Flushes the file's data and the device's cache. Covers the writes whose *completion* came before this call.
    ///
    /// # Errors
    /// `Full` or `Unknown`.
    pub fn flush(&mut self, file: FileId, user: u64) -> Result<OpId, Refused> {
        self.table.file(file).ok_or(Refused::Unknown)?;
        let id = self.accept_op(file.0.slot, user, 0, Work::Flush)?;
        self.start(id);
        Ok(id)
    }

    /// Makes a range read as zeroes; not durable until a later flush. `unmap` gives the space back where the device
    /// guarantees zeroes for it, else zeroes are written. `NOT_SUPPORTED` in the completion: the caller writes zeroes.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn zero(
        &mut self,
        file: FileId,
        offset: u64,
        len: u64,
        unmap: bool,
        user: u64,
    ) -> Result<OpId, Refused> {
        let block = u64::from(self.table.file(file).ok_or(Refused::Unknown)?.block());
        if len == 0 {
            return Err(Refused::OutOfRange);
        }
        if !len.is_multiple_of(block) || !offset.is_multiple_of(block) {
            return Err(Refused::Misaligned);
        }
        let id = self.accept_op(file.0.slot, user, 0, Work::Zero { offset, len, unmap })?;
        self.start(id);
        Ok(id)
    }

    /// Accepts connections until the listener is closed or the operation cancelled: one completion each. The last has
    /// `more` false; if it was an error such as a lack of descriptors, accept again.
    ///
    /// # Errors
    /// `Full`, `Closed` or `Unknown`.
    pub fn accept(&mut self, listener: ListenerId, user: u64) -> Result<OpId, Refused> {
        self.table.listener(listener).ok_or(Refused::Unknown)?;
        let id = self.accept_op(listener.0.slot, user, 0, Work::Accept)?;
        self.start(id);
        Ok(id)
    }

    /// Connects; the completion carries the socket. There is no time limit: cancel it when it takes too long.
    ///
    /// # Errors
    /// `Full`, or `Kernel` for an impossible address.
    pub fn connect(&mut self, address: &Address, user: u64) -> Result<OpId, Refused> {
        let socket = Socket::unconnected(address).map_err(Refused::Kernel)?;
        let vector = self.vectors.take().ok_or(Refused::Full)?;
        if let Err(errno) = self.vectors.get(vector).set_address(address) {
            self.vectors.put_back(vector);
            return Err(Refused::Kernel(errno));
        }
        let id = self.accept_with_vector(NONE, user, 0, Work::Connect { socket, vector }, vector)?;
        self.start(id);
        Ok(id)
    }

    /// Receives what comes, at least one byte, behind the filled bytes of `buf` and up to its capacity. One receive at a
    /// time a socket. A result of 0: the peer has closed its side.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn recv(&mut self, socket: SocketId, buf: Buf, user: u64) -> Result<OpId, Refused> {
        let room = buf.room();
        self.receive(socket, buf, room, false, user)
    }

    /// Receives exactly `len` bytes with one completion; fewer only when the peer closes its side first.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn recv_exact(&mut self, socket: SocketId, buf: Buf, len: usize, user: u64) -> Result<OpId, Refused> {
        self.receive(socket, buf, len, true, user)
    }

    fn receive(
        &mut self,
        id: SocketId,
        buf: Buf,
        len: usize,
        whole: bool,
        user: u64,
    ) -> Result<OpId, Refused> {
        self.table.socket(id).ok_or(Refused::Unknown)?;
        let total = self.check_room(&buf, len)?;
        if self.table.live(id.0)?.receiving {
            return Err(Refused::Busy);
        }
        let reserved = buf.clone();
        let op = self.accept_op(id.0.slot, user, total, Work::Recv { buf, whole })?;
        self.table.live(id.0)?.receiving = true;
        self.reserve(op, &reserved)
    }

    /// Sends up to 72 filled ranges, wholly and in the order of calls: a later send queues behind an earlier one. After
    /// one has failed, those behind it end with `CANCELED` and new ones are refused (`Closed`).
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn send(
        &mut self,
        socket: SocketId,
        parts: &[(Buf, Range<usize>)],
        user: u64,
    ) -> Result<OpId, Refused> {
        self.table.socket(socket).ok_or(Refused::Unknown)?;
        let total = self.check_parts(parts)?;
        if self.table.live(socket.0)?.broken {
            return Err(Refused::Closed);
        }
        let id = if let [(buf, range)] = parts {
            let work = Work::Send { buf: buf.clone(), start: range.start };
            self.accept_op(socket.0.slot, user, total, work)?
        } else {
            let vector = self.take_vector(parts)?;
            self.accept_with_vector(socket.0.slot, user, total, Work::SendVectored { vector }, vector)?
        };
        let activity = self.table.live(socket.0)?;
        let last = std::mem::replace(&mut activity.last_send, id);
        if last == OpId::NOTHING {
            activity.first_send = id;
            self.start(id);
        } else if let Some(last) = self.ops.get_mut(last) {
            last.next = id;
        }
        Ok(id)
    }

    /// Cancels everything on the socket and closes it. All its operations complete (with `CANCELED` or what they reached),
    /// then one `Close` completion with `user` says that nothing is in flight any more. To let queued sends go out first,
    /// wait for their completions before closing.
    ///
    /// # Errors
    /// `Unknown`, or `Closed` if it is being closed already.
    pub fn close(&mut self, socket: SocketId, user: u64) -> Result<(), Refused> {
        self.table.socket(socket).ok_or(Refused::Unknown)?;
        self.begin_close(socket.0.slot, user)
    }

    /// As [`Ring::close`]: stops accepting and closes the listener.
    ///
    /// # Errors
    /// `Unknown`, or `Closed` if it is being closed already.
    pub fn close_listener(&mut self, listener: ListenerId, user: u64) -> Result<(), Refused> {
        self.table.listener(listener).ok_or(Refused::Unknown)?;
        self.begin_close(listener.0.slot, user)
    }

    /// Asks for the end of one operation, which completes as usual: with `CANCELED`, or with what it reached before.
    /// Cancelling a send that has begun breaks its socket. A no-op if the operation has ended.
    pub fn cancel(&mut self, id: OpId) {
        if let Some(op) = self.ops.get_mut(id) {
            op.cancelled = true;
            self.request_cancel(Deferred::CancelOp(id));
        }
    }

    /// Checks direct I/O's alignment for one range of a buffer.
    fn check_aligned(
        &self,
        file: FileId,
        buf: &Buf,
        start: usize,
        len: usize,
        offset: u64,
    ) -> Result<(), Refused> {
        let file = self.table.file(file).ok_or(Refused::Unknown)?;
        let (block, memory) = (file.block() as usize, file.memory_alignment() as usize);
        let address = buf.address(start.min(buf.capacity())).as_ptr().addr();
        let aligned = offset.is_multiple_of(block as u64)
            && len.is_multiple_of(block)
            && address.is_multiple_of(memory);
        if aligned { Ok(()) } else { Err(Refused::Misaligned) }
    }

    /// Checks that `len` more bytes fit into the buffer and nobody else is putting bytes there.
    fn check_room(&self, buf: &Buf, len: usize) -> Result<u32, Refused> {
        if !buf.is_from(self.pool.shared()) {
            return Err(Refused::Foreign);
        }
        if buf.is_receiving() {
            return Err(Refused::Busy);
        }
        if len == 0 || len > buf.room() {
            return Err(Refused::OutOfRange);
        }
        u32::try_from(len).map_err(|_| Refused::OutOfRange)
    }

    /// Checks that the kernel may read the range: filled bytes never change under it.
    fn check_filled(&self, buf: &Buf, range: &Range<usize>) -> Result<u32, Refused> {
        if !buf.is_from(self.pool.shared()) {
            return Err(Refused::Foreign);
        }
        if range.is_empty() || range.end > buf.filled() {
            return Err(Refused::OutOfRange);
        }
        u32::try_from(range.len()).map_err(|_| Refused::OutOfRange)
    }

    fn check_parts(&self, parts: &[(Buf, Range<usize>)]) -> Result<u32, Refused> {
        if parts.is_empty() || parts.len() > MAX_PARTS {
            return Err(Refused::OutOfRange);
        }
        let mut total = 0_u32;
        for (buf, range) in parts {
            total = total.checked_add(self.check_filled(buf, range)?).ok_or(Refused::OutOfRange)?;
        }
        if i32::try_from(total).is_ok() { Ok(total) } else { Err(Refused::OutOfRange) }
    }

    fn take_vector(&mut self, parts: &[(Buf, Range<usize>)]) -> Result<u32, Refused> {
        let vector = self.vectors.take().ok_or(Refused::Full)?;
        self.vectors.get(vector).fill(parts);
        Ok(vector)
    }

    /// Marks the space above the filled bytes as the operation's, then starts it.
    fn reserve(&mut self, id: OpId, buf: &Buf) -> Result<OpId, Refused> {
        let reserved = buf.begin_receive();
        assert!(reserved, "checked before the operation was accepted");
        self.start(id);
        Ok(id)
    }

    fn accept_with_vector(
        &mut self,
        slot: u32,
        user: u64,
        total: u32,
        work: Work,
        vector: u32,
    ) -> Result<OpId, Refused> {
        let accepted = self.accept_op(slot, user, total, work);
        if accepted.is_err() {
            self.vectors.put_back(vector);
        }
        accepted
    }

    /// Puts the operation into the table and counts it on its descriptor.
    fn accept_op(&mut self, slot: u32, user: u64, total: u32, work: Work) -> Result<OpId, Refused> {
        if self.table.activity(slot).is_some_and(|activity| activity.closing.is_some()) {
            return Err(Refused::Closed);
        }
        let id = self.ops.insert(Op::new(user, slot, total, work)).ok_or(Refused::Full)?;
        if let Some(activity) = self.table.activity(slot) {
            activity.in_flight += 1;
        }
        Ok(id)
    }
}
