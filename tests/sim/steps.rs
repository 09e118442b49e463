//! The steps of the protocol's long ways, as they can be seen from outside a site: by what it asks of its driver.
//!
//! ```text
//!  start      probe ─▶ fence ─▶ record ─▶ verify ─▶ redo ─▶ flush ─▶ open          (outside the lanes: resume)
//!  takeover   probe ─▶ fence ─▶ apply ─▶ mark ─▶ save marks ─▶ record              (undone: undo, release)
//!  handover   drain ─▶ record ─▶ mark ─▶ release ─▶ leave ─▶ follow      │ the other site: probe ─▶ … ─▶ open
//!  outside    record ─▶ alone ─▶ mark ─▶ flush ─▶ wait ─▶ round: send ─▶ end ─▶ clear ─▶ forget
//!  return     look ─▶ record ─▶ catch up ─▶ stage, or in place ─▶ replay, or last
//! ```
//! A step lasts from one effect to another; so a process that dies between two effects dies within a step, and which one is known.

macro_rules! steps {
    ($($name:ident = $words:literal,)*) => {
        /// A step of a site.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Step {
            $(#[doc = $words] $name,)*
        }

        impl Step {
            /// All of them.
            pub const ALL: [Self; [$($words),*].len()] = [$(Self::$name),*];

            /// What the site does.
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)*
                }
            }
        }
    };
}

steps! {
    StartProbe = "start: looks at the lane, asks the other site",
    StartFence = "start: fences the lane",
    StartRecord = "start: records its epoch",
    StartVerify = "start: verifies the tail",
    StartRedo = "start: redoes the tail",
    StartFlush = "start: flushes the volumes",
    StartOpen = "start: waits for the first lease",
    Resume = "start outside the lanes: makes sure that nobody replaced it",
    TakeProbe = "takeover: looks at the lane",
    TakeFence = "takeover: fences the lane",
    TakeApply = "takeover: brings the volumes to the prefix",
    TakeMark = "takeover: reads what is to be marked",
    TakeSave = "takeover: writes the marks",
    TakeRecord = "takeover: records that it is primary",
    UndoProbe = "takeover undone: looks at the lane",
    UndoRelease = "takeover undone: gives the lane back",
    GiveBack = "gives back a lane that an earlier process fenced",
    HandDrain = "handover, former: drains",
    HandRecord = "handover, former: records where it ends",
    HandMark = "handover, former: puts the mark into the lane",
    HandRelease = "handover, former: releases its lease",
    HandLeave = "handover, former: leaves the role",
    HandFollow = "handover, former: becomes secondary",
    GoOnProbe = "handover, new: looks at the lane",
    GoOnFence = "handover, new: fences the lane",
    GoOnApply = "handover, new: reads to the prefix",
    GoOnRecord = "handover, new: records that it is primary",
    GoOnOpen = "handover, new: waits for the first lease",
    OutRecord = "outside: records that the lanes are left, and says so",
    OutAlone = "outside: serves, no mark in the lane",
    OutMark = "outside: serves, the mark in the lane waits for the other site",
    OutFlush = "outside: flushes the volumes, to be back in the lanes",
    RoundWait = "round, source: in the lanes, not begun",
    RoundSend = "round, source: sends what is marked",
    RoundEnd = "round, source: all sent, the target is not at its end",
    RoundClear = "round, source: removes the marks",
    RoundForget = "round, source: records that the sites are paired",
    ReturnLook = "return: finds itself replaced, looks where to follow",
    ReturnRecord = "return: records that it follows",
    CatchUp = "round, target: follows to the round's begin",
    Stage = "round, target: keeps the round in its own ring",
    InPlace = "round, target: writes the round in place",
    Replay = "round, target: writes what it kept",
    Last = "round, target: records the cut after a round in place",
}

impl Step {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its place in [`Step::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What of an effect, a command or a durable frame moves a site from one step to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// An operator asks a secondary to take over.
    Asked,
    /// An operator asks a secondary to undo a takeover.
    AbortAsked,
    /// Notes of a start or a takeover.
    Fencing,
    /// See [`Sign::Fencing`].
    Reading,
    /// See [`Sign::Fencing`].
    Redoing,
    /// It does not happen.
    Refused,
    /// The lane cannot be used as it is.
    Obstacle,
    /// What was fenced is given back.
    Aborted,
    /// Hosts are served.
    Serving,
    /// A newer epoch exists.
    Fenced,
    /// It follows the one that replaced it.
    Rejoined,
    /// The lanes were left.
    LeftTheLanes,
    /// Notes of a round.
    Began,
    /// See [`Sign::Began`].
    Sent,
    /// See [`Sign::Began`].
    Cancelled,
    /// See [`Sign::Began`].
    Ended,
    /// Notes of a handover.
    Draining,
    /// See [`Sign::Draining`].
    Given,
    /// See [`Sign::Draining`].
    Stays,
    /// The state is written, of a primary that hands over.
    SavedGiving,
    /// The state is written, of a secondary that is to go on.
    SavedGiven,
    /// The state is written, of a secondary that holds a cut.
    SavedWhole,
    /// The state is written, of a secondary.
    SavedFollower,
    /// The state is written, of a primary outside the lanes that may answer hosts.
    SavedAnswered,
    /// The state is written, of a primary with a round to run.
    SavedResync,
    /// The state is written, of a primary that is paired.
    SavedPaired,
    /// The state is written.
    Saved,
    /// A block of the dirty map is written, and nothing is marked.
    Cleared,
    /// A block of the dirty map is written.
    Marks,
    /// A volume is flushed for the role, not for a host.
    Flush,
    /// A session that writes the ring is opened.
    Append,
    /// A session that reads the ring is opened.
    Fetch,
    /// A frame goes into the ring.
    Frame,
    /// The lane is given back, or its lease.
    Release,
    /// The own ring durably holds a Begin: of a round that is kept.
    OwnBegin,
    /// Of a round in place.
    OwnInPlace,
    /// Its End.
    OwnEnd,
    /// It says that the round is none, or that the lanes were left.
    OwnAway,
}

/// Where a sign leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// To this step.
    Step(Step),
    /// Nothing long is under way.
    Idle,
    /// To where the site's role and its recorded state say.
    Look,
}

const START: &[Step] =
    &[Step::StartFence, Step::StartRecord, Step::StartVerify, Step::StartRedo, Step::StartFlush];
const TAKE: &[Step] = &[
    Step::TakeProbe,
    Step::TakeFence,
    Step::TakeApply,
    Step::TakeMark,
    Step::TakeSave,
    Step::TakeRecord,
    Step::UndoProbe,
    Step::UndoRelease,
    Step::GiveBack,
];
const GIVING: &[Step] =
    &[Step::HandDrain, Step::HandRecord, Step::HandMark, Step::HandRelease, Step::HandLeave];
const ROUND: &[Step] = &[Step::RoundWait, Step::RoundSend, Step::RoundEnd, Step::RoundClear];
const TARGET: &[Step] = &[Step::CatchUp, Step::Stage, Step::InPlace, Step::Replay, Step::Last];

/// From which steps a row leads.
#[derive(Clone, Copy, Debug)]
enum Whence {
    /// From these.
    Of(&'static [Step]),
    /// Where nothing long is under way.
    Idle,
    /// From any.
    Any,
}

/// The table: the first row that fits counts. What no row names changes nothing.
const TABLE: &[(Whence, Sign, To)] = &[
    // A start.
    (
        Whence::Of(&[Step::StartProbe, Step::ReturnLook, Step::Resume]),
        Sign::Fencing,
        To::Step(Step::StartFence),
    ),
    (Whence::Of(&[Step::StartFence]), Sign::Saved, To::Step(Step::StartRecord)),
    (Whence::Of(&[Step::StartRecord]), Sign::Reading, To::Step(Step::StartVerify)),
    (Whence::Of(&[Step::StartVerify]), Sign::Redoing, To::Step(Step::StartRedo)),
    (Whence::Of(&[Step::StartRecord, Step::StartRedo]), Sign::Flush, To::Step(Step::StartFlush)),
    (Whence::Of(&[Step::StartFlush]), Sign::Append, To::Step(Step::StartOpen)),
    (Whence::Of(START), Sign::Obstacle, To::Step(Step::StartProbe)),
    (Whence::Of(&[Step::StartOpen, Step::Resume, Step::ReturnLook]), Sign::Serving, To::Look),
    // A takeover, undone or not.
    (Whence::Any, Sign::Asked, To::Step(Step::TakeProbe)),
    (Whence::Of(&[Step::TakeProbe]), Sign::Fencing, To::Step(Step::TakeFence)),
    (Whence::Of(&[Step::TakeFence]), Sign::Reading, To::Step(Step::TakeApply)),
    (Whence::Of(&[Step::TakeApply]), Sign::Redoing, To::Step(Step::TakeMark)),
    (Whence::Of(&[Step::TakeMark]), Sign::Marks, To::Step(Step::TakeSave)),
    (Whence::Of(&[Step::TakeMark, Step::TakeSave]), Sign::Saved, To::Step(Step::TakeRecord)),
    (Whence::Of(&[Step::TakeRecord]), Sign::Serving, To::Look),
    (Whence::Any, Sign::AbortAsked, To::Step(Step::UndoProbe)),
    (Whence::Of(&[Step::UndoProbe]), Sign::Release, To::Step(Step::UndoRelease)),
    (Whence::Of(TAKE), Sign::Refused, To::Look),
    (Whence::Of(TAKE), Sign::Aborted, To::Look),
    // A handover.
    (Whence::Any, Sign::Draining, To::Step(Step::HandDrain)),
    (Whence::Of(&[Step::HandDrain]), Sign::SavedGiving, To::Step(Step::HandRecord)),
    (Whence::Of(&[Step::HandRecord]), Sign::Frame, To::Step(Step::HandMark)),
    (Whence::Of(&[Step::HandMark]), Sign::Release, To::Step(Step::HandRelease)),
    (Whence::Of(GIVING), Sign::Given, To::Step(Step::HandLeave)),
    (Whence::Of(GIVING), Sign::Stays, To::Look),
    (Whence::Of(&[Step::HandLeave, Step::ReturnLook]), Sign::SavedFollower, To::Step(Step::HandFollow)),
    (Whence::Of(&[Step::HandFollow]), Sign::Fetch, To::Look),
    (Whence::Idle, Sign::SavedGiven, To::Step(Step::GoOnProbe)),
    (Whence::Of(TARGET), Sign::SavedGiven, To::Step(Step::GoOnProbe)),
    (Whence::Of(&[Step::GoOnProbe]), Sign::SavedWhole, To::Idle),
    (Whence::Of(&[Step::GoOnProbe]), Sign::Fencing, To::Step(Step::GoOnFence)),
    (Whence::Of(&[Step::GoOnFence]), Sign::Reading, To::Step(Step::GoOnApply)),
    (Whence::Of(&[Step::GoOnApply]), Sign::Redoing, To::Step(Step::GoOnRecord)),
    (Whence::Of(&[Step::GoOnRecord]), Sign::Append, To::Step(Step::GoOnOpen)),
    (Whence::Of(&[Step::GoOnOpen]), Sign::Serving, To::Look),
    // Outside the lanes, and back.
    (Whence::Any, Sign::LeftTheLanes, To::Step(Step::OutRecord)),
    (Whence::Of(&[Step::OutRecord]), Sign::SavedAnswered, To::Step(Step::OutAlone)),
    (Whence::Of(&[Step::OutAlone]), Sign::Frame, To::Step(Step::OutMark)),
    (Whence::Of(&[Step::OutAlone, Step::OutMark]), Sign::Flush, To::Step(Step::OutFlush)),
    (Whence::Of(&[Step::OutFlush]), Sign::SavedResync, To::Step(Step::RoundWait)),
    (Whence::Idle, Sign::SavedResync, To::Step(Step::RoundWait)),
    // A round, at its source.
    (Whence::Of(ROUND), Sign::Began, To::Step(Step::RoundSend)),
    (Whence::Of(ROUND), Sign::Sent, To::Step(Step::RoundEnd)),
    (Whence::Of(ROUND), Sign::Cancelled, To::Step(Step::RoundWait)),
    (Whence::Of(&[Step::RoundEnd]), Sign::Cleared, To::Step(Step::RoundClear)),
    (Whence::Of(ROUND), Sign::Ended, To::Step(Step::RoundForget)),
    (Whence::Of(&[Step::RoundForget]), Sign::SavedPaired, To::Idle),
    // And at its target.
    (Whence::Any, Sign::Fenced, To::Step(Step::ReturnLook)),
    (Whence::Of(&[Step::ReturnLook]), Sign::Rejoined, To::Step(Step::ReturnRecord)),
    (Whence::Of(&[Step::ReturnRecord]), Sign::Fetch, To::Step(Step::CatchUp)),
    (Whence::Of(TARGET), Sign::OwnBegin, To::Step(Step::Stage)),
    (Whence::Of(TARGET), Sign::OwnInPlace, To::Step(Step::InPlace)),
    (Whence::Of(&[Step::Stage]), Sign::OwnEnd, To::Step(Step::Replay)),
    (Whence::Of(&[Step::InPlace]), Sign::OwnEnd, To::Step(Step::Last)),
    (Whence::Of(TARGET), Sign::OwnAway, To::Step(Step::CatchUp)),
    (Whence::Idle, Sign::OwnAway, To::Step(Step::CatchUp)),
    (Whence::Of(TARGET), Sign::SavedWhole, To::Idle),
    // A secondary that the relay calls primary.
    (Whence::Idle, Sign::Release, To::Step(Step::GiveBack)),
    (Whence::Of(TARGET), Sign::Release, To::Step(Step::GiveBack)),
];

/// Where a sign leads from a step; `None`: it changes nothing.
pub fn next(step: Option<Step>, sign: Sign) -> Option<To> {
    let fits = |from: Whence| match (from, step) {
        (Whence::Any, _) => true,
        (Whence::Idle, step) => step.is_none(),
        (Whence::Of(steps), Some(step)) => steps.contains(&step),
        (Whence::Of(_), None) => false,
    };
    TABLE.iter().find(|(from, of, _)| *of == sign && fits(*from)).map(|(_, _, to)| *to)
}

/// Which of the nodes died while a site was within a step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Deaths([[u64; 3]; Step::COUNT]);

/// Who died: the site itself, the relay, the other site.
pub const WHO: [&str; 3] = ["itself", "relay", "other"];

impl Default for Deaths {
    fn default() -> Self {
        Self([[0; 3]; Step::COUNT])
    }
}

impl Deaths {
    /// One more; `who` is an index of [`WHO`].
    pub fn count(&mut self, step: Step, who: usize) {
        self.0[step.index()][who] += 1;
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (sums, found) in self.0.iter_mut().zip(other.0) {
            for (sum, found) in sums.iter_mut().zip(found) {
                *sum += found;
            }
        }
    }

    /// How often a site died within a step of its own.
    pub fn within(&self, step: Step) -> u64 {
        self.0[step.index()][0]
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut lines =
            vec![format!("{:<62}{:>8}{:>8}{:>8}", "died within this step", WHO[0], WHO[1], WHO[2])];
        for step in Step::ALL {
            let [own, relay, other] = self.0[step.index()];
            lines.push(format!("{:<62}{own:>8}{relay:>8}{other:>8}", step.words()));
        }
        lines.join("\n")
    }
}

impl std::fmt::Debug for Deaths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let found = Step::ALL.into_iter().map(|step| (step, self.0[step.index()]));
        f.debug_map().entries(found.filter(|(_, deaths)| *deaths != [0; 3])).finish()
    }
}
