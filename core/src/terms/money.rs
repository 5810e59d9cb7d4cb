//! Money: an exact decimal amount with its ISO 4217 currency, and the one place where amounts are rounded.

use std::{borrow::Cow, fmt, str::FromStr};

use rust_decimal::{Decimal, RoundingStrategy};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::refusal::{CURRENCY_MISMATCH, invalid, refusals};

/// A currency of ISO 4217 that has a smallest unit. Special codes without one, such as `XAU`, are not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

/// An amount in a currency, with no more decimals than the currency has: USD 2, JPY 0, BHD 3.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    amount: Decimal,
    currency: Currency,
}

/// An exact amount that may be finer than its currency, such as a line's share of a discount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExactMoney {
    #[serde(serialize_with = "rust_decimal::serde::str::serialize", deserialize_with = "plain_decimal")]
    pub amount: Decimal,
    pub currency: Currency,
}

impl From<Money> for ExactMoney {
    fn from(Money { amount, currency }: Money) -> Self {
        Self { amount, currency }
    }
}

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum MoneyError {
        #[error("`{code}` is not a currency of ISO 4217 with a smallest unit")]
        UnknownCurrency { code: String } =
            invalid("unknown-currency", "The currency is not one of ISO 4217 with a smallest unit"),
        #[error("an amount in {currency} has at most {digits} decimals")]
        TooManyDecimals { currency: Currency, digits: u32 } =
            invalid("too-many-decimals", "An amount has more decimals than its currency"),
        #[error("an amount has fewer than sixteen digits before the decimal point")]
        TooLarge = invalid("amount-too-large", "An amount has too many digits"),
        #[error("`{text}` is not a decimal number")]
        NotANumber { text: String } = invalid("not-a-number", "A number is written as a plain decimal in a string"),
        #[error("{left} and {right} are different currencies")]
        CurrencyMismatch { left: Currency, right: Currency } = CURRENCY_MISMATCH,
    }
}

/// How an exact amount becomes one that the currency can express. Recorded in the event that rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// 0.125 → 0.13, −0.125 → −0.13.
    #[default]
    HalfAwayFromZero,
    /// 0.125 → 0.12, 0.135 → 0.14.
    HalfEven,
    /// 0.129 → 0.12.
    TowardsZero,
}

impl Rounding {
    fn strategy(self) -> RoundingStrategy {
        match self {
            Self::HalfAwayFromZero => RoundingStrategy::MidpointAwayFromZero,
            Self::HalfEven => RoundingStrategy::MidpointNearestEven,
            Self::TowardsZero => RoundingStrategy::ToZero,
        }
    }
}

impl Currency {
    /// Decimals of the smallest unit.
    pub fn digits(self) -> u32 {
        self.0.exponent().map_or(0, u32::from)
    }

    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Every currency that is accepted, in the order of the alphabet.
    pub fn all() -> Vec<Self> {
        let letters = || 'A'..='Z';
        let codes =
            letters().flat_map(|one| letters().flat_map(move |two| letters().map(move |three| [one, two, three])));
        codes.filter_map(|code| String::from_iter(code).parse().ok()).collect()
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Self, MoneyError> {
        iso_currency::Currency::from_code(code)
            .filter(|currency| currency.exponent().is_some())
            .map(Self)
            .ok_or_else(|| MoneyError::UnknownCurrency { code: code.into() })
    }
}

impl Money {
    /// The largest amount accepted from outside, exclusive: sums of billions of such amounts stay exact.
    const LIMIT: Decimal = Decimal::from_parts(0xA4C6_8000, 0x0003_8D7E, 0, false, 0);

    pub fn new(amount: Decimal, currency: Currency) -> Result<Self, MoneyError> {
        let digits = currency.digits();
        if amount.normalize().scale() > digits {
            return Err(MoneyError::TooManyDecimals { currency, digits });
        }
        if amount.abs() >= Self::LIMIT {
            return Err(MoneyError::TooLarge);
        }
        Ok(Self::with_digits(amount, currency))
    }

    pub fn zero(currency: Currency) -> Self {
        Self::with_digits(Decimal::ZERO, currency)
    }

    /// Reads a plain decimal such as `12.30`; an exponent or a thousands separator is not a number here.
    pub fn parse(amount: &str, currency: &str) -> Result<Self, MoneyError> {
        let currency = currency.parse()?;
        Self::new(parse_decimal(amount)?, currency)
    }

    /// The one place where money is rounded: an exact result becomes an amount of the currency.
    pub fn round(exact: Decimal, currency: Currency, rounding: Rounding) -> Self {
        Self::with_digits(exact.round_dp_with_strategy(currency.digits(), rounding.strategy()), currency)
    }

    fn with_digits(mut amount: Decimal, currency: Currency) -> Self {
        amount.rescale(currency.digits());
        // A negative zero would print as "-0.00".
        if amount.is_zero() {
            amount.set_sign_positive(true);
        }
        Self { amount, currency }
    }

    pub fn amount(self) -> Decimal {
        self.amount
    }

    pub fn currency(self) -> Currency {
        self.currency
    }

    pub fn is_zero(self) -> bool {
        self.amount.is_zero()
    }

    pub fn is_positive(self) -> bool {
        self.amount > Decimal::ZERO
    }

    pub fn is_negative(self) -> bool {
        self.amount < Decimal::ZERO
    }

    pub fn abs(self) -> Self {
        Self::with_digits(self.amount.abs(), self.currency)
    }

    pub fn negated(self) -> Self {
        Self::with_digits(-self.amount, self.currency)
    }

    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let sum = self.amount.checked_add(other.amount).ok_or(MoneyError::TooLarge)?;
        Ok(Self::with_digits(sum, self.currency))
    }

    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.checked_add(other.negated())
    }

    pub fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::CurrencyMismatch { left: self.currency, right: other.currency })
        }
    }

    /// Splits the amount in proportion to the weights so that the parts sum to it exactly: each part is cut towards
    /// zero, and the smallest units left over go to the largest fractions cut off, ties in the order of the parts.
    ///
    /// Weights are not negative and not all zero; otherwise the first part takes everything.
    pub fn split(self, weights: &[Decimal]) -> Vec<Self> {
        let whole: Decimal = weights.iter().sum();
        if whole.is_zero() {
            return (0..weights.len()).map(|part| if part == 0 { self } else { Self::zero(self.currency) }).collect();
        }
        let exact: Vec<Decimal> = weights.iter().map(|weight| proportion(self.amount, *weight, whole)).collect();
        let mut parts: Vec<Self> =
            exact.iter().map(|share| Self::round(*share, self.currency, Rounding::TowardsZero)).collect();

        let mut left = self.amount - parts.iter().map(|part| part.amount).sum::<Decimal>();
        let mut unit = Decimal::new(1, self.currency.digits());
        unit.set_sign_negative(left.is_sign_negative());
        let mut by_fraction: Vec<usize> = (0..parts.len()).collect();
        by_fraction.sort_by_key(|&part| std::cmp::Reverse((exact[part] - parts[part].amount).abs()));
        for part in by_fraction.into_iter().cycle() {
            if left.is_zero() {
                break;
            }
            parts[part].amount += unit;
            left -= unit;
        }
        parts
    }
}

/// `amount × part ⁄ whole`, where the part is not larger than the whole. The product is exact as far as 28 digits
/// reach; where it has no room at all, the quotient is taken first.
pub fn proportion(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal {
    match amount.checked_mul(part) {
        Some(product) => product / whole,
        None => amount * (part / whole),
    }
}

/// Reads a plain decimal number: digits, at most one point, at most one leading minus.
pub fn parse_decimal(text: &str) -> Result<Decimal, MoneyError> {
    let plain = !text.is_empty()
        && text.len() <= 40
        && text.bytes().enumerate().all(|(at, b)| b.is_ascii_digit() || b == b'.' || (b == b'-' && at == 0));
    let not_a_number = || MoneyError::NotANumber { text: text.into() };
    if !plain || text.starts_with('.') || text.ends_with('.') || text.starts_with("-.") {
        return Err(not_a_number());
    }
    Decimal::from_str_exact(text).map_err(|_| not_a_number())
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        code.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Currency {
    fn schema_name() -> Cow<'static, str> {
        "Currency".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Z]{3}$" })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The JSON shape of money: `{"amount": "12.30", "currency": "USD"}`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MoneyJson {
    #[serde(serialize_with = "rust_decimal::serde::str::serialize", deserialize_with = "plain_decimal")]
    amount: Decimal,
    currency: Currency,
}

/// Exactly what is written: neither an exponent nor digits that would have to be rounded away.
fn plain_decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    parse_decimal(&text).map_err(de::Error::custom)
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        MoneyJson { amount: self.amount, currency: self.currency }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let MoneyJson { amount, currency } = MoneyJson::deserialize(deserializer)?;
        Self::new(amount, currency).map_err(de::Error::custom)
    }
}

impl JsonSchema for Money {
    fn schema_name() -> Cow<'static, str> {
        "Money".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        MoneyJson::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::dec;

    use super::*;

    fn usd(amount: Decimal) -> Money {
        Money::new(amount, "USD".parse().expect("a currency")).expect("an amount of dollars")
    }

    #[test]
    fn an_amount_has_exactly_the_digits_of_its_currency() {
        assert_eq!(Money::parse("12.3", "USD").map(|m| m.to_string()), Ok("12.30 USD".into()));
        assert_eq!(Money::parse("1000", "JPY").map(|m| m.to_string()), Ok("1000 JPY".into()));
        assert_eq!(Money::parse("1.5", "BHD").map(|m| m.to_string()), Ok("1.500 BHD".into()));
    }

    #[test]
    fn more_decimals_than_the_currency_has_are_refused() {
        assert!(matches!(Money::parse("1000.50", "JPY"), Err(MoneyError::TooManyDecimals { digits: 0, .. })));
        assert!(matches!(Money::parse("0.0001", "BHD"), Err(MoneyError::TooManyDecimals { digits: 3, .. })));
        assert_eq!(Money::parse("1.500", "USD").map(|m| m.to_string()), Ok("1.50 USD".into()));
    }

    #[test]
    fn what_is_not_a_plain_decimal_is_refused() {
        for text in ["", "1e3", "1,000", "+1", "-", ".5", "5.", "1.2.3", "NaN", " 1", "--1"] {
            assert!(matches!(Money::parse(text, "USD"), Err(MoneyError::NotANumber { .. })), "{text:?}");
        }
    }

    #[test]
    fn unknown_and_unitless_currencies_are_refused() {
        assert!(matches!(Money::parse("1", "QQQ"), Err(MoneyError::UnknownCurrency { .. })));
        assert!(matches!(Money::parse("1", "XAU"), Err(MoneyError::UnknownCurrency { .. })));
        assert!(matches!(Money::parse("1", "usd"), Err(MoneyError::UnknownCurrency { .. })));
    }

    #[test]
    fn an_amount_of_sixteen_digits_is_refused() {
        assert!(Money::parse("999999999999999.99", "USD").is_ok());
        assert_eq!(Money::parse("1000000000000000", "USD"), Err(MoneyError::TooLarge));
    }

    #[test]
    fn currencies_do_not_mix() {
        let yen = Money::parse("5", "JPY").expect("yen");
        assert!(matches!(usd(dec!(5)).checked_add(yen), Err(MoneyError::CurrencyMismatch { .. })));
    }

    #[test]
    fn rounding_follows_the_named_rule() {
        let round = |rounding| Money::round(dec!(0.125), usd(dec!(0)).currency(), rounding).amount();
        assert_eq!(round(Rounding::HalfAwayFromZero), dec!(0.13));
        assert_eq!(round(Rounding::HalfEven), dec!(0.12));
        assert_eq!(round(Rounding::TowardsZero), dec!(0.12));
        assert_eq!(Money::round(dec!(-0.125), usd(dec!(0)).currency(), Rounding::default()), usd(dec!(-0.13)));
    }

    #[test]
    fn money_reads_back_its_json() {
        let json = r#"{"amount":"12.30","currency":"USD"}"#;
        let money: Money = serde_json::from_str(json).expect("money");
        assert_eq!(serde_json::to_string(&money).expect("json"), json);
    }

    proptest! {
        #[test]
        fn a_split_sums_exactly_and_no_part_is_off_by_a_unit(
            cents in -1_000_000i64..1_000_000,
            weights in prop::collection::vec(0u32..1000, 1..20),
        ) {
            let total = usd(Decimal::new(cents, 2));
            let weights: Vec<Decimal> = weights.into_iter().map(Decimal::from).collect();
            let parts = total.split(&weights);
            prop_assert_eq!(parts.iter().map(|p| p.amount()).sum::<Decimal>(), total.amount());
            let whole: Decimal = weights.iter().sum();
            if !whole.is_zero() {
                for (part, weight) in parts.iter().zip(&weights) {
                    prop_assert!((part.amount() - total.amount() * *weight / whole).abs() < dec!(0.01));
                }
            }
        }
    }
}
