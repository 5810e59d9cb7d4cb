//! Postings: the double-entry journal that follows from the events, and the rule that every entry balances.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{Currency, Money, account::RevenueShare};

/// The chart of accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerAccount {
    /// What customers have with us (credit) or owe us (debit).
    CustomerWallets,
    /// Money that gateways and banks have taken for us.
    PaymentClearing,
    /// Money on its way back to payers.
    RefundClearing,
    Revenue,
    TaxPayable,
    /// What rounding document totals to the currency took away or added.
    Rounding,
    /// Corrections by staff.
    Adjustments,
    /// The other side of a transfer between currencies.
    CurrencyExchange,
}

impl LedgerAccount {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CustomerWallets => "customer_wallets",
            Self::PaymentClearing => "payment_clearing",
            Self::RefundClearing => "refund_clearing",
            Self::Revenue => "revenue",
            Self::TaxPayable => "tax_payable",
            Self::Rounding => "rounding",
            Self::Adjustments => "adjustments",
            Self::CurrencyExchange => "currency_exchange",
        }
    }
}

/// One leg of a journal entry. Debits are positive, credits negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    pub account: LedgerAccount,
    /// Revenue and rounding may be finer than the currency.
    pub amount: Decimal,
    pub currency: Currency,
}

/// The legs of one event.
pub type JournalEntry = Vec<Posting>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal entry is off by {by} {currency}")]
pub struct Unbalanced {
    pub by: Decimal,
    pub currency: Currency,
}

/// Debits and credits are equal in every currency.
pub fn balanced(entry: &[Posting]) -> Result<(), Unbalanced> {
    let mut sums: BTreeMap<&str, (Currency, Decimal)> = BTreeMap::new();
    for posting in entry {
        sums.entry(posting.currency.code()).or_insert((posting.currency, Decimal::ZERO)).1 += posting.amount;
    }
    match sums.into_values().find(|(_, sum)| !sum.is_zero()) {
        None => Ok(()),
        Some((currency, by)) => Err(Unbalanced { by, currency }),
    }
}

pub(super) fn between(debit: LedgerAccount, credit: LedgerAccount, amount: Money) -> JournalEntry {
    let currency = amount.currency();
    vec![
        Posting { account: debit, amount: amount.amount(), currency },
        Posting { account: credit, amount: -amount.amount(), currency },
    ]
}

/// The wallet against revenue, tax and rounding. A share that is absent or does not add up leaves the entry
/// unbalanced, and the writer refuses it.
pub(super) fn entry_with_revenue(amount: Money, share: Option<RevenueShare>, sign: Decimal) -> JournalEntry {
    let currency = amount.currency();
    let leg = |account, amount: Decimal| Posting { account, amount: sign * amount, currency };
    let mut entry = vec![leg(LedgerAccount::CustomerWallets, amount.amount())];
    if let Some(RevenueShare { net, tax, residue }) = share {
        entry.push(leg(LedgerAccount::Revenue, -net));
        entry.push(leg(LedgerAccount::TaxPayable, -tax));
        entry.push(leg(LedgerAccount::Rounding, residue));
    }
    entry.retain(|posting| !posting.amount.is_zero());
    entry
}

#[cfg(test)]
mod tests {
    use rust_decimal::dec;

    use super::*;
    use crate::domain::{
        Event, Id,
        account::{AccountEvent, ChargeOrigin, Entry},
    };

    fn charged(revenue: Option<RevenueShare>) -> Event {
        let usd = |amount: &str| Money::parse(amount, "USD").expect("dollars");
        Event::Account(AccountEvent::Charged {
            entry: 1 as Entry,
            origin: ChargeOrigin::Invoice(Id::named("1").expect("a name")),
            amount: usd("34.60"),
            balance: usd("-34.60"),
            description: "invoice".into(),
            revenue,
            due_on: chrono::NaiveDate::MIN,
            reverses: None,
        })
    }

    #[test]
    fn a_charge_is_revenue_tax_and_rounding() {
        let share = RevenueShare { net: dec!(30.091), tax: dec!(4.51), residue: dec!(0.001) };
        let entry = charged(Some(share)).postings();
        assert_eq!(balanced(&entry), Ok(()));
        let legs: Vec<_> = entry.iter().map(|leg| (leg.account.as_str(), leg.amount)).collect();
        assert_eq!(
            legs,
            [
                ("customer_wallets", dec!(34.60)),
                ("revenue", dec!(-30.091)),
                ("tax_payable", dec!(-4.51)),
                ("rounding", dec!(0.001))
            ]
        );
    }

    #[test]
    fn a_share_that_does_not_add_up_is_unbalanced() {
        let share = RevenueShare { net: dec!(30.09), tax: dec!(4.50), residue: dec!(0) };
        let unbalanced = balanced(&charged(Some(share)).postings()).expect_err("a penny is missing");
        assert_eq!(unbalanced.by, dec!(0.01));
    }

    #[test]
    fn a_charge_without_its_revenue_is_unbalanced() {
        assert!(balanced(&charged(None).postings()).is_err());
    }
}
