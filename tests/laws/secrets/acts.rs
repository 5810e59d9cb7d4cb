//! Everything that has to do with people, done once: what works, and what is refused.

use std::fs;

use chrono::Utc;
use daybook_tests::{
    api::Answer,
    leak::Needle,
    people::{totp, totp_key},
};
use serde_json::json;

use super::{
    By, CHOSEN, GUEST_LOGIN, House, LOGIN, MISPLACED, NAME, NEXT, OF_OPERATOR, PASSWORD, PERSONAL, RESET, WRONG, cookie,
};

/// Everything that people do: what works, and what is refused.
pub async fn everything(house: &mut House) {
    let staff = ["token", "create", "--role", "staff", "--role", "auditor", "--role", "operator"];
    let token = house.tool(&staff, "", Some("the token of staff")).await;
    let staff = By::Token(token.clone());
    let create = ["user", "create", "olga.operator@mail.example", "--name", "Olga", "--role", "operator"];
    house.tool(&create, &format!("{OF_OPERATOR}\n"), None).await;
    house.sign_in("olga.operator@mail.example", OF_OPERATOR).await;
    // The link into the demonstration: a page with a button, and then its use.
    let link = "/sign-in?link=".to_owned() + &text_of(&house.secrets[0].0);
    let page = Answer::to(house.client.get(format!("{}{link}", house.url))).await;
    house.keep("answer GET /sign-in", &page);
    let place = house.last();
    house.secrets[0].1 = Some(place);
    let form = format!("link={}", text_of(&house.secrets[0].0));
    let kind = "application/x-www-form-urlencoded";
    let request = house.client.post(format!("{}/sign-in/link", house.url)).header("content-type", kind);
    let used = Answer::to(request.header("sec-fetch-site", "same-origin").body(form)).await;
    assert!(used.status < 400, "{}", used.text);
    house.keep("answer POST /sign-in/link", &used);

    let customer = json!({ "name": PERSONAL[8].1, "email": PERSONAL[9].1 });
    let customer = id(&house.post(&staff, "/v1/customers", "", customer).await);
    let user = json!({ "login": LOGIN, "name": NAME, "party": { "customer": customer }, "superuser": true });
    let user = id(&house.post(&staff, "/v1/users", "", user).await);
    // An invitation, its use and its second use.
    let invited = house.shown(&staff, "/v1/users/{id}/password-link", &user, json!({}), &["link"]).await;
    let choose = json!({ "link": invited.body["link"], "password": PASSWORD });
    house.post(&By::Nobody, "/v1/password", "", choose.clone()).await;
    house.ask(&By::Nobody, "POST", "/v1/password", "", Some(choose)).await.refused(410, "link-used");
    // Signing in, with what is wrong first.
    let wrong = json!({ "login": LOGIN, "password": WRONG });
    house.ask(&By::Nobody, "POST", "/v1/sign-in", "", Some(wrong)).await.refused(401, "sign-in-refused");
    let wrong = json!({ "login": "nobody.known@mail.example", "password": WRONG });
    house.ask(&By::Nobody, "POST", "/v1/sign-in", "", Some(wrong)).await.refused(401, "sign-in-refused");
    let session = house.sign_in(LOGIN, PASSWORD).await;
    let raised = house.post(&session, "/v1/session/step-up", "", json!({ "password": PASSWORD })).await;
    let session = cookie(&raised);
    misplaced(house, &session, &customer).await;
    // What is known of the person.
    let address = json!({ "country": "DE", "postal_code": "98765", "city": PERSONAL[7].1, "street": PERSONAL[6].1 });
    house.post(&session, "/v1/users/{id}/move", &user, json!({ "address": address })).await;
    for contact in [json!({ "email": PERSONAL[4].1 }), json!({ "telephone": PERSONAL[5].1 })] {
        house.post(&session, "/v1/users/{id}/contacts", &user, json!({ "contact": contact })).await;
    }
    // Another password, by the present one.
    let change = json!({ "current": WRONG, "password": NEXT });
    house.ask(&session, "POST", "/v1/me/password", "", Some(change)).await.refused(401, "sign-in-refused");
    house.post(&session, "/v1/me/password", "", json!({ "current": PASSWORD, "password": NEXT })).await;
    let raised = house.post(&session, "/v1/session/step-up", "", json!({ "password": NEXT })).await;
    let session = cookie(&raised);
    // A token, made and used.
    let new = json!({ "name": "export", "functions": ["accounts.read"] });
    let made = house.shown(&session, "/v1/tokens", "", new, &["token"]).await;
    let own = By::Token(made.body["token"].as_str().unwrap().to_owned());
    assert_eq!(house.ask(&own, "GET", "/v1/accounts", "", None).await.status, 200);
    // Another person, by an invitation and by the link of a tool.
    let second = json!({
        "login": GUEST_LOGIN, "name": PERSONAL[3].1, "party": { "customer": customer }, "functions": ["tickets.read"],
    });
    let guest = id(&house.post(&session, "/v1/users", "", second).await);
    let invited = house.shown(&session, "/v1/users/{id}/password-link", &guest, json!({}), &["link"]).await;
    let choose = json!({ "link": invited.body["link"], "password": CHOSEN });
    house.post(&By::Nobody, "/v1/password", "", choose).await;
    let link = house.tool(&["user", "link", GUEST_LOGIN], "", Some("the link of a tool")).await;
    house.post(&By::Nobody, "/v1/password", "", json!({ "link": link, "password": RESET })).await;
    house.sign_in(GUEST_LOGIN, RESET).await;
    // A second factor and its codes.
    let session = second_factor(house, session).await;
    // What customers write and what is written about them.
    let address = json!({ "country": "DE", "postal_code": "10115", "city": "Berlin", "street": PERSONAL[11].1 });
    let payer = json!({
        "customer": customer, "kind": "individual", "name": PERSONAL[10].1, "address": address,
        "tax_number": PERSONAL[12].1,
    });
    let payer = id(&house.post(&session, "/v1/payers", "", payer).await);
    let ticket = json!({
        "customer": customer, "category": "technical", "subject": PERSONAL[13].1, "message": PERSONAL[14].1,
    });
    let ticket = id(&house.post(&session, "/v1/tickets", "", ticket).await);
    let account = json!({ "customer": customer, "currency": "EUR", "name": "Main" });
    let account = id(&house.post(&staff, "/v1/accounts", "", account).await);
    let answer = json!({ "side": "provider", "message": PERSONAL[15].1 });
    house.post(&staff, "/v1/tickets/{id}/messages", &ticket, answer).await;
    let line = json!({
        "item": "vps", "description": "a server", "quantity": "1", "unit_price": "12.00", "tax_rate": "0",
    });
    let invoice = json!({ "account": account, "payer": payer, "due_in_days": 14, "lines": [line] });
    let invoice = house.post(&staff, "/v1/invoices", "", invoice).await;
    let position = invoice.header("ledger-position").to_owned();
    // All of it is read back.
    reading(house, &staff, &session, [&customer, &user, &account, &payer, &ticket, &id(&invoice)], &position).await;
    house.ask(&session, "DELETE", "/v1/sessions", "", None).await;
    house.post(&session, "/v1/sign-out", "", json!({})).await;
    house.ask(&session, "GET", "/v1/me", "", None).await.refused(401, "unauthenticated");
    exports(house, &account).await;
}

/// Secrets where they do not belong, each of which is refused.
async fn misplaced(house: &mut House, session: &By, customer: &str) {
    let token = house.secrets.iter().find(|(needle, _)| needle.label == "the token of staff").unwrap().0.clone();
    let token = text_of(&token);
    let nobody = By::Nobody;
    for body in [
        json!({ "login": LOGIN, "password": [MISPLACED] }),
        json!({ "login": LOGIN, "password": { "is": MISPLACED } }),
        json!({ "login": LOGIN, "password": format!("{MISPLACED}{}", "x".repeat(2_000)) }),
        json!({ "login": LOGIN, "password": MISPLACED, "more": true }),
        json!({ "login": null, "password": MISPLACED }),
        json!({ "login": "no address", "password": MISPLACED }),
        json!([LOGIN, MISPLACED]),
    ] {
        assert!(house.ask(&nobody, "POST", "/v1/sign-in", "", Some(body)).await.status >= 400);
    }
    let short = json!({ "current": PASSWORD, "password": "x" });
    assert!(house.ask(session, "POST", "/v1/me/password", "", Some(short)).await.status >= 400);
    let code = json!({ "recovery_code": MISPLACED, "password": MISPLACED });
    assert!(house.ask(session, "POST", "/v1/session/step-up", "", Some(code)).await.status >= 400);
    let link = json!({ "link": MISPLACED, "password": MISPLACED });
    assert!(house.ask(&nobody, "POST", "/v1/password", "", Some(link)).await.status >= 400);
    let url = house.url.clone();
    let request = |path: &str| house.client.get(format!("{url}{path}"));
    let requests = [
        (
            "not JSON",
            house
                .client
                .post(format!("{url}/v1/sign-in"))
                .header("content-type", "application/json")
                .body(format!("{{\"password\": \"{MISPLACED}\"")),
        ),
        ("a form", house.client.post(format!("{url}/v1/sign-in")).header("content-type", "text/plain").body(MISPLACED)),
        ("no bearer", request("/v1/me").header("authorization", format!("Basic {token}"))),
        ("half a token", request("/v1/me").bearer_auth(&token[..token.len() - 4])),
        ("a cookie that is none", request("/v1/me").header("cookie", format!("daybook={token}"))),
        ("a membership that is none", request("/v1/me").bearer_auth(&token).header("daybook-membership", MISPLACED)),
        ("a customer that is none", request("/v1/me").bearer_auth(&token).header("daybook-on-behalf-of", MISPLACED)),
        ("a cursor that is none", request(&format!("/v1/tickets?cursor={token}")).bearer_auth(&token)),
        ("an entity that is none", request(&format!("/v1/history?entity={token}")).bearer_auth(&token)),
        ("a parameter that is none", request(&format!("/v1/tickets?password={token}")).bearer_auth(&token)),
        ("another host", request("/v1/me").bearer_auth(&token).header("host", "foreign.example")),
    ];
    for (name, request) in requests {
        let answer = Answer::to(request).await;
        house.keep(&format!("answer to {name}"), &answer);
    }
    // A refusal of the domain that carries what was written about a person.
    let twice = json!({ "login": LOGIN, "name": NAME, "party": { "customer": customer } });
    house.ask(session, "POST", "/v1/users", "", Some(twice)).await.refused(409, "login-taken");
}

/// Sets a second factor up, uses it and the codes that stand in for it; answers with the session that has shown it.
async fn second_factor(house: &mut House, session: By) -> By {
    let enrolled = house.shown(&session, "/v1/me/factors", "", json!({}), &["secret", "uri"]).await;
    let place = house.last();
    let (secret, factor) = (enrolled.body["secret"].as_str().unwrap().to_owned(), id(&enrolled));
    house.secret("the bytes of a second factor", totp_key(&secret), Some(&place));
    // A code has six digits and lives for half a minute: that is too short to be looked for.
    let code = |steps: i64| json!({ "code": totp(&secret, Utc::now().timestamp() + 30 * steps) });
    let confirmed = house.post(&session, "/v1/me/factors/{id}/confirm", &factor, code(0)).await;
    let session = cookie(&confirmed);
    let codes = house.shown(&session, "/v1/me/recovery-codes", "", json!({}), &["codes"]).await;
    let second = "/v1/sign-in/second-factor";
    let half = house.sign_in(LOGIN, NEXT).await;
    let wrong = json!({ "recovery_code": MISPLACED });
    house.ask(&half, "POST", second, "", Some(wrong)).await.refused(401, "sign-in-refused");
    house.post(&half, second, "", json!({ "recovery_code": codes.body["codes"][0] })).await;
    let half = house.sign_in(LOGIN, NEXT).await;
    let done = house.post(&half, second, "", code(1)).await;
    cookie(&done)
}

/// Reads what there is: what shows persons, and what must not.
async fn reading(house: &mut House, staff: &By, session: &By, ids: [&str; 6], position: &str) {
    let [customer, user, account, payer, ticket, invoice] = ids;
    for (by, route, id) in [
        (staff, "/v1/customers/{id}", customer),
        (staff, "/v1/users/{id}", user),
        (staff, "/v1/payers/{id}", payer),
        (staff, "/v1/tickets/{id}", ticket),
        (staff, "/v1/invoices/{id}", invoice),
        (session, "/v1/me", ""),
        (session, "/v1/sessions", ""),
        (session, "/v1/tokens", ""),
        (session, "/v1/access-log", ""),
        (staff, "/v1/access-log?customer={id}", customer),
        (staff, "/v1/history?entity={id}", user),
        (staff, "/v1/history?entity={id}", customer),
        (staff, "/v1/history?entity={id}", ticket),
        (staff, "/v1/accounts/{id}/statement", account),
        (staff, "/v1/accounts/{id}/statement?format=html", account),
        (staff, "/v1/accounts/{id}/balance/explanation", account),
        (staff, "/v1/audit/events?limit=200", ""),
        (staff, "/v1/audit/journal", ""),
        (staff, "/v1/audit/trial-balance", ""),
        (staff, "/v1/audit/checkpoints", ""),
        (staff, "/v1/ops/projections", ""),
        (staff, "/v1/ops/projections/users", ""),
        (staff, "/v1/ops/schema", ""),
        (staff, "/metrics", ""),
        (staff, "/log/event/1", ""),
        (&By::Nobody, "/log/format", ""),
        (&By::Nobody, "/livez", ""),
        (&By::Nobody, "/readyz", ""),
        (&By::Nobody, "/openapi.json", ""),
        (&By::Nobody, "/problems", ""),
    ] {
        // The rows have what was written.
        let path = route.replace("{id}", id);
        let request = house.client.get(format!("{}{path}", house.url)).header("min-position", position);
        let answer = Answer::to(by.asks(request).header("prefer", "wait=30")).await;
        house.keep(&format!("answer GET {route}"), &answer);
        assert_eq!(answer.status, 200, "{route}: {}", answer.text);
    }
}

/// Everything that leaves the ledger as a file.
async fn exports(house: &mut House, account: &str) {
    let directory = house.home.path().join("exports");
    fs::create_dir(&directory).unwrap();
    let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    for format in ["hledger", "ledger", "beancount", "csv", "ndjson"] {
        house.tool(&["export", "--format", format, "-o", &file(format)], "", None).await;
    }
    house.tool(&["export", "log", "-o", &file("log")], "", None).await;
    house.tool(&["export", "statement", account, "-o", &file("statement")], "", None).await;
    house.tool(&["status", "--json"], "", None).await;
    house.tool(&["schema", "--json"], "", None).await;
    house.tool(&["verify", "--json"], "", None).await;
}

fn id(answer: &Answer) -> String {
    answer.body["id"].as_str().unwrap_or_else(|| panic!("{} has an id", answer.text)).to_owned()
}

fn text_of(needle: &Needle) -> String {
    String::from_utf8(needle.bytes().to_vec()).unwrap()
}
