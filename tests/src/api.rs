//! The whole application under test, reached as its callers reach it: over HTTP.

use std::sync::Arc;

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::HeaderValue,
    middleware::{Next, from_fn, from_fn_with_state},
    response::Response,
    routing::get,
};
use chrono::Utc;
use daybook_api::{
    App, AppOptions, Authenticated, ConnectionOptions, Hosts, Running, authenticated, routes_of, serve, with_layers,
};
use daybook_core::{transparency::Kept, writer::WriterHandle};
use daybook_identity::Shown;
use reqwest::{Client, Method, RequestBuilder, header::HeaderMap};
use serde_json::Value;
use standardwebhooks::Webhook;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{TestDatabase, database, viewer};

/// The header by which a test says who acts.
pub const ACTOR: &str = "daybook-actor";

/// The application on a ledger of its own, listening on a port of its own.
#[derive(Debug)]
pub struct TestApp {
    pub database: TestDatabase,
    pub url: String,
    client: Client,
    running: Option<Running>,
    server: JoinHandle<()>,
    /// What second factors are sealed by.
    _keys: TempDir,
}

/// Most tests are about what the ledger does, and not about who may ask for it: their requests come from a program of the
/// ledger's own, by the name that their header gives it.
///
/// A gateway signs its notices, which is done here for a test that does not.
async fn as_a_program(State(gateway): State<Option<Shown>>, mut request: Request, next: Next) -> Response {
    let named = request.headers().get(ACTOR).map(|value| value.to_str().expect("an actor is text"));
    let actor = named.unwrap_or("system:api").parse().expect("an actor");
    request.extensions_mut().insert(Arc::new(Authenticated::program(actor)));
    let is_of_gateways = request.uri().path().starts_with("/v1/gateways/");
    if let Some(gateway) = gateway.filter(|_| is_of_gateways && !request.headers().contains_key("webhook-signature")) {
        request = signed(&gateway, request).await;
    }
    next.run(request).await
}

async fn signed(gateway: &Shown, request: Request) -> Request {
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a body that can be read");
    let (id, now) = (Uuid::now_v7().to_string(), Utc::now().timestamp());
    let mut header = |name: &'static str, value: String| {
        let value = HeaderValue::from_str(&value).expect("a header is plain ASCII");
        parts.headers.entry(name).or_insert(value).to_str().unwrap_or_default().to_owned()
    };
    let (id, at) = (header("webhook-id", id), header("webhook-timestamp", now.to_string()));
    let signing = Webhook::new(gateway.expose()).expect("a secret");
    let signature = signing.sign(&id, at.parse().unwrap_or(now), &body).expect("it can be signed");
    header("webhook-signature", signature);
    Request::from_parts(parts, body.into())
}

/// The secret of the gateway that the addresses of [`address`] name.
fn gateway(app: &App) -> Shown {
    let stripe = "stripe".parse().expect("a name");
    app.identity().senders.add(&stripe).expect("a secret is made")
}

/// Everything that an application answers, to a program of the ledger's own.
pub fn open_router(running: &Running) -> Router {
    let app = running.app().clone();
    let routes = routes_of(app.clone()).layer(from_fn_with_state(None, as_a_program));
    with_layers(authenticated(routes, app), Hosts::default())
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

    /// One that asks its callers who they are.
    pub async fn guarded() -> Self {
        Self::guarded_with(AppOptions::default()).await
    }

    /// The same, with other settings.
    pub async fn guarded_with(options: AppOptions) -> Self {
        Self::guarded_on_with(database().await, options).await
    }

    /// The same on a ledger that is there already.
    pub async fn guarded_on(database: TestDatabase) -> Self {
        Self::guarded_on_with(database, AppOptions::default()).await
    }

    pub async fn guarded_on_with(database: TestDatabase, options: AppOptions) -> Self {
        Self::serving(database, options, daybook_panel::router).await
    }

    pub async fn with(database: TestDatabase, options: AppOptions) -> Self {
        Self::serving(database, options, |app| {
            let signing = from_fn_with_state(Some(gateway(&app)), as_a_program);
            let edge = app.edge().clone();
            let routes = daybook_panel::routes_of(app.clone()).route("/panic", get(fall));
            let routes = routes.layer(from_fn(viewer::see)).layer(signing);
            with_layers(authenticated(routes, app), edge)
        })
        .await
    }

    async fn serving(database: TestDatabase, mut options: AppOptions, router: impl FnOnce(App) -> Router) -> Self {
        let keys = TempDir::new().expect("a directory can be made");
        options.identity.keys = keys.path().to_owned();
        let running = App::start(database.store().await, options).await.expect("the application starts");
        let app = running.app().clone();
        let router = router(app);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("a listener has an address"));
        let server = tokio::spawn(async move {
            serve(listener, router, ConnectionOptions::default(), CancellationToken::new()).await;
        });
        Self { database, url, client: Client::new(), running: Some(running), server, _keys: keys }
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

    /// What its handlers share.
    pub fn app(&self) -> &App {
        self.running.as_ref().expect("the application runs").app()
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

/// The address with identifiers that such things can have.
pub fn address(path: &str) -> String {
    let id = match path.split('/').nth(2) {
        Some("customers") => "cus_1",
        Some("payers") => "pyr_1",
        Some("accounts") => "acc_1",
        Some("orders") => "ord_1",
        Some("payments") => "pay_1",
        Some("invoices") => "inv_1",
        Some("credit-notes") => "crn_1",
        Some("services") => "srv_1",
        Some("expenses") => "exp_1",
        Some("discounts") => "dsc_1",
        Some("tickets") => "tkt_1",
        Some("me") => "fac_1",
        Some("sessions") => "ses_1",
        Some("tokens") => "tok_1",
        Some("users") => "usr_1",
        _ => "accounts",
    };
    path.replace("{id}", id)
        .replace("{name}", id)
        .replace("{hold}", "hld_1")
        .replace("{refund}", "rfd_1")
        .replace("{dispute}", "dsp_1")
        .replace("{number}", "1")
        .replace("{group}", "friends")
        .replace("{level}", "0")
        .replace("{gateway}", "stripe")
        .replace("{*index}", "000")
        .replace("{position}", "1")
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
