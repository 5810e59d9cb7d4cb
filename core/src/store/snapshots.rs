//! Loading aggregates: the snapshot, if it can be used, and the events after it.

use std::{collections::HashMap, sync::Arc};

use futures::TryStreamExt;
use sqlx::{PgConnection, PgExecutor, Row};

use super::{
    RawEvent, Store, StoreError,
    events::{signed, unsigned},
};
use crate::{
    cause::chain,
    domain::Event,
    state::{Loaded, StreamKey},
};

/// What became of each wanted stream. A stream without events is an aggregate before its first event.
pub type LoadedStreams = HashMap<StreamKey, Result<Loaded, Arc<StoreError>>>;

/// Loads streams, all in one query. A stream that cannot be read does not keep the others from being loaded.
pub async fn load(
    connection: &mut PgConnection,
    store: &Store,
    streams: &[StreamKey],
) -> Result<LoadedStreams, StoreError> {
    let mut loaded = LoadedStreams::new();
    let unusable = fetch(connection, store, streams, Trust::Snapshots, &mut loaded).await?;
    if !unusable.is_empty() {
        fetch(connection, store, &unusable, Trust::EventsOnly, &mut loaded).await?;
    }
    Ok(loaded)
}

/// Writes a snapshot of an aggregate, in place of its earlier snapshot. `state` is its JSON.
pub async fn write(
    executor: impl PgExecutor<'_>,
    stream: &StreamKey,
    loaded: &Loaded,
    state: &str,
) -> Result<(), StoreError> {
    // An earlier state must not replace a later one of the same version.
    sqlx::query(
        "insert into aggregate_snapshots as kept (aggregate_type, aggregate_id, sequence, fold_version, state)
         values ($1, $2, $3, $4, $5::text::json)
         on conflict (aggregate_type, aggregate_id) do update
         set sequence = excluded.sequence, fold_version = excluded.fold_version, state = excluded.state
         where kept.sequence < excluded.sequence or kept.fold_version <> excluded.fold_version",
    )
    .bind(stream.aggregate_type)
    .bind(&*stream.aggregate_id)
    .bind(signed(loaded.sequence)?)
    .bind(loaded.any().fold_version())
    .bind(state)
    .execute(executor)
    .await?;
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    Snapshots,
    EventsOnly,
}

/// Answers with the streams whose snapshot does not parse.
async fn fetch(
    connection: &mut PgConnection,
    store: &Store,
    streams: &[StreamKey],
    trust: Trust,
    loaded: &mut LoadedStreams,
) -> Result<Vec<StreamKey>, StoreError> {
    let blank = |stream: &StreamKey| Loaded::blank(stream.aggregate_type).expect("a stream key names a type we know");
    let types: Vec<&str> = streams.iter().map(|stream| stream.aggregate_type).collect();
    let ids: Vec<&str> = streams.iter().map(|stream| &*stream.aggregate_id).collect();
    let versions: Vec<Option<i32>> =
        streams.iter().map(|stream| (trust == Trust::Snapshots).then(|| blank(stream).any().fold_version())).collect();
    // A snapshot counts if it is of the present fold version and its last event stands in the book. That event comes
    // with it and carries its state, so that a long tail does not carry it again and again.
    let query = sqlx::query(
        "select wanted.number, snapshot.sequence as snapshot_sequence,
             case when event.sequence = snapshot.sequence then snapshot.state::text end as state,
             event.position, event.aggregate_type, event.aggregate_id, event.sequence, event.event_type,
             event.event_version, event.payload::text as payload, event.metadata::text as metadata, event.recorded_at
         from unnest($1::text[], $2::text[], $3::integer[]) with ordinality
             as wanted (aggregate_type, aggregate_id, fold_version, number)
         left join lateral (
             select s.sequence, s.state
             from aggregate_snapshots s
             where s.aggregate_type = wanted.aggregate_type and s.aggregate_id = wanted.aggregate_id
                 and s.fold_version = wanted.fold_version
                 and exists (
                     select from events e
                     where e.aggregate_type = s.aggregate_type and e.aggregate_id = s.aggregate_id
                         and e.sequence = s.sequence
                 )
             limit 1
         ) as snapshot on true
         cross join lateral (
             select *
             from events e
             where e.aggregate_type = wanted.aggregate_type and e.aggregate_id = wanted.aggregate_id
                 and e.sequence >= coalesce(snapshot.sequence, 0)
             order by e.sequence
         ) as event",
    )
    .bind(types)
    .bind(ids)
    .bind(versions);

    loaded.extend(streams.iter().map(|stream| (stream.clone(), Ok(blank(stream)))));
    let (mut unusable, mut of_texts) = (Vec::new(), Vec::new());
    // Row by row: the whole of a long stream would take more memory than its state.
    let mut rows = query.fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let number: i64 = row.try_get("number")?;
        let stream = usize::try_from(number - 1).ok().and_then(|index| streams.get(index));
        let stream = stream.ok_or_else(|| sqlx::Error::Decode("a stream that was not wanted".into()))?;
        let Some(aggregate) = loaded.get_mut(stream) else { continue };
        if let Some(state) = row.try_get::<Option<String>, _>("state")? {
            match restored(blank(stream), &state, unsigned(row.try_get("snapshot_sequence")?)?) {
                Ok(restored) => *aggregate = Ok(restored),
                Err(error) => {
                    tracing::warn!(?stream, error = %chain(&error), "a snapshot is passed over");
                    loaded.remove(stream);
                    unusable.push(stream.clone());
                }
            }
            continue;
        }
        let raw: RawEvent = sqlx::FromRow::from_row(&row)?;
        if blank(stream).any().holds_texts() {
            of_texts.push((stream, raw));
        } else {
            apply(aggregate, &raw, raw.event(store.upcasters()));
        }
    }
    drop(rows);
    // Only now, so that the keys of all of them are asked for at once.
    let opener = store.opener(of_texts.iter().map(|(_, raw)| raw)).await?;
    for (stream, raw) in of_texts {
        if let Some(aggregate) = loaded.get_mut(stream) {
            apply(aggregate, &raw, raw.open(&opener).map(|opened| opened.event));
        }
    }
    Ok(unusable)
}

/// Applies the next event, or notes why that cannot be done.
fn apply(aggregate: &mut Result<Loaded, Arc<StoreError>>, raw: &RawEvent, event: Result<Event, StoreError>) {
    if let Ok(state) = aggregate
        && let Err(error) = applied(state, raw, event)
    {
        *aggregate = Err(Arc::new(error));
    }
}

fn restored(mut blank: Loaded, state: &str, sequence: u64) -> Result<Loaded, serde_json::Error> {
    blank.any_mut().restore(state)?;
    blank.sequence = sequence;
    blank.snapshot_sequence = sequence;
    Ok(blank)
}

fn applied(state: &mut Loaded, raw: &RawEvent, event: Result<Event, StoreError>) -> Result<(), StoreError> {
    if raw.sequence != state.sequence + 1 {
        return Err(StoreError::StreamGap {
            aggregate_type: raw.aggregate_type.clone(),
            aggregate_id: raw.aggregate_id.clone(),
            after: state.sequence,
            found: raw.sequence,
        });
    }
    state.apply(event?);
    Ok(())
}
