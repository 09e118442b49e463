//! Pins the calling thread to one core and verifies it.

/// Why a thread could not be pinned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// The core is not in the mask of this thread (not there, offline, isolated, or excluded by a cgroup).
    #[error(
        "core {core} is not among the cores this process may use ({allowed:?}); choose one of those or widen the cpuset"
    )]
    NotAllowed {
        /// The core asked for.
        core: usize,
        /// The cores in this thread's mask.
        allowed: Vec<usize>,
    },
    /// The kernel accepted the mask, but the thread has another one now.
    #[error("core {core} was asked for, but the kernel reports the mask {actual:?}")]
    NotApplied {
        /// The core asked for.
        core: usize,
        /// What reading back gave.
        actual: Vec<usize>,
    },
}

/// The cores the calling thread may run on, ascending. Call it before the first [`pin`]: afterwards it is one core.
#[must_use]
pub fn current_cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Pins the calling thread to `core` and reads the mask back.
///
/// # Errors
/// If the core is not usable or the mask did not take.
pub fn pin(core: usize) -> Result<(), PinError> {
    let representable = core < usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    if !representable || !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        return Err(PinError::NotAllowed { core, allowed: current_cores() });
    }
    let actual = current_cores();
    if actual == [core] { Ok(()) } else { Err(PinError::NotApplied { core, actual }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_exactly_that_core() {
        std::thread::spawn(|| {
            let core = *current_cores().last().unwrap();
            pin(core).unwrap();
            assert_eq!(current_cores(), [core]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_core_that_does_not_exist_is_refused_with_the_allowed_ones() {
        for core in [1000, 100_000] {
            let error = pin(core).unwrap_err();
            assert!(matches!(error, PinError::NotAllowed { allowed, .. } if !allowed.is_empty()));
        }
    }
}
