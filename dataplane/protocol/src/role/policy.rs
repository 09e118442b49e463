//! What a group does with its lanes: all of a set hold one chain of frames, the same bytes at the same positions.

/// Which lanes hold the group's journal, and how many of them before a write is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LanePolicy {
    /// One lane at a time; another takes its place when it is lost (claims 8 and 9).
    #[default]
    Failover,
    /// Two lanes at a time, and both hold a write before it is answered.
    Mirror,
    /// Several lanes share the journal (claim 10).
    Stripe,
    /// The lane at the primary itself, alone: nothing is waited for, and a takeover without the primary loses what is in it.
    Local,
}
