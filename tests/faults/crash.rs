//! A server that is killed under load, again and again: nothing acknowledged is lost, nothing is applied twice.

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use daybook_tests::{
    TestDatabase,
    api::Answer,
    database,
    people::{client, staff_token},
    program,
};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    sync::Mutex,
    task::JoinSet,
};

/// How often the server is killed.
const KILLS: u64 = 5;
/// How many commands are acknowledged between two kills, at least.
const ACKNOWLEDGED: u64 = 60;
const CALLERS: u64 = 16;

/// The program that people run, on a port of its own.
pub struct Server {
    pub child: Child,
    pub url: String,
    /// Kept open, since a program whose output nobody takes may fall.
    pub said: Lines<BufReader<ChildStdout>>,
}

impl Server {
    pub async fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, &[]).await
    }

    pub async fn start_with(database: &TestDatabase, arguments: &[&str]) -> Self {
        let mut child = Command::new(program("daybook-server"))
            .envs(daybook_tests::master_key_env())
            .args(["--listen", "127.0.0.1:0", "--database-url", database.url()])
            .args(arguments)
            .env("RUST_LOG", "error")
            .env("DAYBOOK_LOG_KEY", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the server starts");
        let mut said = BufReader::new(child.stdout.take().expect("its output is taken")).lines();
        // It says where it listens once it does.
        let url = loop {
            let line = said.next_line().await.expect("its output can be read").expect("it says where it listens");
            if let Some(at) = line.find("http://127.0.0.1:") {
                let address = &line["http://".len() + at..];
                let end = address.find(['/', ' ']).unwrap_or(address.len());
                break format!("http://{}", &address[..end]);
            }
        };
        Self { child, url, said }
    }

    pub async fn kill(mut self) {
        self.child.kill().await.expect("a running server can be killed");
    }
}

async fn post(client: &Client, url: &str, path: &str, key: &str, body: &Value) -> Option<(u16, Value)> {
    let request = client.request(Method::POST, format!("{url}{path}")).header("idempotency-key", key).json(body);
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.json().await.ok()?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_loses_nothing_and_repeats_nothing() {
    let database = database().await;
    let client = client(&staff_token(&["--database-url", database.url(), "--log-key", "none"]).await);
    let mut server = Server::start(&database).await;
    let (_, customer) = post(&client, &server.url, "/v1/customers", "c", &json!({ "name": "Ada" })).await.unwrap();
    let open = json!({ "customer": customer["id"], "currency": "USD", "name": "hosting", "time_zone": "UTC" });
    let (_, account) = post(&client, &server.url, "/v1/accounts", "a", &open).await.unwrap();
    let account = account["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/accounts/{account}/adjustments");
    let body = json!({
        "amount": { "amount": "1.00", "currency": "USD" }, "description": "one", "reason": "load",
    });

    // Every command that was sent, and what was acknowledged: the answer under each key.
    let (sent, acknowledged) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let answers: Arc<Mutex<Vec<(u64, Value)>>> = Arc::default();
    for round in 1..=KILLS {
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (client, url, path, body) = (client.clone(), server.url.clone(), path.clone(), body.clone());
            let (sent, acknowledged, answers) = (sent.clone(), acknowledged.clone(), answers.clone());
            callers.spawn(async move {
                loop {
                    let number = sent.fetch_add(1, Ordering::SeqCst);
                    // The server is gone: whether this one was recorded is for the retry to find out.
                    let Some((status, answer)) = post(&client, &url, &path, &number.to_string(), &body).await else {
                        return;
                    };
                    assert_eq!(status, 201, "{answer}");
                    answers.lock().await.push((number, answer));
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        while acknowledged.load(Ordering::SeqCst) < round * ACKNOWLEDGED {
            tokio::task::yield_now().await;
        }
        server.kill().await;
        while let Some(caller) = callers.join_next().await {
            caller.expect("a caller ends when the server is gone");
        }
        server = Server::start(&database).await;
    }

    // Nothing acknowledged is lost, and a retry is answered as the first time.
    let answers = answers.lock().await;
    for (number, answer) in answers.iter() {
        let (status, again) = post(&client, &server.url, &path, &number.to_string(), &body).await.unwrap();
        assert_eq!((status, &again), (201, answer));
    }
    // Whatever was in flight when the server fell is recorded once by its retry.
    let sent = sent.load(Ordering::SeqCst);
    for number in 0..sent {
        let (status, answer) = post(&client, &server.url, &path, &number.to_string(), &body).await.unwrap();
        assert_eq!(status, 201, "{answer}");
    }
    let head: i64 = sqlx::query_scalar("select position from book_head").fetch_one(database.pool()).await.unwrap();
    let read = client
        .get(format!("{}/v1/accounts/{account}", server.url))
        .header("min-position", head.to_string())
        .header("prefer", "wait=30");
    let shown = Answer::to(read).await;
    assert_eq!(shown.body["balance"]["amount"], format!("{sent}.00"), "{}", shown.text);
    assert_eq!(shown.body["entries"], sent);
    assert!(answers.len() as u64 >= KILLS * ACKNOWLEDGED);

    let verified = Command::new(program("daybook"))
        .envs(daybook_tests::master_key_env())
        .args(["verify", "--json", "--database-url", database.url()])
        .output()
        .await
        .expect("the program starts");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    server.kill().await;
}
