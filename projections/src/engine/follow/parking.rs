//! Parking: what a projection cannot fold is set aside by somebody's decision, together with the rest of its stream,
//! so that the projection goes on and what belongs together keeps its order. Nothing is skipped silently.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use daybook_core::{
    Position,
    store::{Store, StoreError, read_stream},
};
use serde::Serialize;
use sqlx::{Connection, PgConnection, PgExecutor};

use crate::engine::{
    Definition,
    builds::{
        build::{self, Stage},
        repair,
    },
    error::RebuildError,
    follow::{
        fold::Folding,
        lease,
        log::{self, Entry},
    },
};

/// A stream that a projection does not fold any further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct ParkedStream {
    #[serde(skip)]
    pub projection: String,
    pub aggregate_type: String,
    pub aggregate_id: String,
    /// The first event that is set aside.
    #[sqlx(try_from = "i64")]
    pub from_position: Position,
    /// Why the projection could not fold it.
    pub error: Option<String>,
    /// Why somebody decided to go on without it.
    pub reason: String,
    pub parked_by: String,
    pub parked_at: DateTime<Utc>,
}

/// Why nothing was parked, or taken back.
#[derive(Debug, thiserror::Error)]
pub enum ParkError {
    #[error("there is no event at position {0}")]
    NoEvent(Position),
    #[error("the projection does not follow events of {0}")]
    NotFollowed(String),
    #[error("event {wanted} is in the rows already, which stand at position {position}")]
    Folded { wanted: Position, position: Position },
    #[error("the stream of this event is parked already, from position {0} on")]
    Parked(Position),
    #[error("nothing is parked at position {0}")]
    NotParked(Position),
    #[error(transparent)]
    Refold(#[from] RebuildError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// What is set aside at a moment, by projection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Parked(HashMap<String, Streams>);

/// By type and identifier: the first event that is set aside.
type Streams = HashMap<(Cow<'static, str>, String), Position>;

impl Parked {
    pub async fn read(names: &[&str], executor: impl PgExecutor<'_>) -> Result<Self, sqlx::Error> {
        let mut parked: HashMap<String, Streams> = HashMap::new();
        for stream in list(names, executor).await? {
            let ParkedStream { projection, aggregate_type, aggregate_id, from_position, .. } = stream;
            parked.entry(projection).or_default().insert((aggregate_type.into(), aggregate_id), from_position);
        }
        Ok(Self(parked))
    }

    pub fn sets_aside(&self, projection: &str, entry: &Entry) -> bool {
        let Some(streams) = self.0.get(projection) else { return false };
        let from = streams.get(&(entry.aggregate_type.clone(), entry.aggregate_id.clone()));
        from.is_some_and(|from| entry.position >= *from)
    }
}

/// What is set aside now.
pub(in crate::engine) async fn list(
    names: &[&str],
    executor: impl PgExecutor<'_>,
) -> Result<Vec<ParkedStream>, sqlx::Error> {
    sqlx::query_as(
        "select projection, aggregate_type, aggregate_id, from_position, error, reason, parked_by, parked_at
         from parked_streams
         where projection = any($1) and unparked_at is null
         order by projection, from_position",
    )
    .bind(names)
    .fetch_all(executor)
    .await
}

/// Sets an event aside that is not in the rows yet, with what follows in its stream, and lets the projection go on if
/// it stopped there.
pub async fn park(
    store: &Store,
    definition: &Definition,
    position: Position,
    reason: &str,
    by: &str,
) -> Result<ParkedStream, ParkError> {
    let mut connection = store.connection().await?;
    let mut transaction = connection.begin().await?;
    // Beyond what PostgreSQL counts to there is no event either.
    let before = position.checked_sub(1).filter(|before| i64::try_from(*before).is_ok());
    let before = before.ok_or(ParkError::NoEvent(position))?;
    let entries = log::read(&mut transaction, store, before, 1).await?;
    let entry = entries.into_iter().next().ok_or(ParkError::NoEvent(position))?;
    if !definition.follows.includes(&entry.aggregate_type) {
        return Err(ParkError::NotFollowed(entry.aggregate_type.into_owned()));
    }
    let builds = build::lock(definition.name, &mut transaction).await?;
    let parked = Parked::read(&[definition.name], &mut *transaction).await?;
    if let Some(from) = parked
        .0
        .get(definition.name)
        .and_then(|streams| streams.get(&(entry.aggregate_type.clone(), entry.aggregate_id.clone())).copied())
    {
        return Err(ParkError::Parked(from));
    }
    let live = builds.iter().filter(|build| build.stage != Stage::Building);
    let serving = builds.iter().find(|build| build.stage == Stage::Serving);
    if let Some(further) = serving.map(|build| build.position).filter(|reached| *reached >= position) {
        return Err(ParkError::Folded { wanted: position, position: further });
    }
    if live.clone().any(|build| build.position >= position) {
        let why = format!("event {position} is set aside, but is in these rows");
        build::disqualify(definition.name, &why, &mut transaction).await?;
    }
    let error =
        live.filter(|build| build.error_position == Some(position as i64)).find_map(|build| build.error.clone());
    let stream = sqlx::query_as(
        "insert into parked_streams (projection, aggregate_type, aggregate_id, from_position, error, reason, parked_by)
         values ($1, $2, $3, $4, $5, $6, $7)
         returning projection, aggregate_type, aggregate_id, from_position, error, reason, parked_by, parked_at",
    )
    .bind(definition.name)
    .bind(entry.aggregate_type)
    .bind(entry.aggregate_id)
    .bind(position as i64)
    .bind(error)
    .bind(reason)
    .bind(by)
    .fetch_one(&mut *transaction)
    .await?;
    sqlx::query(
        "update projections set status = 'running', error = null, error_position = null
         where name = $1 and status = 'stopped' and error_position = $2",
    )
    .bind(definition.name)
    .bind(position as i64)
    .execute(&mut *transaction)
    .await?;
    lease::suspend(definition.name, &mut transaction).await?;
    transaction.commit().await?;
    Ok(stream)
}

/// Takes what was set aside at this position back in: the rows that its events concern become what they would be, had
/// nothing ever been set aside. Where that cannot be done, everything stays as it was.
pub async fn unpark(
    store: &Store,
    definition: &Definition,
    position: Position,
    by: &str,
) -> Result<ParkedStream, ParkError> {
    let mut connection = store.connection().await?;
    let streams = list(&[definition.name], &mut connection).await?;
    let parked = streams.into_iter().find(|stream| stream.from_position == position);
    let parked = parked.ok_or(ParkError::NotParked(position))?;
    let taking_back = TakingBack { parked: &parked, by };
    let keys = taking_back.concerned(store, definition, Position::MAX, &mut connection).await?;
    repair::refold(store, definition, keys, Some(taking_back)).await?;
    Ok(parked)
}

/// A parked stream that is to be folded after all.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct TakingBack<'a> {
    parked: &'a ParkedStream,
    by: &'a str,
}

impl TakingBack<'_> {
    pub async fn record(self, transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query(
            "update parked_streams set unparked_at = clock_timestamp(), unparked_by = $3
             where projection = $1 and from_position = $2 and unparked_at is null",
        )
        .bind(&self.parked.projection)
        .bind(self.parked.from_position as i64)
        .bind(self.by)
        .execute(transaction)
        .await?;
        Ok(())
    }

    /// The keys of the rows that the events concern which are set aside up to a position.
    pub async fn concerned(
        self,
        store: &Store,
        definition: &Definition,
        to: Position,
        connection: &mut PgConnection,
    ) -> Result<BTreeSet<String>, RebuildError> {
        let ParkedStream { aggregate_type, aggregate_id, from_position, .. } = self.parked;
        let events = read_stream(connection, aggregate_type, aggregate_id, 0).await?;
        let folding = Folding::new(*definition, Arc::default());
        let mut keys = BTreeSet::new();
        let opener = store.opener(&events).await?;
        for raw in events.into_iter().filter(|raw| (*from_position..=to).contains(&raw.position)) {
            let entry = Entry::of(raw, &opener);
            let mut changes = folding.changes([&entry])?;
            keys.extend(definition.tables.iter().flat_map(|table| table.touched(&mut changes)));
        }
        Ok(keys)
    }
}
