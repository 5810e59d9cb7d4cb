//! Headers of which a request has one at most: of two, nobody knows which one their sender meant.

use axum::http::{HeaderMap, HeaderValue};

use crate::http::error::ApiError;

/// The value of the header, if it stands there.
pub fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a HeaderValue>, ApiError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(malformed(name, format!("`{name}` stands more than once"))),
        (value, None) => Ok(value),
    }
}

/// Its text.
pub fn single_text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let Some(value) = single(headers, name)? else { return Ok(None) };
    let text = value.to_str();
    text.map(Some).map_err(|_| malformed(name, format!("`{name}` is written in visible ASCII characters")))
}

pub fn malformed(name: &str, detail: impl Into<String>) -> ApiError {
    ApiError::new("malformed-header", detail).with("header", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "webhook-id";

    fn said(values: &[&'static [u8]]) -> Result<Option<String>, (&'static str, String)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(NAME, HeaderValue::from_bytes(value).expect("the value of a header"));
        }
        let text = single_text(&headers, NAME).map(|text| text.map(String::from));
        text.map_err(|error| (error.code(), error.detail().to_owned()))
    }

    #[test]
    fn a_header_stands_once_in_visible_ascii() {
        assert_eq!(said(&[]), Ok(None));
        assert_eq!(said(&[b"a"]), Ok(Some("a".into())));
        for (wrong, why) in
            [(&[&b"a"[..], b"a"][..], "more than once"), (&[b"a", b"\xff"], "more than once"), (&[b"\xff"], "ASCII")]
        {
            let (code, detail) = said(wrong).expect_err("it is not clear");
            assert!(code == "malformed-header" && detail.contains(why) && detail.contains(NAME), "{detail}");
        }
    }
}
