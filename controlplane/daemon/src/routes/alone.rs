//! What this site alone holds in a split: the list, and the bytes of it.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::Known;
use crate::alone::{AloneError, Piece};
use crate::api::query::Wanted;
use crate::api::refusal::Refusal;
use crate::api::types::{ApiError, HeldAlone};

/// The ranges, a page at a time.
pub(super) async fn list(
    State(shared): Known,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<HeldAlone>, Refusal> {
    let wanted = Wanted::parse(query.as_deref()).filter(|wanted| wanted.group.is_none());
    let Some(Wanted { after, limit, .. }) = wanted else {
        let message = format!("alone: `{}` is not understood", query.unwrap_or_default());
        let hint = "/v1/groups/NAME/alone?after=NUMBER&limit=NUMBER, at most 10000";
        return Err(ApiError::new("bad_request", message, hint).into());
    };
    let split = shared.split(&name)?;
    let place = split.place.clone();
    let held = beside(move || Ok(place.read()?.answer(&place, after.unwrap_or(0), limit))).await?;
    // Still: who resolves it meanwhile lets the disks change.
    let split = shared.split(&split.place.group)?;
    let replaced_ns = split.replaced_ns.filter(|at| held.left_ns.is_none_or(|left| left <= *at));
    Ok(Json(HeldAlone { node: split.node, replaced_by: split.replaced_by, replaced_ns, ..held }))
}

/// Bytes of a volume.
pub(super) async fn data(
    State(shared): Known,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let Some(piece) = Piece::parse(query.as_deref()) else {
        let message = format!("alone/data: `{}` is not understood", query.unwrap_or_default());
        let hint = "/v1/groups/NAME/alone/data?volume=NUMBER&offset=BYTES&length=BYTES, multiples of 4096, at most \
                    4194304 bytes";
        return Err(ApiError::new("bad_request", message, hint).into());
    };
    let split = shared.split(&name)?;
    let bytes = beside(move || split.place.piece(piece)).await?;
    shared.split(&name)?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

/// Reads disks beside the API and the driver, which do not wait for it.
async fn beside<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, AloneError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(read).await {
        Ok(outcome) => outcome.map_err(ApiError::from),
        Err(error) => {
            Err(ApiError::new("internal", format!("the disks were not read: {error}"), "ask again"))
        }
    }
}
