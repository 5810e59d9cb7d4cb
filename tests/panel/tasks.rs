//! What people come for, from signing in to the outcome, in a browser that runs no script.

use daybook_core::domain::{Party, function::Role, user::MembershipChange as M};
use daybook_panel::Panel;
use daybook_tests::{
    api::TestApp,
    people::{Browser, PASSWORD},
};
use fantoccini::Locator;
use reqwest::Method;
use serde_json::{Value, json};

use super::{chrome::Chrome, house::House, until};

/// A customer with an account that money has come to, seen by a browser without scripts.
struct Task {
    house: House,
    chrome: Chrome,
    account: String,
}

impl Task {
    async fn new() -> Self {
        let house = House::new().await;
        let opening =
            json!({ "customer": house.customer.as_str(), "name": "hosting", "currency": "USD", "time_zone": "UTC" });
        let account = made(&house.app, house.who(Panel::Staff), "/v1/accounts", opening).await;
        let chrome = Chrome::open(&house.app.url).await;
        chrome.scripts(false).await;
        Self { house, chrome, account }
    }

    /// Staff credits a payment to the account.
    async fn paid_in(&self, amount: &str) -> String {
        let staff = self.house.who(Panel::Staff);
        let amount = json!({ "amount": amount, "currency": "USD" });
        let payment = json!({ "account": self.account, "method": "card", "amount": amount });
        let payment = made(&self.house.app, staff, "/v1/payments", payment).await;
        posted(&self.house.app, staff, &format!("/v1/payments/{payment}/submit"), json!({})).await;
        posted(&self.house.app, staff, &format!("/v1/payments/{payment}/credit"), json!({})).await;
        payment
    }

    async fn signs_in(&self, login: &str) {
        self.chrome.client.delete_all_cookies().await.expect("cookies can be deleted");
        self.chrome.go("/").await;
        self.chrome.fill("login", login).await;
        self.chrome.fill("password", PASSWORD).await;
        self.chrome.press("Sign in").await;
        self.chrome.until_it_says("Sign out").await;
    }

    async fn ends(self) {
        assert_eq!(self.chrome.console().await, Vec::<String>::new(), "the console is empty");
        self.chrome.close().await;
    }
}

async fn posted(app: &TestApp, who: &Browser, path: &str, body: Value) -> Value {
    let request = app.from_page(who, Method::POST, path).header("idempotency-key", uuid::Uuid::now_v7().to_string());
    let answer = daybook_tests::api::Answer::to(request.json(&body)).await;
    assert!(answer.status < 300, "{path}: {}", answer.text);
    answer.body
}

async fn made(app: &TestApp, who: &Browser, path: &str, body: Value) -> String {
    posted(app, who, path, body).await["id"].as_str().expect("it has an identifier").to_owned()
}

#[tokio::test]
async fn a_customer_reads_the_statement_and_asks_why() {
    let task = Task::new().await;
    task.paid_in("60.00").await;
    task.signs_in("owner@example.org").await;
    task.chrome.until_it_says("60.00\u{a0}USD").await;
    task.chrome.press("Statement").await;
    task.chrome.until_it_says("Opening balance").await;
    task.chrome.until_it_says("Closing balance").await;
    let text = task.chrome.text().await;
    assert!(text.contains("hosting") && text.contains("Ada Ltd") && text.contains("60.00"), "{text}");
    assert!(!text.contains(&task.account), "no identifier stands where a name does: {text}");
    task.chrome.press("Month before").await;
    task.chrome.until_it_says("Nothing moved in this month.").await;
    task.chrome.press("Why this number?").await;
    task.chrome.until_it_says("The account is credited").await;
    task.chrome.until_it_says("60.00\u{a0}USD").await;
    task.ends().await;
}

#[tokio::test]
async fn a_customer_pays_an_order_that_staff_placed() {
    let task = Task::new().await;
    task.paid_in("60.00").await;
    let items = json!([{ "product": "vps-2", "description": "two cores", "quantity": "1", "unit_price": "12.50" }]);
    let order = json!({ "account": task.account, "description": "a server", "items": items });
    made(&task.house.app, task.house.who(Panel::Staff), "/v1/orders", order).await;
    task.signs_in("owner@example.org").await;
    task.chrome.until_it_says("Order waits to be paid: a server").await;
    task.chrome.press("Order waits to be paid: a server").await;
    task.chrome.press("Pay").await;
    task.chrome.fill("by", "balance").await;
    task.chrome.press("Pay the order").await;
    task.chrome.until_it_says("Done: Pay the order.").await;
    task.chrome.until_it_says("processed").await;
    task.chrome.go("/").await;
    task.chrome.until_it_says("47.50\u{a0}USD").await;
    task.ends().await;
}

#[tokio::test]
async fn a_form_that_is_sent_twice_does_it_once() {
    let task = Task::new().await;
    let owner = task.house.who(Panel::Customer);
    let form = task.house.reads(Panel::Customer, &format!("/do/payments_start?account={}", task.account)).await;
    let key = form.text.split("name=\"_key\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a key");
    let body = format!("_key={key}&account={}&method=card&amount.amount=5.00&amount.currency=USD", task.account);
    for _ in 0..2 {
        let request = task.house.app.from_page(owner, Method::POST, "/do/payments_start");
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let request =
            request.header("content-type", "application/x-www-form-urlencoded").body(body.clone()).build().unwrap();
        let sent = client.execute(request).await.unwrap();
        assert_eq!(sent.status(), 303, "{}", sent.text().await.unwrap());
    }
    let position = task.house.app.position().await.to_string();
    let listed = task.house.app.from_page(owner, Method::GET, "/v1/payments").header("min-position", position);
    let listed = daybook_tests::api::Answer::to(listed).await;
    assert_eq!(listed.body["data"].as_array().map(Vec::len), Some(1), "{}", listed.text);
    task.ends().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_field_stands_beside_it() {
    let task = Task::new().await;
    task.signs_in("owner@example.org").await;
    task.chrome.go(&format!("/do/payments_start?account={}", task.account)).await;
    task.chrome.fill("method", "card").await;
    task.chrome.fill("amount.amount", "many").await;
    task.chrome.fill("amount.currency", "USD").await;
    task.chrome.press("Start a payment").await;
    task.chrome.until_it_says("Start a payment").await;
    let error =
        task.chrome.client.find(Locator::Css("#f-amount-amount-error")).await.expect("an error beside the field");
    assert!(!error.text().await.unwrap().is_empty());
    let kept = task.chrome.client.find(Locator::Css("[name='amount.amount']")).await.unwrap();
    assert_eq!(kept.prop("value").await.unwrap().as_deref(), Some("many"), "what was typed is still there");
    let messages = task.chrome.console().await;
    // The browser itself notes the status of the page.
    assert!(messages.iter().all(|message| message.contains("422") || message.contains("400")), "{messages:?}");
    task.chrome.close().await;
}

#[tokio::test]
async fn a_ticket_is_opened_answered_and_archived() {
    let task = Task::new().await;
    task.signs_in("owner@example.org").await;
    task.chrome.press("Tickets").await;
    task.chrome.press("Open a ticket").await;
    task.chrome.fill("category", "support").await;
    task.chrome.fill("subject", "no mail").await;
    task.chrome.fill("message", "since this morning").await;
    task.chrome.press("Open a ticket").await;
    task.chrome.until_it_says("since this morning").await;
    let ticket = task.chrome.place().await;
    let ticket = ticket.split('?').next().expect("a path").to_owned();

    task.signs_in("clerk@example.org").await;
    task.chrome.press("Ticket: no mail").await;
    task.chrome.fill("message", "we have mended it").await;
    task.chrome.press("Send").await;
    task.chrome.until_it_says("we have mended it").await;

    task.signs_in("owner@example.org").await;
    task.chrome.press("Answer in ticket: no mail").await;
    task.chrome.until_it_says("we have mended it").await;
    task.chrome.press("Archive the ticket").await;
    task.chrome.press("Archive the ticket").await;
    task.chrome.until_it_says("Done: Archive the ticket.").await;
    assert!(task.chrome.place().await.starts_with(&ticket));
    task.chrome.until_it_says("archived").await;
    task.ends().await;
}

#[tokio::test]
async fn an_accountant_is_invited_who_sees_invoices_and_no_tickets() {
    let task = Task::new().await;
    task.signs_in("owner@example.org").await;
    task.chrome.press("Persons").await;
    task.chrome.press("Invite a person").await;
    task.chrome.fill("login", "books@example.org").await;
    task.chrome.fill("name", "Bea Books").await;
    for function in ["invoices.read", "accounts.read"] {
        let css = format!("main input[value='{function}']");
        task.chrome.client.find(Locator::Css(&css)).await.expect("a right to tick").click().await.unwrap();
    }
    task.chrome.press("Invite a person").await;
    // It needs the password once more.
    task.chrome.until_it_says("Please confirm that it is you").await;
    task.chrome.fill("_secret", PASSWORD).await;
    task.chrome.press("Invite a person").await;
    task.chrome.until_it_says("Bea Books").await;
    task.chrome.press("Make a link to choose a password").await;
    task.chrome.press("Make a link to choose a password").await;
    task.chrome.until_it_says("Keep this now").await;
    let text = task.chrome.text().await;
    let link = text.split_whitespace().find(|word| word.starts_with("/password?link=")).expect("a link").to_owned();

    task.chrome.client.delete_all_cookies().await.unwrap();
    task.chrome.go(&link).await;
    task.chrome.fill("password", PASSWORD).await;
    task.chrome.press("Choose a password").await;
    task.chrome.until_it_says("The password is chosen").await;
    task.signs_in("books@example.org").await;
    task.chrome.press("Invoices").await;
    task.chrome.until_it_says("There is nothing here yet").await;
    let nav = task.chrome.client.find(Locator::Css("#menu")).await.unwrap().text().await.unwrap();
    assert!(nav.contains("Invoices") && !nav.contains("Tickets"), "{nav}");
    task.chrome.go("/tickets").await;
    task.chrome.until_it_says("Not allowed").await;
    task.chrome.close().await;
}

#[tokio::test]
async fn staff_credits_a_payment_and_refunds_it() {
    let task = Task::new().await;
    let staff = task.house.who(Panel::Staff);
    let amount = json!({ "amount": "30.00", "currency": "USD" });
    let payment = json!({ "account": task.account, "method": "bank", "amount": amount });
    let payment = made(&task.house.app, staff, "/v1/payments", payment).await;
    posted(&task.house.app, staff, &format!("/v1/payments/{payment}/submit"), json!({})).await;
    task.signs_in("clerk@example.org").await;
    task.chrome.press("Payment by bank is in progress").await;
    task.chrome.press("Credit the payment").await;
    task.chrome.press("Credit the payment").await;
    task.chrome.until_it_says("Done: Credit the payment.").await;
    task.chrome.press("Refund").await;
    task.chrome.fill("amount.amount", "10.00").await;
    task.chrome.fill("amount.currency", "USD").await;
    task.chrome.press("Refund").await;
    task.chrome.until_it_says("Please confirm that it is you").await;
    task.chrome.fill("_secret", PASSWORD).await;
    task.chrome.press("Refund").await;
    task.chrome.until_it_says("Done: Refund.").await;
    task.chrome.until_it_says("10.00\u{a0}USD").await;
    task.ends().await;
}

#[tokio::test]
async fn an_auditor_finds_who_changed_a_figure_and_proves_it() {
    let task = Task::new().await;
    let adjusted =
        json!({ "amount": { "amount": "7.77", "currency": "USD" }, "description": "goodwill", "reason": "goodwill" });
    posted(
        &task.house.app,
        task.house.who(Panel::Staff),
        &format!("/v1/accounts/{}/adjustments", task.account),
        adjusted,
    )
    .await;
    let end = task.house.app.position().await;
    task.house.app.signed(end).await;
    task.signs_in("auditor@example.org").await;
    task.chrome.press("Accounts").await;
    task.chrome.press("hosting").await;
    task.chrome.press("Why this number?").await;
    task.chrome.until_it_says("goodwill").await;
    let link = task.chrome.client.find(Locator::Css(".why a")).await.expect("a way to the event");
    link.click().await.unwrap();
    task.chrome.until_it_says("staff").await;
    task.chrome.client.find(Locator::Css(".events summary")).await.unwrap().click().await.unwrap();
    task.chrome.press("Proof").await;
    task.chrome.until_it_says("daybook-verify proof").await;
    let download = task.chrome.client.find(Locator::Css("a[download]")).await.unwrap();
    let address = download.attr("href").await.unwrap().expect("an address");
    let proof = task.house.reads(Panel::Auditor, &address).await;
    assert!(proof.body["event"]["proof"].is_array(), "{}", proof.text);
    task.ends().await;
}

#[tokio::test]
async fn an_operator_rebuilds_a_projection_while_a_customer_reads() {
    let task = Task::new().await;
    task.paid_in("60.00").await;
    task.signs_in("operator@example.org").await;
    task.chrome.press("Projections").await;
    task.chrome.press("payments").await;
    task.chrome.press("Rebuild").await;
    task.chrome.press("Rebuild").await;
    task.chrome.until_it_says("Done: Rebuild.").await;
    let listed = task.house.reads(Panel::Customer, "/payments").await;
    assert!(listed.text.contains("60.00\u{a0}USD"), "{}", listed.text);
    let app = &task.house.app;
    let operator = task.house.who(Panel::Operator);
    until("the rebuild", async || {
        app.page_reads(operator, "/v1/operations").await.body["operations"][0]["status"] == "done"
    })
    .await;
    task.chrome.go("/ops/projections/payments").await;
    task.chrome.press("Roll back").await;
    task.chrome.press("Roll back").await;
    task.chrome.until_it_says("Done: Roll back.").await;
    let listed = task.house.reads(Panel::Customer, "/payments").await;
    assert!(listed.text.contains("60.00\u{a0}USD"), "{}", listed.text);
    task.ends().await;
}

#[tokio::test]
async fn staff_looks_as_the_customer_does_and_can_do_nothing() {
    let task = Task::new().await;
    task.paid_in("60.00").await;
    task.signs_in("clerk@example.org").await;
    task.chrome.press("Customers").await;
    task.chrome.press("Ada Ltd").await;
    task.chrome.press("See the panel as the customer does").await;
    task.chrome.until_it_says("You see the panel of").await;
    task.chrome.until_it_says("60.00\u{a0}USD").await;
    let nav = task.chrome.client.find(Locator::Css("#menu")).await.unwrap().text().await.unwrap();
    assert!(!nav.contains("Journal"), "{nav}");
    task.chrome.press("Tickets").await;
    assert!(!task.chrome.text().await.contains("Open a ticket"));
    task.chrome.press("Leave").await;
    task.chrome.until_it_says("Journal").await;
    task.ends().await;
}

#[tokio::test]
async fn a_token_is_made_that_may_what_was_ticked() {
    let task = Task::new().await;
    task.signs_in("owner@example.org").await;
    task.chrome.go("/do/tokens_make").await;
    task.chrome.fill("name", "books").await;
    let right = task.chrome.client.find(Locator::Css("main input[value='invoices.read']")).await.unwrap();
    right.click().await.unwrap();
    task.chrome.press("Make a token").await;
    task.chrome.fill("_secret", PASSWORD).await;
    task.chrome.press("Make a token").await;
    task.chrome.until_it_says("Keep this now").await;
    let listed = task.house.app.page_reads(task.house.who(Panel::Customer), "/v1/tokens").await;
    assert_eq!(listed.body["tokens"][0]["functions"], json!(["invoices.read"]), "{}", listed.text);
    task.ends().await;
}

/// With scripts, parts of the page are exchanged, and the way back leads through what was seen.
#[tokio::test]
async fn the_way_back_leads_through_what_was_seen() {
    let task = Task::new().await;
    for _ in 0..3 {
        task.paid_in("1.00").await;
    }
    task.chrome.scripts(true).await;
    task.signs_in("owner@example.org").await;
    task.chrome.go("/payments?limit=2").await;
    let click = |words: &str| format!("//main//a[normalize-space(.)='{words}']");
    for words in ["Next", "Amount"] {
        let before = task.chrome.place().await;
        let link = task.chrome.client.wait().for_element(Locator::XPath(&click(words))).await.expect("a link");
        link.click().await.unwrap();
        until("the address", async || task.chrome.place().await != before).await;
    }
    let last = task.chrome.place().await;
    assert!(last.contains("sort=amount"), "{last}");
    task.chrome.client.back().await.unwrap();
    task.chrome.until_it_says("Previous").await;
    assert!(task.chrome.place().await.contains("cursor="), "{}", task.chrome.place().await);
    task.chrome.client.back().await.unwrap();
    task.chrome.until_it_says("Next").await;
    assert_eq!(task.chrome.place().await, "/payments?limit=2");
    task.ends().await;
}

/// German words are longer, and fit.
#[tokio::test]
async fn pages_in_german_fit_and_say_no_english_word_of_ours() {
    let task = Task::new().await;
    task.paid_in("1234.50").await;
    task.signs_in("owner@example.org").await;
    task.chrome.go("/me").await;
    task.chrome.fill("language", "de").await;
    task.chrome.press("Keep").await;
    task.chrome.until_it_says("Abmelden").await;
    task.chrome.go("/").await;
    task.chrome.until_it_says("1.234,50\u{a0}USD").await;
    for path in ["/", "/payments", "/accounts", "/me", "/do/payments_start", "/tickets"] {
        for width in [320, 640, 1280] {
            task.chrome.drawn(width, "light", "none").await;
            task.chrome.go(path).await;
            assert!(task.chrome.too_wide().await <= 0, "{path} is too wide at {width}");
        }
        let text = task.chrome.text().await;
        for english in ["Home", "Filters", "Sign out", "Statement", "What needs you", "My settings"] {
            assert!(!text.contains(english), "{path} says `{english}`: {text}");
        }
    }
    task.ends().await;
}

#[tokio::test]
async fn an_edit_sends_what_differs_and_takes_away_what_was_emptied() {
    let task = Task::new().await;
    let staff = task.house.who(Panel::Staff);
    let payer = json!({
        "customer": task.house.customer.as_str(), "kind": "company", "name": "Ada Ltd", "tax_number": "GB123",
        "address": { "country": "GB", "city": "London" },
    });
    let payer = made(&task.house.app, staff, "/v1/payers", payer).await;
    let before = task.house.app.position().await;
    task.signs_in("clerk@example.org").await;
    task.chrome.go(&format!("/do/payers_edit?id={payer}")).await;
    task.chrome.fill("name", "Ada plc").await;
    task.chrome.client.find(Locator::Css("main [name='tax_number']")).await.unwrap().clear().await.unwrap();
    task.chrome.press("Change the payer").await;
    task.chrome.until_it_says("Done: Change the payer.").await;
    let shown = task.house.app.page_reads(staff, &format!("/v1/payers/{payer}")).await;
    assert_eq!((&shown.body["name"], &shown.body["tax_number"]), (&json!("Ada plc"), &Value::Null), "{}", shown.text);
    assert_eq!(task.house.app.position().await, before + 2, "the address was not moved");
    task.ends().await;
}

/// In German a comma divides off the decimals, and what could be either of two numbers is neither.
#[tokio::test]
async fn numbers_are_read_as_the_language_writes_them() {
    let task = Task::new().await;
    let sent = async |amount: &str| {
        let body = format!(
            "_key={}&account={}&method=card&amount.amount={amount}&amount.currency=USD",
            uuid::Uuid::now_v7(),
            task.account
        );
        let request = task.house.app.from_page(task.house.who(Panel::Staff), Method::POST, "/do/payments_start");
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let request =
            request.header("content-type", "application/x-www-form-urlencoded").header("accept-language", "de");
        client.execute(request.body(body).build().unwrap()).await.unwrap().status().as_u16()
    };
    assert_eq!((sent("1.250,50").await, sent("12,5").await, sent("1.250").await), (303, 303, 422));
    let position = task.house.app.position().await.to_string();
    let listed = task.house.app.from_page(task.house.who(Panel::Staff), Method::GET, "/v1/payments");
    let listed = daybook_tests::api::Answer::to(listed.header("min-position", position)).await;
    let amounts: Vec<&Value> =
        listed.body["data"].as_array().unwrap().iter().map(|row| &row["amount"]["amount"]).collect();
    assert_eq!(amounts, [&json!("12.50"), &json!("1250.50")]);
    task.ends().await;
}

/// Whoever is signed out is asked to sign in, and led back.
#[tokio::test]
async fn the_door_leads_back_to_where_somebody_wanted_to_go() {
    let task = Task::new().await;
    let user = task.house.app.invited("late@example.org", &Party::Provider, vec![M::GrantRole(Role::Auditor)]).await;
    task.house.app.with_password(&user).await;
    task.chrome.go("/audit/journal?limit=20").await;
    task.chrome.until_it_says("Password").await;
    task.chrome.fill("login", "late@example.org").await;
    task.chrome.fill("password", "not the right one").await;
    task.chrome.press("Sign in").await;
    task.chrome.until_it_says("is not right").await;
    task.chrome.fill("password", PASSWORD).await;
    task.chrome.press("Sign in").await;
    task.chrome.until_it_says("Journal").await;
    assert_eq!(task.chrome.place().await, "/audit/journal?limit=20");
    task.chrome.press("Sign out").await;
    task.chrome.until_it_says("Password").await;
    task.chrome.close().await;
}
