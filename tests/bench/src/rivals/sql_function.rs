//! A double-entry ledger as one plain SQL function: rows are locked in order, both balances move, two entries are
//! written. What many would write who need a ledger and nothing else.

use serde_json::json;
use sqlx::{Connection, Executor, PgPool};
use uuid::Uuid;

use crate::{
    Failure,
    cluster::Server,
    load::{ACTOR, Attempt, Caller, DESCRIPTION, Deposit, Deposits, REASON, Span, closed_loop},
    measure::Run,
    memory,
};

const LEDGER: &str = "
    create table accounts (
        id bigint primary key,
        balance numeric not null default 0
    ) with (fillfactor = 50);
    create table transfers (
        id bigint generated always as identity primary key,
        description text not null,
        metadata json not null,
        recorded_at timestamptz not null default clock_timestamp()
    );
    create table entries (
        account_id bigint not null references accounts,
        transfer_id bigint not null references transfers,
        amount numeric not null,
        balance numeric not null,
        primary key (account_id, transfer_id)
    );
    create function transfer(from_account bigint, to_account bigint, amount numeric, description text, metadata json)
    returns bigint language plpgsql as $$
    declare
        transfer bigint;
        from_balance numeric;
        to_balance numeric;
    begin
        if amount <= 0 then
            raise exception 'the amount must be greater than zero';
        end if;
        -- In one order, so that no two transfers wait for each other.
        perform 1 from accounts where id in (from_account, to_account) order by id for no key update;
        update accounts set balance = accounts.balance - amount where id = from_account returning balance into strict from_balance;
        update accounts set balance = accounts.balance + amount where id = to_account returning balance into strict to_balance;
        insert into transfers (description, metadata) values (description, metadata) returning id into transfer;
        insert into entries (account_id, transfer_id, amount, balance)
        values (from_account, transfer, -amount, from_balance), (to_account, transfer, amount, to_balance);
        return transfer;
    end
    $$";

/// A database with accounts, to be copied for each run. The account of number `n` is paid from `-n - 1`, so that only
/// a hot account makes a hot counterpart.
pub struct Template(String);

impl Template {
    pub async fn prepare(server: &Server, accounts: usize) -> Result<Self, Failure> {
        let database = server.fresh(None).await?;
        let mut connection = server.connection(&database).await?;
        connection.execute(LEDGER).await?;
        sqlx::query("insert into accounts (id) select generate_series(-$1, $1 - 1)")
            .bind(i64::try_from(accounts)?)
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        Ok(Self(database))
    }
}

/// Deposits by so many callers, each with a connection, into the first so many accounts.
pub async fn deposits(
    server: &Server,
    template: &Template,
    name: &str,
    (accounts, callers): (usize, usize),
    span: Span,
) -> Result<Vec<Run>, Failure> {
    let database = server.fresh(Some(&template.0)).await?;
    let pool = server.pool(&database, u32::try_from(callers)?).await?;
    let depositor = |number| Depositor {
        pool: pool.clone(),
        deposits: Deposits::of(number, accounts),
        asked: Deposit { account: 0, cents: 1 },
        metadata: String::new(),
    };
    memory::forget_peak();
    let run = closed_loop((0..callers).map(depositor).collect(), span).await?.run(name);
    pool.close().await;
    server.drop(&database).await?;
    Ok(vec![run])
}

struct Depositor {
    pool: PgPool,
    deposits: Deposits,
    asked: Deposit,
    metadata: String,
}

impl Caller for Depositor {
    fn next(&mut self) {
        self.asked = self.deposits.draw();
        self.metadata = json!({ "actor": ACTOR, "correlation_id": Uuid::now_v7(), "reason": REASON }).to_string();
    }

    async fn attempt(&mut self) -> Attempt {
        let account = self.asked.account as i64;
        let asked = sqlx::query("select transfer($1, $2, $3, $4, $5::text::json)")
            .bind(-account - 1)
            .bind(account)
            .bind(rust_decimal::Decimal::new(self.asked.cents, 2))
            .bind(DESCRIPTION)
            .bind(&self.metadata)
            .execute(&self.pool);
        match asked.await {
            Ok(_) => Attempt::Accepted,
            Err(error) => Attempt::Dropped(error.to_string()),
        }
    }
}
