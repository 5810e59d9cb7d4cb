//! Long books, made within the database as the writer would have written them.

use daybook_core::domain::AccountId;
use daybook_projections::{BOARD, engine};
use sqlx::{Connection, PgConnection};

use crate::{Failure, cluster::Server, daybook, load::DESCRIPTION};

/// Events that one statement appends.
const EVENTS_PER_STATEMENT: i64 = 100_000;

/// First every account is opened, then they are credited in turn. The days of the entries follow from `seconds`.
#[derive(Clone, Copy, Debug)]
pub struct Book {
    pub accounts: i64,
    /// Of each account, the opening included.
    pub events_each: i64,
    /// Between two rounds of entries.
    pub seconds: i64,
}

impl Book {
    pub fn events(self) -> i64 {
        self.accounts * self.events_each
    }

    /// From 0.
    pub fn account(number: i64) -> Result<AccountId, Failure> {
        Ok(format!("acc_BENCH{number:07}").parse()?)
    }

    /// The book, with its accounts and their statements projected, and nothing else.
    pub async fn with_statements(self, server: &Server) -> Result<String, Failure> {
        let database = self.write(server).await?;
        let mut connection = server.connection(&database).await?;
        skip_projecting(&mut connection).await?;
        connection.close().await?;
        project(server, &database, &["accounts", "account_statement"]).await?;
        Ok(database)
    }

    /// Appends it to a new database with an empty ledger.
    pub async fn write(self, server: &Server) -> Result<String, Failure> {
        let database = server.fresh(None).await?;
        daybook_core::store::Store::migrate(&server.options(&database)?).await?;
        let mut connection = server.connection(&database).await?;
        let mut written = 0;
        while written < self.events() {
            let until = self.events().min(written + EVENTS_PER_STATEMENT);
            self.append(&mut connection, written, until).await?;
            written = until;
        }
        sqlx::query("vacuum analyze events").execute(&mut connection).await?;
        connection.close().await?;
        server.quiet().await?;
        Ok(database)
    }

    async fn append(self, connection: &mut PgConnection, written: i64, until: i64) -> Result<(), Failure> {
        sqlx::query(
            r#"insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                   position, recorded_at)
               select 'account', id, round + 1, case when round = 0 then 'account.opened' else 'account.credited' end, '1.0',
                   case
                       when round = 0 then json_build_object('opened', json_build_object(
                           'customer', 'cus_BENCH', 'currency', 'USD', 'name', 'the account', 'time_zone', 'UTC'))
                       else json_build_object('credited', json_build_object(
                           'entry', round, 'origin', 'adjustment',
                           'amount', json_build_object('amount', amount || '.00', 'currency', 'USD'),
                           'balance', json_build_object('amount', round * amount || '.00', 'currency', 'USD'),
                           'description', $5::text))
                   end,
                   json_build_object('actor', 'system:bench', 'correlation_id', gen_random_uuid(), 'occurred_at',
                       to_char('1990-01-01'::timestamp + (round - 1) * $4 * interval '1 second',
                           'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'reason', 'a deposit'),
                   position, '2024-06-01'
               from (
                   select position, (position - 1) / $1 as round,
                       'acc_BENCH' || lpad(((position - 1) % $1)::text, 7, '0') as id,
                       (position - 1) % $1 % 9 + 1 as amount
                   from generate_series($2 + 1, $3) position
               ) as planned
               order by position"#,
        )
        .bind(self.accounts)
        .bind(written)
        .bind(until)
        .bind(self.seconds)
        .bind(DESCRIPTION)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Puts all projections that have not begun to the end of the book, without their rows: they have nothing to catch up
/// with, and what is measured does not read them.
pub async fn skip_projecting(connection: &mut PgConnection) -> Result<(), Failure> {
    for definition in BOARD {
        let tables: Vec<&str> = definition.tables.iter().map(engine::Table::name).collect();
        sqlx::query(
            "insert into projections (name, build, version, tables, stage, position)
             select $1, 1, $2, $3, 'serving', position from book_head
             where not exists (select from projections where name = $1)",
        )
        .bind(definition.name)
        .bind(definition.version)
        .bind(tables)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// What a rebuild may take of the memory here: where it has little, it proves the rows of a long book in many passes.
const MEMORY: usize = 2 << 30;

/// Makes the rows of these projections by a rebuild, which is the fastest way to them.
pub async fn project(server: &Server, database: &str, names: &[&str]) -> Result<(), Failure> {
    let store = daybook::store(server, database).await?;
    let room = engine::Room { memory: MEMORY, ..engine::Room::default() };
    let options = engine::RebuildOptions { room, ..engine::RebuildOptions::default() };
    for name in names {
        let definition = daybook_projections::find(name).ok_or_else(|| format!("there is no projection `{name}`"))?;
        // What serves has no rows to compare with.
        sqlx::query("update projections set status = 'paused' where name = $1")
            .bind(name)
            .execute(&mut store.owner_connection().await?)
            .await?;
        engine::rebuild(&store, &definition, &options, |_| {}).await?;
        engine::discard(&store, &definition, engine::Stage::Kept).await?;
    }
    // Or the server would begin with it by itself while something is measured.
    sqlx::query("vacuum").execute(&mut store.owner_connection().await?).await?;
    store.close().await;
    server.quiet().await
}
