//! Reading what an address names: identifiers in its path, and the parameters of its query.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::http::{
    error::{ApiError, shortened},
    listing::{self, Asking, Paging},
    moment::{self, AskedMoment},
    wire::Coded,
};

/// What the path names. A name that no such thing can have names nothing.
#[derive(Debug)]
pub struct Named<T>(pub T);

/// What the query asks for, where no moment can be asked for: of what never changes.
#[derive(Debug)]
pub struct Asked<T>(pub T);

/// What the query asks for, of which moment, and who asks. Every parameter must be known, so that a misspelt filter does not answer
/// with everything.
#[derive(Debug)]
pub struct AskedAt<T>(pub T, pub Asking);

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

impl<T: DeserializeOwned + Send, S: Sync> FromRequestParts<S> for AskedAt<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let (asked, moment) = read(parts.uri.query().unwrap_or_default())?;
        Ok(Self(asked, Asking::of(moment, parts, state).await?))
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        read_pairs(parts.uri.query().unwrap_or_default(), |_| true, &[]).map(Self)
    }
}

/// The texts in a path that stand where the template of its route has a parameter of such a name. Who reads them does not
/// know yet what a handler will make of them.
pub fn in_path(template: &str, path: &str, is_asked: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
    let segments = template.split('/').zip(path.split('/'));
    let asked = segments
        .filter(move |(name, _)| name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).is_some_and(&is_asked));
    asked.map(|(_, text)| percent_decode_str(text).decode_utf8_lossy().into_owned())
}

fn read<T: DeserializeOwned>(query: &str) -> Result<(T, AskedMoment), ApiError> {
    let of_moment = |name: &str| moment::PARAMETERS.contains(&name);
    let asked = read_pairs(query, |name| !of_moment(name), &moment::PARAMETERS)?;
    Ok((asked, read_pairs(query, of_moment, &[])?))
}

/// What a query asks of a listing: what chooses its rows, what some other parameters say, which page of it, and of which
/// moment.
pub fn read_page<T: DeserializeOwned, B: DeserializeOwned>(
    query: &str,
    others: &[&str],
) -> Result<(T, B, Paging, AskedMoment), ApiError> {
    let of_page = |name: &str| listing::PARAMETERS.contains(&name);
    let of_moment = |name: &str| moment::PARAMETERS.contains(&name);
    let of_others = |name: &str| others.contains(&name);
    let besides = [others, &listing::PARAMETERS, &moment::PARAMETERS].concat();
    let asked = read_pairs(query, |name| !of_page(name) && !of_moment(name) && !of_others(name), &besides)?;
    let others = read_pairs(query, of_others, &[])?;
    Ok((asked, others, read_pairs(query, of_page, &[])?, read_pairs(query, of_moment, &[])?))
}

/// What some parameters of a query say that can be asked of a moment and nothing else.
pub fn read_at_moment<B: DeserializeOwned>(query: &str, others: &[&str]) -> Result<(B, AskedMoment), ApiError> {
    let moment = read_pairs(query, |name| !others.contains(&name), others)?;
    Ok((read_pairs(query, |name| others.contains(&name), &[])?, moment))
}

/// Reads the parameters whose names are wanted; `besides` are those that are known here, too.
pub fn read_pairs<T: DeserializeOwned>(
    query: &str,
    wanted: impl Fn(&str) -> bool,
    besides: &[&str],
) -> Result<T, ApiError> {
    let mut kept = form_urlencoded::Serializer::new(String::new());
    kept.extend_pairs(form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| wanted(name)));
    let kept = kept.finish();
    let pairs = form_urlencoded::parse(kept.as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map_err(|error| {
        let (parameter, text) = (error.path().to_string(), error.inner().to_string());
        let mut names = text.split('`').skip(1).step_by(2).map(str::to_owned);
        if text.starts_with("unknown field") {
            let unknown = shortened(&names.next().unwrap_or_default());
            let allowed: Vec<String> = names.chain(besides.iter().map(|name| (*name).to_owned())).collect();
            return ApiError::new("unknown-parameter", format!("there is no parameter `{unknown}` here"))
                .with("parameter", unknown)
                .with("allowed", allowed);
        }
        if let Some((_, listed)) = text.strip_prefix("unknown variant").and_then(|text| text.rsplit_once("expected ")) {
            let allowed: Vec<&str> = listed.split('`').skip(1).step_by(2).collect();
            let detail = format!("`{parameter}` is one of {}", allowed.join(", "));
            return ApiError::new("malformed-parameter", detail).with("parameter", parameter).with("allowed", allowed);
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
    use crate::http::wire::Nothing;

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
        assert_eq!(problem.members["allowed"], serde_json::json!(["status", "limit", "as_of", "as_known_at"]));
    }

    #[test]
    fn a_parameter_that_is_not_a_number_is_named() {
        let error = read::<Filter>("limit=ten").expect_err("ten is not written in digits");
        assert_eq!(error.code(), "malformed-parameter");
        assert_eq!(error.document(String::new()).members["parameter"], "limit");
    }

    #[test]
    fn a_moment_stands_beside_any_other_parameter() {
        let (filter, moment) = read::<Filter>("limit=2&as_known_at=17&status=open").expect("a filter and a moment");
        assert_eq!((filter.limit, filter.status.as_deref()), (Some(2), Some("open")));
        assert_eq!(moment, read::<Nothing>("as_known_at=17").expect("a moment").1);
        let error = read::<Filter>("as_at=17").expect_err("the parameter is misspelt");
        let allowed = serde_json::json!(["status", "limit", "as_of", "as_known_at"]);
        assert_eq!(error.document(String::new()).members["allowed"], allowed);
    }

    #[test]
    fn a_moment_that_is_neither_a_position_nor_a_time_is_named() {
        for (query, parameter) in [
            ("as_known_at=-1", "as_known_at"),
            ("as_known_at=", "as_known_at"),
            ("as_known_at=99999999999999999999", "as_known_at"),
            ("as_known_at=2026-04-11", "as_known_at"),
            ("as_of=12", "as_of"),
            ("as_of=2026-04-11T00:00:00+02:00", "as_of"),
            ("as_of=%2B12026-04-11T00:00:00Z", "as_of"),
            ("as_of=2026-04-11T00:00:00Z&as_of=2026-04-12T00:00:00Z", "as_of"),
        ] {
            let error = read::<Filter>(query).expect_err(query);
            assert_eq!((error.code(), query), ("malformed-parameter", query));
            assert_eq!(error.document(String::new()).members["parameter"], parameter, "{query}");
        }
        assert!(read::<Filter>("as_of=2026-04-11T00:00:00%2B02:00").is_ok());
    }

    #[test]
    fn percent_encoding_is_undone() {
        let (filter, _) = read::<Filter>("status=in%5Fprogress").expect("a filter");
        assert_eq!(filter, Filter { status: Some("in_progress".into()), limit: None });
    }
}
