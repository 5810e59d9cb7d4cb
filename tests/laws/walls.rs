//! A customer sees what is theirs, and nothing of anybody else: by the conditions of the queries alone, by PostgreSQL alone,
//! and by both.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use daybook_api::listings;
use daybook_core::{
    domain::{AGGREGATE_TYPES, AccountId, CustomerId, function::Function},
    operations::{JoinGroup, Operation},
    store::{Store, StoreOptions},
};
use daybook_projections::{
    BOARD, Chosen, Moment, Reader, Snapshot, Viewer,
    engine::{RebuildOptions, Stage, Walls, discard, rebuild, roll_back},
    find, history, listing, statement,
    ticket::TicketRow,
};
use daybook_tests::{
    api::{Answer, TestApp},
    commands::{adjust, command, id, open_account, open_ticket, pay_in, register, usd},
    copy, database,
    history::Ledger,
    listed::newest,
    spread,
    viewer::header,
    whole_book,
};
use futures::join;
use reqwest::Method;
use serde_json::Value;
use sqlx::{FromRow, PgConnection, PgPool};
use tokio::time::timeout;

use super::time_travel::{addresses, arrived, has_past};

const EVERY: [Walls; 3] = [Walls::Both, Walls::First, Walls::Second];

/// How many addresses of each route an ordinary run asks.
const ADDRESSES: usize = 3;

/// Routes that read no rows: what they answer is the same for everybody.
const OF_NOBODY: [&str; 5] = ["/livez", "/readyz", "/log/checkpoint", "/log/tile/{level}/{*index}", "/log/format"];

/// Two customers: one to whom everything has happened that can happen, and one to whom little has.
struct Two {
    app: TestApp,
    ada: String,
    eve: String,
    /// All identifiers of what is Ada's.
    of_ada: BTreeSet<String>,
    /// The addresses that a customer may read, by their routes.
    all: BTreeMap<String, Vec<String>>,
}

impl Two {
    async fn new() -> Self {
        let ledger = Ledger::varied_and_projected().await;
        let book = whole_book(ledger.database.pool()).await;
        let app = TestApp::on(database().await).await;
        copy::keys(&ledger.database, &app.database).await;
        copy::append_to(&app, &book).await;
        arrived(&app).await;
        let of_ada = identifiers(app.database.pool()).await;
        let ada: String = sqlx::query_scalar("select id from customers").fetch_one(app.database.pool()).await.unwrap();

        let writer = app.writer();
        let customer: CustomerId = id(&writer.execute(register("Eve")).await.unwrap().answer);
        let account: AccountId = id(&writer.execute(open_account(&customer)).await.unwrap().answer);
        writer.execute(adjust(&account, usd("12.30"))).await.unwrap();
        writer.execute(pay_in(&account, "stripe:of_eve", usd("5.00"))).await.unwrap();
        writer.execute(open_ticket(&customer)).await.unwrap();
        let join = JoinGroup { customer: customer.clone(), group: "silver".into() };
        writer.execute(command(Operation::JoinGroup(join))).await.unwrap();
        arrived(&app).await;

        let mut all = BTreeMap::new();
        for path in read_by_customers(&app).await {
            let cases = addresses(&path, &app.database).await.unwrap_or_else(|| panic!("{path} has no address"));
            assert!(OF_NOBODY.contains(&&*path) || !cases.is_empty(), "{path}: nothing to ask");
            all.insert(path, cases);
        }
        Self { app, ada, eve: customer.to_string(), of_ada, all }
    }

    /// The answer to a customer, without what names the request.
    async fn told(&self, walls: Walls, customer: &str, address: &str) -> Value {
        self.told_by(Method::GET, walls, customer, address).await
    }

    async fn told_by(&self, method: Method, walls: Walls, customer: &str, address: &str) -> Value {
        let (name, value) = header(walls, customer);
        written(Answer::to(self.app.request(method, address).header(name, value)).await)
    }

    fn moments(&self, end: u64) -> [Vec<(&str, String)>; 4] {
        let middle = ("as_known_at", (end / 2).to_string());
        let as_of = ("as_of", "2024-01-05T00:00:00Z".to_owned());
        [Vec::new(), vec![middle.clone()], vec![as_of.clone()], vec![as_of, ("as_known_at", (end - 8).to_string())]]
    }
}

/// What is told by an answer: its status and its body, and the position that it is true at.
fn written(answer: Answer) -> Value {
    let position = answer.header("ledger-position").to_owned();
    let text = match answer.status {
        200 => answer.text,
        _ => {
            let mut problem = answer.body;
            problem["instance"].take();
            problem.to_string()
        }
    };
    serde_json::json!({ "status": answer.status, "position": position, "text": text })
}

async fn identifiers(pool: &PgPool) -> BTreeSet<String> {
    let tables = BOARD.iter().flat_map(|projection| projection.tables).filter(|table| table.prefix().is_some());
    let mut found = BTreeSet::new();
    for table in tables {
        let ids: Vec<String> =
            sqlx::query_scalar(&format!("select id from {}", table.name())).fetch_all(pool).await.unwrap();
        // Discounts of everyone are everyone's to see, and a person may be a member elsewhere, too.
        let of_others = |id: &String| ["dsc_", "usr_", "tok_"].iter().any(|prefix| id.starts_with(prefix));
        found.extend(ids.into_iter().filter(|id| !of_others(id)));
    }
    assert!(found.len() > 30, "{found:?}");
    found
}

/// The paths that the table of routes lets a customer read.
async fn read_by_customers(app: &TestApp) -> Vec<String> {
    let description = app.get_at_once("/openapi.json").await.body;
    let is_customers = |item: &Value| {
        item.get("get").is_some_and(|operation| {
            operation["x-needs"]
                .as_str()
                .is_some_and(|need| need == "identity" || need.parse().is_ok_and(Function::is_for_customers))
        })
    };
    let paths = description["paths"].as_object().expect("paths");
    paths.iter().filter(|(path, item)| has_past(path) && is_customers(item)).map(|(path, _)| path.clone()).collect()
}

fn asking(address: &str, parameters: &[(&str, String)]) -> String {
    let mut address = address.to_owned();
    for (name, value) in parameters {
        address += &format!("{}{name}={value}", if address.contains('?') { '&' } else { '?' });
    }
    address
}

#[tokio::test]
async fn each_wall_alone_shows_what_both_show_and_nothing_of_another_customer() {
    let two = Two::new().await;
    let end = two.app.position().await;
    let (mut seen, mut compared) = (BTreeSet::new(), 0);
    for (path, cases) in &two.all {
        for address in spread(cases.iter().collect(), ADDRESSES) {
            for moment in two.moments(end) {
                let address = asking(address, &moment);
                for customer in [&two.ada, &two.eve] {
                    let (both, first, second) = join!(
                        two.told(Walls::Both, customer, &address),
                        two.told(Walls::First, customer, &address),
                        two.told(Walls::Second, customer, &address),
                    );
                    assert!(["200", "404"].contains(&&*both["status"].to_string()), "{address}: {both}");
                    assert_eq!(second, both, "{address} of {customer}, behind PostgreSQL alone");
                    // What else a command did, PostgreSQL tells only as far as it happened to something that is theirs.
                    if !path.ends_with("/explanation") {
                        assert_eq!(first, both, "{address} of {customer}, behind the queries' conditions alone");
                    }
                    for told in [&both, &first, &second] {
                        if *customer == two.eve {
                            let foreign = two.of_ada.iter().find(|id| told["text"].to_string().contains(*id));
                            assert_eq!(foreign, None, "{address}: {told}");
                        } else if told["status"] == 200 && told["text"].to_string().contains(&*two.ada) {
                            seen.insert(path.clone());
                        }
                    }
                    compared += 1;
                }
            }
        }
    }
    eprintln!("{compared} answers of {} routes", two.all.len());
    assert!(seen.len() > 8, "{seen:?}");
}

#[tokio::test]
async fn a_customer_sees_of_what_is_theirs_all_that_the_provider_sees() {
    let two = Two::new().await;
    let end = two.app.position().await;
    for (path, cases) in two.all.iter().filter(|(path, _)| path.contains("{id}") && !path.contains("explanation")) {
        let mut told_something = false;
        let cases = cases.iter().filter(|address| !address.contains(&*two.eve)).collect();
        for address in spread(cases, ADDRESSES) {
            for moment in two.moments(end) {
                let address = asking(address, &moment);
                let of_provider = written(two.app.get_at_once(&address).await);
                let of_customer = two.told(Walls::Both, &two.ada, &address).await;
                if of_customer["status"] == 200 {
                    assert_eq!(of_customer, of_provider, "{address}");
                    told_something = true;
                }
            }
        }
        assert!(told_something, "{path} tells the customer nothing");
    }
    // Of the history of what is theirs, too, all of it.
    for entity in two.of_ada.iter() {
        let address = format!("/v1/history?entity={entity}");
        let of_provider = written(two.app.get_at_once(&address).await);
        assert_eq!(two.told(Walls::Both, &two.ada, &address).await, of_provider, "{address}");
        assert!(of_provider["text"].to_string().contains("event_type"), "{of_provider}");
    }
}

/// The answer to somebody's identifier is the answer to one that nobody has.
#[tokio::test]
async fn what_is_another_customer_s_is_answered_as_what_is_not_there() {
    let two = Two::new().await;
    let end = two.app.position().await;
    let mut asked = 0;
    for (path, cases) in &two.all {
        let foreign = |address: &String| two.of_ada.iter().find(|id| address.contains(*id));
        let of_ada = cases.iter().filter(|address| foreign(address).is_some());
        for address in spread(of_ada.collect(), ADDRESSES) {
            let foreign = foreign(address).expect("it is filtered by that");
            let prefix = foreign.split('_').next().expect("an identifier has a prefix");
            let unknown = format!("{prefix}_01JD8Z2Q4Y0000000000000001");
            for moment in two.moments(end) {
                let address = asking(address, &moment);
                for walls in EVERY {
                    let other = address.replace(foreign, &unknown);
                    let (of_foreign, of_unknown) =
                        join!(two.told(walls, &two.eve, &address), two.told(walls, &two.eve, &other));
                    let of_foreign: Value = of_foreign.to_string().replace(foreign, &unknown).into();
                    assert_eq!(of_foreign, Value::from(of_unknown.to_string()), "{path}: {address} behind {walls:?}");
                    asked += 1;
                }
            }
        }
    }
    let invoice = two.of_ada.iter().find(|id| id.starts_with("inv_")).unwrap();
    for method in [Method::PATCH, Method::PUT, Method::DELETE] {
        for walls in EVERY {
            let told = async |customer: &str, invoice: &str| {
                two.told_by(method.clone(), walls, customer, &format!("/v1/invoices/{invoice}")).await
            };
            let of_foreign = told(&two.eve, invoice).await;
            assert_eq!(of_foreign, told(&two.eve, "inv_01JD8Z2Q4Y0000000000000001").await);
            assert_eq!((&of_foreign["status"], &told(&two.ada, invoice).await["status"]), (&404.into(), &409.into()));
        }
    }
    assert!(asked > 200, "{asked}");
}

/// A cursor says where a page begins, and opens nothing.
#[tokio::test]
async fn the_cursor_of_somebody_else_shows_nothing_of_theirs() {
    let two = Two::new().await;
    let mut asked = 0;
    for path in two.all.keys().filter(|path| !path.contains('{') && path.starts_with("/v1/") && *path != "/v1/history")
    {
        for moment in ["", "&as_of=2024-03-01T00:00:00Z"] {
            let address = format!("{path}?limit=1{moment}");
            let page = two.app.get_at_once(&address).await;
            let Some(cursor) = page.body["next_cursor"].as_str() else { continue };
            for walls in EVERY {
                let told = two.told(walls, &two.eve, &format!("{address}&cursor={cursor}")).await;
                let foreign = two.of_ada.iter().find(|id| told["text"].to_string().contains(*id));
                assert_eq!((foreign, &told["status"]), (None, &200.into()), "{address}: {told}");
                asked += 1;
            }
        }
    }
    assert!(asked > 20, "{asked}");
}

/// Whichever way a listing is asked for: sorted, with things in the place of identifiers, or as a table.
#[tokio::test]
async fn each_wall_alone_shows_the_same_of_a_listing_in_every_order_and_form() {
    let two = Two::new().await;
    let end = two.app.position().await;
    let read_by_customers: BTreeSet<&str> = two.all.keys().map(String::as_str).collect();
    let (mut compared, mut seen) = (0, BTreeSet::new());
    for listing in listings().into_iter().filter(|listing| read_by_customers.contains(listing.path)) {
        let path = listing.path;
        let sorted = listing.sorts.iter().map(|sort| (format!("{path}?limit=3&sort=-{}", sort.name), ""));
        let expanded = (format!("{path}?expand={}", listing.paths.join(",")), "");
        let of_the_past = format!("{path}?as_known_at={}", end / 2);
        let tables = [(path.to_owned(), "text/csv"), (of_the_past, "text/csv")];
        let all = sorted.chain([expanded].into_iter().filter(|_| !listing.paths.is_empty())).chain(tables);
        for (address, form) in all {
            for customer in [&two.ada, &two.eve] {
                let mut told = Vec::new();
                for walls in EVERY {
                    let (name, value) = header(walls, customer);
                    let request = two.app.request(Method::GET, &address).header(name, value).header("accept", form);
                    let told_now = written(Answer::to(request).await);
                    assert_eq!(told_now["status"], 200, "{address}: {told_now}");
                    if *customer == two.eve {
                        let foreign = two.of_ada.iter().find(|id| told_now["text"].to_string().contains(*id));
                        assert_eq!(foreign, None, "{address}: {told_now}");
                    } else if told_now["text"].to_string().contains(&*two.ada) {
                        seen.insert(path);
                    }
                    told.push(told_now);
                    compared += 1;
                }
                assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{address} of {customer}: {told:#?}");
            }
        }
    }
    assert!(compared > 300 && seen.len() > 6, "{compared} {seen:?}");
}

/// Beside the views, each table of a projection says whose its rows are, or that they are nobody's.
#[tokio::test]
async fn every_table_has_a_view_that_shows_a_customer_their_own_rows() {
    let ledger = Ledger::varied_and_projected().await;
    assert_walls(ledger.database.pool()).await;
}

/// That the role of customers may read the views of their own rows, and may do nothing else.
async fn assert_walls(pool: &PgPool) {
    let mut expected: BTreeSet<String> = ["events", "projections"].map(String::from).into();
    let tables = BOARD.iter().flat_map(|projection| projection.tables);
    expected.extend(tables.filter(|table| !table.owner().is_nobody()).map(|table| table.name().to_owned()));
    let expected: BTreeSet<String> = expected.into_iter().map(|name| format!("public_own.{name} select")).collect();

    let may: Vec<String> = sqlx::query_scalar(
        "select nspname || '.' || relname || ' ' || privilege
         from pg_class
         join pg_namespace on pg_namespace.oid = relnamespace
         cross join unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) privilege
         where nspname not in ('pg_catalog', 'information_schema') and nspname !~ '^pg_' and relkind in ('r', 'p', 'v', 'm', 'f')
             and (has_table_privilege('daybook_customer', pg_class.oid, privilege)
                 or (privilege in ('select', 'insert', 'update', 'references')
                     and has_any_column_privilege('daybook_customer', pg_class.oid, privilege)))",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(may.into_iter().collect::<BTreeSet<_>>(), expected);

    let open: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class
         where relnamespace = 'public_own'::regnamespace
             and (relkind <> 'v' or reloptions is distinct from '{security_barrier=true}')",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(open, [""; 0], "views without a barrier");

    let more: Vec<String> = sqlx::query_scalar(
        "select 'is in ' || roleid::regrole from pg_auth_members where member = 'daybook_customer'::regrole
         union all
         select 'may create in ' || nspname from pg_namespace
         where has_schema_privilege('daybook_customer', oid, 'create') and nspname !~ '^pg_temp'
         union all
         select 'may create in the database' where has_database_privilege('daybook_customer', current_database(), 'create')
         union all
         select 'owns ' || relname from pg_class where relowner = 'daybook_customer'::regrole
         union all
         select 'uses ' || relname from pg_class
         where case when relkind = 'S' then has_sequence_privilege('daybook_customer', oid, 'usage, select, update') end
         union all
         select 'becomes the owner by ' || proname from pg_proc
         where prosecdef and prorettype <> 'trigger'::regtype and pronamespace <> 'pg_catalog'::regnamespace
             and has_function_privilege('daybook_customer', oid, 'execute')
         union all
         select 'logs in, or more' from pg_roles
         where rolname = 'daybook_customer'
             and (rolsuper or rolcanlogin or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls)",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(more, [""; 0]);
}

#[tokio::test]
async fn the_wall_stands_after_a_rebuild_a_roll_back_and_a_discard() {
    let ledger = Ledger::varied_and_projected().await;
    let (store, pool) = (&ledger.store, ledger.database.pool());
    let reader = Reader::new(store, BOARD, None);
    let customer: String = sqlx::query_scalar("select id from customers").fetch_one(pool).await.unwrap();
    let shown = async || {
        let mut counts = Vec::new();
        for customer in [&*customer, "cus_stranger"] {
            let viewer = Viewer::behind(Walls::Second, [customer.to_owned()]);
            for projection in BOARD {
                let mut rows = reader.snapshot(&viewer, &[projection.name], None).await.unwrap();
                let (connection, viewer) = rows.parts();
                for table in projection.tables.iter().filter(|table| !table.owner().is_nobody()) {
                    counts.push((table.name(), listing::count(connection, viewer, table).await.unwrap()));
                }
            }
        }
        counts
    };
    let before = shown().await;
    for name in ["accounts", "payments", "history", "tickets"] {
        let definition = find(name).unwrap();
        rebuild(store, &definition, &RebuildOptions::default(), |_| {}).await.unwrap();
        assert_walls(pool).await;
        // What served before has no rows any more.
        discard(store, &definition, Stage::Kept).await.unwrap();
        assert_eq!(shown().await, before, "after a rebuild of {name}");
        rebuild(store, &definition, &RebuildOptions::default(), |_| {}).await.unwrap();
        roll_back(store, &definition, None).await.unwrap();
        assert_walls(pool).await;
        discard(store, &definition, Stage::Kept).await.unwrap();
        assert_walls(pool).await;
        assert_eq!(shown().await, before, "after a roll-back of {name}");
    }
}

/// What somebody has given or taken meanwhile is put right by the next start.
#[tokio::test]
async fn a_start_puts_the_wall_right() {
    let ledger = Ledger::varied_and_projected().await;
    let pool = ledger.database.pool();
    let meddling = "grant select on events, tickets to daybook_customer;
         grant update (subject) on tickets_v1 to daybook_customer;
         grant usage on schema public to daybook_customer;
         create or replace view public_own.tickets as select *, 1 as more from tickets_v1;
         drop view public_own.account_days";
    sqlx::raw_sql(meddling).execute(pool).await.unwrap();
    Store::migrate(ledger.database.logins().owner()).await.unwrap();
    ledger.projector(false).await.shutdown().await;
    assert_walls(pool).await;
    let definition: String =
        sqlx::query_scalar("select pg_get_viewdef('public_own.tickets'::regclass)").fetch_one(pool).await.unwrap();
    assert!(definition.contains("daybook.customers"), "{definition}");
}

/// What PostgreSQL refuses to a customer's transaction, whatever is asked in it.
#[tokio::test]
async fn a_customer_s_transaction_reads_no_table() {
    let ledger = Ledger::varied_and_projected().await;
    let reader = Reader::new(&ledger.store, BOARD, None);
    for refused in [
        "select * from public.tickets",
        "select * from public.tickets_v1",
        "select * from public.events",
        "select * from public.book_head",
        "select * from public.projections",
        "select * from public.api_keys",
        "select * from public.idempotency",
        "select * from public.log_tiles",
        "insert into public_own.tickets (id) values ('tkt_1')",
        "delete from public_own.tickets",
    ] {
        let viewer = Viewer::of_customers(["cus_1".to_owned()]);
        let mut rows = reader.snapshot(&viewer, &["tickets"], None).await.unwrap();
        let error = sqlx::query(refused).execute(&mut *rows).await.unwrap_err();
        let code = error.as_database_error().and_then(|error| error.code()).map(|code| code.to_string());
        let read_only = code.as_deref() == Some("25006") && !refused.starts_with("select");
        assert!(code.as_deref() == Some("42501") || read_only, "{refused}: {error}");
    }
    // Nobody's rows are shown to nobody.
    let customer: String =
        sqlx::query_scalar("select customer_id from tickets").fetch_one(ledger.database.pool()).await.unwrap();
    for customers in [vec![], vec![String::new()], vec![format!("cus_1,{customer}")], vec!["'".to_owned()]] {
        let viewer = Viewer::behind(Walls::Second, customers);
        let mut rows = reader.snapshot(&viewer, &["tickets"], None).await.unwrap();
        let (connection, viewer) = rows.parts();
        let found: Vec<TicketRow> = newest(connection, viewer, &Chosen::default(), 10).await;
        assert_eq!(found, []);
    }
}

/// A row of the past that is not the customer's cannot even be written.
#[tokio::test]
async fn rows_of_the_past_are_behind_the_wall_too() {
    let ledger = Ledger::varied_and_projected().await;
    let pool = ledger.database.pool();
    let reader = Reader::new(&ledger.store, BOARD, None);
    let tickets: Vec<String> = sqlx::query_scalar("select id from tickets").fetch_all(pool).await.unwrap();
    let owner: String = sqlx::query_scalar("select id from customers").fetch_one(pool).await.unwrap();
    for (customer, expected) in [(&*owner, tickets.len()), ("cus_stranger", 0)] {
        let viewer = Viewer::behind(Walls::Second, [customer.to_owned()]);
        let moment = Moment { known_at: Some(ledger.last), as_of: None };
        let mut past = reader.snapshot_of_past(&viewer, &["tickets"], None, moment).await.unwrap();
        let candidates = past.candidates("tickets", &Chosen::default(), None, 100).await.unwrap();
        assert_eq!(candidates.len(), expected);
        past.bring_back("tickets", &tickets).await.unwrap();
        let (connection, viewer) = past.parts();
        let rows: Vec<TicketRow> = newest(connection, viewer, &Chosen::default(), 100).await;
        assert_eq!(rows.len(), expected);
        // By whatever way a row came to be brought back.
        let foreign = "set local role daybook_app;
             insert into pg_temp.tickets select (json_populate_record(t, '{\"customer_id\": \"cus_other\", \"id\": \"tkt_x\"}')).*
             from public.tickets t limit 1";
        let error = sqlx::raw_sql(foreign).execute(&mut *past).await.unwrap_err().to_string();
        assert!(error.contains("row-level security"), "{error}");
    }
}

/// Who the connections of a pool of one are, and what they know.
async fn left_behind(store: &Store) -> (String, String, String, String) {
    #[derive(FromRow)]
    struct Session {
        role: String,
        customers: String,
        accounts: String,
        path: String,
    }
    let session: Session = sqlx::query_as(
        "select current_user::text as role, coalesce(current_setting('daybook.customers', true), '') as customers,
             coalesce(current_setting('daybook.accounts', true), '') as accounts, current_setting('search_path') as path",
    )
    .fetch_one(store.pool())
    .await
    .unwrap();
    (session.role, session.customers, session.accounts, session.path)
}

#[tokio::test]
async fn a_connection_comes_back_as_the_application_whatever_happened_on_it() {
    let ledger = Ledger::varied_and_projected().await;
    let store = ledger.database.store_with(StoreOptions { max_connections: 1, ..daybook_tests::store_options() }).await;
    let customer: String = sqlx::query_scalar("select id from customers").fetch_one(store.pool()).await.unwrap();
    let (reader, viewer) = (Reader::new(&store, BOARD, None), Viewer::of_customers([customer.clone()]));
    let before = left_behind(&store).await;
    assert_eq!((&*before.0, &*before.1, &*before.2), ("daybook_app", "", ""));

    let mut rows = reader.snapshot(&viewer, &["tickets"], None).await.unwrap();
    let inside = session(&mut rows).await;
    assert_eq!((&*inside.0, &inside.1), ("daybook_customer", &customer));
    assert!(inside.2.starts_with("acc_") && inside.3 == "public_own", "{inside:?}");
    drop(rows);
    assert_eq!(left_behind(&store).await, before);

    let mut rows = reader.snapshot(&viewer, &["tickets"], None).await.unwrap();
    sqlx::query("select 1 / 0").execute(&mut *rows).await.unwrap_err();
    drop(rows);
    assert_eq!(left_behind(&store).await, before);

    // The schema of the views is not there, so that it fails on the way in.
    sqlx::raw_sql("alter schema public_own rename to elsewhere").execute(ledger.database.pool()).await.unwrap();
    reader.snapshot(&viewer, &["tickets"], None).await.unwrap_err();
    assert_eq!(left_behind(&store).await, before);
    sqlx::raw_sql("alter schema elsewhere rename to public_own").execute(ledger.database.pool()).await.unwrap();

    let moment = Moment { known_at: Some(ledger.last), as_of: None };
    for microseconds in (0..4_000).step_by(100) {
        let patience = Duration::from_micros(microseconds);
        drop(timeout(patience, reader.snapshot(&viewer, &["tickets"], None)).await);
        assert_eq!(left_behind(&store).await, before);
        drop(timeout(2 * patience, reader.snapshot_of_past(&viewer, &["tickets"], None, moment)).await);
        assert_eq!(left_behind(&store).await, before);
    }

    let panicking = tokio::spawn(async move {
        let _rows = reader.snapshot(&viewer, &["tickets"], None).await.unwrap();
        panic!("a test wants it");
    });
    panicking.await.unwrap_err();
    assert_eq!(left_behind(&store).await, before);
}

async fn session(rows: &mut Snapshot) -> (String, String, String, String) {
    let connection: &mut PgConnection = rows;
    sqlx::query_as(
        "select current_user::text, current_setting('daybook.customers', true), current_setting('daybook.accounts', true),
             current_setting('search_path')",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

/// PostgreSQL does not look through the views; a page takes its rows for all that, and not all that the customer has.
#[tokio::test]
async fn a_page_of_a_large_customer_takes_its_rows_alone() {
    let ledger = Ledger::new().await;
    ledger.projector(false).await.shutdown().await;
    let pool = ledger.database.pool();
    let rows = "
        set session_replication_role = replica;
        insert into accounts_v1 (id, customer_id, name, currency, time_zone, balance, held, credit_limit, post_paid,
            automatic_allocation, opened_at, entries, position, changed_position)
        select 'acc_' || n, 'cus_' || n, 'main', 'USD', 'UTC', 0, 0, 0, false, false, now(), 0, n, n
        from generate_series(1, 1000) n;
        insert into tickets_v1 (id, customer_id, category, subject, status, archived, messages, opened_at, last_message_at,
            position, changed_position)
        select 'tkt_' || n, 'cus_' || case when n % 2 = 0 then 1 else n % 1000 end, 'c', 's', 'open', false, 1, now(), now(), n, n
        from generate_series(1, 100000) n;
        insert into account_statement_v1 (account_id, entry, position, occurred_at, recorded_at, origin, description, amount,
            balance, currency)
        select 'acc_' || case when n % 2 = 0 then 1 else n % 1000 end, n, n, timestamptz '2024-01-01' + n * interval '1 minute',
            now(), 'adjustment', 'd', 1, 1, 'USD'
        from generate_series(1, 100000) n;
        insert into events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
            recorded_at)
        select n, 'account', 'acc_' || case when n % 2 = 0 then 1 else n % 1000 end, n, 'account.held', '1.0', '{}', '{}', now()
        from generate_series(1, 100000) n;
        insert into history_v2 (entity_id, position, occurred_at)
        select aggregate_id, position, recorded_at from events;
        analyze";
    sqlx::raw_sql(rows).execute(pool).await.unwrap();

    let reader = Reader::new(&ledger.store, BOARD, None);
    // Nothing here is written meanwhile, and the views are there whatever was asked for.
    let names = ["tickets", "account_statement"];
    for (customer, account) in [("cus_1", "acc_1"), ("cus_77", "acc_77")] {
        let viewer = Viewer::of_customers([customer.to_owned()]);
        let mut rows = reader.snapshot(&viewer, &names, None).await.unwrap();
        // At first a statement is planned for its values, and later for any.
        for _ in 0..7 {
            let (connection, viewer) = rows.parts();
            let tickets: Vec<TicketRow> = newest(connection, viewer, &Chosen::default(), 20).await;
            assert_eq!(tickets.len(), 20);
            let history = history::list(connection, viewer, account, &AGGREGATE_TYPES, &Moment::default(), None, 20)
                .await
                .unwrap();
            assert_eq!(history.len(), 20);
            let from = Some("2024-01-10T00:00:00Z".parse().unwrap());
            let to = Some("2024-01-10T10:00:00Z".parse().unwrap());
            let period = statement::Period { from, to, ..statement::Period::default() };
            let lines = statement::statement(connection, account, &period, 20).await.unwrap().lines.len();
            assert_eq!(lines > 100, account == "acc_1", "{lines}");
        }
        for table in ["tickets_v1", "account_statement_v1", "history_v2", "events"] {
            let read: i64 = sqlx::query_scalar(
                "select sum(pg_stat_get_xact_tuples_returned(relation))::bigint
                 from (
                     select oid as relation from pg_class where relname = $1 and relkind = 'r'
                     union all
                     select indexrelid from pg_index join pg_class on oid = indrelid where relname = $1
                 ) as read",
            )
            .bind(table)
            .fetch_one(&mut *rows)
            .await
            .unwrap();
            eprintln!("{customer}: {read} rows of {table}");
            assert!((1..7 * 1_000).contains(&read), "{customer}: {read} rows of {table}");
        }
    }
}
