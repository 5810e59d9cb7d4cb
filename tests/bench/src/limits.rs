//! The limits: what PostgreSQL itself does with the same rows, with nothing of a ledger around it.

use std::time::Instant;

use axum::{Json, Router, extract::State, routing::get};
use chrono::{DateTime, NaiveDate, Utc};
use futures::TryStreamExt;
use hdrhistogram::Histogram;
use hyper::body::Bytes;
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::{Connection, Executor, FromRow, PgConnection, PgPool, postgres::PgPoolCopyExt};

use crate::{
    Failure,
    cluster::Server,
    daybook::{self, Keys, Ledger, Play},
    load::{Attempt, Caller, Span, closed_loop},
    measure::{Counts, Latency, Run},
    memory,
};

/// Rows of one statement: 500 to 1,000 are the fastest.
const BATCH: usize = 1000;

/// Added to the sequences each time that the same rows are appended again.
const CYCLE: i64 = 100_000_000;

/// Event rows as arrays, ready to be appended.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    aggregate_types: Vec<String>,
    aggregate_ids: Vec<String>,
    sequences: Vec<i64>,
    event_types: Vec<String>,
    event_versions: Vec<String>,
    payloads: Vec<String>,
    metadata: Vec<String>,
}

type EventRow = (String, String, i64, String, String, String, String);

/// The rows of a run of ours into so many accounts, in batches.
pub async fn rows_of_a_run(
    server: &Server,
    ledger: &Ledger,
    accounts: usize,
    span: Span,
    rows: i64,
) -> Result<Vec<Batch>, Failure> {
    let database = server.fresh(Some(&ledger.template)).await?;
    let play = Play { name: "rows", accounts, callers: 1024, keys: Keys::Without, span };
    daybook::append_to(server, &database, &ledger.accounts, play).await?;
    let mut connection = server.connection(&database).await?;
    let rows: Vec<EventRow> = sqlx::query_as(
        "select aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text, metadata::text
         from events where event_type = 'account.credited' order by position limit $1",
    )
    .bind(rows)
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    server.drop(&database).await?;
    if rows.len() < BATCH {
        return Err(format!("a run of ours recorded {} deposits only", rows.len()).into());
    }
    Ok(rows.chunks_exact(BATCH).map(Batch::of).collect())
}

impl Batch {
    fn of(rows: &[EventRow]) -> Self {
        let mut batch = Self::default();
        for (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) in
            rows.iter().cloned()
        {
            batch.aggregate_types.push(aggregate_type);
            batch.aggregate_ids.push(aggregate_id);
            batch.sequences.push(sequence);
            batch.event_types.push(event_type);
            batch.event_versions.push(event_version);
            batch.payloads.push(payload);
            batch.metadata.push(metadata);
        }
        batch
    }

    /// The average length of a payload and of metadata, in bytes.
    pub fn lengths(&self) -> (usize, usize) {
        let average = |texts: &[String]| texts.iter().map(String::len).sum::<usize>() / texts.len().max(1);
        (average(&self.payloads), average(&self.metadata))
    }

    fn rows(&self) -> usize {
        self.sequences.len()
    }

    async fn append(&self, connection: &mut PgConnection, cycle: i64, head: i64) -> Result<(), sqlx::Error> {
        sqlx::query(
            "insert into limit_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                 metadata, position, recorded_at)
             select new.aggregate_type, new.aggregate_id, new.sequence + $8, new.event_type, new.event_version,
                 new.payload::json, new.metadata::json, $9 + new.number, clock_timestamp()
             from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[])
                 with ordinality
                 as new (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, number)",
        )
        .bind(&self.aggregate_types)
        .bind(&self.aggregate_ids)
        .bind(&self.sequences)
        .bind(&self.event_types)
        .bind(&self.event_versions)
        .bind(&self.payloads)
        .bind(&self.metadata)
        .bind(cycle * CYCLE)
        .bind(head)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// A table with the columns, the indexes and the constraints of the events, and without their triggers.
async fn limit_events(server: &Server, ledger: &Ledger) -> Result<(String, PgConnection), Failure> {
    let database = server.fresh(Some(&ledger.template)).await?;
    let mut connection = server.connection(&database).await?;
    connection.execute("create table limit_events (like events including all)").await?;
    Ok((database, connection))
}

/// Appends batch after batch on one connection, each committed by itself.
pub async fn unnest(
    server: &Server,
    ledger: &Ledger,
    name: &str,
    batches: &[Batch],
    span: Span,
) -> Result<Vec<Run>, Failure> {
    let (database, mut connection) = limit_events(server, ledger).await?;
    let begun = Instant::now();
    let (from, until) = (begun + span.warm_up, begun + span.warm_up + span.measured);
    let (mut accepted, mut head) = (0, 0);
    let mut latency = Histogram::<u64>::new(3)?;
    memory::forget_peak();
    'time: for cycle in 0.. {
        for batch in batches {
            let asked = Instant::now();
            if asked >= until {
                break 'time;
            }
            batch.append(&mut connection, cycle, head).await?;
            head += batch.rows() as i64;
            if asked >= from {
                accepted += batch.rows() as u64;
                latency.record(asked.elapsed().as_micros().try_into()?)?;
            }
        }
    }
    let elapsed = from.elapsed();
    let peak_memory = memory::peak();
    connection.close().await?;
    server.drop(&database).await?;
    let milliseconds = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
    Ok(vec![Run {
        name: name.into(),
        figure: accepted as f64 / elapsed.as_secs_f64(),
        counts: Some(Counts { offered: accepted, accepted, ..Counts::default() }),
        latency: Some(Latency { p50: milliseconds(0.5), p99: milliseconds(0.99) }),
        peak_memory,
    }])
}

/// One caller who inserts and commits one row after the other.
pub async fn one_row_inserts(
    server: &Server,
    ledger: &Ledger,
    name: &str,
    batches: &[Batch],
    span: Span,
) -> Result<Vec<Run>, Failure> {
    let (database, connection) = limit_events(server, ledger).await?;
    let rows = batches.to_vec();
    memory::forget_peak();
    let caller = Inserter { connection, rows, asked: 0 };
    let run = closed_loop(vec![caller], span).await?.run(name);
    server.drop(&database).await?;
    Ok(vec![run])
}

struct Inserter {
    connection: PgConnection,
    rows: Vec<Batch>,
    asked: usize,
}

impl Caller for Inserter {
    fn next(&mut self) {
        self.asked += 1;
    }

    async fn attempt(&mut self) -> Attempt {
        let (batch, row) = (&self.rows[self.asked / BATCH % self.rows.len()], self.asked % BATCH);
        let cycle = (self.asked / BATCH / self.rows.len() + 1) as i64;
        let inserted = sqlx::query(
            "insert into limit_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                 metadata, position, recorded_at)
             values ($1, $2, $3, $4, $5, $6::json, $7::json, $8, clock_timestamp())",
        )
        .bind(&batch.aggregate_types[row])
        .bind(&batch.aggregate_ids[row])
        .bind(batch.sequences[row] + cycle * CYCLE)
        .bind(&batch.event_types[row])
        .bind(&batch.event_versions[row])
        .bind(&batch.payloads[row])
        .bind(&batch.metadata[row])
        .bind(self.asked as i64)
        .execute(&mut self.connection)
        .await;
        match inserted {
            Ok(_) => Attempt::Accepted,
            Err(error) => Attempt::Dropped(error.to_string()),
        }
    }
}

/// Copies what a query gives out to this process, which throws it away; answers with the seconds that it took.
pub async fn copy_out(pool: &PgPool, query: &str) -> Result<f64, Failure> {
    let begun = Instant::now();
    let mut copied = pool.copy_out_raw(&format!("copy ({query}) to stdout (format binary)")).await?;
    let mut bytes = 0;
    while let Some(chunk) = copied.try_next().await? {
        bytes += chunk.len();
    }
    if bytes == 0 {
        return Err("nothing was copied out".into());
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// What a query gives, as COPY writes it.
pub async fn copied_rows(pool: &PgPool, query: &str) -> Result<Vec<Bytes>, Failure> {
    let copied = pool.copy_out_raw(&format!("copy ({query}) to stdout (format binary)")).await?;
    Ok(copied.try_collect().await?)
}

/// Copies these rows into a new table like the given one and makes its indexes once they are there, which is the fastest
/// way to the same end; answers with the seconds that it took.
pub async fn copy_in(pool: &PgPool, like: &str, rows: &[Bytes]) -> Result<f64, Failure> {
    pool.execute("drop table if exists limit_rows").await?;
    pool.execute(&*format!("create table limit_rows (like {like} including defaults including constraints)")).await?;
    let indexes: Vec<String> =
        sqlx::query_scalar("select indexdef from pg_indexes where tablename = $1").bind(like).fetch_all(pool).await?;
    let begun = Instant::now();
    let mut copy = pool.copy_in_raw("copy limit_rows from stdin (format binary)").await?;
    for chunk in rows {
        copy.send(&**chunk).await?;
    }
    copy.finish().await?;
    for index in indexes {
        let (_, columns) = index.split_once(" USING ").ok_or("an index is defined by USING and its columns")?;
        let kind = if index.starts_with("CREATE UNIQUE") { "unique index" } else { "index" };
        pool.execute(&*format!("create {kind} on limit_rows using {columns}")).await?;
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// A statement's row with all its columns.
#[derive(Debug, FromRow, Serialize)]
struct Line {
    account_id: String,
    entry: i64,
    position: i64,
    occurred_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
    origin: String,
    origin_id: Option<String>,
    description: String,
    amount: Decimal,
    balance: Decimal,
    currency: String,
    due_on: Option<NaiveDate>,
    reverses: Option<i64>,
    reversed_by: Option<i64>,
}

/// A bare axum handler around one SELECT of the first so many lines of an account.
pub fn bare_select(pool: PgPool, account: String, lines: i64) -> Router {
    Router::new().route("/lines", get(first_lines)).with_state((pool, account, lines))
}

async fn first_lines(State((pool, account, lines)): State<(PgPool, String, i64)>) -> Json<Vec<Line>> {
    let lines = sqlx::query_as(
        "select account_id, entry, position, occurred_at, recorded_at, origin, origin_id, description, amount, balance,
             currency, due_on, reverses, reversed_by
         from account_statement
         where account_id = $1
         order by occurred_at, position
         limit $2",
    )
    .bind(account)
    .bind(lines)
    .fetch_all(&pool)
    .await;
    Json(lines.expect("the rows of a statement can be read"))
}
