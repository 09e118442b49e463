//! Values that the file holds as text with a meaning: sizes, durations, ids, listening places, volume names.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A value that is written as a string.
trait Text: Sized {
    /// Completes "expected …" in the message for a wrong one.
    const ALLOWED: &'static str;

    /// The value, or none where the text is not allowed.
    fn from_text(text: &str) -> Option<Self>;
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: Text> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(T::ALLOWED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

fn text<'de, T: Text, D: Deserializer<'de>>(input: D) -> Result<T, D::Error> {
    input.deserialize_str(TextVisitor(PhantomData))
}

/// A number of bytes, written with its binary unit: `"256MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

/// Units of a size, largest first.
const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Size {
    /// A size of so many mebibytes.
    pub const fn from_mib(mebibytes: u32) -> Self {
        Self(mebibytes as u64 * (1 << 20))
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl Text for Size {
    const ALLOWED: &'static str = "a whole number with a unit (B, KiB, MiB, GiB or TiB), such as \"256MiB\"";

    fn from_text(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text)?;
        let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
        number.checked_mul(*bytes).map(Self)
    }
}

impl fmt::Display for Size {
    /// In the largest unit that divides it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SIZE_UNITS.iter().find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        match unit {
            Some((name, bytes)) => write!(out, "{}{name}", self.0 / bytes),
            None => write!(out, "{}B", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        text(input)
    }
}

/// A length of time, written with its unit: `"500ms"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    /// A span of so many milliseconds.
    pub const fn from_ms(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// A span of so many microseconds.
    pub const fn from_us(microseconds: u64) -> Self {
        Self(Duration::from_micros(microseconds))
    }

    /// The same as the standard library's type.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl Text for Span {
    const ALLOWED: &'static str = "a whole number with a unit (us, ms, s or min), such as \"500ms\"";

    fn from_text(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text)?;
        let duration = match unit {
            "us" => Duration::from_micros(number),
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "min" => Duration::from_secs(number.checked_mul(60)?),
            _ => return None,
        };
        Some(Self(duration))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.0)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        text(input)
    }
}

/// `"256MiB"` as 256 and `MiB`; a space between them is allowed.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

/// The id of a node, group or volume: 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(NonZeroU16);

impl Id {
    /// The id as a plain number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = Id;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a whole number from 1 to 65535")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Id, E> {
        u16::try_from(number)
            .ok()
            .and_then(NonZeroU16::new)
            .map(Id)
            .ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_i64(IdVisitor)
    }
}

/// Where the NBD front end listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NbdListen {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl Text for NbdListen {
    const ALLOWED: &'static str =
        "an IP address with a port, such as \"127.0.0.1:10809\", or \"unix:\" and the path of a socket";

    fn from_text(text: &str) -> Option<Self> {
        match text.strip_prefix("unix:") {
            Some("") => None,
            Some(path) => Some(Self::Unix(path.into())),
            None => text.parse().ok().map(Self::Tcp),
        }
    }
}

impl fmt::Display for NbdListen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(out, "{address}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for NbdListen {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        text(input)
    }
}

impl Text for SocketAddr {
    const ALLOWED: &'static str = "an IP address with a port, such as \"127.0.0.1:7001\"";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// For `#[serde(deserialize_with)]`: an address whose message says what is allowed.
pub(super) fn address<'de, D: Deserializer<'de>>(input: D) -> Result<SocketAddr, D::Error> {
    text(input)
}

/// A volume's full name, `GROUP/VOLUME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VolumeName {
    /// Name of the group.
    pub group: String,
    /// Name of the volume in it.
    pub volume: String,
}

impl Text for VolumeName {
    const ALLOWED: &'static str = "GROUP/VOLUME, such as \"db/v0\"";

    fn from_text(text: &str) -> Option<Self> {
        let (group, volume) = text.split_once('/')?;
        let both = !group.is_empty() && !volume.is_empty() && !volume.contains('/');
        both.then(|| Self { group: group.to_owned(), volume: volume.to_owned() })
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.group, self.volume)
    }
}

impl<'de> Deserialize<'de> for VolumeName {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        text(input)
    }
}

/// For `#[serde(deserialize_with)]`: a name that can stand in a path, a metric's label and `GROUP/VOLUME`.
pub(super) fn name<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    text::<Name, D>(input).map(|name| name.0)
}

struct Name(String);

impl Text for Name {
    const ALLOWED: &'static str =
        "a name of 1 to 63 letters, digits, `-`, `_` or `.` that starts with a letter or digit";

    fn from_text(text: &str) -> Option<Self> {
        let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
        let starts_well = text.starts_with(|character: char| character.is_ascii_alphanumeric());
        (starts_well && text.len() <= 63 && text.chars().all(allowed)).then(|| Self(text.to_owned()))
    }
}
