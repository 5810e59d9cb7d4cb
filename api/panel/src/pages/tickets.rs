//! A ticket as a conversation.

use askama::Template;

use super::{Asked, thing};
use crate::{
    cell::Cell,
    declared::Shape,
    form,
    visit::{Outcome, Visit},
};

struct Message {
    is_ours: bool,
    who: String,
    when: Cell,
    text: String,
}

#[derive(Template)]
#[template(path = "ticket.html")]
struct Conversation<'a> {
    visit: &'a Visit,
    messages: Vec<Message>,
    status: Cell,
    answer: Option<String>,
    key: String,
    side: &'static str,
}

pub async fn show(visit: &Visit, asked: Asked<'_>) -> Outcome {
    let answer = thing::read(visit, asked).await?;
    let is_customer = visit.customer().is_some();
    let messages = answer.body["messages"].as_array().into_iter().flatten().map(|message| {
        let side = message["side"].as_str().unwrap_or_default();
        Message {
            is_ours: (side == "customer") == is_customer,
            who: visit.language.say(if side == "customer" { "side-customer" } else { "side-provider" }),
            when: Cell::of(visit, &Shape::Moment, &message["written_at"]),
            text: message["message"].as_str().unwrap_or_default().to_owned(),
        }
    });
    let may_write = visit.house.api().named("tickets_write").is_some_and(|operation| visit.may(operation));
    let is_archived = answer.body["archived"] == true;
    let page = Conversation {
        visit,
        messages: messages.collect(),
        status: Cell::of(visit, &Shape::Word(Vec::new()), &answer.body["status"]),
        answer: (may_write && !is_archived).then(|| format!("/do/tickets_write?id={}", asked.id())),
        key: uuid::Uuid::now_v7().to_string(),
        side: form::side(visit),
    };
    let extra = page.render().expect("memory takes every page");
    thing::with(visit, asked, &answer, extra, &["messages", "status", "subject"]).await
}
