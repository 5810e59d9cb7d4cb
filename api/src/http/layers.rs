//! What every answer keeps to, whichever handler gave it: a request id, a problem document for every failure, and what
//! browsers must know of it.

use std::{any::Any, time::Instant};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderMap, HeaderValue, Response as HttpResponse, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;
use uuid::Uuid;

use crate::http::{
    admission::admit,
    arrival::{Edge, arrive},
    body,
    bounds::bound,
    browsers::{is_page, protect},
    error::ApiError,
};

pub const REQUEST_ID: &str = "x-request-id";

/// The id of a request: the caller's own, if it is short and plain, else a new one.
#[derive(Clone, Debug)]
pub struct RequestId(String);

/// Puts the layers of the API around routes. Panics, unknown addresses and bare statuses come out as problem documents.
pub fn with_layers(routes: Router, edge: impl Into<Edge>) -> Router {
    let edge = edge.into();
    let routes = routes.layer(DefaultBodyLimit::max(body::LIMIT)).layer(CatchPanicLayer::custom(after_panic));
    let origins = edge.origins.layer();
    let routes = routes
        .layer(middleware::from_fn_with_state(edge.clone(), admit))
        .layer(middleware::from_fn_with_state(edge.clone(), arrive))
        .layer(middleware::from_fn_with_state(edge, bound));
    // Outside of what refuses, so that a page of a named origin can read why.
    answering(match origins {
        Some(origins) => routes.layer(origins),
        None => routes,
    })
}

/// Puts around routes what every answer has: its request id, and a problem document if it is a failure.
pub fn answering(routes: Router) -> Router {
    routes.layer(middleware::from_fn(answer))
}

async fn answer(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let (method, path, begun) = (request.method().clone(), request.uri().path().to_owned(), Instant::now());
    let span = tracing::info_span!("request", id = %id.0);

    let mut response = next.run(request).instrument(span.clone()).await;

    let status = response.status();
    // A page says by itself why it is not what was asked for.
    if (status.is_client_error() || status.is_server_error()) && !is_page(response.headers()) {
        let error = response.extensions_mut().remove().unwrap_or_else(|| ApiError::of_status(status));
        response = problem(response, &error, &id);
        // A layer around this one may say it in another form.
        response.extensions_mut().insert(error);
        if status == StatusCode::UNAUTHORIZED {
            let how = HeaderValue::from_static("Bearer realm=\"daybook\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, how);
        }
    }
    let header = HeaderValue::from_str(&id.0).expect("a request id is plain ASCII");
    response.headers_mut().insert(REQUEST_ID, header);
    protect(response.headers_mut(), &path);
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| tracing::info!(%method, path, status = status.as_u16(), milliseconds, "answered"));
    response
}

/// The same answer with a problem document for its body.
fn problem(response: Response, error: &ApiError, id: &RequestId) -> Response {
    let (mut parts, _) = response.into_parts();
    let (document, body) = Json(error.document(id.urn())).into_response().into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(document.headers);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Response::from_parts(parts, body)
}

fn after_panic(panic: Box<dyn Any + Send + 'static>) -> HttpResponse<Body> {
    let message = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = message.unwrap_or("without a text"), "a handler panicked");
    ApiError::new("internal", "the server has a fault; the request id helps to find it").into_response()
}

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
        let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        let given = given.filter(|id| (1..=128).contains(&id.len()) && id.chars().all(plain));
        Self(given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned))
    }

    pub fn uuid(&self) -> Option<Uuid> {
        self.0.parse().ok()
    }

    fn urn(&self) -> String {
        match self.uuid() {
            Some(uuid) => uuid.urn().to_string(),
            None => format!("urn:daybook:request:{}", self.0),
        }
    }
}
