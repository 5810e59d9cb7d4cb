//! The history of any entity: every event that happened to it or mentions it, who did it, for whom and why.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use daybook_core::{
    RecordedEvent,
    domain::{
        AccountEvent, BooksEvent, CreditNoteEvent, CustomerEvent, DiscountsEvent, Event, ExpenseEvent, Id,
        InvoiceEvent, NumberSeriesEvent, OrderEvent, PayerEvent, PaymentEvent, ServiceEvent, TicketEvent,
        account::{ChargeOrigin, FundsOrigin, TransferLeg},
        discount::Audience,
        order::{ItemResult, OrderItem},
        payment::Purpose,
        ticket::Subject,
    },
};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};

use crate::engine::{Changes, FoldError, Follows, Moment, Owner, Projection, Row, Source, Table, place};

#[derive(Debug)]
pub enum History {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct HistoryRow {
    /// Whom the event concerns: its own aggregate, or one that it mentions.
    pub entity_id: String,
    pub position: i64,
    pub event_type: String,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub actor: Option<String>,
    pub on_behalf_of: Option<String>,
    pub reason: Option<String>,
    pub occurred_at: DateTime<Utc>,
    /// When it would have taken effect, had that period not been closed.
    pub dated_at: Option<DateTime<Utc>>,
    pub recorded_at: DateTime<Utc>,
}

impl Row for HistoryRow {
    type Key = (String, i64);
    const TABLE: &'static str = "history";
    const KEY: &'static [&'static str] = &["entity_id", "position"];
    const OWNER: Owner = Owner::Nobody;

    fn key(&self) -> Self::Key {
        (self.entity_id.clone(), self.position)
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::Event(self.position)]
    }

    const STAYS_BUT_FOR: Option<&'static [&'static str]> = Some(&[]);
}

impl Projection for History {
    const NAME: &'static str = "history";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Everything;
    const TABLES: &'static [Table] = &[Table::of::<HistoryRow>()];
    const READ_ALONE: bool = true;

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        let metadata = &event.metadata;
        for entity in entities(event) {
            changes.insert(HistoryRow {
                entity_id: entity.into(),
                position: place(event),
                event_type: event.event.event_type(),
                aggregate_type: event.event.aggregate_type().into(),
                aggregate_id: event.aggregate_id.clone(),
                sequence: event.sequence as i64,
                actor: metadata.actor.as_ref().map(ToString::to_string),
                on_behalf_of: metadata.on_behalf_of.as_ref().map(ToString::to_string),
                reason: metadata.reason.clone(),
                occurred_at: event.occurred_at(),
                dated_at: metadata.dated_at,
                recorded_at: event.recorded_at,
            });
        }
        Ok(())
    }
}

/// The identifiers that an event mentions, each once.
struct Mentions<'a>(BTreeSet<&'a str>);

impl<'a> Mentions<'a> {
    fn add<N>(&mut self, id: &'a Id<N>) {
        self.0.insert(id.as_str());
    }

    fn add_all<N: 'a>(&mut self, ids: impl IntoIterator<Item = &'a Id<N>>) {
        ids.into_iter().for_each(|id| self.add(id));
    }
}

fn entities(event: &RecordedEvent) -> BTreeSet<&str> {
    let mut mentions = Mentions(BTreeSet::from([event.aggregate_id.as_str()]));
    match &event.event {
        Event::Account(event) => of_account(event, &mut mentions),
        Event::Books(BooksEvent::PeriodClosed { .. }) => {}
        Event::CreditNote(event) => of_credit_note(event, &mut mentions),
        Event::Customer(event) => of_customer(event, &mut mentions),
        Event::Discounts(event) => of_discounts(event, &mut mentions),
        Event::Expense(event) => of_expense(event, &mut mentions),
        Event::Invoice(event) => of_invoice(event, &mut mentions),
        Event::NumberSeries(
            NumberSeriesEvent::Taken { document, .. } | NumberSeriesEvent::Reserved { document, .. },
        ) => {
            mentions.0.insert(document);
        }
        Event::Order(event) => of_order(event, &mut mentions),
        Event::Payer(event) => of_payer(event, &mut mentions),
        Event::Payment(event) => of_payment(event, &mut mentions),
        Event::Service(ServiceEvent::Activated { customer, account, order, .. }) => {
            mentions.add(customer);
            mentions.add(account);
            mentions.add(order);
        }
        Event::Ticket(event) => of_ticket(event, &mut mentions),
    }
    mentions.0
}

fn of_account<'a>(event: &'a AccountEvent, mentions: &mut Mentions<'a>) {
    match event {
        AccountEvent::Opened { customer, .. } => mentions.add(customer),
        AccountEvent::Credited { origin, .. } => of_funds(origin, mentions),
        AccountEvent::Charged { origin, .. } => of_charge(origin, mentions),
        AccountEvent::Allocated { from, to, .. } | AccountEvent::Released { from, to, .. } => {
            of_funds(from, mentions);
            of_charge(to, mentions);
        }
        AccountEvent::Held { hold, .. } | AccountEvent::HoldReleased { hold, .. } => mentions.add(hold),
        AccountEvent::CreditLimitSet { .. }
        | AccountEvent::PostPaidAllowed {}
        | AccountEvent::PostPaidRevoked {}
        | AccountEvent::AutomaticAllocationSwitchedOn {}
        | AccountEvent::AutomaticAllocationSwitchedOff {}
        | AccountEvent::FundsSetAside { .. }
        | AccountEvent::FundsSetFree { .. } => {}
    }
}

fn of_funds<'a>(origin: &'a FundsOrigin, mentions: &mut Mentions<'a>) {
    match origin {
        FundsOrigin::Payment(payment) => mentions.add(payment),
        FundsOrigin::CreditNote(credit_note) => mentions.add(credit_note),
        FundsOrigin::Expense(expense) => mentions.add(expense),
        FundsOrigin::Transfer(leg) => of_transfer(leg, mentions),
        FundsOrigin::Refund(refund) => mentions.add(refund),
        FundsOrigin::Adjustment => {}
    }
}

fn of_charge<'a>(origin: &'a ChargeOrigin, mentions: &mut Mentions<'a>) {
    match origin {
        ChargeOrigin::Expense(expense) => mentions.add(expense),
        ChargeOrigin::Invoice(invoice) => mentions.add(invoice),
        ChargeOrigin::Refund(refund) => mentions.add(refund),
        ChargeOrigin::Payment(payment) => mentions.add(payment),
        ChargeOrigin::Transfer(leg) => of_transfer(leg, mentions),
        ChargeOrigin::Adjustment => {}
    }
}

fn of_transfer<'a>(leg: &'a TransferLeg, mentions: &mut Mentions<'a>) {
    mentions.add(&leg.transfer);
    mentions.add(&leg.peer);
}

fn of_credit_note<'a>(event: &'a CreditNoteEvent, mentions: &mut Mentions<'a>) {
    let CreditNoteEvent::Issued(document) = event;
    mentions.add(&document.account);
    mentions.add(&document.customer);
    mentions.add(&document.payer.payer);
    mentions.add_all(document.lines.iter().filter_map(|line| line.of.as_ref()).map(|of| &of.invoice));
}

fn of_customer<'a>(event: &'a CustomerEvent, mentions: &mut Mentions<'a>) {
    match event {
        CustomerEvent::AccountAdded { account, .. } => mentions.add(account),
        CustomerEvent::Registered { .. } | CustomerEvent::JoinedGroup { .. } | CustomerEvent::LeftGroup { .. } => {}
    }
}

fn of_discounts<'a>(event: &'a DiscountsEvent, mentions: &mut Mentions<'a>) {
    match event {
        DiscountsEvent::Granted(grant) => {
            mentions.add(&grant.discount);
            match &grant.audience {
                Audience::Customer(customer) => mentions.add(customer),
                Audience::Everyone | Audience::Group(_) => {}
            }
        }
        DiscountsEvent::Revoked { discount } => mentions.add(discount),
    }
}

fn of_expense<'a>(event: &'a ExpenseEvent, mentions: &mut Mentions<'a>) {
    match event {
        ExpenseEvent::Recorded(recorded) => {
            mentions.add(&recorded.account);
            mentions.add_all(&recorded.order);
            mentions.add_all(&recorded.service);
        }
        ExpenseEvent::Adjusted { .. } | ExpenseEvent::Reversed { .. } | ExpenseEvent::Reinstated { .. } => {}
    }
}

fn of_invoice<'a>(event: &'a InvoiceEvent, mentions: &mut Mentions<'a>) {
    match event {
        InvoiceEvent::Finalised(document) => {
            mentions.add(&document.account);
            mentions.add(&document.customer);
            mentions.add(&document.payer.payer);
        }
        InvoiceEvent::LinesCredited { credit_note, .. } => mentions.add(credit_note),
        InvoiceEvent::PartPaid { .. } | InvoiceEvent::Paid {} | InvoiceEvent::DueAgain { .. } => {}
    }
}

fn of_order<'a>(event: &'a OrderEvent, mentions: &mut Mentions<'a>) {
    match event {
        OrderEvent::Placed { customer, account, items, .. } => {
            mentions.add(customer);
            mentions.add(account);
            items.iter().for_each(|item| of_item(item, mentions));
        }
        OrderEvent::ItemAdded { item } => of_item(item, mentions),
        OrderEvent::PaymentAwaited { payment } | OrderEvent::PaymentMissed { payment } => mentions.add(payment),
        OrderEvent::Processed { results, payment, .. } => {
            mentions.add_all(payment);
            for ItemResult { expense, service, .. } in results {
                mentions.add(expense);
                mentions.add(service);
            }
        }
        OrderEvent::ItemRemoved { .. } | OrderEvent::Renamed { .. } | OrderEvent::Deleted {} => {}
    }
}

fn of_item<'a>(item: &'a OrderItem, mentions: &mut Mentions<'a>) {
    mentions.add_all(item.discount.iter().map(|applied| &applied.discount));
}

fn of_payer<'a>(event: &'a PayerEvent, mentions: &mut Mentions<'a>) {
    match event {
        PayerEvent::Created { customer, .. } => mentions.add(customer),
        PayerEvent::Renamed { .. }
        | PayerEvent::Moved { .. }
        | PayerEvent::TaxNumberChanged { .. }
        | PayerEvent::Deactivated {} => {}
    }
}

fn of_payment<'a>(event: &'a PaymentEvent, mentions: &mut Mentions<'a>) {
    match event {
        PaymentEvent::Started { account, payer, purpose, .. } => {
            mentions.add(account);
            mentions.add_all(payer);
            match purpose {
                Purpose::Advance => {}
                Purpose::Order(order) => mentions.add(order),
                Purpose::Invoice(invoice) => mentions.add(invoice),
            }
        }
        PaymentEvent::Pledged { account, .. } | PaymentEvent::Credited { account, .. } => mentions.add(account),
        PaymentEvent::RefundStarted { refund, .. }
        | PaymentEvent::RefundSettled { refund, .. }
        | PaymentEvent::RefundNamed { refund, .. }
        | PaymentEvent::RefundFailed { refund, .. } => mentions.add(refund),
        PaymentEvent::DisputeOpened { dispute, .. }
        | PaymentEvent::DisputeWon { dispute, .. }
        | PaymentEvent::DisputeLost { dispute, .. } => mentions.add(dispute),
        PaymentEvent::AssignedTo { payment } | PaymentEvent::Recognised { gateway: payment } => mentions.add(payment),
        PaymentEvent::Submitted {}
        | PaymentEvent::PledgeWithdrawn {}
        | PaymentEvent::Failed { .. }
        | PaymentEvent::Deleted {}
        | PaymentEvent::MarkedFraudulent { .. } => {}
    }
}

fn of_ticket<'a>(event: &'a TicketEvent, mentions: &mut Mentions<'a>) {
    match event {
        TicketEvent::Opened { customer, about, .. } => {
            mentions.add(customer);
            match about {
                None => {}
                Some(Subject::Service(service)) => mentions.add(service),
                Some(Subject::Order(order)) => mentions.add(order),
            }
        }
        TicketEvent::TakenUp {}
        | TicketEvent::Answered { .. }
        | TicketEvent::Replied { .. }
        | TicketEvent::Read {}
        | TicketEvent::Archived {}
        | TicketEvent::Restored {} => {}
    }
}

/// Newest first; `before` is the position of the last row of the page before this one.
pub async fn list(
    connection: &mut PgConnection,
    entity_id: &str,
    moment: &Moment,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<HistoryRow>, sqlx::Error> {
    sqlx::query_as(
        "select entity_id, position, event_type, aggregate_type, aggregate_id, sequence, actor, on_behalf_of, reason,
             occurred_at, dated_at, recorded_at
         from history
         where entity_id = $1 and ($2::bigint is null or position < $2)
             and ($4::bigint is null or position <= $4)
             and ($5::timestamptz is null or occurred_at < $5)
         order by position desc
         limit $3",
    )
    .bind(entity_id)
    .bind(before)
    .bind(limit)
    .bind(moment.position())
    .bind(moment.before())
    .fetch_all(connection)
    .await
}
