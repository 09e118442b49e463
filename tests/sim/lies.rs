//! Planted bugs: drivers that lie. They stand outside the protocol's code and show that the oracle is able to fail.

/// What a driver does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    #[default]
    None,
    /// The relay's disk says that durable writes are done when only its cache has them.
    DurableTooEarly,
    /// The primary hears of progress when its frame has reached the relay, not when it is durable there.
    ProgressTooEarly,
    /// The relay's clock runs fifty times too fast: a fence does not wait for the lease.
    LeaseTooShort,
    /// A flush of a volume does nothing.
    FlushDoesNothing,
    /// The secondary's own ring is not durable when it says so.
    OwnRingTooEarly,
    /// The network answers the takeover's fence itself; the relay never hears of it.
    FenceDropped,
    /// A restarted relay does not know that it was fenced: writes of its permits are lost.
    PermitForgotten,
    /// The primary's volume reads what it held a while ago.
    OldReads,
    /// The dirty map is never written.
    MapNotWritten,
    /// A site says that nothing would be lost also while hosts are answered outside the lanes.
    PromisesOutside,
}

impl Lie {
    /// All of them, with their names on the command line.
    pub const ALL: [(&'static str, Self); 10] = [
        ("durable-too-early", Self::DurableTooEarly),
        ("progress-too-early", Self::ProgressTooEarly),
        ("lease-too-short", Self::LeaseTooShort),
        ("flush-does-nothing", Self::FlushDoesNothing),
        ("own-ring-too-early", Self::OwnRingTooEarly),
        ("fence-dropped", Self::FenceDropped),
        ("permit-forgotten", Self::PermitForgotten),
        ("old-reads", Self::OldReads),
        ("map-not-written", Self::MapNotWritten),
        ("promises-outside", Self::PromisesOutside),
    ];
}
