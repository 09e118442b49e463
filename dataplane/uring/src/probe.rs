//! Asks the running kernel whether it can do what the engine needs, and says in one sentence what to do if not.

use io_uring::{IoUring, Probe, opcode};

use crate::errno::Errno;

/// What the running kernel offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The kernel's release, for example `6.18.4`.
    pub release: String,
    /// Vectored writes from registered buffers (6.15); without them the pages are pinned for each write.
    pub vectored_fixed: bool,
}

/// Why the engine cannot run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Administratively off.
    #[error(
        "io_uring is switched off (kernel.io_uring_disabled = {setting}): run `sysctl kernel.io_uring_disabled=0`, \
         or set it to 1 and put this service's group into kernel.io_uring_group"
    )]
    Disabled {
        /// The value of the switch.
        setting: String,
    },
    /// Refused although not switched off.
    #[error(
        "io_uring is refused by a security policy (seccomp, LSM or container runtime): \
         allow io_uring_setup, io_uring_enter and io_uring_register for this service"
    )]
    Forbidden,
    /// No such system call, or the flags are unknown.
    #[error("kernel {release} is too old: io_uring lacks {missing}; version 6.1 or newer is needed")]
    TooOld {
        /// The running kernel's release.
        release: String,
        /// What is missing.
        missing: &'static str,
    },
    /// Memory for the ring or its buffers could not be locked.
    #[error(
        "not enough memory may be locked for io_uring buffers: \
         raise the limit (LimitMEMLOCK=infinity in the unit, or `ulimit -l unlimited`)"
    )]
    Memory,
    /// Anything else.
    #[error("io_uring does not work here: {0}")]
    Other(Errno),
}

/// What the engine cannot do without: code and name.
const NEEDED: [(u8, &str); 13] = [
    (opcode::ReadFixed::CODE, "reads into registered buffers"),
    (opcode::WriteFixed::CODE, "writes from registered buffers"),
    (opcode::Writev::CODE, "vectored writes"),
    (opcode::Fsync::CODE, "flushes"),
    (opcode::Fallocate::CODE, "zeroing (fallocate)"),
    (opcode::Accept::CODE, "accept"),
    (opcode::Connect::CODE, "connect"),
    (opcode::Recv::CODE, "recv"),
    (opcode::Send::CODE, "send"),
    (opcode::SendMsg::CODE, "sendmsg"),
    (opcode::Read::CODE, "reads of an eventfd"),
    (opcode::AsyncCancel::CODE, "cancellation"),
    // Newer than multishot accept, which has no code of its own: it vouches for it.
    (opcode::SendZc::CODE, "multishot accept"),
];

/// Makes a small ring and checks everything the engine relies on.
///
/// # Errors
/// One sentence with what is missing and what to do.
pub fn check() -> Result<Capabilities, ProbeError> {
    capabilities(&make_ring(8, 16)?)
}

/// A ring as the engine uses it: one submitting thread, completions posted only when it asks, a flag when there are some.
pub(crate) fn make_ring(entries: u32, completions: u32) -> Result<IoUring, ProbeError> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    builder.setup_submit_all().setup_cqsize(completions);
    builder.build(entries).map_err(|error| explain(error.into(), "SINGLE_ISSUER and DEFER_TASKRUN rings"))
}

/// What `ring`'s kernel offers.
pub(crate) fn capabilities(ring: &IoUring) -> Result<Capabilities, ProbeError> {
    let release = release();
    let params = ring.params();
    let features = [
        (params.is_feature_ext_arg(), "waiting with a timeout (EXT_ARG)"),
        (params.is_feature_nodrop(), "lossless completions (NODROP)"),
        (params.is_feature_submit_stable(), "stable submissions (SUBMIT_STABLE)"),
    ];
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| explain(error.into(), "probing"))?;
    let codes = NEEDED.iter().map(|&(code, name)| (probe.is_supported(code), name));
    match features.into_iter().chain(codes).find(|&(there, _)| !there) {
        Some((_, missing)) => Err(ProbeError::TooOld { release, missing }),
        None => {
            let vectored_fixed = probe.is_supported(opcode::WritevFixed::CODE);
            Ok(Capabilities { release, vectored_fixed })
        }
    }
}

/// Turns the kernel's refusal of a set-up call, which needs `missing`, into advice.
pub(crate) fn explain(errno: Errno, missing: &'static str) -> ProbeError {
    let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let setting = setting.trim().to_owned();
    match errno.raw() {
        libc::EPERM | libc::EACCES if setting == "1" || setting == "2" => ProbeError::Disabled { setting },
        libc::EPERM | libc::EACCES => ProbeError::Forbidden,
        libc::ENOSYS | libc::EINVAL => ProbeError::TooOld { release: release(), missing },
        libc::ENOMEM => ProbeError::Memory,
        _ => ProbeError::Other(errno),
    }
}

fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_can_run_the_engine() {
        let found = check().unwrap();
        assert!(found.release.contains('.'), "{found:?}");
    }

    #[test]
    fn refusals_say_what_to_do() {
        for (errno, advice) in
            [(libc::EINVAL, "6.1 or newer"), (libc::ENOMEM, "LimitMEMLOCK"), (libc::EIO, "error")]
        {
            let said = explain(Errno::new(errno), "everything").to_string();
            assert!(said.contains(advice), "{said}");
        }
    }
}
