//! Sockets and listeners: TCP and unix, options, adopted systemd listeners. Blocking calls only at set-up.

use std::fmt;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock;
use crate::congestion;
use crate::errno::{Errno, check};

/// Where to listen or connect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// TCP over IPv4 or IPv6; port 0 lets the kernel choose (listening only).
    Tcp(SocketAddr),
    /// A unix stream socket in the file system, at most 107 bytes.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Options of a connected socket. Those that only TCP has are skipped on unix sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketOptions {
    /// Send small messages at once (TCP).
    pub nodelay: bool,
    /// Probe a silent peer after this time, then every third of it (TCP). Whole seconds, at least 1.
    pub keepalive: Option<Duration>,
    /// Give up when sent data is not acknowledged for this long (TCP).
    pub user_timeout: Option<Duration>,
    /// Kernel send buffer in bytes; `None` leaves the kernel's automatic size.
    pub send_buffer: Option<u32>,
    /// Kernel receive buffer in bytes; `None` leaves the kernel's automatic size.
    pub receive_buffer: Option<u32>,
}

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions {
            nodelay: true,
            keepalive: Some(Duration::from_secs(5)),
            user_timeout: Some(Duration::from_secs(10)),
            send_buffer: None,
            receive_buffer: None,
        }
    }
}

/// A connected stream socket that nobody operates on: owned, `Send`, to be given to a ring.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// Applies `options` to a connected socket; a long way is given the system's congestion control.
    ///
    /// # Errors
    /// The kernel's refusal of an option.
    pub fn tune(&self, options: &SocketOptions) -> Result<(), Errno> {
        if let Some(bytes) = options.send_buffer {
            set_option(&self.fd, libc::SOL_SOCKET, libc::SO_SNDBUF, clamp(u64::from(bytes)))?;
        }
        if let Some(bytes) = options.receive_buffer {
            set_option(&self.fd, libc::SOL_SOCKET, libc::SO_RCVBUF, clamp(u64::from(bytes)))?;
        }
        if get_option(&self.fd, libc::SOL_SOCKET, libc::SO_DOMAIN)? == libc::AF_UNIX {
            return Ok(());
        }
        congestion::settle(&self.fd);
        set_option(&self.fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, options.nodelay.into())?;
        set_option(&self.fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, options.keepalive.is_some().into())?;
        if let Some(idle) = options.keepalive {
            let idle = idle.as_secs().max(1);
            set_option(&self.fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, clamp(idle))?;
            set_option(&self.fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, clamp((idle / 3).max(1)))?;
            set_option(&self.fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3)?;
        }
        let timeout = options.user_timeout.map_or(0, |limit| limit.as_millis());
        let timeout = clamp(u64::try_from(timeout).unwrap_or(u64::MAX));
        set_option(&self.fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, timeout)
    }

    /// The peer's address; `None` for unix sockets and broken connections.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        let duplicate = self.fd.try_clone().ok()?;
        TcpStream::from(duplicate).peer_addr().ok()
    }

    /// Stops one or both directions at once, without waiting. What was sent stays on its way.
    ///
    /// # Errors
    /// If the socket is not connected any more.
    pub fn shutdown(&self, how: std::net::Shutdown) -> Result<(), Errno> {
        let how = match how {
            std::net::Shutdown::Read => libc::SHUT_RD,
            std::net::Shutdown::Write => libc::SHUT_WR,
            std::net::Shutdown::Both => libc::SHUT_RDWR,
        };
        // SAFETY: a call on numbers; `self.fd` is open for as long as `self` lives.
        check(unsafe { libc::shutdown(self.fd.as_raw_fd(), how) }).map(drop)
    }

    /// Connects and waits for it (tools and tests; the data plane connects through its ring).
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn connect(address: &Address) -> Result<Socket, Errno> {
        match address {
            Address::Tcp(address) => Socket::adopt(TcpStream::connect(address)?.into()),
            Address::Unix(path) => Socket::adopt(UnixStream::connect(path)?.into()),
        }
    }

    /// A new unconnected socket for `address`.
    pub(crate) fn unconnected(address: &Address) -> Result<Socket, Errno> {
        let domain = match address {
            Address::Tcp(SocketAddr::V4(_)) => libc::AF_INET,
            Address::Tcp(SocketAddr::V6(_)) => libc::AF_INET6,
            Address::Unix(_) => libc::AF_UNIX,
        };
        // SAFETY: a call on numbers.
        let fd = check(unsafe { libc::socket(domain, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
        // SAFETY: the kernel has just returned this descriptor, so nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        if let Address::Tcp(_) = address {
            congestion::start(&fd);
        }
        Ok(Socket { fd })
    }

    /// Takes over any connected stream socket (std's, tokio's). A ring wants blocking mode: it waits by itself.
    ///
    /// # Errors
    /// If the descriptor is not a socket.
    pub fn adopt(fd: OwnedFd) -> Result<Socket, Errno> {
        get_option(&fd, libc::SOL_SOCKET, libc::SO_TYPE)?;
        set_blocking(&fd)?;
        Ok(Socket { fd })
    }

    /// Gives the descriptor up, for example to std or tokio (which need non-blocking mode set again).
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A listening stream socket: owned, `Send`, to be given to a ring. A unix one removes its path when dropped.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    unlink: Option<PathBuf>,
}

impl Listener {
    /// Listens at `address`. A unix path left behind by a dead process is replaced; one that answers is not. Tries for two
    /// seconds before it says that the address is in use: a killed process may have listened there through its ring.
    ///
    /// # Errors
    /// `ADDRESS_IN_USE` if somebody listens there, or the path is something else than a socket.
    pub fn bind(address: &Address) -> Result<Listener, Errno> {
        clock::patiently(|errno| *errno == Errno::ADDRESS_IN_USE, || Listener::bind_once(address))
    }

    fn bind_once(address: &Address) -> Result<Listener, Errno> {
        match address {
            Address::Tcp(address) => Listener::adopt(TcpListener::bind(address)?.into()),
            Address::Unix(path) => {
                remove_stale(path)?;
                Ok(Listener { fd: UnixListener::bind(path)?.into(), unlink: Some(path.clone()) })
            }
        }
    }

    /// Takes over a listening socket, for example of std.
    ///
    /// # Errors
    /// `INVALID` if the descriptor is not a listening socket.
    pub fn adopt(fd: OwnedFd) -> Result<Listener, Errno> {
        if get_option(&fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN)? == 0 {
            return Err(Errno::INVALID);
        }
        set_blocking(&fd)?;
        if get_option(&fd, libc::SOL_SOCKET, libc::SO_DOMAIN)? != libc::AF_UNIX {
            congestion::start(&fd);
        }
        Ok(Listener { fd, unlink: None })
    }

    /// The TCP address it listens at, with the port the kernel chose; `None` for unix sockets.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        let duplicate = self.fd.try_clone().ok()?;
        TcpListener::from(duplicate).local_addr().ok()
    }

    /// The listeners that systemd passed (`LISTEN_FDS`), each with its name (`FileDescriptorName=`, else empty).
    /// Only the first call of a process gets them. Descriptors that are not listening sockets are closed and left out.
    #[must_use]
    pub fn from_systemd() -> Vec<(String, Listener)> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        let number = |name| std::env::var(name).ok().and_then(|value: String| value.parse::<i32>().ok());
        let for_us = number("LISTEN_PID").and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id());
        if !for_us || TAKEN.swap(true, Ordering::SeqCst) {
            return Vec::new();
        }
        let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, 1024);
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut listeners = Vec::new();
        for fd in 3..3 + count {
            let name = names.next().unwrap_or("").to_owned();
            // SAFETY: a call on numbers; it also tells whether the descriptor is open at all.
            if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
                continue;
            }
            // SAFETY: systemd passed this open descriptor to this process for keeps (LISTEN_PID says so), and `TAKEN`
            // makes this the only place and time where it gets an owner.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            if let Ok(listener) = Listener::adopt(fd) {
                listeners.push((name, listener));
            }
        }
        listeners
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.unlink {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes a unix socket nobody listens behind.
fn remove_stale(path: &Path) -> Result<(), Errno> {
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(Errno::ADDRESS_IN_USE);
    }
    match UnixStream::connect(path).map_err(Errno::from) {
        Err(Errno::CONNECTION_REFUSED) => Ok(std::fs::remove_file(path)?),
        Ok(_) | Err(_) => Err(Errno::ADDRESS_IN_USE),
    }
}

/// The kernel retries for a ring only on blocking descriptors; on others it reports `EAGAIN`.
fn set_blocking(fd: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: a call on numbers; `fd` is open for as long as it is borrowed.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: as above.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK) }).map(drop)
}

fn clamp(value: u64) -> libc::c_int {
    libc::c_int::try_from(value).unwrap_or(libc::c_int::MAX)
}

/// Length of an option's value; all used here are C integers.
const INT_LEN: libc::socklen_t = 4;

fn set_option(fd: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> Result<(), Errno> {
    let value: *const libc::c_int = &raw const value;
    // SAFETY: the pointer and length describe the live integer `value`, which the kernel copies during the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.cast(), INT_LEN) }).map(drop)
}

fn get_option(fd: &OwnedFd, level: libc::c_int, name: libc::c_int) -> Result<libc::c_int, Errno> {
    let mut value: libc::c_int = 0;
    let mut len = INT_LEN;
    let target: *mut libc::c_int = &raw mut value;
    // SAFETY: pointer and length describe the live integer `value`; the kernel writes at most `len` bytes during the call.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, target.cast(), &raw mut len) })?;
    Ok(value)
}
