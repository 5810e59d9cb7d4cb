//! Two server processes on one ledger: whoever writes by one and reads by the other sees it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use daybook_tests::{
    database,
    people::{client, staff_token},
    soaks,
};
use futures::future::join_all;
use reqwest::Client;
use serde_json::{Value, json};
use uuid::Uuid;

use super::crash::Server;

const UNLIMITED: &[&str] = &["--rate-limit", "0"];

/// How many ask at once.
const WORKERS: usize = 8;

/// Pairs of a write and a read, over three listings. `./run soak` makes all of them.
fn pairs() -> usize {
    if soaks() { 10_000 } else { 1_000 }
}

async fn posted(client: &Client, url: &str, path: &str, body: Value) -> (String, String) {
    let request = client.post(format!("{url}{path}")).header("idempotency-key", Uuid::now_v7().to_string());
    let answer = request.json(&body).send().await.unwrap();
    let position = answer.headers()["ledger-position"].to_str().unwrap().to_owned();
    let body: Value = answer.json().await.unwrap();
    (body["id"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned(), position)
}

async fn read(client: &Client, url: &str, path: &str, position: &str) -> Value {
    let request = client.get(format!("{url}{path}")).header("min-position", position).header("prefer", "wait=30");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    let told: u64 = answer.headers()["ledger-position"].to_str().unwrap().parse().unwrap();
    assert!(told >= position.parse().unwrap(), "{path} is of {told}, and {position} was asked for");
    answer.json().await.unwrap()
}

/// What a listing shows after a write: the newest row is the one that was made, since nobody else writes for that customer.
async fn pair(client: &Client, urls: &[String; 2], number: usize, customer: &str) -> (&'static str, String) {
    let (here, there) = (&urls[number % 2], &urls[(number + 1) % 2]);
    let (listing, body) = match number % 3 {
        0 => (
            "payers",
            json!({ "customer": customer, "kind": "company", "name": "Ada", "address": { "country": "GB" } }),
        ),
        1 => {
            ("tickets", json!({ "customer": customer, "category": "technical", "subject": "slow", "message": "very" }))
        }
        _ => (
            "discounts",
            json!({
                "audience": { "customer": customer }, "scope": "all", "value": { "percent": "1" }, "name": "a percent",
            }),
        ),
    };
    let (id, position) = posted(client, here, &format!("/v1/{listing}"), body).await;
    let path = match listing {
        "discounts" => format!("/v1/discounts?audience_id={customer}&limit=1"),
        _ => format!("/v1/{listing}?customer={customer}&limit=1"),
    };
    let page = read(client, there, &path, &position).await;
    assert_eq!(page["data"][0]["id"], id.as_str(), "{path} after {position} by the other server");
    (listing, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_by_one_server_is_read_by_another() {
    let database = database().await;
    let token = staff_token(&["--database-url", database.url(), "--log-key", "none"]).await;
    let servers = [Server::start_with(&database, UNLIMITED).await, Server::start_with(&database, UNLIMITED).await];
    let urls = [servers[0].url.clone(), servers[1].url.clone()];
    let (next, pairs) = (Arc::new(AtomicUsize::new(0)), pairs());
    let made = join_all((0..WORKERS).map(|_| {
        let (urls, next, client) = (urls.clone(), Arc::clone(&next), client(&token));
        tokio::spawn(async move {
            let (customer, _) = posted(&client, &urls[0], "/v1/customers", json!({ "name": "Ada Ltd" })).await;
            let mut made = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= pairs {
                    return (customer, made);
                }
                made.push(pair(&client, &urls, number, &customer).await);
            }
        })
    }))
    .await;

    // None is lost, and none is there twice.
    let client = client(&token);
    let position: i64 =
        sqlx::query_scalar("select max(position) from events").fetch_one(database.pool()).await.unwrap();
    let position = position.to_string();
    for worker in made {
        let (customer, made) = worker.unwrap();
        for listing in ["payers", "tickets"] {
            let expected: BTreeSet<&str> =
                made.iter().filter(|(of, _)| *of == listing).map(|(_, id)| id.as_str()).collect();
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let path = format!("/v1/{listing}?customer={customer}&limit=200{cursor}");
                let page = read(&client, &urls[1], &path, &position).await;
                seen.extend(page["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
                let Some(next) = page["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            assert_eq!(seen.len(), expected.len(), "{listing}");
            assert_eq!(seen.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected, "{listing}");
        }
    }
}
