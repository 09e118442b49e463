//! Steps of a long operation as lines of JSON, as they happen.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use super::types::Progress;

/// Lines that may wait for a slow reader; the task that makes them then waits, the operation does not.
const LINES: usize = 4;

/// Lines as they come through a channel.
struct Lines {
    receiver: mpsc::Receiver<Bytes>,
}

impl Stream for Lines {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(context).map(|line| line.map(Ok))
    }
}

/// A response that follows an operation to its end.
pub fn follow<T>(progress: watch::Receiver<Progress<T>>) -> Response
where
    T: Clone + Serialize + Send + Sync + 'static,
{
    let (sender, receiver) = mpsc::channel(LINES);
    tokio::spawn(copy(progress, sender));
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(Lines { receiver })).into_response()
}

async fn copy<T: Clone + Serialize>(mut progress: watch::Receiver<Progress<T>>, lines: mpsc::Sender<Bytes>) {
    loop {
        let step = progress.borrow_and_update().clone();
        let Ok(mut line) = serde_json::to_string(&step) else { return };
        line.push('\n');
        // A reader that went away ends the copying, never the operation.
        if lines.send(line.into()).await.is_err() || step.is_final() || progress.changed().await.is_err() {
            return;
        }
    }
}
