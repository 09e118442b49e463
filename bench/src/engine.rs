//! What every measuring thread does with its ring: be pinned, have buffers, wait for the next completion.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use midspan_uring::clock::boottime_ns;
use midspan_uring::socket::SocketOptions;
use midspan_uring::{Buf, Class, Completion, Config, Pool, Ring, affinity};

/// How long one sleep lasts at most. A disk that others keep busy can make a durable write wait for seconds; what takes twice
/// as long hangs.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// How long somebody who waits awake does so, nanoseconds: as a node's shard does.
const AWAKE_NS: u64 = 500_000;

/// Pins the calling thread and makes a ring with these buffers.
///
/// # Errors
/// If the core may not be used, or the ring cannot be made.
pub fn ring(core: usize, classes: &[Class]) -> Result<Ring> {
    affinity::pin(core)?;
    let pool = Pool::new(classes, true)?;
    Ok(Ring::new(Config { entries: 256, operations: 1024, vectors: 64, descriptors: 64 }, &pool)?)
}

/// Sleeps until something has completed and returns it. The clock is read only where it takes unusually long.
///
/// # Errors
/// If nothing completes for a long time, or the ring is broken.
pub fn next(ring: &mut Ring, what: &str) -> Result<Completion> {
    next_of(ring, what, false)
}

/// Waits until something has completed and returns it: asleep, or awake for up to [`AWAKE_NS`], where others go first.
///
/// # Errors
/// If nothing completes for a long time, or the ring is broken.
pub fn next_of(ring: &mut Ring, what: &str, awake: bool) -> Result<Completion> {
    let began_ns = if awake { boottime_ns() } else { 0 };
    while awake && boottime_ns() < began_ns + AWAKE_NS {
        if let Some(done) = ring.next_completion() {
            return Ok(done);
        }
        ring.wait(0, None).with_context(|| what.to_owned())?;
        std::thread::yield_now();
    }
    let mut give_up_ns = None;
    loop {
        if let Some(done) = ring.next_completion() {
            return Ok(done);
        }
        if ring.in_flight() == 0 {
            bail!("{what}: nothing is under way");
        }
        if let Some(limit) = give_up_ns
            && boottime_ns() >= limit
        {
            bail!("{what}: nothing has come for {} s", PATIENCE.as_secs());
        }
        ring.wait(1, Some(PATIENCE)).with_context(|| what.to_owned())?;
        if let Some(done) = ring.next_completion() {
            return Ok(done);
        }
        let patience_ns = u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX);
        give_up_ns = give_up_ns.or(Some(boottime_ns().saturating_add(patience_ns)));
    }
}

/// Submits what is queued and sleeps until something has completed, or this time has passed.
///
/// # Errors
/// If the ring is broken.
pub fn wait(ring: &mut Ring, limit: Duration) -> Result<()> {
    Ok(ring.wait(usize::from(!limit.is_zero()), Some(limit))?)
}

/// Options of a connection: it waits as long as [`PATIENCE`] permits, not as long as a node would.
pub fn socket_options() -> SocketOptions {
    SocketOptions { user_timeout: None, ..SocketOptions::default() }
}

/// A buffer of at least `len` bytes, none filled.
///
/// # Errors
/// If the pool was made too small: a mistake in this program.
pub fn take(ring: &Ring, len: usize) -> Result<Buf> {
    ring.pool().take(len).with_context(|| format!("no buffer of {len} bytes is free"))
}

/// Moves what lies behind the first `used` bytes to the front.
///
/// # Errors
/// If somebody else holds the buffer: a mistake in this program.
pub fn keep_rest(buf: &mut Buf, used: usize) -> Result<()> {
    let filled = buf.filled();
    if used < filled {
        buf.bytes_mut().context("a received buffer has one owner")?.copy_within(used..filled, 0);
    }
    buf.set_filled(filled.saturating_sub(used));
    Ok(())
}
