//! A statement as a page by itself: no script, nothing loaded from elsewhere, fit to print.

use askama::Template;
use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use chrono_tz::Tz;

use super::{LineShown, StatementShown, words::local, written};

const CONTENT_TYPE: &str = "text/html; charset=utf-8";

/// Not even a text that slipped through the escaping could load or run anything.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'");

#[derive(Template)]
#[template(path = "statement.html")]
struct Page<'a> {
    statement: &'a StatementShown,
    zone: Tz,
}

impl Page<'_> {
    fn local(&self, line: &LineShown) -> String {
        local(line.occurred_at, self.zone)
    }

    fn remarks(&self, line: &LineShown) -> String {
        line.remarks(self.zone)
    }
}

pub fn page(statement: &StatementShown) -> Response {
    let page = Page { statement, zone: statement.zone() };
    let mut response = written(CONTENT_TYPE, page.render().expect("memory takes every page")).into_response();
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY);
    response
}
