//! What operators do over HTTP: they see how the projections stand, hold them, set events aside, and mend rows.

use std::time::Duration;

use daybook_api::AppOptions;
use daybook_tests::{
    api::TestApp,
    database,
    operator::{PROJECTIONS, account, ailing, break_the_book, ended, metrics, of, until},
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_server_whose_store_takes_no_events_is_not_ready_until_one_is_recorded_again() {
    let app = TestApp::start().await;
    let customer = json!({ "name": "Ada Lovelace" });
    app.done("/v1/customers", customer.clone()).await;
    assert_eq!(app.get("/readyz").await.status, 200);

    // As a full disk would.
    sqlx::query("alter table events add constraint full_disk check (position < 0) not valid")
        .execute(app.database.pool())
        .await
        .unwrap();
    assert_eq!(app.post("/v1/customers", customer.clone()).await.status, 503);
    let ready = app.get("/readyz").await;
    let detail = ready.refused(503, "not-ready")["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("the store does not record what it is given"), "{detail}");

    sqlx::query("alter table events drop constraint full_disk").execute(app.database.pool()).await.unwrap();
    app.done("/v1/customers", customer).await;
    assert_eq!(app.get("/readyz").await.status, 200);
    app.stop().await;
}

#[tokio::test]
async fn a_projection_is_shown_as_the_list_shows_it() {
    let app = TestApp::start().await;
    account(&app).await;
    app.get("/v1/accounts").await;
    let list = app.get(PROJECTIONS).await;
    let head = list.body["head"].as_u64().unwrap();
    assert!(head > 0, "{}", list.text);
    for listed in list.body["data"].as_array().unwrap() {
        let path = of(listed["name"].as_str().unwrap(), "");
        let caught_up = until(&app, &path, |shown| shown.body["position"] == head).await;
        assert_eq!(caught_up.header("ledger-position"), head.to_string());
        assert_eq!(caught_up.body["last_rebuild"], Value::Null);
        for member in ["name", "build", "version", "head", "parked", "drifts", "kept", "building"] {
            assert_eq!(caught_up.body[member], listed[member], "{path} {member}");
        }
    }
}

#[tokio::test]
async fn what_is_not_on_the_board_is_not_there() {
    let app = TestApp::start().await;
    let answer = app.get(&of("moods", "")).await;
    let known = &answer.refused(404, "projection-not-found")["known"];
    assert!(known.as_array().unwrap().contains(&json!("accounts")), "{known}");
    let bodies = [
        ("/rebuild", json!({})),
        ("/pause", json!({})),
        ("/resume", json!({})),
        ("/rollback", json!({})),
        ("/discard", json!({})),
        ("/park", json!({ "position": 1, "reason": "a test" })),
        ("/unpark", json!({ "position": 1 })),
        ("/repair", json!({ "keys": ["acc_1"] })),
    ];
    for (verb, body) in bodies {
        app.post(&of("moods", verb), body).await.refused(404, "projection-not-found");
    }
    for (verb, body) in
        [("/rollback", json!({})), ("/discard", json!({})), ("/discard", json!({ "interrupted": true }))]
    {
        app.post(&of("accounts", verb), body).await.refused(404, "build-not-found");
    }
}

#[tokio::test]
async fn instructions_are_told_what_is_wrong_by_the_field() {
    let app = TestApp::start().await;
    let cases = [
        ("/rebuild", json!({ "dry_run": "yes" }), "wrong-type", "/dry_run"),
        ("/rebuild", json!({ "afresh": true, "slowly": true }), "unknown-field", "/slowly"),
        ("/pause", json!({ "for": "an hour" }), "unknown-field", "/for"),
        ("/resume", json!({ "for": "an hour" }), "unknown-field", "/for"),
        ("/rollback", json!({ "build": 1 }), "unknown-field", "/build"),
        ("/discard", json!({ "build": 1 }), "unknown-field", "/build"),
        ("/park", json!({ "reason": "a test" }), "missing-field", "/position"),
        ("/park", json!({ "position": -1, "reason": "a test" }), "invalid-value", "/position"),
        ("/park", json!({ "position": 1 }), "missing-field", "/reason"),
        ("/park", json!({ "position": 1, "reason": " " }), "reason-missing", "/reason"),
        ("/park", json!({ "position": 1, "reason": "a test" }), "event-not-found", "/position"),
        ("/park", json!({ "position": u64::MAX, "reason": "a test" }), "event-not-found", "/position"),
        ("/unpark", json!({ "position": 1, "reason": "a test" }), "unknown-field", "/reason"),
        ("/repair", json!({}), "missing-field", "/keys"),
        ("/repair", json!({ "keys": [] }), "keys-missing", "/keys"),
        ("/repair", json!({ "keys": ["acc_1", 2] }), "wrong-type", "/keys/1"),
    ];
    for (verb, body, code, pointer) in cases {
        let answer = app.post(&of("accounts", verb), body).await;
        assert_eq!(answer.refused(422, code)["errors"][0]["pointer"], pointer, "{verb}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_projection_that_is_paused_is_told_and_goes_on() {
    let app = TestApp::start().await;
    account(&app).await;
    let before = app.position().await;
    until(&app, &of("customers", ""), |shown| shown.body["position"] == before).await;
    assert_eq!(app.done(&of("customers", "/pause"), json!({})).await["state"], "paused");
    app.post(&of("customers", "/pause"), json!({})).await.refused(409, "projection-not-running");
    app.done("/v1/customers", json!({ "name": "Charles Babbage" })).await;
    // All others go on.
    assert_eq!(app.get("/v1/accounts").await.status, 200);

    let ready = until(&app, "/readyz", |ready| ailing(ready, "customers")["lag_events"] == 1).await;
    assert_eq!(ready.status, 200, "{}", ready.text);
    let told = ailing(&ready, "customers");
    assert_eq!((&told["state"], &told["position"], &told["driven"]), (&json!("paused"), &json!(before), &json!(true)));
    let measured = metrics(&app).await;
    let state =
        |state: &str| &*measured[&format!(r#"daybook_projection_state{{projection="customers",state="{state}"}}"#)];
    assert_eq!((state("running"), state("paused"), state("stopped")), ("0", "1", "0"));
    assert_eq!(measured[r#"daybook_projection_lag_events{projection="customers"}"#], "1");
    assert_ne!(measured[r#"daybook_projection_lag_seconds{projection="customers"}"#], "0.0");

    assert_eq!(app.done(&of("customers", "/resume"), json!({})).await["state"], "running");
    app.post(&of("customers", "/resume"), json!({})).await.refused(409, "projection-running");
    assert_eq!(app.get("/v1/customers").await.body["data"].as_array().map(Vec::len), Some(2));
    until(&app, "/readyz", |ready| ailing(ready, "customers").is_null()).await;
}

#[tokio::test]
async fn an_event_that_cannot_be_folded_is_named_and_parked_and_stays_aside() {
    let app = TestApp::start().await;
    account(&app).await;
    let before = app.position().await;
    let stuck = ["history", "journal", "tickets"];
    for name in stuck {
        until(&app, &of(name, ""), |shown| shown.body["position"] == before).await;
    }
    app.done(&of("journal", "/pause"), json!({})).await;
    let broken = before + 1;
    break_the_book(app.database.pool()).await;
    let last = app.post("/v1/customers", json!({ "name": "Charles Babbage" })).await;
    let head = before + 2;
    assert_eq!(last.header("ledger-position"), head.to_string());

    let stopped = |name| until(&app, "/readyz", move |ready| ailing(ready, name)["state"] == "stopped");
    stopped("history").await;
    let unready = stopped("tickets").await;
    unready.refused(503, "not-ready");
    let told = ailing(&unready, "tickets");
    assert_eq!((&told["position"], &told["error_position"]), (&json!(before), &json!(broken)));
    assert!(told["error"].as_str().unwrap().contains("the event cannot be read"), "{told}");
    let detail = unready.body["detail"].as_str().unwrap();
    assert!(detail.contains(&format!("`tickets` has stopped at position {before}, before event {broken}")), "{detail}");
    assert!(!detail.contains("customers"), "{detail}");
    assert_eq!(app.get("/v1/customers").await.body["data"].as_array().map(Vec::len), Some(2), "the others go on");
    let measured = metrics(&app).await;
    assert_eq!(measured["daybook_book_head"], head.to_string());
    assert_eq!(measured[r#"daybook_projection_head{projection="tickets"}"#], head.to_string());
    assert_eq!(measured[r#"daybook_projection_position{projection="tickets"}"#], before.to_string());
    assert_eq!(measured[r#"daybook_projection_stopped_position{projection="tickets"}"#], broken.to_string());
    assert_eq!(measured[r#"daybook_projection_state{projection="tickets",state="stopped"}"#], "1");
    assert_eq!(measured.get(r#"daybook_projection_stopped_position{projection="customers"}"#), None);
    // Trying again is allowed, and comes to the same.
    app.done(&of("tickets", "/resume"), json!({})).await;
    stopped("tickets").await;

    let park =
        |position: u64| json!({ "position": position, "reason": "from another program", "by": "the night shift" });
    app.post(&of("tickets", "/park"), park(head)).await.refused(422, "event-not-followed");
    app.post(&of("customers", "/park"), park(head)).await.refused(409, "event-folded");
    app.post(&of("tickets", "/unpark"), json!({ "position": broken })).await.refused(409, "not-parked");
    let parked = app.done(&of("tickets", "/park"), park(broken)).await;
    assert_eq!((&parked["aggregate_id"], &parked["parked_by"]), (&json!("tkt_broken"), &json!("the night shift")));
    assert!(parked["error"].as_str().unwrap().contains("the event cannot be read"), "{parked}");
    let unsigned = json!({ "position": broken, "reason": "from another program" });
    assert_eq!(app.done(&of("history", "/park"), unsigned.clone()).await["parked_by"], "system:api");
    app.done(&of("journal", "/park"), unsigned.clone()).await;
    app.post(&of("journal", "/park"), unsigned).await.refused(409, "stream-parked");
    app.done(&of("journal", "/resume"), json!({})).await;
    for name in stuck {
        let shown = until(&app, &of(name, ""), |shown| shown.body["position"] == head).await.body;
        assert_eq!((&shown["state"], &shown["parked"][0]["from_position"]), (&json!("running"), &json!(broken)));
    }
    assert_eq!(app.get("/readyz").await.status, 200);
    assert_eq!(metrics(&app).await[r#"daybook_projection_parked_streams{projection="tickets"}"#], "1");

    let still = app.post(&of("tickets", "/unpark"), json!({ "position": broken })).await;
    assert_eq!(still.refused(409, "event-not-foldable")["position"], broken);
    assert_eq!(app.get(&of("tickets", "")).await.body["parked"][0]["from_position"], broken, "it stays aside");
    assert_eq!(app.post(&of("tickets", "/rebuild"), json!({})).await.status, 202);
    assert_eq!(ended(&app, "tickets").await["last_rebuild"]["status"], "rebuilt", "without what is aside");
}

#[tokio::test]
async fn what_was_parked_and_can_be_folded_is_taken_back_in() {
    let app = TestApp::start().await;
    let customer = app.done("/v1/customers", json!({ "name": "Ada Lovelace" })).await;
    let before = app.position().await;
    until(&app, &of("tickets", ""), |shown| shown.body["position"] == before).await;
    app.done(&of("tickets", "/pause"), json!({})).await;
    let ticket = json!({ "customer": customer["id"], "category": "technical", "subject": "Slow", "message": "Why?" });
    app.done("/v1/tickets", ticket).await;
    let position = before + 1;
    let park = json!({ "position": position, "reason": "a test wants it" });
    app.done(&of("tickets", "/park"), park).await;
    app.done(&of("tickets", "/resume"), json!({})).await;
    assert_eq!(app.get("/v1/tickets").await.body["data"], json!([]), "the ticket is set aside");

    let taken_back = app.done(&of("tickets", "/unpark"), json!({ "position": position })).await;
    assert_eq!((&taken_back["from_position"], &taken_back["reason"]), (&json!(position), &json!("a test wants it")));
    assert_eq!(app.get("/v1/tickets").await.body["data"][0]["subject"], "Slow");
    assert_eq!(app.get(&of("tickets", "")).await.body["parked"], json!([]));
}

#[tokio::test]
async fn a_row_that_drifts_is_found_by_the_watch_and_mended() {
    let options = AppOptions { watch: Some(Duration::from_millis(1)), ..AppOptions::default() };
    let app = TestApp::with(database().await, options).await;
    let account = account(&app).await;
    app.get("/v1/accounts").await;
    sqlx::query("update accounts_v1 set balance = balance + 1").execute(app.database.pool()).await.unwrap();
    let shown = until(&app, &of("accounts", ""), |shown| shown.body["drifts"][0].is_object()).await.body;
    assert_eq!(shown["drifts"][0]["key"]["id"], account);
    let ready = app.get("/readyz").await;
    assert_eq!((ready.status, &ailing(&ready, "accounts")["drifted_rows"]), (200, &json!(1)), "{}", ready.text);
    assert_eq!(metrics(&app).await[r#"daybook_projection_drifted_rows{projection="accounts"}"#], "1");

    // Nobody watches any more: what is found is kept, and nothing is found again.
    let app = TestApp::on(app.stop().await).await;
    let repaired = app.done(&of("accounts", "/repair"), json!({ "keys": [account, "acc_0"] })).await;
    assert_eq!((&repaired["rows"], &repaired["mended"]), (&json!(1), &json!(1)), "{repaired}");
    assert_eq!(repaired["keys"], json!(["acc_0", account]));
    assert_eq!(app.get(&of("accounts", "")).await.body["drifts"], json!([]));
    assert_eq!(app.get(&format!("/v1/accounts/{account}")).await.body["balance"]["amount"], "0.00");
}

#[tokio::test]
async fn a_version_that_this_program_does_not_have_is_told_and_not_mended() {
    let app = TestApp::start().await;
    account(&app).await;
    app.get("/v1/accounts").await;
    sqlx::query("update projections set version = 9 where name = 'accounts'")
        .execute(app.database.pool())
        .await
        .unwrap();
    let ready = app.get("/readyz").await;
    let told = ailing(&ready, "accounts");
    assert_eq!((ready.status, &told["serving_version"], &told["program_version"]), (200, &json!(9), &json!(1)));
    app.post(&of("accounts", "/repair"), json!({ "keys": ["acc_1"] })).await.refused(409, "other-version");
    app.post(&of("accounts", "/unpark"), json!({ "position": 1 })).await.refused(409, "other-version");
    assert_eq!(metrics(&app).await[r#"daybook_projection_serving_version{projection="accounts"}"#], "9");
}
