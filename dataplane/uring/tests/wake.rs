//! Wake-ups with real threads, queues and descriptors; `wake_model.rs` checks the flag in every interleaving.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod rig;

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use midspan_uring::clock::boottime_ns;
use midspan_uring::queue;
use midspan_uring::wake::{SignalReceiver, signal};
use rig::ring;

#[test]
fn a_sleeping_shard_gets_every_message_of_two_threads() {
    const EACH: u64 = 20_000;
    let mut ring = ring();
    let (sender, receiver) = queue::to_shard(16, &ring.waker());
    let senders: Vec<_> = (0..2)
        .map(|_| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for number in 0..EACH {
                    while sender.push(number).is_err() {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let (mut count, mut sum) = (0, 0);
    while count < 2 * EACH {
        let start = boottime_ns();
        ring.wait(1, Some(Duration::from_secs(20))).unwrap();
        assert!(boottime_ns() - start < 20_000_000_000, "slept through a wake-up");
        assert!(ring.next_completion().is_none());
        while let Some(number) = receiver.pop() {
            count += 1;
            sum += number;
        }
    }
    assert_eq!(sum, EACH * (EACH - 1));
    senders.into_iter().for_each(|sender| sender.join().unwrap());
}

#[test]
fn a_wake_up_before_the_wait_is_not_forgotten() {
    let mut ring = ring();
    ring.waker().wake();
    let start = boottime_ns();
    ring.wait(1, Some(Duration::from_secs(20))).unwrap();
    assert!(boottime_ns() - start < 10_000_000_000);
}

#[test]
fn a_full_queue_gives_the_message_back() {
    let ring = ring();
    let (sender, receiver) = queue::to_shard(1, &ring.waker());
    assert_eq!(sender.push("a"), Ok(()));
    assert_eq!(sender.push("b"), Err("b"));
    assert_eq!((sender.len(), sender.is_empty(), receiver.is_empty()), (1, false, false));
    assert_eq!(receiver.pop(), Some("a"));
    assert_eq!(receiver.pop(), None);
}

/// Waits for the descriptor as another runtime would.
fn readable(receiver: &SignalReceiver, timeout_ms: i32) -> bool {
    let mut poll = libc::pollfd { fd: receiver.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live pollfd; the kernel keeps no reference.
    unsafe { libc::poll(&raw mut poll, 1, timeout_ms) == 1 }
}

#[test]
fn a_signal_makes_its_receiver_readable_until_cleared() {
    let (signal, receiver) = signal().unwrap();
    assert!(!readable(&receiver, 0));
    signal.notify();
    signal.notify();
    assert!(readable(&receiver, 0));
    receiver.clear();
    assert!(!readable(&receiver, 0));
    signal.notify();
    assert!(readable(&receiver, 0));
}

#[test]
fn a_task_gets_every_message_of_a_shard() {
    const COUNT: u32 = 20_000;
    let (signal, receiver) = signal().unwrap();
    let (sender, messages) = queue::to_task(16, &signal);
    let shard = std::thread::spawn(move || {
        for number in 0..COUNT {
            while sender.push(number).is_err() {
                std::thread::yield_now();
            }
        }
    });
    let mut expected = 0;
    while expected < COUNT {
        assert!(readable(&receiver, 20_000), "waited through a signal");
        receiver.clear();
        while let Some(number) = messages.pop() {
            assert_eq!(number, expected);
            expected += 1;
        }
    }
    shard.join().unwrap();
}
