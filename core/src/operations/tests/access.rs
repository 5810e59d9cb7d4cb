//! Who may do what: rights are looked at when a command is decided, and nothing that is another customer's is read.

use super::*;
use crate::{
    domain::{
        CustomerId, Party, Principal, UserId,
        function::{Function, Role},
        ticket::{TicketAction, TicketOpening},
        user::{CredentialChange, FactorKind, Invitation, MembershipChange as M, TokenGrant, TokenId, UserChange},
    },
    operations::{
        AdjustAccount, ChangeCredentials, ChangeMembership, ChangePayer, ChangeUser, InviteUser, PayerChange,
        WriteOnTicket,
    },
};

fn invite(books: &mut Books, login: &str, party: Party, rights: Vec<M>) -> UserId {
    let login_name = named(login);
    let invitation = Invitation { login: login.into(), login_name, name: format!("{login} the person").into() };
    id_of(&books.done(Operation::InviteUser(InviteUser { invitation, party, rights })))
}

fn named<N: Noun>(name: &str) -> Id<N> {
    Id::named(name).expect("a name")
}

fn five() -> Money {
    Money::parse("5.00", "USD").expect("an amount")
}

fn id_of<N: Noun>(answer: &Answer) -> Id<N> {
    answer["id"].as_str().expect("an identifier").parse().expect("of its noun")
}

fn customer(books: &mut Books, name: &str) -> CustomerId {
    id_of(&books.done(Operation::RegisterCustomer(Registration { name: name.into(), email: None })))
}

fn ticket(books: &mut Books, customer: &CustomerId) -> crate::domain::TicketId {
    id_of(&books.done(open_ticket(customer)))
}

fn open_ticket(customer: &CustomerId) -> Operation {
    Operation::OpenTicket(TicketOpening {
        customer: customer.clone(),
        category: "technical".into(),
        subject: "it is slow".into(),
        about: None,
        message: "very".into(),
    })
}

fn reply(ticket: &crate::domain::TicketId) -> Operation {
    Operation::WriteOnTicket(WriteOnTicket {
        ticket: ticket.clone(),
        action: TicketAction::Reply { message: "still".into() },
    })
}

fn membership(user: &UserId, party: &Party, change: M) -> Operation {
    Operation::ChangeMembership(ChangeMembership { user: user.clone(), party: party.clone(), change })
}

fn disable(user: &UserId) -> Operation {
    Operation::ChangeUser(ChangeUser { user: user.clone(), change: UserChange::Disable })
}

impl Books {
    /// What follows is asked for by this person, in this membership.
    fn act_as(&mut self, user: &UserId, party: &Party) {
        self.context.principal = Some(Principal { user: user.clone(), party: party.clone(), token: None });
    }

    fn act_by_itself(&mut self) {
        self.context.principal = None;
        self.context.on_behalf_of = None;
    }
}

/// Two customers, the first with a superuser.
fn two_customers() -> (Books, (CustomerId, Party, UserId), (CustomerId, Party)) {
    let mut books = Books::new();
    let (ada, bob) = (customer(&mut books, "Ada"), customer(&mut books, "Bob"));
    let (of_ada, of_bob) = (Party::Customer(ada.clone()), Party::Customer(bob.clone()));
    let user = invite(&mut books, "ada", of_ada.clone(), vec![M::GrantSuperuser]);
    (books, (ada, of_ada, user), (bob, of_bob))
}

#[test]
fn a_function_that_is_not_held_is_refused_and_one_that_is_given_is_not() {
    let (mut books, (ada, party, _), _) = two_customers();
    let clerk = invite(&mut books, "clerk", party.clone(), vec![]);
    let question = open_ticket(&ada);
    books.act_as(&clerk, &party);
    assert_eq!(books.refused(question.clone()).code(), "forbidden-by-role");
    books.act_by_itself();
    books.done(membership(&clerk, &party, M::GrantFunction(Function::TicketsWrite)));
    books.act_as(&clerk, &party);
    books.done(question.clone());
    books.act_by_itself();
    books.done(membership(&clerk, &party, M::DenyFunction(Function::TicketsWrite)));
    books.act_as(&clerk, &party);
    assert_eq!(books.refused(question).code(), "forbidden-by-role");
}

#[test]
fn who_is_disabled_or_no_member_any_more_does_nothing() {
    let (mut books, (ada, party, user), _) = two_customers();
    invite(&mut books, "second", party.clone(), vec![M::GrantSuperuser]);
    for (change, back) in [
        (disable(&user), Operation::ChangeUser(ChangeUser { user: user.clone(), change: UserChange::Enable })),
        (membership(&user, &party, M::Withdraw), membership(&user, &party, M::Give)),
    ] {
        books.act_by_itself();
        books.done(change);
        books.act_as(&user, &party);
        assert_eq!(books.refused(open_ticket(&ada)).code(), "forbidden-by-role");
        books.act_by_itself();
        books.done(back);
    }
}

#[test]
fn what_is_another_customers_is_as_if_it_were_not_there() {
    let (mut books, (ada, party, user), (bob, _)) = two_customers();
    let (own, foreign) = (ticket(&mut books, &ada), ticket(&mut books, &bob));
    let foreign_payer = id_of::<crate::domain::Payer>(&books.done(Operation::CreatePayer(Profile {
        customer: bob.clone(),
        kind: PayerKind::Individual,
        name: "Bob".into(),
        address: Address { country: "GB".into(), ..Address::default() },
        tax_number: None,
    })));
    books.act_as(&user, &party);
    books.done(reply(&own));
    let (there, nowhere) = (books.refused(reply(&foreign)), books.refused(reply(&named("nowhere"))));
    assert_eq!((there.code(), there.to_string()), ("ticket-not-found", nowhere.to_string()));
    assert_eq!(books.refused(open_ticket(&bob)).code(), "customer-not-found");
    let change = ChangePayer { payer: foreign_payer, changes: vec![PayerChange::Deactivate] };
    assert_eq!(books.refused(Operation::ChangePayer(change)).code(), "payer-not-found");
    // What was refused has left nothing empty behind.
    books.act_by_itself();
    books.done(reply(&foreign));
}

#[test]
fn what_hangs_on_an_account_is_hidden_with_it() {
    let mut books = Books::new();
    let (account, other) = (books.account("USD"), books.account("USD"));
    let owner = books.ledger(&account).customer.clone();
    let party = Party::Customer(owner);
    let user = invite(&mut books, "ada", party.clone(), vec![M::GrantSuperuser]);
    books.act_as(&user, &party);
    let start = |account: &AccountId| {
        Operation::StartPayment(PaymentRequest {
            account: account.clone(),
            amount: five(),
            method: "card".into(),
            payer: None,
            purpose: Purpose::Advance,
        })
    };
    let own: PaymentId = id_of(&books.done(start(&account)));
    assert_eq!(books.refused(start(&other)).code(), "account-not-found");
    books.act_by_itself();
    let foreign: PaymentId = id_of(&books.done(start(&other)));
    books.act_as(&user, &party);
    let submit = |payment: PaymentId| Operation::AdvancePayment(AdvancePayment { payment, step: PaymentStep::Submit });
    books.done(submit(own));
    assert_eq!(books.refused(submit(foreign)).code(), "payment-not-found");
}

#[test]
fn a_customer_never_names_a_price_or_corrects_a_balance() {
    let mut books = Books::new();
    let account = books.account("USD");
    let party = Party::Customer(books.ledger(&account).customer.clone());
    let user = invite(&mut books, "ada", party.clone(), vec![M::GrantSuperuser]);
    books.act_as(&user, &party);
    let correct = Operation::AdjustAccount(AdjustAccount { account, amount: five(), description: "a gift".into() });
    let refusal = books.refused(correct);
    assert_eq!(refusal.code(), "forbidden-by-role");
    assert_eq!(crate::terms::refusal::Rejection::figures(&refusal)["function"], "accounts.adjust");
}

#[test]
fn in_a_customers_name_nothing_is_done_without_a_reason_and_nothing_is_paid() {
    let (mut books, (ada, _, _), (bob, _)) = two_customers();
    let (own, foreign) = (ticket(&mut books, &ada), ticket(&mut books, &bob));
    let anna = invite(&mut books, "anna", Party::Provider, vec![M::GrantRole(Role::Staff)]);
    books.act_as(&anna, &Party::Provider);
    books.context.on_behalf_of = Some(Actor::new(ActorKind::Customer, ada.as_str()));
    assert_eq!(books.without_reason(reply(&own)).code(), "impersonation-read-only");
    books.done(reply(&own));
    assert_eq!(books.refused(reply(&foreign)).code(), "ticket-not-found", "who stands in sees what the customer sees");
    let start = Operation::StartPayment(PaymentRequest {
        account: named("any"),
        amount: five(),
        method: "card".into(),
        payer: None,
        purpose: Purpose::Advance,
    });
    assert_eq!(books.refused(start).code(), "impersonation-read-only");
    let register = Operation::RegisterCustomer(Registration { name: "Eve".into(), email: None });
    assert_eq!(books.refused(register).code(), "impersonation-read-only", "a customer does not register customers");
}

#[test]
fn somebody_always_leads() {
    let (mut books, (_, party, user), _) = two_customers();
    for change in
        [disable(&user), membership(&user, &party, M::RevokeSuperuser), membership(&user, &party, M::Withdraw)]
    {
        assert_eq!(books.refused(change).code(), "last-superuser");
    }
    let second = invite(&mut books, "second", party.clone(), vec![M::GrantSuperuser]);
    books.done(disable(&second));
    assert_eq!(books.refused(disable(&user)).code(), "last-superuser", "who is disabled does not lead");
    books.done(Operation::ChangeUser(ChangeUser { user: second.clone(), change: UserChange::Enable }));
    books.done(disable(&user));

    let operator = invite(&mut books, "root", Party::Provider, vec![M::GrantRole(Role::Operator)]);
    assert_eq!(books.refused(disable(&operator)).code(), "last-operator");
}

#[test]
fn a_customer_does_not_remove_its_first_user() {
    let (mut books, (_, party, first), _) = two_customers();
    let second = invite(&mut books, "second", party.clone(), vec![M::GrantSuperuser]);
    books.act_as(&second, &party);
    for change in
        [disable(&first), membership(&first, &party, M::RevokeSuperuser), membership(&first, &party, M::Withdraw)]
    {
        assert_eq!(books.refused(change).code(), "first-user");
    }
    books.act_by_itself();
    books.done(membership(&first, &party, M::Withdraw));
}

#[test]
fn nobody_gives_more_than_he_has() {
    let (mut books, (_, party, _), (_, of_bob)) = two_customers();
    let rights = vec![M::GrantFunction(Function::UsersManage), M::GrantFunction(Function::OrdersRead)];
    let clerk = invite(&mut books, "clerk", party.clone(), rights);
    let other = invite(&mut books, "other", party.clone(), vec![]);
    let stranger = invite(&mut books, "stranger", of_bob.clone(), vec![]);
    books.act_as(&clerk, &party);
    books.done(membership(&other, &party, M::GrantFunction(Function::OrdersRead)));
    for more in [M::GrantFunction(Function::OrdersPay), M::GrantSuperuser] {
        assert_eq!(books.refused(membership(&other, &party, more.clone())).code(), "right-not-held");
        assert_eq!(books.refused(membership(&clerk, &party, more)).code(), "right-not-held");
    }
    assert_eq!(books.refused(membership(&stranger, &party, M::Give)).code(), "user-not-found");
    assert_eq!(books.refused(membership(&other, &of_bob, M::Give)).code(), "customer-not-found");
    assert_eq!(books.refused(membership(&other, &Party::Provider, M::Give)).code(), "forbidden-by-role");
    let function = Function::BooksClose;
    books.act_by_itself();
    assert_eq!(
        books.refused(membership(&other, &party, M::GrantFunction(function))).code(),
        "function-of-the-provider"
    );
}

#[test]
fn who_is_a_member_elsewhere_is_not_disabled_by_a_customer() {
    let (mut books, (_, party, user), (_, of_bob)) = two_customers();
    let both = invite(&mut books, "both", party.clone(), vec![]);
    books.done(membership(&both, &of_bob, M::Give));
    books.act_as(&user, &party);
    assert_eq!(books.refused(disable(&both)).code(), "user-shared");
    books.done(membership(&both, &party, M::Withdraw));
}

#[test]
fn a_token_may_what_it_was_made_for_as_long_as_it_is_valid() {
    let (mut books, (ada, party, user), _) = two_customers();
    let token: TokenId = named("one");
    let grant = |functions: Option<Vec<Function>>, expires_at| {
        Operation::ChangeCredentials(ChangeCredentials {
            user: user.clone(),
            change: CredentialChange::MakeToken(TokenGrant {
                token: token.clone(),
                party: party.clone(),
                name: "for the script".into(),
                functions: functions.map(|functions| functions.into_iter().collect()),
                expires_at,
            }),
        })
    };
    let by_token = Some(Principal { user: user.clone(), party: party.clone(), token: Some(token.clone()) });
    let revoke = Operation::ChangeCredentials(ChangeCredentials {
        user: user.clone(),
        change: CredentialChange::RevokeToken { token: token.clone() },
    });
    for (made, works) in [
        (grant(None, None), true),
        (grant(Some(vec![Function::TicketsWrite]), None), true),
        (grant(Some(vec![Function::TicketsRead]), None), false),
        (grant(None, Some(books.now)), false),
        (grant(None, Some(books.now + chrono::TimeDelta::seconds(1))), true),
    ] {
        books.act_by_itself();
        books.done(made.clone());
        books.context.principal = by_token.clone();
        match works {
            true => drop(books.done(open_ticket(&ada))),
            false => assert_eq!(books.refused(open_ticket(&ada)).code(), "forbidden-by-role", "{made:?}"),
        }
        books.act_by_itself();
        books.done(revoke.clone());
        books.context.principal = by_token.clone();
        assert_eq!(books.refused(open_ticket(&ada)).code(), "forbidden-by-role", "it was revoked");
    }
}

#[test]
fn a_person_changes_what_is_his_own_and_nothing_of_another() {
    let (mut books, (_, party, user), _) = two_customers();
    let clerk = invite(&mut books, "clerk", party.clone(), vec![]);
    books.act_as(&clerk, &party);
    let rename = |user: &UserId| {
        Operation::ChangeUser(ChangeUser { user: user.clone(), change: UserChange::Rename { name: "Other".into() } })
    };
    let factor = |user: &UserId| {
        let change = CredentialChange::AddFactor { factor: named("phone"), kind: FactorKind::Totp };
        Operation::ChangeCredentials(ChangeCredentials { user: user.clone(), change })
    };
    books.done(rename(&clerk));
    books.done(factor(&clerk));
    for change in [rename(&user), factor(&user), disable(&clerk)] {
        assert_eq!(books.refused(change).code(), "forbidden-by-role");
    }
}

#[test]
fn no_two_users_sign_in_by_one_name() {
    let (mut books, (_, party, _), _) = two_customers();
    let invitation = Invitation { login: "ADA".into(), login_name: named("ada"), name: "Another".into() };
    let again = InviteUser { invitation, party, rights: vec![] };
    assert_eq!(books.refused(Operation::InviteUser(again)).code(), "login-taken");
}

#[test]
fn a_token_does_not_decide_who_its_owner_is() {
    let (mut books, (_, party, user), _) = two_customers();
    let grant = |name: &str| TokenGrant {
        token: named(name),
        party: party.clone(),
        name: name.into(),
        functions: None,
        expires_at: None,
    };
    let change = |change| Operation::ChangeCredentials(ChangeCredentials { user: user.clone(), change });
    let make = |name| change(CredentialChange::MakeToken(grant(name)));
    books.done(make("first"));
    books.context.principal = Some(Principal { user: user.clone(), party: party.clone(), token: Some(named("first")) });
    assert_eq!(books.refused(make("second")).code(), "right-not-held");
    let factor = CredentialChange::AddFactor { factor: named("phone"), kind: FactorKind::Totp };
    assert_eq!(books.refused(change(factor)).code(), "right-not-held");
    books.act_as(&user, &party);
    books.done(make("second"));
}

#[test]
fn the_providers_people_become_no_users_of_a_customer_and_leave_operators_alone() {
    let (mut books, (_, party, _), _) = two_customers();
    let staff = |books: &mut Books, login: &str, role| invite(books, login, Party::Provider, vec![M::GrantRole(role)]);
    let (anna, olga) = (staff(&mut books, "anna", Role::Staff), staff(&mut books, "olga", Role::Staff));
    let operators = [staff(&mut books, "root", Role::Operator), staff(&mut books, "other", Role::Operator)];
    books.act_as(&anna, &Party::Provider);
    for user in [&anna, &olga] {
        assert_eq!(books.refused(membership(user, &party, M::Give)).code(), "user-shared");
    }
    for user in [&operators[0], &olga] {
        assert_eq!(books.refused(disable(user)).code(), "forbidden-by-role");
    }
    books.act_as(&operators[0], &Party::Provider);
    books.done(disable(&operators[1]));
}

#[test]
fn who_leads_is_removed_by_those_who_lead() {
    let (mut books, (_, party, _), _) = two_customers();
    let second = invite(&mut books, "second", party.clone(), vec![M::GrantSuperuser]);
    let clerk = invite(&mut books, "clerk", party.clone(), vec![M::GrantFunction(Function::UsersManage)]);
    books.act_as(&clerk, &party);
    for change in [disable(&second), membership(&second, &party, M::Withdraw)] {
        assert_eq!(books.refused(change).code(), "right-not-held");
    }
}

#[test]
fn a_gateways_name_of_a_payment_is_its_customers() {
    use crate::operations::{GatewayNotice, NoticeOutcome};

    let mut books = Books::new();
    let (account, other) = (books.account("USD"), books.account("USD"));
    let start = PaymentRequest {
        account: other.clone(),
        amount: five(),
        method: "card".into(),
        payer: None,
        purpose: Purpose::Advance,
    };
    let payment: PaymentId = id_of(&books.done(Operation::StartPayment(start)));
    books.done(Operation::GatewayNotice(GatewayNotice {
        gateway: "stripe".into(),
        gateway_payment: "pi_1".into(),
        payment: Some(payment),
        account: other,
        amount: five(),
        purpose: Purpose::Advance,
        outcome: NoticeOutcome::Succeeded,
    }));
    let party = Party::Customer(books.ledger(&account).customer.clone());
    let user = invite(&mut books, "ada", party.clone(), vec![M::GrantSuperuser]);
    books.act_as(&user, &party);
    let submit =
        |name: &str| Operation::AdvancePayment(AdvancePayment { payment: named(name), step: PaymentStep::Submit });
    let (there, nowhere) = (books.refused(submit("stripe:pi_1")), books.refused(submit("stripe:pi_2")));
    assert_eq!((there.code(), there.to_string()), (nowhere.code(), nowhere.to_string()));
}
