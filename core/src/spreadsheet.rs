//! Texts in a CSV, which people open in a spreadsheet.

/// A text as a cell of a CSV (RFC 4180), in quotes and harmless; a text of nothing is an empty cell.
pub fn cell(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("\"{}\"", harmless(text).replace('"', "\"\"")) }
}

/// A text that a spreadsheet takes for a text and not for a formula, also one that divides lines elsewhere than by the
/// commas of the file: wherever a cell may begin, what would begin a formula is preceded by an apostrophe.
pub fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len() + 1);
    let mut begins = true;
    for (at, character) in text.char_indices() {
        if (begins && is_formula(&text[at..])) || (at == 0 && "\t\r\n".contains(character)) {
            harmless.push('\'');
        }
        harmless.push(character);
        begins = divides(character);
    }
    harmless
}

/// Whether a cell that begins like this may be computed.
fn is_formula(text: &str) -> bool {
    let first = text.chars().find(|character| divides(*character) || !is_passed_over(*character));
    first.is_some_and(|first| matches!(first, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠'))
}

/// What spreadsheets take for the end of a cell or of a line, depending on where they are.
fn divides(character: char) -> bool {
    matches!(character, ';' | '\t' | '\r' | '\n')
}

/// What a spreadsheet may drop before it looks at the first character of a cell.
fn is_passed_over(character: char) -> bool {
    character.is_whitespace() || character.is_control() || matches!(character, '"' | '\u{feff}' | '\u{200b}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_formula_is_a_text_in_a_spreadsheet() {
        for (text, expected) in [
            ("=SUM(A1)", "'=SUM(A1)"),
            ("＝SUM(A1)", "'＝SUM(A1)"),
            ("\u{feff} =SUM(A1)", "'\u{feff} =SUM(A1)"),
            ("x;=cmd|calc!A0", "x;'=cmd|calc!A0"),
            ("x; \"=cmd|calc!A0", "x;' \"=cmd|calc!A0"),
            ("\n=1", "'\n'=1"),
            ("VPS; 2 cores - a+b", "VPS; 2 cores - a+b"),
        ] {
            assert_eq!(harmless(text), expected);
        }
    }

    #[test]
    fn a_cell_is_quoted() {
        assert_eq!(cell("a \"server\", small"), "\"a \"\"server\"\", small\"");
        assert_eq!(cell(""), "");
    }

    proptest! {
        #[test]
        fn wherever_a_cell_begins_there_is_no_formula(text in "[-=+@＝＋－＠;\t\r\n\" ,a1']{0,12}|.{0,12}") {
            let written = cell(&text);
            for begun in written.split([';', '\t', '\r', '\n']) {
                let first = begun.trim_start_matches(is_passed_over).chars().next();
                prop_assert!(!first.is_some_and(|first| "=+-@＝＋－＠".contains(first)), "{written:?}");
            }
            if !text.is_empty() {
                prop_assert!(!written[1..].starts_with(['\t', '\r', '\n']), "{written:?}");
            }
        }

        #[test]
        fn a_text_without_formulas_stays(text in "[a-z][a-z0-9 =+@,.-]{0,20}") {
            prop_assert_eq!(harmless(&text), text);
        }

        #[test]
        fn a_reader_of_csv_reads_the_harmless_text(text in ".{0,20}") {
            let inner = cell(&text);
            let read = inner.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
            prop_assert_eq!(read.replace("\"\"", "\""), harmless(&text));
        }
    }
}
