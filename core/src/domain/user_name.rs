//! The name that a user signs in by: no two users have the same. Its identifier is a keyed hash of the name, so that the
//! book does not say who signs in here.

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Id, LedgerAggregate, LedgerEvent, Mentions, Noun, Owner, UserId, function::Function, posting::JournalEntry,
    version::written_version,
};
use crate::terms::{
    refusal::{conflict, refusals},
    rule::Rule,
};

pub type UserNameId = Id<UserName>;

#[derive(Clone, Debug)]
pub enum UserNameCommand {
    Claim { user: UserId },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserNameEvent {
    Claimed { user: UserId },
}

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum UserNameRejection {
        #[error("another user signs in by that name")]
        Taken at "/login" = conflict("login-taken", "Another user signs in by that name"),
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UserName {
    pub user: Option<UserId>,
}

impl Noun for UserName {
    const PREFIX: &'static str = "una";
}

impl LedgerAggregate for UserName {
    const FOLD_VERSION: i32 = 1;
    const READ_BY: Function = Function::UsersRead;

    fn owner(&self) -> Owner<'_> {
        Owner::Everybody
    }
}

impl Aggregate for UserName {
    const TYPE: &'static str = "user_name";
    type Command = UserNameCommand;
    type Event = UserNameEvent;
    type Error = UserNameRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: UserNameCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), UserNameRejection> {
        let UserNameCommand::Claim { user } = command;
        if self.user.is_some() {
            return Err(UserNameRejection::Taken);
        }
        sink.write(UserNameEvent::Claimed { user }, self).await;
        Ok(())
    }

    fn apply(&mut self, event: UserNameEvent) {
        let UserNameEvent::Claimed { user } = event;
        self.user = Some(user);
    }
}

impl DomainEvent for UserNameEvent {
    fn event_type(&self) -> String {
        let Self::Claimed { .. } = self;
        "user_name.claimed".into()
    }

    fn event_version(&self) -> String {
        written_version(self)
    }
}

impl LedgerEvent for UserNameEvent {
    type Aggregate = UserName;

    const VERSIONS: &'static [(&'static str, &'static str)] = &[("user_name.claimed", "1.0")];

    fn postings(&self) -> JournalEntry {
        Vec::new()
    }

    fn rule(&self) -> Option<Rule> {
        None
    }

    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>) {
        let Self::Claimed { user } = self;
        mentions.add(user);
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;
    use crate::domain::fixtures::id;

    #[test]
    fn a_name_is_claimed_once() {
        let claim = |user: &str| UserNameCommand::Claim { user: id(user) };
        let claimed = || UserNameEvent::Claimed { user: id("ada") };
        TestFramework::<UserName>::with(()).given(vec![]).when(claim("ada")).then_expect_events(vec![claimed()]);
        TestFramework::<UserName>::with(())
            .given(vec![claimed()])
            .when(claim("bob"))
            .then_expect_error(UserNameRejection::Taken);
    }
}
