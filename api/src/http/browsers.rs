//! What browsers must know of an answer: that it is what it says, and what a page may load and who may show it.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Of what is no page. Shown as one, it loads nothing, and nobody frames it.
const NO_PAGE: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Of pages: they are made of what this server has, and of no script or style in themselves.
const PAGE: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);

/// Of the documentation: its viewer draws by styles and images that stand in the page. Its scripts are files.
const VIEWER: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// Of every answer. An address with something secret in it leaves this site with no request.
const ALWAYS: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// Puts into an answer what it does not say by itself.
pub fn protect(headers: &mut HeaderMap, path: &str) {
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(value);
    }
    let policy = match path.strip_prefix("/docs") {
        Some("") => VIEWER,
        Some(rest) if rest.starts_with('/') => VIEWER,
        _ if is_page(headers) => PAGE,
        _ => NO_PAGE,
    };
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
}

/// Whether a browser shows the answer as a page.
pub fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().to_ascii_lowercase().starts_with(b"text/html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(path: &str, kind: &'static str) -> HeaderValue {
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        protect(&mut headers, path);
        headers[header::CONTENT_SECURITY_POLICY].clone()
    }

    #[test]
    fn a_policy_follows_what_an_answer_is() {
        assert_eq!(policy("/v1/accounts", "application/json"), NO_PAGE);
        assert_eq!(policy("/sign-in", "text/html; charset=utf-8"), PAGE);
        assert_eq!(policy("/sign-in", "Text/HTML"), PAGE);
        assert_eq!(policy("/docs/", "text/html"), VIEWER);
        assert_eq!(policy("/docs", "text/plain"), VIEWER);
        assert_eq!(policy("/docs-of-somebody", "text/html"), PAGE);
    }

    #[test]
    fn what_a_handler_says_stays() {
        let own = HeaderValue::from_static("no-referrer");
        let mut headers = HeaderMap::from_iter([(header::REFERRER_POLICY, own.clone())]);
        protect(&mut headers, "/sign-in");
        assert_eq!(headers[header::REFERRER_POLICY], own);
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}
