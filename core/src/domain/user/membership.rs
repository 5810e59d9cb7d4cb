//! Where a person is a member, in customers or with the provider, and what the person may do there.

use std::fmt;

use imbl::OrdSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CustomerId, Person, UserEvent, UserRejection};
use crate::domain::function::{Function, Functions, Role};

/// The most memberships of a person.
const MEMBERSHIPS: usize = 100;

/// Where a person is a member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    Provider,
    Customer(CustomerId),
}

/// What can be changed of a membership.
#[derive(Clone, Debug, PartialEq)]
pub enum MembershipChange {
    Give,
    Withdraw,
    GrantSuperuser,
    RevokeSuperuser,
    GrantFunction(Function),
    DenyFunction(Function),
    GrantRole(Role),
    RevokeRole(Role),
}

/// What a person may do as a member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Membership {
    /// Holds all functions that the users of a customer can hold.
    pub superuser: bool,
    pub(super) functions: OrdSet<Function>,
    pub(super) roles: OrdSet<Role>,
}

impl Party {
    /// As a text: `provider`, or the identifier of the customer.
    pub fn key(&self) -> &str {
        match self {
            Self::Provider => "provider",
            Self::Customer(customer) => customer.as_str(),
        }
    }

    pub fn customer(&self) -> Option<&CustomerId> {
        match self {
            Self::Provider => None,
            Self::Customer(customer) => Some(customer),
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

impl Membership {
    /// What the member may do.
    pub fn allowed(&self) -> Functions {
        let mut allowed = Function::of_roles(&self.roles);
        if self.superuser {
            allowed.extend(Function::of_customers());
        }
        allowed.extend(&self.functions);
        allowed
    }

    /// Whether the member can give rights to all others there.
    pub fn leads(&self) -> bool {
        self.superuser || self.roles.contains(&Role::Operator)
    }
}

impl Person {
    pub fn membership(&self, party: &Party) -> Option<&Membership> {
        self.memberships.get(party.key())
    }

    pub fn is_member_of(&self, customer: &CustomerId) -> bool {
        self.memberships.contains_key(customer.as_str())
    }

    /// The parties of which the person is a leading member.
    pub fn leads(&self) -> Vec<Party> {
        let leading = self.memberships.iter().filter(|(_, membership)| membership.leads());
        leading.filter_map(|(key, _)| party_of(key)).collect()
    }

    /// Whether the person is a member of that party and of no other.
    pub fn is_only_of(&self, party: &Party) -> bool {
        self.memberships.len() == 1 && self.membership(party).is_some()
    }

    pub(super) fn member(&self, party: &Party) -> Result<&Membership, UserRejection> {
        self.membership(party).ok_or_else(|| UserRejection::NoMember { party: party.clone() })
    }

    pub(super) fn decide_membership(&self, party: Party, change: MembershipChange) -> Result<UserEvent, UserRejection> {
        use MembershipChange as M;
        use UserEvent as E;
        use UserRejection as R;

        if change == M::Give {
            if self.membership(&party).is_some() {
                return Err(R::AlreadyMember { party });
            }
            if self.memberships.len() >= MEMBERSHIPS {
                return Err(R::TooManyMemberships { most: MEMBERSHIPS });
            }
            return Ok(E::MembershipGiven { party });
        }
        let membership = self.member(&party)?;
        let fits = |present: bool, wanted: bool| match (present, wanted) {
            (true, false) => Err(R::AlreadyGranted),
            (false, true) => Err(R::NotGranted),
            _ => Ok(()),
        };
        match (party, change) {
            (_, M::Give) => unreachable!("it was looked at before"),
            (party, M::Withdraw) => Ok(E::MembershipWithdrawn { party }),
            (Party::Customer(customer), M::GrantSuperuser) => {
                fits(membership.superuser, false)?;
                Ok(E::SuperuserGranted { customer })
            }
            (Party::Customer(customer), M::RevokeSuperuser) => {
                fits(membership.superuser, true)?;
                Ok(E::SuperuserRevoked { customer })
            }
            (Party::Customer(_), M::GrantFunction(function)) if !function.is_for_customers() => {
                Err(R::NotForCustomers { function })
            }
            (Party::Customer(customer), M::GrantFunction(function)) => {
                fits(membership.functions.contains(&function), false)?;
                Ok(E::FunctionGranted { customer, function })
            }
            (Party::Customer(customer), M::DenyFunction(function)) => {
                fits(membership.functions.contains(&function), true)?;
                Ok(E::FunctionDenied { customer, function })
            }
            (Party::Provider, M::GrantRole(role)) => {
                fits(membership.roles.contains(&role), false)?;
                Ok(E::RoleGranted { role })
            }
            (Party::Provider, M::RevokeRole(role)) => {
                fits(membership.roles.contains(&role), true)?;
                Ok(E::RoleRevoked { role })
            }
            (Party::Provider, _) | (Party::Customer(_), M::GrantRole(_) | M::RevokeRole(_)) => Err(R::OtherParty),
        }
    }

    pub(super) fn change_membership(&mut self, party: &str, change: impl FnOnce(&mut Membership)) {
        if let Some(membership) = self.memberships.get_mut(party) {
            change(membership);
        }
    }
}

fn party_of(key: &str) -> Option<Party> {
    if key == "provider" { Some(Party::Provider) } else { key.parse().ok().map(Party::Customer) }
}
