//! The one thread that writes the control state: a bounded queue in, one commit for all that waits.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use super::file::{Entry, File};

/// Entries that may wait for the disk.
const QUEUE: usize = 1024;
/// Entries of one commit.
const BATCH: usize = 256;
/// How long the end of the daemon waits for the last commit.
const LINGER: Duration = Duration::from_secs(2);

/// The way to the thread.
#[derive(Debug)]
pub struct Writer {
    queue: SyncSender<Entry>,
    /// How many entries the thread was given.
    given: u64,
    /// How many of them the disk has.
    kept: watch::Receiver<u64>,
    ended: Receiver<()>,
    failure: Arc<OnceLock<String>>,
}

/// An entry was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotKept {
    /// The disk is too slow for what happens.
    Full,
    /// The file could not be written any more.
    Failed,
}

impl Writer {
    /// Starts the thread.
    pub fn start(file: File) -> Self {
        let (queue, entries) = sync_channel(QUEUE);
        let (end, ended) = sync_channel(1);
        let failure = Arc::new(OnceLock::new());
        let found = Arc::clone(&failure);
        let (count, kept) = watch::channel(0);
        std::thread::spawn(move || {
            if let Err(error) = run(&file, &entries, &count) {
                let _ = found.set(error.to_string());
            }
            // Nothing is taken any more from here on; then the file is closed.
            drop((entries, count));
            drop(file);
            let _ = end.try_send(());
        });
        Self { queue, given: 0, kept, ended, failure }
    }

    /// Gives an entry to the thread; never waits.
    ///
    /// # Errors
    /// It was not taken.
    pub fn keep(&mut self, entry: Entry) -> Result<(), NotKept> {
        self.queue.try_send(entry).map_err(|error| match error {
            TrySendError::Full(_) => NotKept::Full,
            TrySendError::Disconnected(_) => NotKept::Failed,
        })?;
        self.given += 1;
        Ok(())
    }

    /// How many entries were given so far, and where it is told how many the disk has.
    pub fn progress(&self) -> (u64, watch::Receiver<u64>) {
        (self.given, self.kept.clone())
    }

    /// Why the thread has given up.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Waits until everything is kept; false when that takes too long.
    pub fn finish(self) -> bool {
        let Self { queue, ended, .. } = self;
        drop(queue);
        !matches!(ended.recv_timeout(LINGER), Err(RecvTimeoutError::Timeout))
    }
}

/// Writes until nobody is left who could send something.
fn run(file: &File, entries: &Receiver<Entry>, kept: &watch::Sender<u64>) -> Result<(), redb::Error> {
    while let Ok(first) = entries.recv() {
        let batch: Vec<Entry> = std::iter::once(first).chain(entries.try_iter().take(BATCH - 1)).collect();
        file.write(&batch)?;
        kept.send_modify(|kept| *kept += u64::try_from(batch.len()).unwrap_or(0));
    }
    Ok(())
}
