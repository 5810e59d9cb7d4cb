//! The connections of callers: how many there are at once, whether they are encrypted, how long one may keep the server
//! waiting, and how they end.

use std::{
    io::{self, ErrorKind, IoSlice},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{self, Sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tower::ServiceExt as _;
use tower_http::timeout::DeadlineBody;

use crate::http::{
    arrival::{Connection, Wire},
    error::ApiError,
    layers::answering,
    tls::Certificates,
};

/// How long a caller is waited for, unless an operator says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    /// How many connections are served at once. Further ones are answered by 503.
    pub limit: usize,
    /// How long a connection may take to agree on encryption, how long to send the head of its next request, the first
    /// one included, how long for a body, and how long it may take nothing of an answer. One that takes longer is closed.
    pub patience: Duration,
    /// What callers are shown, if their connections are encrypted.
    pub certificates: Option<Certificates>,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        // Most systems let a process have 1024 files open, the connections to the database among them.
        Self { limit: 800, patience: PATIENCE, certificates: None }
    }
}

impl ConnectionOptions {
    /// For the few programs that watch a server.
    pub fn of_watchers() -> Self {
        Self { limit: 20, patience: Duration::from_secs(10), certificates: None }
    }
}

/// How long to wait where the operating system has no file to spare for another connection.
const SHORT_OF_FILES: Duration = Duration::from_secs(1);

/// So many of those beyond the limit are answered at once, and the others wait in the queue of the operating system. Together
/// with the usual limit and the connections to the database they are fewer files than most systems let a process open.
const TURNED_AWAY: usize = 64;

/// How long one of them may take, since it keeps others waiting.
const TURNED_AWAY_WITHIN: Duration = Duration::from_secs(2);

/// How much of an answer the operating system keeps for a caller, in bytes; it takes twice as much memory. By itself it
/// would keep megabytes, and a caller who reads slowly would not be seen to read for minutes.
const SEND_BUFFER: usize = 128 << 10;

/// What begins a connection by TLS: the type of its first record.
const HANDSHAKE: u8 = 22;

/// Answers whoever connects, until it shall stop, and then until what is under way has been answered. Connections that
/// are still open when the future is dropped are cut.
pub async fn serve(listener: TcpListener, router: Router, options: ConnectionOptions, stop: CancellationToken) {
    let ConnectionOptions { limit, patience, certificates } = options;
    let (permits, turned_away) = (Arc::new(Semaphore::new(limit)), Arc::new(Semaphore::new(TURNED_AWAY)));
    let full = answering(Router::new().fallback(full));
    let acceptor = certificates.as_ref().map(Certificates::acceptor);
    let _watch = certificates.map(|certificates| AbortOnDropHandle::new(tokio::spawn(certificates.watch())));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let spare = Arc::clone(&turned_away).acquire_owned().await.expect("the semaphore is never closed");
            (accepted(&listener).await, spare)
        };
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            ((stream, peer), spare) = next => {
                // The spare place is given back at once if there is one to be served at.
                let (permit, router, patience) = match Arc::clone(&permits).try_acquire_owned() {
                    Ok(permit) => (permit, router.clone(), patience),
                    Err(_) => (spare, full.clone(), patience.min(TURNED_AWAY_WITHIN)),
                };
                let caller = Caller { peer, router, patience, stop: stop.clone() };
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    if let Err(error) = caller.answer(stream, acceptor).await {
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

/// What is answered to whoever connects beyond the limit.
async fn full() -> Response {
    let error = ApiError::new("overloaded", "as many callers are connected as the server takes; connect again later");
    let mut response = error.retry_after(TURNED_AWAY_WITHIN.as_secs()).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The next connection. That one fails says nothing of those to come.
async fn accepted(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
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

/// Somebody who has connected, and what answers.
struct Caller {
    peer: SocketAddr,
    router: Router,
    patience: Duration,
    stop: CancellationToken,
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

impl Caller {
    /// Agrees on encryption if there is to be any, then answers the requests of the connection.
    async fn answer(self, stream: TcpStream, acceptor: Option<TlsAcceptor>) -> Ended {
        // An answer goes out at once, also behind one that has not been acknowledged yet.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection waits to fill its packets");
        }
        if let Err(error) = set_socket_send_buffer_size(&stream, SEND_BUFFER) {
            tracing::debug!(%error, "a connection keeps as much of an answer as it likes");
        }
        let Some(acceptor) = acceptor else {
            return self.answer_requests(Impatient::new(stream, self.patience), Wire::Plain).await;
        };
        let begun = async {
            let mut first = [0];
            // A caller who does not know that the server speaks TLS is answered so that it can read why.
            if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
                return Ok(Err(Impatient::new(stream, self.patience)));
            }
            acceptor.accept(Impatient::new(stream, self.patience)).await.map(Ok)
        };
        let begun = tokio::select! {
            begun = timeout(self.patience, begun) => begun??,
            () = self.stop.cancelled() => return Ok(()),
        };
        match begun {
            Ok(encrypted) => self.answer_requests(encrypted, Wire::Encrypted).await,
            Err(plain) => self.answer_requests(plain, Wire::Unencrypted).await,
        }
    }

    async fn answer_requests(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send, wire: Wire) -> Ended {
        let (patience, connection) = (self.patience, Connection { peer: self.peer.ip(), wire });
        // All connections share the routes: `axum::serve` on a router would copy them for each.
        let service = self.router.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(connection);
            request.map(|body| Body::new(DeadlineBody::new(patience, body)))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // Runs whenever a head is waited for, so that it ends silent and idle connections, too.
            .header_read_timeout(patience)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut connection = pin!(connection);
        tokio::select! {
            ended = &mut connection => return Ok(ended?),
            () = self.stop.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        Ok(connection.await?)
    }
}

/// A stream whose writing ends when nothing of it was taken for too long.
#[derive(Debug)]
struct Impatient<S> {
    stream: S,
    patience: Duration,
    /// Runs from the moment that the stream takes nothing until it takes something.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, waiting: None }
    }
}

impl<S: Unpin> Impatient<S> {
    fn unless_too_long<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(written) = write(Pin::new(&mut self.stream), context) {
            self.waiting = None;
            return Poll::Ready(written);
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(time::sleep(self.patience)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the caller takes nothing of its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.unless_too_long(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unless_too_long(context, |stream, context| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_too_long(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_too_long(context, |stream, context| stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_takes_nothing_is_waited_for_no_longer_than_patience() {
        let (server, mut caller) = duplex(10);
        let mut server = Impatient::new(server, PATIENCE);
        let begun = time::Instant::now();
        let error = server.write_all(&[0; 30]).await.expect_err("nobody reads");
        assert_eq!((error.kind(), begun.elapsed().as_secs()), (ErrorKind::TimedOut, PATIENCE.as_secs()));
        assert_eq!(caller.read(&mut [0; 30]).await.expect("what was written before"), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_reads_slowly_gets_everything() {
        let (server, mut caller) = duplex(10);
        let mut server = Impatient::new(server, PATIENCE);
        let reading = tokio::spawn(async move {
            for _ in 0..100 {
                time::sleep(PATIENCE - Duration::from_secs(1)).await;
                caller.read_exact(&mut [0; 10]).await.expect("it goes on");
            }
        });
        server.write_all(&[0; 1000]).await.expect("somebody reads");
        server.shutdown().await.expect("a caller who reads lets it end");
        reading.await.expect("everything came");
    }
}
