//! In which form an answer comes, as `Accept` says (RFC 9110).

use axum::http::{HeaderMap, header};
use rust_decimal::Decimal;

/// Of these forms, each with its media type, the one that the caller prefers; of those that are preferred equally, the first.
/// `None` if the caller takes none of them.
pub fn preferred<F: Copy>(forms: &[(F, &str)], headers: &HeaderMap) -> Option<F> {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<(&str, Decimal)> =
        accept.flat_map(|value| value.split(',')).map(range).filter(|(range, _)| !range.is_empty()).collect();
    if ranges.is_empty() {
        return forms.first().map(|(form, _)| *form);
    }
    let preference = |media_type: &str| {
        let group = media_type.split('/').next().unwrap_or_default();
        // The closest range counts, such as `text/csv` before `text/*`.
        let ranges_of = [media_type, &format!("{group}/*"), "*/*"];
        let found = ranges_of.iter().find_map(|of| ranges.iter().find(|(range, _)| range.eq_ignore_ascii_case(of)));
        found.map_or(Decimal::ZERO, |(_, quality)| *quality)
    };
    // The last of the largest is taken, hence from the end.
    let best = forms
        .iter()
        .rev()
        .map(|(form, media_type)| (form, preference(media_type)))
        .max_by_key(|(_, preference)| *preference);
    best.filter(|(_, preference)| *preference > Decimal::ZERO).map(|(form, _)| *form)
}

/// A media range and how much it is preferred, from 0 to 1.
fn range(text: &str) -> (&str, Decimal) {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().unwrap_or_default();
    let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    let is_one = |quality: &Decimal| (Decimal::ZERO..=Decimal::ONE).contains(quality);
    // A quality that is none counts for nothing.
    let quality = quality.map(|quality| quality.parse().ok().filter(is_one).unwrap_or_default());
    (range, quality.unwrap_or(Decimal::ONE))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const FORMS: [(u8, &str); 4] = [(0, "application/json"), (1, "text/csv"), (2, "text/html"), (3, "text/plain")];

    fn wanted(accept: &'static str) -> Option<u8> {
        preferred(&FORMS, &HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]))
    }

    #[test]
    fn the_form_that_is_preferred_is_given() {
        assert_eq!(wanted("text/csv"), Some(1));
        assert_eq!(wanted("text/plain;q=0.5, text/csv;q=0.4"), Some(3));
        assert_eq!(wanted("application/json;q=0.1, TEXT/HTML;level=1;q=0.25"), Some(2));
        // What a browser sends.
        assert_eq!(wanted("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Some(2));
        assert_eq!(wanted("text/*, text/csv;q=0"), Some(2));
    }

    #[test]
    fn the_first_form_is_given_where_none_is_preferred() {
        assert_eq!(preferred(&FORMS, &HeaderMap::new()), Some(0));
        assert_eq!(wanted(""), Some(0));
        assert_eq!(wanted("*/*"), Some(0));
    }

    #[test]
    fn nothing_is_given_to_a_caller_who_takes_none() {
        assert_eq!(wanted("application/pdf"), None);
        assert_eq!(wanted("application/json;q=0"), None);
        assert_eq!(wanted("text/csv;q=7"), None);
        assert_eq!(wanted("text/csv;q=x"), None);
    }
}
