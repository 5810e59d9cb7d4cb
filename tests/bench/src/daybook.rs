//! Daybook as a contestant: its writer in this process, with and without its projections, or its whole API over HTTP.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
    serve::ListenerExt as _,
};
use chrono::{SubsecRound, Utc};
use daybook_api::{
    App, AppOptions, Authenticated, ConnectionOptions, Hosts, Running, authenticated, routes_of, with_layers,
};
use daybook_core::{
    Actor, Context,
    domain::{
        AccountId, CustomerId, Id, Money, Party, UserId,
        function::Role,
        user::{CredentialChange, MembershipChange, Password, Token, TokenGrant},
    },
    operations::{
        AccountOpening, AdjustAccount, Answer, ChangeCredentials, Invitation, InviteUser, Operation, Registration,
    },
    store::{MasterKey, Store, StoreOptions},
    writer::{Command, ExecuteError, Failure as WriterFailure, Idempotency, Writer, WriterHandle, WriterOptions},
};
use daybook_identity::{PasswordOf, Secret, TokenOf};
use daybook_projections::BOARD;
use futures::{StreamExt, TryStreamExt, stream};
use hyper::{StatusCode, body::Bytes};
use serde_json::json;
use sqlx::Connection as _;
use tokio::{net::TcpListener, task::JoinHandle, time};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Failure,
    cluster::Server,
    http::Client,
    load::{Attempt, Caller, DESCRIPTION, Deposits, REASON, Span, closed_loop},
    measure::Run,
    memory,
};

/// How long the projections may take to follow what was recorded.
const PATIENCE: Duration = Duration::from_secs(600);

/// A ledger with accounts and nothing on them, to be copied for each run.
#[derive(Debug)]
pub struct Ledger {
    pub template: String,
    pub accounts: Arc<[AccountId]>,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Play<'a> {
    pub name: &'a str,
    /// The deposits go to the first so many.
    pub accounts: usize,
    pub callers: usize,
    pub keys: Keys,
    pub span: Span,
}

/// Whether commands carry an idempotency key. Over HTTP they must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    With,
    Without,
}

/// The name of what includes the time that the projections need to come to the end of the book.
pub fn caught_up(name: &str) -> String {
    format!("{name}, until caught up")
}

impl Ledger {
    pub async fn prepare(server: &Server, accounts: usize) -> Result<Self, Failure> {
        let template = server.fresh(None).await?;
        Store::migrate(&server.options(&template)?).await?;
        let running = start(server, &template).await?;
        let opened = stream::iter(0..accounts).map(|number| open_account(running.app().writer(), number));
        let accounts: Vec<AccountId> = opened.buffered(256).try_collect().await?;
        follow(&running).await?;
        running.shutdown().await;
        server.seal(&template).await?;
        Ok(Self { template, accounts: accounts.into() })
    }
}

async fn open_account(writer: &WriterHandle, number: usize) -> Result<AccountId, Failure> {
    let register = Registration { name: format!("customer {number}").into(), email: None };
    let customer = writer.execute(command(Operation::RegisterCustomer(register), None)).await?;
    let customer: CustomerId = id(&customer.answer)?;
    let currency = Money::parse("0", "USD")?.currency();
    let open = AccountOpening { customer, currency, name: "the account".into(), time_zone: "UTC".into() };
    let account = writer.execute(command(Operation::OpenAccount(open), None)).await?;
    id(&account.answer)
}

fn id<I: std::str::FromStr>(answer: &Answer) -> Result<I, Failure> {
    let id = answer["id"].as_str().and_then(|id| id.parse().ok());
    id.ok_or_else(|| format!("{answer} has no such identifier").into())
}

/// The ledger as the server runs it, and looks at its rows now and then.
async fn start(server: &Server, database: &str) -> Result<Running, Failure> {
    let options = AppOptions { watch: Some(Duration::from_secs(1)), ..AppOptions::default() };
    Ok(App::start(store(server, database).await?, options).await?)
}

/// The same where rows are missing on purpose, so that nobody looks at them.
pub async fn start_unwatched(server: &Server, database: &str) -> Result<Running, Failure> {
    let options = AppOptions { watch: None, ..AppOptions::default() };
    Ok(App::start(store(server, database).await?, options).await?)
}

pub async fn store(server: &Server, database: &str) -> Result<Store, Failure> {
    let master_key = Some(MasterKey::of_bytes(*b"the master key of the benchmark."));
    let options = StoreOptions { max_connections: 20, master_key, ..StoreOptions::default() };
    Ok(Store::connect(server.logins(database), options).await?)
}

/// Waits until all projections are at the end of the book.
async fn follow(running: &Running) -> Result<(), Failure> {
    let head = running.app().store().head().await?.position;
    for definition in BOARD {
        running.app().reader().wait_for(definition.name, head, PATIENCE).await?;
    }
    Ok(())
}

/// Waits until the tree of the transparency log has all events.
pub async fn logged(running: &Running) -> Result<(), Failure> {
    let head = running.app().store().head().await?.position;
    let mut kept = running.keeper().kept();
    time::timeout(PATIENCE, kept.wait_for(|kept| kept.size >= head)).await??;
    Ok(())
}

/// Deposits in this process, all projections on. Tells the commands per second, and those per second until all
/// projections are at the end of the book.
pub async fn with_projections(server: &Server, ledger: &Ledger, play: Play<'_>) -> Result<Vec<Run>, Failure> {
    let database = server.fresh(Some(&ledger.template)).await?;
    let running = start(server, &database).await?;
    memory::forget_peak();
    let load = closed_loop(callers(running.app().writer(), &ledger.accounts, play), play.span).await?;
    follow(&running).await?;
    let elapsed = load.begun.elapsed();
    let answered = load.run(play.name);
    let figure = load.accepted_in_all as f64 / elapsed.as_secs_f64();
    let followed = Run { name: caught_up(play.name), figure, latency: None, ..answered.clone() };
    running.shutdown().await;
    server.drop(&database).await?;
    Ok(vec![answered, followed])
}

/// What a database takes on the disk, and how much has been written ahead of it, in bytes.
#[derive(sqlx::FromRow)]
struct Written {
    events: i64,
    rows: i64,
    indexes: i64,
    log: i64,
}

impl Written {
    async fn of(server: &Server, database: &str) -> Result<Self, Failure> {
        let mut connection = server.connection(database).await?;
        let written = sqlx::query_as(
            "select sum(pg_table_size(oid)) filter (where relname = 'events')::bigint as events,
                 sum(pg_table_size(oid)) filter (where relname <> 'events')::bigint as rows,
                 sum(pg_indexes_size(oid))::bigint as indexes,
                 (pg_current_wal_insert_lsn() - '0/0')::bigint as log
             from pg_class
             where relkind = 'r' and relnamespace = 'public'::regnamespace",
        )
        .fetch_one(&mut connection)
        .await?;
        connection.close().await?;
        Ok(written)
    }
}

/// What a deposit adds to the disk once all projections have it: events, other rows, indexes, and the write-ahead log.
pub async fn bytes(server: &Server, ledger: &Ledger, play: Play<'_>) -> Result<Vec<Run>, Failure> {
    let database = server.fresh(Some(&ledger.template)).await?;
    let running = start(server, &database).await?;
    let before = Written::of(server, &database).await?;
    let load = closed_loop(callers(running.app().writer(), &ledger.accounts, play), play.span).await?;
    follow(&running).await?;
    running.shutdown().await;
    let after = Written::of(server, &database).await?;
    let each = |name: &str, bytes: i64| Run {
        name: name.into(),
        figure: bytes as f64 / load.accepted_in_all as f64,
        counts: None,
        latency: None,
        peak_memory: None,
    };
    server.drop(&database).await?;
    let kept = |written: &Written| written.events + written.rows + written.indexes;
    Ok(vec![
        each(play.name, kept(&after) - kept(&before)),
        each("of these, events", after.events - before.events),
        each("of these, rows of projections", after.rows - before.rows),
        each("of these, indexes", after.indexes - before.indexes),
        each("write-ahead log", after.log - before.log),
    ])
}

/// Deposits in this process, no projections: what the writer does by itself.
pub async fn append_only(server: &Server, ledger: &Ledger, play: Play<'_>) -> Result<Vec<Run>, Failure> {
    let database = server.fresh(Some(&ledger.template)).await?;
    let run = append_to(server, &database, &ledger.accounts, play).await?;
    server.drop(&database).await?;
    Ok(vec![run])
}

/// The same on a ledger that is there.
pub async fn append_to(
    server: &Server,
    database: &str,
    accounts: &Arc<[AccountId]>,
    play: Play<'_>,
) -> Result<Run, Failure> {
    let store = store(server, database).await?;
    let (handle, writer) = Writer::start(store.clone(), WriterOptions::default());
    memory::forget_peak();
    let load = closed_loop(callers(&handle, accounts, play), play.span).await?;
    let run = load.run(play.name);
    drop(handle);
    writer.shutdown().await;
    store.close().await;
    Ok(run)
}

/// Deposits through HTTP, all projections on.
pub async fn over_http(server: &Server, ledger: &Ledger, play: Play<'_>) -> Result<Vec<Run>, Failure> {
    let database = server.fresh(Some(&ledger.template)).await?;
    let running = start(server, &database).await?;
    let token = staff_token(&running).await?;
    let (address, serving) = serve(daybook_panel::router(running.app().clone())).await?;
    let mut callers = Vec::new();
    for number in 0..play.callers {
        let (client, deposits) =
            (Client::connect(address).await?.showing(&token)?, Deposits::of(number, play.accounts));
        let accounts = Arc::clone(&ledger.accounts);
        callers.push(Customer {
            client,
            accounts,
            deposits,
            starts: false,
            path: String::new(),
            key: String::new(),
            body: Bytes::new(),
        });
    }
    memory::forget_peak();
    let run = closed_loop(callers, play.span).await?.run(play.name);
    serving.abort();
    running.shutdown().await;
    server.drop(&database).await?;
    Ok(vec![run])
}

/// A token of the provider's staff.
pub async fn staff_token(running: &Running) -> Result<String, Failure> {
    let user = user(running, "bench", Party::Provider, MembershipChange::GrantRole(Role::Staff)).await?;
    token(running, user, Party::Provider).await
}

async fn user(running: &Running, login: &str, party: Party, right: MembershipChange) -> Result<UserId, Failure> {
    let app = running.app();
    let invitation =
        Invitation { login: login.into(), login_name: app.logins().name(login), name: "the benchmark".into() };
    let invite = InviteUser { invitation, party, rights: vec![right] };
    let done = app.writer().execute(command(Operation::InviteUser(invite), None)).await?;
    id(&done.answer)
}

async fn token(running: &Running, user: UserId, party: Party) -> Result<String, Failure> {
    let app = running.app();
    let token = Id::<Token>::from_uuid(Uuid::now_v7());
    let of = TokenOf { user: user.as_str(), token: token.as_str() };
    let secret = app.identity().tokens.make(of, app.clock().now()).await?;
    let name = "the benchmark".into();
    let change = CredentialChange::MakeToken(TokenGrant { token, party, name, functions: None, expires_at: None });
    let operation = Operation::ChangeCredentials(ChangeCredentials { user, change });
    let done = app.writer().execute(command(operation, None)).await?;
    app.rights_are_known(done.position).await.map_err(|error| error.detail().to_owned())?;
    Ok(secret.expose().to_owned())
}

/// A good password.
pub const PASSWORD: &str = "ferrous lantern 41 drizzle";

/// A ledger with people, served to those who show who they are and, at another address, to everybody: there a request comes
/// from a program of the ledger's own, as in the tests.
pub struct Ground {
    database: String,
    running: Running,
    /// Where it is asked who asks.
    pub address: SocketAddr,
    open: SocketAddr,
    serving: Vec<JoinHandle<()>>,
    stop: CancellationToken,
    accounts: Arc<[AccountId]>,
    staff: String,
    /// Of the customer whose the first account is.
    customer: String,
    /// Who signs in by the password.
    pub login: String,
}

/// Who asks, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    Staff,
    Customer,
    OpenStaff,
    OpenCustomer,
}

impl Ground {
    pub async fn new(server: &Server, ledger: &Ledger) -> Result<Self, Failure> {
        let database = server.fresh(Some(&ledger.template)).await?;
        let running = start(server, &database).await?;
        let staff = staff_token(&running).await?;
        let account = &ledger.accounts[0];
        let mut connection = server.connection(&database).await?;
        let customer: String = sqlx::query_scalar("select customer_id from accounts where id = $1")
            .bind(account.as_str())
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        let party = Party::Customer(customer.parse()?);
        let login = "customer@example.org".to_owned();
        let person = user(&running, &login, party.clone(), MembershipChange::GrantSuperuser).await?;
        let password = Id::<Password>::from_uuid(Uuid::now_v7());
        let of = PasswordOf { user: person.as_str(), password: password.as_str() };
        let (identity, now) = (running.app().identity(), running.app().clock().now());
        identity.passwords.keep(of, &Secret::new(PASSWORD), &[], now).await?;
        let change = CredentialChange::SetPassword { password };
        let operation = Operation::ChangeCredentials(ChangeCredentials { user: person.clone(), change });
        running.app().writer().execute(command(operation, None)).await?;
        let customer = token(&running, person, party).await?;
        for _ in 0..20 {
            deposit(running.app().writer(), account, 1_000).await?;
        }
        follow(&running).await?;
        let stop = CancellationToken::new();
        let (address, guarded) = serve_as_the_server(daybook_panel::router(running.app().clone()), &stop).await?;
        let (open, unguarded) = serve_as_the_server(open_router(&running), &stop).await?;
        let (serving, accounts) = (vec![guarded, unguarded], Arc::clone(&ledger.accounts));
        Ok(Self { database, running, address, open, serving, stop, accounts, staff, customer, login })
    }

    /// The account whose customer asks.
    pub fn account(&self) -> &str {
        self.accounts[0].as_str()
    }

    pub async fn client(&self, asking: Asking) -> Result<Client, Failure> {
        match asking {
            Asking::Staff => Client::connect(self.address).await?.showing(&self.staff),
            Asking::Customer => Client::connect(self.address).await?.showing(&self.customer),
            Asking::OpenStaff | Asking::OpenCustomer => Client::connect(self.open).await,
        }
    }

    /// Staff deposit on all accounts; a customer starts payments on the own one.
    pub async fn writes(&self, name: &str, asking: Asking, span: Span) -> Result<Vec<Run>, Failure> {
        let starts = matches!(asking, Asking::Customer | Asking::OpenCustomer);
        let mut callers = Vec::new();
        for number in 0..32 {
            let accounts = if starts { self.accounts[..1].into() } else { Arc::clone(&self.accounts) };
            callers.push(Customer {
                client: self.client(asking).await?,
                deposits: Deposits::of(number, accounts.len()),
                accounts,
                starts,
                path: String::new(),
                key: String::new(),
                body: Bytes::new(),
            });
        }
        memory::forget_peak();
        let run = closed_loop(callers, span).await?.run(name);
        follow(&self.running).await?;
        Ok(vec![run])
    }

    pub async fn end(self, server: &Server) -> Result<(), Failure> {
        self.stop.cancel();
        for serving in self.serving {
            serving.abort();
        }
        self.running.shutdown().await;
        server.drop(&self.database).await
    }
}

/// Everything that an application answers, to a program of the ledger's own.
pub fn open_router(running: &Running) -> Router {
    async fn as_a_program(mut request: Request, next: Next) -> Response {
        request.extensions_mut().insert(Arc::new(Authenticated::program(Actor::system("bench"))));
        next.run(request).await
    }
    let app = running.app().clone();
    let routes = routes_of(app.clone()).layer(from_fn(as_a_program));
    with_layers(authenticated(routes, app), Hosts::default())
}

/// Serves with what the server has around its connections: it knows from where somebody asks.
async fn serve_as_the_server(
    router: Router,
    stop: &CancellationToken,
) -> Result<(SocketAddr, JoinHandle<()>), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let options = ConnectionOptions { limit: 4_000, ..ConnectionOptions::default() };
    Ok((address, tokio::spawn(daybook_api::serve(listener, router, options, stop.clone()))))
}

/// Serves on a port of its own, in this process.
pub async fn serve(router: Router) -> Result<(SocketAddr, JoinHandle<()>), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // As the server does.
    let listener = listener.tap_io(|stream| _ = stream.set_nodelay(true));
    let serving = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            eprintln!("the server in this process ended: {error}");
        }
    });
    Ok((address, serving))
}

fn callers(writer: &WriterHandle, accounts: &Arc<[AccountId]>, play: Play<'_>) -> Vec<Depositor> {
    let depositor = |number| Depositor {
        writer: writer.clone(),
        accounts: Arc::clone(accounts),
        deposits: Deposits::of(number, play.accounts),
        keys: play.keys,
        asked: None,
    };
    (0..play.callers).map(depositor).collect()
}

/// A caller in this process.
pub struct Depositor {
    writer: WriterHandle,
    accounts: Arc<[AccountId]>,
    deposits: Deposits,
    keys: Keys,
    asked: Option<Command>,
}

impl Caller for Depositor {
    fn next(&mut self) {
        let deposit = self.deposits.draw();
        let operation = adjust(&self.accounts[deposit.account], deposit.cents);
        let idempotency = (self.keys == Keys::With).then(|| Idempotency {
            scope: "bench".into(),
            key: Uuid::now_v7().to_string(),
            fingerprint: [0; 32],
        });
        self.asked = Some(command(operation, idempotency));
    }

    async fn attempt(&mut self) -> Attempt {
        let command = self.asked.clone().expect("what to ask for is decided first");
        match self.writer.execute(command).await {
            Ok(_) => Attempt::Accepted,
            Err(ExecuteError::Failed(WriterFailure::Overloaded | WriterFailure::DeadlinePassed)) => Attempt::Refused,
            Err(error) => Attempt::Dropped(error.to_string()),
        }
    }
}

/// One deposit, by whoever waits for it.
pub async fn deposit(writer: &WriterHandle, account: &AccountId, cents: i64) -> Result<(), Failure> {
    writer.execute(command(adjust(account, cents), None)).await?;
    Ok(())
}

fn adjust(account: &AccountId, cents: i64) -> Operation {
    let amount = Money::parse(&amount(cents), "USD").expect("cents make dollars");
    Operation::AdjustAccount(AdjustAccount { account: account.clone(), amount, description: DESCRIPTION.into() })
}

fn amount(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn command(operation: Operation, idempotency: Option<Idempotency>) -> Command {
    let context = Context {
        actor: Actor::system("bench"),
        principal: None,
        on_behalf_of: None,
        reason: Some(REASON.into()),
        correlation_id: Uuid::now_v7(),
        causation_id: None,
        occurred_at: Utc::now().trunc_subsecs(6),
    };
    Command { id: Uuid::now_v7(), operation, context, idempotency, expected: None }
}

/// A caller on the other side of HTTP.
struct Customer {
    client: Client,
    accounts: Arc<[AccountId]>,
    deposits: Deposits,
    /// Whether payments are started, and not deposits made.
    starts: bool,
    path: String,
    key: String,
    body: Bytes,
}

impl Caller for Customer {
    fn next(&mut self) {
        let deposit = self.deposits.draw();
        let account = self.accounts[deposit.account].as_str();
        self.key = Uuid::now_v7().to_string();
        (self.path, self.body) = match self.starts {
            true => ("/v1/payments".into(), payment(account, deposit.cents)),
            false => (adjustments(account), adjustment(deposit.cents)),
        };
    }

    async fn attempt(&mut self) -> Attempt {
        match self.client.post(&self.path, &self.key, self.body.clone()).await {
            Ok((StatusCode::CREATED, _)) => Attempt::Accepted,
            Ok((StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS, _)) => Attempt::Refused,
            Ok((status, body)) => Attempt::Dropped(format!("{status}: {}", String::from_utf8_lossy(&body))),
            Err(error) => Attempt::Dropped(error.to_string()),
        }
    }
}

/// Where deposits to this account are posted.
pub fn adjustments(account: &str) -> String {
    format!("/v1/accounts/{account}/adjustments")
}

/// The body of a deposit.
pub fn adjustment(cents: i64) -> Bytes {
    let amount = json!({ "amount": amount(cents), "currency": "USD" });
    json!({ "amount": amount, "description": DESCRIPTION, "reason": REASON }).to_string().into()
}

/// The body by which a customer starts a payment.
fn payment(account: &str, cents: i64) -> Bytes {
    let amount = json!({ "amount": amount(cents), "currency": "USD" });
    json!({ "account": account, "amount": amount, "method": "card" }).to_string().into()
}
