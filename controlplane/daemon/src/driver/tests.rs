//! Takeovers followed from request to statement, and what is derived from measurements.

use tokio::sync::mpsc::{Receiver, channel};
use tokio::sync::watch;

use super::*;
use crate::api::query::Wanted;
use crate::api::types::{ChangeProgress, LaneStatus, RingUse, RoundStatus, TakeoverProgress, Watermarks};
use crate::view::View;

const MS: u64 = 1_000_000;

struct Fixture {
    driver: Driver,
    shared: Shared,
    requests: Receiver<Request>,
}

fn fixture() -> Fixture {
    let (sender, requests) = channel(4);
    let mut fixture =
        Fixture { driver: Driver::default(), shared: Shared::new(View::default(), sender), requests };
    fixture.tell(0, News::Group(Box::new(secondary(0))));
    fixture
}

impl Fixture {
    fn tell(&mut self, now_ns: u64, news: News) {
        self.driver.on_news(&self.shared, now_ns, news);
    }

    fn begin(&mut self, request: TakeoverRequest) -> (watch::Receiver<TakeoverProgress>, Action) {
        let progress = self.shared.takeover("vault", request, "a test").unwrap();
        self.driver.on_request(5 * MS, self.requests.try_recv().unwrap());
        (progress, self.driver.take_due().pop().unwrap())
    }
}

fn change(fixture: &mut Fixture, change: Change) -> (watch::Receiver<ChangeProgress>, Action) {
    let progress = fixture.shared.change("vault", change, "a test").unwrap();
    fixture.driver.on_request(5 * MS, fixture.requests.try_recv().unwrap());
    (progress, fixture.driver.take_due().pop().unwrap())
}

/// The serving primary away from its home, with a round.
fn primary(round: Option<RoundStatus>) -> News {
    let mut news = secondary(0);
    news.pair = PairFacts { primary: true, serving: true, lanes_up: true, ..PairFacts::default() };
    news.pair.resyncing = round.is_some();
    (news.status.role, news.status.home, news.status.round) = (Role::Primary, Some("a".into()), round);
    News::Group(Box::new(news))
}

fn secondary(used: u64) -> GroupNews {
    let watermarks = Watermarks {
        sealed: Some(12_288),
        acquired: Some(8192),
        applied: Some(4096),
        ..Watermarks::default()
    };
    let ring = RingUse { size_bytes: Some(10_000_000), used_bytes: Some(used), ..RingUse::default() };
    let lane = LaneStatus { connected: true, watermarks, ring, ..LaneStatus::default() };
    let status = GroupStatus {
        group: "vault".into(),
        role: Role::Secondary,
        last_time_ns: Some(3_000 * MS),
        lanes: vec![lane],
        ..GroupStatus::default()
    };
    let pair = PairFacts { lanes_up: true, ..PairFacts::default() };
    GroupNews { status, pair, applied_time_ns: Some(1_000 * MS), ..GroupNews::default() }
}

fn report(facts: TakeoverFacts) -> Box<Report> {
    Box::new(Report { facts, frames: 7, epoch: Epoch { number: 4, node: "b".into() }, ..Report::default() })
}

const GOOD: TakeoverFacts =
    TakeoverFacts { lanes_reached: true, journal_whole: true, within_lanes: true, cut_held: true };

#[test]
fn what_is_measured_becomes_state_and_lag() {
    let fixture = fixture();
    let group = fixture.shared.status().groups[0].clone();
    assert_eq!((group.state.as_str(), group.zero_loss), ("paired", Some(true)));
    assert!(group.meaning.contains("follows the primary"));
    assert_eq!((group.lag.acquired_bytes, group.lag.applied_bytes), (Some(4096), Some(8192)));
    assert_eq!(group.lag.seconds, Some(2.0));
}

#[test]
fn a_ring_that_fills_says_when() {
    let mut fixture = fixture();
    for second in 1..60 {
        fixture.tell(second * 1000 * MS, News::Group(Box::new(secondary(second * 100_000))));
    }
    let seconds = fixture.shared.status().groups[0].lanes[0].ring.full_in_seconds.unwrap();
    assert!((39.0..44.0).contains(&seconds), "{seconds}");
    assert_eq!(fixture.shared.status().groups.len(), 1);
}

#[test]
fn a_takeover_goes_through_its_steps_to_the_statement() {
    let mut fixture = fixture();
    let (progress, action) = fixture.begin(TakeoverRequest { accept_loss: true, dry_run: false });
    let group = "vault".to_owned();
    assert_eq!(action, Action::TakeOver { group: group.clone(), accept_loss: true, dry_run: false });
    fixture.tell(
        6 * MS,
        News::Step { group: group.clone(), operation: Operation::Takeover, step: Step::Fencing },
    );
    assert_eq!(progress.borrow().phase, "fencing");
    fixture.tell(
        7 * MS,
        News::Step {
            group: group.clone(),
            operation: Operation::Takeover,
            step: Step::Reading { from: 4096, to: 8192 },
        },
    );
    assert_eq!((progress.borrow().position, progress.borrow().end), (Some(4096), Some(8192)));
    assert!(!progress.borrow().is_final());
    fixture.tell(9 * MS, News::Taken { group, report: report(GOOD) });
    let last = progress.borrow().outcome.clone().unwrap();
    assert_eq!((last.frames, last.took_ms, last.lost_nothing), (7, 4, true));
    assert_eq!(last.statement, "answered writes lost: 0");
    assert_eq!(fixture.shared.view().events.select(&Wanted::default()).last().unwrap().kind, "takeover_done");
}

#[test]
fn a_takeover_that_cannot_say_zero_says_why() {
    let mut fixture = fixture();
    let (progress, _) = fixture.begin(TakeoverRequest::default());
    let facts = TakeoverFacts { journal_whole: false, ..GOOD };
    fixture.tell(9 * MS, News::Taken { group: "vault".into(), report: report(facts) });
    let last = progress.borrow().outcome.clone().unwrap();
    assert!(!last.lost_nothing && last.statement.contains("damaged"));
    assert!(!fixture.shared.view().events.select(&Wanted::default()).last().unwrap().hint.is_empty());
}

#[test]
fn a_refused_takeover_can_be_asked_for_again() {
    let mut fixture = fixture();
    let (progress, _) = fixture.begin(TakeoverRequest::default());
    let error = ApiError::new("refused", "the relay does not answer", "bring it back");
    fixture.tell(
        9 * MS,
        News::Refused { group: "vault".into(), operation: Operation::Takeover, error: error.clone() },
    );
    assert_eq!(progress.borrow().error, Some(error));
    let (again, _) = fixture.begin(TakeoverRequest::default());
    assert!(!again.borrow().is_final());
}

#[test]
fn a_takeover_never_gets_the_outcome_of_another_one_that_was_asked_for_differently() {
    let ways = [(false, false), (false, true), (true, false), (true, true)];
    let ways = ways.map(|(accept_loss, dry_run)| TakeoverRequest { accept_loss, dry_run });
    for runs in ways {
        let mut fixture = fixture();
        let (first, _) = fixture.begin(runs);
        for asked in ways {
            let second = fixture.shared.takeover("vault", asked, "another");
            assert!(fixture.requests.try_recv().is_err(), "two at the same time");
            if asked == runs {
                assert_eq!(
                    second.unwrap().borrow().operation,
                    first.borrow().operation,
                    "who asks the same joins"
                );
                continue;
            }
            let error = second.unwrap_err();
            let named = if runs.dry_run { "a dry run" } else { "a takeover" };
            assert!(error.code == "refused" && error.message.contains(named), "{error:?}");
            assert!(error.message.contains("operation 1") && error.hint.contains("ask again"), "{error:?}");
        }
        let operations = fixture.shared.view().operations.newest(None, 9);
        assert_eq!(operations.len(), 1, "what was refused at once is no operation");
        fixture.tell(9 * MS, News::Taken { group: "vault".into(), report: report(GOOD) });
        let other = TakeoverRequest { dry_run: !runs.dry_run, ..runs };
        assert!(
            fixture.shared.takeover("vault", other, "another").is_ok(),
            "after its end any other one may follow"
        );
    }
}

#[test]
fn a_restart_that_nobody_asked_for_is_no_takeover_of_the_api() {
    let mut fixture = fixture();
    fixture
        .tell(MS, News::Step { group: "vault".into(), operation: Operation::Takeover, step: Step::Redoing });
    assert!(fixture.shared.last_takeover("vault").is_none());
}

#[test]
fn the_same_warning_is_told_once_in_a_while() {
    let mut fixture = fixture();
    let warn = |message: &str| News::Tell(Tell::warn("request_refused", "relay", message));
    for ms in 0..100 {
        fixture.tell(ms * 100 * MS, warn("b was refused"));
        fixture.tell(ms * 100 * MS, News::Tell(Tell::info("lane_up", "group:vault", "up")));
    }
    fixture.tell(5_000 * MS, warn("c was refused"));
    let count = |fixture: &Fixture, kind| {
        fixture
            .shared
            .view()
            .events
            .select(&Wanted::default())
            .iter()
            .filter(|event| event.kind == kind)
            .count()
    };
    assert_eq!((count(&fixture, "request_refused"), count(&fixture, "lane_up")), (2, 100));
    fixture.tell(10_000 * MS, warn("b was refused"));
    assert_eq!(count(&fixture, "request_refused"), 3);
}

/// A switchover of epoch 4 that was handed over at 9 ms.
fn handed_over(fixture: &mut Fixture) -> watch::Receiver<ChangeProgress> {
    fixture.shared.view().status.node = "b".into();
    let News::Group(mut news) = primary(None) else { panic!("no group") };
    news.status.epoch = Epoch { number: 4, node: "b".into() };
    fixture.tell(0, News::Group(news));
    let (progress, action) = change(fixture, Change::Switchover);
    let (group, change) = ("vault".to_owned(), Change::Switchover);
    assert_eq!(action, Action::Change { group: group.clone(), change });
    let operation = Operation::Change(change);
    fixture.tell(6 * MS, News::Step { group: group.clone(), operation, step: Step::Draining });
    assert_eq!((progress.borrow().phase.as_str(), progress.borrow().elapsed_ms), ("draining", 1));
    fixture.tell(9 * MS, News::Step { group: group.clone(), operation, step: Step::HandedOver });
    fixture.tell(9 * MS, News::HandedOver { group, change, drained_ns: 2_500_000 });
    progress
}

/// This site as secondary in an epoch, and what the newest event is then.
fn follows(fixture: &mut Fixture, now_ns: u64, number: u64, node: &str) -> crate::api::types::Event {
    let mut news = secondary(0);
    news.status.epoch = Epoch { number, node: node.into() };
    fixture.tell(now_ns, News::Group(Box::new(news)));
    fixture.shared.view().events.select(&Wanted::default()).pop().unwrap_or_default()
}

#[test]
fn a_switchover_ends_when_the_other_site_serves_with_the_whole_pause_of_the_hosts() {
    let mut fixture = fixture();
    let progress = handed_over(&mut fixture);
    let error = fixture.shared.change("vault", Change::Failback, "a test").unwrap_err();
    assert!(error.message.contains("a switchover is running already"), "{error:?}");
    follows(&mut fixture, 109 * MS, 4, "b");
    assert!(!progress.borrow().is_final() && progress.borrow().phase == "handed_over");
    let joined = fixture.shared.change("vault", Change::Switchover, "a test").unwrap();
    assert_eq!(joined.borrow().operation, progress.borrow().operation, "who asks again follows the same one");
    let event = follows(&mut fixture, 209 * MS, 5, "a");
    let outcome = progress.borrow().outcome.clone().unwrap();
    assert_eq!((outcome.host_pause_ms, outcome.drained_ms, outcome.took_ms), (Some(203), Some(3), 204));
    assert_eq!(event.kind, "switchover_done");
    assert!(event.message.contains("hosts waited 203 ms") && event.message.contains("3 ms of that here"));
    // It has ended: what is measured next ends nothing.
    follows(&mut fixture, 309 * MS, 5, "a");
    assert!(fixture.shared.change("vault", Change::Switchover, "a test").is_err(), "this site is secondary");
}

#[test]
fn a_switchover_that_the_other_site_does_not_answer_says_that_it_has_handed_over() {
    let mut fixture = fixture();
    let progress = handed_over(&mut fixture);
    follows(&mut fixture, 20_000 * MS, 4, "b");
    assert!(!progress.borrow().is_final());
    let event = follows(&mut fixture, 31_000 * MS, 4, "b");
    let error = progress.borrow().error.clone().unwrap();
    assert_eq!((error.code.as_str(), event.kind.as_str()), ("timeout", "switchover_unanswered"));
    assert!(error.message.contains("has handed over") && event.message.contains("does not serve yet"));
    assert_eq!(event.hint, error.hint);
}

#[test]
fn a_refused_change_says_what_helps_also_in_the_events() {
    let mut fixture = fixture();
    fixture.tell(0, primary(None));
    let (progress, _) = change(&mut fixture, Change::Failback);
    let error = ApiError::new("timeout", "group vault: it did not follow", "look there");
    let operation = Operation::Change(Change::Failback);
    fixture.tell(9 * MS, News::Refused { group: "vault".into(), operation, error: error.clone() });
    assert_eq!(progress.borrow().error, Some(error));
    let event = fixture.shared.view().events.select(&Wanted::default()).pop().unwrap();
    assert_eq!((event.kind.as_str(), event.hint.as_str()), ("failback_refused", "look there"));
}

#[test]
fn a_round_shows_its_rate_and_end_and_no_zero_loss() {
    let mut fixture = fixture();
    let round = |sent: u64, paused| {
        primary(Some(RoundStatus {
            round: Some(3),
            bytes: 100_000,
            bytes_sent: sent,
            paused,
            ..RoundStatus::default()
        }))
    };
    for second in 0..11 {
        fixture.tell(second * 1000 * MS, round(second * 1000, false));
    }
    let shown = |fixture: &Fixture| fixture.shared.status().groups[0].clone();
    let group = shown(&fixture);
    assert_eq!((group.state.as_str(), group.zero_loss), ("resync", Some(false)));
    let found = group.round.unwrap();
    assert_eq!((found.bytes_per_second, found.eta_seconds), (Some(1000), Some(90.0)));
    fixture.tell(11_000 * MS, round(10_000, true));
    assert_eq!(shown(&fixture).round.unwrap().eta_seconds, None);
    fixture.tell(12_000 * MS, primary(None));
    assert_eq!((shown(&fixture).round, shown(&fixture).state.as_str()), (None, "paired"));
}

#[test]
fn a_round_is_an_operation_with_its_share_rate_and_end() {
    let mut fixture = fixture();
    let measured = |sent: u64| {
        let percent = f64::from(u32::try_from(sent / 1000).unwrap());
        primary(Some(RoundStatus {
            round: Some(3),
            bytes: 100_000,
            bytes_sent: sent,
            percent,
            ..RoundStatus::default()
        }))
    };
    let step = |step| News::Round { group: "vault".into(), step };
    let newest = |fixture: &Fixture| fixture.shared.view().operations.newest(None, 1).pop().unwrap();
    fixture.tell(0, primary(None));
    fixture.tell(0, step(RoundStep::Began { round: 3, bytes: 100_000, in_place: true }));
    for second in 0..11 {
        fixture.tell(second * 1000 * MS, measured(second * 1000));
    }
    let round = newest(&fixture);
    assert_eq!(
        (round.kind.as_str(), round.with.as_str(), round.phase.as_str()),
        ("round", "in_place", "sending")
    );
    assert_eq!(
        (round.percent, round.bytes_per_second, round.eta_seconds),
        (Some(10.0), Some(1000), Some(90.0))
    );
    fixture.tell(11_000 * MS, step(RoundStep::Sent));
    fixture.tell(12_000 * MS, step(RoundStep::Ended));
    fixture.tell(12_000 * MS, primary(None));
    let ended = newest(&fixture);
    assert_eq!((ended.state.word(), ended.percent, ended.eta_seconds), ("done", Some(100.0), None));
    // One that is given up says so, and so does one whose site is primary no more.
    fixture.tell(13_000 * MS, step(RoundStep::Began { round: 4, bytes: 1, in_place: false }));
    fixture.tell(13_000 * MS, step(RoundStep::Cancelled));
    assert!(newest(&fixture).message.contains("another one follows"));
    fixture.tell(14_000 * MS, step(RoundStep::Began { round: 5, bytes: 1, in_place: false }));
    fixture.tell(14_000 * MS, measured(0));
    fixture.tell(15_000 * MS, News::Group(Box::new(secondary(0))));
    let ended = newest(&fixture);
    assert_eq!((ended.operation, ended.state.word()), (3, "refused"));
}

#[test]
fn a_site_without_a_cut_never_promises_zero_loss() {
    let mut fixture = fixture();
    let mut news = secondary(0);
    (news.status.no_cut, news.status.zero_loss) = (true, Some(true));
    fixture.tell(0, News::Group(Box::new(news)));
    assert_eq!(fixture.shared.status().groups[0].zero_loss, Some(false));
}

/// A client that asks now and then may see the end only, and must be told then what may be missing.
#[test]
fn the_end_of_a_start_without_the_journal_says_what_may_be_missing() {
    let mut fixture = fixture();
    let mut starting = secondary(0);
    starting.pair = PairFacts { primary: true, ..PairFacts::default() };
    starting.status.role = Role::Primary;
    fixture.tell(0, News::Group(Box::new(starting)));
    let (progress, _) = change(&mut fixture, Change::WithoutJournal);
    let (group, word) = ("vault".to_owned(), Operation::Change(Change::WithoutJournal));
    let step = Step::Skipping { landed: 0, last: 1_000 * MS };
    fixture.tell(6 * MS, News::Step { group: group.clone(), operation: word, step });
    fixture.tell(7 * MS, News::Changed { group, change: Change::WithoutJournal });
    let said = progress.borrow().clone();
    for message in [&said.message, &said.outcome.unwrap().statement] {
        assert!(message.contains("without the journal") && message.contains("may be missing"), "{message}");
    }
}
