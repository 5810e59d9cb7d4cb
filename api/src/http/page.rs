//! Listings page by page. A cursor names the place of a row in its listing, and is signed together with the listing, its
//! filters, its order, and the one who asks, so that it fits nothing else and nobody else.
//!
//! Listings go from the newest to the oldest by the position of the event that made a row, unless they are sorted otherwise.
//! That never changes, so rows that are added meanwhile come before the first page and disturb no walk.

use std::ops::Deref;

use axum::{
    http::{HeaderValue, Uri, header},
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use daybook_core::store::shared_key;
use daybook_projections::Place;
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
    listing, shape,
    wire::{Text, json, position},
};

pub const DEFAULT_LIMIT: u32 = 50;

/// The bytes of a signature.
const SIGNATURE: usize = 32;

/// Signs cursors. It lies in the database, so that every process on a ledger knows it.
#[derive(Clone)]
pub struct CursorKey(Hmac<Sha256>);

/// The address of a listing, and in whose name it is asked: the person, and the party for which the person asks.
#[derive(Clone, Debug)]
pub struct Addressed {
    pub uri: Uri,
    pub principal: String,
}

/// A page of a listing. One of the past may have fewer rows than were asked for, or none, and more after it: only so
/// many are looked through for a page.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub data: Vec<T>,
    /// Give it as `cursor` to get what comes next; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    pub has_more: bool,
    /// Of the page before this one.
    #[serde(skip)]
    previous_cursor: Option<String>,
}

/// How many rows a page has at most: from 1 to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit<const MOST: u32>(pub u32);

/// Of a listing.
pub type PageLimit = Limit<200>;

/// Where a page begins, as the page before it said.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Cursor(String);

/// Which page is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The last row of the page before; of a walk back, the first row of the page after.
    pub after: Option<Place>,
    /// Whether the page before that row is wanted.
    pub is_backwards: bool,
    limit: u32,
}

impl CursorKey {
    /// The key of this ledger, made when it is needed first.
    pub async fn of(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let key = shared_key(pool, "cursor").await?;
        Ok(Self(Hmac::new_from_slice(&key).expect("a key may have any length")))
    }

    /// Which page of the listing at this address is wanted.
    pub fn wanted(
        &self,
        addressed: &Addressed,
        cursor: Option<&str>,
        limit: Option<PageLimit>,
    ) -> Result<Wanted, ApiError> {
        let limit = limit.map_or(DEFAULT_LIMIT, |Limit(limit)| limit);
        match cursor {
            None => Ok(Wanted { limit, ..Wanted::first() }),
            Some(cursor) => {
                let (after, is_backwards) = self.read(addressed, cursor)?;
                Ok(Wanted { after: Some(after), is_backwards, limit })
            }
        }
    }

    fn read(&self, addressed: &Addressed, cursor: &str) -> Result<(Place, bool), ApiError> {
        let read = || {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
            let (signed, signature) = bytes.split_last_chunk::<SIGNATURE>()?;
            self.signing(addressed, signed).verify_slice(signature).ok()?;
            let (position, is_backwards, values) = serde_json::from_slice(signed).ok()?;
            Some((Place { position, values }, is_backwards))
        };
        read().ok_or_else(|| {
            let detail = "the cursor was not given by this listing with these filters and this order to this caller; \
                          begin again without one";
            ApiError::new("invalid-cursor", detail).with("parameter", "cursor")
        })
    }

    fn cursor(&self, addressed: &Addressed, place: &Place, is_backwards: bool) -> String {
        let signed =
            serde_json::to_vec(&(place.position, is_backwards, &place.values)).expect("texts and numbers are JSON");
        let signature = self.signing(addressed, &signed).finalize().into_bytes();
        BASE64_URL_SAFE_NO_PAD.encode([&signed[..], &signature].concat())
    }

    /// Of who asks, and of all that chooses rows: the path, and the parameters of the query in the order of their names.
    fn signing(&self, Addressed { uri, principal }: &Addressed, signed: &[u8]) -> Hmac<Sha256> {
        let query = uri.query().unwrap_or_default();
        let chooses = |name: &str| !listing::PARAMETERS.contains(&name) && !shape::PARAMETERS.contains(&name);
        let mut choosing: Vec<_> = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| chooses(name)).collect();
        choosing.sort();
        let choosing = form_urlencoded::Serializer::new(String::new()).extend_pairs(choosing).finish();
        let mut signing = self.0.clone();
        // No principal has a line that begins as the signed text does.
        signing.update(format!("{}\n{choosing}\n{principal}\n", uri.path()).as_bytes());
        signing.update(signed);
        signing
    }

    /// The page made of the rows that were read, one more than wanted if there is one more. `looked_through` is the
    /// position down to which they were looked for, if there may be more below that; `returns` whether the walk can also
    /// go back.
    pub fn page<R, T>(
        &self,
        addressed: &Addressed,
        wanted: &Wanted,
        looked_through: Option<i64>,
        returns: bool,
        mut rows: Vec<(Place, R)>,
        show: impl Fn(R) -> T,
    ) -> Page<T> {
        let is_full = rows.len() > wanted.limit as usize;
        rows.truncate(wanted.limit as usize);
        if wanted.is_backwards {
            rows.reverse();
        }
        let (first, last) = (rows.first().map(|(place, _)| place), rows.last().map(|(place, _)| place));
        let bounded = looked_through.map(|position| Place { position, values: Vec::new() });
        // From a page that was reached by going back, the one after it can be reached again.
        let (before, after) = match wanted.is_backwards {
            true => (first.filter(|_| is_full), last),
            false => (first.filter(|_| wanted.after.is_some()), if is_full { last } else { bounded.as_ref() }),
        };
        let next_cursor = after.map(|place| self.cursor(addressed, place, false));
        let previous_cursor = before.filter(|_| returns).map(|place| self.cursor(addressed, place, true));
        let has_more = next_cursor.is_some();
        let data = rows.into_iter().map(|(_, row)| show(row)).collect();
        Page { data, next_cursor, has_more, previous_cursor }
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
        let pattern = format!("^[A-Za-z0-9_-]{{{},}}$", (SIGNATURE * 8).div_ceil(6));
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
    /// The first page, of as many rows as a page may have.
    pub fn first() -> Self {
        Self { after: None, is_backwards: false, limit: 200 }
    }

    /// The page that begins after this place.
    pub fn further(self, after: Place) -> Self {
        Self { after: Some(after), ..self }
    }

    /// The first page, of as many rows as this one.
    pub fn begun_again(self) -> Self {
        Self { after: None, is_backwards: false, ..self }
    }

    /// How many rows to read: one more than the page has, which shows whether there is a next one.
    pub fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }
}

impl<T: Serialize> Page<T> {
    /// The answer, with links to the first page and to those beside this one. The only page has none: an address that was
    /// written by mistake, with a secret in it, is not repeated.
    pub fn answer(self, uri: &Uri) -> Response {
        let has_cursor = uri.query().unwrap_or_default().split('&').any(is_cursor);
        let links = [
            (has_cursor || self.has_more).then(|| link(uri, "first", None)),
            self.previous_cursor.as_deref().map(|cursor| link(uri, "prev", Some(cursor))),
            self.next_cursor.as_deref().map(|cursor| link(uri, "next", Some(cursor))),
        ];
        let links: Vec<String> = links.into_iter().flatten().collect();
        let mut response = json(&self);
        if !links.is_empty() {
            let links = HeaderValue::from_str(&links.join(", ")).expect("an address that was received can be sent");
            response.headers_mut().insert(header::LINK, links);
        }
        response
    }
}

/// Whether a part of a query is the cursor, however its name is written.
fn is_cursor(part: &str) -> bool {
    form_urlencoded::parse(part.as_bytes()).any(|(name, _)| name == "cursor")
}

fn link(uri: &Uri, relation: &str, cursor: Option<&str>) -> String {
    let query = uri.query().unwrap_or_default().split('&');
    let kept = query.filter(|part| !part.is_empty() && !is_cursor(part)).map(str::to_owned);
    let query: Vec<String> = kept.chain(cursor.map(|cursor| format!("cursor={cursor}"))).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    format!("<{}{query}>; rel=\"{relation}\"", uri.path())
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

    fn at(uri: &str) -> Addressed {
        by("staff:anna ", uri)
    }

    fn by(principal: &str, uri: &str) -> Addressed {
        Addressed { uri: uri.parse().expect("an address"), principal: principal.into() }
    }

    fn place() -> Place {
        Place { position: 42, values: vec![Some("USD".into()), Some("12.00".into())] }
    }

    fn cursor(uri: &str) -> String {
        key().cursor(&at(uri), &place(), false)
    }

    #[test]
    fn a_cursor_reads_back_its_place() {
        let cursor = cursor("/v1/orders?status=open&customer=a%20b&limit=2&sort=total");
        let again = at("/v1/orders?limit=9&customer=a+b&cursor=x&sort=total&status=open&fields=id&expand=account");
        let wanted = key().wanted(&again, Some(&cursor), None).expect("the cursor fits");
        assert_eq!(wanted, Wanted { after: Some(place()), is_backwards: false, limit: DEFAULT_LIMIT });
    }

    #[test]
    fn a_cursor_that_was_changed_or_fits_another_listing_or_principal_is_refused() {
        let open = "/v1/orders?status=open";
        let cursor = cursor(open);
        let refused = |addressed: Addressed, cursor: &str| {
            key().wanted(&addressed, Some(cursor), None).expect_err("the cursor does not fit").code()
        };
        for other in [
            "/v1/orders?status=closed",
            "/v1/orders",
            "/v1/orders?status=open&as_known_at=7",
            "/v1/orders?status=open&sort=total",
            "/v1/payments?status=open",
        ] {
            assert_eq!(refused(at(other), &cursor), "invalid-cursor", "{other}");
        }
        assert_eq!(refused(by("staff:anna\ncustomer:cus_1\n", open), &cursor), "invalid-cursor");
        assert_eq!(refused(by("staff:bob ", open), &cursor), "invalid-cursor");
        assert_eq!(refused(at(open), &cursor[..40]), "invalid-cursor");
        assert_eq!(refused(at(open), "é"), "invalid-cursor");
        assert_eq!(refused(at(open), ""), "invalid-cursor");
    }

    /// Nor is it read in two spellings, such as upper case for lower.
    #[test]
    fn a_cursor_of_which_any_character_was_changed_is_refused() {
        let cursor = cursor("/v1/orders");
        let alphabet = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain("-_=.+ ".chars());
        for (at_character, other) in (0..cursor.len()).flat_map(|at| alphabet.clone().map(move |other| (at, other))) {
            let mut changed: Vec<char> = cursor.chars().collect();
            if std::mem::replace(&mut changed[at_character], other) == other {
                continue;
            }
            let changed: String = changed.into_iter().collect();
            let read = key().wanted(&at("/v1/orders"), Some(&changed), None);
            assert_eq!(read.expect_err("the cursor was changed").code(), "invalid-cursor", "{changed}");
        }
    }

    #[test]
    fn a_link_keeps_the_filters_and_replaces_the_cursor() {
        let uri = at("/v1/orders?status=open&cursor=00&limit=2").uri;
        assert_eq!(link(&uri, "next", Some("ff")), "</v1/orders?status=open&limit=2&cursor=ff>; rel=\"next\"");
        assert_eq!(link(&uri, "first", None), "</v1/orders?status=open&limit=2>; rel=\"first\"");
        assert_eq!(link(&at("/v1/orders").uri, "first", None), "</v1/orders>; rel=\"first\"");
    }
}
