//! The keys that seal the secrets of second factors: files beside the key of the transparency log. There may be several, so
//! that they can be rotated: the newest seals, each of them opens what it has sealed.

use std::path::{Path, PathBuf};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    key_folder::{Held, KeyFileError, KeyFolder},
    secret::random,
};

/// Of the files.
const NAME: &str = "totp";

/// What a file begins with.
const FORMAT: &str = "daybook totp key 1:";

const HELD: Held =
    Held { one: "a key of second factors", if_exposed: "add a key and let everybody set up their second factor anew" };

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    File(#[from] KeyFileError),
    #[error("the key {id} that sealed a second factor is not in {}: put its file back", directory.display())]
    Missing { id: String, directory: PathBuf },
    #[error("what is stored of a second factor was not sealed for it")]
    Forged,
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Keys(KeyFolder);

/// What is stored of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub key_id: String,
    /// The nonce, then the ciphertext with its tag.
    pub bytes: Vec<u8>,
}

struct Key {
    id: String,
    bytes: Zeroizing<[u8; 32]>,
}

impl Keys {
    pub fn new(directory: PathBuf) -> Self {
        Self(KeyFolder::new(directory, HELD))
    }

    /// Adds a key, by which all is sealed from now on, and answers with its file.
    pub fn add(&self) -> Result<PathBuf, KeyError> {
        // None is added to keys that cannot be read: it would seal, and nobody would look at the others.
        self.all()?;
        Ok(self.0.add(NAME, &Key::generate())?)
    }

    /// The ids of the keys that are there, the newest last.
    pub fn ids(&self) -> Result<Vec<String>, KeyError> {
        Ok(self.all()?.into_iter().map(|key| key.id).collect())
    }

    /// Seals a secret for its place, from which it cannot be moved to another. The first key is made here.
    pub(crate) fn seal(&self, secret: &[u8], place: &str) -> Result<Sealed, KeyError> {
        let newest = match self.all()?.pop() {
            Some(newest) => newest,
            None => {
                let path = self.0.make_first(NAME, &Key::generate())?;
                self.all()?.pop().ok_or(KeyFileError::Unreadable { one: HELD.one, path })?
            }
        };
        let nonce = random::<NONCE_LEN>();
        let mut bytes = secret.to_vec();
        newest
            .cipher()
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(*nonce), Aad::from(place), &mut bytes)
            .expect("a short text can be sealed");
        Ok(Sealed { key_id: newest.id, bytes: [&nonce[..], &bytes].concat() })
    }

    /// What was sealed for this place, and whether by the newest key.
    pub(crate) fn open(&self, sealed: &Sealed, place: &str) -> Result<(Zeroizing<Vec<u8>>, bool), KeyError> {
        let keys = self.all()?;
        let key = keys.iter().find(|key| key.id == sealed.key_id);
        let key =
            key.ok_or_else(|| KeyError::Missing { id: sealed.key_id.clone(), directory: self.directory().into() })?;
        let (nonce, text) = sealed.bytes.split_at_checked(NONCE_LEN).ok_or(KeyError::Forged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyError::Forged)?;
        let mut text = Zeroizing::new(text.to_vec());
        let length =
            key.cipher().open_in_place(nonce, Aad::from(place), &mut text).map_err(|_| KeyError::Forged)?.len();
        text.truncate(length);
        Ok((text, keys.last().is_some_and(|newest| newest.id == key.id)))
    }

    fn directory(&self) -> &Path {
        self.0.directory()
    }

    /// The newest last.
    fn all(&self) -> Result<Vec<Key>, KeyError> {
        Ok(self.0.read(NAME, Key::parse)?.into_iter().collect::<Result<_, _>>()?)
    }
}

impl Key {
    /// The text of a new one.
    fn generate() -> Zeroizing<String> {
        let key = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(*random::<32>()));
        Zeroizing::new(format!("{FORMAT}{}", *key))
    }

    fn parse(text: &str) -> Option<Self> {
        let decoded = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(text.strip_prefix(FORMAT)?).ok()?);
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(decoded.as_slice().try_into().ok()?);
        let id = BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(*bytes)[..9]);
        Some(Self { id, bytes })
    }

    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &*self.bytes).expect("it has the length of a key"))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{MetadataExt, PermissionsExt},
    };

    use super::*;

    fn folder() -> (tempfile::TempDir, Keys) {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let keys = Keys::new(folder.path().join("home"));
        (folder, keys)
    }

    #[test]
    fn the_first_key_is_made_at_its_first_use_for_its_owner_only() {
        let (_folder, keys) = folder();
        assert!(keys.ids().expect("no folder is no key").is_empty());
        let sealed = keys.seal(b"secret", "here").expect("a key is made");
        let mode = fs::metadata(keys.directory().join("totp.key")).expect("it is there").mode();
        assert_eq!((mode & 0o777, keys.ids().expect("one key")), (0o600, vec![sealed.key_id.clone()]));
        assert!(!sealed.bytes.windows(6).any(|bytes| bytes == b"secret"));
        let (opened, is_newest) = keys.open(&sealed, "here").expect("it opens");
        assert_eq!((opened.as_slice(), is_newest), (&b"secret"[..], true));
    }

    #[test]
    fn what_was_sealed_for_one_place_does_not_open_at_another() {
        let (_folder, keys) = folder();
        let sealed = keys.seal(b"secret", "here").expect("it can be sealed");
        assert!(matches!(keys.open(&sealed, "there"), Err(KeyError::Forged)));
        let mut changed = sealed.clone();
        changed.bytes[NONCE_LEN] ^= 1;
        assert!(matches!(keys.open(&changed, "here"), Err(KeyError::Forged)));
        changed.bytes.truncate(4);
        assert!(matches!(keys.open(&changed, "here"), Err(KeyError::Forged)));
        assert_ne!(keys.seal(b"secret", "here").expect("it can be sealed").bytes, sealed.bytes);
    }

    #[test]
    fn the_newest_key_seals_and_earlier_ones_still_open() {
        let (_folder, keys) = folder();
        let earlier = keys.seal(b"secret", "here").expect("it can be sealed");
        assert_eq!(keys.add().expect("a key is added"), keys.directory().join("totp.2.key"));
        for number in 3..=10 {
            assert_eq!(keys.add().expect("a key is added"), keys.directory().join(format!("totp.{number}.key")));
        }
        let later = keys.seal(b"secret", "here").expect("it can be sealed");
        assert_eq!(keys.ids().expect("ten keys").last(), Some(&later.key_id));
        assert!(!keys.open(&earlier, "here").expect("it opens").1);
        assert!(keys.open(&later, "here").expect("it opens").1);

        fs::remove_file(keys.directory().join("totp.key")).expect("it was there");
        let lost = keys.open(&earlier, "here").map(|_| ()).expect_err("its key is gone").to_string();
        assert!(lost.contains(&earlier.key_id) && lost.contains("put its file back"), "{lost}");
    }

    #[test]
    fn a_file_that_others_may_read_or_that_holds_no_key_is_named() {
        let (_folder, keys) = folder();
        let file = keys.add().expect("a key is added");
        fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("it is ours");
        assert!(matches!(keys.ids(), Err(KeyError::File(KeyFileError::Exposed { path, .. })) if path == file));
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("it is ours");
        fs::write(&file, "daybook totp key 1:AAAA\n").expect("it is ours");
        assert!(matches!(keys.ids(), Err(KeyError::File(KeyFileError::Unreadable { path, .. })) if path == file));
    }
}
