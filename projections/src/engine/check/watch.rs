//! The watch: it picks events at random, folds afresh the rows that they concern, and compares them with the rows that
//! serve. A row that drifts from the book is found without anybody asking for it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use daybook_core::{Position, chain, store::Store};
use rand::Rng;
use serde::Serialize;
use serde_json::Value;
use sqlx::{Connection, Executor as _, PgConnection, PgExecutor};
use tokio::time;

use crate::engine::{
    self, Definition,
    builds::{
        build::{self, Build, Stage, State},
        target::Target,
    },
    check::{
        afresh,
        proof::{self, Difference},
    },
    error::RebuildError,
    follow::{
        fold::Folding,
        log::{self, Entry},
    },
    memory::{Memory, Portion},
    row::Source,
    session::{UNHURRIED, snapshot_of},
    table::Table,
};

/// A row that is not what the book says.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Drift {
    #[serde(skip)]
    pub projection: String,
    pub build: i32,
    #[sqlx(rename = "table_name")]
    pub table: String,
    pub key: Value,
    pub stored: Option<Value>,
    pub expected: Option<Value>,
    /// The checkpoint at which they were compared.
    #[sqlx(try_from = "i64")]
    pub position: Position,
    pub found_at: DateTime<Utc>,
}

/// What a look at some rows has come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    /// These rows are what the book says: so many of them.
    Sound(u64),
    Drifted(Vec<Difference>),
    /// There is nothing to compare, or not now: no event, or a build that stands still.
    Nothing,
    /// The rows depend on the whole book, or on very much of it; only a verification of all rows can tell.
    TooWide,
}

/// So many events, or rows, are too many for one look.
const WIDE: usize = 50_000;

/// Events whose rows are looked at in one turn.
const EVENTS: usize = 16;

/// After a look it rests so many times as long as that took: rows of long histories must not cost who uses them.
const REST: u32 = 19;
/// But not for more than so many pauses.
const PAUSES: u32 = 60;

/// Looks at some rows of one projection after the other, with a pause after each, until it is dropped.
pub async fn watch(store: Store, board: &'static [Definition], pause: Duration) {
    let names: Vec<&str> = engine::latest(board).iter().map(|definition| definition.name).collect();
    loop {
        for projection in &names {
            time::sleep(pause).await;
            if let Err(error) = take_turn(&store, board, projection, pause).await {
                tracing::warn!(projection, error = %chain(&error), "the watch cannot look at the rows");
            }
        }
    }
}

async fn take_turn(store: &Store, board: &[Definition], projection: &str, pause: Duration) -> Result<(), RebuildError> {
    let mut connection = store.connection().await?;
    connection.execute(UNHURRIED).await?;
    // Of a version that this program does not have it cannot tell what is right.
    let Some(definition) = build::in_service(board, projection, &mut connection).await? else { return Ok(()) };
    let head = daybook_core::store::head(&mut connection).await?.position;
    let events = if head == 0 { 0 } else { EVENTS };
    let mut seen = BTreeSet::new();
    for _ in 0..events {
        let position = rand::rng().random_range(1..=head);
        let begun = Instant::now();
        if let Look::Drifted(differences) = look_on(store, &definition, position, &mut seen, &mut connection).await? {
            tell(&definition, &differences);
        }
        time::sleep((begun.elapsed() * REST).min(pause * PAUSES)).await;
    }
    connection.close().await?;
    Ok(())
}

/// Compares the rows that the event at this position concerns, and records what differs.
pub async fn look(store: &Store, definition: &Definition, position: Position) -> Result<Look, RebuildError> {
    let mut connection = store.connection().await?;
    connection.execute(UNHURRIED).await?;
    look_on(store, definition, position, &mut BTreeSet::new(), &mut connection).await
}

/// Passes over rows that have been seen, and notes those that it looks at.
async fn look_on(
    store: &Store,
    definition: &Definition,
    position: Position,
    seen: &mut BTreeSet<String>,
    connection: &mut PgConnection,
) -> Result<Look, RebuildError> {
    let views: Vec<&str> = definition.tables.iter().map(Table::name).collect();
    let mut transaction = connection.begin_with(snapshot_of(&views)).await?;
    let serving = build::at(definition.name, Stage::Serving, &mut *transaction).await?;
    let comparable = |build: &Build| build.version == definition.version && build.state != State::Stopped;
    let Some(serving) = serving.filter(comparable).filter(|build| build.position >= position) else {
        return Ok(Look::Nothing);
    };
    let target = Target { definition: *definition, build: serving.build };
    let folding = Folding::read(definition, &mut *transaction).await?;
    let entries = log::read(&mut transaction, store, position - 1, 1).await?;
    let Some(entry) = entries.first() else { return Ok(Look::Nothing) };
    let mut changes = folding.changes([entry])?;
    let mut keys: BTreeSet<String> = definition.tables.iter().flat_map(|table| table.touched(&mut changes)).collect();
    keys.retain(|key| seen.insert(key.clone()));

    let (mut sound, mut wide) = (0, false);
    let (mut healthy, mut differences) = (BTreeSet::new(), Vec::new());
    for key in keys {
        match of_key(store, &target, &folding, entry, &key, serving.position, &mut transaction).await? {
            Look::Sound(rows) => {
                sound += rows;
                healthy.insert(key);
            }
            Look::TooWide => wide = true,
            Look::Nothing => {}
            // What the rows themselves tell of their events may be wrong, too. Only the whole book is beyond doubt.
            Look::Drifted(_) => {
                let portion = Portion::Only(BTreeSet::from([key.clone()]));
                let expected = afresh::in_memory(store, &folding, serving.position, portion).await?;
                differences.extend(differing(&target, expected, &key, &mut transaction).await?);
            }
        }
    }
    transaction.rollback().await?;
    // A row may have been mended since it was found.
    forget(&target, &healthy, connection).await?;
    if differences.is_empty() {
        return Ok(match (sound, wide) {
            (0, true) => Look::TooWide,
            (0, false) => Look::Nothing,
            (rows, _) => Look::Sound(rows),
        });
    }
    record(&target, serving.position, &differences, connection).await?;
    Ok(Look::Drifted(differences))
}

/// Compares the rows of one key with a fold of the events that they name as their sources.
async fn of_key(
    store: &Store,
    target: &Target,
    folding: &Folding,
    entry: &Entry,
    key: &str,
    position: Position,
    connection: &mut PgConnection,
) -> Result<Look, RebuildError> {
    let definition = target.definition;
    let mut sources = BTreeSet::new();
    for table in definition.tables.iter().filter(|table| table.can_have(key)) {
        match table.sources(&target.table(table), key, WIDE, connection).await {
            Ok(further) => sources.extend(further),
            // No fold makes a row that cannot be read.
            Err(sqlx::Error::ColumnDecode { .. }) => return Ok(Look::Drifted(Vec::new())),
            Err(error) => return Err(error.into()),
        }
    }
    if sources.contains(&Source::Book) {
        return Ok(Look::TooWide);
    }
    // The event itself concerns the rows for certain, whatever these tell.
    sources.insert(Source::Event(entry.position as i64));
    let events = log::read_sources(connection, &sources, position, WIDE).await?;
    if events.len() == WIDE {
        return Ok(Look::TooWide);
    }
    let opener = store.opener(&events).await?;
    let entries: Vec<Entry> = events.into_iter().map(|raw| Entry::of(raw, &opener)).collect();
    let portion = Portion::Only(BTreeSet::from([key.to_owned()]));
    let mut memory = Memory::default();
    let mut changes = folding.changes(&entries)?;
    if memory.keep(&definition, &mut changes, &portion).is_err() {
        return Ok(Look::Drifted(Vec::new()));
    }
    let mut rows = 0;
    for table in definition.tables {
        rows += table.count(&mut memory);
    }
    let differences = differing(target, memory, key, connection).await?;
    Ok(if differences.is_empty() { Look::Sound(rows) } else { Look::Drifted(differences) })
}

/// The rows of a key that are not as expected.
async fn differing(
    target: &Target,
    mut expected: Memory,
    key: &str,
    connection: &mut PgConnection,
) -> Result<Vec<Difference>, sqlx::Error> {
    let mut differences = Vec::new();
    for table in target.definition.tables.iter().filter(|table| table.can_have(key)) {
        let mut rows: Vec<Value> = Vec::new();
        while let Some(handed) = table.hand_out(&mut expected) {
            let handed: Vec<Value> = serde_json::from_str(&handed).expect("rows are handed out as a list");
            rows.extend(handed);
        }
        differences.extend(proof::rows_of_key(target, table, key, &Value::Array(rows), connection).await?);
    }
    Ok(differences)
}

fn tell(definition: &Definition, differences: &[Difference]) {
    for Difference { table, key, stored, expected } in differences {
        let projection = definition.name;
        tracing::error!(projection, table, %key, ?stored, ?expected, "a row has drifted from the book");
    }
}

async fn record(
    target: &Target,
    position: Position,
    differences: &[Difference],
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    for Difference { table, key, stored, expected } in differences {
        sqlx::query(
            "insert into drifts (projection, build, table_name, key, stored, expected, position)
             select name, build, $3, $4, $5, $6, $7
             from projections
             where name = $1 and build = $2
             on conflict (projection, build, table_name, key) do update
             set stored = excluded.stored, expected = excluded.expected, position = excluded.position",
        )
        .bind(target.definition.name)
        .bind(target.build)
        .bind(table)
        .bind(key)
        .bind(stored)
        .bind(expected)
        .bind(position as i64)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// What is known to have drifted, of the builds that serve.
pub(in crate::engine) async fn list(names: &[&str], executor: impl PgExecutor<'_>) -> Result<Vec<Drift>, sqlx::Error> {
    sqlx::query_as(
        "select d.projection, d.build, d.table_name, d.key, d.stored, d.expected, d.position, d.found_at
         from drifts d
         join projections p on p.name = d.projection and p.build = d.build and p.stage = 'serving'
         where d.projection = any($1)
         order by d.projection, d.found_at",
    )
    .bind(names)
    .fetch_all(executor)
    .await
}

/// Forgets the drifts of rows of a build that are right again.
pub(in crate::engine) async fn forget(
    target: &Target,
    keys: &BTreeSet<String>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for table in target.definition.tables {
        sqlx::query(
            "delete from drifts where projection = $1 and build = $2 and table_name = $3 and key ->> $4 = any($5)",
        )
        .bind(target.definition.name)
        .bind(target.build)
        .bind(table.name())
        .bind(table.key()[0])
        .bind(&keys)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
