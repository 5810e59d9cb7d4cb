//! The access log: append-only for everybody, read newest first, and forgotten by whole months.

use chrono::{DateTime, Duration, Utc};
use daybook_identity::{Access, AccessKind, AccessLog, Identity, MONTHS_KEPT};
use futures::future::join_all;
use sqlx::Executor;

use super::{ADA, BOB, Ground, address, after, start};

const CUSTOMER: &str = "cus_1";

fn viewed(entity: &str) -> Access<'_> {
    Access {
        user: Some(BOB),
        customer: Some(CUSTOMER),
        address: Some(address()),
        agent: Some("Mozilla/5.0"),
        credential: Some("ses_1"),
        what: Some("/v1/invoices/{id}"),
        entity: Some(entity),
        reason: Some("asked by telephone"),
        ..Access::new(AccessKind::Viewed)
    }
}

async fn write(identity: &Identity, access: Access<'_>, now: DateTime<Utc>) {
    identity.access_log.write(&access, now).await.unwrap();
}

#[tokio::test]
async fn a_line_stands_as_it_was_written() {
    let ground = Ground::new().await;
    write(&ground.identity, viewed("inv_1"), start()).await;
    let [line] = &ground.identity.access_log.of_customer(CUSTOMER, None, 10).await.unwrap()[..] else { panic!("one") };
    assert_eq!((line.cursor.at, line.kind.as_str(), line.user.as_deref()), (start(), "viewed", Some(BOB)));
    let texts = [&line.customer, &line.address, &line.agent, &line.credential, &line.what, &line.entity, &line.reason];
    assert_eq!(
        texts.map(|text| text.as_deref().unwrap()),
        ["cus_1", "203.0.113.7", "Mozilla/5.0", "ses_1", "/v1/invoices/{id}", "inv_1", "asked by telephone"]
    );
    write(&ground.identity, Access::new(AccessKind::SignInRefused), start()).await;
    assert_eq!(ground.count("access_log where kind = 'sign_in_refused' and user_id is null").await, 1);
}

#[tokio::test]
async fn lines_are_read_from_the_newest_by_customer_and_by_user() {
    let ground = Ground::new().await;
    let log = &ground.identity.access_log;
    // Over the end of a month, and three at one moment.
    for hours in [0, 1, 1, 1, 2, 800] {
        write(&ground.identity, viewed(&format!("inv_{hours}")), after(Duration::hours(hours))).await;
        write(&ground.identity, Access { customer: Some("cus_2"), ..viewed("inv_x") }, after(Duration::hours(hours)))
            .await;
        let of_ada = Access { user: Some(ADA), ..Access::new(AccessKind::SignedIn) };
        write(&ground.identity, of_ada, after(Duration::hours(hours))).await;
    }
    let (mut below, mut pages) = (None, Vec::new());
    loop {
        let page = log.of_customer(CUSTOMER, below, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        below = Some(last.cursor);
        pages.extend(page);
    }
    let entities: Vec<_> = pages.iter().map(|line| line.entity.as_deref().unwrap()).collect();
    assert_eq!(entities, ["inv_800", "inv_2", "inv_1", "inv_1", "inv_1", "inv_0"]);
    assert!(pages.is_sorted_by(|one, next| one.cursor > next.cursor));
    assert_eq!(log.of_user(BOB, None, 100).await.unwrap().len(), 12);
    assert!(log.of_user(ADA, None, 100).await.unwrap().iter().all(|line| line.kind == "signed_in"));
    assert!(log.of_customer("cus_3", None, 100).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_first_lines_of_a_month_make_its_part_once() {
    let ground = Ground::new().await;
    let another = ground.another().await;
    join_all((0..8).map(|number| {
        let identity = if number % 2 == 0 { &ground.identity } else { &another };
        write(identity, viewed("inv_1"), after(Duration::minutes(number)))
    }))
    .await;
    assert_eq!(ground.count("access_log").await, 8);
    assert_eq!(parts(&ground).await, ["access_log_2026_03"]);
    // The month is that of UTC.
    write(&ground.identity, viewed("inv_1"), after(Duration::minutes(59))).await;
    write(&ground.identity, viewed("inv_1"), after(Duration::minutes(60))).await;
    assert_eq!(parts(&ground).await, ["access_log_2026_03", "access_log_2026_04"]);
    assert_eq!(ground.count("access_log_2026_04").await, 1);
    let nonsense = ground.identity.access_log.write(&viewed("inv_1"), "2400-01-01T00:00:00Z".parse().unwrap()).await;
    assert!(nonsense.is_err());
}

#[tokio::test]
async fn nobody_alters_a_line() {
    let ground = Ground::new().await;
    write(&ground.identity, viewed("inv_1"), start()).await;
    let mut owner = ground.database.pool().acquire().await.unwrap();
    for table in ["access_log", "access_log_2026_03"] {
        for change in [
            format!("update {table} set reason = null"),
            format!("update {table} set at = at + interval '1 month'"),
            format!("delete from {table}"),
            format!("truncate {table}"),
        ] {
            let refused = owner.execute(&*change).await.unwrap_err();
            let code = refused.as_database_error().and_then(|error| error.code()).map(|code| code.to_string());
            assert_eq!(code.as_deref(), Some("23001"), "{change}: {refused}");
        }
    }
    owner.execute("set role daybook_app").await.unwrap();
    for change in [
        "update access_log set reason = null",
        "delete from access_log",
        "truncate access_log",
        "insert into access_log_2026_03 (at, id, kind) values (now(), gen_random_uuid(), 'viewed')",
        "select kind from access_log_2026_03",
        "drop table access_log_2026_03",
        "select access_log_forget(now())",
        "alter table access_log detach partition access_log_2026_03",
    ] {
        let refused = owner.execute(change).await.unwrap_err();
        let code = refused.as_database_error().and_then(|error| error.code()).map(|code| code.to_string());
        assert_eq!(code.as_deref(), Some("42501"), "{change}: {refused}");
    }
    owner.execute("reset role").await.unwrap();
    assert_eq!(ground.count("access_log where reason = 'asked by telephone'").await, 1);
}

#[tokio::test]
async fn whole_months_go_when_they_are_old_enough() {
    let ground = Ground::new().await;
    for month in ["2025-01", "2025-02", "2025-03", "2026-03"] {
        write(&ground.identity, viewed("inv_1"), format!("{month}-28T12:00:00Z").parse().unwrap()).await;
    }
    let store = ground.database.store().await;
    // Thirteen months back is the end of February: March stays as a whole.
    let removed = AccessLog::forget(&store, MONTHS_KEPT, start()).await.unwrap();
    assert_eq!(removed, ["access_log_2025_01"]);
    let removed = AccessLog::forget(&store, MONTHS_KEPT, after(Duration::hours(2))).await.unwrap();
    assert_eq!(removed, ["access_log_2025_02"]);
    assert_eq!(AccessLog::forget(&store, MONTHS_KEPT, after(Duration::hours(2))).await.unwrap(), [""; 0]);
    assert_eq!(parts(&ground).await, ["access_log_2025_03", "access_log_2026_03"]);
    assert_eq!(ground.count("access_log").await, 2);
    // A line of a month that went makes it anew.
    write(&ground.identity, viewed("inv_1"), "2025-01-28T12:00:00Z".parse().unwrap()).await;
}

/// What a caller must refuse by.
#[tokio::test]
async fn a_line_that_cannot_be_written_is_an_error() {
    let ground = Ground::new().await;
    let reason = "x".repeat(10_000);
    let long = Access { reason: Some(&reason), ..viewed("inv_1") };
    assert!(ground.identity.access_log.write(&long, start()).await.is_err());
    sqlx::query("drop table access_log").execute(ground.database.pool()).await.unwrap();
    assert!(ground.identity.access_log.write(&viewed("inv_1"), start()).await.is_err());
}

#[tokio::test]
async fn a_restored_log_goes_on() {
    let ground = Ground::new().await;
    write(&ground.identity, viewed("inv_1"), start()).await;
    let restored = ground.database.restored().await;
    let identity = super::identity(&restored, &ground.keys).await;
    write(&identity, viewed("inv_2"), start()).await;
    write(&identity, viewed("inv_3"), after(Duration::hours(2))).await;
    let lines = identity.access_log.of_customer(CUSTOMER, None, 10).await.unwrap();
    assert_eq!(lines.len(), 3);
    assert!(sqlx::query("delete from access_log").execute(restored.pool()).await.is_err());
}

async fn parts(ground: &Ground) -> Vec<String> {
    let parts = "select relname::text from pg_inherits join pg_class on oid = inhrelid
        where inhparent = 'access_log'::regclass order by 1";
    sqlx::query_scalar(parts).fetch_all(ground.database.pool()).await.unwrap()
}
