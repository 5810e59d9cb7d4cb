//! The whole application under test, reached as its callers reach it: over HTTP.

use axum::{middleware::from_fn, routing::get};
use daybook_api::{App, AppOptions, ConnectionOptions, Hosts, Running, routes_of, serve, with_layers};
use daybook_core::{transparency::Kept, writer::WriterHandle};
use reqwest::{Client, Method, RequestBuilder, header::HeaderMap};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{TestDatabase, database, viewer};

/// The application on a ledger of its own, listening on a port of its own.
#[derive(Debug)]
pub struct TestApp {
    pub database: TestDatabase,
    pub url: String,
    client: Client,
    running: Option<Running>,
    server: JoinHandle<()>,
}

async fn fall() {
    panic!("a test wants it");
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// `Null` if the body is not JSON.
    pub body: Value,
    pub text: String,
}

impl TestApp {
    pub async fn start() -> Self {
        Self::on(database().await).await
    }

    /// On a ledger that is there already.
    pub async fn on(database: TestDatabase) -> Self {
        Self::with(database, AppOptions::default()).await
    }

    pub async fn with(database: TestDatabase, options: AppOptions) -> Self {
        let running = App::start(database.store().await, options).await.expect("the application starts");
        let routes = routes_of(running.app().clone()).route("/panic", get(fall)).layer(from_fn(viewer::see));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("a listener has an address"));
        let server = tokio::spawn(async move {
            serve(
                listener,
                with_layers(routes, Hosts::default()),
                ConnectionOptions::default(),
                CancellationToken::new(),
            )
            .await;
        });
        Self { database, url, client: Client::new(), running: Some(running), server }
    }

    /// Ends the application; what it has written stays.
    pub async fn stop(mut self) -> TestDatabase {
        self.server.abort();
        self.running.take().expect("an application is stopped once").shutdown().await;
        self.database
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Posts JSON under an idempotency key of its own.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_under(&Uuid::now_v7().to_string(), path, body).await
    }

    pub async fn post_under(&self, key: &str, path: &str, body: Value) -> Answer {
        Answer::to(self.request(Method::POST, path).header("idempotency-key", key).json(&body)).await
    }

    /// Posts JSON that must be accepted; answers with the body.
    pub async fn done(&self, path: &str, body: Value) -> Value {
        let answer = self.post(path, body).await;
        assert!(answer.status < 300, "{path} answers {}: {}", answer.status, answer.text);
        answer.body
    }

    /// Reads what includes everything that was written before.
    pub async fn get(&self, path: &str) -> Answer {
        let head = self.position().await.to_string();
        Answer::to(self.request(Method::GET, path).header("min-position", head).header("prefer", "wait=30")).await
    }

    /// Reads what there is now.
    pub async fn get_at_once(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::GET, path)).await
    }

    /// Wakes the projector after another program has written.
    pub async fn tell_of_growth(&self) {
        let store = self.running.as_ref().expect("the application runs").app().store();
        store.notify(self.position().await).await.expect("a notification can be sent");
    }

    /// The writer behind it, for what no request does fast enough.
    pub fn writer(&self) -> &WriterHandle {
        self.running.as_ref().expect("the application runs").app().writer()
    }

    /// Waits until the transparency log has signed so many events.
    pub async fn signed(&self, size: u64) {
        self.kept(|kept| kept.signed >= size).await;
    }

    /// Waits until the keeper of the transparency log has come so far.
    pub async fn kept(&self, until: impl FnMut(&Kept) -> bool) {
        let mut kept = self.running.as_ref().expect("the application runs").keeper().kept();
        kept.wait_for(until).await.expect("the keeper goes on");
    }

    /// Where the book ends.
    pub async fn position(&self) -> u64 {
        let store = self.running.as_ref().expect("the application runs").app().store();
        store.head().await.expect("the book can be read").position
    }
}

impl Answer {
    pub async fn to(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("the server answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("an answer is text");
        Self { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Asserts that it is a problem of this type.
    pub fn refused(&self, status: u16, code: &str) -> &Value {
        assert_eq!(
            (self.status, &self.body["type"]),
            (status, &Value::from(format!("/problems/{code}"))),
            "{}",
            self.text
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert!(!self.header("x-request-id").is_empty(), "the request has an id");
        let instance = self.body["instance"].as_str().expect("a problem names its request");
        assert!(instance.ends_with(self.header("x-request-id")), "{instance}");
        for member in ["title", "detail"] {
            assert!(self.body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} is given");
        }
        &self.body
    }
}
