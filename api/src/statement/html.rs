//! A statement as a page by itself: no script, nothing loaded from elsewhere, fit to print.

use std::sync::LazyLock;

use askama::Template;
use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono_tz::Tz;
use sha2::{Digest, Sha256};

use super::{LineShown, StatementShown, words::local, written};

const CONTENT_TYPE: &str = "text/html; charset=utf-8";

const TEMPLATE: &str = include_str!("../../templates/statement.html");

/// Not even a text that slipped through the escaping could load or run anything, or change how the page looks: its style
/// stands in the page, so that a copy that somebody keeps is whole, and is named by its hash.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = TEMPLATE.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next());
    let hash = BASE64_STANDARD.encode(Sha256::digest(style.expect("the page has a style")));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("a policy is plain ASCII")
});

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
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    response
}
