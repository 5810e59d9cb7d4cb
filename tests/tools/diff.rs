//! What differs between two ledgers, and whether a backup would bring a ledger back.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use daybook_core::{
    domain::{AccountId, CustomerId},
    store::MasterKey,
    writer::{Writer, WriterHandle},
};
use daybook_tests::{
    TestDatabase,
    commands::{adjust, id, open_account, pay_in, register, usd},
    database, postgresql_program, program, whole_book,
};
use serde_json::{Value, json};

fn daybook(database: &TestDatabase, arguments: &[&str]) -> Output {
    let mut command = Command::new(program("daybook"));
    command
        .envs(daybook_tests::master_key_env())
        .args(arguments)
        .env("DATABASE_URL", database.url())
        .stdin(Stdio::null());
    command.output().expect("the program starts")
}

fn report(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {stderr}"))
}

async fn ledger() -> (TestDatabase, WriterHandle, Writer, AccountId) {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let customer: CustomerId = id(&writer.execute(register("Ada")).await.unwrap().answer);
    let account: AccountId = id(&writer.execute(open_account(&customer)).await.unwrap().answer);
    writer.execute(pay_in(&account, "p1", usd("20.00"))).await.unwrap();
    (database, writer, running, account)
}

async fn head(database: &TestDatabase) -> u64 {
    database.store().await.head().await.unwrap().position
}

/// As somebody would who has the database in his hands.
async fn forge(database: &TestDatabase, position: u64, from: &str, to: &str) {
    let mut connection = database.pool().acquire().await.unwrap();
    sqlx::raw_sql("set session_replication_role = replica").execute(&mut *connection).await.unwrap();
    let forged = sqlx::query("update events set payload = replace(payload::text, $2, $3)::json where position = $1")
        .bind(position as i64)
        .bind(from)
        .bind(to)
        .execute(&mut *connection)
        .await
        .unwrap();
    assert_eq!(forged.rows_affected(), 1);
    sqlx::raw_sql("reset session_replication_role").execute(&mut *connection).await.unwrap();
}

fn dump(database: &TestDatabase, directory: &Path, format: &str) -> PathBuf {
    let file = directory.join(format!("backup.{format}"));
    let output = Command::new(postgresql_program("pg_dump"))
        .args(["--format", format, "--file"])
        .args([&file])
        .arg(database.url())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    file
}

/// The position of the event that credited the payment.
async fn credited(database: &TestDatabase) -> u64 {
    let position: i64 = sqlx::query_scalar("select position from events where event_type = 'account.credited'")
        .fetch_one(database.pool())
        .await
        .unwrap();
    position as u64
}

#[tokio::test]
async fn two_positions_differ_by_the_events_between_them() {
    let (database, writer, running, account) = ledger().await;
    let before = head(&database).await;
    writer.execute(adjust(&account, usd("-7.35"))).await.unwrap();
    running.shutdown().await;
    let after = head(&database).await;

    let (a, b) = (format!("@{before}"), format!("@{after}"));
    let same = daybook(&database, &["diff", &a, &a]);
    assert_eq!((same.status.code(), String::from_utf8_lossy(&same.stdout).contains("no difference")), (Some(0), true));
    let differing = daybook(&database, &["diff", &a, &b, "--json"]);
    assert_eq!(differing.status.code(), Some(1));
    let found = report(&differing);
    assert_eq!((&found["a"]["only_here"], &found["b"]["only_here"]), (&json!(0), &json!(after - before)));
    assert_eq!((&found["a"]["events"], &found["b"]["events"]), (&json!(before), &json!(after)));
    assert_eq!(found["first_difference"]["position"], before + 1);
    assert_eq!(found["first_difference"]["a"], Value::Null);
    let account = json!({ "account": account.as_str(), "currency": "USD", "a": "20.00", "b": "12.65", "by": "-7.35" });
    assert_eq!(found["accounts"], json!([account]));
    let adjustments = json!({ "account": "adjustments", "currency": "USD", "a": "0", "b": "-7.35", "by": "-7.35" });
    assert_eq!(found["ledger_accounts"], json!([adjustments]));

    let told = String::from_utf8(daybook(&database, &["diff", &a, &b]).stdout).unwrap();
    assert!(told.contains("account.charged") && told.contains("-7.35 USD"), "{told}");
}

#[tokio::test]
async fn a_forged_event_is_named_with_both_versions() {
    let (original, _, running, account) = ledger().await;
    running.shutdown().await;
    let copy = database().await;
    copy_book(&original, &copy).await;
    let own = format!("@{}", head(&original).await);
    assert_eq!(daybook(&original, &["diff", &own, copy.url()]).status.code(), Some(0));

    let position = credited(&copy).await;
    forge(&copy, position, "20.00", "20.01").await;
    let differing = daybook(&original, &["diff", &own, copy.url(), "--json"]);
    assert_eq!(differing.status.code(), Some(1));
    let found = report(&differing);
    assert_eq!((&found["a"]["only_here"], &found["b"]["only_here"]), (&json!(1), &json!(1)));
    let first = &found["first_difference"];
    assert_eq!(first["position"], position);
    let payload = |side: &str| first[side]["payload"].as_str().expect("a payload").to_owned();
    assert!(payload("a").contains("20.00") && payload("b").contains("20.01"), "{first}");
    assert_eq!(found["accounts"][0]["account"], account.as_str());
    assert_eq!(found["accounts"][0]["by"], "0.01");

    // One that cannot be read any more is told, too.
    forge(&copy, position, "credited", "accredited").await;
    let found = report(&daybook(&original, &["diff", &own, copy.url(), "--json"]));
    assert_eq!(found["b"]["first_unreadable"], position);
}

async fn copy_book(from: &TestDatabase, to: &TestDatabase) {
    for event in whole_book(from.pool()).await {
        sqlx::query(
            "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                 position, recorded_at)
             values ($1, $2, $3, $4, $5, $6::json, $7::json, $8, $9)",
        )
        .bind(event.aggregate_type)
        .bind(event.aggregate_id)
        .bind(event.sequence as i64)
        .bind(event.event_type)
        .bind(event.event_version)
        .bind(event.payload)
        .bind(event.metadata)
        .bind(event.position as i64)
        .bind(event.recorded_at)
        .execute(to.pool())
        .await
        .unwrap();
    }
}

/// An archive of the log, signed up to now.
fn archive(database: &TestDatabase, directory: &Path, name: &str) -> PathBuf {
    let (home, file) = (directory.join("home"), directory.join(name));
    let output = daybook(database, &["export", "log", "--home", as_text(&home), "--output", as_text(&file)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    file
}

#[tokio::test]
async fn an_archive_is_compared_like_the_book_that_it_was_made_of() {
    let (database, writer, running, account) = ledger().await;
    let directory = tempfile::tempdir().unwrap();
    let file = archive(&database, directory.path(), "a.ndjson");
    let (own, path) = (format!("@{}", head(&database).await), as_text(&file));
    let same = daybook(&database, &["diff", path, &own]);
    let told = String::from_utf8_lossy(&same.stdout);
    assert!(same.status.code() == Some(0) && told.contains("   intact, and signed by daybook/"), "{told}");

    writer.execute(adjust(&account, usd("-7.35"))).await.unwrap();
    running.shutdown().await;
    let later = archive(&database, directory.path(), "b.ndjson");
    let found = report(&daybook(&database, &["diff", path, as_text(&later), "--json"]));
    assert_eq!((&found["a"]["only_here"], &found["accounts"][0]["by"]), (&json!(0), &json!("-7.35")));
    let key: String = sqlx::query_scalar("select vkey from transparency_log").fetch_one(database.pool()).await.unwrap();
    assert_eq!((&found["a"]["key"], &found["b"]["key"]), (&json!(key), &json!(key)));
    let found = report(&daybook(&database, &["diff", &own, as_text(&later), "--json"]));
    assert_eq!((&found["equal"], &found["a"]["key"], &found["b"]["key"]), (&json!(false), &Value::Null, &json!(key)));

    // What is not as it was signed is not compared.
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (last, id) = (lines.len() - 1, key.splitn(3, '+').nth(2).unwrap());
    let swapped = [&lines[..last - 1], &lines[last..], &lines[last - 1..last]].concat();
    for (wrong, said) in [
        (lines[..last].concat(), "the file ends where event"),
        (swapped.concat(), "is due"),
        (text.replace("20.00", "20.01"), "is not the one that is in the log"),
        (text.replacen(id, &id.replace(&id[9..10], if &id[9..10] == "A" { "B" } else { "A" }), 1), "line 1: "),
        (text.replace("archive/1", "archive/2"), "daybook/archive/2"),
        (lines[1..].concat(), "not the header of an archive"),
        ("nothing".to_owned(), "the line does not end"),
    ] {
        assert_ne!(wrong, text, "{said}");
        fs::write(&later, wrong).unwrap();
        let output = daybook(&database, &["diff", path, as_text(&later)]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && stderr.contains(said), "{said}: {stderr}");
        assert!(stderr.contains(as_text(&later)), "{stderr}");
    }
}

#[tokio::test]
async fn what_cannot_be_compared_is_trouble_and_no_difference() {
    let (database, _, running, _) = ledger().await;
    running.shutdown().await;
    for (a, said) in [
        ("@9999", "ends at position"),
        ("/nowhere/archive", "/nowhere/archive"),
        ("postgresql:///nowhere?host=/nowhere", "nowhere"),
    ] {
        let output = daybook(&database, &["diff", a, "@1"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && stderr.contains(said), "{a}: {stderr}");
    }
    let output = daybook(&database, &["diff", "@x", "@1"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(64) && stderr.contains("position"), "{stderr}");
}

fn as_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The clusters that drills have left behind.
fn left_behind() -> usize {
    let temporary = fs::read_dir(std::env::temp_dir()).unwrap();
    temporary.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("daybook-drill-")).count()
}

/// One test, so that nobody else's drill is taken for one that left something behind.
#[tokio::test]
async fn a_drill_tells_what_a_backup_is_worth() {
    let (database, writer, running, account) = ledger().await;
    let directory = tempfile::tempdir().unwrap();
    // The rows of the projections are in a backup, too.
    assert!(daybook(&database, &["export", "--format", "csv"]).status.success());
    let checkpoint = |name: &str| {
        let (home, file) = (directory.path().join("home"), directory.path().join(name));
        let output = daybook(&database, &["checkpoint", "--home", as_text(&home), "--output", as_text(&file)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        file
    };
    let early = checkpoint("early");
    let (plain, custom) = (dump(&database, directory.path(), "plain"), dump(&database, directory.path(), "custom"));
    let drill =
        |backup: &Path, more: &[&str]| daybook(&database, &[&["drill", "--backup", as_text(backup)], more].concat());
    let before = left_behind();

    let last = head(&database).await;
    let fresh = report(&drill(&plain, &["--json"]));
    assert_eq!((&fresh["sound"], &fresh["live"]["missing"]), (&json!(true), &json!(0)), "{fresh}");
    assert_eq!(fresh["verification"]["position"], last);

    // What was written about persons is read with the ledger's master key only.
    let key = directory.path().join("another.key");
    let with_key = |more: &[&str]| drill(&plain, &[&["--alone", "--master-key", as_text(&key)], more].concat());
    let keyless = report(&with_key(&["--json"]));
    assert_eq!((&keyless["verdict"], &keyless["verification"]["undecided"]), (&json!("undecided"), &json!(true)));
    let told = with_key(&[]);
    assert_eq!(told.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&told.stdout).ends_with("but some checks could not be made\n"), "{told:?}");
    fs::write(&key, MasterKey::generate().to_text()).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let refused = with_key(&[]);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && stderr.contains("the keys of this ledger are wrapped by"), "{stderr}");

    for number in 0..3 {
        writer.execute(pay_in(&account, &format!("later{number}"), usd("1.00"))).await.unwrap();
    }
    running.shutdown().await;
    let missing = head(&database).await - last;
    assert!(missing >= 3);
    for backup in [&plain, &custom] {
        let output = drill(backup, &[]);
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
        assert!(told.contains(&format!("\n{missing} events are missing")), "{told}");
    }
    let late = checkpoint("late");
    // One that it does not reach to says nothing of it, unless the ledger that lives is asked, or an earlier one.
    let (early, late) = (["--checkpoint", as_text(&early)], ["--checkpoint", as_text(&late)]);
    let (reached, beyond) =
        (json!({ "size": last, "missing": 0 }), json!({ "size": last + missing, "missing": missing }));
    for (more, outside, verdict, code) in [
        (&[&early[..], &["--alone"]].concat(), json!([reached]), "sound", 0),
        (&[&late[..], &["--alone"]].concat(), json!([beyond]), "undecided", 2),
        (&[&early[..], &late, &["--alone"]].concat(), json!([reached, beyond]), "sound", 0),
        (&late.to_vec(), json!([beyond]), "sound", 0),
    ] {
        let output = drill(&custom, &[&more[..], &["--json"]].concat());
        let told = report(&output);
        assert_eq!((output.status.code(), &told["verdict"]), (Some(code), &json!(verdict)), "{more:?}: {told}");
        assert_eq!((&told["outside"], &told["sound"]), (&outside, &json!(code == 0)), "{told}");
    }
    let told = String::from_utf8(drill(&custom, &[&late[..], &["--alone"]].concat()).stdout).unwrap();
    assert!(told.contains("\nthe backup is intact, but ends before the checkpoint: whether"), "{told}");
    let alone = report(&drill(&custom, &["--alone", "--json"]));
    assert_eq!((&alone["sound"], &alone["live"]), (&json!(true), &Value::Null));

    // An amount and the balance after it are forged alike: only the ledger that lives and its own rows know better.
    let text = fs::read_to_string(&plain).unwrap();
    let forged = directory.path().join("forged.sql");
    let tampered: String = text
        .split_inclusive('\n')
        .map(|line| if line.contains("account.credited\t") { line.replace("20.00", "20.01") } else { line.to_owned() })
        .collect();
    assert_ne!(tampered, text);
    fs::write(&forged, tampered).unwrap();
    let output = drill(&forged, &["--json"]);
    let found = report(&output);
    assert_eq!((output.status.code(), &found["sound"]), (Some(1), &json!(false)));
    assert_eq!(found["live"]["comparison"]["first_difference"]["position"], credited(&database).await);
    assert_eq!(found["verification"]["sound"], false, "{found}");
    assert_eq!(drill(&forged, &["--alone"]).status.code(), Some(1));
    let found = report(&drill(&forged, &["--alone", early[0], early[1], "--json"]));
    let log = found["log"]["checks"].as_array().unwrap();
    assert_eq!(log[0]["first_bad_position"], credited(&database).await, "{found}");

    // One that breaks off, one with a hole, and what is none.
    let (half, holed, none) =
        (directory.path().join("half.sql"), directory.path().join("holed.sql"), directory.path().join("none.sql"));
    fs::write(&half, &text[..text.len() / 2]).unwrap();
    let without: String = text.split_inclusive('\n').filter(|line| !line.contains("account.credited\t")).collect();
    fs::write(&holed, without).unwrap();
    fs::write(&none, "select 1;").unwrap();
    for (backup, said) in [(&half, "breaks off"), (&none, "not what `pg_dump` writes")] {
        let output = drill(backup, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(said), "{stderr}");
    }
    assert!(!drill(&holed, &[]).status.success());
    assert!(!drill(&directory.path().join("missing"), &[]).status.success());
    let spoilt = directory.path().join("spoilt.dump");
    let mut bytes = fs::read(&custom).unwrap();
    bytes.truncate(bytes.len() * 2 / 3);
    fs::write(&spoilt, bytes).unwrap();
    assert!(!drill(&spoilt, &[]).status.success());

    assert_eq!(left_behind(), before, "whatever happens, nothing stays");
}
