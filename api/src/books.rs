//! The books over HTTP: closing a period, and which periods are closed.

use axum::{extract::State, response::Response};
use chrono::{DateTime, NaiveDate, Utc};
use daybook_core::operations::{ClosePeriod, Operation};
use daybook_projections::books::{self as read_model, ClosedPeriodRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        error::ApiError,
        listing::{Paged, Paging},
        moment::AskedMoment,
        page::Page,
        time::Day,
        wire::{Label, Nothing, Sentence},
        write::{Writing, Written},
    },
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Closing {
    /// The last day that is closed. It must be over, and later than the day that was closed before.
    through: Day,
    /// IANA name; the day ends at midnight there. Accounts further west end their day, and so their month, later: their
    /// statements of that month stay open until a later day is closed.
    #[schema(example = "Europe/Berlin")]
    time_zone: Label,
    reason: Option<Sentence>,
}

/// Closes the books through a day, for ever. What takes effect in a closed period and is recorded later takes effect at
/// the first moment that is open, and keeps as `dated_at` the moment that was asked for.
#[utoipa::path(post, path = "/v1/books/close", request_body = Closing, responses((status = 200, body = PeriodClosed)))]
pub async fn close(State(app): State<App>, Writing { body, request }: Writing<Closing>) -> Result<Written, ApiError> {
    let Closing { through: Day(through), time_zone, reason } = body;
    let operation = Operation::ClosePeriod(ClosePeriod { through, time_zone: time_zone.into() });
    let command = request.command(operation, None, reason)?;
    app.change(command, &[("period-already-closed", "/through"), ("period-not-over", "/through")]).await
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
struct PeriodClosed {
    through: NaiveDate,
    time_zone: String,
    /// The first moment that is open.
    open_from: DateTime<Utc>,
}

/// A period that is closed: all that had taken effect before `open_from`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClosedPeriod {
    /// The last day that is closed.
    through: NaiveDate,
    time_zone: String,
    /// The first moment that is open.
    open_from: DateTime<Utc>,
    /// Who closed it.
    actor: Option<String>,
    reason: Option<String>,
    closed_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
    /// Of the event that closed it; statements of the period are made at this position.
    position: i64,
}

impl From<ClosedPeriodRow> for ClosedPeriod {
    fn from(row: ClosedPeriodRow) -> Self {
        Self {
            through: row.through,
            time_zone: row.time_zone,
            open_from: row.open_from,
            actor: row.actor,
            reason: row.reason,
            closed_at: row.closed_at,
            recorded_at: row.recorded_at,
            position: row.position,
        }
    }
}

/// The closed periods, the newest first.
#[utoipa::path(get, path = "/v1/books/periods", params(Paging, AskedMoment), responses((status = 200, body = Page<ClosedPeriod>)))]
pub async fn list_periods(
    State(app): State<App>,
    Paged { question: Nothing {}, paging, asking, addressed }: Paged<Nothing>,
) -> Result<Response, ApiError> {
    let walk = app.walk(addressed, paging)?;
    let mut rows = app.read_kept(&["closed_periods"], asking).await?;
    let at = rows.moment();
    let found = read_model::list(&mut rows, &at, walk.before(), walk.rows()).await?;
    Ok(rows.answer(walk.page(found, |row| row.position, ClosedPeriod::from)))
}
