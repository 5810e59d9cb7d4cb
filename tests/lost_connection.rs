//! A connection that breaks while a command is being committed: nobody knows the outcome, and a retry finds it.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use daybook_core::{
    store::{Store, StoreOptions},
    writer::{ExecuteError, Failure, Writer, WriterHandle, WriterOptions},
};
use daybook_tests::{
    TestDatabase,
    commands::{account, adjust, keyed, pay_in, usd},
    database, whole_book,
};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixListener, UnixStream},
};

#[tokio::test]
async fn what_was_committed_without_an_answer_is_found_by_a_retry() {
    let database = database().await;
    let proxy = Proxy::before(&database).await;
    let (writer, running) = proxy.writer().await;
    let account = account(&writer).await;
    let payment = keyed(pay_in(&account, "p1", usd("20.00")), "key", 1);

    proxy.cut(Cut::AfterCommit);
    unknown(&writer, payment.clone()).await;
    let retried = writer.execute(payment).await.unwrap();
    assert!(retried.replayed, "it had been recorded");
    assert_eq!(retried.answer["balance"]["amount"], "20.00");

    let done = writer.execute(adjust(&account, usd("1.00"))).await.unwrap();
    assert_eq!(done.answer["balance"]["amount"], "21.00");
    assert_eq!(whole_book(database.pool()).await.len() as u64, done.position);
    running.shutdown().await;
}

#[tokio::test]
async fn what_was_not_committed_is_done_by_a_retry() {
    let database = database().await;
    let proxy = Proxy::before(&database).await;
    let (writer, running) = proxy.writer().await;
    let account = account(&writer).await;
    let payment = keyed(pay_in(&account, "p1", usd("20.00")), "key", 1);

    proxy.cut(Cut::BeforeCommit);
    unknown(&writer, payment.clone()).await;
    // What the writer had decided is not in the book, so it must not be in its memory either.
    let done = writer.execute(adjust(&account, usd("1.00"))).await.unwrap();
    assert_eq!(done.answer["balance"]["amount"], "1.00");
    let retried = writer.execute(payment).await.unwrap();
    assert!(!retried.replayed, "it had not been recorded");
    assert_eq!(retried.answer["balance"]["amount"], "21.00");
    assert_eq!(whole_book(database.pool()).await.len() as u64, retried.position);
    running.shutdown().await;
}

async fn unknown(writer: &WriterHandle, command: daybook_core::writer::Command) {
    let outcome = writer.execute(command).await;
    assert!(matches!(outcome, Err(ExecuteError::Failed(Failure::OutcomeUnknown))), "{outcome:?}");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Cut {
    Never,
    /// The server never sees the commit.
    BeforeCommit,
    /// The server commits, and its answer is lost.
    AfterCommit,
}

/// Stands between the ledger and PostgreSQL, and breaks one connection on demand.
struct Proxy {
    directory: TempDir,
    server: PgConnectOptions,
    cut: Arc<AtomicU8>,
}

const PORT: u16 = 5432;

impl Proxy {
    async fn before(database: &TestDatabase) -> Self {
        let server: PgConnectOptions = database.url().parse().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(socket_in(directory.path(), PORT)).unwrap();
        let cut = Arc::new(AtomicU8::new(Cut::Never as u8));
        let (upstream, wanted) = (server.clone(), Arc::clone(&cut));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, upstream.clone(), Arc::clone(&wanted)));
            }
        });
        Self { directory, server, cut }
    }

    fn cut(&self, cut: Cut) {
        self.cut.store(cut as u8, Ordering::SeqCst);
    }

    async fn writer(&self) -> (WriterHandle, Writer) {
        let options = self.server.clone().socket(self.directory.path()).port(PORT).ssl_mode(PgSslMode::Disable);
        let store = Store::connect(options, StoreOptions::default()).await.unwrap();
        Writer::start(store, WriterOptions::default())
    }
}

fn socket_in(directory: &Path, port: u16) -> std::path::PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

async fn forward(client: UnixStream, server: PgConnectOptions, cut: Arc<AtomicU8>) -> io::Result<()> {
    match server.get_socket() {
        Some(directory) => {
            between(client, UnixStream::connect(socket_in(directory, server.get_port())).await?, cut).await
        }
        None => between(client, TcpStream::connect((server.get_host(), server.get_port())).await?, cut).await,
    }
}

/// Passes messages on, one at a time, until a commit is to be cut off; then both sides lose their connection.
async fn between(client: UnixStream, server: impl AsyncRead + AsyncWrite, cut: Arc<AtomicU8>) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let commits = async {
        // The first message has no type.
        let mut typed = false;
        loop {
            let message = message(&mut from_client, typed).await?;
            typed = true;
            if message.starts_with(b"Q") && message.ends_with(b"COMMIT\0") {
                let armed = cut.swap(Cut::Never as u8, Ordering::SeqCst);
                if armed == Cut::BeforeCommit as u8 {
                    return Ok(());
                }
                to_server.write_all(&message).await?;
                if armed == Cut::AfterCommit as u8 {
                    return Ok(());
                }
            } else {
                to_server.write_all(&message).await?;
            }
        }
    };
    let answers = tokio::io::copy(&mut from_server, &mut to_client);
    tokio::select! {
        biased;
        ended = commits => ended,
        ended = answers => ended.map(|_| ()),
    }
}

async fn message(from: &mut (impl AsyncRead + Unpin), typed: bool) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    if typed {
        message.push(from.read_u8().await?);
    }
    let length = from.read_u32().await?;
    message.extend(length.to_be_bytes());
    let start = message.len();
    message.resize(start + length as usize - 4, 0);
    from.read_exact(&mut message[start..]).await?;
    Ok(message)
}
