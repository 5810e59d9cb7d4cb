//! The table of routes: every address that the server answers, what it does, and who may call it.

use axum::{
    Extension, Router,
    body::Bytes,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use utoipa::openapi::{OpenApi, path::Operation};
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter},
    routes,
};
use utoipa_swagger_ui::SwaggerUi;

use crate::{
    account,
    app::App,
    audit::{checkpoint, event, explanation, history, journal, proof, schema, tile},
    books, credit_note, customer, discount, expense,
    http::{
        layers::with_layers,
        openapi::{describe, frame, operations},
        problem,
        write::{MovesMoney, Recorded},
    },
    invoice,
    operate::{health, metrics, parking, projection, rebuild},
    order, payer, payment,
    payment::{allocation, dispute, notice, refund},
    service, statement, ticket,
};

/// Who may call a route. Nobody is asked yet who he is: until then the server listens on loopback addresses only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// For what is the customer's own.
    Customer,
    Staff,
    /// Reads everything and writes nothing.
    Auditor,
    /// Runs the server.
    Operator,
}

/// A line of the table.
struct Route {
    method: &'static str,
    path: &'static str,
    callers: &'static [Role],
    moves_money: bool,
    handler: UtoipaMethodRouter<App>,
}

const ANYONE: &[Role] = &[Role::Customer, Role::Staff, Role::Auditor, Role::Operator];
const CUSTOMER: &[Role] = &[Role::Customer, Role::Staff];
const STAFF: &[Role] = &[Role::Staff];
const READERS: &[Role] = &[Role::Staff, Role::Auditor, Role::Operator];
const OPERATOR: &[Role] = &[Role::Staff, Role::Operator];

#[rustfmt::skip]
fn table() -> Vec<Route> {
    vec![
        // The server itself.
        route("get", "/livez", ANYONE, routes!(health::live)),
        route("get", "/readyz", ANYONE, routes!(health::ready)),
        route("get", "/metrics", OPERATOR, routes!(metrics::show)),

        // Customers and their payers.
        route("get", "/v1/customers", READERS, routes!(customer::list)),
        route("post", "/v1/customers", STAFF, routes!(customer::register)),
        route("get", "/v1/customers/{id}", ANYONE, routes!(customer::show)),
        route("get", "/v1/customers/{id}/discounts", ANYONE, routes!(discount::list_of_customer)),
        route("post", "/v1/customers/{id}/groups", STAFF, routes!(customer::join_group)),
        route("delete", "/v1/customers/{id}/groups/{group}", STAFF, routes!(customer::leave_group)),
        route("get", "/v1/payers", ANYONE, routes!(payer::list)),
        route("get", "/v1/payers/{id}", ANYONE, routes!(payer::show)),
        route("post", "/v1/payers", CUSTOMER, routes!(payer::create)),
        route("post", "/v1/payers/{id}/rename", CUSTOMER, routes!(payer::rename)),
        route("post", "/v1/payers/{id}/move", CUSTOMER, routes!(payer::relocate)),
        route("post", "/v1/payers/{id}/tax-number", CUSTOMER, routes!(payer::change_tax_number)),
        route("post", "/v1/payers/{id}/deactivate", CUSTOMER, routes!(payer::deactivate)),

        // Accounts.
        route("get", "/v1/accounts", ANYONE, routes!(account::list)),
        route("get", "/v1/accounts/{id}", ANYONE, routes!(account::show)),
        route("get", "/v1/accounts/{id}/balance", ANYONE, routes!(account::balance)),
        route("get", "/v1/accounts/{id}/balance/explanation", ANYONE, routes!(explanation::explain_balance)),
        route("get", "/v1/accounts/{id}/statement", ANYONE, routes!(statement::statement)),
        route("post", "/v1/accounts", STAFF, routes!(account::open)),
        route("post", "/v1/accounts/{id}/credit-limit", STAFF, routes!(account::set_credit_limit)),
        route("post", "/v1/accounts/{id}/post-paid", STAFF, routes!(account::change_post_paid)),
        route("post", "/v1/accounts/{id}/automatic-allocation", CUSTOMER, routes!(account::switch_automatic_allocation)),
        money("post", "/v1/accounts/{id}/holds", STAFF, routes!(account::hold)),
        money("post", "/v1/accounts/{id}/holds/{hold}/release", STAFF, routes!(account::release_hold)),
        money("post", "/v1/accounts/{id}/adjustments", STAFF, routes!(account::adjust)),
        money("post", "/v1/accounts/{id}/transfers", CUSTOMER, routes!(account::transfer)),

        // Orders.
        route("get", "/v1/orders", ANYONE, routes!(order::list)),
        route("get", "/v1/orders/{id}", ANYONE, routes!(order::show)),
        money("post", "/v1/orders", CUSTOMER, routes!(order::place)),
        money("post", "/v1/orders/{id}/items", CUSTOMER, routes!(order::add_item)),
        route("delete", "/v1/orders/{id}/items/{number}", CUSTOMER, routes!(order::remove_item)),
        route("post", "/v1/orders/{id}/rename", CUSTOMER, routes!(order::rename)),
        route("post", "/v1/orders/{id}/delete", CUSTOMER, routes!(order::delete)),
        money("post", "/v1/orders/{id}/pay", CUSTOMER, routes!(order::pay)),

        // Payments and refunds. A gateway's notice needs no key: it names the payment.
        route("get", "/v1/payments", ANYONE, routes!(payment::list)),
        route("get", "/v1/payments/{id}", ANYONE, routes!(payment::show)),
        route("get", "/v1/payments/{id}/allocations", ANYONE, routes!(allocation::list_allocations)),
        route("get", "/v1/payments/{id}/refunds", ANYONE, routes!(refund::list_refunds)),
        route("get", "/v1/payments/{id}/disputes", ANYONE, routes!(dispute::list_disputes)),
        money("post", "/v1/payments", CUSTOMER, routes!(payment::start)),
        route("post", "/v1/payments/notices", STAFF, routes!(notice::take)),
        route("post", "/v1/payments/{id}/submit", CUSTOMER, routes!(payment::submit)),
        money("post", "/v1/payments/{id}/credit", STAFF, routes!(payment::credit)),
        money("post", "/v1/payments/{id}/pledge", STAFF, routes!(payment::pledge)),
        money("post", "/v1/payments/{id}/withdraw-pledge", STAFF, routes!(payment::withdraw_pledge)),
        route("post", "/v1/payments/{id}/fail", STAFF, routes!(payment::fail)),
        route("post", "/v1/payments/{id}/delete", CUSTOMER, routes!(payment::delete)),
        money("post", "/v1/payments/{id}/fraud", STAFF, routes!(payment::mark_fraudulent)),
        money("post", "/v1/payments/{id}/allocations", STAFF, routes!(allocation::allocate)),
        money("post", "/v1/payments/{id}/refunds", STAFF, routes!(refund::start_refund)),
        money("post", "/v1/payments/{id}/refunds/{refund}/settle", STAFF, routes!(refund::settle_refund)),
        money("post", "/v1/payments/{id}/refunds/{refund}/fail", STAFF, routes!(refund::fail_refund)),
        money("post", "/v1/payments/{id}/disputes", STAFF, routes!(dispute::open_dispute)),
        money("post", "/v1/payments/{id}/disputes/{dispute}/win", STAFF, routes!(dispute::win_dispute)),
        money("post", "/v1/payments/{id}/disputes/{dispute}/lose", STAFF, routes!(dispute::lose_dispute)),

        // Documents.
        route("get", "/v1/invoices", ANYONE, routes!(invoice::list)),
        route("get", "/v1/invoices/{id}", ANYONE, routes!(invoice::show)),
        route("get", "/v1/invoices/{id}/due/explanation", ANYONE, routes!(explanation::explain_due)),
        money("post", "/v1/invoices", STAFF, routes!(invoice::issue)),
        route("patch", "/v1/invoices/{id}", CUSTOMER, routes!(invoice::patch)),
        route("put", "/v1/invoices/{id}", CUSTOMER, routes!(invoice::put)),
        route("delete", "/v1/invoices/{id}", CUSTOMER, routes!(invoice::delete)),
        route("get", "/v1/credit-notes", ANYONE, routes!(credit_note::list)),
        route("get", "/v1/credit-notes/{id}", ANYONE, routes!(credit_note::show)),
        money("post", "/v1/credit-notes", STAFF, routes!(credit_note::issue)),

        // Services, expenses and discounts.
        route("get", "/v1/services", ANYONE, routes!(service::list)),
        route("get", "/v1/services/{id}", ANYONE, routes!(service::show)),
        route("get", "/v1/expenses", ANYONE, routes!(expense::list)),
        route("get", "/v1/expenses/{id}", ANYONE, routes!(expense::show)),
        money("post", "/v1/expenses", STAFF, routes!(expense::record)),
        money("post", "/v1/expenses/{id}/adjust", STAFF, routes!(expense::adjust)),
        money("post", "/v1/expenses/{id}/reverse", STAFF, routes!(expense::reverse)),
        money("post", "/v1/expenses/{id}/reinstate", STAFF, routes!(expense::reinstate)),
        route("get", "/v1/discounts", ANYONE, routes!(discount::list)),
        route("get", "/v1/discounts/{id}", ANYONE, routes!(discount::show)),
        route("post", "/v1/discounts", STAFF, routes!(discount::grant)),
        route("post", "/v1/discounts/{id}/revoke", STAFF, routes!(discount::revoke)),

        // Tickets.
        route("get", "/v1/tickets", ANYONE, routes!(ticket::list)),
        route("get", "/v1/tickets/{id}", ANYONE, routes!(ticket::show)),
        route("post", "/v1/tickets", CUSTOMER, routes!(ticket::open)),
        route("post", "/v1/tickets/{id}/messages", CUSTOMER, routes!(ticket::write)),
        route("post", "/v1/tickets/{id}/take-up", STAFF, routes!(ticket::take_up)),
        route("post", "/v1/tickets/{id}/read", CUSTOMER, routes!(ticket::read)),
        route("post", "/v1/tickets/{id}/archive", CUSTOMER, routes!(ticket::archive)),
        route("post", "/v1/tickets/{id}/restore", CUSTOMER, routes!(ticket::restore)),

        // The books.
        route("post", "/v1/books/close", STAFF, routes!(books::close)),
        route("get", "/v1/books/periods", READERS, routes!(books::list_periods)),
        route("get", "/v1/history", ANYONE, routes!(history::list)),
        route("get", "/v1/audit/trial-balance", READERS, routes!(journal::trial_balance)),
        route("get", "/v1/audit/journal", READERS, routes!(journal::list_journal)),
        route("get", "/v1/audit/events", READERS, routes!(event::list_events)),
        route("get", "/v1/audit/checkpoints", READERS, routes!(checkpoint::list)),
        route("get", "/v1/audit/checkpoints/latest", READERS, routes!(checkpoint::latest)),
        route("get", "/v1/audit/proofs/inclusion", READERS, routes!(proof::inclusion)),
        route("get", "/v1/audit/proofs/consistency", READERS, routes!(proof::consistency)),

        // The transparency log, as C2SP lays it out. Entries hold what customers do; hashes tell nothing of it.
        route("get", "/log/checkpoint", ANYONE, routes!(tile::checkpoint)),
        route("get", "/log/tile/{level}/{*index}", ANYONE, routes!(tile::tile)),
        route("get", "/log/tile/entries/{*index}", READERS, routes!(tile::entries)),
        route("get", "/log/event/{position}", READERS, routes!(tile::event)),
        route("get", "/log/format", ANYONE, routes!(tile::format)),

        // What runs them.
        route("get", "/v1/ops/projections", OPERATOR, routes!(projection::list)),
        route("get", "/v1/ops/projections/{name}", OPERATOR, routes!(projection::show)),
        route("post", "/v1/ops/projections/{name}/rebuild", OPERATOR, routes!(rebuild::rebuild)),
        route("post", "/v1/ops/projections/{name}/rollback", OPERATOR, routes!(projection::roll_back)),
        route("post", "/v1/ops/projections/{name}/discard", OPERATOR, routes!(projection::discard)),
        route("post", "/v1/ops/projections/{name}/pause", OPERATOR, routes!(projection::pause)),
        route("post", "/v1/ops/projections/{name}/resume", OPERATOR, routes!(projection::resume)),
        route("post", "/v1/ops/projections/{name}/park", OPERATOR, routes!(parking::park)),
        route("post", "/v1/ops/projections/{name}/unpark", OPERATOR, routes!(parking::unpark)),
        route("post", "/v1/ops/projections/{name}/repair", OPERATOR, routes!(projection::repair)),
        route("get", "/v1/ops/schema", OPERATOR, routes!(schema::list_versions)),
    ]
}

/// What the server answers at its root, for whoever opens it in a browser.
const ADDRESSES: &str = "Daybook, a billing ledger.

/docs          the API, to look at and to try
/openapi.json  its description
/problems      every way in which a request can fail
/readyz        how the server and its projections are
/log/checkpoint  the latest signed checkpoint of the transparency log
";

/// Everything that the server answers.
pub fn router(app: App) -> Router {
    let hosts = app.hosts().clone();
    with_layers(routes_of(app), hosts)
}

/// The routes without the layers around them.
pub fn routes_of(app: App) -> Router {
    let (routes, description) = described();
    // Written once: a handler is copied for each request that it answers, and the description is large.
    let description = Bytes::from(serde_json::to_vec(&description).expect("a description is JSON"));
    routes
        .route("/", get(ADDRESSES))
        .route("/problems", get(problem::list))
        .route("/problems/{code}", get(problem::show))
        .merge(SwaggerUi::new("/docs").config(utoipa_swagger_ui::Config::from("/openapi.json")))
        .route("/openapi.json", get(|| async move { ([(CONTENT_TYPE, "application/json")], description) }))
        .with_state(app)
}

/// The description of the API that is served at `/openapi.json`.
pub fn openapi() -> OpenApi {
    described().1
}

fn described() -> (Router<App>, OpenApi) {
    let mut router = OpenApiRouter::with_openapi(frame());
    for mut line in table() {
        let item = line.handler.1.paths.get_mut(line.path).expect("a handler is annotated with its path in the table");
        let (method, operation) = operations(item).next().expect("a handler is annotated with its method");
        assert_eq!(method, line.method, "the annotation of {} agrees with the table", line.path);
        describe(operation, line.path, method, line.callers, line.moves_money);
        if let Some(recorded) = recorded(operation, line.path) {
            line.handler.2 = line.handler.2.layer(Extension(recorded));
        }
        if line.moves_money {
            line.handler.2 = line.handler.2.layer(Extension(MovesMoney));
        }
        router = router.routes(line.handler);
    }
    router.split_for_parts()
}

/// What is made in a listing stands under the listing's address.
fn recorded(operation: &Operation, path: &'static str) -> Option<Recorded> {
    let answers = |status: StatusCode| operation.responses.responses.contains_key(status.as_str());
    let status = [StatusCode::CREATED, StatusCode::OK].into_iter().find(|status| answers(*status))?;
    let made_in = (status == StatusCode::CREATED && !path.contains('{')).then_some(path);
    Some(Recorded { status, made_in })
}

fn route(
    method: &'static str,
    path: &'static str,
    callers: &'static [Role],
    handler: UtoipaMethodRouter<App>,
) -> Route {
    Route { method, path, callers, moves_money: false, handler }
}

/// A route that moves money: it needs an idempotency key.
fn money(
    method: &'static str,
    path: &'static str,
    callers: &'static [Role],
    handler: UtoipaMethodRouter<App>,
) -> Route {
    Route { moves_money: true, ..route(method, path, callers, handler) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_and_the_description_agree() {
        let mut description = openapi();
        let mut described = BTreeSet::new();
        for (path, item) in &mut description.paths.paths {
            for (method, operation) in operations(item) {
                let callers = operation.extensions.as_ref().and_then(|extensions| extensions.get("x-callers").cloned());
                let key = operation.parameters.iter().flatten().any(|parameter| {
                    let parameter = serde_json::to_value(parameter).expect("a parameter is JSON");
                    parameter["name"] == "idempotency-key" && parameter["required"] == true
                });
                described.insert((method.to_owned(), path.clone(), callers.unwrap_or_default().to_string(), key));
            }
        }
        let listed: BTreeSet<_> = table()
            .iter()
            .map(|line| {
                let callers: Vec<_> = line.callers.iter().map(|role| format!("{role:?}").to_lowercase()).collect();
                let callers = serde_json::to_string(&callers).expect("names are JSON");
                (line.method.to_owned(), line.path.to_owned(), callers, line.moves_money)
            })
            .collect();
        assert_eq!(listed, described);
        assert!(table().iter().all(|line| !line.callers.is_empty()));
    }

    #[test]
    fn no_two_operations_share_a_name() {
        let mut names = BTreeSet::new();
        for item in openapi().paths.paths.values_mut() {
            for (_, operation) in operations(item) {
                let name = operation.operation_id.clone().expect("every operation has a name");
                assert!(names.insert(name.clone()), "{name} stands twice");
            }
        }
    }

    #[test]
    fn every_schema_that_is_referred_to_is_there() {
        let description = serde_json::to_value(openapi()).expect("a description is JSON");
        let text = description.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().expect("a split has a first part");
            assert!(description["components"]["schemas"].get(name).is_some(), "{name} is referred to");
        }
    }

    /// `DAYBOOK_BLESS=1` writes the description anew; its difference is what to review.
    #[test]
    fn the_description_is_the_one_in_the_repository() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let now = serde_json::to_string_pretty(&openapi()).expect("a description is JSON") + "\n";
        if std::env::var_os("DAYBOOK_BLESS").is_some() {
            std::fs::write(file, &now).expect("the description can be written");
        }
        let kept = std::fs::read_to_string(file).expect("the description is in the repository");
        assert!(kept == now, "the API has changed: run this test with DAYBOOK_BLESS=1 and review api/openapi.json");
    }
}
