//! Users: who signs in, where they are members and what they may do there, and by what they show who they are.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{
        Event, Noun, Party, User, UserEvent,
        function::{Function, Functions, Role},
        payer::Address,
        user::{Contact, ContactKind, FactorKind, Token, TokenGrant},
    },
    terms::sealed::StillSealed,
};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, types::Json};

use crate::{
    engine::{Changes, FoldError, Follows, Owner, Projection, Row, Source, Table, place},
    listing::Listed,
    word::Word,
};

#[derive(Debug)]
pub enum Users {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct UserRow {
    pub id: String,
    /// The name to sign in by.
    pub login: String,
    /// The identifier of that name.
    pub login_name: String,
    pub name: String,
    pub enabled: bool,
    pub address: Option<Json<Postal>>,
    /// Of the row that has the hash; none before the person has chosen one.
    pub password_id: Option<String>,
    pub recovery_codes_id: Option<String>,
    pub invited_at: DateTime<Utc>,
    /// Of the event that invited the person; listings go by it.
    pub position: i64,
    /// Of the last event that changed it.
    pub changed_position: i64,
}

/// Where somebody lives. A text that was erased says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Postal {
    pub country: String,
    pub postal_code: String,
    pub city: String,
    pub street: String,
}

/// Where a user is a member, and what the user may do there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct MembershipRow {
    pub user_id: String,
    /// As [`Party::key`].
    pub party: String,
    pub customer_id: Option<String>,
    pub superuser: bool,
    pub functions: Json<BTreeSet<Function>>,
    pub roles: Json<BTreeSet<Role>>,
    pub given_at: DateTime<Utc>,
    pub position: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct ContactRow {
    pub user_id: String,
    pub number: i32,
    pub kind: Word<ContactKind>,
    pub value: String,
    pub added_at: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct FactorRow {
    pub user_id: String,
    pub id: String,
    pub kind: Word<FactorKind>,
    pub added_at: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct TokenRow {
    pub id: String,
    pub user_id: String,
    /// As [`Party::key`].
    pub party: String,
    pub customer_id: Option<String>,
    pub name: String,
    /// What it may be used for; all that its owner may do, if none are named.
    pub functions: Option<Json<Functions>>,
    pub made_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub position: i64,
    pub changed_position: i64,
}

impl Row for UserRow {
    type Key = String;
    const TABLE: &'static str = "users";
    const KEY: &'static [&'static str] = &["id"];
    const PREFIX: Option<&'static str> = Some(User::PREFIX);
    /// Of each customer in which the person is a member.
    const OWNER: Owner = Owner::AnyOf(&[Owner::Parent {
        column: "id",
        table: "memberships",
        key: "user_id",
        owner: &MembershipRow::OWNER,
    }]);

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(User::TYPE, &self.id)]
    }
}

impl Row for MembershipRow {
    type Key = (String, String);
    const TABLE: &'static str = "memberships";
    const KEY: &'static [&'static str] = &["user_id", "party"];
    const OWNER: Owner = Owner::Customer("customer_id");

    fn key(&self) -> Self::Key {
        (self.user_id.clone(), self.party.clone())
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(User::TYPE, &self.user_id)]
    }
}

impl Row for ContactRow {
    type Key = (String, i32);
    const TABLE: &'static str = "user_contacts";
    const KEY: &'static [&'static str] = &["user_id", "number"];
    const OWNER: Owner = Owner::parent::<UserRow>("user_id");

    fn key(&self) -> Self::Key {
        (self.user_id.clone(), self.number)
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(User::TYPE, &self.user_id)]
    }
}

impl Row for FactorRow {
    type Key = (String, String);
    const TABLE: &'static str = "user_factors";
    const KEY: &'static [&'static str] = &["user_id", "id"];
    const OWNER: Owner = Owner::parent::<UserRow>("user_id");

    fn key(&self) -> Self::Key {
        (self.user_id.clone(), self.id.clone())
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(User::TYPE, &self.user_id)]
    }
}

impl Row for TokenRow {
    type Key = String;
    const TABLE: &'static str = "user_tokens";
    const KEY: &'static [&'static str] = &["id"];
    const PREFIX: Option<&'static str> = Some(Token::PREFIX);
    const BELONGS_TO: &'static str = "user_id";
    /// The history of a token is its owner's, who may be a member elsewhere, too.
    const OWNER: Owner = Owner::AnyOf(&[Owner::Customer("customer_id")]);

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(User::TYPE, &self.user_id)]
    }
}

impl Listed for UserRow {
    type Of = UserRow;
    const PROJECTION: &'static str = Users::NAME;
    const NOUN: &'static str = "user";
    const NOT_FOUND: &'static str = "user-not-found";

    fn position(&self) -> i64 {
        self.position
    }
}

impl MembershipRow {
    /// What the member may do, as the aggregate says it.
    pub fn allowed(&self) -> Functions {
        let mut allowed = Function::of_roles(&self.roles.0);
        if self.superuser {
            allowed.extend(Function::of_customers());
        }
        allowed.extend(&self.functions.0);
        allowed
    }
}

impl Postal {
    fn of(address: &Address) -> Result<Self, StillSealed> {
        let Address { country, postal_code, city, street } = address;
        Ok(Self {
            country: country.clone(),
            postal_code: postal_code.shown()?.to_owned(),
            city: city.shown()?.to_owned(),
            street: street.shown()?.to_owned(),
        })
    }
}

impl Projection for Users {
    const NAME: &'static str = "users";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[User::TYPE]);
    const TABLES: &'static [Table] = &[
        Table::of::<UserRow>(),
        Table::of::<MembershipRow>(),
        Table::of::<ContactRow>(),
        Table::of::<FactorRow>(),
        Table::of::<TokenRow>(),
    ];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        use UserEvent as E;

        let Event::User(user_event) = &event.event else { return Ok(()) };
        let (user_id, at) = (event.aggregate_id.clone(), event.occurred_at());
        match user_event.clone() {
            E::Invited(invitation) => changes.insert(UserRow {
                id: user_id,
                login: invitation.login.shown()?.to_owned(),
                login_name: invitation.login_name.to_string(),
                name: invitation.name.shown()?.to_owned(),
                enabled: true,
                address: None,
                password_id: None,
                recovery_codes_id: None,
                invited_at: at,
                position: place(event),
                changed_position: place(event),
            }),
            E::Renamed { name } => {
                let name = name.shown()?.to_owned();
                change(event, changes, |row| row.name = name);
            }
            E::Moved { address } => {
                let address = Postal::of(&address)?;
                change(event, changes, |row| row.address = Some(Json(address)));
            }
            E::Enabled {} => change(event, changes, |row| row.enabled = true),
            E::Disabled {} => change(event, changes, |row| row.enabled = false),
            E::PasswordSet { password } => {
                change(event, changes, move |row| row.password_id = Some(password.to_string()))
            }
            E::RecoveryCodesMade { codes } => {
                change(event, changes, move |row| row.recovery_codes_id = Some(codes.to_string()));
            }
            E::ContactAdded { number, contact: Contact { kind, value } } => {
                let value = value.shown()?.to_owned();
                changes.insert(ContactRow { user_id, number: ordinal(number), kind: Word(kind), value, added_at: at });
            }
            E::ContactRemoved { number } => changes.delete::<ContactRow>((user_id, ordinal(number))),
            E::MembershipGiven { party } => changes.insert(MembershipRow {
                user_id,
                party: party.key().into(),
                customer_id: customer_of(&party),
                superuser: false,
                functions: Json(BTreeSet::new()),
                roles: Json(BTreeSet::new()),
                given_at: at,
                position: place(event),
            }),
            E::MembershipWithdrawn { party } => {
                changes.delete::<MembershipRow>((user_id, party.key().into()));
            }
            E::SuperuserGranted { customer } => change_member(user_id, customer, changes, |row| row.superuser = true),
            E::SuperuserRevoked { customer } => change_member(user_id, customer, changes, |row| row.superuser = false),
            E::FunctionGranted { customer, function } => change_member(user_id, customer, changes, move |row| {
                row.functions.insert(function);
            }),
            E::FunctionDenied { customer, function } => change_member(user_id, customer, changes, move |row| {
                row.functions.remove(&function);
            }),
            E::RoleGranted { role } => change_member(user_id, Party::Provider.key(), changes, move |row| {
                row.roles.insert(role);
            }),
            E::RoleRevoked { role } => change_member(user_id, Party::Provider.key(), changes, move |row| {
                row.roles.remove(&role);
            }),
            E::FactorAdded { factor, kind } => {
                changes.insert(FactorRow { user_id, id: factor.to_string(), kind: Word(kind), added_at: at });
            }
            E::FactorRemoved { factor } => changes.delete::<FactorRow>((user_id, factor.to_string())),
            E::FactorsReset { factors } => {
                for factor in factors {
                    changes.delete::<FactorRow>((user_id.clone(), factor.to_string()));
                }
                change(event, changes, |row| {
                    row.password_id = None;
                    row.recovery_codes_id = None;
                });
            }
            // A projection of its own has them.
            E::FactorResetRequested(_) | E::FactorResetCancelled {} => {}
            // The history of the person shows them.
            E::TermsAccepted(_) => {}
            E::TokenMade(TokenGrant { token, party, name, functions, expires_at }) => changes.insert(TokenRow {
                id: token.to_string(),
                user_id,
                party: party.key().into(),
                customer_id: customer_of(&party),
                name,
                functions: functions.map(Json),
                made_at: at,
                expires_at,
                revoked_at: None,
                position: place(event),
                changed_position: place(event),
            }),
            E::TokenRevoked { token } => {
                let position = place(event);
                changes.update(token.to_string(), move |row: &mut TokenRow| {
                    row.revoked_at = Some(at);
                    row.changed_position = position;
                });
            }
        }
        Ok(())
    }
}

fn ordinal(number: u32) -> i32 {
    i32::try_from(number).expect("a person has few contacts")
}

fn customer_of(party: &Party) -> Option<String> {
    party.customer().map(ToString::to_string)
}

fn change(event: &RecordedEvent, changes: &mut Changes, change: impl FnOnce(&mut UserRow) + Send + 'static) {
    let position = place(event);
    changes.update(event.aggregate_id.clone(), move |row: &mut UserRow| {
        row.changed_position = position;
        change(row);
    });
}

fn change_member(
    user_id: String,
    party: impl ToString,
    changes: &mut Changes,
    change: impl FnOnce(&mut MembershipRow) + Send + 'static,
) {
    changes.update((user_id, party.to_string()), change);
}

/// What a request needs to know of one who is a member.
#[derive(Clone, Debug, FromRow)]
pub struct Member {
    pub enabled: bool,
    /// Whether a second factor has to be shown at sign-in.
    pub has_factor: bool,
    /// Whether there is a password that can be shown at sign-in.
    pub has_password: bool,
    #[sqlx(flatten)]
    pub membership: MembershipRow,
}

/// The membership of this user in this party, or the one that was given first.
pub async fn member(
    connection: &mut PgConnection,
    user_id: &str,
    party: Option<&str>,
) -> Result<Option<Member>, sqlx::Error> {
    sqlx::query_as(
        "select u.enabled, u.password_id is not null as has_password,
             exists (select from user_factors f where f.user_id = u.id) as has_factor, m.*
         from users u join memberships m on m.user_id = u.id
         where u.id = $1 and ($2::text is null or m.party = $2)
         order by m.position, m.party limit 1",
    )
    .bind(user_id)
    .bind(party)
    .fetch_optional(connection)
    .await
}

/// What a request needs to know of a token: its scope, its end, and its owner as a member where it asks.
#[derive(Clone, Debug, FromRow)]
pub struct TokenMember {
    pub token_id: String,
    pub scope: Option<Json<Functions>>,
    pub expires_at: Option<DateTime<Utc>>,
    #[sqlx(flatten)]
    pub member: Member,
}

/// Those of these names that somebody signs in by.
pub async fn known_logins(connection: &mut PgConnection, names: &[String]) -> Result<BTreeSet<String>, sqlx::Error> {
    let known: Vec<String> = sqlx::query_scalar("select login_name from users where login_name = any($1)")
        .bind(names)
        .fetch_all(connection)
        .await?;
    Ok(known.into_iter().collect())
}

/// The token of this user, unless it is revoked. A membership that was given anew brings no token of before back.
pub async fn member_by_token(
    connection: &mut PgConnection,
    user_id: &str,
    token_id: &str,
) -> Result<Option<TokenMember>, sqlx::Error> {
    sqlx::query_as(
        "select t.id as token_id, t.functions as scope, t.expires_at, u.enabled, u.password_id is not null as has_password,
             exists (select from user_factors f where f.user_id = u.id) as has_factor, m.*
         from user_tokens t
         join users u on u.id = t.user_id
         join memberships m on m.user_id = t.user_id and m.party = t.party
         where t.id = $1 and t.user_id = $2 and t.revoked_at is null and m.position < t.position",
    )
    .bind(token_id)
    .bind(user_id)
    .fetch_optional(connection)
    .await
}

/// The user who signs in by the name of this identifier.
pub async fn of_login(connection: &mut PgConnection, login_name: &str) -> Result<Option<UserRow>, sqlx::Error> {
    sqlx::query_as("select * from users where login_name = $1").bind(login_name).fetch_optional(connection).await
}

/// The user of this identifier, whoever asks.
pub async fn user(connection: &mut PgConnection, id: &str) -> Result<Option<UserRow>, sqlx::Error> {
    sqlx::query_as("select * from users where id = $1").bind(id).fetch_optional(connection).await
}

/// The factors of this user.
pub async fn factors(connection: &mut PgConnection, user_id: &str) -> Result<Vec<FactorRow>, sqlx::Error> {
    sqlx::query_as("select * from user_factors where user_id = $1 order by added_at, id")
        .bind(user_id)
        .fetch_all(connection)
        .await
}

/// Where this user is a member.
pub async fn memberships(connection: &mut PgConnection, user_id: &str) -> Result<Vec<MembershipRow>, sqlx::Error> {
    sqlx::query_as("select * from memberships where user_id = $1 order by position, party")
        .bind(user_id)
        .fetch_all(connection)
        .await
}

/// The tokens of this user, the newest first.
pub async fn tokens(connection: &mut PgConnection, user_id: &str) -> Result<Vec<TokenRow>, sqlx::Error> {
    sqlx::query_as("select * from user_tokens where user_id = $1 order by position desc")
        .bind(user_id)
        .fetch_all(connection)
        .await
}

/// The secrets that users have: passwords, recovery codes, factors, and tokens that are not revoked.
pub async fn secrets(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select password_id from users where password_id is not null
         union all select recovery_codes_id from users where recovery_codes_id is not null
         union all select id from user_factors
         union all select id from user_tokens where revoked_at is null",
    )
    .fetch_all(connection)
    .await
}
