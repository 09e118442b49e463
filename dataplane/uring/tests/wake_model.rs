//! Model check of the wake-up flag: in every interleaving, what was published before a wake-up is seen by the sleeper.
#![allow(missing_docs, dead_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread;

/// What `flag.rs` finds as its `super::atomic`: loom's in place of the standard library's.
mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, Ordering};
}

#[path = "../src/wake/flag.rs"]
mod flag;

use flag::Flag;

struct Shared {
    flag: Flag,
    /// Stands for the queues. Relaxed on purpose: visibility must come from the flag.
    published: AtomicU32,
    /// Stands for the eventfd's counter.
    event: AtomicBool,
}

fn shared() -> Arc<Shared> {
    Arc::new(Shared { flag: Flag::new(), published: AtomicU32::new(0), event: AtomicBool::new(false) })
}

fn publish_and_wake(shared: &Shared) {
    shared.published.fetch_add(1, Ordering::Relaxed);
    if shared.flag.raise() {
        shared.event.store(true, Ordering::SeqCst);
    }
}

/// One shard that drains and sleeps, `wakers` threads that publish: it sees everything, or an eventfd write is there that
/// ends its sleep.
fn no_wake_up_is_lost(wakers: u32) {
    let mut model = loom::model::Builder::new();
    // Two wakers in all interleavings take a minute; three forced switches find every bug planted so far.
    model.preemption_bound = (wakers > 1).then_some(3);
    model.check(move || {
        let shared = shared();
        let threads: Vec<_> = (0..wakers)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || publish_and_wake(&shared))
            })
            .collect();
        let mut seen = shared.published.load(Ordering::Relaxed);
        for _ in 0..2 {
            // As `Ring::wait`: announce, "sleep" until the event or give up (as if another completion came), awake, drain.
            if shared.flag.sleep() {
                shared.flag.awake();
            }
            seen = shared.published.load(Ordering::Relaxed);
        }
        let slept = shared.flag.sleep();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // Everybody has published. If the shard sleeps on without an event, it must have seen all of it.
        let woken = shared.event.load(Ordering::SeqCst);
        assert!(!slept || woken || seen == wakers, "asleep for ever: saw {seen} of {wakers}");
    });
}

#[test]
fn no_wake_up_of_one_thread_is_lost() {
    no_wake_up_is_lost(1);
}

#[test]
fn no_wake_up_of_two_threads_is_lost() {
    no_wake_up_is_lost(2);
}

#[test]
fn what_was_published_before_a_refused_sleep_is_visible() {
    loom::model(|| {
        let shared = shared();
        let waker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || publish_and_wake(&shared))
        };
        if !shared.flag.sleep() {
            assert_eq!(shared.published.load(Ordering::Relaxed), 1, "refused, but nothing to drain");
        }
        waker.join().unwrap();
    });
}

#[test]
fn a_waiter_on_the_eventfd_alone_misses_nothing() {
    loom::model(|| {
        let shared = shared();
        assert!(shared.flag.sleep());
        let waker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                publish_and_wake(&shared);
                publish_and_wake(&shared);
            })
        };
        // As the task: clear the event, re-arm, drain.
        shared.event.store(false, Ordering::SeqCst);
        shared.flag.rearm();
        let seen = shared.published.load(Ordering::Relaxed);
        waker.join().unwrap();
        assert!(seen == 2 || shared.event.load(Ordering::SeqCst), "saw {seen} of 2 and is not readable");
    });
}
