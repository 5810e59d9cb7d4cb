//! A long book, made within the database: many accounts with many entries each, as the writer would have written them.

use sqlx::PgPool;

/// Events that one statement appends.
const EVENTS_PER_STATEMENT: i64 = 100_000;

/// Appends so many events to an empty book: first every account is opened, then they are credited in turn, each always
/// by the same amount, ten seconds apart. Account `n` is `acc_LOAD000n`, its amount `n % 9 + 1` dollars.
pub async fn long_book(pool: &PgPool, accounts: i64, events: i64) {
    let mut written = 0;
    while written < events {
        let until = events.min(written + EVENTS_PER_STATEMENT);
        sqlx::query(
            r#"insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                   position, recorded_at)
               select 'account', id, round + 1, case when round = 0 then 'account.opened' else 'account.credited' end, '1.0',
                   case
                       when round = 0 then json_build_object('opened', json_build_object(
                           'customer', 'cus_LOAD', 'currency', 'USD', 'name', 'load', 'time_zone', 'UTC'))
                       else json_build_object('credited', json_build_object(
                           'entry', round, 'origin', 'adjustment',
                           'amount', json_build_object('amount', amount || '.00', 'currency', 'USD'),
                           'balance', json_build_object('amount', round * amount || '.00', 'currency', 'USD'),
                           'description', 'entry ' || round || ' of the load'))
                   end,
                   json_build_object('actor', 'system:load', 'occurred_at',
                       to_char('2024-01-01'::timestamp + position * interval '10 seconds', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
                   position, '2024-06-01'
               from (
                   select position, (position - 1) / $1 as round, 'acc_LOAD' || lpad(number::text, 4, '0') as id,
                       number % 9 + 1 as amount
                   from (select position, (position - 1) % $1 as number from generate_series($2 + 1, $3) position) numbered
               ) as planned
               order by position"#,
        )
        .bind(accounts)
        .bind(written)
        .bind(until)
        .execute(pool)
        .await
        .expect("a long book can be written");
        written = until;
    }
    sqlx::query("vacuum analyze events").execute(pool).await.expect("the events can be analyzed");
}
