//! A list: its filters, its order, its pages and its tables follow from what the API declares of it.

use askama::Template;
use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};

use serde_json::Value;

use super::{Asked, Deed, above, deeds};
use crate::{
    cell::{Cell, Head, Table},
    declared::Operation,
    form::{self, Field},
    map,
    page::{self, Content},
    visit::{Answer, Outcome, Refused, Visit, escaped},
};

#[derive(Template)]
#[template(path = "list.html")]
struct List<'a> {
    visit: &'a Visit,
    extra: String,
    filters: Vec<Field>,
    is_filtered: bool,
    sort: Option<&'a str>,
    table: Table,
    deeds: Vec<Deed>,
    tables: Vec<(&'static str, String)>,
    pager: Vec<(String, String)>,
    empty: String,
    takes_moment: bool,
}

impl List<'_> {
    fn say(&self, message: &str) -> String {
        self.visit.language.say(message)
    }

    /// Where the list is sorted by this column, or the other way round.
    fn by(&self, column: &str) -> String {
        let sort = match self.sort {
            Some(sort) if sort == column => format!("-{column}"),
            _ => column.to_owned(),
        };
        self.visit.address_with(&[("sort", Some(&sort)), ("cursor", None), ("done", None), ("at", None)])
    }
}

pub async fn show(visit: &Visit, asked: Asked<'_>) -> Outcome {
    if let Some(form) = visit.asked("format").and_then(media_type) {
        return table_of(visit, asked, form).await;
    }
    match visit.read(&address(visit, asked, true)).await {
        Ok(answer) => with(visit, asked, &answer, String::new()).await,
        // What was asked cannot be: the filters stay, with what is wrong with them.
        Err(refused) if refused.status == StatusCode::BAD_REQUEST => {
            let text = page::explained(visit, &refused);
            let extra = Wrong { text }.render().expect("memory takes every page");
            with(visit, asked, &Answer { headers: HeaderMap::new(), body: Value::Null }, extra).await
        }
        Err(refused) => Err(refused),
    }
}

#[derive(Template)]
#[template(source = r#"<p class="error" role="alert">{{ text }}</p>"#, ext = "html")]
struct Wrong {
    text: String,
}

/// The list, below something that stands above it.
pub async fn with(visit: &Visit, asked: Asked<'_>, answer: &Answer, extra: String) -> Outcome {
    let operation = asked.operation;
    let (member, columns) = operation.rows().ok_or_else(|| Refused::internal("it is no list"))?;
    let rows = answer.body[member].as_array().map_or(&[][..], Vec::as_slice);
    let mut table = Table::of(visit, columns, rows, true);
    let sort = visit.asked("sort");
    for head in &mut table.heads {
        let column = head.sort.take().filter(|column| operation.sorts.contains(column));
        head.sorted = match (column.as_deref(), sort) {
            (Some(column), Some(sort)) if sort == column => Some("ascending"),
            (Some(column), Some(sort)) if sort.strip_prefix('-') == Some(column) => Some("descending"),
            _ => None,
        };
        head.sort = column;
    }
    let of_rows = super::deeds_of_parts(visit, &operation.path, operation.names().count());
    if !of_rows.is_empty() && !rows.is_empty() {
        let values = visit.house.api().reading(asked.path).map(|(_, values)| values).unwrap_or_default();
        table.heads.push(Head::of(visit.language.say("deeds"), false));
        for (cells, row) in table.rows.iter_mut().zip(rows) {
            cells.push(Cell::List(super::links_of_part(visit, &of_rows, &values, row)));
        }
    }
    let filters = form::filters(visit, operation).await;
    let is_filtered = operation.query.iter().any(|filter| visit.asked(&filter.name).is_some());
    let title = map::title(visit, asked.template());
    let empty = if is_filtered { "empty-filtered" } else { "empty-list" };
    let list = List {
        visit,
        extra,
        filters,
        is_filtered,
        sort,
        table,
        deeds: deeds(visit, asked),
        tables: if operation.comes_as_table { tables(visit) } else { Vec::new() },
        pager: pager(visit, answer),
        empty: visit.language.say_with(empty, &[("things", &title)]),
        takes_moment: operation.takes_moment,
    };
    let crumbs = above(visit, asked);
    Ok(Content::of(title, &list).under(crumbs).at(answer.position()).shown(visit))
}

/// The address of the API at which the list is read that a page asks for.
pub fn address(visit: &Visit, asked: Asked<'_>, expands: bool) -> String {
    let operation = asked.operation;
    let mut query: Vec<(String, String)> = Vec::new();
    for filter in &operation.query {
        if let Some(value) = form::asked(visit, filter) {
            query.push((filter.name.clone(), value));
        }
    }
    let others = ["sort", "cursor", "limit", "as_of", "as_known_at"];
    for name in others.into_iter().filter(|name| takes(operation, name)) {
        if let Some(value) = visit.asked(name) {
            query.push((name.to_owned(), form::moment(visit, value)));
        }
    }
    if expands && let Some(expand) = expand(visit, operation) {
        query.push(("expand".into(), expand));
    }
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    if query.is_empty() { asked.path.to_owned() } else { format!("{}?{}", asked.path, query.join("&")) }
}

fn takes(operation: &Operation, name: &str) -> bool {
    match name {
        "sort" => !operation.sorts.is_empty(),
        "cursor" | "limit" => operation.is_paged,
        _ => operation.takes_moment,
    }
}

/// The identifiers in whose place the visitor may see names.
pub fn expand(visit: &Visit, operation: &Operation) -> Option<String> {
    let names = operation.expands.iter().filter(|name| visit.may_read(&format!("/v1/{}s", name.replace('_', "-"))));
    let names: Vec<&str> =
        names.map(String::as_str).filter(|name| visit.customer().is_none() || *name != "customer").collect();
    (!names.is_empty()).then(|| names.join(","))
}

const TABLES: [(&str, &str); 2] =
    [("csv", "text/csv"), ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")];

fn media_type(format: &str) -> Option<&'static str> {
    TABLES.iter().find(|(name, _)| *name == format).map(|(_, media_type)| *media_type)
}

fn tables(visit: &Visit) -> Vec<(&'static str, String)> {
    let address = |format: &str| visit.address_with(&[("format", Some(format)), ("cursor", None), ("done", None)]);
    vec![("CSV", address("csv")), ("XLSX", address("xlsx"))]
}

/// All of the list as a table, as the API writes it.
async fn table_of(visit: &Visit, asked: Asked<'_>, form: &'static str) -> Outcome {
    let mut response: Response = visit.open(&address(visit, asked, false), Some(form)).await;
    if response.status() != StatusCode::OK {
        let (mut parts, _) = response.into_parts();
        return Err(Refused::of(&mut parts));
    }
    let name = asked.template().trim_matches('/').replace('/', "-");
    let ending = TABLES.iter().find(|(_, media_type)| *media_type == form).map_or("", |(ending, _)| ending);
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"{name}.{ending}\"")) {
        response.headers_mut().entry(header::CONTENT_DISPOSITION).or_insert(name);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn pager(visit: &Visit, answer: &Answer) -> Vec<(String, String)> {
    let mut pager = Vec::new();
    for relation in ["first", "prev", "next"] {
        let Some(target) = answer.link(relation) else { continue };
        let query = target.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let cursor =
            form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "cursor").map(|(_, value)| value);
        if relation == "first" && visit.asked("cursor").is_none() {
            continue;
        }
        let address = visit.address_with(&[("cursor", cursor.as_deref()), ("done", None), ("at", None)]);
        pager.push((visit.language.say(&format!("pager-{relation}")), address));
    }
    // Listings that go by a number say which comes next.
    let next = answer.body["next_after"].as_u64();
    if let Some(next) = next.filter(|_| answer.body["has_more"] == true) {
        let address = visit.address_with(&[("after", Some(&next.to_string())), ("done", None)]);
        pager.push((visit.language.say("pager-next"), address));
    }
    pager
}
