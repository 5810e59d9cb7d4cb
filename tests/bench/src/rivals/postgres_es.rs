//! postgres-es with its own `PostgresCqrs`: an account as an aggregate, with or without one view.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use chrono::Utc;
use cqrs_es::{
    Aggregate, AggregateError, DomainEvent, EventEnvelope, Query, View,
    event_sink::EventSink,
    persist::{GenericQuery, QueryReplay},
};
use postgres_es::{
    PostgresCqrs, PostgresEventRepository, PostgresViewRepository, default_postgress_pool, postgres_cqrs,
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::{Executor, PgPool};
use uuid::Uuid;

use crate::{
    Failure,
    cluster::Server,
    load::{ACTOR, Attempt, Caller, DESCRIPTION, Deposit, Deposits, REASON, Span, closed_loop},
    measure::Run,
    memory,
};

/// Its tables, as its own `db/init.sql` makes them.
const TABLES: &str = "
    create table events (
        aggregate_type text not null,
        aggregate_id text not null,
        sequence bigint check (sequence >= 0) not null,
        event_type text not null,
        event_version text not null,
        payload json not null,
        metadata json not null,
        primary key (aggregate_type, aggregate_id, sequence)
    );
    create table account_view (
        view_id text not null,
        version bigint check (version >= 0) not null,
        payload json not null,
        primary key (view_id)
    )";

type AccountQuery = GenericQuery<PostgresViewRepository<AccountView, Account>, AccountView, Account>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Views {
    None,
    One,
}

/// A database with opened accounts, to be copied for each run.
pub struct Template(String);

impl Template {
    pub async fn prepare(server: &Server, accounts: usize) -> Result<Self, Failure> {
        let database = server.fresh(None).await?;
        let pool = pool(server, &database).await?;
        pool.execute(TABLES).await?;
        let cqrs = framework(&pool, Views::One, &Arc::default());
        for account in 0..accounts {
            cqrs.execute_with_metadata(&id(account), AccountCommand::Open, metadata()).await?;
        }
        pool.close().await;
        server.seal(&database).await?;
        Ok(Self(database))
    }
}

/// Deposits by so many callers into the first so many accounts. A lost race for a version counts as refused, and the
/// caller tries again.
pub async fn deposits(
    server: &Server,
    template: &Template,
    (name, views): (&str, Views),
    (accounts, callers): (usize, usize),
    span: Span,
) -> Result<Vec<Run>, Failure> {
    let database = server.fresh(Some(&template.0)).await?;
    let pool = pool(server, &database).await?;
    let lost = Arc::default();
    let cqrs = Arc::new(framework(&pool, views, &lost));
    let depositor = |number| Depositor {
        cqrs: Arc::clone(&cqrs),
        deposits: Deposits::of(number, accounts),
        asked: Deposit { account: 0, cents: 1 },
    };
    memory::forget_peak();
    let run = closed_loop((0..callers).map(depositor).collect(), span).await?.run(name);
    let lost = lost.load(Ordering::Relaxed);
    if lost > 0 {
        eprintln!("{name}: {lost} updates of the view were lost in races, and nobody was told");
    }
    pool.close().await;
    server.drop(&database).await?;
    Ok(vec![run])
}

/// Its own replay of so many events of 1,000 accounts into the view: events per second.
pub async fn replay(server: &Server, name: &str, events: i64) -> Result<Vec<Run>, Failure> {
    let database = server.fresh(None).await?;
    let pool = pool(server, &database).await?;
    pool.execute(TABLES).await?;
    sqlx::query(
        r#"insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
           select $3, 'account-' || number % 1000, number / 1000 + 1, 'Deposited', '1.0',
               json_build_object('Deposited', json_build_object('amount', '1.00', 'balance', number / 1000 || '.00',
                   'currency', 'USD', 'origin', 'adjustment', 'entry', number / 1000, 'description', $2)),
               json_build_object('actor', 'system:bench', 'reason', 'a deposit')
           from generate_series(0, $1 - 1) number"#,
    )
    .bind(events)
    .bind(DESCRIPTION)
    .bind(Account::TYPE)
    .execute(&pool)
    .await?;
    pool.execute("vacuum analyze events").await?;
    server.quiet().await?;

    let lost = Arc::default();
    let replay = QueryReplay::new(PostgresEventRepository::new(pool.clone()), account_query(&pool, &lost));
    memory::forget_peak();
    let begun = Instant::now();
    replay.replay_all().await?;
    let figure = events as f64 / begun.elapsed().as_secs_f64();
    let peak_memory = memory::peak();
    let (seen, lost): (i64, u64) = (
        sqlx::query_scalar("select coalesce(sum((payload ->> 'deposits')::bigint), 0)::bigint from account_view")
            .fetch_one(&pool)
            .await?,
        lost.load(Ordering::Relaxed),
    );
    if seen != events {
        return Err(
            format!("the replay of postgres-es has {seen} of {events} events in its view, and lost {lost}").into()
        );
    }
    pool.close().await;
    server.drop(&database).await?;
    Ok(vec![Run { name: name.into(), figure, counts: None, latency: None, peak_memory }])
}

/// As its own documentation connects: ten connections.
async fn pool(server: &Server, database: &str) -> Result<PgPool, Failure> {
    Ok(default_postgress_pool(&server.url(database)).await)
}

fn framework(pool: &PgPool, views: Views, lost: &Arc<AtomicU64>) -> PostgresCqrs<Account> {
    let queries: Vec<Box<dyn Query<Account>>> = match views {
        Views::None => Vec::new(),
        Views::One => vec![Box::new(account_query(pool, lost))],
    };
    postgres_cqrs(pool.clone(), queries, ())
}

fn account_query(pool: &PgPool, lost: &Arc<AtomicU64>) -> AccountQuery {
    let repository = PostgresViewRepository::new("account_view", pool.clone());
    let mut query = AccountQuery::new(Arc::new(repository));
    let lost = Arc::clone(lost);
    query.use_error_handler(Box::new(move |_| {
        lost.fetch_add(1, Ordering::Relaxed);
    }));
    query
}

fn id(account: usize) -> String {
    format!("account-{account}")
}

fn metadata() -> HashMap<String, String> {
    HashMap::from([
        ("actor".into(), ACTOR.into()),
        ("correlation_id".into(), Uuid::now_v7().to_string()),
        ("occurred_at".into(), Utc::now().to_rfc3339()),
        ("reason".into(), REASON.into()),
    ])
}

struct Depositor {
    cqrs: Arc<PostgresCqrs<Account>>,
    deposits: Deposits,
    asked: Deposit,
}

impl Caller for Depositor {
    fn next(&mut self) {
        self.asked = self.deposits.draw();
    }

    async fn attempt(&mut self) -> Attempt {
        let Deposit { account, cents } = self.asked;
        let command = AccountCommand::Deposit { amount: Decimal::new(cents, 2), description: DESCRIPTION.into() };
        match self.cqrs.execute_with_metadata(&id(account), command, metadata()).await {
            Ok(()) => Attempt::Accepted,
            Err(AggregateError::AggregateConflict) => Attempt::Refused,
            Err(error) => Attempt::Dropped(error.to_string()),
        }
    }
}

/// An account that takes deposits.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Account {
    opened: bool,
    entries: u64,
    balance: Decimal,
}

enum AccountCommand {
    Open,
    Deposit { amount: Decimal, description: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum AccountEvent {
    Opened {
        currency: String,
    },
    /// As long as the event that Daybook records of a deposit.
    Deposited {
        entry: u64,
        origin: String,
        amount: Decimal,
        balance: Decimal,
        currency: String,
        description: String,
    },
}

#[derive(Debug, thiserror::Error)]
enum AccountError {
    #[error("the account is already open")]
    AlreadyOpen,
    #[error("there is no such account")]
    NotOpen,
    #[error("the amount must be greater than zero")]
    AmountNotPositive,
}

impl DomainEvent for AccountEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Opened { .. } => "Opened".into(),
            Self::Deposited { .. } => "Deposited".into(),
        }
    }

    fn event_version(&self) -> String {
        "1.0".into()
    }
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = AccountError;
    type Services = ();

    async fn handle(&mut self, command: AccountCommand, (): &(), sink: &EventSink<Self>) -> Result<(), AccountError> {
        let event = match command {
            AccountCommand::Open if self.opened => return Err(AccountError::AlreadyOpen),
            AccountCommand::Open => AccountEvent::Opened { currency: "USD".into() },
            AccountCommand::Deposit { .. } if !self.opened => return Err(AccountError::NotOpen),
            AccountCommand::Deposit { amount, .. } if amount <= Decimal::ZERO => {
                return Err(AccountError::AmountNotPositive);
            }
            AccountCommand::Deposit { amount, description } => AccountEvent::Deposited {
                entry: self.entries + 1,
                origin: "adjustment".into(),
                amount,
                balance: self.balance + amount,
                currency: "USD".into(),
                description,
            },
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: AccountEvent) {
        match event {
            AccountEvent::Opened { .. } => self.opened = true,
            AccountEvent::Deposited { entry, balance, .. } => {
                self.entries = entry;
                self.balance = balance;
            }
        }
    }
}

/// What an account's page would show.
#[derive(Debug, Default, Serialize, Deserialize)]
struct AccountView {
    balance: Decimal,
    deposits: u64,
    last: Option<String>,
}

impl View<Account> for AccountView {
    fn update(&mut self, event: &EventEnvelope<Account>) {
        match &event.payload {
            AccountEvent::Opened { .. } => {}
            AccountEvent::Deposited { balance, description, .. } => {
                self.balance = *balance;
                self.deposits += 1;
                self.last = Some(description.clone());
            }
        }
    }
}
