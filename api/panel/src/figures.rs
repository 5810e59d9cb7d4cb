//! Numbers, money, days and moments, as the reader's language and time zone have them.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use fixed_decimal::Decimal;

use crate::words::Language;

/// A plain decimal, grouped, with the decimals that it has.
pub fn number(language: &Language, plain: &str) -> String {
    match plain.parse::<Decimal>() {
        Ok(decimal) => language.numbers.format(&decimal).to_string(),
        Err(_) => plain.to_owned(),
    }
}

/// A plain decimal as a person of this language types it: with the language's sign, and without groups.
pub fn typed(language: &Language, plain: &str) -> String {
    if has_comma(language) { plain.replace('.', ",") } else { plain.to_owned() }
}

/// What a person of this language has typed, as a plain decimal. With a decimal comma, `1.250` could be either of two numbers:
/// it stays one that nothing accepts.
pub fn plain(language: &Language, typed: &str) -> String {
    if !has_comma(language) {
        return typed.to_owned();
    }
    if typed.contains(',') {
        return typed.replace('.', "").replace(',', ".");
    }
    let is_grouped = typed.rsplit_once('.').is_some_and(|(_, last)| last.len() == 3);
    if is_grouped { format!("{typed} ?") } else { typed.to_owned() }
}

fn has_comma(language: &Language) -> bool {
    number(language, "0.5") != "0.5"
}

/// An amount, and the code of its currency. They stay on one line.
pub fn money(language: &Language, amount: &str, currency: &str) -> String {
    format!("{}\u{a0}{currency}", number(language, amount))
}

pub fn day(language: &Language, plain: &str) -> String {
    match plain.parse::<NaiveDate>() {
        Ok(day) => day.format_localized(&language.say("pattern-of-a-day"), language.locale).to_string(),
        Err(_) => plain.to_owned(),
    }
}

pub fn moment(language: &Language, zone: Tz, plain: &str) -> String {
    match plain.parse::<DateTime<Utc>>() {
        Ok(moment) => {
            let local = moment.with_timezone(&zone);
            local.format_localized(&language.say("pattern-of-a-moment"), language.locale).to_string()
        }
        Err(_) => plain.to_owned(),
    }
}

/// A month, such as `November 2025`.
pub fn month(language: &Language, first: NaiveDate) -> String {
    first.format_localized("%B %Y", language.locale).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::named;

    #[test]
    fn figures_follow_the_language() {
        let (english, german) = (named("en").expect("it is there"), named("de").expect("it is there"));
        assert_eq!(money(english, "-1234567.50", "USD"), "-1,234,567.50\u{a0}USD");
        assert_eq!(money(german, "-1234567.50", "USD"), "-1.234.567,50\u{a0}USD");
        assert_eq!(number(german, "0.00"), "0,00");
        assert_eq!(day(english, "2025-12-05"), "5 Dec 2025");
        assert_eq!(day(german, "2025-03-05"), "5. M\u{e4}r 2025");
        let zone: Tz = "America/New_York".parse().expect("a zone");
        assert_eq!(moment(english, zone, "2025-12-05T01:02:03Z"), "4 Dec 2025, 20:02");
    }

    #[test]
    fn what_is_typed_is_read_as_it_was_written() {
        let (english, german) = (named("en").expect("it is there"), named("de").expect("it is there"));
        for number in ["0.125", "1250", "-12.50", "8.875"] {
            for language in [english, german] {
                assert_eq!(plain(language, &typed(language, number)), number, "{}", language.tag);
            }
        }
        assert_eq!(
            (&*plain(german, "1.250,5"), &*plain(german, "1.250"), &*plain(english, "1.250")),
            ("1250.5", "1.250 ?", "1.250")
        );
    }

    #[test]
    fn what_is_no_figure_stays_as_it_is() {
        let english = named("en").expect("it is there");
        assert_eq!(number(english, "erased"), "erased");
        assert_eq!(day(english, "erased"), "erased");
        assert_eq!(moment(english, Tz::UTC, ""), "");
    }
}
