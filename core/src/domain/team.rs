//! A team: the users of one customer, or of the provider. It knows who leads it, so that somebody always does: an enabled
//! superuser of the customer, or an enabled operator of the provider.

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use imbl::OrdSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Id, LedgerAggregate, LedgerEvent, Mentions, Noun, Owner, UserId, function::Function, posting::JournalEntry,
    user::Party, version::written_version,
};
use crate::terms::{
    refusal::{conflict, refusals},
    rule::Rule,
};

pub type TeamId = Id<Team>;

#[derive(Clone, Debug)]
pub enum TeamCommand {
    /// A user has become a member of it.
    Join {
        party: Party,
        user: UserId,
    },
    /// A user leads it from now on.
    AddLeader {
        user: UserId,
    },
    RemoveLeader {
        user: UserId,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TeamEvent {
    /// The first user has joined.
    Begun {
        party: Party,
        first: UserId,
    },
    LeaderAdded {
        user: UserId,
    },
    LeaderRemoved {
        user: UserId,
    },
}

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum TeamRejection {
        #[error("no other enabled superuser of the customer would be left")]
        LastSuperuser = conflict("last-superuser", "No enabled superuser of the customer would be left"),
        #[error("no other enabled operator would be left")]
        LastOperator = conflict("last-operator", "No enabled operator would be left"),
        #[error("the first user of a customer is removed by the provider only")]
        FirstUser = conflict("first-user", "The first user of a customer is removed by the provider only"),
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Team {
    party: Option<Party>,
    first: Option<UserId>,
    leaders: OrdSet<UserId>,
}

impl Noun for Team {
    const PREFIX: &'static str = "tea";
    /// The name is the identifier of a customer, and has its prefix before what such a name may have.
    const NAMED_BY_OTHERS: bool = true;
}

impl LedgerAggregate for Team {
    const FOLD_VERSION: i32 = 1;
    const READ_BY: Function = Function::UsersRead;

    fn owner(&self) -> Owner<'_> {
        Owner::Everybody
    }
}

impl Team {
    /// The identifier of a party's team.
    pub fn of(party: &Party) -> TeamId {
        let named = Id::named(party.key());
        named.expect("an identifier is shorter than a name may be, and has neither spaces nor control characters")
    }

    pub fn first(&self) -> Option<&UserId> {
        self.first.as_ref()
    }

    fn removable(&self, user: &UserId) -> Result<(), TeamRejection> {
        match &self.party {
            _ if self.leaders.iter().any(|leader| leader != user) => Ok(()),
            Some(Party::Provider) => Err(TeamRejection::LastOperator),
            _ => Err(TeamRejection::LastSuperuser),
        }
    }
}

impl Aggregate for Team {
    const TYPE: &'static str = "team";
    type Command = TeamCommand;
    type Event = TeamEvent;
    type Error = TeamRejection;
    type Services = ();

    async fn handle(&mut self, command: TeamCommand, (): &(), sink: &EventSink<Self>) -> Result<(), TeamRejection> {
        let event = match command {
            TeamCommand::Join { party, user } if self.first.is_none() => TeamEvent::Begun { party, first: user },
            TeamCommand::AddLeader { user } if !self.leaders.contains(&user) => TeamEvent::LeaderAdded { user },
            TeamCommand::RemoveLeader { user } if self.leaders.contains(&user) => {
                self.removable(&user)?;
                TeamEvent::LeaderRemoved { user }
            }
            TeamCommand::Join { .. } | TeamCommand::AddLeader { .. } | TeamCommand::RemoveLeader { .. } => {
                return Ok(());
            }
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: TeamEvent) {
        match event {
            TeamEvent::Begun { party, first } => {
                self.party = Some(party);
                self.first = Some(first);
            }
            TeamEvent::LeaderAdded { user } => {
                self.leaders.insert(user);
            }
            TeamEvent::LeaderRemoved { user } => {
                self.leaders.remove(&user);
            }
        }
    }
}

impl DomainEvent for TeamEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Begun { .. } => "team.begun",
            Self::LeaderAdded { .. } => "team.leader_added",
            Self::LeaderRemoved { .. } => "team.leader_removed",
        }
        .into()
    }

    fn event_version(&self) -> String {
        written_version(self)
    }
}

impl LedgerEvent for TeamEvent {
    type Aggregate = Team;

    const VERSIONS: &'static [(&'static str, &'static str)] =
        &[("team.begun", "1.0"), ("team.leader_added", "1.0"), ("team.leader_removed", "1.0")];

    fn postings(&self) -> JournalEntry {
        Vec::new()
    }

    fn rule(&self) -> Option<Rule> {
        None
    }

    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>) {
        match self {
            Self::Begun { party, first } => {
                mentions.add(first);
                mentions.add_all(party.customer());
            }
            Self::LeaderAdded { user } | Self::LeaderRemoved { user } => mentions.add(user),
        }
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;
    use crate::domain::fixtures::id;

    fn begun(party: Party) -> Vec<TeamEvent> {
        vec![TeamEvent::Begun { party, first: id("ada") }, TeamEvent::LeaderAdded { user: id("ada") }]
    }

    fn remove(user: &str) -> TeamCommand {
        TeamCommand::RemoveLeader { user: id(user) }
    }

    #[test]
    fn the_last_who_leads_stays() {
        let ada_alone = |party| TestFramework::<Team>::with(()).given(begun(party)).when(remove("ada"));
        ada_alone(Party::Customer(id("cus"))).then_expect_error(TeamRejection::LastSuperuser);
        ada_alone(Party::Provider).then_expect_error(TeamRejection::LastOperator);

        let mut both = begun(Party::Provider);
        both.push(TeamEvent::LeaderAdded { user: id("bob") });
        let removed = TeamEvent::LeaderRemoved { user: id("ada") };
        TestFramework::<Team>::with(()).given(both).when(remove("ada")).then_expect_events(vec![removed]);
    }

    #[test]
    fn who_does_not_lead_is_not_removed() {
        TestFramework::<Team>::with(()).given(begun(Party::Provider)).when(remove("bob")).then_expect_events(vec![]);
    }

    #[test]
    fn the_first_to_join_is_the_first_user() {
        let join = |user: &str| TeamCommand::Join { party: Party::Provider, user: id(user) };
        TestFramework::<Team>::with(())
            .given(vec![])
            .when(join("ada"))
            .then_expect_events(vec![TeamEvent::Begun { party: Party::Provider, first: id("ada") }]);
        TestFramework::<Team>::with(()).given(begun(Party::Provider)).when(join("bob")).then_expect_events(vec![]);
    }

    #[test]
    fn a_team_is_named_by_its_party() {
        assert_eq!(Team::of(&Party::Provider).as_str(), "tea_provider");
        assert_eq!(Team::of(&Party::Customer(id("ada"))).as_str(), "tea_cus_ada");
    }
}
