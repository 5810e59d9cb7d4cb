//! Which passwords are accepted: long ones that nobody guesses, whatever signs they are made of.

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;
use zxcvbn::{Score, zxcvbn};

use crate::Secret;

/// In characters.
const SHORTEST: usize = 10;

/// In bytes, as it was sent.
pub(crate) const LONGEST: usize = 1000;

const STRONG_ENOUGH: Score = Score::Three;

/// Why a password is refused, in a sentence for whoever chose it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsuitable {
    #[error("a password has at least {SHORTEST} characters")]
    TooShort,
    #[error("a password has at most {LONGEST} bytes")]
    TooLong,
    #[error("a password is not a name")]
    Name,
    #[error("the password is easy to guess: {advice}")]
    Guessable { advice: String },
}

impl Unsuitable {
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooShort => "password-too-short",
            Self::TooLong => "password-too-long",
            Self::Name => "password-is-a-name",
            Self::Guessable { .. } => "password-guessable",
        }
    }
}

/// Equal texts have equal bytes, whichever keyboard they come from (NFKC).
pub(crate) fn normalised(password: &Secret) -> Zeroizing<String> {
    Zeroizing::new(password.expose().nfkc().collect())
}

/// Whether it may become somebody's password. The names are those of the user and the customer: they are no passwords, and
/// make one that holds them weaker.
pub(crate) fn check(password: &Secret, names: &[String]) -> Result<(), Unsuitable> {
    // Before anything is computed.
    if password.expose().len() > LONGEST {
        return Err(Unsuitable::TooLong);
    }
    let text = normalised(password);
    if text.chars().count() < SHORTEST {
        return Err(Unsuitable::TooShort);
    }
    let plain = |text: &str| -> Zeroizing<String> {
        Zeroizing::new(text.nfkc().filter(|sign| sign.is_alphanumeric()).flat_map(char::to_lowercase).collect())
    };
    let as_name = plain(&text);
    if names.iter().any(|name| !as_name.is_empty() && plain(name) == as_name) {
        return Err(Unsuitable::Name);
    }
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let estimate = zxcvbn(&text, &known);
    if estimate.score() >= STRONG_ENOUGH {
        return Ok(());
    }
    let feedback = estimate.feedback();
    let warning = feedback.and_then(|feedback| feedback.warning()).map(|warning| warning.to_string());
    let suggestion = feedback.and_then(|feedback| feedback.suggestions().first()).map(ToString::to_string);
    let advice = warning.or(suggestion).unwrap_or_else(|| "Add another word or two.".into());
    Err(Unsuitable::Guessable { advice })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(password: &str) -> Result<(), Unsuitable> {
        check(&Secret::new(password), &["Ada Lovelace".into(), "ada@example.com".into()])
    }

    #[test]
    fn a_long_phrase_is_accepted_and_needs_no_special_signs() {
        assert_eq!(checked("correct horse battery staple"), Ok(()));
        assert_eq!(checked("пароль не скажу никому"), Ok(()));
    }

    #[test]
    fn ten_characters_are_the_least_and_a_thousand_bytes_the_most() {
        assert_eq!(checked("zq7!Kv0xW"), Err(Unsuitable::TooShort));
        assert_eq!(checked("zq7!Kv0xWp"), Ok(()));
        // As many bytes as ten characters have, and fewer characters.
        assert_eq!(checked("zq7!Kvöä"), Err(Unsuitable::TooShort));
        assert_eq!(checked(&"zq7!Kv0xWp".repeat(101)), Err(Unsuitable::TooLong));
    }

    #[test]
    fn a_name_is_no_password_however_it_is_written() {
        for name in ["Ada Lovelace", "adalovelace", "ADA-LOVELACE", "ada@example.com", "Ａda Lovelace"] {
            assert_eq!(checked(name), Err(Unsuitable::Name), "{name}");
        }
        // With a digit it is one that is guessed soon.
        assert!(matches!(checked("Ada Lovelace1"), Err(Unsuitable::Guessable { .. })));
    }

    #[test]
    fn what_everybody_chooses_is_refused_with_advice() {
        for common in ["password123", "qwertyuiop", "1234567890", "aaaaaaaaaaaa", "iloveyou12"] {
            let Err(Unsuitable::Guessable { advice }) = checked(common) else { panic!("{common} is accepted") };
            assert!(advice.len() > 10, "{advice}");
            assert!(!advice.contains(common), "{advice}");
        }
    }

    #[test]
    fn equal_texts_are_equal_passwords() {
        // Composed and decomposed; of full width and plain.
        assert_eq!(normalised(&Secret::new("Zo\u{e9}")), normalised(&Secret::new("Zoe\u{301}")));
        assert_eq!(normalised(&Secret::new("ＡＢＣ")).as_str(), "ABC");
    }
}
