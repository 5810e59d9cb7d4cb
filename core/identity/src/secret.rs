//! Texts that nothing shows: what somebody sends to prove who they are, and what is made here and shown once.

use std::fmt;

use rand_core::{OsRng, RngCore};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The digits of what is made here: nothing that a URL, a cookie or a header would have to escape.
pub(crate) const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// 256 bits have so many of them.
pub(crate) const DIGITS_OF_256_BITS: usize = 43;

/// What somebody sends to prove who they are: a password, a code, a token, the value of a cookie.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

/// What is made here, shown to its owner once, and kept as a hash only.
#[derive(Clone)]
pub struct Shown(Secret);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Whoever asks for it sees to it that it goes nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// By which a secret of 80 bits or more is stored and found. A password needs more than this.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.expose()).into()
    }
}

impl Shown {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(Secret::new(text))
    }

    /// 256 bits that nobody has seen.
    pub(crate) fn random() -> Self {
        Self::new(digits(&*random::<32>(), BASE62, DIGITS_OF_256_BITS))
    }

    /// The text itself, for its owner.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        self.0.hash()
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(String::deserialize(deserializer)?))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(shown once)")
    }
}

/// Bytes from the random source of the system.
pub(crate) fn random<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    OsRng.fill_bytes(&mut *bytes);
    bytes
}

/// SHA-256 over several parts, none of which can pass for another.
pub(crate) fn hash_of(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).expect("a text fits into memory").to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The number that the bytes are, in this many digits of this alphabet; what does not fit is cut off at the front.
pub(crate) fn digits(bytes: &[u8], alphabet: &[u8], count: usize) -> String {
    let base = u32::try_from(alphabet.len()).expect("an alphabet is short");
    let mut number = Zeroizing::new(bytes.to_vec());
    let mut written = vec![0; count];
    for digit in written.iter_mut().rev() {
        let mut rest = 0;
        for byte in number.iter_mut() {
            let value = rest << 8 | u32::from(*byte);
            *byte = u8::try_from(value / base).expect("the rest is less than the base");
            rest = value % base;
        }
        *digit = alphabet[rest as usize];
    }
    String::from_utf8(written).expect("alphabets are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_what_is_in_it() {
        let (secret, shown) = (Secret::new("correct horse"), Shown::new("correct horse"));
        for told in [format!("{secret:?} {secret} {secret:#?}"), format!("{shown:?} {shown} {shown:#?}")] {
            assert!(!told.contains("correct"), "{told}");
        }
        assert_eq!((secret.expose(), shown.expose()), ("correct horse", "correct horse"));
    }

    #[test]
    fn parts_of_a_hash_do_not_run_together() {
        assert_ne!(hash_of(&["ab", "c"]), hash_of(&["a", "bc"]));
        assert_eq!(hash_of(&["ab", "c"]), hash_of(&["ab", "c"]));
    }

    #[test]
    fn bytes_are_written_as_a_number() {
        assert_eq!(digits(&[1, 0], b"0123456789", 5), "00256");
        assert_eq!(digits(&[255, 255], b"0123456789abcdef", 4), "ffff");
        assert_eq!(digits(&[1, 0], b"0123456789", 2), "56");
    }
}
