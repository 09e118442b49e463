//! Takeovers followed from request to statement, and what is derived from measurements.

use tokio::sync::mpsc::{Receiver, channel};

use super::*;
use crate::api::types::{LaneStatus, RingUse, Watermarks};
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
        let progress = self.shared.takeover("vault", request).unwrap();
        let action = self.driver.on_request(5 * MS, self.requests.try_recv().unwrap());
        (progress, action)
    }
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
    GroupNews { status, pair, applied_time_ns: Some(1_000 * MS), behind_bytes: None }
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
    fixture.tell(6 * MS, News::Step { group: group.clone(), step: Step::Fencing });
    assert_eq!(progress.borrow().phase, "fencing");
    fixture.tell(7 * MS, News::Step { group: group.clone(), step: Step::Reading { from: 4096, to: 8192 } });
    assert_eq!((progress.borrow().position, progress.borrow().end), (Some(4096), Some(8192)));
    assert!(!progress.borrow().is_final());
    fixture.tell(9 * MS, News::Taken { group, report: report(GOOD) });
    let last = progress.borrow().outcome.clone().unwrap();
    assert_eq!((last.frames, last.took_ms, last.lost_nothing), (7, 4, true));
    assert_eq!(last.statement, "answered writes lost: 0");
    assert_eq!(fixture.shared.view().events.since(0).last().unwrap().kind, "takeover_done");
}

#[test]
fn a_takeover_that_cannot_say_zero_says_why() {
    let mut fixture = fixture();
    let (progress, _) = fixture.begin(TakeoverRequest::default());
    let facts = TakeoverFacts { journal_whole: false, ..GOOD };
    fixture.tell(9 * MS, News::Taken { group: "vault".into(), report: report(facts) });
    let last = progress.borrow().outcome.clone().unwrap();
    assert!(!last.lost_nothing && last.statement.contains("damaged"));
    assert!(!fixture.shared.view().events.since(0).last().unwrap().hint.is_empty());
}

#[test]
fn a_refused_takeover_can_be_asked_for_again() {
    let mut fixture = fixture();
    let (progress, _) = fixture.begin(TakeoverRequest::default());
    let error = ApiError::new("refused", "the relay does not answer", "bring it back");
    fixture.tell(9 * MS, News::Refused { group: "vault".into(), error: error.clone() });
    assert_eq!(progress.borrow().error, Some(error));
    let (again, _) = fixture.begin(TakeoverRequest::default());
    assert!(!again.borrow().is_final());
}

#[test]
fn a_restart_that_nobody_asked_for_is_no_takeover_of_the_api() {
    let mut fixture = fixture();
    fixture.tell(MS, News::Step { group: "vault".into(), step: Step::Redoing });
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
        fixture.shared.view().events.since(0).iter().filter(|event| event.kind == kind).count()
    };
    assert_eq!((count(&fixture, "request_refused"), count(&fixture, "lane_up")), (2, 100));
    fixture.tell(10_000 * MS, warn("b was refused"));
    assert_eq!(count(&fixture, "request_refused"), 3);
}
