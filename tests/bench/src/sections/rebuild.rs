//! Rebuilding the account statement, one row out per event, against copying the events out and the rows in.

use std::{collections::BTreeMap, env, time::Instant};

use daybook_core::store::{Store, StoreOptions};
use daybook_projections::engine::{self, Phase, RebuildOptions};
use serde::{Deserialize, Serialize};
use sqlx::Connection;
use tokio::process::Command;

use super::at_least;
use crate::{
    Bench, Failure,
    books::{self, Book},
    limits,
    measure::{Claim, Contestant, Run, Section, Unit},
    memory,
    rivals::postgres_es,
};

pub const PROJECTION: &str = "account_statement";
/// Rounds of what takes minutes.
const MINUTES_EACH: usize = 2;
const TABLE: &str = "account_statement_v1";
const EVENTS: &str = "select position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at from events";
const ROWS: &str = "select * from account_statement";

/// What the child process tells of a rebuild.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    /// By phase.
    seconds: BTreeMap<String, f64>,
    peak_memory: Option<u64>,
}

pub async fn rebuild(bench: &Bench, book: &(Book, String)) -> Result<Section, Failure> {
    let Bench { server, sizes, .. } = bench;
    let (book, database) = book;
    let events = book.events();
    let mut section = Section::new("rebuild", format!("rebuild of {PROJECTION} over {events} events"), Unit::PerSecond);
    let pool = server.pool(database, 2).await?;
    let rows = limits::copied_rows(&pool, ROWS).await?;
    let (filled, proven) = ("Daybook", "Daybook, with its proofs");
    let (copies, replay) = ("limit: COPY out + COPY in", "postgres-es, replay into one view");
    let mut contestants = [
        Contestant::new(|| rebuilt(bench, database, events, (filled, proven))),
        Contestant::new(|| async {
            server.quiet().await?;
            let out = limits::copy_out(&pool, EVENTS).await?;
            let into = limits::copy_in(&pool, TABLE, &rows).await?;
            let run = |name: &str, seconds: f64| {
                let figure = events as f64 / seconds;
                Run { name: name.into(), figure, counts: None, latency: None, peak_memory: None }
            };
            Ok(vec![
                run(copies, out + into),
                run("COPY out of the events", out),
                run("COPY in of the rows, and indexes", into),
            ])
        }),
        Contestant::new(|| postgres_es::replay(server, replay, sizes.replayed)),
    ];
    section.measure(sizes.rounds, &mut contestants).await?;
    pool.close().await;
    section.claim(at_least(filled, 0.4, copies))?;
    section.claim(at_least(filled, 100.0, replay))?;
    section.claim(Claim::PeakMemory { of: filled.into(), mebibytes: 300.0 })?;
    section.note("the rebuild is the reading, folding, writing, indexing and taking over; with its proofs it is all until `daybook rebuild` ends");
    section.note(format!(
        "postgres-es replays {} events, since its time grows with their number; the rates are compared",
        sizes.replayed
    ));
    Ok(section)
}

/// The same over many accounts, so that neither their rows nor those of the proof fit into the memory that it may take.
pub async fn wide(bench: &Bench, book: &(Book, String)) -> Result<Section, Failure> {
    let Bench { server, sizes, .. } = bench;
    let (book, database) = book;
    let (accounts, events) = (book.accounts, book.events());
    let title = format!("rebuild of {PROJECTION} over {events} events of {accounts} accounts");
    let mut section = Section::new("wide", title, Unit::PerSecond);
    let mut connection = server.connection(database).await?;
    books::skip_projecting(&mut connection).await?;
    connection.close().await?;
    books::project(server, database, &[PROJECTION]).await?;
    let (filled, proven) = ("Daybook", "Daybook, with its proofs");
    let mut contestants = [Contestant::new(|| rebuilt(bench, database, events, (filled, proven)))];
    section.measure(sizes.rounds.min(MINUTES_EACH), &mut contestants).await?;
    section.claim(at_least(proven, 1.0 / 3.0, filled))?;
    section.claim(Claim::PeakMemory { of: filled.into(), mebibytes: 300.0 })?;
    section.note("the rebuild and its proofs are as under `rebuild`");
    Ok(section)
}

/// A book and its statement rows, as a server that has followed it would have them.
pub async fn prepare(bench: &Bench) -> Result<(Book, String), Failure> {
    let accounts = 1000;
    let book = Book { accounts, events_each: bench.sizes.rebuilt / accounts, seconds: 10 };
    let database = book.write(&bench.server).await?;
    let mut connection = bench.server.connection(&database).await?;
    books::skip_projecting(&mut connection).await?;
    connection.close().await?;
    books::project(&bench.server, &database, &[PROJECTION]).await?;
    Ok((book, database))
}

/// In a process of its own, so that the memory is the rebuild's.
async fn rebuilt(
    bench: &Bench,
    database: &str,
    events: i64,
    (filled, proven): (&str, &str),
) -> Result<Vec<Run>, Failure> {
    bench.server.quiet().await?;
    let mut child = Command::new(env::current_exe()?);
    let output = child.arg("rebuild-once").arg(bench.server.url(database)).kill_on_drop(true).output().await?;
    if !output.status.success() {
        return Err(format!("the rebuild failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let Told { seconds, peak_memory } = serde_json::from_slice(&output.stdout)?;
    let whole: f64 = seconds.values().sum();
    let proofs: f64 = ["comparing", "proving"].iter().filter_map(|phase| seconds.get(*phase)).sum();
    let run = |name: &str, seconds: f64| Run {
        name: name.into(),
        figure: events as f64 / seconds,
        counts: None,
        latency: None,
        peak_memory,
    };
    Ok(vec![run(filled, whole - proofs), run(proven, whole)])
}

/// What the child process does: one rebuild, told on standard output.
pub async fn once(url: &str) -> Result<(), Failure> {
    let store = Store::connect(url.parse()?, StoreOptions::default()).await?;
    let definition = daybook_projections::find(PROJECTION).ok_or("there is no such projection")?;
    let mut seconds = BTreeMap::new();
    let (mut phase, mut since) = (Phase::Filling, Instant::now());
    let mut tell = |next: Phase| -> Result<(), Failure> {
        if next != phase {
            *seconds.entry(name(phase)?).or_insert(0.0) += since.elapsed().as_secs_f64();
            (phase, since) = (next, Instant::now());
        }
        Ok(())
    };
    let mut trouble = Ok(());
    engine::rebuild(&store, &definition, &RebuildOptions::default(), |progress| {
        if let Err(error) = tell(progress.phase) {
            trouble = Err(error);
        }
    })
    .await?;
    trouble?;
    *seconds.entry(name(phase)?).or_insert(0.0) += since.elapsed().as_secs_f64();
    println!("{}", serde_json::to_string(&Told { seconds, peak_memory: memory::peak() })?);
    Ok(())
}

/// As its JSON calls it.
fn name(phase: Phase) -> Result<String, Failure> {
    Ok(serde_json::to_value(phase)?.as_str().unwrap_or_default().to_owned())
}
