//! An account: the money of one customer in one currency, its entries one after another, and which funds cover
//! which charges.
//!
//! Every credit is an entry of *funds* with a free part; every debit is a *charge* with an uncovered part. The
//! balance is always the sum of what is free minus the sum of what is uncovered.

mod event;

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use cqrs_es::{Aggregate, event_sink::EventSink};
use imbl::{OrdMap, OrdSet};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    CreditNoteId, Currency, CustomerId, ExpenseId, Id, InvoiceId, LedgerAggregate, Money, MoneyError, Noun, Owner,
    PaymentId, RefundId, function::Function,
};
use crate::terms::refusal::{
    AMOUNT_NOT_POSITIVE, CURRENCY_MISMATCH, UNKNOWN_TIME_ZONE, absent, conflict, invalid, refusals,
};

pub type AccountId = Id<Account>;

/// The number of an entry within its account: 1, 2, 3 … without gaps.
pub type Entry = u64;

/// Names a transfer between two accounts of a customer.
#[derive(Debug)]
pub enum Transfer {}

impl Noun for Transfer {
    const PREFIX: &'static str = "trf";
}

pub type TransferId = Id<Transfer>;

/// Names a hold: money set aside, not yet spent.
#[derive(Debug)]
pub enum Hold {}

impl Noun for Hold {
    const PREFIX: &'static str = "hld";
}

pub type HoldId = Id<Hold>;

/// One leg of a transfer; both legs carry the whole of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransferLeg {
    pub transfer: TransferId,
    /// The account at the other end.
    pub peer: AccountId,
    pub sent: Money,
    pub received: Money,
    /// Received units for one unit sent.
    pub rate: Decimal,
    pub rate_source: String,
}

/// Where funds came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FundsOrigin {
    Payment(PaymentId),
    CreditNote(CreditNoteId),
    /// An expense was lowered or reversed.
    Expense(ExpenseId),
    Transfer(Box<TransferLeg>),
    /// A refund did not go through; its money is back.
    Refund(RefundId),
    Adjustment,
}

/// What a charge is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChargeOrigin {
    Expense(ExpenseId),
    Invoice(InvoiceId),
    /// Money on its way back to the payer.
    Refund(RefundId),
    /// A payment that was credited and then withdrawn, such as after fraud.
    Payment(PaymentId),
    Transfer(Box<TransferLeg>),
    Adjustment,
}

/// How much of an entry is revenue, tax and rounding: `net + tax − residue` is the amount of the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevenueShare {
    /// Exact; may be finer than the currency.
    pub net: Decimal,
    pub tax: Decimal,
    /// What rounding the total took away from the exact sum; negative when it added.
    pub residue: Decimal,
}

/// Whether a charge may take the account below its floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdraft {
    /// The customer spends: what is available must suffice.
    Refused,
    /// The provider books what is owed anyway: an invoice, a chargeback, a correction.
    Permitted,
}

/// Whose account it is, and how it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AccountOpening {
    pub customer: CustomerId,
    pub currency: Currency,
    pub name: String,
    /// IANA name; the days and months of statements are those of this zone.
    pub time_zone: String,
}

#[derive(Clone, Copy, Debug)]
pub enum Terms {
    CreditLimit(Money),
    PostPaidAllowed,
    PostPaidRevoked,
    AutomaticAllocationOn,
    AutomaticAllocationOff,
}

#[derive(Clone, Debug)]
pub enum AccountCommand {
    Open(AccountOpening),
    ChangeTerms(Terms),
    Credit(Credit),
    Charge(Charge),
    /// Funds close a debt that no credit limit allows, oldest due first.
    CoverDebt {
        funds: Entry,
    },
    /// Funds serve one charge as far as both reach.
    CoverCharge {
        funds: Entry,
        charge: Entry,
    },
    /// Funds serve open charges, oldest due first.
    CoverOldest {
        funds: Entry,
    },
    /// Free funds, oldest first, serve one charge.
    ApplyCredit {
        charge: Entry,
    },
    /// Moves exactly this amount from funds to a charge.
    Allocate {
        funds: Entry,
        charge: Entry,
        amount: Money,
    },
    /// Takes exactly this amount back from a charge.
    Release {
        funds: Entry,
        charge: Entry,
        amount: Money,
    },
    /// Takes back what covers a charge, newest funds first, until this much of it is uncovered. Earlier corrections
    /// of the expense, and credit notes on the invoice, stay.
    Uncover {
        charge: Entry,
        until_uncovered: Money,
    },
    /// Takes back what these funds cover, what they covered last first, until this much of them is free. Money that has
    /// gone back to the payer or to the gateway stays gone.
    Free {
        funds: Entry,
        until_free: Money,
    },
    /// Takes back all that these funds cover, except money that has gone back to the payer or to the gateway.
    Withdraw {
        funds: Entry,
    },
    Hold {
        hold: HoldId,
        amount: Money,
    },
    ReleaseHold {
        hold: HoldId,
    },
    /// What these funds brought is not available before they take effect.
    SetAside {
        funds: Entry,
        amount: Money,
        until: DateTime<Utc>,
    },
    /// Funds that were set aside have taken effect, or are taken back.
    SetFree {
        funds: Entry,
    },
}

/// Money in.
#[derive(Clone, Debug)]
pub struct Credit {
    pub origin: FundsOrigin,
    pub amount: Money,
    pub description: String,
    pub revenue: Option<RevenueShare>,
    /// The entry that this one takes back.
    pub reverses: Option<Entry>,
}

/// Money out.
#[derive(Clone, Debug)]
pub struct Charge {
    pub origin: ChargeOrigin,
    pub amount: Money,
    pub description: String,
    pub revenue: Option<RevenueShare>,
    pub due_on: NaiveDate,
    pub reverses: Option<Entry>,
    pub overdraft: Overdraft,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountEvent {
    Opened(AccountOpening),
    CreditLimitSet {
        limit: Money,
    },
    PostPaidAllowed {},
    PostPaidRevoked {},
    AutomaticAllocationSwitchedOn {},
    AutomaticAllocationSwitchedOff {},
    Credited {
        entry: Entry,
        origin: FundsOrigin,
        amount: Money,
        /// After this entry.
        balance: Money,
        description: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revenue: Option<RevenueShare>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reverses: Option<Entry>,
    },
    Charged {
        entry: Entry,
        origin: ChargeOrigin,
        amount: Money,
        /// After this entry.
        balance: Money,
        description: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revenue: Option<RevenueShare>,
        due_on: NaiveDate,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reverses: Option<Entry>,
    },
    Allocated {
        funds: Entry,
        from: FundsOrigin,
        charge: Entry,
        to: ChargeOrigin,
        amount: Money,
    },
    Released {
        funds: Entry,
        from: FundsOrigin,
        charge: Entry,
        to: ChargeOrigin,
        amount: Money,
    },
    Held {
        hold: HoldId,
        amount: Money,
    },
    HoldReleased {
        hold: HoldId,
        amount: Money,
    },
    /// Funds are dated ahead: what they brought cannot be spent, nor covers anything by itself, until then.
    FundsSetAside {
        funds: Entry,
        amount: Money,
        until: DateTime<Utc>,
    },
    FundsSetFree {
        funds: Entry,
        amount: Money,
    },
}

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum AccountRejection {
        #[error("the account is already open")]
        AlreadyOpen = conflict("account-already-open", "The account is already open"),
        #[error("there is no such account")]
        NotOpen = absent("account-not-found", "There is no such account"),
        #[error("`{time_zone}` is not a time zone of the IANA database")]
        UnknownTimeZone { time_zone: String } at "/time_zone" = UNKNOWN_TIME_ZONE,
        #[error("the account is kept in {account}, not in {given}")]
        CurrencyMismatch { account: Currency, given: Currency } = CURRENCY_MISMATCH,
        #[error("the amount must be greater than zero")]
        AmountNotPositive at "/amount" = AMOUNT_NOT_POSITIVE,
        #[error("the amount or the balance would leave the range of amounts that can be kept")]
        BalanceOutOfRange =
            conflict("balance-out-of-range", "The balance would leave the range of amounts that can be kept"),
        #[error("a credit limit cannot be negative")]
        LimitNegative at "/limit" = invalid("limit-negative", "A credit limit cannot be negative"),
        #[error("a credit limit and post-paid services exclude each other")]
        LimitAndPostPaid = conflict("limit-and-post-paid", "A credit limit and post-paid services exclude each other"),
        #[error("post-paid services are already allowed")]
        AlreadyPostPaid = conflict("already-post-paid", "Post-paid services are already allowed"),
        #[error("post-paid services are not allowed")]
        NotPostPaid = conflict("not-post-paid", "Post-paid services are not allowed"),
        #[error("automatic allocation is already so")]
        AllocationUnchanged = conflict("allocation-unchanged", "Automatic allocation is already so"),
        #[error("{missing} is missing on the account")]
        InsufficientFunds { missing: Money } with { missing } =
            conflict("insufficient-funds", "The account does not have enough"),
        #[error("the charge exceeds the credit limit by {missing}")]
        CreditLimitExceeded { missing: Money } with { missing } =
            conflict("credit-limit-exceeded", "The charge exceeds the credit limit"),
        #[error("entry {entry} is not money that came in")]
        UnknownFunds { entry: Entry } = invalid("unknown-funds", "The entry is not money that came in"),
        #[error("entry {entry} is not a charge")]
        UnknownCharge { entry: Entry } = invalid("unknown-charge", "The entry is not a charge"),
        #[error("only {available} can be allocated")]
        OverAllocation { available: Money } at "/amount" with { available } =
            invalid("over-allocation", "More would be allocated than is free or open"),
        #[error("only {allocated} is allocated there")]
        OverRelease { allocated: Money } at "/amount" with { allocated } =
            invalid("over-release", "More would be released than is allocated there"),
        #[error("the hold already exists")]
        HoldExists = conflict("hold-exists", "The hold already exists"),
        #[error("there is no such hold")]
        UnknownHold = absent("hold-not-found", "There is no such hold"),
    }
}

/// Money that came in, and what it covers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Funds {
    pub origin: FundsOrigin,
    pub free: Money,
    /// What each charge has of it.
    pub covers: Vec<(Entry, Money)>,
}

/// What funds brought that do not count yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FundsAhead {
    pub amount: Money,
    pub until: DateTime<Utc>,
}

/// Money that went out, and what covers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenCharge {
    pub origin: ChargeOrigin,
    pub uncovered: Money,
    pub due_on: NaiveDate,
    /// What it has of each of the funds, in the order of allocation.
    pub covered_by: Vec<(Entry, Money)>,
}

/// What an open account knows of itself.
///
/// The maps share their nodes between copies: a command that is refused costs no copy of a long history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    pub customer: CustomerId,
    pub time_zone: String,
    pub balance: Money,
    pub credit_limit: Money,
    pub post_paid: bool,
    pub automatic_allocation: bool,
    pub holds: OrdMap<String, Money>,
    /// Funds that are dated ahead.
    pub ahead: OrdMap<Entry, FundsAhead>,
    pub last_entry: Entry,
    pub funds: OrdMap<Entry, Funds>,
    pub charges: OrdMap<Entry, OpenCharge>,
    /// Funds with a part that can cover charges, oldest first.
    free_funds: OrdSet<Entry>,
    /// Charges with an uncovered part, oldest due first.
    due: OrdSet<(NaiveDate, Entry)>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    #[default]
    Unknown,
    Open(Box<Ledger>),
}

impl Noun for Account {
    const PREFIX: &'static str = "acc";
}

impl LedgerAggregate for Account {
    const FOLD_VERSION: i32 = 2;
    const READ_BY: Function = Function::AccountsRead;

    fn owner(&self) -> Owner<'_> {
        match self {
            Self::Unknown => Owner::Everybody,
            Self::Open(ledger) => Owner::Customer(&ledger.customer),
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Unknown => 1,
            Self::Open(ledger) => 4 + 2 * (ledger.funds.len() + ledger.charges.len()),
        }
    }
}

impl OpenCharge {
    /// The whole charge, covered or not.
    pub fn amount(&self) -> Money {
        let covered: Decimal = self.covered_by.iter().map(|(_, part)| part.amount()).sum();
        Money::round(self.uncovered.amount() + covered, self.uncovered.currency(), super::Rounding::default())
    }

    /// Whether these funds are a correction of what this charge is for: of the expense, or a credit note.
    fn is_corrected_by(&self, funds: &Funds) -> bool {
        match (&self.origin, &funds.origin) {
            (ChargeOrigin::Expense(charged), FundsOrigin::Expense(corrected)) => charged == corrected,
            (ChargeOrigin::Invoice(_), FundsOrigin::CreditNote(_)) => true,
            _ => false,
        }
    }
}

impl Funds {
    /// Whether money that covers this charge is no longer ours: it went back to the payer, or the gateway took it.
    fn has_left_by(&self, charge: &OpenCharge) -> bool {
        match (&charge.origin, &self.origin) {
            (ChargeOrigin::Refund(_), _) => true,
            (ChargeOrigin::Payment(taken_back), FundsOrigin::Payment(payment)) => taken_back == payment,
            _ => false,
        }
    }
}

impl Account {
    /// The account, if it is open.
    pub fn ledger(&self) -> Result<&Ledger, AccountRejection> {
        match self {
            Self::Unknown => Err(AccountRejection::NotOpen),
            Self::Open(ledger) => Ok(ledger),
        }
    }
}

impl Ledger {
    pub fn currency(&self) -> Currency {
        self.balance.currency()
    }

    pub fn next_entry(&self) -> Entry {
        self.last_entry + 1
    }

    /// The local day of the account at a moment: the day that its documents bear.
    pub fn day_of(&self, at: DateTime<Utc>) -> NaiveDate {
        // The zone was known when the account was opened. A release of the database that drops a name keeps an alias.
        let zone = Tz::from_str(&self.time_zone).unwrap_or(Tz::UTC);
        at.with_timezone(&zone).date_naive()
    }

    /// What of the balance cannot be spent: holds, and what is dated ahead.
    pub fn held(&self) -> Decimal {
        let held: Decimal = self.holds.values().map(|amount| amount.amount()).sum();
        held + self.ahead.values().map(|ahead| ahead.amount.amount()).sum::<Decimal>()
    }

    /// Funds that have taken effect by a moment and are still set aside, oldest first.
    pub fn in_effect_by(&self, moment: DateTime<Utc>) -> Vec<Entry> {
        self.ahead.iter().filter(|(_, ahead)| ahead.until <= moment).map(|(&funds, _)| funds).collect()
    }

    /// What can be spent: balance plus credit limit minus what is held. Nothing limits a post-paid account.
    pub fn available(&self) -> Option<Decimal> {
        (!self.post_paid).then(|| self.balance.amount() + self.credit_limit.amount() - self.held())
    }

    /// What is missing before this much can be spent.
    pub fn missing(&self, total: Money) -> Money {
        let missing = self.available().map_or(Decimal::ZERO, |available| total.amount() - available);
        Money::round(missing.max(Decimal::ZERO), self.currency(), super::Rounding::default())
    }

    pub fn free(&self, funds: Entry) -> Money {
        self.funds.get(&funds).map_or(Money::zero(self.currency()), |funds| funds.free)
    }

    /// What of these funds can cover a charge now: nothing while they are dated ahead.
    pub fn usable(&self, funds: Entry) -> Money {
        if self.ahead.contains_key(&funds) { Money::zero(self.currency()) } else { self.free(funds) }
    }

    /// What of these funds can go back to the payer: nothing was bought with it, and no hold or debt needs it.
    pub fn refundable(&self, funds: Entry) -> Money {
        let spare = (self.balance.amount() - self.held()).max(Decimal::ZERO);
        self.money(self.usable(funds).amount().min(spare))
    }

    pub fn uncovered(&self, charge: Entry) -> Money {
        self.charges.get(&charge).map_or(Money::zero(self.currency()), |charge| charge.uncovered)
    }

    /// What a charge has of these funds.
    pub fn covered_by(&self, charge: Entry, funds: Entry) -> Money {
        self.money(self.funds.get(&funds).map_or(Decimal::ZERO, |funds| share(&funds.covers, charge)))
    }

    /// Funds with a free part, oldest first.
    pub fn free_funds(&self) -> impl Iterator<Item = Entry> + '_ {
        self.free_funds.iter().copied()
    }

    /// The account is kept in the currency of the amount.
    pub fn same_currency(&self, amount: Money) -> Result<(), AccountRejection> {
        if amount.currency() == self.currency() {
            Ok(())
        } else {
            Err(AccountRejection::CurrencyMismatch { account: self.currency(), given: amount.currency() })
        }
    }

    /// An amount greater than zero in the currency of the account.
    pub fn spendable(&self, amount: Money) -> Result<(), AccountRejection> {
        self.same_currency(amount)?;
        if amount.is_positive() { Ok(()) } else { Err(AccountRejection::AmountNotPositive) }
    }

    fn funds_entry(&self, entry: Entry) -> Result<&Funds, AccountRejection> {
        self.funds.get(&entry).ok_or(AccountRejection::UnknownFunds { entry })
    }

    fn charge_entry(&self, entry: Entry) -> Result<&OpenCharge, AccountRejection> {
        self.charges.get(&entry).ok_or(AccountRejection::UnknownCharge { entry })
    }

    /// What is available suffices for this amount.
    pub fn within_floor(&self, amount: Money) -> Result<(), AccountRejection> {
        let missing = self.missing(amount);
        match (missing.is_positive(), self.credit_limit.is_positive()) {
            (false, _) => Ok(()),
            (true, false) => Err(AccountRejection::InsufficientFunds { missing }),
            (true, true) => Err(AccountRejection::CreditLimitExceeded { missing }),
        }
    }

    fn allocated(&self, funds: Entry, charge: Entry, amount: Money) -> Result<AccountEvent, AccountRejection> {
        let from = self.funds_entry(funds)?.origin.clone();
        let to = self.charge_entry(charge)?.origin.clone();
        Ok(AccountEvent::Allocated { funds, from, charge, to, amount })
    }

    fn released(&self, funds: Entry, charge: Entry, amount: Money) -> Result<AccountEvent, AccountRejection> {
        let from = self.funds_entry(funds)?.origin.clone();
        let to = self.charge_entry(charge)?.origin.clone();
        Ok(AccountEvent::Released { funds, from, charge, to, amount })
    }

    /// Funds to the open charges, oldest due first, up to a limit.
    fn cover_oldest(&self, funds: Entry, limit: Decimal) -> Result<Vec<AccountEvent>, AccountRejection> {
        self.funds_entry(funds)?;
        let mut left = self.usable(funds).amount().min(limit);
        let mut events = Vec::new();
        for &(_, charge) in &self.due {
            if left <= Decimal::ZERO {
                break;
            }
            let part = self.uncovered(charge).amount().min(left);
            left -= part;
            events.push(self.allocated(funds, charge, self.money(part))?);
        }
        Ok(events)
    }

    /// An amount made of amounts of this account, which are exact already.
    fn money(&self, amount: Decimal) -> Money {
        Money::round(amount, self.currency(), super::Rounding::default())
    }

    fn credited(&self, credit: Credit) -> Result<AccountEvent, AccountRejection> {
        self.spendable(credit.amount)?;
        let Credit { origin, amount, description, revenue, reverses } = credit;
        let amount = in_range(Ok(amount))?;
        let balance = in_range(self.balance.checked_add(amount))?;
        Ok(AccountEvent::Credited { entry: self.next_entry(), origin, amount, balance, description, revenue, reverses })
    }

    fn charged(&self, charge: Charge) -> Result<AccountEvent, AccountRejection> {
        self.same_currency(charge.amount)?;
        // An invoice over nothing is a document all the same.
        if charge.amount.is_negative() {
            return Err(AccountRejection::AmountNotPositive);
        }
        if charge.overdraft == Overdraft::Refused {
            self.within_floor(charge.amount)?;
        }
        let Charge { origin, amount, description, revenue, due_on, reverses, overdraft: _ } = charge;
        let amount = in_range(Ok(amount))?;
        let balance = in_range(self.balance.checked_sub(amount))?;
        let entry = self.next_entry();
        Ok(AccountEvent::Charged { entry, origin, amount, balance, description, revenue, due_on, reverses })
    }

    fn changed(&self, terms: Terms) -> Result<AccountEvent, AccountRejection> {
        use AccountEvent as E;
        use AccountRejection as R;

        match terms {
            Terms::CreditLimit(limit) => {
                self.same_currency(limit)?;
                if limit.is_negative() {
                    return Err(R::LimitNegative);
                }
                if self.post_paid && limit.is_positive() {
                    return Err(R::LimitAndPostPaid);
                }
                Ok(E::CreditLimitSet { limit })
            }
            Terms::PostPaidAllowed if self.post_paid => Err(R::AlreadyPostPaid),
            Terms::PostPaidAllowed if self.credit_limit.is_positive() => Err(R::LimitAndPostPaid),
            Terms::PostPaidAllowed => Ok(E::PostPaidAllowed {}),
            Terms::PostPaidRevoked if !self.post_paid => Err(R::NotPostPaid),
            Terms::PostPaidRevoked => Ok(E::PostPaidRevoked {}),
            Terms::AutomaticAllocationOn if self.automatic_allocation => Err(R::AllocationUnchanged),
            Terms::AutomaticAllocationOn => Ok(E::AutomaticAllocationSwitchedOn {}),
            Terms::AutomaticAllocationOff if !self.automatic_allocation => Err(R::AllocationUnchanged),
            Terms::AutomaticAllocationOff => Ok(E::AutomaticAllocationSwitchedOff {}),
        }
    }

    fn decide(&self, command: AccountCommand) -> Result<Vec<AccountEvent>, AccountRejection> {
        use AccountCommand as C;
        use AccountEvent as E;
        use AccountRejection as R;

        let events = match command {
            C::Open(_) => return Err(R::AlreadyOpen),
            C::ChangeTerms(terms) => vec![self.changed(terms)?],
            C::Credit(credit) => vec![self.credited(credit)?],
            C::Charge(charge) => vec![self.charged(charge)?],
            C::CoverDebt { funds } => {
                self.funds_entry(funds)?;
                // What is dated ahead closes no debt of today.
                let ahead: Decimal = self.ahead.values().map(|ahead| ahead.amount.amount()).sum();
                let before = self.balance.amount() - ahead - self.usable(funds).amount();
                let over_limit = !self.post_paid && before + self.credit_limit.amount() < Decimal::ZERO;
                if over_limit { self.cover_oldest(funds, -before)? } else { Vec::new() }
            }
            C::CoverCharge { funds, charge } => {
                let part = self.funds_entry(funds)?.free.amount().min(self.charge_entry(charge)?.uncovered.amount());
                let part = self.money(part);
                if part.is_zero() { Vec::new() } else { vec![self.allocated(funds, charge, part)?] }
            }
            C::CoverOldest { funds } => self.cover_oldest(funds, Decimal::MAX)?,
            C::ApplyCredit { charge } => {
                let mut left = self.charge_entry(charge)?.uncovered.amount();
                let mut events = Vec::new();
                for &funds in &self.free_funds {
                    if left.is_zero() {
                        break;
                    }
                    let part = self.free(funds).amount().min(left);
                    left -= part;
                    events.push(self.allocated(funds, charge, self.money(part))?);
                }
                events
            }
            C::Allocate { funds, charge, amount } => {
                self.spendable(amount)?;
                let free = self.funds_entry(funds)?.free.amount();
                let available = self.money(free.min(self.charge_entry(charge)?.uncovered.amount()));
                if amount.amount() > available.amount() {
                    return Err(R::OverAllocation { available });
                }
                vec![self.allocated(funds, charge, amount)?]
            }
            C::Release { funds, charge, amount } => {
                self.spendable(amount)?;
                let allocated = share(&self.funds_entry(funds)?.covers, self.charge_entry(charge).map(|_| charge)?);
                if amount.amount() > allocated {
                    return Err(R::OverRelease { allocated: self.money(allocated) });
                }
                vec![self.released(funds, charge, amount)?]
            }
            C::Uncover { charge, until_uncovered } => {
                let open = self.charge_entry(charge)?;
                let mut left = until_uncovered.amount() - open.uncovered.amount();
                let mut events = Vec::new();
                for &(funds, covered) in open.covered_by.iter().rev() {
                    if left <= Decimal::ZERO {
                        break;
                    }
                    if open.is_corrected_by(self.funds_entry(funds)?) {
                        continue;
                    }
                    let part = covered.amount().min(left);
                    left -= part;
                    events.push(self.released(funds, charge, self.money(part))?);
                }
                events
            }
            C::Free { funds, until_free } => {
                let freed = self.funds_entry(funds)?;
                let mut left = until_free.amount() - freed.free.amount();
                let mut events = Vec::new();
                for &(charge, covered) in freed.covers.iter().rev() {
                    if left <= Decimal::ZERO {
                        break;
                    }
                    if freed.has_left_by(self.charge_entry(charge)?) {
                        continue;
                    }
                    let part = covered.amount().min(left);
                    left -= part;
                    events.push(self.released(funds, charge, self.money(part))?);
                }
                events
            }
            C::Withdraw { funds } => {
                let mut events = Vec::new();
                let withdrawn = self.funds_entry(funds)?;
                for &(charge, amount) in &withdrawn.covers {
                    if !withdrawn.has_left_by(self.charge_entry(charge)?) {
                        events.push(self.released(funds, charge, amount)?);
                    }
                }
                events
            }
            C::Hold { hold, amount } => {
                self.spendable(amount)?;
                if self.holds.contains_key(hold.as_str()) {
                    return Err(R::HoldExists);
                }
                self.within_floor(amount)?;
                vec![E::Held { hold, amount }]
            }
            C::ReleaseHold { hold } => {
                let amount = *self.holds.get(hold.as_str()).ok_or(R::UnknownHold)?;
                vec![E::HoldReleased { hold, amount }]
            }
            C::SetAside { funds, amount, until } => {
                self.spendable(amount)?;
                self.funds_entry(funds)?;
                vec![E::FundsSetAside { funds, amount, until }]
            }
            C::SetFree { funds } => match self.ahead.get(&funds) {
                Some(&FundsAhead { amount, .. }) => vec![E::FundsSetFree { funds, amount }],
                None => Vec::new(),
            },
        };
        Ok(events)
    }

    fn record(&mut self, event: AccountEvent) {
        match event {
            AccountEvent::Opened(_) => {}
            AccountEvent::CreditLimitSet { limit } => self.credit_limit = limit,
            AccountEvent::PostPaidAllowed {} => self.post_paid = true,
            AccountEvent::PostPaidRevoked {} => self.post_paid = false,
            AccountEvent::AutomaticAllocationSwitchedOn {} => self.automatic_allocation = true,
            AccountEvent::AutomaticAllocationSwitchedOff {} => self.automatic_allocation = false,
            AccountEvent::Credited { entry, origin, amount, balance, .. } => {
                self.balance = balance;
                self.last_entry = entry;
                self.funds.insert(entry, Funds { origin, free: amount, covers: Vec::new() });
                self.free_funds.insert(entry);
            }
            AccountEvent::Charged { entry, origin, amount, balance, due_on, .. } => {
                self.balance = balance;
                self.last_entry = entry;
                self.charges.insert(entry, OpenCharge { origin, uncovered: amount, due_on, covered_by: Vec::new() });
                if !amount.is_zero() {
                    self.due.insert((due_on, entry));
                }
            }
            AccountEvent::Allocated { funds, charge, amount, .. } => self.shift(funds, charge, amount.amount()),
            AccountEvent::Released { funds, charge, amount, .. } => self.shift(funds, charge, -amount.amount()),
            AccountEvent::Held { hold, amount } => {
                self.holds.insert(hold.as_str().into(), amount);
            }
            AccountEvent::HoldReleased { hold, .. } => {
                self.holds.remove(hold.as_str());
            }
            AccountEvent::FundsSetAside { funds, amount, until } => {
                self.ahead.insert(funds, FundsAhead { amount, until });
                self.free_funds.remove(&funds);
            }
            AccountEvent::FundsSetFree { funds, .. } => {
                self.ahead.remove(&funds);
                if !self.free(funds).is_zero() {
                    self.free_funds.insert(funds);
                }
            }
        }
    }

    /// Moves an amount from funds to a charge, or back when it is negative.
    fn shift(&mut self, funds_entry: Entry, charge_entry: Entry, amount: Decimal) {
        let currency = self.currency();
        let moved = |from: Money, by: Decimal| Money::round(from.amount() + by, currency, super::Rounding::default());
        if let Some(funds) = self.funds.get_mut(&funds_entry) {
            funds.free = moved(funds.free, -amount);
            change_share(&mut funds.covers, charge_entry, amount, moved, currency);
            if funds.free.is_zero() || self.ahead.contains_key(&funds_entry) {
                self.free_funds.remove(&funds_entry);
            } else {
                self.free_funds.insert(funds_entry);
            }
        }
        if let Some(charge) = self.charges.get_mut(&charge_entry) {
            charge.uncovered = moved(charge.uncovered, -amount);
            change_share(&mut charge.covered_by, funds_entry, amount, moved, currency);
            if charge.uncovered.is_zero() {
                self.due.remove(&(charge.due_on, charge_entry));
            } else {
                self.due.insert((charge.due_on, charge_entry));
            }
        }
    }
}

/// What is recorded can be read back: an amount beyond the range of [`Money::new`] could not.
fn in_range(sum: Result<Money, MoneyError>) -> Result<Money, AccountRejection> {
    let sum = sum.map_err(|_| AccountRejection::BalanceOutOfRange)?;
    Money::new(sum.amount(), sum.currency()).map_err(|_| AccountRejection::BalanceOutOfRange)
}

fn share(shares: &[(Entry, Money)], with: Entry) -> Decimal {
    shares.iter().filter(|(entry, _)| *entry == with).map(|(_, amount)| amount.amount()).sum()
}

fn change_share(
    shares: &mut Vec<(Entry, Money)>,
    with: Entry,
    by: Decimal,
    moved: impl Fn(Money, Decimal) -> Money,
    currency: Currency,
) {
    match shares.iter().position(|(entry, _)| *entry == with) {
        Some(at) => shares[at].1 = moved(shares[at].1, by),
        None => shares.push((with, moved(Money::zero(currency), by))),
    }
    shares.retain(|(_, amount)| !amount.is_zero());
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = AccountRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: AccountCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), AccountRejection> {
        let events = match (&*self, command) {
            (Self::Unknown, AccountCommand::Open(opening)) => {
                if Tz::from_str(&opening.time_zone).is_err() {
                    return Err(AccountRejection::UnknownTimeZone { time_zone: opening.time_zone });
                }
                vec![AccountEvent::Opened(opening)]
            }
            (Self::Unknown, _) => return Err(AccountRejection::NotOpen),
            (Self::Open(ledger), command) => ledger.decide(command)?,
        };
        for event in events {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: AccountEvent) {
        match (&mut *self, event) {
            (Self::Open(ledger), event) => ledger.record(event),
            (Self::Unknown, AccountEvent::Opened(AccountOpening { customer, currency, name: _, time_zone })) => {
                *self = Self::Open(Box::new(Ledger {
                    customer,
                    time_zone,
                    balance: Money::zero(currency),
                    credit_limit: Money::zero(currency),
                    post_paid: false,
                    automatic_allocation: true,
                    holds: OrdMap::new(),
                    ahead: OrdMap::new(),
                    last_entry: 0,
                    funds: OrdMap::new(),
                    charges: OrdMap::new(),
                    free_funds: OrdSet::new(),
                    due: OrdSet::new(),
                }));
            }
            // Nothing can happen to an account before it is open.
            (Self::Unknown, _) => {}
        }
    }
}

#[cfg(test)]
mod tests;
