//! The description of the API (OpenAPI 3.1): what all operations have in common is added here, once.

use std::any::TypeId;

use daybook_projections::{Chosen, RowOrder, Sort};
use futures::{FutureExt, future::BoxFuture};
use serde_json::json;
use sqlx::PgConnection;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, Content, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required,
        Response as OpenApiResponse, ResponseBuilder,
        extensions::ExtensionsBuilder,
        header::HeaderBuilder,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
        schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder, Schema, Type},
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use crate::{
    audit::tile::{Index, Level},
    customer::GroupName,
    http::{
        address::read_pairs,
        caller::{self, ActorHeader},
        columns,
        error::{ApiError, FieldError, Problem},
        export,
        listing::{self, Question},
        precondition::tags_schema,
        shape, signature,
        wire::{
            AccountRef, AskedPosition, CreditNoteRef, CustomerRef, DiscountRef, DisputeRef, ExpenseRef, FactorRef,
            HoldRef, InvoiceRef, OrderRef, PayerRef, PaymentRef, RefundRef, ServiceRef, TicketRef, TokenRef, UserRef,
            pattern_text,
        },
        write::{self, IdempotencyKey},
    },
    identity::{session::SessionName, sign_up::SignUpName},
    operate::{operation::OperationName, operator::ProjectionName},
    payment::notice::Sender,
    routes::Need,
};

const INTRODUCTION: &str = "The billing ledger of a service provider: an immutable, auditable book of first entry.

Amounts are decimal strings with their ISO 4217 currency, never JSON numbers. Instants are RFC 3339, dates `YYYY-MM-DD`; \
what is recorded lies in the years 1900 to 9998, and a second is 00 to 59. \
Every failure is `application/problem+json` (RFC 9457); its types are documented at `/problems`.

A request that moves money carries an `Idempotency-Key`: sent again with the same body, it is answered as before and \
does nothing twice. Every answer to a write tells its `Ledger-Position`; a read that carries it as `Min-Position` waits \
until it can include that write.

What takes effect in a closed period of the books and is recorded later takes effect at the first open moment instead \
(`occurred_at`) and keeps the moment that was asked for (`dated_at`).

Reads can be asked about another moment: `as_of` a time counts what took effect at that time or before it, whenever it \
was recorded; `as_known_at` a position or a time counts what had been recorded by then, and answers what was answered then. \
Both together tell what was known then of that time.";

/// The description before any route is in it.
pub fn frame() -> OpenApi {
    let licence = LicenseBuilder::new().name("MIT OR Apache-2.0").build();
    let info = InfoBuilder::new()
        .title("Daybook")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(INTRODUCTION))
        .license(Some(licence))
        .build();
    let mut components = Components::new();
    components.schemas.insert(Problem::name().into_owned(), Problem::schema());
    components.schemas.insert(FieldError::name().into_owned(), FieldError::schema());
    let described = "HMAC-SHA-256 over the id, the time and the body of the message, as Standard Webhooks 1.0.0 has it: \
                     `v1,` and the signature in Base64; several are separated by spaces.";
    let signature = ApiKeyValue::with_description(signature::SIGNATURE, described);
    components.add_security_scheme("signature", SecurityScheme::ApiKey(ApiKey::Header(signature)));
    components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// Adds to an operation its name, what its caller needs, and the headers and failures that all have.
pub fn describe(operation: &mut Operation, path: &str, method: &str, need: Need, moves_money: bool) {
    let noun = noun(path);
    let name = operation.operation_id.take().unwrap_or_default();
    operation.operation_id = Some(format!("{}_{name}", noun.replace('-', "_")));
    operation.tags = Some(vec![noun.into()]);
    operation.extensions = Some(ExtensionsBuilder::new().add("x-needs", json!(need.as_str())).build());
    operation.security = match need {
        Need::Nothing => None,
        Need::Signature => Some(vec![SecurityRequirement::new("signature", [""; 0])]),
        Need::Begun | Need::Identity | Need::May(_) => Some(vec![SecurityRequirement::new("token", [""; 0])]),
    };
    add_parameters(operation, path, method, need, moves_money);
    add_answers(operation, path, method);
}

/// Says of an operation that a session has to show the password or the second factor once more.
///
/// It says so at the refusal: a second extension of the operation would be written in no certain order.
pub fn describe_step_up(operation: &mut Operation) {
    let description = "`/problems/step-up-needed`, if the session has not shown the password or the second factor within \
                       five minutes: `POST /v1/session/step-up` shows it. A token needs none. Or why else not.";
    let mut refusal = failure();
    refusal.description = description.into();
    refusal.extensions = Some(ExtensionsBuilder::new().add(NEEDS_STEP_UP, json!(true)).build());
    operation.responses.responses.insert("403".into(), refusal.into());
}

/// Whether what is at this address has versions: what is somebody's own way to sign in, and what runs the server, has none.
pub fn takes_preconditions(path: &str) -> bool {
    path.starts_with("/v1/") && !is_personal(path) && !is_operators(path)
}

/// Whether what is at this address has a version of its own: a discount is part of another aggregate, and so is a token.
pub fn has_versions(path: &str) -> bool {
    takes_preconditions(path) && !["/v1/discounts/", "/v1/tokens/"].iter().any(|part| path.starts_with(part))
}

/// Says of an operation that shows one thing that its answer has a tag, and is left out for whoever has it.
pub fn describe_tag(operation: &mut Operation) {
    let description =
        "The version of the thing, and a hash of what is shown: what `If-Match` and `If-None-Match` name.";
    let tag = HeaderBuilder::new().schema(Some(text())).description(Some(description)).build();
    if let Some(RefOr::T(answer)) = operation.responses.responses.get_mut("200") {
        answer.headers.insert("ETag".into(), tag.clone().into());
    }
    let unchanged = ResponseBuilder::new().description("it is what `If-None-Match` names").header("ETag", tag);
    operation.responses.responses.insert("304".into(), unchanged.build().into());
    let text = "A tag that the caller has: if it is still the one, the answer is 304 without a body.";
    add_header(operation, "If-None-Match", text);
}

/// Says of an operation that changes what the path names that it takes `If-Match`, and whether it needs it.
pub fn describe_expected(operation: &mut Operation, is_needed: bool) {
    let text = if is_needed {
        "The `ETag` that was read. It is needed where there is no `Idempotency-Key`: otherwise 428. 412 if the thing has changed."
    } else {
        "The `ETag` that was read: 412 if the thing has changed since."
    };
    add_header(operation, "If-Match", text);
}

fn add_header(operation: &mut Operation, name: &str, text: &str) {
    let header = parameter(name, ParameterIn::Header, Required::False, tags_schema(), Some(text));
    operation.parameters.get_or_insert_default().push(header.into());
}

/// Where that is said.
pub const NEEDS_STEP_UP: &str = "x-needs-step-up";

/// What a listing can be asked, as its question declares it.
#[derive(Clone, Debug)]
pub struct Declared {
    pub path: &'static str,
    pub question: TypeId,
    pub sorts: &'static [Sort],
    pub unindexed: &'static [&'static str],
    /// The members that are shown in it.
    pub members: Vec<String>,
    /// Those, and the ones that only one thing shows.
    all_members: Vec<String>,
    /// Of a table of it.
    pub columns: Vec<String>,
    /// The identifiers that can be replaced by what they name.
    pub paths: Vec<String>,
    chosen: fn(&str) -> Result<Chosen, ApiError>,
    plan: Plan,
}

type Plan = for<'a> fn(
    &'a mut PgConnection,
    &'a Chosen,
    Option<&'a RowOrder>,
) -> BoxFuture<'a, Result<Vec<String>, sqlx::Error>>;

impl Declared {
    pub fn of<Q: Question>(path: &'static str) -> Self {
        Self {
            path,
            question: TypeId::of::<Q>(),
            sorts: Q::SORTS,
            unindexed: Q::UNINDEXED,
            members: columns::members::<Q::Shown>(),
            all_members: columns::all_members::<Q::Shown>(),
            columns: columns::columns::<Q::Shown>().into_iter().map(|column| column.name).collect(),
            paths: shape::paths(Q::EXPANDS),
            chosen: |query| read_pairs::<Q>(query, |_| true, &[])?.chosen(),
            plan: |connection, chosen, order| {
                daybook_projections::listing::plan::<Q::Row>(connection, chosen, order).boxed()
            },
        }
    }

    /// How PostgreSQL reads what a query chooses, sorted if an order is given.
    #[doc(hidden)]
    pub async fn plan(&self, connection: &mut PgConnection, query: &str, order: Option<&RowOrder>) -> Vec<String> {
        let chosen = (self.chosen)(query).unwrap_or_else(|error| panic!("{query}: {}", error.code()));
        (self.plan)(connection, &chosen, order).await.expect("the rows can be read")
    }
}

/// Adds to a listing what it can be sorted by, in which forms it comes, and what no index serves.
pub fn describe_listing(operation: &mut Operation, declared: &Declared) {
    let orders = listing::orders(declared.sorts);
    let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(orders)).build().into();
    let sort = parameter("sort", ParameterIn::Query, Required::False, schema, Some(&sort_described(declared)));
    let parameters = operation.parameters.get_or_insert_default();
    for parameter in parameters.iter_mut() {
        if let RefOr::T(parameter) = parameter
            && declared.unindexed.contains(&&*parameter.name)
        {
            let said = parameter.description.take().map_or(String::new(), |said| said + " ");
            parameter.description =
                Some(said + "No index finds these rows: all that the other filters leave are looked through.");
            parameter.extensions = Some(ExtensionsBuilder::new().add(UNINDEXED, json!(true)).build());
        }
    }
    let at = position_of(parameters, "cursor");
    parameters.insert(at, sort.into());
    add_shape(parameters, at + 1, &declared.members, &declared.paths);
    let things = ArrayBuilder::new().items(shaped_thing());
    let page = ObjectBuilder::new()
        .property("data", things)
        .property("next_cursor", ObjectBuilder::new().schema_type(Type::String))
        .property("has_more", ObjectBuilder::new().schema_type(Type::Boolean))
        .required("data")
        .required("has_more");
    or_shaped(operation, page.into());
    if let Some(RefOr::T(answer)) = operation.responses.responses.get_mut("200") {
        for media_type in [export::CSV, export::XLSX] {
            answer.content.insert(media_type.into(), Content::new(Some(text())).into());
        }
        answer.description = "a page; as a table all rows, without `cursor`, `limit` and `expand`".into();
        let links = HeaderBuilder::new().schema(Some(text())).description(Some(LINKS)).build();
        answer.headers.insert("Link".into(), links.into());
    }
}

const LINKS: &str = "The first page (`first`), the next one (`next`), and the one before (`prev`), where there are such. \
                     The only page has none, and a table neither.";

/// Where it is said of a filter that no index serves it.
const UNINDEXED: &str = "x-unindexed";

fn sort_described(declared: &Declared) -> String {
    let mut said = "A member, with a minus before it for the largest first; the newest first, if none is given. \
                    Of rows with equal values the position decides, and rows without a value come last. A row whose value \
                    changes while the pages are walked through may be met twice or not at all. Of the past there is no other \
                    order than the newest first."
        .to_owned();
    if declared.sorts.iter().any(Sort::is_of_money) {
        said += " Amounts are in the order of their currencies first.";
    }
    let indexed = declared.sorts.iter().filter_map(|sort| Some((sort.name, sort.indexed_within?)));
    let indexed: Vec<String> =
        indexed.map(|(name, filter)| format!(", and of `{name}` together with the filter `{filter}`")).collect();
    said +=
        &format!(" An index serves the order of `position`{}; for any other all rows are sorted.", indexed.concat());
    said
}

/// Adds to the route of one thing how it can be shown.
pub fn describe_one(operation: &mut Operation, declared: &Declared) {
    let parameters = operation.parameters.get_or_insert_default();
    let at = position_of(parameters, "as_of");
    add_shape(parameters, at, &declared.all_members, &declared.paths);
    or_shaped(operation, shaped_thing().into());
}

/// A thing of which some members are shown, or in which others are shown in the place of identifiers.
fn shaped_thing() -> ObjectBuilder {
    ObjectBuilder::new().description(Some("As `fields` and `expand` ask for it."))
}

/// Adds to the answer what it is with `fields` or `expand`.
fn or_shaped(operation: &mut Operation, shaped: Schema) {
    if let Some(RefOr::T(answer)) = operation.responses.responses.get_mut("200")
        && let Some(RefOr::T(content)) = answer.content.get_mut("application/json")
        && let Some(whole) = content.schema.take()
    {
        content.schema = Some(AnyOfBuilder::new().item(whole).item(shaped).into());
    }
}

fn position_of(parameters: &[RefOr<Parameter>], name: &str) -> usize {
    let is_named = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(parameter) if parameter.name == name);
    parameters.iter().position(is_named).unwrap_or(parameters.len())
}

fn add_shape(parameters: &mut Vec<RefOr<Parameter>>, at: usize, members: &[String], paths: &[String]) {
    let fields = "The members that are shown, divided by commas; all of them, unless some are given.";
    let expand = "The identifiers in whose place the things are shown that they name, divided by commas. Each needs the right \
                  to read such a thing; what is not seen stays an identifier. They are as at the position of the answer, or a later one.";
    for (name, names, said) in [("expand", paths, expand), ("fields", members, fields)] {
        if let Some(first) = names.first() {
            let one = names.join("|").replace('.', "\\.");
            let schema = pattern_text(&format!("^({one})(,({one}))*$"), first);
            parameters.insert(at, parameter(name, ParameterIn::Query, Required::False, schema, Some(said)).into());
        }
    }
}

/// The operations of a path, by method.
pub fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", &mut item.get),
        ("post", &mut item.post),
        ("put", &mut item.put),
        ("patch", &mut item.patch),
        ("delete", &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

/// What an address is about, such as `orders`.
fn noun(path: &str) -> &str {
    path.trim_start_matches("/v1").trim_start_matches('/').split('/').next().unwrap_or_default()
}

fn add_parameters(operation: &mut Operation, path: &str, method: &str, need: Need, moves_money: bool) {
    let records = operation.responses.responses.keys().any(|status| status.starts_with('2'));
    let parameters = operation.parameters.get_or_insert_default();
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    for (at, name) in names.enumerate() {
        parameters.insert(at, parameter(name, ParameterIn::Path, Required::True, in_path(path, name), None).into());
    }
    if !path.starts_with("/v1/") {
        return;
    }
    let mut header = |name: &str, required: bool, schema: RefOr<Schema>, text: &str| {
        let required = if required { Required::True } else { Required::False };
        parameters.push(parameter(name, ParameterIn::Header, required, schema, Some(text)).into());
    };
    if need == Need::Signature {
        header(
            signature::ID,
            true,
            signature::id_schema(),
            "The sender's name for the message, without a full stop. The same with the same body is answered as before.",
        );
        header(
            signature::TIMESTAMP,
            true,
            signature::timestamp_schema(),
            "When this attempt was sent, in seconds since 1970; at most five minutes from now.",
        );
    } else if is_operators(path) || is_personal(path) {
        // Of how things stand now.
    } else if is_of_the_book(path) {
        // The book itself has every event at once.
    } else if method == "get" {
        let about = "The position that the answer must include; as `Ledger-Position` has it.";
        header("Min-Position", false, AskedPosition::schema(), about);
        header("Prefer", false, text(), "`wait=N`: how many seconds to wait for it, 5 if none is given, at most 30.");
    } else if records {
        let same = "1 to 255 visible ASCII characters. The same key with the same request is answered as before.";
        header(write::IDEMPOTENCY_KEY, moves_money, IdempotencyKey::schema(), same);
        header(
            caller::ON_BEHALF_OF,
            false,
            ActorHeader::schema(),
            "Whom the actor stands in for, such as `customer:cus_1`.",
        );
    }
    header("X-Request-Id", false, text(), "Comes back with the answer, and names the request in problem documents.");
}

/// What a name in an address can be. A name that is not of this form names nothing.
fn in_path(path: &str, name: &str) -> RefOr<Schema> {
    match (noun(path), name) {
        (_, "hold") => HoldRef::schema(),
        (_, "refund") => RefundRef::schema(),
        (_, "dispute") => DisputeRef::schema(),
        (_, "position") => AskedPosition::schema(),
        ("me", "id") => FactorRef::schema(),
        ("sessions", "id") => SessionName::schema(),
        ("sign-ups", "id") => SignUpName::schema(),
        ("operations", "id") => OperationName::schema(),
        ("tokens", "id") => TokenRef::schema(),
        ("users", "id") => UserRef::schema(),
        (_, "gateway") => Sender::schema(),
        (_, "group") => GroupName::schema(),
        (_, "number") => item_number(),
        (_, "level") => Level::schema(),
        (_, "*index") => Index::schema(),
        ("ops", "name") => ProjectionName::schema(),
        ("customers", "id") => CustomerRef::schema(),
        ("payers", "id") => PayerRef::schema(),
        ("accounts", "id") => AccountRef::schema(),
        ("orders", "id") => OrderRef::schema(),
        ("payments", "id") => PaymentRef::schema(),
        ("invoices", "id") => InvoiceRef::schema(),
        ("credit-notes", "id") => CreditNoteRef::schema(),
        ("services", "id") => ServiceRef::schema(),
        ("expenses", "id") => ExpenseRef::schema(),
        ("discounts", "id") => DiscountRef::schema(),
        ("tickets", "id") => TicketRef::schema(),
        _ => unreachable!("every name in an address has a type: {path}"),
    }
}

fn parameter(
    name: &str,
    place: ParameterIn,
    required: Required,
    schema: RefOr<Schema>,
    description: Option<&str>,
) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(description)
        .schema(Some(schema))
        .build()
}

/// What operators ask is answered from how things stand now, and neither waits for a position nor is answered twice.
fn is_operators(path: &str) -> bool {
    path.starts_with("/v1/ops/") || is_of_operations(path)
}

/// Long work that was asked for, which no position belongs to.
fn is_of_operations(path: &str) -> bool {
    path.starts_with("/v1/operations") || path.ends_with("/rebuild") || path.ends_with("/verify")
}

/// What somebody sees and does about himself or herself, which no position belongs to.
fn is_personal(path: &str) -> bool {
    let personal = ["/v1/access-log", "/v1/me", "/v1/password", "/v1/session", "/v1/sign-"];
    personal.iter().any(|prefix| path.starts_with(prefix))
        || path.ends_with("/password-link")
        || path.ends_with("/factor-reset/complete")
        // The token itself is stored nowhere, so that no key finds it again.
        || path == "/v1/tokens"
}

/// What is read of the book itself and of no projection.
fn is_of_the_book(path: &str) -> bool {
    ["/v1/audit/events", "/v1/audit/checkpoints", "/v1/audit/proofs"]
        .iter()
        .any(|of_the_book| path.starts_with(of_the_book))
}

fn add_answers(operation: &mut Operation, path: &str, method: &str) {
    for (status, answer) in &mut operation.responses.responses {
        if let (RefOr::T(answer), true) = (answer, status.starts_with('2')) {
            if answer.description.is_empty() {
                answer.description = if status == "201" { "made" } else { "done" }.into();
            }
            let is_of_no_position =
                is_personal(path) || is_of_operations(path) || (is_operators(path) && method != "get");
            if !path.starts_with("/v1/") || is_of_no_position {
                continue;
            }
            let header = |schema: RefOr<Schema>, description: &str| {
                HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
            };
            let included =
                "The position of the book that the answer includes; of the past, the one that was asked for.";
            let position = header(AskedPosition::schema(), included);
            answer.headers.insert("Ledger-Position".into(), position.into());
            if is_operators(path) || is_of_the_book(path) {
                continue;
            }
            if method == "get" {
                let version = header(text(), "The version of the read model that the answer comes from.");
                answer.headers.insert("Projection-Version".into(), version.into());
            } else {
                let replayed =
                    header(text(), "`true` if the request had been done before; this is the answer given then.");
                answer.headers.insert("Idempotent-Replayed".into(), replayed.into());
            }
        }
    }
    operation.responses.responses.insert("default".into(), failure().into());
}

fn failure() -> OpenApiResponse {
    let content = Content::new(Some(Ref::from_schema_name(Problem::name())));
    ResponseBuilder::new().description("why not").content("application/problem+json", content).build()
}

/// Whatever a number of an item is read as.
fn item_number() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(u32::MIN)).maximum(Some(u32::MAX)).build().into()
}

fn text() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).build().into()
}
