//! Texts in a CSV, which people open in a spreadsheet.

/// A text that a spreadsheet takes for a text and not for a formula.
pub fn harmless(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_is_a_text_in_a_spreadsheet() {
        assert_eq!(harmless("=SUM(A1)"), "'=SUM(A1)");
        assert_eq!(harmless("VPS"), "VPS");
    }
}
