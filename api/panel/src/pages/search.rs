//! Search: whatever has this name, number or identifier, among what the visitor may see.

use askama::Template;
use axum::response::{IntoResponse, Redirect, Response};

use crate::{
    cell::{self, Cell, page_of},
    declared::listing_of,
    map,
    page::Content,
    visit::{Outcome, Visit, escaped},
};

struct Found {
    title: String,
    cells: Vec<Cell>,
    more: Option<String>,
}

#[derive(Template)]
#[template(path = "search.html")]
struct Search<'a> {
    visit: &'a Visit,
    asked: &'a str,
    found: Vec<Found>,
}

/// Where is looked, and by which filter.
const WHERE: [(&str, &str); 8] = [
    ("customers", "name"),
    ("customers", "email"),
    ("users", "name"),
    ("payers", "name"),
    ("invoices", "number"),
    ("credit-notes", "number"),
    ("orders", "description"),
    ("tickets", "subject"),
];

pub async fn show(visit: Visit) -> Response {
    if !visit.is_signed_in() {
        return visit.to_sign_in();
    }
    visit.finish(shown(&visit).await)
}

async fn shown(visit: &Visit) -> Outcome {
    let asked = visit.asked("q").unwrap_or_default().trim().to_owned();
    // An identifier names its page.
    if let Some(listing) = listing_of(&asked)
        && visit.may_read(&format!("/v1/{listing}"))
    {
        return Ok(Redirect::to(&page_of(&escaped(&asked).replace("%3A", ":"))).into_response());
    }
    let mut found: Vec<Found> = Vec::new();
    for (listing, filter) in WHERE.iter().filter(|_| !asked.is_empty()) {
        let path = format!("/v1/{listing}");
        if !visit.may_read(&path) {
            continue;
        }
        let query = format!("{filter}={}", escaped(&asked));
        // What cannot be such a name is no such thing.
        let Ok(answer) = visit.read(&format!("{path}?{query}&limit=10")).await else { continue };
        let cells = answer.rows().iter().filter_map(|thing| {
            let id = thing["id"].as_str()?;
            let label = cell::label(visit, thing.as_object()?).unwrap_or_else(|| cell::short(id));
            Some(Cell::Link(page_of(id), label))
        });
        let cells: Vec<Cell> = cells.collect();
        let more = (answer.body["has_more"] == true).then(|| format!("/{listing}?{query}"));
        if !cells.is_empty() {
            found.push(Found { title: map::title(visit, &format!("/{listing}")), cells, more });
        }
    }
    let page = Search { visit, asked: &asked, found };
    let home = vec![(visit.language.say("page-home"), "/".to_owned())];
    Ok(Content::of(visit.language.say("search"), &page).under(home).shown(visit))
}
