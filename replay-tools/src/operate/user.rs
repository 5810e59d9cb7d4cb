//! Users and tokens from the command line: the first operator of a ledger, and tokens for programs, beside a server that
//! runs.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
};

use chrono::{SubsecRound, TimeDelta, Utc};
use daybook_core::{
    Actor, Context,
    domain::{
        CustomerId, Id, Party, UserId,
        function::{Function, Role},
        user::{CredentialChange, MembershipChange, Password, Token, TokenGrant},
    },
    operations::{ChangeCredentials, Invitation, InviteUser, Operation},
    writer::{Command, WriterHandle},
};
use daybook_identity::{
    Access, AccessKind, Hashing, Identity, IdentityOptions, LoginKey, NewLink, PasswordOf, Purpose, Secret,
    SessionOptions, SignUp, TokenOf,
};
use daybook_projections::user;
use uuid::Uuid;

use crate::{
    ToolError,
    ledger::{Ledger, LedgerOptions},
};

/// Look after those who sign in
#[derive(Debug, clap::Subcommand)]
pub enum User {
    /// Make a user, with a password that is typed, or read from standard input if that is no terminal
    Create(Create),
    /// Print a link by which a user chooses a password
    Link(Link),
    /// List who has signed up and waits to be confirmed
    SignUps,
    /// Print the link by which somebody who has signed up confirms the mail address; send it to that address alone
    SignUpLink(SignUpLink),
}

#[derive(Debug, clap::Args)]
pub struct SignUpLink {
    /// The sign-up, as the list names it: sup_…
    id: String,
}

#[derive(Debug, clap::Args)]
pub struct Create {
    /// The name to sign in by
    login: String,
    /// What the person is called
    #[arg(long)]
    name: String,
    #[command(flatten)]
    place: Place,
    /// Print a link by which the person chooses a password, instead of asking for one here
    #[arg(long)]
    invite: bool,
}

#[derive(Debug, clap::Args)]
pub struct Link {
    /// The name to sign in by
    login: String,
}

/// Look after the tokens of programs
#[derive(Debug, clap::Subcommand)]
pub enum Tokens {
    /// Make a token, and print it on standard output; it is not shown again
    Create(CreateToken),
}

#[derive(Debug, clap::Args)]
pub struct CreateToken {
    #[command(flatten)]
    place: Place,
    /// What it is for
    #[arg(long, default_value = "made by the tool")]
    name: String,
    /// The user whose token it is, by the name to sign in by; one is made for it unless told
    #[arg(long)]
    user: Option<String>,
    /// When it ends, in days
    #[arg(long, value_name = "DAYS")]
    expires: Option<u32>,
}

/// Where somebody is a member, and what may be done there.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub struct Place {
    /// With the provider, in a role; may be given several times
    #[arg(long, value_parser = role, conflicts_with = "customer")]
    role: Vec<Role>,
    /// In this customer, as a superuser
    #[arg(long)]
    customer: Option<CustomerId>,
}

fn role(text: &str) -> Result<Role, String> {
    text.parse().map_err(|_| "a role is `staff`, `auditor` or `operator`".to_owned())
}

impl Place {
    fn party(&self) -> Party {
        self.customer.clone().map_or(Party::Provider, Party::Customer)
    }

    fn rights(&self) -> Vec<MembershipChange> {
        let roles = self.role.iter().map(|role| MembershipChange::GrantRole(*role));
        roles.chain(self.customer.iter().map(|_| MembershipChange::GrantSuperuser)).collect()
    }
}

/// What the verbs work on.
struct Desk {
    writer: WriterHandle,
    identity: Identity,
    logins: LoginKey,
}

pub async fn run(options: &LedgerOptions, verb: &User) -> Result<ExitCode, ToolError> {
    at_work(options, async |desk, ledger| match verb {
        User::Create(create) => {
            // Typed before anything is recorded: whoever thinks better of it has changed nothing.
            let password = if create.invite { None } else { Some(typed_password()?) };
            let user = desk.invite(&create.login, &create.name, &create.place).await?;
            match password {
                Some(password) => desk.set_password(&user, &create.login, &create.name, &password).await?,
                None => desk.print_link(&user, Purpose::Invitation).await?,
            }
            eprintln!("{user} signs in as {}", create.login);
            Ok(())
        }
        User::Link(Link { login }) => {
            let mut connection = ledger.store().pool().acquire().await?;
            let known = user::of_login(&mut connection, desk.logins.name(login).as_str()).await?;
            drop(connection);
            let known = known.ok_or_else(|| format!("nobody signs in as `{login}`"))?;
            let purpose = if known.password_id.is_some() { Purpose::PasswordReset } else { Purpose::Invitation };
            desk.log_link(ledger, &known.id).await?;
            desk.print_link(&known.id.parse()?, purpose).await
        }
        User::SignUps => {
            for SignUp { id, mail, name, made_at, expires_at, .. } in
                desk.identity.sign_ups.waiting(None, Utc::now(), 10_000).await?
            {
                let (made_at, expires_at) = (made_at.trunc_subsecs(0), expires_at.trunc_subsecs(0));
                // What was typed may hold what a terminal obeys.
                println!("{id}  {}  {}  {made_at:?}  {expires_at:?}", mail.escape_debug(), name.escape_debug());
            }
            Ok(())
        }
        User::SignUpLink(SignUpLink { id }) => {
            let found = desk.identity.sign_ups.find(id, Utc::now()).await?;
            let found = found.ok_or_else(|| format!("there is no sign-up `{id}` that waits"))?;
            let mut connection = ledger.store().pool().acquire().await?;
            let known = user::of_login(&mut connection, &found.login_name).await?;
            drop(connection);
            if known.is_some() {
                return Err(format!("somebody signs in as {} already", found.mail.escape_debug()).into());
            }
            let line = Access {
                what: Some("daybook user sign-up-link"),
                entity: Some(&found.id),
                ..Access::new(AccessKind::LinkMade)
            };
            desk.identity.access_log.write_all(&[line], Utc::now()).await?;
            let (link, expires_at) = desk.identity.sign_ups.link(&found, Utc::now()).await?;
            println!("{}", link.expose());
            eprintln!("for {}, until {:?}", found.mail.escape_debug(), expires_at.trunc_subsecs(0));
            Ok(())
        }
    })
    .await
}

pub async fn tokens(options: &LedgerOptions, Tokens::Create(create): &Tokens) -> Result<ExitCode, ToolError> {
    at_work(options, async |desk, ledger| {
        let user = match &create.user {
            Some(login) => {
                let mut connection = ledger.store().pool().acquire().await?;
                let known = user::of_login(&mut connection, desk.logins.name(login).as_str()).await?;
                known.ok_or_else(|| format!("nobody signs in as `{login}`"))?.id.parse()?
            }
            // A program signs in by nothing but its token.
            None => desk.invite(&format!("token:{}", Uuid::now_v7()), &create.name, &create.place).await?,
        };
        let (id, now) = (Id::<Token>::from_uuid(Uuid::now_v7()), Utc::now());
        let secret = desk.identity.tokens.make(TokenOf { user: user.as_str(), token: id.as_str() }, now).await?;
        let grant = TokenGrant {
            token: id,
            party: create.place.party(),
            name: create.name.clone(),
            // In the roles that are named, and in no other of its owner's.
            functions: (!create.place.role.is_empty()).then(|| Function::of_roles(&create.place.role)),
            expires_at: create.expires.map(|days| (now + TimeDelta::days(days.into())).trunc_subsecs(6)),
        };
        desk.record(Operation::ChangeCredentials(ChangeCredentials {
            user,
            change: CredentialChange::MakeToken(grant),
        }))
        .await?;
        println!("{}", secret.expose());
        Ok(())
    })
    .await
}

async fn at_work(
    options: &LedgerOptions,
    work: impl AsyncFnOnce(&Desk, &Ledger) -> Result<(), ToolError>,
) -> Result<ExitCode, ToolError> {
    let ledger = Ledger::open(options).await?;
    if let Err(forked) = ledger.refuse_fork(options).await {
        ledger.close().await?;
        return Err(forked);
    }
    let running = ledger.run().await?;
    let desk = Desk {
        writer: running.writer(),
        identity: Identity::new(
            ledger.store(),
            IdentityOptions {
                keys: options.home().to_owned(),
                hashing: Hashing::default(),
                sessions: SessionOptions::default(),
            },
        ),
        logins: LoginKey::of(ledger.store().pool()).await?,
    };
    let done = work(&desk, &ledger).await;
    drop(desk);
    // The rows that every request reads have it when the tool ends.
    running.catch_up_and_stop().await?;
    ledger.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

impl Desk {
    async fn invite(&self, login: &str, name: &str, place: &Place) -> Result<UserId, ToolError> {
        let operation = Operation::InviteUser(InviteUser {
            invitation: Invitation {
                login: login.trim().into(),
                login_name: self.logins.name(login),
                name: name.into(),
            },
            party: place.party(),
            rights: place.rights(),
        });
        let answer = self.record(operation).await?;
        Ok(answer["id"].as_str().ok_or("the ledger names no user")?.parse()?)
    }

    async fn set_password(&self, user: &UserId, login: &str, name: &str, password: &Secret) -> Result<(), ToolError> {
        let id = Id::<Password>::from_uuid(Uuid::now_v7());
        let of = PasswordOf { user: user.as_str(), password: id.as_str() };
        self.identity.passwords.keep(of, password, &[login.to_owned(), name.to_owned()], Utc::now()).await?;
        self.record(Operation::ChangeCredentials(ChangeCredentials {
            user: user.clone(),
            change: CredentialChange::SetPassword { password: id },
        }))
        .await?;
        Ok(())
    }

    async fn print_link(&self, user: &UserId, purpose: Purpose) -> Result<(), ToolError> {
        let link = self.identity.links.make(NewLink { user: user.as_str(), purpose, about: None }, Utc::now()).await?;
        println!("{}", link.expose());
        Ok(())
    }

    /// Each customer of the person sees in the access log that somebody got the means to sign in as the person.
    async fn log_link(&self, ledger: &Ledger, user: &str) -> Result<(), ToolError> {
        let mut connection = ledger.store().pool().acquire().await?;
        let memberships = user::memberships(&mut connection, user).await?;
        drop(connection);
        let customers: Vec<String> = memberships.into_iter().filter_map(|one| one.customer_id).collect();
        let line = Access { what: Some("daybook user link"), entity: Some(user), ..Access::new(AccessKind::LinkMade) };
        let lines: Vec<Access<'_>> =
            customers.iter().map(|customer| Access { customer: Some(customer), ..line }).collect();
        if !lines.is_empty() {
            self.identity.access_log.write_all(&lines, Utc::now()).await?;
        }
        Ok(())
    }

    async fn record(&self, operation: Operation) -> Result<serde_json::Value, ToolError> {
        let context = Context {
            actor: Actor::system("tool"),
            principal: None,
            on_behalf_of: None,
            reason: None,
            correlation_id: Uuid::now_v7(),
            causation_id: None,
            occurred_at: Utc::now().trunc_subsecs(6),
        };
        let command = Command { id: Uuid::now_v7(), operation, context, idempotency: None, expected: None };
        Ok(self.writer.execute(command).await?.answer)
    }
}

/// A password, typed twice without being shown; or a line of standard input, if that is no terminal.
fn typed_password() -> Result<Secret, ToolError> {
    if !io::stdin().is_terminal() {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        return Ok(Secret::new(line.trim_end_matches(['\r', '\n'])));
    }
    let ask = |what: &str| -> Result<String, ToolError> {
        eprint!("{what}: ");
        io::stderr().flush()?;
        Ok(rpassword::read_password()?)
    };
    let password = ask("Password")?;
    if ask("Once more")? != password {
        return Err("the two are not the same; nothing was recorded".into());
    }
    Ok(Secret::new(password))
}
