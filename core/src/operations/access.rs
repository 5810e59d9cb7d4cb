//! Who may ask for an operation: the function that each needs, and what a principal reads while it is decided.

use super::{
    AdvancePayment, ChangeCredentials, ChangeMembership, ChangeTerms, ChangeUser, InviteUser, Operation,
    OperationRejection, PaymentStep, Refusal, ResetFactors, WriteOnTicket,
};
use crate::{
    domain::{
        Party, Principal, UserId,
        account::Terms,
        function::{Function, Functions},
        ticket::TicketAction,
        user::{CredentialChange, FactorResetStep, MembershipChange, UserRejection},
    },
    event::{Actor, ActorKind},
    state::UnitOfWork,
    terms::refusal::{forbidden, refusals},
};

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum AccessRejection {
        #[error("in a customer's name nothing is changed without a reason, nothing is paid, and no right is given")]
        ReadOnly = forbidden("impersonation-read-only", "That is not done in the name of another"),
        #[error("whoever gives a right has it")]
        MoreThanOwn = forbidden("right-not-held", "Whoever gives a right has it"),
        #[error("the user is a member elsewhere, too: take the membership away instead")]
        Shared = forbidden("user-shared", "The user is a member elsewhere, too"),
    }
}

impl Operation {
    /// Refuses what whoever asks may not do. The ledger's own programs ask without a principal.
    ///
    /// From here on the operation reads nothing that is another customer's, if it is asked for in the name of one.
    pub(super) fn permit(&self, books: &mut UnitOfWork<'_>) -> Result<(), Refusal> {
        let context = books.context();
        let Some(principal) = &context.principal else { return Ok(()) };
        let stands_in = context.on_behalf_of.is_some();
        if stands_in && context.reason.as_deref().is_none_or(|reason| reason.trim().is_empty()) {
            return Err(AccessRejection::ReadOnly.into());
        }
        if let Some(function) = self.function(principal) {
            if stands_in && (function.is_personal() || !function.is_for_customers()) {
                return Err(AccessRejection::ReadOnly.into());
            }
            allowed(books, principal, function)?;
        } else if principal.token.is_some() {
            // What decides who somebody is, is not done by a token.
            return Err(AccessRejection::MoreThanOwn.into());
        } else {
            let person = books.get(&principal.user).person()?;
            if !person.enabled || person.membership(&principal.party).is_none() {
                return Err(UserRejection::Disabled.into());
            }
        }
        match (&principal.party, &context.on_behalf_of) {
            (Party::Customer(customer), None) => books.confine(customer.clone()),
            (Party::Provider, None) => {}
            (Party::Provider, Some(Actor { kind: ActorKind::Customer, name })) => {
                books.confine(name.parse().map_err(OperationRejection::Name)?);
            }
            (_, Some(_)) => return Err(AccessRejection::ReadOnly.into()),
        }
        Ok(())
    }

    /// The function that it needs; `None` for what everybody may do about themselves.
    fn function(&self, principal: &Principal) -> Option<Function> {
        use Function as F;

        let own = |user: &UserId| principal.user == *user;
        Some(match self {
            Self::RegisterCustomer(_) | Self::SignUp(_) => F::CustomersRegister,
            Self::JoinGroup(_) | Self::LeaveGroup(_) => F::CustomersGroup,
            Self::CreatePayer(_) | Self::ChangePayer(_) => F::PayersChange,
            Self::OpenAccount(_) => F::AccountsOpen,
            Self::ChangeTerms(ChangeTerms {
                terms: Terms::AutomaticAllocationOn | Terms::AutomaticAllocationOff,
                ..
            }) => F::AccountsAllocate,
            Self::ChangeTerms(_) => F::AccountsTerms,
            Self::HoldFunds(_) | Self::ReleaseHold(_) => F::AccountsHold,
            Self::AdjustAccount(_) => F::AccountsAdjust,
            Self::TransferFunds(_) => F::AccountsTransfer,
            Self::PlaceOrder(_) | Self::AddOrderItem(_) | Self::RemoveOrderItem(_) => F::OrdersPlace,
            Self::RenameOrder(_) | Self::DeleteOrder(_) => F::OrdersChange,
            Self::PayOrder(_) => F::OrdersPay,
            Self::StartPayment(_) => F::PaymentsStart,
            Self::AdvancePayment(AdvancePayment { step: PaymentStep::Submit | PaymentStep::Delete, .. }) => {
                F::PaymentsStart
            }
            Self::AdvancePayment(_) | Self::GatewayNotice(_) => F::PaymentsRecord,
            Self::AllocatePayment(_) => F::PaymentsAllocate,
            Self::StartRefund(_) | Self::SettleRefund(_) | Self::FailRefund(_) => F::RefundsMake,
            Self::OpenDispute(_) | Self::WinDispute(_) | Self::LoseDispute(_) => F::DisputesRecord,
            Self::IssueInvoice(_) => F::InvoicesIssue,
            Self::IssueCreditNote(_) => F::CreditNotesIssue,
            Self::RecordExpense(_) | Self::AdjustExpense(_) | Self::ReverseExpense(_) | Self::ReinstateExpense(_) => {
                F::ExpensesRecord
            }
            Self::GrantDiscount(_) | Self::RevokeDiscount(_) => F::DiscountsGrant,
            Self::OpenTicket(_) => F::TicketsWrite,
            Self::WriteOnTicket(WriteOnTicket {
                action: TicketAction::TakeUp | TicketAction::Answer { .. }, ..
            }) => F::TicketsAnswer,
            Self::WriteOnTicket(_) => F::TicketsWrite,
            // Those two a program of the ledger's own does when it brings a ledger over.
            Self::ClosePeriod(_) | Self::KeepNumber(_) | Self::FoldGateway(_) => F::BooksClose,
            Self::InviteUser(InviteUser { party, .. }) => right_to_manage(party),
            Self::ChangeMembership(ChangeMembership { party, .. }) => right_to_manage(party),
            Self::ChangeUser(ChangeUser { user, change }) if own(user) && change.is_about_oneself() => return None,
            Self::ChangeUser(_) => F::UsersManage,
            Self::ChangeCredentials(ChangeCredentials { user, change }) if own(user) => match change {
                CredentialChange::MakeToken(_) | CredentialChange::RevokeToken { .. } => F::TokensMake,
                _ => return None,
            },
            Self::ChangeCredentials(_) => F::UsersManage,
            // To cancel it only takes back: also who has shown no more than the password does it.
            Self::ResetFactors(ResetFactors { user, step: FactorResetStep::Cancel }) if own(user) => return None,
            Self::ResetFactors(ResetFactors { step: FactorResetStep::Cancel, .. }) => F::UsersManage,
            Self::ResetFactors(_) => F::FactorsReset,
        })
    }
}

fn right_to_manage(party: &Party) -> Function {
    match party {
        Party::Provider => Function::RightsGrant,
        Party::Customer(_) => Function::UsersManage,
    }
}

pub(super) fn allowed(
    books: &mut UnitOfWork<'_>,
    principal: &Principal,
    function: Function,
) -> Result<(), UserRejection> {
    let at = books.given_at().unwrap_or(books.context().occurred_at);
    let Principal { user, party, token } = principal;
    if books.get(user).allowed(party, token.as_ref(), at).contains(&function) {
        Ok(())
    } else {
        Err(UserRejection::Forbidden { function })
    }
}

/// A right is given by those who have it, and by whoever manages users for the provider.
pub(super) fn may_give(books: &mut UnitOfWork<'_>, change: &MembershipChange) -> Result<(), Refusal> {
    let Some(Principal { user, party: party @ Party::Customer(_), token }) = &books.context().principal else {
        return Ok(());
    };
    let at = books.given_at().unwrap_or(books.context().occurred_at);
    let own = books.get(user).allowed(party, token.as_ref(), at);
    let held = match change {
        MembershipChange::GrantFunction(function) => own.contains(function),
        MembershipChange::GrantSuperuser | MembershipChange::RevokeSuperuser => is_whole(&own),
        MembershipChange::Give | MembershipChange::Withdraw | MembershipChange::DenyFunction(_) => true,
        MembershipChange::GrantRole(_) | MembershipChange::RevokeRole(_) => false,
    };
    if held { Ok(()) } else { Err(AccessRejection::MoreThanOwn.into()) }
}

/// Whether these are all functions that users of a customer can have.
fn is_whole(functions: &Functions) -> bool {
    Function::of_customers().is_subset(functions)
}

/// Who leads is removed by those who lead.
pub(super) fn may_remove_leader(books: &mut UnitOfWork<'_>) -> Result<(), Refusal> {
    may_give(books, &MembershipChange::RevokeSuperuser)
}

/// The party for which is asked, where that is a customer.
pub(super) fn asking_customer(books: &UnitOfWork<'_>) -> Option<Party> {
    let principal = books.context().principal.as_ref()?;
    Some(principal.party.clone()).filter(|party| party.customer().is_some())
}
