//! Whoever may read the history sees there what he or she may read elsewhere, and nothing more, for every noun.

use std::collections::{BTreeMap, BTreeSet};

use daybook_core::domain::{
    CustomerId, Party,
    function::{Function, Functions, Role},
    read_by, type_read_by,
    user::MembershipChange as M,
};
use daybook_tests::{api::TestApp, history::Ledger, people::Person};
use serde_json::Value;

/// The application on the varied history, with one of the provider's people, whose tokens are for some functions only.
struct House {
    app: TestApp,
    anna: Person,
    ada: CustomerId,
}

impl House {
    async fn new() -> Self {
        let (_, database) = Ledger::varied_and_projected().await.stopped().await;
        let app = TestApp::guarded_on(database).await;
        let ada: String = sqlx::query_scalar("select id from customers").fetch_one(app.database.pool()).await.unwrap();
        let anna = app.person("anna", &Party::Provider, vec![M::GrantRole(Role::Auditor)]).await;
        Self { app, anna, ada: ada.parse().unwrap() }
    }

    /// Anna with a token for these functions.
    async fn anna_who_may(&self, functions: &[Function]) -> Person {
        self.app.tokened(&self.anna.user, &Party::Provider, Some(functions), None).await
    }

    /// One of each kind of thing that has a history, by what whoever reads it may do and by its prefix.
    async fn things(&self) -> BTreeMap<(Function, String), String> {
        let entities = "select min(entity_id) from history group by split_part(entity_id, '_', 1)";
        let ids: Vec<String> = sqlx::query_scalar(entities).fetch_all(self.app.database.pool()).await.unwrap();
        let of = |id: String| {
            let function = read_by(&id).unwrap_or_else(|| panic!("nobody says who reads {id}"));
            ((function, id.split('_').next().unwrap().to_owned()), id)
        };
        ids.into_iter().map(of).collect()
    }

    async fn history(&self, reader: &Person, entity: &str) -> Vec<Value> {
        let page = self.app.read_by(reader, &format!("/v1/history?entity={entity}&limit=200")).await;
        assert_eq!(page.status, 200, "{entity}: {}", page.text);
        page.body["data"].as_array().unwrap().clone()
    }
}

fn types(events: &[Value]) -> BTreeSet<&str> {
    events.iter().map(|event| event["aggregate_type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_history_of_a_thing_is_shown_to_whoever_may_read_the_thing() {
    let house = House::new().await;
    let things = house.things().await;
    let functions: Functions = things.keys().map(|(function, _)| *function).collect();
    assert!(things.len() > 15 && functions.len() > 10, "{things:?}");
    let historian = house.anna_who_may(&[Function::HistoryRead]).await;
    for function in functions {
        let reader = house.anna_who_may(&[Function::HistoryRead, function]).await;
        let without: Vec<_> =
            Function::of_roles(&[Role::Auditor]).into_iter().filter(|held| *held != function).collect();
        let other = house.anna_who_may(&without).await;
        for ((_, prefix), id) in things.iter().filter(|((of, _), _)| *of == function) {
            assert!(house.history(&historian, id).await.is_empty(), "{id} is shown by `history.read` alone");
            assert!(house.history(&other, id).await.is_empty(), "{id} is shown without `{function}`");
            let shown = house.history(&reader, id).await;
            let foreign: Vec<_> = types(&shown).into_iter().filter(|of| type_read_by(of) != Some(function)).collect();
            assert!(foreign.is_empty(), "{id} is shown with `{function}`, and with it events of {foreign:?}");
            let all = house.history(&house.anna, id).await;
            let readable =
                all.iter().any(|event| type_read_by(event["aggregate_type"].as_str().unwrap()) == Some(function));
            assert!(!all.is_empty() && shown.is_empty() != readable, "{prefix} {id}: {shown:?} of {all:?}");
        }
    }
}

/// What a customer may not read, what is another customer's and what is nobody's are answered alike.
#[tokio::test]
async fn what_may_not_be_read_is_answered_as_what_is_not_there() {
    let house = House::new().await;
    let party = Party::Customer(house.ada.clone());
    let functions = [Function::HistoryRead, Function::OrdersRead].map(M::GrantFunction).to_vec();
    let clerk = house.app.person("clerk", &party, functions).await;
    let foreign = house.app.customer("Eve").await;
    let (mut shown, mut hidden) = (0, BTreeSet::new());
    for ((function, _), id) in house.things().await {
        let page = house.app.read_by(&clerk, &format!("/v1/history?entity={id}")).await;
        match function {
            Function::OrdersRead => shown += page.body["data"].as_array().unwrap().len(),
            _ => drop(hidden.insert((page.status, page.text))),
        }
    }
    for unknown in ["inv_unknown", "ord_unknown", "unknown", foreign.as_str()] {
        let page = house.app.read_by(&clerk, &format!("/v1/history?entity={unknown}")).await;
        hidden.insert((page.status, page.text));
    }
    assert!(shown > 0);
    assert_eq!(hidden.len(), 1, "{hidden:#?}");
}

#[tokio::test]
async fn an_explanation_names_of_the_same_command_what_may_be_read() {
    let house = House::new().await;
    let accounts: Vec<String> =
        sqlx::query_scalar("select id from accounts order by id").fetch_all(house.app.database.pool()).await.unwrap();
    let reader = house.anna_who_may(&[Function::AccountsRead]).await;
    let together = async |reader: &Person| {
        let mut types = BTreeSet::new();
        for account in &accounts {
            let path = format!("/v1/accounts/{account}/balance/explanation?limit=200");
            let page = house.app.read_by(reader, &path).await;
            assert_eq!(page.status, 200, "{}", page.text);
            for step in page.body["data"].as_array().unwrap() {
                let of = step["together"].as_array().unwrap().iter();
                types.extend(of.map(|event| event["aggregate_type"].as_str().unwrap().to_owned()));
            }
        }
        types
    };
    assert_eq!(together(&reader).await, BTreeSet::from(["account".to_owned()]));
    assert!(together(&house.anna).await.len() > 3);
}
