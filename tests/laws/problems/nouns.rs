//! What the ledger refuses a caller, noun by noun.

use chrono::{TimeDelta, Utc};
use daybook_tests::api::{Answer, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Parties, Raised, account, and, credited, dollars, euros, line, made, new_document, new_order, new_payer,
    new_payment, order, payer,
};

pub async fn customers(app: &TestApp, parties: &Parties, raised: &mut Raised) {
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
    let leave = app.request(Method::DELETE, &format!("{}/silver", groups(&parties.ada))).header("if-match", "*");
    raised.by(&Answer::to(leave.json(&json!({}))).await, (409, "not-in-group"));
}

pub async fn accounts(app: &TestApp, parties: &Parties, raised: &mut Raised) {
    let to = |account: &str, verb: &str| format!("/v1/accounts/{account}/{verb}");
    let Parties { ada, bob, usd, eur, theirs, .. } = parties;
    let full = account(app, bob, "EUR").await;
    let adjustment = |amount: Value| json!({ "amount": amount, "description": "gift", "reason": "a gift" });
    app.done(&to(&full, "adjustments"), adjustment(euros("999999999999999"))).await;
    app.done(&to(eur, "post-paid"), json!({ "allowed": true })).await;
    app.done(&to(theirs, "credit-limit"), json!({ "limit": dollars("10") })).await;
    let too_dear = order(app, theirs, "10.01").await;
    let opening = |zone: &str, currency: &str| {
        let named = json!({ "customer": ada, "currency": currency, "name": "main" });
        and(named, "time_zone", zone)
    };
    let transfer = |to: &str, amount: &str, rate: &str| {
        let sent = json!({ "to": to, "amount": dollars(amount), "rate_source": "ECB" });
        and(sent, "rate", rate)
    };
    let rows = [
        ("account-exists", 409, "/currency", "/v1/accounts".into(), opening("UTC", "USD")),
        ("unknown-time-zone", 422, "/time_zone", "/v1/accounts".into(), opening("Mars", "JPY")),
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

pub async fn orders(app: &TestApp, parties: &Parties, raised: &mut Raised) {
    let usd = &parties.usd;
    let to = |order: &str, verb: &str| format!("/v1/orders/{order}/{verb}");
    let orders = || "/v1/orders".to_owned();
    let description = |text: &str| json!({ "description": text });
    let (open, gone, waiting) = (order(app, usd, "5").await, order(app, usd, "5").await, order(app, usd, "5").await);
    app.done(&to(&gone, "delete"), json!({})).await;
    app.done(&to(&waiting, "pay"), json!({ "by": { "payment": { "method": "card" } } })).await;
    let processed = order(app, usd, "0").await;
    app.done(&to(&processed, "pay"), json!({ "by": "balance" })).await;
    let whole = json!({ "product": "vps", "unit_price": "1" });
    let part = json!([whole, and(whole.clone(), "part", json!({ "days": 0, "of": 31 }))]);
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
        let remove = app
            .request(Method::DELETE, &to(&open, &format!("items/{number}")))
            .header("if-match", "*")
            .json(&json!({}));
        raised.by(&Answer::to(remove).await, (status, code));
    }
}

fn notice(account: &str, gateway_payment: &str, payment: Option<&str>) -> Value {
    json!({
        "gateway": "stripe", "gateway_payment": gateway_payment, "payment": payment, "account": account,
        "amount": dollars("5"), "outcome": "succeeded",
    })
}

pub async fn payments(app: &TestApp, parties: &Parties, raised: &mut Raised) {
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

pub async fn refunds_and_disputes(app: &TestApp, parties: &Parties, raised: &mut Raised) {
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

pub async fn documents(app: &TestApp, parties: &Parties, raised: &mut Raised) {
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

pub async fn expenses_and_discounts(app: &TestApp, parties: &Parties, raised: &mut Raised) {
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

pub async fn tickets(app: &TestApp, parties: &Parties, raised: &mut Raised) {
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

pub async fn books(app: &TestApp, raised: &mut Raised) {
    let close = |through: &str| json!({ "through": through, "time_zone": "UTC", "reason": "the month is over" });
    app.done("/v1/books/close", close("2020-12-31")).await;
    let rows = [
        ("period-already-closed", 409, "/through", "/v1/books/close".into(), close("2020-11-30")),
        ("period-not-over", 409, "/through", "/v1/books/close".into(), close("9000-12-31")),
    ];
    raised.post(app, rows).await;
}

pub async fn users(app: &TestApp, parties: &Parties, raised: &mut Raised) {
    let party = json!({ "customer": parties.ada });
    let new = |login: &str, party: &Value| json!({ "login": login, "name": "Ada", "party": party });
    let superuser = and(new("ada@example.org", &party), "superuser", true);
    let ada = made(app, "/v1/users", superuser).await;
    let operator = and(new("root@example.org", &json!("provider")), "roles", json!(["operator"]));
    let root = made(app, "/v1/users", operator).await;
    let gone = made(app, "/v1/users", new("gone@example.org", &party)).await;
    app.done(&format!("/v1/users/{gone}/disable"), json!({})).await;
    let to = |user: &str, verb: &str| format!("/v1/users/{user}/{verb}");
    let rights = |user: &str| to(user, "memberships");
    let change = |change: Value| json!({ "party": party, "change": change });
    let users = || "/v1/users".to_owned();
    for number in 0..20 {
        app.done(&to(&root, "contacts"), json!({ "contact": { "telephone": number.to_string() } })).await;
    }
    let rows = [
        ("login-missing", 422, "/login", users(), new(" ", &party)),
        ("login-taken", 409, "/login", users(), new("ADA@example.org", &party)),
        ("user-not-found", 404, "", to("usr_0", "enable"), json!({})),
        ("user-enabled", 409, "", to(&ada, "enable"), json!({})),
        ("user-disabled", 409, "", to(&gone, "disable"), json!({})),
        ("contact-missing", 422, "/contact", to(&ada, "contacts"), json!({ "contact": { "email": " " } })),
        ("too-many-contacts", 409, "", to(&root, "contacts"), json!({ "contact": { "email": "a@b" } })),
        ("already-member", 409, "", rights(&ada), change(json!("give"))),
        ("not-a-member", 409, "", rights(&root), change(json!("withdraw"))),
        ("right-granted", 409, "", rights(&ada), change(json!("grant_superuser"))),
        ("right-not-granted", 409, "", rights(&gone), change(json!({ "deny_function": "orders.read" }))),
        (
            "function-of-the-provider",
            422,
            "/function",
            rights(&ada),
            change(json!({ "grant_function": "books.close" })),
        ),
        ("right-of-another-party", 422, "", rights(&ada), change(json!({ "grant_role": "staff" }))),
        ("last-superuser", 409, "", to(&ada, "disable"), json!({})),
        ("last-operator", 409, "", to(&root, "disable"), json!({})),
    ];
    raised.post(app, rows).await;
    let contact = app.request(Method::DELETE, &to(&ada, "contacts/7")).header("if-match", "*");
    raised.by(&Answer::to(contact.json(&json!({}))).await, (404, "contact-not-found"));
}
