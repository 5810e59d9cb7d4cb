//! Functions: what a principal may do. This page is the board of all of them, and of the roles, which are sets of them.

use std::{borrow::Cow, collections::BTreeSet, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use strum::{IntoStaticStr, VariantNames};

/// Who can hold a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holders {
    /// The users of a customer, for what is the customer's, and the provider's roles that are named.
    CustomerAnd(&'static [Role]),
    /// Only the provider's roles that are named.
    Provider(&'static [Role]),
}

use Holders::{CustomerAnd, Provider};
use Role::{Auditor, Operator, Staff};

const READERS: &[Role] = &[Staff, Auditor, Operator];

/// A set of functions with a name, which a member of the provider's house is given as a whole.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    IntoStaticStr,
    VariantNames,
    strum::EnumString,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// Works with customers: sees everything of theirs and changes it.
    Staff,
    /// Reads everything and writes nothing.
    Auditor,
    /// Runs the server, and says who may do what.
    Operator,
}

/// Declares the functions: each with its name, who can hold it, and a sentence.
macro_rules! functions {
    ($($function:ident = $name:literal, $holders:expr, $text:literal;)+) => {
        /// Something that can be allowed: `module.verb`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Function {
            $(#[doc = $text] $function,)+
        }

        impl VariantNames for Function {
            const VARIANTS: &'static [&'static str] = &[$($name),+];
        }

        impl Function {
            /// In the order of their names.
            pub const ALL: &'static [Self] = &[$(Self::$function),+];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$function => $name,)+
                }
            }

            /// What it allows, in a sentence.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$function => $text,)+
                }
            }

            const fn holders(self) -> Holders {
                match self {
                    $(Self::$function => $holders,)+
                }
            }
        }
    };
}

functions! {
    AccessLogRead = "access-log.read", CustomerAnd(READERS), "See who has signed in and who has looked at what.";
    AccountsAdjust = "accounts.adjust", Provider(&[Staff]), "Correct the balance of an account, with a reason.";
    AccountsAllocate = "accounts.allocate", CustomerAnd(&[Staff]), "Say whether money on an account covers the oldest charge by itself.";
    AccountsHold = "accounts.hold", Provider(&[Staff]), "Hold money of an account back, and release it.";
    AccountsOpen = "accounts.open", Provider(&[Staff]), "Open accounts.";
    AccountsRead = "accounts.read", CustomerAnd(READERS), "See accounts, balances and statements.";
    AccountsTerms = "accounts.terms", Provider(&[Staff]), "Set credit limits, and who pays afterwards.";
    AccountsTransfer = "accounts.transfer", Provider(&[Staff]), "Transfer money between accounts, at a rate that is named.";
    AuditRead = "audit.read", Provider(READERS), "See the journal, the trial balance, all events and all entries of the transparency log.";
    BooksClose = "books.close", Provider(&[Staff]), "Close periods.";
    BooksRead = "books.read", Provider(READERS), "See which periods are closed.";
    CreditNotesIssue = "credit-notes.issue", Provider(&[Staff]), "Issue credit notes.";
    CreditNotesRead = "credit-notes.read", CustomerAnd(READERS), "See credit notes.";
    CustomersGroup = "customers.group", Provider(&[Staff]), "Put customers into groups, and take them out.";
    CustomersRead = "customers.read", CustomerAnd(READERS), "See customers.";
    CustomersRegister = "customers.register", Provider(&[Staff]), "Register customers.";
    DiscountsGrant = "discounts.grant", Provider(&[Staff]), "Grant discounts and revoke them.";
    DiscountsRead = "discounts.read", CustomerAnd(READERS), "See discounts.";
    DisputesRecord = "disputes.record", Provider(&[Staff]), "Record disputes and how they end.";
    EffectDate = "effect.date", Provider(&[Staff]), "Say that something takes effect at another moment than now.";
    ExpensesRead = "expenses.read", CustomerAnd(READERS), "See expenses.";
    ExpensesRecord = "expenses.record", Provider(&[Staff]), "Record expenses, and adjust, reverse and reinstate them.";
    FactorsReset = "factors.reset", Provider(&[Staff, Operator]), "Take the second factor off somebody who has lost it, with another one of the staff and after a waiting time.";
    HistoryRead = "history.read", CustomerAnd(READERS), "See the history of anything.";
    InvoicesIssue = "invoices.issue", Provider(&[Staff]), "Issue invoices.";
    InvoicesRead = "invoices.read", CustomerAnd(READERS), "See invoices.";
    MetricsRead = "metrics.read", Provider(&[Operator]), "See the figures of the server.";
    OrdersChange = "orders.change", CustomerAnd(&[Staff]), "Rename orders and delete them.";
    OrdersPay = "orders.pay", CustomerAnd(&[Staff]), "Pay orders from an account.";
    OrdersPlace = "orders.place", Provider(&[Staff]), "Place orders at prices that are named, and change their items.";
    OrdersRead = "orders.read", CustomerAnd(READERS), "See orders.";
    PayersChange = "payers.change", CustomerAnd(&[Staff]), "Create payers and change them.";
    PayersRead = "payers.read", CustomerAnd(READERS), "See payers.";
    PaymentsAllocate = "payments.allocate", Provider(&[Staff]), "Say what a payment covers.";
    PaymentsRead = "payments.read", CustomerAnd(READERS), "See payments, refunds and disputes.";
    PaymentsRecord = "payments.record", Provider(&[Staff]), "Record what became of a payment.";
    PaymentsStart = "payments.start", CustomerAnd(&[Staff]), "Start payments, submit them and delete them.";
    ProjectionsOperate = "projections.operate", Provider(&[Operator]), "Rebuild, pause and repair projections.";
    ProjectionsRead = "projections.read", Provider(READERS), "See how the projections are.";
    RefundsMake = "refunds.make", Provider(&[Staff]), "Make refunds, and record how they end.";
    RightsGrant = "rights.grant", Provider(&[Operator]), "Give roles of the provider, and take them away.";
    ServicesRead = "services.read", CustomerAnd(READERS), "See services.";
    SignUpsManage = "sign-ups.manage", Provider(&[Staff]), "See who has signed up and waits to be confirmed, make their links, and throw sign-ups away.";
    TicketsAnswer = "tickets.answer", Provider(&[Staff]), "Take tickets up and answer them.";
    TicketsRead = "tickets.read", CustomerAnd(READERS), "See tickets.";
    TicketsWrite = "tickets.write", CustomerAnd(&[Staff]), "Open tickets, write on them and archive them.";
    TokensMake = "tokens.make", CustomerAnd(READERS), "Make tokens for oneself and revoke them.";
    UsersManage = "users.manage", CustomerAnd(&[Staff, Operator]), "Invite users, say what they may do, disable and enable them.";
    UsersRead = "users.read", CustomerAnd(READERS), "See users and what they may do.";
}

/// A set of functions.
pub type Functions = BTreeSet<Function>;

impl Function {
    /// Whether a user of a customer can hold it.
    pub const fn is_for_customers(self) -> bool {
        matches!(self.holders(), CustomerAnd(_))
    }

    fn is_of(self, role: Role) -> bool {
        let (CustomerAnd(roles) | Provider(roles)) = self.holders();
        roles.contains(&role)
    }

    /// Whether it is not done in another's name: paying, and what decides who may do what.
    pub const fn is_personal(self) -> bool {
        use Function as F;
        matches!(self, F::OrdersPay | F::PaymentsStart | F::AccountsTransfer | F::TokensMake | F::UsersManage)
    }

    /// All that the users of a customer can hold: what a superuser holds.
    pub fn of_customers() -> Functions {
        Self::ALL.iter().copied().filter(|function| function.is_for_customers()).collect()
    }

    /// What those hold who have one of these roles.
    pub fn of_roles<'a>(roles: impl IntoIterator<Item = &'a Role>) -> Functions {
        let of_role = |role: &'a Role| Self::ALL.iter().copied().filter(|function| function.is_of(*role));
        roles.into_iter().flat_map(of_role).collect()
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no function `{0}`")]
pub struct UnknownFunction(String);

impl FromStr for Function {
    type Err = UnknownFunction;

    fn from_str(text: &str) -> Result<Self, UnknownFunction> {
        let found = Self::ALL.iter().copied().find(|function| function.name() == text);
        found.ok_or_else(|| UnknownFunction(text.chars().take(64).collect()))
    }
}

impl Serialize for Function {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Function {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Function {
    fn schema_name() -> Cow<'static, str> {
        "Function".into()
    }

    /// Any name, so that a new function is no new version of an event.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^[a-z-]+\.[a-z-]+$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_reads_back_what_it_prints() {
        for function in Function::ALL {
            assert_eq!(function.name().parse(), Ok(*function));
            let (module, verb) = function.name().split_once('.').expect("module.verb");
            assert!(!module.is_empty() && !verb.is_empty() && function.text().ends_with('.'), "{function}");
        }
        assert!("invoices.burn".parse::<Function>().is_err());
    }

    #[test]
    fn no_two_functions_share_a_name_and_they_stand_in_order() {
        let names: Vec<&str> = Function::ALL.iter().map(|function| function.name()).collect();
        assert!(names.is_sorted_by(|one, other| one < other), "{names:?}");
    }

    #[test]
    fn who_only_reads_holds_nothing_that_writes() {
        let reads = |function: &Function| function.name().ends_with(".read");
        let of_auditor = Function::of_roles(&[Auditor]);
        assert!(of_auditor.iter().all(|function| reads(function) || *function == Function::TokensMake));
        let all_reads = Function::ALL.iter().filter(|function| reads(function));
        assert!(all_reads.filter(|function| **function != Function::MetricsRead).all(|read| of_auditor.contains(read)));
    }

    #[test]
    fn what_customers_hold_the_staff_holds_too() {
        let of_staff = Function::of_roles(&[Staff]);
        assert!(Function::of_customers().is_subset(&of_staff));
    }

    #[test]
    fn every_function_is_of_some_role() {
        assert_eq!(Function::of_roles(&[Staff, Auditor, Operator]).len(), Function::ALL.len());
    }
}
