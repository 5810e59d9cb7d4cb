//! Payments: how each stands, what its money covers, and what of it went back.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{
        Account, AccountEvent, Dispute, Event, Noun, Payment, PaymentEvent, Refund,
        account::{ChargeOrigin, FundsOrigin},
        payment::{DisputeStage, PaymentRequest, Purpose, RefundStatus, Status},
    },
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use crate::{
    effect::Allocations,
    engine::{Changes, Effects, FoldError, Follows, Owner, Projection, Row, Shown, Source, Table, place},
    listing::Listed,
    statement::charge_origin,
    word::Word,
};

#[derive(Debug)]
pub enum Payments {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct PaymentRow {
    pub id: String,
    pub account_id: String,
    pub payer_id: Option<String>,
    pub method: String,
    /// What was asked for.
    pub amount: Decimal,
    pub currency: String,
    /// `advance`, `order` or `invoice`.
    pub purpose: String,
    pub purpose_id: Option<String>,
    pub status: Word<Status>,
    pub document_number: Option<String>,
    /// Why it failed or was taken back, in the gateway's words.
    pub gateway_reason: Option<String>,
    /// The stream under the gateway's own payment id that names this payment.
    pub gateway_payment: Option<String>,
    /// The account entry that credits it.
    pub entry: Option<i64>,
    /// What covers charges now.
    pub allocated: Decimal,
    /// What covers nothing.
    pub free: Decimal,
    /// What went back to the payer.
    pub returned: Decimal,
    pub started_at: DateTime<Utc>,
    pub credited_at: Option<DateTime<Utc>>,
    /// Of the event that started it; listings go by it.
    pub position: i64,
    /// Of the last event that changed it.
    pub changed_position: i64,
    /// What came; nothing until it is credited.
    pub received: Decimal,
    /// What disputes have taken and not given back.
    pub disputed: Decimal,
}

/// What a charge has of a payment. A row whose amount is zero tells of an allocation that was taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct AllocationRow {
    pub payment_id: String,
    /// The entry of the account that charges it.
    pub charge: i64,
    /// `invoice`, `expense`, `refund` …
    pub target: String,
    pub target_id: Option<String>,
    pub amount: Decimal,
    pub currency: String,
    /// Of the last event that changed it.
    pub changed_position: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct RefundRow {
    pub id: String,
    pub payment_id: String,
    pub amount: Decimal,
    pub currency: String,
    pub status: Word<RefundStatus>,
    pub gateway_reason: Option<String>,
    /// The account entry that took the money out.
    pub entry: i64,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub position: i64,
    /// The gateway's own id of it.
    pub gateway_refund: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct DisputeRow {
    pub id: String,
    pub payment_id: String,
    /// The gateway's own id of it; a report of fraud has none.
    pub gateway_dispute: Option<String>,
    pub amount: Decimal,
    pub currency: String,
    pub status: Word<DisputeStage>,
    pub gateway_reason: String,
    /// The account entry that took the money out.
    pub entry: i64,
    /// The account entry that brought it back.
    pub won_entry: Option<i64>,
    pub opened_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub position: i64,
}

impl Row for PaymentRow {
    type Key = String;
    const TABLE: &'static str = "payments";
    const KEY: &'static [&'static str] = &["id"];
    const PREFIX: Option<&'static str> = Some(Payment::PREFIX);
    const OWNER: Owner = Owner::Account("account_id");
    const SHOWN: Shown = Shown::NEWEST_FIRST;

    /// What had come was what was asked for, and nothing was disputed.
    const NEW_COLUMNS: &'static [(&'static str, &'static str)] = &[
        (
            "received",
            "coalesce(
                (to_jsonb(payments) ->> 'received')::numeric, case when credited_at is null then 0 else amount end
            )",
        ),
        ("disputed", "coalesce((to_jsonb(payments) ->> 'disputed')::numeric, 0)"),
    ];

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        // The account says what becomes of the money; a gateway's own id is a stream of its own.
        let mut sources =
            vec![Source::stream(Payment::TYPE, &self.id), Source::stream(Account::TYPE, &self.account_id)];
        sources.extend(self.gateway_payment.as_ref().map(|id| Source::stream(Payment::TYPE, id)));
        sources
    }
}

impl Row for AllocationRow {
    type Key = (String, i64);
    const TABLE: &'static str = "payment_allocations";
    const KEY: &'static [&'static str] = &["payment_id", "charge"];
    const OWNER: Owner = Owner::parent::<PaymentRow>("payment_id");

    fn key(&self) -> Self::Key {
        (self.payment_id.clone(), self.charge)
    }

    fn sources(&self) -> Vec<Source> {
        // The payment itself names its account.
        Vec::new()
    }
}

impl Row for RefundRow {
    type Key = String;
    const TABLE: &'static str = "refunds";
    const KEY: &'static [&'static str] = &["id"];
    const PREFIX: Option<&'static str> = Some(Refund::PREFIX);
    const OWNER: Owner = Owner::parent::<PaymentRow>("payment_id");

    const NEW_COLUMNS: &'static [(&'static str, &'static str)] =
        &[("gateway_refund", "to_jsonb(refunds) ->> 'gateway_refund'")];

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Payment::TYPE, &self.payment_id)]
    }

    const BELONGS_TO: &'static str = "payment_id";
}

impl Row for DisputeRow {
    type Key = String;
    const TABLE: &'static str = "disputes";
    const KEY: &'static [&'static str] = &["id"];
    const PREFIX: Option<&'static str> = Some(Dispute::PREFIX);
    const OWNER: Owner = Owner::parent::<PaymentRow>("payment_id");

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Payment::TYPE, &self.payment_id)]
    }

    const BELONGS_TO: &'static str = "payment_id";
}

impl Listed for PaymentRow {
    type Of = PaymentRow;
    const PROJECTION: &'static str = Payments::NAME;
    const NOUN: &'static str = "payment";
    const NOT_FOUND: &'static str = "payment-not-found";

    fn position(&self) -> i64 {
        self.position
    }
}

impl Projection for Payments {
    const NAME: &'static str = "payments";
    const VERSION: i32 = 2;
    const FOLLOWS: Follows = Follows::Only(&[Payment::TYPE, Account::TYPE]);
    const TABLES: &'static [Table] =
        &[Table::of::<PaymentRow>(), Table::of::<AllocationRow>(), Table::of::<RefundRow>(), Table::of::<DisputeRow>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        match &event.event {
            Event::Payment(payment_event) => fold_payment(event, payment_event.clone(), changes),
            Event::Account(account_event) => fold_account(event, account_event, changes),
            _ => {}
        }
        Ok(())
    }

    fn effects() -> Option<Box<dyn Effects>> {
        Some(Box::<Allocations>::default())
    }
}

fn fold_payment(event: &RecordedEvent, payment_event: PaymentEvent, changes: &mut Changes) {
    let (id, at) = (event.aggregate_id.clone(), event.occurred_at());
    let followed = payment_event.clone();
    let change = |change: Box<dyn FnOnce(&mut PaymentRow) + Send>| {
        change_payment(event, id.clone(), changes, move |row| {
            row.status = Word(row.status.after(&followed, row.received - row.returned));
            change(row);
        });
    };
    match payment_event {
        PaymentEvent::Started(PaymentRequest { account, payer, method, amount, purpose }) => {
            let (purpose, purpose_id) = purpose_columns(&purpose);
            changes.insert(PaymentRow {
                id,
                account_id: account.to_string(),
                payer_id: payer.map(|payer| payer.to_string()),
                method,
                amount: amount.amount(),
                currency: amount.currency().code().into(),
                purpose: purpose.into(),
                purpose_id,
                status: Word(Status::New),
                document_number: None,
                gateway_reason: None,
                gateway_payment: None,
                entry: None,
                allocated: Decimal::ZERO,
                free: Decimal::ZERO,
                returned: Decimal::ZERO,
                started_at: at,
                credited_at: None,
                position: place(event),
                changed_position: place(event),
                received: Decimal::ZERO,
                disputed: Decimal::ZERO,
            });
        }
        PaymentEvent::Submitted {} | PaymentEvent::Deleted {} => change(Box::new(|_| {})),
        PaymentEvent::Pledged { entry, .. } => change(Box::new(move |row| row.entry = Some(entry as i64))),
        PaymentEvent::PledgeWithdrawn {} => change(Box::new(|row| row.entry = None)),
        PaymentEvent::Credited { entry, amount, document_number, .. } => change(Box::new(move |row| {
            row.received = amount.amount();
            row.entry = Some(entry as i64);
            row.document_number = document_number;
            row.gateway_reason = None;
            row.credited_at = Some(at);
        })),
        PaymentEvent::Failed { gateway_reason } => change(Box::new(|row| row.gateway_reason = Some(gateway_reason))),
        PaymentEvent::MarkedFraudulent { gateway_reason } => {
            change(Box::new(|row| row.gateway_reason = Some(gateway_reason)))
        }
        PaymentEvent::RefundStarted { refund, amount, entry } => changes.insert(RefundRow {
            id: refund.to_string(),
            payment_id: id,
            amount: amount.amount(),
            currency: amount.currency().code().into(),
            status: Word(RefundStatus::Pending),
            gateway_reason: None,
            entry: entry as i64,
            started_at: at,
            ended_at: None,
            position: place(event),
            gateway_refund: None,
        }),
        PaymentEvent::RefundSettled { refund, amount, gateway_refund } => {
            change(Box::new(move |row| row.returned += amount.amount()));
            changes.update(refund.to_string(), move |row: &mut RefundRow| {
                row.status = Word(RefundStatus::Settled);
                row.ended_at = Some(at);
                row.gateway_refund = gateway_refund;
            });
        }
        PaymentEvent::Recognised { gateway } => {
            let gateway = gateway.to_string();
            change_payment(event, id, changes, move |row| row.gateway_payment = Some(gateway));
        }
        PaymentEvent::RefundNamed { refund, gateway_refund } => {
            changes.update(refund.to_string(), move |row: &mut RefundRow| row.gateway_refund = Some(gateway_refund));
        }
        PaymentEvent::RefundFailed { refund, gateway_reason, .. } => {
            changes.update(refund.to_string(), move |row: &mut RefundRow| {
                row.status = Word(RefundStatus::Failed);
                row.gateway_reason = Some(gateway_reason);
                row.ended_at = Some(at);
            });
        }
        PaymentEvent::DisputeOpened { dispute, gateway_dispute, amount, entry, gateway_reason } => {
            let disputed = amount.amount();
            change_payment(event, id.clone(), changes, move |row| row.disputed += disputed);
            changes.insert(DisputeRow {
                id: dispute.to_string(),
                payment_id: id,
                gateway_dispute,
                amount: disputed,
                currency: amount.currency().code().into(),
                status: Word(DisputeStage::Open),
                gateway_reason,
                entry: entry as i64,
                won_entry: None,
                opened_at: at,
                ended_at: None,
                position: place(event),
            });
        }
        PaymentEvent::DisputeWon { dispute, amount, entry } => {
            change_payment(event, id, changes, move |row| row.disputed -= amount.amount());
            changes.update(dispute.to_string(), move |row: &mut DisputeRow| {
                row.status = Word(DisputeStage::Won);
                row.won_entry = Some(entry as i64);
                row.ended_at = Some(at);
            });
        }
        PaymentEvent::DisputeLost { dispute, .. } => {
            change_payment(event, id, changes, |_| {});
            changes.update(dispute.to_string(), move |row: &mut DisputeRow| {
                row.status = Word(DisputeStage::Lost);
                row.ended_at = Some(at);
            });
        }
        PaymentEvent::AssignedTo { payment } => {
            change_payment(event, payment.to_string(), changes, move |row| row.gateway_payment = Some(id));
        }
    }
}

/// What the account does with the money of payments.
fn fold_account(event: &RecordedEvent, account_event: &AccountEvent, changes: &mut Changes) {
    match account_event {
        AccountEvent::Credited { origin: FundsOrigin::Payment(payment), amount, .. } => {
            let amount = amount.amount();
            change_payment(event, payment.to_string(), changes, move |row| row.free += amount);
        }
        AccountEvent::Allocated { from: FundsOrigin::Payment(payment), charge, to, amount, .. } => {
            allocate(event, payment.as_str(), *charge as i64, to, amount.amount(), amount.currency().code(), changes);
        }
        AccountEvent::Released { from: FundsOrigin::Payment(payment), charge, to, amount, .. } => {
            allocate(event, payment.as_str(), *charge as i64, to, -amount.amount(), amount.currency().code(), changes);
        }
        AccountEvent::Credited { .. }
        | AccountEvent::Allocated { .. }
        | AccountEvent::Released { .. }
        | AccountEvent::Charged { .. }
        | AccountEvent::Opened(_)
        | AccountEvent::CreditLimitSet { .. }
        | AccountEvent::PostPaidAllowed {}
        | AccountEvent::PostPaidRevoked {}
        | AccountEvent::AutomaticAllocationSwitchedOn {}
        | AccountEvent::AutomaticAllocationSwitchedOff {}
        | AccountEvent::Held { .. }
        | AccountEvent::HoldReleased { .. }
        | AccountEvent::FundsSetAside { .. }
        | AccountEvent::FundsSetFree { .. } => {}
    }
}

fn allocate(
    event: &RecordedEvent,
    payment_id: &str,
    charge: i64,
    to: &ChargeOrigin,
    amount: Decimal,
    currency: &'static str,
    changes: &mut Changes,
) {
    // What goes back to the payer is told as returned, not as allocated.
    let covers = !matches!(to, ChargeOrigin::Refund(_) | ChargeOrigin::Payment(_));
    change_payment(event, payment_id.into(), changes, move |row| {
        row.free -= amount;
        if covers {
            row.allocated += amount;
        }
    });
    let (target, target_id) = charge_origin(to);
    let (payment_id, position) = (payment_id.to_owned(), place(event));
    let key = (payment_id.clone(), charge);
    let empty = move || AllocationRow {
        payment_id,
        charge,
        target: target.into(),
        target_id,
        amount: Decimal::ZERO,
        currency: currency.into(),
        changed_position: position,
    };
    changes.upsert(key, empty, move |row: &mut AllocationRow| {
        row.amount += amount;
        row.changed_position = position;
    });
}

fn change_payment(
    event: &RecordedEvent,
    id: String,
    changes: &mut Changes,
    change: impl FnOnce(&mut PaymentRow) + Send + 'static,
) {
    let position = place(event);
    changes.update(id, move |row: &mut PaymentRow| {
        row.changed_position = position;
        change(row);
    });
}

fn purpose_columns(purpose: &Purpose) -> (&'static str, Option<String>) {
    match purpose {
        Purpose::Advance => ("advance", None),
        Purpose::Order(order) => ("order", Some(order.to_string())),
        Purpose::Invoice(invoice) => ("invoice", Some(invoice.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use daybook_core::domain::Money;
    use rust_decimal::dec;

    use super::*;
    use crate::engine::{
        Memory,
        fixtures::{book, usd},
    };

    fn payment(event: PaymentEvent) -> (&'static str, Event) {
        ("pay_1", event.into())
    }

    fn account(event: AccountEvent) -> (&'static str, Event) {
        ("acc_1", event.into())
    }

    fn funds() -> FundsOrigin {
        FundsOrigin::Payment("pay_1".parse().expect("a payment"))
    }

    fn allocated(charge: u64, to: ChargeOrigin, amount: Money) -> (&'static str, Event) {
        account(AccountEvent::Allocated { funds: 1, from: funds(), charge, to, amount })
    }

    /// A payment of 10.00 that is credited.
    fn credited() -> Vec<(&'static str, Event)> {
        let of = || "acc_1".parse().expect("an account");
        let (method, amount, purpose) = ("card".into(), usd("10.00"), Purpose::Advance);
        vec![
            payment(PaymentEvent::Started(PaymentRequest { account: of(), payer: None, method, amount, purpose })),
            payment(PaymentEvent::Credited { account: of(), amount, entry: 1, document_number: None, gateway: None }),
            account(AccountEvent::Credited {
                entry: 1,
                origin: funds(),
                amount,
                balance: amount,
                description: "payment".into(),
                revenue: None,
                reverses: None,
            }),
        ]
    }

    /// Status, allocated, free, returned.
    fn standing(events: Vec<(&'static str, Event)>) -> (&'static str, Decimal, Decimal, Decimal) {
        let mut rows = Memory::fold::<Payments>(&book(events)).expect("rows");
        let row = rows.rows::<PaymentRow>().remove(0);
        (row.status.as_str(), row.allocated, row.free, row.returned)
    }

    #[test]
    fn a_credited_payment_is_free_until_it_covers_something() {
        let mut events = credited();
        assert_eq!(standing(events.clone()), ("credited", dec!(0), dec!(10), dec!(0)));
        events.push(allocated(2, ChargeOrigin::Adjustment, usd("4.00")));
        assert_eq!(standing(events), ("credited", dec!(4), dec!(6), dec!(0)));
    }

    #[test]
    fn money_on_its_way_back_is_neither_free_nor_allocated() {
        let refund: daybook_core::domain::RefundId = "rfd_1".parse().expect("a refund");
        let amount = usd("4.00");
        let mut events = credited();
        events.push(payment(PaymentEvent::RefundStarted { refund: refund.clone(), amount, entry: 2 }));
        events.push(allocated(2, ChargeOrigin::Refund(refund.clone()), amount));
        assert_eq!(standing(events.clone()), ("credited", dec!(0), dec!(6), dec!(0)));
        events.push(payment(PaymentEvent::RefundSettled { refund, amount, gateway_refund: None }));
        assert_eq!(standing(events), ("partly_returned", dec!(0), dec!(6), dec!(4)));
    }

    #[test]
    fn a_payment_that_came_short_is_returned_once_what_came_went_back() {
        let refund: daybook_core::domain::RefundId = "rfd_1".parse().expect("a refund");
        let mut events = credited();
        let Event::Payment(PaymentEvent::Credited { amount, .. }) = &mut events[1].1 else { unreachable!() };
        *amount = usd("9.50");
        let amount = usd("9.50");
        events.push(payment(PaymentEvent::RefundStarted { refund: refund.clone(), amount, entry: 2 }));
        let gateway_refund = Some("re_1".into());
        events.push(payment(PaymentEvent::RefundSettled { refund, amount, gateway_refund }));
        let mut rows = Memory::fold::<Payments>(&book(events)).expect("rows");
        let row = rows.rows::<PaymentRow>().remove(0);
        assert_eq!((row.status.as_str(), row.amount, row.received), ("returned", dec!(10), dec!(9.5)));
        assert_eq!(rows.rows::<RefundRow>()[0].gateway_refund.as_deref(), Some("re_1"));
    }

    #[test]
    fn a_dispute_takes_from_the_payment_until_it_is_won() {
        let dispute: daybook_core::domain::DisputeId = "dsp_1".parse().expect("a dispute");
        let amount = usd("4.00");
        let (gateway_dispute, gateway_reason) = (Some("dp_1".into()), "not as described".into());
        let opened =
            PaymentEvent::DisputeOpened { dispute: dispute.clone(), gateway_dispute, amount, entry: 2, gateway_reason };
        let mut events = credited();
        events.push(payment(opened));
        let told = |events: Vec<(&'static str, Event)>| {
            let mut rows = Memory::fold::<Payments>(&book(events)).expect("rows");
            let (payment, dispute) = (rows.rows::<PaymentRow>().remove(0), rows.rows::<DisputeRow>().remove(0));
            (payment.disputed, dispute.status.as_str(), dispute.won_entry)
        };
        assert_eq!(told(events.clone()), (dec!(4), "open", None));
        let lost = PaymentEvent::DisputeLost { dispute: dispute.clone(), amount };
        assert_eq!(told([events.clone(), vec![payment(lost)]].concat()), (dec!(4), "lost", None));
        events.push(payment(PaymentEvent::DisputeWon { dispute, amount, entry: 3 }));
        assert_eq!(told(events), (dec!(0), "won", Some(3)));
    }

    #[test]
    fn the_gateways_own_id_stands_on_the_payment_that_it_names() {
        let mut events = credited();
        let assigned = PaymentEvent::AssignedTo { payment: "pay_1".parse().expect("a payment") };
        events.push(("pay_stripe:pi_1", assigned.into()));
        let mut rows = Memory::fold::<Payments>(&book(events)).expect("rows");
        let payments = rows.rows::<PaymentRow>();
        assert_eq!((payments.len(), payments[0].gateway_payment.as_deref()), (1, Some("pay_stripe:pi_1")));
    }
}
