//! Names of things: nodes, groups, volumes, lanes, areas, disks, epochs.

use core::fmt;

use rkyv::{Archive, Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $number:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

macro_rules! random {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// None: no such thing is known.
            pub const NONE: Self = Self([0; 16]);
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

number!(
    /// A node: site or relay. 0 is no node.
    NodeId,
    u32
);
number!(
    /// A group: volumes kept mutually consistent.
    GroupId,
    u32
);
number!(
    /// A volume within its group; the same number at both sites.
    VolumeId,
    u32
);
number!(
    /// A lane within its group.
    LaneId,
    u16
);
random!(
    /// An area: random, so that another area at the same place is noticed.
    AreaId
);
random!(
    /// A formatted disk: random, so that a swapped disk is noticed.
    DiskId
);

impl NodeId {
    /// No node.
    pub const NONE: Self = Self(0);
}

/// Raised at every start of a primary and at every takeover; never two alike. Ordered by number, then node.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize,
)]
pub struct Epoch {
    /// Counts up.
    pub number: u64,
    /// Who raised it.
    pub node: NodeId,
}

impl Epoch {
    /// Before the first.
    pub const NONE: Self = Self { number: 0, node: NodeId::NONE };

    /// Whether a node raised it. Nobody holds the one before the first, and nobody the one with which a relay begins a group
    /// anew whose id was used before: it only keeps what is older out.
    pub const fn is_held(self) -> bool {
        self.node.0 != NodeId::NONE.0
    }

    /// The next one, held by nobody.
    pub const fn vacant_after(self) -> Self {
        Self { number: self.number.saturating_add(1), node: NodeId::NONE }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.number, self.node)
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn epochs_are_ordered_by_number_then_node() {
        let epoch = |number, node| Epoch { number, node: NodeId(node) };
        assert!(epoch(1, 9) < epoch(2, 1));
        assert!(epoch(2, 1) < epoch(2, 2));
        assert!(Epoch::NONE < epoch(1, 1));
        let vacant = epoch(2, 3).vacant_after();
        assert!(epoch(2, u32::MAX) < vacant && vacant < epoch(3, 1) && !vacant.is_held());
        assert!(epoch(2, 3).is_held() && !Epoch::NONE.is_held());
    }

    #[test]
    fn random_ids_are_shown_as_hexadecimal() {
        let mut id = AreaId::NONE;
        id.0[0] = 0xab;
        assert_eq!(id.to_string(), "ab000000000000000000000000000000");
    }
}
