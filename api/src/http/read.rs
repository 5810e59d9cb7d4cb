//! Requests that read: one moment of the read model, at least as fresh as was asked for, which stands in the answer.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, request::Parts},
    response::{IntoResponse, Response},
};
use daybook_core::Position;
use daybook_projections::{
    Chosen, Freshness, Moment, Place, Plans, RowOrder, Snapshot, Viewer,
    listing::{self, Found, Listed},
};
use serde::Serialize;
use sqlx::PgConnection;

use crate::{
    app::App,
    http::{
        error::ApiError,
        header::malformed,
        listing::Asking,
        page::{Addressed, CursorKey, Page, Wanted},
        past::Admitted,
        wire::{self, json},
        write::LEDGER_POSITION,
    },
};

pub const MIN_POSITION: &str = "min-position";
const PREFER: &str = "prefer";
pub const PROJECTION_VERSION: HeaderName = HeaderName::from_static("projection-version");
const WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: u64 = 30;

/// How fresh the caller wants the answer: `Min-Position`, and in `Prefer` how long to wait for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fresh(Option<Freshness>);

impl<S: Sync> FromRequestParts<S> for Fresh {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(position) = parts.headers.get(MIN_POSITION) else { return Ok(Self(None)) };
        let position = position.to_str().ok().and_then(wire::position);
        let position = position.ok_or_else(|| malformed(MIN_POSITION, "a position is a whole number"))?;
        Ok(Self(Some(Freshness { position, wait: waiting(&parts.headers) })))
    }
}

/// How long the caller wants to wait for rows, as `Prefer` says.
pub fn waiting(headers: &HeaderMap) -> Duration {
    let preferences = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    // What a preference says beyond that is none of ours (RFC 7240).
    preferences
        .flat_map(|value| value.split(','))
        .find_map(|preference| preference.trim().strip_prefix("wait=")?.trim_matches('"').parse().ok())
        .map_or(WAIT, |seconds: u64| Duration::from_secs(seconds.min(LONGEST_WAIT)))
}

impl Fresh {
    /// Fresh enough for what had been recorded then, too.
    fn including(self, moment: Moment) -> Option<Freshness> {
        moment.known_at.map_or(self, |known_at| self.reaching(known_at)).0
    }

    /// Fresh enough for what stands at a position, too.
    pub fn reaching(self, wanted: Position) -> Self {
        let Freshness { position, wait } = self.0.unwrap_or(Freshness { position: 0, wait: WAIT });
        Self(Some(Freshness { position: position.max(wanted), wait }))
    }
}

/// Rows of one projection at one moment. Derefs to the connection that the queries run on.
#[derive(Debug)]
pub struct Rows {
    snapshot: Snapshot,
    name: &'static str,
    asked: Moment,
    moment: Moment,
    /// Whether the rows have to be brought back before they can be read.
    folded_back: bool,
    /// Of the past.
    admitted: Option<Admitted>,
}

/// The way through the rows of a listing to the page that is asked for.
#[derive(Debug)]
pub struct Walk<'a> {
    key: &'a CursorKey,
    addressed: Addressed,
    pub steps: Steps,
}

/// Which rows of a listing are read, and how far that is.
#[derive(Debug)]
pub struct Steps {
    wanted: Wanted,
    order: RowOrder,
    progress: Progress,
}

/// How far the reading of a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Unread,
    /// Down to the row that the event at this position made.
    Back(i64),
    /// The same, and no further for this page.
    Bounded(i64),
    Done,
    /// Of now.
    AtOnce,
}

/// So many rows are looked through for a page of the past at most; one that is not full may have more after it.
const LOOKED_THROUGH: i64 = 1_000;

impl App {
    /// The rows of several projections whose tables keep every position: the queries choose by the moment themselves,
    /// which is the position of the one furthest behind where they differ. The answer has the version of the first one.
    pub async fn read_kept(&self, projections: &[&'static str], asking: Asking) -> Result<Rows, ApiError> {
        self.read_kept_with(Plans::Usual, projections, asking).await
    }

    /// The same, for queries that are planned like this.
    pub async fn read_kept_with(
        &self,
        plans: Plans,
        projections: &[&'static str],
        Asking { viewer, moment, fresh }: Asking,
    ) -> Result<Rows, ApiError> {
        let asked = self.moment(moment).await?;
        let fresh = fresh.including(asked);
        let admitted = if asked.is_now() { None } else { Some(self.admitted(projections, fresh).await?) };
        let mut snapshot = self.reader().snapshot_with(plans, &viewer, projections, fresh).await?;
        if let Some(admitted) = &admitted {
            bound(&mut snapshot, admitted).await?;
        }
        let moment = shared(&snapshot, asked);
        Ok(Rows { snapshot, name: projections[0], asked, moment, folded_back: false, admitted })
    }

    /// The rows of several projections as they were at a moment, of which there are none before they are brought back;
    /// of now, those that are furthest ahead are brought back to where the others are. The answer has the version of the first one.
    pub async fn read_at(
        &self,
        projections: &[&'static str],
        Asking { viewer, moment, fresh }: Asking,
    ) -> Result<Rows, ApiError> {
        let asked = self.moment(moment).await?;
        let (name, fresh) = (projections[0], fresh.including(asked));
        let mut moment = asked;
        if asked.is_now() {
            let snapshot = self.reader().snapshot(&viewer, projections, fresh).await?;
            if snapshot.is_abreast() {
                return Ok(Rows { snapshot, name, asked, moment, folded_back: false, admitted: None });
            }
            moment = shared(&snapshot, asked);
        }
        let admitted = self.admitted(projections, fresh).await?;
        let mut snapshot = admitted.within(self.reader().snapshot_of_past(&viewer, projections, fresh, moment)).await?;
        bound(&mut snapshot, &admitted).await?;
        Ok(Rows { snapshot, name, asked, moment, folded_back: true, admitted: Some(admitted) })
    }

    /// Lets a read of the past in, once it need not wait for projections any more.
    async fn admitted(&self, projections: &[&'static str], fresh: Option<Freshness>) -> Result<Admitted, ApiError> {
        self.reader().wait_for_all(projections, fresh).await?;
        self.past().admit().await
    }

    /// The row of a projection with this key, and what belongs to it, as they were at a moment.
    pub async fn read_one(&self, projection: &'static str, key: &str, asking: Asking) -> Result<Rows, ApiError> {
        let mut rows = self.read_at(&[projection], asking).await?;
        rows.bring_back(projection, &[key.to_owned()]).await?;
        Ok(rows)
    }
}

/// Lets no statement of a read take longer than the read itself may: what nobody waits for any more ends, too.
async fn bound(snapshot: &mut Snapshot, admitted: &Admitted) -> Result<(), ApiError> {
    let statement = format!("set local statement_timeout = {}", admitted.left().as_millis());
    sqlx::query(&statement).persistent(false).execute(&mut **snapshot).await?;
    Ok(())
}

/// The moment that rows of several projections have in common.
fn shared(snapshot: &Snapshot, moment: Moment) -> Moment {
    let known_at = (!snapshot.is_abreast()).then(|| snapshot.position());
    Moment { known_at: moment.known_at.or(known_at), ..moment }
}

impl<'a> Walk<'a> {
    pub fn new(key: &'a CursorKey, addressed: Addressed, wanted: Wanted) -> Self {
        Self { key, addressed, steps: Steps::to(wanted) }
    }

    /// Through the rows in this order. A cursor is good for one order.
    pub fn in_order(mut self, order: RowOrder) -> Self {
        self.steps.order = if self.steps.wanted.is_backwards { order.backwards() } else { order };
        self
    }

    /// The way to the first page, if this one leads back.
    pub fn again(&mut self, order: RowOrder) -> bool {
        let is_backwards = self.steps.wanted.is_backwards;
        if is_backwards {
            let wanted = self.steps.wanted.clone().begun_again();
            self.steps = Steps { order, ..Steps::to(wanted) };
        }
        is_backwards
    }

    /// The position of the last row of the page before.
    pub fn before(&self) -> Option<i64> {
        self.steps.before()
    }

    /// How many rows to read.
    pub fn rows(&self) -> i64 {
        self.steps.wanted.rows()
    }

    /// The answer with the page made of these rows, which are in the order of one number.
    pub fn page<R, T: Serialize>(self, rows: Vec<R>, number: impl Fn(&R) -> i64, show: impl Fn(R) -> T) -> Response {
        let place = |row: &R| Place { position: number(row), values: Vec::new() };
        let rows = rows.into_iter().map(|row| (place(&row), row)).collect();
        let page: Page<T> =
            self.key.page(&self.addressed, &self.steps.wanted, self.looked_through(), false, rows, show);
        page.answer(&self.addressed.uri)
    }

    /// The page made of these rows. The rows of now can also be walked back.
    pub fn page_of<R, T>(self, rows: Vec<(Place, R)>, show: impl Fn(R) -> T) -> Page<T> {
        let (looked_through, returns) = (self.looked_through(), self.steps.progress == Progress::AtOnce);
        self.key.page(&self.addressed, &self.steps.wanted, looked_through, returns, rows, show)
    }

    fn looked_through(&self) -> Option<i64> {
        match self.steps.progress {
            Progress::Bounded(position) => Some(position),
            Progress::Unread | Progress::Back(_) | Progress::Done | Progress::AtOnce => None,
        }
    }
}

impl Steps {
    pub fn to(wanted: Wanted) -> Self {
        Self { wanted, order: RowOrder::default(), progress: Progress::Unread }
    }

    fn before(&self) -> Option<i64> {
        self.wanted.after.as_ref().map(|place| place.position)
    }

    /// Those to the rows that come after the ones that these steps have found at `positions`; `None` if there are no more.
    pub fn further(self, positions: &[i64]) -> Option<Self> {
        let last = positions.last().copied();
        let position = match self.progress {
            // More were looked through than are taken at once.
            _ if positions.len() as i64 >= self.wanted.rows() => last?,
            Progress::Unread | Progress::Done | Progress::AtOnce => return None,
            Progress::Back(_) => last?,
            Progress::Bounded(position) => position,
        };
        let wanted = self.wanted.further(Place { position, values: Vec::new() });
        Some(Self { wanted, progress: Progress::Unread, ..self })
    }
}

/// Of which position and version the rows are that an answer was made of.
#[derive(Clone, Debug)]
pub struct ReadAt {
    pub position: Position,
    version: HeaderValue,
}

impl ReadAt {
    /// The answer, with the position and the version of the rows.
    pub fn with(self, answer: impl IntoResponse) -> Response {
        let mut response = answer.into_response();
        response.headers_mut().insert(PROJECTION_VERSION, self.version);
        response.headers_mut().insert(LEDGER_POSITION, HeaderValue::from(self.position));
        response
    }
}

impl Rows {
    /// Lets no statement take longer than this read may.
    pub async fn bound(&mut self, admitted: &Admitted) -> Result<(), ApiError> {
        bound(&mut self.snapshot, admitted).await
    }

    /// Of which position and version they are.
    pub fn read_at(&self) -> ReadAt {
        let version = format!("{}/{}", self.name, self.snapshot.version());
        let version = HeaderValue::from_str(&version).expect("the name of a projection is plain ASCII");
        ReadAt { position: self.position(), version }
    }

    /// The answer, with the position and the version of the rows that it was made of.
    pub fn answer(self, answer: impl IntoResponse) -> Response {
        self.read_at().with(answer)
    }

    pub fn show(self, answer: impl Serialize) -> Response {
        self.answer(json(&answer))
    }

    /// The connection that queries run on, and who reads.
    pub fn parts(&mut self) -> (&mut PgConnection, &Viewer) {
        self.snapshot.parts()
    }

    /// The position at which the rows are what the answer shows.
    pub fn position(&self) -> Position {
        let position = self.snapshot.position();
        self.moment.known_at.map_or(position, |known_at| known_at.min(position))
    }

    /// The moment that was asked about.
    pub fn asked(&self) -> Moment {
        self.asked
    }

    /// The moment that the queries have to ask about: that one, as known at the position that the projections have in
    /// common.
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// The same, as known at the position of the answer: for what is read of the book itself, which may go on beyond the
    /// rows.
    pub fn moment_of_the_book(&self) -> Moment {
        Moment { known_at: Some(self.position()), ..self.moment }
    }

    /// Brings back the rows with these keys, and what belongs to them; of now they are there.
    pub async fn bring_back(&mut self, projection: &'static str, keys: &[String]) -> Result<(), ApiError> {
        if let Some(admitted) = self.admitted.as_ref().filter(|_| self.folded_back) {
            admitted.within(self.snapshot.bring_back(projection, keys)).await?;
        }
        Ok(())
    }

    /// Whether they are of the past, and are brought back portion by portion.
    pub fn is_folded_back(&self) -> bool {
        self.folded_back
    }

    /// The rows of a listing that are chosen, as many as its page wants.
    ///
    /// Rows of now are read at once. Those of the past are brought back in two portions: as many as the page has, and if
    /// that does not fill it, once more all that are looked through for a page. So no stream is folded more than twice.
    pub async fn chosen<L: Listed>(&mut self, steps: &mut Steps, chosen: &Chosen) -> Result<Vec<Found<L>>, ApiError> {
        let mut found = Vec::new();
        while let Some(limit) = self.next(steps, chosen, found.len()).await? {
            let (connection, viewer) = self.parts();
            let after = steps.wanted.after.as_ref();
            found.extend(listing::page(connection, viewer, chosen, &steps.order, after, limit).await?);
        }
        Ok(found)
    }

    /// How many rows of a listing to read next, after so many were found; `None` once there is nothing more to read.
    async fn next(&mut self, steps: &mut Steps, chosen: &Chosen, found: usize) -> Result<Option<i64>, ApiError> {
        let missing = steps.wanted.rows() - found as i64;
        let (before, portion) = match steps.progress {
            Progress::Unread => (steps.before(), steps.wanted.rows()),
            Progress::Back(position) => (Some(position), LOOKED_THROUGH - steps.wanted.rows()),
            Progress::Done | Progress::AtOnce | Progress::Bounded(_) => return Ok(None),
        };
        let Some(admitted) = self.admitted.as_ref().filter(|_| self.folded_back) else {
            steps.progress = Progress::AtOnce;
            return Ok(Some(missing));
        };
        if missing == 0 {
            return Ok(None);
        }
        let candidates = self.snapshot.candidates(self.name, chosen, before, portion);
        let candidates = admitted.within(candidates).await?;
        let Some(last) = candidates.last() else { return Ok(None) };
        steps.progress = match steps.progress {
            _ if (candidates.len() as i64) < portion => Progress::Done,
            Progress::Unread => Progress::Back(last.position),
            _ => Progress::Bounded(last.position),
        };
        let keys: Vec<String> = candidates.into_iter().map(|candidate| candidate.key).collect();
        admitted.within(self.snapshot.bring_back(self.name, &keys)).await?;
        Ok(Some(missing))
    }
}

impl Deref for Rows {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.snapshot
    }
}

impl DerefMut for Rows {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.snapshot
    }
}
