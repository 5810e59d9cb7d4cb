//! Preconditions (RFC 9110, section 13): the version of a thing in `ETag`, and what a request expects of it.
//!
//! A tag is made of the version of the aggregate and of a hash of what is shown: `"7.1f3a9c2b40d6e8f0"`. `If-None-Match`
//! compares all of it. `If-Match` compares the version alone, since a command changes the aggregate, and what is shown beside it
//! may come from elsewhere. Of what is no aggregate, such as a discount, the tag is the hash alone.

use axum::{
    body::{Body, to_bytes},
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use daybook_core::{domain::aggregate_type_of, writer::Expected};
use sha2::{Digest, Sha256};
use utoipa::openapi::{RefOr, schema::Schema};

use crate::{
    app::App,
    http::{address::in_path, error::ApiError, header::malformed, moment, wire::pattern_text, write::LEDGER_POSITION},
};

/// Marks a route that edits what a person has seen: it needs `If-Match`, or an idempotency key.
#[derive(Clone, Copy, Debug)]
pub struct Edits;

/// The digits of the hash in a tag.
const HASH: usize = 16;

/// The most tags that a header may name.
const MOST_TAGS: usize = 32;

/// The layer around a route that shows one thing: its answer gets a tag, or is left out if the caller has it.
pub async fn tag(request: Request, next: Next) -> Result<Response, ApiError> {
    let app = request.extensions().get::<App>().cloned().expect("every request carries its application");
    let headers = request.headers().clone();
    let asked = Named::read(&headers, &header::IF_NONE_MATCH)?;
    // What was is no version to edit.
    let is_of_the_past = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
        .any(|(name, _)| moment::PARAMETERS.contains(&&*name));
    let id = identifier(request.extensions().get::<MatchedPath>(), request.uri().path());
    let response = next.run(request).await;
    if response.status() != StatusCode::OK {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.map_err(|error| ApiError::new("internal", error.to_string()))?;
    let version = match (&id, position(&parts.headers)) {
        (Some(id), Some(position)) if !is_of_the_past => version(&app, id, position).await?,
        _ => None,
    };
    let tag = written(version, &body);
    // Weak tags are compared like strong ones (RFC 9110, section 13.1.2).
    let has_it = asked.is_some_and(|asked| match asked {
        Named::Any => true,
        Named::Tags(tags) => tags.iter().any(|known| known.opaque == tag),
    });
    parts.headers.insert(header::ETAG, HeaderValue::from_str(&tag).expect("a tag is plain ASCII"));
    if has_it {
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.status = StatusCode::NOT_MODIFIED;
        return Ok(Response::from_parts(parts, Body::empty()));
    }
    Ok((parts, body).into_response())
}

/// What the path names by `{id}`.
fn identifier(template: Option<&MatchedPath>, path: &str) -> Option<String> {
    in_path(template?.as_str(), path, |name| name == "id").next()
}

fn position(headers: &HeaderMap) -> Option<i64> {
    headers.get(LEDGER_POSITION)?.to_str().ok()?.parse().ok()
}

/// How many events the aggregate has up to a position.
async fn version(app: &App, id: &str, position: i64) -> Result<Option<i64>, ApiError> {
    let Some(aggregate_type) = aggregate_type_of(id) else { return Ok(None) };
    let version = sqlx::query_scalar(
        "select sequence from events where aggregate_type = $1 and aggregate_id = $2 and position <= $3
         order by sequence desc limit 1",
    );
    Ok(version.bind(aggregate_type).bind(id).bind(position).fetch_optional(app.store().pool()).await?)
}

fn written(version: Option<i64>, shown: &[u8]) -> String {
    let hash: String = Sha256::digest(shown).iter().take(HASH / 2).map(|byte| format!("{byte:02x}")).collect();
    version.map_or_else(|| format!("\"{hash}\""), |version| format!("\"{version}.{hash}\""))
}

/// What a header names.
#[derive(Debug, PartialEq, Eq)]
enum Named<'a> {
    /// `*`: whatever there is.
    Any,
    Tags(Vec<Tag<'a>>),
}

#[derive(Debug, PartialEq, Eq)]
struct Tag<'a> {
    is_weak: bool,
    /// With its quotation marks.
    opaque: &'a str,
}

impl<'a> Named<'a> {
    /// `None` if the header is not there.
    fn read(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<Self>, ApiError> {
        let no_tags = || {
            let detail = format!("`{name}` has `*`, or up to {MOST_TAGS} tags such as \"7.1f3a9c2b40d6e8f0\"");
            malformed(name.as_str(), detail)
        };
        let mut tags = Vec::new();
        for header in headers.get_all(name) {
            let text = header.to_str().map_err(|_| no_tags())?;
            if text == "*" && tags.is_empty() {
                return Ok(Some(Self::Any));
            }
            // Empty elements count for nothing (RFC 9110, section 5.6.1).
            for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
                tags.push(Tag::read(tag).ok_or_else(no_tags)?);
            }
        }
        match tags.len() {
            0 if !headers.contains_key(name) => Ok(None),
            0 => Err(no_tags()),
            1..=MOST_TAGS => Ok(Some(Self::Tags(tags))),
            _ => Err(no_tags()),
        }
    }
}

impl<'a> Tag<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (is_weak, opaque) = text.strip_prefix("W/").map_or((false, text), |opaque| (true, opaque));
        let inner = opaque.strip_prefix('"')?.strip_suffix('"')?;
        // A comma would be one between tags.
        let is_of_a_tag = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',');
        inner.bytes().all(is_of_a_tag).then_some(Self { is_weak, opaque })
    }

    /// The version in a tag of ours. That of what has none, and of a tag that is not ours, is that of nothing.
    fn version(&self) -> u64 {
        let version = self.opaque.trim_matches('"').split_once('.').and_then(|(version, _)| version.parse().ok());
        version.unwrap_or(0)
    }
}

/// Whatever is read as the tags of a header.
pub fn tags_schema() -> RefOr<Schema> {
    let tag = r#"(W/)?"[!#-+\--~]*""#;
    pattern_text(&format!(r"^(\*|[ ,]*{tag}( *,[ ,]*{tag}){{0,31}}[ ,]*)$"), "\"7.1f3a9c2b40d6e8f0\"")
}

/// What the caller expects of the thing that the path names, by `If-Match`.
pub fn expected(parts: &Parts) -> Result<Option<Expected>, ApiError> {
    let Some(Named::Tags(tags)) = Named::read(&parts.headers, &header::IF_MATCH)? else { return Ok(None) };
    let named = identifier(parts.extensions.get::<MatchedPath>(), parts.uri.path());
    let Some(aggregate_id) = named.filter(|id| aggregate_type_of(id).is_some()) else {
        return Err(malformed("if-match", "nothing at this address has a version"));
    };
    // A weak tag matches nothing here (RFC 9110, section 13.1.1).
    let versions = tags.iter().filter(|tag| !tag.is_weak).map(Tag::version).filter(|version| *version > 0).collect();
    Ok(Some(Expected { aggregate_id, versions }))
}

/// The refusal of a request that edits what it may not have seen.
pub fn required() -> ApiError {
    let detail = "this edits what somebody may have changed meanwhile: send the `ETag` that you have read as `If-Match`, or an \
                  `Idempotency-Key` if it is to be done whatever stands there";
    ApiError::new("precondition-required", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(tag: &str) -> u64 {
        Tag::read(tag).expect("a tag").version()
    }

    #[test]
    fn a_tag_reads_back_its_version() {
        assert_eq!(version(&written(Some(7), b"{}")), 7);
        assert_eq!(version(&written(None, b"{}")), 0);
        assert_ne!(written(Some(7), b"{}"), written(Some(7), b"[]"));
        for foreign in ["\"7\"", "\"x.7\"", "\"-1.1f3a9c2b40d6e8f0\"", "\"\""] {
            assert_eq!(version(foreign), 0, "{foreign}");
        }
    }

    #[test]
    fn a_header_has_tags_or_a_star() {
        let read = |text: &str| {
            let headers = [(header::IF_MATCH, HeaderValue::from_str(text).expect("a header"))].into_iter().collect();
            Named::read(&headers, &header::IF_MATCH).map(|named| match named {
                None => Vec::new(),
                Some(Named::Any) => vec!["*".to_owned()],
                Some(Named::Tags(tags)) => tags.iter().map(|tag| tag.opaque.to_owned()).collect(),
            })
        };
        assert_eq!(read("*").expect("a star"), ["*"]);
        assert_eq!(read("\"a\", W/\"b\"").expect("two tags"), ["\"a\"", "\"b\""]);
        assert_eq!(read(",\"a\", ,").expect("a tag"), ["\"a\""]);
        for wrong in ["", ",", "7", "\"a\"b\"", "\"a\", *", "*, \"a\"", "\"a b\"", "w/\"a\"", &["\"a\""; 33].join(",")]
        {
            assert_eq!(read(wrong).expect_err(wrong).code(), "malformed-header");
        }
    }
}
