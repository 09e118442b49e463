//! The sentences of the design that the model can leave out, one at a time: each must then be missed.

/// A sentence that holds in the code, or will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The answer to a fence waits until the former writer's lease has passed.
    Lease,
    /// After its own restart a relay waits again for the lease of a writer that it replaced before.
    LeaseAfterRestart,
    /// A fence replaces the writer durably.
    DurableFence,
    /// Once a fence is decided, no progress goes to the former writer.
    NoProgressToFormer,
    /// A fence is answered when every append given to the disk has settled; none becomes durable after it.
    Settled,
    /// A request of an older epoch is refused.
    OldEpochRefused,
    /// A fence names the epoch that it replaces and takes a greater one.
    GreaterEpoch,
    /// A takeover fences and reads n - k + 1 lanes.
    EnoughLanes,
    /// The fence set never shrinks by itself: not by a restart that cannot reach a lane.
    SetNeverShrinks,
    /// A restart replaces only epochs of its own node.
    OwnEpochsOnly,
    /// A lane with another id is a lost lane, not an empty one.
    WipedIsLost,
    /// A primary that is refused for a newer epoch is fenced; it does not go on outside the lanes.
    RefusedIsFenced,
    /// Before the first answer outside the lanes the Leave mark is durable where a takeover must read it.
    LeaveMark,
    /// A secondary whose takeover has begun refuses the mark.
    MarkRefusedDuringTakeover,
    /// A takeover that finds a Leave mark needs accepted loss.
    MarkStopsTakeover,
    /// Between sending End and knowing that it is answerable, only the lanes answer.
    EndBeforeOutside,
    /// A lane joins, leaves or k drops only when the secondary has recorded it.
    RecordedFirst,
    /// From asking for a change until the outcome is known, only what both sets allow is answered.
    BothSets,
    /// What is asked for is durable at the primary before it is asked, so that its restart reads by both sets.
    AskingDurable,
    /// A lane leaves, and k rises, only when everything un-received is in enough of the others.
    DrainedFirst,
    /// That holds for what is not answered yet, too: a secondary may have applied it.
    UnansweredDrained,
    /// The secondary takes a change in time order: nothing later is applied before it is recorded.
    SetInTimeOrder,
    /// The outcome is the secondary's word about this very change; a taker's own change is none.
    OutcomeOfThisAsk,
    /// A set is asked for only when enough lanes of it hold the epoch's start.
    StartInNewSet,
    /// A taker changes its set alone only until the other site has joined it.
    AloneUntilJoined,
    /// What a start serves is in k lanes of the new epoch before the first answer.
    ResentBeforeServing,
    /// An epoch is recorded before a lane is asked for it: never two alike.
    EpochRecordedFirst,
    /// The start of the newest epoch that is found says which frames of older epochs count.
    StartDecides,
    /// A secondary applies only what k lanes hold in one epoch.
    AppliesAnswerable,
    /// A release gives back a takeover that is not recorded, never one that is.
    NoReleaseOnceRecorded,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 30] = [
        Self::Lease,
        Self::LeaseAfterRestart,
        Self::DurableFence,
        Self::NoProgressToFormer,
        Self::Settled,
        Self::OldEpochRefused,
        Self::GreaterEpoch,
        Self::EnoughLanes,
        Self::SetNeverShrinks,
        Self::OwnEpochsOnly,
        Self::WipedIsLost,
        Self::RefusedIsFenced,
        Self::LeaveMark,
        Self::MarkRefusedDuringTakeover,
        Self::MarkStopsTakeover,
        Self::EndBeforeOutside,
        Self::RecordedFirst,
        Self::BothSets,
        Self::AskingDurable,
        Self::DrainedFirst,
        Self::UnansweredDrained,
        Self::SetInTimeOrder,
        Self::OutcomeOfThisAsk,
        Self::StartInNewSet,
        Self::AloneUntilJoined,
        Self::ResentBeforeServing,
        Self::EpochRecordedFirst,
        Self::StartDecides,
        Self::AppliesAnswerable,
        Self::NoReleaseOnceRecorded,
    ];
}
