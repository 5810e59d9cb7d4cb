//! The frame of every page: where one is, what else there is, and at which position of the book the figures are true.

use askama::Template;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{Html, IntoResponse, Response},
};

use crate::{
    assets, figures,
    map::{self, Part},
    visit::{House, Refused, Visit},
};

/// A page, before it is put into its frame.
#[derive(Debug, Default)]
pub struct Content {
    pub title: String,
    /// The pages above it: their names and addresses.
    pub above: Vec<(String, String)>,
    /// What stands in the middle, as HTML.
    pub body: String,
    /// Of the book, at which it is true.
    pub position: Option<u64>,
    /// What has just been done.
    pub notice: Option<String>,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Whole<'a> {
    visit: &'a Visit,
    content: &'a Content,
    parts: Vec<Part>,
    main: String,
    style: String,
    scripts: [String; 2],
    icon: String,
}

#[derive(Template)]
#[template(path = "main.html")]
struct Main<'a> {
    visit: &'a Visit,
    content: &'a Content,
    as_of: Option<String>,
}

impl Whole<'_> {
    fn say(&self, message: &str) -> String {
        self.visit.language.say(message)
    }
}

impl Main<'_> {
    fn say(&self, message: &str) -> String {
        self.visit.language.say(message)
    }
}

impl Content {
    pub fn of(title: impl Into<String>, body: &impl Template) -> Self {
        let body = body.render().expect("memory takes every page");
        Self { title: title.into(), body, ..Self::default() }
    }

    pub fn under(mut self, above: Vec<(String, String)>) -> Self {
        self.above = above;
        self
    }

    pub fn at(mut self, position: Option<u64>) -> Self {
        self.position = position;
        self
    }

    pub fn shown(self, visit: &Visit) -> Response {
        self.with_status(visit, StatusCode::OK)
    }

    pub fn with_status(mut self, visit: &Visit, status: StatusCode) -> Response {
        if self.notice.is_none() {
            self.notice = visit.asked("done").map(|done| {
                let deed = visit.house.api().named(done).map(|operation| visit.language.deed(&operation.id));
                visit.language.say_with("notice-done", &[("deed", deed.as_deref().unwrap_or_default())])
            });
        }
        let main = Main { visit, content: &self, as_of: as_of(visit, self.position) };
        let main = main.render().expect("memory takes every page");
        let page = if visit.is_fragment {
            main
        } else {
            let (style, icon) = (assets::address(0), assets::address(3));
            let scripts = [assets::address(1), assets::address(2)];
            let parts = if visit.is_signed_in() { map::navigation(visit) } else { Vec::new() };
            let whole = Whole { visit, content: &self, parts, main, style, scripts, icon };
            whole.render().expect("memory takes every page")
        };
        let mut response = (status, Html(page)).into_response();
        let headers = response.headers_mut();
        // Money of somebody: no copy outlives the session.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::VARY, HeaderValue::from_static("HX-Request, Cookie, Accept-Language"));
        let language = HeaderValue::from_static(visit.language.tag);
        headers.insert(header::CONTENT_LANGUAGE, language);
        response
    }
}

/// At which position the figures are true, and how far the book has gone on since.
fn as_of(visit: &Visit, position: Option<u64>) -> Option<String> {
    let position = position?;
    let head = *visit.house.app().writer().committed().borrow();
    let behind = head.saturating_sub(position);
    let position = figures::number(visit.language, &position.to_string());
    let behind = visit.language.count("events-behind", behind);
    Some(visit.language.say_with("as-of", &[("position", &position), ("behind", &behind)]))
}

#[derive(Template)]
#[template(path = "failure.html")]
struct Failure<'a> {
    visit: &'a Visit,
    refused: &'a Refused,
    text: String,
}

/// Says why a page is not shown.
pub fn failure(visit: &Visit, refused: &Refused) -> Response {
    let language = visit.language;
    let text = explained(visit, refused);
    let title = language.find(&format!("failure-{}", refused.status.as_u16()), &[]);
    let title = title.unwrap_or_else(|| language.say("failure"));
    let content = Content::of(title, &Failure { visit, refused, text });
    let mut response = content.with_status(visit, refused.status);
    if let Some(after) = refused.retry_after.as_deref().and_then(|after| after.parse().ok()) {
        response.headers_mut().insert(header::RETRY_AFTER, after);
    }
    response
}

/// A refusal in the reader's language, where the catalogue has it; else as the API says it.
pub fn explained(visit: &Visit, refused: &Refused) -> String {
    let message = visit.language.find(&format!("problem-{}", refused.code), &[]);
    message
        .unwrap_or_else(|| if refused.detail.is_empty() { refused.title.to_string() } else { refused.detail.clone() })
}

/// Whether a browser asks, which wants pages first.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/html"))
}

/// Makes a page of what the layers around the routes have refused, for browsers.
pub async fn failures(State(house): State<House>, request: Request, next: Next) -> Response {
    let wants_page = request.method() == Method::GET || request.method() == Method::POST;
    let wants_page = wants_page && crate::is_of_pages(&request) && is_wanted(request.headers());
    if !wants_page {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let visit = Visit::of(&parts, &house);
    let response = next.run(Request::from_parts(parts, body)).await;
    let is_page =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if !(response.status().is_client_error() || response.status().is_server_error()) || is_page {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    let refused = Refused { fields: Vec::new(), ..Refused::of(&mut parts) };
    let mut page = failure(&visit, &refused);
    for (name, value) in &parts.headers {
        // The policy was that of what is no page.
        let is_of_problems = matches!(
            *name,
            header::CONTENT_TYPE | header::CONTENT_LENGTH | header::CACHE_CONTROL | header::CONTENT_SECURITY_POLICY
        );
        if !is_of_problems {
            page.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
    }
    daybook_api::protect(page.headers_mut(), &visit.path);
    page
}
