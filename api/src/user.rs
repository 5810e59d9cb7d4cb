//! Users over HTTP: inviting them, what they may do, and how they are reached.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use daybook_core::{
    domain::{
        self,
        function::{Function, Role},
        user::{Contact, ContactKind, MembershipChange},
    },
    operations::{ChangeMembership, ChangeUser, Invitation, InviteUser, Operation, UserChange},
};
use daybook_identity::{CutOff, Ended};
use daybook_projections::{
    Chosen, Sort,
    engine::Projection,
    factor_reset::{FactorResetRow, FactorResets},
    listing::Listed,
    user::{ContactRow, FactorRow, MembershipRow, Postal, UserRow},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    http::{
        address::Named,
        authentication::{Asker, forbidden},
        error::ApiError,
        listing::{Listing, One, Paging, Question},
        moment::AskedMoment,
        page::Page,
        wire::{AskedText, CustomerRef, Email, Label, Name, Nothing, OneOf, Ref, Sentence, UserRef, WordList, text},
        write::{Made, WriteRequest, Writing, Written},
    },
    identity::factor_reset::FactorResetShown,
    payer::Address,
};

/// Where somebody is a member.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(examples(json!({ "customer": "cus_01JD8Z2Q4Y0000000000000001" }), json!("provider")))]
pub enum Party {
    Provider,
    Customer(CustomerRef),
}

impl From<Party> for domain::Party {
    fn from(party: Party) -> Self {
        match party {
            Party::Provider => Self::Provider,
            Party::Customer(Ref(customer)) => Self::Customer(customer),
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The name to sign in by. Small and capital letters are the same.
    #[schema(example = "ada@example.org")]
    login: Email,
    #[schema(example = "Ada Lovelace")]
    name: Name,
    party: Party,
    /// Whether the person may do all that users of the customer can.
    #[serde(default)]
    superuser: bool,
    /// What the person may do, in a customer.
    #[serde(default)]
    #[schema(max_items = 100)]
    functions: Vec<FunctionName>,
    /// What the person may do, with the provider.
    #[serde(default)]
    #[schema(max_items = 3)]
    roles: Vec<RoleName>,
    reason: Option<Sentence>,
}

/// A role of the provider.
pub type RoleName = OneOf<Role>;

impl WordList for Role {
    const NAME: &'static str = "Role";
}

/// A function, such as `orders.read`.
pub type FunctionName = OneOf<Function>;

impl WordList for Function {
    const NAME: &'static str = "Function";
}

/// Invites a person.
#[utoipa::path(post, path = "/v1/users", request_body = NewUser, responses((status = 201, body = Made)))]
pub async fn invite(State(app): State<App>, Writing { body, request }: Writing<NewUser>) -> Result<Written, ApiError> {
    let NewUser { login, name, party, superuser, functions, roles, reason } = body;
    let mut rights = Vec::new();
    if superuser {
        rights.push(MembershipChange::GrantSuperuser);
    }
    rights.extend(functions.into_iter().map(|function| MembershipChange::GrantFunction(function.word())));
    rights.extend(roles.into_iter().map(|role| MembershipChange::GrantRole(role.word())));
    let operation = Operation::InviteUser(InviteUser {
        invitation: Invitation {
            login: login.0.trim().into(),
            login_name: app.logins().name(&login.0),
            name: name.0.into(),
        },
        party: party.into(),
        rights,
    });
    let named = [("customer-not-found", "/party/customer")];
    app.create("/v1/users", request.command(operation, None, reason)?, &named).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPersonName {
    name: Name,
    reason: Option<Sentence>,
}

/// Changes what a person is called.
#[utoipa::path(post, path = "/v1/users/{id}/rename", request_body = NewPersonName, responses((status = 200, body = Made)))]
pub async fn rename(
    State(app): State<App>,
    Named(user): Named<UserRef>,
    Writing { body: NewPersonName { name, reason }, request }: Writing<NewPersonName>,
) -> Result<Written, ApiError> {
    change(&app, user, UserChange::Rename { name: name.0.into() }, request, reason).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPersonAddress {
    address: Address,
    reason: Option<Sentence>,
}

/// Changes where a person lives.
#[utoipa::path(post, path = "/v1/users/{id}/move", request_body = NewPersonAddress, responses((status = 200, body = Made)))]
pub async fn relocate(
    State(app): State<App>,
    Named(user): Named<UserRef>,
    Writing { body: NewPersonAddress { address, reason }, request }: Writing<NewPersonAddress>,
) -> Result<Written, ApiError> {
    change(&app, user, UserChange::Move { address: address.into() }, request, reason).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewContact {
    contact: ContactOf,
    reason: Option<Sentence>,
}

/// A way to reach a person.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(examples(json!({ "email": "ada@example.org" })))]
pub enum ContactOf {
    Email(Email),
    Telephone(Label),
}

/// Adds a way to reach a person.
#[utoipa::path(post, path = "/v1/users/{id}/contacts", request_body = NewContact, responses((status = 200, body = Made)))]
pub async fn add_contact(
    State(app): State<App>,
    Named(user): Named<UserRef>,
    Writing { body: NewContact { contact, reason }, request }: Writing<NewContact>,
) -> Result<Written, ApiError> {
    let (kind, value) = match contact {
        ContactOf::Email(address) => (ContactKind::Email, address.0),
        ContactOf::Telephone(number) => (ContactKind::Telephone, number.0),
    };
    let contact = Contact { kind, value: value.into() };
    change(&app, user, UserChange::AddContact { contact }, request, reason).await
}

/// Removes a way to reach a person.
#[utoipa::path(delete, path = "/v1/users/{id}/contacts/{number}", responses((status = 200, body = Made)))]
pub async fn remove_contact(
    State(app): State<App>,
    Named(named): Named<(UserRef, u32)>,
    Writing { request, .. }: Writing<Nothing>,
) -> Result<Written, ApiError> {
    let (user, number) = named;
    change(&app, user, UserChange::RemoveContact { number }, request, None).await
}

/// Lets a person sign in again.
#[utoipa::path(post, path = "/v1/users/{id}/enable", request_body = Reasoned, responses((status = 200, body = Made)))]
pub async fn enable(
    State(app): State<App>,
    Named(user): Named<UserRef>,
    Writing { body: Reasoned { reason }, request }: Writing<Reasoned>,
) -> Result<Written, ApiError> {
    change(&app, user, UserChange::Enable, request, reason).await
}

/// Keeps a person from signing in, and ends what the person is signed in to.
#[utoipa::path(post, path = "/v1/users/{id}/disable", request_body = Reasoned, responses((status = 200, body = Made)))]
pub async fn disable(
    State(app): State<App>,
    Named(user): Named<UserRef>,
    Writing { body: Reasoned { reason }, request }: Writing<Reasoned>,
) -> Result<Written, ApiError> {
    let Ref(user) = user;
    let cut_off = CutOff::all(user.as_str(), Ended::UserDisabled);
    let operation = Operation::ChangeUser(ChangeUser { user, change: UserChange::Disable });
    app.change_and(request.command(operation, None, reason)?, &[], cut_off).await
}

/// A body that says only why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reasoned {
    pub reason: Option<Sentence>,
}

async fn change(
    app: &App,
    Ref(user): UserRef,
    change: UserChange,
    request: WriteRequest,
    reason: Option<Sentence>,
) -> Result<Written, ApiError> {
    let operation = Operation::ChangeUser(ChangeUser { user, change });
    app.change(request.command(operation, None, reason)?, &[]).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRight {
    party: Party,
    change: RightChange,
    reason: Option<Sentence>,
}

/// What is changed of a membership.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(examples(json!("give"), json!({ "grant_function": "orders.read" }), json!({ "grant_role": "staff" })))]
pub enum RightChange {
    Give,
    Withdraw,
    GrantSuperuser,
    RevokeSuperuser,
    GrantFunction(FunctionName),
    DenyFunction(FunctionName),
    GrantRole(RoleName),
    RevokeRole(RoleName),
}

/// Gives a membership or takes it away, and changes what the person may do there.
#[utoipa::path(post, path = "/v1/users/{id}/memberships", request_body = NewRight, responses((status = 200, body = Made)))]
pub async fn change_membership(
    State(app): State<App>,
    Named(Ref(user)): Named<UserRef>,
    Writing { body: NewRight { party, change, reason }, request }: Writing<NewRight>,
) -> Result<Written, ApiError> {
    let change = match change {
        RightChange::Give => MembershipChange::Give,
        RightChange::Withdraw => MembershipChange::Withdraw,
        RightChange::GrantSuperuser => MembershipChange::GrantSuperuser,
        RightChange::RevokeSuperuser => MembershipChange::RevokeSuperuser,
        RightChange::GrantFunction(function) => MembershipChange::GrantFunction(function.word()),
        RightChange::DenyFunction(function) => MembershipChange::DenyFunction(function.word()),
        RightChange::GrantRole(role) => MembershipChange::GrantRole(role.word()),
        RightChange::RevokeRole(role) => MembershipChange::RevokeRole(role.word()),
    };
    let cut_off = CutOff::links(user.as_str());
    let operation = Operation::ChangeMembership(ChangeMembership { user, party: party.into(), change });
    let command = request.command(operation, None, reason)?;
    app.change_and(command, &[("customer-not-found", "/party/customer")], cut_off).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UserQuery {
    /// The members of this customer.
    customer: Option<CustomerRef>,
    enabled: Option<bool>,
    /// What the name contains, in upper or lower case.
    #[param(inline)]
    name: Option<AskedText>,
}

impl Question for UserQuery {
    type Row = UserRow;
    type Shown = UserShown;

    const SORTS: &'static [Sort] =
        &[Sort::text("login"), Sort::text("name"), Sort::truth("enabled"), Sort::moment("invited_at")];
    const UNINDEXED: &'static [&'static str] = &["enabled", "name"];

    fn chosen(self) -> Result<Chosen, ApiError> {
        let Self { customer, enabled, name } = self;
        let chosen = Chosen::default().now("enabled", enabled).containing("name", name.map(String::from));
        let Some(customer) = customer else { return Ok(chosen) };
        let pieces = ["exists (select from memberships m where m.user_id = users.id and m.customer_id = ", ")"];
        Ok(chosen.now_where(pieces.into(), vec![text(customer).into()]))
    }
}

/// A person who signs in.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserShown {
    id: String,
    login: String,
    name: String,
    enabled: bool,
    /// Whether the person has chosen a password.
    has_password: bool,
    #[schema(value_type = Option<Address>)]
    address: Option<Postal>,
    invited_at: DateTime<Utc>,
    /// Of the event that invited the person.
    position: i64,
    /// In a listing they are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    memberships: Option<Vec<MembershipShown>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contacts: Option<Vec<ContactShown>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    factors: Option<Vec<FactorShown>>,
    /// That the factors are about to be taken off.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    factor_reset: Option<FactorResetShown>,
}

/// Where a person is a member, and what the person may do there.
#[derive(Debug, Serialize, ToSchema)]
pub struct MembershipShown {
    /// `provider`, or the identifier of the customer.
    pub party: String,
    pub superuser: bool,
    /// Those that were granted one by one.
    #[schema(value_type = Vec<FunctionName>)]
    pub functions: Vec<&'static str>,
    #[schema(value_type = Vec<RoleName>)]
    pub roles: Vec<&'static str>,
    /// All that the person may do there.
    #[schema(value_type = Vec<FunctionName>)]
    pub allowed: Vec<&'static str>,
    pub given_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ContactShown {
    number: i32,
    /// `email` or `telephone`.
    kind: &'static str,
    value: String,
    added_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct FactorShown {
    id: String,
    /// `totp`.
    kind: &'static str,
    added_at: DateTime<Utc>,
}

impl From<UserRow> for UserShown {
    fn from(row: UserRow) -> Self {
        Self {
            id: row.id,
            login: row.login,
            name: row.name,
            enabled: row.enabled,
            has_password: row.password_id.is_some(),
            address: row.address.map(|address| address.0),
            invited_at: row.invited_at,
            position: row.position,
            memberships: None,
            contacts: None,
            factors: None,
            factor_reset: None,
        }
    }
}

impl From<MembershipRow> for MembershipShown {
    fn from(row: MembershipRow) -> Self {
        Self {
            allowed: row.allowed().into_iter().map(Function::name).collect(),
            party: row.party,
            superuser: row.superuser,
            functions: row.functions.0.into_iter().map(Function::name).collect(),
            roles: row.roles.0.into_iter().map(Into::into).collect(),
            given_at: row.given_at,
        }
    }
}

impl From<ContactRow> for ContactShown {
    fn from(row: ContactRow) -> Self {
        Self { number: row.number, kind: row.kind.as_str(), value: row.value, added_at: row.added_at }
    }
}

impl From<FactorRow> for FactorShown {
    fn from(row: FactorRow) -> Self {
        Self { id: row.id, kind: row.kind.as_str(), added_at: row.added_at }
    }
}

/// Users, the newest first.
#[utoipa::path(get, path = "/v1/users", params(UserQuery, Paging, AskedMoment), responses((status = 200, body = Page<UserShown>)))]
pub async fn list(State(app): State<App>, asked: Listing<UserQuery>) -> Result<Response, ApiError> {
    app.list(asked).await
}

/// One user, with memberships, contacts, factors, and a reset of the factors that waits. Everybody may see himself or herself.
#[utoipa::path(get, path = "/v1/users/{id}", params(AskedMoment), responses((status = 200, body = UserShown)))]
pub async fn show(
    State(app): State<App>,
    Asker(asker): Asker,
    Named(Ref(id)): Named<UserRef>,
    asked: One<UserQuery>,
) -> Result<Response, ApiError> {
    let is_own = asker.principal.as_ref().is_some_and(|principal| principal.user == id);
    if !is_own && !asker.may(Function::UsersRead) {
        return Err(forbidden(Function::UsersRead));
    }
    let at = app.time_at(asked.asking.moment).await?;
    // A reset lies in a table of another projection.
    let mut rows = app.read_at(&[UserRow::PROJECTION, FactorResets::NAME], asked.asking.clone()).await?;
    for projection in [UserRow::PROJECTION, FactorResets::NAME] {
        rows.bring_back(projection, &[id.to_string()]).await?;
    }
    let found = rows.get::<UserRow>(id.as_str()).await?;
    let memberships = rows.belonging::<MembershipRow>(id.as_str()).await?;
    let contacts = rows.belonging::<ContactRow>(id.as_str()).await?;
    let factors = rows.belonging::<FactorRow>(id.as_str()).await?;
    let resets = rows.belonging::<FactorResetRow>(id.as_str()).await?;
    app.show(
        asked,
        rows,
        UserShown {
            memberships: Some(memberships.into_iter().map(Into::into).collect()),
            contacts: Some(contacts.into_iter().map(Into::into).collect()),
            factors: Some(factors.into_iter().map(Into::into).collect()),
            factor_reset: resets.into_iter().find(|reset| reset.is_waiting(at)).map(Into::into),
            ..found.into()
        },
    )
    .await
}
