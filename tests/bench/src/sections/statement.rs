//! The beginning of a very long statement over HTTP, against a bare handler around one SELECT.

use std::net::SocketAddr;

use hyper::StatusCode;
use serde_json::Value;

use super::{DAYBOOK, at_least, p99_at_most};
use crate::{
    Bench, Failure,
    books::Book,
    daybook,
    http::Client,
    limits,
    load::{Attempt, Caller, Span, closed_loop},
    measure::{Contestant, Run, Section, Unit},
    memory,
};

/// So many entries took effect on each day of the book; the first day is the first page.
const LINES: i64 = 100;
const SECONDS: i64 = 86_400 / LINES;
const CONNECTIONS: usize = 32;

pub async fn statement(bench: &Bench) -> Result<Section, Failure> {
    let Bench { server, sizes, .. } = bench;
    let lines = sizes.lines;
    let title = format!("the first {LINES} lines of a statement of {lines}, {CONNECTIONS} connections");
    let mut section = Section::new("statement", title, Unit::PerSecond);

    let database = Book { accounts: 1, events_each: lines + 1, seconds: SECONDS }.with_statements(server).await?;

    let account = Book::account(0)?;
    let running = daybook::start_unwatched(server, &database).await?;
    let token = daybook::staff_token(&running).await?;
    let (ours, serving) = daybook::serve(daybook_panel::router(running.app().clone())).await?;
    let pool = server.pool(&database, 20).await?;
    let (theirs, serving_bare) =
        daybook::serve(limits::bare_select(pool.clone(), account.as_str().to_owned(), LINES)).await?;
    let our_page = format!("/v1/accounts/{}/statement?to=1990-01-02", account.as_str());
    let (their_page, bare) = ("/lines", "limit: axum + one SELECT");
    // A server has done that as the book grew.
    daybook::logged(&running).await?;
    expect(LINES, "Daybook", &page(ours, &our_page, &token).await?["lines"])?;
    expect(LINES, "the bare handler", &page(theirs, their_page, &token).await?)?;

    let mut contestants = [
        Contestant::new(|| reads(DAYBOOK, ours, &our_page, &token, sizes.span)),
        Contestant::new(|| reads(bare, theirs, their_page, &token, sizes.span)),
    ];
    section.measure(sizes.rounds, &mut contestants).await?;
    serving.abort();
    serving_bare.abort();
    pool.close().await;
    running.shutdown().await;
    server.drop(&database).await?;
    section.claim(at_least(DAYBOOK, 0.7, bare))?;
    section.claim(p99_at_most(DAYBOOK, 2.0, bare))?;
    section.note(format!(
        "statements are asked for by days; the first day has {LINES} lines, and stands for the first page"
    ));
    Ok(section)
}

pub async fn page(address: SocketAddr, path: &str, token: &str) -> Result<Value, Failure> {
    let (status, body) = Client::connect(address).await?.showing(token)?.get(path).await?;
    if status != StatusCode::OK {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
    }
    Ok(serde_json::from_slice(&body)?)
}

pub fn expect(lines: i64, whose: &str, page: &Value) -> Result<(), Failure> {
    match page.as_array().map(Vec::len) {
        Some(found) if found == usize::try_from(lines)? => Ok(()),
        found => Err(format!("{whose} tells {found:?} rows instead of {lines}").into()),
    }
}

pub async fn reads(name: &str, address: SocketAddr, path: &str, token: &str, span: Span) -> Result<Vec<Run>, Failure> {
    let mut readers = Vec::new();
    for _ in 0..CONNECTIONS {
        readers.push(Reader { client: Client::connect(address).await?.showing(token)?, path: path.to_owned() });
    }
    memory::forget_peak();
    Ok(vec![closed_loop(readers, span).await?.run(name)])
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
