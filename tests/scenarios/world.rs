//! The words in which the scenarios are told.

use daybook_tests::api::TestApp;
use serde_json::{Value, json};

/// A running ledger, and the sentences that a scenario is made of.
pub struct World {
    pub app: TestApp,
}

/// An account and whose it is.
pub struct Books {
    pub customer: String,
    pub payer: String,
    pub account: String,
    pub currency: &'static str,
}

impl World {
    pub async fn new() -> Self {
        Self { app: TestApp::start().await }
    }

    /// A write that succeeds.
    pub async fn done(&self, path: &str, body: Value) -> Value {
        self.app.done(path, body).await
    }

    /// A write that is refused with this status and this type of problem.
    pub async fn refused(&self, path: &str, body: Value, status: u16, problem: &str) -> Value {
        self.app.post(path, body).await.refused(status, problem).clone()
    }

    /// A read of at least what has been written so far.
    pub async fn read(&self, path: &str) -> Value {
        let answer = self.app.get(path).await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text);
        answer.body
    }

    /// The rows of a listing.
    pub async fn rows(&self, path: &str) -> Vec<Value> {
        self.read(path).await["data"].as_array().expect("a listing has data").clone()
    }

    pub async fn books(&self, currency: &'static str) -> Books {
        let customer = id(&self.done("/v1/customers", json!({ "name": "Ada" })).await);
        let address = json!({ "country": "DE", "city": "Berlin", "street": "Old Street 1" });
        let payer = json!({ "customer": customer, "kind": "company", "name": "Ada Ltd", "address": address });
        let payer = id(&self.done("/v1/payers", payer).await);
        let account = self.account(&customer, currency).await;
        Books { customer, payer, account, currency }
    }

    pub async fn account(&self, customer: &str, currency: &str) -> String {
        let open = json!({ "customer": customer, "currency": currency, "name": "hosting", "time_zone": "UTC" });
        id(&self.done("/v1/accounts", open).await)
    }

    pub async fn credit_limit(&self, books: &Books, limit: &str) {
        let path = format!("/v1/accounts/{}/credit-limit", books.account);
        self.done(&path, json!({ "limit": money(limit, books.currency) })).await;
    }

    pub async fn post_paid(&self, books: &Books) {
        self.done(&format!("/v1/accounts/{}/post-paid", books.account), json!({ "allowed": true })).await;
    }

    /// A correction by staff; negative amounts charge the account.
    pub async fn adjust(&self, books: &Books, amount: &str) {
        let path = format!("/v1/accounts/{}/adjustments", books.account);
        let amount = money(amount, books.currency);
        self.done(&path, json!({ "amount": amount, "description": "correction", "reason": "scenario" })).await;
    }

    /// A payment that arrives: started and credited. How it stands then.
    pub async fn paid(&self, books: &Books, amount: &str, purpose: Value) -> Value {
        let start = json!({
            "account": books.account,
            "method": "bank transfer",
            "amount": money(amount, books.currency),
            "purpose": purpose,
        });
        let payment = id(&self.done("/v1/payments", start).await);
        self.done(&format!("/v1/payments/{payment}/credit"), json!({})).await
    }

    pub async fn deposit(&self, books: &Books, amount: &str) -> String {
        id(&self.paid(books, amount, json!("advance")).await)
    }

    pub async fn order(&self, books: &Books, product: &str, price: &str) -> Value {
        let item = json!({ "product": product, "description": product, "quantity": "1", "unit_price": price });
        self.done("/v1/orders", json!({ "account": books.account, "description": product, "items": [item] })).await
    }

    /// An invoice with one line of this net price and no tax.
    pub async fn invoice(&self, books: &Books, price: &str) -> Value {
        self.invoice_lines(books, &[price], "0", json!({})).await
    }

    /// An invoice with a line per price, all at one tax rate. `more` adds fields to the request.
    pub async fn invoice_lines(&self, books: &Books, prices: &[&str], tax_rate: &str, more: Value) -> Value {
        self.done("/v1/invoices", invoice_request(books, prices, tax_rate, more)).await
    }

    pub async fn balance(&self, books: &Books) -> String {
        let account = self.read(&format!("/v1/accounts/{}", books.account)).await;
        amount(&account["balance"])
    }
}

pub fn invoice_request(books: &Books, prices: &[&str], tax_rate: &str, more: Value) -> Value {
    let lines: Vec<Value> = prices
        .iter()
        .map(|price| {
            json!({
                "item": "service", "description": "service",
                "quantity": "1", "unit_price": price, "tax_rate": tax_rate,
            })
        })
        .collect();
    let mut request = json!({
        "account": books.account,
        "payer": books.payer,
        "issued_on": "2026-04-01",
        "due_in_days": 14,
        "lines": lines,
    });
    for (name, value) in more.as_object().expect("more fields") {
        request[name] = value.clone();
    }
    request
}

pub fn money(amount: &str, currency: &str) -> Value {
    json!({ "amount": amount, "currency": currency })
}

/// The amount of a money value.
pub fn amount(money: &Value) -> String {
    money["amount"].as_str().unwrap_or_else(|| panic!("`{money}` is not money")).to_owned()
}

pub fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap_or_else(|| panic!("`{answer}` has no id")).to_owned()
}
