//! Listings page by page. A cursor names the last row of a page and is signed together with the listing and its
//! filters, so that it fits nothing else.
//!
//! Listings go from the newest to the oldest by the position of the event that made a row. That never changes, so rows
//! that are added meanwhile come before the first page and disturb no walk.

use std::ops::Deref;

use axum::{
    http::{HeaderValue, Uri, header},
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use daybook_core::store::shared_key;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::Sha256;
use sqlx::PgPool;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, RefOr, SchemaFormat,
        schema::{Schema, Type},
    },
};

use crate::http::{
    error::ApiError,
    listing,
    wire::{Text, json, position},
};

pub const DEFAULT_LIMIT: u32 = 50;

/// The bytes of a signature.
const SIGNATURE: usize = 32;

/// Signs cursors. It lies in the database, so that every process on a ledger knows it.
#[derive(Clone)]
pub struct CursorKey(Hmac<Sha256>);

/// A page of a listing. One of the past may have fewer rows than were asked for, or none, and more after it: only so
/// many are looked through for a page.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub data: Vec<T>,
    /// Give it as `cursor` to get what comes next; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    pub has_more: bool,
}

/// How many rows a page has at most: from 1 to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit<const MOST: u32>(pub u32);

/// Of a listing.
pub type PageLimit = Limit<200>;

/// Where a page begins, as the page before it told.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Cursor(String);

/// Which page is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The position of the last row of the page before.
    pub before: Option<i64>,
    limit: u32,
}

impl CursorKey {
    /// The key of this ledger, made when it is needed first.
    pub async fn of(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let key = shared_key(pool, "cursor").await?;
        Ok(Self(Hmac::new_from_slice(&key).expect("a key may have any length")))
    }

    /// Which page of the listing at this address is wanted.
    pub fn wanted(&self, uri: &Uri, cursor: Option<&str>, limit: Option<PageLimit>) -> Result<Wanted, ApiError> {
        let limit = limit.map_or(DEFAULT_LIMIT, |Limit(limit)| limit);
        let before = cursor.map(|cursor| self.read(uri, cursor)).transpose()?;
        Ok(Wanted { before, limit })
    }

    fn read(&self, uri: &Uri, cursor: &str) -> Result<i64, ApiError> {
        let read = || {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
            let (position, signature) = bytes.split_first_chunk()?;
            let position = i64::from_be_bytes(*position);
            self.signing(uri, position).verify_slice(signature).ok()?;
            Some(position)
        };
        read().ok_or_else(|| {
            let detail = "the cursor was not given by this listing with these filters; begin again without one";
            ApiError::new("invalid-cursor", detail).with("parameter", "cursor")
        })
    }

    fn cursor(&self, uri: &Uri, position: i64) -> String {
        let signature = self.signing(uri, position).finalize().into_bytes();
        BASE64_URL_SAFE_NO_PAD.encode([&position.to_be_bytes()[..], &signature].concat())
    }

    /// Of all that chooses rows: the path, and the parameters of the query in the order of their names.
    fn signing(&self, uri: &Uri, position: i64) -> Hmac<Sha256> {
        let query = uri.query().unwrap_or_default();
        let mut choosing: Vec<_> = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| !listing::PARAMETERS.contains(&&**name))
            .collect();
        choosing.sort();
        let choosing = form_urlencoded::Serializer::new(String::new()).extend_pairs(choosing).finish();
        let mut signing = self.0.clone();
        signing.update(format!("{}\n{choosing}\n{position}", uri.path()).as_bytes());
        signing
    }

    /// The page made of the rows that were read, one more than wanted if there is one more. `looked_through` is the
    /// position down to which they were looked for, if there may be more below that.
    pub fn page<R, T>(
        &self,
        uri: &Uri,
        wanted: Wanted,
        looked_through: Option<i64>,
        mut rows: Vec<R>,
        position: impl Fn(&R) -> i64,
        show: impl Fn(R) -> T,
    ) -> Page<T> {
        let is_full = rows.len() > wanted.limit as usize;
        rows.truncate(wanted.limit as usize);
        let last = if is_full { rows.last().map(&position) } else { looked_through };
        let next_cursor = last.map(|position| self.cursor(uri, position));
        let has_more = next_cursor.is_some();
        Page { data: rows.into_iter().map(show).collect(), next_cursor, has_more }
    }
}

impl<'de, const MOST: u32> Deserialize<'de> for Limit<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text::new("a number of rows", |text| {
            let number = position(text).and_then(|number| u32::try_from(number).ok());
            let within = number.filter(|number| (1..=MOST).contains(number));
            within.map(Self).ok_or_else(|| ("malformed-parameter", format!("a page has 1 to {MOST} rows")))
        }))
    }
}

impl<const MOST: u32> PartialSchema for Limit<MOST> {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Integer);
        number
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
            .minimum(Some(1))
            .maximum(Some(MOST))
            .build()
            .into()
    }
}

impl<const MOST: u32> ToSchema for Limit<MOST> {}

impl PartialSchema for Cursor {
    fn schema() -> RefOr<Schema> {
        let bytes = size_of::<i64>() + SIGNATURE;
        let pattern = format!("^[A-Za-z0-9_-]{{{}}}$", (bytes * 8).div_ceil(6));
        ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).build().into()
    }
}

impl ToSchema for Cursor {}

impl Deref for Cursor {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Wanted {
    /// How many rows to read: one more than the page has, which tells whether there is a next one.
    pub fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }
}

impl<T: Serialize> Page<T> {
    /// The answer, with a link to the next page.
    pub fn answer(self, uri: &Uri) -> Response {
        let link = self.next_cursor.as_ref().map(|cursor| next_link(uri, cursor));
        let mut response = json(&self);
        if let Some(link) = link {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

fn next_link(uri: &Uri, cursor: &str) -> HeaderValue {
    let query = uri.query().unwrap_or_default().split('&');
    let mut query: Vec<&str> = query.filter(|part| !part.is_empty() && !part.starts_with("cursor=")).collect();
    let cursor = format!("cursor={cursor}");
    query.push(&cursor);
    let link = format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"));
    HeaderValue::from_str(&link).expect("an address that was received can be sent")
}

impl std::fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CursorKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> CursorKey {
        CursorKey(Hmac::new_from_slice(b"a key of the tests").expect("a key may have any length"))
    }

    fn uri(text: &str) -> Uri {
        text.parse().expect("an address")
    }

    #[test]
    fn a_cursor_reads_back_its_position() {
        let cursor = key().cursor(&uri("/v1/orders?status=open&customer=a%20b&limit=2"), 42);
        let again = uri("/v1/orders?limit=9&customer=a+b&cursor=x&status=open");
        let wanted = key().wanted(&again, Some(&cursor), None).expect("the cursor fits");
        assert_eq!(wanted.before, Some(42));
    }

    #[test]
    fn a_cursor_that_was_changed_or_fits_another_listing_is_refused() {
        let open = "/v1/orders?status=open";
        let cursor = key().cursor(&uri(open), 42);
        let refused = |path: &str, cursor: &str| {
            key().wanted(&uri(path), Some(cursor), None).expect_err("the cursor does not fit").code()
        };
        assert_eq!(refused("/v1/orders?status=closed", &cursor), "invalid-cursor");
        assert_eq!(refused("/v1/orders", &cursor), "invalid-cursor");
        assert_eq!(refused("/v1/orders?status=open&as_known_at=7", &cursor), "invalid-cursor");
        assert_eq!(refused("/v1/payments?status=open", &cursor), "invalid-cursor");
        assert_eq!(refused(open, &cursor[..40]), "invalid-cursor");
        assert_eq!(refused(open, "é"), "invalid-cursor");
        assert_eq!(refused(open, ""), "invalid-cursor");
    }

    /// Nor is it read in two spellings, such as upper case for lower.
    #[test]
    fn a_cursor_of_which_any_character_was_changed_is_refused() {
        let cursor = key().cursor(&uri("/v1/orders"), 42);
        let alphabet = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain("-_=.+ ".chars());
        for (at, other) in (0..cursor.len()).flat_map(|at| alphabet.clone().map(move |other| (at, other))) {
            let mut changed: Vec<char> = cursor.chars().collect();
            if std::mem::replace(&mut changed[at], other) == other {
                continue;
            }
            let changed: String = changed.into_iter().collect();
            let read = key().wanted(&uri("/v1/orders"), Some(&changed), None);
            assert_eq!(read.expect_err("the cursor was changed").code(), "invalid-cursor", "{changed}");
        }
    }

    #[test]
    fn the_next_link_keeps_the_filters_and_replaces_the_cursor() {
        let link = next_link(&uri("/v1/orders?status=open&cursor=00&limit=2"), "ff");
        assert_eq!(link, "</v1/orders?status=open&limit=2&cursor=ff>; rel=\"next\"");
    }
}
