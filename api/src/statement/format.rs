//! The forms that a statement comes in, and which of them the caller likes best.

use axum::http::{HeaderMap, header};
use rust_decimal::Decimal;
use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Json,
    /// RFC 4180, for spreadsheets and programs.
    Csv,
    /// A page by itself, to read and to print.
    Html,
    /// Plain text, for a mail.
    Text,
}

/// Of forms that the caller likes equally, the first is given.
const FORMATS: [(Format, &str); 4] = [
    (Format::Json, "application/json"),
    (Format::Csv, "text/csv"),
    (Format::Html, "text/html"),
    (Format::Text, "text/plain"),
];

impl Format {
    /// As `Accept` says (RFC 9110); JSON where it says nothing, or nothing that is here.
    pub fn wanted(headers: &HeaderMap) -> Self {
        let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges: Vec<(&str, Decimal)> = accept.flat_map(|value| value.split(',')).map(range).collect();
        let liking = |media_type: &str| {
            let group = media_type.split('/').next().unwrap_or_default();
            // The closest range counts, such as `text/csv` before `text/*`.
            let ranges_of = [media_type, &format!("{group}/*"), "*/*"];
            let found = ranges_of.iter().find_map(|of| ranges.iter().find(|(range, _)| range.eq_ignore_ascii_case(of)));
            found.map_or(Decimal::ZERO, |(_, quality)| *quality)
        };
        // The last of the largest is taken, hence from the end.
        let best = FORMATS.into_iter().rev().max_by_key(|(_, media_type)| liking(media_type));
        best.map_or(Self::Json, |(format, _)| format)
    }
}

/// A media range and how much it is liked, from 0 to 1.
fn range(text: &str) -> (&str, Decimal) {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().unwrap_or_default();
    let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q="))?.parse().ok());
    (range, quality.unwrap_or(Decimal::ONE))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn wanted(accept: &'static str) -> Format {
        Format::wanted(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]))
    }

    #[test]
    fn the_form_that_is_liked_best_is_given() {
        assert_eq!(wanted("text/csv"), Format::Csv);
        assert_eq!(wanted("text/plain;q=0.5, text/csv;q=0.4"), Format::Text);
        assert_eq!(wanted("application/json;q=0.1, TEXT/HTML;level=1;q=0.25"), Format::Html);
        // What a browser sends.
        assert_eq!(wanted("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Format::Html);
        assert_eq!(wanted("text/*, text/csv;q=0"), Format::Html);
    }

    #[test]
    fn json_is_given_to_whoever_does_not_mind() {
        assert_eq!(Format::wanted(&HeaderMap::new()), Format::Json);
        assert_eq!(wanted("*/*"), Format::Json);
        assert_eq!(wanted("application/pdf"), Format::Json);
    }
}
