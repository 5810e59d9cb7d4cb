//! Reading what an address names: identifiers in its path, and the parameters of its query.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use crate::{error::ApiError, wire::Coded};

/// What the path names. A name that no such thing can have names nothing.
#[derive(Debug)]
pub struct Named<T>(pub T);

/// What the query asks for. Every parameter must be known, so that a misspelt filter does not answer with everything.
#[derive(Debug)]
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(named) = Path::<T>::from_request_parts(parts, state).await.map_err(|rejection| {
            let text = rejection.body_text();
            let detail = text.find('\u{1}').and_then(|at| Coded::read(&text[at..]));
            ApiError::new("not-found", detail.map_or("there is nothing at this address", |coded| coded.detail))
        })?;
        Ok(Self(named))
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        read(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn read<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map_err(|error| {
        let (parameter, text) = (error.path().to_string(), error.inner().to_string());
        let mut names = text.split('`').skip(1).step_by(2).map(str::to_owned);
        if text.starts_with("unknown field") {
            let unknown = names.next().unwrap_or_default();
            let allowed: Vec<String> = names.collect();
            return ApiError::new("unknown-parameter", format!("there is no parameter `{unknown}` here"))
                .with("parameter", unknown)
                .with("allowed", allowed);
        }
        let parameter = if parameter == "." { names.next().unwrap_or_default() } else { parameter };
        let detail = Coded::read(&text).map_or(text.as_str(), |coded| coded.detail);
        ApiError::new("malformed-parameter", format!("`{parameter}`: {detail}")).with("parameter", parameter)
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Filter {
        status: Option<String>,
        limit: Option<u32>,
    }

    #[test]
    fn a_parameter_that_is_not_known_is_told_with_those_that_are() {
        let error = read::<Filter>("state=open").expect_err("the parameter is misspelt");
        let problem = error.document(String::new());
        assert_eq!(error.code(), "unknown-parameter");
        assert_eq!(problem.members["parameter"], "state");
        assert_eq!(problem.members["allowed"], serde_json::json!(["status", "limit"]));
    }

    #[test]
    fn a_parameter_that_is_not_a_number_is_named() {
        let error = read::<Filter>("limit=ten").expect_err("ten is not written in digits");
        assert_eq!(error.code(), "malformed-parameter");
        assert_eq!(error.document(String::new()).members["parameter"], "limit");
    }

    #[test]
    fn percent_encoding_is_undone() {
        let filter = read::<Filter>("status=in%5Fprogress").expect("a filter");
        assert_eq!(filter, Filter { status: Some("in_progress".into()), limit: None });
    }
}
