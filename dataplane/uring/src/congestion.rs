//! Congestion control of a connection: near ones are not paced.
//!
//! BBR, which some systems have as their default, lets a timer release each few packets and now and then empties the pipe to
//! measure it. Over a long and lossy way that pays. Over a near one, where an answer takes less than such a timer's
//! tick, it costs: between two nodes of one machine 128 KiB writes went at 0.6 to 0.75 of the rate without (docs/performance.md). So a
//! connection starts without pacing, and one that turns out to be long goes on with what the system is set to. A
//! system with any other default keeps it everywhere.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::errno::{Errno, check};

/// A round trip from which on a connection counts as long, µs: a relay is 0.1 to 2 ms away, the other site 20 to 200.
const LONG_US: u32 = 5_000;
/// What paces. Every version of it begins so.
const PACED: &[u8] = b"bbr";
/// What is tried instead, best first: who may not choose freely may choose the last.
const UNPACED: [&[u8]; 2] = [b"cubic", b"reno"];
/// Longest name and the NUL behind it (`TCP_CA_NAME_MAX` of the kernel).
const NAME_BYTES: usize = 16;

/// A name as the kernel writes it, padded with NULs.
type Name = [u8; NAME_BYTES];

/// For a TCP socket before it connects or listens (what it accepts inherits it). Speed alone hangs on it: a refusal leaves
/// the system's choice.
pub(crate) fn start(socket: impl AsFd) {
    if get(&socket).is_ok_and(is_paced) {
        let _ = UNPACED.iter().find(|name| set(&socket, name).is_ok());
    }
}

/// For a TCP socket that is connected: a long way gets the system's choice back.
pub(crate) fn settle(socket: impl AsFd) {
    let Ok(default) = default() else { return };
    if is_paced(default) && round_trip_us(&socket).is_ok_and(|us| us >= LONG_US) {
        let _ = set(&socket, &default);
    }
}

fn is_paced(name: Name) -> bool {
    name.starts_with(PACED)
}

/// What a new connection gets here: of this network namespace, at this moment.
fn default() -> Result<Name, Errno> {
    // SAFETY: a call on numbers.
    let fd = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just returned this descriptor, so nothing else owns it.
    get(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn get(socket: impl AsFd) -> Result<Name, Errno> {
    let mut name = [0; NAME_BYTES];
    let mut len = length(NAME_BYTES);
    let (fd, target) = (socket.as_fd().as_raw_fd(), name.as_mut_ptr());
    // SAFETY: pointer and length describe the live array `name`; the kernel writes at most `len` bytes during the call.
    check(unsafe {
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION, target.cast(), &raw mut len)
    })?;
    Ok(name)
}

fn set(socket: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let (fd, len) = (socket.as_fd().as_raw_fd(), length(name.len()));
    // SAFETY: pointer and length describe the live slice `name`, which the kernel copies during the call.
    check(unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION, name.as_ptr().cast(), len) })
        .map(drop)
}

/// The round trip as the connection has measured it so far, its handshake included, µs.
fn round_trip_us(socket: impl AsFd) -> Result<u32, Errno> {
    // SAFETY: `tcp_info` is made of integers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = length(size_of::<libc::tcp_info>());
    let (fd, target) = (socket.as_fd().as_raw_fd(), &raw mut info);
    // SAFETY: pointer and length describe the live `info`; the kernel writes at most `len` bytes during the call.
    check(unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, target.cast(), &raw mut len) })?;
    Ok(info.tcpi_rtt)
}

/// A length for the kernel; what does not fit, which nothing here can be, is refused as 0.
fn length(bytes: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(bytes).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn padded(name: &[u8]) -> Name {
        let mut padded = [0; NAME_BYTES];
        padded[..name.len()].copy_from_slice(name);
        padded
    }

    /// `bbr` is not in every kernel, so its place is taken by what is: names are compared, nothing else.
    #[test]
    fn what_paces_is_told_by_its_name() {
        for (name, paced) in [(&b"bbr"[..], true), (b"bbr2", true), (b"cubic", false), (b"reno", false)] {
            assert_eq!(is_paced(padded(name)), paced);
        }
    }

    #[test]
    fn a_near_connection_is_not_paced_and_what_is_accepted_inherits_that() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        start(&listener);
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        settle(&far);
        assert!(!is_paced(get(&far).unwrap()));
        assert!(round_trip_us(&near).unwrap() < LONG_US);
    }

    #[test]
    fn a_socket_says_what_was_chosen_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        set(&listener, b"reno").unwrap();
        assert_eq!(get(&listener).unwrap(), padded(b"reno"));
        assert!(set(&listener, b"no such thing").is_err());
    }
}
