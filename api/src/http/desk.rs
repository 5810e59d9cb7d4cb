//! Requests that pages make of the API in this very process, in the name of the visitor.
//!
//! They pass the same rights, walls and access log as any other request. Who asks was found out for the page, and the page is
//! what the limit of requests counts.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{
        Extensions, HeaderMap, HeaderValue, Method, Request, StatusCode, header, request::Parts,
        response::Parts as ResponseParts,
    },
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tower::ServiceExt;

use crate::{
    app::App,
    http::{
        authentication::{Authenticated, MEMBERSHIP, Peer},
        caller::ON_BEHALF_OF,
        error::{ApiError, Problem},
        layers::RequestId,
    },
    routes,
};

/// Where pages ask.
#[derive(Clone, Debug)]
pub struct Desk(Router);

/// Who asks for a page.
#[derive(Clone, Debug)]
pub struct Visitor {
    headers: HeaderMap,
    who: Option<Arc<Authenticated>>,
    extensions: Extensions,
}

impl Visitor {
    pub fn of(parts: &Parts) -> Self {
        let (mut headers, mut extensions) = (HeaderMap::new(), Extensions::new());
        for name in [header::COOKIE.as_str(), header::USER_AGENT.as_str(), MEMBERSHIP] {
            for value in parts.headers.get_all(name) {
                headers.append(header::HeaderName::from_static(name), value.clone());
            }
        }
        let who = parts.extensions.get::<Arc<Authenticated>>().cloned();
        carry::<App>(parts, &mut extensions);
        carry::<Arc<Authenticated>>(parts, &mut extensions);
        carry::<Peer>(parts, &mut extensions);
        carry::<RequestId>(parts, &mut extensions);
        Self { headers, who, extensions }
    }

    /// The same person in the place of a customer, whose things alone are seen then.
    pub fn standing_in(mut self, customer: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(&format!("customer:{customer}")) {
            self.headers.insert(header::HeaderName::from_static(ON_BEHALF_OF), value);
        }
        self
    }

    pub fn who(&self) -> Option<&Authenticated> {
        self.who.as_deref()
    }
}

fn carry<T: Clone + Send + Sync + 'static>(parts: &Parts, extensions: &mut Extensions) {
    if let Some(found) = parts.extensions.get::<T>() {
        extensions.insert(found.clone());
    }
}

impl Desk {
    pub fn of(app: App) -> Self {
        Self(routes::routes_of(app))
    }

    /// Answers as the API does, with a failure as it comes out of a handler: what it is, [`Self::problem`] says.
    pub async fn ask(
        &self,
        visitor: &Visitor,
        method: Method,
        address: &str,
        headers: HeaderMap,
        body: Option<Value>,
    ) -> Response {
        let mut request = Request::builder().method(method).uri(address);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let Ok(mut request) = request.body(body) else { return StatusCode::NOT_FOUND.into_response() };
        request.headers_mut().extend(visitor.headers.clone());
        request.headers_mut().extend(headers);
        *request.extensions_mut() = visitor.extensions.clone();
        self.0.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
    }

    /// Why a request failed.
    pub fn problem(parts: &mut ResponseParts) -> Problem {
        let error = parts.extensions.remove().unwrap_or_else(|| ApiError::of_status(parts.status));
        error.document(String::new())
    }
}
