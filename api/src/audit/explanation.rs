//! "Why this number?" over HTTP: the events behind a figure, folded step by step, with who did it, why, and by which rule.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use daybook_core::{
    Position, RecordedEvent,
    domain::{posting::Posting, type_read_by},
    terms::rule::Rule,
};
use daybook_projections::{
    explanation::{self as read_model, Step},
    invoice::InvoiceRow,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    account::existing,
    app::App,
    http::{
        address::Named,
        authentication::{Asker, Authenticated},
        error::ApiError,
        listing::{Paged, Paging},
        moment::AskedMoment,
        page::Page,
        wire::{AccountRef, Amount, InvoiceRef, Nothing, Number, Ref},
    },
};

/// One event behind a figure, and what the figure was before and after it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExplanationStep {
    /// Of an account: the number of the entry. Of an invoice: the place of the event in its history.
    number: i64,
    position: Position,
    event_type: String,
    rule: Option<RuleShown>,
    before: Amount,
    /// What the event adds to the figure; negative for what it takes away.
    amount: Amount,
    after: Amount,
    actor: Option<String>,
    on_behalf_of: Option<String>,
    reason: Option<String>,
    occurred_at: DateTime<Utc>,
    /// When it would have taken effect, had that period not been closed.
    dated_at: Option<DateTime<Utc>>,
    recorded_at: DateTime<Utc>,
    /// The journal entry of the event; empty for one that moves no money.
    postings: Vec<PostingShown>,
    /// Shared by all that the command did, and by nothing else.
    command_id: Option<String>,
    /// The request that brought the command, as its caller called it.
    correlation_id: Option<String>,
    /// What else the command did, as far as the caller may read it: of up to 100 events before this one and 100 after it.
    together: Vec<EventTogether>,
    /// Where the event is shown as it was written.
    event: String,
}

/// A rule of the house, in words.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rule)]
pub struct RuleShown {
    #[schema(example = "expense-charged")]
    name: &'static str,
    text: &'static str,
}

/// A leg of a journal entry.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Posting)]
pub struct PostingShown {
    ledger_account: &'static str,
    /// A debit is positive, a credit negative; revenue and rounding may be finer than the currency.
    amount: Number,
    currency: &'static str,
}

/// An event of the same command.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventTogether {
    position: Position,
    event_type: String,
    aggregate_type: &'static str,
    aggregate_id: String,
    /// The name of its rule, if it changes a figure.
    rule: Option<&'static str>,
}

impl ExplanationStep {
    /// As it is shown to one who asks: of what else the command did, what that one may read.
    fn of(step: Step, currency: &str, asker: &Authenticated) -> Self {
        let Step { number, event, before, after, together } = step;
        let (occurred_at, metadata) = (event.occurred_at(), event.metadata);
        let may_be_read = |event: &RecordedEvent| {
            type_read_by(event.event.aggregate_type()).is_some_and(|function| asker.may(function))
        };
        Self {
            number,
            position: event.position,
            event_type: event.event.event_type(),
            rule: event.event.rule().map(RuleShown::from),
            before: Amount::of(before, currency),
            amount: Amount::of(after - before, currency),
            after: Amount::of(after, currency),
            actor: metadata.actor.map(String::from),
            on_behalf_of: metadata.on_behalf_of.map(String::from),
            reason: metadata.reason,
            occurred_at,
            dated_at: metadata.dated_at,
            recorded_at: event.recorded_at,
            postings: event.event.postings().into_iter().map(PostingShown::from).collect(),
            command_id: metadata.command_id.map(|id| id.to_string()),
            correlation_id: metadata.correlation_id.map(|id| id.to_string()),
            together: together.into_iter().filter(may_be_read).map(EventTogether::from).collect(),
            event: link_to_event(event.position),
        }
    }
}

impl From<Rule> for RuleShown {
    fn from(Rule { name, text }: Rule) -> Self {
        Self { name, text }
    }
}

impl From<Posting> for PostingShown {
    fn from(Posting { account, amount, currency }: Posting) -> Self {
        Self { ledger_account: account.as_str(), amount: Number(amount), currency: currency.code() }
    }
}

impl From<RecordedEvent> for EventTogether {
    fn from(event: RecordedEvent) -> Self {
        Self {
            position: event.position,
            event_type: event.event.event_type(),
            aggregate_type: event.event.aggregate_type(),
            rule: event.event.rule().map(|rule| rule.name),
            aggregate_id: event.aggregate_id,
        }
    }
}

/// Where the book shows the event at a position.
pub fn link_to_event(position: Position) -> String {
    format!("/v1/audit/events?after={}&limit=1", position.saturating_sub(1))
}

/// The events that make the balance of an account, the oldest first. The last step of the last page ends at the balance.
#[utoipa::path(
    get,
    path = "/v1/accounts/{id}/balance/explanation",
    params(Paging, AskedMoment),
    responses((status = 200, body = Page<ExplanationStep>))
)]
pub async fn explain_balance(
    State(app): State<App>,
    Asker(asker): Asker,
    Named(Ref(id)): Named<AccountRef>,
    Paged { question: Nothing {}, paging, asking, addressed }: Paged<Nothing>,
) -> Result<Response, ApiError> {
    let walk = app.walk(addressed, paging)?;
    let mut rows = app.read_kept(&["account_statement", "accounts"], asking).await?;
    let at = rows.moment_of_the_book();
    let account = existing(&mut rows, id.as_str()).await?;
    let (after, limit) = (walk.before(), walk.rows());
    let upcasters = app.store().upcasters();
    let steps = read_model::of_balance(&mut rows, upcasters, &account.id, &at, after, limit).await?;
    let show = |step| ExplanationStep::of(step, &account.currency, &asker);
    Ok(rows.answer(walk.page(steps, |step| step.number, show)))
}

/// The events that make what is due of an invoice, the oldest first. The last step of the last page ends at what is due.
#[utoipa::path(
    get,
    path = "/v1/invoices/{id}/due/explanation",
    params(Paging, AskedMoment),
    responses((status = 200, body = Page<ExplanationStep>))
)]
pub async fn explain_due(
    State(app): State<App>,
    Asker(asker): Asker,
    Named(Ref(id)): Named<InvoiceRef>,
    Paged { question: Nothing {}, paging, asking, addressed }: Paged<Nothing>,
) -> Result<Response, ApiError> {
    let walk = app.walk(addressed, paging)?;
    let (mut rows, invoice) = app.one::<InvoiceRow>(id.as_str(), asking).await?;
    let at = rows.moment_of_the_book();
    let (after, limit) = (walk.before().unwrap_or(0), walk.rows());
    let upcasters = app.store().upcasters();
    let steps = read_model::of_due(&mut rows, upcasters, &invoice.id, &at, after, limit).await?;
    let show = |step| ExplanationStep::of(step, &invoice.currency, &asker);
    Ok(rows.answer(walk.page(steps, |step| step.number, show)))
}
