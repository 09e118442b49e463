//! Marks of rare paths: a name for each branch that only faults reach, and how often it was passed.
//!
//! [`rare!`] stands in such a branch. It decides nothing and nothing reads it here: with the feature `rare-paths`, which only the
//! simulator switches on, it adds one to a relaxed counter; without it there is no code of it. So a mark is an instrument and
//! no state of a machine. As all names are listed here, what was never passed is known as well as what was.

#[cfg(feature = "rare-paths")]
use core::sync::atomic::{AtomicU64, Ordering};

/// Marks a branch that only faults reach, by its name in [`Rare`]; `if`: only where a condition holds.
macro_rules! rare {
    ($name:ident $(if $condition:expr)?) => {{
        #[cfg(feature = "rare-paths")]
        $crate::rare::pass($crate::rare::Rare::$name, true $(&& $condition)?);
        #[cfg(not(feature = "rare-paths"))]
        {
            const _: $crate::rare::Rare = $crate::rare::Rare::$name;
        }
    }};
}

macro_rules! rare_paths {
    ($($name:ident = $words:literal,)*) => {
        /// A branch that only faults reach.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rare {
            $(#[doc = $words] $name,)*
        }

        impl Rare {
            /// All, in the order of the code.
            pub const ALL: [Self; [$($words,)*].len()] = [$(Self::$name,)*];

            /// What happened there.
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)*
                }
            }
        }
    };
}

rare_paths! {
    AreaFills = "a lane gets the data of frames of which it holds the head, because the other one is lost",
    FillsOn = "data that is filled into a lane goes in portions",
    StripeFills = "one of two lanes that share is lost: the other gets all data, from memory",
    StripeNotKept = "one of two lanes that share is lost, and memory does not have all of its data",
    StripeIsBack = "a lane that shares is back before the other one counts alone",
    OutsideDoubts = "a site that has taken over hears of a newer epoch of the other one, and asks its lane for one that is newer still",
    StartRedoReplaced = "a start that writes the journal's tail finds the lane taken by the other site, and writes are on their way",
    TailGivenNoMore = "a lane gives no more of the tail that a start, or a site that was replaced, reads",
    ComebackReplacedBeside = "a site that would come back into two lanes that share finds that the other site has taken one of them",
    OutsideDoubtsOn = "the lane of a site that has taken over is silent while it is asked whether that was replaced: hosts are served on",
    StartReplaced = "a start that reads the journal finds the lane taken by the other site",
    StartFindsEmptied = "of two lanes that share, a start finds one with another disk",
    StartTurnsToShorter = "a start has fenced a lane, and the other one of two that share ends before it",
    FetcherSeesBoth = "of two lanes that share, both end with a frame that nobody is left to vouch for",
    FetcherElsewhere = "data of a frame is not in the lane where it was listed",
    TakeoverWithoutBeside = "one of two lanes that share is away, and an operator accepts a loss",
    TakeoverBesideNewer = "a takeover finds a newer epoch in the other one of two lanes that share",
    TakeoverLeftAlone = "of two lanes that share, the longer one ends with what was said in it alone",
    TakeoverTurnsToShorter = "of two lanes that share, a takeover goes by the one that it began with last",
    ComebackTurnsToShorter = "of two lanes that share, the one that was to be come back by ends behind the other one",
    FetcherFarBeside = "data of a frame is in a lane that is none of those that count now",
    FetcherTurnsBack = "a takeover reads by a lane that is not read, because old data was looked for elsewhere",
    FetcherFarAway = "a lane that holds data of a frame, and does not count, is away",
    FetcherDistrusts = "a lane may tell a secondary of more than both lanes hold, because a takeover has fenced it",
    StripeTurns = "of two lanes that share, the one that was being filled is lost, and the other one is back",
    AreaAsksDisk = "a ring reads what it holds before the place where its writer goes on",
    AreaCounts = "a ring that goes on elsewhere holds the first frame that two lanes must hold",
    AreaBegins = "a ring goes on at another place, as its writer says",
    WriterCannotContinue = "a lane that counts does not stand in the chain, and is not told to begin anew",
    WriterBeginsAgain = "a ring must be told again where its writer goes on",
    SecondLaneBegins = "a further lane is fenced, to be filled",
    PrimaryOutgrown = "a lane that does not count has a newer epoch of the other site, which replaces nobody: the primary starts anew",
    SecondLaneFails = "a further lane cannot be used",
    SecondLaneLate = "a further lane does not come to hold what it must in time",
    LanesDoubled = "answers need two lanes from now on",
    AsksSet = "the other site is asked to record another lane set",
    SetAskedTooLate = "a lane set is asked for by an epoch that was left behind, or of lanes that are not there",
    FollowsLeave = "of two lanes that share, the one in which the primary says that it left them is read first from then on",
    TurnsToWhereItIsSaid = "a secondary reads a lane in which nothing is said any more, and turns to the other one",
    ReadsOtherLane = "a secondary begins anew with another lane",
    LooksAtNextLane = "a site that was replaced looks at another lane",
    RejoinAsksBoth = "of two lanes that share, the one that was looked at ends where a site had handed over",
    RejoinHandedOn = "a site that was replaced finds that the other one has handed over since, which is no giving back",
    RejoinOtherLane = "a site that was replaced finds an older epoch in a lane, which says nothing",
    OutsideAsksToFollow = "who serves outside the lanes asks the other site to read the lane in which that is said",
    UnfencedSettles = "who has taken over without a fence meets one of several lanes, and goes by that one alone",
    OutsideStoodAt = "who leaves the lanes hears that the other site stands at the mark that says so, before that says that it knows",
    OutsideGoesByAsked = "who leaves the lanes while a change is asked for comes back by the lane of that change",
    SettlesAsked = "back in the lanes, the other site is asked to go by the lane that this one has used alone",
    StartAsksForBound = "a start asks the other site for the lane that this one has read, instead of the one that holds more",
    AsksForBound = "a primary asks for the lane alone that the other site is bound to, instead of what it asked for before",
    StartWaitsForBound = "a start waits for the lane of a mirror in which the role was handed to its site",
    MirrorByOne = "a mirror goes for a moment by the lane alone that the other site is bound to",
    BoundLaneLeft = "a secondary that has read one lane of a mirror lets go of it: the other one holds as much",
    BoundLaneKept = "a secondary has read more in one lane of a mirror than the other one is said to hold",
    SaysToBeBound = "a secondary that has read one lane of a mirror is asked to record that the other one counts alone",
    StartAsksSet = "a start asks the other site which lanes count",
    LinkUngreeted = "a connection is not greeted in time",
    LinkSilent = "what was asked on a connection is not answered in time",
    LinkRefused = "a node refuses a session: the next try comes later",
    FencerCutOff = "the connection ends before the relay has answered a fence",
    FencerPutOff = "a fence is refused because another came before it: look again",
    FencerRefused = "a relay refuses to be fenced at all",
    FencerForgotten = "a relay knows an older epoch than the site does",
    FencerForeign = "a start finds the lane in the hands of the other site",
    FencerBeforeScan = "a relay is asked before it has scanned its areas",
    ReaderRefused = "a session that reads is refused",
    ReaderStartsOver = "an answer to a read is not understood: the session begins anew",
    ReaderSilent = "a read is not answered in time",
    SiteMovesOn = "the other site goes on to another epoch while it is connected",
    SiteSilent = "the other site does not answer in time",
    TailUnreadable = "a relay refuses to read a part of the journal that is to be redone",
    TailDamaged = "a part of the journal that is to be redone does not verify",
    WriterSilent = "an append or a heartbeat is not answered in time",
    WriterPutOff = "a relay is busy: the session is tried again soon",
    WriterLaneLost = "a relay has less than it acknowledged, or another area",
    WriterIndexAnew = "an index area lost its end: it begins anew",
    WriterIndexEndsInside = "an index area ends inside what was sent",
    WriterResends = "frames that were not confirmed are sent again",
    WalkBodyDamaged = "a frame with a good header has a bad body",
    ScanUnreadable = "a block of an area cannot be read while it is scanned",
    ScanMisread = "what continues the chain of an area is found at a second look",
    ScanFindsDamage = "a scan ends below what was acknowledged",
    ScanFlushFails = "what was scanned cannot be flushed",
    AreaFailed = "an append failed: nothing behind it counts",
    AreaForgets = "a new session goes on before the end of frames that were never journaled",
    FenceMeetsFence = "a fence comes while another one is under way",
    FenceStale = "a fence names an epoch that was replaced meanwhile, or may not replace it",
    FenceWaitsForLease = "a fence has to wait for the lease of a writer that may live",
    FenceKeepsLease = "a taker fences again: the lease of the one it replaced still counts",
    StateStarved = "there is no memory to save the state",
    StateUnsaved = "the state cannot be saved",
    MarksStarved = "there is no memory to write the dirty map",
    MarksUnsaved = "the dirty map cannot be written",
    RingReadStarved = "there is no memory to read a ring",
    RingReadFails = "a ring cannot be read",
    CutUnflushed = "a volume cannot be flushed for a cut",
    LandingFails = "what was answered will not reach the disk of the primary",
    LandingUnflushed = "a volume of the primary cannot be flushed",
    AcquireFails = "the own ring cannot be written",
    AcquireWaits = "the own ring is full: what was fetched waits for a cut",
    ApplyFails = "a volume of the secondary cannot be written",
    FetcherNameless = "a ring of several has no frame yet: which journal this is cannot be said",
    FetcherLaneBehind = "a relay has less than was fetched from it",
    FetcherLaneBack = "a relay that had less than was fetched from it has all of it again",
    FetcherRefused = "a relay cannot read what is needed",
    FetcherTooEarly = "what a manifest lists is not in the prefix of the relay yet",
    FetcherCutShort = "a range that was read holds a part of what was asked: the rest is looked for",
    FetcherDamaged = "what was fetched does not verify: it is read again",
    ManifestsElsewhere = "the place where manifests were to be read on was one of another lane's area",
    ManifestDamaged = "a manifest does not verify: what it listed is found along the chain",
    ManifestGap = "manifests leave out a part of the journal: it is scanned",
    ManifestsRefused = "a relay refuses to read manifests",
    PeekFindsMore = "no manifest told of what is in the ring",
    ReceiptReadAgain = "a receipt does not verify: it is read again",
    ReceiptSkipped = "a receipt does not verify a second time: it is passed over",
    ReceiptsRefused = "a relay refuses to read receipts",
    RecallDamaged = "a manifest of an earlier process does not verify",
    UnreceivedUnknown = "the lanes are left before it is known what the other site has: everything is marked",
    CourseGivesUpBegin = "a takeover reads a round in place last of all, which nobody will end",
    CourseTooLittle = "a round brings a part to a target that lacks everything: it goes by",
    CourseRoundCancelled = "a round is cancelled at its target",
    CourseRoundOutlived = "what was staged is dropped: the primary that had begun the round is gone",
    RelayUnknownGroup = "a relay does not know the group",
    RelayForeignArea = "a session asks for an area that is not there any more",
    RelayPutsOff = "a session comes while its area is being scanned, or a fence is under way",
    RelayReadsDamaged = "what is intact of a damaged area is read",
    RelayRefusesDamaged = "nothing is appended to a damaged area",
    RelayOlderEpoch = "a writer of an older epoch comes",
    RelayForeignWriter = "a node comes that may not write here now",
    RelayBadFrame = "a frame does not verify when it arrives",
    RelayBeforeWelcome = "a unit comes on a session that is not open, or not any more",
    RelayAppendFails = "a relay cannot write what was sent to it",
    RelayIndexAnew = "an index area is damaged: it begins anew behind whatever was there",
    RelayLaneDamaged = "the index areas know of more than the ring holds",
    RelayReadBeyond = "a read asks for what lies beyond the prefix",
    RelayReadTooOld = "a read asks for what may be overwritten",
    RelayReadFails = "a relay cannot read what is asked for",
    PermitUnsaved = "a relay cannot record who may write",
    RelayEndsWriter = "a fence ends the session of a writer",
    FencePermitLost = "a relay that could not record a writer is asked to record another one",
    FenceAskerGone = "who fenced is gone before the answer",
    PermitStarved = "there is no memory to record who may write",
    PrimaryDiskFailed = "a host asks a primary whose disk has failed",
    FlushWaitsForLease = "a flush waits until the lanes say that nobody has replaced the primary",
    HostFlushFails = "a flush that a host asked for fails",
    PrimaryReplacedBySite = "the other site says that it has replaced the primary, before a lane does",
    ReadWaitsForLease = "a read waits until the lanes say that nobody has replaced the primary",
    ReadHeldForLease = "what was read is held until the lanes say that nobody has replaced the primary",
    ReadFails = "a read of a host fails",
    CopyFails = "a piece of a round cannot be read",
    WriteFails = "a write that is in the journal cannot be written to the disk",
    FillFails = "the rest of a partly written block cannot be read",
    UnreceivedMarked = "what the other site may lack is marked",
    PrimaryReplacedByRelay = "a relay says that the primary is replaced",
    ManifestsListAgain = "manifests begin anew and list the last frame again",
    PrimaryLaneLost = "a primary finds its lane lost",
    RoundMarksUnsaved = "marks of a round cannot be saved",
    RoundStarved = "there is no memory to begin a round",
    RoundPiecePutBack = "there is no room or memory for a piece of a round",
    RoundCancelled = "a round outgrows the ring of its target",
    WriteHeldBack = "a write is held back because the ring fills up",
    RingFull = "the ring is full",
    RingFreed = "a full ring is freed by an empty frame",
    SealStarved = "there is no memory to seal a frame",
    HandoverStarved = "there is no memory for the mark of a handover",
    LeaveFindsNoRoom = "a full ring has no room for a Leave mark",
    ComebackWaits = "a site outside the lanes finds no lane to come back to",
    ComebackReplaced = "a site outside the lanes is replaced",
    ComebackLaneLost = "a site outside the lanes finds its lane lost",
    DirectGivenUp = "a mark is durable after its request was given up",
    DirectUnmarked = "outside the lanes a write is refused, for its mark cannot be saved",
    MeetAlone = "who served by a word alone finds that nobody else has",
    MeetBoth = "who served by a word alone finds that the other one has, too",
    RejoinWaits = "who was replaced finds nothing to follow yet",
    RejoinUnreadable = "what the other site went on with does not verify",
    ReturnGoesOn = "who was replaced gets its lane back outside the lanes, and goes on",
    ReturnRedoes = "who was replaced gets its lane back, and starts again",
    ReturnByRound = "who was replaced follows, and a round brings what differs",
    ReturnByFullRound = "who was replaced follows, and a round brings everything",
    ReturnSplit = "both sites told hosts what the other one does not know",
    ReceiptsToldAgain = "the receipts area lost what was told: it is told again",
    ReceiptsLaneLost = "a secondary finds the area of its receipts lost",
    OwnRingUnflushed = "the own ring cannot be flushed at a start",
    OwnRingUnreadable = "a block of the own ring cannot be read at a start: the lane brings it again",
    RoundGivenUp = "a takeover gives up a round that was only half there",
    StagedDropped = "what was staged of a round is dropped",
    ReplayUnreadable = "what was staged of a round cannot be read",
    ReplayDamaged = "what was staged of a round does not verify any more",
    ReceiptStarved = "there is no memory for a receipt",
    StartWaits = "a start cannot use the lane as it is",
    StartRedoDamaged = "a part of the journal does not verify while it is redone",
    StartDiskFailed = "a volume fails while the journal is redone",
    StartUnanswered = "the other site does not say in time whether it serves",
    TakeoverMayLose = "a takeover is refused: something would be lost",
    TakeoverLaneUnknown = "a takeover finds another area, or one that no primary ever held",
    TakeoverLaneDamaged = "a takeover finds the journal damaged",
    TakeoverMarksAgain = "what has not landed does not verify: it is read again",
    TakeoverMarksAll = "what has not landed cannot be read: everything is marked",
    TakeoverUnfenced = "a site takes over without a fence, by an operator's word",
    TakeoverBeginsAnew = "a takeover that had fenced ends: the secondary begins anew",
    HandoverForgotten = "what was handed over counts no more",
    ResumeReplaced = "a site that served outside the lanes starts and finds itself replaced",
    GivesBack = "a secondary gives back a lane that an earlier process of it had fenced",
    AbortUnanswered = "the relay does not answer while a takeover is undone",
    HandoverFails = "something fails while the role is handed over",
    FollowsNarrowed = "a site that has handed over does not know whether one lane of its mirror counts alone, and goes by that one",
    HandoverToNoCut = "the other site gives up what it held while the role is handed over to it",
    HandoverSecondaryAway = "the other site does not catch up in time for a handover",
    HearsAnew = "the other site connects again before its former connection has ended",
    HeardNotUnderstood = "what the other site says is not understood",
    LeavingTooLate = "that the other site leaves the lanes comes too late to mean anything",
    LeavingBeforeTaken = "the other site leaves the lanes while a takeover here still waits for one",
    LeavesFullRing = "a full ring is left",
    LeavesLostRelay = "a relay that is away is left",
    LeavingDiskFailed = "a disk fails while the lanes are left",
    SendsAll = "the other site holds no cut: everything is sent",
}

/// How often each was passed, by all machines of this process together.
#[cfg(feature = "rare-paths")]
static PASSED: [AtomicU64; Rare::ALL.len()] = [const { AtomicU64::new(0) }; Rare::ALL.len()];

/// Counts one.
#[cfg(feature = "rare-paths")]
pub(crate) fn pass(path: Rare, counts: bool) {
    if let Some(count) = PASSED.get(path as usize).filter(|_| counts) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// How often this process has passed a branch.
#[cfg(feature = "rare-paths")]
pub fn passed(path: Rare) -> u64 {
    PASSED.get(path as usize).map_or(0, |count| count.load(Ordering::Relaxed))
}
