//! When the eventfd is written to, and when that is spared.

use super::*;

/// What the eventfd has counted; none if it was not written to. Resets it.
fn count(waker: &Waker) -> Option<u64> {
    let mut count = [0_u8; 8];
    // SAFETY: a call on numbers; it makes the read below return at once.
    unsafe { libc::fcntl(waker.raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    // SAFETY: pointer and length describe the live array `count`.
    let read = unsafe { libc::read(waker.raw_fd(), count.as_mut_ptr().cast(), 8) };
    (read == 8).then(|| u64::from_ne_bytes(count))
}

#[test]
fn waking_costs_a_system_call_only_while_the_shard_sleeps() {
    let waker = Waker::new().unwrap();
    waker.wake();
    waker.wake();
    assert_eq!(count(&waker), None, "awake: nothing written");
    assert!(!waker.sleep(), "but not forgotten");
    assert!(waker.sleep());
    waker.wake();
    waker.wake();
    assert_eq!(count(&waker), Some(1), "asleep: once");
    waker.awake();
    assert!(waker.sleep());
    waker.awake();
    assert_eq!(count(&waker), None);
}
