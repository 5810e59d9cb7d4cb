//! What the tests of operators share: addresses, waiting for something to come true, and what Prometheus reads.

use std::collections::HashMap;

use serde_json::{Value, json};
use sqlx::{PgPool, Postgres, Transaction};
use tokio::{task::yield_now, time::timeout};

use crate::{
    api::{Answer, TestApp},
    history::LONG,
};

pub const PROJECTIONS: &str = "/v1/ops/projections";

/// The address of a projection, or of what is done to it.
pub fn of(projection: &str, verb: &str) -> String {
    format!("{PROJECTIONS}/{projection}{verb}")
}

/// A customer with an account in dollars; answers with the account's identifier.
pub async fn account(app: &TestApp) -> String {
    let customer = app.done("/v1/customers", json!({ "name": "Ada Lovelace" })).await;
    let body = json!({ "customer": customer["id"], "currency": "USD", "name": "Main account" });
    app.done("/v1/accounts", body).await["id"].as_str().expect("an account has an identifier").to_owned()
}

/// Asks until the answer is so.
pub async fn until(app: &TestApp, path: &str, so: impl Fn(&Answer) -> bool) -> Answer {
    let asked = async {
        loop {
            let answer = app.get(path).await;
            if so(&answer) {
                return answer;
            }
            yield_now().await;
        }
    };
    timeout(LONG, asked).await.unwrap_or_else(|_| panic!("{path} does not come to that"))
}

/// The projection when its rebuild has ended.
pub async fn ended(app: &TestApp, projection: &str) -> Value {
    until(app, &of(projection, ""), |shown| shown.body["last_rebuild"]["ended_at"].is_string()).await.body
}

/// What `/readyz` says of a projection; `Null` if all is well with it.
pub fn ailing(ready: &Answer, projection: &str) -> Value {
    let mut told = ready.body["projections"].as_array().into_iter().flatten();
    told.find(|told| told["projection"] == projection).cloned().unwrap_or_default()
}

/// What Prometheus reads, by name and labels. Every line is a comment or a sample.
pub async fn metrics(app: &TestApp) -> HashMap<String, String> {
    let answer = app.get("/metrics").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    let mut samples = HashMap::new();
    for line in answer.text.lines().filter(|line| !line.starts_with("# ")) {
        let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line} is a sample"));
        let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
        assert!(name.starts_with("daybook_") || name.starts_with("process_"), "{line}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && labels.ends_with('}'), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(answer.text.contains(&format!("# TYPE {name} gauge\n")), "{line}");
        assert_eq!(samples.insert(sample.to_owned(), value.to_owned()), None, "{line}");
    }
    assert!(samples["process_resident_memory_bytes"].parse::<u64>().expect("whole bytes") > 1 << 20);
    samples
}

/// Reads the accounts until the transaction ends, so that no other build can take over.
pub async fn reading(pool: &PgPool) -> Transaction<'static, Postgres> {
    let mut transaction = pool.begin().await.expect("a transaction can begin");
    sqlx::query("select count(*) from accounts").execute(&mut *transaction).await.expect("accounts can be read");
    transaction
}

/// An event of another program, which nobody here can read.
pub async fn break_the_book(pool: &PgPool) {
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         values ('ticket', 'tkt_broken', 1, 'ticket.answered', '1.0', '{\"answered\": {}}', '{}')",
    )
    .execute(pool)
    .await
    .expect("the owner can append");
}
