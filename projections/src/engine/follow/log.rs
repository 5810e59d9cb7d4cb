//! Reading the book: events after a position, decoded once for all projections that go in lock-step.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use daybook_core::{
    Position, RecordedEvent, chain,
    store::{Opener, RawEvent, Store, StoreError, read_events},
};
use futures::{TryStreamExt, stream::BoxStream};
use sqlx::{PgConnection, QueryBuilder};
use tokio::task;

use crate::engine::{changes::FoldError, row::Source};

/// An event of the book, or why it cannot be read.
#[derive(Debug)]
pub(in crate::engine) struct Entry {
    pub position: Position,
    pub aggregate_type: Cow<'static, str>,
    pub aggregate_id: String,
    pub event: Result<Arc<RecordedEvent>, FoldError>,
}

impl Entry {
    /// An unreadable event is an entry, too: it concerns only the projections that follow it.
    pub fn of(raw: RawEvent, opener: &Opener) -> Self {
        // Without the master key all that shows no texts is read as ever; a fold that shows one tells of it.
        let event = if opener.is_locked() { raw.decode(opener.upcasters()) } else { raw.open(opener) };
        let event = event.map(Arc::new);
        let event = event.map_err(|error| FoldError::Unreadable { reason: chain(&error) });
        Self {
            position: raw.position,
            aggregate_type: raw.aggregate_type.into(),
            aggregate_id: raw.aggregate_id,
            event,
        }
    }

    /// An event that this process has appended itself.
    pub fn own(event: Arc<RecordedEvent>) -> Self {
        Self {
            position: event.position,
            aggregate_type: event.event.aggregate_type().into(),
            aggregate_id: event.aggregate_id.clone(),
            event: Ok(event),
        }
    }

    /// Whether the entry after this one was made by the same command. Of an event that cannot be read nobody can tell.
    pub fn is_together_with(&self, next: &Self) -> bool {
        self.event.as_ref().is_ok_and(|event| next.event.as_ref().is_ok_and(|next| together(event, next)))
    }
}

fn together(one: &RecordedEvent, next: &RecordedEvent) -> bool {
    let of = |event: &RecordedEvent| (event.metadata.command_id, event.metadata.correlation_id, event.occurred_at());
    of(one) == of(next)
}

/// The events after a position, the first of them directly after it.
pub(in crate::engine) async fn read(
    connection: &mut PgConnection,
    store: &Store,
    after: Position,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let events = read_events(connection, after, limit).await?;
    let opener = store.opener(&events).await?;
    // Not on a worker, for the same reason as the folding of a batch.
    let decode = move || events.into_iter().map(|raw| Entry::of(raw, &opener)).collect();
    Ok(task::spawn_blocking(decode).await.expect("decoding does not fall"))
}

/// Of the events after one position up to another, those of these types of aggregates.
pub(in crate::engine) async fn read_followed(
    connection: &mut PgConnection,
    types: Option<&[&str]>,
    after: Position,
    to: Position,
) -> Result<Vec<RawEvent>, StoreError> {
    let mut query = QueryBuilder::new(
        "select position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text as payload,
             metadata::text as metadata, recorded_at
         from events
         where position > ",
    );
    query.push_bind(after as i64).push(" and position <= ").push_bind(to as i64);
    if let Some(types) = types {
        query.push(" and aggregate_type = any(").push_bind(types).push(")");
    }
    query.push(" order by position");
    Ok(query.build_query_as().fetch_all(connection).await?)
}

/// The events at these sources up to a position, in the order of the book, so many at most.
pub(in crate::engine) async fn read_sources(
    connection: &mut PgConnection,
    sources: &BTreeSet<Source>,
    to: Position,
    limit: usize,
) -> Result<Vec<RawEvent>, StoreError> {
    Ok(stream_sources(connection, sources, to, Some(limit as i64)).try_collect().await?)
}

/// The same, one after the other as they arrive, so that any number of them takes no more memory than a few.
pub(in crate::engine) fn stream_sources<'a>(
    connection: &'a mut PgConnection,
    sources: &BTreeSet<Source>,
    to: Position,
    limit: Option<i64>,
) -> BoxStream<'a, Result<RawEvent, sqlx::Error>> {
    let (mut types, mut ids, mut positions) = (Vec::new(), Vec::new(), Vec::new());
    for source in sources {
        match source {
            Source::Stream(aggregate_type, aggregate_id) => {
                types.push(*aggregate_type);
                ids.push(aggregate_id.clone());
            }
            Source::Event(position) => positions.push(*position),
            Source::Book => {}
        }
    }
    sqlx::query_as(
        "select e.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version,
             e.payload::text as payload, e.metadata::text as metadata, e.recorded_at
         from (
             select s.position
             from unnest($1::text[], $2::text[]) as stream (aggregate_type, aggregate_id)
             join events s on s.aggregate_type = stream.aggregate_type and s.aggregate_id = stream.aggregate_id
             union
             select unnest($3::bigint[])
         ) as source
         join events e on e.position = source.position
         where e.position <= $4
         order by e.position
         limit $5",
    )
    .bind(types)
    .bind(ids)
    .bind(positions)
    .bind(to as i64)
    .bind(limit)
    .fetch(connection)
}
