//! Commands as the tests give them: by the owner's program, at a fixed time, with a reason.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use daybook_core::{
    Actor, Context,
    domain::{AccountId, CustomerId, Money, payment::Purpose},
    operations::{
        AccountOpening, AdjustAccount, Answer, GatewayNotice, NoticeOutcome, Operation, Registration, TicketOpening,
    },
    writer::{Command, Idempotency, WriterHandle},
};
use uuid::Uuid;

/// When every command of these takes effect.
pub fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).expect("a time")
}

pub fn context() -> Context {
    Context {
        actor: Actor::system("tests"),
        principal: None,
        on_behalf_of: None,
        reason: Some("a test".into()),
        correlation_id: Uuid::now_v7(),
        causation_id: None,
        occurred_at: noon(),
    }
}

pub fn command(operation: Operation) -> Command {
    Command { id: Uuid::now_v7(), operation, context: context(), idempotency: None, expected: None }
}

/// The same command under a key; `request` stands for the bytes of the request.
pub fn keyed(command: Command, key: &str, request: u8) -> Command {
    let idempotency = Idempotency { scope: "tests".into(), key: key.into(), fingerprint: [request; 32] };
    Command { idempotency: Some(idempotency), ..command }
}

pub fn usd(amount: &str) -> Money {
    Money::parse(amount, "USD").expect("an amount of dollars")
}

pub fn register(name: &str) -> Command {
    command(Operation::RegisterCustomer(Registration { name: name.into(), email: None }))
}

pub fn open_account(customer: &CustomerId) -> Command {
    command(Operation::OpenAccount(AccountOpening {
        customer: customer.clone(),
        currency: usd("0").currency(),
        name: "the account".into(),
        time_zone: "Europe/Berlin".into(),
    }))
}

pub fn open_ticket(customer: &CustomerId) -> Command {
    command(Operation::OpenTicket(TicketOpening {
        customer: customer.clone(),
        category: "billing".into(),
        subject: "a question".into(),
        about: None,
        message: "how much?".into(),
    }))
}

/// Money comes in through a gateway.
pub fn pay_in(account: &AccountId, gateway_payment: &str, amount: Money) -> Command {
    command(Operation::GatewayNotice(GatewayNotice {
        gateway: "test".into(),
        gateway_payment: gateway_payment.into(),
        payment: None,
        account: account.clone(),
        amount,
        purpose: Purpose::Advance,
        outcome: NoticeOutcome::Succeeded,
    }))
}

/// Staff correct the balance, upwards or downwards.
pub fn adjust(account: &AccountId, amount: Money) -> Command {
    command(Operation::AdjustAccount(AdjustAccount {
        account: account.clone(),
        amount,
        description: "a correction".into(),
    }))
}

/// What an answer calls its `id`.
pub fn id<I: FromStr>(answer: &Answer) -> I {
    let id = answer["id"].as_str().and_then(|text| text.parse().ok());
    id.expect("the answer has an identifier of that kind")
}

/// A new customer with one account in dollars.
pub async fn account(writer: &WriterHandle) -> AccountId {
    let customer = writer.execute(register("Anna")).await.expect("a customer can be registered");
    let account = writer.execute(open_account(&id(&customer.answer))).await.expect("an account can be opened");
    id(&account.answer)
}
