//! Every problem of the board is raised: by a request, by the ledger itself where no request can, or by a named test of
//! the faults that raise it.

use std::{collections::BTreeSet, process::Command as Program, time::Duration};

use axum::{Router, http::StatusCode, routing::get};
use chrono::{TimeDelta, Utc};
use cqrs_es::event_sink::EventSink;
use daybook_api::{App, AppOptions, Hosts, with_manners};
use daybook_core::{
    domain::{
        Account, AccountId, CustomerId, Invoice, LedgerAggregate, NumberSeries, Order, PaymentId, Service,
        account::AccountCommand,
        discount::{self, Audience, Scope},
        invoice::{DraftLine, InvoiceCommand},
        number_series::NumberSeriesCommand,
        order::{ItemRequest, OrderCommand},
        payer::{Address, PayerKind},
        payment::Purpose,
        service::ServiceCommand,
        tax::RoundingPolicy,
    },
    operations::{
        CreatePayer, CreditRequest, GrantDiscount, HoldFunds, IssueCreditNote, Numbering, OpenAccount, OpenDispute,
        Operation, PlaceOrder, RecordExpense, Refusal, StartPayment, StartRefund,
    },
    writer::{Command, ExecuteError, WriterOptions},
};
use daybook_tests::{
    api::{Answer, TestApp},
    commands::{command, open_ticket, register, usd},
    database,
    operator::{ailing, break_the_book, ended, of, until},
};
use reqwest::{Client, Method};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Events of the aggregates that are asked alone.
const INVOICE: &str = include_str!("../golden/events/invoice.finalised/v1.0.json");
const ORDER: &str = include_str!("../golden/events/order.placed/v1.0.json");

/// What only faults raise, or what takes long to set up: the code, and the test that raises it.
const BY_FAULTS: &[(&str, &str)] = &[
    ("build-behind", "a_rebuild_is_followed_until_it_serves_and_is_rolled_back"),
    ("build-taken-over", "what_happens_to_a_build_meanwhile_is_told"),
    ("build-unproven", "what_happens_to_a_build_meanwhile_is_told"),
    ("clock-jumped", "a_clock_that_jumped_is_told_over_http"),
    ("entry-too-large", "a_log_of_before_that_holds_a_large_event_is_continued"),
    ("event-too-large", "a_document_of_very_many_lines_is_taken_or_refused_whole"),
    ("ledger-forked", "a_ledger_that_lacks_what_was_signed_takes_no_writes_until_an_operator_decides"),
    ("ledger-upgrading", "a_ledger_that_is_being_brought_over_takes_no_writes"),
    ("log-not-sound", "an_entry_that_is_not_the_one_of_its_leaf_is_not_handed_out"),
    ("other-version", "what_the_past_cannot_be_told_from_is_said"),
    ("outcome-unknown", "what_became_of_a_command_is_told"),
    ("overloaded", "ordinary_reads_are_answered_while_as_many_read_the_past_as_may"),
    ("parked-meanwhile", "what_happens_to_a_build_meanwhile_is_told"),
    ("read-too-long", "a_read_of_the_past_that_takes_too_long_is_refused_and_says_so"),
    ("readers-in-the-way", "what_happens_to_a_build_meanwhile_is_told"),
    ("rebuild-under-way", "a_rebuild_is_followed_until_it_serves_and_is_rolled_back"),
    ("request-too-slow", "a_caller_who_keeps_the_server_waiting_is_cut"),
    ("unbalanced", "a_fault_of_the_ledger_is_not_taken_for_an_absent_store"),
];

/// Tests of the API itself that stand in the list above.
const TESTS_OF_THE_API: [&str; 2] = [include_str!("../../api/src/error.rs"), include_str!("../../api/src/operator.rs")];

#[tokio::test]
async fn every_problem_of_the_board_is_raised() {
    let mut raised = Raised::default();
    let app = TestApp::start().await;
    let parties = Parties::of(&app).await;
    requests(&app, &parties, &mut raised).await;
    customers(&app, &parties, &mut raised).await;
    accounts(&app, &parties, &mut raised).await;
    orders(&app, &parties, &mut raised).await;
    payments(&app, &parties, &mut raised).await;
    refunds_and_disputes(&app, &parties, &mut raised).await;
    documents(&app, &parties, &mut raised).await;
    expenses_and_discounts(&app, &parties, &mut raised).await;
    tickets(&app, &parties, &mut raised).await;
    books(&app, &mut raised).await;
    what_stands_already(&app, &parties, &mut raised).await;
    what_no_operation_asks(&mut raised).await;
    bare_statuses(&mut raised).await;
    projections(&app, &mut raised).await;
    a_server_that_stops(&mut raised).await;

    assert!(raised.wrong.is_empty(), "{:#?}", raised.wrong);
    let board = app.get("/problems").await.body;
    let board: BTreeSet<String> = board.as_array().unwrap().iter().map(|kind| text(&kind["code"])).collect();
    let tests = tests();
    for (code, test) in BY_FAULTS {
        assert!(tests.contains(*test), "{code} is raised by a test that is there: {test}");
        assert!(raised.codes.insert((*code).into()), "{code} is raised here already");
    }
    let missing: Vec<_> = board.difference(&raised.codes).collect();
    assert!(missing.is_empty(), "nothing raises {missing:?}");
    assert_eq!(raised.codes, board);
}

/// The names of all tests of this program, and of those of the API that are needed.
fn tests() -> BTreeSet<String> {
    let listed = Program::new(std::env::current_exe().unwrap()).args(["--list", "--format", "terse"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test")?.rsplit("::").next());
    let of_the_api = TESTS_OF_THE_API.iter().flat_map(|source| source.split("#[test]\n    fn ").skip(1));
    let of_the_api = of_the_api.filter_map(|test| test.split('(').next());
    names.chain(of_the_api).map(str::to_owned).collect()
}

/// The codes that were raised, and the answers that were not as expected.
#[derive(Debug, Default)]
struct Raised {
    codes: BTreeSet<String>,
    wrong: Vec<String>,
}

/// What is asked and how it is refused: code, status, the field that is named, path and body.
type Row = (&'static str, u16, &'static str, String, Value);

impl Raised {
    fn by(&mut self, answer: &Answer, (status, code): (u16, &str)) {
        let problem = &answer.body;
        if (answer.status, &problem["type"]) == (status, &json!(format!("/problems/{code}"))) {
            answer.refused(status, code);
        } else {
            self.wrong.push(format!("{code}: {}", answer.text));
        }
        self.codes.insert(code.into());
    }

    /// Posts what is refused. An empty field stands for none.
    async fn post(&mut self, app: &TestApp, rows: impl IntoIterator<Item = Row>) {
        for (code, status, field, path, body) in rows {
            let before = app.position().await;
            let answer = app.post(&path, body).await;
            self.by(&answer, (status, code));
            if text(&answer.body["errors"][0]["pointer"]) != field {
                self.wrong.push(format!("{code}, {field}: {}", answer.text));
            }
            if app.position().await != before {
                self.wrong.push(format!("{code}: something is recorded"));
            }
        }
    }

    async fn refusal(&mut self, app: &TestApp, command: Command, code: &str) {
        match app.writer().execute(command).await {
            Err(ExecuteError::Refused(refusal)) if refusal.code() == code => {}
            other => self.wrong.push(format!("{code}: {other:?}")),
        }
        self.codes.insert(code.into());
    }
}

/// Two customers; the first has two accounts.
struct Parties {
    ada: String,
    usd: String,
    eur: String,
    payer: String,
    bob: String,
    theirs: String,
    their_payer: String,
}

impl Parties {
    async fn of(app: &TestApp) -> Self {
        let (ada, bob) = (customer(app, "Ada").await, customer(app, "Bob").await);
        Self {
            usd: account(app, &ada, "USD").await,
            eur: account(app, &ada, "EUR").await,
            theirs: account(app, &bob, "USD").await,
            payer: payer(app, &ada).await,
            their_payer: payer(app, &bob).await,
            ada,
            bob,
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

async fn made(app: &TestApp, path: &str, body: Value) -> String {
    text(&app.done(path, body).await["id"])
}

async fn customer(app: &TestApp, name: &str) -> String {
    made(app, "/v1/customers", json!({ "name": name })).await
}

async fn account(app: &TestApp, customer: &str, currency: &str) -> String {
    made(app, "/v1/accounts", json!({ "customer": customer, "currency": currency, "name": "main" })).await
}

fn new_payer(customer: &str, country: &str) -> Value {
    json!({ "customer": customer, "kind": "individual", "name": "payer", "address": { "country": country } })
}

async fn payer(app: &TestApp, customer: &str) -> String {
    made(app, "/v1/payers", new_payer(customer, "DE")).await
}

fn dollars(amount: &str) -> Value {
    json!({ "amount": amount, "currency": "USD" })
}

fn euros(amount: &str) -> Value {
    json!({ "amount": amount, "currency": "EUR" })
}

fn new_order(account: &str, items: Value) -> Value {
    json!({ "account": account, "description": "VPS", "items": items })
}

async fn order(app: &TestApp, account: &str, price: &str) -> String {
    made(app, "/v1/orders", new_order(account, json!([{ "product": "vps", "unit_price": price }]))).await
}

fn new_payment(account: &str, amount: &str) -> Value {
    json!({ "account": account, "method": "card", "amount": dollars(amount) })
}

/// A payment whose money is here.
async fn credited(app: &TestApp, account: &str, amount: &str) -> String {
    let payment = made(app, "/v1/payments", new_payment(account, amount)).await;
    app.done(&format!("/v1/payments/{payment}/credit"), json!({})).await;
    payment
}

fn new_document(account: &str, payer: &str, lines: Value) -> Value {
    json!({ "account": account, "payer": payer, "lines": lines })
}

fn line(price: &str) -> Value {
    json!({ "description": "Setup", "unit_price": price })
}

fn and(mut body: Value, field: &str, value: impl Into<Value>) -> Value {
    body[field] = value.into();
    body
}

async fn requests(app: &TestApp, parties: &Parties, raised: &mut Raised) {
    let customers = || app.request(Method::POST, "/v1/customers");
    let written = |body: &str| customers().header("content-type", "application/json").body(body.to_owned());
    let get = |path: &str| app.request(Method::GET, path);
    let asked = [
        (written("{"), 400, "malformed-json"),
        (written(""), 400, "empty-body"),
        (written(r#"{"name":"Ada","name":"Ada"}"#), 422, "duplicate-field"),
        (written(&"x".repeat(1_100_000)), 413, "payload-too-large"),
        (customers().body("name=Ada"), 415, "unsupported-media-type"),
        (get("/v1/orders").header("min-position", "x"), 400, "malformed-header"),
        (get("/v1/orders?colour=red"), 400, "unknown-parameter"),
        (get("/v1/orders?status=red"), 400, "malformed-parameter"),
        (get("/v1/orders?cursor=x"), 400, "invalid-cursor"),
        (get("/v1/nothing"), 404, "not-found"),
        (get("/v1/credit-notes/crn_0"), 404, "credit-note-not-found"),
        (get("/log/checkpoint"), 404, "no-checkpoint"),
        (get("/panic"), 500, "internal"),
        (get("/v1/orders").header("host", "evil.example"), 421, "unknown-host"),
        (customers().header("origin", "null"), 403, "cross-site-request"),
        (app.request(Method::PATCH, "/v1/customers"), 405, "method-not-allowed"),
        (app.request(Method::POST, "/v1/payments").json(&json!({})), 400, "idempotency-key-missing"),
    ];
    for (request, status, code) in asked {
        raised.by(&Answer::to(request).await, (status, code));
    }
    let named = |name: &str| json!({ "name": name });
    app.post_under("key", "/v1/customers", named("Ada")).await;
    let again = app.post_under("key", "/v1/customers", named("Bob")).await;
    raised.by(&again, (422, "idempotency-mismatch"));

    let payments = || "/v1/payments".to_owned();
    let of_amount = |amount: Value| and(new_payment(&parties.usd, "1"), "amount", amount);
    let money = |amount: &str, currency: &str| of_amount(json!({ "amount": amount, "currency": currency }));
    let rows = [
        ("unknown-field", 422, "/colour", payments(), and(new_payment(&parties.usd, "1"), "colour", "red")),
        ("missing-field", 422, "/account", payments(), json!({ "method": "card", "amount": dollars("1") })),
        ("wrong-type", 422, "/amount", payments(), of_amount(json!(1))),
        ("invalid-value", 422, "/kind", "/v1/payers".into(), and(new_payer(&parties.ada, "DE"), "kind", "robot")),
        ("text-too-long", 422, "/name", "/v1/customers".into(), named(&"x".repeat(1000))),
        ("malformed-id", 422, "/account", payments(), new_payment("inv_1", "1")),
        ("unknown-currency", 422, "/amount/currency", payments(), money("1", "QQQ")),
        ("too-many-decimals", 422, "/amount/amount", payments(), money("1.234", "USD")),
        ("amount-too-large", 422, "/amount/amount", payments(), money("1000000000000000", "USD")),
        ("not-a-number", 422, "/amount/amount", payments(), money("one", "USD")),
    ];
    raised.post(app, rows).await;
}

async fn customers(app: &TestApp, parties: &Parties, raised: &mut Raised) {
    let groups = |customer: &str| format!("/v1/customers/{customer}/groups");
    app.done(&groups(&parties.ada), json!({ "group": "gold" })).await;
    let gone = payer(app, &parties.ada).await;
    app.done(&format!("/v1/payers/{gone}/deactivate"), json!({})).await;
    let customers = || "/v1/customers".to_owned();
    let rename = |payer: &str| format!("/v1/payers/{payer}/rename");
    let rows = [
        ("name-missing", 422, "/name", customers(), json!({ "name": " " })),
        ("email-malformed", 422, "/email", customers(), json!({ "name": "Ada", "email": "ada" })),
        ("customer-not-found", 404, "", groups("cus_0"), json!({ "group": "gold" })),
        ("group-malformed", 422, "/group", groups(&parties.ada), json!({ "group": "Gold!" })),
        ("already-in-group", 409, "", groups(&parties.ada), json!({ "group": "gold" })),
        ("country-missing", 422, "/address/country", "/v1/payers".into(), new_payer(&parties.ada, " ")),
        ("payer-not-found", 404, "", rename("pyr_0"), json!({ "name": "Ada" })),
        ("payer-deactivated", 409, "", rename(&gone), json!({ "name": "Ada" })),
    ];
    raised.post(app, rows).await;
    let leave = app.request(Method::DELETE, &format!("{}/silver", groups(&parties.ada)));
    raised.by(&Answer::to(leave.json(&json!({}))).await, (409, "not-in-group"));
}

async fn accounts(app: &TestApp, parties: &Parties, raised: &mut Raised) {
    let to = |account: &str, verb: &str| format!("/v1/accounts/{account}/{verb}");
    let Parties { ada, bob, usd, eur, theirs, .. } = parties;
    let full = account(app, bob, "EUR").await;
    let adjustment = |amount: Value| json!({ "amount": amount, "description": "gift", "reason": "a gift" });
    app.done(&to(&full, "adjustments"), adjustment(euros("999999999999999"))).await;
    app.done(&to(eur, "post-paid"), json!({ "allowed": true })).await;
    app.done(&to(theirs, "credit-limit"), json!({ "limit": dollars("10") })).await;
    let too_dear = order(app, theirs, "10.01").await;
    let open = |zone: &str, currency: &str| json!({ "customer": ada, "currency": currency, "name": "main", "time_zone": zone });
    let transfer = |to: &str, amount: &str, rate: &str| json!({ "to": to, "amount": dollars(amount), "rate": rate, "rate_source": "ECB" });
    let rows = [
        ("account-exists", 409, "/currency", "/v1/accounts".into(), open("UTC", "USD")),
        ("unknown-time-zone", 422, "/time_zone", "/v1/accounts".into(), open("Mars", "JPY")),
        ("account-not-found", 404, "", to("acc_0", "credit-limit"), json!({ "limit": dollars("1") })),
        ("limit-negative", 422, "/limit", to(usd, "credit-limit"), json!({ "limit": dollars("-1") })),
        ("limit-and-post-paid", 409, "", to(eur, "credit-limit"), json!({ "limit": euros("1") })),
        ("already-post-paid", 409, "", to(eur, "post-paid"), json!({ "allowed": true })),
        ("not-post-paid", 409, "", to(usd, "post-paid"), json!({ "allowed": false })),
        ("allocation-unchanged", 409, "", to(usd, "automatic-allocation"), json!({ "on": true })),
        ("currency-mismatch", 422, "/amount", to(usd, "holds"), json!({ "amount": euros("1") })),
        ("amount-not-positive", 422, "/amount", to(usd, "holds"), json!({ "amount": dollars("0") })),
        ("insufficient-funds", 409, "", to(usd, "holds"), json!({ "amount": dollars("1") })),
        ("hold-not-found", 404, "", to(usd, "holds/hld_0/release"), json!({})),
        (
            "reason-missing",
            422,
            "/reason",
            to(usd, "adjustments"),
            json!({ "amount": dollars("1"), "description": "" }),
        ),
        ("balance-out-of-range", 409, "", to(&full, "adjustments"), adjustment(euros("1"))),
        ("credit-limit-exceeded", 409, "", format!("/v1/orders/{too_dear}/pay"), json!({ "by": "balance" })),
        ("same-account", 422, "/to", to(usd, "transfers"), transfer(usd, "1", "1")),
        ("recipient-not-found", 422, "/to", to(usd, "transfers"), transfer("acc_0", "1", "1")),
        ("foreign-id", 422, "/to", to(usd, "transfers"), transfer(theirs, "1", "1")),
        ("rate-out-of-range", 422, "/rate", to(usd, "transfers"), transfer(eur, "1", "0")),
        ("conversion-out-of-range", 422, "/amount", to(usd, "transfers"), transfer(eur, "0.01", "0.0001")),
    ];
    raised.post(app, rows).await;
}

async fn orders(app: &TestApp, parties: &Parties, raised: &mut Raised) {
    let usd = &parties.usd;
    let to = |order: &str, verb: &str| format!("/v1/orders/{order}/{verb}");
    let orders = || "/v1/orders".to_owned();
    let description = |text: &str| json!({ "description": text });
    let (open, gone, waiting) = (order(app, usd, "5").await, order(app, usd, "5").await, order(app, usd, "5").await);
    app.done(&to(&gone, "delete"), json!({})).await;
    app.done(&to(&waiting, "pay"), json!({ "by": { "payment": { "method": "card" } } })).await;
    let processed = order(app, usd, "0").await;
    app.done(&to(&processed, "pay"), json!({ "by": "balance" })).await;
    let part = json!([{ "product": "vps", "unit_price": "1" }, { "product": "vps", "unit_price": "1", "part": { "days": 0, "of": 31 } }]);
    let item = |product: &str, price: &str| json!([{ "product": product, "unit_price": price }]);
    let rows = [
        ("no-items", 422, "/items", orders(), new_order(usd, json!([]))),
        ("product-missing", 422, "/items", orders(), new_order(usd, item(" ", "1"))),
        ("item-out-of-range", 422, "/items/0", orders(), new_order(usd, item("vps", "-1"))),
        ("part-out-of-range", 422, "/items/1/part", orders(), new_order(usd, part)),
        ("order-not-found", 404, "", to("ord_0", "rename"), description("VPS")),
        ("description-missing", 422, "/description", to(&open, "rename"), description(" ")),
        ("order-locked", 409, "", to(&waiting, "delete"), json!({})),
        ("order-processed", 409, "", to(&processed, "delete"), json!({})),
        ("order-deleted", 409, "", to(&gone, "rename"), description("VPS")),
    ];
    raised.post(app, rows).await;
    for (number, status, code) in [(9, 404, "order-item-not-found"), (1, 409, "last-item")] {
        let remove = app.request(Method::DELETE, &to(&open, &format!("items/{number}"))).json(&json!({}));
        raised.by(&Answer::to(remove).await, (status, code));
    }
}

fn notice(account: &str, gateway_payment: &str, payment: Option<&str>) -> Value {
    json!({
        "gateway": "stripe", "gateway_payment": gateway_payment, "payment": payment, "account": account,
        "amount": dollars("5"), "outcome": "succeeded",
    })
}

async fn payments(app: &TestApp, parties: &Parties, raised: &mut Raised) {
    let Parties { ada, payer, their_payer, .. } = parties;
    let gbp = account(app, ada, "GBP").await;
    let usd = &parties.usd;
    let to = |payment: &str, verb: &str| format!("/v1/payments/{payment}/{verb}");
    let (payments, notices) = (|| "/v1/payments".to_owned(), || "/v1/payments/notices".to_owned());
    let paid = credited(app, usd, "100").await;
    let (one, other) = (credited(app, usd, "5").await, made(app, "/v1/payments", new_payment(usd, "5")).await);
    app.done("/v1/payments/notices", notice(usd, "pi_1", Some(&one))).await;
    let invoice = made(app, "/v1/invoices", new_document(usd, payer, json!([line("30")]))).await;
    let elsewhere = and(json!({ "description": "x", "net": { "amount": "1", "currency": "GBP" } }), "account", gbp);
    let elsewhere = made(app, "/v1/expenses", and(elsewhere, "reason", "asked")).await;
    let allocation = |field: &str, charge: Value, amount: &str| {
        and(json!({ "amount": dollars(amount), "reason": "asked" }), field, charge)
    };
    let of_invoice = json!({ "invoice": invoice });
    let rows = [
        ("method-missing", 422, "/method", payments(), and(new_payment(usd, "1"), "method", " ")),
        ("foreign-payer", 422, "/payer", payments(), and(new_payment(usd, "1"), "payer", their_payer.as_str())),
        ("payment-not-found", 404, "", to("pay_0", "submit"), json!({})),
        ("payment-status", 409, "", to(&paid, "submit"), json!({})),
        ("gateway-payment-assigned", 409, "", notices(), notice(usd, "pi_1", Some(&other))),
        ("gateway-payment-missing", 422, "/gateway_payment", notices(), notice(usd, " ", None)),
        (
            "nowhere-to-allocate",
            422,
            "",
            to(&paid, "allocations"),
            json!({ "amount": dollars("1"), "reason": "asked" }),
        ),
        ("over-allocation", 422, "/amount", to(&paid, "allocations"), allocation("to", of_invoice.clone(), "999")),
        ("over-release", 422, "/amount", to(&paid, "allocations"), allocation("from", of_invoice, "999")),
        (
            "foreign-id",
            422,
            "/to/expense",
            to(&paid, "allocations"),
            allocation("to", json!({ "expense": elsewhere }), "1"),
        ),
    ];
    raised.post(app, rows).await;
}

async fn refunds_and_disputes(app: &TestApp, parties: &Parties, raised: &mut Raised) {
    let payment = credited(app, &parties.usd, "50").await;
    let to = |verb: &str| format!("/v1/payments/{payment}/{verb}");
    let refund = |amount: &str, name: &str| json!({ "amount": dollars(amount), "gateway_refund": name });
    app.done(&to("refunds"), refund("1", "re_1")).await;
    let started = made(app, &to("refunds"), json!({ "amount": dollars("2") })).await;
    let settled = made(app, &to("refunds"), refund("3", "re_3")).await;
    let dispute = |name: &str| json!({ "gateway_dispute": name, "amount": dollars("4"), "gateway_reason": "stolen" });
    let (won, open) =
        (made(app, &to("disputes"), dispute("dp_1")).await, made(app, &to("disputes"), dispute("dp_2")).await);
    app.done(&to(&format!("disputes/{won}/win")), json!({})).await;
    let tomorrow = json!({ "effective_at": Utc::now() + TimeDelta::days(1) });
    let settle = |refund: &str| to(&format!("refunds/{refund}/settle"));
    let rows = [
        ("over-refund", 422, "/amount", to("refunds"), json!({ "amount": dollars("999") })),
        ("amount-differs", 409, "/amount", to("refunds"), refund("7", "re_1")),
        ("gateway-refund-malformed", 422, "/gateway_refund", to("refunds"), refund("1", " ")),
        ("gateway-refund-assigned", 409, "/gateway_refund", settle(&started), json!({ "gateway_refund": "re_1" })),
        ("refund-not-found", 404, "", settle("rfd_0"), json!({})),
        ("refund-not-found", 404, "", to(&format!("refunds/{settled}/fail")), json!({ "gateway_reason": "closed" })),
        ("gateway-dispute-malformed", 422, "/gateway_dispute", to("disputes"), dispute(" ")),
        ("dispute-not-found", 404, "", to("disputes/dsp_0/win"), json!({})),
        ("dispute-status", 409, "", to(&format!("disputes/{won}/lose")), json!({})),
        ("dispute-won-ahead", 422, "/effective_at", to(&format!("disputes/{open}/win")), tomorrow),
    ];
    raised.post(app, rows).await;
}

async fn documents(app: &TestApp, parties: &Parties, raised: &mut Raised) {
    let Parties { usd, payer, theirs, their_payer, .. } = parties;
    let (invoices, credit_notes) = (|| "/v1/invoices".to_owned(), || "/v1/credit-notes".to_owned());
    let invoice = |lines: Value| new_document(usd, payer, lines);
    let one = || invoice(json!([line("10")]));
    let numbered = |number: &str| and(one(), "numbering", json!({ "given": number }));
    let mine = made(app, "/v1/invoices", numbered("A-7")).await;
    let foreign = made(app, "/v1/invoices", new_document(theirs, their_payer, json!([line("10")]))).await;
    let credit = |invoice: &str, line: u32, quantity: &str| {
        new_document(usd, payer, json!([{ "line": { "invoice": invoice, "line": line, "quantity": quantity } }]))
    };
    let free = |lines: Value| new_document(usd, payer, lines);
    let last_day = and(and(one(), "issued_on", "9998-12-31"), "due_in_days", 9);
    let rows = [
        ("no-lines", 422, "/lines", invoices(), invoice(json!([]))),
        ("line-negative", 422, "/lines/1", invoices(), invoice(json!([line("10"), line("-10")]))),
        ("line-out-of-range", 422, "/lines/1", invoices(), invoice(json!([line("10"), line("0.000000001")]))),
        ("discount-out-of-range", 422, "/discount", invoices(), and(one(), "discount", json!({ "percent": "101" }))),
        ("number-missing", 422, "/numbering", invoices(), numbered("")),
        ("number-taken", 409, "/numbering/given", invoices(), numbered("A-7")),
        ("date-out-of-range", 422, "/due_in_days", invoices(), last_day),
        (
            "line-out-of-range",
            422,
            "/lines/1",
            credit_notes(),
            free(json!([{ "free": line("1") }, { "free": line("-1") }])),
        ),
        ("nothing-credited", 422, "/lines", credit_notes(), free(json!([{ "free": line("0") }]))),
        ("over-credit", 422, "/lines", credit_notes(), credit(&mine, 1, "9")),
        ("invoice-line-not-found", 422, "/lines", credit_notes(), credit(&mine, 9, "1")),
        ("invoice-not-found", 422, "/lines", credit_notes(), credit("inv_0", 1, "1")),
        ("foreign-invoice", 422, "/lines", credit_notes(), credit(&foreign, 1, "1")),
    ];
    raised.post(app, rows).await;
    for (invoice, status, code) in [(mine.as_str(), 409, "invoice-final"), ("inv_0", 404, "invoice-not-found")] {
        raised.by(&Answer::to(app.request(Method::DELETE, &format!("/v1/invoices/{invoice}"))).await, (status, code));
    }
}

async fn expenses_and_discounts(app: &TestApp, parties: &Parties, raised: &mut Raised) {
    let usd = &parties.usd;
    let (expenses, discounts) = (|| "/v1/expenses".to_owned(), || "/v1/discounts".to_owned());
    let to = |expense: &str, verb: &str| format!("/v1/expenses/{expense}/{verb}");
    let expense = json!({ "account": usd, "description": "hands", "net": dollars("8"), "reason": "asked" });
    let (standing, reversed) =
        (made(app, "/v1/expenses", expense.clone()).await, made(app, "/v1/expenses", expense.clone()).await);
    let why = || json!({ "reason": "asked" });
    app.done(&to(&reversed, "reverse"), why()).await;
    let total = |amount: &str| json!({ "total": dollars(amount), "reason": "asked" });
    let discount = |value: Value| json!({ "audience": "everyone", "name": "spring", "value": value });
    let ends_before = and(
        and(discount(json!({ "percent": "5" })), "valid_from", "2026-02-01T00:00:00Z"),
        "valid_until",
        "2026-01-01T00:00:00Z",
    );
    let rows = [
        ("quantity-out-of-range", 422, "/quantity", expenses(), and(expense.clone(), "quantity", "0")),
        ("tax-rate-out-of-range", 422, "/tax_rate", expenses(), and(expense.clone(), "tax_rate", "-1")),
        ("amount-not-positive", 422, "/net", expenses(), and(expense, "net", dollars("-1"))),
        ("expense-negative", 422, "/total", to(&standing, "adjust"), total("-1")),
        ("total-unchanged", 409, "/total", to(&standing, "adjust"), total("8")),
        ("expense-not-found", 404, "", to("exp_0", "reverse"), why()),
        ("already-reversed", 409, "", to(&reversed, "reverse"), why()),
        ("not-reversed", 409, "", to(&standing, "reinstate"), why()),
        ("percent-out-of-range", 422, "/value", discounts(), discount(json!({ "percent": "101" }))),
        ("amount-out-of-range", 422, "/value", discounts(), discount(json!({ "amount_off": dollars("0") }))),
        ("validity-empty", 422, "/valid_until", discounts(), ends_before),
        ("discount-not-found", 404, "", "/v1/discounts/dsc_0/revoke".into(), json!({ "audience": "everyone" })),
    ];
    raised.post(app, rows).await;
}

async fn tickets(app: &TestApp, parties: &Parties, raised: &mut Raised) {
    let ticket = json!({ "customer": parties.ada, "category": "technical", "subject": "slow", "message": "why?" });
    let tickets = || "/v1/tickets".to_owned();
    let to = |ticket: &str, verb: &str| format!("/v1/tickets/{ticket}/{verb}");
    let (waiting, archived) =
        (made(app, "/v1/tickets", ticket.clone()).await, made(app, "/v1/tickets", ticket.clone()).await);
    app.done(&to(&waiting, "take-up"), json!({})).await;
    app.done(&to(&archived, "messages"), json!({ "side": "provider", "message": "so" })).await;
    app.done(&to(&archived, "read"), json!({})).await;
    app.done(&to(&archived, "archive"), json!({})).await;
    let theirs = order(app, &parties.theirs, "1").await;
    let rows = [
        ("subject-missing", 422, "/subject", tickets(), and(ticket.clone(), "subject", " ")),
        ("category-missing", 422, "/category", tickets(), and(ticket.clone(), "category", " ")),
        ("message-missing", 422, "/message", tickets(), and(ticket.clone(), "message", " ")),
        ("foreign-subject", 422, "/about", tickets(), and(ticket.clone(), "about", json!({ "order": theirs }))),
        ("service-not-found", 422, "/about/service", tickets(), and(ticket, "about", json!({ "service": "srv_0" }))),
        ("ticket-not-found", 404, "", to("tkt_0", "archive"), json!({})),
        ("ticket-taken-up", 409, "", to(&waiting, "take-up"), json!({})),
        ("nothing-to-read", 409, "", to(&waiting, "read"), json!({})),
        ("answer-due", 409, "", to(&waiting, "archive"), json!({})),
        ("ticket-archived", 409, "", to(&archived, "take-up"), json!({})),
        ("ticket-not-archived", 409, "", to(&waiting, "restore"), json!({})),
    ];
    raised.post(app, rows).await;
}

async fn books(app: &TestApp, raised: &mut Raised) {
    let close = |through: &str| json!({ "through": through, "time_zone": "UTC", "reason": "the month is over" });
    app.done("/v1/books/close", close("2020-12-31")).await;
    let rows = [
        ("period-already-closed", 409, "/through", "/v1/books/close".into(), close("2020-11-30")),
        ("period-not-over", 409, "/through", "/v1/books/close".into(), close("9000-12-31")),
    ];
    raised.post(app, rows).await;
}

/// The ledger makes identifiers from those of the commands: only who sends a command twice finds what it has made.
async fn what_stands_already(app: &TestApp, parties: &Parties, raised: &mut Raised) {
    let account: AccountId = parties.usd.parse().unwrap();
    let customer: CustomerId = parties.ada.parse().unwrap();
    let payer = parties.payer.parse().unwrap();
    let payment: PaymentId = credited(app, &parties.usd, "500").await.parse().unwrap();
    let open = |currency: &str| {
        Operation::OpenAccount(OpenAccount {
            customer: customer.clone(),
            currency: currency.parse().unwrap(),
            name: "other".into(),
            time_zone: "UTC".into(),
        })
    };
    let dispute = |name: &str| {
        Operation::OpenDispute(OpenDispute {
            payment: payment.clone(),
            gateway_dispute: name.into(),
            amount: usd("1"),
            gateway_reason: "stolen".into(),
        })
    };
    let words = || "words".to_owned();
    let (quantity, unit_price, tax_rate) = (Decimal::ONE, Decimal::ONE, Decimal::ZERO);
    let line = DraftLine { item: words(), description: words(), quantity, unit_price, tax_rate };
    let item = ItemRequest { product: words(), description: words(), quantity, unit_price, part: None, tax_rate };
    let address = Address { country: words(), postal_code: words(), city: words(), street: words() };
    let order = Operation::PlaceOrder(PlaceOrder { account: account.clone(), description: words(), items: vec![item] });
    let started = Operation::StartPayment(StartPayment {
        account: account.clone(),
        payer: None,
        method: "card".into(),
        amount: usd("1"),
        purpose: Purpose::Advance,
    });
    let refund = StartRefund { payment: payment.clone(), amount: usd("1"), gateway_refund: None };
    let expense = Operation::RecordExpense(RecordExpense {
        account: account.clone(),
        description: words(),
        quantity,
        net: usd("1"),
        tax_rate,
    });
    let credit_note = Operation::IssueCreditNote(IssueCreditNote {
        account: account.clone(),
        payer,
        numbering: Numbering::SeriesOfTheYear("TWICE"),
        issued_on: None,
        policy: RoundingPolicy::default(),
        lines: vec![CreditRequest::Free(line)],
    });
    let discount = Operation::GrantDiscount(GrantDiscount {
        audience: Audience::Everyone,
        name: words(),
        scope: Scope::All,
        value: discount::Value::Percent(Decimal::ONE),
        priority: 0,
        valid_from: None,
        valid_until: None,
    });
    let payer = Operation::CreatePayer(CreatePayer {
        customer: customer.clone(),
        kind: PayerKind::Company,
        name: words(),
        address,
        tax_number: None,
    });
    let hold = Operation::HoldFunds(HoldFunds { account, amount: usd("1") });
    let refund = Operation::StartRefund(refund);
    let (customer, ticket) = (register("Eve").operation, open_ticket(&customer).operation);
    let twice = [
        ("account-already-open", open("JPY"), open("CHF")),
        ("credit-note-final", credit_note.clone(), credit_note),
        ("customer-exists", customer.clone(), customer),
        ("discount-exists", discount.clone(), discount),
        ("dispute-exists", dispute("dp_a"), dispute("dp_b")),
        ("expense-exists", expense.clone(), expense),
        ("hold-exists", hold.clone(), hold),
        ("order-exists", order.clone(), order),
        ("payer-exists", payer.clone(), payer),
        ("payment-exists", started.clone(), started),
        ("refund-exists", refund.clone(), refund),
        ("ticket-exists", ticket.clone(), ticket),
    ];
    for (code, once, again) in twice {
        let once = command(once);
        let again = Command { operation: again, ..once.clone() };
        app.writer().execute(once).await.unwrap_or_else(|error| panic!("{code}: {error}"));
        raised.refusal(app, again, code).await;
    }
    // The API refuses it before the ledger does.
    raised.refusal(app, register("a\u{0}b"), "text-with-nul").await;
}

/// What the operations never ask of an aggregate.
async fn what_no_operation_asks(raised: &mut Raised) {
    let entry = |number| serde_json::from_value(json!(number)).unwrap();
    let account = event::<Account>(json!({ "opened": {
        "customer": "cus_1", "currency": "USD", "name": "main", "time_zone": "UTC",
    } }));
    let credited = event::<Account>(json!({ "credited": {
        "entry": 1, "origin": "adjustment", "amount": dollars("1"), "balance": dollars("1"), "description": "gift",
    } }));
    let activated = event::<Service>(json!({ "activated": {
        "customer": "cus_1", "account": "acc_1", "order": "ord_1", "product": "vps", "description": "VPS",
    } }));
    let activate = ServiceCommand::Activate {
        customer: "cus_1".parse().unwrap(),
        account: "acc_1".parse().unwrap(),
        order: "ord_1".parse().unwrap(),
        product: "vps".into(),
        description: "VPS".into(),
    };
    let finalised: Value = serde_json::from_str(INVOICE).unwrap();
    let placed: Value = serde_json::from_str(ORDER).unwrap();
    let of_nothing = AccountCommand::Allocate { funds: entry(9), charge: entry(9), amount: usd("1") };
    let to_nothing = AccountCommand::Allocate { funds: entry(1), charge: entry(9), amount: usd("1") };
    let credit_nothing = InvoiceCommand::Credit { credit_note: "crn_1".parse().unwrap(), lines: Vec::new() };
    let stop = OrderCommand::StopAwaiting { payment: "pay_1".parse().unwrap() };
    let take = NumberSeriesCommand::Take { document: String::new() };
    let refusals = [
        refusal::<Account>(vec![account.clone()], of_nothing).await,
        refusal::<Account>(vec![account, credited], to_nothing).await,
        refusal::<Invoice>(vec![event::<Invoice>(finalised)], credit_nothing).await,
        refusal::<Order>(vec![event::<Order>(placed)], stop).await,
        refusal::<NumberSeries>(Vec::new(), take).await,
        refusal::<Service>(vec![activated], activate).await,
    ];
    let codes = refusals.map(|refusal| refusal.code());
    let expected = [
        "unknown-funds",
        "unknown-charge",
        "nothing-to-credit",
        "payment-not-awaited",
        "document-missing",
        "service-active",
    ];
    assert_eq!(codes, expected);
    raised.codes.extend(codes.map(str::to_owned));
}

fn event<A: LedgerAggregate>(payload: Value) -> A::Event {
    serde_json::from_value(payload).unwrap()
}

async fn refusal<A: LedgerAggregate>(given: Vec<A::Event>, command: A::Command) -> Refusal {
    let mut aggregate = A::default();
    given.into_iter().for_each(|event| aggregate.apply(event));
    aggregate.handle(command, &(), &EventSink::default()).await.unwrap_err().into()
}

/// What a layer or a handler says by a status alone.
async fn bare_statuses(raised: &mut Raised) {
    let routes = Router::new()
        .route("/teapot", get(|| async { StatusCode::IM_A_TEAPOT }))
        .route("/busy", get(|| async { StatusCode::TOO_MANY_REQUESTS }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, with_manners(routes, Hosts::default())).await });
    for (path, status, code) in [("teapot", 418, "bad-request"), ("busy", 429, "too-many-requests")] {
        raised.by(&Answer::to(Client::new().get(format!("{url}/{path}"))).await, (status, code));
    }
}

async fn projections(app: &TestApp, raised: &mut Raised) {
    let park = |position: u64| json!({ "position": position, "reason": "a test" });
    let end = app.position().await;
    until(app, &of("tickets", ""), |shown| shown.body["position"] == end).await;
    app.done(&of("payers", "/rebuild"), json!({})).await;
    ended(app, "payers").await;
    let rows = [
        ("projection-not-found", 404, "", of("moods", "/pause"), json!({})),
        ("projection-running", 409, "", of("tickets", "/resume"), json!({})),
        ("build-not-found", 404, "", of("tickets", "/rollback"), json!({})),
        ("other-build", 409, "", of("payers", "/rollback"), json!({ "leaving": 9 })),
        ("event-not-found", 422, "/position", of("tickets", "/park"), park(u64::MAX)),
        ("event-not-followed", 422, "/position", of("tickets", "/park"), park(1)),
        ("event-folded", 409, "/position", of("customers", "/park"), park(1)),
        ("not-parked", 409, "/position", of("tickets", "/unpark"), json!({ "position": 1 })),
        ("keys-missing", 422, "/keys", of("tickets", "/repair"), json!({ "keys": [] })),
    ];
    raised.post(app, rows).await;

    app.done(&of("services", "/pause"), json!({})).await;
    raised.by(&app.post(&of("services", "/pause"), json!({})).await, (409, "projection-not-running"));
    break_the_book(app.database.pool()).await;
    let broken = end + 1;
    app.done("/v1/customers", json!({ "name": "Charles" })).await;
    let unready = until(app, "/readyz", |ready| ailing(ready, "tickets")["state"] == "stopped").await;
    raised.by(&unready, (503, "not-ready"));
    let behind = app.request(Method::GET, "/v1/services").header("min-position", broken).header("prefer", "wait=0");
    raised.by(&Answer::to(behind).await, (503, "projection-behind"));
    raised.by(&app.get("/v1/tickets").await, (503, "projection-stopped"));
    app.done(&of("tickets", "/park"), park(broken)).await;
    let rows = [
        ("stream-parked", 409, "/position", of("tickets", "/park"), park(broken)),
        ("event-not-foldable", 409, "", of("tickets", "/unpark"), json!({ "position": broken })),
    ];
    raised.post(app, rows).await;
}

/// A server that begins nothing in time, then one that stops and loses its store.
async fn a_server_that_stops(raised: &mut Raised) {
    let writer = WriterOptions { deadline: Duration::ZERO, ..WriterOptions::default() };
    let store = database().await.store().await;
    let running = App::start(store.clone(), AppOptions { writer, ..AppOptions::default() }).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/customers", listener.local_addr().unwrap());
    let router = running.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let register = async || Answer::to(Client::new().post(&url).json(&json!({ "name": "Ada" }))).await;
    raised.by(&register().await, (503, "deadline-passed"));
    running.shutdown().await;
    raised.by(&register().await, (503, "shutting-down"));
    store.pool().close().await;
    raised.by(&Answer::to(Client::new().get(&url)).await, (503, "store-unavailable"));
}
