//! What operators look at: how the projections are, live; and one of them with what can be done.

use askama::Template;
use serde_json::Value;

use super::{Asked, Deed, above, deeds};
use crate::{
    cell::Cell,
    figures, map,
    page::Content,
    visit::{Outcome, Visit},
};

struct Projection {
    name: String,
    address: String,
    version: String,
    position: String,
    lag: String,
    seconds: String,
    state: Cell,
    is_ailing: bool,
    error: Option<String>,
}

#[derive(Template)]
#[template(path = "projections.html")]
struct Projections<'a> {
    visit: &'a Visit,
    rows: Vec<Projection>,
}

impl Projections<'_> {
    fn say(&self, message: &str) -> String {
        self.visit.language.say(message)
    }
}

pub async fn projections(visit: &Visit, asked: Asked<'_>) -> Outcome {
    let answer = visit.read(asked.path).await?;
    let rows = answer.rows().iter().map(|row| of(visit, row)).collect();
    let page = Projections { visit, rows };
    let head = answer.body["head"].as_u64();
    let crumbs = above(visit, asked);
    Ok(Content::of(map::title(visit, asked.template()), &page).under(crumbs).at(head).shown(visit))
}

fn of(visit: &Visit, row: &Value) -> Projection {
    let number = |name: &str| figures::number(visit.language, &row[name].as_u64().unwrap_or_default().to_string());
    let name = row["name"].as_str().unwrap_or_default().to_owned();
    let state = row["state"].as_str().unwrap_or_default();
    let milliseconds = row["lag_milliseconds"].as_u64().unwrap_or_default();
    let seconds = format!("{}.{}", milliseconds / 1_000, milliseconds % 1_000 / 100);
    Projection {
        address: format!("/ops/projections/{name}"),
        name,
        version: number("version"),
        position: number("position"),
        lag: number("lag_events"),
        seconds: figures::number(visit.language, &seconds),
        state: Cell::of(visit, &crate::declared::Shape::Word(Vec::new()), &row["state"]),
        is_ailing: state != "running",
        error: row["error"].as_str().map(str::to_owned),
    }
}

#[derive(Template)]
#[template(path = "projection.html")]
struct OneProjection<'a> {
    visit: &'a Visit,
    it: Projection,
    deeds: Vec<Deed>,
    builds: Vec<(String, Cell)>,
    further: Vec<(String, Cell)>,
    operations: Vec<(String, Cell, Cell)>,
    is_live: bool,
}

impl OneProjection<'_> {
    fn say(&self, message: &str) -> String {
        self.visit.language.say(message)
    }
}

/// One projection: the build that serves beside the one that is made, and what can be done.
pub async fn projection(visit: &Visit, asked: Asked<'_>) -> Outcome {
    let answer = visit.read(asked.path).await?;
    let row = &answer.body;
    let mut builds = Vec::new();
    for name in ["building", "kept", "last_rebuild"] {
        if !row[name].is_null() {
            builds.push((visit.language.label(name), Cell::guess(visit, &row[name])));
        }
    }
    let mut further = Vec::new();
    for name in ["parked", "drifts"] {
        if row[name].as_array().is_some_and(|list| !list.is_empty()) {
            further.push((visit.language.label(name), Cell::guess(visit, &row[name])));
        }
    }
    let mut operations = Vec::new();
    if let Ok(all) = visit.read("/v1/operations").await {
        let own = all.body["operations"].as_array().into_iter().flatten().filter(|one| one["subject"] == row["name"]);
        for one in own.take(5) {
            let id = one["id"].as_str().unwrap_or_default();
            let status = Cell::of(visit, &crate::declared::Shape::Word(Vec::new()), &one["status"]);
            let kind = one["kind"].as_str().unwrap_or_default();
            operations.push((format!("/operations/{id}"), Cell::Text(visit.language.word(kind)), status));
        }
    }
    let page = OneProjection {
        visit,
        it: of(visit, row),
        deeds: deeds(visit, asked),
        is_live: !row["building"].is_null()
            || operations.iter().any(|(_, _, status)| matches!(status, Cell::Word(_, "waits"))),
        builds,
        further,
        operations,
    };
    let title = row["name"].as_str().unwrap_or_default().to_owned();
    let crumbs = above(visit, asked);
    Ok(Content::of(title, &page).under(crumbs).at(row["head"].as_u64()).shown(visit))
}
