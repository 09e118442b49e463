//! Bounded queues between threads that wake their receiver.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::wake::{Signal, Waker};

/// How the receiver of a queue is woken.
#[derive(Clone)]
enum Bell {
    Shard(Waker),
    Task(Signal),
}

/// The sending end. Any number of clones, on any thread.
pub struct Sender<T> {
    queue: Arc<ArrayQueue<T>>,
    bell: Bell,
}

/// The receiving end, drained by one thread after each wake-up.
pub struct Receiver<T> {
    queue: Arc<ArrayQueue<T>>,
}

/// A queue of at most `capacity` messages to the shard behind `waker`.
///
/// # Panics
/// If `capacity` is 0.
#[must_use]
pub fn to_shard<T>(capacity: usize, waker: &Waker) -> (Sender<T>, Receiver<T>) {
    pair(capacity, Bell::Shard(waker.clone()))
}

/// A queue of at most `capacity` messages to the task that awaits `signal`'s receiver.
///
/// # Panics
/// If `capacity` is 0.
#[must_use]
pub fn to_task<T>(capacity: usize, signal: &Signal) -> (Sender<T>, Receiver<T>) {
    pair(capacity, Bell::Task(signal.clone()))
}

fn pair<T>(capacity: usize, bell: Bell) -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(ArrayQueue::new(capacity));
    (Sender { queue: Arc::clone(&queue), bell }, Receiver { queue })
}

impl<T> Sender<T> {
    /// Queues `message` and wakes the receiver.
    ///
    /// # Errors
    /// Gives the message back if the queue is full: back-pressure, or a receiver that is gone.
    pub fn push(&self, message: T) -> Result<(), T> {
        self.queue.push(message)?;
        match &self.bell {
            Bell::Shard(waker) => waker.wake(),
            Bell::Task(signal) => signal.notify(),
        }
        Ok(())
    }

    /// Messages not yet taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True if nothing waits to be taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender { queue: Arc::clone(&self.queue), bell: self.bell.clone() }
    }
}

impl<T> Receiver<T> {
    /// The oldest message.
    #[must_use]
    pub fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// True if nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
