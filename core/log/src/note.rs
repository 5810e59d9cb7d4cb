//! Signed notes (C2SP `signed-note`): a text, and the log's Ed25519 signature below it.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use signed_note::{Note, NoteError, StandardSigner, StandardVerifier, Verifier, VerifierList};

/// The public key of a log, written `name+id+key`. Its name is the log's origin.
#[derive(Clone)]
pub struct PublicKey {
    text: String,
    verifier: StandardVerifier,
}

/// The private key of a log, written `PRIVATE+KEY+name+id+key`.
#[derive(Clone)]
pub struct SigningKey {
    signer: StandardSigner,
    public: PublicKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("this is not a public key as C2SP's signed-note writes them: `name+id+key`")]
    NotPublic,
    #[error("this is not a private key as C2SP's signed-note writes them: `PRIVATE+KEY+name+id+key`")]
    NotPrivate,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("this is not a signed note")]
    Malformed,
    #[error("the key {0} has not signed it")]
    Unsigned(String),
    #[error("the signature does not fit")]
    Forged,
    #[error("something besides one signature stands below the text")]
    NotAlone,
}

impl PublicKey {
    /// The origin of the log.
    pub fn name(&self) -> &str {
        self.verifier.name()
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let verifier = StandardVerifier::new(text).map_err(|_| KeyError::NotPublic)?;
        Ok(Self { text: text.to_owned(), verifier })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl SigningKey {
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The text with the signature below it. Ed25519 signs without chance: the same text gives the same note.
    pub fn sign(&self, text: &str) -> String {
        let mut note = Note::new(text.as_bytes(), &[]).expect("what we sign has no control characters");
        note.add_sigs(&[&self.signer]).expect("the name of the key was checked when it was read");
        String::from_utf8(note.to_bytes()).expect("a note is a text")
    }
}

impl FromStr for SigningKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let signer = StandardSigner::new(text).map_err(|_| KeyError::NotPrivate)?;
        // The signer keeps its public half to itself.
        let mut fields = text.splitn(5, '+').skip(2);
        let (name, bytes) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
        let bytes = BASE64_STANDARD.decode(bytes).map_err(|_| KeyError::NotPrivate)?;
        let secret = bytes.get(1..).and_then(|secret| secret.try_into().ok()).ok_or(KeyError::NotPrivate)?;
        let verifying = ed25519_dalek::SigningKey::from_bytes(secret).verifying_key();
        let public = signed_note::new_ed25519_verifier_key(name, &verifying).parse()?;
        Ok(Self { signer, public })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the private key of {}", self.public)
    }
}

/// The text of a note that this key has signed. Others may have signed it, too, such as witnesses.
pub fn open(note: &[u8], key: &PublicKey) -> Result<String, OpenError> {
    open_with_others(note, key).map(|(text, _)| text)
}

/// The text of a note that this key alone has signed, with not a byte to spare.
pub fn open_alone(note: &[u8], key: &PublicKey) -> Result<String, OpenError> {
    match open_with_others(note, key)? {
        (text, true) => Ok(text),
        (_, false) => Err(OpenError::NotAlone),
    }
}

fn open_with_others(bytes: &[u8], key: &PublicKey) -> Result<(String, bool), OpenError> {
    let note = Note::from_bytes(bytes).map_err(|_| OpenError::Malformed)?;
    let known = VerifierList::new(vec![Box::new(key.verifier.clone())]);
    let (ours, others) = note.verify(&known).map_err(|error| match error {
        NoteError::InvalidSignature { .. } => OpenError::Forged,
        NoteError::UnverifiedNote => OpenError::Unsigned(key.to_string()),
        _ => OpenError::Malformed,
    })?;
    let alone = others.is_empty() && Note::new(note.text(), &ours).is_ok_and(|again| again.to_bytes() == bytes);
    let text = String::from_utf8(note.text().to_vec()).map_err(|_| OpenError::Malformed)?;
    Ok((text, alone))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A key that everybody knows.
    pub(crate) fn key() -> SigningKey {
        "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz".parse().expect("a key")
    }

    #[test]
    fn the_public_key_follows_from_the_private_one() {
        let public = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        assert_eq!(key().public().to_string(), public);
    }

    #[test]
    fn a_note_opens_with_its_key_only() {
        let note = key().sign("text\n");
        assert_eq!(open_alone(note.as_bytes(), key().public()).expect("signed"), "text\n");
        let changed = note.replace("text", "test");
        assert!(matches!(open(changed.as_bytes(), key().public()), Err(OpenError::Forged)));
    }

    #[test]
    fn a_further_signature_is_seen() {
        let mut note = key().sign("text\n");
        note.push_str("— witness AAAAAAAAAAAA\n");
        assert!(open(note.as_bytes(), key().public()).is_ok());
        assert!(matches!(open_alone(note.as_bytes(), key().public()), Err(OpenError::NotAlone)));
    }
}
