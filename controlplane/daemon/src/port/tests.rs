//! Commands and reports over a data plane that the test plays.

use std::cell::RefCell;
use std::collections::VecDeque;

use midspan_format::control::{GroupStatus, LossReason};
use midspan_format::geometry::Position;
use midspan_format::ids::VolumeId;
use midspan_format::ids::{Epoch, GroupId};
use midspan_format::receipt::Difference;
use midspan_format::superblock::Role;
use midspan_node::port::{
    HandoverNote, HandoverRefusal, Missing, StartNote, StartRefusal, StartReport, VerifyNote, VerifyRefusal,
    VerifyReport,
};

use crate::api::types::{VerifyRequest, VolumeStatus};

use midspan_node::exports::ExportId;

use super::*;

mod held;

/// A data plane that keeps what it is told, and says what the test wants.
#[derive(Debug, Default)]
struct Plane {
    commands: RefCell<Vec<(usize, CommandId, Command)>>,
    reports: RefCell<VecDeque<Report>>,
    full: bool,
}

impl DataPlane for Plane {
    fn shards(&self) -> usize {
        2
    }

    fn command(&self, shard: usize, id: CommandId, command: Command) -> Result<(), Command> {
        if self.full {
            return Err(command);
        }
        self.commands.borrow_mut().push((shard, id, command));
        Ok(())
    }

    fn report(&self) -> Option<Report> {
        self.reports.borrow_mut().pop_front()
    }
}

fn known(name: &str, id: u32, shard: Option<usize>) -> Known {
    let holds_lane = shard.is_none();
    Known {
        name: name.into(),
        id: GroupId(id),
        sites: vec![NodeId(1), NodeId(3)],
        home: None,
        shard,
        holds_lane,
        volumes: Vec::new(),
    }
}

fn port(full: bool) -> Port<Plane> {
    let names = Names::new([(1, "a".to_owned()), (2, "relay".to_owned())].into_iter());
    let groups = vec![known("vault", 7, Some(1)), known("other", 8, None)];
    let objects = Objects {
        node: NodeId(3),
        names,
        groups,
        exports: vec![Offered { name: "disk".into(), read_only: false }],
    };
    Port::new(Plane { full, ..Plane::default() }, objects)
}

impl Port<Plane> {
    /// What is new after these reports.
    fn after(&mut self, reports: impl IntoIterator<Item = Report>) -> Vec<News> {
        self.plane.reports.borrow_mut().extend(reports);
        self.take()
    }

    fn commands(&self) -> Vec<(usize, CommandId, Command)> {
        self.plane.commands.borrow_mut().drain(..).collect()
    }
}

fn start(note: StartNote) -> Report {
    Report::Note { group: Some(GroupId(7)), note: Note::Start(note) }
}

fn take_over() -> Action {
    Action::TakeOver { group: "vault".into(), accept_loss: false, dry_run: false }
}

#[test]
fn each_object_is_asked_once_until_it_has_answered() {
    let mut port = port(false);
    port.poll();
    let commands = port.commands();
    assert_eq!(commands.iter().map(|(shard, ..)| *shard).collect::<Vec<_>>(), [1, 0, 1]);
    port.poll();
    assert!(port.commands().is_empty());
    let status = Reply::Group(Box::new(GroupStatus { group: GroupId(7), ..GroupStatus::default() }));
    let news = port.after([Report::Reply { id: commands[0].1, reply: status }]);
    assert!(matches!(&news[..], [News::Group(group)] if group.status.group == "vault"));
    port.poll();
    assert_eq!(port.commands().len(), 1);
}

#[test]
fn the_relays_of_all_shards_are_shown_as_one() {
    let mut port = port(false);
    port.poll();
    let ids: Vec<CommandId> = port.commands().iter().skip(1).map(|(_, id, _)| *id).collect();
    let refused = |node| midspan_node::status::RefusedCount {
        node: NodeId(node),
        reason: midspan_format::message::RefusedReason::NotPermitted,
        count: 1,
    };
    let answer = |id, node| Report::Reply {
        id,
        reply: Reply::Relay(Box::new(RelayStatus { areas: Vec::new(), refused: vec![refused(node)] })),
    };
    let news = port.after([answer(ids[0], 1), answer(ids[1], 9)]);
    let Some(News::Areas(_, refused)) = news.last() else { panic!("no areas") };
    assert_eq!(refused.iter().map(|r| r.node.as_str()).collect::<Vec<_>>(), ["a", "node 9"]);
}

#[test]
fn the_end_of_a_takeover_is_told_after_the_status_that_shows_it() {
    let mut port = port(false);
    port.act(take_over());
    let (shard, id, command) = port.commands().remove(0);
    assert_eq!((shard, matches!(command, Command::Group { .. })), (1, true));
    let news = port.after([
        Report::Reply { id, reply: Reply::Taken },
        start(StartNote::Fencing),
        start(StartNote::Reading { from: Position(4096), to: Position(8192) }),
        start(StartNote::Redoing),
    ]);
    let steps: Vec<Step> = news
        .iter()
        .filter_map(|n| if let News::Step { step, .. } = n { Some(*step) } else { None })
        .collect();
    assert_eq!(steps, [Step::Probing, Step::Fencing, Step::Reading { from: 4096, to: 8192 }, Step::Redoing]);
    let epoch = Epoch { number: 5, node: NodeId(1) };
    let done = StartReport { epoch, frames: 3, lost_nothing: true, ..StartReport::default() };
    assert!(port.after([start(StartNote::Done(done))]).is_empty());
    let (_, id, _) = port.commands().remove(0);
    let status = Box::new(GroupStatus { group: GroupId(7), serving: true, ..GroupStatus::default() });
    let news = port.after([Report::Reply { id, reply: Reply::Group(status) }]);
    let [News::Group(group), News::Taken { report, .. }] = &news[..] else { panic!("{news:?}") };
    assert!(group.status.serving);
    assert_eq!((report.frames, report.epoch.node.as_str()), (3, "a"));
}

#[test]
fn a_refused_takeover_says_why_and_what_helps() {
    let refusals = [
        (StartRefusal::NotSecondary, "refused"),
        (StartRefusal::Running, "refused"),
        (StartRefusal::LaneUnreachable { node: NodeId(2), missing: None }, "timeout"),
        (StartRefusal::MayLose { why: LossReason::LeftTheLanes, missing: None }, "refused"),
        (StartRefusal::Stopping, "refused"),
    ];
    for (refusal, code) in refusals {
        let mut port = port(false);
        port.act(take_over());
        let news = port.after([start(StartNote::Refused(refusal))]);
        let Some(News::Refused { group, error, .. }) = news.last() else { panic!("{news:?}") };
        assert_eq!((group.as_str(), error.code.as_str()), ("vault", code));
        assert!(error.message.starts_with("group vault: ") && !error.hint.is_empty(), "{error:?}");
    }
}

#[test]
fn a_takeover_that_is_refused_for_a_possible_loss_says_how_much() {
    let missing = Some(Missing { kept_to: 1_795_530_645_123_000_000, bytes: 4096 });
    for refusal in [
        StartRefusal::MayLose { why: LossReason::LaneUnreachable, missing },
        StartRefusal::LaneUnreachable { node: NodeId(2), missing },
    ] {
        let mut port = port(false);
        port.act(take_over());
        let news = port.after([start(StartNote::Refused(refusal))]);
        let Some(News::Refused { error, .. }) = news.last() else { panic!("{news:?}") };
        let said = &error.message;
        assert!(
            said.contains("after 2026-11-24T14:30:45.123Z,")
                && said.contains(" s before now, may be missing"),
            "{said}"
        );
        assert!(said.contains("4096 bytes"), "{said}");
    }
}

#[test]
fn a_takeover_that_no_shard_can_take_is_refused_at_once() {
    let mut full = port(true);
    full.act(take_over());
    assert!(matches!(full.take().last(), Some(News::Refused { .. })));
    let mut relay = port(false);
    relay.act(Action::TakeOver { group: "other".into(), accept_loss: true, dry_run: false });
    let news = relay.take();
    assert!(matches!(news.last(), Some(News::Refused { error, .. }) if error.message.contains("relay")));
    assert!(relay.commands().is_empty());
}

#[test]
fn a_restart_that_nobody_asked_for_is_told_as_an_event() {
    let mut port = port(false);
    let done = StartReport { lost_nothing: true, ..StartReport::default() };
    let news = port.after([start(StartNote::Fencing), start(StartNote::Done(done))]);
    assert!(
        matches!(&news[..], [News::Tell(tell)] if tell.kind == "start_done" && tell.object == "group:vault")
    );
}

#[test]
fn the_end_of_a_shard_is_the_end_of_the_data_plane() {
    let mut port = port(false);
    assert_eq!(port.ended(), None);
    port.after([
        Report::Ended { shard: 1, failure: Some("the ring of shard 1 broke".into()) },
        Report::Ended { shard: 0, failure: None },
    ]);
    assert_eq!(port.ended(), Some("the ring of shard 1 broke"));
}

#[test]
fn an_export_is_shown_as_served_at_once_and_told_once() {
    let mut port = port(false);
    let serving = |serving| Report::Serving { export: ExportId(0), serving };
    let news = port.after([serving(true)]);
    let [News::Tell(tell), News::Export { export, access }] = &news[..] else { panic!("{news:?}") };
    assert_eq!((tell.object.as_str(), export.as_str(), *access), ("export:disk", "disk", "read_write"));
    let news = port.after([serving(true), serving(false)]);
    assert!(matches!(&news[..], [_, _, News::Export { access: "not_served", .. }]), "{news:?}");
    assert!(port.after([Report::Serving { export: ExportId(9), serving: true }]).is_empty());
}

fn change(change: Change) -> Action {
    Action::Change { group: "vault".into(), change }
}

fn handover(note: HandoverNote) -> Report {
    Report::Note { group: Some(GroupId(7)), note: Note::Handover(note) }
}

fn status(role: Role, starting: bool) -> Reply {
    Reply::Group(Box::new(GroupStatus { group: GroupId(7), role, starting, ..GroupStatus::default() }))
}

#[test]
fn a_switchover_is_told_step_by_step_until_it_is_handed_over() {
    for wanted in [Change::Switchover, Change::Failback] {
        let mut port = port(false);
        port.act(change(wanted));
        let (_, id, command) = port.commands().remove(0);
        assert!(matches!(command, Command::Group { command: GroupCommand::Switchover, .. }));
        let news = port.after([
            Report::Reply { id, reply: Reply::Taken },
            handover(HandoverNote::Draining),
            handover(HandoverNote::Given { took_ns: 5_000_000 }),
        ]);
        let [
            News::Step { step: Step::Draining, .. },
            News::Step { step: Step::HandedOver, .. },
            News::HandedOver { change, drained_ns: 5_000_000, .. },
        ] = &news[..]
        else {
            panic!("{news:?}")
        };
        assert_eq!(*change, wanted);
        // Whether the other site serves is seen in what is measured next.
        let (_, id, _) = port.commands().remove(0);
        let news = port.after([Report::Reply { id, reply: status(Role::Secondary, false) }]);
        assert!(matches!(&news[..], [News::Group(_)]), "{news:?}");
    }
}

#[test]
fn a_refused_switchover_says_why_and_what_helps() {
    let refusals = [
        (HandoverRefusal::NotPrimary, "refused"),
        (HandoverRefusal::Running, "refused"),
        (HandoverRefusal::NotPaired, "refused"),
        (HandoverRefusal::SecondaryAway, "timeout"),
        (HandoverRefusal::Failed, "refused"),
        (HandoverRefusal::Cancelled, "refused"),
        (HandoverRefusal::Replaced, "refused"),
    ];
    for (refusal, code) in refusals {
        let mut port = port(false);
        port.act(change(Change::Switchover));
        let news = port.after([handover(HandoverNote::Refused(refusal))]);
        let Some(News::Refused { operation, error, .. }) = news.last() else { panic!("{news:?}") };
        assert_eq!((*operation, error.code.as_str()), (Operation::Change(Change::Switchover), code));
        assert!(error.message.starts_with("group vault: ") && !error.hint.is_empty(), "{error:?}");
    }
}

#[test]
fn a_switchover_that_is_cancelled_in_time_is_refused_and_its_cancellation_is_done() {
    let mut port = port(false);
    port.act(change(Change::Switchover));
    port.act(change(Change::Stay));
    assert!(matches!(
        port.commands().pop(),
        Some((_, _, Command::Group { command: GroupCommand::Stay, .. }))
    ));
    let news = port.after([handover(HandoverNote::Refused(HandoverRefusal::Cancelled))]);
    let [News::Refused { operation: Operation::Change(Change::Switchover), error, .. }] = &news[..] else {
        panic!("{news:?}")
    };
    assert!(error.message.contains("cancelled; this site goes on as primary"), "{error:?}");
    let (_, id, _) = port.commands().pop().unwrap();
    let news = port.after([Report::Reply { id, reply: status(Role::Primary, false) }]);
    assert!(matches!(&news[..], [News::Group(_), News::Changed { change: Change::Stay, .. }]), "{news:?}");
}

#[test]
fn a_switchover_that_is_recorded_is_not_cancelled() {
    let mut port = port(false);
    port.act(change(Change::Switchover));
    port.act(change(Change::Stay));
    let news = port.after([handover(HandoverNote::NotCancelled)]);
    let [News::Refused { operation: Operation::Change(Change::Stay), error, .. }] = &news[..] else {
        panic!("{news:?}")
    };
    assert!(error.hint.contains("switchover at the other site"), "{error:?}");
    let news = port.after([handover(HandoverNote::Given { took_ns: 1 })]);
    assert!(matches!(news.last(), Some(News::HandedOver { .. })), "it goes on: {news:?}");
}

#[test]
fn a_switchover_that_nobody_waits_for_is_told_as_an_event() {
    let mut port = port(false);
    let news = port.after([handover(HandoverNote::Given { took_ns: 1 })]);
    assert!(matches!(&news[..], [News::Tell(tell)] if tell.kind == "switchover_given"), "{news:?}");
}

#[test]
fn a_round_is_held_when_the_shard_has_taken_it_and_the_status_was_asked_again() {
    for (wanted, expected) in [(Change::Pause, GroupCommand::Pause), (Change::Resume, GroupCommand::Resume)] {
        let mut port = port(false);
        port.act(change(wanted));
        let (_, id, command) = port.commands().remove(0);
        assert!(matches!(command, Command::Group { command, .. } if command == expected));
        assert!(port.after([Report::Reply { id, reply: Reply::Taken }]).is_empty());
        let (_, id, _) = port.commands().remove(0);
        let news = port.after([Report::Reply { id, reply: status(Role::Primary, false) }]);
        assert!(matches!(&news[..], [News::Group(_), News::Changed { change, .. }] if *change == wanted));
    }
}

/// A verify of a volume of the first group.
fn verify(volume: &str) -> Action {
    let request = VerifyRequest { volume: Some(volume.into()), ..VerifyRequest::default() };
    Action::Verify { group: "vault".into(), request }
}

#[test]
fn a_verify_names_its_volume_and_its_outcome_comes_with_the_status() {
    let mut port = port(false);
    let volume = VolumeStatus { volume: 5, name: "data".into(), ..VolumeStatus::default() };
    port.objects.groups[0].volumes = vec![volume];
    port.act(verify("else"));
    let refused = port.take();
    assert!(
        matches!(&refused[..], [News::Refused { operation: Operation::Verify, error, .. }]
            if error.message.contains("no such volume")),
        "{refused:?}"
    );
    port.act(verify("data"));
    let (_, id, command) = port.commands().remove(0);
    let expected = GroupCommand::Verify { volume: Some(VolumeId(5)), bytes_per_s: 0, repair: false };
    assert!(matches!(command, Command::Group { command, .. } if command == expected));
    let differences = vec![Difference { offset: 4096, length: 8192, volume: 5, ..Difference::default() }];
    let report =
        VerifyReport { bytes: 1, compared: 1, different: 8192, differences, ..VerifyReport::default() };
    let note = |step| Report::Note { group: Some(GroupId(7)), note: Note::Verify(step) };
    let taken = Report::Reply { id, reply: Reply::Taken };
    let news = port.after([taken, note(VerifyNote::Ended(Box::new(report)))]);
    assert!(matches!(&news[..], [News::Tell(tell)] if tell.kind == "verify_found"), "{news:?}");
    let (_, id, _) = port.commands().remove(0);
    let news = port.after([Report::Reply { id, reply: status(Role::Primary, false) }]);
    let [News::Group(_), News::Verified { outcome, .. }] = &news[..] else { panic!("{news:?}") };
    let found = outcome.differences.first().unwrap();
    assert_eq!((found.volume.as_str(), found.offset, found.length), ("data", 4096, 8192));
    port.act(change(Change::EndVerify));
    let news = port.after([note(VerifyNote::Refused(VerifyRefusal::NotRunning))]);
    assert!(
        matches!(&news[..], [News::Refused { operation: Operation::Change(Change::EndVerify), .. }]),
        "{news:?}"
    );
}

/// A port with a takeover and its abort, both under way.
fn aborting() -> Port<Plane> {
    let mut port = port(false);
    port.act(take_over());
    port.act(change(Change::Abort));
    port.take();
    let (_, id, command) = port.commands().remove(1);
    assert!(matches!(command, Command::Group { command: GroupCommand::Abort, .. }));
    port.after([Report::Reply { id, reply: Reply::Taken }]);
    port
}

#[test]
fn an_abort_ends_the_takeover_that_it_undoes() {
    let mut port = aborting();
    let news = port.after([start(StartNote::Aborted)]);
    assert!(matches!(&news[..], [News::Refused { operation: Operation::Takeover, .. }]), "{news:?}");
    let (_, id, _) = port.commands().remove(0);
    let news = port.after([Report::Reply { id, reply: status(Role::Secondary, false) }]);
    assert!(matches!(&news[..], [News::Group(_), News::Changed { change: Change::Abort, .. }]), "{news:?}");
}

#[test]
fn an_abort_that_finds_no_lane_or_nothing_is_refused_and_ends_the_takeover_too() {
    for refusal in
        [StartRefusal::LaneUnreachable { node: NodeId(2), missing: None }, StartRefusal::NothingToAbort]
    {
        let news = aborting().after([start(StartNote::Refused(refusal))]);
        let [News::Refused { operation, .. }, News::Refused { operation: Operation::Takeover, .. }] =
            &news[..]
        else {
            panic!("{news:?}")
        };
        assert_eq!(*operation, Operation::Change(Change::Abort));
    }
}

#[test]
fn a_takeover_that_is_refused_before_the_abort_was_taken_is_refused_itself() {
    let mut port = port(false);
    port.act(take_over());
    port.act(change(Change::Abort));
    let news = port.after([start(StartNote::Refused(StartRefusal::Stopping))]);
    assert!(matches!(news.last(), Some(News::Refused { operation: Operation::Takeover, .. })), "{news:?}");
}

#[test]
fn a_split_is_resolved_when_the_status_says_so_or_was_none() {
    let mut port = port(false);
    port.act(change(Change::Resolve));
    let (_, id, _) = port.commands().remove(0);
    port.after([Report::Reply { id, reply: Reply::Taken }]);
    let split = GroupStatus { group: GroupId(7), pair: PairState::Split, ..GroupStatus::default() };
    let (_, id, _) = port.commands().remove(0);
    let news = port.after([Report::Reply { id, reply: Reply::Group(Box::new(split)) }]);
    assert!(matches!(&news[..], [News::Group(_)]), "{news:?}");
    port.poll();
    let (_, id, _) = port.commands().remove(0);
    let news = port.after([Report::Reply { id, reply: status(Role::Secondary, false) }]);
    assert!(matches!(&news[..], [News::Group(_), News::Changed { change: Change::Resolve, .. }]), "{news:?}");
    port.act(change(Change::Resolve));
    let news = port.after([start(StartNote::Refused(StartRefusal::NotSplit))]);
    let resolve = Operation::Change(Change::Resolve);
    assert!(
        matches!(news.last(), Some(News::Refused { operation, .. }) if *operation == resolve),
        "{news:?}"
    );
}
