//! Serves the API, and drives the data plane beside it, until a signal or a request asks for the end.

use std::future::IntoFuture;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::api::caller::Caller;
use crate::api::socket::ApiSocket;
use crate::events::Tell;
use crate::routes;
use crate::view::Shared;

/// How long open requests may take once the end was asked for.
const LINGER: Duration = Duration::from_millis(500);

/// The runtime, and the signals that end the daemon: listened for from the beginning, so that none is lost.
#[derive(Debug)]
pub struct Server {
    runtime: Runtime,
    signals: Signals,
}

#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Server {
    /// A runtime that serves nothing yet.
    ///
    /// # Errors
    /// When the system gives no descriptors.
    pub fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let within = runtime.enter();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        drop(within);
        Ok(Self { runtime, signals: Signals { terminate, interrupt } })
    }

    /// Runs `drive` and the API (where there is a socket) until SIGTERM, SIGINT or [`Shared::end`], or until `drive`
    /// ends. `ready` is called when requests are taken. Returns what `drive` returned, if it ended first.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub fn until_ended<T>(
        self,
        socket: Option<&ApiSocket>,
        shared: &Arc<Shared>,
        drive: impl Future<Output = T>,
        ready: impl FnOnce(),
    ) -> io::Result<Option<T>> {
        let Self { runtime, mut signals } = self;
        let outcome = runtime.block_on(async {
            let (stop, stopped) = oneshot::channel::<()>();
            let listener = socket.map(ApiSocket::listener).transpose()?;
            let server = tokio::spawn(serve(listener, Arc::clone(shared), stopped));
            ready();
            let (why, ended) = tokio::select! {
                _ = signals.terminate.recv() => ("SIGTERM", None),
                _ = signals.interrupt.recv() => ("SIGINT", None),
                () = shared.ended() => ("a request", None),
                outcome = drive => ("the end of the data plane", Some(outcome)),
            };
            let object = format!("node:{}", shared.view().status.node);
            shared.tell(Tell::info("ending", object, format!("ends after {why}")));
            drop(stop);
            // A takeover's stream may be open for as long as its reader likes.
            if let Ok(Ok(outcome)) = tokio::time::timeout(LINGER, server).await {
                outcome?;
            }
            Ok(ended)
        });
        runtime.shutdown_timeout(LINGER);
        outcome
    }
}

async fn serve(
    listener: Option<std::os::unix::net::UnixListener>,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let Some(listener) = listener else { return Ok(()) };
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let ended = async move { drop(stopped.await) };
    let service = routes::router(shared).into_make_service_with_connect_info::<Caller>();
    axum::serve(listener, service).with_graceful_shutdown(ended).into_future().await
}

#[cfg(test)]
mod tests;
