//! Reports of what the data allow: what is due and for how long, revenue and tax by month, each at a position of the book.

use std::collections::BTreeMap;

use askama::Template;
use axum::response::Response;
use rust_decimal::Decimal;
use serde_json::Value;

use super::home::ageing;
use crate::{
    cell::{Cell, Head, Table},
    figures,
    page::Content,
    plot::{self, Piece},
    visit::{Answer, Outcome, Refused, Visit},
};

#[derive(Template)]
#[template(path = "reports.html")]
struct Reports<'a> {
    visit: &'a Visit,
    ageing: String,
    plots: String,
    months: Table,
    rates: Table,
    is_cut: bool,
}

pub async fn show(visit: Visit) -> Response {
    if !visit.is_signed_in() {
        return visit.to_sign_in();
    }
    visit.finish(shown(&visit).await)
}

/// So many documents are added up on a page; more are what the exports are for.
const MOST: usize = 5_000;

async fn shown(visit: &Visit) -> Outcome {
    let (invoices, position, is_cut) = documents(visit).await?;
    let today = visit.today();
    let due: Vec<&Value> = invoices.iter().filter(|invoice| invoice["status"] != "paid").collect();
    let amount = |value: &Value| value.as_str().and_then(|amount| amount.parse::<Decimal>().ok()).unwrap_or_default();
    let mut by_month: BTreeMap<(String, String), [Decimal; 3]> = BTreeMap::new();
    let mut by_rate: BTreeMap<(String, String, String), [Decimal; 2]> = BTreeMap::new();
    for invoice in &invoices {
        let month = invoice["issued_on"].as_str().and_then(|day| day.get(..7)).unwrap_or_default().to_owned();
        let currency = invoice["total"]["currency"].as_str().unwrap_or_default().to_owned();
        let sums = by_month.entry((month.clone(), currency.clone())).or_default();
        sums[0] += amount(&invoice["net"]);
        sums[1] += amount(&invoice["tax"]["amount"]);
        sums[2] += amount(&invoice["total"]["amount"]);
        for rate in invoice["rates"].as_array().into_iter().flatten() {
            let key = (month.clone(), rate["rate"].as_str().unwrap_or_default().to_owned(), currency.clone());
            let sums = by_rate.entry(key).or_default();
            sums[0] += amount(&rate["net"]);
            sums[1] += amount(&rate["tax"]["amount"]);
        }
    }
    let money =
        |amount: &Decimal, currency: &str| Cell::Money(figures::money(visit.language, &amount.to_string(), currency));
    let month = |month: &str| {
        Cell::Text(
            format!("{month}-01").parse().map_or(month.to_owned(), |first| figures::month(visit.language, first)),
        )
    };
    let head = |name: &str, is_figure: bool| Head::of(visit.language.label(name), is_figure);
    let months = Table {
        heads: vec![head("month", false), head("net", true), head("tax", true), head("total", true)],
        rows: by_month
            .iter()
            .rev()
            .map(|((of, currency), sums)| {
                let mut row = vec![month(of)];
                row.extend(sums.iter().map(|sum| money(sum, currency)));
                row
            })
            .collect(),
    };
    let rates = Table {
        heads: vec![head("month", false), head("rate", true), head("net", true), head("tax", true)],
        rows: by_rate
            .iter()
            .rev()
            .map(|((of, rate, currency), sums)| {
                let rate = Cell::Number(format!("{}\u{a0}%", figures::number(visit.language, rate)));
                vec![month(of), rate, money(&sums[0], currency), money(&sums[1], currency)]
            })
            .collect(),
    };
    let plots = plots(visit, &by_month);
    let page = Reports { visit, ageing: ageing(visit, &due, today), plots, months, rates, is_cut };
    let home = vec![(visit.language.say("page-home"), "/".to_owned())];
    Ok(Content::of(visit.language.say("page-reports"), &page).under(home).at(position).shown(visit))
}

/// So many months are drawn.
const DRAWN: usize = 12;

/// What was invoiced in the last months, in each currency.
fn plots(visit: &Visit, by_month: &BTreeMap<(String, String), [Decimal; 3]>) -> String {
    let mut currencies: Vec<&str> = by_month.keys().map(|(_, currency)| currency.as_str()).collect();
    currencies.sort_unstable();
    currencies.dedup();
    let mut plots = String::new();
    for currency in currencies {
        let of_it: Vec<_> = by_month.iter().filter(|((_, other), _)| other == currency).collect();
        let drawn = of_it.iter().skip(of_it.len().saturating_sub(DRAWN));
        let pieces: Vec<Piece> = drawn
            .map(|((month, _), sums)| Piece {
                label: month.clone(),
                value: sums[2],
                text: figures::money(visit.language, &sums[2].to_string(), currency),
                class: "whole",
                address: None,
            })
            .collect();
        let title = visit.language.say_with("invoiced-by-month", &[("currency", currency)]);
        let heads = [visit.language.label("month"), visit.language.label("total")];
        plots += &plot::bars(visit, title, heads, &pieces).render().expect("memory takes every page");
    }
    plots
}

/// The invoices, the newest first, all at one position of the book.
async fn documents(visit: &Visit) -> Result<(Vec<Value>, Option<u64>, bool), Refused> {
    let mut all = Vec::new();
    let mut next = Some("/v1/invoices?limit=200".to_owned());
    let mut position = None;
    while let Some(address) = next.take() {
        let answer: Answer = visit.read(&address).await?;
        position = position.or_else(|| answer.position());
        all.extend(answer.rows().iter().cloned());
        if all.len() >= MOST {
            return Ok((all, position, answer.body["has_more"] == true));
        }
        next = answer.link("next");
    }
    Ok((all, position, false))
}
