//! A page of a customer's invoices in the order of their days of issue over HTTP, against a bare handler around one SELECT.

use axum::{Json, Router, extract::State, routing::get};
use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value;
use sqlx::{Connection, FromRow, PgConnection, PgPool, types::Json as Column};

use super::{
    at_least, p99_at_most,
    statement::{expect, page, reads},
};
use crate::{
    Bench, Failure,
    books::{self, Book},
    daybook,
    measure::{Contestant, Section, Unit},
};

const ROWS: i64 = 100;
/// Among whom the invoices are spread.
const CUSTOMERS: i64 = 100;
const CUSTOMER: &str = "cus_BENCH7";

pub async fn listing(bench: &Bench) -> Result<Section, Failure> {
    let Bench { server, sizes, .. } = bench;
    let invoices = sizes.listed;
    let title = format!("{ROWS} of {} invoices of one customer, by the day of issue", invoices / CUSTOMERS);
    let mut section = Section::new("listing", title, Unit::PerSecond);

    let database = Book { accounts: 1, events_each: 2, seconds: 60 }.write(server).await?;
    let mut connection = server.connection(&database).await?;
    books::skip_projecting(&mut connection).await?;
    fill(&mut connection, invoices).await?;
    connection.close().await?;

    let running = daybook::start_unwatched(server, &database).await?;
    let token = daybook::staff_token(&running).await?;
    let (ours, serving) = daybook::serve(daybook_panel::router(running.app().clone())).await?;
    let (open, serving_open) = daybook::serve(daybook::open_router(&running)).await?;
    let pool = server.pool(&database, 20).await?;
    let bare_router = Router::new().route("/invoices", get(bare)).with_state(pool.clone());
    let (theirs, serving_bare) = daybook::serve(bare_router).await?;
    let sorted = format!("/v1/invoices?customer={CUSTOMER}&sort=-issued_on&limit={ROWS}");
    let newest = format!("/v1/invoices?customer={CUSTOMER}&limit={ROWS}");
    let (their_page, bare) = ("/invoices", "limit: axum + one SELECT");
    let (by_day, by_position) = ("Daybook, sorted", "Daybook, newest first");
    let looked_at = "Daybook, sorted, looked at by staff";
    daybook::logged(&running).await?;
    expect(ROWS, "Daybook", &page(ours, &sorted, &token).await?["data"])?;
    expect(ROWS, "the bare handler", &page(theirs, their_page, &token).await?)?;

    let mut contestants = [
        Contestant::new(|| reads(by_day, open, &sorted, &token, sizes.span)),
        Contestant::new(|| reads(by_position, open, &newest, &token, sizes.span)),
        Contestant::new(|| reads(looked_at, ours, &sorted, &token, sizes.span)),
        Contestant::new(|| reads(bare, theirs, their_page, &token, sizes.span)),
    ];
    section.measure(sizes.rounds, &mut contestants).await?;
    serving.abort();
    serving_open.abort();
    serving_bare.abort();
    pool.close().await;
    running.shutdown().await;
    server.drop(&database).await?;
    section.claim(at_least(by_day, 0.8, bare))?;
    section.claim(p99_at_most(by_day, 2.0, bare))?;
    section.note(
        "each look of staff is found to be at a customer's things and written into the access log; without identities it is \
         not, as the section `identity` says",
    );
    Ok(section)
}

/// Rows as the projection would have them.
async fn fill(connection: &mut PgConnection, invoices: i64) -> Result<(), Failure> {
    sqlx::query(
        r#"insert into invoices_v1 (id, number, account_id, customer_id, payer, issued_on, due_on, currency, policy, status,
               net, tax, total, residue, rates, due, credited_net, credited_tax, credited_total, entry, finalised_at,
               position, changed_position)
           select 'inv_BENCH' || n, 'INV-' || n, 'acc_BENCH' || n % $2, 'cus_BENCH' || n % $2,
               '{"payer": "pyr_1", "kind": "company", "name": "Ada Ltd", "address": {"country": "DE", "city": "Berlin"}}',
               date '2000-01-01' + (n * 7919 % 9000)::int, date '2000-01-15' + (n * 7919 % 9000)::int, 'USD',
               '{"rounding": "half_away_from_zero", "tax": "per_line"}', 'issued', 100.00, 19.00, 119.00, 0,
               '[{"rate": "19", "net": "100.00", "tax": {"amount": "19.00", "currency": "USD"}}]', 119.00, 0, 0, 0, 1,
               '2000-01-01T00:00:00Z'::timestamptz + n * interval '1 minute', n, n
           from generate_series(1, $1) n"#,
    )
    .bind(invoices)
    .bind(CUSTOMERS)
    .execute(&mut *connection)
    .await?;
    sqlx::raw_sql("analyze invoices_v1").execute(connection).await?;
    Ok(())
}

#[derive(Serialize, FromRow)]
struct Invoice {
    id: String,
    number: String,
    account_id: String,
    customer_id: String,
    payer: Column<Value>,
    issued_on: NaiveDate,
    due_on: NaiveDate,
    currency: String,
    policy: Column<Value>,
    discount: Option<Column<Value>>,
    status: String,
    net: Decimal,
    tax: Decimal,
    total: Decimal,
    residue: Decimal,
    rates: Column<Value>,
    due: Decimal,
    credited_total: Decimal,
    entry: i64,
    finalised_at: DateTime<Utc>,
    position: i64,
}

async fn bare(State(pool): State<PgPool>) -> Json<Vec<Invoice>> {
    let invoices = sqlx::query_as(
        "select id, number, account_id, customer_id, payer, issued_on, due_on, currency, policy, discount, status, net, tax,
             total, residue, rates, due, credited_total, entry, finalised_at, position
         from invoices
         where customer_id = $1
         order by issued_on desc, position desc
         limit $2",
    )
    .bind(CUSTOMER)
    .bind(ROWS)
    .fetch_all(&pool)
    .await;
    Json(invoices.expect("the rows of invoices can be read"))
}
