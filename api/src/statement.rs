//! The statement of an account over HTTP: opening balance, lines, closing balance, as JSON or as CSV.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Days, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use daybook_core::{Position, spreadsheet::harmless};
use daybook_projections::statement::{self as read_model, Period, Place, StatementRow};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    account::existing,
    address::{Asked, Named},
    app::App,
    error::ApiError,
    read::{Fresh, Rows, known_at},
    wire::{AccountRef, Amount, Ref},
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StatementQuery {
    /// The first day, in the account's time zone; from the beginning, unless it is told.
    from: Option<NaiveDate>,
    /// The day after the last one, in the account's time zone; to the end, unless it is told.
    to: Option<NaiveDate>,
    /// What had been recorded up to this position of the book.
    as_known_at: Option<Position>,
    /// `json` or `csv`; as `Accept` says, unless it is told.
    #[param(inline)]
    format: Option<Format>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Json,
    Csv,
}

/// The statement of an account over some days.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatementShown {
    account: String,
    time_zone: String,
    from: Option<NaiveDate>,
    /// The day after the last one.
    to: Option<NaiveDate>,
    opening: Amount,
    closing: Amount,
    lines: Vec<LineShown>,
    /// The position of the book that the statement is made at.
    position: u64,
}

/// A line of a statement.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatementLine)]
pub struct LineShown {
    /// 1, 2, 3 and so on, in the order of recording.
    entry: i64,
    position: i64,
    /// When it took effect.
    occurred_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
    /// Where the money came from or what it went for: `payment`, `invoice` and so on.
    origin: String,
    origin_id: Option<String>,
    description: String,
    /// Positive for a credit, negative for a charge.
    amount: Amount,
    /// After this line.
    balance: Amount,
    due_on: Option<NaiveDate>,
    /// The entry that this one takes back.
    reverses: Option<i64>,
    /// The entry that took this one back.
    reversed_by: Option<i64>,
}

impl LineShown {
    fn of(row: StatementRow, balance: Decimal) -> Self {
        Self {
            amount: Amount::of(row.amount, &row.currency),
            balance: Amount::of(balance, &row.currency),
            entry: row.entry,
            position: row.position,
            occurred_at: row.occurred_at,
            recorded_at: row.recorded_at,
            origin: row.origin,
            origin_id: row.origin_id,
            description: row.description,
            due_on: row.due_on,
            reverses: row.reverses,
            reversed_by: row.reversed_by,
        }
    }
}

/// The statement of an account, in the order in which its entries took effect.
#[utoipa::path(
    get,
    path = "/v1/accounts/{id}/statement",
    params(StatementQuery),
    responses((status = 200, content((StatementShown = "application/json"), (String = "text/csv"))))
)]
pub async fn statement(
    State(app): State<App>,
    Named(Ref(id)): Named<AccountRef>,
    Asked(StatementQuery { from, to, as_known_at, format }): Asked<StatementQuery>,
    headers: HeaderMap,
    fresh: Fresh,
) -> Result<Response, ApiError> {
    if from.zip(to).is_some_and(|(from, to)| to < from) {
        let detail = "`to`: the day after the last one cannot come before the first one";
        return Err(ApiError::new("malformed-parameter", detail).with("parameter", "to"));
    }
    let mut rows = app.read_all(&["account_statement", "accounts"], fresh).await?;
    let account = existing(&mut rows, id.as_str()).await?;
    let zone: Tz = account.time_zone.parse().expect("a row holds a time zone that the domain has accepted");
    let midnight = |day: NaiveDate| midnight(day, zone);
    let period = Period { from: from.map(midnight), to: to.map(midnight), known_at: as_known_at.map(known_at) };
    let (opening, closing, lines) = whole(&mut rows, id.as_str(), &period).await?;
    let statement = StatementShown {
        account: account.id,
        time_zone: account.time_zone,
        from,
        to,
        opening: Amount::of(opening, &account.currency),
        closing: Amount::of(closing, &account.currency),
        lines,
        position: rows.position(),
    };
    match format.unwrap_or_else(|| wanted_format(&headers)) {
        Format::Json => Ok(rows.show(statement)),
        Format::Csv => Ok(rows.tell(as_csv(&statement, &account.currency))),
    }
}

/// All lines of a period, read in portions.
async fn whole(
    rows: &mut Rows,
    account: &str,
    period: &Period,
) -> Result<(Decimal, Decimal, Vec<LineShown>), ApiError> {
    const PORTION: i64 = 5_000;
    let first = read_model::statement(rows, account, period, None, PORTION).await?;
    let (opening, closing) = (first.opening, first.closing);
    let mut portion = first.lines;
    let mut lines = Vec::with_capacity(portion.len());
    loop {
        let full = portion.len() as i64 == PORTION;
        let last = portion.last().map(|(row, _)| Place { occurred_at: row.occurred_at, position: row.position });
        lines.extend(portion.into_iter().map(|(row, balance)| LineShown::of(row, balance)));
        match last {
            Some(last) if full => {
                portion = read_model::statement(rows, account, period, Some(last), PORTION).await?.lines;
            }
            _ => return Ok((opening, closing, lines)),
        }
    }
}

/// The first moment of a day. Where a clock was put forward at midnight, the day begins later.
fn midnight(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let midnight = day.and_time(NaiveTime::MIN);
    // A quarter of an hour divides every change of clocks there has been; a whole day was skipped in 2011 (Samoa).
    let quarters = (0..=4 * 24).map(|quarters| midnight + TimeDelta::minutes(15 * quarters));
    let begins = quarters.filter_map(|time| zone.from_local_datetime(&time).earliest()).next();
    begins.map_or_else(|| midnight.and_utc(), |time| time.to_utc())
}

fn wanted_format(headers: &HeaderMap) -> Format {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let csv = accept.split(',').any(|range| range.split(';').next().unwrap_or_default().trim() == "text/csv");
    if csv { Format::Csv } else { Format::Json }
}

const COLUMNS: [&str; 13] = [
    "row",
    "entry",
    "position",
    "occurred_at",
    "recorded_at",
    "origin",
    "origin_id",
    "description",
    "amount",
    "balance",
    "currency",
    "due_on",
    "reverses",
];

/// As RFC 4180 has it, with the opening and the closing balance as the first and the last row.
fn as_csv(statement: &StatementShown, currency: &str) -> Response {
    let mut table = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let mut write = |cells: [String; 13]| table.write_record(cells).expect("memory takes every row");
    let blank = String::new;
    let balance_row = |row: &str, day: Option<NaiveDate>, balance: Amount| {
        let mut cells: [String; 13] = std::array::from_fn(|_| blank());
        cells[0] = row.into();
        cells[3] = day.map(|day| day.to_string()).unwrap_or_default();
        cells[9] = balance.0.amount().to_string();
        cells[10] = currency.into();
        cells
    };
    write(COLUMNS.map(str::to_owned));
    write(balance_row("opening", statement.from, statement.opening));
    for line in &statement.lines {
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        write([
            "line".into(),
            line.entry.to_string(),
            line.position.to_string(),
            time(line.occurred_at),
            time(line.recorded_at),
            line.origin.clone(),
            harmless(line.origin_id.as_deref().unwrap_or_default()),
            harmless(&line.description),
            line.amount.0.amount().to_string(),
            line.balance.0.amount().to_string(),
            currency.into(),
            line.due_on.map(|day| day.to_string()).unwrap_or_default(),
            line.reverses.map(|entry| entry.to_string()).unwrap_or_default(),
        ]);
    }
    let last_day = statement.to.and_then(|to| to.checked_sub_days(Days::new(1)));
    write(balance_row("closing", last_day, statement.closing));
    let bytes = table.into_inner().expect("memory takes every row");
    let mut response = bytes.into_response();
    let content_type = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_moment(day: &str, zone: &str) -> String {
        midnight(day.parse().expect("a day"), zone.parse().expect("a zone")).to_rfc3339()
    }

    #[test]
    fn a_day_begins_at_its_local_midnight() {
        assert_eq!(first_moment("2026-04-01", "America/Los_Angeles"), "2026-04-01T07:00:00+00:00");
        assert_eq!(first_moment("2026-10-25", "Europe/Berlin"), "2026-10-24T22:00:00+00:00");
    }

    #[test]
    fn a_day_whose_midnight_was_skipped_begins_later() {
        assert_eq!(first_moment("2018-11-04", "America/Sao_Paulo"), "2018-11-04T03:00:00+00:00");
        assert_eq!(first_moment("2011-12-30", "Pacific/Apia"), first_moment("2011-12-31", "Pacific/Apia"));
    }
}
