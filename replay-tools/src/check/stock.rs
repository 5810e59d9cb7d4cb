//! The same events as the stock repository of postgres-es reads them: another program, which knows nothing of this one.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    panic::AssertUnwindSafe,
};

use cqrs_es::{
    EventEnvelope,
    persist::{PersistedEventRepository, PersistenceError},
};
use daybook_core::{
    Position,
    domain::{AGGREGATE_TYPES, Event, LedgerAggregate, Visitor, with_aggregate},
    store::{RawEvent, Store, Upcasters},
};
use futures::{FutureExt, future::LocalBoxFuture};
use postgres_es::PostgresEventRepository;
use sqlx::{Executor as _, postgres::PgPoolOptions};

use super::verify::Finding;

/// The stock repository.
pub(super) struct Stock {
    streams: PostgresEventRepository,
    everything: PostgresEventRepository,
    upcasters: Upcasters,
    state: RandomState,
}

/// Why the stock repository did not find the same.
#[derive(Debug)]
pub(super) enum Disagreeing {
    Differs(Finding),
    /// The database did not let it.
    NotAsked(String),
}

/// What the stock repository is asked for.
#[derive(Clone, Copy)]
enum Asked<'a> {
    /// The sum of the hashes of all events of a type.
    Everything,
    /// Whether it finds these events.
    Stream(&'a [RawEvent]),
}

impl Stock {
    /// It reads the book up to `head`.
    pub fn new(store: &Store, head: Position) -> Self {
        let unhurried = PgPoolOptions::new().max_connections(1).after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute("set statement_timeout = 0").await?;
                Ok(())
            })
        });
        // Who reads everything binds an identifier as well, for which the statement of postgres-es has no place.
        let events = format!("(select * from events where position <= {head} and $2 = '') as events");
        let everything = PostgresEventRepository::new(unhurried.connect_lazy_with(store.application().clone()));
        Self {
            streams: PostgresEventRepository::new(store.pool().clone()),
            everything: everything.with_tables(&events, "snapshots"),
            upcasters: store.upcasters().clone(),
            state: RandomState::new(),
        }
    }

    /// By the type of the aggregate, the sum of the hashes of all its events, if they could be read.
    pub async fn sums(&self) -> HashMap<&'static str, u128> {
        let mut sums = HashMap::new();
        for aggregate_type in AGGREGATE_TYPES {
            if let Ok(sum) = self.ask(aggregate_type, Asked::Everything).await {
                sums.insert(aggregate_type, sum);
            }
        }
        sums
    }

    /// Of an event in its stream.
    pub fn hash(&self, aggregate_id: &str, sequence: u64, event: &Event) -> u128 {
        self.state.hash_one((aggregate_id, sequence, event.payload())).into()
    }

    /// Whether it finds the same events, in the same order, with the same content.
    pub async fn agrees(&self, stream: &[RawEvent]) -> Result<(), Disagreeing> {
        self.ask(&stream[0].aggregate_type, Asked::Stream(stream)).await.map(drop)
    }

    async fn ask(&self, aggregate_type: &str, asked: Asked<'_>) -> Result<u128, Disagreeing> {
        // A type that is not on the board is reported as unreadable already.
        match with_aggregate(aggregate_type, Asking { stock: self, asked }) {
            Some(answer) => answer.await,
            None => Ok(0),
        }
    }

    async fn answer<A: LedgerAggregate>(&self, asked: Asked<'_>) -> Result<u128, Disagreeing> {
        match asked {
            Asked::Everything => self.sum::<A>().await,
            Asked::Stream(stream) => agrees::<A>(&self.streams, stream, &self.upcasters).await.map(|()| 0),
        }
    }

    async fn sum<A: LedgerAggregate>(&self) -> Result<u128, Disagreeing> {
        let failed = |error: PersistenceError| Disagreeing::NotAsked(error.to_string());
        let mut events = self.everything.stream_all_events::<A>().await.map_err(failed)?;
        let (mut sum, mut last) = (0, 0);
        while let Some(envelope) = events.next::<A>(&self.upcasters).await {
            let EventEnvelope { aggregate_id, sequence, payload, .. } = envelope.map_err(failed)?;
            if sequence < last {
                return Err(Disagreeing::NotAsked("the events of a stream come in another order".into()));
            }
            last = sequence;
            sum += self.hash(&aggregate_id, sequence as u64, &payload.into());
        }
        Ok(sum)
    }
}

struct Asking<'a> {
    stock: &'a Stock,
    asked: Asked<'a>,
}

impl<'a> Visitor for Asking<'a> {
    type Output = LocalBoxFuture<'a, Result<u128, Disagreeing>>;

    fn visit<A: LedgerAggregate>(self) -> Self::Output {
        self.stock.answer::<A>(self.asked).boxed_local()
    }
}

async fn agrees<A: LedgerAggregate>(
    stock: &PostgresEventRepository,
    stream: &[RawEvent],
    upcasters: &Upcasters,
) -> Result<(), Disagreeing> {
    let differs = |raw: &RawEvent, what: String| Disagreeing::Differs(Finding { position: Some(raw.position), what });
    let id = &stream[0].aggregate_id;
    let mut theirs = stock.stream_events::<A>(id).await.map_err(|error| Disagreeing::NotAsked(error.to_string()))?;
    for raw in stream {
        let envelope: EventEnvelope<A> = match theirs.next::<A>(upcasters).await {
            Some(Ok(envelope)) => envelope,
            // A statement that was cancelled ends its stream as if nothing more were there.
            ended => {
                let what = match ended {
                    Some(Err(error)) => format!("postgres-es cannot read it: {error}"),
                    _ => "postgres-es does not find it".into(),
                };
                // It panics where a row is not what it takes for granted.
                let again = AssertUnwindSafe(stock.get_events::<A>(id)).catch_unwind().await;
                let Ok(again) = again else { return Err(differs(raw, what)) };
                return Err(match again {
                    Err(error) if !matches!(error, PersistenceError::DeserializationError(_)) => {
                        Disagreeing::NotAsked(error.to_string())
                    }
                    // Now it is there: it was the database that ended the stream.
                    Ok(again) if again.len() == stream.len() && what.ends_with("find it") => {
                        Disagreeing::NotAsked("a statement of postgres-es was cut short".into())
                    }
                    _ => differs(raw, what),
                });
            }
        };
        let same = envelope.sequence as u64 == raw.sequence
            && raw.event(upcasters).is_ok_and(|ours| ours == envelope.payload.into());
        if !same {
            return Err(differs(raw, "postgres-es reads another event".into()));
        }
    }
    Ok(())
}
