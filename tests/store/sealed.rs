//! Texts about persons from the writer to the reader: sealed in the book, opened in the rows, erased with their key.

use std::{collections::HashSet, fs, os::unix::fs::PermissionsExt, path::Path};

use daybook_core::{
    domain::{CustomerId, Event, Ticket, TicketEvent, TicketId},
    operations::{ChangePayer, Operation, PayerChange, TicketAction, WriteOnTicket},
    store::{MasterKey, MasterKeyError, Store, StoreError, StoreOptions, read_stream},
    terms::sealed::Sealed,
    writer::{ExecuteError, Failure, Writer, WriterOptions},
};
use daybook_projections::{BOARD, Projector, ProjectorOptions};
use daybook_tests::{
    TestDatabase,
    api::TestApp,
    commands::{account, adjust, command, id, open_ticket, register, usd},
    database,
    history::LONG,
    master_key, master_key_env,
    operator::{ended, of},
    program, whole_book,
};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor;
use tokio::{process::Command, time::timeout};

/// What is written about Ada in `books_of_ada`.
const WORDS: [&str; 7] = [
    "Ada Lovelace",
    "ada@example.org",
    "Analytical Engines",
    "Ockham Park",
    "GB123456789",
    "It rattles",
    "We oiled it",
];

struct BooksOfAda {
    customer: String,
    account: String,
    payer: String,
    ticket: String,
}

async fn books_of_ada(app: &TestApp) -> BooksOfAda {
    let text = |body: Value| body["id"].as_str().unwrap().to_owned();
    let customer = text(app.done("/v1/customers", json!({ "name": "Ada Lovelace", "email": "ada@example.org" })).await);
    let open = json!({ "customer": customer, "currency": "USD", "name": "Main account" });
    let account = text(app.done("/v1/accounts", open).await);
    let address = json!({ "country": "GB", "street": "Ockham Park" });
    let payer = json!({ "customer": customer, "kind": "company", "name": "Analytical Engines", "address": address,
        "tax_number": "GB123456789" });
    let payer = text(app.done("/v1/payers", payer).await);
    let ticket =
        json!({ "customer": customer, "category": "technical", "subject": "It rattles", "message": "It rattles." });
    let ticket = text(app.done("/v1/tickets", ticket).await);
    app.done(&format!("/v1/tickets/{ticket}/messages"), json!({ "side": "provider", "message": "We oiled it" })).await;
    BooksOfAda { customer, account, payer, ticket }
}

async fn shown(app: &TestApp, books: &BooksOfAda) -> [Value; 3] {
    let BooksOfAda { customer, payer, ticket, .. } = books;
    let read = async |path: String| app.get(&path).await.body;
    [
        read(format!("/v1/customers/{customer}")).await,
        read(format!("/v1/payers/{payer}")).await,
        read(format!("/v1/tickets/{ticket}")).await,
    ]
}

fn invoice(books: &BooksOfAda) -> Value {
    let line =
        json!({ "item": "hour", "description": "an hour", "quantity": "1", "unit_price": "10", "tax_rate": "0" });
    json!({ "account": books.account, "payer": books.payer, "issued_on": "2026-04-01", "due_in_days": 14, "lines": [line] })
}

async fn rebuilt(app: &TestApp) {
    for projection in ["customers", "payers", "tickets"] {
        app.done(&of(projection, "/rebuild"), json!({})).await;
        let shown = ended(app, projection).await;
        assert_eq!(shown["last_rebuild"]["status"], "rebuilt", "{shown:#}");
    }
}

/// Of `daybook verify`.
async fn verified(database: &TestDatabase, key: &Path) -> (Option<i32>, Value) {
    let arguments = ["verify", "--json", "--database-url", database.url(), "--master-key", key.to_str().unwrap()];
    let said = Command::new(program("daybook")).args(arguments).output().await.unwrap();
    let report = serde_json::from_slice(&said.stdout);
    (said.status.code(), report.unwrap_or_else(|_| String::from_utf8_lossy(&said.stderr).into()))
}

fn tests_key() -> &'static Path {
    master_key_env()[0].1
}

/// As an erasure will do it.
async fn destroy_keys(database: &TestDatabase, persons: &[&str]) {
    let destroyed = sqlx::query(
        "update person_keys set wrapped = null, erased_at = clock_timestamp() where person = any($1) and wrapped is not null",
    )
    .bind(persons)
    .execute(database.pool())
    .await
    .unwrap();
    assert_eq!(destroyed.rows_affected(), persons.len() as u64);
}

#[tokio::test]
async fn what_is_written_about_a_person_is_sealed_in_the_book_and_shown_as_it_was_written() {
    let app = TestApp::start().await;
    let books = books_of_ada(&app).await;
    let before = shown(&app, &books).await;
    let [customer, payer, ticket] = &before;
    assert_eq!((&customer["name"], &customer["email"]), (&json!("Ada Lovelace"), &json!("ada@example.org")));
    assert_eq!((&payer["name"], &payer["tax_number"]), (&json!("Analytical Engines"), &json!("GB123456789")));
    assert_eq!(payer["address"], json!({ "country": "GB", "postal_code": "", "city": "", "street": "Ockham Park" }));
    assert_eq!((&ticket["subject"], &ticket["messages"][1]["message"]), (&json!("It rattles"), &json!("We oiled it")));

    for raw in whole_book(app.database.pool()).await {
        assert!(!WORDS.iter().any(|word| raw.payload.contains(word)), "{raw:?}");
    }
    // The past is folded from the same events, and a listing finds what is sealed in the book.
    let past = app.get(&format!("/v1/tickets/{}?as_known_at={}", books.ticket, app.position().await - 1)).await;
    assert_eq!(
        (&past.body["subject"], past.body["messages"].as_array().map(Vec::len)),
        (&json!("It rattles"), Some(1))
    );
    let found = app.get("/v1/customers?email=ada@example.org").await;
    assert_eq!(found.body["data"][0]["id"], books.customer.as_str(), "{}", found.text);

    rebuilt(&app).await;
    assert_eq!(shown(&app, &books).await, before);
    let database = app.stop().await;
    let (code, report) = verified(&database, tests_key()).await;
    assert_eq!((code, &report["sound"]), (Some(0), &json!(true)), "{report:#}");
    // Another process folds it anew.
    let app = TestApp::on(database).await;
    app.done(&format!("/v1/tickets/{}/messages", books.ticket), json!({ "side": "customer", "message": "Thanks" }))
        .await;
    assert_eq!(shown(&app, &books).await[2]["messages"][2]["message"], "Thanks");
    app.stop().await;
}

#[tokio::test]
async fn one_key_seals_what_is_written_about_one_person() {
    let app = TestApp::start().await;
    let BooksOfAda { customer, payer, .. } = books_of_ada(&app).await;
    let rows: Vec<(String, String)> = sqlx::query_as("select id, person from person_keys order by person")
        .fetch_all(app.database.pool())
        .await
        .unwrap();
    let persons: Vec<&str> = rows.iter().map(|(_, person)| person.as_str()).collect();
    assert_eq!(persons, [customer.as_str(), payer.as_str()], "the ticket is written about the customer");
    for raw in whole_book(app.database.pool()).await {
        let person = if raw.aggregate_type == "payer" { &payer } else { &customer };
        let key = rows.iter().find(|row| row.1 == *person).unwrap().0.as_str();
        let others = rows.iter().filter(|row| row.1 != *person).any(|row| raw.payload.contains(&row.0));
        let has_texts = ["customer.registered", "payer.created", "ticket.opened", "ticket.answered"];
        assert_eq!(raw.payload.contains(key), has_texts.contains(&raw.event_type.as_str()), "{raw:?}");
        assert!(!others, "{raw:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_text_is_erased_everywhere_when_its_key_is_destroyed() {
    let app = TestApp::start().await;
    let books = books_of_ada(&app).await;
    shown(&app, &books).await;
    let database = app.stop().await;
    destroy_keys(&database, &[&books.customer, &books.payer]).await;

    let app = TestApp::on(database).await;
    rebuilt(&app).await;
    let [customer, payer, ticket] = shown(&app, &books).await;
    assert_eq!((&customer["name"], &customer["email"]), (&json!("[erased]"), &json!(null)));
    assert_eq!((&payer["name"], &payer["tax_number"]), (&json!("[erased]"), &json!(null)));
    assert_eq!(payer["address"], json!({ "country": "GB", "postal_code": "", "city": "", "street": "[erased]" }));
    assert_eq!((&ticket["subject"], &ticket["messages"][0]["message"]), (&json!("[erased]"), &json!("[erased]")));
    assert_eq!((&ticket["status"], &ticket["message_count"]), (&json!("answered"), &json!(2)));
    // In the domain.
    app.post("/v1/invoices", invoice(&books)).await.refused(409, "payer-erased");
    // What happens without texts goes on, and the book and its proof are what they were.
    app.done(&format!("/v1/tickets/{}/read", books.ticket), json!({})).await;
    let database = app.stop().await;
    let (code, report) = verified(&database, tests_key()).await;
    assert_eq!((code, &report["sound"]), (Some(0), &json!(true)), "{report:#}");
}

#[tokio::test]
async fn a_key_that_is_missing_is_named_and_not_taken_for_destroyed() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let customer: CustomerId = id(&writer.execute(register("Anna")).await.unwrap().answer);
    let ticket: TicketId = id(&writer.execute(open_ticket(&customer)).await.unwrap().answer);
    running.shutdown().await;
    let stream = read_stream(database.pool(), "ticket", ticket.as_str(), 0).await.unwrap();
    let read = async || {
        let opener = database.store().await.opener(&stream).await.unwrap();
        stream[0].open(&opener)
    };
    assert!(read().await.is_ok());
    database.pool().execute("update person_keys set wrapped = wrapped || '\\x00'").await.unwrap();
    let altered = daybook_core::chain(&read().await.unwrap_err());
    assert!(altered.contains("the text `subject` cannot be opened by its key"), "{altered}");
    database.pool().execute("delete from person_keys").await.unwrap();
    let missing = daybook_core::chain(&read().await.unwrap_err());
    assert!(missing.contains("of a text is missing in `person_keys`"), "{missing}");
}

#[tokio::test]
async fn writers_of_two_processes_seal_by_one_key() {
    let database = database().await;
    let (first, one) = database.writer().await;
    let (second, other) = database.writer().await;
    let customer: CustomerId = id(&first.execute(register("Anna")).await.unwrap().answer);
    // Neither of them has the key of these in memory.
    sqlx::query("delete from person_keys").execute(database.pool()).await.unwrap();
    let (third, another) = database.writer().await;
    let opened = join_all([&second, &third].map(|writer| writer.execute(open_ticket(&customer)))).await;
    let tickets: Vec<TicketId> = opened.into_iter().map(|done| id(&done.unwrap().answer)).collect();
    let keys: Vec<String> = sqlx::query_scalar("select id from person_keys").fetch_all(database.pool()).await.unwrap();
    assert_eq!(keys.len(), 1, "{keys:?}");
    for ticket in tickets {
        let stream = read_stream(database.pool(), "ticket", ticket.as_str(), 0).await.unwrap();
        assert!(stream[0].payload.contains(&keys[0]), "{stream:?}");
    }
    for running in [one, other, another] {
        running.shutdown().await;
    }
}

/// What another process has sealed is opened before anything is decided by it.
#[tokio::test]
async fn a_payer_that_another_process_renamed_stands_on_a_document_by_its_new_name() {
    let app = TestApp::start().await;
    let books = books_of_ada(&app).await;
    let printed = async |app: &TestApp| {
        let made = app.done("/v1/invoices", invoice(&books)).await;
        app.get(&format!("/v1/invoices/{}", made["id"].as_str().unwrap())).await.body["payer"]["name"].clone()
    };
    assert_eq!(printed(&app).await, "Analytical Engines");
    let (other, running) = app.database.writer().await;
    let change = PayerChange::Rename { name: "Difference Engines".into() };
    let rename = Operation::ChangePayer(ChangePayer { payer: books.payer.parse().unwrap(), changes: vec![change] });
    other.execute(command(rename)).await.unwrap();
    running.shutdown().await;
    assert_eq!(printed(&app).await, "Difference Engines");
    app.stop().await;
}

/// The book may be one that was restored, which lacks keys that are in memory.
#[tokio::test]
async fn a_writer_that_connects_anew_looks_its_keys_up_again() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let customer: CustomerId = id(&writer.execute(register("Anna")).await.unwrap().answer);
    sqlx::query("delete from person_keys").execute(database.pool()).await.unwrap();
    let disconnect = "select pg_terminate_backend(pid, 10000) from pg_stat_activity
        where datname = current_database() and usename = 'daybook_app' and pid <> pg_backend_pid()";
    sqlx::query(disconnect).execute(database.pool()).await.unwrap();
    let ticket: TicketId = id(&writer.execute(open_ticket(&customer)).await.unwrap().answer);
    let stream = read_stream(database.pool(), "ticket", ticket.as_str(), 0).await.unwrap();
    let opener = database.store().await.opener(&stream).await.unwrap();
    assert!(stream[0].open(&opener).is_ok(), "its key is in the table");
    running.shutdown().await;
}

#[tokio::test]
async fn a_nul_is_refused_although_it_would_be_sealed() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let refused = writer.execute(register("An\0na")).await.unwrap_err();
    assert!(matches!(&refused, ExecuteError::Refused(refusal) if refusal.code() == "text-with-nul"), "{refused:?}");
    running.shutdown().await;
}

#[tokio::test]
async fn without_the_master_key_nothing_is_sealed_and_all_else_goes_on() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let account = account(&writer).await;
    running.shutdown().await;

    let locked = Store::connect(database.logins().clone(), StoreOptions::default()).await.unwrap();
    // It would stop at the first text, for everybody who reads.
    let projector = Projector::start(&locked, BOARD, None, ProjectorOptions::default()).await;
    assert!(matches!(projector, Err(StoreError::NoMasterKey)), "{projector:?}");
    let (writer, running) = Writer::start(locked, WriterOptions::default());
    let both =
        join_all([register("Berta"), adjust(&account, usd("1.00"))].map(|command| writer.execute(command))).await;
    let [registered, adjusted] = both.try_into().unwrap();
    let is_locked = |error: &ExecuteError| matches!(error, ExecuteError::Failed(Failure::Database(error)) if matches!(**error, StoreError::NoMasterKey));
    assert!(registered.as_ref().is_err_and(is_locked), "{registered:?}");
    assert!(adjusted.is_ok(), "{adjusted:?}");
    running.shutdown().await;
}

/// What can be judged without the master key is judged.
#[tokio::test]
async fn an_auditor_without_the_master_key_leaves_rows_with_texts_undecided() {
    let app = TestApp::start().await;
    books_of_ada(&app).await;
    shown(&app, &books_of_ada(&app).await).await;
    let database = app.stop().await;
    let nowhere = tempfile::tempdir().unwrap();
    let (code, report) = verified(&database, &nowhere.path().join("master.key")).await;
    assert_eq!((code, &report["undecided"]), (Some(2), &json!(true)), "{report:#}");
    let checks = report["checks"].as_array().unwrap();
    let undecided = checks.iter().filter(|check| check.get("undecided").is_some());
    let names: HashSet<&str> = undecided.map(|check| check["name"].as_str().unwrap()).collect();
    let of = |projection: &str| format!("rows of `{projection}` equal a fresh fold");
    let expected = ["customers", "payers", "tickets"].map(of);
    assert_eq!(names, expected.iter().map(String::as_str).collect(), "{report:#}");
    assert!(checks.iter().all(|check| check["sound"] == true || check.get("undecided").is_some()), "{report:#}");
    assert!(!nowhere.path().join("master.key").exists(), "who reads makes no key");
}

#[tokio::test]
async fn another_master_key_than_the_ledger_s_is_refused_and_none_is_made_in_its_place() {
    let database = database().await;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("master.key");
    let locked = async || Store::connect(database.logins().clone(), StoreOptions::default()).await.unwrap();

    // Made at the first start, for its owner only, and found by the next.
    locked().await.unlocked(&file).await.unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let made = fs::read_to_string(&file).unwrap();
    let (writer, running) = Writer::start(locked().await.unlocked(&file).await.unwrap(), WriterOptions::default());
    let customer: CustomerId = id(&writer.execute(register("Anna")).await.unwrap().answer);
    running.shutdown().await;
    let own: MasterKey = made.parse().unwrap();
    let rows: Vec<String> = sqlx::query_scalar("select master_key from person_keys union select id from master_key")
        .fetch_all(database.pool())
        .await
        .unwrap();
    assert_eq!(rows, [own.id()]);

    let other = MasterKey::generate();
    fs::write(&file, other.to_text()).unwrap();
    let refused = locked().await.unlocked(&file).await.unwrap_err();
    assert!(
        matches!(&refused, MasterKeyError::Store(StoreError::OtherMasterKey { found, expected })
        if found == other.id() && expected == own.id()),
        "{refused:?}"
    );
    let server = Command::new(program("daybook-server"))
        .args(["--listen", "127.0.0.1:0", "--log-key", "none", "--database-url", database.url(), "--master-key"])
        .arg(&file)
        .kill_on_drop(true)
        .output();
    let server = timeout(LONG, server).await.expect("it does not start").unwrap();
    let said = String::from_utf8_lossy(&server.stderr);
    assert!(!server.status.success() && said.contains("are wrapped by") && said.contains(own.id()), "{said}");
    let by_option = StoreOptions { master_key: Some(master_key()), ..StoreOptions::default() };
    let refused = Store::connect(database.logins().clone(), by_option).await.unwrap_err().to_string();
    assert!(refused.contains(own.id()) && refused.contains("nothing was changed"), "{refused}");

    fs::remove_file(&file).unwrap();
    let refused = locked().await.unlocked(&file).await.unwrap_err();
    assert!(matches!(&refused, MasterKeyError::Missing { id, .. } if id == own.id()), "{refused:?}");
    assert!(!file.exists());

    fs::write(&file, &made).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = locked().await.unlocked(&file).await.unwrap_err();
    assert!(matches!(&refused, MasterKeyError::Exposed { .. }), "{refused:?}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let store = locked().await.unlocked(&file).await.unwrap();
    let stream = read_stream(database.pool(), "customer", customer.as_str(), 0).await.unwrap();
    assert!(stream[0].open(&store.opener(&stream).await.unwrap()).is_ok());
}

/// Two programs at their first start, each with a master key of its own: the second finds that there is one.
#[tokio::test]
async fn no_two_master_keys_seal_one_ledger() {
    let database = database().await;
    let stores = join_all([MasterKey::generate(), MasterKey::generate()].map(|key| {
        let options = StoreOptions { master_key: Some(key), ..StoreOptions::default() };
        Store::connect(database.logins().clone(), options)
    }));
    let mut sealed = 0;
    for store in stores.await {
        let (writer, running) = Writer::start(store.unwrap(), WriterOptions::default());
        sealed += usize::from(writer.execute(register("Anna")).await.is_ok());
        running.shutdown().await;
    }
    assert_eq!((sealed, whole_book(database.pool()).await.len()), (1, 1));
}

#[tokio::test]
async fn the_application_makes_keys_and_never_changes_one() {
    let database = database().await;
    let store = database.store().await;
    for forbidden in [
        "update person_keys set wrapped = null, erased_at = now()",
        "update person_keys set person = 'cus_2'",
        "delete from person_keys",
        "truncate person_keys",
        "insert into person_keys (id, person, wrapped, master_key, erased_at) values ('key_1', 'cus_1', null, 'm', now())",
        "update master_key set id = 'another'",
        "delete from master_key",
    ] {
        let refused = sqlx::query(forbidden).execute(store.pool()).await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("42501"), "{forbidden}");
    }
    let public: Vec<String> = sqlx::query_scalar(
        "select grantee::text from information_schema.table_privileges
         where table_name in ('person_keys', 'master_key') and grantee not in ('daybook_app', current_user)",
    )
    .fetch_all(database.pool())
    .await
    .unwrap();
    assert_eq!(public, Vec::<String>::new());
}

/// The stock framework knows of no keys: it reads what is sealed as it is stored, and what it writes is plain.
#[tokio::test]
async fn a_stock_repository_reads_a_sealed_event() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let customer: CustomerId = id(&writer.execute(register("Anna")).await.unwrap().answer);
    let ticket: TicketId = id(&writer.execute(open_ticket(&customer)).await.unwrap().answer);
    let answer = TicketAction::Answer { message: "We oiled it".into() };
    let write = Operation::WriteOnTicket(WriteOnTicket { ticket: ticket.clone(), action: answer });
    writer.execute(command(write)).await.unwrap();
    running.shutdown().await;
    let repository = postgres_es::PostgresEventRepository::new(database.pool().clone());
    let theirs = cqrs_es::persist::PersistedEventRepository::get_events::<Ticket>(&repository, ticket.as_str()).await;
    let theirs = theirs.unwrap();
    let event: TicketEvent = serde_json::from_value(theirs[1].payload.clone()).unwrap();
    assert!(matches!(&event, TicketEvent::Answered { message: Sealed::Closed(_) }), "{event:?}");
    let ours = read_stream(database.pool(), "ticket", ticket.as_str(), 0).await.unwrap();
    assert_eq!(ours[1].event(database.store().await.upcasters()).unwrap(), Event::Ticket(event));
}

/// Nothing of a text is in what the server says of itself.
#[tokio::test]
async fn a_text_is_in_no_message_about_an_event() {
    let app = TestApp::start().await;
    let books = books_of_ada(&app).await;
    let events = app.request(Method::GET, "/v1/audit/events?limit=100").send().await.unwrap().text().await.unwrap();
    assert!(events.contains(&books.ticket) && !WORDS.iter().any(|word| events.contains(word)), "{events}");
    app.stop().await;
}
