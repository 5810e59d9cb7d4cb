//! Versions of projections: a ledger that begins with a later one, one that has other tables, and programs of different
//! ages at work on one ledger.

use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{Customer, CustomerEvent, Event, Noun},
    operations::{Operation, Registration},
};
use daybook_projections::{
    Chosen, Definition, NewVersions, Projector, ProjectorOptions, Reader, Viewer,
    engine::{
        Changes, FoldError, Follows, Owner, Projection, RebuildError, RebuildOptions, Room, Row, Source, Stage, Table,
        discard, in_service, rebuild, roll_back, verify,
    },
    listing,
    payment::{DisputeRow, PaymentRow, RefundRow},
};
use daybook_tests::{
    history::{LONG, Ledger},
    listed::newest,
};
use rust_decimal::dec;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
struct Name {
    id: String,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
struct Length {
    id: String,
    length: i64,
}

impl Row for Name {
    type Key = String;
    const TABLE: &'static str = "names";
    const KEY: &'static [&'static str] = &["id"];
    const PREFIX: Option<&'static str> = Some(Customer::PREFIX);
    const OWNER: Owner = Owner::Nobody;

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Customer::TYPE, &self.id)]
    }
}

impl Row for Length {
    type Key = String;
    const TABLE: &'static str = "lengths";
    const KEY: &'static [&'static str] = &["id"];
    const PREFIX: Option<&'static str> = Some(Customer::PREFIX);
    const OWNER: Owner = Owner::Nobody;

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Customer::TYPE, &self.id)]
    }
}

/// The first version: names as they are.
enum Names {}

/// The second version: names in capitals, and a table more.
enum CapitalNames {}

impl Projection for Names {
    const NAME: &'static str = "names";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[Customer::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<Name>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        if let Event::Customer(CustomerEvent::Registered(Registration { name, .. })) = &event.event {
            changes.insert(Name { id: event.aggregate_id.clone(), name: name.shown()?.to_owned() });
        }
        Ok(())
    }
}

impl Projection for CapitalNames {
    const NAME: &'static str = "names";
    const VERSION: i32 = 2;
    const FOLLOWS: Follows = Names::FOLLOWS;
    const TABLES: &'static [Table] = &[Table::of::<Name>(), Table::of::<Length>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        if let Event::Customer(CustomerEvent::Registered(Registration { name, .. })) = &event.event {
            changes.insert(Name { id: event.aggregate_id.clone(), name: name.shown()?.to_uppercase() });
            changes.insert(Length { id: event.aggregate_id.clone(), length: name.shown()?.len() as i64 });
        }
        Ok(())
    }
}

/// Another second version: the name as a number, in the same table.
enum NameLengths {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
struct NameLength {
    id: String,
    name: i64,
}

impl Row for NameLength {
    type Key = String;
    const TABLE: &'static str = Name::TABLE;
    const KEY: &'static [&'static str] = Name::KEY;
    const PREFIX: Option<&'static str> = Name::PREFIX;
    const OWNER: Owner = Owner::Nobody;

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Customer::TYPE, &self.id)]
    }
}

impl Projection for NameLengths {
    const NAME: &'static str = "names";
    const VERSION: i32 = 2;
    const FOLLOWS: Follows = Names::FOLLOWS;
    const TABLES: &'static [Table] = &[Table::of::<NameLength>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        if let Event::Customer(CustomerEvent::Registered(Registration { name, .. })) = &event.event {
            changes.insert(NameLength { id: event.aggregate_id.clone(), name: name.shown()?.len() as i64 });
        }
        Ok(())
    }
}

const OLD: Definition = Definition::of::<Names>();
const NEW: Definition = Definition::of::<CapitalNames>();
static OLD_PROGRAM: &[Definition] = &[OLD];
static NEW_PROGRAM: &[Definition] = &[NEW, OLD];

/// What the migrations of the two versions make.
async fn migrated() -> Ledger {
    let ledger = Ledger::new().await;
    let migration = "create table names_v1 (id text primary key, name text not null);
         create view names as select * from names_v1;
         create table names_v2 (id text primary key, name text not null);
         create table lengths_v2 (id text primary key, length bigint not null);
         create index on lengths_v2 (length);
         grant select on names to daybook_app;
         grant select, insert, update, delete on names_v1, names_v2, lengths_v2 to daybook_app";
    sqlx::raw_sql(migration).execute(ledger.database.pool()).await.unwrap();
    ledger
}

async fn register(ledger: &mut Ledger, name: &str) {
    ledger.act(Operation::RegisterCustomer(Registration { name: name.into(), email: None })).await;
}

async fn start(ledger: &Ledger, board: &'static [Definition], new_versions: NewVersions) -> Projector {
    let options = ProjectorOptions { new_versions, ..ProjectorOptions::default() };
    Projector::start(&ledger.store, board, Some(&ledger.writer), options).await.unwrap()
}

/// The names that readers see once everything is projected.
async fn seen(ledger: &Ledger, board: &'static [Definition]) -> Vec<String> {
    let reader = Reader::new(&ledger.store, board, None);
    reader.wait_for("names", ledger.last, LONG).await.unwrap();
    let mut snapshot = reader.snapshot(&Viewer::Provider, &["names"], None).await.unwrap();
    sqlx::query_scalar("select name from names order by name").fetch_all(&mut *snapshot).await.unwrap()
}

async fn builds(ledger: &Ledger) -> Vec<(i32, i32, String)> {
    sqlx::query_as("select build, version, stage from projections where name = 'names' order by build")
        .fetch_all(ledger.database.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_ledger_that_begins_with_a_later_version_shows_its_rows() {
    let mut ledger = migrated().await;
    let projector = start(&ledger, NEW_PROGRAM, NewVersions::Await).await;
    register(&mut ledger, "Ada").await;
    assert_eq!(seen(&ledger, NEW_PROGRAM).await, ["ADA"]);
    let lengths: Vec<i64> =
        sqlx::query_scalar("select length from lengths").fetch_all(ledger.store.pool()).await.unwrap();
    assert_eq!(lengths, [3]);
    projector.shutdown().await;
}

#[tokio::test]
async fn a_version_with_other_tables_is_built_rolled_back_and_taken_away() {
    let mut ledger = migrated().await;
    let old = start(&ledger, OLD_PROGRAM, NewVersions::Await).await;
    register(&mut ledger, "Ada").await;
    assert_eq!(seen(&ledger, OLD_PROGRAM).await, ["Ada"]);

    let new = start(&ledger, NEW_PROGRAM, NewVersions::Await).await;
    let rebuilt = rebuild(&ledger.store, &NEW, &RebuildOptions::default(), |_| {}).await.unwrap();
    let live = rebuilt.live.unwrap();
    assert_eq!((rebuilt.proof.different, rebuilt.proof.rows), (0, 2));
    assert_eq!((live.version, live.different), (1, 1), "the new version changes the one row that both have");
    register(&mut ledger, "Bob").await;
    assert_eq!(seen(&ledger, NEW_PROGRAM).await, ["ADA", "BOB"]);
    assert_eq!(in_service(NEW_PROGRAM, "names", ledger.store.pool()).await.unwrap().unwrap().version, 2);
    assert!(in_service(OLD_PROGRAM, "names", ledger.store.pool()).await.unwrap().is_none());

    // An older program does not replace what a newer one has built.
    let older = rebuild(&ledger.store, &OLD, &RebuildOptions::default(), |_| {}).await.unwrap_err();
    assert!(matches!(older, RebuildError::OtherVersion { serving: 2, program: 1, .. }), "{older}");
    let wrong = roll_back(&ledger.store, &NEW, Some(1)).await.unwrap_err();
    assert!(matches!(wrong, RebuildError::OtherBuild { serving: 2, .. }), "{wrong}");
    roll_back(&ledger.store, &NEW, Some(2)).await.unwrap();
    assert_eq!(seen(&ledger, OLD_PROGRAM).await, ["Ada", "Bob"], "the kept version has followed");
    assert_eq!(verify(&ledger.store, &OLD, &Room::default()).await.unwrap().different, 0);
    let gone = sqlx::query("select from lengths").execute(ledger.store.pool()).await;
    assert!(gone.is_err(), "readers do not see a table that the version which serves does not have");

    // Another start leaves what was rolled back as it is.
    let again = start(&ledger, NEW_PROGRAM, NewVersions::Build).await;
    register(&mut ledger, "Cleo").await;
    assert_eq!(seen(&ledger, NEW_PROGRAM).await, ["Ada", "Bob", "Cleo"]);
    assert_eq!(builds(&ledger).await, [(1, 1, "serving".to_owned()), (2, 2, "kept".to_owned())]);
    assert_eq!(discard(&ledger.store, &OLD, Stage::Kept).await.unwrap(), 2);
    let left = "select count(*) from pg_class where relname in ('names_v2_b2', 'lengths_v2_b2')";
    let left: i64 = sqlx::query_scalar(left).fetch_one(ledger.database.pool()).await.unwrap();
    assert_eq!(left, 0);
    for projector in [old, new, again] {
        projector.shutdown().await;
    }
}

#[tokio::test]
async fn a_newer_program_builds_its_version_by_itself_while_the_earlier_one_serves_and_follows() {
    let mut ledger = migrated().await;
    let old = start(&ledger, OLD_PROGRAM, NewVersions::Await).await;
    register(&mut ledger, "Ada").await;
    assert_eq!(seen(&ledger, OLD_PROGRAM).await, ["Ada"]);
    old.shutdown().await;

    let awaiting = start(&ledger, NEW_PROGRAM, NewVersions::Await).await;
    register(&mut ledger, "Bob").await;
    assert_eq!(seen(&ledger, NEW_PROGRAM).await, ["Ada", "Bob"], "it drives the version that serves");
    awaiting.shutdown().await;
    let building = start(&ledger, NEW_PROGRAM, NewVersions::Build).await;
    while builds(&ledger).await != [(1, 1, "kept".to_owned()), (2, 2, "serving".to_owned())] {
        tokio::task::yield_now().await;
    }
    register(&mut ledger, "Cleo").await;
    assert_eq!(seen(&ledger, NEW_PROGRAM).await, ["ADA", "BOB", "CLEO"]);
    building.shutdown().await;
}

#[tokio::test]
async fn payments_are_read_while_their_earlier_version_serves() {
    let ledger = Ledger::new().await;
    let earlier = "drop view payments;
         create view payments as select * from payments_v1;
         drop view refunds;
         create view refunds as select * from refunds_v1;
         insert into payments_v1
         select id, 'acc_1', null, 'card', 12.50, 'USD', 'advance', null, status, null, null, null, 1, 0, 12.50, 0, now(),
             credited_at, position, position
         from (values ('pay_1', 'credited', now(), 1), ('pay_2', 'new', null, 2)) as payment (id, status, credited_at, position);
         insert into refunds_v1 values ('rfd_1', 'pay_1', 5.00, 'USD', 'pending', null, 2, now(), null, 3);
         grant select on payments, refunds to daybook_app";
    sqlx::raw_sql(earlier).execute(ledger.database.pool()).await.unwrap();
    let mut connection = ledger.store.connection().await.unwrap();
    let viewer = &Viewer::Provider;
    let listed = newest::<PaymentRow>(&mut connection, viewer, &Chosen::default(), 10).await;
    let told: Vec<_> = listed.iter().map(|row| (row.id.as_str(), row.received, row.disputed)).collect();
    assert_eq!(told, [("pay_2", dec!(0), dec!(0)), ("pay_1", dec!(12.50), dec!(0))]);
    assert_eq!(listing::get(&mut connection, viewer, "pay_1").await.unwrap().as_ref(), Some(&listed[1]));
    assert_eq!(
        listing::belonging::<RefundRow>(&mut connection, viewer, "pay_1").await.unwrap()[0].gateway_refund,
        None
    );
    assert_eq!(listing::belonging::<DisputeRow>(&mut connection, viewer, "pay_1").await.unwrap(), []);
}

/// The role of everybody may read the view, and somebody has made a view of his own of it.
async fn with_a_view_of_others(ledger: &Ledger) {
    let theirs = "grant select on names to public; create view nicknames as select name from names";
    sqlx::raw_sql(theirs).execute(ledger.database.pool()).await.unwrap();
}

async fn everybody_may_read_names(ledger: &Ledger) -> bool {
    let granted = "select has_table_privilege('public', 'names', 'select')";
    sqlx::query_scalar(granted).fetch_one(ledger.database.pool()).await.unwrap()
}

#[tokio::test]
async fn what_others_made_of_a_view_stays_as_long_as_its_columns_stay() {
    let mut ledger = migrated().await;
    with_a_view_of_others(&ledger).await;
    let old = start(&ledger, OLD_PROGRAM, NewVersions::Await).await;
    register(&mut ledger, "Ada").await;
    assert_eq!(seen(&ledger, OLD_PROGRAM).await, ["Ada"]);

    rebuild(&ledger.store, &NEW, &RebuildOptions::default(), |_| {}).await.unwrap();
    let nickname = "select name from nicknames";
    let nickname: String = sqlx::query_scalar(nickname).fetch_one(ledger.database.pool()).await.unwrap();
    assert_eq!(nickname, "ADA");
    assert!(everybody_may_read_names(&ledger).await);
    old.shutdown().await;
}

#[tokio::test]
async fn a_view_with_other_columns_keeps_its_grants_and_cannot_go_from_under_a_view_of_others() {
    let mut ledger = migrated().await;
    with_a_view_of_others(&ledger).await;
    let shape = "drop table names_v2; create table names_v2 (id text primary key, name bigint not null)";
    sqlx::raw_sql(shape).execute(ledger.database.pool()).await.unwrap();
    let old = start(&ledger, OLD_PROGRAM, NewVersions::Await).await;
    register(&mut ledger, "Ada").await;
    assert_eq!(seen(&ledger, OLD_PROGRAM).await, ["Ada"]);

    let other = Definition::of::<NameLengths>();
    let refused = rebuild(&ledger.store, &other, &RebuildOptions::default(), |_| {}).await.unwrap_err();
    let dependent = matches!(&refused, RebuildError::Database(error)
        if error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("2BP01")));
    assert!(dependent, "{refused}");
    assert_eq!(seen(&ledger, OLD_PROGRAM).await, ["Ada"], "what served goes on");

    sqlx::raw_sql("drop view nicknames").execute(ledger.database.pool()).await.unwrap();
    rebuild(&ledger.store, &other, &RebuildOptions::default(), |_| {}).await.unwrap();
    let length: i64 = sqlx::query_scalar("select name from names").fetch_one(ledger.store.pool()).await.unwrap();
    assert_eq!(length, 3);
    assert!(everybody_may_read_names(&ledger).await);
    old.shutdown().await;
}
