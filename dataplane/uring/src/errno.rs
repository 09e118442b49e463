//! The kernel's error numbers as a small comparable type.

use std::fmt;

/// An error number as the kernel returned it (positive, as in `errno(3)`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Errno(i32);

impl Errno {
    /// The operation was cancelled, by `close`, `cancel` or because an earlier send of the socket failed.
    pub const CANCELED: Errno = Errno(libc::ECANCELED);
    /// No space left on the device, or in a sparse file's file system.
    pub const NO_SPACE: Errno = Errno(libc::ENOSPC);
    /// The device failed.
    pub const IO: Errno = Errno(libc::EIO);
    /// The peer has closed its side; what was sent may be lost.
    pub const BROKEN_PIPE: Errno = Errno(libc::EPIPE);
    /// The peer has reset the connection.
    pub const CONNECTION_RESET: Errno = Errno(libc::ECONNRESET);
    /// Nobody listens at the address.
    pub const CONNECTION_REFUSED: Errno = Errno(libc::ECONNREFUSED);
    /// No answer in time (TCP user timeout, connect).
    pub const TIMED_OUT: Errno = Errno(libc::ETIMEDOUT);
    /// The file or device cannot do this (for example zeroing without support).
    pub const NOT_SUPPORTED: Errno = Errno(libc::EOPNOTSUPP);
    /// In use elsewhere.
    pub const BUSY: Errno = Errno(libc::EBUSY);
    /// The address is in use.
    pub const ADDRESS_IN_USE: Errno = Errno(libc::EADDRINUSE);
    /// Bad argument: mostly misaligned direct I/O.
    pub const INVALID: Errno = Errno(libc::EINVAL);

    /// From a positive error number.
    #[must_use]
    pub const fn new(number: i32) -> Errno {
        Errno(number)
    }

    /// The positive error number.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// The calling thread's last error.
    #[must_use]
    pub fn last() -> Errno {
        Errno::from(std::io::Error::last_os_error())
    }
}

impl From<std::io::Error> for Errno {
    /// Errors that never were a number (rare) become `EIO`.
    fn from(error: std::io::Error) -> Errno {
        Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> std::io::Error {
        std::io::Error::from_raw_os_error(errno.0)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&std::io::Error::from_raw_os_error(self.0), f)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({self})")
    }
}

impl std::error::Error for Errno {}

/// Turns the usual C answer (-1 and `errno`) into a result.
pub(crate) fn check(answer: libc::c_int) -> Result<libc::c_int, Errno> {
    if answer < 0 { Err(Errno::last()) } else { Ok(answer) }
}
