//! The table of routes: every address that the server answers, what it does, and what whoever calls it needs.

use std::{any::TypeId, collections::HashMap, sync::LazyLock};

use axum::{
    Extension, Router,
    body::Bytes,
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::{from_fn, from_fn_with_state},
    routing::{get, post},
};
use daybook_core::domain::function::Function;
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
        arrival::Edge,
        authentication::{NeedsStepUp, admit, authenticate},
        layers::with_layers,
        listing::Question,
        openapi::{
            Declared, describe, describe_expected, describe_listing, describe_one, describe_step_up, describe_tag,
            frame, has_versions, operations, takes_preconditions,
        },
        precondition::{self, Edits},
        problem,
        write::{MovesMoney, Recorded},
    },
    identity::{access_log, demonstration, factor_reset, me, password, session, sign_in, sign_up, token},
    invoice,
    operate::{health, metrics, operation, parking, projection, rebuild},
    order, payer, payment,
    payment::{allocation, dispute, notice, refund},
    service, statement, ticket, user,
};

/// What whoever calls a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nobody is asked who he is.
    Nothing,
    /// The sender that the address names has signed the request.
    Signature,
    /// Somebody has begun to show who it is.
    Begun,
    /// Whoever it is has shown it.
    Identity,
    /// May do this.
    May(Function),
}

impl Need {
    /// As the description says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Signature => "signature",
            Self::Begun => "begun",
            Self::Identity => "identity",
            Self::May(function) => function.name(),
        }
    }
}

/// A line of the table.
struct Route {
    method: &'static str,
    path: &'static str,
    need: Need,
    moves_money: bool,
    needs_step_up: bool,
    edits: bool,
    /// Of what it lists, or shows one of.
    shows: Option<Shows>,
    handler: UtoipaMethodRouter<App>,
}

/// How the things that a question lists are shown.
enum Shows {
    Listing(Declared),
    One(Declared),
}

impl Route {
    /// It also needs a session to show the password or the second factor once more, within five minutes before.
    fn after_step_up(self) -> Self {
        Self { needs_step_up: true, ..self }
    }

    /// It edits what a person has seen: it also needs `If-Match`, or an idempotency key.
    fn edits(self) -> Self {
        Self { edits: true, ..self }
    }

    /// Whether it takes `If-Match`: it changes what the path names.
    fn expects(&self) -> bool {
        self.method != "get" && self.path.contains("/{id}") && has_versions(self.path)
    }

    /// Whether it shows one thing, whose version its answer names.
    fn shows_one(&self) -> bool {
        let listing = self.path.strip_suffix("/{id}").filter(|_| self.method == "get");
        listing.is_some_and(|listing| !listing.contains('{') && takes_preconditions(self.path))
    }

    /// It lists what this question asks for.
    fn listing<Q: Question>(self) -> Self {
        Self { shows: Some(Shows::Listing(Declared::of::<Q>(self.path))), ..self }
    }

    /// It shows one of what this question asks for.
    fn one<Q: Question>(self) -> Self {
        Self { shows: Some(Shows::One(Declared::of::<Q>(self.path))), ..self }
    }
}

#[rustfmt::skip]
fn table() -> Vec<Route> {
    use Function as F;
    use Need::{Begun, Identity, May, Nothing, Signature};

    vec![
        // The server itself.
        route("get", "/livez", Nothing, routes!(health::live)),
        route("get", "/readyz", Nothing, routes!(health::ready)),
        route("get", "/metrics", May(F::MetricsRead), routes!(metrics::show)),

        // Customers and their payers.
        route("get", "/v1/customers", May(F::CustomersRead), routes!(customer::list)).listing::<customer::CustomerQuery>(),
        route("post", "/v1/customers", May(F::CustomersRegister), routes!(customer::register)),
        route("get", "/v1/customers/{id}", May(F::CustomersRead), routes!(customer::show)).one::<customer::CustomerQuery>(),
        route("get", "/v1/customers/{id}/discounts", May(F::DiscountsRead), routes!(discount::list_of_customer)),
        route("post", "/v1/customers/{id}/groups", May(F::CustomersGroup), routes!(customer::join_group)),
        route("delete", "/v1/customers/{id}/groups/{group}", May(F::CustomersGroup), routes!(customer::leave_group)).edits(),
        route("get", "/v1/payers", May(F::PayersRead), routes!(payer::list)).listing::<payer::PayerQuery>(),
        route("get", "/v1/payers/{id}", May(F::PayersRead), routes!(payer::show)).one::<payer::PayerQuery>(),
        route("post", "/v1/payers", May(F::PayersChange), routes!(payer::create)),
        route("patch", "/v1/payers/{id}", May(F::PayersChange), routes!(payer::edit)).edits(),
        route("post", "/v1/payers/{id}/rename", May(F::PayersChange), routes!(payer::rename)).edits(),
        route("post", "/v1/payers/{id}/move", May(F::PayersChange), routes!(payer::relocate)).edits(),
        route("post", "/v1/payers/{id}/tax-number", May(F::PayersChange), routes!(payer::change_tax_number)).edits(),
        route("post", "/v1/payers/{id}/deactivate", May(F::PayersChange), routes!(payer::deactivate)).edits(),

        // Who signs in, and what everybody does about himself or herself.
        route("post", "/v1/sign-in", Nothing, routes!(sign_in::sign_in)),
        route("post", "/v1/sign-in/second-factor", Begun, routes!(sign_in::second_factor)),
        route("post", "/v1/sign-out", Nothing, routes!(session::sign_out)),
        route("post", "/v1/password", Nothing, routes!(password::choose)),
        route("get", "/v1/sign-up", Nothing, routes!(sign_up::terms)),
        route("post", "/v1/sign-up", Nothing, routes!(sign_up::make)),
        route("post", "/v1/sign-up/confirm", Nothing, routes!(sign_up::confirm)),
        route("get", "/v1/sign-ups", May(F::SignUpsManage), routes!(sign_up::list)),
        route("post", "/v1/sign-ups/{id}/link", May(F::SignUpsManage), routes!(sign_up::make_link)).after_step_up(),
        route("delete", "/v1/sign-ups/{id}", May(F::SignUpsManage), routes!(sign_up::remove)),
        route("get", "/v1/me", Identity, routes!(me::show)),
        route("post", "/v1/me/password", Identity, routes!(password::change)),
        route("post", "/v1/me/factors", Identity, routes!(me::enrol)).after_step_up(),
        route("post", "/v1/me/factors/{id}/confirm", Identity, routes!(me::confirm)).after_step_up(),
        route("delete", "/v1/me/factors/{id}", Identity, routes!(me::remove_factor)).after_step_up(),
        route("post", "/v1/me/recovery-codes", Identity, routes!(me::make_codes)).after_step_up(),
        route("post", "/v1/me/factor-reset/cancel", Begun, routes!(factor_reset::cancel_own)),
        route("post", "/v1/session/step-up", Identity, routes!(sign_in::step_up)),
        route("post", "/v1/session/membership", Identity, routes!(session::switch)),
        route("get", "/v1/sessions", Identity, routes!(session::list)),
        route("delete", "/v1/sessions", Identity, routes!(session::end_others)),
        route("delete", "/v1/sessions/{id}", Identity, routes!(session::end)),
        route("get", "/v1/tokens", Identity, routes!(token::list)),
        route("post", "/v1/tokens", May(F::TokensMake), routes!(token::make)).after_step_up(),
        route("post", "/v1/tokens/{id}/revoke", May(F::TokensMake), routes!(token::revoke)),
        route("get", "/v1/users", May(F::UsersRead), routes!(user::list)).listing::<user::UserQuery>(),
        route("get", "/v1/users/{id}", Identity, routes!(user::show)).one::<user::UserQuery>(),
        route("post", "/v1/users", May(F::UsersManage), routes!(user::invite)).after_step_up(),
        route("post", "/v1/users/{id}/rename", Identity, routes!(user::rename)).edits(),
        route("post", "/v1/users/{id}/move", Identity, routes!(user::relocate)).edits(),
        route("post", "/v1/users/{id}/contacts", Identity, routes!(user::add_contact)).edits().after_step_up(),
        route("delete", "/v1/users/{id}/contacts/{number}", Identity, routes!(user::remove_contact)).edits().after_step_up(),
        route("post", "/v1/users/{id}/enable", May(F::UsersManage), routes!(user::enable)).edits().after_step_up(),
        route("post", "/v1/users/{id}/disable", May(F::UsersManage), routes!(user::disable)),
        route("post", "/v1/users/{id}/memberships", May(F::UsersManage), routes!(user::change_membership)).edits().after_step_up(),
        route("post", "/v1/users/{id}/password-link", May(F::UsersManage), routes!(password::make_link)).after_step_up(),
        route("post", "/v1/users/{id}/factor-reset", May(F::FactorsReset), routes!(factor_reset::request)).after_step_up(),
        route("post", "/v1/users/{id}/factor-reset/complete", May(F::FactorsReset), routes!(factor_reset::complete)).after_step_up(),
        route("post", "/v1/users/{id}/factor-reset/cancel", May(F::UsersManage), routes!(factor_reset::cancel)),
        route("get", "/v1/access-log", Identity, routes!(access_log::list)),

        // Accounts.
        route("get", "/v1/accounts", May(F::AccountsRead), routes!(account::list)).listing::<account::AccountQuery>(),
        route("get", "/v1/accounts/{id}", May(F::AccountsRead), routes!(account::show)).one::<account::AccountQuery>(),
        route("get", "/v1/accounts/{id}/balance", May(F::AccountsRead), routes!(account::balance)),
        route("get", "/v1/accounts/{id}/balance/explanation", May(F::AccountsRead), routes!(explanation::explain_balance)),
        route("get", "/v1/accounts/{id}/statement", May(F::AccountsRead), routes!(statement::statement)),
        route("post", "/v1/accounts", May(F::AccountsOpen), routes!(account::open)),
        route("post", "/v1/accounts/{id}/credit-limit", May(F::AccountsTerms), routes!(account::set_credit_limit)),
        route("post", "/v1/accounts/{id}/post-paid", May(F::AccountsTerms), routes!(account::change_post_paid)),
        route("post", "/v1/accounts/{id}/automatic-allocation", May(F::AccountsAllocate), routes!(account::switch_automatic_allocation)),
        money("post", "/v1/accounts/{id}/holds", May(F::AccountsHold), routes!(account::hold)),
        money("post", "/v1/accounts/{id}/holds/{hold}/release", May(F::AccountsHold), routes!(account::release_hold)),
        money("post", "/v1/accounts/{id}/adjustments", May(F::AccountsAdjust), routes!(account::adjust)),
        money("post", "/v1/accounts/{id}/transfers", May(F::AccountsTransfer), routes!(account::transfer)),

        // Orders.
        route("get", "/v1/orders", May(F::OrdersRead), routes!(order::list)).listing::<order::OrderQuery>(),
        route("get", "/v1/orders/{id}", May(F::OrdersRead), routes!(order::show)).one::<order::OrderQuery>(),
        money("post", "/v1/orders", May(F::OrdersPlace), routes!(order::place)),
        money("post", "/v1/orders/{id}/items", May(F::OrdersPlace), routes!(order::add_item)),
        route("delete", "/v1/orders/{id}/items/{number}", May(F::OrdersPlace), routes!(order::remove_item)).edits(),
        route("post", "/v1/orders/{id}/rename", May(F::OrdersChange), routes!(order::rename)),
        route("post", "/v1/orders/{id}/delete", May(F::OrdersChange), routes!(order::delete)),
        money("post", "/v1/orders/{id}/pay", May(F::OrdersPay), routes!(order::pay)),

        // Payments and refunds. A notice needs no key: it names the payment. A gateway signs its own.
        route("get", "/v1/payments", May(F::PaymentsRead), routes!(payment::list)).listing::<payment::PaymentQuery>(),
        route("get", "/v1/payments/{id}", May(F::PaymentsRead), routes!(payment::show)).one::<payment::PaymentQuery>(),
        route("get", "/v1/payments/{id}/allocations", May(F::PaymentsRead), routes!(allocation::list_allocations)),
        route("get", "/v1/payments/{id}/refunds", May(F::PaymentsRead), routes!(refund::list_refunds)),
        route("get", "/v1/payments/{id}/disputes", May(F::PaymentsRead), routes!(dispute::list_disputes)),
        money("post", "/v1/payments", May(F::PaymentsStart), routes!(payment::start)),
        route("post", "/v1/payments/notices", May(F::PaymentsRecord), routes!(notice::take)),
        route("post", "/v1/gateways/{gateway}/notices", Signature, routes!(notice::take_signed)),
        route("post", "/v1/payments/{id}/submit", May(F::PaymentsStart), routes!(payment::submit)),
        money("post", "/v1/payments/{id}/credit", May(F::PaymentsRecord), routes!(payment::credit)),
        money("post", "/v1/payments/{id}/pledge", May(F::PaymentsRecord), routes!(payment::pledge)),
        money("post", "/v1/payments/{id}/withdraw-pledge", May(F::PaymentsRecord), routes!(payment::withdraw_pledge)),
        route("post", "/v1/payments/{id}/fail", May(F::PaymentsRecord), routes!(payment::fail)),
        route("post", "/v1/payments/{id}/delete", May(F::PaymentsStart), routes!(payment::delete)),
        money("post", "/v1/payments/{id}/fraud", May(F::PaymentsRecord), routes!(payment::mark_fraudulent)),
        money("post", "/v1/payments/{id}/allocations", May(F::PaymentsAllocate), routes!(allocation::allocate)),
        money("post", "/v1/payments/{id}/refunds", May(F::RefundsMake), routes!(refund::start_refund)).after_step_up(),
        money("post", "/v1/payments/{id}/refunds/{refund}/settle", May(F::RefundsMake), routes!(refund::settle_refund)).after_step_up(),
        money("post", "/v1/payments/{id}/refunds/{refund}/fail", May(F::RefundsMake), routes!(refund::fail_refund)).after_step_up(),
        money("post", "/v1/payments/{id}/disputes", May(F::DisputesRecord), routes!(dispute::open_dispute)),
        money("post", "/v1/payments/{id}/disputes/{dispute}/win", May(F::DisputesRecord), routes!(dispute::win_dispute)),
        money("post", "/v1/payments/{id}/disputes/{dispute}/lose", May(F::DisputesRecord), routes!(dispute::lose_dispute)),

        // Documents.
        route("get", "/v1/invoices", May(F::InvoicesRead), routes!(invoice::list)).listing::<invoice::InvoiceQuery>(),
        route("get", "/v1/invoices/{id}", May(F::InvoicesRead), routes!(invoice::show)).one::<invoice::InvoiceQuery>(),
        route("get", "/v1/invoices/{id}/due/explanation", May(F::InvoicesRead), routes!(explanation::explain_due)),
        money("post", "/v1/invoices", May(F::InvoicesIssue), routes!(invoice::issue)),
        route("patch", "/v1/invoices/{id}", May(F::InvoicesRead), routes!(invoice::patch)),
        route("put", "/v1/invoices/{id}", May(F::InvoicesRead), routes!(invoice::put)),
        route("delete", "/v1/invoices/{id}", May(F::InvoicesRead), routes!(invoice::delete)),
        route("get", "/v1/credit-notes", May(F::CreditNotesRead), routes!(credit_note::list)).listing::<credit_note::CreditNoteQuery>(),
        route("get", "/v1/credit-notes/{id}", May(F::CreditNotesRead), routes!(credit_note::show)).one::<credit_note::CreditNoteQuery>(),
        money("post", "/v1/credit-notes", May(F::CreditNotesIssue), routes!(credit_note::issue)),

        // Services, expenses and discounts.
        route("get", "/v1/services", May(F::ServicesRead), routes!(service::list)).listing::<service::ServiceQuery>(),
        route("get", "/v1/services/{id}", May(F::ServicesRead), routes!(service::show)).one::<service::ServiceQuery>(),
        route("get", "/v1/expenses", May(F::ExpensesRead), routes!(expense::list)).listing::<expense::ExpenseQuery>(),
        route("get", "/v1/expenses/{id}", May(F::ExpensesRead), routes!(expense::show)).one::<expense::ExpenseQuery>(),
        money("post", "/v1/expenses", May(F::ExpensesRecord), routes!(expense::record)),
        money("post", "/v1/expenses/{id}/adjust", May(F::ExpensesRecord), routes!(expense::adjust)),
        money("post", "/v1/expenses/{id}/reverse", May(F::ExpensesRecord), routes!(expense::reverse)),
        money("post", "/v1/expenses/{id}/reinstate", May(F::ExpensesRecord), routes!(expense::reinstate)),
        route("get", "/v1/discounts", May(F::DiscountsRead), routes!(discount::list)).listing::<discount::DiscountQuery>(),
        route("get", "/v1/discounts/{id}", May(F::DiscountsRead), routes!(discount::show)).one::<discount::DiscountQuery>(),
        route("post", "/v1/discounts", May(F::DiscountsGrant), routes!(discount::grant)),
        route("post", "/v1/discounts/{id}/revoke", May(F::DiscountsGrant), routes!(discount::revoke)),

        // Tickets.
        route("get", "/v1/tickets", May(F::TicketsRead), routes!(ticket::list)).listing::<ticket::TicketQuery>(),
        route("get", "/v1/tickets/{id}", May(F::TicketsRead), routes!(ticket::show)).one::<ticket::TicketQuery>(),
        route("post", "/v1/tickets", May(F::TicketsWrite), routes!(ticket::open)),
        route("post", "/v1/tickets/{id}/messages", May(F::TicketsWrite), routes!(ticket::write)),
        route("post", "/v1/tickets/{id}/take-up", May(F::TicketsAnswer), routes!(ticket::take_up)),
        route("post", "/v1/tickets/{id}/read", May(F::TicketsWrite), routes!(ticket::read)),
        route("post", "/v1/tickets/{id}/archive", May(F::TicketsWrite), routes!(ticket::archive)),
        route("post", "/v1/tickets/{id}/restore", May(F::TicketsWrite), routes!(ticket::restore)),

        // The books.
        route("post", "/v1/books/close", May(F::BooksClose), routes!(books::close)),
        route("get", "/v1/books/periods", May(F::BooksRead), routes!(books::list_periods)),
        route("get", "/v1/history", May(F::HistoryRead), routes!(history::list)),
        route("get", "/v1/audit/trial-balance", May(F::AuditRead), routes!(journal::trial_balance)),
        route("get", "/v1/audit/journal", May(F::AuditRead), routes!(journal::list_journal)),
        route("get", "/v1/audit/events", May(F::AuditRead), routes!(event::list_events)),
        route("get", "/v1/audit/checkpoints", May(F::AuditRead), routes!(checkpoint::list)),
        route("get", "/v1/audit/checkpoints/latest", May(F::AuditRead), routes!(checkpoint::latest)),
        route("get", "/v1/audit/proofs/inclusion", May(F::AuditRead), routes!(proof::inclusion)),
        route("get", "/v1/audit/proofs/consistency", May(F::AuditRead), routes!(proof::consistency)),

        // The transparency log, as C2SP lays it out. Entries hold what customers do; hashes tell nothing of it.
        route("get", "/log/checkpoint", Nothing, routes!(tile::checkpoint)),
        route("get", "/log/tile/{level}/{*index}", Nothing, routes!(tile::tile)),
        route("get", "/log/tile/entries/{*index}", May(F::AuditRead), routes!(tile::entries)),
        route("get", "/log/event/{position}", May(F::AuditRead), routes!(tile::event)),
        route("get", "/log/format", Nothing, routes!(tile::format)),

        // What runs them.
        route("get", "/v1/ops/projections", May(F::ProjectionsRead), routes!(projection::list)),
        route("get", "/v1/ops/projections/{name}", May(F::ProjectionsRead), routes!(projection::show)),
        route("post", "/v1/ops/projections/{name}/rebuild", May(F::ProjectionsOperate), routes!(rebuild::rebuild)),
        route("post", "/v1/ops/projections/{name}/verify", May(F::ProjectionsOperate), routes!(rebuild::verify)),
        route("post", "/v1/ops/projections/{name}/rollback", May(F::ProjectionsOperate), routes!(projection::roll_back)),
        route("post", "/v1/ops/projections/{name}/discard", May(F::ProjectionsOperate), routes!(projection::discard)),
        route("post", "/v1/ops/projections/{name}/pause", May(F::ProjectionsOperate), routes!(projection::pause)),
        route("post", "/v1/ops/projections/{name}/resume", May(F::ProjectionsOperate), routes!(projection::resume)),
        route("post", "/v1/ops/projections/{name}/park", May(F::ProjectionsOperate), routes!(parking::park)),
        route("post", "/v1/ops/projections/{name}/unpark", May(F::ProjectionsOperate), routes!(parking::unpark)),
        route("post", "/v1/ops/projections/{name}/repair", May(F::ProjectionsOperate), routes!(projection::repair)),
        route("get", "/v1/operations", May(F::ProjectionsRead), routes!(operation::list)),
        route("get", "/v1/operations/{id}", May(F::ProjectionsRead), routes!(operation::show)),
        route("post", "/v1/operations/{id}/cancel", May(F::ProjectionsOperate), routes!(operation::cancel)),
        route("get", "/v1/ops/schema", May(F::ProjectionsRead), routes!(schema::list_versions)),
    ]
}

/// Where the metrics are, unless they have an address of their own.
const METRICS: &str = "/metrics";

/// What an address of its own answers to the programs that watch the server: whoever reaches it needs no token.
pub fn watched(app: App) -> Router {
    let edge = Edge { hosts: app.edge().hosts.clone(), ..Edge::default() };
    let routes = Router::new()
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route(METRICS, get(metrics::show));
    with_layers(routes.with_state(app), edge)
}

/// The routes, with the layer that finds out who asks.
pub fn authenticated(routes: Router, app: App) -> Router {
    routes.layer(from_fn_with_state(app, authenticate))
}

/// The routes without the layers around them.
pub fn routes_of(app: App) -> Router {
    let has_metrics = !app.has_metrics_apart();
    let (routes, description) = described(|path| has_metrics || path != METRICS);
    // Written once: a handler is copied for each request that it answers, and the description is large.
    let description = Bytes::from(serde_json::to_vec(&description).expect("a description is JSON"));
    // By itself the viewer would have a server of somebody else look at the description.
    let viewer = utoipa_swagger_ui::Config::from("/openapi.json").validator_url("none");
    routes
        .route("/sign-in/link", post(demonstration::use_link))
        .route("/problems", get(problem::list))
        .route("/problems/{code}", get(problem::show))
        .merge(SwaggerUi::new("/docs").config(viewer))
        .route("/openapi.json", get(|| async move { ([(CONTENT_TYPE, "application/json")], description) }))
        .with_state(app)
}

/// What each route needs, by method and path.
pub fn needs() -> Vec<(&'static str, &'static str, Need)> {
    table().iter().map(|line| (line.method, line.path, line.need)).collect()
}

/// The routes that need a session to show the password or the second factor once more, by method and path.
pub fn needing_step_up() -> Vec<(&'static str, &'static str)> {
    table().iter().filter(|line| line.needs_step_up).map(|line| (line.method, line.path)).collect()
}

/// The routes that edit what a person has seen, by method and path: they need `If-Match` or an idempotency key.
pub fn editing() -> Vec<(&'static str, &'static str)> {
    table().iter().filter(|line| line.edits).map(|line| (line.method, line.path)).collect()
}

/// What each listing can be asked.
pub fn listings() -> Vec<Declared> {
    let shows = table().into_iter().filter_map(|line| line.shows);
    shows.filter_map(|shows| if let Shows::Listing(declared) = shows { Some(declared) } else { None }).collect()
}

/// What whoever reads what this question lists must be allowed to do, as the table says.
pub fn function_of<Q: Question>() -> Function {
    static FUNCTIONS: LazyLock<HashMap<TypeId, Function>> = LazyLock::new(|| {
        let lists = |line: &Route| match (&line.shows, line.need) {
            (Some(Shows::Listing(declared)), Need::May(function)) => Some((declared.question, function)),
            _ => None,
        };
        table().iter().filter_map(lists).collect()
    });
    *FUNCTIONS.get(&TypeId::of::<Q>()).expect("each question has a listing that needs a function")
}

/// The description of the API that is served at `/openapi.json`.
pub fn openapi() -> OpenApi {
    described(|_| true).1
}

/// The routes at these paths, and what they are.
fn described(includes: impl Fn(&str) -> bool) -> (Router<App>, OpenApi) {
    let mut router = OpenApiRouter::with_openapi(frame());
    for mut line in table().into_iter().filter(|line| includes(line.path)) {
        let (shows_one, expects) = (line.shows_one(), line.expects());
        let item = line.handler.1.paths.get_mut(line.path).expect("a handler is annotated with its path in the table");
        let (method, operation) = operations(item).next().expect("a handler is annotated with its method");
        assert_eq!(method, line.method, "the annotation of {} agrees with the table", line.path);
        describe(operation, line.path, method, line.need, line.moves_money);
        if line.needs_step_up {
            describe_step_up(operation);
        }
        match &line.shows {
            Some(Shows::Listing(declared)) => describe_listing(operation, declared),
            Some(Shows::One(declared)) => describe_one(operation, declared),
            None => {}
        }
        if shows_one {
            describe_tag(operation);
            line.handler.2 = line.handler.2.layer(from_fn(precondition::tag));
        }
        // What is always refused compares nothing.
        if expects && operation.responses.responses.keys().any(|status| status.starts_with('2')) {
            describe_expected(operation, line.edits);
        }
        line.handler.2 = line.handler.2.layer(from_fn_with_state(line.need, admit));
        if let Some(recorded) = recorded(operation, line.path) {
            line.handler.2 = line.handler.2.layer(Extension(recorded));
        }
        if line.moves_money {
            line.handler.2 = line.handler.2.layer(Extension(MovesMoney));
        }
        if line.edits {
            line.handler.2 = line.handler.2.layer(Extension(Edits));
        }
        if line.needs_step_up {
            line.handler.2 = line.handler.2.layer(Extension(NeedsStepUp));
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

fn route(method: &'static str, path: &'static str, need: Need, handler: UtoipaMethodRouter<App>) -> Route {
    Route { method, path, need, moves_money: false, needs_step_up: false, edits: false, shows: None, handler }
}

/// A route that moves money: it needs an idempotency key.
fn money(method: &'static str, path: &'static str, need: Need, handler: UtoipaMethodRouter<App>) -> Route {
    Route { moves_money: true, ..route(method, path, need, handler) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::openapi::NEEDS_STEP_UP;

    #[test]
    fn the_table_and_the_description_agree() {
        let mut description = openapi();
        let mut described = BTreeSet::new();
        for (path, item) in &mut description.paths.paths {
            for (method, operation) in operations(item) {
                let need = operation.extensions.as_ref().and_then(|extensions| extensions.get("x-needs").cloned());
                let refusal = operation.responses.responses.get("403");
                let refusal = refusal.map(|refusal| serde_json::to_value(refusal).expect("a response is JSON"));
                let step_up = refusal.is_some_and(|refusal| refusal[NEEDS_STEP_UP] == true);
                let key = operation.parameters.iter().flatten().any(|parameter| {
                    let parameter = serde_json::to_value(parameter).expect("a parameter is JSON");
                    parameter["name"] == "idempotency-key" && parameter["required"] == true
                });
                described.insert((method.to_owned(), path.clone(), need.unwrap_or_default().to_string(), key, step_up));
            }
        }
        let listed: BTreeSet<_> = table()
            .iter()
            .map(|line| {
                let need = format!("{:?}", line.need.as_str());
                (line.method.to_owned(), line.path.to_owned(), need, line.moves_money, line.needs_step_up)
            })
            .collect();
        assert_eq!(listed, described);
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
