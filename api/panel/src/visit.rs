//! A visit: who asks for a page, in which language and time zone, and how the page asks the API for it.

use std::{convert::Infallible, str::FromStr, sync::Arc};

use axum::{
    body::to_bytes,
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use daybook_api::{App, Authenticated, Desk, Visitor};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::{
    declared::{Declared, Need, Operation, listing_of},
    page,
    words::{self, Language},
};

/// What all pages share.
#[derive(Clone, Debug)]
pub struct House(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    app: App,
    desk: Desk,
    api: Declared,
}

impl House {
    pub fn of(app: App) -> Self {
        let api = Declared::of(&daybook_api::openapi());
        Self(Arc::new(Shared { desk: Desk::of(app.clone()), app, api }))
    }

    pub fn api(&self) -> &Declared {
        &self.0.api
    }

    pub fn app(&self) -> &App {
        &self.0.app
    }
}

/// A request for a page.
#[derive(Clone, Debug)]
pub struct Visit {
    pub house: House,
    visitor: Visitor,
    pub language: &'static Language,
    pub zone: Tz,
    pub path: String,
    pub query: Vec<(String, String)>,
    /// Whether only what stands in the middle of the page is asked for.
    pub is_fragment: bool,
    /// The customer in whose place one of the provider's people looks at the panel.
    pub stands_in: Option<String>,
}

/// The cookies of what a browser prefers.
pub const LANGUAGE: &str = "language";
pub const ZONE: &str = "zone";
pub const STANDS_IN: &str = "stands-in";

/// The parameter of a page that names the position which its figures must include.
pub const AT: &str = "at";

/// What the API has answered.
#[derive(Debug)]
pub struct Answer {
    pub headers: HeaderMap,
    pub body: Value,
}

/// Why it has not.
#[derive(Clone, Debug)]
pub struct Refused {
    pub status: StatusCode,
    pub code: String,
    pub title: Box<str>,
    pub detail: String,
    /// By the pointer of a field of the body.
    pub fields: Vec<(String, String)>,
    /// As the header of the answer has it.
    pub retry_after: Option<String>,
}

pub type Outcome = Result<Response, Refused>;

impl FromRequestParts<House> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, house: &House) -> Result<Self, Infallible> {
        Ok(Self::of(parts, house))
    }
}

impl Visit {
    pub fn of(parts: &Parts, house: &House) -> Self {
        let language = cookie(&parts.headers, LANGUAGE).and_then(|tag| words::named(&tag));
        let zone = cookie(&parts.headers, ZONE).and_then(|zone| Tz::from_str(&zone).ok());
        let query = parts.uri.query().unwrap_or_default();
        let query: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let visitor = Visitor::of(parts);
        let is_provider = visitor.who().is_some_and(|who| who.principal.is_some() && who.customer().is_none());
        let stands_in = cookie(&parts.headers, STANDS_IN)
            .filter(|customer| is_provider && listing_of(customer) == Some("customers"));
        let visitor = match &stands_in {
            Some(customer) => visitor.standing_in(customer),
            None => visitor,
        };
        Self {
            house: house.clone(),
            visitor,
            language: language.unwrap_or_else(|| words::accepted(&parts.headers)),
            zone: zone.unwrap_or(Tz::UTC),
            // Two slashes would name another site in a link.
            path: format!("/{}", parts.uri.path().trim_start_matches('/')),
            query,
            is_fragment: parts.headers.get("hx-request").is_some_and(|value| value == "true"),
            stands_in,
        }
    }

    pub fn who(&self) -> Option<&Authenticated> {
        self.visitor.who()
    }

    /// Whether somebody is signed in, with all that is needed.
    pub fn is_signed_in(&self) -> bool {
        self.who().is_some_and(|who| !who.is_half)
    }

    /// The customer whose panel is looked at.
    pub fn customer(&self) -> Option<&str> {
        self.stands_in.as_deref().or_else(|| self.who()?.customer())
    }

    /// Whether the visitor may do this. In the place of a customer nothing is done, and only seen what customers see.
    pub fn may(&self, operation: &Operation) -> bool {
        let Some(who) = self.who() else { return operation.need == Need::Nothing };
        if self.stands_in.is_some() && operation.method != "GET" {
            return false;
        }
        match operation.need {
            Need::Nothing | Need::Identity | Need::Begun => true,
            Need::May(function) => who.may(function) && (self.stands_in.is_none() || function.is_for_customers()),
            Need::Signature => false,
        }
    }

    /// Whether the visitor may read what stands at this address of the API.
    pub fn may_read(&self, path: &str) -> bool {
        self.house.api().reading(path).is_some_and(|(operation, _)| self.may(operation))
    }

    pub fn asked(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(asked, _)| asked == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }

    /// Reads an address of the API.
    pub async fn read(&self, path: &str) -> Result<Answer, Refused> {
        answer(self.open(path, None).await).await
    }

    /// Reads what it answers in another form, as it comes.
    pub async fn open(&self, path: &str, form: Option<&'static str>) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(form) = form {
            headers.insert(header::ACCEPT, HeaderValue::from_static(form));
        }
        // What has just been done is seen on the page that follows.
        if let Some(position) = self.asked(AT).and_then(|position| HeaderValue::from_str(position).ok()) {
            headers.insert(HeaderName::from_static("min-position"), position);
        }
        self.house.0.desk.ask(&self.visitor, Method::GET, path, headers, None).await
    }

    /// Sends what changes something.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Option<Value>,
    ) -> Result<Answer, Refused> {
        let method = Method::from_str(method).unwrap_or(Method::POST);
        let values =
            headers.iter().filter_map(|(name, value)| Some((name.clone(), HeaderValue::from_str(value).ok()?)));
        let response = self.house.0.desk.ask(&self.visitor, method, path, values.collect(), body).await;
        answer(response).await
    }

    /// What is shown, or a page that says why it is not.
    pub fn finish(&self, outcome: Outcome) -> Response {
        match outcome {
            Ok(response) => response,
            Err(refused) if refused.status == StatusCode::UNAUTHORIZED && !self.is_signed_in() => self.to_sign_in(),
            Err(refused) => page::failure(self, &refused),
        }
    }

    /// The way to where one signs in, and from there back.
    pub fn to_sign_in(&self) -> Response {
        if self.who().is_some_and(|who| who.is_half) {
            return Redirect::to("/sign-in/second-factor").into_response();
        }
        let back = if self.path == "/" { String::new() } else { format!("?back={}", escaped(&self.address())) };
        Redirect::to(&format!("/sign-in{back}")).into_response()
    }

    /// A moment that was asked for, as a field for moments takes it: in the reader's zone.
    pub fn moment_asked(&self, name: &str) -> String {
        self.local(self.asked(name).unwrap_or_default())
    }

    /// The same of any moment; what is none stays as it is.
    pub fn local(&self, moment: &str) -> String {
        let parsed = moment.parse::<DateTime<Utc>>();
        parsed.map_or_else(
            |_| moment.to_owned(),
            |at| at.with_timezone(&self.zone).format("%Y-%m-%dT%H:%M:%S").to_string(),
        )
    }

    /// The present day where the reader is.
    pub fn today(&self) -> NaiveDate {
        self.house.app().clock().now().with_timezone(&self.zone).date_naive()
    }

    /// The address of this page.
    pub fn address(&self) -> String {
        self.address_with(&[])
    }

    /// The same, with other values of some parameters; without those that have none.
    pub fn address_with(&self, changed: &[(&str, Option<&str>)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.query {
            if !value.is_empty() && !changed.iter().any(|(other, _)| other == name) {
                query.append_pair(name, value);
            }
        }
        for (name, value) in changed {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        let query = query.finish();
        if query.is_empty() { self.path.clone() } else { format!("{}?{query}", self.path) }
    }
}

impl Answer {
    /// The position of the book that it is true at.
    pub fn position(&self) -> Option<u64> {
        self.headers.get("ledger-position")?.to_str().ok()?.parse().ok()
    }

    pub fn tag(&self) -> Option<&str> {
        self.headers.get(header::ETAG)?.to_str().ok()
    }

    /// The rows of a listing.
    pub fn rows(&self) -> &[Value] {
        self.body["data"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The address of another page of the listing, as `Link` names it.
    pub fn link(&self, relation: &str) -> Option<String> {
        let links = self.headers.get(header::LINK)?.to_str().ok()?;
        let wanted = format!("rel=\"{relation}\"");
        links.split(", ").find(|link| link.ends_with(&wanted)).and_then(|link| {
            let (target, _) = link.strip_prefix('<')?.split_once('>')?;
            Some(target.to_owned())
        })
    }
}

/// The most that is read of an answer that is not passed on as it comes.
const MOST: usize = 8 * 1024 * 1024;

async fn answer(response: Response) -> Result<Answer, Refused> {
    let (mut parts, body) = response.into_parts();
    if !parts.status.is_success() {
        return Err(Refused::of(&mut parts));
    }
    let unreadable =
        |_| Refused { code: "too-long-for-a-page".into(), ..Refused::internal("the answer is too long for a page") };
    let content = to_bytes(body, MOST).await.map_err(unreadable)?;
    let body = if content.is_empty() { Value::Null } else { serde_json::from_slice(&content).unwrap_or_default() };
    Ok(Answer { headers: parts.headers, body })
}

impl Refused {
    /// What a response without success says.
    pub fn of(parts: &mut axum::http::response::Parts) -> Self {
        let problem = Desk::problem(parts);
        let code = problem.r#type.rsplit('/').next().unwrap_or_default().to_owned();
        Self {
            status: parts.status,
            code,
            title: problem.title.into(),
            detail: problem.detail,
            fields: problem.errors.into_iter().map(|error| (error.pointer, error.detail)).collect(),
            retry_after: parts
                .headers
                .get(header::RETRY_AFTER)
                .and_then(|after| after.to_str().ok())
                .map(str::to_owned),
        }
    }

    pub fn not_found() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: "not-found".into(),
            title: "".into(),
            detail: String::new(),
            fields: Vec::new(),
            retry_after: None,
        }
    }

    pub fn internal(detail: &str) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: "internal".into(),
            detail: detail.into(),
            ..Self::not_found()
        }
    }
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split("; ")).filter_map(|pair| pair.split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
}

/// Everything that has a meaning in an address.
const MEANT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A value within an address.
pub fn escaped(value: &str) -> String {
    utf8_percent_encode(value, MEANT).to_string()
}
