//! Pages, against the JSON that they are made of: a statement of 50 lines, and home.

use std::net::SocketAddr;

use hyper::StatusCode;

use super::{
    at_least,
    statement::{expect, page},
};
use crate::{
    Bench, Failure,
    books::Book,
    daybook,
    http::Client,
    load::{Attempt, Caller, Span, closed_loop},
    measure::{Contestant, Run, Section, Unit},
};

const LINES: i64 = 50;
/// So many entries take effect in January 1990.
const SECONDS: i64 = 31 * 86_400 / LINES;
const CONNECTIONS: usize = 32;

const PAGE: &str = "a statement of 50 lines, as a page";
const JSON: &str = "the same as JSON";
const HOME: &str = "home, as a page";
const HOME_JSON: &str = "all that home asks, as JSON";

pub async fn pages(bench: &Bench) -> Result<Section, Failure> {
    let Bench { server, sizes, .. } = bench;
    let title = format!("pages and the JSON that they are made of, {CONNECTIONS} connections");
    let mut section = Section::new("pages", title, Unit::PerSecond);
    let database = Book { accounts: 1, events_each: 12 * LINES + 1, seconds: SECONDS }.with_statements(server).await?;
    let account = Book::account(0)?;
    let running = daybook::start_unwatched(server, &database).await?;
    let token = daybook::staff_token(&running).await?;
    let (ours, serving) = daybook::serve(daybook_panel::router(running.app().clone())).await?;
    let of_account = format!("accounts/{}", account.as_str());
    let json = vec![format!("/v1/{of_account}/statement?from=1990-01-01&to=1990-02-01")];
    let shown = vec![format!("/{of_account}/statement?month=1990-01")];
    daybook::logged(&running).await?;
    expect(LINES, "Daybook", &page(ours, &json[0], &token).await?["lines"])?;
    // What the home of staff asks.
    let home = vec!["/".to_owned()];
    let asked: Vec<String> = [
        "/v1/tickets?status=open&archived=false&limit=20",
        "/v1/tickets?status=in_progress&archived=false&limit=20",
        "/v1/payments?status=new&limit=20",
        "/v1/payments?status=in_progress&limit=20",
        "/v1/payments?status=pledged&limit=20",
        "/v1/sign-ups",
        "/v1/audit/trial-balance",
        "/v1/ops/projections",
    ]
    .map(str::to_owned)
    .into();
    let span = sizes.span;
    let mut contestants = [
        Contestant::new(|| reads(PAGE, ours, &shown, &token, span)),
        Contestant::new(|| reads(JSON, ours, &json, &token, span)),
        Contestant::new(|| reads(HOME, ours, &home, &token, span)),
        Contestant::new(|| reads(HOME_JSON, ours, &asked, &token, span)),
    ];
    section.measure(sizes.rounds, &mut contestants).await?;
    drop(contestants);
    serving.abort();
    running.shutdown().await;
    server.drop(&database).await?;
    section.claim(at_least(PAGE, 0.5, JSON))?;
    section.claim(at_least(HOME, 0.5, HOME_JSON))?;
    section.note("home is that of staff; its JSON is asked one after the other, as a program would");
    Ok(section)
}

async fn reads(
    name: &str,
    address: SocketAddr,
    paths: &[String],
    token: &str,
    span: Span,
) -> Result<Vec<Run>, Failure> {
    let mut readers = Vec::new();
    for _ in 0..CONNECTIONS {
        readers.push(Reader { client: Client::connect(address).await?.showing(token)?, paths: paths.to_vec() });
    }
    Ok(vec![closed_loop(readers, span).await?.run(name)])
}

/// Asks for each address, one after the other.
struct Reader {
    client: Client,
    paths: Vec<String>,
}

impl Caller for Reader {
    fn next(&mut self) {}

    async fn attempt(&mut self) -> Attempt {
        for path in &self.paths {
            match self.client.get(path).await {
                Ok((StatusCode::OK, _)) => {}
                Ok((status, body)) => return Attempt::Dropped(format!("{status}: {}", String::from_utf8_lossy(&body))),
                Err(error) => return Attempt::Dropped(error.to_string()),
            }
        }
        Attempt::Accepted
    }
}
