//! From the start of the server to its first answers, on a large ledger and on an empty one.

use std::{env, net::SocketAddr, process::Stdio, time::Instant};

use hyper::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::Connection;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};
use uuid::Uuid;

use super::at_most;
use crate::{
    Bench, Failure,
    books::{self, Book},
    daybook,
    http::Client,
    measure::{Contestant, Run, Section, Unit},
};

/// Puts the ledger into the state in which a server would have left it.
async fn prepare(bench: &Bench, database: &str) -> Result<(), Failure> {
    let mut connection = bench.server.connection(database).await?;
    books::skip_projecting(&mut connection).await?;
    connection.close().await?;
    books::project(&bench.server, database, &["accounts"]).await
}

pub async fn start_up(bench: &Bench, book: &(Book, String)) -> Result<Section, Failure> {
    let Bench { server, sizes, .. } = bench;
    let (book, large) = book;
    let title = format!("from the start to the first answers, {} accounts and {} events", book.accounts, book.events());
    let mut section = Section::new("start-up", title, Unit::Seconds);
    if !bench.program("daybook-server").exists() {
        return Ok(section.skipped("the program `daybook-server` was not built beside this one"));
    }
    prepare(bench, large).await?;
    // Empty but for one account, since an answer must be about something.
    let tiny = Book { accounts: 1, events_each: 1, seconds: 10 };
    let empty = tiny.write(server).await?;
    prepare(bench, &empty).await?;

    let names = ["large: first account read", "large: first deposit made"];
    let others = ["empty: first account read", "empty: first deposit made"];
    let mut contestants = [
        Contestant::new(|| first_answers(bench, large, book.accounts / 2, names)),
        Contestant::new(|| first_answers(bench, &empty, 0, others)),
    ];
    section.measure(sizes.rounds, &mut contestants).await?;
    server.drop(&empty).await?;
    section.claim(at_most(names[0], 3.0, others[0]))?;
    section.claim(at_most(names[1], 3.0, others[1]))?;
    section.note("PostgreSQL runs already; the rows of accounts are there, those of the other projections are not, and nobody is watching them");
    Ok(section)
}

async fn first_answers(bench: &Bench, database: &str, account: i64, names: [&str; 2]) -> Result<Vec<Run>, Failure> {
    bench.server.quiet().await?;
    let account = Book::account(account)?;
    let token = token(bench, database).await?;
    let begun = Instant::now();
    let mut child = Command::new(bench.program("daybook-server"))
        .args([
            "--database-url",
            &bench.server.url(database),
            "--listen",
            "127.0.0.1:0",
            "--watch",
            "0",
            "--log-key",
            "none",
        ])
        .env("RUST_LOG", "error")
        .env("DAYBOOK_MASTER_KEY_FILE", env::temp_dir().join("daybook-bench.master.key"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = child.stdout.take().ok_or("the server has no standard output")?;
    let mut output = BufReader::new(output).lines();
    let mut client = Client::connect(address(&mut output).await?).await?.showing(&token)?;
    let (status, body) = client.get(&format!("/v1/accounts/{}", account.as_str())).await?;
    let read = begun.elapsed();
    if status != StatusCode::OK {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
    }
    let path = daybook::adjustments(account.as_str());
    let (status, body) = client.post(&path, &Uuid::now_v7().to_string(), daybook::adjustment(100)).await?;
    let written = begun.elapsed();
    if status != StatusCode::CREATED {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
    }
    drop(client);
    stop(&mut child).await?;
    let times = [read, written].map(|time| time.as_secs_f64());
    let run =
        |(name, figure): (&str, f64)| Run { name: name.into(), figure, counts: None, latency: None, peak_memory: None };
    Ok(names.into_iter().zip(times).map(run).collect())
}

/// A token that an operator makes beside the server.
async fn token(bench: &Bench, database: &str) -> Result<String, Failure> {
    let made = Command::new(bench.program("daybook"))
        .args(["--database-url", &bench.server.url(database), "--log-key", "none"])
        .args(["token", "create", "--role", "staff"])
        .env("DAYBOOK_MASTER_KEY_FILE", env::temp_dir().join("daybook-bench.master.key"))
        .output()
        .await?;
    if !made.status.success() {
        return Err(format!("no token is made: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    Ok(String::from_utf8(made.stdout)?.trim().to_owned())
}

/// The address that the server tells once it listens.
async fn address(output: &mut Lines<BufReader<ChildStdout>>) -> Result<SocketAddr, Failure> {
    while let Some(line) = output.next_line().await? {
        if let Some((_, address)) = line.split_once("serves on http://") {
            return Ok(address.trim().parse()?);
        }
    }
    Err("the server ended before it listened".into())
}

async fn stop(child: &mut Child) -> Result<(), Failure> {
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).ok_or("the server has ended by itself")?;
    kill_process(pid, Signal::TERM)?;
    child.wait().await?;
    Ok(())
}
