//! Time travel: what is told of a moment of the past is what was told then, whoever writes meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use daybook_api::{AppOptions, PastOptions};
use daybook_core::{
    domain::{AccountEvent, AccountId, Event, ExpenseId, PaymentId, TicketId, payment::Purpose},
    operations::{
        AdjustAccount, AdjustExpense, AdvancePayment, AllocatePayment, ChangeTerms, ChargeRef, Operation,
        PaymentRequest, PaymentStep, RecordExpense, ReinstateExpense, ReverseExpense, StartRefund, Terms,
    },
    store::{RawEvent, Store, Upcasters, position_at},
    writer::{Command, WriterHandle},
};
use daybook_projections::{
    BOARD, Chosen, Moment, Reader, Viewer,
    expense::{CoverageRow, ExpenseRow},
    listing,
    payment::{AllocationRow, PaymentRow},
    statement,
};
use daybook_tests::{
    TestDatabase,
    api::{Answer, TestApp},
    commands::{account, adjust, command, id, noon, open_ticket, register, usd},
    copy, database,
    history::{LONG, Ledger},
    listed::newest,
    soaks, whole_book,
};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use rand::{Rng, SeedableRng, rngs::StdRng};
use reqwest::Method;
use rust_decimal::{Decimal, dec};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// At how many moments an ordinary run asks at most. With every noun there are more events and more addresses, so that
/// to ask everything everywhere takes the product of both.
const MOMENTS: usize = 12;
/// How many addresses of each route an ordinary run asks at each moment. The next moment has the next ones.
const ADDRESSES: usize = 3;

/// How many of so many steps lie between one moment and the next.
fn stride(of: usize, at_least: usize) -> usize {
    if soaks() { at_least } else { at_least.max(of.div_ceil(MOMENTS)) }
}

/// What operators ask is answered from how things stand now, and what the server says of itself has no past. What was
/// signed of the log names its own moment.
pub(super) fn has_past(path: &str) -> bool {
    let without = [
        "/v1/ops/",
        "/v1/audit/checkpoints",
        "/v1/audit/proofs/",
        "/v1/access-log",
        "/v1/me",
        "/v1/sign-up",
        "/v1/sign-ups",
        "/v1/operations",
        "/v1/operations/{id}",
        "/v1/sessions",
        "/v1/tokens",
    ];
    path.starts_with("/v1/") && !without.iter().any(|prefix| path.starts_with(prefix))
}

/// The addresses of what is read, by the path that describes them.
pub(super) async fn addresses(path: &str, database: &TestDatabase) -> Option<Vec<String>> {
    if !has_past(path) {
        return Some(Vec::new());
    }
    let ids = async |table: &str| -> Vec<String> {
        sqlx::query_scalar(&format!("select id from {table} order by id")).fetch_all(database.pool()).await.unwrap()
    };
    let of = |ids: Vec<String>, queries: &[&str]| -> Vec<String> {
        let one = |id: &String| queries.iter().map(|query| path.replace("{id}", id) + query).collect::<Vec<_>>();
        ids.iter().flat_map(one).collect()
    };
    let by = |name: &str, ids: Vec<String>| -> Vec<String> {
        ids.iter().map(|id| format!("{path}?limit=2&{name}={id}")).collect()
    };
    let asked = |queries: &[&str]| -> Vec<String> { queries.iter().map(|query| format!("{path}{query}")).collect() };
    let mut found = match path {
        "/v1/customers/{id}" => of(ids("customers").await, &[""]),
        "/v1/customers/{id}/discounts" => of(
            ids("customers").await,
            &["?limit=1", "?valid_at=2023-11-18T00:00:00Z", "?valid_at=2024-03-01T00:00:00Z"],
        ),
        "/v1/payers/{id}" => of(ids("payers").await, &[""]),
        "/v1/accounts/{id}" | "/v1/accounts/{id}/balance" => of(ids("accounts").await, &[""]),
        "/v1/accounts/{id}/statement" => of(
            ids("accounts").await,
            &[
                "",
                "?format=csv",
                "?from=2023-12-01&to=2024-01-01",
                "?from=2024-01-01&format=html",
                "?to=2023-12-20&format=text",
            ],
        ),
        "/v1/accounts/{id}/balance/explanation" => of(ids("accounts").await, &["?limit=5"]),
        "/v1/invoices/{id}/due/explanation" => of(ids("invoices").await, &[""]),
        "/v1/books/periods" => asked(&["", "?limit=1"]),
        "/v1/orders/{id}" => of(ids("orders").await, &[""]),
        "/v1/payments/{id}"
        | "/v1/payments/{id}/allocations"
        | "/v1/payments/{id}/refunds"
        | "/v1/payments/{id}/disputes" => of(ids("payments").await, &[""]),
        "/v1/invoices/{id}" => of(ids("invoices").await, &[""]),
        "/v1/credit-notes/{id}" => of(ids("credit_notes").await, &[""]),
        "/v1/services/{id}" => of(ids("services").await, &[""]),
        "/v1/expenses/{id}" => of(ids("expenses").await, &[""]),
        "/v1/discounts/{id}" => of(ids("discounts").await, &[""]),
        "/v1/tickets/{id}" => of(ids("tickets").await, &[""]),
        "/v1/users/{id}" => of(ids("users").await, &[""]),
        "/v1/users" => {
            let all = asked(&["?limit=1", "?enabled=true", "?enabled=false"]);
            [all, by("customer", ids("customers").await)].concat()
        }
        "/v1/customers" => asked(&["", "?group=gold", "?group=silver"]),
        "/v1/payers" => [asked(&["?active=true", "?active=false"]), by("customer", ids("customers").await)].concat(),
        "/v1/accounts" => [asked(&["?limit=1", "?currency=EUR"]), by("customer", ids("customers").await)].concat(),
        "/v1/orders" => {
            let all = asked(&["?limit=1", "?status=open", "?status=in_progress", "?status=processed"]);
            [all, by("account", ids("accounts").await)].concat()
        }
        "/v1/payments" => {
            let all = asked(&["?limit=2", "?status=new", "?status=credited", "?status=pledged", "?status=fraudulent"]);
            [all, by("account", ids("accounts").await), by("purpose", ids("orders").await)].concat()
        }
        "/v1/invoices" => {
            [asked(&["", "?status=issued", "?status=paid"]), by("account", ids("accounts").await)].concat()
        }
        "/v1/credit-notes" => [asked(&["", "?number=CN-1"]), by("invoice", ids("invoices").await)].concat(),
        "/v1/services" => [asked(&["?limit=1"]), by("order", ids("orders").await)].concat(),
        "/v1/expenses" => {
            let all = asked(&["?limit=2", "?status=recorded", "?status=reversed"]);
            [all, by("order", ids("orders").await)].concat()
        }
        "/v1/discounts" => {
            asked(&["?limit=1", "?audience=everyone", "?audience_id=gold", "?valid_at=2024-03-01T00:00:00Z"])
        }
        "/v1/tickets" => asked(&["?limit=1", "?archived=true", "?archived=false", "?status=answered"]),
        "/v1/history" => {
            let entities = [ids("customers").await, ids("accounts").await, ids("payments").await].concat();
            entities.iter().map(|entity| format!("{path}?limit=20&entity={entity}")).collect()
        }
        "/v1/audit/trial-balance" => asked(&["", "?currency=EUR"]),
        "/v1/audit/journal" => [asked(&["?ledger_account=revenue"]), by("account", ids("accounts").await)].concat(),
        "/v1/audit/events" => asked(&["?limit=50", "?after=100"]),
        _ => return None,
    };
    let listing = daybook_api::listings().into_iter().find(|listing| listing.path == path);
    if let Some(paths) = listing.map(|listing| listing.paths).filter(|paths| !paths.is_empty()) {
        found.push(format!("{path}?limit=2&expand={}", paths.join(",")));
    }
    found.sort();
    found.dedup();
    Some(found)
}

/// What is read: the addresses of every path of the description.
async fn everything(app: &TestApp, database: &TestDatabase) -> Vec<Vec<String>> {
    let description = app.get_at_once("/openapi.json").await.body;
    let mut all = Vec::new();
    for (path, item) in description["paths"].as_object().expect("paths") {
        let Some(operation) = item.get("get") else { continue };
        let cases = addresses(path, database).await;
        let cases = cases.unwrap_or_else(|| panic!("{path} has no case here: add its addresses to the table"));
        if has_past(path) {
            assert!(!cases.is_empty(), "the history has nothing for {path}");
            let names = operation["parameters"].as_array().expect("parameters").iter().map(|one| &one["name"]);
            let names: BTreeSet<&str> = names.filter_map(Value::as_str).collect();
            assert!(names.contains("as_of") && names.contains("as_known_at"), "{path} does not know of moments");
        }
        all.push(cases);
    }
    assert!(all.iter().flatten().count() > 100, "{all:?}");
    all
}

/// What is asked at this moment: some addresses of every path, and others at the next moment.
fn some(all: &[Vec<String>], moment: usize) -> Vec<&String> {
    all.iter().flat_map(|addresses| in_turn(addresses, moment).take(addresses_per_path())).collect()
}

fn addresses_per_path() -> usize {
    if soaks() { usize::MAX } else { ADDRESSES }
}

/// All addresses of a path, beginning with those whose turn it is.
fn in_turn(addresses: &[String], moment: usize) -> impl Iterator<Item = &String> {
    let (before, from) = addresses.split_at(moment * ADDRESSES % addresses.len().max(1));
    from.iter().chain(before)
}

/// A time as an address has it.
fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// An address with further parameters, none of which needs an escape.
fn asking(address: &str, parameters: &[(&str, String)]) -> String {
    let mut address = address.to_owned();
    for (name, value) in parameters {
        let separator = if address.contains('?') { '&' } else { '?' };
        address.push_str(&format!("{separator}{name}={value}"));
    }
    address
}

/// An answer without what names the request, and all pages of a listing.
async fn answered(app: &TestApp, address: &str, moment: &[(&str, String)]) -> Value {
    let mut pages = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query: Vec<(&str, String)> = moment.to_vec();
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let answer = app.get_at_once(&asking(address, &query)).await;
        if answer.status != 200 {
            let mut problem = answer.body;
            problem["instance"].take();
            return problem;
        }
        let mut body = if answer.header("content-type").starts_with("text/csv") {
            Value::from(answer.text)
        } else if answer.body["next_cursor"].is_null() {
            // Byte for byte.
            pages.push(Value::from(answer.text));
            return Value::from(pages);
        } else {
            answer.body
        };
        if let Some(next) = body.get_mut("next_cursor") {
            cursor = next.take().as_str().map(str::to_owned);
        }
        pages.push(body);
        if cursor.is_none() {
            return Value::from(pages);
        }
    }
}

/// The book of a varied history, and a copy of it that is still empty.
async fn history() -> (Ledger, Vec<RawEvent>, TestApp) {
    let ledger = Ledger::varied_and_projected().await;
    let book = whole_book(ledger.database.pool()).await;
    let app = TestApp::on(database().await).await;
    copy::keys(&ledger.database, &app.database).await;
    (ledger, book, app)
}

/// Waits until every projection has the whole book.
pub async fn arrived(app: &TestApp) {
    let (store, head) = (app.database.store().await, app.position().await);
    let reader = Reader::new(&store, BOARD, None);
    for projection in BOARD {
        reader.wait_for(projection.name, head, LONG).await.unwrap();
    }
}

/// Answers by address at some positions as the book grows, the last one its end.
async fn answers_as_it_grows<'a>(
    app: &TestApp,
    all: &'a [Vec<String>],
    book: &[RawEvent],
) -> BTreeMap<u64, BTreeMap<&'a String, Value>> {
    let mut recorded = BTreeMap::new();
    for (moment, chunk) in book.chunks(stride(book.len(), 23)).enumerate() {
        copy::append_to(app, chunk).await;
        let position = app.position().await;
        arrived(app).await;
        recorded.insert(position, answers(app, some(all, moment)).await);
    }
    recorded
}

async fn answers<'a>(app: &TestApp, asked: Vec<&'a String>) -> BTreeMap<&'a String, Value> {
    let answers = join_all(asked.iter().map(|address| answered(app, address, &[]))).await;
    asked.into_iter().zip(answers).collect()
}

#[tokio::test]
async fn whatever_is_read_as_known_at_a_position_is_what_was_read_then() {
    let (ledger, book, app) = history().await;
    let all = everything(&app, &ledger.database).await;
    let recorded = answers_as_it_grows(&app, &all, &book).await;
    let end = app.position().await;
    assert_eq!(end, book.len() as u64);

    let mut compared = 0;
    for (position, then) in &recorded {
        let mut moments = vec![position.to_string()];
        // By the time of recording, where it is that of one event alone.
        let (last, next) = (&book[*position as usize - 1], book.get(*position as usize));
        if next.is_none_or(|next| next.recorded_at > last.recorded_at) {
            moments.push(written(last.recorded_at));
        }
        for moment in moments {
            for (address, then) in then {
                let now = answered(&app, address, &[("as_known_at", moment.clone())]).await;
                assert_eq!(&now, then, "{address} as known at {moment}");
                compared += 1;
            }
        }
    }
    let last = answers(&app, all.iter().flatten().collect()).await;
    let asked: BTreeSet<&String> = recorded.values().flat_map(BTreeMap::keys).copied().collect();
    eprintln!("{compared} answers, {} of {} addresses, {} positions", asked.len(), last.len(), recorded.len());
    assert!(recorded.len() >= 5 && compared > 500, "{compared}");
    // The answers differ from those of now, or nothing would be shown.
    let changed =
        |then: &BTreeMap<&String, Value>| then.iter().filter(|(address, then)| *then != &last[*address]).count();
    assert!(recorded.values().rev().skip(1).all(|then| changed(then) > then.len() / 10));
}

/// What several projections are read for is told of a position that all of them have: it stays as it is.
#[tokio::test]
async fn whatever_is_read_while_a_projection_is_behind_is_what_was_known_at_the_position_that_is_told() {
    let (ledger, book, app) = history().await;
    let all = everything(&app, &ledger.database).await;
    let (store, mut asked) = (app.database.store().await, Vec::new());
    let reader = Reader::new(&store, BOARD, None);
    let portion = book.len() / BOARD.len();
    for (number, behind) in BOARD.iter().rev().enumerate() {
        app.done(&format!("/v1/ops/projections/{}/pause", behind.name), json!({})).await;
        let until = if number + 1 == BOARD.len() { book.len() } else { (number + 1) * portion };
        copy::append_to(&app, &book[number * portion..until]).await;
        for other in BOARD.iter().filter(|other| other.name != behind.name) {
            reader.wait_for(other.name, until as u64, LONG).await.unwrap();
        }
        for addresses in &all {
            // What is not in the book yet has nothing to tell.
            let mut telling = 0;
            // What is shown in the place of an identifier may be of a later position.
            for address in in_turn(addresses, number).filter(|address| !address.contains("expand=")) {
                let answer = app.get_at_once(address).await;
                if answer.status == 200 {
                    telling += 1;
                    asked.push((behind.name, until, address, answer));
                }
                if telling == addresses_per_path() {
                    break;
                }
            }
        }
        app.done(&format!("/v1/ops/projections/{}/resume", behind.name), json!({})).await;
        arrived(&app).await;
    }
    let mut behind = BTreeSet::new();
    for (name, until, address, then) in &asked {
        let position: usize = then.header("ledger-position").parse().unwrap();
        let now = app.get_at_once(&asking(address, &[("as_known_at", position.to_string())])).await;
        // A cursor belongs to its moment.
        let page = |answer: &Answer| {
            let mut body = answer.body.clone();
            body.as_object_mut().map(|members| members.remove("next_cursor"));
            told(&json!([if body.is_null() { Value::from(answer.text.clone()) } else { body }]))
        };
        assert_eq!(page(&now), page(then), "{address} as known at {position}, with {name} behind");
        if position < *until && address.starts_with("/v1/accounts/") {
            behind.insert(*name);
        }
    }
    eprintln!("{} answers, {behind:?} behind", asked.len());
    assert!(behind.is_superset(&["account_statement", "accounts", "closed_periods"].into()), "{behind:?}");
}

/// In this history everything takes effect in the order of the book, so that both axes tell the same.
#[tokio::test]
async fn whatever_is_read_as_of_a_time_is_what_had_taken_effect_by_then() {
    let (ledger, book, app) = history().await;
    let all = everything(&app, &ledger.database).await;
    copy::append_to(&app, &book).await;
    arrived(&app).await;
    // Where one command ends and the next begins a day later.
    let ends = book.windows(2).filter(|pair| pair[0].occurred_at() < pair[1].occurred_at()).map(|pair| &pair[0]);
    let mut compared = 0;
    let ends: Vec<&RawEvent> = ends.collect();
    for (moment, last) in ends.iter().step_by(stride(ends.len(), 17)).enumerate() {
        let time = written(last.occurred_at());
        for address in some(&all, moment) {
            let known = answered(&app, address, &[("as_known_at", last.position.to_string())]).await;
            let effective = answered(&app, address, &[("as_of", time.clone())]).await;
            // As a text, a statement cannot be told apart from the position that it names.
            if address.contains("format=") {
                continue;
            }
            let not_opened = known["type"] == "/problems/account-not-found";
            // Entries count by their own time, even before their account was opened.
            if not_opened && (address.contains("/balance") || address.contains("/statement")) {
                continue;
            }
            assert_eq!(told(&effective), told(&known), "{address} as of {time}");
            compared += 1;
        }
    }
    eprintln!("{compared} answers");
    assert!(compared > 300, "{compared}");
}

/// What an answer tells but for the moment that it names itself.
fn told(answer: &Value) -> Value {
    let Some(pages) = answer.as_array() else { return answer.clone() };
    let page = |page: &Value| {
        let mut page = page.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| page.clone());
        if let Value::Object(members) = &mut page {
            for name in ["as_of", "next_after", "has_more"] {
                members.remove(name);
            }
            // A line of the trial balance links to the journal of that moment.
            for line in members.get_mut("data").and_then(Value::as_array_mut).into_iter().flatten() {
                line.as_object_mut().map(|line| line.remove("journal"));
            }
            if members.contains_key("balance") || members.contains_key("closing") {
                members.remove("position");
            }
        }
        page
    };
    // A page of events that has none may come before one that has some.
    let pages: Vec<Value> = pages.iter().map(page).collect();
    Value::from(pages)
}

/// What the book itself says of an account at a moment, by adding up its events.
#[derive(Debug, PartialEq)]
struct Told {
    balance: Decimal,
    /// Entry, amount and balance after it, in the order of effect, and what took it back.
    lines: Vec<(u64, Decimal, Decimal, Option<u64>)>,
}

/// An entry as the book has it.
#[derive(Clone, Debug)]
struct Entered {
    position: u64,
    occurred_at: DateTime<Utc>,
    entry: u64,
    amount: Decimal,
    reverses: Option<u64>,
}

fn entries(book: &[RawEvent]) -> BTreeMap<String, Vec<Entered>> {
    let mut accounts: BTreeMap<String, Vec<Entered>> = BTreeMap::new();
    for raw in book {
        let Event::Account(event) = raw.event(&Upcasters::default()).unwrap() else { continue };
        let (entry, amount, reverses) = match event {
            AccountEvent::Credited { entry, amount, reverses, .. } => (entry, amount.amount(), reverses),
            AccountEvent::Charged { entry, amount, reverses, .. } => (entry, -amount.amount(), reverses),
            _ => continue,
        };
        let (position, occurred_at) = (raw.position, raw.occurred_at());
        let entered = Entered { position, occurred_at, entry, amount, reverses };
        accounts.entry(raw.aggregate_id.clone()).or_default().push(entered);
    }
    accounts
}

fn folded(entries: &[Entered], known_at: u64, as_of: Option<DateTime<Utc>>) -> Told {
    let counts =
        |entered: &&Entered| entered.position <= known_at && as_of.is_none_or(|as_of| entered.occurred_at <= as_of);
    let mut counted: Vec<&Entered> = entries.iter().filter(counts).collect();
    counted.sort_by_key(|entered| (entered.occurred_at, entered.position));
    let mut balance = Decimal::ZERO;
    let mut lines = Vec::new();
    for entered in &counted {
        balance += entered.amount;
        let reversed_by = counted.iter().filter(|other| other.reverses == Some(entered.entry)).map(|other| other.entry);
        lines.push((entered.entry, entered.amount, balance, reversed_by.max()));
    }
    Told { balance, lines }
}

fn amount(money: &Value) -> Decimal {
    money["amount"].as_str().expect("money").parse().expect("an amount")
}

fn told_by(balance: &Answer, statement: &Answer) -> Told {
    assert_eq!((balance.status, statement.status), (200, 200), "{} {}", balance.text, statement.text);
    assert_eq!(statement.body["closing"], balance.body["balance"]);
    let lines = statement.body["lines"].as_array().expect("lines").iter();
    let line = |line: &Value| {
        let entry = line["entry"].as_u64().expect("a number");
        (entry, amount(&line["amount"]), amount(&line["balance"]), line["reversed_by"].as_u64())
    };
    Told { balance: amount(&balance.body["balance"]), lines: lines.map(line).collect() }
}

const WRITERS: usize = 20;
const READERS: usize = 8;
const QUESTIONS: usize = 1_000;
/// Commands per question.
const COMMANDS: usize = 4;
const ACCOUNTS: usize = 25;

#[tokio::test]
async fn a_thousand_positions_are_told_as_the_book_has_them_while_twenty_write() {
    let app = TestApp::start().await;
    let mut accounts: Vec<AccountId> = Vec::new();
    for _ in 0..ACCOUNTS {
        let account = account(app.writer()).await;
        let terms = ChangeTerms { account: account.clone(), terms: Terms::PostPaidAllowed };
        app.writer().execute(command(Operation::ChangeTerms(terms))).await.unwrap();
        accounts.push(account);
    }
    let begun = app.position().await;
    // So many commands may be given as questions were asked: the book grows as long as there is something to ask.
    let pace = Semaphore::new(WRITERS);
    let writers = (0..WRITERS).map(|number| write(app.writer(), &accounts, &pace, number as u64));
    let readers = async {
        let asked = join_all((0..READERS).map(|number| ask(&app, &accounts, &pace, number as u64))).await;
        pace.close();
        asked.into_iter().flatten().collect::<Vec<_>>()
    };
    let (_, asked) = futures::join!(join_all(writers), readers);

    let book = whole_book(app.database.pool()).await;
    let entries = entries(&book);
    let positions: BTreeSet<u64> = asked.iter().map(|question| question.position).collect();
    let differences: Vec<_> = asked
        .iter()
        .filter(|Question { account, position, as_of, told }| {
            let entries = entries.get(account.as_str()).map_or(&[][..], Vec::as_slice);
            folded(entries, *position, *as_of) != *told
        })
        .collect();
    let written = book.len() as u64 - begun;
    eprintln!("{} questions at {} positions, {written} events meanwhile", asked.len(), positions.len());
    assert!(differences.is_empty(), "{} of {} differ: {:?}", differences.len(), asked.len(), differences[0]);
    assert_eq!(asked.len(), QUESTIONS);
    assert!(written > 3_000 && positions.len() > 700, "{written} events, {} positions", positions.len());
    let reversed = asked.iter().flat_map(|question| &question.told.lines).filter(|line| line.3.is_some()).count();
    let lines: usize = asked.iter().map(|question| question.told.lines.len()).sum();
    assert!(reversed > 100 && lines > 10_000, "{reversed} of {lines} lines are taken back");
}

#[derive(Debug)]
struct Question {
    account: AccountId,
    position: u64,
    as_of: Option<DateTime<Utc>>,
    told: Told,
}

fn at(operation: Operation, occurred_at: DateTime<Utc>) -> Command {
    let mut command = command(operation);
    command.context.occurred_at = occurred_at;
    command
}

/// An hour of the year 2026.
fn some_time(random: &mut StdRng) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).expect("a time") + TimeDelta::hours(random.random_range(0..8_760))
}

/// Gives commands that take effect at any time, until there is nothing more to ask.
async fn write(writer: &WriterHandle, accounts: &[AccountId], pace: &Semaphore, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    while let Ok(permit) = pace.acquire().await {
        permit.forget();
        let account = accounts[random.random_range(0..accounts.len())].clone();
        let when = some_time(&mut random);
        if random.random_bool(0.15) {
            let record = RecordExpense {
                account,
                description: "hours".into(),
                quantity: dec!(1),
                net: usd("3.00"),
                tax_rate: dec!(19),
            };
            let recorded = writer.execute(at(Operation::RecordExpense(record), when)).await.unwrap();
            let expense: ExpenseId = id(&recorded.answer);
            let reverse = Operation::ReverseExpense(ReverseExpense { expense });
            writer.execute(at(reverse, some_time(&mut random))).await.unwrap();
        } else {
            let cents = Decimal::new(random.random_range(1..500), 2);
            let amount = if random.random_bool(0.5) { cents } else { -cents };
            let adjust = AdjustAccount { account, amount: usd(&amount.to_string()), description: "some".into() };
            writer.execute(at(Operation::AdjustAccount(adjust), when)).await.unwrap();
        }
    }
}

/// Asks for balances and statements at random positions, on the effective axis as well every other time.
async fn ask(app: &TestApp, accounts: &[AccountId], pace: &Semaphore, seed: u64) -> Vec<Question> {
    let mut random = StdRng::seed_from_u64(1_000 + seed);
    let last_opened = 4 * ACCOUNTS as u64;
    let mut asked = Vec::new();
    for number in 0..QUESTIONS / READERS {
        pace.add_permits(COMMANDS);
        let head = app.position().await;
        let position = random.random_range(last_opened.min(head)..=head);
        let account = accounts[random.random_range(0..accounts.len())].clone();
        let as_of = (number % 2 == 1).then(|| some_time(&mut random));
        let mut query = vec![("as_known_at", position.to_string())];
        query.extend(as_of.map(|as_of| ("as_of", written(as_of))));
        let read = async |what: &str| app.get_at_once(&asking(&format!("/v1/accounts/{account}/{what}"), &query)).await;
        let told = told_by(&read("balance").await, &read("statement").await);
        // The account itself is folded back; it adds up to the same once its opening has taken effect.
        if number % 8 == 1 {
            let account = app.get_at_once(&asking(&format!("/v1/accounts/{account}"), &query)).await;
            if account.status == 404 {
                assert!(as_of.is_some_and(|as_of| as_of < noon()), "{}", account.text);
            } else {
                let entries = account.body["entries"].as_u64().expect("a number");
                assert_eq!((amount(&account.body["balance"]), entries as usize), (told.balance, told.lines.len()));
            }
        }
        asked.push(Question { account, position, as_of, told });
    }
    asked
}

#[tokio::test]
async fn a_moment_that_the_book_has_not_reached_is_refused() {
    let app = TestApp::start().await;
    let account = account(app.writer()).await;
    let head = app.position().await;
    let balance = format!("/v1/accounts/{account}/balance");
    for path in
        [balance.as_str(), "/v1/accounts", "/v1/audit/events", "/v1/audit/trial-balance", "/v1/history?entity=x"]
    {
        let beyond = asking(path, &[("as_known_at", (head + 1).to_string())]);
        let answer = app.get(&beyond).await;
        let problem = answer.refused(400, "malformed-parameter");
        assert_eq!((&problem["parameter"], &problem["position"]), (&json!("as_known_at"), &json!(head)));
        let to_come = asking(path, &[("as_known_at", written(Utc::now() + TimeDelta::hours(1)))]);
        assert_eq!(app.get(&to_come).await.refused(400, "malformed-parameter")["parameter"], "as_known_at");
        let answer = app.get(&asking(path, &[("as_known_at", head.to_string())])).await;
        assert_eq!((answer.status, answer.header("ledger-position")), (200, head.to_string().as_str()), "{path}");
        // Before everything there was nothing.
        let answer = app.get(&asking(path, &[("as_known_at", "1970-01-01T00:00:00Z".into())])).await;
        assert_eq!(answer.status, if path == balance { 404 } else { 200 }, "{path}: {}", answer.text);
        // A time that is dated later may be asked about.
        let answer = app.get(&asking(path, &[("as_of", "9999-12-31T23:59:59Z".into())])).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    for path in [
        "/v1/audit/checkpoints/latest",
        "/log/checkpoint",
        "/log/tile/0/000.p/1",
        "/log/tile/entries/000.p/1",
        "/log/event/1",
        "/log/format",
        "/v1/ops/projections",
        "/v1/ops/projections/accounts",
        "/v1/ops/schema",
    ] {
        app.get(&format!("{path}?as_known_at=1")).await.refused(400, "unknown-parameter");
    }
    let misspelt = app.get(&format!("/v1/accounts/{account}?as_at=1")).await;
    assert_eq!(
        misspelt.refused(400, "unknown-parameter")["allowed"],
        json!(["as_of", "as_known_at", "fields", "expand"])
    );
    app.get("/v1/accounts?as_of=yesterday").await.refused(400, "malformed-parameter");
}

#[tokio::test]
async fn a_read_of_the_past_waits_for_its_position_or_says_how_far_behind_it_is() {
    let app = TestApp::start().await;
    let account = account(app.writer()).await;
    let before = app.position().await;
    app.get("/v1/accounts").await;
    app.done("/v1/ops/projections/accounts/pause", json!({})).await;
    app.done("/v1/ops/projections/account_statement/pause", json!({})).await;
    let head = app.writer().execute(adjust(&account, usd("2.00"))).await.unwrap().position;
    for path in [format!("/v1/accounts/{account}/balance"), format!("/v1/accounts/{account}"), "/v1/accounts".into()] {
        let ask = async |position: u64| {
            let request = app.request(Method::GET, &asking(&path, &[("as_known_at", position.to_string())]));
            // Without `Min-Position` nobody has said how long to wait.
            Answer::to(request.header("min-position", "0").header("prefer", "wait=0")).await
        };
        assert_eq!(ask(head).await.refused(503, "projection-behind")["wanted"], head, "{path}");
        assert_eq!(ask(before).await.status, 200, "{path}");
    }
    app.done("/v1/ops/projections/accounts/resume", json!({})).await;
    let answer = app.get_at_once(&format!("/v1/accounts/{account}?as_known_at={head}")).await;
    assert_eq!(amount(&answer.body["balance"]), dec!(2.00), "{}", answer.text);
}

#[tokio::test]
async fn a_cursor_belongs_to_its_moment() {
    let app = TestApp::start().await;
    for name in ["Ada", "Bea", "Cleo"] {
        app.writer().execute(register(name)).await.unwrap();
    }
    let page = app.get("/v1/customers?limit=1&as_known_at=2").await;
    assert_eq!(page.body["data"][0]["name"], "Bea");
    let cursor = page.body["next_cursor"].as_str().expect("there is more");
    assert!(page.header("link").contains("as_known_at=2"), "{}", page.header("link"));
    let next = app.get(&format!("/v1/customers?limit=1&as_known_at=2&cursor={cursor}")).await;
    assert_eq!((&next.body["data"][0]["name"], &next.body["has_more"]), (&json!("Ada"), &json!(false)));
    for other in ["", "&as_known_at=3", "&as_known_at=2&as_of=2026-01-01T00:00:00Z"] {
        app.get(&format!("/v1/customers?limit=1&cursor={cursor}{other}")).await.refused(400, "invalid-cursor");
    }
    // A page is filled by as many portions as it takes: few of many rows are those that are asked for.
    let customer = id(&app.writer().execute(register("Dora")).await.unwrap().answer);
    let mut last = 0;
    for _ in 0..450 {
        last = app.writer().execute(open_ticket(&customer)).await.unwrap().position;
    }
    let first: Value = app.get("/v1/tickets?limit=200").await.body["data"].clone();
    let oldest = app.get(&format!("/v1/history?entity={customer}&limit=200")).await;
    assert_eq!((first.as_array().unwrap().len(), oldest.status), (200, 200));
    let all = answered(&app, "/v1/tickets?limit=150", &[("as_known_at", last.to_string())]).await;
    assert_eq!(told(&all), told(&answered(&app, "/v1/tickets?limit=150", &[]).await));
    // The oldest ticket alone is archived: it lies in the last portion.
    let ids: Vec<String> =
        sqlx::query_scalar("select id from tickets order by position").fetch_all(app.database.pool()).await.unwrap();
    app.done(&format!("/v1/tickets/{}/messages", ids[0]), json!({ "side": "provider", "message": "done" })).await;
    app.done(&format!("/v1/tickets/{}/archive", ids[0]), json!({})).await;
    let archived = app.position().await;
    app.done(&format!("/v1/tickets/{}/restore", ids[0]), json!({})).await;
    let rows = app.get(&format!("/v1/tickets?archived=true&as_known_at={archived}")).await;
    assert_eq!(rows.body["data"].as_array().unwrap().len(), 1, "{}", rows.text);
    assert_eq!(rows.body["data"][0]["id"], ids[0].as_str());
    assert_eq!(app.get("/v1/tickets?archived=true").await.body["data"], json!([]));
}

/// Whoever appends takes his time of recording before he commits: a moment is told only once he has.
#[tokio::test]
async fn a_time_of_recording_stands_for_one_position_even_while_somebody_appends() {
    let app = TestApp::start().await;
    app.writer().execute(register("Ada")).await.unwrap();
    let pool = app.database.pool();
    let mut appending = pool.begin().await.unwrap();
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         values ('customer', 'cus_late', 1, 'customer.registered', '1.0',
             '{\"registered\": {\"name\": \"Late\", \"email\": null}}', '{}')",
    )
    .execute(&mut *appending)
    .await
    .unwrap();
    let moment: DateTime<Utc> = sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await.unwrap();
    let path = asking("/v1/customers", &[("as_known_at", written(moment))]);
    let asked = app.get_at_once(&path);
    tokio::pin!(asked);
    // The reader waits for the one who appends, who commits then.
    loop {
        let waits = sqlx::query_scalar::<_, bool>(
            "select exists (select from pg_locks l join pg_stat_activity a using (pid)
             where not l.granted and a.query like '%for share%' and a.datname = current_database())",
        );
        tokio::select! {
            answer = &mut asked => panic!("it does not wait for the one who appends: {}", answer.text),
            waits = waits.fetch_one(pool) => if waits.unwrap() { break },
        }
    }
    appending.commit().await.unwrap();
    let answer = asked.await;
    let names: Vec<&str> =
        answer.body["data"].as_array().unwrap().iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["Late", "Ada"]);
    app.writer().execute(register("Bea")).await.unwrap();
    assert_eq!(app.get(&path).await.text, answer.text);

    // Every position of a longer book is found by its time, and the moment before it is that of the one before.
    for _ in 0..30 {
        app.writer().execute(register("Cleo")).await.unwrap();
    }
    let book = whole_book(pool).await;
    for (at, event) in book.iter().enumerate() {
        let last = book.iter().rev().find(|other| other.recorded_at == event.recorded_at).unwrap().position;
        assert_eq!(position_at(pool, event.recorded_at).await.unwrap(), Some(last), "{at}");
        let before = event.recorded_at - TimeDelta::microseconds(1);
        let last_before = book.iter().rev().find(|other| other.recorded_at <= before).map_or(0, |other| other.position);
        assert_eq!(position_at(pool, before).await.unwrap(), Some(last_before), "{at}");
    }
    assert_eq!(position_at(pool, Utc::now() + TimeDelta::hours(1)).await.unwrap(), None);
}

#[tokio::test]
async fn what_the_past_cannot_be_told_from_is_said() {
    let database = database().await;
    // Somebody has taken the right away by which everybody may make temporary tables; a start gives it back.
    let pool = database.pool().clone();
    let name: String = sqlx::query_scalar("select current_database()").fetch_one(&pool).await.unwrap();
    sqlx::query(&format!("revoke temporary on database {name} from public")).execute(&pool).await.unwrap();
    Store::migrate(&database.url().parse().unwrap()).await.unwrap();
    let app = TestApp::on(database).await;
    let account = account(app.writer()).await;
    let head = app.position().await;
    arrived(&app).await;
    let path = format!("/v1/accounts/{account}?as_known_at={head}");
    assert_eq!(app.get(&path).await.status, 200);

    // A read model of another program: only its own fold tells what its rows were.
    sqlx::query("update projections set version = 99 where name = 'services'").execute(&pool).await.unwrap();
    let answer = app.get_at_once(&format!("/v1/services?as_known_at={head}")).await;
    assert_eq!(answer.refused(409, "other-version")["projection"], "services");
    assert_eq!(app.get_at_once("/v1/services").await.status, 200);

    // An event that was changed on the disk and is none any more.
    for statement in [
        "alter table events disable trigger all",
        "update events set payload = '{}' where event_type = 'account.opened'",
        "alter table events enable trigger all",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    app.get_at_once(&path).await.refused(500, "internal");
    app.get_at_once(&format!("/v1/accounts?as_known_at={head}")).await.refused(500, "internal");
}

/// A page of the past does not go on for ever, and neither do those who read it keep others out.
#[tokio::test]
async fn a_page_of_the_past_looks_through_so_many_rows_and_hands_a_cursor_on() {
    let app = TestApp::start().await;
    let customer = id(&app.writer().execute(register("Ada")).await.unwrap().answer);
    let first: TicketId = id(&app.writer().execute(open_ticket(&customer)).await.unwrap().answer);
    for _ in 0..12 {
        for opened in join_all((0..100).map(|_| app.writer().execute(open_ticket(&customer)))).await {
            opened.unwrap();
        }
    }
    app.done(&format!("/v1/tickets/{first}/messages"), json!({ "side": "provider", "message": "done" })).await;
    app.done(&format!("/v1/tickets/{first}/archive"), json!({})).await;
    let archived = format!("/v1/tickets?archived=true&limit=1&as_known_at={}", app.position().await);

    let page = app.get(&archived).await;
    assert_eq!((&page.body["data"], &page.body["has_more"]), (&json!([]), &json!(true)), "{}", page.text);
    let cursor = page.body["next_cursor"].as_str().expect("a cursor is handed on");
    assert!(page.header("link").contains(cursor), "{}", page.header("link"));
    let next = app.get(&format!("{archived}&cursor={cursor}")).await;
    assert_eq!((&next.body["data"][0]["id"], &next.body["has_more"]), (&json!(first), &json!(false)));
    // What is there is found as it was before, and a full page ends where it is full.
    let all = answered(&app, "/v1/tickets?limit=200", &[("as_known_at", app.position().await.to_string())]).await;
    assert_eq!(told(&all), told(&answered(&app, "/v1/tickets?limit=200", &[]).await));
}

#[tokio::test]
async fn ordinary_reads_are_answered_while_as_many_read_the_past_as_may() {
    const READERS: usize = 20;
    let app = TestApp::start().await;
    let account = account(app.writer()).await;
    arrived(&app).await;
    let path = format!("/v1/accounts/{account}?as_known_at={}", app.position().await);
    let pool = app.database.pool();
    // Nobody comes to the events, so that reads of the past take as long as this test wants.
    let mut holding = pool.begin().await.unwrap();
    let table: String = sqlx::query_scalar(
        "select c.relname from pg_depend d join pg_rewrite r on r.oid = d.objid join pg_class c on c.oid = d.refobjid
         where r.ev_class = 'accounts'::regclass and c.relkind = 'r'",
    )
    .fetch_one(&mut *holding)
    .await
    .unwrap();
    sqlx::query(&format!("lock table {table} in access exclusive mode")).execute(&mut *holding).await.unwrap();
    let mut asked: FuturesUnordered<_> = (0..READERS).map(|_| app.get_at_once(&path)).collect();
    // As many of them wait for the table as may at once; whoever waits for those is sent away.
    let turned_away = asked.next().await.unwrap();
    turned_away.refused(503, "overloaded");
    assert!(!turned_away.header("retry-after").is_empty());
    let waiting: i64 =
        sqlx::query_scalar("select count(*) from pg_locks where not granted and relation = $1::regclass")
            .bind(&table)
            .fetch_one(&mut *holding)
            .await
            .unwrap();
    assert!((1..=3).contains(&waiting), "{waiting}");
    for path in ["/v1/customers", "/v1/tickets", "/readyz"] {
        let answer = app.get_at_once(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    // All others are sent away before the table is free, or one of them might have its turn yet.
    for _ in 1..READERS as i64 - waiting {
        asked.next().await.unwrap().refused(503, "overloaded");
    }
    holding.rollback().await.unwrap();
    let answers: Vec<Answer> = asked.collect().await;
    let told = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(told as i64, waiting);
}

#[tokio::test]
async fn a_read_of_the_past_that_takes_too_long_is_refused_and_says_so() {
    let past = PastOptions { longest: Duration::ZERO, ..PastOptions::default() };
    let app = TestApp::with(database().await, AppOptions { past, ..AppOptions::default() }).await;
    let account = account(app.writer()).await;
    let head = app.position().await;
    for path in ["/v1/accounts".to_owned(), format!("/v1/accounts/{account}")] {
        app.get(&format!("{path}?as_known_at={head}")).await.refused(422, "read-too-long");
        assert_eq!(app.get(&path).await.status, 200);
    }
}

/// As of a moment of the day on which the tests are.
fn at_minute(minute: i64) -> DateTime<Utc> {
    noon() + TimeDelta::minutes(minute)
}

fn start_payment(account: &AccountId, amount: &str) -> Operation {
    let (method, purpose) = ("card".into(), Purpose::Advance);
    Operation::StartPayment(PaymentRequest {
        account: account.clone(),
        payer: None,
        method,
        amount: usd(amount),
        purpose,
    })
}

fn advance(payment: &PaymentId, step: PaymentStep) -> Operation {
    Operation::AdvancePayment(AdvancePayment { payment: payment.clone(), step })
}

fn credit(payment: &PaymentId) -> Operation {
    advance(payment, PaymentStep::Credit { document_number: None, amount: None })
}

fn record(account: &AccountId, net: &str) -> Operation {
    Operation::RecordExpense(RecordExpense {
        account: account.clone(),
        description: "hours".into(),
        quantity: dec!(1),
        net: usd(net),
        tax_rate: dec!(0),
    })
}

#[tokio::test]
async fn an_allocation_takes_effect_once_its_money_and_its_charge_have() {
    let app = TestApp::start().await;
    let account = account(app.writer()).await;
    let done = async |minute: i64, operation: Operation| {
        app.writer().execute(at(operation, at_minute(minute))).await.unwrap().answer
    };
    let payment: PaymentId = id(&done(0, start_payment(&account, "50.00")).await);
    done(120, credit(&payment)).await;
    let expense: ExpenseId = id(&done(60, record(&account, "50.00")).await);
    arrived(&app).await;
    for (minute, payment_told, expense_told, balance) in [
        (90, ("new", dec!(0), dec!(0)), (dec!(0), dec!(50)), dec!(-50)),
        (120, ("credited", dec!(50), dec!(0)), (dec!(50), dec!(0)), dec!(0)),
    ] {
        let moment = [("as_of", written(at_minute(minute)))];
        let read = async |path: String| app.get_at_once(&asking(&path, &moment)).await.body;
        let shown = read(format!("/v1/payments/{payment}")).await;
        let told = (shown["status"].as_str().unwrap(), amount(&shown["allocated"]), amount(&shown["free"]));
        assert_eq!(told, payment_told, "{minute}: {shown}");
        let shown = read(format!("/v1/expenses/{expense}")).await;
        assert_eq!((amount(&shown["covered"]), amount(&shown["uncovered"])), expense_told, "{minute}: {shown}");
        assert_eq!(amount(&read(format!("/v1/accounts/{account}/balance")).await["balance"]), balance);
    }
}

/// The law of money on an account, at every moment of a history in which everything was dated at random.
#[tokio::test]
async fn as_of_every_moment_what_is_free_less_what_is_uncovered_is_the_balance() {
    const DAY: i64 = 1_440;
    let app = TestApp::start().await;
    let mut asked = 0;
    for seed in 0..6 {
        let mut random = StdRng::seed_from_u64(seed);
        let account = account(app.writer()).await;
        let terms = ChangeTerms { account: account.clone(), terms: Terms::PostPaidAllowed };
        app.writer().execute(command(Operation::ChangeTerms(terms))).await.unwrap();
        let (mut payments, mut expenses): (Vec<PaymentId>, Vec<ExpenseId>) = (Vec::new(), Vec::new());
        // In half of the histories things are also taken back: then what was given back is money of its own.
        let takes_back = seed % 2 == 1;
        for _ in 0..60 {
            let minute = random.random_range(1..DAY);
            let mut pick = |of: usize| random.random_range(0..of);
            let cents = format!("{}.00", 1 + pick(80));
            let operation = match pick(if takes_back { 10 } else { 6 }) {
                0 | 1 => {
                    let started =
                        app.writer().execute(at(start_payment(&account, &cents), at_minute(0))).await.unwrap();
                    let payment = id(&started.answer);
                    payments.push(payment);
                    credit(payments.last().unwrap())
                }
                2 | 3 => record(&account, &cents),
                4 | 5 if payments.is_empty() || expenses.is_empty() => continue,
                4 | 5 => {
                    let payment = payments[pick(payments.len())].clone();
                    let charge = || Some(ChargeRef::Expense(expenses[0].clone()));
                    let other = Some(ChargeRef::Expense(expenses[pick(expenses.len())].clone()));
                    let (from, to) = if pick(2) == 0 { (other, None) } else { (charge(), other) };
                    Operation::AllocatePayment(AllocatePayment { payment, from, to, amount: usd("1.00") })
                }
                6 | 7 if expenses.is_empty() => continue,
                6 => {
                    let expense = expenses[pick(expenses.len())].clone();
                    Operation::AdjustExpense(AdjustExpense { expense, total: usd(&cents) })
                }
                7 => Operation::ReverseExpense(ReverseExpense { expense: expenses[pick(expenses.len())].clone() }),
                8 if expenses.is_empty() => continue,
                8 => Operation::ReinstateExpense(ReinstateExpense { expense: expenses[pick(expenses.len())].clone() }),
                _ if payments.is_empty() => continue,
                _ => {
                    let payment = payments[pick(payments.len())].clone();
                    Operation::StartRefund(StartRefund { payment, amount: usd("1.00"), gateway_refund: None })
                }
            };
            let records = matches!(operation, Operation::RecordExpense(_));
            // What the domain refuses has not happened.
            let done = app.writer().execute(at(operation, at_minute(minute))).await;
            if let Some(done) = done.ok().filter(|_| records) {
                expenses.push(id(&done.answer));
            }
        }
        arrived(&app).await;
        let reader = Reader::new(&app.database.store().await, BOARD, None);
        for minute in (0..DAY).step_by(37) {
            asked += 1;
            law_holds(&reader, &account, at_minute(minute), takes_back).await;
        }
    }
    eprintln!("{asked} moments");
}

async fn law_holds(reader: &Reader, account: &AccountId, as_of: DateTime<Utc>, takes_back: bool) {
    let moment = Moment { as_of: Some(as_of), known_at: None };
    let mut rows = reader.snapshot_of_past(&Viewer::Provider, &["payments", "expenses"], None, moment).await.unwrap();
    let everybody = &Viewer::Provider;
    let of_account = Chosen::default().lasting("account_id", Some(account.to_string()));
    for name in ["payments", "expenses"] {
        let candidates = rows.candidates(name, &of_account, None, 1_000).await.unwrap();
        let keys: Vec<String> = candidates.into_iter().map(|candidate| candidate.key).collect();
        rows.bring_back(name, &keys).await.unwrap();
    }
    let payments: Vec<PaymentRow> = newest(&mut rows, everybody, &of_account, 1_000).await;
    let expenses: Vec<ExpenseRow> = newest(&mut rows, everybody, &of_account, 1_000).await;

    let (mut given, mut taken) = (BTreeMap::new(), BTreeMap::new());
    for payment in &payments {
        let (free, allocated) = (payment.free, payment.allocated);
        assert!(free >= dec!(0) && allocated >= dec!(0), "as of {as_of}: {payment:?}");
        assert!(
            payment.status.as_str() != "new" || (free, allocated) == (dec!(0), dec!(0)),
            "as of {as_of}: {payment:?}"
        );
        let allocations = listing::belonging::<AllocationRow>(&mut rows, everybody, &payment.id).await.unwrap();
        for allocation in allocations {
            if allocation.target == "expense" {
                *given.entry((payment.id.clone(), allocation.target_id)).or_insert(dec!(0)) += allocation.amount;
            }
        }
    }
    for expense in &expenses {
        assert!(expense.covered >= dec!(0) && expense.uncovered >= dec!(0), "as of {as_of}: {expense:?}");
        let in_force = listing::in_force();
        let coverage = listing::belonging_where::<CoverageRow>(&mut rows, everybody, &expense.id, &in_force);
        for coverage in coverage.await.unwrap() {
            if let Some(payment) = coverage.origin_id.filter(|_| coverage.origin == "payment") {
                taken.insert((payment, Some(expense.id.clone())), coverage.amount);
            }
        }
    }
    given.retain(|_, amount| !amount.is_zero());
    assert_eq!(given, taken, "payments and expenses tell the same, as of {as_of}");
    if !takes_back {
        drop(rows);
        let mut now = reader.snapshot(&Viewer::Provider, &["account_statement"], None).await.unwrap();
        let balance = statement::balance(&mut now, account.as_str(), moment.before(), None).await.unwrap();
        let free: Decimal = payments.iter().map(|payment| payment.free).sum();
        let uncovered: Decimal = expenses.iter().map(|expense| expense.uncovered).sum();
        assert_eq!(free - uncovered, balance, "as of {as_of}");
    }
}
