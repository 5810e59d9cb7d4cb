//! A payment: where its money went, as a picture whose widths are amounts.

use askama::Template;
use rust_decimal::Decimal;
use serde_json::Value;

use super::{Asked, thing};
use crate::{
    cell::page_of,
    figures,
    plot::{self, Piece},
    visit::{Outcome, Visit},
};

pub async fn show(visit: &Visit, asked: Asked<'_>) -> Outcome {
    let answer = thing::read(visit, asked).await?;
    let payment = &answer.body;
    let mut pieces = Vec::new();
    if let Ok(covered) = visit.read(&format!("{}/allocations", asked.path)).await {
        for allocation in covered.rows() {
            let target = allocation["target"].as_object().and_then(|target| target.iter().next());
            let (kind, id) = target.map_or(("", None), |(kind, id)| (kind.as_str(), id.as_str()));
            let address = id.map(page_of).filter(|address| visit.may_read(&format!("/v1{address}")));
            pieces.push(piece(visit, visit.language.word(kind), &allocation["amount"], "used", address));
        }
    }
    for (member, class) in [("returned", "returned"), ("disputed", "bad"), ("free", "free")] {
        pieces.push(piece(visit, visit.language.label(member), &payment[member], class, None));
    }
    let whole = piece(visit, visit.language.label("received"), &payment["received"], "whole", None);
    let extra = if whole.value.is_zero() {
        String::new()
    } else {
        let heads = [visit.language.say("flow-where"), visit.language.label("amount")];
        let flow = plot::flow(visit, visit.language.say("flow"), heads, &whole, &pieces);
        flow.render().expect("memory takes every page")
    };
    thing::with(visit, asked, &answer, extra, &[]).await
}

fn piece(visit: &Visit, label: String, money: &Value, class: &'static str, address: Option<String>) -> Piece {
    let (amount, currency) = (money["amount"].as_str().unwrap_or("0"), money["currency"].as_str().unwrap_or_default());
    Piece {
        label,
        value: amount.parse::<Decimal>().unwrap_or_default(),
        text: figures::money(visit.language, amount, currency),
        class,
        address,
    }
}
