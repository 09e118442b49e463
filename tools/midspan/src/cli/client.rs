//! The daemon's API as calls: finds the socket, sends requests, turns refusals into failures with exit codes.

use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use midspan_daemon::api::types::{
    Change, ChangeProgress, ErrorBody, GroupRecording, GroupStatus, NodeStatus, Progress, ResolveRequest,
    TakeoverProgress, TakeoverRequest, VerifyProgress, VerifyRequest,
};
use serde::de::DeserializeOwned;

use super::exit::{Exit, Failure};
use super::http::{self, Response};

/// Where the daemon listens unless `--socket` or `MIDSPAN_SOCKET` say otherwise.
pub const DEFAULT_SOCKET: &str = "/run/midspan/api.sock";

/// Longest answer that is read, bytes.
const MAX_BODY: u64 = 64 << 20;

/// A daemon, reached through its unix socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    silence: Option<Duration>,
}

impl Client {
    /// A client of the daemon behind `socket`; waits at most ten seconds for each answer.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), silence: Some(Duration::from_secs(10)) }
    }

    /// Bounds each wait for the daemon; `None` waits for ever.
    pub fn with_silence(mut self, silence: Option<Duration>) -> Self {
        self.silence = silence;
        self
    }

    /// `GET /v1/status`.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] when nobody answers.
    pub fn status(&self) -> Result<NodeStatus, Failure> {
        self.get("/v1/status")
    }

    /// `GET /v1/groups/{name}`.
    ///
    /// # Errors
    /// The daemon's refusal, or that it cannot be reached.
    pub fn group(&self, group: &str) -> Result<GroupStatus, Failure> {
        self.get(&format!("/v1/groups/{}", encode(group)))
    }

    /// What the node's flight recorders hold of a group: after these numbers, or where "now" is.
    ///
    /// # Errors
    /// The daemon's refusal, or that it cannot be reached.
    pub fn recording(&self, group: &str, after: Option<&[u64]>) -> Result<GroupRecording, Failure> {
        let path = format!("/v1/groups/{}/trace", encode(group));
        match after {
            None => self.get(&path),
            Some(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
                self.get(&format!("{path}?after={}", numbers.join(",")))
            }
        }
    }

    /// Asks the daemon to end.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] when nobody answers.
    pub fn stop(&self) -> Result<(), Failure> {
        self.call("POST", "/v1/stop", Some("{}")).map(drop)
    }

    /// A GET with a JSON answer.
    ///
    /// # Errors
    /// The daemon's refusal, or that it cannot be reached.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let text = self.text(path)?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::other(format!("{path}: the daemon's answer cannot be read: {error}")))
    }

    /// A GET with its answer as text.
    ///
    /// # Errors
    /// The daemon's refusal, or that it cannot be reached.
    pub fn text(&self, path: &str) -> Result<String, Failure> {
        let response = self.call("GET", path, None)?;
        let mut text = String::new();
        response.body.take(MAX_BODY).read_to_string(&mut text).map_err(|error| self.lost(&error))?;
        Ok(text)
    }

    /// A GET with its answer as it is.
    ///
    /// # Errors
    /// The daemon's refusal, or that it cannot be reached.
    pub fn bytes(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let response = self.call("GET", path, None)?;
        let mut bytes = Vec::new();
        response.body.take(MAX_BODY).read_to_end(&mut bytes).map_err(|error| self.lost(&error))?;
        Ok(bytes)
    }

    /// Runs a takeover; `on_progress` sees every step. Returns the last one, which has an outcome or an error.
    ///
    /// # Errors
    /// The daemon's refusal, [`Exit::TimedOut`] when nothing was heard for longer than the client's silence.
    pub fn takeover(
        &self,
        group: &str,
        request: &TakeoverRequest,
        on_progress: &mut dyn FnMut(&TakeoverProgress),
    ) -> Result<TakeoverProgress, Failure> {
        let json = serde_json::to_string(request).map_err(|error| Failure::other(error.to_string()))?;
        self.follow(&format!("/v1/groups/{}/takeover", encode(group)), &json, "takeover", on_progress)
    }

    /// Compares the sites; `on_progress` sees every step. Returns the last one, which has an outcome or an error.
    ///
    /// # Errors
    /// The daemon's refusal, [`Exit::TimedOut`] when nothing was heard for longer than the client's silence.
    pub fn verify(
        &self,
        group: &str,
        request: &VerifyRequest,
        on_progress: &mut dyn FnMut(&VerifyProgress),
    ) -> Result<VerifyProgress, Failure> {
        let json = serde_json::to_string(request).map_err(|error| Failure::other(error.to_string()))?;
        self.follow(&format!("/v1/groups/{}/verify", encode(group)), &json, "verify", on_progress)
    }

    /// Changes something else of a group; `on_progress` sees every step. Returns the last one, which has an outcome or an
    /// error.
    ///
    /// # Errors
    /// The daemon's refusal, [`Exit::TimedOut`] when nothing was heard for longer than the client's silence.
    pub fn change(
        &self,
        group: &str,
        change: Change,
        on_progress: &mut dyn FnMut(&ChangeProgress),
    ) -> Result<ChangeProgress, Failure> {
        let path = format!("/v1/groups/{}/{}", encode(group), change.path());
        self.follow(&path, "{}", change.word(), on_progress)
    }

    /// Gives up what the site alone holds; the daemon checks whether the site that is to be kept is the right one.
    ///
    /// # Errors
    /// The daemon's refusal, [`Exit::TimedOut`] when nothing was heard for longer than the client's silence.
    pub fn resolve(
        &self,
        group: &str,
        request: &ResolveRequest,
        on_progress: &mut dyn FnMut(&ChangeProgress),
    ) -> Result<ChangeProgress, Failure> {
        let json = serde_json::to_string(request).map_err(|error| Failure::other(error.to_string()))?;
        let path = format!("/v1/groups/{}/{}", encode(group), Change::Resolve.path());
        self.follow(&path, &json, Change::Resolve.word(), on_progress)
    }

    /// Ends an operation before its time, and follows that.
    ///
    /// # Errors
    /// The daemon's refusal, or that it cannot be reached.
    pub fn cancel(
        &self,
        number: u64,
        on_progress: &mut dyn FnMut(&ChangeProgress),
    ) -> Result<ChangeProgress, Failure> {
        self.follow(&format!("/v1/operations/{number}/cancel"), "{}", "cancellation", on_progress)
    }

    /// Begins or joins an operation, and follows it to its end.
    fn follow<T: DeserializeOwned>(
        &self,
        path: &str,
        json: &str,
        what: &str,
        on_progress: &mut dyn FnMut(&Progress<T>),
    ) -> Result<Progress<T>, Failure> {
        let response = self.call("POST", path, Some(json))?;
        for line in response.body.lines() {
            let line = line.map_err(|error| self.lost(&error))?;
            if line.trim().is_empty() {
                continue;
            }
            let progress: Progress<T> = serde_json::from_str(&line)
                .map_err(|error| Failure::other(format!("{what}: a line cannot be read: {error}")))?;
            on_progress(&progress);
            if progress.is_final() {
                return Ok(progress);
            }
        }
        Err(Failure::other(format!("the daemon ended the report of the {what} without an outcome"))
            .hint("`midspan status` and the daemon's log say where it stands; asking again continues it"))
    }

    fn call(&self, method: &str, path: &str, json: Option<&str>) -> Result<Response, Failure> {
        let mut response = http::request(&self.socket, method, path, json, self.silence)
            .map_err(|error| self.lost(&error))?;
        if response.status < 400 {
            return Ok(response);
        }
        let mut text = String::new();
        response.body.by_ref().take(MAX_BODY).read_to_string(&mut text).map_err(|error| self.lost(&error))?;
        Err(match serde_json::from_str::<ErrorBody>(&text) {
            Ok(body) => body.error.into(),
            Err(_) => {
                Failure::other(format!("{method} {path}: the daemon answered {}: {text}", response.status))
            }
        })
    }

    fn lost(&self, error: &io::Error) -> Failure {
        let socket = self.socket.display();
        let kind = error.kind();
        if kind == io::ErrorKind::WouldBlock || kind == io::ErrorKind::TimedOut {
            return Failure::new(
                Exit::TimedOut,
                format!("the daemon behind {socket} did not answer in time"),
            );
        }
        let hint = if kind == io::ErrorKind::PermissionDenied {
            "only the user who runs midspand may use its socket"
        } else {
            "start it with `midspand --config FILE`, or name its socket (`api` in its config) with --socket or MIDSPAN_SOCKET"
        };
        Failure::new(Exit::Unreachable, format!("no daemon answers on {socket}: {error}")).hint(hint)
    }
}

/// Percent-encodes a path segment.
pub fn encode(segment: &str) -> String {
    let mut text = String::new();
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text += &format!("%{byte:02X}");
        }
    }
    text
}
