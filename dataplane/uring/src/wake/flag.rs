//! The three-state flag between a sleeper and those who wake it. Model-checked by `tests/wake_model.rs`.
//!
//! ```text
//!            sleep()                raise(): write the eventfd
//!   AWAKE ───────────▶ SLEEPING ───────────────────────────▶ RAISED
//!     ▲  ▲                │ awake()                            │  ▲ raise(): nothing to do
//!     │  └────────────────┘                                    │──┘
//!     └──────────────────── awake(), or sleep() refused ───────┘
//! ```
//!
//! Why nothing is lost: a waker publishes, then swaps in RAISED; the sleeper leaves RAISED only by a swap, and drains
//! after that swap. All swaps of one location are totally ordered. If the waker's comes before the sleeper's, the
//! sleeper acquires what was published and its drain sees it. If it comes after, RAISED stands, and the next `sleep`
//! is refused or, if the sleeper had already announced its sleep, the waker saw SLEEPING and writes the eventfd.

use super::atomic::{AtomicU32, Ordering};

const AWAKE: u32 = 0;
const SLEEPING: u32 = 1;
const RAISED: u32 = 2;

/// See the module's diagram.
pub(super) struct Flag {
    state: AtomicU32,
}

impl Flag {
    pub(super) fn new() -> Flag {
        Flag { state: AtomicU32::new(AWAKE) }
    }

    /// Called after publishing, by anyone. True if the sleeper sleeps: the caller must write the eventfd.
    pub(super) fn raise(&self) -> bool {
        self.state.swap(RAISED, Ordering::AcqRel) == SLEEPING
    }

    /// Called by the sleeper after draining. False if raised since: it must drain again instead of sleeping.
    pub(super) fn sleep(&self) -> bool {
        let slept = self.state.compare_exchange(AWAKE, SLEEPING, Ordering::AcqRel, Ordering::Acquire);
        if slept.is_err() {
            self.awake();
        }
        slept.is_ok()
    }

    /// Called by the sleeper before it drains.
    pub(super) fn awake(&self) {
        self.state.swap(AWAKE, Ordering::AcqRel);
    }

    /// Called by a sleeper that waits on the eventfd alone, after reading it and before draining: the next raise writes.
    pub(super) fn rearm(&self) {
        self.state.swap(SLEEPING, Ordering::AcqRel);
    }
}
