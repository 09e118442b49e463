//! The routes of the API.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use crate::api::caller::Caller;
use crate::api::query::{After, Wanted};
use crate::api::refusal::Refusal;
use crate::api::route::Route;
use crate::api::stream;
use crate::api::types::{
    ApiError, AreaStatus, Change, Event, ExportStatus, GroupConfig, GroupRecording, GroupStatus,
    KeptManifests, NodeStatus, OperationState, OperationStatus, TakeoverProgress, TakeoverRequest,
};
use crate::clock;
use crate::metrics;
use crate::openapi;
use crate::recording;
use crate::view::{Shared, unknown_group};

mod alone;
mod verify;

type Known = State<Arc<Shared>>;

/// All routes.
pub fn router(shared: Arc<Shared>) -> Router {
    Route::all()
        .fold(Router::new(), |router, route| router.route(&route.path(), handler(route)))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(shared)
}

fn handler(route: Route) -> MethodRouter<Arc<Shared>> {
    match route {
        Route::Status => get(status),
        Route::Group => get(group),
        Route::GroupConfig => get(group_config),
        Route::Manifests => get(manifests),
        Route::LastTakeover => get(last_takeover),
        Route::Takeover => post(takeover),
        Route::Verify => post(verify::begin),
        Route::Change(change) => changes(change),
        Route::Alone => get(alone::list),
        Route::AloneData => get(alone::data),
        Route::Trace => get(trace),
        Route::Areas => get(areas),
        Route::Exports => get(exports),
        Route::Events => get(events),
        Route::Operations => get(operations),
        Route::Operation => get(operation),
        Route::Cancel => post(cancel),
        Route::OpenApi => get(document),
        Route::Metrics => get(prometheus),
        Route::Stop => post(stop),
    }
}

async fn status(State(shared): Known) -> Json<NodeStatus> {
    Json(shared.status())
}

async fn group(State(shared): Known, Path(name): Path<String>) -> Result<Json<GroupStatus>, Refusal> {
    let status = shared.status();
    let node = status.node;
    let found = status.groups.into_iter().find(|group| group.group == name);
    found.map(Json).ok_or_else(|| unknown_group(&name, &node).into())
}

async fn group_config(State(shared): Known, Path(name): Path<String>) -> Result<Json<GroupConfig>, Refusal> {
    let view = shared.view();
    let found = view.configs.iter().find(|config| config.group == name);
    found.cloned().map(Json).ok_or_else(|| unknown_group(&name, &view.status.node).into())
}

async fn manifests(State(shared): Known, Path(name): Path<String>) -> Result<Json<KeptManifests>, Refusal> {
    let view = shared.view();
    let known = view.status.groups.iter().any(|group| group.group == name);
    let kept = view.manifests.get(&name).cloned().unwrap_or_default();
    known.then_some(Json(kept)).ok_or_else(|| unknown_group(&name, &view.status.node).into())
}

async fn areas(State(shared): Known) -> Json<Vec<AreaStatus>> {
    Json(shared.view().areas.clone())
}

async fn exports(State(shared): Known) -> Json<Vec<ExportStatus>> {
    Json(shared.view().exports.clone())
}

async fn events(State(shared): Known, RawQuery(query): RawQuery) -> Result<Json<Vec<Event>>, Refusal> {
    let wanted = Wanted::parse(query.as_deref()).ok_or_else(|| {
        let message = format!("events: `{}` is not understood", query.unwrap_or_default());
        ApiError::new(
            "bad_request",
            message,
            "/v1/events?group=NAME&after=NUMBER&limit=NUMBER, at most 10000",
        )
    })?;
    Ok(Json(shared.view().events.select(&wanted)))
}

async fn operations(
    State(shared): Known,
    RawQuery(query): RawQuery,
) -> Result<Json<Vec<OperationStatus>>, Refusal> {
    let wanted =
        Wanted::parse(query.as_deref()).filter(|wanted| wanted.after.is_none()).ok_or_else(|| {
            let message = format!("operations: `{}` is not understood", query.unwrap_or_default());
            ApiError::new("bad_request", message, "/v1/operations?group=NAME&limit=NUMBER")
        })?;
    Ok(Json(shared.view().operations.newest(wanted.group.as_deref(), wanted.limit)))
}

async fn operation(
    State(shared): Known,
    Path(number): Path<String>,
) -> Result<Json<OperationStatus>, Refusal> {
    let found = number.parse().ok().and_then(|number| shared.view().operations.get(number).cloned());
    found.map(Json).ok_or_else(|| {
        let message = format!("operation {number} is not known");
        ApiError::new("not_found", message, "GET /v1/operations lists the newest ones").into()
    })
}

/// What can be ended before its time, and how.
async fn cancel(
    State(shared): Known,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(number): Path<String>,
) -> Result<Response, Refusal> {
    let found = number.parse().ok().and_then(|number| shared.view().operations.get(number).cloned());
    let Some(found) = found else {
        let message = format!("operation {number} is not known");
        return Err(ApiError::new("not_found", message, "GET /v1/operations lists the newest ones").into());
    };
    let hint = match (found.state, found.kind.as_str()) {
        (OperationState::Running, "takeover") => {
            return Ok(stream::follow(shared.change(&found.group, Change::Abort, &caller.to_string())?));
        }
        (OperationState::Running, "switchover" | "failback") => {
            return Ok(stream::follow(shared.change(&found.group, Change::Stay, &caller.to_string())?));
        }
        (OperationState::Running, "verify") => {
            return Ok(stream::follow(shared.change(
                &found.group,
                Change::EndVerify,
                &caller.to_string(),
            )?));
        }
        (OperationState::Running, _) => "it ends by itself; a round is held by `midspan pause`",
        (OperationState::Done | OperationState::Refused | OperationState::Interrupted, _) => {
            "it has ended: `midspan operations` shows how"
        }
    };
    let message = format!("operation {number}, {} of {}, cannot be cancelled", found.kind, found.group);
    Err(ApiError::new("refused", message, hint).into())
}

async fn trace(
    State(shared): Known,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<GroupRecording>, Refusal> {
    let from = After::parse(query.as_deref()).ok_or_else(|| {
        let message = format!("trace: `{}` is not understood", query.as_deref().unwrap_or_default());
        ApiError::new("bad_request", message, "/v1/groups/NAME/trace?after=NUMBER,NUMBER, one number a shard")
    })?;
    let NodeStatus { node, node_id, groups, .. } = shared.status();
    let Some(found) = groups.into_iter().find(|group| group.group == name) else {
        return Err(unknown_group(&name, &node).into());
    };
    if shared.recorders().is_empty() {
        let message = format!("group {name}: node {node} records nothing");
        let hint = "set `recorder` in [node] of its configuration to more than 0B and restart it";
        return Err(ApiError::new("refused", message, hint).into());
    }
    let (boot_ns, wall_ns) = clock::boot_and_wall_ns();
    let GroupStatus { group, group_id, role, .. } = found;
    let mut answer =
        GroupRecording { node, node_id, role, group, group_id, boot_ns, wall_ns, shards: Vec::new() };
    recording::fill(&mut answer, shared.recorders(), &from);
    Ok(Json(answer))
}

async fn last_takeover(
    State(shared): Known,
    Path(name): Path<String>,
) -> Result<Json<TakeoverProgress>, Refusal> {
    shared.last_takeover(&name).map(Json).ok_or_else(|| {
        let message = format!("group {name}: no takeover was asked for since the daemon started");
        ApiError::new("not_found", message, "POST to this path begins one").into()
    })
}

async fn takeover(
    State(shared): Known,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let request = if body.is_empty() {
        TakeoverRequest::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            ApiError::new(
                "bad_request",
                format!("takeover: the body cannot be read: {error}"),
                "{\"accept_loss\": false, \"dry_run\": false}",
            )
        })?
    };
    Ok(stream::follow(shared.takeover(&name, request, &caller.to_string())?))
}

/// Of a change the path says everything, but for the site that a resolve keeps.
fn changes(change: Change) -> MethodRouter<Arc<Shared>> {
    let asked = async move |State(shared): Known,
                            ConnectInfo(caller): ConnectInfo<Caller>,
                            Path(name): Path<String>,
                            body: Bytes| {
        let caller = caller.to_string();
        if change == Change::Resolve {
            let request = serde_json::from_slice(&body).map_err(|error| {
                let message = format!("resolve: the body cannot be read: {error}");
                Refusal(ApiError::new("bad_request", message, "{\"keep\": \"the site whose writes stay\"}"))
            })?;
            return Ok(stream::follow(shared.resolve(&name, &request, &caller)?));
        }
        if !matches!(body.trim_ascii(), b"" | b"{}") {
            let message = format!("{}: the body must be empty or {{}}", change.word());
            return Err(Refusal(ApiError::new("bad_request", message, "what can be said is in the path")));
        }
        Ok(stream::follow(shared.change(&name, change, &caller)?))
    };
    post(asked)
}

async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], openapi::json()).into_response()
}

async fn stop(State(shared): Known) -> Json<()> {
    shared.end();
    Json(())
}

async fn prometheus(State(shared): Known) -> Response {
    let status = shared.status();
    let samples = shared.view().counters.clone();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::page(&status, &samples)).into_response()
}

async fn no_route(uri: axum::http::Uri) -> Refusal {
    let routes: Vec<String> = Route::all().map(|route| route.to_string()).collect();
    Refusal(ApiError::new(
        "not_found",
        format!("{} is not a path of this API", uri.path()),
        routes.join(", "),
    ))
}

async fn no_method(method: axum::http::Method, uri: axum::http::Uri) -> Refusal {
    let message = format!("{method} is not possible on {}", uri.path());
    Refusal(ApiError::new("method_not_allowed", message, ""))
}
