//! Programs outside that sign what they send instead of signing in, such as payment gateways. A message is signed as
//! [Standard Webhooks 1.0.0](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md)
//! has it: HMAC-SHA-256 over the id, the time and the body.
//!
//! The secrets of a sender are files of a folder beside the other keys. Each of them verifies, so that a secret can be
//! changed while messages arrive: add one, give it to the sender, then retire the earlier ones.

use std::{fmt, path::Path, str::FromStr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    key_folder::{Held, Kept, KeyFileError, KeyFolder, with_files},
    secret::{Shown, random},
};

/// How much earlier or later than now a message may say that it was sent.
pub const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// The folder beside the keys.
const FOLDER: &str = "senders";

const HELD: Held = Held { one: "the secret of a sender", if_exposed: "give the sender a new secret" };

/// What a secret begins with, as senders are used to it.
const PREFIX: &str = "whsec_";

/// A message has so many signatures at most: one for each secret that its sender still uses.
const MOST_SIGNATURES: usize = 8;

/// The name of a sender: 1 to 64 lower-case letters, digits, `-` and `_`. For a gateway it is the name in its payments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SenderName(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a sender has 1 to 64 lower-case letters, digits, `-` and `_`")]
pub struct SenderNameError;

/// What a sender has sent, as it came.
#[derive(Clone, Copy, Debug)]
pub struct SignedMessage<'a> {
    /// The sender's own name for the message: the same whenever the message is sent again.
    pub id: &'a str,
    /// When this attempt was sent, in seconds since 1970.
    pub timestamp: i64,
    /// One or several signatures, such as `v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=`, with spaces between them.
    pub signatures: &'a str,
    pub body: &'a [u8],
}

/// Why a message is not taken for what its sender sent.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    #[error("the time of the message is more than five minutes from now")]
    Stale,
    /// The same for a sender who has no secret.
    #[error("no signature of the message is right")]
    Wrong,
    #[error(transparent)]
    Secrets(#[from] KeyFileError),
}

/// The secrets of all senders.
#[derive(Clone, Debug)]
pub struct Senders(KeyFolder);

impl SenderName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SenderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SenderName {
    type Err = SenderNameError;

    fn from_str(name: &str) -> Result<Self, SenderNameError> {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        let is_name = (1..=64).contains(&name.len()) && name.bytes().all(is_letter);
        if is_name { Ok(Self(name.to_owned())) } else { Err(SenderNameError) }
    }
}

impl Senders {
    /// The secrets beside these keys.
    pub fn new(keys: &Path) -> Self {
        Self(KeyFolder::new(keys.join(FOLDER), HELD))
    }

    /// Whether the sender signed the message, and not long ago.
    pub async fn verify(
        &self,
        sender: &SenderName,
        message: SignedMessage<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), SignatureError> {
        let SignedMessage { id, timestamp, signatures, body } = message;
        let sent = DateTime::from_timestamp(timestamp, 0);
        if sent.is_none_or(|sent| (now - sent).abs() > TOLERANCE) {
            return Err(SignatureError::Stale);
        }
        let (senders, name) = (self.clone(), sender.clone());
        let secrets = with_files(move || senders.secrets(&name)).await?;
        if secrets.is_empty() {
            tracing::warn!(%sender, "a message is refused because its sender has no secret here");
        }
        let given = signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,"));
        let given = given.take(MOST_SIGNATURES).filter_map(|signature| BASE64_STANDARD.decode(signature).ok());
        let is_right = |signature: &[u8]| {
            secrets.iter().any(|secret| {
                // Neither an id nor a time has a full stop, so that no two messages read the same.
                let signing = secret.signing().chain_update(format!("{id}.{timestamp}.")).chain_update(body);
                signing.verify_slice(signature).is_ok()
            })
        };
        if given.into_iter().any(|signature| is_right(&signature)) { Ok(()) } else { Err(SignatureError::Wrong) }
    }

    /// Gives a sender a further secret, which is shown once. Earlier ones still verify.
    pub fn add(&self, sender: &SenderName) -> Result<Shown, KeyFileError> {
        let text = Zeroizing::new(format!("{PREFIX}{}", BASE64_STANDARD.encode(*random::<32>())));
        self.0.add(sender.as_str(), &text)?;
        Ok(Shown::new(text.as_str()))
    }

    /// Takes all secrets but the newest from a sender, and answers how many they were.
    pub fn retire(&self, sender: &SenderName) -> Result<usize, KeyFileError> {
        self.0.remove(sender.as_str(), Kept::Newest)
    }

    /// Takes all secrets from a sender: nothing that comes from it is believed any more.
    pub fn forget(&self, sender: &SenderName) -> Result<usize, KeyFileError> {
        self.0.remove(sender.as_str(), Kept::None)
    }

    /// The senders, with the number of their secrets.
    pub fn list(&self) -> Result<Vec<(SenderName, usize)>, KeyFileError> {
        let names = self.0.names()?.into_iter();
        Ok(names.filter_map(|(name, count)| Some((name.parse().ok()?, count))).collect())
    }

    /// The secrets of one sender that can be read. If one cannot, the others still verify; if none can, that is an error.
    fn secrets(&self, sender: &SenderName) -> Result<Vec<SenderSecret>, KeyFileError> {
        let (mut secrets, mut failed) = (Vec::new(), None);
        for secret in self.0.read(sender.as_str(), SenderSecret::parse)? {
            match secret {
                Ok(secret) => secrets.push(secret),
                Err(error) => {
                    tracing::warn!(error = %daybook_core::chain(&error), %sender, "a secret of a sender is passed over");
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if secrets.is_empty() => Err(error),
            _ => Ok(secrets),
        }
    }
}

/// A secret that verifies.
struct SenderSecret(Zeroizing<Vec<u8>>);

impl SenderSecret {
    fn parse(text: &str) -> Option<Self> {
        let secret = Zeroizing::new(BASE64_STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?);
        // An empty or short secret signs for everybody: the specification asks for 24 bytes.
        (secret.len() >= 24).then_some(Self(secret))
    }

    fn signing(&self) -> Hmac<Sha256> {
        Hmac::new_from_slice(&self.0).expect("a key may have any length")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt,
    };

    use standardwebhooks::Webhook;

    use super::*;

    const BODY: &[u8] = br#"{"amount":"12.30"}"#;

    struct Setting {
        _folder: tempfile::TempDir,
        senders: Senders,
        stripe: SenderName,
    }

    fn setting() -> Setting {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let senders = Senders::new(&folder.path().join("home"));
        Setting { _folder: folder, senders, stripe: "stripe".parse().expect("a name") }
    }

    fn noon() -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).expect("a time")
    }

    /// As another implementation of the specification signs it.
    fn signed(secret: &Shown, id: &str, at: i64, body: &[u8]) -> String {
        Webhook::new(secret.expose()).expect("a secret").sign(id, at, body).expect("it can be signed")
    }

    fn message<'a>(id: &'a str, timestamp: i64, signatures: &'a str) -> SignedMessage<'a> {
        SignedMessage { id, timestamp, signatures, body: BODY }
    }

    #[tokio::test]
    async fn what_another_implementation_signs_is_taken_and_nothing_else() {
        let Setting { senders, stripe, .. } = &setting();
        let secret = senders.add(stripe).expect("a secret is made");
        let at = noon().timestamp();
        let signature = signed(&secret, "msg_1", at, BODY);
        let verify = async |message: SignedMessage<'_>| senders.verify(stripe, message, noon()).await;
        let right = message("msg_1", at, &signature);
        verify(right).await.expect("it is signed");
        verify(SignedMessage { signatures: &format!("v1a,AAAA v1,AAAA {signature}"), ..right })
            .await
            .expect("one is right");
        for (what, wrong) in [
            ("another id", SignedMessage { id: "msg_2", ..right }),
            ("another time", SignedMessage { timestamp: at + 1, ..right }),
            ("another body", SignedMessage { body: br#"{"amount":"92.30"}"#, ..right }),
            ("no signature", SignedMessage { signatures: "", ..right }),
            ("another version", SignedMessage { signatures: &signature.replace("v1,", "v2,"), ..right }),
            ("a part of it", SignedMessage { signatures: &signature[..20], ..right }),
        ] {
            assert!(matches!(verify(wrong).await, Err(SignatureError::Wrong)), "{what}");
        }
        let unknown = "stripe-test".parse().expect("a name");
        assert!(matches!(senders.verify(&unknown, right, noon()).await, Err(SignatureError::Wrong)));
    }

    #[tokio::test]
    async fn a_message_of_another_time_is_stale() {
        let Setting { senders, stripe, .. } = &setting();
        let secret = senders.add(stripe).expect("a secret is made");
        for (seconds, is_stale) in [(-301, true), (-300, false), (300, false), (301, true)] {
            let at = noon().timestamp() + seconds;
            let signature = signed(&secret, "msg_1", at, BODY);
            let verified = senders.verify(stripe, message("msg_1", at, &signature), noon()).await;
            assert_eq!(matches!(verified, Err(SignatureError::Stale)), is_stale, "{seconds}");
            assert_eq!(verified.is_ok(), !is_stale, "{seconds}");
        }
        for at in [i64::MIN, -1, 0, i64::MAX] {
            let verified = senders.verify(stripe, message("msg_1", at, "v1,AAAA"), noon()).await;
            assert!(matches!(verified, Err(SignatureError::Stale)), "{at}");
        }
    }

    #[tokio::test]
    async fn each_secret_verifies_until_it_is_retired() {
        let Setting { senders, stripe, .. } = &setting();
        let (earlier, later) = (senders.add(stripe).expect("a secret"), senders.add(stripe).expect("another"));
        let at = noon().timestamp();
        let verified = async |secret: &Shown| {
            senders.verify(stripe, message("msg_1", at, &signed(secret, "msg_1", at, BODY)), noon()).await.is_ok()
        };
        assert_eq!((verified(&earlier).await, verified(&later).await), (true, true));
        assert_eq!(senders.list().expect("a sender"), [(stripe.clone(), 2)]);
        assert_eq!(senders.retire(stripe).expect("one is retired"), 1);
        assert_eq!((verified(&earlier).await, verified(&later).await), (false, true));
        assert_eq!(senders.forget(stripe).expect("the last is forgotten"), 1);
        assert!(!verified(&later).await && senders.list().expect("nobody").is_empty());
    }

    #[tokio::test]
    async fn a_secret_that_others_may_read_or_that_is_short_verifies_nothing() {
        let Setting { senders, stripe, .. } = &setting();
        senders.add(stripe).expect("a secret is made");
        let file = senders.0.directory().join("stripe.key");
        let refused = async || {
            let message = message("msg_1", noon().timestamp(), "v1,AAAA");
            senders.verify(stripe, message, noon()).await.expect_err("it is refused").to_string()
        };
        fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("it is ours");
        let exposed = refused().await;
        assert!(exposed.contains("chmod 600"), "{exposed}");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("it is ours");
        for short in ["", "whsec_", "whsec_AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
            fs::write(&file, short).expect("it is ours");
            assert!(refused().await.contains("does not hold"), "{short}");
        }
    }

    #[tokio::test]
    async fn a_secret_that_cannot_be_read_keeps_no_other_from_verifying() {
        let Setting { senders, stripe, .. } = &setting();
        let earlier = senders.add(stripe).expect("a secret is made");
        senders.add(stripe).expect("another is made");
        fs::set_permissions(senders.0.directory().join("stripe.2.key"), Permissions::from_mode(0o644))
            .expect("it is ours");
        let at = noon().timestamp();
        let signature = signed(&earlier, "msg_1", at, BODY);
        senders.verify(stripe, message("msg_1", at, &signature), noon()).await.expect("the earlier one is right");
    }

    #[test]
    fn names_are_those_of_files() {
        for wrong in ["", "Stripe", "a.b", "../log", "a/b", "ä", &"a".repeat(65)] {
            assert_eq!(wrong.parse::<SenderName>(), Err(SenderNameError), "{wrong}");
        }
    }
}
