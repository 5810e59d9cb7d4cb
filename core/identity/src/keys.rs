//! The keys that seal the secrets of second factors: files beside the key of the transparency log. There may be several, so
//! that they can be rotated: the newest seals, each of them opens what it has sealed.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use daybook_core::private_file::{self, Secret as Found};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secret::random;

/// Of the files: `totp.key` is the first, `totp.2.key` the next.
const STEM: &str = "totp";
const SUFFIX: &str = ".key";

/// What a file begins with.
const FORMAT: &str = "daybook totp key 1:";

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the keys of second factors cannot be kept at {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} does not hold a key of second factors", path.display())]
    Unreadable { path: PathBuf },
    #[error(
        "{} may be read or written by others than its owner: run `chmod 600 {}`, and if anybody may have read it, add a key and let everybody set up their second factor anew",
        path.display(), path.display()
    )]
    Exposed { path: PathBuf },
    #[error("the key {id} that sealed a second factor is not in {}: put its file back", directory.display())]
    Missing { id: String, directory: PathBuf },
    #[error("what is stored of a second factor was not sealed for it")]
    Forged,
}

/// The folder of the keys. It is read whenever a key is needed, so that a key that another process has added is found.
#[derive(Clone, Debug)]
pub struct Keys {
    directory: PathBuf,
}

/// What is stored of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub key_id: String,
    /// The nonce, then the ciphertext with its tag.
    pub bytes: Vec<u8>,
}

struct Key {
    number: u32,
    id: String,
    bytes: Zeroizing<[u8; 32]>,
}

impl Keys {
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Adds a key, by which all is sealed from now on, and answers with its file.
    pub fn add(&self) -> Result<PathBuf, KeyError> {
        let number = self.all()?.last().map_or(1, |newest| newest.number + 1);
        self.create(number)
    }

    /// The ids of the keys that are there, the newest last.
    pub fn ids(&self) -> Result<Vec<String>, KeyError> {
        Ok(self.all()?.into_iter().map(|key| key.id).collect())
    }

    /// Seals a secret for its place, from which it cannot be moved to another. The first key is made here.
    pub(crate) fn seal(&self, secret: &[u8], place: &str) -> Result<Sealed, KeyError> {
        let mut keys = self.all()?;
        if keys.is_empty() {
            self.create(1)?;
            keys = self.all()?;
        }
        let newest = keys.pop().expect("a key was made a moment ago");
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
            key.ok_or_else(|| KeyError::Missing { id: sealed.key_id.clone(), directory: self.directory.clone() })?;
        let (nonce, text) = sealed.bytes.split_at_checked(NONCE_LEN).ok_or(KeyError::Forged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyError::Forged)?;
        let mut text = Zeroizing::new(text.to_vec());
        let length =
            key.cipher().open_in_place(nonce, Aad::from(place), &mut text).map_err(|_| KeyError::Forged)?.len();
        text.truncate(length);
        Ok((text, keys.last().is_some_and(|newest| newest.id == key.id)))
    }

    /// By their numbers.
    fn all(&self) -> Result<Vec<Key>, KeyError> {
        let failed = |source| KeyError::File { path: self.directory.clone(), source };
        let files = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            files => files.map_err(failed)?,
        };
        let mut keys = Vec::new();
        for file in files {
            let file = file.map_err(failed)?;
            if let Some(number) = file.file_name().to_str().and_then(number) {
                keys.push(read(&file.path(), number)?);
            }
        }
        keys.sort_by_key(|key| key.number);
        Ok(keys)
    }

    fn create(&self, number: u32) -> Result<PathBuf, KeyError> {
        let path = self.directory.join(name(number));
        let key = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(*random::<32>()));
        let text = Zeroizing::new(format!("{FORMAT}{}\n", *key));
        private_file::write_new(&path, &text).map_err(|source| KeyError::File { path: path.clone(), source })?;
        Ok(path)
    }
}

impl Key {
    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &*self.bytes).expect("it has the length of a key"))
    }
}

fn name(number: u32) -> String {
    match number {
        1 => format!("{STEM}{SUFFIX}"),
        number => format!("{STEM}.{number}{SUFFIX}"),
    }
}

/// The number of a key, by the name of its file; `None` if it is another file.
fn number(file: &str) -> Option<u32> {
    let middle = file.strip_prefix(STEM)?.strip_suffix(SUFFIX)?;
    let number = if middle.is_empty() { 1 } else { middle.strip_prefix('.')?.parse().ok()? };
    (name(number) == file).then_some(number)
}

fn read(path: &Path, number: u32) -> Result<Key, KeyError> {
    let found = private_file::read(path).map_err(|source| KeyError::File { path: path.into(), source })?;
    let text = match found {
        Found::Text(text) => Zeroizing::new(text),
        Found::Exposed => return Err(KeyError::Exposed { path: path.into() }),
        // It was removed after the folder was read.
        Found::Nothing => return Err(KeyError::Unreadable { path: path.into() }),
    };
    let unreadable = || KeyError::Unreadable { path: path.into() };
    let encoded = text.trim_end().strip_prefix(FORMAT).ok_or_else(unreadable)?;
    let decoded = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| unreadable())?);
    let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(decoded.as_slice().try_into().map_err(|_| unreadable())?);
    let id = BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(*bytes)[..9]);
    Ok(Key { number, id, bytes })
}

#[cfg(test)]
mod tests {
    use std::{
        fs::Permissions,
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
        let mode = fs::metadata(keys.directory.join("totp.key")).expect("it is there").mode();
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
        assert_eq!(keys.add().expect("a key is added"), keys.directory.join("totp.2.key"));
        for number in 3..=10 {
            assert_eq!(keys.add().expect("a key is added"), keys.directory.join(format!("totp.{number}.key")));
        }
        let later = keys.seal(b"secret", "here").expect("it can be sealed");
        assert_eq!(keys.ids().expect("ten keys").last(), Some(&later.key_id));
        assert!(!keys.open(&earlier, "here").expect("it opens").1);
        assert!(keys.open(&later, "here").expect("it opens").1);

        fs::remove_file(keys.directory.join("totp.key")).expect("it was there");
        let lost = keys.open(&earlier, "here").map(|_| ()).expect_err("its key is gone").to_string();
        assert!(lost.contains(&earlier.key_id) && lost.contains("put its file back"), "{lost}");
    }

    #[test]
    fn a_file_that_others_may_read_or_that_holds_no_key_is_named() {
        let (_folder, keys) = folder();
        let file = keys.add().expect("a key is added");
        fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("it is ours");
        assert!(matches!(keys.ids(), Err(KeyError::Exposed { path }) if path == file));
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("it is ours");
        fs::write(&file, "daybook totp key 1:AAAA\n").expect("it is ours");
        assert!(matches!(keys.ids(), Err(KeyError::Unreadable { path }) if path == file));
    }

    #[test]
    fn other_files_beside_the_keys_are_no_keys() {
        for other in ["log.key", "totp.key.signed", "totp.1.key", "totp.02.key", "totp..key", "totp.x.key", "totp2.key"]
        {
            assert_eq!(number(other), None, "{other}");
        }
        assert_eq!((number("totp.key"), number("totp.12.key")), (Some(1), Some(12)));
    }
}
