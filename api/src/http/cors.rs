//! Pages of other sites that the operator lets ask by a token (CORS). Without a named origin there are none.
//!
//! Credentials are never allowed: what a page of another site does, it does by a token of its own and not by the cookie that a
//! browser has.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use tower_http::cors::CorsLayer;

use crate::http::{
    admission::SEC_FETCH_MODE,
    authentication::MEMBERSHIP,
    caller::ON_BEHALF_OF,
    layers::REQUEST_ID,
    rate::{RATE_LIMIT, RATE_LIMIT_POLICY},
    read::{MIN_POSITION, PROJECTION_VERSION},
    write::{IDEMPOTENCY_KEY, LEDGER_POSITION, REPLAYED},
};

/// How long a browser may remember what it was answered.
const REMEMBERED: Duration = Duration::from_secs(3_600);

/// Those that the API reads.
const READ: [HeaderName; 10] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    HeaderName::from_static("prefer"),
    HeaderName::from_static(IDEMPOTENCY_KEY),
    HeaderName::from_static(MEMBERSHIP),
    HeaderName::from_static(MIN_POSITION),
    HeaderName::from_static(ON_BEHALF_OF),
    HeaderName::from_static(REQUEST_ID),
];

/// Those that it writes, and that a browser would keep from the page otherwise.
const WRITTEN: [HeaderName; 13] = [
    header::ALLOW,
    header::CONTENT_DISPOSITION,
    header::ETAG,
    header::LINK,
    header::LOCATION,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    LEDGER_POSITION,
    PROJECTION_VERSION,
    RATE_LIMIT,
    RATE_LIMIT_POLICY,
    REPLAYED,
    HeaderName::from_static(REQUEST_ID),
];

/// The origins of these pages, as browsers write them.
#[derive(Clone, Debug, Default)]
pub struct Origins(Arc<[HeaderValue]>);

impl Origins {
    pub fn new(origins: &[HeaderValue]) -> Self {
        Self(origins.into())
    }

    /// What browsers must be answered, if there are any.
    pub fn layer(&self) -> Option<CorsLayer> {
        let layer = || {
            CorsLayer::new()
                .allow_origin(self.0.to_vec())
                .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
                .allow_headers(READ)
                .expose_headers(WRITTEN)
                .max_age(REMEMBERED)
        };
        (!self.0.is_empty()).then(layer)
    }

    /// Whether a page of these asks, and asks by what it says itself: a browser adds cookies unasked, and sends forms of
    /// anybody's pages, who would sign somebody in as somebody else.
    pub fn ask(&self, headers: &HeaderMap) -> bool {
        let is_named = headers.get(header::ORIGIN).is_some_and(|origin| self.0.contains(origin));
        let by_script = headers.get(SEC_FETCH_MODE).is_none_or(|mode| mode == "cors");
        is_named && by_script && !headers.contains_key(header::COOKIE)
    }
}

/// An origin of pages: scheme, host and port alone.
pub fn origin(text: &str) -> Result<HeaderValue, String> {
    let text = text.trim();
    let uri: Option<Uri> = text.parse().ok();
    let written = uri.and_then(|uri| {
        let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
        let is_plain = matches!(scheme, "http" | "https") && !authority.as_str().contains('@');
        is_plain.then(|| format!("{scheme}://{}", authority.as_str().to_ascii_lowercase()))
    });
    match written {
        Some(written) if written == text => {
            HeaderValue::from_str(text).map_err(|_| "an origin is plain ASCII".to_owned())
        }
        _ => Err("an origin is a scheme and a host as browsers write them, such as https://panel.example".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port_alone() {
        for right in ["https://panel.example", "http://localhost:3000", "https://[2001:db8::1]:8443"] {
            assert_eq!(origin(right), Ok(HeaderValue::from_static(right)));
        }
        for wrong in [
            "*",
            "",
            "null",
            "panel.example",
            "https://panel.example/",
            "https://Panel.example",
            "https://a@panel.example",
            "https://*.example/x",
            "ftp://panel.example",
        ] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }
}
