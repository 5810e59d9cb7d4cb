//! Home: whether all is well, and what needs the reader.

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Days, NaiveDate, Utc};
use chrono_tz::Tz;
use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde_json::Value;

use super::accounts::is_negative;
use crate::{
    cell::{Cell, page_of},
    figures,
    page::Content,
    plot::{self, Piece, Point},
    visit::{Outcome, Visit},
};

struct Account {
    address: String,
    name: String,
    balance: Cell,
    is_debt: bool,
    available: Option<Cell>,
    lasts: Option<String>,
    plot: String,
}

struct Need {
    is_urgent: bool,
    text: String,
    address: String,
    figure: Option<Cell>,
}

#[derive(Template)]
#[template(path = "home.html")]
struct Home<'a> {
    visit: &'a Visit,
    accounts: Vec<Account>,
    needs: Vec<Need>,
    tiles: Vec<(String, String, String)>,
    ageing: String,
    first: Option<(String, String)>,
}

impl Home<'_> {
    fn say(&self, message: &str) -> String {
        self.visit.language.say(message)
    }
}

pub async fn show(visit: Visit) -> Response {
    if !visit.is_signed_in() {
        return visit.to_sign_in();
    }
    visit.finish(shown(&visit).await)
}

async fn shown(visit: &Visit) -> Outcome {
    let mut home =
        Home { visit, accounts: Vec::new(), needs: Vec::new(), tiles: Vec::new(), ageing: String::new(), first: None };
    let mut position = None;
    if visit.customer().is_some() {
        position = of_customer(visit, &mut home).await?;
    } else {
        of_provider(visit, &mut home, &mut position).await?;
    }
    Ok(Content::of(visit.language.say("page-home"), &home).at(position).shown(visit))
}

/// So many accounts are shown with what has moved on them.
const ACCOUNTS: usize = 4;

/// So far back.
const BACK: u64 = 90;

async fn of_customer(visit: &Visit, home: &mut Home<'_>) -> Result<Option<u64>, crate::visit::Refused> {
    let mut position = None;
    let today = visit.today();
    if visit.may_read("/v1/accounts") {
        let accounts = visit.read("/v1/accounts?limit=50").await?;
        position = accounts.position();
        for account in accounts.rows().iter().take(ACCOUNTS) {
            home.accounts.push(account_of(visit, account).await);
        }
    }
    if visit.may_read("/v1/invoices") {
        let mut due: Vec<Value> = Vec::new();
        for status in ["issued", "part_paid"] {
            let address = format!("/v1/invoices?status={status}&sort=due_on&limit=100");
            let invoices = visit.read(&address).await?;
            position = position.or_else(|| invoices.position());
            due.extend(invoices.rows().iter().cloned());
            if invoices.body["has_more"] == true {
                home.needs.push(Need {
                    is_urgent: false,
                    text: visit.language.say("need-more-invoices"),
                    address: format!("/invoices?status={status}&sort=due_on"),
                    figure: None,
                });
            }
        }
        // Days read in their order as texts, too.
        due.sort_by(|one, other| one["due_on"].as_str().cmp(&other["due_on"].as_str()));
        let due: Vec<&Value> = due.iter().collect();
        for invoice in &due {
            let due_on = invoice["due_on"].as_str().unwrap_or_default();
            let number = invoice["number"].as_str().unwrap_or_default();
            let on = figures::day(visit.language, due_on);
            home.needs.push(Need {
                is_urgent: due_on < today.to_string().as_str(),
                text: visit.language.say_with("need-invoice", &[("number", number), ("day", &on)]),
                address: page_of(invoice["id"].as_str().unwrap_or_default()),
                figure: Some(Cell::guess(visit, &invoice["due"])),
            });
        }
        if !due.is_empty() {
            home.ageing = ageing(visit, &due, today);
        }
    }
    if visit.may_read("/v1/orders") {
        let orders = visit.read("/v1/orders?status=open&limit=20").await?;
        for order in orders.rows() {
            let what = order["description"].as_str().unwrap_or_default();
            home.needs.push(Need {
                is_urgent: false,
                text: visit.language.say_with("need-order", &[("order", what)]),
                address: page_of(order["id"].as_str().unwrap_or_default()),
                figure: Some(Cell::guess(visit, &order["total"])),
            });
        }
    }
    if visit.may_read("/v1/tickets") {
        let tickets = visit.read("/v1/tickets?status=answered&archived=false&limit=20").await?;
        for ticket in tickets.rows() {
            let subject = ticket["subject"].as_str().unwrap_or_default();
            home.needs.push(Need {
                is_urgent: false,
                text: visit.language.say_with("need-ticket", &[("subject", subject)]),
                address: page_of(ticket["id"].as_str().unwrap_or_default()),
                figure: None,
            });
        }
    }
    home.needs.sort_by_key(|need| !need.is_urgent);
    let first = [("tickets_open", "first-ticket"), ("payments_start", "first-payment")];
    home.first = first.iter().find_map(|(operation, message)| {
        let found = visit.house.api().named(operation).filter(|operation| visit.may(operation))?;
        Some((visit.language.say(message), format!("/do/{}", found.id)))
    });
    Ok(position)
}

/// From so many days on, what was spent says how long the rest lasts.
const SETTLED: i64 = 14;

fn moment(value: &Value) -> Option<DateTime<Utc>> {
    value.as_str()?.parse().ok()
}

async fn account_of(visit: &Visit, account: &Value) -> Account {
    let id = account["id"].as_str().unwrap_or_default();
    let zone: Tz = account["time_zone"].as_str().and_then(|zone| zone.parse().ok()).unwrap_or(visit.zone);
    let today = visit.house.app().clock().now().with_timezone(&zone).date_naive();
    let from = today.checked_sub_days(Days::new(BACK)).unwrap_or(today);
    let to = today.checked_add_days(Days::new(1)).unwrap_or(today);
    let statement = visit.read(&format!("/v1/accounts/{id}/statement?from={from}&to={to}")).await.ok();
    let lines =
        statement.as_ref().and_then(|statement| statement.body["lines"].as_array()).cloned().unwrap_or_default();
    let amount =
        |money: &Value| money["amount"].as_str().and_then(|amount| amount.parse::<Decimal>().ok()).unwrap_or_default();
    // What was taken back was not spent.
    let stands = |line: &&Value| line["reverses"].is_null() && line["reversed_by"].is_null();
    let amounts = lines.iter().filter(stands).map(|line| amount(&line["amount"]));
    let spent: Decimal = amounts.filter(|amount| amount.is_sign_negative()).sum();
    let available = amount(&account["available"]);
    let opened = moment(&account["opened_at"]).map_or(from, |opened| opened.with_timezone(&zone).date_naive());
    let days = (today - opened.max(from)).num_days();
    let is_known = days >= SETTLED && !spent.is_zero() && available > Decimal::ZERO;
    let lasts = is_known.then(|| {
        let left = (available * Decimal::from(days) / -spent).floor().to_u64().unwrap_or(u64::MAX);
        visit.language.count("lasts-days", left)
    });
    let opening = statement.as_ref().map(|statement| &statement.body["opening"]).unwrap_or(&account["balance"]);
    let mut points = vec![Point {
        name: figures::day(visit.language, &from.to_string()),
        at: 0,
        value: amount(opening),
        text: Cell::guess(visit, opening).plain(),
        mark: None,
    }];
    for line in &lines {
        let day = moment(&line["occurred_at"]).map_or(from, |moment| moment.with_timezone(&zone).date_naive());
        let what = line["description"].as_str().unwrap_or_default();
        let origin = line["origin"].as_object().and_then(|origin| origin.values().next()).and_then(Value::as_str);
        points.push(Point {
            name: format!("{} · {what}", figures::day(visit.language, &day.to_string())),
            at: ((day - from).num_days() * 1_000 / (BACK as i64 + 1)).clamp(0, 1_000),
            value: amount(&line["balance"]),
            text: Cell::guess(visit, &line["balance"]).plain(),
            mark: origin
                .filter(|id| crate::declared::listing_of(id).is_some())
                .map(|id| (what.to_owned(), page_of(id))),
        });
    }
    let limit = amount(&account["credit_limit"]);
    let limit = (!limit.is_zero()).then_some(-limit);
    let name = account["name"].as_str().unwrap_or_default().to_owned();
    let title = visit.language.say_with("balance-of", &[("account", &name)]);
    let heads = [visit.language.label("occurred_at"), visit.language.label("balance")];
    let plot = plot::steps(visit, title, heads, &points, limit).render().expect("memory takes every page");
    Account {
        address: format!("/accounts/{id}"),
        name,
        balance: Cell::guess(visit, &account["balance"]),
        is_debt: is_negative(&account["balance"]),
        available: (!account["available"].is_null()).then(|| Cell::guess(visit, &account["available"])),
        lasts,
        plot,
    }
}

/// What is due, by how long it has been.
pub fn ageing(visit: &Visit, invoices: &[&Value], today: NaiveDate) -> String {
    let mut currencies: Vec<&str> = invoices.iter().filter_map(|invoice| invoice["due"]["currency"].as_str()).collect();
    currencies.sort_unstable();
    currencies.dedup();
    let mut all = String::new();
    for currency in currencies {
        let mut sums = [Decimal::ZERO; 4];
        for invoice in invoices.iter().filter(|invoice| invoice["due"]["currency"] == currency) {
            let due_on = invoice["due_on"].as_str().and_then(|day| day.parse::<NaiveDate>().ok()).unwrap_or(today);
            let bucket = match (today - due_on).num_days() {
                ..=0 => 0,
                1..=30 => 1,
                31..=60 => 2,
                _ => 3,
            };
            sums[bucket] +=
                invoice["due"]["amount"].as_str().and_then(|due| due.parse::<Decimal>().ok()).unwrap_or_default();
        }
        let classes = ["free", "returned", "used", "bad"];
        let pieces: Vec<Piece> = sums
            .iter()
            .enumerate()
            .map(|(number, sum)| Piece {
                label: visit.language.say(&format!("ageing-{number}")),
                value: *sum,
                text: figures::money(visit.language, &sum.to_string(), currency),
                class: classes[number],
                address: None,
            })
            .collect();
        let heads = [visit.language.say("ageing-since"), visit.language.label("due")];
        let title = visit.language.say_with("ageing", &[("currency", currency)]);
        all += &plot::parts(visit, title, heads, &pieces).render().expect("memory takes every page");
    }
    all
}

/// What staff, auditors and operators begin with: each what waits for them.
async fn of_provider(
    visit: &Visit,
    home: &mut Home<'_>,
    position: &mut Option<u64>,
) -> Result<(), crate::visit::Refused> {
    let api = visit.house.api();
    let may = |operation: &str| api.named(operation).is_some_and(|operation| visit.may(operation));
    let say = |message: &str| visit.language.say(message);
    if may("tickets_take_up") && visit.may_read("/v1/tickets") {
        for status in ["open", "in_progress"] {
            let tickets = visit.read(&format!("/v1/tickets?status={status}&archived=false&limit=20")).await?;
            *position = tickets.position();
            for ticket in tickets.rows() {
                let subject = ticket["subject"].as_str().unwrap_or_default();
                home.needs.push(Need {
                    is_urgent: status == "open",
                    text: visit.language.say_with("work-ticket", &[("subject", subject)]),
                    address: page_of(ticket["id"].as_str().unwrap_or_default()),
                    figure: Some(Cell::of(visit, &crate::declared::Shape::Moment, &ticket["last_message_at"])),
                });
            }
        }
    }
    if may("payments_credit") && visit.may_read("/v1/payments") {
        for status in ["new", "in_progress", "pledged"] {
            let payments = visit.read(&format!("/v1/payments?status={status}&limit=20")).await?;
            for payment in payments.rows() {
                let method = payment["method"].as_str().unwrap_or_default();
                home.needs.push(Need {
                    is_urgent: false,
                    text: visit
                        .language
                        .say_with("work-payment", &[("method", method), ("status", &visit.language.word(status))]),
                    address: page_of(payment["id"].as_str().unwrap_or_default()),
                    figure: Some(Cell::guess(visit, &payment["amount"])),
                });
            }
        }
    }
    if may("sign_ups_make_link")
        && let Ok(waiting) = visit.read("/v1/sign-ups").await
    {
        let count =
            waiting.body.as_object().and_then(|body| body.values().find_map(Value::as_array)).map_or(0, Vec::len);
        if count > 0 {
            home.needs.push(Need {
                is_urgent: false,
                text: visit.language.count("work-sign-ups", count as u64),
                address: "/sign-ups".into(),
                figure: None,
            });
        }
    }
    if visit.may_read("/v1/audit/trial-balance") {
        let balance = visit.read("/v1/audit/trial-balance").await?;
        *position = position.or_else(|| balance.position());
        let mut sums: Vec<(String, Decimal)> = Vec::new();
        for row in balance.rows() {
            let currency = row["currency"].as_str().unwrap_or_default();
            let amount = row["balance"].as_str().and_then(|amount| amount.parse::<Decimal>().ok()).unwrap_or_default();
            match sums.iter_mut().find(|(other, _)| other == currency) {
                Some((_, sum)) => *sum += amount,
                None => sums.push((currency.to_owned(), amount)),
            }
        }
        for (currency, sum) in sums {
            let message = if sum.is_zero() { "in-balance" } else { "out-of-balance" };
            home.tiles.push((
                visit.language.say_with("trial-balance-of", &[("currency", &currency)]),
                say(message),
                format!("/audit/trial-balance?currency={currency}"),
            ));
        }
        if let Ok(latest) = visit.read("/v1/audit/checkpoints/latest").await {
            let size = latest.body["size"].as_u64().unwrap_or_default().to_string();
            home.tiles.push((
                say("latest-checkpoint"),
                visit.language.say_with("events-signed", &[("count", &figures::number(visit.language, &size))]),
                "/audit/checkpoints".into(),
            ));
        }
    }
    if visit.may_read("/v1/ops/projections")
        && let Ok(projections) = visit.read("/v1/ops/projections").await
    {
        let ailing = projections.rows().iter().filter(|row| row["state"] != "running").count();
        home.tiles.push((
            say("page-ops-projections"),
            if ailing == 0 { say("all-run") } else { visit.language.count("some-ail", ailing as u64) },
            "/ops/projections".into(),
        ));
    }
    Ok(())
}
