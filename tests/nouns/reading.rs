//! Listings and single resources over HTTP: every column, page by page, and as fresh as was asked for.

use std::collections::BTreeSet;

use daybook_core::domain::{
    Ticket,
    ticket::{TicketAction, TicketCommand},
};
use daybook_tests::{
    api::{Answer, TestApp},
    commands,
};
use futures::future::join_all;
use postgres_es::postgres_cqrs;
use reqwest::Method;
use serde_json::{Value, json};

fn dollars(amount: &str) -> Value {
    json!({ "amount": amount, "currency": "USD" })
}

fn id(made: &Value) -> &str {
    made["id"].as_str().unwrap()
}

/// A customer with a payer and an account in dollars.
struct Someone {
    customer: String,
    payer: String,
    account: String,
}

async fn someone(app: &TestApp, time_zone: &str) -> Someone {
    let customer = app.done("/v1/customers", json!({ "name": "Ada Lovelace", "email": "ada@example.com" })).await;
    let address = json!({ "country": "GB", "postal_code": "SW1", "city": "London", "street": "St James's Square 12" });
    let payer = json!({
        "customer": customer["id"], "kind": "company", "name": "Analytical Engines", "address": address,
        "tax_number": "GB1815",
    });
    let payer = app.done("/v1/payers", payer).await;
    let account = json!({
        "customer": customer["id"], "currency": "USD", "name": "Main account", "time_zone": time_zone,
    });
    let account = app.done("/v1/accounts", account).await;
    Someone { customer: id(&customer).into(), payer: id(&payer).into(), account: id(&account).into() }
}

async fn adjust(app: &TestApp, account: &str, amount: &str, at: &str, description: &str) {
    let body = json!({
        "amount": dollars(amount), "description": description, "effective_at": at, "reason": "a test wants it",
    });
    app.done(&format!("/v1/accounts/{account}/adjustments"), body).await;
}

#[tokio::test]
async fn every_resource_is_shown_as_it_was_made() {
    let app = TestApp::start().await;
    let Someone { customer, payer, account } = someone(&app, "Europe/Berlin").await;
    app.done(&format!("/v1/customers/{customer}/groups"), json!({ "group": "resellers" })).await;
    let discount = json!({
        "audience": { "group": "resellers" }, "name": "Partners", "value": { "percent": "10" },
        "scope": { "product": "vps" }, "priority": 3,
    });
    let discount = app.done("/v1/discounts", discount).await;
    let items = json!([{ "product": "vps", "unit_price": "20.00", "tax_rate": "19" }]);
    let order = json!({ "account": account, "description": "A server", "items": items });
    let order = app.done("/v1/orders", order).await;
    let payment = json!({
        "account": account, "payer": payer, "method": "card", "amount": dollars("21.42"),
        "purpose": { "order": order["id"] },
    });
    let payment = app.done("/v1/payments", payment).await;
    let credit = json!({ "document_number": "B-7" });
    app.done(&format!("/v1/payments/{}/credit", id(&payment)), credit).await;
    let lines =
        json!([{ "item": "A1", "description": "Setup", "quantity": "2", "unit_price": "5.005", "tax_rate": "10" }]);
    let invoice =
        json!({ "account": account, "payer": payer, "issued_on": "2026-03-04", "due_in_days": 14, "lines": lines });
    let invoice = app.done("/v1/invoices", invoice).await;
    let line = json!({ "line": { "invoice": invoice["id"], "line": 1, "quantity": "1", "description": "Half" } });
    let note = json!({ "account": account, "payer": payer, "issued_on": "2026-03-05", "lines": [line] });
    let note = app.done("/v1/credit-notes", note).await;
    let ticket = json!({
        "customer": customer, "category": "technical", "subject": "Slow", "message": "Why?",
        "about": { "order": order["id"] },
    });
    let ticket = app.done("/v1/tickets", ticket).await;
    let answer = json!({ "side": "provider", "message": "Because." });
    app.done(&format!("/v1/tickets/{}/messages", id(&ticket)), answer).await;

    let show = async |path: String| {
        let answer = app.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert!(answer.header("ledger-position").parse::<u64>().is_ok(), "{path} tells its position");
        assert!(answer.header("projection-version").contains('/'), "{path} tells its version");
        answer.body
    };
    let shown = show(format!("/v1/customers/{customer}")).await;
    assert_eq!((&shown["name"], &shown["groups"]), (&json!("Ada Lovelace"), &json!(["resellers"])));
    let shown = show(format!("/v1/payers/{payer}")).await;
    assert_eq!((&shown["address"]["city"], &shown["tax_number"]), (&json!("London"), &json!("GB1815")));
    let shown = show(format!("/v1/accounts/{account}")).await;
    assert_eq!((&shown["time_zone"], &shown["balance"]), (&json!("Europe/Berlin"), &dollars("-5.50")));
    assert_eq!((&shown["available"], &shown["held"]), (&dollars("-5.50"), &dollars("0.00")));
    let shown = show(format!("/v1/accounts/{account}/balance")).await;
    assert_eq!(shown["balance"], dollars("-5.50"));

    let shown = show(format!("/v1/orders/{}", id(&order))).await;
    assert_eq!((&shown["status"], &shown["payment"]), (&json!("processed"), &payment["id"]));
    assert_eq!((&shown["total"], &shown["saving"]), (&dollars("21.42"), &dollars("2.00")));
    let item = &shown["items"][0];
    assert_eq!((&item["list"], &item["net"], &item["tax"]), (&dollars("20.00"), &dollars("18.00"), &dollars("3.42")));
    assert_eq!((&item["discount"], &item["tax_rate"]), (&discount["id"], &json!("19")));
    let expense = show(format!("/v1/expenses/{}", item["expense"].as_str().unwrap())).await;
    assert_eq!((&expense["order"], &expense["covered"]), (&order["id"], &dollars("21.42")));
    assert_eq!(expense["coverage"][0]["origin"], json!({ "payment": payment["id"] }));
    let service = show(format!("/v1/services/{}", item["service"].as_str().unwrap())).await;
    assert_eq!((&service["product"], &service["order"]), (&json!("vps"), &order["id"]));

    let shown = show(format!("/v1/payments/{}", id(&payment))).await;
    assert_eq!((&shown["status"], &shown["document_number"]), (&json!("credited"), &json!("B-7")));
    assert_eq!((&shown["allocated"], &shown["free"]), (&dollars("21.42"), &dollars("0.00")));
    assert_eq!(shown["purpose"], json!({ "order": order["id"] }), "as it was posted");
    let shown = show(format!("/v1/payments/{}/allocations", id(&payment))).await;
    assert_eq!(shown["data"][0]["target"], json!({ "expense": item["expense"] }));
    let lines = show(format!("/v1/accounts/{account}/statement")).await["lines"].take();
    assert_eq!(lines[0]["origin"], json!({ "payment": payment["id"] }));
    assert_eq!(lines[2]["origin"], json!({ "invoice": invoice["id"] }));

    let shown = show(format!("/v1/invoices/{}", id(&invoice))).await;
    assert_eq!((&shown["number"], &shown["due_on"]), (&json!("INV-2026-000001"), &json!("2026-03-18")));
    assert_eq!((&shown["net"], &shown["tax"], &shown["total"]), (&json!("10.01"), &dollars("1.00"), &dollars("11.01")));
    assert_eq!((&shown["credited"], &shown["due"]), (&dollars("5.51"), &dollars("5.50")));
    assert_eq!(shown["payer"]["name"], "Analytical Engines");
    assert_eq!(
        (&shown["lines"][0]["unit_price"], &shown["lines"][0]["credited_quantity"]),
        (&json!("5.005"), &json!("1"))
    );
    let shown = show(format!("/v1/credit-notes/{}", id(&note))).await;
    assert_eq!((&shown["number"], &shown["total"]), (&json!("CRN-2026-000001"), &dollars("5.51")));
    assert_eq!(shown["lines"][0]["invoice"], invoice["id"]);

    let shown = show(format!("/v1/discounts/{}", id(&discount))).await;
    assert_eq!((&shown["audience"], &shown["value"]), (&json!({ "group": "resellers" }), &json!({ "percent": "10" })));
    assert_eq!((&shown["scope"], &shown["priority"]), (&json!({ "product": "vps" }), &json!(3)));
    let shown = show(format!("/v1/customers/{customer}/discounts")).await;
    assert_eq!(shown["data"][0]["id"], discount["id"]);
    let shown = show(format!("/v1/tickets/{}", id(&ticket))).await;
    assert_eq!((&shown["status"], &shown["message_count"]), (&json!("answered"), &json!(2)));
    assert_eq!(shown["about"], json!({ "order": order["id"] }), "as it was posted");
    assert_eq!(
        (&shown["messages"][1]["side"], &shown["messages"][1]["message"]),
        (&json!("provider"), &json!("Because."))
    );

    let listings = [
        ("customers".into(), &customer),
        (format!("payers?customer={customer}"), &payer),
        (format!("accounts?customer={customer}&currency=USD"), &account),
        (format!("orders?account={account}&status=processed"), &id(&order).to_owned()),
        (format!("payments?account={account}&status=credited"), &id(&payment).to_owned()),
        (format!("invoices?number={}", invoice["number"].as_str().unwrap()), &id(&invoice).to_owned()),
        (format!("credit-notes?invoice={}", id(&invoice)), &id(&note).to_owned()),
        (format!("expenses?order={}", id(&order)), &id(&expense).to_owned()),
        (format!("services?order={}", id(&order)), &id(&service).to_owned()),
        ("discounts?audience=group&audience_id=resellers".into(), &id(&discount).to_owned()),
        (format!("tickets?customer={customer}&archived=false"), &id(&ticket).to_owned()),
        (format!("tickets?about={}", id(&order)), &id(&ticket).to_owned()),
        (format!("payments?purpose={}", id(&order)), &id(&payment).to_owned()),
    ];
    for (listing, expected) in listings {
        let page = show(format!("/v1/{listing}")).await;
        let ids: Vec<&str> = page["data"].as_array().unwrap().iter().map(id).collect();
        assert_eq!((ids, &page["has_more"]), (vec![expected.as_str()], &json!(false)), "{listing}");
    }
    let history = show(format!("/v1/history?entity={}", id(&invoice))).await;
    let mut events = history["data"].as_array().unwrap().iter();
    assert!(events.any(|event| event["event_type"] == "invoice.finalised"), "{history}");
    let books = show("/v1/audit/trial-balance".into()).await;
    assert_eq!(books["balanced"], true);
    let journal = show(format!("/v1/audit/journal?account={account}&limit=2")).await;
    assert_eq!((journal["data"].as_array().unwrap().len(), &journal["has_more"]), (2, &json!(true)));
}

#[tokio::test]
async fn the_book_is_read_event_by_event() {
    let app = TestApp::start().await;
    someone(&app, "UTC").await;
    let events = app.get("/v1/audit/events?after=1&limit=2").await;
    let positions: Vec<&Value> =
        events.body["data"].as_array().unwrap().iter().map(|event| &event["position"]).collect();
    assert_eq!((positions, &events.body["next_after"]), (vec![&json!(2), &json!(3)], &json!(3)));
    assert_eq!(events.body["data"][0]["event_type"], "payer.created");
    let projections = app.get("/v1/ops/projections").await;
    assert!(projections.body["data"].as_array().unwrap().iter().all(|projection| projection["state"] == "running"));
    assert_eq!(Answer::to(app.request(Method::GET, "/livez")).await.status, 200);
}

#[tokio::test]
async fn s68_cursor() {
    const ORIGINALS: usize = 10_000;
    let app = TestApp::start().await;
    let register = async |name: String| app.writer().execute(commands::register(&name)).await.unwrap();
    for chunk in (0..ORIGINALS).collect::<Vec<_>>().chunks(2_000) {
        join_all(chunk.iter().map(|number| register(format!("Customer {number}")))).await;
    }
    let mut seen = BTreeSet::new();
    let mut path = "/v1/customers?limit=200".to_owned();
    let mut pages = 0;
    loop {
        let page = app.get(&path).await;
        for row in page.body["data"].as_array().unwrap() {
            assert!(seen.insert(row["name"].as_str().unwrap().to_owned()), "{row} comes twice");
        }
        pages += 1;
        // The list grows while it is walked.
        join_all((0..50).map(|number| register(format!("Newcomer {pages}/{number}")))).await;
        let Some(cursor) = page.body["next_cursor"].as_str() else { break };
        assert!(page.header("link").contains(&format!("cursor={cursor}>; rel=\"next\"")), "{}", page.header("link"));
        path = format!("/v1/customers?limit=200&cursor={cursor}");
    }
    let originals = seen.iter().filter(|name| name.starts_with("Customer")).count();
    assert_eq!((originals, seen.len(), pages), (ORIGINALS, ORIGINALS, ORIGINALS / 200));

    let first = app.get("/v1/customers?limit=4").await;
    let cursor = first.body["next_cursor"].as_str().unwrap();
    let tampered = format!("{}{}", if cursor.starts_with('f') { 'e' } else { 'f' }, &cursor[1..]);
    app.get(&format!("/v1/customers?cursor={tampered}")).await.refused(400, "invalid-cursor");
    app.get(&format!("/v1/customers?group=vip&cursor={cursor}")).await.refused(400, "invalid-cursor");
    app.get("/v1/customers?limit=201").await.refused(400, "malformed-parameter");
    let misspelt = app.get("/v1/customers?grop=vip").await;
    let allowed = json!(["group", "email", "name", "sort", "fields", "cursor", "limit", "as_of", "as_known_at"]);
    assert_eq!(misspelt.refused(400, "unknown-parameter")["allowed"], allowed);
    app.get("/v1/orders?status=opne").await.refused(400, "malformed-parameter");
}

#[tokio::test]
async fn s69_read_your_write() {
    let app = TestApp::start().await;
    let Someone { account, .. } = someone(&app, "UTC").await;
    let body = json!({ "account": account, "method": "card", "amount": dollars("10.00") });
    let payment = app.done("/v1/payments", body).await;
    let credited = app.post(&format!("/v1/payments/{}/credit", id(&payment)), json!({})).await;
    let position: u64 = credited.header("ledger-position").parse().unwrap();
    let read = |position: u64, wait: u64| {
        app.request(Method::GET, &format!("/v1/accounts/{account}/balance"))
            .header("min-position", position)
            .header("prefer", format!("wait={wait}"))
    };
    let balance = Answer::to(read(position, 30)).await;
    assert_eq!(balance.body["balance"], dollars("10.00"));
    assert!(balance.header("ledger-position").parse::<u64>().unwrap() >= position);

    let ahead = Answer::to(read(position + 5, 0)).await;
    assert_eq!(ahead.refused(400, "malformed-header")["position"], position);
    let malformed = app.request(Method::GET, "/v1/accounts").header("min-position", "soon");
    Answer::to(malformed).await.refused(400, "malformed-header");
}

#[tokio::test]
async fn s3_statement_continuity() {
    let app = TestApp::start().await;
    let Someone { account, .. } = someone(&app, "America/Los_Angeles").await;
    adjust(&app, &account, "100.00", "2026-01-31T12:00:00Z", "=SUM(A1)").await;
    // Half an hour before April begins in Los Angeles.
    adjust(&app, &account, "-12.34", "2026-04-01T06:30:00Z", "an expense, \"quoted\"").await;
    adjust(&app, &account, "-5.00", "2026-02-10T00:00:00Z", "told later than it happened").await;
    let mut opening = dollars("0.00");
    for (from, to, lines) in [
        ("2026-01-01", "2026-02-01", 1),
        ("2026-02-01", "2026-03-01", 1),
        ("2026-03-01", "2026-04-01", 1),
        ("2026-04-01", "2026-05-01", 0),
    ] {
        let path = format!("/v1/accounts/{account}/statement?from={from}&to={to}");
        let statement = app.get(&path).await.body;
        assert_eq!((&statement["opening"], statement["lines"].as_array().unwrap().len()), (&opening, lines), "{from}");
        let last = statement["lines"].as_array().unwrap().last().map_or(&opening, |line| &line["balance"]);
        assert_eq!(last, &statement["closing"]);
        let csv = app.get(&format!("{path}&format=csv")).await;
        assert!(csv.header("content-type").starts_with("text/csv"));
        let rows: Vec<&str> = csv.text.split("\r\n").collect();
        assert_eq!(rows.len(), lines + 4, "{}", csv.text);
        let amount = |money: &Value| money["amount"].as_str().unwrap().to_owned();
        assert_eq!(rows[1], format!("opening,,,{from},,,,,,,{},USD,,,", amount(&opening)));
        assert!(rows[lines + 2].ends_with(&format!(",{},USD,,,", amount(&statement["closing"]))), "{}", csv.text);
        opening = statement["closing"].clone();
    }
    assert_eq!(opening, dollars("82.66"));
    let csv =
        Answer::to(app.request(Method::GET, &format!("/v1/accounts/{account}/statement")).header("accept", "text/csv"));
    let csv = csv.await.text;
    assert!(csv.contains(",\"'=SUM(A1)\",100.00,100.00,USD,"), "{csv}");
    assert!(csv.contains(",\"an expense, \"\"quoted\"\"\",-12.34,82.66,USD,"), "{csv}");
    let nobody = app.get("/v1/accounts/acc_1/statement").await;
    nobody.refused(404, "account-not-found");
}

#[tokio::test]
async fn what_a_stock_postgres_es_appends_is_read_like_everything_else() {
    let app = TestApp::start().await;
    let customer = app.done("/v1/customers", json!({ "name": "Ada Lovelace" })).await;
    let open =
        json!({ "customer": customer["id"], "category": "support", "subject": "slow", "message": "It is slow." });
    let ticket = app.done("/v1/tickets", open).await["id"].as_str().unwrap().to_owned();
    let before = app.position().await;

    let stock = postgres_cqrs::<Ticket>(app.database.store().await.pool().clone(), Vec::new(), ());
    stock.execute(&ticket, TicketCommand::Act(TicketAction::Answer { message: "Mended.".into() })).await.unwrap();
    assert_eq!(app.position().await, before + 1);

    let shown = app.get(&format!("/v1/tickets/{ticket}")).await;
    assert_eq!(shown.body["status"], "answered", "{}", shown.text);
    assert_eq!(shown.body["messages"][1]["message"], "Mended.");
    // The history names the same event at its position, and the writer goes on from there.
    let history = app.get(&format!("/v1/history?entity={ticket}")).await;
    assert_eq!(history.body["data"][0]["position"], before + 1, "{}", history.text);
    app.done(&format!("/v1/tickets/{ticket}/read"), json!({})).await;
    assert_eq!(app.get(&format!("/v1/tickets/{ticket}")).await.body["status"], "read");
}
