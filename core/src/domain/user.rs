//! A user: a person who signs in. What the person may do depends on the membership in which a request acts: in a customer,
//! or with the provider.

mod credential;
mod factor_reset;
mod membership;

use chrono::{DateTime, NaiveDate, Utc};
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use imbl::{OrdMap, OrdSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use super::{
    CustomerId, Id, LedgerAggregate, LedgerEvent, Mentions, Noun, Owner, UserNameId,
    function::{Function, Functions, Role},
    payer::Address,
    posting::JournalEntry,
    version::written_version,
};
use crate::terms::{
    refusal::{NAME_MISSING, absent, conflict, forbidden, invalid, refusals},
    rule::Rule,
    sealed::{Sealed, Texts},
    text_hash::TextHash,
};

pub use credential::{
    CredentialChange, Factor, FactorId, FactorKind, Password, PasswordId, RecoveryCodes, RecoveryCodesId, Token,
    TokenGrant, TokenId,
};
pub use factor_reset::{FactorReset, FactorResetCommand, FactorResetStep};
pub use membership::{Membership, MembershipChange, Party};

pub type UserId = Id<User>;

/// Who asks: a person, in one of the memberships, perhaps by a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    pub user: UserId,
    pub party: Party,
    pub token: Option<TokenId>,
}

/// What is known of a person from the beginning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Invitation {
    /// The name to sign in by.
    pub login: Sealed,
    /// What that name is called in the book.
    pub login_name: UserNameId,
    /// What the person is called.
    pub name: Sealed,
}

/// Which terms of the provider a person has accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Acceptance {
    /// The date that the terms bear.
    pub dated: NaiveDate,
    /// SHA-256 of their text.
    pub sha256: TextHash,
    pub accepted_at: DateTime<Utc>,
}

/// A way to reach a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Contact {
    pub kind: ContactKind,
    pub value: Sealed,
}

/// How a person is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, IntoStaticStr, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ContactKind {
    Email,
    Telephone,
}

#[derive(Clone, Debug)]
pub enum UserCommand {
    Invite(Invitation),
    Change(UserChange),
    ChangeMembership { party: Party, change: MembershipChange },
    ChangeCredentials(CredentialChange),
    ResetFactors(FactorResetCommand),
    AcceptTerms(Acceptance),
}

/// What can be changed of a person.
#[derive(Clone, Debug)]
pub enum UserChange {
    Rename { name: Sealed },
    Move { address: Address },
    AddContact { contact: Contact },
    RemoveContact { number: u32 },
    Enable,
    Disable,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserEvent {
    Invited(Invitation),
    Renamed { name: Sealed },
    Moved { address: Address },
    ContactAdded { number: u32, contact: Contact },
    ContactRemoved { number: u32 },
    Enabled {},
    Disabled {},
    MembershipGiven { party: Party },
    MembershipWithdrawn { party: Party },
    SuperuserGranted { customer: CustomerId },
    SuperuserRevoked { customer: CustomerId },
    FunctionGranted { customer: CustomerId, function: Function },
    FunctionDenied { customer: CustomerId, function: Function },
    RoleGranted { role: Role },
    RoleRevoked { role: Role },
    PasswordSet { password: PasswordId },
    FactorAdded { factor: FactorId, kind: FactorKind },
    FactorRemoved { factor: FactorId },
    RecoveryCodesMade { codes: RecoveryCodesId },
    TokenMade(TokenGrant),
    TokenRevoked { token: TokenId },
    FactorResetRequested(FactorReset),
    FactorResetCancelled {},
    FactorsReset { factors: Vec<FactorId> },
    TermsAccepted(Acceptance),
}

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum UserRejection {
        #[error("the user already exists")]
        AlreadyInvited = conflict("user-exists", "The user already exists"),
        #[error("there is no such user")]
        NotInvited = absent("user-not-found", "There is no such user"),
        #[error("a person needs a name")]
        NameMissing at "/name" = NAME_MISSING,
        #[error("a person needs a name to sign in by")]
        LoginMissing at "/login" = invalid("login-missing", "A name to sign in by is needed"),
        #[error("an address needs a country")]
        CountryMissing at "/address/country" = invalid("country-missing", "An address needs a country"),
        #[error("a contact needs a text")]
        ContactMissing at "/contact" = invalid("contact-missing", "A contact needs a text"),
        #[error("the user has no contact {number}")]
        NoContact { number: u32 } = absent("contact-not-found", "The user has no such contact"),
        #[error("a user has {most} contacts at most")]
        TooManyContacts { most: usize } = conflict("too-many-contacts", "The user has as many contacts as can be"),
        #[error("the user is enabled already")]
        AlreadyEnabled = conflict("user-enabled", "The user is enabled already"),
        #[error("the user is disabled")]
        Disabled = conflict("user-disabled", "The user is disabled"),
        #[error("the user is a member of {party} already")]
        AlreadyMember { party: Party } = conflict("already-member", "The user is a member there already"),
        #[error("the user is no member of {party}")]
        NoMember { party: Party } = conflict("not-a-member", "The user is no member there"),
        #[error("a user is a member of {most} customers at most")]
        TooManyMemberships { most: usize } =
            conflict("too-many-memberships", "The user has as many memberships as can be"),
        #[error("the user has that right already")]
        AlreadyGranted = conflict("right-granted", "The user has that right already"),
        #[error("the user does not have that right")]
        NotGranted = conflict("right-not-granted", "The user does not have that right"),
        #[error("only the provider's people can hold `{function}`")]
        NotForCustomers { function: Function } at "/function" =
            invalid("function-of-the-provider", "Only the provider's people can hold that function"),
        #[error("in a customer people have functions, and with the provider they have roles")]
        OtherParty = invalid("right-of-another-party", "A right of another kind of membership"),
        #[error("the user has that factor already")]
        FactorExists = conflict("factor-exists", "The user has that factor already"),
        #[error("the user has no such factor")]
        NoFactor = absent("factor-not-found", "The user has no such factor"),
        #[error("the user has no second factor")]
        NoSecondFactor = conflict("no-second-factor", "The user has no second factor"),
        #[error("a reset of the second factor has been asked for already")]
        FactorResetRequested =
            conflict("factor-reset-requested", "A reset of the second factor has been asked for already"),
        #[error("no reset of the second factor has been asked for")]
        NoFactorReset = absent("factor-reset-not-found", "No reset of the second factor has been asked for"),
        #[error("the reset of the second factor can be completed from {completable_at} on")]
        FactorResetEarly { completable_at: DateTime<Utc> } with { completable_at } =
            conflict("factor-reset-early", "The waiting time of the reset is not over"),
        #[error("neither the person nor whoever asked for the reset does that: another one of the staff does")]
        SecondPersonNeeded = forbidden("second-person-needed", "Another one of the staff has to do that"),
        #[error("a user has {most} tokens at most: revoke those that are not in use")]
        TooManyTokens { most: usize } = conflict("too-many-tokens", "The user has as many tokens as can be"),
        #[error("there is no such token")]
        NoToken = absent("token-not-found", "There is no such token"),
        #[error("`{function}` is not allowed here")]
        Forbidden { function: Function } with { function } =
            forbidden("forbidden-by-role", "Whoever asks may not do that"),
    }
}

/// The most contacts of a person.
const CONTACTS: usize = 20;
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum User {
    #[default]
    Unknown,
    Invited(Box<Person>),
}

/// What a person may do, and by what the person shows who it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Person {
    pub enabled: bool,
    /// By [`Party::key`].
    memberships: OrdMap<String, Membership>,
    contacts: OrdSet<u32>,
    last_contact: u32,
    factors: OrdMap<String, FactorKind>,
    factor_reset: Option<FactorReset>,
    /// Those that are not revoked.
    tokens: OrdMap<String, TokenGrant>,
}

impl Noun for User {
    const PREFIX: &'static str = "usr";
}

impl LedgerAggregate for User {
    const FOLD_VERSION: i32 = 2;
    const READ_BY: Function = Function::UsersRead;

    fn owner(&self) -> Owner<'_> {
        match self {
            Self::Unknown => Owner::Everybody,
            Self::Invited(person) => Owner::Members(person),
        }
    }
}

impl Person {
    fn decide(&self, change: UserChange) -> Result<UserEvent, UserRejection> {
        use UserChange as C;
        use UserEvent as E;
        use UserRejection as R;

        Ok(match change {
            C::Rename { name } if name.is_blank() => return Err(R::NameMissing),
            C::Rename { name } => E::Renamed { name },
            C::Move { address } if address.country.trim().is_empty() => return Err(R::CountryMissing),
            C::Move { address } => E::Moved { address },
            C::AddContact { contact } if contact.value.is_blank() => {
                return Err(R::ContactMissing);
            }
            C::AddContact { .. } if self.contacts.len() >= CONTACTS => {
                return Err(R::TooManyContacts { most: CONTACTS });
            }
            C::AddContact { contact } => E::ContactAdded { number: self.last_contact + 1, contact },
            C::RemoveContact { number } if !self.contacts.contains(&number) => return Err(R::NoContact { number }),
            C::RemoveContact { number } => E::ContactRemoved { number },
            C::Enable if self.enabled => return Err(R::AlreadyEnabled),
            C::Enable => E::Enabled {},
            C::Disable if !self.enabled => return Err(R::Disabled),
            C::Disable => E::Disabled {},
        })
    }

    fn apply(&mut self, event: UserEvent) {
        use UserEvent as E;

        const PROVIDER: &str = "provider";
        match event {
            E::Invited(_) | E::Renamed { .. } | E::Moved { .. } => {}
            E::ContactAdded { number, .. } => {
                self.contacts.insert(number);
                self.last_contact = number;
            }
            E::ContactRemoved { number } => {
                self.contacts.remove(&number);
            }
            E::Enabled {} => self.enabled = true,
            E::Disabled {} => self.enabled = false,
            E::MembershipGiven { party } => {
                self.memberships.insert(party.key().into(), Membership::default());
            }
            E::MembershipWithdrawn { party } => {
                self.memberships.remove(party.key());
                let others = self.tokens.iter().filter(|(_, token)| token.party != party);
                self.tokens = others.map(|(id, token)| (id.clone(), token.clone())).collect();
            }
            E::SuperuserGranted { customer } => self.change_membership(customer.as_str(), |of| of.superuser = true),
            E::SuperuserRevoked { customer } => self.change_membership(customer.as_str(), |of| of.superuser = false),
            E::FunctionGranted { customer, function } => self.change_membership(customer.as_str(), |of| {
                of.functions.insert(function);
            }),
            E::FunctionDenied { customer, function } => self.change_membership(customer.as_str(), |of| {
                of.functions.remove(&function);
            }),
            E::RoleGranted { role } => self.change_membership(PROVIDER, |of| {
                of.roles.insert(role);
            }),
            E::RoleRevoked { role } => self.change_membership(PROVIDER, |of| {
                of.roles.remove(&role);
            }),
            E::PasswordSet { .. } | E::RecoveryCodesMade { .. } | E::TermsAccepted(_) => {}
            E::FactorAdded { factor, kind } => {
                self.factors.insert(factor.as_str().into(), kind);
            }
            E::FactorRemoved { factor } => {
                self.factors.remove(factor.as_str());
            }
            E::TokenMade(grant) => {
                self.tokens.insert(grant.token.as_str().into(), grant);
            }
            E::TokenRevoked { token } => {
                self.tokens.remove(token.as_str());
            }
            E::FactorResetRequested(reset) => self.factor_reset = Some(reset),
            E::FactorResetCancelled {} => self.factor_reset = None,
            E::FactorsReset { factors } => {
                for factor in &factors {
                    self.factors.remove(factor.as_str());
                }
                self.factor_reset = None;
            }
        }
    }
}

impl User {
    pub fn person(&self) -> Result<&Person, UserRejection> {
        match self {
            Self::Unknown => Err(UserRejection::NotInvited),
            Self::Invited(person) => Ok(person),
        }
    }

    /// What the person may do in a membership, by a token if one is named: nothing if the person is disabled, no member
    /// there, or the token is not valid at that moment.
    pub fn allowed(&self, party: &Party, token: Option<&TokenId>, at: DateTime<Utc>) -> Functions {
        let Self::Invited(person) = self else { return Functions::new() };
        let Some(membership) = person.membership(party).filter(|_| person.enabled) else { return Functions::new() };
        let mut allowed = membership.allowed();
        if let Some(token) = token {
            match person.tokens.get(token.as_str()) {
                Some(grant) if grant.party == *party && grant.expires_at.is_none_or(|end| at < end) => {
                    if let Some(functions) = &grant.functions {
                        allowed.retain(|function| functions.contains(function));
                    }
                }
                _ => allowed.clear(),
            }
        }
        allowed
    }
}

impl Aggregate for User {
    const TYPE: &'static str = "user";
    type Command = UserCommand;
    type Event = UserEvent;
    type Error = UserRejection;
    type Services = ();

    async fn handle(&mut self, command: UserCommand, (): &(), sink: &EventSink<Self>) -> Result<(), UserRejection> {
        use UserCommand as C;
        use UserRejection as R;

        let event = match (&*self, command) {
            (Self::Unknown, C::Invite(invitation)) if invitation.login.is_blank() => {
                return Err(R::LoginMissing);
            }
            (Self::Unknown, C::Invite(invitation)) if invitation.name.is_blank() => return Err(R::NameMissing),
            (Self::Unknown, C::Invite(invitation)) => UserEvent::Invited(invitation),
            (Self::Unknown, _) => return Err(R::NotInvited),
            (Self::Invited(_), C::Invite(_)) => return Err(R::AlreadyInvited),
            (Self::Invited(person), C::Change(change)) => person.decide(change)?,
            (Self::Invited(person), C::ChangeMembership { party, change }) => {
                person.decide_membership(party, change)?
            }
            (Self::Invited(person), C::ChangeCredentials(change)) => person.decide_credentials(change)?,
            (Self::Invited(person), C::ResetFactors(command)) => person.decide_factor_reset(command)?,
            (Self::Invited(_), C::AcceptTerms(acceptance)) => UserEvent::TermsAccepted(acceptance),
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: UserEvent) {
        match (&mut *self, event) {
            (Self::Unknown, UserEvent::Invited(_)) => {
                *self = Self::Invited(Box::new(Person {
                    enabled: true,
                    memberships: OrdMap::new(),
                    contacts: OrdSet::new(),
                    last_contact: 0,
                    factors: OrdMap::new(),
                    factor_reset: None,
                    tokens: OrdMap::new(),
                }));
            }
            (Self::Unknown, _) => {}
            (Self::Invited(person), event) => person.apply(event),
        }
    }
}

impl DomainEvent for UserEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Invited(_) => "user.invited",
            Self::Renamed { .. } => "user.renamed",
            Self::Moved { .. } => "user.moved",
            Self::ContactAdded { .. } => "user.contact_added",
            Self::ContactRemoved { .. } => "user.contact_removed",
            Self::Enabled {} => "user.enabled",
            Self::Disabled {} => "user.disabled",
            Self::MembershipGiven { .. } => "user.membership_given",
            Self::MembershipWithdrawn { .. } => "user.membership_withdrawn",
            Self::SuperuserGranted { .. } => "user.superuser_granted",
            Self::SuperuserRevoked { .. } => "user.superuser_revoked",
            Self::FunctionGranted { .. } => "user.function_granted",
            Self::FunctionDenied { .. } => "user.function_denied",
            Self::RoleGranted { .. } => "user.role_granted",
            Self::RoleRevoked { .. } => "user.role_revoked",
            Self::PasswordSet { .. } => "user.password_set",
            Self::FactorAdded { .. } => "user.factor_added",
            Self::FactorRemoved { .. } => "user.factor_removed",
            Self::RecoveryCodesMade { .. } => "user.recovery_codes_made",
            Self::TokenMade(_) => "user.token_made",
            Self::TokenRevoked { .. } => "user.token_revoked",
            Self::FactorResetRequested(_) => "user.factor_reset_requested",
            Self::FactorResetCancelled {} => "user.factor_reset_cancelled",
            Self::FactorsReset { .. } => "user.factors_reset",
            Self::TermsAccepted(_) => "user.terms_accepted",
        }
        .into()
    }

    fn event_version(&self) -> String {
        written_version(self)
    }
}

impl LedgerEvent for UserEvent {
    type Aggregate = User;

    const VERSIONS: &'static [(&'static str, &'static str)] = &[
        ("user.contact_added", "1.0"),
        ("user.contact_removed", "1.0"),
        ("user.disabled", "1.0"),
        ("user.enabled", "1.0"),
        ("user.factor_added", "1.0"),
        ("user.factor_removed", "1.0"),
        ("user.factor_reset_cancelled", "1.0"),
        ("user.factor_reset_requested", "1.0"),
        ("user.factors_reset", "1.0"),
        ("user.function_denied", "1.0"),
        ("user.function_granted", "1.0"),
        ("user.invited", "1.0"),
        ("user.membership_given", "1.0"),
        ("user.membership_withdrawn", "1.0"),
        ("user.moved", "1.0"),
        ("user.password_set", "1.0"),
        ("user.recovery_codes_made", "1.0"),
        ("user.renamed", "1.0"),
        ("user.role_granted", "1.0"),
        ("user.role_revoked", "1.0"),
        ("user.superuser_granted", "1.0"),
        ("user.superuser_revoked", "1.0"),
        ("user.terms_accepted", "1.0"),
        ("user.token_made", "1.0"),
        ("user.token_revoked", "1.0"),
    ];

    fn postings(&self) -> JournalEntry {
        Vec::new()
    }

    fn rule(&self) -> Option<Rule> {
        None
    }

    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>) {
        match self {
            Self::MembershipGiven { party: Party::Customer(customer) }
            | Self::MembershipWithdrawn { party: Party::Customer(customer) }
            | Self::SuperuserGranted { customer }
            | Self::SuperuserRevoked { customer }
            | Self::FunctionGranted { customer, .. }
            | Self::FunctionDenied { customer, .. } => mentions.add(customer),
            Self::TokenMade(grant) => {
                mentions.add(&grant.token);
                mentions.add_all(grant.party.customer());
            }
            Self::TokenRevoked { token } => mentions.add(token),
            Self::FactorAdded { factor, .. } | Self::FactorRemoved { factor } => mentions.add(factor),
            Self::FactorsReset { factors } => mentions.add_all(factors),
            Self::FactorResetRequested(reset) => mentions.add_all(&reset.by),
            Self::MembershipGiven { party: Party::Provider }
            | Self::MembershipWithdrawn { party: Party::Provider }
            | Self::Invited(_)
            | Self::Renamed { .. }
            | Self::Moved { .. }
            | Self::ContactAdded { .. }
            | Self::ContactRemoved { .. }
            | Self::Enabled {}
            | Self::Disabled {}
            | Self::RoleGranted { .. }
            | Self::RoleRevoked { .. }
            | Self::PasswordSet { .. }
            | Self::RecoveryCodesMade { .. }
            | Self::FactorResetCancelled {}
            | Self::TermsAccepted(_) => {}
        }
    }

    fn sealed(&mut self) -> Texts<'_> {
        match self {
            Self::Invited(Invitation { login, name, .. }) => vec![("login", login), ("name", name)],
            Self::Renamed { name } => vec![("name", name)],
            Self::Moved { address } => address.sealed().into(),
            Self::ContactAdded { contact, .. } => vec![("contact/value", &mut contact.value)],
            Self::ContactRemoved { .. }
            | Self::Enabled {}
            | Self::Disabled {}
            | Self::MembershipGiven { .. }
            | Self::MembershipWithdrawn { .. }
            | Self::SuperuserGranted { .. }
            | Self::SuperuserRevoked { .. }
            | Self::FunctionGranted { .. }
            | Self::FunctionDenied { .. }
            | Self::RoleGranted { .. }
            | Self::RoleRevoked { .. }
            | Self::PasswordSet { .. }
            | Self::FactorAdded { .. }
            | Self::FactorRemoved { .. }
            | Self::RecoveryCodesMade { .. }
            | Self::TokenMade(_)
            | Self::TokenRevoked { .. }
            | Self::FactorResetRequested(_)
            | Self::FactorResetCancelled {}
            | Self::FactorsReset { .. }
            | Self::TermsAccepted(_) => Vec::new(),
        }
    }
}
