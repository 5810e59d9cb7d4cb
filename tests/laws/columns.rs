//! What a fold makes is what lies in the table, digit by digit, for a column of each type: PostgreSQL reads the same values
//! from their texts.

use std::ops::Range;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{Customer, CustomerEvent, Event},
    operations::{Operation, Registration},
};
use daybook_projections::{
    Definition, Projector, ProjectorOptions, Reader,
    engine::{Changes, FoldError, Follows, Owner, Projection, RebuildOptions, Row, Source, Table, rebuild},
};
use daybook_tests::history::{LONG, Ledger};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{FromRow, types::Json};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
struct Sample {
    id: String,
    sure: bool,
    small: i32,
    large: Option<i64>,
    number: Decimal,
    day: Option<NaiveDate>,
    moment: DateTime<Utc>,
    note: Option<String>,
    details: Option<Json<Value>>,
}

impl Row for Sample {
    type Key = String;
    const TABLE: &'static str = "samples";
    const KEY: &'static [&'static str] = &["id"];
    const PREFIX: Option<&'static str> = Some("smp");
    const OWNER: Owner = Owner::Nobody;

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::Book]
    }
}

enum Samples {}

impl Projection for Samples {
    const NAME: &'static str = "samples";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[Customer::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<Sample>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        if let Event::Customer(CustomerEvent::Registered(Registration { name, .. })) = &event.event {
            let number = name.shown()?.parse().unwrap_or_default();
            samples().into_iter().skip(number).step_by(EVENTS).for_each(|sample| changes.insert(sample));
        }
        Ok(())
    }
}

/// Enough for a COPY.
const EVENTS: usize = 30;

static BOARD: &[Definition] = &[Definition::of::<Samples>()];

fn samples() -> Vec<Sample> {
    let digits = [0, 1, -1, 9_999, 10_000, -12_345, 99_999_999, 100_000_000_000, i128::from(i64::MAX), (1 << 96) - 1];
    let numbers = (0..=28).flat_map(|scale| digits.map(|digits| Decimal::from_i128_with_scale(digits, scale)));
    let notes = [None, Some(""), Some("a\tb\nc\\d\re"), Some("\\N"), Some("\"ünï{,}\u{1f4b0}\"")];
    let details = [None, Some(json!({"a": [1, "\\\"\t"], "ü": null})), Some(json!("text")), Some(json!([]))];
    let days = [(1, 1, 1), (1582, 10, 14), (1999, 12, 31), (2000, 1, 1), (2024, 2, 29), (9999, 12, 31)];
    let days = days.map(|(year, month, day)| NaiveDate::from_ymd_opt(year, month, day));
    let of = |(id, number): (usize, Decimal)| {
        let day = days[id % days.len()];
        let fine = TimeDelta::microseconds([0, 1, 500_000, 86_399_999_999][id % 4]);
        Sample {
            id: format!("{id:03}"),
            sure: id % 2 == 0,
            small: [0, 1, -1, i32::MIN, i32::MAX][id % 5],
            large: [None, Some(0), Some(-1), Some(i64::MIN), Some(i64::MAX)][id % 5],
            number,
            day: day.filter(|_| id % 7 > 0),
            moment: day.expect("a day").and_time(NaiveTime::MIN).and_utc() + fine,
            note: notes[id % notes.len()].map(str::to_owned),
            details: details[id % details.len()].clone().map(Json),
        }
    };
    numbers.enumerate().map(of).collect()
}

/// Makes a table of the samples from their texts.
async fn expect(ledger: &Ledger) {
    let texts = |of: &dyn Fn(&Sample) -> Option<String>| samples().iter().map(of).collect::<Vec<_>>();
    sqlx::query(
        "insert into expected
         select i, s::boolean, m::integer, l::bigint, n::numeric, d::date, t::timestamptz, o, j::jsonb
         from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
             r (i, s, m, l, n, d, t, o, j)",
    )
    .bind(texts(&|sample| Some(sample.id.clone())))
    .bind(texts(&|sample| Some(sample.sure.to_string())))
    .bind(texts(&|sample| Some(sample.small.to_string())))
    .bind(texts(&|sample| sample.large.map(|large| large.to_string())))
    .bind(texts(&|sample| Some(sample.number.to_string())))
    .bind(texts(&|sample| sample.day.map(|day| day.to_string())))
    .bind(texts(&|sample| Some(sample.moment.to_rfc3339())))
    .bind(texts(&|sample| sample.note.clone()))
    .bind(texts(&|sample| sample.details.as_ref().map(|details| details.0.to_string())))
    .execute(ledger.database.pool())
    .await
    .unwrap();
}

/// Compares as texts: to `numeric`, 0.00 is 0.
async fn differing(ledger: &Ledger) -> Vec<(Option<String>, Option<String>)> {
    let compared = "select s::text, e::text from samples s full join expected e using (id)
                    where s::text is distinct from e::text order by id limit 10";
    sqlx::query_as(compared).fetch_all(ledger.database.pool()).await.unwrap()
}

/// With the note in a column of this type.
fn migration(note: &str) -> String {
    let columns = format!(
        "id text primary key, sure boolean not null, small integer not null, large bigint, number numeric not null,
         day date, moment timestamptz not null, note {note}, details jsonb"
    );
    format!(
        "create table samples_v1 ({columns}); create view samples as select * from samples_v1;
         create table expected ({columns});
         grant select on samples to daybook_app; grant select, insert, update, delete on samples_v1 to daybook_app"
    )
}

async fn register(ledger: &mut Ledger, numbers: Range<usize>) {
    for number in numbers {
        ledger.act(Operation::RegisterCustomer(Registration { name: number.to_string().into(), email: None })).await;
    }
}

async fn lie_in_the_table_as_they_were_folded(note: &str) {
    let mut ledger = Ledger::new().await;
    sqlx::raw_sql(&migration(note)).execute(ledger.database.pool()).await.unwrap();
    expect(&ledger).await;
    // Before anybody projects, so that they are one batch.
    register(&mut ledger, 0..EVENTS).await;

    let projector = Projector::start(&ledger.store, BOARD, None, ProjectorOptions::default()).await.unwrap();
    Reader::new(&ledger.store, BOARD, Some(&projector)).wait_for("samples", ledger.last, LONG).await.unwrap();
    assert_eq!(differing(&ledger).await, [], "what followed");

    rebuild(&ledger.store, &BOARD[0], &RebuildOptions::default(), |_| {}).await.unwrap();
    assert_eq!(differing(&ledger).await, [], "what was rebuilt");
    projector.shutdown().await;
}

#[tokio::test]
async fn values_of_all_types_lie_in_the_table_as_they_were_folded() {
    lie_in_the_table_as_they_were_folded("text").await;
}

#[tokio::test]
async fn a_column_of_another_type_makes_no_difference() {
    lie_in_the_table_as_they_were_folded("varchar(40)").await;
}

#[tokio::test]
async fn rows_are_right_after_a_type_was_altered_in_place() {
    let mut ledger = Ledger::new().await;
    sqlx::raw_sql(&migration("text")).execute(ledger.database.pool()).await.unwrap();
    expect(&ledger).await;
    let projector = Projector::start(&ledger.store, BOARD, None, ProjectorOptions::default()).await.unwrap();
    let reader = Reader::new(&ledger.store, BOARD, Some(&projector));
    register(&mut ledger, 0..1).await;
    reader.wait_for("samples", ledger.last, LONG).await.unwrap();

    // It knows the columns, and waits with one event while the others come, which then are a batch for a COPY.
    let mut altering = ledger.database.pool().begin().await.unwrap();
    sqlx::raw_sql("drop view samples; lock table samples_v1").execute(&mut *altering).await.unwrap();
    register(&mut ledger, 1..2).await;
    let waits = "select exists (select from pg_locks where relation = 'samples_v1'::regclass and not granted)";
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut *altering).await.unwrap() {
        tokio::task::yield_now().await;
    }
    register(&mut ledger, 2..EVENTS).await;
    let alter = "alter table samples_v1 alter moment type date; create view samples as select * from samples_v1;
                 grant select on samples to daybook_app; alter table expected alter moment type date";
    sqlx::raw_sql(alter).execute(&mut *altering).await.unwrap();
    altering.commit().await.unwrap();
    reader.wait_for("samples", ledger.last, LONG).await.unwrap();
    assert_eq!(differing(&ledger).await, []);
    projector.shutdown().await;
}
