//! Refusals: what the ledger does not do, with what a caller needs to know of it. Each is declared once, in the file of
//! its noun.

use serde_json::{Map, Value};

/// What kind of obstacle it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// What the command names is not there.
    Absent,
    /// The command contradicts what stands in the ledger.
    Conflict,
    /// The command has a value that no state of the ledger accepts.
    Invalid,
    /// Whoever asks may not do that.
    Forbidden,
    /// The command was decided upon by its sender for another state than the present one.
    Stale,
}

/// What refusals of one code have in common. Codes are stable: callers decide by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub code: &'static str,
    pub class: Class,
    /// The general sentence of the code; the refusal itself speaks of the case.
    pub title: &'static str,
}

/// A refusal of one noun.
pub trait Rejection {
    fn kind(&self) -> &'static Kind;

    /// The field of the command that it speaks of, as a JSON Pointer.
    fn field(&self) -> Option<String>;

    /// What it knows in figures.
    fn figures(&self) -> Map<String, Value>;
}

pub const fn absent(code: &'static str, title: &'static str) -> Kind {
    Kind { code, class: Class::Absent, title }
}

pub const fn conflict(code: &'static str, title: &'static str) -> Kind {
    Kind { code, class: Class::Conflict, title }
}

pub const fn invalid(code: &'static str, title: &'static str) -> Kind {
    Kind { code, class: Class::Invalid, title }
}

pub const fn forbidden(code: &'static str, title: &'static str) -> Kind {
    Kind { code, class: Class::Forbidden, title }
}

pub const fn stale(code: &'static str, title: &'static str) -> Kind {
    Kind { code, class: Class::Stale, title }
}

// Kinds that several nouns have.
pub const AMOUNT_NOT_POSITIVE: Kind = invalid("amount-not-positive", "The amount must be greater than zero");
pub const CURRENCY_MISMATCH: Kind = invalid("currency-mismatch", "The amount is in another currency than the account");
pub const DATE_OUT_OF_RANGE: Kind = invalid("date-out-of-range", "A date lies outside the years 1900 to 9998");
pub const GROUP_MALFORMED: Kind = invalid("group-malformed", "A group is named by 1 to 64 characters of a-z 0-9 . _ -");
pub const LINE_OUT_OF_RANGE: Kind =
    invalid("line-out-of-range", "A quantity, price or tax rate of a line is out of range");
pub const NAME_MISSING: Kind = invalid("name-missing", "A name is needed");
pub const NO_LINES: Kind = invalid("no-lines", "A document needs at least one line");
pub const NUMBER_MISSING: Kind = invalid("number-missing", "A document needs a number");
pub const PRODUCT_MISSING: Kind = invalid("product-missing", "A product is needed");
pub const UNKNOWN_TIME_ZONE: Kind = invalid("unknown-time-zone", "The time zone is not one of the IANA database");

/// Declares the refusals of a noun: each with its sentence and its kind, and its field and figures where it has them.
///
/// ```text
/// refusals! {
///     #[derive(Clone, Debug, PartialEq, thiserror::Error)]
///     pub enum OrderRejection {
///         #[error("there is no such order")]
///         NotPlaced = absent("order-not-found", "There is no such order"),
///         // Items count from one, the index of a pointer from zero.
///         #[error("item {item} needs a quantity")]
///         ItemOutOfRange { item: u32 } at "/items"[item] = invalid("item-out-of-range", "A quantity is out of range"),
///         #[error("{missing} is missing on the account")]
///         InsufficientFunds { missing: Money } with { missing } = conflict("insufficient-funds", "…"),
///     }
/// }
/// ```
macro_rules! refusals {
    (
        $(#[$of_enum:meta])*
        pub enum $rejection:ident {
            $(
                $(#[$of_variant:meta])*
                $variant:ident
                    $(($(#[$of_inner:meta])* $inner:ty))?
                    $({ $($value:ident: $type:ty),+ })?
                    $(at $pointer:literal $([$number:ident])? $($rest:literal)?)?
                    $(with { $($figure:ident $(= $named:ident)?),+ })?
                    = $kind:expr
            ),+ $(,)?
        }
    ) => {
        $(#[$of_enum])*
        pub enum $rejection {
            $(
                $(#[$of_variant])*
                $variant $(($(#[$of_inner])* $inner))? $({ $($value: $type),+ })?,
            )+
        }

        impl $rejection {
            pub const KINDS: &'static [$crate::terms::refusal::Kind] = &[$($kind),+];

            pub fn code(&self) -> &'static str {
                $crate::terms::refusal::Rejection::kind(self).code
            }
        }

        impl $crate::terms::refusal::Rejection for $rejection {
            fn kind(&self) -> &'static $crate::terms::refusal::Kind {
                match self {
                    $(Self::$variant { .. } => const { &$kind },)+
                }
            }

            #[allow(unreachable_patterns, reason = "in one noun all refusals may name a field")]
            fn field(&self) -> Option<String> {
                match self {
                    $($(
                        Self::$variant { $($number,)? .. } => {
                            let pointer = String::from($pointer);
                            $(let pointer = $crate::terms::refusal::item(pointer, *$number);)?
                            $(let pointer = pointer + $rest;)?
                            Some(pointer)
                        }
                    )?)+
                    _ => None,
                }
            }

            #[allow(unreachable_patterns, reason = "in one noun all refusals may have figures")]
            fn figures(&self) -> serde_json::Map<String, serde_json::Value> {
                match self {
                    $($(
                        Self::$variant { $($figure,)+ .. } => {
                            let mut figures = serde_json::Map::new();
                            $(
                                let name = refusals!(@name $figure $($named)?);
                                figures.insert(name.into(), serde_json::json!($figure));
                            )+
                            figures
                        }
                    )?)+
                    _ => serde_json::Map::new(),
                }
            }
        }
    };
    (@name $figure:ident) => { stringify!($figure) };
    (@name $figure:ident $named:ident) => { stringify!($named) };
}

pub(crate) use refusals;

/// The pointer to an item of a list by its number, which counts from one.
pub(crate) fn item(list: String, number: u32) -> String {
    format!("{list}/{}", number.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    refusals! {
        #[derive(Debug)]
        pub enum Example {
            Plain = absent("plain", "It is not there"),
            Field at "/to" = conflict("field", "It is there already"),
            Item { item: u32 } at "/items"[item]"/part" = invalid("item", "It is not one"),
            Closed = forbidden("closed", "It is not for everybody"),
            Figures { stage: u8, left: u8 } with { stage = status, left } = invalid("figures", "It is another"),
        }
    }

    fn declared(example: &Example) -> (&'static str, Class, Option<String>, Value) {
        let kind = example.kind();
        (example.code(), kind.class, example.field(), example.figures().into())
    }

    #[test]
    fn a_refusal_says_its_kind_its_field_and_its_figures() {
        assert_eq!(declared(&Example::Plain), ("plain", Class::Absent, None, json!({})));
        assert_eq!(declared(&Example::Field), ("field", Class::Conflict, Some("/to".into()), json!({})));
        let item = declared(&Example::Item { item: 2 });
        assert_eq!(item, ("item", Class::Invalid, Some("/items/1/part".into()), json!({})));
        let figures = declared(&Example::Figures { stage: 3, left: 4 });
        assert_eq!(figures, ("figures", Class::Invalid, None, json!({ "status": 3, "left": 4 })));
        assert_eq!(declared(&Example::Closed), ("closed", Class::Forbidden, None, json!({})));
        assert_eq!(Example::KINDS.len(), 5);
    }
}
