//! Folds that are not pure, and the law that catches them: it knows nothing of what is wrong with each.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
};

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{Account, Ticket},
};
use daybook_projections::{
    BOARD, Definition, Projector, ProjectorOptions, Reader,
    engine::{Changes, FoldError, Follows, Owner, Projection, Row, Source, Table},
};
use daybook_tests::{
    equality,
    history::{LONG, Ledger, varied_history},
};
use serde::{Deserialize, Serialize};
use sqlx::{Connection, FromRow, PgConnection};

/// A row per event, with something that a fold should not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
struct Seen<const TABLE: usize> {
    position: i64,
    part: i32,
    seen: String,
}

const TABLES: [&str; 3] = ["clock_readings", "neighbour_readings", "order_readings"];

impl<const TABLE: usize> Row for Seen<TABLE> {
    type Key = (i64, i32);
    const TABLE: &'static str = TABLES[TABLE];
    const KEY: &'static [&'static str] = &["position", "part"];
    const OWNER: Owner = Owner::Nobody;

    fn key(&self) -> Self::Key {
        (self.position, self.part)
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::Event(self.position)]
    }
}

fn see<const TABLE: usize>(event: &RecordedEvent, seen: String, changes: &mut Changes) {
    changes.insert(Seen::<TABLE> { position: event.position as i64, part: 1, seen });
}

/// Reads the clock.
enum Clock {}

impl Projection for Clock {
    const NAME: &'static str = "clock";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[Ticket::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<Seen<0>>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        let now: DateTime<Utc> = Utc::now();
        see::<0>(event, now.to_rfc3339(), changes);
        Ok(())
    }
}

/// Reads the table of another projection, on a connection that nobody gave it.
enum Neighbour {}

static URL: OnceLock<String> = OnceLock::new();

impl Projection for Neighbour {
    const NAME: &'static str = "neighbour";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[Account::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<Seen<1>>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        see::<1>(event, entries_so_far().to_string(), changes);
        Ok(())
    }
}

fn entries_so_far() -> i64 {
    let asking = thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = PgConnection::connect(URL.get().unwrap()).await.unwrap();
            let entries = "select count(*) from account_statement";
            sqlx::query_scalar(entries).fetch_one(&mut connection).await.unwrap()
        })
    });
    asking.join().unwrap()
}

/// Goes through a map in whatever order it has.
enum Order {}

impl Projection for Order {
    const NAME: &'static str = "order_of_maps";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Everything;
    const TABLES: &'static [Table] = &[Table::of::<Seen<2>>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        let told = HashMap::from([
            ("type", event.event.event_type()),
            ("version", event.event.event_version()),
            ("aggregate", event.aggregate_id.clone()),
            ("sequence", event.sequence.to_string()),
        ]);
        let told: Vec<String> = told.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        see::<2>(event, told.join(" "), changes);
        Ok(())
    }
}

static IMPURE: &[Definition] = &[Definition::of::<Clock>(), Definition::of::<Neighbour>(), Definition::of::<Order>()];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fold_that_is_not_pure_is_caught() {
    let mut ledger = Ledger::new().await;
    URL.set(ledger.database.url().to_owned()).unwrap();
    for table in TABLES {
        sqlx::raw_sql(&format!(
            "create table {table}_v1 (position bigint, part integer, seen text not null, primary key (position, part));
             create view {table} as select * from {table}_v1;
             grant select on {table} to daybook_app;
             grant select, insert, update, delete on {table}_v1 to daybook_app"
        ))
        .execute(ledger.database.pool())
        .await
        .unwrap();
    }
    let pure = ledger.projector(true).await;
    let writer = Some(&ledger.writer);
    let impure = Projector::start(&ledger.store, IMPURE, writer, ProjectorOptions::default()).await.unwrap();
    varied_history(&mut ledger).await;
    ledger.projected(Some(&pure)).await;
    let reader = Reader::new(&ledger.store, IMPURE, Some(&impure));
    for definition in IMPURE {
        reader.wait_for(definition.name, ledger.last, LONG).await.unwrap();
    }

    let broken = equality::broken(&ledger.store, IMPURE).await;
    let caught: Vec<&str> = broken.iter().map(|(name, _)| *name).collect();
    assert_eq!(caught, ["clock", "neighbour", "order_of_maps"], "{broken:?}");
    assert_eq!(equality::broken(&ledger.store, BOARD).await, []);
    pure.shutdown().await;
    impure.shutdown().await;
}

/// The source files below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// What decides does no I/O, and so stands on nothing that does.
#[test]
fn what_decides_stands_on_nothing_that_reads_or_writes() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("core/src");
    let above = [
        ("terms", &["domain", "event", "state", "operations"][..]),
        ("domain", &["state", "operations"]),
        ("state", &["operations"]),
        ("operations", &[]),
    ];
    for (folder, above) in above {
        let mut files = Vec::new();
        sources(&core.join(folder), &mut files);
        assert!(!files.is_empty(), "{folder} was not found");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for statement in text.split("\nuse crate::").skip(1) {
                let import = statement.split(';').next().unwrap();
                let words: Vec<&str> = import.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
                let foreign = ["store", "writer", "transparency", "upgrade", "clock"].iter().chain(above);
                let found: Vec<_> = foreign.filter(|module| words.contains(*module)).collect();
                assert!(found.is_empty(), "{} uses {found:?}", file.display());
            }
        }
    }
}

/// A new version of an event may have another shape: only the store, which brings events to their present version, may look
/// for something in one as it was stored. The upgrade mends what earlier versions have recorded, in their shape.
#[test]
fn nobody_looks_into_events_past_the_upcasters() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for folder in ["core", "projections", "api", "replay-tools"] {
        sources(&repository.join(folder), &mut files);
    }
    files.retain(|file| {
        !["core/src/store", "core/src/upgrade.rs"].iter().any(|own| file.starts_with(repository.join(own)))
    });
    assert!(files.len() > 100, "the sources were not found");
    let looks = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        ["payload #>", "payload ->", "payload#>", "payload->"].iter().any(|look| text.contains(look))
    };
    assert_eq!(files.into_iter().filter(looks).collect::<Vec<_>>(), Vec::<PathBuf>::new());
}
