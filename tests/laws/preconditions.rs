//! Preconditions: what one editor has not seen is not overwritten, and what a caller has is not sent again (S67).

use daybook_api::{editing, openapi};
use daybook_tests::{
    api::{Answer, TestApp},
    history::Ledger,
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

async fn payer(app: &TestApp) -> String {
    let customer = app.done("/v1/customers", json!({ "name": "Ada Ltd" })).await["id"].as_str().unwrap().to_owned();
    let payer = json!({ "customer": customer, "kind": "company", "name": "Ada Ltd", "address": { "country": "GB" } });
    let payer = app.done("/v1/payers", payer).await["id"].as_str().unwrap().to_owned();
    format!("/v1/payers/{payer}")
}

/// Reads what was recorded last, too.
async fn read(app: &TestApp, path: &str) -> Answer {
    let request =
        app.request(Method::GET, path).header("min-position", app.position().await).header("prefer", "wait=30");
    let answer = Answer::to(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

fn edit(app: &TestApp, path: &str, body: &Value) -> RequestBuilder {
    app.request(Method::PATCH, path).json(body)
}

/// S67.
#[tokio::test]
async fn of_two_editors_who_have_read_the_same_one_is_refused() {
    let app = TestApp::start().await;
    let path = payer(&app).await;
    let seen = read(&app, &path).await;
    let tag = seen.header("etag");
    let one = edit(&app, &path, &json!({ "name": "Ada One Ltd" })).header("if-match", tag);
    let other = edit(&app, &path, &json!({ "tax_number": "GB 123", "name": "Ada Two Ltd" })).header("if-match", tag);
    let (one, other) = tokio::join!(Answer::to(one), Answer::to(other));
    let (done, refused) = if one.status == 200 { (one, other) } else { (other, one) };
    assert_eq!(done.status, 200, "{}", done.text);
    let problem = refused.refused(412, "stale-version");
    // Both changes of the second one, or the one of the first, stand beside what made the payer.
    assert!(problem["version"] == 2 || problem["version"] == 3, "{problem}");

    let now = read(&app, &path).await;
    assert_ne!(now.header("etag"), tag);
    let again = edit(&app, &path, &json!({ "address": { "country": "FR" } })).header("if-match", now.header("etag"));
    assert_eq!(Answer::to(again).await.status, 200);
    let shown = read(&app, &path).await;
    assert_eq!(shown.body["address"]["country"], "FR", "{}", shown.text);
    assert!(shown.body["name"].as_str().unwrap().starts_with("Ada "), "{}", shown.text);
}

#[tokio::test]
async fn an_edit_says_what_it_has_seen_or_bears_a_key() {
    let app = TestApp::start().await;
    let path = payer(&app).await;
    let body = json!({ "name": "Ada & Daughters Ltd" });
    let before = app.position().await;
    Answer::to(edit(&app, &path, &body)).await.refused(428, "precondition-required");
    let tag = read(&app, &path).await.header("etag").to_owned();
    for malformed in ["7", "\"7", "x", ""] {
        Answer::to(edit(&app, &path, &body).header("if-match", malformed)).await.refused(400, "malformed-header");
    }
    // Weak tags and those of another version match nothing.
    for other in [format!("W/{tag}"), tag.replacen("\"1.", "\"2.", 1)] {
        Answer::to(edit(&app, &path, &body).header("if-match", other)).await.refused(412, "stale-version");
    }
    assert_eq!(app.position().await, before, "nothing was recorded");

    let keyed = || edit(&app, &path, &body).header("idempotency-key", "once");
    assert_eq!(Answer::to(keyed()).await.status, 200);
    // The stored answer comes before the comparison.
    let again = Answer::to(keyed().header("if-match", &tag)).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, "true"), "{}", again.text);
    let any = edit(&app, &path, &json!({ "tax_number": null })).header("if-match", "*");
    assert_eq!(Answer::to(any).await.status, 200);
    // Elsewhere it is accepted.
    let deactivate = app.request(Method::POST, &format!("{path}/deactivate")).json(&json!({}));
    Answer::to(deactivate.header("if-match", &tag)).await.refused(412, "stale-version");
    // What is refused anyway is refused for that reason.
    let blank = edit(&app, &path, &json!({ "name": " " })).header("if-match", &tag);
    Answer::to(blank).await.refused(422, "name-missing");
    let absent = edit(&app, "/v1/payers/pyr_none", &body).header("if-match", &tag);
    Answer::to(absent).await.refused(404, "payer-not-found");
    let nothing = edit(&app, &path, &json!({ "reason": "none" })).header("if-match", "*");
    Answer::to(nothing).await.refused(422, "missing-field");
    // What has no version of its own takes no precondition.
    let revoke = app.request(Method::POST, "/v1/discounts/dsc_1/revoke").json(&json!({})).header("if-match", &tag);
    Answer::to(revoke).await.refused(400, "malformed-header");
}

/// Nothing loses its precondition without somebody noticing.
#[test]
fn what_edits_is_on_this_page() {
    let known = [
        ("delete", "/v1/customers/{id}/groups/{group}"),
        ("patch", "/v1/payers/{id}"),
        ("post", "/v1/payers/{id}/rename"),
        ("post", "/v1/payers/{id}/move"),
        ("post", "/v1/payers/{id}/tax-number"),
        ("post", "/v1/payers/{id}/deactivate"),
        ("post", "/v1/users/{id}/rename"),
        ("post", "/v1/users/{id}/move"),
        ("post", "/v1/users/{id}/contacts"),
        ("delete", "/v1/users/{id}/contacts/{number}"),
        ("post", "/v1/users/{id}/enable"),
        ("post", "/v1/users/{id}/memberships"),
        ("delete", "/v1/orders/{id}/items/{number}"),
    ];
    assert_eq!(editing(), known);
}

#[test]
fn whatever_replaces_or_removes_something_needs_a_precondition() {
    let description = serde_json::to_value(openapi()).unwrap();
    let editing = editing();
    for (path, item) in description["paths"].as_object().unwrap() {
        // Documents are not edited: each such request is refused.
        let personal = ["/v1/invoices/", "/v1/me/", "/v1/sessions", "/v1/sign-ups/"];
        for (method, _) in
            item.as_object().unwrap().iter().filter(|(method, _)| ["patch", "put", "delete"].contains(&&***method))
        {
            let is_exempt = personal.iter().any(|prefix| path.starts_with(prefix));
            let needs = editing.contains(&(method.as_str(), path.as_str()));
            assert!(needs != is_exempt, "{method} {path}");
        }
    }
}

/// Whoever has what would be answered gets no body; after the next event about it, everybody gets another tag.
#[tokio::test]
async fn every_thing_has_a_tag_that_changes_with_it() {
    let (_, database) = Ledger::varied_and_projected().await.stopped().await;
    let app = TestApp::on(database).await;
    let description = serde_json::to_value(openapi()).unwrap();
    let mut tagged = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        if item["get"]["responses"]["200"]["headers"].get("ETag").is_none() {
            continue;
        }
        let listing = path.strip_suffix("/{id}").expect("a thing stands in its listing");
        let listed = read(&app, &format!("{listing}?limit=1")).await;
        let id = listed.body["data"][0]["id"].as_str().unwrap_or_else(|| panic!("no {listing} in the history"));
        let shown = read(&app, &format!("{listing}/{id}")).await;
        let tag = shown.header("etag");
        let asked = app.request(Method::GET, &format!("{listing}/{id}")).header("if-none-match", tag);
        let unchanged = Answer::to(asked).await;
        assert_eq!((unchanged.status, unchanged.text.as_str(), unchanged.header("etag")), (304, "", tag), "{path}");
        assert!(!unchanged.header("ledger-position").is_empty());
        let other = app.request(Method::GET, &format!("{listing}/{id}")).header("if-none-match", "\"other\"");
        assert_eq!(Answer::to(other).await.status, 200, "{path}");
        let stored: Option<i64> = sqlx::query_scalar("select max(sequence) from events where aggregate_id = $1")
            .bind(id)
            .fetch_one(app.database.pool())
            .await
            .unwrap();
        // Discounts are parts of one aggregate.
        let version = stored.map(|version| version.to_string());
        assert_eq!(tag.trim_matches('"').split_once('.').map(|(version, _)| version.to_owned()), version, "{path}");
        tagged += 1;
    }
    assert!(tagged >= 12, "{tagged}");
}
