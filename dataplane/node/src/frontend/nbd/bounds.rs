//! Every bound of the NBD front end (I10), and how it takes buffers without starving the rest of the shard.

use std::time::Duration;

use midspan_uring::socket::SocketOptions;
use midspan_uring::{Buf, Pool};

/// Connections of a shard at a time, negotiating ones included; further ones are closed at once.
pub(super) const CONNECTIONS: usize = 512;
/// Requests of one connection that are read and not answered yet. Beyond it, nothing more is received from it.
pub(super) const REQUESTS: u32 = 128;
/// Pieces of one connection under way or waiting to be sent.
pub(super) const PIECES: u32 = 128;
/// Least memory of one connection's pieces, bytes; the largest request piece always fits.
const LEAST_BYTES: usize = 512 * 1024;
/// Most memory of one connection's pieces, bytes.
const MOST_BYTES: usize = 8 << 20;
/// Share of the pool that one connection's pieces may take.
const SHARE: usize = 32;

/// How long a negotiation may take.
pub(super) const PATIENCE_NS: u64 = 10_000_000_000;
/// Pause before accepting goes on after the kernel ended it.
pub(super) const RETRY_NS: u64 = 100_000_000;
/// How often connections that wait for places or memory are tried again when nothing else happens.
pub(super) const TRY_NS: u64 = 1_000_000;
/// While memory is short: a client that moves nothing for so long, with our memory in its hands, is dropped.
pub(super) const STALL_NS: u64 = 10_000_000_000;
/// How often stalled clients are looked for while memory is short.
pub(super) const LOOK_NS: u64 = 1_000_000_000;
/// How long a stopping front end waits for what is under way.
pub(super) const FAREWELL_NS: u64 = 1_000_000_000;

/// Bytes of the buffer that reply heads are encoded in, one for each connection.
pub(super) const SCRATCH_BYTES: usize = 4096;
/// Beyond so many bytes nothing more joins a send: the rest goes with the next one.
pub(super) const SEND_BYTES: usize = 1 << 20;

/// Input buffer where large payloads are expected: little of them is copied.
pub(super) const PEEK_BYTES: usize = 4096;
/// Input buffer of an ordinary connection.
pub(super) const INPUT_BYTES: usize = 16 * 1024;
/// Input buffer of a connection that has much to say in small requests.
pub(super) const LOAD_BYTES: usize = 64 * 1024;
/// A payload of at least this length is large: the next header is better received with few bytes behind it.
pub(super) const LARGE_PAYLOAD: u64 = 32 * 1024;

/// Bytes that the pieces of one connection may take.
pub(super) fn piece_bytes(pool: &Pool) -> usize {
    (pool.mapped_bytes() / SHARE).clamp(LEAST_BYTES, MOST_BYTES)
}

/// A buffer of at least `length` bytes, as long as an eighth of those is left for others of the shard: hosts that write
/// faster than frames leave must not take the memory that frames are sealed and received in.
pub(super) fn take(pool: &Pool, length: usize) -> Option<Buf> {
    let fitting = pool.classes().filter(|(class, _)| class.size >= length);
    let (free, all) = fitting.fold((0, 0), |(free, all), (class, now)| (free + now, all + class.count));
    if free * 8 > all { pool.take(length) } else { None }
}

/// Options of a host's connection. A peer that is gone is noticed within minutes; one that is slow or was stopped for a
/// while is not cut off: most clients cannot connect again without an error for their users.
pub(super) fn socket_options() -> SocketOptions {
    let minute = Some(Duration::from_secs(60));
    SocketOptions { keepalive: minute, user_timeout: minute, ..SocketOptions::default() }
}
