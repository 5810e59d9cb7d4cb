//! An invoice: a numbered document that is final from its first moment. What is wrong with it is credited, not edited.

use chrono::NaiveDate;
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use rust_decimal::{Decimal, RoundingStrategy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use super::{
    AccountId, CreditNoteId, Currency, CustomerId, ExactMoney, Id, LedgerAggregate, LedgerEvent, Mentions, Money, Noun,
    Owner, Rounding, account::Entry, function::Function, payer::PayerSnapshot, posting::JournalEntry,
    version::written_version,
};
use crate::terms::{
    money::proportion,
    refusal::{LINE_OUT_OF_RANGE, NO_LINES, NUMBER_MISSING, absent, conflict, invalid, refusals},
    rule::Rule,
    tax::{RoundingPolicy, TaxedAmount, TaxedLine, Totals},
};

pub type InvoiceId = Id<Invoice>;

#[derive(Clone, Debug)]
pub enum InvoiceCommand {
    Finalise(Box<Draft>),
    /// Credits lines, by quantity, by amount, or all that is left.
    Credit {
        credit_note: CreditNoteId,
        lines: Vec<LineToCredit>,
    },
    /// Tells the invoice what of it is still to be paid.
    Settle {
        due: Money,
    },
}

/// What makes an invoice.
#[derive(Clone, Debug)]
pub struct Draft {
    pub number: String,
    pub account: AccountId,
    pub customer: CustomerId,
    pub payer: PayerSnapshot,
    pub issued_on: NaiveDate,
    pub due_on: NaiveDate,
    pub currency: Currency,
    pub policy: RoundingPolicy,
    pub lines: Vec<DraftLine>,
    pub discount: Option<DocumentDiscount>,
    /// The account entry that charges it.
    pub entry: Entry,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftLine {
    /// The provider's own code of what was sold.
    pub item: String,
    pub description: String,
    pub quantity: Decimal,
    /// May be finer than the currency.
    pub unit_price: Decimal,
    /// Per cent.
    pub tax_rate: Decimal,
}

/// A discount on the whole document, spread over its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentDiscount {
    Percent(Decimal),
    AmountOff(Money),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineToCredit {
    /// From 1.
    pub line: u32,
    pub quantity: Option<Decimal>,
    /// In the terms of the invoice's prices: with tax if they include it.
    pub amount: Option<Decimal>,
}

/// A line of a final invoice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceLine {
    /// From 1.
    pub number: u32,
    pub item: String,
    pub description: String,
    pub quantity: Decimal,
    pub unit_price: Decimal,
    /// Its share of the document's discount: whole units of the currency, except where the lines cannot bear those.
    pub discount: ExactMoney,
    /// Quantity times unit price less discount, exact.
    pub amount: Decimal,
    pub tax_rate: Decimal,
}

/// The document as it was issued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    pub number: String,
    pub account: AccountId,
    pub customer: CustomerId,
    /// As the payer was on that day.
    pub payer: PayerSnapshot,
    pub issued_on: NaiveDate,
    pub due_on: NaiveDate,
    pub currency: Currency,
    pub policy: RoundingPolicy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discount: Option<DocumentDiscount>,
    pub lines: Vec<InvoiceLine>,
    pub totals: Totals,
    pub entry: Entry,
}

/// What a credit note takes from one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CreditedLine {
    pub line: u32,
    pub quantity: Decimal,
    pub amount: Decimal,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceEvent {
    Finalised(Box<Document>),
    LinesCredited {
        credit_note: CreditNoteId,
        lines: Vec<CreditedLine>,
        totals: Totals,
    },
    PartPaid {
        due: Money,
    },
    Paid {},
    /// Something that covered it was taken back.
    DueAgain {
        due: Money,
    },
}

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum InvoiceRejection {
        #[error("the invoice is final; what is wrong with it is corrected by a credit note")]
        Final = conflict("invoice-final", "An invoice is final; what is wrong with it is corrected by a credit note"),
        #[error("there is no such invoice")]
        NotFinalised = absent("invoice-not-found", "There is no such invoice"),
        #[error("an invoice needs a number")]
        NumberMissing at "/numbering" = NUMBER_MISSING,
        #[error("an invoice needs at least one line")]
        NoLines at "/lines" = NO_LINES,
        #[error("line {line} would be negative: what is owed to the customer goes on a credit note")]
        LineNegative { line: u32 } at "/lines"[line] =
            invalid("line-negative", "A line of an invoice cannot be negative"),
        #[error(
            "a quantity has at most 6 decimals, a price at most 8, a tax rate at most 4 and lies between 0 and 1000, and the amount of line {line} stays below 10^15 (below 10^13 where it has more than 12 decimals)"
        )]
        LineOutOfRange { line: u32 } at "/lines"[line] = LINE_OUT_OF_RANGE,
        #[error(
            "a discount lies between 0 and 100 per cent with at most 4 decimals, or is an amount of {currency} that is not negative"
        )]
        DiscountOutOfRange { currency: Currency } at "/discount" = invalid(
            "discount-out-of-range",
            "A discount lies between 0 and 100 per cent, or is an amount of that currency",
        ),
        #[error("the invoice has no line {line}")]
        UnknownLine { line: u32 } = absent("invoice-line-not-found", "The invoice has no such line"),
        #[error("a credit needs at least one line")]
        NothingToCredit at "/lines" = invalid("nothing-to-credit", "A credit needs at least one line"),
        #[error("only {quantity_left} pieces and an amount of {amount_left} are left of line {line}")]
        OverCredit { line: u32, quantity_left: Decimal, amount_left: Decimal }
            at "/lines" with { line, quantity_left, amount_left } =
            invalid("over-credit", "More would be credited than is left of the line"),
    }
}

/// What is left of a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineLeft {
    pub quantity: Decimal,
    pub amount: Decimal,
    /// Quantity before any credit.
    pub of_quantity: Decimal,
    /// Amount before any credit.
    pub of_amount: Decimal,
    pub unit_price: Decimal,
    pub tax_rate: Decimal,
}

/// How an invoice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Status {
    Issued,
    PartPaid,
    Paid,
}

impl Status {
    /// How an invoice over this total stands after an event.
    pub fn after(self, event: &InvoiceEvent, total: Decimal) -> Self {
        match event {
            InvoiceEvent::Finalised(_) | InvoiceEvent::LinesCredited { .. } => self,
            InvoiceEvent::PartPaid { due } | InvoiceEvent::DueAgain { due } if due.amount() < total => Self::PartPaid,
            InvoiceEvent::PartPaid { .. } | InvoiceEvent::DueAgain { .. } => Self::Issued,
            InvoiceEvent::Paid {} => Self::Paid,
        }
    }
}

/// What a final invoice knows of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    pub account: AccountId,
    pub customer: CustomerId,
    pub payer: PayerSnapshot,
    pub number: String,
    pub policy: RoundingPolicy,
    pub entry: Entry,
    pub totals: Totals,
    pub lines: Vec<LineLeft>,
    /// What has been credited so far, per rate as the invoice's own totals.
    pub credited: Totals,
    pub due: Money,
    pub status: Status,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invoice {
    #[default]
    Unknown,
    Final(Box<Standing>),
}

impl Noun for Invoice {
    const PREFIX: &'static str = "inv";
}

impl LedgerAggregate for Invoice {
    const FOLD_VERSION: i32 = 2;
    const READ_BY: Function = Function::InvoicesRead;

    fn owner(&self) -> Owner<'_> {
        match self {
            Self::Unknown => Owner::Everybody,
            Self::Final(standing) => Owner::Customer(&standing.customer),
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Unknown => 1,
            Self::Final(standing) => 8 + standing.lines.len(),
        }
    }
}

impl Invoice {
    /// The invoice, if it has been issued.
    pub fn standing(&self) -> Result<&Standing, InvoiceRejection> {
        match self {
            Self::Unknown => Err(InvoiceRejection::NotFinalised),
            Self::Final(standing) => Ok(standing),
        }
    }
}

/// Quantity times unit price, exact: at most 6 and 8 decimals. The product of two decimals is rounded silently where it
/// has more than 28 digits, so that the digits are multiplied as integers.
pub fn exact_amount(quantity: Decimal, unit_price: Decimal) -> Option<Decimal> {
    let (quantity, unit_price) = (quantity.normalize(), unit_price.normalize());
    if quantity.scale() > 6 || unit_price.scale() > 8 {
        return None;
    }
    let digits = quantity.mantissa().checked_mul(unit_price.mantissa())?;
    let amount = Decimal::try_from_i128_with_scale(digits, quantity.scale() + unit_price.scale()).ok()?.normalize();
    sums_exactly([amount]).then_some(amount)
}

/// Whether these amounts and their sum stay within the 28 digits of a decimal: below 10^15, and below 10^13 where one of
/// them has more than 12 decimals.
pub fn sums_exactly(amounts: impl IntoIterator<Item = Decimal> + Clone) -> bool {
    let is_fine = amounts.clone().into_iter().any(|amount| amount.normalize().scale() > 12);
    let limit = Decimal::from(if is_fine { 10_000_000_000_000_u64 } else { 1_000_000_000_000_000 });
    let mut sum = Decimal::ZERO;
    amounts.into_iter().all(|amount| {
        sum += amount.abs();
        sum < limit
    })
}

pub fn is_tax_rate(rate: Decimal) -> bool {
    rate >= Decimal::ZERO && rate < Decimal::ONE_THOUSAND && rate.normalize().scale() <= 4
}

impl Draft {
    fn finalised(self) -> Result<Document, InvoiceRejection> {
        if self.number.trim().is_empty() {
            return Err(InvoiceRejection::NumberMissing);
        }
        if self.lines.is_empty() {
            return Err(InvoiceRejection::NoLines);
        }
        let mut lines = Vec::with_capacity(self.lines.len());
        for (line, number) in self.lines.into_iter().zip(1..) {
            lines.push(line.numbered(number, self.currency)?);
        }
        if !sums_exactly(lines.iter().map(|line| line.amount)) {
            return Err(InvoiceRejection::LineOutOfRange { line: 1 });
        }
        if let Some(discount) = self.discount {
            spread(discount, &mut lines, self.currency, self.policy.rounding)?;
        }
        let taxed: Vec<TaxedLine> =
            lines.iter().map(|line| TaxedLine { amount: line.amount, rate: line.tax_rate }).collect();
        let totals = self.policy.totals(&taxed, self.currency);
        if Money::new(totals.total.amount(), self.currency).is_err() {
            return Err(InvoiceRejection::LineOutOfRange { line: 1 });
        }
        Ok(Document {
            number: self.number,
            account: self.account,
            customer: self.customer,
            payer: self.payer,
            issued_on: self.issued_on,
            due_on: self.due_on,
            currency: self.currency,
            policy: self.policy,
            discount: self.discount,
            lines,
            totals,
            entry: self.entry,
        })
    }
}

impl DraftLine {
    fn numbered(self, number: u32, currency: Currency) -> Result<InvoiceLine, InvoiceRejection> {
        let out_of_range = InvoiceRejection::LineOutOfRange { line: number };
        if !is_tax_rate(self.tax_rate) {
            return Err(out_of_range);
        }
        let amount = exact_amount(self.quantity, self.unit_price).ok_or(out_of_range)?;
        if amount < Decimal::ZERO || self.unit_price < Decimal::ZERO {
            return Err(InvoiceRejection::LineNegative { line: number });
        }
        Ok(InvoiceLine {
            number,
            item: self.item,
            description: self.description,
            quantity: self.quantity,
            unit_price: self.unit_price,
            discount: Money::zero(currency).into(),
            amount,
            tax_rate: self.tax_rate,
        })
    }
}

/// A discount is rounded once and split over the lines in proportion to their amounts. One that reaches the sum of the
/// lines takes exactly that sum, so that no fraction of the smallest unit stays behind and becomes a unit.
fn spread(
    discount: DocumentDiscount,
    lines: &mut [InvoiceLine],
    currency: Currency,
    rounding: Rounding,
) -> Result<(), InvoiceRejection> {
    let out_of_range = InvoiceRejection::DiscountOutOfRange { currency };
    let sum: Decimal = lines.iter().map(|line| line.amount).sum();
    let saving = match discount {
        DocumentDiscount::Percent(percent)
            if percent < Decimal::ZERO || percent > Decimal::ONE_HUNDRED || percent.normalize().scale() > 4 =>
        {
            return Err(out_of_range);
        }
        DocumentDiscount::Percent(percent) if percent == Decimal::ONE_HUNDRED => sum,
        DocumentDiscount::Percent(percent) => {
            Money::round(sum * percent / Decimal::ONE_HUNDRED, currency, rounding).amount().min(sum)
        }
        DocumentDiscount::AmountOff(off) if off.is_negative() || off.currency() != currency => {
            return Err(out_of_range);
        }
        DocumentDiscount::AmountOff(off) => off.amount().min(sum),
    };
    let amounts: Vec<Decimal> = lines.iter().map(|line| line.amount).collect();
    for (line, share) in lines.iter_mut().zip(shares(saving, &amounts, currency)) {
        line.discount = ExactMoney { amount: share, currency };
        line.amount = (line.amount - share).normalize();
    }
    Ok(())
}

/// The decimals of a share that is finer than its currency.
const FINEST: u32 = 12;

/// What each line bears of a saving that is not more than their sum. The shares are whole units of the currency as far
/// as the lines can bear these; what is left, less than a unit of each line, is shared in proportion to what these have.
fn shares(saving: Decimal, lines: &[Decimal], currency: Currency) -> Vec<Decimal> {
    let whole = |exact: Decimal| Money::round(exact, currency, Rounding::TowardsZero).amount();
    let mut shares: Vec<Decimal> =
        Money::round(saving, currency, Rounding::TowardsZero).split(lines).into_iter().map(Money::amount).collect();
    for (share, line) in shares.iter_mut().zip(lines) {
        *share = (*share).min(whole(*line));
    }
    let mut left = saving - shares.iter().sum::<Decimal>();
    for (share, line) in shares.iter_mut().zip(lines) {
        let more = whole(line - *share).min(whole(left));
        *share += more;
        left -= more;
    }
    // In proportion, cut off where a decimal ends; what that leaves is taken from the first lines that have it.
    let (wanted, rooms) = (left, lines.iter().zip(&shares).map(|(line, share)| line - share).collect::<Vec<_>>());
    let room: Decimal = rooms.iter().sum();
    for ((share, line_room), line) in shares.iter_mut().zip(rooms).zip(lines) {
        if wanted.is_zero() || room.is_zero() {
            break;
        }
        let part = proportion(wanted, line_room, room).round_dp_with_strategy(FINEST, RoundingStrategy::ToZero);
        let more = part.min(line - *share).min(left);
        *share += more;
        left -= more;
    }
    for (share, line) in shares.iter_mut().zip(lines) {
        let more = (line - *share).min(left);
        *share += more;
        left -= more;
    }
    shares
}

impl Standing {
    fn record(&mut self, event: InvoiceEvent) {
        self.status = self.status.after(&event, self.totals.total.amount());
        match event {
            InvoiceEvent::Finalised(_) => {}
            InvoiceEvent::LinesCredited { lines, totals, .. } => {
                for line in lines {
                    if let Some(left) = self.lines.get_mut((line.line as usize).wrapping_sub(1)) {
                        left.quantity -= line.quantity;
                        left.amount -= line.amount;
                    }
                }
                self.credited.add(&totals);
            }
            InvoiceEvent::PartPaid { due } | InvoiceEvent::DueAgain { due } => self.due = due,
            InvoiceEvent::Paid {} => self.due = Money::zero(self.due.currency()),
        }
    }

    /// What is taken from the lines, and the totals of the credit.
    ///
    /// Tax is cumulative: after each credit the tax credited so far is the invoice's own tax in proportion, cut
    /// towards zero, so that the last credit takes exactly what is left, in whatever portions it came.
    fn credit(&self, wanted: &[LineToCredit]) -> Result<(Vec<CreditedLine>, Totals), InvoiceRejection> {
        if wanted.is_empty() {
            return Err(InvoiceRejection::NothingToCredit);
        }
        let currency = self.due.currency();
        let mut left = self.lines.clone();
        let mut credited = Vec::with_capacity(wanted.len());
        for line in wanted {
            let slot = (line.line as usize).checked_sub(1).and_then(|at| left.get_mut(at));
            let slot = slot.ok_or(InvoiceRejection::UnknownLine { line: line.line })?;
            credited.push(slot.take(line)?);
        }

        let mut rates = Vec::new();
        for of_rate in &self.totals.rates {
            let on_rate = |line: &&LineLeft| line.tax_rate.normalize() == of_rate.rate;
            let whole: Decimal = self.lines.iter().filter(on_rate).map(|line| line.of_amount).sum();
            let gone_before: Decimal = self.lines.iter().filter(on_rate).map(|line| line.of_amount - line.amount).sum();
            let gone: Decimal = left.iter().filter(on_rate).map(|line| line.of_amount - line.amount).sum();
            if gone == gone_before {
                continue;
            }
            let tax_so_far = match gone == whole {
                true => of_rate.tax,
                false => Money::round(proportion(of_rate.tax.amount(), gone, whole), currency, Rounding::TowardsZero),
            };
            let tax_before = self
                .credited
                .rates
                .iter()
                .find(|rate| rate.rate == of_rate.rate)
                .map_or(Decimal::ZERO, |rate| rate.tax.amount());
            let tax = Money::round(tax_so_far.amount() - tax_before, currency, self.policy.rounding);
            let amount = gone - gone_before;
            let net = if self.policy.prices_include_tax { amount - tax.amount() } else { amount };
            rates.push(TaxedAmount { rate: of_rate.rate, net: net.normalize(), tax });
        }
        Ok((credited, self.totals_of(rates, currency)))
    }

    fn totals_of(&self, rates: Vec<TaxedAmount>, currency: Currency) -> Totals {
        let net: Decimal = rates.iter().map(|rate| rate.net).sum();
        let tax: Decimal = rates.iter().map(|rate| rate.tax.amount()).sum();
        let so_far = self.credited.net + self.credited.tax.amount() + net + tax;
        let total_so_far = Money::round(so_far, currency, self.policy.rounding);
        let total = Money::round(total_so_far.amount() - self.credited.total.amount(), currency, self.policy.rounding);
        Totals {
            net: net.normalize(),
            tax: Money::round(tax, currency, self.policy.rounding),
            total,
            residue: (net + tax - total.amount()).normalize(),
            rates,
        }
    }
}

impl LineLeft {
    fn take(&mut self, wanted: &LineToCredit) -> Result<CreditedLine, InvoiceRejection> {
        let over =
            InvoiceRejection::OverCredit { line: wanted.line, quantity_left: self.quantity, amount_left: self.amount };
        let (quantity, amount) = match (wanted.quantity, wanted.amount) {
            (None, None) => (self.quantity, self.amount),
            (None, Some(amount)) => (Decimal::ZERO, amount),
            (Some(quantity), Some(amount)) => (quantity, amount),
            // The last pieces take what is left, so that no fraction stays behind.
            (Some(quantity), None) if quantity == self.quantity => (quantity, self.amount),
            (Some(quantity), None) if quantity > self.quantity || self.of_quantity.is_zero() => return Err(over),
            (Some(quantity), None) => {
                let decimals = self.of_amount.normalize().scale().max(6);
                let share = proportion(self.of_amount, quantity, self.of_quantity).round_dp(decimals);
                (quantity, share.min(self.amount))
            }
        };
        let nothing = quantity.is_zero() && amount.is_zero();
        let too_fine = amount.normalize().scale() > 14 || quantity.normalize().scale() > 6;
        if nothing || too_fine || quantity < Decimal::ZERO || amount < Decimal::ZERO {
            return Err(over);
        }
        if quantity > self.quantity.max(Decimal::ZERO) || amount > self.amount {
            return Err(over);
        }
        self.quantity -= quantity;
        self.amount -= amount;
        Ok(CreditedLine { line: wanted.line, quantity, amount: amount.normalize() })
    }
}

impl Aggregate for Invoice {
    const TYPE: &'static str = "invoice";
    type Command = InvoiceCommand;
    type Event = InvoiceEvent;
    type Error = InvoiceRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: InvoiceCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), InvoiceRejection> {
        let event = match (&*self, command) {
            (Self::Unknown, InvoiceCommand::Finalise(draft)) => InvoiceEvent::Finalised(Box::new(draft.finalised()?)),
            (Self::Unknown, _) => return Err(InvoiceRejection::NotFinalised),
            (Self::Final(_), InvoiceCommand::Finalise(_)) => return Err(InvoiceRejection::Final),
            (Self::Final(standing), InvoiceCommand::Credit { credit_note, lines }) => {
                let (lines, totals) = standing.credit(&lines)?;
                InvoiceEvent::LinesCredited { credit_note, lines, totals }
            }
            (Self::Final(standing), InvoiceCommand::Settle { due }) => {
                if due.is_zero() && standing.status == Status::Paid || !due.is_zero() && due == standing.due {
                    return Ok(());
                }
                if due.is_zero() {
                    InvoiceEvent::Paid {}
                } else if due.amount() < standing.due.amount() {
                    InvoiceEvent::PartPaid { due }
                } else {
                    InvoiceEvent::DueAgain { due }
                }
            }
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: InvoiceEvent) {
        match (&mut *self, event) {
            (Self::Unknown, InvoiceEvent::Finalised(document)) => {
                let zero = Money::zero(document.currency);
                let lines = document.lines.iter().map(|line| LineLeft {
                    quantity: line.quantity,
                    amount: line.amount,
                    of_quantity: line.quantity,
                    of_amount: line.amount,
                    unit_price: line.unit_price,
                    tax_rate: line.tax_rate,
                });
                *self = Self::Final(Box::new(Standing {
                    account: document.account,
                    customer: document.customer,
                    payer: document.payer,
                    number: document.number,
                    policy: document.policy,
                    entry: document.entry,
                    lines: lines.collect(),
                    due: document.totals.total,
                    status: Status::Issued,
                    totals: document.totals,
                    credited: Totals {
                        net: Decimal::ZERO,
                        tax: zero,
                        total: zero,
                        residue: Decimal::ZERO,
                        rates: Vec::new(),
                    },
                }));
            }
            // Nothing can happen to an invoice before it is final.
            (Self::Unknown, _) => {}
            (Self::Final(standing), event) => standing.record(event),
        }
    }
}

impl DomainEvent for InvoiceEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Finalised(_) => "invoice.finalised",
            Self::LinesCredited { .. } => "invoice.lines_credited",
            Self::PartPaid { .. } => "invoice.part_paid",
            Self::Paid {} => "invoice.paid",
            Self::DueAgain { .. } => "invoice.due_again",
        }
        .into()
    }

    fn event_version(&self) -> String {
        written_version(self)
    }
}

impl LedgerEvent for InvoiceEvent {
    type Aggregate = Invoice;

    const VERSIONS: &'static [(&'static str, &'static str)] = &[
        ("invoice.due_again", "1.0"),
        ("invoice.finalised", "1.1"),
        ("invoice.lines_credited", "1.0"),
        ("invoice.paid", "1.0"),
        ("invoice.part_paid", "1.0"),
    ];

    fn postings(&self) -> JournalEntry {
        // Its money moves through entries of the account.
        Vec::new()
    }

    fn rule(&self) -> Option<Rule> {
        Some(match self {
            Self::Finalised(_) => Rule::new("invoice-final", "The invoice is issued: its total is due."),
            Self::LinesCredited { .. } => Rule::new(
                "invoice-credited",
                "A credit note takes back lines of the invoice. What is due falls by what of the credit covers its charge.",
            ),
            Self::PartPaid { .. } => Rule::new("invoice-part-paid", "Money covers a further part of the charge."),
            Self::Paid {} => Rule::new("invoice-paid", "Money covers the whole of the charge."),
            Self::DueAgain { .. } => Rule::new("invoice-due-again", "Money that covered the charge was taken back."),
        })
    }

    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>) {
        match self {
            Self::Finalised(document) => {
                mentions.add(&document.account);
                mentions.add(&document.customer);
                mentions.add(&document.payer.payer);
            }
            Self::LinesCredited { credit_note, .. } => mentions.add(credit_note),
            Self::PartPaid { .. } | Self::Paid {} | Self::DueAgain { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
