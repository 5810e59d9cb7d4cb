//! A statement as plain text, for the body of a mail.

use super::{StatementShown, words::local};

pub const CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// Characters in a line: what every mail program shows without breaking it.
const WIDTH: usize = 76;

pub fn write(statement: &StatementShown) -> String {
    let (currency, zone) = (statement.currency(), statement.zone());
    let balance =
        |name: &str, amount: String| format!("{name:<40}{:>WIDTH_OF_BALANCE$}\n", format!("{amount} {currency}"));
    let mut text = format!(
        "Statement of account {}\n{}, {}\n{}\n\n",
        statement.account,
        statement.period(),
        statement.time_zone,
        statement.standing(),
    );
    text += &balance("Opening balance", statement.opening.0.amount().to_string());
    for line in &statement.lines {
        let (amount, after) = (line.amount.0.amount(), line.balance.0.amount());
        let head = format!("{}  entry {}", local(line.occurred_at, zone), line.entry);
        text += &format!("\n{head:<36}{:>20}{:>20}\n", amount.to_string(), after.to_string());
        text += &indented(&line.description);
        let remarks = line.remarks(zone);
        if !remarks.is_empty() {
            text += &indented(&remarks);
        }
    }
    text.push('\n');
    text += &balance("Closing balance", statement.closing.0.amount().to_string());
    text
}

const WIDTH_OF_BALANCE: usize = WIDTH - 40;

/// The text in lines of its own, under the line that it belongs to.
fn indented(text: &str) -> String {
    let indent = textwrap::Options::new(WIDTH).initial_indent("  ").subsequent_indent("  ");
    textwrap::fill(&plain(text), indent) + "\n"
}

/// Without what would let a text look like lines of the statement's own, or turn the direction of writing.
fn plain(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_cannot_forge_lines_of_the_statement() {
        assert_eq!(indented("VPS\r\nClosing balance"), "  VPS  Closing balance\n");
        assert_eq!(plain("a\u{202e}b"), "a b");
    }

    #[test]
    fn a_long_text_is_wrapped() {
        let wrapped = indented(&"virtual server ".repeat(12));
        assert!(wrapped.lines().count() > 1 && wrapped.lines().all(|line| line.len() <= WIDTH), "{wrapped}");
    }
}
