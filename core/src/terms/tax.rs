//! Tax and rounding of a document: its lines become amounts per tax rate and a total, by the policy recorded in it.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::money::{Currency, Money, Rounding};

/// Where tax is rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaxRounding {
    /// Once per tax rate of the document.
    #[default]
    PerRate,
    /// Once per line.
    PerLine,
}

/// How a document rounds: recorded in it, so that it can be computed again after the rule has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoundingPolicy {
    pub rounding: Rounding,
    pub tax: TaxRounding,
    /// Whether unit prices contain the tax.
    #[serde(default)]
    pub prices_include_tax: bool,
}

/// What tax computation needs of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaxedLine {
    /// Exact: quantity times unit price, less discount. Contains the tax if the policy says so.
    pub amount: Decimal,
    /// Per cent.
    pub rate: Decimal,
}

/// The amounts of a document at one tax rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaxedAmount {
    /// Per cent.
    pub rate: Decimal,
    /// May be finer than the currency.
    pub net: Decimal,
    pub tax: Money,
}

/// The sums of a document. `net + tax − residue = total`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    pub net: Decimal,
    pub tax: Money,
    pub total: Money,
    /// What rounding the total to the currency took away; negative when it added.
    pub residue: Decimal,
    /// Ascending by rate.
    pub rates: Vec<TaxedAmount>,
}

impl Totals {
    /// Adds the sums of another document in the same currency, rate by rate.
    pub fn add(&mut self, other: &Self) {
        let currency = self.total.currency();
        let sum =
            |left: Money, right: Money| Money::round(left.amount() + right.amount(), currency, Rounding::default());
        self.net += other.net;
        self.tax = sum(self.tax, other.tax);
        self.total = sum(self.total, other.total);
        self.residue += other.residue;
        for more in &other.rates {
            match self.rates.binary_search_by(|taxed| taxed.rate.cmp(&more.rate)) {
                Ok(at) => {
                    self.rates[at].net += more.net;
                    self.rates[at].tax = sum(self.rates[at].tax, more.tax);
                }
                Err(at) => self.rates.insert(at, more.clone()),
            }
        }
    }
}

impl RoundingPolicy {
    /// The sums of a document. The source of the rule: tax is rounded once per rate, half away from zero, unless the
    /// policy says otherwise; included tax is `amount × rate / (100 + rate)`; the total is rounded once.
    pub fn totals(&self, lines: &[TaxedLine], currency: Currency) -> Totals {
        let mut rates: BTreeMap<Decimal, (Decimal, Decimal)> = BTreeMap::new();
        for line in lines {
            let (amount, tax) = rates.entry(line.rate.normalize()).or_default();
            *amount += line.amount;
            if self.tax == TaxRounding::PerLine {
                *tax += self.tax_on(*line, currency).amount();
            }
        }
        let rates: Vec<TaxedAmount> = rates
            .into_iter()
            .map(|(rate, (amount, tax_of_lines))| {
                let tax = match self.tax {
                    TaxRounding::PerRate => self.tax_on(TaxedLine { amount, rate }, currency),
                    TaxRounding::PerLine => Money::round(tax_of_lines, currency, self.rounding),
                };
                let net = if self.prices_include_tax { amount - tax.amount() } else { amount };
                TaxedAmount { rate, net: net.normalize(), tax }
            })
            .collect();
        let net: Decimal = rates.iter().map(|taxed| taxed.net).sum();
        let tax = Money::round(rates.iter().map(|taxed| taxed.tax.amount()).sum(), currency, self.rounding);
        let total = Money::round(net + tax.amount(), currency, self.rounding);
        let residue = (net + tax.amount() - total.amount()).normalize();
        Totals { net: net.normalize(), tax, total, residue, rates }
    }

    fn tax_on(&self, TaxedLine { amount, rate }: TaxedLine, currency: Currency) -> Money {
        let hundred = Decimal::ONE_HUNDRED;
        let tax = if self.prices_include_tax { amount * rate / (hundred + rate) } else { amount * rate / hundred };
        Money::round(tax, currency, self.rounding)
    }
}

#[cfg(test)]
mod tests {
    use rust_decimal::dec;

    use super::*;

    fn totals(policy: RoundingPolicy, currency: &str, lines: &[(Decimal, Decimal)]) -> Totals {
        let lines: Vec<TaxedLine> = lines.iter().map(|&(amount, rate)| TaxedLine { amount, rate }).collect();
        policy.totals(&lines, currency.parse().expect("a currency"))
    }

    const THREE: [(Decimal, Decimal); 3] = [(dec!(10.03), dec!(15)); 3];

    #[test]
    fn tax_is_rounded_once_per_rate() {
        let totals = totals(RoundingPolicy::default(), "USD", &THREE);
        assert_eq!((totals.tax.amount(), totals.total.amount()), (dec!(4.51), dec!(34.60)));
    }

    #[test]
    fn tax_is_rounded_per_line_when_the_policy_says_so() {
        let policy = RoundingPolicy { tax: TaxRounding::PerLine, ..RoundingPolicy::default() };
        let totals = totals(policy, "USD", &THREE);
        assert_eq!((totals.tax.amount(), totals.total.amount()), (dec!(4.50), dec!(34.59)));
    }

    #[test]
    fn included_tax_is_taken_out_of_the_price() {
        let policy = RoundingPolicy { prices_include_tax: true, ..RoundingPolicy::default() };
        let twelve = totals(policy, "USD", &[(dec!(12.00), dec!(20))]);
        assert_eq!((twelve.net, twelve.tax.amount(), twelve.total.amount()), (dec!(10), dec!(2.00), dec!(12.00)));
        let odd = totals(policy, "USD", &[(dec!(9.99), dec!(19))]);
        assert_eq!((odd.net, odd.tax.amount()), (dec!(8.39), dec!(1.60)));
    }

    #[test]
    fn yen_and_dinar_keep_their_own_digits() {
        assert_eq!(totals(RoundingPolicy::default(), "JPY", &[(dec!(1127), dec!(10))]).tax.amount(), dec!(113));
        let truncating = RoundingPolicy { rounding: Rounding::TowardsZero, ..RoundingPolicy::default() };
        assert_eq!(totals(truncating, "JPY", &[(dec!(1127), dec!(10))]).tax.amount(), dec!(112));
        assert_eq!(totals(RoundingPolicy::default(), "BHD", &[(dec!(1.234), dec!(5))]).tax.amount(), dec!(0.062));
    }

    #[test]
    fn what_rounding_takes_away_is_the_residue() {
        let totals = totals(RoundingPolicy::default(), "GBP", &[(dec!(15.001), dec!(0))]);
        assert_eq!((totals.total.amount(), totals.residue), (dec!(15.00), dec!(0.001)));
    }
}
