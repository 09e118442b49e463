//! What nodes tell each other all the time, each in one datagram: that they live, whom they hear, how their groups stand.
//!
//! ```text
//!  0       8         10     12     16   20     24                                    424        432
//!  ┌───────┬─────────┬──────┬──────┬────┬──────┬──────────────────────── ─ ─ ────────┬──────────┐
//!  │ magic │ version │ zero │ from │ to │ zero │ payload                             │ checksum │
//!  └───────┴─────────┴──────┴──────┴────┴──────┴──────────────────────── ─ ─ ────────┴──────────┘
//! ```
//! Everything before the payload, and the checksum at the end, is the same in all versions: a node of another version
//! lives, too, and must not be held for dead because it was upgraded first.

use crate::checksum::checksum;
use crate::ids::{Epoch, GroupId, NodeId};
use crate::list::List;
use crate::superblock::Role;
use crate::version::HEARTBEAT_VERSION;
use crate::wire::{Malformed, Put, Take, Wire, wire_enum, wire_struct};

/// Bytes of a heartbeat of this version.
pub const HEARTBEAT_BYTES: usize = HEAD + Payload::BYTES + CHECKSUM;
/// A datagram of any version at most: fits a packet everywhere.
pub const MAX_HEARTBEAT: usize = 1200;
/// Groups in one heartbeat at most.
pub const MAX_TOLD_GROUPS: usize = 8;
/// Other nodes in one heartbeat at most.
pub const MAX_TOLD_NODES: usize = 8;

const HEAD: usize = 24;
const CHECKSUM: usize = 8;
const MAGIC: [u8; 8] = *b"MSPHEART";

const _: () = assert!(HEARTBEAT_BYTES == 432 && HEARTBEAT_BYTES <= MAX_HEARTBEAT);

wire_struct! {
    /// How a group stands at the sender, a site.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ToldGroup {
        /// The group.
        pub group: GroupId,
        /// The newest epoch known there.
        pub epoch: Epoch,
        /// The sender's role.
        pub role: Role,
        /// It serves hosts.
        pub serving: bool,
    } = 24
}

wire_enum! {
    /// How a node is heard.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Hearing {
        /// As usual.
        #[default]
        Heard = 1,
        /// Late.
        Late = 2,
        /// Not for so long that it is held for dead.
        Silent = 3,
    }
}

wire_struct! {
    /// How the sender hears another node.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ToldNode {
        /// The other node.
        pub node: NodeId,
        /// How it is heard.
        pub hearing: Hearing,
        /// For how long it was not heard, milliseconds.
        pub silent_ms: u32,
    } = 12
}

wire_struct! {
    /// What stands behind the head.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Payload {
        /// Another number at each start of the sender.
        pub incarnation: u64,
        /// The sender's own clock, nanoseconds: rises from heartbeat to heartbeat.
        pub stamp: u64,
        /// The newest stamp that the sender has of the receiver; 0 for none.
        pub echo: u64,
        /// For how long it has had it, nanoseconds.
        pub held_ns: u64,
        /// How often the sender sends, milliseconds.
        pub interval_ms: u32,
        /// Its groups, as many as fit; others follow in the next ones.
        pub groups: List<ToldGroup, MAX_TOLD_GROUPS>,
        /// How it hears others, as many as fit.
        pub nodes: List<ToldNode, MAX_TOLD_NODES>,
    } = 400
}

/// One heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// Who sends it.
    pub from: NodeId,
    /// For whom it is.
    pub to: NodeId,
    /// What it says.
    pub payload: Payload,
}

/// Why a datagram is not a heartbeat of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeartbeatError {
    /// Something else, or cut off.
    #[error("not a heartbeat")]
    Magic,
    /// It does not verify.
    #[error("the heartbeat's checksum is wrong")]
    Checksum,
    /// Of another version: only that it came can be used.
    #[error("heartbeat version {version} is not known to this program")]
    Version {
        /// Which.
        version: u16,
        /// Who sends it.
        from: NodeId,
        /// For whom it is.
        to: NodeId,
    },
    /// It verifies, and is impossible.
    #[error("the heartbeat's content is impossible")]
    Malformed,
}

impl From<Malformed> for HeartbeatError {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

impl Heartbeat {
    /// The heartbeat as a datagram.
    pub fn encode(&self) -> [u8; HEARTBEAT_BYTES] {
        let mut bytes = [0; HEARTBEAT_BYTES];
        let mut out = Put::new(&mut bytes);
        out.bytes(&MAGIC);
        HEARTBEAT_VERSION.put(&mut out);
        out.zeroes(2);
        self.from.put(&mut out);
        self.to.put(&mut out);
        out.zeroes(4);
        self.payload.put(&mut out);
        if let Some((covered, sum)) = bytes.split_last_chunk_mut::<CHECKSUM>() {
            *sum = checksum(covered).to_le_bytes();
        }
        bytes
    }

    /// Reads a datagram.
    ///
    /// # Errors
    /// It is no heartbeat, or none of this version.
    pub fn decode(datagram: &[u8]) -> Result<Self, HeartbeatError> {
        if !datagram.starts_with(&MAGIC) || datagram.len() > MAX_HEARTBEAT {
            return Err(HeartbeatError::Magic);
        }
        let (covered, sum) = datagram.split_last_chunk::<CHECKSUM>().ok_or(HeartbeatError::Magic)?;
        if checksum(covered) != u64::from_le_bytes(*sum) {
            return Err(HeartbeatError::Checksum);
        }
        let mut input = Take::new(covered);
        input.bytes(MAGIC.len())?;
        let version = u16::take(&mut input)?;
        input.zeroes(2)?;
        let (from, to) = (NodeId::take(&mut input)?, NodeId::take(&mut input)?);
        input.zeroes(4)?;
        if version != HEARTBEAT_VERSION {
            return Err(HeartbeatError::Version { version, from, to });
        }
        if datagram.len() != HEARTBEAT_BYTES {
            return Err(HeartbeatError::Malformed);
        }
        let payload = Payload::take(&mut input)?;
        input.finish()?;
        Ok(Self { from, to, payload })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn heartbeat() -> Heartbeat {
        let group = ToldGroup {
            group: GroupId(7),
            epoch: Epoch { number: 9, node: NodeId(1) },
            role: Role::Primary,
            serving: true,
        };
        let node = ToldNode { node: NodeId(3), hearing: Hearing::Late, silent_ms: 1_234 };
        let payload = Payload {
            incarnation: 5,
            stamp: 6,
            echo: 7,
            held_ns: 8,
            interval_ms: 100,
            groups: [group; MAX_TOLD_GROUPS].into_iter().collect(),
            nodes: [node; MAX_TOLD_NODES].into_iter().collect(),
        };
        Heartbeat { from: NodeId(1), to: NodeId(2), payload }
    }

    #[test]
    fn what_is_written_is_read_full_or_empty() {
        for heartbeat in [heartbeat(), Heartbeat { from: NodeId(1), to: NodeId(2), ..Heartbeat::default() }] {
            assert_eq!(Heartbeat::decode(&heartbeat.encode()), Ok(heartbeat));
        }
    }

    #[test]
    fn every_flip_of_a_bit_is_refused() {
        let whole = heartbeat().encode();
        for bit in 0..HEARTBEAT_BYTES * 8 {
            let mut bytes = whole;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Heartbeat::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_is_cut_off_or_too_long_is_refused() {
        let whole = heartbeat().encode();
        for length in 0..HEARTBEAT_BYTES {
            assert!(Heartbeat::decode(&whole[..length]).is_err(), "{length} bytes");
        }
        let mut longer: Vec<u8> = whole.into();
        longer.resize(MAX_HEARTBEAT + 1, 0);
        assert_eq!(Heartbeat::decode(&longer), Err(HeartbeatError::Magic));
    }

    /// With the checksum that it should have.
    fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        let sum = checksum(&bytes).to_le_bytes();
        bytes.extend(sum);
        bytes
    }

    #[test]
    fn another_version_of_any_length_says_who_it_is() {
        for length in [HEAD, 100, MAX_HEARTBEAT - CHECKSUM] {
            let mut bytes = heartbeat().encode().to_vec();
            bytes.resize(length, 0xaa);
            bytes[8] = 99;
            let read = Heartbeat::decode(&sealed(bytes));
            assert_eq!(read, Err(HeartbeatError::Version { version: 99, from: NodeId(1), to: NodeId(2) }));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
            prop_assert!(Heartbeat::decode(&bytes).is_err());
        }

        #[test]
        fn arbitrary_sealed_payloads_are_read_as_they_are_written_or_refused(
            payload in proptest::collection::vec(prop_oneof![4 => Just(0u8), 1 => 0u8..4, 1 => any::<u8>()], 400)
        ) {
            let mut bytes = heartbeat().encode()[..HEAD].to_vec();
            bytes.extend(payload);
            let bytes = sealed(bytes);
            if let Ok(read) = Heartbeat::decode(&bytes) {
                prop_assert_eq!(read.encode().to_vec(), bytes);
            }
        }
    }
}
