//! Memory at fixed addresses for what the kernel reads besides buffers: I/O vectors, message headers, socket addresses.

use std::cell::UnsafeCell;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

use crate::MAX_PARTS;
use crate::buffer::Buf;
use crate::errno::Errno;
use crate::socket::Address;

const EMPTY: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

/// The parts of one vectored operation, with handles on their buffers, or one address to connect to.
pub(crate) struct Vector {
    header: libc::msghdr,
    iovecs: [libc::iovec; MAX_PARTS],
    parts: [Option<Buf>; MAX_PARTS],
    count: usize,
    /// Parts before this one are done.
    first: usize,
    address: RawAddress,
}

/// A socket address as the kernel reads it.
enum RawAddress {
    None,
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
    Unix(libc::sockaddr_un),
}

impl Vector {
    fn new() -> Vector {
        let header = std::mem::MaybeUninit::<libc::msghdr>::zeroed();
        Vector {
            // SAFETY: all-zero bytes are a valid msghdr: integers and null pointers.
            header: unsafe { header.assume_init() },
            iovecs: [EMPTY; MAX_PARTS],
            parts: [const { None }; MAX_PARTS],
            count: 0,
            first: 0,
            address: RawAddress::None,
        }
    }

    /// Takes handles on `parts`, which the caller has checked: at most [`MAX_PARTS`], ranges within the filled bytes.
    pub(crate) fn fill(&mut self, parts: &[(Buf, Range<usize>)]) {
        assert!(parts.len() <= MAX_PARTS, "too many parts");
        let places = self.parts.iter_mut().zip(self.iovecs.iter_mut());
        for ((buf, range), (part, iovec)) in parts.iter().zip(places) {
            *iovec = libc::iovec { iov_base: buf.address(range.start).as_ptr().cast(), iov_len: range.len() };
            *part = Some(buf.clone());
        }
        self.count = parts.len();
        self.first = 0;
    }

    /// Leaves out the first `bytes` of what remains.
    pub(crate) fn advance(&mut self, bytes: usize) {
        let mut bytes = bytes;
        while let Some(iovec) =
            self.iovecs.get_mut(self.first).filter(|_| bytes > 0 && self.first < self.count)
        {
            let step = bytes.min(iovec.iov_len);
            iovec.iov_base = iovec.iov_base.wrapping_byte_add(step);
            iovec.iov_len -= step;
            bytes -= step;
            if iovec.iov_len == 0 {
                self.first += 1;
            }
        }
        assert!(bytes == 0, "the kernel moved more than it was given");
    }

    /// The remaining parts, for the kernel.
    pub(crate) fn remaining(&self) -> (*const libc::iovec, usize) {
        let rest = self.iovecs.get(self.first..self.count).unwrap_or_default();
        (rest.as_ptr(), rest.len())
    }

    /// The remaining parts as a message, for the kernel.
    pub(crate) fn message(&mut self) -> *const libc::msghdr {
        let (iovecs, count) = self.remaining();
        self.header.msg_iov = iovecs.cast_mut();
        self.header.msg_iovlen = count;
        &raw const self.header
    }

    /// Stores an address.
    ///
    /// # Errors
    /// `INVALID` if a unix path is too long.
    pub(crate) fn set_address(&mut self, address: &Address) -> Result<(), Errno> {
        self.address = match address {
            Address::Tcp(SocketAddr::V4(v4)) => RawAddress::V4(libc::sockaddr_in {
                sin_family: family(libc::AF_INET),
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            }),
            Address::Tcp(SocketAddr::V6(v6)) => RawAddress::V6(libc::sockaddr_in6 {
                sin6_family: family(libc::AF_INET6),
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
            Address::Unix(path) => {
                let mut raw = libc::sockaddr_un { sun_family: family(libc::AF_UNIX), sun_path: [0; 108] };
                let bytes = path.as_os_str().as_bytes();
                if bytes.is_empty() || bytes.len() >= raw.sun_path.len() || bytes.contains(&0) {
                    return Err(Errno::INVALID);
                }
                for (target, &byte) in raw.sun_path.iter_mut().zip(bytes) {
                    *target = libc::c_char::from_ne_bytes([byte]);
                }
                RawAddress::Unix(raw)
            }
        };
        Ok(())
    }

    /// The stored address and its length, for the kernel.
    pub(crate) fn address(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        match &self.address {
            RawAddress::None => (std::ptr::null(), 0),
            RawAddress::V4(raw) => ((&raw const *raw).cast(), length_of::<libc::sockaddr_in>()),
            RawAddress::V6(raw) => ((&raw const *raw).cast(), length_of::<libc::sockaddr_in6>()),
            RawAddress::Unix(raw) => ((&raw const *raw).cast(), length_of::<libc::sockaddr_un>()),
        }
    }

    fn clear(&mut self) {
        for part in self.parts.iter_mut().take(self.count) {
            *part = None;
        }
        self.count = 0;
        self.first = 0;
        self.address = RawAddress::None;
    }
}

fn family(family: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).unwrap_or(0)
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

/// All vectors of a ring, allocated once; their addresses never change.
pub(crate) struct Vectors {
    slots: Box<[UnsafeCell<Vector>]>,
    free: Vec<u32>,
}

impl Vectors {
    pub(crate) fn new(count: u32) -> Vectors {
        let slots = (0..count).map(|_| UnsafeCell::new(Vector::new())).collect();
        Vectors { slots, free: (0..count).rev().collect() }
    }

    /// A free vector, empty; `None` if all are in use.
    pub(crate) fn take(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// The vector of an operation that is not in the kernel's hands at present, or whose memory it only reads.
    pub(crate) fn get(&mut self, index: u32) -> &mut Vector {
        let Some(slot) = self.slots.get(index as usize) else {
            unreachable!("vector numbers come from this table")
        };
        // SAFETY: `&mut self` makes this the only Rust reference to the slot. The cell keeps the addresses given to the
        // kernel valid across it: the kernel reads them only inside the submitting call (SUBMIT_STABLE, checked by
        // `probe`), during which `ring` holds no reference to a vector.
        unsafe { &mut *slot.get() }
    }

    /// Drops what the vector holds and makes it free.
    pub(crate) fn put_back(&mut self, index: u32) {
        self.get(index).clear();
        self.free.push(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{Class, Pool};

    #[test]
    fn advancing_skips_whole_parts_and_cuts_one() {
        let pool = Pool::new(&[Class { size: 4096, count: 1 }], false).unwrap();
        let mut buf = pool.take(1).unwrap();
        buf.set_filled(4096);
        let mut vectors = Vectors::new(1);
        let index = vectors.take().unwrap();
        assert!(vectors.take().is_none());
        let vector = vectors.get(index);
        vector.fill(&[(buf.clone(), 0..10), (buf.clone(), 100..120), (buf.clone(), 0..1)]);
        vector.advance(15);
        let (start, count) = vector.remaining();
        assert_eq!(count, 2);
        // SAFETY: `start` points at the two remaining iovecs of the vector above.
        let rest = unsafe { *start };
        assert_eq!(rest.iov_base.cast::<u8>(), buf.address(105).as_ptr());
        assert_eq!(rest.iov_len, 15);
        vector.advance(16);
        assert_eq!(vector.remaining().1, 0);
        vectors.put_back(index);
        assert!(buf.is_unique());
    }

    #[test]
    fn addresses_have_the_kernels_layout() {
        let mut vector = Vector::new();
        vector.set_address(&Address::Tcp("1.2.3.4:258".parse().unwrap())).unwrap();
        let (address, len) = vector.address();
        // SAFETY: the address is a live sockaddr_in of 16 bytes without padding.
        let bytes = unsafe { std::slice::from_raw_parts(address.cast::<u8>(), len as usize) };
        assert_eq!(bytes[2..8], [1, 2, 1, 2, 3, 4]);
        assert_eq!(vector.set_address(&Address::Unix("x".repeat(108).into())), Err(Errno::INVALID));
    }
}
