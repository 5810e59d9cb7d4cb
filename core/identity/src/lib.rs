//! All that is secret about signing in, without HTTP: passwords, factors, recovery codes, tokens, sessions, links, what
//! holds up guessing, and the log of who looked at what.
//!
//! Secrets are never events; that they changed is. The row of a secret is written first, under the id that the event will
//! carry, and is worth something only once the event stands: whoever verifies passes the id that the row of the user names.
//! Rows that nothing names are [swept](Identity::sweep) after an hour.
//!
//! A sign-in by password asks in this order, and whatever fails ends it:
//!
//! 1. [`Guessing::admit`], by the keyed hash of the name that was typed; from here on the attempt counts as failed.
//! 2. [`Passwords::verify`], with `None` for a name that nobody has. If it is [busy](Busy), [`Guessing::not_made`].
//! 3. [`Factors::verify`] or [`RecoveryCodes::redeem`], if the user has a second factor, admitted as an account of its own.
//! 4. [`AccessLog::write`]: a sign-in that cannot be written down is refused.
//! 5. [`Sessions::begin`], or [`Sessions::raise`] after the second factor; then [`Guessing::succeeded`].
//!
//! A refusal is counted by [`Guessing::refused`], and written by [`AccessLog::write_refused`] if the name is somebody's.
//!
//! Nothing here asks the clock: `now` comes in with the request.

mod access_log;
mod cut_off;
mod factor;
mod guessing;
mod hashing;
mod key_folder;
mod keys;
mod link;
mod login;
mod notes;
mod password;
mod recovery;
mod secret;
mod sender;
mod session;
mod sign_up;
mod strength;
mod sweep;
mod token;

use std::{fmt::Display, path::PathBuf};

use chrono::{DateTime, Utc};
use daybook_core::store::{Store, StoreError};
use ulid::Ulid;
use uuid::{Builder, Uuid};

use notes::Notes;

pub use access_log::{Access, AccessKind, AccessLine, AccessLog, Cursor, MONTHS_KEPT};
pub use cut_off::{CutOff, Planned};
pub use factor::{Enrolment, FactorKind, FactorOf, Factors, Verdict};
pub use guessing::{Admitted, Attempt, Guessing, GuessingError, RefusedMinute, network};
pub use hashing::{Busy, Hashing};
pub use key_folder::KeyFileError;
pub use keys::{KeyError, Keys};
pub use link::{FoundLink, Links, NewLink, Purpose, Standing};
pub use login::LoginKey;
pub use password::{PasswordError, PasswordOf, Passwords};
pub use recovery::{RecoveryCodes, RecoveryOf};
pub use secret::{Secret, Shown};
pub use sender::{SenderName, SenderNameError, Senders, SignatureError, SignedMessage};
pub use session::{Ended, Level, NewSession, Session, SessionOptions, Sessions};
pub use sign_up::{NewSignUp, SignUp, SignUpError, SignUps};
pub use strength::Unsuitable;
pub use sweep::{Named, Swept};
pub use token::{FoundToken, TokenOf, TokenUse, Tokens};

#[derive(Clone, Debug)]
pub struct IdentityOptions {
    /// The folder of the keys, beside the key of the transparency log.
    pub keys: PathBuf,
    pub hashing: Hashing,
    pub sessions: SessionOptions,
}

/// Everything of one ledger. Clones are the same.
#[derive(Clone, Debug)]
pub struct Identity {
    pub passwords: Passwords,
    pub factors: Factors,
    pub recovery: RecoveryCodes,
    pub tokens: Tokens,
    pub sessions: Sessions,
    pub links: Links,
    pub sign_ups: SignUps,
    pub guessing: Guessing,
    pub senders: Senders,
    pub access_log: AccessLog,
    store: Store,
    notes: Notes,
}

/// It could not be found out. Nothing was accepted.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Somebody has written into the table by another way.
    #[error("the stored secret {id} cannot be read")]
    Unreadable { id: String },
}

impl From<sqlx::Error> for IdentityError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Identity {
    pub fn new(store: &Store, options: IdentityOptions) -> Self {
        let notes = Notes::new();
        let senders = Senders::new(&options.keys);
        let (passwords, links) = (Passwords::new(store, options.hashing), Links::new(store));
        Self {
            sign_ups: SignUps::new(store, passwords.clone(), links.clone()),
            passwords,
            factors: Factors::new(store, Keys::new(options.keys)),
            recovery: RecoveryCodes::new(store),
            tokens: Tokens::new(store, notes.clone()),
            sessions: Sessions::new(store, options.sessions, notes.clone()),
            links,
            guessing: Guessing::new(store),
            senders,
            access_log: AccessLog::new(store),
            store: store.clone(),
            notes,
        }
    }

    /// Notes something in the background, so that the time of an answer says nothing of it.
    pub fn note<E: Display + Send + 'static>(
        &self,
        what: &'static str,
        note: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.notes.queue(what, note);
    }

    /// Waits until what was noted in the background, such as the last use of a token, is written.
    pub async fn settle(&self) {
        self.notes.settle().await;
    }
}

/// A new identifier that sorts by time.
fn uuid_at(now: DateTime<Utc>) -> Uuid {
    let milliseconds = u64::try_from(now.timestamp_millis()).unwrap_or_default();
    Builder::from_unix_timestamp_millis(milliseconds, &secret::random()).into_uuid()
}

/// The public name of a row that no event names.
fn name_at(prefix: &str, now: DateTime<Utc>) -> String {
    format!("{prefix}_{}", Ulid::from_bytes(uuid_at(now).into_bytes()))
}
