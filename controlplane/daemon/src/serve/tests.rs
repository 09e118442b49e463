//! The API over its socket: answers, refusals, takeovers as streams.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use tokio::sync::mpsc::{Receiver, channel};

use super::*;
use crate::api::types::{
    ApiError, Change, ChangeOutcome, ChangeProgress, GroupStatus, NodeStatus, Role, TakeoverOutcome,
    TakeoverProgress,
};
use crate::events::Tell;
use crate::view::{Request, View};

/// A served view with a secondary and a primary; whoever holds it ends the server with `POST /v1/stop`.
struct Served {
    path: PathBuf,
    thread: std::thread::JoinHandle<()>,
    requests: Receiver<Request>,
    shared: Arc<Shared>,
}

impl Served {
    fn start(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("midspan-serve-{name}-{}", std::process::id()));
        let group = |name: &str, role| GroupStatus { group: name.into(), role, ..GroupStatus::default() };
        let groups = vec![group("vault", Role::Secondary), group("db", Role::Primary)];
        let status = NodeStatus { node: "b".into(), groups, ..NodeStatus::default() };
        let (sender, requests) = channel(4);
        let shared = Arc::new(Shared::new(View { status, ..View::default() }, sender));
        let socket = ApiSocket::bind(&path).unwrap();
        let (is_ready, ready) = std::sync::mpsc::channel();
        let known = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let server = Server::new().unwrap();
            let nothing = std::future::pending::<()>();
            server.until_ended(Some(&socket), &known, nothing, || is_ready.send(()).unwrap()).unwrap();
        });
        ready.recv().unwrap();
        Self { path, thread, requests, shared }
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.path).unwrap();
        let (line, body) = request.split_once('\n').unwrap_or((request, ""));
        let head = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    fn end(self) {
        assert!(self.ask("POST /v1/stop").starts_with("HTTP/1.1 200"));
        self.thread.join().unwrap();
        assert!(!self.path.exists(), "the socket must be removed at the end");
    }
}

fn assert_refused(answer: &str, status: &str, code: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let body: crate::api::types::ErrorBody = serde_json::from_str(body).unwrap();
    assert_eq!(body.error.code, code);
    assert!(!body.error.message.is_empty());
}

#[test]
fn what_is_known_can_be_asked_for() {
    let served = Served::start("known");
    assert!(served.ask("GET /v1/status").contains("\"node\":\"b\""));
    assert!(served.ask("GET /v1/groups/vault").contains("\"role\":\"secondary\""));
    assert!(served.ask("GET /v1/areas").ends_with("[]"));
    assert!(served.ask("GET /v1/exports").ends_with("[]"));
    assert!(
        served.ask("GET /metrics").contains("midspan_resource_role{group=\"vault\",role=\"secondary\"} 1")
    );
    let document = served.ask("GET /v1/openapi.json");
    assert!(document.contains("/v1/groups/{name}/switchover"), "{document}");
    served.shared.tell(Tell::info("one", "node:b", "first"));
    served.shared.tell(Tell::info("two", "node:b", "second"));
    let events = served.ask("GET /v1/events?since=1");
    assert!(events.contains("second") && !events.contains("first"));
    served.end();
}

#[test]
fn every_refusal_says_what_and_why() {
    let served = Served::start("refusal");
    assert_refused(&served.ask("GET /v1/nothing"), "404", "not_found");
    assert_refused(&served.ask("GET /v1/groups/none"), "404", "not_found");
    assert_refused(&served.ask("DELETE /v1/status"), "405", "method_not_allowed");
    assert_refused(&served.ask("GET /v1/events?since=x"), "400", "bad_request");
    assert_refused(&served.ask("POST /v1/groups/none/takeover"), "404", "not_found");
    assert_refused(&served.ask("POST /v1/groups/db/takeover"), "409", "refused");
    assert_refused(
        &served.ask("POST /v1/groups/vault/takeover\n{\"acept_loss\":true}"),
        "400",
        "bad_request",
    );
    assert_refused(&served.ask("GET /v1/groups/vault/takeover"), "404", "not_found");
    // Without the site that stays nothing is given up.
    for body in ["", "\n{}", "\n{\"keep\":\"a\",\"list\":true}"] {
        assert_refused(&served.ask(&format!("POST /v1/groups/db/resolve{body}")), "400", "bad_request");
    }
    for change in Change::ALL {
        let body = if change == Change::Resolve { "\n{\"keep\":\"a\"}" } else { "" };
        let path = |group: &str| format!("POST /v1/groups/{group}/{}", change.path());
        let place = |group: &str| path(group) + body;
        assert_refused(&served.ask(&place("none")), "404", "not_found");
        let other = if change == Change::Abort { "db" } else { "vault" };
        assert_refused(&served.ask(&place(other)), "409", "refused");
        assert_refused(&served.ask(&format!("{}\n[]", path(other))), "400", "bad_request");
        assert_refused(
            &served.ask(&format!("GET /v1/groups/db/{}", change.path())),
            "405",
            "method_not_allowed",
        );
    }
    served.end();
}

#[test]
fn a_takeover_is_followed_to_its_outcome_and_remembered() {
    let mut served = Served::start("takeover");
    let mut requests = std::mem::replace(&mut served.requests, channel(1).1);
    let driver = std::thread::spawn(move || {
        let Some(Request::Takeover { group, request, progress, .. }) = requests.blocking_recv() else {
            panic!("no takeover")
        };
        assert!(request.accept_loss && !request.dry_run);
        progress.send_replace(TakeoverProgress {
            group,
            phase: "reading".into(),
            ..TakeoverProgress::default()
        });
        progress.send_modify(|step| {
            step.outcome =
                Some(TakeoverOutcome { frames: 7, lost_nothing: true, ..TakeoverOutcome::default() });
        });
    });
    let answer = served.ask("POST /v1/groups/vault/takeover\n{\"accept_loss\":true}");
    driver.join().unwrap();
    let lines: Vec<&str> = answer.lines().filter(|line| line.starts_with('{')).collect();
    let last: TakeoverProgress = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!(last.outcome.unwrap().frames, 7);
    assert!(served.ask("GET /v1/groups/vault/takeover").contains("\"frames\":7"));
    served.end();
}

#[test]
fn a_second_asker_joins_the_takeover_that_runs() {
    let mut served = Served::start("join");
    let first =
        served.shared.takeover("vault", crate::api::types::TakeoverRequest::default(), "a test").unwrap();
    let second =
        served.shared.takeover("vault", crate::api::types::TakeoverRequest::default(), "a test").unwrap();
    assert_eq!(served.requests.len(), 1);
    let Ok(Request::Takeover { progress, .. }) = served.requests.try_recv() else { panic!("no takeover") };
    progress.send_modify(|step| step.error = Some(ApiError::new("refused", "no", "")));
    assert!(first.borrow().is_final() && second.borrow().is_final());
    // The one that ended is not joined: a new one is asked for.
    let _third =
        served.shared.takeover("vault", crate::api::types::TakeoverRequest::default(), "a test").unwrap();
    assert_eq!(served.requests.len(), 1);
    served.end();
}

#[test]
fn a_switchover_is_followed_to_its_outcome() {
    let mut served = Served::start("switchover");
    let mut requests = std::mem::replace(&mut served.requests, channel(1).1);
    let driver = std::thread::spawn(move || {
        let Some(Request::Change { group, change, progress, .. }) = requests.blocking_recv() else {
            panic!("no change")
        };
        assert_eq!((group.as_str(), change), ("db", Change::Switchover));
        progress.send_modify(|step| step.phase = "draining".into());
        progress.send_modify(|step| {
            step.outcome = Some(ChangeOutcome { host_pause_ms: Some(12), ..ChangeOutcome::default() });
        });
    });
    let answer = served.ask("POST /v1/groups/db/switchover\n{}");
    driver.join().unwrap();
    let last = answer.lines().rfind(|line| line.starts_with('{')).unwrap();
    let last: ChangeProgress = serde_json::from_str(last).unwrap();
    assert_eq!(last.outcome.unwrap().host_pause_ms, Some(12));
    served.end();
}

#[test]
fn a_split_is_resolved_for_this_site_or_for_the_one_that_replaced_it_and_for_no_other() {
    let mut served = Served::start("resolve");
    {
        let mut view = served.shared.view();
        let group = &mut view.status.groups[1];
        group.state = "split".into();
        group.fenced_by = Some(crate::api::types::Epoch { number: 4, node: "a".into() });
    }
    let answer = served.ask("POST /v1/groups/db/resolve\n{\"keep\":\"c\"}");
    assert_refused(&answer, "409", "refused");
    assert!(answer.contains("this site was replaced by a, not by c"), "{answer}");
    assert!(served.requests.try_recv().is_err(), "nothing is given up");
    let request = crate::api::types::ResolveRequest { keep: "a".into() };
    served.shared.resolve("db", &request, "a test").unwrap();
    let runs = served.requests.try_recv();
    assert!(matches!(&runs, Ok(Request::Change { change: Change::Resolve, .. })));
    assert_eq!(served.shared.view().operations.newest(None, 9)[0].with, "keep a");
    let own = crate::api::types::ResolveRequest { keep: served.shared.view().status.node.clone() };
    let error = served.shared.resolve("db", &own, "a test").unwrap_err();
    assert!(error.message.contains("a resolve is running already"), "one order at a time: {error:?}");
    served.end();
    let mut served = Served::start("prevail");
    served.shared.view().status.groups[1].state = "split".into();
    served.shared.resolve("db", &own, "a test").unwrap();
    assert!(matches!(served.requests.try_recv(), Ok(Request::Change { change: Change::Prevail, .. })));
    served.end();
}
