//! A connection that breaks while a command is being recorded: the writer finds out whether it stands in the book, and
//! if it cannot, a retry does.

use std::{
    collections::HashSet,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use daybook_core::{
    store::Store,
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
async fn what_was_committed_without_an_answer_is_found_and_not_done_again() {
    recorded_once(Cut::AfterCommit).await;
}

#[tokio::test]
async fn what_was_not_committed_is_done() {
    recorded_once(Cut::BeforeCommit).await;
}

/// With and without a key: what stands in the book is known by itself.
async fn recorded_once(cut: Cut) {
    let database = database().await;
    let proxy = Proxy::before(&database).await;
    let (writer, running) = proxy.writer(WriterOptions::default()).await;
    let account = account(&writer).await;
    let payment = keyed(pay_in(&account, "p1", usd("20.00")), "key", 1);

    for (command, balance) in [(payment.clone(), "20.00"), (adjust(&account, usd("1.00")), "21.00")] {
        proxy.cut(cut);
        let done = writer.execute(command).await.unwrap();
        assert_eq!(done.answer["balance"]["amount"], balance);
        assert!(!done.replayed);
        assert_eq!(whole_book(database.pool()).await.len() as u64, done.position);
    }
    assert!(writer.execute(payment).await.unwrap().replayed);
    let done = writer.execute(adjust(&account, usd("1.00"))).await.unwrap();
    assert_eq!(done.answer["balance"]["amount"], "22.00");
    assert_eq!(whole_book(database.pool()).await.len() as u64, done.position);
    running.shutdown().await;
}

#[tokio::test]
async fn while_the_database_stays_away_the_outcome_is_unknown_and_a_retry_finds_it() {
    let database = database().await;
    let proxy = Proxy::before(&database).await;
    let options = WriterOptions { deadline: Duration::from_secs(1), ..WriterOptions::default() };
    let (writer, running) = proxy.writer(options).await;
    let account = account(&writer).await;
    let payment = keyed(pay_in(&account, "p1", usd("20.00")), "key", 1);

    proxy.stay_away(true);
    proxy.cut(Cut::AfterCommit);
    let outcome = writer.execute(payment.clone()).await;
    assert!(matches!(outcome, Err(ExecuteError::Failed(Failure::OutcomeUnknown))), "{outcome:?}");
    proxy.stay_away(false);
    let retried = writer.execute(payment).await.unwrap();
    assert!(retried.replayed, "it had been recorded");
    assert_eq!(retried.answer["balance"]["amount"], "20.00");
    running.shutdown().await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Cut {
    Never,
    /// The server never sees the end of the append.
    BeforeCommit,
    /// The server commits, and its answer is lost.
    AfterCommit,
}

/// Stands between the ledger and PostgreSQL, and breaks one connection on demand.
struct Proxy {
    directory: TempDir,
    server: PgConnectOptions,
    cut: Arc<AtomicU8>,
    away: Arc<AtomicBool>,
}

const PORT: u16 = 5432;

impl Proxy {
    async fn before(database: &TestDatabase) -> Self {
        let server = database.logins().application().clone();
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(socket_in(directory.path(), PORT)).unwrap();
        let cut = Arc::new(AtomicU8::new(Cut::Never as u8));
        let away = Arc::new(AtomicBool::new(false));
        let (upstream, wanted, closed) = (server.clone(), Arc::clone(&cut), Arc::clone(&away));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !closed.load(Ordering::SeqCst) {
                    tokio::spawn(forward(client, upstream.clone(), Arc::clone(&wanted)));
                }
            }
        });
        Self { directory, server, cut, away }
    }

    /// Whether new connections are closed at once.
    fn stay_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    fn cut(&self, cut: Cut) {
        self.cut.store(cut as u8, Ordering::SeqCst);
    }

    async fn writer(&self, options: WriterOptions) -> (WriterHandle, Writer) {
        let server = self.server.clone().socket(self.directory.path()).port(PORT).ssl_mode(PgSslMode::Disable);
        let store = Store::connect(server.into(), daybook_tests::store_options()).await.unwrap();
        Writer::start(store, options)
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

/// Passes messages on, one at a time, until an append is to be cut off; then both sides lose their connection.
async fn between(client: UnixStream, server: impl AsyncRead + AsyncWrite, cut: Arc<AtomicU8>) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let requests = async {
        // The first message has no type.
        let mut typed = false;
        let (mut appends, mut appending) = (HashSet::new(), false);
        loop {
            let message = message(&mut from_client, typed).await?;
            typed = true;
            match message[0] {
                b'P' if has(&message, b"insert into events") => _ = appends.insert(text(&message[5..]).to_vec()),
                b'B' => appending = appends.contains(text(&message[6 + text(&message[5..]).len()..])),
                b'S' if appending => {
                    let armed = cut.swap(Cut::Never as u8, Ordering::SeqCst);
                    if armed == Cut::AfterCommit as u8 {
                        to_server.write_all(&message).await?;
                    }
                    if armed != Cut::Never as u8 {
                        return io::Result::Ok(armed);
                    }
                }
                _ => {}
            }
            to_server.write_all(&message).await?;
        }
    };
    let armed = tokio::select! {
        biased;
        armed = requests => armed?,
        ended = tokio::io::copy(&mut from_server, &mut to_client) => return ended.map(|_| ()),
    };
    // When it is ready for the next one, it has committed.
    while armed == Cut::AfterCommit as u8 && message(&mut from_server, true).await?[0] != b'Z' {}
    Ok(())
}

/// The text that ends with the first zero.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
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
