//! Appending when there is much already: on one account, and in the whole book.

use std::{sync::Arc, time::Instant};

use daybook_core::{
    domain::AccountId,
    writer::{Writer, WriterHandle, WriterOptions},
};

use super::at_least;
use crate::{
    Bench, Failure,
    books::Book,
    daybook::{self, Keys, Play},
    load::Span,
    measure::{Contestant, Counts, Run, Section, Unit},
};

/// Commands into one account before the next one has its turn: few, so that a short history stays short, and enough that
/// one stall of the disk does not decide.
const COMMANDS: usize = 4000;
/// So many before them are not counted, nor is the one before these, which loads the account: right after that nothing is
/// in the processor's caches that appending needs.
const WARMING_UP: usize = 256;
const CALLERS: usize = 32;

/// An account with a long history against one with a short one.
pub async fn history(bench: &Bench) -> Result<Section, Failure> {
    let Bench { server, sizes, .. } = bench;
    let (long, short) = (sizes.long_history, 10);
    let title =
        format!("deposits into an account with {long} events against one with {short}, {CALLERS} callers, append only");
    let mut section = Section::new("history", title, Unit::PerSecond);
    let accounts = sizes.histories;
    let long_book = Book { accounts, events_each: long, seconds: 10 }.write(server).await?;
    // One set of short histories for each round, since a round makes them longer.
    let sets = i64::try_from(sizes.rounds)?;
    let short_book = Book { accounts: accounts * sets, events_each: short, seconds: 10 }.write(server).await?;
    let (name, other) = (format!("{long} events"), format!("{short} events"));
    let mut set = 0;
    let mut contestants = [
        Contestant::new(|| one_by_one(bench, &long_book, &name, 0..accounts)),
        Contestant::new(|| {
            set += 1;
            one_by_one(bench, &short_book, &other, accounts * (set - 1)..accounts * set)
        }),
    ];
    section.measure(sizes.rounds, &mut contestants).await?;
    server.drop(&long_book).await?;
    server.drop(&short_book).await?;
    section.claim(at_least(&name, 0.9, &other))?;
    section.note(format!(
        "{accounts} accounts after one another, {COMMANDS} deposits each, after one that loads the account and {WARMING_UP} \
         more, which are not counted; a short history grows by all of them"
    ));
    Ok(section)
}

/// So many deposits into each of these accounts, one account after the other.
async fn one_by_one(
    bench: &Bench,
    database: &str,
    name: &str,
    accounts: std::ops::Range<i64>,
) -> Result<Vec<Run>, Failure> {
    let store = daybook::store(&bench.server, database).await?;
    bench.server.quiet().await?;
    let (handle, writer) = Writer::start(store.clone(), WriterOptions::default());
    let (mut elapsed, mut commands) = (0.0, 0);
    for number in accounts {
        let account = Book::account(number)?;
        daybook::deposit(&handle, &account, 1).await?;
        deposits(&handle, &account, WARMING_UP).await?;
        let begun = Instant::now();
        commands += deposits(&handle, &account, COMMANDS).await?;
        elapsed += begun.elapsed().as_secs_f64();
    }
    drop(handle);
    writer.shutdown().await;
    store.close().await;
    let counts = Some(Counts { offered: commands, accepted: commands, ..Counts::default() });
    let figure = commands as f64 / elapsed;
    Ok(vec![Run { name: name.into(), figure, counts, latency: None, peak_memory: None }])
}

/// About so many deposits by all callers; answers with how many there were.
async fn deposits(handle: &WriterHandle, account: &AccountId, number: usize) -> Result<u64, Failure> {
    let callers = (0..CALLERS).map(|caller| {
        let (handle, account) = (handle.clone(), account.clone());
        tokio::spawn(async move {
            let own = number / CALLERS;
            for number in 0..own {
                daybook::deposit(&handle, &account, (caller * own + number) as i64 + 1).await?;
            }
            Ok::<_, Failure>(own as u64)
        })
    });
    let mut made = 0;
    for caller in callers.collect::<Vec<_>>() {
        made += caller.await??;
    }
    Ok(made)
}

/// The whole book is long, or short.
pub async fn long_book(bench: &Bench, long_book: &(Book, String)) -> Result<Section, Failure> {
    let Bench { server, sizes, .. } = bench;
    let (long, database) = long_book;
    let short = Book { accounts: sizes.accounts as i64, ..*long };
    let title = format!(
        "appending with {} events in the book against {}, 1,024 callers, append only",
        long.events(),
        short.events()
    );
    let mut section = Section::new("long-book", title, Unit::PerSecond);
    let other_database = short.write(server).await?;
    let (name, other) = (format!("{} events", long.events()), format!("{} events", short.events()));
    let accounts = (0..short.accounts).map(Book::account).collect::<Result<Vec<_>, _>>()?;
    let accounts: Arc<[AccountId]> = accounts.into();
    let span = Span { ..sizes.span };
    let play = |name| Play { name, accounts: accounts.len(), callers: 1024, keys: Keys::Without, span };
    let mut contestants = [
        Contestant::new(|| append(bench, database, &accounts, play(&name))),
        Contestant::new(|| append(bench, &other_database, &accounts, play(&other))),
    ];
    section.measure(sizes.rounds, &mut contestants).await?;
    server.drop(&other_database).await?;
    section.claim(at_least(&name, 0.75, &other))?;
    section.note(format!(
        "{} accounts of {} events each, and both books have more; both grow from round to round",
        accounts.len(),
        long.events_each
    ));
    Ok(section)
}

async fn append(
    bench: &Bench,
    database: &str,
    accounts: &Arc<[AccountId]>,
    play: Play<'_>,
) -> Result<Vec<Run>, Failure> {
    bench.server.quiet().await?;
    Ok(vec![daybook::append_to(&bench.server, database, accounts, play).await?])
}
