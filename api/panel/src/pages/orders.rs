//! Orders: in three lanes, as they go, and each with what is missing to pay for it.

use askama::Template;
use rust_decimal::Decimal;
use serde_json::Value;

use super::{Asked, list, thing};
use crate::{
    cell::Cell,
    figures,
    visit::{Outcome, Visit},
};

struct Lane {
    label: String,
    cards: Vec<Card>,
}

struct Card {
    address: String,
    label: String,
    total: Cell,
    pay: Option<String>,
}

#[derive(Template)]
#[template(path = "lanes.html")]
struct Lanes<'a> {
    visit: &'a Visit,
    lanes: Vec<Lane>,
}

const STATES: [&str; 3] = ["open", "in_progress", "processed"];

pub async fn list(visit: &Visit, asked: Asked<'_>) -> Outcome {
    if visit.asked("format").is_some() {
        return list::show(visit, asked).await;
    }
    let answer = visit.read(&list::address(visit, asked, true)).await?;
    let of = |state: &str| {
        let orders = answer.rows().iter().filter(|order| order["status"] == state);
        orders.map(|order| card(visit, order)).collect::<Vec<_>>()
    };
    let lanes: Vec<Lane> =
        STATES.iter().map(|state| Lane { label: visit.language.word(state), cards: of(state) }).collect();
    let extra = if answer.rows().is_empty() {
        String::new()
    } else {
        Lanes { visit, lanes }.render().expect("memory takes every page")
    };
    list::with(visit, asked, &answer, extra).await
}

fn card(visit: &Visit, order: &Value) -> Card {
    let id = order["id"].as_str().unwrap_or_default();
    let may_pay = visit.house.api().named("orders_pay").is_some_and(|operation| visit.may(operation));
    Card {
        address: format!("/orders/{id}"),
        label: order["description"].as_str().unwrap_or_default().to_owned(),
        total: Cell::guess(visit, &order["total"]),
        pay: (may_pay && order["status"] == "open").then(|| format!("/do/orders_pay?id={id}")),
    }
}

#[derive(Template)]
#[template(path = "order.html")]
struct Order<'a> {
    visit: &'a Visit,
    total: Cell,
    missing: Option<String>,
    pay: Option<String>,
}

pub async fn show(visit: &Visit, asked: Asked<'_>) -> Outcome {
    let answer = thing::read(visit, asked).await?;
    let card = card(visit, &answer.body);
    let missing = if answer.body["status"] == "open" { missing(visit, &answer.body).await } else { None };
    let page = Order { visit, total: card.total, missing, pay: card.pay };
    let extra = page.render().expect("memory takes every page");
    thing::with(visit, asked, &answer, extra, &["total"]).await
}

/// What the account lacks to pay for the order now.
async fn missing(visit: &Visit, order: &Value) -> Option<String> {
    let id = order["account"]["id"].as_str().or_else(|| order["account"].as_str())?;
    let account = visit.read(&format!("/v1/accounts/{id}")).await.ok()?;
    // An account that may owe has no end of what is available.
    let available: Decimal = account.body["available"]["amount"].as_str()?.parse().ok()?;
    let total: Decimal = order["total"]["amount"].as_str()?.parse().ok()?;
    let missing = total - available;
    let currency = order["total"]["currency"].as_str()?;
    (missing > Decimal::ZERO).then(|| figures::money(visit.language, &missing.to_string(), currency))
}
