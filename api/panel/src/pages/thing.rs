//! One thing: what it is, what belongs to it, what can be done with it, and what has become of it.

use askama::Template;
use serde_json::Value;

use super::{Asked, Deed, above, deeds};
use crate::{
    cell::{self, Cell, Head},
    declared::{Member, Shape, listing_of},
    map,
    page::Content,
    visit::{Answer, Outcome, Visit, escaped},
};

#[derive(Template)]
#[template(path = "thing.html")]
struct Thing<'a> {
    visit: &'a Visit,
    extra: String,
    members: Vec<(String, Cell)>,
    tables: Vec<(String, Cell)>,
    deeds: Vec<Deed>,
    parts: Vec<(String, String)>,
    history: Vec<Happened>,
    all_of_history: Option<String>,
}

impl Thing<'_> {
    fn say(&self, message: &str) -> String {
        self.visit.language.say(message)
    }
}

/// An event in the history of a thing.
#[derive(Debug)]
pub struct Happened {
    pub what: String,
    pub when: Cell,
    pub by: String,
    pub reason: Option<String>,
    pub position: String,
    /// Where it stands in the book, if the visitor may look there.
    pub address: Option<String>,
}

pub async fn show(visit: &Visit, asked: Asked<'_>) -> Outcome {
    let answer = read(visit, asked).await?;
    with(visit, asked, &answer, String::new(), &[]).await
}

/// The thing, with names in the place of identifiers.
pub async fn read(visit: &Visit, asked: Asked<'_>) -> Result<Answer, crate::visit::Refused> {
    visit.read(&super::list::address(visit, asked, true)).await
}

/// The thing below something that stands above it, without the members that are shown there.
pub async fn with(visit: &Visit, asked: Asked<'_>, answer: &Answer, extra: String, without: &[&str]) -> Outcome {
    let api = visit.house.api();
    let declared: &[Member] = if let Shape::Object(members) = &asked.operation.answer { members } else { &[] };
    let nothing = serde_json::Map::new();
    let thing = answer.body.as_object().unwrap_or(&nothing);
    let known = declared.iter().map(|member| (member.name.as_str(), member.shape.clone()));
    let others = thing.keys().filter(|name| !declared.iter().any(|member| member.name == **name));
    let all = known.chain(others.map(|name| (name.as_str(), Shape::Any)));
    let values = api.reading(asked.path).map(|(_, values)| values).unwrap_or_default();
    let (mut members, mut tables) = (Vec::new(), Vec::new());
    for (name, shape) in all {
        let value = thing.get(name).unwrap_or(&Value::Null);
        if without.contains(&name) || value.is_null() || *value == Value::Array(Vec::new()) {
            continue;
        }
        let mut shown = Cell::of(visit, &shape, value);
        let label = visit.language.label(name);
        let of_parts = super::deeds_of_parts(visit, &format!("{}/{name}", asked.operation.path), values.len());
        if let (false, Value::Array(parts)) = (of_parts.is_empty(), value) {
            let links = |part| Cell::List(super::links_of_part(visit, &of_parts, &values, part));
            match &mut shown {
                Cell::Table(table) => {
                    table.heads.push(Head::of(visit.language.say("deeds"), false));
                    for (cells, part) in table.rows.iter_mut().zip(parts) {
                        cells.push(links(part));
                    }
                }
                // A list of words: each is said, and what can be done with it.
                _ => {
                    shown = Cell::Members(
                        parts.iter().map(|part| (part.as_str().unwrap_or_default().to_owned(), links(part))).collect(),
                    )
                }
            }
        }
        match shown {
            Cell::Table(_) => tables.push((label, shown)),
            _ => members.push((label, shown)),
        }
    }
    let id = super::decoded(asked.id());
    let (history, all_of_history) = history(visit, &id).await;
    let name = cell::label(visit, thing).unwrap_or_else(|| map::title(visit, asked.template()));
    let page = Thing {
        visit,
        extra,
        members,
        tables,
        deeds: deeds(visit, asked),
        parts: parts(visit, asked),
        history,
        all_of_history,
    };
    let crumbs = above(visit, asked);
    Ok(Content::of(name, &page).under(crumbs).at(answer.position()).shown(visit))
}

/// The pages below that of the thing.
fn parts(visit: &Visit, asked: Asked<'_>) -> Vec<(String, String)> {
    let template = asked.operation.path.as_str();
    let below = visit.house.api().0.iter().filter(|operation| operation.method == "GET" && visit.may(operation));
    let mut parts: Vec<(String, String)> = below
        .filter_map(|operation| {
            let further = operation.path.strip_prefix(template)?.strip_prefix('/')?;
            let page = operation.path.strip_prefix("/v1")?;
            let is_plain = !further.contains('{');
            is_plain.then(|| (map::title(visit, page), format!("{}/{further}", &asked.path["/v1".len()..])))
        })
        .collect();
    let id = asked.id();
    // What lists all of an account's, or a customer's.
    for (listing, filter) in LISTED_BY {
        let matches = match listing_of(id) {
            Some("customers") => *filter == "customer",
            Some("accounts") => *filter == "account",
            _ => false,
        };
        if matches && visit.may_read(&format!("/v1/{listing}")) {
            parts.push((map::title(visit, &format!("/{listing}")), format!("/{listing}?{filter}={id}")));
        }
    }
    parts
}

const LISTED_BY: &[(&str, &str)] = &[
    ("accounts", "customer"),
    ("payers", "customer"),
    ("users", "customer"),
    ("tickets", "customer"),
    ("services", "customer"),
    ("payments", "account"),
    ("orders", "account"),
    ("invoices", "account"),
    ("expenses", "account"),
];

/// So many events of a thing stand on its page.
const SHOWN: usize = 20;

/// What has become of a thing, the newest first; and where all of it stands, if that is more.
pub async fn history(visit: &Visit, id: &str) -> (Vec<Happened>, Option<String>) {
    if listing_of(id).is_none() || !visit.may_read("/v1/history") {
        return (Vec::new(), None);
    }
    let query = format!("entity={}", escaped(id));
    let Ok(answer) = visit.read(&format!("/v1/history?{query}&limit={SHOWN}")).await else { return (Vec::new(), None) };
    let happened = answer.rows().iter().map(|event| happened(visit, event)).collect();
    let more = (answer.body["has_more"] == true).then(|| format!("/history?{query}"));
    (happened, more)
}

pub fn happened(visit: &Visit, event: &Value) -> Happened {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let position = event["position"].as_u64().unwrap_or_default();
    Happened {
        what: sentence(visit, &text("event_type")),
        when: Cell::of(visit, &Shape::Moment, &event["occurred_at"]),
        by: actor(visit, &text("actor")),
        reason: event["reason"].as_str().map(str::to_owned),
        position: position.to_string(),
        address: visit
            .may_read("/v1/audit/events")
            .then(|| format!("/audit/events?after={}&limit=1", position.saturating_sub(1))),
    }
}

/// What an event says, in a sentence.
pub fn sentence(visit: &Visit, event_type: &str) -> String {
    let message = format!("event-{}", event_type.replace(['.', '_'], "-"));
    visit.language.find(&message, &[]).unwrap_or_else(|| crate::words::spoken(event_type))
}

/// Who did it.
pub fn actor(visit: &Visit, actor: &str) -> String {
    let (kind, name) = actor.split_once(':').unwrap_or((actor, ""));
    let kind = visit.language.word(kind);
    if name.is_empty() {
        return kind;
    }
    let name = if listing_of(name).is_some() { cell::short(name) } else { name.to_owned() };
    format!("{kind} {name}")
}
