//! The statement of an account over HTTP: opening balance, lines, closing balance. The statement of a closed period stays
//! as it was when the period was closed, to the byte and in every form.

mod csv;
mod format;
mod html;
mod text;
mod words;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Days, NaiveDate, Utc};
use chrono_tz::Tz;
use daybook_core::{domain::Currency, midnight};
use daybook_projections::{
    Moment, Plans, books,
    statement::{self as read_model, Period, StatementLine},
};
pub use format::Format;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    account::existing,
    app::App,
    http::{
        address::{AskedAt, Named},
        error::ApiError,
        listing::Asking,
        moment::AskedMoment,
        tagged::{Origin, Tagged},
        time::AskedDay,
        wire::{AccountRef, Amount, Ref},
    },
};

/// So many lines are read at a time.
const PORTION: usize = 5_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StatementQuery {
    /// The first day, in the account's time zone; from the beginning, unless one is given.
    #[param(inline)]
    from: Option<AskedDay>,
    /// The day after the last one, in the account's time zone; to the end, unless one is given.
    #[param(inline)]
    to: Option<AskedDay>,
    /// `json`, `csv`, `html` or `text`; as `Accept` says, unless one is given.
    #[param(inline)]
    format: Option<Format>,
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
    /// Whether the whole of it lies in a closed period: then it does not change any more.
    closed: bool,
    /// The position of the book that the statement is made at; of a closed one, where the period was closed.
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
    /// When it would have taken effect, had that period not been closed.
    dated_at: Option<DateTime<Utc>>,
    recorded_at: DateTime<Utc>,
    /// Where the money came from or what it went for.
    #[schema(value_type = Origin, inline = false)]
    origin: Tagged,
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

impl StatementShown {
    fn currency(&self) -> &'static str {
        self.opening.0.currency().code()
    }

    fn zone(&self) -> Tz {
        self.time_zone.parse().expect("a row holds a time zone that the domain has accepted")
    }

    fn last_day(&self) -> Option<NaiveDate> {
        self.to.and_then(|to| to.checked_sub_days(Days::new(1)))
    }
}

impl LineShown {
    fn of(line: StatementLine, currency: Currency) -> Self {
        Self {
            amount: Amount::in_currency(line.amount, currency),
            balance: Amount::in_currency(line.balance, currency),
            entry: line.entry,
            position: line.position,
            occurred_at: line.occurred_at,
            dated_at: line.dated_at,
            recorded_at: line.recorded_at,
            origin: Tagged::of(line.origin, line.origin_id),
            description: line.description,
            due_on: line.due_on,
            reverses: line.reverses,
            reversed_by: line.reversed_by,
        }
    }
}

/// The statement of an account, in the order in which its entries took effect.
#[utoipa::path(
    get,
    path = "/v1/accounts/{id}/statement",
    params(StatementQuery, AskedMoment),
    responses((status = 200, content(
        (StatementShown = "application/json"), (String = "text/csv"), (String = "text/html"), (String = "text/plain"),
    )))
)]
pub async fn statement(
    State(app): State<App>,
    Named(Ref(id)): Named<AccountRef>,
    AskedAt(StatementQuery { from, to, format }, asking): AskedAt<StatementQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (from, to) = (from.map(|AskedDay(day)| day), to.map(|AskedDay(day)| day));
    if from.zip(to).is_some_and(|(from, to)| to < from) {
        let detail = "`to`: the day after the last one cannot come before the first one";
        return Err(ApiError::new("malformed-parameter", detail).with("parameter", "to"));
    }
    let read_from = ["account_statement", "accounts", "closed_periods"];
    let mut rows = app.read_kept_with(Plans::Kept, &read_from, asking.clone()).await?;
    let account = existing(&mut rows, id.as_str()).await?;
    let zone: Tz = account.time_zone.parse().expect("a row holds a time zone that the domain has accepted");
    let midnight = |day: NaiveDate| midnight(day, zone);
    let (begin, end) = (from.map(midnight), to.map(midnight));
    // Whatever came after the closing took effect later, or is a link to something that did.
    let closed_at = match end {
        Some(end) => {
            let asked = rows.asked();
            books::closed_at(&mut rows, end, &asked).await?.map(i64::unsigned_abs)
        }
        None => None,
    };
    // That the period is closed may be known before the rows of the account have come so far.
    if let Some(closed_at) = closed_at.filter(|closed_at| *closed_at > rows.position()) {
        drop(rows);
        let asking = Asking { fresh: asking.fresh.reaching(closed_at), ..asking };
        rows = app.read_kept_with(Plans::Kept, &read_from, asking).await?;
    }
    let (at, head) = (rows.moment(), rows.position());
    let known = closed_at.or(at.known_at);
    let period = Period { from: begin, to: end, moment: Moment { known_at: known, ..at } };
    let read = read_model::statement(&mut rows, id.as_str(), &period, PORTION).await?;
    let (opening, closing) =
        (Amount::of(read.opening, &account.currency), Amount::of(read.closing(), &account.currency));
    let currency = opening.0.currency();
    let statement = StatementShown {
        account: account.id,
        time_zone: account.time_zone,
        from,
        to,
        opening,
        closing,
        lines: read.lines.into_iter().map(|line| LineShown::of(line, currency)).collect(),
        closed: closed_at.is_some(),
        position: known.unwrap_or(head),
    };
    Ok(match format.unwrap_or_else(|| Format::wanted(&headers)) {
        Format::Json => rows.show(statement),
        Format::Csv => rows.answer(written(csv::CONTENT_TYPE, csv::write(&statement))),
        Format::Html => rows.answer(html::page(&statement)),
        Format::Text => rows.answer(written(text::CONTENT_TYPE, text::write(&statement))),
    })
}

fn written(content_type: &'static str, content: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], content).into_response()
}
