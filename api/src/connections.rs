//! The connections of callers: how many there are at once, how long one may keep the server waiting, and how they end.

use std::{
    io::{self, ErrorKind},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tower_http::timeout::DeadlineBody;

#[derive(Clone, Copy, Debug)]
pub struct ConnectionOptions {
    /// How many connections are served at once. Whoever connects beyond that waits in the queue of the operating system
    /// until another connection ends.
    pub limit: usize,
    /// How long a connection may take to send the head of its next request, the first one included, and how long it may
    /// take for a body. One that takes longer is closed.
    pub patience: Duration,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        // Most systems let a process have 1024 files open, the connections to the database among them.
        Self { limit: 800, patience: Duration::from_secs(60) }
    }
}

/// How long to wait where the operating system has no file to spare for another connection.
const SHORT_OF_FILES: Duration = Duration::from_secs(1);

/// Answers whoever connects, until it shall stop, and then until what is under way has been answered. Connections that
/// are still open when the future is dropped are cut.
pub async fn serve(listener: TcpListener, router: Router, options: ConnectionOptions, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(options.limit));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
            (accepted(&listener).await, permit)
        };
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            (stream, permit) = next => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    if let Err(error) = answer(stream, router, options.patience, stop).await {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    drop(permit);
                });
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The next connection. That one fails says nothing of those to come.
async fn accepted(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_of_the_caller(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no further connection can be accepted");
                time::sleep(SHORT_OF_FILES).await;
            }
        }
    }
}

fn is_of_the_caller(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}

/// Answers the requests of one connection.
async fn answer(
    stream: TcpStream,
    router: Router,
    patience: Duration,
    stop: CancellationToken,
) -> Result<(), hyper::Error> {
    // An answer goes out at once, also behind one that has not been acknowledged yet.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection waits to fill its packets");
    }
    // All connections share the routes: `axum::serve` on a router would copy them for each.
    let service = router.map_request(move |request: Request<Incoming>| {
        request.map(|body| Body::new(DeadlineBody::new(patience, body)))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Runs whenever a head is waited for, so that it ends silent and idle connections, too.
        .header_read_timeout(patience)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    tokio::select! {
        ended = &mut connection => return ended,
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}
