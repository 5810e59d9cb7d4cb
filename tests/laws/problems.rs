//! Every problem of the board is raised: by a request, by the ledger itself where no request can, or by a named test of
//! the faults that raise it.

mod alone;
mod nouns;
mod server;

use std::{collections::BTreeSet, process::Command as Program};

use daybook_core::writer::{Command, ExecuteError};
use daybook_tests::api::{Answer, TestApp};
use serde_json::{Value, json};

/// What only faults raise, or what takes long to set up: the code, and the test that raises it.
const BY_FAULTS: &[(&str, &str)] = &[
    ("build-behind", "a_rebuild_is_followed_until_it_serves_and_is_rolled_back"),
    ("build-taken-over", "what_happens_to_a_build_meanwhile_is_told"),
    ("build-unproven", "what_happens_to_a_build_meanwhile_is_told"),
    ("clock-jumped", "a_clock_that_jumped_is_told_over_http"),
    ("encryption-needed", "a_caller_who_does_not_encrypt_reads_why_it_is_refused"),
    ("entry-too-large", "a_log_of_before_that_holds_a_large_event_is_continued"),
    ("factor-exists", "a_secret_is_named_once"),
    ("factor-not-found", "a_secret_is_named_once"),
    ("factor-reset-early", "a_reset_waits_and_the_person_cancels_it_by_the_password_alone"),
    ("factor-reset-not-found", "a_reset_waits_and_the_person_cancels_it_by_the_password_alone"),
    ("factor-reset-requested", "a_reset_waits_and_the_person_cancels_it_by_the_password_alone"),
    ("first-user", "a_customer_does_not_remove_its_first_user_and_shares_no_other"),
    ("forbidden-by-role", "each_route_lets_those_through_who_may_do_what_it_needs"),
    ("impersonation-read-only", "a_customer_sees_who_has_looked"),
    ("link-used", "a_link_of_one_purpose_is_none_of_another"),
    ("no-second-factor", "a_reset_is_asked_for_by_staff_in_a_session_with_a_reason_and_not_for_oneself"),
    ("operation-ended", "what_is_cancelled_ends_and_another_can_be_asked_for"),
    ("operation-not-found", "what_is_cancelled_ends_and_another_can_be_asked_for"),
    ("operation-under-way", "an_operation_says_how_far_it_is_and_what_it_has_come_to"),
    ("password-guessable", "a_password_that_is_none_is_refused"),
    ("password-is-a-name", "a_superuser_invites_a_person_who_chooses_a_password_by_a_link_once"),
    ("password-too-long", "a_password_that_is_none_is_refused"),
    ("password-too-short", "a_superuser_invites_a_person_who_chooses_a_password_by_a_link_once"),
    ("precondition-required", "an_edit_says_what_it_has_seen_or_bears_a_key"),
    ("right-not-held", "nobody_lets_himself_in_to_more_than_he_may_do"),
    ("second-person-needed", "a_reset_waits_and_the_person_cancels_it_by_the_password_alone"),
    ("session-needed", "what_needs_a_session_is_not_done_by_a_token"),
    ("session-not-found", "what_needs_a_session_is_not_done_by_a_token"),
    ("sign-in-refused", "whoever_is_nobody_gets_the_answer_of_a_wrong_password"),
    ("sign-up-closed", "nobody_signs_up_unless_the_operator_allows_it"),
    ("sign-up-not-found", "staff_throw_a_sign_up_away_and_its_link_with_it"),
    ("stale-version", "of_two_editors_who_have_read_the_same_one_is_refused"),
    ("step-up-needed", "each_route_that_is_declared_so_needs_the_password_once_more_within_five_minutes"),
    ("terms-outdated", "what_is_wrong_is_named_and_not_stored"),
    ("token-not-found", "a_secret_is_named_once"),
    ("too-many-attempts", "whoever_guesses_is_held_up"),
    ("too-many-memberships", "a_person_has_so_many_memberships_and_tokens_at_most"),
    ("too-many-sign-ups", "few_sign_up_from_one_network_in_an_hour"),
    ("too-many-tokens", "a_person_has_so_many_memberships_and_tokens_at_most"),
    ("unauthenticated", "each_route_lets_those_through_who_may_do_what_it_needs"),
    ("user-exists", "a_secret_is_named_once"),
    ("user-shared", "a_customer_does_not_remove_its_first_user_and_shares_no_other"),
    ("event-too-large", "a_document_of_very_many_lines_is_taken_or_refused_whole"),
    ("ledger-forked", "a_ledger_that_lacks_what_was_signed_takes_no_writes_until_an_operator_decides"),
    ("ledger-upgrading", "a_ledger_that_is_being_brought_over_takes_no_writes"),
    ("log-not-sound", "an_entry_that_is_not_the_one_of_its_leaf_is_not_handed_out"),
    ("other-version", "what_the_past_cannot_be_told_from_is_said"),
    ("outcome-unknown", "what_became_of_a_command_is_told"),
    ("overloaded", "ordinary_reads_are_answered_while_as_many_read_the_past_as_may"),
    ("parked-meanwhile", "what_happens_to_a_build_meanwhile_is_told"),
    ("payer-erased", "a_text_is_erased_everywhere_when_its_key_is_destroyed"),
    ("proxy-needed", "without_encryption_nobody_comes_but_proxies_and_this_machine"),
    ("read-too-long", "a_read_of_the_past_that_takes_too_long_is_refused_and_says_so"),
    ("readers-in-the-way", "what_happens_to_a_build_meanwhile_is_told"),
    ("rebuild-under-way", "a_rebuild_is_followed_until_it_serves_and_is_rolled_back"),
    ("request-too-slow", "a_caller_who_keeps_the_server_waiting_is_cut"),
    ("unbalanced", "a_fault_of_the_ledger_is_not_taken_for_an_absent_store"),
];

/// Tests of the API itself that stand in the list above.
const TESTS_OF_THE_API: [&str; 3] = [
    include_str!("../../api/src/http/arrival.rs"),
    include_str!("../../api/src/http/error.rs"),
    include_str!("../../api/src/operate/operator.rs"),
];

#[tokio::test]
async fn every_problem_of_the_board_is_raised() {
    let mut raised = Raised::default();
    let app = TestApp::start().await;
    let parties = Parties::of(&app).await;
    server::requests(&app, &parties, &mut raised).await;
    nouns::customers(&app, &parties, &mut raised).await;
    nouns::accounts(&app, &parties, &mut raised).await;
    nouns::orders(&app, &parties, &mut raised).await;
    nouns::payments(&app, &parties, &mut raised).await;
    nouns::refunds_and_disputes(&app, &parties, &mut raised).await;
    nouns::documents(&app, &parties, &mut raised).await;
    nouns::expenses_and_discounts(&app, &parties, &mut raised).await;
    nouns::tickets(&app, &parties, &mut raised).await;
    nouns::books(&app, &mut raised).await;
    nouns::users(&app, &parties, &mut raised).await;
    alone::what_stands_already(&app, &parties, &mut raised).await;
    alone::what_no_operation_asks(&mut raised).await;
    server::bare_statuses(&mut raised).await;
    server::projections(&app, &mut raised).await;
    server::a_server_that_stops(&mut raised).await;

    assert!(raised.wrong.is_empty(), "{:#?}", raised.wrong);
    let board = app.get("/problems").await.body;
    let board: BTreeSet<String> = board.as_array().unwrap().iter().map(|kind| text(&kind["code"])).collect();
    let tests = tests();
    for (code, test) in BY_FAULTS {
        assert!(tests.contains(*test), "{code} is raised by a test that is there: {test}");
        assert!(raised.codes.insert((*code).into()), "{code} is raised here already");
    }
    let missing: Vec<_> = board.difference(&raised.codes).collect();
    assert!(missing.is_empty(), "nothing raises {missing:?}");
    assert_eq!(raised.codes, board);
}

/// The names of all tests of this program, and of those of the API that are needed.
fn tests() -> BTreeSet<String> {
    let listed = Program::new(std::env::current_exe().unwrap()).args(["--list", "--format", "terse"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test")?.rsplit("::").next());
    let of_the_api = TESTS_OF_THE_API.iter().flat_map(|source| source.split("#[test]\n    fn ").skip(1));
    let of_the_api = of_the_api.filter_map(|test| test.split('(').next());
    names.chain(of_the_api).map(str::to_owned).collect()
}

/// The codes that were raised, and the answers that were not as expected.
#[derive(Debug, Default)]
struct Raised {
    codes: BTreeSet<String>,
    wrong: Vec<String>,
}

/// What is asked and how it is refused: code, status, the field that is named, path and body.
type Row = (&'static str, u16, &'static str, String, Value);

impl Raised {
    fn by(&mut self, answer: &Answer, (status, code): (u16, &str)) {
        let problem = &answer.body;
        if (answer.status, &problem["type"]) == (status, &json!(format!("/problems/{code}"))) {
            answer.refused(status, code);
        } else {
            self.wrong.push(format!("{code}: {}", answer.text));
        }
        self.codes.insert(code.into());
    }

    /// Posts what is refused. An empty field stands for none.
    async fn post(&mut self, app: &TestApp, rows: impl IntoIterator<Item = Row>) {
        for (code, status, field, path, body) in rows {
            let before = app.position().await;
            let answer = app.post(&path, body).await;
            self.by(&answer, (status, code));
            if text(&answer.body["errors"][0]["pointer"]) != field {
                self.wrong.push(format!("{code}, {field}: {}", answer.text));
            }
            if app.position().await != before {
                self.wrong.push(format!("{code}: something is recorded"));
            }
        }
    }

    async fn refusal(&mut self, app: &TestApp, command: Command, code: &str) {
        match app.writer().execute(command).await {
            Err(ExecuteError::Refused(refusal)) if refusal.code() == code => {}
            other => self.wrong.push(format!("{code}: {other:?}")),
        }
        self.codes.insert(code.into());
    }
}

/// Two customers; the first has two accounts.
struct Parties {
    ada: String,
    usd: String,
    eur: String,
    payer: String,
    bob: String,
    theirs: String,
    their_payer: String,
}

impl Parties {
    async fn of(app: &TestApp) -> Self {
        let (ada, bob) = (customer(app, "Ada").await, customer(app, "Bob").await);
        Self {
            usd: account(app, &ada, "USD").await,
            eur: account(app, &ada, "EUR").await,
            theirs: account(app, &bob, "USD").await,
            payer: payer(app, &ada).await,
            their_payer: payer(app, &bob).await,
            ada,
            bob,
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

async fn made(app: &TestApp, path: &str, body: Value) -> String {
    text(&app.done(path, body).await["id"])
}

async fn customer(app: &TestApp, name: &str) -> String {
    made(app, "/v1/customers", json!({ "name": name })).await
}

async fn account(app: &TestApp, customer: &str, currency: &str) -> String {
    made(app, "/v1/accounts", json!({ "customer": customer, "currency": currency, "name": "main" })).await
}

fn new_payer(customer: &str, country: &str) -> Value {
    json!({ "customer": customer, "kind": "individual", "name": "payer", "address": { "country": country } })
}

async fn payer(app: &TestApp, customer: &str) -> String {
    made(app, "/v1/payers", new_payer(customer, "DE")).await
}

fn dollars(amount: &str) -> Value {
    json!({ "amount": amount, "currency": "USD" })
}

fn euros(amount: &str) -> Value {
    json!({ "amount": amount, "currency": "EUR" })
}

fn new_order(account: &str, items: Value) -> Value {
    json!({ "account": account, "description": "VPS", "items": items })
}

async fn order(app: &TestApp, account: &str, price: &str) -> String {
    made(app, "/v1/orders", new_order(account, json!([{ "product": "vps", "unit_price": price }]))).await
}

fn new_payment(account: &str, amount: &str) -> Value {
    json!({ "account": account, "method": "card", "amount": dollars(amount) })
}

/// A payment whose money is here.
async fn credited(app: &TestApp, account: &str, amount: &str) -> String {
    let payment = made(app, "/v1/payments", new_payment(account, amount)).await;
    app.done(&format!("/v1/payments/{payment}/credit"), json!({})).await;
    payment
}

fn new_document(account: &str, payer: &str, lines: Value) -> Value {
    json!({ "account": account, "payer": payer, "lines": lines })
}

fn line(price: &str) -> Value {
    json!({ "description": "Setup", "unit_price": price })
}

fn and(mut body: Value, field: &str, value: impl Into<Value>) -> Value {
    body[field] = value.into();
    body
}
