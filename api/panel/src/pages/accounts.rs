//! An account: what stands on it, and the way to its statement and to why it is so.

use askama::Template;
use serde_json::Value;

use super::{Asked, thing};
use crate::{
    cell::Cell,
    visit::{Outcome, Visit},
};

#[derive(Template)]
#[template(path = "account.html")]
struct Account<'a> {
    visit: &'a Visit,
    address: &'a str,
    balance: Cell,
    is_debt: bool,
    available: Cell,
    held: Cell,
    can_pay_in: Option<String>,
}

impl Account<'_> {
    fn say(&self, message: &str) -> String {
        self.visit.language.say(message)
    }
}

pub async fn show(visit: &Visit, asked: Asked<'_>) -> Outcome {
    let answer = thing::read(visit, asked).await?;
    let account = &answer.body;
    let may_pay = visit.house.api().named("payments_start").is_some_and(|operation| visit.may(operation));
    let page = Account {
        visit,
        address: &asked.path["/v1".len()..],
        balance: Cell::guess(visit, &account["balance"]),
        is_debt: is_negative(&account["balance"]),
        available: Cell::guess(visit, &account["available"]),
        held: Cell::guess(visit, &account["held"]),
        can_pay_in: may_pay.then(|| format!("/do/payments_start?account={}", asked.id())),
    };
    let extra = page.render().expect("memory takes every page");
    thing::with(visit, asked, &answer, extra, &["balance", "available", "held"]).await
}

pub fn is_negative(money: &Value) -> bool {
    money["amount"].as_str().is_some_and(|amount| amount.starts_with('-'))
}
