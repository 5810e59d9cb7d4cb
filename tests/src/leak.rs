//! Looking for texts where they must not stand, however they are written there: as they are, in base64, in hexadecimal
//! digits, or escaped for JSON or for an address.

use std::collections::BTreeSet;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use regex::bytes::{RegexSet, RegexSetBuilder};

/// A shorter text would be found by chance.
const SHORTEST: usize = 8;

/// A text that is looked for.
#[derive(Clone, Debug)]
pub struct Needle {
    pub label: String,
    bytes: Vec<u8>,
}

/// Something that is looked through.
#[derive(Clone, Debug)]
pub struct Place {
    pub name: String,
    pub content: Vec<u8>,
}

/// What was found, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak {
    pub label: String,
    pub place: String,
    pub form: &'static str,
}

impl Needle {
    pub fn new(label: impl Into<String>, text: impl AsRef<[u8]>) -> Self {
        let (label, bytes) = (label.into(), text.as_ref().to_vec());
        assert!(bytes.len() >= SHORTEST, "{label} is too short to be looked for");
        Self { label, bytes }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The patterns of all forms.
    fn forms(&self) -> Vec<(&'static str, String)> {
        let mut forms = vec![
            ("plain", in_any_case(&self.bytes)),
            ("hexadecimal", in_any_case(hexadecimal(&self.bytes).as_bytes())),
            ("every byte in percent form", in_any_case(percent(&self.bytes, |_| false).as_bytes())),
            ("percent form", in_any_case(percent(&self.bytes, |byte| byte.is_ascii_alphanumeric()).as_bytes())),
            ("form of a path", in_any_case(percent(&self.bytes, stays_in_a_path).as_bytes())),
            ("form of a query", in_any_case(of_query(&self.bytes).as_bytes())),
        ];
        if let Ok(text) = std::str::from_utf8(&self.bytes) {
            forms.push(("escaped for JSON", in_any_case(of_json(text).as_bytes())));
        }
        for shift in 0..3 {
            forms.push(("base64", exactly(&within(&self.bytes, shift, |bytes| BASE64_STANDARD.encode(bytes)))));
            forms.push(("base64", exactly(&within(&self.bytes, shift, |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes)))));
        }
        let mut known = BTreeSet::new();
        forms.retain(|(_, pattern)| known.insert(pattern.clone()));
        forms
    }
}

impl Place {
    pub fn new(name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), content: content.into() }
    }
}

/// All that is found of these texts in these places, once for each place and form.
pub fn search(places: &[Place], needles: &[Needle]) -> Vec<Leak> {
    let forms: Vec<(&Needle, &'static str, String)> = needles
        .iter()
        .flat_map(|needle| needle.forms().into_iter().map(move |(form, pattern)| (needle, form, pattern)))
        .collect();
    let set = set(forms.iter().map(|(.., pattern)| pattern));
    let mut leaks: Vec<Leak> = places
        .iter()
        .flat_map(|place| set.matches(&place.content).into_iter().map(move |found| (place, found)).collect::<Vec<_>>())
        .map(|(place, found)| {
            let (needle, form, _) = &forms[found];
            Leak { label: needle.label.clone(), place: place.name.clone(), form }
        })
        .collect();
    leaks.sort();
    leaks.dedup();
    leaks
}

fn set<'a>(patterns: impl Iterator<Item = &'a String>) -> RegexSet {
    RegexSetBuilder::new(patterns).unicode(false).size_limit(1 << 28).build().expect("the patterns are literal")
}

fn exactly(text: &str) -> String {
    regex::escape(text)
}

fn in_any_case(bytes: &[u8]) -> String {
    let literal: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("(?i-u:{literal})")
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn percent(bytes: &[u8], stays: impl Fn(u8) -> bool) -> String {
    bytes.iter().map(|byte| if stays(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// What the path of an address has as it is (RFC 3986).
fn stays_in_a_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte)
}

/// As the query of an address has it, with `+` for a space.
fn of_query(bytes: &[u8]) -> String {
    percent(bytes, |byte| byte.is_ascii_alphanumeric() || b"-_.*~ ".contains(&byte)).replace(' ', "+")
}

/// With every sign that is not of ASCII as `\u….`.
fn of_json(text: &str) -> String {
    let quoted = serde_json::to_string(text).expect("a text is JSON");
    let mut units = [0; 2];
    quoted[1..quoted.len() - 1]
        .chars()
        .map(|sign| match sign {
            sign if sign.is_ascii() => sign.to_string(),
            sign => sign.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        })
        .collect()
}

/// The digits that the bytes have wherever they stand in something longer: after `shift` bytes that are not known, and before
/// others.
fn within(bytes: &[u8], shift: usize, encode: impl Fn(&[u8]) -> String) -> String {
    let encoded = encode(&[&vec![0; shift][..], bytes].concat());
    let first = [0, 2, 3][shift];
    let last = (shift + bytes.len()) * 8 / 6;
    encoded[first..last].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(content: &[u8]) -> Vec<&'static str> {
        let needles = [Needle::new("text", "Zwölf Äpfel/+?"), Needle::new("other", "something else")];
        let leaks = search(&[Place::new("here", content)], &needles);
        assert!(leaks.iter().all(|leak| leak.label == "text" && leak.place == "here"), "{leaks:?}");
        leaks.into_iter().map(|leak| leak.form).collect()
    }

    #[test]
    fn a_text_is_found_in_every_form_at_every_place() {
        let text = "Zwölf Äpfel/+?";
        for before in ["", "a", "bc", "def", "ghij"] {
            for after in ["", "z", "yx", "wvu"] {
                let around = format!("{before}{text}{after}");
                assert_eq!(found(around.as_bytes()), ["plain"]);
                for encoded in [BASE64_STANDARD.encode(&around), BASE64_URL_SAFE_NO_PAD.encode(&around)] {
                    assert_eq!(found(encoded.as_bytes()), ["base64"], "{around}");
                }
                let digits = hexadecimal(around.as_bytes());
                assert_eq!(found(digits.as_bytes()), ["hexadecimal"]);
                assert_eq!(found(digits.to_uppercase().as_bytes()), ["hexadecimal"]);
            }
        }
        assert_eq!(found("ZWöLF Äpfel/+?".as_bytes()), ["plain"], "letters of ASCII in any case");
        assert_eq!(found("Zw\\u00f6lf \\u00c4pfel/+?".as_bytes()), ["escaped for JSON"]);
        assert_eq!(found("Zw%C3%B6lf%20%C3%84pfel%2F%2B%3F".as_bytes()), ["percent form"]);
        assert_eq!(found("q=Zw%c3%b6lf+%c3%84pfel%2F%2B%3F&".as_bytes()), ["form of a query"]);
        assert_eq!(found("/v1/Zw%C3%B6lf%20%C3%84pfel%2F+%3F".as_bytes()), ["form of a path"]);
        assert_eq!(found(percent(text.as_bytes(), |_| false).as_bytes()), ["every byte in percent form"]);
        assert_eq!(found(b"Zwoelf Aepfel"), [""; 0]);
    }
}
