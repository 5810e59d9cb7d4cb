//! How money, numbers and identifiers look in JSON and in addresses. What is wrong with one is told with a code of its own.

use std::{fmt, marker::PhantomData, str::FromStr};

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use daybook_core::{
    Position,
    domain::{self, Currency, Id, Money, MoneyError, Noun, Rounding},
    terms::{id::LONGEST_NAME, money::parse_decimal, sealed::Sealed},
};
use rust_decimal::Decimal;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Error, Visitor},
};
use strum::VariantNames;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, RefOr, SchemaFormat,
        schema::{Schema, Type},
    },
};

/// What was read, in JSON. axum's own asks its buffer for room with every sign of it, which a long answer feels.
pub fn json(answer: &impl Serialize) -> Response {
    let mut written = Vec::with_capacity(4096);
    serde_json::to_writer(&mut written, answer).expect("what is told has names that are texts");
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], written).into_response()
}

/// A body, or a query, that says nothing.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// An amount in a currency, as a decimal string with no more decimals than the currency has: USD 2, JPY 0, BHD 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount(pub Money);

/// A decimal number in a string, such as `"1.5"`: never a JSON number, which many programs read as a binary fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Number(pub Decimal);

/// A text of at most `MOST` characters. The limits let an event with all its texts fit into an entry of the transparency
/// log, also where each character takes six bytes in JSON and the texts grow by a third: longer texts belong into
/// attachments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Words<const MOST: usize>(pub String);

/// A short text, such as the number of a document: short enough for an index.
pub type Label = Words<128>;
/// What somebody or something is called; the title of a ticket; a line of an address.
pub type Name = Words<200>;
/// An address of electronic mail, as long as one can be.
pub type Email = Words<254>;
/// What something is; why something was done.
pub type Sentence = Words<500>;
/// What is written on a ticket.
pub type Message = Words<5_000>;

/// A position of the book that is asked about: as PostgreSQL counts them, up to 2⁶³ − 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskedPosition(pub Position);

/// A text that a query looks for: whatever PostgreSQL can keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedText(String);

/// One of the words of a list.
pub struct OneOf<L>(&'static str, PhantomData<fn() -> L>);

/// The words that something can be called, such as the statuses of an order.
pub trait WordList: VariantNames {
    /// What the description calls the list.
    const NAME: &'static str;
}

/// A currency of ISO 4217.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrencyCode(pub Currency);

/// The identifier of an `N`.
pub struct Ref<N>(pub Id<N>);

/// What is beside the book and has a name of its own, such as a session.
pub trait Beside {
    /// Before the `_` of its names.
    const PREFIX: &'static str;
    /// What one is called.
    const NOUN: &'static str;
}

/// The name of such a thing.
pub struct NameOf<B> {
    pub name: String,
    of: PhantomData<fn() -> B>,
}

impl<'de, B: Beside> Deserialize<'de> for NameOf<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let own = name.strip_prefix(B::PREFIX).and_then(|name| name.strip_prefix('_')).unwrap_or_default();
        if (1..=64).contains(&own.len()) && own.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            Ok(Self { name, of: PhantomData })
        } else {
            Err(D::Error::custom(format_args!("{} is named `{}_…`", B::NOUN, B::PREFIX)))
        }
    }
}

impl<B: Beside> PartialSchema for NameOf<B> {
    fn schema() -> RefOr<Schema> {
        let prefix = B::PREFIX;
        pattern_text(&format!("^{prefix}_[0-9A-Za-z]{{1,64}}$"), &format!("{prefix}_01JD8Z2Q4Y0000000000000001"))
    }
}

impl<B: Beside> ToSchema for NameOf<B> {}

impl<B> fmt::Debug for NameOf<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

pub type AccountRef = Ref<domain::Account>;
pub type CustomerRef = Ref<domain::Customer>;
pub type PayerRef = Ref<domain::Payer>;
pub type OrderRef = Ref<domain::Order>;
pub type PaymentRef = Ref<domain::Payment>;
pub type InvoiceRef = Ref<domain::Invoice>;
pub type CreditNoteRef = Ref<domain::CreditNote>;
pub type ExpenseRef = Ref<domain::Expense>;
pub type DiscountRef = Ref<domain::Discount>;
pub type TicketRef = Ref<domain::Ticket>;
pub type FactorRef = Ref<domain::user::Factor>;
pub type TokenRef = Ref<domain::user::Token>;
pub type UserRef = Ref<domain::User>;
pub type ServiceRef = Ref<domain::Service>;
pub type RefundRef = Ref<domain::Refund>;
pub type DisputeRef = Ref<domain::Dispute>;
pub type HoldRef = Ref<domain::account::Hold>;
pub type TransferRef = Ref<domain::account::Transfer>;

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let MoneyFields { amount, currency } = MoneyFields::deserialize(deserializer)?;
        Money::parse(&amount, &currency).map(Self).map_err(|error| {
            let member = if matches!(error, MoneyError::UnknownCurrency { .. }) { "currency" } else { "amount" };
            Coded::error(error.code(), member, &error)
        })
    }
}

impl Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// `{"amount": "12.30", "currency": "USD"}`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MoneyFields {
    /// A plain decimal, with no more decimals than the currency has.
    #[schema(example = "12.30", pattern = r"^-?\d{1,15}(\.\d+)?$")]
    amount: String,
    /// ISO 4217.
    #[schema(example = "USD", pattern = "^[A-Z]{3}$")]
    currency: String,
}

impl PartialSchema for Amount {
    fn schema() -> RefOr<Schema> {
        MoneyFields::schema()
    }
}

impl ToSchema for Amount {
    fn name() -> std::borrow::Cow<'static, str> {
        "Money".into()
    }
}

impl Amount {
    /// An amount that a row holds, in the row's currency.
    pub fn of(amount: Decimal, currency: &str) -> Self {
        Self::in_currency(amount, currency.parse().expect("a row holds a currency that the domain has accepted"))
    }

    pub fn in_currency(amount: Decimal, currency: Currency) -> Self {
        Self(Money::round(amount, currency, Rounding::default()))
    }
}

impl Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.normalize())
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| parse_decimal(text).map_err(|error| (error.code(), error.to_string()));
        deserializer.deserialize_str(Text::new("a decimal number in a string", read)).map(Self)
    }
}

impl PartialSchema for Number {
    fn schema() -> RefOr<Schema> {
        pattern_text(r"^-?\d+(\.\d+)?$", "1.5")
    }
}

impl ToSchema for Number {}

impl<'de, const MOST: usize> Deserialize<'de> for Words<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| match text.chars().nth(MOST) {
            None => Ok(text.to_owned()),
            Some(_) => Err(("text-too-long", format!("the text has at most {MOST} characters"))),
        };
        deserializer.deserialize_str(Text::new("a text", read)).map(Self)
    }
}

impl<const MOST: usize> PartialSchema for Words<MOST> {
    fn schema() -> RefOr<Schema> {
        let limit = format!("At most {MOST} characters.");
        let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(MOST));
        text.description(Some(limit)).build().into()
    }
}

impl<const MOST: usize> ToSchema for Words<MOST> {
    fn name() -> std::borrow::Cow<'static, str> {
        format!("TextOf{MOST}").into()
    }
}

impl<const MOST: usize> From<Words<MOST>> for String {
    fn from(Words(text): Words<MOST>) -> Self {
        text
    }
}

impl<const MOST: usize> From<Words<MOST>> for Sealed {
    fn from(Words(text): Words<MOST>) -> Self {
        text.into()
    }
}

impl<'de> Deserialize<'de> for AskedPosition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text::new("a position", |text| {
            position(text).map(Self).ok_or_else(|| ("malformed-parameter", "it is no position of a book".to_owned()))
        }))
    }
}

impl<'de> Deserialize<'de> for AskedText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text::new("a text", |text| match text.contains('\0') {
            false => Ok(Self(text.to_owned())),
            true => Err(("malformed-parameter", "a text cannot have the character U+0000".to_owned())),
        }))
    }
}

impl PartialSchema for AskedText {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).pattern(Some(r"^[^\x00]*$")).build().into()
    }
}

impl ToSchema for AskedText {}

impl From<AskedText> for String {
    fn from(AskedText(text): AskedText) -> Self {
        text
    }
}

impl<'de, L: WordList> Deserialize<'de> for OneOf<L> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = String::deserialize(deserializer)?;
        let word = L::VARIANTS.iter().find(|word| **word == given);
        word.map(|word| Self(word, PhantomData)).ok_or_else(|| D::Error::unknown_variant(&given, L::VARIANTS))
    }
}

impl<L: WordList> PartialSchema for OneOf<L> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(L::VARIANTS.iter().copied())).build().into()
    }
}

impl<L: WordList> ToSchema for OneOf<L> {
    fn name() -> std::borrow::Cow<'static, str> {
        L::NAME.into()
    }
}

impl<L: WordList + FromStr> OneOf<L> {
    /// What the word stands for.
    pub fn word(self) -> L {
        let Ok(word) = self.0.parse() else { unreachable!("each word of a list is read as what it stands for") };
        word
    }
}

impl<L> From<OneOf<L>> for String {
    fn from(OneOf(word, _): OneOf<L>) -> Self {
        word.into()
    }
}

impl<L> fmt::Debug for OneOf<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads a position, which is written in digits.
pub fn position(text: &str) -> Option<Position> {
    let in_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|position| in_digits && *position <= MOST_POSITIONS)
}

const MOST_POSITIONS: Position = i64::MAX as Position;

impl PartialSchema for AskedPosition {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(0))
            .maximum(Some(i64::MAX))
            .build()
            .into()
    }
}

impl ToSchema for AskedPosition {}

impl<'de> Deserialize<'de> for CurrencyCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| text.parse().map_err(|error: MoneyError| (error.code(), error.to_string()));
        deserializer.deserialize_str(Text::new("a currency of ISO 4217", read)).map(Self)
    }
}

impl PartialSchema for CurrencyCode {
    fn schema() -> RefOr<Schema> {
        let codes = Currency::all().into_iter().map(Currency::code);
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes)).examples(["USD"]).build().into()
    }
}

impl ToSchema for CurrencyCode {
    fn name() -> std::borrow::Cow<'static, str> {
        "Currency".into()
    }
}

impl<'de, N: Noun> Deserialize<'de> for Ref<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| {
            text.parse().map_err(|error: daybook_core::domain::IdError| ("malformed-id", error.to_string()))
        };
        deserializer.deserialize_str(Text::new("an identifier", read)).map(Self)
    }
}

impl<N: Noun> PartialSchema for Ref<N> {
    fn schema() -> RefOr<Schema> {
        let example = format!("{}_01JD8Z2Q4Y0000000000000001", N::PREFIX);
        if !N::NAMED_BY_OTHERS {
            return pattern_text(&format!("^{}_[A-Za-z0-9._:-]{{1,128}}$", N::PREFIX), &example);
        }
        // JSON Schema counts characters, and the limit counts bytes.
        let (control, at_ends) = (r"\x00-\x1f\x7f-\x9f", r"\s\x00-\x1f\x7f-\x9f");
        let pattern = format!("^{}_[^{at_ends}]([^{control}]*[^{at_ends}])?$", N::PREFIX);
        let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).examples([example]);
        let limit = format!("The name after `{}_` has at most {LONGEST_NAME} bytes in UTF-8.", N::PREFIX);
        text.max_length(Some(N::PREFIX.len() + 1 + LONGEST_NAME)).description(Some(limit)).build().into()
    }
}

impl<N: Noun> ToSchema for Ref<N> {
    fn name() -> std::borrow::Cow<'static, str> {
        let noun = std::any::type_name::<N>().rsplit("::").next().unwrap_or("Any");
        format!("{noun}Id").into()
    }
}

impl<N> Serialize for Ref<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// The text of an identifier, as rows hold it.
pub fn text<N>(Ref(id): Ref<N>) -> String {
    id.to_string()
}

impl<N> Clone for Ref<N> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<N> fmt::Debug for Ref<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A JSON string that means something else.
pub struct Text<T, F> {
    expecting: &'static str,
    read: F,
    means: PhantomData<T>,
}

impl<T, F: Fn(&str) -> Result<T, (&'static str, String)>> Text<T, F> {
    pub fn new(expecting: &'static str, read: F) -> Self {
        Self { expecting, read, means: PhantomData }
    }
}

impl<T, F: Fn(&str) -> Result<T, (&'static str, String)>> Visitor<'_> for Text<T, F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).map_err(|(code, detail)| Coded::error(code, "", detail))
    }
}

pub fn pattern_text(pattern: &str, example: &str) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).examples([example]).build().into()
}

/// An error of a value that carries its code through serde, which passes nothing but text.
pub struct Coded<'a> {
    pub code: &'a str,
    /// The member of the value that is wrong; empty for the value itself.
    pub member: &'a str,
    pub detail: &'a str,
}

const MARK: char = '\u{1}';

impl<'a> Coded<'a> {
    fn error<E: Error>(code: &str, member: &str, detail: impl fmt::Display) -> E {
        E::custom(format_args!("{MARK}{code}{MARK}{member}{MARK}{detail}"))
    }

    pub fn read(message: &'a str) -> Option<Self> {
        let mut parts = message.strip_prefix(MARK)?.splitn(3, MARK);
        Some(Self { code: parts.next()?, member: parts.next()?, detail: parts.next()? })
    }
}
