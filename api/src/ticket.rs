//! Tickets over HTTP: opened, written on, put away and brought back.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use daybook_core::{
    domain::ticket,
    operations::{Operation, TicketAction, TicketOpening, WriteOnTicket},
};
use daybook_projections::{
    Chosen, Sort,
    ticket::{TicketMessageRow, TicketRow},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    customer::CustomerQuery,
    http::{
        address::Named,
        error::ApiError,
        listing::{Listing, One, Paging, Question},
        moment::AskedMoment,
        page::Page,
        shape::Expand,
        tagged::Tagged,
        time::{AskedTime, Time},
        wire::{
            AskedText, CustomerRef, Label, Message, Name, OneOf, OrderRef, Ref, Sentence, ServiceRef, TicketRef,
            WordList, text,
        },
        write::{Made, Occasion, WriteRequest, Writing, Written},
    },
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTicket {
    customer: CustomerRef,
    #[schema(example = "technical")]
    category: Label,
    #[schema(example = "The server does not answer")]
    subject: Name,
    /// A service or an order of the same customer.
    about: Option<Subject>,
    message: Message,
    /// When it took effect; now, unless it is recorded later than it happened.
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

/// What a ticket is about.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(examples(json!({ "order": "ord_01JD8Z2Q4Y0000000000000001" })))]
pub enum Subject {
    Service(ServiceRef),
    Order(OrderRef),
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    side: Side,
    message: Message,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

/// Who writes.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Provider,
    Customer,
}

/// Opens a ticket.
#[utoipa::path(post, path = "/v1/tickets", request_body = NewTicket, responses((status = 201, body = Made)))]
pub async fn open(State(app): State<App>, Writing { body, request }: Writing<NewTicket>) -> Result<Written, ApiError> {
    let NewTicket { customer: Ref(customer), category, subject, about, message, effective_at, reason } = body;
    let about = about.map(Into::into);
    let operation = Operation::OpenTicket(TicketOpening {
        customer,
        category: category.into(),
        subject: subject.into(),
        about,
        message: message.into(),
    });
    let named = [
        ("customer-not-found", "/customer"),
        ("order-not-found", "/about/order"),
        ("service-not-found", "/about/service"),
    ];
    app.create("/v1/tickets", request.command(operation, effective_at, reason)?, &named).await
}

/// Writes on a ticket: the provider answers, or the customer replies.
#[utoipa::path(post, path = "/v1/tickets/{id}/messages", request_body = NewMessage, responses((status = 201, body = Made)))]
pub async fn write(
    State(app): State<App>,
    Named(Ref(ticket)): Named<TicketRef>,
    Writing { body, request }: Writing<NewMessage>,
) -> Result<Written, ApiError> {
    let NewMessage { side, message, effective_at, reason } = body;
    let action = match side {
        Side::Provider => TicketAction::Answer { message: message.into() },
        Side::Customer => TicketAction::Reply { message: message.into() },
    };
    let operation = Operation::WriteOnTicket(WriteOnTicket { ticket, action });
    app.make(request.command(operation, effective_at, reason)?, &[]).await
}

/// Takes a ticket up: somebody works on the answer.
#[utoipa::path(post, path = "/v1/tickets/{id}/take-up", request_body = Occasion, responses((status = 200, body = Made)))]
pub async fn take_up(
    State(app): State<App>,
    Named(ticket): Named<TicketRef>,
    Writing { body, request }: Writing<Occasion>,
) -> Result<Written, ApiError> {
    act(&app, ticket, TicketAction::TakeUp, request, body).await
}

/// Tells that the customer has seen the answer.
#[utoipa::path(post, path = "/v1/tickets/{id}/read", request_body = Occasion, responses((status = 200, body = Made)))]
pub async fn read(
    State(app): State<App>,
    Named(ticket): Named<TicketRef>,
    Writing { body, request }: Writing<Occasion>,
) -> Result<Written, ApiError> {
    act(&app, ticket, TicketAction::Read, request, body).await
}

/// Puts a ticket away; refused while an answer is due.
#[utoipa::path(post, path = "/v1/tickets/{id}/archive", request_body = Occasion, responses((status = 200, body = Made)))]
pub async fn archive(
    State(app): State<App>,
    Named(ticket): Named<TicketRef>,
    Writing { body, request }: Writing<Occasion>,
) -> Result<Written, ApiError> {
    act(&app, ticket, TicketAction::Archive, request, body).await
}

/// Brings an archived ticket back.
#[utoipa::path(post, path = "/v1/tickets/{id}/restore", request_body = Occasion, responses((status = 200, body = Made)))]
pub async fn restore(
    State(app): State<App>,
    Named(ticket): Named<TicketRef>,
    Writing { body, request }: Writing<Occasion>,
) -> Result<Written, ApiError> {
    act(&app, ticket, TicketAction::Restore, request, body).await
}

async fn act(
    app: &App,
    Ref(ticket): TicketRef,
    action: TicketAction,
    request: WriteRequest,
    Occasion { effective_at, reason }: Occasion,
) -> Result<Written, ApiError> {
    let operation = Operation::WriteOnTicket(WriteOnTicket { ticket, action });
    app.change(request.command(operation, effective_at, reason)?, &[]).await
}

impl From<Subject> for ticket::Subject {
    fn from(subject: Subject) -> Self {
        match subject {
            Subject::Service(service) => Self::Service(service.0),
            Subject::Order(order) => Self::Order(order.0),
        }
    }
}

/// How a ticket stands.
pub type TicketStatus = OneOf<ticket::Status>;

impl WordList for ticket::Status {
    const NAME: &'static str = "TicketStatus";
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TicketQuery {
    customer: Option<CustomerRef>,
    archived: Option<bool>,
    #[param(inline)]
    status: Option<TicketStatus>,
    /// The service or order that they are about.
    #[param(inline)]
    about: Option<AskedText>,
    #[param(inline)]
    category: Option<AskedText>,
    /// What the subject contains, in upper or lower case.
    #[param(inline)]
    subject: Option<AskedText>,
    /// Opened at this moment or later.
    #[param(inline)]
    from: Option<AskedTime>,
    /// Opened before this moment.
    #[param(inline)]
    to: Option<AskedTime>,
}

impl Question for TicketQuery {
    type Row = TicketRow;
    type Shown = TicketShown;

    const SORTS: &'static [Sort] = &[
        Sort::text("category"),
        Sort::text("subject"),
        Sort::text("status"),
        Sort::whole("message_count").from_column("messages"),
        Sort::moment("opened_at"),
        Sort::moment("last_message_at"),
    ];
    const UNINDEXED: &'static [&'static str] = &["status", "category", "subject", "from", "to"];
    const EXPANDS: &'static [Expand] = &[Expand::to::<CustomerQuery>("customer")];

    fn chosen(self) -> Result<Chosen, ApiError> {
        let Self { customer, archived, status, about, category, subject, from, to } = self;
        Ok(Chosen::default()
            .lasting("customer_id", customer.map(text))
            .lasting("about_id", about.map(String::from))
            .now("archived", archived)
            .now("status", status.map(String::from))
            .now("category", category.map(String::from))
            .containing("subject", subject.map(String::from))
            .lasting_within("opened_at", from.map(|from| from.0), to.map(|to| to.0)))
    }
}

/// A ticket.
#[derive(Debug, Serialize, ToSchema)]
pub struct TicketShown {
    id: String,
    customer: String,
    category: String,
    subject: String,
    #[schema(value_type = Option<Subject>, inline = false)]
    about: Option<Tagged>,
    #[schema(value_type = TicketStatus)]
    status: &'static str,
    archived: bool,
    message_count: i32,
    opened_at: DateTime<Utc>,
    last_message_at: DateTime<Utc>,
    archived_at: Option<DateTime<Utc>>,
    /// Of the event that opened it.
    position: i64,
    /// In a listing they are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<MessageShown>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct MessageShown {
    /// `customer` or `provider`.
    side: String,
    /// Who wrote it.
    actor: Option<String>,
    message: String,
    written_at: DateTime<Utc>,
    position: i64,
}

impl From<TicketRow> for TicketShown {
    fn from(row: TicketRow) -> Self {
        Self {
            id: row.id,
            customer: row.customer_id,
            category: row.category,
            subject: row.subject,
            about: row.about.map(|about| Tagged::of(about, row.about_id)),
            status: row.status.as_str(),
            archived: row.archived,
            message_count: row.messages,
            opened_at: row.opened_at,
            last_message_at: row.last_message_at,
            archived_at: row.archived_at,
            position: row.position,
            messages: None,
        }
    }
}

impl From<TicketMessageRow> for MessageShown {
    fn from(row: TicketMessageRow) -> Self {
        let TicketMessageRow { ticket_id: _, position, side, actor, message, written_at } = row;
        Self { side, actor, message, written_at, position }
    }
}

/// Tickets, the newest first.
#[utoipa::path(get, path = "/v1/tickets", params(TicketQuery, Paging, AskedMoment), responses((status = 200, body = Page<TicketShown>)))]
pub async fn list(State(app): State<App>, asked: Listing<TicketQuery>) -> Result<Response, ApiError> {
    app.list(asked).await
}

/// One ticket with its messages.
#[utoipa::path(get, path = "/v1/tickets/{id}", params(AskedMoment), responses((status = 200, body = TicketShown)))]
pub async fn show(
    State(app): State<App>,
    Named(Ref(id)): Named<TicketRef>,
    asked: One<TicketQuery>,
) -> Result<Response, ApiError> {
    let (mut rows, found) = app.one::<TicketRow>(id.as_str(), asked.asking.clone()).await?;
    let messages = rows.belonging::<TicketMessageRow>(id.as_str()).await?;
    let messages = Some(messages.into_iter().map(MessageShown::from).collect());
    app.show(asked, rows, TicketShown { messages, ..found.into() }).await
}
