//! Rows of the past: the same fold, of the same events, up to a moment; read by the same queries as the rows of now.
//!
//! There are two axes. *As known at* a position counts what had been recorded up to it; *as of* a time counts what took
//! effect at that time or before it, whenever it was recorded. Events go in the order of the book on both, and an event
//! that builds on one that has not taken effect has not taken effect either: where that is more than its own time tells, the
//! projection tells it ([`Effects`]), and whatever does not fit the rows is left out whole. What an event tells as a result, such as what is still due, is what it told when it was recorded.
//!
//! The rows lie in temporary tables under the names of the readers' views, which PostgreSQL looks up first. They are
//! folded for the keys that an answer needs and no others; which events can have made a row, the row of now tells
//! ([`Row::sources`](crate::engine::Row::sources)).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use daybook_core::{
    Position, chain,
    store::{Store, StoreError, position_at},
};
use futures::TryStreamExt;
use sqlx::{Executor as _, PgConnection, PgExecutor, QueryBuilder};
use tokio::time;

use crate::engine::{
    Definition, Effects,
    builds::{
        build::{self, Stage},
        target::Target,
    },
    changes::Changes,
    follow::{
        fold::Folding,
        log::{self, Entry},
        parking::Parked,
    },
    memory::{Memory, Portion},
    read::{
        chosen::Chosen,
        snapshot::{Freshness, LOOK_AGAIN, Plans, ReadError, Reader, Snapshot, beginning},
        viewer::Viewer,
        wall,
    },
    row::Source,
    table::{Related, Table, WriteError},
};

/// The moment that rows are wanted at, on either axis or on both; the default is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Only what took effect at this time or before it.
    pub as_of: Option<DateTime<Utc>>,
    /// Only what had been recorded up to this position.
    pub known_at: Option<Position>,
}

/// What a moment of recording is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Position(Position),
    /// The last position that was recorded at this time or before it.
    Time(DateTime<Utc>),
}

/// A row of now that may have been in a listing of the past.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Candidate {
    pub key: String,
    /// Of the event that made it.
    pub position: i64,
}

/// What a snapshot of the past is made of.
#[derive(Debug)]
pub(in crate::engine) struct Past {
    as_of: Option<DateTime<Utc>>,
    until: Position,
    targets: BTreeMap<&'static str, Target>,
    parked: Arc<Parked>,
    store: Store,
}

/// Events that are folded at once.
const CHUNK: usize = 500;

impl Moment {
    pub fn is_now(&self) -> bool {
        *self == Self::default()
    }

    /// The first moment that does not count any more on the effective axis. Times are whole microseconds.
    pub fn before(&self) -> Option<DateTime<Utc>> {
        self.as_of.and_then(|as_of| as_of.checked_add_signed(TimeDelta::microseconds(1)))
    }

    /// As the rows have it.
    pub fn position(&self) -> Option<i64> {
        self.known_at.map(|position| i64::try_from(position).unwrap_or(i64::MAX))
    }
}

impl Reader {
    /// The position that a moment of recording stands for.
    pub async fn position_of(&self, known: Known) -> Result<Position, ReadError> {
        match known {
            Known::Position(position) => {
                let head = daybook_core::store::head(self.pool()).await.map_err(ReadError::store)?.position;
                if position <= head { Ok(position) } else { Err(ReadError::BeyondTheBook { head }) }
            }
            Known::Time(time) => {
                position_at(self.pool(), time).await.map_err(ReadError::store)?.ok_or(ReadError::StillToCome)
            }
        }
    }

    /// A snapshot for rows of the past. They are in it once they have been brought back; the tables are empty before.
    pub async fn snapshot_of_past(
        &self,
        viewer: &Viewer,
        names: &[&'static str],
        fresh: Option<Freshness>,
        moment: Moment,
    ) -> Result<Snapshot, ReadError> {
        let (mut snapshot, targets) = loop {
            self.wait_for_all(&self.asked(viewer, names), fresh).await?;
            if let Some(found) = self.try_snapshot_of_past(viewer, names, fresh).await? {
                break found;
            }
            time::sleep(LOOK_AGAIN).await;
        };
        let parked = Arc::new(Parked::read(names, &mut *snapshot).await?);
        let until = moment.known_at.unwrap_or(snapshot.position());
        for target in targets.values() {
            for table in target.definition.tables {
                let (name, made) = (table.name(), target.table(table));
                snapshot.execute(&*format!("create temporary table {name} (like {made}) on commit drop")).await?;
            }
        }
        if viewer.is_walled() {
            for target in targets.values() {
                wall::guard(target, &mut snapshot).await?;
            }
        }
        // Statements that were planned before these tables were there would go on reading the views.
        snapshot.execute("discard plans").await?;
        let store = self.store().clone();
        snapshot.set_past(Past { as_of: moment.as_of, until, targets, parked, store });
        snapshot.enter().await?;
        Ok(snapshot)
    }

    /// A snapshot, and the builds that serve in it; none if another one has taken over from them meanwhile. It locks the
    /// tables of these builds and not the views over them, so that a fold of many events keeps no build from taking over.
    async fn try_snapshot_of_past(
        &self,
        viewer: &Viewer,
        names: &[&'static str],
        fresh: Option<Freshness>,
    ) -> Result<Option<(Snapshot, BTreeMap<&'static str, Target>)>, ReadError> {
        let expected = self.serving_targets(names, self.pool()).await?;
        let tables: Vec<String> = expected
            .values()
            .flat_map(|target| target.definition.tables.iter().map(|table| target.table(table)))
            .collect();
        let definitions: Vec<Definition> = names.iter().map(|name| self.definition(name)).collect();
        let begin = beginning("read write", &tables, Plans::Usual, viewer);
        let mut snapshot = match Snapshot::of(self.pool(), &definitions, begin, viewer).await {
            Err(ReadError::Database(error)) if is_undefined_table(&error) => return Ok(None),
            snapshot => snapshot?,
        };
        let targets = self.serving_targets(names, &mut *snapshot).await?;
        let builds = |targets: &BTreeMap<&'static str, Target>| -> Vec<i32> {
            targets.values().map(|target| target.build).collect()
        };
        let stayed = builds(&targets) == builds(&expected);
        let is_fresh = fresh.is_none_or(|fresh| snapshot.position() >= fresh.position);
        Ok((stayed && is_fresh).then_some((snapshot, targets)))
    }

    /// The builds of these projections that serve. One that is still to be made has no rows, of now or of the past.
    async fn serving_targets(
        &self,
        names: &[&'static str],
        executor: impl PgExecutor<'_>,
    ) -> Result<BTreeMap<&'static str, Target>, ReadError> {
        let builds = build::all(names, executor).await?;
        let mut targets = BTreeMap::new();
        for name in names {
            let serving = builds.iter().find(|build| build.name == *name && build.stage == Stage::Serving);
            let Some(serving) = serving else { continue };
            let definition = self.board().iter().find(|one| one.name == *name && one.version == serving.version);
            let definition = *definition
                .ok_or(ReadError::OtherVersion { projection: self.definition(name).name, serving: serving.version })?;
            targets.insert(*name, Target { definition, build: serving.build });
        }
        Ok(targets)
    }
}

fn is_undefined_table(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "42P01")
}

impl Snapshot {
    /// The next rows of a listing that may have been in it, newest first, that were made before this position; so many
    /// at most. The first table of the projection is the one that is listed.
    pub async fn candidates(
        &mut self,
        name: &str,
        chosen: &Chosen,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Candidate>, ReadError> {
        self.leave().await?;
        let found = self.found(name, chosen, before, limit).await?;
        self.enter().await?;
        Ok(found)
    }

    async fn found(
        &mut self,
        name: &str,
        chosen: &Chosen,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Candidate>, ReadError> {
        let (past, viewer, connection) = self.past();
        let Some(target) = past.targets.get(name) else { return Ok(Vec::new()) };
        let table = &target.definition.tables[0];
        let (made, key) = (target.table(table), table.key()[0]);
        let until = i64::try_from(past.until).unwrap_or(i64::MAX);
        let mut query = QueryBuilder::new("select ");
        query.push(format_args!("{key} as key, position from {made} where position <= ")).push_bind(until);
        viewer.push_over(&made, &table.owner(), &past.of_now(), &mut query);
        viewer.push_wall(&made, &table.owner(), &past.of_now(), &mut query);
        chosen.push_lasting(&mut query);
        if let Some(before) = before {
            query.push(" and position < ").push_bind(before);
        }
        query.push(" order by position desc limit ").push_bind(limit);
        Ok(query.build_query_as().fetch_all(connection).await?)
    }

    /// Brings back the rows of these keys, and what belongs to them, in the place of those brought back before.
    pub async fn bring_back(&mut self, name: &str, keys: &[String]) -> Result<(), ReadError> {
        self.leave().await?;
        self.fill(name, keys).await?;
        self.enter().await
    }

    async fn fill(&mut self, name: &str, keys: &[String]) -> Result<(), ReadError> {
        let (past, viewer, connection) = self.past();
        let Some(target) = past.targets.get(name) else { return Ok(()) };
        let keys = own(viewer, past, target, keys, connection).await?;
        let mut rows = past.folded(target, &keys, connection).await?;
        for table in target.definition.tables {
            connection.execute(&*format!("truncate pg_temp.{}", table.name())).await?;
        }
        // No row is let in before those that say whose it is.
        let mut tables: Vec<_> = target.definition.tables.iter().collect();
        tables.sort_by_key(|table| table.owner().parents().len());
        for table in tables {
            let name = table.name();
            let statement = format!(
                "insert into pg_temp.{name} select t.* from json_populate_recordset(null::pg_temp.{name}, $1::json) t"
            );
            while let Some(handed) = table.hand_out(&mut rows) {
                sqlx::query(&statement).persistent(false).bind(handed).execute(&mut *connection).await?;
            }
        }
        Ok(())
    }
}

/// Those of these keys whose rows a viewer behind the wall may see: what is another customer's costs no more than what is
/// not there at all. A row never changes its owner, so that the row of now tells.
async fn own(
    viewer: &Viewer,
    past: &Past,
    target: &Target,
    keys: &[String],
    connection: &mut PgConnection,
) -> Result<Vec<String>, sqlx::Error> {
    if !viewer.is_walled() {
        return Ok(keys.to_vec());
    }
    let table = &target.definition.tables[0];
    let (made, key) = (target.table(table), table.key()[0]);
    let mut query = QueryBuilder::new(format!("select {key}::text from {made} where "));
    // The keys are its only parameter.
    query.push(Table::among(&made, key));
    viewer.push_wall(&made, &table.owner(), &past.of_now(), &mut query);
    query.build_query_scalar().bind(keys).fetch_all(connection).await
}

impl Past {
    /// Where the rows of now of a table are. By its name it is the table of those that are brought back.
    fn of_now(&self) -> impl Fn(&'static str) -> String {
        let targets = self.targets.values();
        let tables = targets.flat_map(|target| target.definition.tables.iter().map(move |table| (target, table)));
        let made: BTreeMap<&str, String> = tables.map(|(target, table)| (table.name(), target.table(table))).collect();
        move |name| made.get(name).map_or_else(|| name.to_owned(), String::clone)
    }

    /// The rows of these keys, and what belongs to them, as they were.
    async fn folded(
        &self,
        target: &Target,
        keys: &[String],
        connection: &mut PgConnection,
    ) -> Result<Memory, ReadError> {
        let definition = target.definition;
        let (mut portion, mut sources) = (BTreeSet::from_iter(keys.iter().cloned()), BTreeSet::new());
        for table in definition.tables {
            let related: Related = table.related(&target.table(table), keys, connection).await?;
            portion.extend(related.keys);
            sources.extend(related.sources);
        }
        let folding = Folding::new(definition, self.parked.clone());
        let mut effects = self.as_of.and_then(|_| (definition.effects)());
        if let Some(effects) = effects.as_deref() {
            let depended_on = self.depended_on(effects, &sources, connection).await?;
            sources.extend(depended_on);
        }
        let portion = Portion::Only(portion);
        let mut rows = Memory::default();
        let mut command: Vec<Entry> = Vec::new();
        let mut events = log::stream_sources(connection, &sources, self.until, None).try_chunks(CHUNK);
        while let Some(events) = events.try_next().await.map_err(|error| error.1)? {
            let opener = self.store.opener(&events).await.map_err(ReadError::store)?;
            for raw in events {
                let entry = Entry::of(raw, &opener);
                let Some(as_of) = self.as_of else {
                    let mut changes = folding.changes([&entry]).map_err(fold_error)?;
                    rows.keep(&definition, &mut changes, &portion).map_err(fold_error)?;
                    continue;
                };
                if command.last().is_some_and(|last| !last.is_together_with(&entry)) {
                    let command = std::mem::take(&mut command);
                    fold_as_of(as_of, &folding, &command, &mut effects, &portion, &mut rows)?;
                }
                command.push(entry);
            }
        }
        if let Some(as_of) = self.as_of {
            fold_as_of(as_of, &folding, &command, &mut effects, &portion, &mut rows)?;
        }
        Ok(rows)
    }

    /// The streams that have a say in when the events at these sources take effect.
    async fn depended_on(
        &self,
        effects: &dyn Effects,
        sources: &BTreeSet<Source>,
        connection: &mut PgConnection,
    ) -> Result<Vec<Source>, ReadError> {
        let mut found = Vec::new();
        let mut events = log::stream_sources(connection, sources, self.until, None);
        while let Some(raw) = events.try_next().await? {
            // Of an event that cannot be read the fold tells.
            if let Ok(event) = raw.decode(self.store.upcasters()) {
                found.extend(effects.depends_on(&event));
            }
        }
        Ok(found)
    }
}

/// Folds what has taken effect of a command.
fn fold_as_of(
    as_of: DateTime<Utc>,
    folding: &Folding,
    command: &[Entry],
    effects: &mut Option<Box<dyn Effects>>,
    portion: &Portion,
    rows: &mut Memory,
) -> Result<(), ReadError> {
    // Of an event that cannot be read nobody can tell when it took effect.
    let readable: Vec<_> = command.iter().filter_map(|entry| entry.event.as_deref().ok()).collect();
    let times = match effects {
        Some(effects) => effects.of(&readable),
        None => readable.iter().map(|event| event.occurred_at()).collect(),
    };
    let mut times = times.into_iter();
    for entry in command {
        if entry.event.is_ok() && times.next().is_some_and(|time| time > as_of) {
            continue;
        }
        let mut changes = folding.changes([entry]).map_err(fold_error)?;
        try_out(&folding.definition, &mut changes, portion, rows);
    }
    Ok(())
}

/// Applies the changes of an event, or none of them if they do not fit.
fn try_out(definition: &Definition, changes: &mut Changes, portion: &Portion, rows: &mut Memory) {
    let mut undos = Vec::with_capacity(definition.tables.len());
    for table in definition.tables {
        let (undo, outcome) = Table::attempt(table, changes, portion, rows);
        undos.push(undo);
        if outcome.is_err() {
            undos.into_iter().for_each(|undo| undo(rows));
            return;
        }
    }
}

fn fold_error(error: WriteError) -> ReadError {
    match error {
        WriteError::Fold { position, error } => ReadError::Fold { position, reason: error.to_string() },
        WriteError::Database(error) => error.into(),
    }
}

impl ReadError {
    pub(in crate::engine) fn store(error: StoreError) -> Self {
        match error {
            StoreError::Database(error) => Self::Database(error),
            other => Self::Store(chain(&other)),
        }
    }
}
