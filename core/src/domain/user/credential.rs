//! Credentials: by what a person shows who it is, and the tokens by which programs ask in the person's name. The secrets
//! themselves lie outside of the ledger; here are their names.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use super::{Party, Person, UserEvent, UserRejection};
use crate::domain::{Id, Noun, function::Functions};

/// Names the row that has the hash of a password.
#[derive(Clone, Debug)]
pub enum Password {}
pub type PasswordId = Id<Password>;

/// Names the row that has the secret of a second factor.
#[derive(Clone, Debug)]
pub enum Factor {}
pub type FactorId = Id<Factor>;

/// Names the rows of a set of recovery codes.
#[derive(Clone, Debug)]
pub enum RecoveryCodes {}
pub type RecoveryCodesId = Id<RecoveryCodes>;

/// Names the row that has the hash of a token.
#[derive(Clone, Debug)]
pub enum Token {}
pub type TokenId = Id<Token>;

impl Noun for Password {
    const PREFIX: &'static str = "pwd";
}

impl Noun for Factor {
    const PREFIX: &'static str = "fac";
}

impl Noun for RecoveryCodes {
    const PREFIX: &'static str = "rec";
}

impl Noun for Token {
    const PREFIX: &'static str = "tok";
}

/// How a second factor works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, IntoStaticStr, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum FactorKind {
    /// Codes that change with the time, by RFC 6238.
    Totp,
}

/// A token as it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenGrant {
    pub token: TokenId,
    pub party: Party,
    /// What its owner calls it.
    pub name: String,
    /// What it may be used for, of what its owner may do at that moment; all of it unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<Functions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// What can be changed of the ways to show who one is. The secrets themselves lie outside of the ledger.
#[derive(Clone, Debug)]
pub enum CredentialChange {
    SetPassword { password: PasswordId },
    AddFactor { factor: FactorId, kind: FactorKind },
    RemoveFactor { factor: FactorId },
    MakeRecoveryCodes { codes: RecoveryCodesId },
    MakeToken(TokenGrant),
    RevokeToken { token: TokenId },
}

/// The most tokens of a person that are not revoked.
const TOKENS: usize = 100;

impl Person {
    pub(super) fn decide_credentials(&self, change: CredentialChange) -> Result<UserEvent, UserRejection> {
        use CredentialChange as C;
        use UserEvent as E;
        use UserRejection as R;

        Ok(match change {
            C::SetPassword { password } => E::PasswordSet { password },
            C::AddFactor { factor, .. } if self.factors.contains_key(factor.as_str()) => return Err(R::FactorExists),
            C::AddFactor { factor, kind } => E::FactorAdded { factor, kind },
            C::RemoveFactor { factor } if !self.factors.contains_key(factor.as_str()) => return Err(R::NoFactor),
            C::RemoveFactor { factor } => E::FactorRemoved { factor },
            C::MakeRecoveryCodes { codes } => E::RecoveryCodesMade { codes },
            C::MakeToken(grant) => {
                self.member(&grant.party)?;
                if grant.name.trim().is_empty() {
                    return Err(R::NameMissing);
                }
                if self.tokens.len() >= TOKENS {
                    return Err(R::TooManyTokens { most: TOKENS });
                }
                E::TokenMade(grant)
            }
            C::RevokeToken { token } if !self.tokens.contains_key(token.as_str()) => return Err(R::NoToken),
            C::RevokeToken { token } => E::TokenRevoked { token },
        })
    }
}
