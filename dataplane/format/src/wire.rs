//! Fixed layouts without a second declaration: a struct's fields in order, little-endian, no padding, reserved bytes zero.
//!
//! For what is not on the hot path: superblocks, group state, messages. A type's size is a constant; its [`Wire::take`]
//! accepts exactly what its [`Wire::put`] writes.

use crate::geometry::Position;
use crate::ids::{AreaId, DiskId, Epoch, GroupId, LaneId, NodeId, VolumeId};
use crate::list::{Few, List};
use crate::time::Time;

/// Bytes that cannot have been written by [`Wire::put`], or too few of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A type of fixed size on disk or wire.
pub(crate) trait Wire: Sized {
    /// Its size.
    const BYTES: usize;
    /// Writes it.
    fn put(&self, out: &mut Put<'_>);
    /// Reads it.
    fn take(input: &mut Take<'_>) -> Result<Self, Malformed>;
}

/// Where fields are written, one behind the other.
#[derive(Debug)]
pub(crate) struct Put<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Put<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0 }
    }

    /// Writes the bytes.
    ///
    /// # Panics
    /// Beyond the end: sizes are constants, whoever provides the space knows them.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        let place = self.out.get_mut(self.at..end);
        assert!(place.is_some(), "no space for a field");
        if let Some(place) = place {
            place.copy_from_slice(bytes);
        }
        self.at = end;
    }

    /// Writes zeroes.
    pub(crate) fn zeroes(&mut self, count: usize) {
        const ZEROES: [u8; 256] = [0; 256];
        let mut left = count;
        while left > 0 {
            let piece = ZEROES.get(..left).unwrap_or(&ZEROES);
            self.bytes(piece);
            left -= piece.len();
        }
    }
}

/// Where fields are read, one behind the other.
#[derive(Debug)]
pub(crate) struct Take<'a> {
    input: &'a [u8],
}

impl<'a> Take<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { input }
    }

    /// The next `count` bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.input.split_at_checked(count).ok_or(Malformed)?;
        self.input = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.input.split_first_chunk::<N>().ok_or(Malformed)?;
        self.input = rest;
        Ok(*bytes)
    }

    /// The next `count` bytes, which must be zero.
    pub(crate) fn zeroes(&mut self, count: usize) -> Result<(), Malformed> {
        if is_zero(self.bytes(count)?) { Ok(()) } else { Err(Malformed) }
    }

    /// Everything is read but zeroes.
    pub(crate) fn finish(mut self) -> Result<(), Malformed> {
        self.zeroes(self.input.len())
    }
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            const BYTES: usize = size_of::<$type>();
            fn put(&self, out: &mut Put<'_>) {
                out.bytes(&self.to_le_bytes());
            }
            fn take(input: &mut Take<'_>) -> Result<Self, Malformed> {
                input.array().map(<$type>::from_le_bytes)
            }
        }
    )*};
}
integer!(u8, u16, u32, u64);

macro_rules! newtype {
    ($($type:ident: $inner:ty),*) => {$(
        impl Wire for $type {
            const BYTES: usize = <$inner>::BYTES;
            fn put(&self, out: &mut Put<'_>) {
                self.0.put(out);
            }
            fn take(input: &mut Take<'_>) -> Result<Self, Malformed> {
                <$inner>::take(input).map(Self)
            }
        }
    )*};
}
newtype!(NodeId: u32, GroupId: u32, VolumeId: u32, LaneId: u16, AreaId: [u8; 16], DiskId: [u8; 16], Time: u64);

impl Wire for Position {
    const BYTES: usize = 8;
    fn put(&self, out: &mut Put<'_>) {
        self.0.put(out);
    }
    fn take(input: &mut Take<'_>) -> Result<Self, Malformed> {
        let position = u64::take(input)?;
        if crate::geometry::is_whole_blocks(position) { Ok(Self(position)) } else { Err(Malformed) }
    }
}

impl<const N: usize> Wire for [u8; N] {
    const BYTES: usize = N;
    fn put(&self, out: &mut Put<'_>) {
        out.bytes(self);
    }
    fn take(input: &mut Take<'_>) -> Result<Self, Malformed> {
        input.array()
    }
}

impl Wire for [NodeId; 2] {
    const BYTES: usize = 8;
    fn put(&self, out: &mut Put<'_>) {
        self.iter().for_each(|node| node.put(out));
    }
    fn take(input: &mut Take<'_>) -> Result<Self, Malformed> {
        Ok([NodeId::take(input)?, NodeId::take(input)?])
    }
}

impl Wire for bool {
    const BYTES: usize = 1;
    fn put(&self, out: &mut Put<'_>) {
        u8::from(*self).put(out);
    }
    fn take(input: &mut Take<'_>) -> Result<Self, Malformed> {
        match u8::take(input)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }
}

impl Wire for Epoch {
    const BYTES: usize = 12;
    fn put(&self, out: &mut Put<'_>) {
        self.number.put(out);
        self.node.put(out);
    }
    fn take(input: &mut Take<'_>) -> Result<Self, Malformed> {
        Ok(Self { number: u64::take(input)?, node: NodeId::take(input)? })
    }
}

/// The number of items, then space for `N` of them; what is not used is zero.
impl<T: Wire + Copy + Default, const N: usize> Wire for List<T, N> {
    const BYTES: usize = 4 + N * T::BYTES;
    fn put(&self, out: &mut Put<'_>) {
        u32::try_from(self.len()).unwrap_or(u32::MAX).put(out);
        self.iter().for_each(|item| item.put(out));
        out.zeroes((N - self.len()) * T::BYTES);
    }
    fn take(input: &mut Take<'_>) -> Result<Self, Malformed> {
        let count = u32::take(input)? as usize;
        if count > N {
            return Err(Malformed);
        }
        let mut list = Self::default();
        for _ in 0..count {
            list.push(T::take(input)?);
        }
        input.zeroes((N - count) * T::BYTES)?;
        Ok(list)
    }
}

impl<T: Wire, const N: usize> Wire for Few<T, N> {
    const BYTES: usize = 4 + N * T::BYTES;
    fn put(&self, out: &mut Put<'_>) {
        u32::try_from(self.len()).unwrap_or(u32::MAX).put(out);
        self.iter().for_each(|item| item.put(out));
        out.zeroes((N - self.len()) * T::BYTES);
    }
    fn take(input: &mut Take<'_>) -> Result<Self, Malformed> {
        let count = u32::take(input)? as usize;
        if count > N {
            return Err(Malformed);
        }
        let mut few = Self::default();
        for _ in 0..count {
            few.push(T::take(input)?);
        }
        input.zeroes((N - count) * T::BYTES)?;
        Ok(few)
    }
}

/// An enum of named numbers: `from_u8`, and its one byte on disk or wire.
macro_rules! wire_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal,)* }
    ) => {
        $(#[$meta])*
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant = $number,)* }

        impl $name {
            /// The meaning of a number, if it has one.
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl crate::wire::Wire for $name {
            const BYTES: usize = 1;
            fn put(&self, out: &mut crate::wire::Put<'_>) {
                (*self as u8).put(out);
            }
            fn take(input: &mut crate::wire::Take<'_>) -> Result<Self, crate::wire::Malformed> {
                Self::from_u8(<u8 as crate::wire::Wire>::take(input)?).ok_or(crate::wire::Malformed)
            }
        }
    };
}
pub(crate) use wire_enum;

/// A struct whose layout is its fields in order, then zeroes up to the size given behind `=`.
macro_rules! wire_struct {
    (
        $(#[$meta:meta])*
        pub struct $name:ident { $($(#[$doc:meta])* pub $field:ident: $type:ty,)* } = $bytes:literal
    ) => {
        $(#[$meta])*
        pub struct $name { $($(#[$doc])* pub $field: $type,)* }

        impl $name {
            const RESERVED: usize = <Self as crate::wire::Wire>::BYTES $(- <$type as crate::wire::Wire>::BYTES)*;
        }

        // Also asserts that the fields fit: the subtraction would not.
        const _: () = assert!($name::RESERVED <= $bytes);

        impl crate::wire::Wire for $name {
            const BYTES: usize = $bytes;
            fn put(&self, out: &mut crate::wire::Put<'_>) {
                $(self.$field.put(out);)*
                out.zeroes(Self::RESERVED);
            }
            fn take(input: &mut crate::wire::Take<'_>) -> Result<Self, crate::wire::Malformed> {
                let taken = Self { $($field: <$type as crate::wire::Wire>::take(input)?,)* };
                input.zeroes(Self::RESERVED)?;
                Ok(taken)
            }
        }
    };
}
pub(crate) use wire_struct;
