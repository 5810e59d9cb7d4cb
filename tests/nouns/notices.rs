//! Notices that a gateway signs: another implementation of Standard Webhooks signs them here.

use chrono::{TimeDelta, Utc};
use daybook_core::domain::{AccountId, Party, function::Role, user::MembershipChange};
use daybook_identity::{SenderName, Shown};
use daybook_tests::{
    api::{Answer, TestApp},
    commands,
    people::Person,
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

const NOTICES: &str = "/v1/gateways/stripe/notices";

struct Setting {
    app: TestApp,
    account: AccountId,
    auditor: Person,
    secret: Shown,
}

impl Setting {
    async fn new() -> Self {
        let app = TestApp::guarded().await;
        let customer = app.customer("Ada Ltd").await;
        let account = commands::id(&app.record(commands::open_account(&customer).operation).await);
        let auditor = vec![MembershipChange::GrantRole(Role::Auditor)];
        let auditor = app.person("auditor", &Party::Provider, auditor).await;
        let secret = app.app().identity().senders.add(&stripe()).expect("a secret is made");
        Self { app, account, auditor, secret }
    }

    fn notice(&self, gateway_payment: &str) -> Value {
        json!({
            "gateway": "stripe",
            "gateway_payment": gateway_payment,
            "account": self.account,
            "amount": { "amount": "12.30", "currency": "USD" },
            "outcome": "succeeded",
        })
    }

    /// As the gateway sends it: with the headers of the message `id` of this moment.
    fn signed(&self, id: &str, body: &str) -> RequestBuilder {
        self.signed_at(id, body, Utc::now().timestamp())
    }

    fn signed_at(&self, id: &str, body: &str, at: i64) -> RequestBuilder {
        let signing = Webhook::new(self.secret.expose()).expect("a secret");
        let signature = signing.sign(id, at, body.as_bytes()).expect("it can be signed");
        self.post(NOTICES, body)
            .header("webhook-id", id)
            .header("webhook-timestamp", at)
            .header("webhook-signature", signature)
    }

    fn post(&self, path: &str, body: &str) -> RequestBuilder {
        let request = self.app.request(Method::POST, path).header("content-type", "application/json");
        request.body(body.to_owned())
    }

    async fn balance(&self) -> Value {
        let position = self.app.position().await;
        let path = format!("/v1/accounts/{}/balance", self.account);
        let read = self.app.by(&self.auditor, Method::GET, &path).header("min-position", position);
        Answer::to(read).await.body["balance"]["amount"].clone()
    }
}

fn stripe() -> SenderName {
    "stripe".parse().expect("a name")
}

#[tokio::test]
async fn a_gateway_signs_its_notices_and_needs_no_token() {
    let setting = Setting::new().await;
    let body = setting.notice("pi_1").to_string();
    let taken = Answer::to(setting.signed("msg_1", &body)).await;
    assert_eq!((taken.status, &taken.body["status"]), (200, &"credited".into()), "{}", taken.text);
    let at = taken.header("ledger-position").to_owned();
    let events = setting.app.read_by(&setting.auditor, "/v1/audit/events?limit=200").await;
    let events = events.body["data"].as_array().expect("a page of events").clone();
    let of_notice =
        |event: &&Value| event["position"].as_u64().map(|position| position.to_string()) == Some(at.clone());
    let event = events.iter().find(of_notice).expect("the event is in the book");
    assert_eq!(event["metadata"]["actor"], "gateway:stripe", "{event}");

    // Its answer was lost, and the gateway sends the message again: later, and under the same id.
    let later = Utc::now().timestamp() + 200;
    let again = Answer::to(setting.signed_at("msg_1", &body, later)).await;
    assert_eq!((again.status, again.header("idempotent-replayed"), &again.body), (200, "true", &taken.body));
    assert_eq!(again.header("ledger-position"), at);
    assert_eq!(setting.balance().await, "12.30");
    // The same id is no other message.
    let other = setting.notice("pi_2").to_string();
    Answer::to(setting.signed("msg_1", &other)).await.refused(422, "idempotency-mismatch");
    assert_eq!(setting.balance().await, "12.30");
}

#[tokio::test]
async fn what_is_not_signed_or_not_for_this_moment_is_not_believed() {
    let setting = Setting::new().await;
    let (body, position) = (setting.notice("pi_1").to_string(), setting.app.position().await);
    let refused = async |request: RequestBuilder| {
        Answer::to(request).await.refused(401, "unauthenticated");
        assert_eq!(setting.app.position().await, position, "nothing is recorded");
    };
    refused(setting.post(NOTICES, &body)).await;
    // What a token may do is done elsewhere.
    refused(setting.post(NOTICES, &body).bearer_auth(&setting.auditor.token)).await;
    for seconds in [-330, 330] {
        let at = Utc::now() + TimeDelta::seconds(seconds);
        refused(setting.signed_at("msg_1", &body, at.timestamp())).await;
    }
    let changed = body.replace("12.30", "99.30");
    refused(setting.signed("msg_1", &body).body(changed)).await;
    let elsewhere = setting.signed("msg_1", &body).build().expect("a request");
    let mut to_another = setting.post("/v1/gateways/adyen/notices", &body);
    for (name, value) in elsewhere.headers().iter().filter(|(name, _)| name.as_str().starts_with("webhook")) {
        to_another = to_another.header(name, value);
    }
    refused(to_another).await;
    setting.app.app().identity().senders.forget(&stripe()).expect("its secret is taken away");
    refused(setting.signed("msg_1", &body)).await;

    let twice = setting.signed("msg_1", &body).header("webhook-id", "msg_2");
    let malformed = Answer::to(twice).await;
    assert_eq!(malformed.refused(400, "malformed-header")["header"], "webhook-id");
    let dotted = Answer::to(setting.signed("msg.1", &body)).await;
    assert_eq!(dotted.refused(400, "malformed-header")["header"], "webhook-id");
}

#[tokio::test]
async fn a_gateway_speaks_of_its_own_payments_and_in_its_own_name() {
    let setting = Setting::new().await;
    let mut foreign = setting.notice("pi_1");
    foreign["gateway"] = "adyen".into();
    let answer = Answer::to(setting.signed("msg_1", &foreign.to_string())).await;
    assert_eq!(answer.refused(422, "invalid-value")["errors"][0]["pointer"], "/gateway");

    // No signature covers these headers.
    let body = setting.notice("pi_1").to_string();
    let request = setting.signed("msg_2", &body).header("daybook-on-behalf-of", "staff:anna");
    let taken = Answer::to(request.header("idempotency-key", "another")).await;
    assert_eq!(taken.status, 200, "{}", taken.text);
    let again = Answer::to(setting.signed("msg_2", &body)).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    let events = setting.app.read_by(&setting.auditor, "/v1/audit/events?limit=200").await;
    assert!(!events.text.contains("staff:anna"), "{}", events.text);
}
