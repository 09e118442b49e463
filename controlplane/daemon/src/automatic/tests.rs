//! A secondary whose primary falls silent: what it asks of the driver, and how often.

use std::net::SocketAddr;
use std::path::Path;

use tokio::sync::mpsc::{Receiver, channel};

use super::*;
use crate::api::types::{Epoch, TakeoverOutcome};
use crate::operations::Begun;
use crate::view::{Request, View};

const TENTH: u64 = 100_000_000;
const SECOND: u64 = 10 * TENTH;
/// `takeover_after` of the configuration.
const AFTER: u64 = 5 * SECOND;

const NODES: [(&str, u16, &str); 3] = [("a", 1, "primary"), ("relay", 2, "relay"), ("b", 3, "secondary")];

fn config(node: &str) -> Config {
    let (_, id, role) = NODES.into_iter().find(|(name, ..)| *name == node).unwrap();
    let mut text = format!(
        "[node]\nid = {id}\nname = \"{node}\"\nlisten = \"127.0.0.1:700{id}\"\napi = \"x\"\njournal = \"y\"\n"
    );
    for (name, id, _) in NODES.into_iter().filter(|(name, ..)| *name != node) {
        text += &format!("[[peer]]\nid = {id}\nname = \"{name}\"\naddress = \"127.0.0.1:700{id}\"\n");
    }
    text += &format!(
        "[[group]]\nid = 7\nname = \"vault\"\nrole = \"{role}\"\nsites = [1, 3]\n\
         lanes = [{{ id = 0, node = 2 }}]\ntakeover = \"automatic\"\ntakeover_after = \"5s\"\n"
    );
    Config::parse(Path::new("x.toml"), &text).unwrap()
}

fn group(role: Role) -> GroupStatus {
    let epoch = Epoch { number: 4, node: "a".to_owned() };
    let serving = role == Role::Primary;
    let (group, zero_loss) = ("vault".to_owned(), Some(true));
    GroupStatus { group, group_id: 7, role, epoch, serving, zero_loss, ..GroupStatus::default() }
}

/// Site B, with A and the relay around it.
struct Site {
    now_ns: u64,
    a: Pulse,
    relay: Pulse,
    b: Pulse,
    unattended: Unattended,
    shared: Shared,
    requests: Receiver<Request>,
    why: String,
    /// A lives.
    a_lives: bool,
    /// A's heartbeats reach B.
    direct: bool,
}

impl Site {
    fn new() -> Self {
        let [a, relay, b] = ["a", "relay", "b"].map(|node| Pulse::new(&config(node), 1, 0));
        let status = NodeStatus { groups: vec![group(Role::Secondary)], ..NodeStatus::default() };
        let (sender, requests) = channel(4);
        let shared = Shared::new(View { status, ..View::default() }, sender);
        let unattended = Unattended::new(&config("b"), &b);
        let why = String::new();
        Self { now_ns: 0, a, relay, b, unattended, shared, requests, why, a_lives: true, direct: true }
    }

    /// The takeovers that are asked for meanwhile, with their times.
    fn run(&mut self, duration_ns: u64) -> Vec<(u64, Request)> {
        let address = |node: &str| -> SocketAddr { config(node).node.listen };
        let mut asked = Vec::new();
        let end_ns = self.now_ns + duration_ns;
        while self.now_ns < end_ns {
            self.now_ns += TENTH;
            let now = self.now_ns;
            if self.a_lives {
                for (to, datagram) in self.a.heartbeats(now, &[group(Role::Primary)]) {
                    if to == address("relay") {
                        self.relay.on_datagram(now, address("a"), &datagram);
                    } else if self.direct {
                        self.b.on_datagram(now, address("a"), &datagram);
                    }
                }
            }
            for (to, datagram) in self.relay.heartbeats(now, &[]) {
                if to == address("b") {
                    self.b.on_datagram(now, address("relay"), &datagram);
                }
            }
            let status = self.shared.status();
            let shown = self.unattended.turn(now, &self.b, &status, &self.shared);
            self.why.clone_from(&shown[0].why);
            asked.extend(std::iter::from_fn(|| self.requests.try_recv().ok()).map(|request| (now, request)));
        }
        asked
    }

    fn refuse(&self, request: Request, code: &str) {
        let Request::Takeover { progress, .. } = request else { panic!("{request:?}") };
        progress.send_modify(|progress| progress.error = Some(ApiError::new(code, "no", "")));
    }
}

#[test]
fn a_primary_that_nobody_hears_is_taken_over_once_and_without_accepting_a_loss() {
    let mut site = Site::new();
    assert!(site.run(10 * SECOND).is_empty());
    assert_eq!(site.why, "the primary is not known to be dead");
    site.a_lives = false;
    let died_ns = site.now_ns;
    let mut asked = site.run(60 * SECOND);
    assert_eq!(asked.len(), 1, "{asked:?}");
    let (at_ns, request) = asked.pop().unwrap();
    let Request::Takeover { group: name, request, progress, .. } = request else { panic!("{request:?}") };
    assert!((AFTER..AFTER + SECOND).contains(&(at_ns - died_ns)), "{at_ns} after {died_ns}");
    assert_eq!((name.as_str(), request), ("vault", TakeoverRequest::default()));
    progress.send_modify(|progress| progress.outcome = Some(TakeoverOutcome::default()));
    assert!(site.run(60 * SECOND).is_empty());
    let events = site.shared.view().events.select(&crate::api::query::Wanted::default());
    assert!(
        events
            .iter()
            .any(|event| event.kind == "takeover_automatic" && event.message.contains("silent here"))
    );
}

#[test]
fn a_primary_that_the_relay_hears_is_not_taken_over() {
    let mut site = Site::new();
    site.run(10 * SECOND);
    site.direct = false;
    assert!(site.run(120 * SECOND).is_empty());
    assert_eq!(site.why, "the primary is not known to be dead");
}

#[test]
fn a_primary_that_was_never_heard_is_not_taken_over() {
    let mut site = Site::new();
    site.a_lives = false;
    assert!(site.run(120 * SECOND).is_empty());
    assert_eq!(site.why, "the other site has not said that it is primary since this node started");
}

#[test]
fn where_something_may_be_lost_an_operator_decides() {
    let mut site = Site::new();
    site.run(10 * SECOND);
    site.shared.view().status.groups[0].zero_loss = Some(false);
    site.a_lives = false;
    assert!(site.run(120 * SECOND).is_empty());
    assert!(site.why.contains("an operator must decide"), "{}", site.why);
}

#[test]
fn a_lane_that_did_not_answer_is_tried_again_and_a_refusal_is_not() {
    let mut site = Site::new();
    site.run(10 * SECOND);
    site.a_lives = false;
    for repeated in 0..3 {
        let (_, request) = site.run(60 * SECOND).pop().unwrap();
        site.refuse(request, if repeated < 2 { "timeout" } else { "refused" });
    }
    assert!(site.run(600 * SECOND).is_empty());
    assert!(site.why.contains("refused for good"), "{}", site.why);
    // It came back, and dies again: another case.
    site.a_lives = true;
    assert!(site.run(10 * SECOND).is_empty());
    site.a_lives = false;
    assert_eq!(site.run(30 * SECOND).len(), 1);
}

#[test]
fn an_operators_probe_that_runs_meanwhile_is_not_taken_for_a_takeover() {
    let mut site = Site::new();
    site.run(10 * SECOND);
    site.a_lives = false;
    let probe = TakeoverRequest { dry_run: true, ..TakeoverRequest::default() };
    site.shared.takeover("vault", probe, "a test").unwrap();
    let (_, request) = site.run(30 * SECOND).pop().unwrap();
    let Request::Takeover { request: TakeoverRequest { dry_run: true, .. }, progress, .. } = request else {
        panic!("{request:?}")
    };
    let outcome = TakeoverOutcome { dry_run: true, ..TakeoverOutcome::default() };
    progress.send_modify(|progress| progress.outcome = Some(outcome));
    let (_, request) = site.run(30 * SECOND).pop().unwrap();
    let Request::Takeover { request, .. } = request else { panic!("{request:?}") };
    assert!(!request.dry_run);
}

#[test]
fn a_takeover_that_an_earlier_run_of_the_daemon_asked_for_is_followed_and_tried_again_like_any_other() {
    let mut site = Site::new();
    // This process has not heard that the other site was primary; the relay has.
    site.direct = false;
    let begun = Begun {
        group: "vault".into(),
        kind: "takeover",
        asked_by: crate::view::AUTOMATIC.into(),
        ..Begun::default()
    };
    let before = site.shared.view().operations.begin(0, begun);
    site.shared.go_on(&before);
    site.unattended.adopt(&site.shared);
    let (_, request) = site.run(2 * SECOND).pop().unwrap();
    let Request::Takeover { operation, before: Some(_), .. } = &request else { panic!("{request:?}") };
    assert_eq!(*operation, before.operation);
    site.a_lives = false;
    assert!(site.run(60 * SECOND).is_empty(), "it is not asked for twice");
    site.refuse(request, "timeout");
    assert_eq!(site.run(60 * SECOND).len(), 1, "{}", site.why);
}
