//! What auditors look at: the events, the trial balance, how it differs between two moments, and proofs.

use askama::Template;
use serde_json::Value;

use super::{Asked, above, list, thing};
use crate::{
    cell::{Cell, Head, Table},
    declared::{Shape, listing_of},
    figures, form, map,
    page::Content,
    visit::{Outcome, Refused, Visit, escaped},
};

struct Event {
    position: String,
    text: String,
    stream: Cell,
    actor: String,
    when: Cell,
    recorded: Cell,
    version: String,
    raw: String,
    proof: String,
}

#[derive(Template)]
#[template(path = "events.html")]
struct Events<'a> {
    visit: &'a Visit,
    events: Vec<Event>,
    next: Option<String>,
    before: Option<String>,
}

impl Events<'_> {
    fn say(&self, message: &str) -> String {
        self.visit.language.say(message)
    }

    fn asked(&self, name: &str) -> &str {
        self.visit.asked(name).unwrap_or_default()
    }

    /// How many rows a page may have, none of which is too long for a slow line.
    fn rows(&self) -> [(&'static str, bool); 3] {
        let asked = self.visit.asked("limit").unwrap_or("20");
        ["10", "20", "50"].map(|rows| (rows, rows == asked))
    }
}

pub async fn events(visit: &Visit, asked: Asked<'_>) -> Outcome {
    let mut query: Vec<String> = Vec::new();
    for filter in &asked.operation.query {
        if let Some(value) = form::asked(visit, filter) {
            query.push(format!("{}={}", filter.name, escaped(&value)));
        }
    }
    query.push(format!("limit={}", escaped(visit.asked("limit").unwrap_or("20"))));
    let answer = visit.read(&format!("{}?{}", asked.path, query.join("&"))).await?;
    let events: Vec<Event> = answer.rows().iter().map(|row| event(visit, row)).collect();
    let next = answer.body["next_after"].as_u64().filter(|_| answer.body["has_more"] == true);
    let after: u64 = visit.asked("after").and_then(|after| after.parse().ok()).unwrap_or_default();
    let limit: u64 = visit.asked("limit").and_then(|limit| limit.parse().ok()).unwrap_or(20);
    let filters = ["event_type", "stream", "actor", "amount", "text"];
    let is_filtered = filters.iter().any(|filter| visit.asked(filter).is_some());
    let page = Events {
        visit,
        events,
        next: next.map(|next| visit.address_with(&[("after", Some(&next.to_string()))])),
        before: (after > 0 && !is_filtered)
            .then(|| visit.address_with(&[("after", Some(&after.saturating_sub(limit).to_string()))])),
    };
    let crumbs = above(visit, asked);
    Ok(Content::of(map::title(visit, asked.template()), &page).under(crumbs).at(answer.position()).shown(visit))
}

fn event(visit: &Visit, row: &Value) -> Event {
    let text = |name: &str| row[name].as_str().unwrap_or_default();
    let position = row["position"].as_u64().unwrap_or_default();
    let id = text("aggregate_id");
    let stream = match listing_of(id) {
        Some(_) => Cell::Link(
            crate::cell::page_of(id),
            format!("{} {}", visit.language.word(text("aggregate_type")), crate::cell::short(id)),
        ),
        None => Cell::Text(format!("{} {id}", visit.language.word(text("aggregate_type")))),
    };
    Event {
        position: figures::number(visit.language, &position.to_string()),
        text: thing::sentence(visit, text("event_type")),
        stream,
        actor: thing::actor(visit, row["metadata"]["actor"].as_str().unwrap_or_default()),
        when: Cell::of(visit, &Shape::Moment, &row["metadata"]["occurred_at"]),
        recorded: Cell::of(visit, &Shape::Moment, &row["recorded_at"]),
        version: format!("{} {}", text("event_type"), text("event_version")),
        raw: serde_json::to_string_pretty(row).unwrap_or_default(),
        proof: format!("/audit/proofs/inclusion?position={position}"),
    }
}

/// The trial balance, with its sums.
pub async fn trial_balance(visit: &Visit, asked: Asked<'_>) -> Outcome {
    let address = list::address(visit, asked, false);
    let answer = visit.read(&address).await?;
    let rows = answer.rows();
    let mut table = Table {
        heads: ["ledger_account", "currency", "debit", "credit", "balance"]
            .iter()
            .enumerate()
            .map(|(at, name)| Head::of(visit.language.label(name), at > 1))
            .collect(),
        rows: Vec::new(),
    };
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default();
        let number = |name: &str| Cell::Number(figures::number(visit.language, text(name)));
        // The legs behind a figure.
        let journal = text("journal").replacen("/v1", "", 1);
        let name = Cell::Link(journal, visit.language.word(text("ledger_account")));
        table.rows.push(vec![
            name,
            Cell::Text(text("currency").into()),
            number("debit"),
            number("credit"),
            number("balance"),
        ]);
    }
    let page = Balances { visit, table, moments: false };
    let crumbs = above(visit, asked);
    Ok(Content::of(map::title(visit, asked.template()), &page).under(crumbs).at(answer.position()).shown(visit))
}

#[derive(Template)]
#[template(path = "balances.html")]
struct Balances<'a> {
    visit: &'a Visit,
    table: Table,
    moments: bool,
}

impl Balances<'_> {
    fn say(&self, message: &str) -> String {
        self.visit.language.say(message)
    }

    fn asked(&self, name: &str) -> &str {
        self.visit.asked(name).unwrap_or_default()
    }
}

/// How the trial balance differs between two moments, each of which has two times: when it took effect, and what was known.
pub async fn difference(visit: &Visit) -> Outcome {
    if !visit.may_read("/v1/audit/trial-balance") {
        return Err(Refused::not_found());
    }
    let address = |number: &str| {
        let times = [("as_of", format!("as_of_{number}")), ("as_known_at", format!("as_known_at_{number}"))];
        let query: Vec<String> = times
            .iter()
            .filter_map(|(name, field)| Some(format!("{name}={}", escaped(&form::moment(visit, visit.asked(field)?)))))
            .collect();
        format!("/v1/audit/trial-balance?{}", query.join("&"))
    };
    let (one, other) = (visit.read(&address("1")).await?, visit.read(&address("2")).await?);
    let mut names: Vec<(String, String)> = Vec::new();
    for row in one.rows().iter().chain(other.rows()) {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let name = (text("ledger_account"), text("currency"));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let balance = |rows: &[Value], name: &(String, String)| {
        let row =
            rows.iter().find(|row| row["ledger_account"] == name.0.as_str() && row["currency"] == name.1.as_str());
        row.and_then(|row| row["balance"].as_str()).unwrap_or("0").to_owned()
    };
    let mut table = Table {
        heads: ["ledger_account", "currency", "first_moment", "second_moment", "difference"]
            .iter()
            .enumerate()
            .map(|(at, name)| Head::of(visit.language.label(name), at > 1))
            .collect(),
        rows: Vec::new(),
    };
    for name in &names {
        let (first, second) = (balance(one.rows(), name), balance(other.rows(), name));
        let difference = match (first.parse::<rust_decimal::Decimal>(), second.parse::<rust_decimal::Decimal>()) {
            (Ok(first), Ok(second)) => (second - first).normalize().to_string(),
            _ => String::new(),
        };
        let number = |plain: &str| Cell::Number(figures::number(visit.language, plain));
        table.rows.push(vec![
            Cell::Text(visit.language.word(&name.0)),
            Cell::Text(name.1.clone()),
            number(&first),
            number(&second),
            number(&difference),
        ]);
    }
    let page = Balances { visit, table, moments: true };
    let crumbs = vec![
        (visit.language.say("page-home"), "/".to_owned()),
        (map::title(visit, "/audit/trial-balance"), "/audit/trial-balance".to_owned()),
    ];
    Ok(Content::of(map::title(visit, "/audit/difference"), &page).under(crumbs).at(other.position()).shown(visit))
}

#[derive(Template)]
#[template(path = "proof.html")]
struct Proof<'a> {
    visit: &'a Visit,
    position: &'a str,
    raw: String,
    download: String,
}

/// The proof that an event is in the log, with the command that checks it.
pub async fn inclusion(visit: &Visit, asked: Asked<'_>) -> Outcome {
    let position = visit.asked("position").unwrap_or("1");
    let address = format!("{}?position={}", asked.path, escaped(position));
    let answer = visit.read(&address).await?;
    if visit.asked("format") == Some("json") {
        let mut response = visit.open(&address, None).await;
        let name = format!("attachment; filename=\"proof-{}.json\"", escaped(position));
        if let Ok(name) = name.parse() {
            response.headers_mut().insert(axum::http::header::CONTENT_DISPOSITION, name);
        }
        return Ok(response);
    }
    let page = Proof {
        visit,
        position,
        raw: serde_json::to_string_pretty(&answer.body).unwrap_or_default(),
        download: format!("{}?position={}&format=json", visit.path, escaped(position)),
    };
    let crumbs = above(visit, asked);
    Ok(Content::of(map::title(visit, asked.template()), &page).under(crumbs).shown(visit))
}
