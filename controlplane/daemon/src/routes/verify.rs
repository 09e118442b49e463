//! Comparing the sites.

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path};
use axum::response::Response;

use super::Known;
use crate::api::caller::Caller;
use crate::api::refusal::Refusal;
use crate::api::stream;
use crate::api::types::{ApiError, VerifyRequest};
use axum::extract::State;

/// Begins a comparison, or joins the one that runs; a line for each step.
pub async fn begin(
    State(shared): Known,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let request = if body.is_empty() {
        VerifyRequest::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            let message = format!("verify: the body cannot be read: {error}");
            let hint = "{\"volume\": null, \"bytes_per_second\": null, \"repair\": false}";
            ApiError::new("bad_request", message, hint)
        })?
    };
    Ok(stream::follow(shared.verify(&name, request, &caller.to_string())?))
}
