//! A customer: whoever has accounts with the provider, and the groups that grant them prices.

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use imbl::OrdMap;
use imbl::OrdSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AccountId, Currency, Id, LedgerAggregate, LedgerEvent, Mentions, Noun, Owner, function::Function,
    posting::JournalEntry, version::written_version,
};
use crate::terms::{
    refusal::{GROUP_MALFORMED, NAME_MISSING, absent, conflict, invalid, refusals},
    rule::Rule,
    sealed::{Sealed, Texts},
};

pub type CustomerId = Id<Customer>;

/// What is known of a customer from the beginning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Registration {
    pub name: Sealed,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Sealed>,
}

#[derive(Clone, Debug)]
pub enum CustomerCommand {
    Register(Registration),
    JoinGroup {
        group: String,
    },
    LeaveGroup {
        group: String,
    },
    /// Claims the one account that a customer has in a currency.
    AddAccount {
        account: AccountId,
        currency: Currency,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CustomerEvent {
    Registered(Registration),
    JoinedGroup { group: String },
    LeftGroup { group: String },
    AccountAdded { account: AccountId, currency: Currency },
}

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum CustomerRejection {
        #[error("the customer is already registered")]
        AlreadyRegistered = conflict("customer-exists", "The customer is already registered"),
        #[error("there is no such customer")]
        NotRegistered = absent("customer-not-found", "There is no such customer"),
        #[error("a customer needs a name")]
        NameMissing at "/name" = NAME_MISSING,
        #[error("an e-mail address has one @ between two texts without spaces, and at most 254 characters")]
        EmailMalformed at "/email" = invalid("email-malformed", "The e-mail address is not one"),
        #[error("a group is named by 1 to 64 characters of a-z 0-9 . _ -")]
        GroupMalformed = GROUP_MALFORMED,
        #[error("the customer is in that group already")]
        AlreadyInGroup = conflict("already-in-group", "The customer is in that group already"),
        #[error("the customer is not in that group")]
        NotInGroup = conflict("not-in-group", "The customer is not in that group"),
        #[error("the customer has an account in {currency} already: {account}")]
        AccountExists { currency: Currency, account: AccountId } =
            conflict("account-exists", "The customer has an account in that currency already"),
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Customer {
    #[default]
    Unknown,
    Registered {
        groups: OrdSet<String>,
        /// By currency code.
        accounts: OrdMap<String, AccountId>,
    },
}

impl Noun for Customer {
    const PREFIX: &'static str = "cus";
}

impl LedgerAggregate for Customer {
    const FOLD_VERSION: i32 = 1;
    const READ_BY: Function = Function::CustomersRead;

    fn owner(&self) -> Owner<'_> {
        Owner::Itself
    }
}

impl Customer {
    pub fn groups(&self) -> Result<&OrdSet<String>, CustomerRejection> {
        match self {
            Self::Unknown => Err(CustomerRejection::NotRegistered),
            Self::Registered { groups, .. } => Ok(groups),
        }
    }
}

/// Whether a text names a group.
pub fn is_group_name(group: &str) -> bool {
    let well_formed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    !group.is_empty() && group.len() <= 64 && group.chars().all(well_formed)
}

/// Whether a text has the form of an e-mail address: one `@` between two texts without spaces.
pub fn is_email(email: &str) -> bool {
    let mut parts = email.split('@');
    // The longest address that mail can be sent to, by RFC 5321.
    let fits = email.len() <= 254;
    let spaced = email.chars().any(|c| c.is_whitespace() || c.is_control());
    matches!((parts.next(), parts.next(), parts.next()), (Some(user), Some(host), None) if !user.is_empty() && !host.is_empty())
        && fits
        && !spaced
}

impl Aggregate for Customer {
    const TYPE: &'static str = "customer";
    type Command = CustomerCommand;
    type Event = CustomerEvent;
    type Error = CustomerRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: CustomerCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), CustomerRejection> {
        use CustomerCommand as C;
        use CustomerEvent as E;
        use CustomerRejection as R;

        let event = match (&*self, command) {
            (Self::Unknown, C::Register(customer)) if customer.name.is_blank() => return Err(R::NameMissing),
            (Self::Unknown, C::Register(customer))
                if !customer.email.as_ref().is_none_or(|email| email.plain().is_some_and(is_email)) =>
            {
                return Err(R::EmailMalformed);
            }
            (Self::Unknown, C::Register(customer)) => E::Registered(customer),
            (Self::Unknown, _) => return Err(R::NotRegistered),
            (Self::Registered { .. }, C::Register(_)) => return Err(R::AlreadyRegistered),
            (Self::Registered { .. }, C::JoinGroup { group }) if !is_group_name(&group) => {
                return Err(R::GroupMalformed);
            }
            (Self::Registered { groups, .. }, C::JoinGroup { group }) if groups.contains(&group) => {
                return Err(R::AlreadyInGroup);
            }
            (Self::Registered { .. }, C::JoinGroup { group }) => E::JoinedGroup { group },
            (Self::Registered { groups, .. }, C::LeaveGroup { group }) if !groups.contains(&group) => {
                return Err(R::NotInGroup);
            }
            (Self::Registered { .. }, C::LeaveGroup { group }) => E::LeftGroup { group },
            (Self::Registered { accounts, .. }, C::AddAccount { account, currency }) => {
                match accounts.get(currency.code()) {
                    Some(account) => return Err(R::AccountExists { currency, account: account.clone() }),
                    None => E::AccountAdded { account, currency },
                }
            }
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: CustomerEvent) {
        match (&mut *self, event) {
            (Self::Unknown, CustomerEvent::Registered(_)) => {
                *self = Self::Registered { groups: OrdSet::new(), accounts: OrdMap::new() };
            }
            (Self::Registered { groups, .. }, CustomerEvent::JoinedGroup { group }) => {
                groups.insert(group);
            }
            (Self::Registered { groups, .. }, CustomerEvent::LeftGroup { group }) => {
                groups.remove(&group);
            }
            (Self::Registered { accounts, .. }, CustomerEvent::AccountAdded { account, currency }) => {
                accounts.insert(currency.code().into(), account);
            }
            (Self::Unknown, _) | (Self::Registered { .. }, CustomerEvent::Registered(_)) => {}
        }
    }
}

impl DomainEvent for CustomerEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Registered(_) => "customer.registered",
            Self::JoinedGroup { .. } => "customer.joined_group",
            Self::LeftGroup { .. } => "customer.left_group",
            Self::AccountAdded { .. } => "customer.account_added",
        }
        .into()
    }

    fn event_version(&self) -> String {
        written_version(self)
    }
}

impl LedgerEvent for CustomerEvent {
    type Aggregate = Customer;

    const VERSIONS: &'static [(&'static str, &'static str)] = &[
        ("customer.account_added", "1.0"),
        ("customer.joined_group", "1.0"),
        ("customer.left_group", "1.0"),
        ("customer.registered", "1.1"),
    ];

    fn postings(&self) -> JournalEntry {
        Vec::new()
    }

    fn rule(&self) -> Option<Rule> {
        None
    }

    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>) {
        match self {
            Self::AccountAdded { account, .. } => mentions.add(account),
            Self::Registered(_) | Self::JoinedGroup { .. } | Self::LeftGroup { .. } => {}
        }
    }

    fn sealed(&mut self) -> Texts<'_> {
        match self {
            Self::Registered(Registration { name, email }) => {
                [("name", name)].into_iter().chain(email.as_mut().map(|email| ("email", email))).collect()
            }
            Self::JoinedGroup { .. } | Self::LeftGroup { .. } | Self::AccountAdded { .. } => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::{AggregateTestExecutor, TestFramework};

    use super::*;
    use crate::domain::fixtures::{id, usd};

    fn given(events: Vec<CustomerEvent>) -> AggregateTestExecutor<Customer> {
        TestFramework::with(()).given(events)
    }

    fn register(name: &str, email: Option<&str>) -> CustomerCommand {
        CustomerCommand::Register(Registration { name: name.into(), email: email.map(Into::into) })
    }

    fn registered() -> CustomerEvent {
        CustomerEvent::Registered(Registration { name: "Ada Byron".into(), email: Some("ada@example.org".into()) })
    }

    fn join(group: &str) -> CustomerCommand {
        CustomerCommand::JoinGroup { group: group.into() }
    }

    fn joined() -> CustomerEvent {
        CustomerEvent::JoinedGroup { group: "resellers".into() }
    }

    fn leave() -> CustomerCommand {
        CustomerCommand::LeaveGroup { group: "resellers".into() }
    }

    fn left() -> CustomerEvent {
        CustomerEvent::LeftGroup { group: "resellers".into() }
    }

    fn add_account(name: &str) -> CustomerCommand {
        CustomerCommand::AddAccount { account: id(name), currency: usd("0").currency() }
    }

    fn account_added() -> CustomerEvent {
        CustomerEvent::AccountAdded { account: id("main"), currency: usd("0").currency() }
    }

    #[test]
    fn a_customer_registers_with_or_without_an_address() {
        given(vec![]).when(register("Ada Byron", Some("ada@example.org"))).then_expect_events(vec![registered()]);
        let without = CustomerEvent::Registered(Registration { name: "Ada Byron".into(), email: None });
        given(vec![]).when(register("Ada Byron", None)).then_expect_events(vec![without]);
    }

    #[test]
    fn a_customer_joins_a_group_leaves_it_and_joins_again() {
        given(vec![registered()]).when(join("resellers")).then_expect_events(vec![joined()]);
        given(vec![registered(), joined()]).when(leave()).then_expect_events(vec![left()]);
        given(vec![registered(), joined(), left()]).when(join("resellers")).then_expect_events(vec![joined()]);
    }

    #[test]
    fn a_customer_adds_an_account() {
        given(vec![registered()]).when(add_account("main")).then_expect_events(vec![account_added()]);
    }

    #[test]
    fn a_registered_customer_does_not_register_again() {
        given(vec![registered()])
            .when(register("Ada Byron", None))
            .then_expect_error(CustomerRejection::AlreadyRegistered);
    }

    #[test]
    fn nothing_happens_to_a_customer_who_is_not_registered() {
        for command in [join("resellers"), leave(), add_account("main")] {
            given(vec![]).when(command).then_expect_error(CustomerRejection::NotRegistered);
        }
        assert_eq!(Customer::Unknown.groups(), Err(CustomerRejection::NotRegistered));
    }

    #[test]
    fn a_customer_without_a_name_is_refused() {
        given(vec![]).when(register(" ", None)).then_expect_error(CustomerRejection::NameMissing);
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for email in ["", "ada", "@example.org", "ada@", "ada@home@example.org", "ada @example.org"] {
            given(vec![]).when(register("Ada Byron", Some(email))).then_expect_error(CustomerRejection::EmailMalformed);
        }
    }

    #[test]
    fn a_group_with_an_odd_name_is_refused() {
        for group in ["", "Resellers", "re sellers", &"r".repeat(65)] {
            given(vec![registered()]).when(join(group)).then_expect_error(CustomerRejection::GroupMalformed);
        }
    }

    #[test]
    fn a_customer_joins_a_group_once() {
        given(vec![registered(), joined()])
            .when(join("resellers"))
            .then_expect_error(CustomerRejection::AlreadyInGroup);
    }

    #[test]
    fn a_customer_leaves_only_a_group_that_it_is_in() {
        given(vec![registered()]).when(leave()).then_expect_error(CustomerRejection::NotInGroup);
    }

    #[test]
    fn a_second_account_in_a_currency_is_refused() {
        let (currency, account) = (usd("0").currency(), id("main"));
        given(vec![registered(), account_added()])
            .when(add_account("second"))
            .then_expect_error(CustomerRejection::AccountExists { currency, account });
    }
}
