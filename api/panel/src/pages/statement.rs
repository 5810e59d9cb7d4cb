//! The statement of an account: a month of it, what came in and went out, at two times: when it took effect, and what was known.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use serde_json::Value;

use super::{Asked, above};
use crate::{
    cell::{Cell, page_of},
    figures, form, map,
    page::Content,
    plot::{self, Point},
    visit::{Outcome, Refused, Visit, escaped},
};

struct Line {
    when: Cell,
    what: String,
    address: Option<String>,
    incoming: Option<Cell>,
    outgoing: Option<Cell>,
    balance: Cell,
    remark: Option<String>,
}

#[derive(Template)]
#[template(path = "statement.html")]
struct Statement<'a> {
    visit: &'a Visit,
    address: String,
    customer: Option<String>,
    account: String,
    month: String,
    shown: String,
    months: Vec<(String, String)>,
    before: String,
    after: Option<String>,
    opening: Cell,
    closing: Cell,
    lines: Vec<Line>,
    plot: String,
    forms: Vec<(&'static str, String)>,
    is_closed: bool,
    changed: Option<String>,
    proof: Option<String>,
}

impl Statement<'_> {
    fn say(&self, message: &str) -> String {
        self.visit.language.say(message)
    }
}

/// So many months can be chosen from.
const MONTHS: u32 = 36;

const FORMS: [(&str, &str, &str); 4] =
    [("CSV", "csv", "csv"), ("JSON", "json", "json"), ("TXT", "text", "txt"), ("HTML", "html", "html")];

pub async fn show(visit: &Visit, asked: Asked<'_>) -> Outcome {
    let of_account = asked.path.trim_end_matches("/statement");
    let account = visit.read(&format!("{of_account}{}", with_name(visit))).await?;
    let zone: Tz = account.body["time_zone"].as_str().and_then(|zone| zone.parse().ok()).unwrap_or(Tz::UTC);
    let month = match visit.asked("month") {
        Some(month) => format!("{month}-01").parse::<NaiveDate>().ok(),
        None => latest(visit, of_account, zone).await,
    };
    let month = month.ok_or_else(Refused::not_found).map(first_of)?;
    let next = month.checked_add_months(Months::new(1)).unwrap_or(month);
    let mut query = format!("from={month}&to={next}");
    for name in ["as_of", "as_known_at"] {
        if let Some(value) = visit.asked(name) {
            query += &format!("&{name}={}", escaped(&form::moment(visit, value)));
        }
    }
    if let Some((_, format, ending)) =
        visit.asked("format").and_then(|asked| FORMS.iter().find(|(_, name, _)| *name == asked))
    {
        return download(visit, &format!("{}?{query}&format={format}", asked.path), ending, month).await;
    }
    let answer = visit.read(&format!("{}?{query}", asked.path)).await?;
    let statement = &answer.body;
    let lines: Vec<Line> =
        statement["lines"].as_array().into_iter().flatten().map(|entry| line(visit, zone, entry)).collect();
    let changed = changed(visit, asked, &query, statement).await;
    let page = Statement {
        visit,
        address: asked.path["/v1".len()..].to_owned(),
        customer: account.body["customer"]["name"].as_str().map(str::to_owned),
        account: account.body["name"].as_str().unwrap_or_default().to_owned(),
        month: figures::month(visit.language, month),
        shown: month.format("%Y-%m").to_string(),
        months: months(visit, month, zone),
        before: visit
            .address_with(&[("month", month.checked_sub_months(Months::new(1)).map(short).as_deref()), ("done", None)]),
        after: (next <= today(visit, zone))
            .then(|| visit.address_with(&[("month", Some(&short(next))), ("done", None)])),
        opening: Cell::guess(visit, &statement["opening"]),
        closing: Cell::guess(visit, &statement["closing"]),
        plot: if lines.is_empty() { String::new() } else { picture(visit, month, next, zone, statement) },
        lines,
        forms: FORMS
            .map(|(name, format, _)| {
                (name, visit.address_with(&[("format", Some(format)), ("month", Some(&short(month)))]))
            })
            .into(),
        is_closed: statement["closed"] == true,
        changed,
        proof: visit
            .may_read(&format!("{}/proof", asked.path))
            .then(|| format!("{}/proof?{query}", &asked.path["/v1".len()..])),
    };
    let crumbs = above(visit, asked);
    let position = statement["position"].as_u64().or_else(|| answer.position());
    Ok(Content::of(map::title(visit, asked.template()), &page).under(crumbs).at(position).shown(visit))
}

fn with_name(visit: &Visit) -> &'static str {
    if visit.may_read("/v1/customers") { "?expand=customer" } else { "" }
}

fn first_of(day: NaiveDate) -> NaiveDate {
    day.with_day(1).unwrap_or(day)
}

fn short(month: NaiveDate) -> String {
    month.format("%Y-%m").to_string()
}

fn today(visit: &Visit, zone: Tz) -> NaiveDate {
    visit.house.app().clock().now().with_timezone(&zone).date_naive()
}

/// The month in which the account moved last; this one, if it never has.
async fn latest(visit: &Visit, of_account: &str, zone: Tz) -> Option<NaiveDate> {
    let this = today(visit, zone);
    if !visit.may_read("/v1/history") {
        return Some(this);
    }
    let id = of_account.rsplit('/').next().unwrap_or_default();
    let newest = visit.read(&format!("/v1/history?entity={id}&limit=1")).await.ok();
    let moment =
        newest.and_then(|newest| newest.rows().first()?["occurred_at"].as_str()?.parse::<DateTime<Utc>>().ok());
    Some(moment.map_or(this, |moment| moment.with_timezone(&zone).date_naive().min(this)))
}

fn months(visit: &Visit, month: NaiveDate, zone: Tz) -> Vec<(String, String)> {
    let newest = first_of(today(visit, zone)).max(month);
    let all = (0..MONTHS).filter_map(|back| newest.checked_sub_months(Months::new(back)));
    let mut months: Vec<(String, String)> =
        all.map(|month| (short(month), figures::month(visit.language, month))).collect();
    if !months.iter().any(|(value, _)| *value == short(month)) {
        months.push((short(month), figures::month(visit.language, month)));
    }
    months
}

fn line(visit: &Visit, zone: Tz, entry: &Value) -> Line {
    let amount = &entry["amount"];
    let is_out = super::accounts::is_negative(amount);
    let shown = Cell::guess(visit, amount);
    let (incoming, outgoing) = if is_out { (None, Some(shown)) } else { (Some(shown), None) };
    let moment = entry["occurred_at"].as_str().unwrap_or_default();
    let origin = entry["origin"].as_object().and_then(|origin| origin.iter().next());
    let address =
        origin.and_then(|(_, id)| id.as_str()).filter(|id| crate::declared::listing_of(id).is_some()).map(page_of);
    let mut remarks = Vec::new();
    if !entry["reversed_by"].is_null() {
        remarks.push(visit.language.say("reversed"));
    }
    if !entry["reverses"].is_null() {
        remarks.push(visit.language.say("reversal"));
    }
    if entry["dated_at"].is_string() {
        remarks.push(visit.language.say("dated-before-closing"));
    }
    Line {
        // Days of a ledger are those of its account.
        when: Cell::Moment(figures::moment(visit.language, zone, moment), moment.to_owned()),
        what: entry["description"].as_str().unwrap_or_default().to_owned(),
        address: address.filter(|address| visit.may_read(&format!("/v1{address}"))),
        incoming,
        outgoing,
        balance: Cell::guess(visit, &entry["balance"]),
        remark: (!remarks.is_empty()).then(|| remarks.join(", ")),
    }
}

fn picture(visit: &Visit, month: NaiveDate, next: NaiveDate, zone: Tz, statement: &Value) -> String {
    let days = (next - month).num_days().max(1);
    let amount =
        |money: &Value| money["amount"].as_str().and_then(|amount| amount.parse::<Decimal>().ok()).unwrap_or_default();
    let text = |money: &Value| Cell::guess(visit, money).plain();
    let opening = &statement["opening"];
    let mut points = vec![Point {
        name: visit.language.say("opening"),
        at: 0,
        value: amount(opening),
        text: text(opening),
        mark: None,
    }];
    for entry in statement["lines"].as_array().into_iter().flatten() {
        let moment = entry["occurred_at"].as_str().and_then(|moment| moment.parse::<DateTime<Utc>>().ok());
        let day = moment.map_or(month, |moment| moment.with_timezone(&zone).date_naive());
        let at = ((day - month).num_days() * 1_000 / days).clamp(0, 1_000);
        let what = entry["description"].as_str().unwrap_or_default();
        let origin = entry["origin"].as_object().and_then(|origin| origin.values().next()).and_then(Value::as_str);
        points.push(Point {
            name: format!("{} · {what}", figures::day(visit.language, &day.to_string())),
            at,
            value: amount(&entry["balance"]),
            text: text(&entry["balance"]),
            mark: origin
                .filter(|id| crate::declared::listing_of(id).is_some())
                .map(|id| (what.to_owned(), page_of(id))),
        });
    }
    let heads = [visit.language.label("occurred_at"), visit.language.label("balance")];
    let picture = plot::steps(visit, visit.language.say("balance-over-time"), heads, &points, None);
    picture.render().expect("memory takes every page")
}

/// How the closing balance of this month, as it was known then, differs from what is known now.
async fn changed(visit: &Visit, asked: Asked<'_>, query: &str, statement: &Value) -> Option<String> {
    visit.asked("as_known_at")?;
    let now: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("as_known_at=")).collect();
    let now = visit.read(&format!("{}?{}", asked.path, now.join("&"))).await.ok()?;
    let (then, now) = (&statement["closing"], &now.body["closing"]);
    if then == now {
        return Some(visit.language.say("unchanged-since"));
    }
    let (then, now) = (Cell::guess(visit, then).plain(), Cell::guess(visit, now).plain());
    Some(visit.language.say_with("changed-since", &[("then", &then), ("now", &now)]))
}

async fn download(visit: &Visit, address: &str, ending: &str, month: NaiveDate) -> Outcome {
    let mut response = visit.open(address, None).await;
    if response.status() != StatusCode::OK {
        let (mut parts, _) = response.into_parts();
        return Err(Refused::of(&mut parts));
    }
    let name = format!("attachment; filename=\"statement-{}.{ending}\"", short(month));
    if let Ok(name) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
