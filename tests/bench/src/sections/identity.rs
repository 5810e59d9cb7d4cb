//! What it costs that everybody is asked who asks: the same requests with identities and both walls and without, and reads
//! while a storm of sign-ins goes on.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use hyper::StatusCode;
use serde_json::json;
use tokio::{task::JoinSet, time};

use super::{at_least, p99_at_most};
use crate::{
    Bench, Failure,
    daybook::{self, Asking, Ground},
    http::Client,
    load::{Attempt, Caller, Span, closed_loop},
    measure::{Contestant, Run, Section, Unit},
    memory,
};

const CONNECTIONS: usize = 32;

const STAFF: &str = "deposits by staff, by a token";
const STAFF_OPEN: &str = "deposits by staff, without identities";
const PAYER: &str = "payments of a customer, by a token";
const PAYER_OPEN: &str = "payments of a customer, without identities";
const PAGE_OF_STAFF: &str = "a statement for staff, by a token";
const PAGE_OF_CUSTOMER: &str = "a statement for its customer, by a token";
const PAGE_OPEN: &str = "a statement, without identities";
const CALM: &str = "balances, nobody signs in";
const STORM: &str = "balances, 200 sign-ins a second";

/// Sign-ins that begin in a second.
const SIGN_INS: u64 = 200;

pub async fn identity(bench: &Bench) -> Result<Section, Failure> {
    let Bench { server, sizes, .. } = bench;
    let title = format!("with identities and both walls, and without; {CONNECTIONS} connections");
    let mut section = Section::new("identity", title, Unit::PerSecond);
    let (ledger, span) = (bench.ledger().await?, sizes.span);
    let ground = Ground::new(server, ledger).await?;
    let counts = Arc::new(Answered::default());
    let mut contestants = [
        Contestant::new(|| ground.writes(STAFF, Asking::Staff, span)),
        Contestant::new(|| ground.writes(STAFF_OPEN, Asking::OpenStaff, span)),
        Contestant::new(|| ground.writes(PAYER, Asking::Customer, span)),
        Contestant::new(|| ground.writes(PAYER_OPEN, Asking::OpenCustomer, span)),
        Contestant::new(|| pages(PAGE_OF_STAFF, &ground, Asking::Staff, span)),
        Contestant::new(|| pages(PAGE_OF_CUSTOMER, &ground, Asking::Customer, span)),
        Contestant::new(|| pages(PAGE_OPEN, &ground, Asking::OpenStaff, span)),
        Contestant::new(|| balances(CALM, &ground, span)),
        Contestant::new(|| in_a_storm(&ground, span, &counts)),
    ];
    section.measure(sizes.rounds, &mut contestants).await?;
    drop(contestants);
    ground.end(server).await?;
    section.claim(at_least(STAFF, 0.85, STAFF_OPEN))?;
    section.claim(at_least(PAYER, 0.85, PAYER_OPEN))?;
    section.claim(at_least(PAGE_OF_STAFF, 0.8, PAGE_OPEN))?;
    section.claim(at_least(PAGE_OF_CUSTOMER, 0.8, PAGE_OPEN))?;
    section.claim(p99_at_most(STORM, 5.0, CALM))?;
    section.note(counts.to_string());
    section.note("each page of staff adds a line to the access log, durably, before it is answered");
    section.note("the pages are of a short statement: what is asked of identities weighs most there");
    Ok(section)
}

/// The first page of the statement of an account, again and again.
async fn pages(name: &str, ground: &Ground, asking: Asking, span: Span) -> Result<Vec<Run>, Failure> {
    let path = format!("/v1/accounts/{}/statement", ground.account());
    let run = reads(name, ground, asking, &path, CONNECTIONS, span).await?;
    Ok(vec![run])
}

/// The balance of an account by its customer, with few connections: what counts is how long one waits.
async fn balances(name: &str, ground: &Ground, span: Span) -> Result<Vec<Run>, Failure> {
    let path = format!("/v1/accounts/{}/balance", ground.account());
    Ok(vec![reads(name, ground, Asking::Customer, &path, 2, span).await?])
}

async fn reads(
    name: &str,
    ground: &Ground,
    asking: Asking,
    path: &str,
    connections: usize,
    span: Span,
) -> Result<Run, Failure> {
    let mut readers = Vec::new();
    for _ in 0..connections {
        readers.push(Reader { client: ground.client(asking).await?, path: path.to_owned() });
    }
    memory::forget_peak();
    Ok(closed_loop(readers, span).await?.run(name))
}

struct Reader {
    client: Client,
    path: String,
}

impl Caller for Reader {
    fn next(&mut self) {}

    async fn attempt(&mut self) -> Attempt {
        match self.client.get(&self.path).await {
            Ok((StatusCode::OK, _)) => Attempt::Accepted,
            Ok((status, body)) => Attempt::Dropped(format!("{status}: {}", String::from_utf8_lossy(&body))),
            Err(error) => Attempt::Dropped(error.to_string()),
        }
    }
}

/// What sign-ins were answered.
#[derive(Debug, Default)]
struct Answered {
    signed_in: AtomicU64,
    /// 401
    refused: AtomicU64,
    /// 429
    held_up: AtomicU64,
    /// 503
    sent_away: AtomicU64,
    other: AtomicU64,
}

impl Answered {
    fn note(&self, status: Option<StatusCode>) {
        let counter = match status {
            Some(StatusCode::OK) => &self.signed_in,
            Some(StatusCode::UNAUTHORIZED) => &self.refused,
            Some(StatusCode::TOO_MANY_REQUESTS) => &self.held_up,
            Some(StatusCode::SERVICE_UNAVAILABLE) => &self.sent_away,
            _ => &self.other,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl std::fmt::Display for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            f,
            "sign-ins of all storms: {} × 200, {} × 401, {} × 429, {} × 503, {} × something else",
            count(&self.signed_in),
            count(&self.refused),
            count(&self.held_up),
            count(&self.sent_away),
            count(&self.other)
        )
    }
}

/// The same balances while sign-ins begin one after the other, whether those before are answered or not.
async fn in_a_storm(ground: &Ground, span: Span, counts: &Arc<Answered>) -> Result<Vec<Run>, Failure> {
    let goes_on = Arc::new(AtomicBool::new(true));
    let storm = tokio::spawn(storm(ground.address, ground.login.clone(), Arc::clone(&goes_on), Arc::clone(counts)));
    let run = balances(STORM, ground, span).await;
    goes_on.store(false, Ordering::Relaxed);
    storm.await?;
    run
}

async fn storm(address: SocketAddr, login: String, goes_on: Arc<AtomicBool>, counts: Arc<Answered>) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);

    let mut ticks = time::interval(Duration::from_secs(1) / u32::try_from(SIGN_INS).expect("a small number"));
    let mut under_way = JoinSet::new();
    while goes_on.load(Ordering::Relaxed) {
        ticks.tick().await;
        // Every third one knows the password. Each comes from a network of its own, so that it is not held up for others.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let [_, second, third, fourth] = number.to_be_bytes();
        let from = Ipv4Addr::new(127, 64 | second, third, fourth.max(1));
        let password = if number.is_multiple_of(3) { daybook::PASSWORD } else { "not the password of anybody" };
        let login = if number.is_multiple_of(3) { login.clone() } else { format!("nobody{number}@example.org") };
        let body = json!({ "login": login, "password": password }).to_string();
        let counts = Arc::clone(&counts);
        under_way.spawn(async move {
            let answered = async {
                let mut client = Client::connect_from(from, address).await?;
                client.post("/v1/sign-in", "-", body.into()).await
            };
            counts.note(answered.await.ok().map(|(status, _)| status));
        });
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
}
