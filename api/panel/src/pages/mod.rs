//! The pages. What has no file here follows from what the API declares: [`list`] and [`thing`].

pub mod accounts;
pub mod audit;
pub mod home;
pub mod list;
pub mod operate;
pub mod orders;
pub mod payments;
pub mod reports;
pub mod search;
pub mod settings;
pub mod sign_in;
pub mod statement;
pub mod thing;
pub mod tickets;
pub mod why;

use axum::{
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};

use crate::{
    declared::{Declared, Operation},
    visit::{House, Outcome, Refused, Visit},
};

/// What is asked for: the operation that reads it, and its address in the API, without a query.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub operation: &'a Operation,
    pub path: &'a str,
}

impl Asked<'_> {
    /// The address of the page without what it names.
    pub fn template(&self) -> &str {
        self.operation.path.strip_prefix("/v1").unwrap_or_default()
    }

    /// What its address names last.
    pub fn id(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// Shows the page of an address of the API.
pub async fn show(State(house): State<House>, request: Request) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_read || !crate::is_of_pages(&request) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let (parts, _) = request.into_parts();
    let visit = Visit::of(&parts, &house);
    let is_known = visit.path == "/audit/difference" || house.api().reading(&format!("/v1{}", visit.path)).is_some();
    if !is_known {
        // A program gets what it gets at every address where nothing is.
        let wants_page = crate::page::is_wanted(&parts.headers);
        return if wants_page {
            visit.finish(Err(Refused::not_found()))
        } else {
            StatusCode::NOT_FOUND.into_response()
        };
    }
    if !visit.is_signed_in() {
        return visit.to_sign_in();
    }
    visit.finish(shown(&visit).await)
}

async fn shown(visit: &Visit) -> Outcome {
    if visit.path == "/audit/difference" {
        return audit::difference(visit).await;
    }
    let path = format!("/v1{}", visit.path);
    let (operation, _) = visit.house.api().reading(&path).ok_or_else(Refused::not_found)?;
    if !visit.may(operation) {
        let detail = visit.language.say("not-allowed");
        let status = StatusCode::FORBIDDEN;
        return Err(Refused { status, code: "forbidden-by-role".into(), detail, ..Refused::not_found() });
    }
    let asked = Asked { operation, path: &path };
    match asked.template() {
        "/customers/{id}" => settings::customer(visit, asked).await,
        "/accounts/{id}" => accounts::show(visit, asked).await,
        "/accounts/{id}/statement" => statement::show(visit, asked).await,
        "/accounts/{id}/balance/explanation" | "/invoices/{id}/due/explanation" => why::show(visit, asked).await,
        "/orders" => orders::list(visit, asked).await,
        "/orders/{id}" => orders::show(visit, asked).await,
        "/payments/{id}" => payments::show(visit, asked).await,
        "/tickets/{id}" => tickets::show(visit, asked).await,
        "/me" => settings::show(visit, asked).await,
        "/audit/events" => audit::events(visit, asked).await,
        "/audit/trial-balance" => audit::trial_balance(visit, asked).await,
        "/audit/proofs/inclusion" => audit::inclusion(visit, asked).await,
        "/ops/projections" => operate::projections(visit, asked).await,
        "/ops/projections/{name}" => operate::projection(visit, asked).await,
        _ if operation.rows().is_some() => list::show(visit, asked).await,
        _ => thing::show(visit, asked).await,
    }
}

/// Something to press.
#[derive(Clone, Debug)]
pub struct Deed {
    pub label: String,
    pub address: String,
}

/// What the visitor may do here, besides looking: each has a form.
pub fn deeds(visit: &Visit, asked: Asked<'_>) -> Vec<Deed> {
    let api = visit.house.api();
    let Some((_, values)) = api.reading(asked.path) else { return Vec::new() };
    let template = headed(api, &asked.operation.path);
    let mut deeds = Vec::new();
    let mut operations: Vec<&Operation> = api.deeds(template).filter(|operation| visit.may(operation)).collect();
    // What takes something away is not what is pressed first.
    operations.sort_by_key(|operation| operation.is_grave());
    for operation in operations {
        let names: Vec<&str> = operation.names().collect();
        // A part of the thing is named where the part is shown.
        if names.len() > values.len() {
            continue;
        }
        let query: Vec<String> =
            values.iter().map(|(name, value)| format!("{name}={}", crate::visit::escaped(&decoded(value)))).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        deeds.push(Deed { label: visit.language.deed(&operation.id), address: format!("/do/{}{query}", operation.id) });
    }
    deeds
}

/// The template under which all lies that the page of this one leads to. What has no page itself, such as `/v1/books`, belongs
/// to the pages below it.
fn headed<'a>(api: &Declared, template: &'a str) -> &'a str {
    let mut head = template;
    while let Some((parent, _)) = head.rsplit_once('/').filter(|(parent, _)| parent.len() > "/v1".len()) {
        if api.0.iter().any(|operation| operation.method == "GET" && operation.path == parent) {
            break;
        }
        head = parent;
    }
    head
}

/// What can be done with the parts of a thing, or the rows of a list, that have no page of their own: the operations, and the
/// name that stands for a part.
pub fn deeds_of_parts<'a>(visit: &'a Visit, template: &str, values: usize) -> Vec<(&'a Operation, String)> {
    let api = visit.house.api();
    let mut found = Vec::new();
    for operation in api.0.iter().filter(|operation| operation.method != "GET" && visit.may(operation)) {
        let Some(further) = operation.path.strip_prefix(template).and_then(|further| further.strip_prefix('/')) else {
            continue;
        };
        let first = further.split('/').next().unwrap_or_default();
        let Some(name) = first.strip_prefix('{').and_then(|name| name.strip_suffix('}')) else { continue };
        let has_page = api.0.iter().any(|other| other.method == "GET" && other.path == format!("{template}/{first}"));
        if !has_page && operation.names().count() == values + 1 {
            found.push((operation, name.to_owned()));
        }
    }
    found
}

/// The same for one of these parts, as links.
pub fn links_of_part(
    visit: &Visit,
    deeds: &[(&Operation, String)],
    values: &[(String, String)],
    part: &serde_json::Value,
) -> Vec<crate::cell::Cell> {
    let links = deeds.iter().filter_map(|(operation, name)| {
        let value = [name.as_str(), "id", "number"].iter().find_map(|member| match &part[*member] {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        let value = value.or_else(|| part.as_str().map(str::to_owned))?;
        let all = values.iter().map(|(name, value)| (name.as_str(), decoded(value))).chain([(name.as_str(), value)]);
        let query: Vec<String> = all.map(|(name, value)| format!("{name}={}", crate::visit::escaped(&value))).collect();
        Some(crate::cell::Cell::Link(
            format!("/do/{}?{}", operation.id, query.join("&")),
            visit.language.deed(&operation.id),
        ))
    });
    links.collect()
}

/// The value of a part of a path.
pub fn decoded(part: &str) -> String {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// The pages above that of an address.
pub fn above(visit: &Visit, asked: Asked<'_>) -> Vec<(String, String)> {
    let mut above = Vec::new();
    let mut path = asked.path;
    while let Some(at) = path.rfind('/').filter(|at| *at > "/v1".len()) {
        path = &path[..at];
        let Some((operation, _)) = visit.house.api().reading(path) else { continue };
        if visit.may(operation) {
            let page = &path["/v1".len()..];
            let label = if operation.path.ends_with('}') {
                visit.language.say("back-to-thing")
            } else {
                crate::map::title(visit, &operation.path["/v1".len()..])
            };
            above.push((label, page.to_owned()));
        }
    }
    above.push((visit.language.say("page-home"), "/".to_owned()));
    above.reverse();
    above
}
