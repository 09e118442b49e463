//! SIGINT and SIGTERM: everything that was made is taken away before the end.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use midspan::clock::Signal;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

/// What a shell says of a program that one of them has ended.
const BY_INT: u8 = 128 + 2;
const BY_TERM: u8 = 128 + 15;
/// A node or program may be found ended by the same key before this program has heard of it.
const HEARD_WITHIN: Duration = Duration::from_millis(500);

/// The exit code, once one has come.
static CODE: AtomicU8 = AtomicU8::new(0);

/// Hears them from now on. The first one ends what is being waited for, a second one the program, whatever it leaves behind.
pub fn listen() {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::spawn(move || {
        runtime.block_on(async {
            let mut int = signal(SignalKind::interrupt()).unwrap();
            let mut term = signal(SignalKind::terminate()).unwrap();
            loop {
                let code = tokio::select! {
                    _ = int.recv() => BY_INT,
                    _ = term.recv() => BY_TERM,
                };
                if CODE.swap(code, Ordering::SeqCst) != 0 {
                    std::process::exit(code.into());
                }
                eprintln!("interrupted: what was made is taken away; once more ends it at once");
                rig::interrupt();
            }
        });
    });
}

/// The exit code for a run that has ended early, where a signal was the reason.
pub fn code() -> Option<ExitCode> {
    if CODE.load(Ordering::SeqCst) == 0 {
        Signal::default().wait(HEARD_WITHIN);
    }
    let code = CODE.load(Ordering::SeqCst);
    (code != 0).then(|| ExitCode::from(code))
}
