//! Every route of the API as data: the router and the OpenAPI document are made of the same list.

use std::fmt;

use super::types::Change;

/// A path with a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The node and its groups.
    Status,
    /// One group.
    Group,
    /// How it is configured.
    GroupConfig,
    /// What its primary has listed and no receipt covers.
    Manifests,
    /// The newest step of a takeover.
    LastTakeover,
    /// Take over.
    Takeover,
    /// Compare the sites.
    Verify,
    /// Change something else of a group.
    Change(Change),
    /// What this site alone holds in a split.
    Alone,
    /// The bytes of it.
    AloneData,
    /// What flight recorders hold.
    Trace,
    /// Areas of a relay.
    Areas,
    /// What hosts can open.
    Exports,
    /// What happened.
    Events,
    /// What was asked for.
    Operations,
    /// One of it.
    Operation,
    /// End it before its time.
    Cancel,
    /// This list for programs.
    OpenApi,
    /// For Prometheus.
    Metrics,
    /// End the daemon.
    Stop,
}

/// A part of a path, or of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub meaning: &'static str,
}

const fn parameter(name: &'static str, meaning: &'static str) -> Parameter {
    Parameter { name, meaning }
}

const GROUP: Parameter = parameter("group", "only of this group");
const LIMIT: Parameter = parameter("limit", "at most so many: 1 to 10000, 1000 unless it is given");

impl Route {
    /// All routes.
    pub fn all() -> impl Iterator<Item = Route> {
        let lone = [
            Route::Status,
            Route::Group,
            Route::GroupConfig,
            Route::Manifests,
            Route::LastTakeover,
            Route::Takeover,
            Route::Verify,
            Route::Alone,
            Route::AloneData,
            Route::Trace,
            Route::Areas,
            Route::Exports,
            Route::Events,
            Route::Operations,
            Route::Operation,
            Route::Cancel,
            Route::OpenApi,
            Route::Metrics,
            Route::Stop,
        ];
        lone.into_iter().chain(Change::ALL.map(Route::Change))
    }

    /// Whether it is a POST; the others are GETs.
    pub const fn is_post(self) -> bool {
        match self {
            Route::Takeover | Route::Verify | Route::Change(_) | Route::Cancel | Route::Stop => true,
            Route::Status
            | Route::Group
            | Route::GroupConfig
            | Route::Manifests
            | Route::LastTakeover
            | Route::Alone
            | Route::AloneData
            | Route::Trace
            | Route::Areas
            | Route::Exports
            | Route::Events
            | Route::Operations
            | Route::Operation
            | Route::OpenApi
            | Route::Metrics => false,
        }
    }

    /// The path, with names in braces where something must be filled in.
    pub fn path(self) -> String {
        match self {
            Route::Status => "/v1/status",
            Route::Group => "/v1/groups/{name}",
            Route::GroupConfig => "/v1/groups/{name}/config",
            Route::Manifests => "/v1/groups/{name}/manifests",
            Route::LastTakeover | Route::Takeover => "/v1/groups/{name}/takeover",
            Route::Verify => "/v1/groups/{name}/verify",
            Route::Change(change) => return format!("/v1/groups/{{name}}/{}", change.path()),
            Route::Alone => "/v1/groups/{name}/alone",
            Route::AloneData => "/v1/groups/{name}/alone/data",
            Route::Trace => "/v1/groups/{name}/trace",
            Route::Areas => "/v1/areas",
            Route::Exports => "/v1/exports",
            Route::Events => "/v1/events",
            Route::Operations => "/v1/operations",
            Route::Operation => "/v1/operations/{number}",
            Route::Cancel => "/v1/operations/{number}/cancel",
            Route::OpenApi => "/v1/openapi.json",
            Route::Metrics => "/metrics",
            Route::Stop => "/v1/stop",
        }
        .to_owned()
    }

    /// What it is for, in a sentence.
    pub const fn summary(self) -> &'static str {
        match self {
            Route::Status => "How the node and all its groups stand, measured every 100 ms",
            Route::Group => "How one group stands",
            Route::GroupConfig => "How one group is configured at this node, defaults included",
            Route::Manifests => {
                "First control information that the primary keeps until a receipt covers it, oldest first"
            }
            Route::LastTakeover => "The newest step of the group's last takeover",
            Route::Takeover => "The secondary becomes primary; answered with a line for each step",
            Route::Verify => {
                "Compare both sites at exact times beside what hosts do; answered with a line for each step"
            }
            Route::Change(Change::EndVerify) => "End a verify before its time",
            Route::Change(Change::Abort) => {
                "Undo a takeover that has not ended: the former primary may go on"
            }
            Route::Change(Change::Switchover) => {
                "The other site goes on as primary: planned, both alive, without loss"
            }
            Route::Change(Change::Stay) => {
                "Give up a switchover or failback whose hosts still wait: this site stays primary"
            }
            Route::Change(Change::Failback) => "A switchover to the group's home, refused anywhere else",
            Route::Change(Change::Pause) => "Hold the round that runs or is to come",
            Route::Change(Change::Resume) => "Let a held round go on",
            Route::Change(Change::Resolve | Change::Prevail) => {
                "End a split: `keep` names the site whose writes stay; where it is the other one, this site gives up what it alone holds and follows"
            }
            Route::Change(Change::WithoutJournal) => {
                "Serve although the relay cannot be read; what only it held may be missing"
            }
            Route::Alone => {
                "What this site holds and the other one has not; only in state `split`, before it is resolved"
            }
            Route::AloneData => "Bytes of a volume in a split, as they stand on this site's disk",
            Route::Trace => "What the node's flight recorders hold of a group",
            Route::Areas => "The areas of lanes that a node holds, with their writers",
            Route::Exports => "What hosts can open, where, and whether it is served",
            Route::Events => "What happened, oldest first; without `after` the newest",
            Route::Operations => "What was asked for, by whom, and how it ended, oldest first",
            Route::Cancel => {
                "End an operation that runs, where it can be undone: a takeover, or a change of roles whose hosts still wait"
            }
            Route::Operation => "One operation, also after its end and after a restart",
            Route::OpenApi => "This document",
            Route::Metrics => "Metrics for Prometheus",
            Route::Stop => "End the daemon in order",
        }
    }

    /// What a query may say.
    pub const fn query(self) -> &'static [Parameter] {
        match self {
            Route::Events => {
                const {
                    &[
                        GROUP,
                        parameter("after", "only those after this number, the oldest of them first"),
                        LIMIT,
                    ]
                }
            }
            Route::Operations => const { &[GROUP, LIMIT] },
            Route::Alone => {
                const { &[parameter("after", "leave out so many ranges, the first ones"), LIMIT] }
            }
            Route::AloneData => {
                const {
                    &[
                        parameter("volume", "number of the volume"),
                        parameter("offset", "where to begin, a multiple of 4096"),
                        parameter("length", "how much, a multiple of 4096 and at most 4194304"),
                    ]
                }
            }
            Route::Trace => {
                const {
                    &[parameter(
                        "after",
                        "for each shard the `next` of the answer before, with commas between; without it no events, only where now is",
                    )]
                }
            }
            Route::Status
            | Route::Group
            | Route::GroupConfig
            | Route::Manifests
            | Route::LastTakeover
            | Route::Takeover
            | Route::Verify
            | Route::Change(_)
            | Route::Areas
            | Route::Exports
            | Route::Operation
            | Route::Cancel
            | Route::OpenApi
            | Route::Metrics
            | Route::Stop => &[],
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", if self.is_post() { "POST" } else { "GET" }, self.path())
    }
}
