//! The users of a demonstration: one of each kind, who sign in by a link that the server prints at its start.
//!
//! Only in a ledger whose first event says that it is a demonstration, and where the program says that links are taken: the
//! server does so while it is reached from this machine alone, and in a database of the user's own only if it is asked to.

use axum::{
    Form,
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
};
use daybook_core::{
    Actor, Context, Metadata,
    domain::{
        CustomerId, Party,
        function::{Function, Role},
        user::MembershipChange,
    },
    operations::{Invitation, InviteUser, Operation},
    store::read_events,
    writer::Command,
};
use daybook_identity::{AccessKind, Level, NewLink, NewSession, Purpose, Secret};
use daybook_projections::{customer, user};
use serde::Deserialize;
use uuid::Uuid;

use super::{cookie, log};
use crate::{
    app::App,
    http::{authentication::Client, error::ApiError},
};

/// A user of the demonstration.
#[derive(Debug)]
pub struct Guest {
    /// Such as `staff`.
    pub kind: &'static str,
    /// The query of the address at which the link is used.
    pub link: String,
}

/// What an accountant sees: documents and money, and no tickets.
const ACCOUNTANT: [Function; 8] = [
    Function::AccountsRead,
    Function::CreditNotesRead,
    Function::CustomersRead,
    Function::DiscountsRead,
    Function::ExpensesRead,
    Function::InvoicesRead,
    Function::PayersRead,
    Function::PaymentsRead,
];

/// Who signs in to a demonstration: nobody, if the ledger is none. Each call makes new links.
pub async fn guests(app: &App) -> Result<Vec<Guest>, ApiError> {
    if !app.takes_links() || !is_demonstration(app).await? {
        return Ok(Vec::new());
    }
    let mut connection = app.store().pool().acquire().await?;
    let Some(first) = customer::first(&mut connection).await? else { return Ok(Vec::new()) };
    drop(connection);
    let unreadable = |_| ApiError::new("internal", "an identifier of the ledger cannot be read");
    let customer: CustomerId = first.parse().map_err(unreadable)?;
    let of_customer = || Party::Customer(customer.clone());
    let kinds = [
        ("customer", of_customer(), vec![MembershipChange::GrantSuperuser]),
        ("accountant", of_customer(), ACCOUNTANT.map(MembershipChange::GrantFunction).to_vec()),
        ("staff", Party::Provider, vec![MembershipChange::GrantRole(Role::Staff)]),
        ("auditor", Party::Provider, vec![MembershipChange::GrantRole(Role::Auditor)]),
        ("operator", Party::Provider, vec![MembershipChange::GrantRole(Role::Operator)]),
    ];
    let mut guests = Vec::new();
    for (kind, party, rights) in kinds {
        let user = known(app, kind, party, rights).await?;
        let new = NewLink { user: &user, purpose: Purpose::SignIn, about: None };
        let link = app.identity().links.make(new, app.clock().now()).await?;
        guests.push(Guest { kind, link: format!("/sign-in?link={}", link.expose()) });
    }
    Ok(guests)
}

async fn is_demonstration(app: &App) -> Result<bool, ApiError> {
    let first = read_events(app.store().pool(), 0, 1).await?;
    let actor = first.first().and_then(|event| Metadata::read(&event.metadata).actor);
    Ok(actor == Some(Actor::system("demonstration")))
}

/// The user of this kind, invited if there is none yet.
async fn known(app: &App, kind: &str, party: Party, rights: Vec<MembershipChange>) -> Result<String, ApiError> {
    let login = format!("{kind}@demonstration.example");
    let login_name = app.logins().name(&login);
    let mut connection = app.store().pool().acquire().await?;
    if let Some(user) = user::of_login(&mut connection, login_name.as_str()).await? {
        return Ok(user.id);
    }
    drop(connection);
    let invitation = Invitation { login: login.into(), login_name, name: format!("The {kind}").into() };
    let now = app.clock().now();
    let command = Command {
        id: Uuid::now_v7(),
        operation: Operation::InviteUser(InviteUser { invitation, party, rights }),
        context: Context {
            actor: Actor::system("demonstration"),
            principal: None,
            on_behalf_of: None,
            reason: None,
            correlation_id: Uuid::now_v7(),
            causation_id: None,
            occurred_at: chrono::SubsecRound::trunc_subsecs(now, 6),
        },
        idempotency: None,
        expected: None,
    };
    let done = app.writer().execute(command).await.map_err(|error| ApiError::of_command(error, &[]))?;
    app.rights_are_known(done.position).await?;
    Ok(done.answer["id"].as_str().unwrap_or_default().to_owned())
}

/// A link of an earlier start is worth nothing at a server that takes none.
fn taken(app: &App) -> Result<(), ApiError> {
    let detail = "this server takes no links of a demonstration: sign in by a password";
    if app.takes_links() { Ok(()) } else { Err(ApiError::new("link-used", detail)) }
}

#[derive(Deserialize)]
pub struct Linked {
    link: String,
}

/// Uses a link up, and begins a session.
pub async fn use_link(
    State(app): State<App>,
    client: Client,
    Form(Linked { link }): Form<Linked>,
) -> Result<Response, ApiError> {
    taken(&app)?;
    let now = app.clock().now();
    let found = app.identity().links.redeem(&Secret::new(link), Purpose::SignIn, now).await?;
    let found = found.ok_or_else(|| ApiError::new("link-used", "the link was used, has expired, or is none"))?;
    let new = NewSession {
        user: &found.user,
        membership: None,
        // These users have no password: the link stands for all that could be shown.
        level: Level::SecondFactor,
        address: client.address,
        agent: client.agent.as_deref(),
    };
    let (session, secret) = app.identity().sessions.begin(new, now).await?;
    // Nor have they anything to show once more.
    let secret = app.identity().sessions.step_up(&Secret::new(secret.expose()), now).await?.unwrap_or(secret);
    log(&app, &client, AccessKind::SignedIn, &found.user, Some(&session.id)).await?;
    let mut response = (private(), Redirect::to("/")).into_response();
    response.headers_mut().append(header::SET_COOKIE, cookie(&app, &secret));
    Ok(response)
}

/// No other page learns of the link, and nothing keeps it.
fn private() -> [(HeaderName, HeaderValue); 2] {
    [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ]
}
