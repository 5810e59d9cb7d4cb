//! A provider with customers and people of each kind, whose pages are looked at.

use daybook_api::AppOptions;
use daybook_core::{
    domain::{CustomerId, Party, function::Role, user::MembershipChange as M},
    transparency::{KeeperOptions, open_key},
};
use daybook_panel::Panel;
use daybook_tests::{
    TestDatabase,
    api::{Answer, TestApp},
    database,
    history::Ledger,
    people::Browser,
};
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use crate::laws::time_travel::arrived;

/// The application on a varied history, with somebody of each kind.
pub struct House {
    pub app: TestApp,
    /// The customer who has most of what there is.
    pub customer: CustomerId,
    people: Vec<(Panel, Browser)>,
    /// Where the key of the log lies.
    _keys: TempDir,
}

impl House {
    /// On a history in which nearly everything has happened.
    pub async fn varied() -> Self {
        let (_, database) = Ledger::varied_and_projected().await.stopped().await;
        let (app, keys) = signing(database).await;
        arrived(&app).await;
        let staff = somebody(&app, "staff@example.org", &Party::Provider, vec![M::GrantRole(Role::Staff)]).await;
        let payments = app.page_reads(&staff, "/v1/tickets?limit=200").await;
        let mut counts: Vec<(String, usize)> = Vec::new();
        for row in payments.body["data"].as_array().expect("rows") {
            let customer = row["customer"].as_str().expect("a ticket is a customer's").to_owned();
            match counts.iter_mut().find(|(other, _)| *other == customer) {
                Some((_, count)) => *count += 1,
                None => counts.push((customer, 1)),
            }
        }
        let (customer, _) = counts.into_iter().max_by_key(|(_, count)| *count).expect("there are tickets");
        Self::of(app, keys, customer.parse().expect("an identifier")).await
    }

    /// On a ledger with one customer, who has no history.
    pub async fn new() -> Self {
        let (app, keys) = signing(database().await).await;
        let customer = app.customer("Ada Ltd").await;
        Self::of(app, keys, customer).await
    }

    async fn of(app: TestApp, keys: TempDir, customer: CustomerId) -> Self {
        let of_customer = Party::Customer(customer.clone());
        let kinds = [
            (Panel::Customer, "owner@example.org", &of_customer, M::GrantSuperuser),
            (Panel::Staff, "clerk@example.org", &Party::Provider, M::GrantRole(Role::Staff)),
            (Panel::Auditor, "auditor@example.org", &Party::Provider, M::GrantRole(Role::Auditor)),
            (Panel::Operator, "operator@example.org", &Party::Provider, M::GrantRole(Role::Operator)),
        ];
        let mut people = Vec::new();
        for (panel, login, party, right) in kinds {
            people.push((panel, somebody(&app, login, party, vec![right]).await));
        }
        Self { app, customer, people, _keys: keys }
    }

    pub fn who(&self, panel: Panel) -> &Browser {
        &self.people.iter().find(|(of, _)| *of == panel).expect("there is somebody of each kind").1
    }

    pub async fn reads(&self, panel: Panel, path: &str) -> Answer {
        let request = self.app.from_page(self.who(panel), Method::GET, path);
        Answer::to(request.header("accept", "text/html").header("accept-language", "en")).await
    }

    /// The address of a page that names something, with what there is of it.
    pub async fn address(&self, panel: Panel, page: &str) -> Option<String> {
        match page {
            "/history" => {
                let id = self.first(panel, "/v1/accounts").await?;
                return Some(format!("/history?entity={id}"));
            }
            "/audit/proofs/inclusion" => return Some("/audit/proofs/inclusion?position=1".into()),
            "/audit/proofs/consistency" => {
                let checkpoints = self.app.page_reads(self.who(panel), "/v1/audit/checkpoints").await;
                let size = checkpoints.body["data"][0]["size"].as_u64()?;
                return Some(format!("/audit/proofs/consistency?from={size}"));
            }
            _ => {}
        }
        let Some(at) = page.find("/{") else { return Some(page.to_owned()) };
        let (listing, rest) = page.split_at(at);
        let rest = rest.split_once('}').map(|(_, rest)| rest).unwrap_or_default();
        let id = if listing == "/ops/projections" {
            "accounts".into()
        } else {
            self.first(panel, &format!("/v1{listing}")).await?
        };
        Some(format!("{listing}/{id}{rest}"))
    }

    async fn first(&self, panel: Panel, listing: &str) -> Option<String> {
        let answer = self.app.page_reads(self.who(panel), listing).await;
        let rows = answer.body.as_object()?.values().find_map(Value::as_array)?.clone();
        rows.first()?["id"].as_str().map(str::to_owned)
    }
}

/// The application with a log that is signed.
async fn signing(database: TestDatabase) -> (TestApp, TempDir) {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let key = open_key(&database.store().await, &directory.path().join("log.key")).await.expect("a key is made");
    let keeper = KeeperOptions { key: Some(key), ..KeeperOptions::default() };
    let options = AppOptions { keeper, ..AppOptions::default() };
    (TestApp::guarded_on_with(database, options).await, directory)
}

async fn somebody(app: &TestApp, login: &str, party: &Party, rights: Vec<M>) -> Browser {
    let user = app.invited(login, party, rights).await;
    app.with_password(&user).await;
    app.signed_in(login).await
}
