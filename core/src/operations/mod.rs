//! Operations: what one command does across several aggregates, each written top to bottom like the sentence that
//! describes it. This page is the board of all of them.

mod access;
mod account;
mod allocation;
mod books;
mod credit_note;
mod customer;
mod discount;
mod dispute;
mod expense;
mod invoice;
mod order;
mod payer;
mod payment;
mod refund;
mod ticket;
mod transfer;
mod upgrade;
mod user;

use chrono::NaiveDate;
use serde::Serialize;
use serde_json::{Map, Value};

pub use access::AccessRejection;
pub use account::{AdjustAccount, ChangeTerms, HoldFunds, ReleaseHold};
pub use allocation::{AllocatePayment, ChargeRef};
pub use books::ClosePeriod;
pub use credit_note::{CreditRequest, IssueCreditNote};
pub use customer::{JoinGroup, LeaveGroup};
pub use discount::{GrantDiscount, RevokeDiscount};
pub use dispute::{LoseDispute, OpenDispute, WinDispute};
pub use expense::{AdjustExpense, RecordExpense, ReinstateExpense, ReverseExpense};
pub use invoice::{IssueInvoice, Numbering};
pub use order::{AddOrderItem, DeleteOrder, PayOrder, PayOrderBy, PlaceOrder, RemoveOrderItem, RenameOrder};
pub use payer::ChangePayer;
pub use payment::{AdvancePayment, GatewayNotice, NoticeOutcome, PaymentStep, in_small_letters};
pub use refund::{FailRefund, SettleRefund, StartRefund};
pub use ticket::WriteOnTicket;
pub use transfer::TransferFunds;
pub use upgrade::{FoldGateway, KeepNumber};
pub use user::{ChangeCredentials, ChangeMembership, ChangeUser, InviteUser, ResetFactors, SignUp};

pub use crate::domain::{
    account::{AccountOpening, Terms},
    customer::Registration,
    payer::{PayerChange, Profile},
    payment::PaymentRequest,
    ticket::{TicketAction, TicketOpening},
    user::{Acceptance, CredentialChange, FactorResetStep, Invitation, MembershipChange, UserChange},
};
use crate::{
    domain::{
        AccountId, ExpenseId, IdError, OrderId, PaymentId, account::AccountRejection, books::BooksRejection,
        credit_note::CreditNoteRejection, customer::CustomerRejection, discount::DiscountsRejection,
        expense::ExpenseRejection, invoice::InvoiceRejection, number_series::NumberSeriesRejection,
        order::OrderRejection, payer::PayerRejection, payment::PaymentRejection, service::ServiceRejection,
        team::TeamRejection, ticket::TicketRejection, user::UserRejection, user_name::UserNameRejection,
    },
    state::UnitOfWork,
    terms::refusal::{DATE_OUT_OF_RANGE, Kind, Rejection, invalid, refusals, stale},
};

/// Everything that can be asked of the ledger.
#[derive(Clone, Debug)]
pub enum Operation {
    RegisterCustomer(Registration),
    JoinGroup(JoinGroup),
    LeaveGroup(LeaveGroup),
    CreatePayer(Profile),
    ChangePayer(ChangePayer),
    OpenAccount(AccountOpening),
    ChangeTerms(ChangeTerms),
    HoldFunds(HoldFunds),
    ReleaseHold(ReleaseHold),
    AdjustAccount(AdjustAccount),
    TransferFunds(TransferFunds),
    PlaceOrder(PlaceOrder),
    AddOrderItem(AddOrderItem),
    RemoveOrderItem(RemoveOrderItem),
    RenameOrder(RenameOrder),
    DeleteOrder(DeleteOrder),
    PayOrder(PayOrder),
    StartPayment(PaymentRequest),
    AdvancePayment(AdvancePayment),
    GatewayNotice(GatewayNotice),
    AllocatePayment(AllocatePayment),
    StartRefund(StartRefund),
    SettleRefund(SettleRefund),
    FailRefund(FailRefund),
    OpenDispute(OpenDispute),
    WinDispute(WinDispute),
    LoseDispute(LoseDispute),
    IssueInvoice(IssueInvoice),
    IssueCreditNote(IssueCreditNote),
    RecordExpense(RecordExpense),
    AdjustExpense(AdjustExpense),
    ReverseExpense(ReverseExpense),
    ReinstateExpense(ReinstateExpense),
    GrantDiscount(GrantDiscount),
    RevokeDiscount(RevokeDiscount),
    OpenTicket(TicketOpening),
    WriteOnTicket(WriteOnTicket),
    ClosePeriod(ClosePeriod),
    InviteUser(InviteUser),
    SignUp(SignUp),
    ChangeUser(ChangeUser),
    ChangeMembership(ChangeMembership),
    ChangeCredentials(ChangeCredentials),
    ResetFactors(ResetFactors),
    KeepNumber(KeepNumber),
    FoldGateway(FoldGateway),
}

/// What an operation answers: a JSON object, stored with the append and given again to a retry.
pub type Answer = Value;

/// The board of refusals: what they have in common follows from the list.
macro_rules! refusal {
    ($($of:ident($rejection:ty)),+ $(,)?) => {
        /// Why the domain does not do it. Nothing of a refused command is recorded.
        #[derive(Clone, Debug, PartialEq, thiserror::Error)]
        pub enum Refusal {
            $(
                #[error(transparent)]
                $of(#[from] $rejection),
            )+
        }

        impl Refusal {
            /// What can be refused. A kind that several nouns have stands there several times.
            pub fn kinds() -> impl Iterator<Item = &'static Kind> {
                [$(<$rejection>::KINDS),+].into_iter().flatten()
            }

            fn rejection(&self) -> &dyn Rejection {
                match self {
                    $(Self::$of(rejection) => rejection,)+
                }
            }
        }
    };
}

refusal! {
    Account(AccountRejection),
    Books(BooksRejection),
    CreditNote(CreditNoteRejection),
    Customer(CustomerRejection),
    Discounts(DiscountsRejection),
    Expense(ExpenseRejection),
    Invoice(InvoiceRejection),
    NumberSeries(NumberSeriesRejection),
    Order(OrderRejection),
    Payer(PayerRejection),
    Payment(PaymentRejection),
    Service(ServiceRejection),
    Team(TeamRejection),
    Ticket(TicketRejection),
    User(UserRejection),
    UserName(UserNameRejection),
    Access(AccessRejection),
    Operation(OperationRejection),
}

impl Rejection for Refusal {
    fn kind(&self) -> &'static Kind {
        self.rejection().kind()
    }

    fn field(&self) -> Option<String> {
        self.rejection().field()
    }

    fn figures(&self) -> Map<String, Value> {
        self.rejection().figures()
    }
}

refusals! {
    /// Refusals that concern more than one aggregate.
    #[derive(Clone, Debug, PartialEq, thiserror::Error)]
    pub enum OperationRejection {
        #[error("a reason must be given")]
        ReasonMissing at "/reason" = invalid("reason-missing", "A reason must be given"),
        #[error("it belongs to another customer or account")]
        Foreign = invalid("foreign-id", "The identifier is that of another customer or account"),
        #[error("an account cannot transfer to itself")]
        SameAccount at "/to" = invalid("same-account", "An account cannot transfer to itself"),
        #[error("there is no account to transfer to")]
        NoRecipient at "/to" = invalid("recipient-not-found", "There is no account to transfer to"),
        #[error("a rate is greater than zero and has at most 10 decimals, and its source is named")]
        RateOutOfRange at "/rate" = invalid(
            "rate-out-of-range",
            "A rate is greater than zero with at most 10 decimals, and its source is named",
        ),
        #[error("the amount is too small or too large to be converted")]
        ConversionOutOfRange at "/amount" =
            invalid("conversion-out-of-range", "The amount is too small or too large to be converted"),
        #[error("dates lie in the years 1900 to 9998")]
        DateOutOfRange = DATE_OUT_OF_RANGE,
        #[error("a name given from outside: {0}")]
        Name(#[from] IdError) = invalid("malformed-id", "An identifier does not have the form that it needs"),
        #[error("say where the money goes, or where it comes back from")]
        NowhereToAllocate = invalid("nowhere-to-allocate", "Say where the money goes, or where it comes back from"),
        #[error("an event would have {bytes} bytes, and an event has {most} at most: divide the document into several")]
        EventTooLarge { bytes: usize, most: usize } =
            invalid("event-too-large", "An event would be larger than one can be"),
        #[error("it has been changed since: it has version {version} now")]
        Stale { version: u64 } with { version } = stale("stale-version", "It has been changed since it was read"),
        #[error("a text cannot have the character U+0000")]
        TextWithNul = invalid("text-with-nul", "A text cannot have the character U+0000"),
    }
}

impl Refusal {
    /// A stable code, the last part of the problem type that the API answers with.
    pub fn code(&self) -> &'static str {
        self.kind().code
    }
}

impl Operation {
    /// Decides the operation: reads and changes aggregates in memory, does nothing else, and can be run again.
    ///
    /// Money that was dated ahead and has taken effect since comes first, so that the operation finds it available.
    pub fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        self.permit(books)?;
        for account in self.accounts(books) {
            allocation::take_effect(books, &account)?;
        }
        match self {
            Self::RegisterCustomer(operation) => operation.decide(books),
            Self::JoinGroup(operation) => operation.decide(books),
            Self::LeaveGroup(operation) => operation.decide(books),
            Self::CreatePayer(operation) => operation.decide(books),
            Self::ChangePayer(operation) => operation.decide(books),
            Self::OpenAccount(operation) => operation.decide(books),
            Self::ChangeTerms(operation) => operation.decide(books),
            Self::HoldFunds(operation) => operation.decide(books),
            Self::ReleaseHold(operation) => operation.decide(books),
            Self::AdjustAccount(operation) => operation.decide(books),
            Self::TransferFunds(operation) => operation.decide(books),
            Self::PlaceOrder(operation) => operation.decide(books),
            Self::AddOrderItem(operation) => operation.decide(books),
            Self::RemoveOrderItem(operation) => operation.decide(books),
            Self::RenameOrder(operation) => operation.decide(books),
            Self::DeleteOrder(operation) => operation.decide(books),
            Self::PayOrder(operation) => operation.decide(books),
            Self::StartPayment(operation) => operation.decide(books),
            Self::AdvancePayment(operation) => operation.decide(books),
            Self::GatewayNotice(operation) => operation.decide(books),
            Self::AllocatePayment(operation) => operation.decide(books),
            Self::StartRefund(operation) => operation.decide(books),
            Self::SettleRefund(operation) => operation.decide(books),
            Self::FailRefund(operation) => operation.decide(books),
            Self::OpenDispute(operation) => operation.decide(books),
            Self::WinDispute(operation) => operation.decide(books),
            Self::LoseDispute(operation) => operation.decide(books),
            Self::IssueInvoice(operation) => operation.decide(books),
            Self::IssueCreditNote(operation) => operation.decide(books),
            Self::RecordExpense(operation) => operation.decide(books),
            Self::AdjustExpense(operation) => operation.decide(books),
            Self::ReverseExpense(operation) => operation.decide(books),
            Self::ReinstateExpense(operation) => operation.decide(books),
            Self::GrantDiscount(operation) => operation.decide(books),
            Self::RevokeDiscount(operation) => operation.decide(books),
            Self::OpenTicket(operation) => operation.decide(books),
            Self::WriteOnTicket(operation) => operation.decide(books),
            Self::ClosePeriod(operation) => operation.decide(books),
            Self::InviteUser(operation) => operation.decide(books),
            Self::SignUp(operation) => operation.decide(books),
            Self::ChangeUser(operation) => operation.decide(books),
            Self::ChangeMembership(operation) => operation.decide(books),
            Self::ChangeCredentials(operation) => operation.decide(books),
            Self::ResetFactors(operation) => operation.decide(books),
            Self::KeepNumber(operation) => operation.decide(books),
            Self::FoldGateway(operation) => operation.decide(books),
        }
    }
}

impl Operation {
    /// The accounts whose money it concerns.
    fn accounts(&self, books: &mut UnitOfWork<'_>) -> Vec<AccountId> {
        let of_order = |books: &mut UnitOfWork<'_>, order: &OrderId| {
            books.get(order).placed().ok().map(|order| order.account.clone())
        };
        let of_payment = |books: &mut UnitOfWork<'_>, payment: &PaymentId| {
            books.get(payment).started().ok().map(|payment| payment.account.clone())
        };
        let of_expense = |books: &mut UnitOfWork<'_>, expense: &ExpenseId| {
            books.get(expense).standing().ok().map(|expense| expense.account.clone())
        };
        let account = match self {
            Self::ChangeTerms(ChangeTerms { account, .. })
            | Self::HoldFunds(HoldFunds { account, .. })
            | Self::ReleaseHold(ReleaseHold { account, .. })
            | Self::AdjustAccount(AdjustAccount { account, .. })
            | Self::PlaceOrder(PlaceOrder { account, .. })
            | Self::StartPayment(PaymentRequest { account, .. })
            | Self::GatewayNotice(GatewayNotice { account, .. })
            | Self::IssueInvoice(IssueInvoice { account, .. })
            | Self::IssueCreditNote(IssueCreditNote { account, .. })
            | Self::RecordExpense(RecordExpense { account, .. }) => Some(account.clone()),
            Self::TransferFunds(TransferFunds { from, to, .. }) => return vec![from.clone(), to.clone()],
            Self::AddOrderItem(AddOrderItem { order, .. })
            | Self::RemoveOrderItem(RemoveOrderItem { order, .. })
            | Self::RenameOrder(RenameOrder { order, .. })
            | Self::DeleteOrder(DeleteOrder { order })
            | Self::PayOrder(PayOrder { order, .. }) => of_order(books, order),
            Self::AdvancePayment(AdvancePayment { payment, .. })
            | Self::AllocatePayment(AllocatePayment { payment, .. })
            | Self::StartRefund(StartRefund { payment, .. })
            | Self::SettleRefund(SettleRefund { payment, .. })
            | Self::FailRefund(FailRefund { payment, .. })
            | Self::OpenDispute(OpenDispute { payment, .. })
            | Self::WinDispute(WinDispute { payment, .. })
            | Self::LoseDispute(LoseDispute { payment, .. }) => of_payment(books, payment),
            Self::AdjustExpense(AdjustExpense { expense, .. })
            | Self::ReverseExpense(ReverseExpense { expense })
            | Self::ReinstateExpense(ReinstateExpense { expense }) => of_expense(books, expense),
            Self::RegisterCustomer(_)
            | Self::JoinGroup(_)
            | Self::LeaveGroup(_)
            | Self::CreatePayer(_)
            | Self::ChangePayer(_)
            | Self::OpenAccount(_)
            | Self::GrantDiscount(_)
            | Self::RevokeDiscount(_)
            | Self::OpenTicket(_)
            | Self::WriteOnTicket(_)
            | Self::ClosePeriod(_)
            | Self::InviteUser(_)
            | Self::SignUp(_)
            | Self::ChangeUser(_)
            | Self::ChangeMembership(_)
            | Self::ChangeCredentials(_)
            | Self::ResetFactors(_)
            | Self::KeepNumber(_)
            | Self::FoldGateway(_) => None,
        };
        account.into_iter().collect()
    }
}

fn answer(fields: impl Serialize) -> Answer {
    serde_json::to_value(fields).expect("an answer is a plain object")
}

/// The local day of an account on which the command takes effect.
fn today(books: &mut UnitOfWork<'_>, account: &AccountId) -> Result<NaiveDate, AccountRejection> {
    let at = books.context().occurred_at;
    Ok(books.get(account).ledger()?.day_of(at))
}

/// A person who corrects the books says why.
fn reason_given(books: &UnitOfWork<'_>) -> Result<(), OperationRejection> {
    match books.context().reason.as_deref().map(str::trim) {
        None | Some("") => Err(OperationRejection::ReasonMissing),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
