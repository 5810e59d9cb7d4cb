//! Why a figure is what it is: each event that changed it, with the rule, who did it, and the figure before and after.

use askama::Template;
use serde_json::Value;

use super::{Asked, above, thing};
use crate::{
    cell::Cell,
    declared::Shape,
    map,
    page::Content,
    visit::{Outcome, Visit},
};

struct Step {
    number: Cell,
    what: String,
    rule: Option<String>,
    when: Cell,
    by: String,
    reason: Option<String>,
    before: Cell,
    amount: Cell,
    after: Cell,
    position: String,
    address: Option<String>,
    postings: Option<Cell>,
}

#[derive(Template)]
#[template(path = "why.html")]
struct Why<'a> {
    visit: &'a Visit,
    steps: Vec<Step>,
    pager: Option<String>,
}

impl Why<'_> {
    fn say(&self, message: &str) -> String {
        self.visit.language.say(message)
    }
}

pub async fn show(visit: &Visit, asked: Asked<'_>) -> Outcome {
    let answer = visit.read(&super::list::address(visit, asked, false)).await?;
    let steps = answer.rows().iter().map(|step| of(visit, step)).collect();
    let next = answer.link("next").and_then(|target| {
        let (_, query) = target.split_once('?')?;
        let cursor = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "cursor")?.1.into_owned();
        Some(visit.address_with(&[("cursor", Some(&cursor))]))
    });
    let why = Why { visit, steps, pager: next };
    let crumbs = above(visit, asked);
    Ok(Content::of(map::title(visit, asked.template()), &why).under(crumbs).at(answer.position()).shown(visit))
}

fn of(visit: &Visit, step: &Value) -> Step {
    let text = |name: &str| step[name].as_str().unwrap_or_default();
    let position = step["position"].as_u64().unwrap_or_default();
    let postings = &step["postings"];
    Step {
        number: Cell::guess(visit, &step["number"]),
        what: thing::sentence(visit, text("event_type")),
        rule: step["rule"]["name"].as_str().map(|name| {
            let message = visit.language.find(&format!("rule-{name}"), &[]);
            message.unwrap_or_else(|| step["rule"]["text"].as_str().unwrap_or_default().to_owned())
        }),
        when: Cell::of(visit, &Shape::Moment, &step["occurred_at"]),
        by: thing::actor(visit, text("actor")),
        reason: step["reason"].as_str().map(str::to_owned),
        before: Cell::guess(visit, &step["before"]),
        amount: Cell::guess(visit, &step["amount"]),
        after: Cell::guess(visit, &step["after"]),
        position: position.to_string(),
        address: visit
            .may_read("/v1/audit/events")
            .then(|| format!("/audit/events?after={}&limit=1", position.saturating_sub(1))),
        postings: postings.as_array().filter(|postings| !postings.is_empty()).map(|_| Cell::guess(visit, postings)),
    }
}
