//! Authenticated encryption: what is sealed is opened only by its key, and only where it was put.

use std::fmt;

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};

/// A key of 256 bits.
#[derive(Clone)]
pub(super) struct Secret {
    bytes: [u8; Self::BYTES],
    key: LessSafeKey,
}

impl Secret {
    pub const BYTES: usize = 32;

    pub fn generate() -> Self {
        Self::of(random())
    }

    pub fn of(bytes: [u8; Self::BYTES]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &bytes).expect("the key has the length of its algorithm");
        Self { bytes, key: LessSafeKey::new(key) }
    }

    pub fn bytes(&self) -> &[u8; Self::BYTES] {
        &self.bytes
    }

    /// The nonce and what is sealed. `place` is where it belongs: elsewhere it is not opened.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Vec<u8> {
        // By chance: two texts of a person would share one only after billions of them.
        let nonce: [u8; NONCE_LEN] = random();
        let mut sealed = plain.to_vec();
        let aad = Aad::from(place.as_bytes());
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .expect("a text is shorter than the algorithm allows");
        [&nonce[..], &sealed].concat()
    }

    /// What was sealed; `None` if it was not sealed by this key for this place.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = sealed.to_vec();
        let length = self.key.open_in_place(nonce, Aad::from(place.as_bytes()), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

pub(super) fn random<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).expect("the system has random numbers");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_opened_by_its_key_in_its_place_only() {
        let key = Secret::generate();
        let sealed = key.seal("here", b"Ada");
        assert_eq!(key.open("here", &sealed).as_deref(), Some(&b"Ada"[..]));
        assert_eq!(key.open("there", &sealed), None);
        assert_eq!(Secret::generate().open("here", &sealed), None);
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(key.open("here", &altered), None, "byte {at}");
            assert_eq!(key.open("here", &sealed[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn the_same_text_is_never_sealed_the_same() {
        let key = Secret::generate();
        assert_ne!(key.seal("here", b"Ada"), key.seal("here", b"Ada"));
    }
}
