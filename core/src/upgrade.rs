//! What a ledger of an earlier version lacks is appended once, when a program of this version begins to write: numbers that
//! documents brought along are reserved, and payments of a gateway that was spelt with capitals are found under its name in
//! small letters.
//!
//! All of it goes through the writer, as the operations of any command. They do nothing where nothing is lacking, so that
//! two programs may do it at once.

use chrono::{DateTime, SubsecRound, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::{
    domain::{PaymentId, number_series::DocumentKind},
    event::{Actor, Context},
    operations::{FoldGateway, KeepNumber, Operation, in_small_letters},
    store::{Store, StoreError, events::signed},
    writer::{Command, ExecuteError, WriterHandle},
};

/// What the ledger calls it.
const NAME: &str = "numbers and gateways";

/// How many commands wait for the writer at once.
const IN_FLIGHT: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Execute(#[from] ExecuteError),
}

impl From<sqlx::Error> for UpgradeError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A number that several documents of a kind bear.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct SharedNumber {
    /// The type of the documents.
    pub kind: String,
    pub number: String,
    /// In the order of the book.
    pub documents: Vec<String>,
    /// Of the second one.
    pub position: i64,
}

/// Appends what the ledger lacks, unless that was done before; answers with the number of commands.
pub async fn upgrade(store: &Store, writer: &WriterHandle, at: DateTime<Utc>) -> Result<usize, UpgradeError> {
    // An empty book lacks nothing, and a mark would say less of it than the next look.
    let head = store.head().await?.position;
    let mut connection = store.connection().await?;
    if head == 0 || is_done(&mut connection).await? {
        return Ok(0);
    }
    // The first look at a large book may take longer than a statement usually may.
    sqlx::query("set statement_timeout = 0").execute(&mut connection).await?;
    for SharedNumber { kind, number, documents, .. } in shared_numbers(&mut connection).await? {
        tracing::warn!(kind, number, ?documents, "several documents bear one number");
    }
    let mut operations = unreserved_numbers(&mut connection).await?;
    operations.extend(payments_spelt_otherwise(&mut connection).await?);
    let count = operations.len();
    if count > 0 {
        tracing::info!(count, "bringing an earlier ledger to this version");
    }
    stream::iter(operations)
        .map(|operation| writer.submit(command(operation, at)))
        .buffered(IN_FLIGHT)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    sqlx::query("insert into upgrades (name, position) values ($1, $2) on conflict (name) do nothing")
        .bind(NAME)
        .bind(signed(head)?)
        .execute(&mut connection)
        .await?;
    Ok(count)
}

async fn is_done(executor: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from upgrades where name = $1)").bind(NAME).fetch_one(executor).await
}

fn command(operation: Operation, at: DateTime<Utc>) -> Command {
    let id = Uuid::now_v7();
    let context = Context {
        actor: Actor::system("upgrade"),
        principal: None,
        on_behalf_of: None,
        reason: Some("recorded by an earlier version without it".into()),
        correlation_id: id,
        causation_id: None,
        occurred_at: at.trunc_subsecs(6),
    };
    Command { id, operation, context, idempotency: None, expected: None }
}

/// The numbers of documents of which no series knows, in the order of the book.
async fn unreserved_numbers(executor: impl PgExecutor<'_>) -> Result<Vec<Operation>, sqlx::Error> {
    let documents: Vec<(String, String, String)> = sqlx::query_as(
        "with known as materialized (
             select coalesce(payload #>> '{taken,document}', payload #>> '{reserved,document}') as document
             from events
             where aggregate_type = 'number_series'
         ),
         documents as (
             select position, aggregate_type, aggregate_id,
                 coalesce(payload #>> '{finalised,number}', payload #>> '{issued,number}') as number
             from events
             where aggregate_type in ('invoice', 'credit_note') and event_type in ('invoice.finalised', 'credit_note.issued')
         )
         select aggregate_type, aggregate_id, number
         from documents
         where number is not null and not exists (select from known where known.document = documents.aggregate_id)
         order by position",
    )
    .fetch_all(executor)
    .await?;
    let operations = documents.into_iter().map(|(aggregate_type, document, number)| {
        let kind = if aggregate_type == "invoice" { DocumentKind::Invoice } else { DocumentKind::CreditNote };
        Operation::KeepNumber(KeepNumber { kind, number, document })
    });
    Ok(operations.collect())
}

/// The payments whose stream bears the name of a gateway in other than small letters, in the order of the book.
async fn payments_spelt_otherwise(executor: impl PgExecutor<'_>) -> Result<Vec<Operation>, sqlx::Error> {
    let ids: Vec<String> = sqlx::query_scalar(
        r"select aggregate_id
          from events
          where aggregate_type = 'payment' and aggregate_id like 'pay\_%:%'
              and event_type in ('payment.started', 'payment.assigned_to')
          order by position",
    )
    .fetch_all(executor)
    .await?;
    // What another program has written under a name of its own is nobody's gateway.
    let payments = ids.iter().filter_map(|id| id.parse::<PaymentId>().ok());
    let spelt_otherwise = payments.filter(|payment| in_small_letters(payment) != *payment);
    Ok(spelt_otherwise.map(|payment| Operation::FoldGateway(FoldGateway { payment })).collect())
}

/// The numbers that several documents of a kind bear, which an earlier version allowed. No event can mend that.
pub async fn shared_numbers(executor: impl PgExecutor<'_>) -> Result<Vec<SharedNumber>, StoreError> {
    let shared = sqlx::query_as(
        "with documents as (
             select position, aggregate_type, aggregate_id,
                 coalesce(payload #>> '{finalised,number}', payload #>> '{issued,number}') as number
             from events
             where aggregate_type in ('invoice', 'credit_note') and event_type in ('invoice.finalised', 'credit_note.issued')
         )
         select aggregate_type as kind, number, array_agg(aggregate_id order by position) as documents,
             (array_agg(position order by position))[2] as position
         from documents
         where number is not null
         group by aggregate_type, number
         having count(*) > 1
         order by 4",
    )
    .fetch_all(executor)
    .await?;
    Ok(shared)
}
