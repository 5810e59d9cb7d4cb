//! A second factor that a person has lost: one of the provider's people asks for its reset, and another one completes it after
//! a waiting time, in which the person and the customer can cancel it. A completed reset also takes the recovery codes and the
//! password away.

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Person, UserEvent, UserId, UserRejection};

/// For how long a reset can be completed once its waiting time is over. Nobody remembers one of last year.
const COMPLETABLE_FOR: TimeDelta = TimeDelta::days(7);

/// A reset that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FactorReset {
    /// Who asked for it; nobody, if it was a program of the ledger's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
    /// When the waiting time is over.
    pub completable_at: DateTime<Utc>,
    /// From then on it is as if nobody had asked.
    pub lapses_at: DateTime<Utc>,
}

/// What can be done about a lost factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactorResetStep {
    Request { wait: TimeDelta },
    Cancel,
    Complete,
}

/// A step, with who takes it and when.
#[derive(Clone, Debug)]
pub struct FactorResetCommand {
    pub step: FactorResetStep,
    pub by: Option<UserId>,
    pub at: DateTime<Utc>,
}

impl Person {
    /// The reset that has been asked for and not yet lapsed.
    pub fn factor_reset(&self, at: DateTime<Utc>) -> Option<&FactorReset> {
        self.factor_reset.as_ref().filter(|reset| at < reset.lapses_at)
    }

    pub(super) fn decide_factor_reset(&self, command: FactorResetCommand) -> Result<UserEvent, UserRejection> {
        use FactorResetStep as S;
        use UserEvent as E;
        use UserRejection as R;

        let FactorResetCommand { step, by, at } = command;
        match (step, self.factor_reset(at)) {
            // It only takes back, and is always possible.
            (S::Cancel, Some(_)) => Ok(E::FactorResetCancelled {}),
            (S::Cancel | S::Complete, None) => Err(R::NoFactorReset),
            (S::Request { .. }, Some(_)) => Err(R::FactorResetRequested),
            _ if !self.enabled => Err(R::Disabled),
            _ if self.factors.is_empty() => Err(R::NoSecondFactor),
            (S::Request { wait }, None) => {
                let completable_at = at + wait;
                let lapses_at = completable_at + COMPLETABLE_FOR;
                Ok(E::FactorResetRequested(FactorReset { by, completable_at, lapses_at }))
            }
            (S::Complete, Some(reset)) if reset.by.is_some() && reset.by == by => Err(R::SecondPersonNeeded),
            (S::Complete, Some(FactorReset { completable_at, .. })) if at < *completable_at => {
                Err(R::FactorResetEarly { completable_at: *completable_at })
            }
            (S::Complete, Some(_)) => {
                let factors = self.factors.keys().filter_map(|factor| factor.parse().ok()).collect();
                Ok(E::FactorsReset { factors })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::{super::*, *};
    use crate::domain::fixtures::id;

    const DAY: TimeDelta = TimeDelta::hours(24);

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(hours)
    }

    fn with_factor() -> Vec<UserEvent> {
        vec![
            UserEvent::Invited(Invitation { login: "ada".into(), login_name: id("ada"), name: "Ada".into() }),
            UserEvent::FactorAdded { factor: id("telephone"), kind: FactorKind::Totp },
        ]
    }

    fn requested() -> UserEvent {
        UserEvent::FactorResetRequested(FactorReset {
            by: Some(id("anna")),
            completable_at: at(24),
            lapses_at: at(24 * 8),
        })
    }

    fn with_request() -> Vec<UserEvent> {
        [with_factor(), vec![requested()]].concat()
    }

    fn step(step: FactorResetStep, by: &str, hours: i64) -> UserCommand {
        UserCommand::ResetFactors(FactorResetCommand { step, by: Some(id(by)), at: at(hours) })
    }

    fn given(events: Vec<UserEvent>) -> cqrs_es::test::AggregateTestExecutor<User> {
        TestFramework::<User>::with(()).given(events)
    }

    #[test]
    fn a_reset_waits_and_lapses() {
        let request = || step(FactorResetStep::Request { wait: DAY }, "anna", 0);
        given(with_factor()).when(request()).then_expect_events(vec![requested()]);
        let again = step(FactorResetStep::Request { wait: DAY }, "ben", 24 * 8 - 1);
        given(with_request()).when(again).then_expect_error(UserRejection::FactorResetRequested);
        let complete = |hours| step(FactorResetStep::Complete, "ben", hours);
        let early = UserRejection::FactorResetEarly { completable_at: at(24) };
        given(with_request()).when(complete(23)).then_expect_error(early);
        let reset = UserEvent::FactorsReset { factors: vec![id("telephone")] };
        for hours in [24, 24 * 8 - 1] {
            given(with_request()).when(complete(hours)).then_expect_events(vec![reset.clone()]);
        }
        given(with_request()).when(complete(24 * 8)).then_expect_error(UserRejection::NoFactorReset);
        let anew = step(FactorResetStep::Request { wait: DAY }, "ben", 24 * 8);
        let expected = FactorReset { by: Some(id("ben")), completable_at: at(24 * 9), lapses_at: at(24 * 16) };
        given(with_request()).when(anew).then_expect_events(vec![UserEvent::FactorResetRequested(expected)]);
    }

    #[test]
    fn whoever_asked_for_a_reset_does_not_complete_it() {
        let complete = step(FactorResetStep::Complete, "anna", 25);
        given(with_request()).when(complete).then_expect_error(UserRejection::SecondPersonNeeded);
    }

    #[test]
    fn a_reset_that_was_cancelled_or_completed_is_none_any_more() {
        let cancel = || step(FactorResetStep::Cancel, "ada", 1);
        given(with_request()).when(cancel()).then_expect_events(vec![UserEvent::FactorResetCancelled {}]);
        for over in [UserEvent::FactorResetCancelled {}, UserEvent::FactorsReset { factors: vec![id("telephone")] }] {
            let events = [with_request(), vec![over]].concat();
            given(events.clone()).when(cancel()).then_expect_error(UserRejection::NoFactorReset);
            let complete = step(FactorResetStep::Complete, "ben", 25);
            given(events).when(complete).then_expect_error(UserRejection::NoFactorReset);
        }
    }

    #[test]
    fn only_who_can_sign_in_and_has_a_factor_has_lost_one() {
        let request = || step(FactorResetStep::Request { wait: DAY }, "anna", 0);
        given(with_factor()[..1].to_vec()).when(request()).then_expect_error(UserRejection::NoSecondFactor);
        let disabled = [with_factor(), vec![UserEvent::Disabled {}]].concat();
        given(disabled).when(request()).then_expect_error(UserRejection::Disabled);
        // A reset that waits can be cancelled all the same.
        let disabled = [with_request(), vec![UserEvent::Disabled {}]].concat();
        let cancel = step(FactorResetStep::Cancel, "ada", 1);
        given(disabled).when(cancel).then_expect_events(vec![UserEvent::FactorResetCancelled {}]);
    }
}
