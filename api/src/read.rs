//! Requests that read: one moment of the read model, at least as fresh as was asked for, and told with the answer.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, Uri, request::Parts},
    response::{IntoResponse, Response},
};
use daybook_core::Position;
use daybook_projections::{Freshness, Snapshot};
use serde::Serialize;
use sqlx::PgConnection;

use crate::{
    app::App,
    error::ApiError,
    page::{CursorKey, Page, Wanted},
    write::LEDGER_POSITION,
};

const MIN_POSITION: &str = "min-position";
const PREFER: &str = "prefer";
const PROJECTION_VERSION: HeaderName = HeaderName::from_static("projection-version");
const WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: u64 = 30;

/// How fresh the caller wants the answer: `Min-Position`, and in `Prefer` how long to wait for it.
#[derive(Clone, Copy, Debug)]
pub struct Fresh(Option<Freshness>);

impl<S: Sync> FromRequestParts<S> for Fresh {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(position) = parts.headers.get(MIN_POSITION) else { return Ok(Self(None)) };
        let position = position.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
            ApiError::new("malformed-header", "a position is a whole number").with("header", MIN_POSITION)
        })?;
        let preferences = parts.headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        // What a preference says beyond that is none of ours (RFC 7240).
        let wait = preferences
            .flat_map(|value| value.split(','))
            .find_map(|preference| preference.trim().strip_prefix("wait=")?.trim_matches('"').parse().ok())
            .map_or(WAIT, |seconds: u64| Duration::from_secs(seconds.min(LONGEST_WAIT)));
        Ok(Self(Some(Freshness { position, wait })))
    }
}

/// Rows of one projection at one moment. Derefs to the connection that the queries run on.
#[derive(Debug)]
pub struct Rows {
    snapshot: Snapshot,
    name: &'static str,
}

/// One listing, as it was asked for.
#[derive(Debug)]
pub struct Listing<'a, F> {
    key: &'a CursorKey,
    uri: Uri,
    pub filter: F,
    wanted: Wanted,
}

impl App {
    /// The rows of a projection, as fresh as was asked for.
    pub async fn read(&self, projection: &'static str, fresh: Fresh) -> Result<Rows, ApiError> {
        self.read_all(&[projection], fresh).await
    }

    /// The rows of several projections at one moment. The first one's version is told.
    pub async fn read_all(&self, projections: &[&'static str], Fresh(fresh): Fresh) -> Result<Rows, ApiError> {
        let snapshot = self.reader().snapshot(projections, fresh).await?;
        Ok(Rows { snapshot, name: projections[0] })
    }

    pub fn listing<F: std::fmt::Debug>(
        &self,
        uri: Uri,
        filter: F,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Listing<'_, F>, ApiError> {
        let wanted = self.cursors().wanted(&uri, &filter, cursor, limit)?;
        Ok(Listing { key: self.cursors(), uri, filter, wanted })
    }
}

impl<F: std::fmt::Debug> Listing<'_, F> {
    /// The position of the last row of the page before.
    pub fn before(&self) -> Option<i64> {
        self.wanted.before
    }

    /// How many rows to read.
    pub fn rows(&self) -> i64 {
        self.wanted.rows()
    }

    /// The page made of these rows.
    pub fn page<R, T: Serialize>(self, rows: Vec<R>, position: impl Fn(&R) -> i64, show: impl Fn(R) -> T) -> Response {
        let page: Page<T> = self.key.page(&self.uri, &self.filter, self.wanted, rows, position, show);
        page.answer(&self.uri)
    }
}

impl Rows {
    /// The answer, with the position and the version of the rows that it was made of.
    pub fn tell(self, answer: impl IntoResponse) -> Response {
        let mut response = answer.into_response();
        let version = format!("{}/{}", self.name, self.snapshot.version());
        let version = HeaderValue::from_str(&version).expect("the name of a projection is plain ASCII");
        response.headers_mut().insert(PROJECTION_VERSION, version);
        response.headers_mut().insert(LEDGER_POSITION, HeaderValue::from(self.snapshot.position()));
        response
    }

    pub fn show(self, answer: impl Serialize) -> Response {
        self.tell(Json(answer))
    }

    pub fn position(&self) -> Position {
        self.snapshot.position()
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

/// A position as the rows have it; one that no book reaches is as good as the last.
pub fn known_at(position: Position) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// A text that is one of a few.
pub fn one_of(parameter: &str, given: Option<&String>, allowed: &[&str]) -> Result<(), ApiError> {
    match given {
        Some(given) if !allowed.contains(&given.as_str()) => {
            let detail = format!("`{parameter}` is one of {}", allowed.join(", "));
            let error = ApiError::new("malformed-parameter", detail);
            Err(error.with("parameter", parameter).with("allowed", allowed.to_vec()))
        }
        _ => Ok(()),
    }
}
