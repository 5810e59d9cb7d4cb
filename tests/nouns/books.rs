//! Closed periods: a statement of one stays as it is to the byte, and what is back-dated into it comes later. And the
//! events behind a figure.

use std::process::Stdio;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    Context, Position, RecordedEvent,
    domain::{Account, AccountEvent, Event, account::FundsOrigin},
    operations::{ClosePeriod, Operation},
    writer::Command,
};
use daybook_projections::{
    BOARD, Chosen, Moment, Reader, Viewer, account::AccountRow, explanation, invoice::InvoiceRow, statement,
};
use daybook_tests::{
    api::{Answer, TestApp},
    commands::{self, usd},
    history::Ledger,
    listed::newest,
    program,
};
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio::process;

use crate::scenarios::world::{Books, World, amount, id, money};

const FORMS: [&str; 4] = ["json", "csv", "html", "text"];

async fn adjust(world: &World, books: &Books, amount: &str, effective_at: &str) -> Value {
    let body = json!({
        "amount": money(amount, "USD"), "description": format!("usage of {effective_at}"), "reason": "a test",
        "effective_at": effective_at,
    });
    world.done(&format!("/v1/accounts/{}/adjustments", books.account), body).await
}

fn close(through: &str, time_zone: &str) -> Value {
    json!({ "through": through, "time_zone": time_zone, "reason": "the month is done" })
}

/// A statement in all forms, byte for byte.
async fn forms(world: &World, books: &Books, days: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for form in FORMS {
        let path = format!("/v1/accounts/{}/statement?{days}&format={form}", books.account);
        let answer = world.app.get(&path).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        forms.push(answer.text);
    }
    forms
}

const MARCH: &str = "from=2026-03-01&to=2026-04-01";
const APRIL: &str = "from=2026-04-01&to=2026-05-01";

#[tokio::test]
async fn the_statement_of_a_closed_month_stays_as_it_is_to_the_byte() {
    let world = World::new().await;
    let books = world.books("USD").await;
    world.post_paid(&books).await;
    adjust(&world, &books, "100.00", "2026-02-10T10:00:00Z").await;
    let invoice = json!({ "issued_on": "2026-03-02", "effective_at": "2026-03-02T09:00:00Z" });
    let invoice = world.invoice_lines(&books, &["30.00"], "0", invoice).await;
    let expense = json!({
        "account": books.account, "description": "remote hands", "net": money("12.00", "USD"), "tax_rate": "0",
        "quantity": "1", "reason": "a test", "effective_at": "2026-03-20T10:00:00Z",
    });
    let expense = id(&world.done("/v1/expenses", expense).await);
    // Lowered in March already: that link belongs to March, the one of April does not.
    let lower = json!({ "total": money("10.00", "USD"), "reason": "a test", "effective_at": "2026-03-25T10:00:00Z" });
    world.done(&format!("/v1/expenses/{expense}/adjust"), lower).await;

    let open = world.read(&format!("/v1/accounts/{}/statement?{MARCH}", books.account)).await;
    assert_eq!((&open["closed"], amount(&open["closing"])), (&json!(false), "60.00".into()));
    let closed = world.app.post("/v1/books/close", close("2026-03-31", "UTC")).await;
    assert_eq!((closed.status, &closed.body["open_from"]), (200, &json!("2026-04-01T00:00:00Z")), "{}", closed.text);
    let closing: Position = closed.header("ledger-position").parse().unwrap();

    let march = forms(&world, &books, MARCH).await;
    let json: Value = serde_json::from_str(&march[0]).unwrap();
    assert_eq!((&json["closed"], &json["position"]), (&json!(true), &json!(closing)));
    assert_eq!((&json["lines"], &json["closing"]), (&open["lines"], &open["closing"]));
    assert_eq!(json["lines"][1]["reversed_by"], 4, "{json:#}");

    // Everything that could change it: entries dated into it, one of its entries reversed, its invoice credited and paid.
    adjust(&world, &books, "-7.00", "2026-03-15T12:00:00Z").await;
    let reason = json!({ "reason": "by mistake", "effective_at": "2026-03-31T23:59:59Z" });
    world.done(&format!("/v1/expenses/{expense}/reverse"), reason).await;
    let line = json!({ "line": { "invoice": id(&invoice), "line": 1, "item": "service", "description": "returned" } });
    let note = json!({
        "account": books.account, "payer": books.payer, "issued_on": "2026-03-30", "lines": [line],
        "effective_at": "2026-03-30T10:00:00Z",
    });
    world.done("/v1/credit-notes", note).await;
    world.deposit(&books, "5.00").await;
    assert_eq!(forms(&world, &books, MARCH).await, march);

    // April has what was dated into March, with both dates, and begins where March ended.
    let april = world.read(&format!("/v1/accounts/{}/statement?{APRIL}", books.account)).await;
    assert_eq!((&april["closed"], &april["opening"]), (&json!(false), &json["closing"]));
    let lines = april["lines"].as_array().unwrap();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (amount(&line["amount"]), &line["occurred_at"], &line["dated_at"], &line["reverses"]))
        .collect();
    let first_of_april = json!("2026-04-01T00:00:00Z");
    assert_eq!(
        told,
        [
            ("-7.00".into(), &first_of_april, &json!("2026-03-15T12:00:00Z"), &Value::Null),
            ("10.00".into(), &first_of_april, &json!("2026-03-31T23:59:59Z"), &json!(3)),
            ("30.00".into(), &first_of_april, &json!("2026-03-30T10:00:00Z"), &Value::Null),
        ]
    );
    assert_eq!(amount(&april["closing"]), "93.00");
    for form in forms(&world, &books, APRIL).await {
        assert!(form.contains("2026-03-15"), "{form}");
    }

    // Both dates stand in the journal and the history, too, and a second closing leaves the first as it is.
    let dated = json!("2026-03-15T12:00:00Z");
    for path in
        [format!("/v1/audit/journal?account={}", books.account), format!("/v1/history?entity={}", books.account)]
    {
        let rows = world.rows(&path).await;
        let both = |row: &Value| row["dated_at"] == dated && row["occurred_at"] == first_of_april;
        assert!(rows.iter().any(both), "{path}: {rows:?}");
    }
    world.done("/v1/books/close", close("2026-04-30", "UTC")).await;
    assert_eq!(forms(&world, &books, MARCH).await, march);
    let april = forms(&world, &books, APRIL).await;
    adjust(&world, &books, "-1.00", "2026-03-15T12:00:00Z").await;
    assert_eq!((forms(&world, &books, MARCH).await, forms(&world, &books, APRIL).await), (march, april));
    let may = world.read(&format!("/v1/accounts/{}/statement?from=2026-05-01&to=2026-06-01", books.account)).await;
    assert_eq!(may["lines"][0]["occurred_at"], "2026-05-01T00:00:00Z");

    // As it was known before the closing, March is what it was then.
    let before =
        world.read(&format!("/v1/accounts/{}/statement?{MARCH}&as_known_at={}", books.account, closing - 1)).await;
    assert_eq!((&before["closed"], &before["position"]), (&json!(false), &json!(closing - 1)));

    let periods = world.rows("/v1/books/periods").await;
    let told: Vec<_> = periods.iter().map(|row| (&row["through"], &row["reason"])).collect();
    let reason = json!("the month is done");
    assert_eq!(told, [(&json!("2026-04-30"), &reason), (&json!("2026-03-31"), &reason)]);
    assert_eq!(periods[1]["position"], closing);
}

#[tokio::test]
async fn a_closing_is_refused_with_the_field_that_is_wrong() {
    let world = World::new().await;
    let path = "/v1/books/close";
    world.done(path, close("2026-03-31", "Europe/Berlin")).await;
    let before = world.app.position().await;
    for (body, status, problem, pointer) in [
        (close("2026-03-31", "Europe/Berlin"), 409, "period-already-closed", "/through"),
        // The same day ends earlier in Tokyo.
        (close("2026-03-31", "Asia/Tokyo"), 409, "period-already-closed", "/through"),
        (close("2999-12-31", "UTC"), 409, "period-not-over", "/through"),
        (close("9998-12-31", "UTC"), 409, "period-not-over", "/through"),
        (close("2026-04-30", "Europe/Atlantis"), 422, "unknown-time-zone", "/time_zone"),
        (json!({ "through": "2026-04-30" }), 422, "missing-field", "/time_zone"),
        (close("2026-02-30", "UTC"), 422, "invalid-value", "/through"),
        (close("2026-4-30", "UTC"), 422, "invalid-value", "/through"),
        (close("9999-12-31", "UTC"), 422, "invalid-value", "/through"),
    ] {
        let problem = world.refused(path, body.clone(), status, problem).await;
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
    assert_eq!(world.app.position().await, before, "a refused closing leaves nothing behind");
    // Los Angeles is nine hours behind: its March is over when Berlin's April has begun.
    world.done(path, close("2026-03-31", "America/Los_Angeles")).await;
}

#[tokio::test]
async fn a_month_that_ends_later_than_the_books_are_closed_is_open() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let open =
        json!({ "customer": books.customer, "currency": "EUR", "name": "west", "time_zone": "America/Los_Angeles" });
    let west = id(&world.done("/v1/accounts", open).await);
    world.done("/v1/books/close", close("2026-03-31", "Europe/Berlin")).await;
    for (days, closed) in [(MARCH, false), ("from=2026-03-01&to=2026-03-31", true)] {
        let statement = world.read(&format!("/v1/accounts/{west}/statement?{days}")).await;
        assert_eq!(statement["closed"], closed, "{days}");
    }
    world.done("/v1/books/close", close("2026-03-31", "America/Los_Angeles")).await;
    assert_eq!(world.read(&format!("/v1/accounts/{west}/statement?{MARCH}")).await["closed"], true);
}

/// That a period is closed may be known earlier than what took effect in it.
#[tokio::test]
async fn a_statement_is_closed_only_once_its_lines_have_come_to_the_closing() {
    let world = World::new().await;
    let books = world.books("USD").await;
    adjust(&world, &books, "100.00", "2026-03-03T10:00:00Z").await;
    let path = format!("/v1/accounts/{}/statement?{MARCH}", books.account);
    assert_eq!(amount(&world.read(&path).await["closing"]), "100.00");
    let before = world.app.position().await;
    world.done("/v1/ops/projections/account_statement/pause", json!({})).await;
    adjust(&world, &books, "-30.00", "2026-03-05T10:00:00Z").await;
    let closed = world.app.post("/v1/books/close", close("2026-03-31", "UTC")).await;
    let closing: Position = closed.header("ledger-position").parse().unwrap();
    // Once the closing itself is known.
    world.rows("/v1/books/periods").await;

    let at_once = world.app.request(Method::GET, &path).header("min-position", "0").header("prefer", "wait=0");
    let behind = Answer::to(at_once).await;
    let problem = behind.refused(503, "projection-behind");
    assert_eq!((&problem["projection"], &problem["wanted"]), (&json!("account_statement"), &json!(closing)));
    // As it was known before the closing it is open, and told.
    let known = world.app.get_at_once(&format!("{path}&as_known_at={before}")).await;
    assert_eq!((&known.body["closed"], amount(&known.body["closing"])), (&json!(false), "100.00".into()));

    world.done("/v1/ops/projections/account_statement/resume", json!({})).await;
    let statement = world.app.get_at_once(&path).await.body;
    assert_eq!((&statement["closed"], &statement["position"]), (&json!(true), &json!(closing)));
    assert_eq!((amount(&statement["closing"]), statement["lines"].as_array().unwrap().len()), ("70.00".into(), 2));
}

/// Whoever is decided after the closing sees it, be it in another process that has the books in memory from before.
#[tokio::test]
async fn no_entry_slips_into_a_period_while_it_is_closed() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let account = books.account.parse().unwrap();
    let in_march: DateTime<Utc> = "2026-03-15T12:00:00Z".parse().unwrap();
    let entry = || {
        let Command { context, .. } = commands::adjust(&account, usd("1.00"));
        let context = Context { occurred_at: in_march, ..context };
        Command { context, ..commands::adjust(&account, usd("1.00")) }
    };
    let ours = world.app.writer();
    let (other, running) = world.app.database.writer().await;
    other.execute(entry()).await.unwrap();

    let (mut entries, mut closing) = (Vec::new(), None);
    for number in 0..200 {
        let writer = if number % 2 == 0 { ours } else { &other };
        entries.push(writer.submit(entry()));
        if number == 100 {
            let close = ClosePeriod { through: "2026-03-31".parse().unwrap(), time_zone: "UTC".into() };
            closing = Some(ours.submit(commands::command(Operation::ClosePeriod(close))));
        }
    }
    let (entries, closing) = tokio::join!(futures::future::join_all(entries), closing.unwrap());
    assert!(entries.iter().all(Result::is_ok));
    let closing = closing.unwrap().position;
    for writer in [ours, &other] {
        writer.execute(entry()).await.unwrap();
    }

    let statement = world.read(&format!("/v1/accounts/{}/statement", books.account)).await;
    let lines = statement["lines"].as_array().unwrap();
    let late = lines.iter().filter(|line| line["position"].as_u64().unwrap() > closing);
    assert!(late.clone().count() > 50 && lines.len() == 203, "{} of {}", late.count(), lines.len());
    for line in lines {
        let (occurred_at, dated_at) = (&line["occurred_at"], &line["dated_at"]);
        let expected = if line["position"].as_u64().unwrap() > closing {
            (json!("2026-04-01T00:00:00Z"), json!(in_march))
        } else {
            (json!(in_march), Value::Null)
        };
        assert_eq!((occurred_at, dated_at), (&expected.0, &expected.1), "{line}");
    }
    running.shutdown().await;
}

/// A program that knows nothing of closed periods can write into one. The closed statement stays; `daybook verify` tells.
#[tokio::test]
async fn what_another_program_dates_into_a_closed_period_is_found() {
    let world = World::new().await;
    let books = world.books("USD").await;
    adjust(&world, &books, "10.00", "2026-03-10T10:00:00Z").await;
    world.done("/v1/books/close", close("2026-03-31", "UTC")).await;
    let march = forms(&world, &books, MARCH).await;
    let sound = verified(&world).await;
    assert_eq!(sound["sound"], true, "{sound:#}");

    let event = Event::Account(AccountEvent::Credited {
        entry: 2,
        origin: FundsOrigin::Adjustment,
        amount: usd("5.00"),
        balance: usd("15.00"),
        description: "by another program".into(),
        revenue: None,
        reverses: None,
    });
    let store = world.app.database.store().await;
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         select $1, $2, max(sequence) + 1, $3, $4, $5::json, '{\"occurred_at\":\"2026-03-12T00:00:00Z\"}'
         from events where aggregate_type = $1 and aggregate_id = $2",
    )
    .bind(Account::TYPE)
    .bind(&books.account)
    .bind(event.event_type())
    .bind(event.event_version())
    .bind(event.payload())
    .execute(store.pool())
    .await
    .unwrap();
    assert_eq!(forms(&world, &books, MARCH).await, march);
    let found = verified(&world).await;
    assert_eq!(found["sound"], false);
    let check = found["checks"].as_array().unwrap().iter().find(|check| check["sound"] == false).unwrap();
    assert_eq!(check["name"], "nothing takes effect in a closed period");
    assert_eq!(check["first_bad_position"], world.app.position().await);
}

async fn verified(world: &World) -> Value {
    // Once everything is projected: `verify` compares what it finds.
    for path in ["/v1/accounts", "/v1/audit/journal", "/v1/history?entity=x", "/v1/books/periods", "/v1/customers"] {
        world.read(path).await;
    }
    let output = process::Command::new(program("daybook"))
        .envs(daybook_tests::master_key_env())
        .args(["--database-url", world.app.database.url(), "verify", "--json"])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The law of every explanation: folded from nothing, page by page, its last figure is the balance, at every position.
#[tokio::test]
async fn the_events_behind_a_balance_come_to_the_balance() {
    let ledger = Ledger::varied_and_projected().await;
    let projector = ledger.projector(true).await;
    let reader = Reader::new(&ledger.store, BOARD, Some(&projector));
    let mut rows =
        reader.snapshot(&Viewer::Provider, &["account_statement", "accounts", "invoices"], None).await.unwrap();
    let upcasters = ledger.store.upcasters();

    let (everybody, all) = (Viewer::Provider, Chosen::default());
    let accounts: Vec<AccountRow> = newest(&mut rows, &everybody, &all, 10).await;
    assert_eq!(accounts.len(), 2);
    for account in accounts {
        let moments = [None, Some(account.opened_at), Some("2023-12-20T00:00:00Z".parse().unwrap())];
        let known = (0..=ledger.last).step_by(7).map(Some).chain([None]);
        for known_at in known {
            for as_of in moments {
                let moment = Moment { as_of, known_at };
                let (mut after, mut balance) = (None, Decimal::ZERO);
                loop {
                    let page =
                        explanation::of_balance(&mut rows, upcasters, &account.id, &moment, after, 5).await.unwrap();
                    let Some(last) = page.last() else { break };
                    for step in &page {
                        assert_eq!(step.before, balance);
                        balance = step.after;
                        assert!(step.event.event.rule().is_some() && !step.event.event.postings().is_empty());
                        let same = |other: &RecordedEvent| {
                            other.metadata.command_id == step.event.metadata.command_id
                                && other.position != step.event.position
                        };
                        assert!(step.together.iter().all(same));
                    }
                    after = Some(last.number);
                }
                let told =
                    statement::balance(&mut rows, &account.id, moment.before(), moment.position()).await.unwrap();
                assert_eq!(balance, told, "{} {moment:?}", account.id);
            }
        }
    }

    let invoices: Vec<InvoiceRow> = newest(&mut rows, &everybody, &all, 10).await;
    assert!(!invoices.is_empty());
    for invoice in invoices {
        let steps = explanation::of_due(&mut rows, upcasters, &invoice.id, &Moment::default(), 0, 100).await.unwrap();
        assert!(steps.len() > 1 && steps.iter().all(|step| step.event.event.rule().is_some()));
        assert!(steps.windows(2).all(|two| two[0].after == two[1].before));
        assert_eq!(steps.last().unwrap().after, invoice.due);
        let rest = explanation::of_due(&mut rows, upcasters, &invoice.id, &Moment::default(), 1, 100).await.unwrap();
        assert_eq!(rest, steps[1..]);
    }
}

#[tokio::test]
async fn a_balance_and_an_amount_due_are_explained_over_http_and_on_the_command_line() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let invoice = world.invoice(&books, "30.00").await;
    let by_anna = world.app.request(Method::POST, &format!("/v1/accounts/{}/adjustments", books.account));
    let body = json!({ "amount": money("40.00", "USD"), "description": "welcome", "reason": "asked by telephone" });
    let by_anna = by_anna.header("daybook-actor", "staff:anna").header("daybook-on-behalf-of", "customer:ada");
    let done = Answer::to(by_anna.header("idempotency-key", "1").json(&body)).await;
    assert_eq!(done.status, 201, "{}", done.text);

    let path = format!("/v1/accounts/{}/balance/explanation", books.account);
    let first = world.read(&format!("{path}?limit=1")).await;
    let charged = &first["data"][0];
    assert_eq!(
        (amount(&charged["before"]), amount(&charged["amount"]), amount(&charged["after"])),
        ("0.00".into(), "-30.00".into(), "-30.00".into())
    );
    assert_eq!(charged["rule"]["name"], "invoice-charged");
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = world.read(&format!("{path}?limit=1&cursor={cursor}")).await;
    assert_eq!(second["has_more"], false);
    let credited = &second["data"][0];
    assert_eq!((&credited["before"], amount(&credited["after"])), (&charged["after"], "10.00".into()));
    assert_eq!(credited["after"], world.read(&format!("/v1/accounts/{}/balance", books.account)).await["balance"]);
    let told = ["actor", "on_behalf_of", "reason", "event_type"].map(|member| credited[member].as_str().unwrap());
    assert_eq!(told, ["staff:anna", "customer:ada", "asked by telephone", "account.credited"]);
    assert_eq!(credited["rule"]["name"], "adjustment-credited");
    let legs: Vec<_> =
        credited["postings"].as_array().unwrap().iter().map(|leg| (&leg["ledger_account"], &leg["amount"])).collect();
    assert_eq!(legs, [(&json!("adjustments"), &json!("40")), (&json!("customer_wallets"), &json!("-40"))]);
    // The same command paid the invoice.
    let together: Vec<_> = credited["together"].as_array().unwrap().iter().map(|event| &event["event_type"]).collect();
    assert_eq!(together, [&json!("account.allocated"), &json!("invoice.paid")]);
    let event = world.read(credited["event"].as_str().unwrap()).await;
    assert_eq!(event["data"][0]["position"], credited["position"]);
    let metadata = &event["data"][0]["metadata"];
    for member in ["command_id", "correlation_id"] {
        assert!(credited[member].is_string() && metadata[member] == credited[member], "{metadata}");
    }

    // As it was known before Anna came, the invoice alone explains it.
    let at = credited["position"].as_u64().unwrap() - 1;
    let known = world.rows(&format!("{path}?as_known_at={at}")).await;
    assert_eq!((known.len(), amount(&known[0]["after"])), (1, "-30.00".into()));
    world.app.get("/v1/accounts/acc_nobody/balance/explanation").await.refused(404, "account-not-found");

    let due = world.rows(&format!("/v1/invoices/{}/due/explanation", id(&invoice))).await;
    let told: Vec<_> =
        due.iter().map(|step| (step["rule"]["name"].as_str().unwrap(), amount(&step["after"]))).collect();
    assert_eq!(told, [("invoice-final", "30.00".into()), ("invoice-paid", "0.00".into())]);
    world.app.get("/v1/invoices/inv_none/due/explanation").await.refused(404, "invoice-not-found");

    for (at, last) in [(None, "balance 10.00 USD"), (Some(at.to_string()), "balance -30.00 USD")] {
        let mut command = process::Command::new(program("daybook"));
        command
            .envs(daybook_tests::master_key_env())
            .args(["--database-url", world.app.database.url(), "why", &books.account])
            .stdin(Stdio::null());
        if let Some(at) = &at {
            command.args(["--at", at]);
        }
        let output = command.output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.trim_end().ends_with(last), "{text}");
        assert!(text.contains("invoice-charged"), "{text}");
        assert_eq!(
            text.contains("by staff:anna on behalf of customer:ada: asked by telephone"),
            at.is_none(),
            "{text}"
        );
    }
}

/// Whoever asks may call several requests by the same id; what happened together is for the ledger to say.
#[tokio::test]
async fn an_explanation_shows_nothing_of_another_command() {
    let world = World::new().await;
    let (ada, bea) = (world.books("USD").await, world.books("USD").await);
    for books in [&ada, &bea, &ada] {
        let request = world.app.request(Method::POST, &format!("/v1/accounts/{}/adjustments", books.account));
        let body = json!({ "amount": money("5.00", "USD"), "description": "a gift", "reason": "a test" });
        let request = request.header("x-request-id", "0193a5b0-7c1e-7000-8000-000000000001");
        let key = world.app.position().await.to_string();
        let done = Answer::to(request.header("idempotency-key", key).json(&body)).await;
        assert_eq!(done.status, 201, "{}", done.text);
    }
    let steps = world.rows(&format!("/v1/accounts/{}/balance/explanation", ada.account)).await;
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[0]["correlation_id"], steps[1]["correlation_id"]);
    assert_ne!(steps[0]["command_id"], steps[1]["command_id"]);
    for step in &steps {
        assert_eq!(step["together"], json!([]), "{step}");
    }
    let output = process::Command::new(program("daybook"))
        .envs(daybook_tests::master_key_env())
        .args(["--database-url", world.app.database.url(), "why", &ada.account])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("balance 10.00 USD") && !text.contains(&bea.account), "{text}");
}

#[tokio::test]
async fn before_an_account_was_opened_nothing_explains_it() {
    let world = World::new().await;
    world.books("USD").await;
    let before = world.app.position().await;
    let later = world.books("USD").await;
    world.read("/v1/accounts").await;
    let path = format!("/v1/accounts/{}/balance/explanation?as_known_at={before}", later.account);
    world.app.get(&path).await.refused(404, "account-not-found");
    let output = process::Command::new(program("daybook"))
        .envs(daybook_tests::master_key_env())
        .args(["--database-url", world.app.database.url(), "why", &later.account, "--at", &before.to_string()])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains("there is no account"), "{told}");
}

#[tokio::test]
async fn the_trial_balance_leads_to_the_journal_and_the_journal_to_the_event() {
    let world = World::new().await;
    let books = world.books("USD").await;
    world.invoice(&books, "30.00").await;
    world.deposit(&books, "12.00").await;
    let euros =
        Books { account: world.account(&books.customer, "EUR").await, currency: "EUR", ..world.books("USD").await };
    world.deposit(&euros, "5.00").await;

    let trial = world.read("/v1/audit/trial-balance").await;
    let totals: Vec<_> = trial["totals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|total| ["currency", "debit", "credit", "balance"].map(|member| total[member].as_str().unwrap()))
        .collect();
    assert_eq!(totals, [["EUR", "5", "5", "0"], ["USD", "42", "42", "0"]]);
    assert_eq!(trial["balanced"], true);
    // What comes later does not come between a figure and its lines.
    world.deposit(&books, "1.00").await;
    for line in trial["data"].as_array().unwrap() {
        let lines = world.rows(line["journal"].as_str().unwrap()).await;
        let sum: Decimal = lines.iter().map(|leg| leg["amount"].as_str().unwrap().parse::<Decimal>().unwrap()).sum();
        assert_eq!(sum.normalize().to_string(), line["balance"], "{line}");
        for leg in lines {
            let event = world.read(leg["event"].as_str().unwrap()).await;
            assert_eq!(event["data"][0]["position"], leg["position"]);
            assert_eq!(event["data"][0]["event_type"], leg["event_type"]);
        }
    }
    let dollars = world.read("/v1/audit/trial-balance?currency=USD").await;
    assert!(dollars["data"].as_array().unwrap().iter().all(|line| line["currency"] == "USD"));
    assert_eq!(dollars["totals"].as_array().unwrap().len(), 1);
    assert_eq!(amount(&world.read(&format!("/v1/accounts/{}/balance", books.account)).await["balance"]), "-17.00");
    world.app.get("/v1/audit/trial-balance?currency=XYZ").await.refused(400, "malformed-parameter");
}

/// The writer reads the closing from the book, not from what this process happened to do.
#[tokio::test]
async fn a_closing_outlives_the_process_that_made_it() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let close = ClosePeriod { through: "2026-03-31".parse().unwrap(), time_zone: "UTC".into() };
    world.app.writer().execute(commands::command(Operation::ClosePeriod(close))).await.unwrap();
    let world = World { app: TestApp::on(world.app.stop().await).await };
    adjust(&world, &books, "1.00", "2026-01-15T12:00:00Z").await;
    let statement = world.read(&format!("/v1/accounts/{}/statement", books.account)).await;
    assert_eq!(statement["lines"][0]["occurred_at"], "2026-04-01T00:00:00Z");
}
