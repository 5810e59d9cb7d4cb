//! Users: inviting a person, what the person may do, and by what the person shows who it is.

use serde_json::json;

use super::{
    Answer, Refusal,
    access::{AccessRejection, allowed, asking_customer, may_give, may_remove_leader},
    answer, reason_given,
};
use crate::{
    domain::{
        Customer, Party, Team, User, UserId,
        customer::{CustomerCommand, Registration},
        function::Function,
        team::{TeamCommand, TeamRejection},
        user::{
            Acceptance, CredentialChange, FactorResetCommand, FactorResetStep, Invitation, MembershipChange,
            PasswordId, UserChange, UserCommand, UserRejection,
        },
        user_name::UserNameCommand,
    },
    state::UnitOfWork,
};

/// Invites a person as a member of a customer, or of the provider.
#[derive(Clone, Debug)]
pub struct InviteUser {
    pub invitation: Invitation,
    pub party: Party,
    /// What the person may do there.
    pub rights: Vec<MembershipChange>,
}

#[derive(Clone, Debug)]
pub struct ChangeUser {
    pub user: UserId,
    pub change: UserChange,
}

#[derive(Clone, Debug)]
pub struct ChangeMembership {
    pub user: UserId,
    pub party: Party,
    pub change: MembershipChange,
}

#[derive(Clone, Debug)]
pub struct ChangeCredentials {
    pub user: UserId,
    pub change: CredentialChange,
}

/// A person becomes the first user of a new customer, having signed up without anybody's help.
///
/// Whoever asks for it has made sure that the person reads the mail of the address that is the name to sign in by.
#[derive(Clone, Debug)]
pub struct SignUp {
    /// A new one. The row of the password names it already.
    pub user: UserId,
    pub invitation: Invitation,
    pub password: PasswordId,
    pub terms: Acceptance,
}

/// Takes the second factor off somebody who has lost it, in two steps of two persons with a waiting time between them.
#[derive(Clone, Debug)]
pub struct ResetFactors {
    pub user: UserId,
    pub step: FactorResetStep,
}

impl InviteUser {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let user = books.new_id::<User>();
        books.execute(&self.invitation.login_name, UserNameCommand::Claim { user: user.clone() })?;
        books.execute(&user, UserCommand::Invite(self.invitation.clone()))?;
        if let Some(customer) = self.party.customer() {
            books.get(customer).groups()?;
        }
        for change in [MembershipChange::Give].iter().chain(&self.rights) {
            change_membership(books, &user, &self.party, change)?;
        }
        Ok(answer(json!({ "id": user })))
    }
}

impl SignUp {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let Self { user, invitation, password, terms } = self;
        books.execute(&invitation.login_name, UserNameCommand::Claim { user: user.clone() })?;
        let customer = books.new_id::<Customer>();
        let registration = Registration { name: invitation.name.clone(), email: Some(invitation.login.clone()) };
        books.execute(&customer, CustomerCommand::Register(registration))?;
        books.execute(user, UserCommand::Invite(invitation.clone()))?;
        let party = Party::Customer(customer.clone());
        for change in [MembershipChange::Give, MembershipChange::GrantSuperuser] {
            change_membership(books, user, &party, &change)?;
        }
        books.execute(user, UserCommand::AcceptTerms(terms.clone()))?;
        let set = CredentialChange::SetPassword { password: password.clone() };
        books.execute(user, UserCommand::ChangeCredentials(set))?;
        Ok(answer(json!({ "customer": customer, "user": user })))
    }
}

impl ChangeMembership {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let Self { user, party, change } = self;
        if let Some(customer) = party.customer() {
            books.get(customer).groups()?;
        }
        let was_leading = books.get(user).person()?.membership(party).is_some_and(|membership| membership.leads());
        let removes = match change {
            MembershipChange::Withdraw => true,
            MembershipChange::RevokeSuperuser => was_leading,
            _ => false,
        };
        if removes {
            not_the_first(books, user, party)?;
        }
        if was_leading && matches!(change, MembershipChange::Withdraw | MembershipChange::DenyFunction(_)) {
            may_remove_leader(books)?;
        }
        change_membership(books, user, party, change)?;
        Ok(answer(json!({ "id": user })))
    }
}

impl ChangeUser {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let Self { user, change } = self;
        let led = books.get(user).person()?.leads();
        let asks = books.context().principal.as_ref().filter(|principal| principal.user != *user);
        if let Some(principal) = asks {
            if books.get(user).person()?.membership(&Party::Provider).is_some() {
                allowed(books, principal, Function::RightsGrant)?;
            }
            if let Some(party) = asking_customer(books) {
                if !books.get(user).person()?.is_only_of(&party) {
                    return Err(AccessRejection::Shared.into());
                }
                if matches!(change, UserChange::Disable | UserChange::Enable) {
                    not_the_first(books, user, &party)?;
                    if led.contains(&party) {
                        may_remove_leader(books)?;
                    }
                }
            }
        }
        books.execute(user, UserCommand::Change(change.clone()))?;
        for party in led {
            let team = Team::of(&party);
            match change {
                UserChange::Disable => books.execute(&team, TeamCommand::RemoveLeader { user: user.clone() })?,
                UserChange::Enable => books.execute(&team, TeamCommand::AddLeader { user: user.clone() })?,
                _ => {}
            }
        }
        Ok(answer(json!({ "id": user })))
    }
}

impl ChangeCredentials {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let Self { user, change } = self;
        // A token makes no other, which could do more or last longer.
        if let (CredentialChange::MakeToken(grant), Some(principal)) = (change, &books.context().principal)
            && (grant.party != principal.party || principal.token.is_some())
        {
            return Err(AccessRejection::MoreThanOwn.into());
        }
        books.execute(user, UserCommand::ChangeCredentials(change.clone()))?;
        Ok(answer(match change {
            CredentialChange::MakeToken(grant) => json!({ "id": grant.token }),
            _ => json!({ "id": user }),
        }))
    }
}

impl ResetFactors {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let Self { user, step } = self;
        if matches!(step, FactorResetStep::Request { .. }) {
            reason_given(books)?;
        }
        let principal = books.context().principal.as_ref();
        if let Some(principal) = principal.filter(|_| *step != FactorResetStep::Cancel) {
            if principal.token.is_some() {
                return Err(AccessRejection::MoreThanOwn.into());
            }
            if principal.user == *user {
                return Err(UserRejection::SecondPersonNeeded.into());
            }
            if books.get(user).person()?.membership(&Party::Provider).is_some() {
                allowed(books, principal, Function::RightsGrant)?;
            }
        }
        // No request about it names a moment of effect: that is when the command was given.
        let at = books.context().occurred_at;
        let by = principal.map(|principal| principal.user.clone());
        books.execute(user, UserCommand::ResetFactors(FactorResetCommand { step: *step, by, at }))?;
        Ok(answer(match books.get(user).person()?.factor_reset(at) {
            Some(reset) => {
                json!({ "id": user, "completable_at": reset.completable_at, "lapses_at": reset.lapses_at })
            }
            None => json!({ "id": user }),
        }))
    }
}

/// Changes a membership, and keeps the team's list of those who lead it.
fn change_membership(
    books: &mut UnitOfWork<'_>,
    user: &UserId,
    party: &Party,
    change: &MembershipChange,
) -> Result<(), Refusal> {
    may_give(books, change)?;
    not_of_the_house(books, user, party, change)?;
    let leads = |books: &mut UnitOfWork<'_>| {
        let person = books.get(user).person().ok();
        person.is_some_and(|person| {
            person.enabled && person.membership(party).is_some_and(|membership| membership.leads())
        })
    };
    let before = leads(books);
    books.execute(user, UserCommand::ChangeMembership { party: party.clone(), change: change.clone() })?;
    let team = Team::of(party);
    match (before, leads(books)) {
        (false, true) => books.execute(&team, TeamCommand::AddLeader { user: user.clone() })?,
        (true, false) => books.execute(&team, TeamCommand::RemoveLeader { user: user.clone() })?,
        _ => {}
    }
    if *change == MembershipChange::Give {
        books.execute(&team, TeamCommand::Join { party: party.clone(), user: user.clone() })?;
    }
    Ok(())
}

/// The provider's people act for customers in their names, with a reason, and not as their users.
fn not_of_the_house(
    books: &mut UnitOfWork<'_>,
    user: &UserId,
    party: &Party,
    change: &MembershipChange,
) -> Result<(), Refusal> {
    let gives = matches!(
        change,
        MembershipChange::Give | MembershipChange::GrantSuperuser | MembershipChange::GrantFunction(_)
    );
    let of_the_house = books.get(user).person()?.membership(&Party::Provider).is_some();
    if books.context().principal.is_some() && party.customer().is_some() && gives && of_the_house {
        return Err(AccessRejection::Shared.into());
    }
    Ok(())
}

/// A customer cannot remove its own first user.
fn not_the_first(books: &mut UnitOfWork<'_>, user: &UserId, party: &Party) -> Result<(), TeamRejection> {
    if asking_customer(books).is_some() && books.get(&Team::of(party)).first() == Some(user) {
        return Err(TeamRejection::FirstUser);
    }
    Ok(())
}

impl UserChange {
    /// Whether a person may do it about himself or herself.
    pub(super) fn is_about_oneself(&self) -> bool {
        match self {
            Self::Rename { .. } | Self::Move { .. } | Self::AddContact { .. } | Self::RemoveContact { .. } => true,
            Self::Enable | Self::Disable => false,
        }
    }
}
