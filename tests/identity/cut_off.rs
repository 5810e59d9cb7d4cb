//! What a change takes from a person is taken also if the process is killed that has begun to.

use chrono::Duration;
use daybook_identity::{CutOff, Ended, LEFT_AFTER, Level, NewLink, NewSession, Purpose, Standing};

use super::{ADA, Ground, after, sent, start};

fn of_ada() -> NewSession<'static> {
    NewSession { user: ADA, membership: None, level: Level::Password, address: [192, 0, 2, 7].into(), agent: None }
}

#[tokio::test]
async fn what_a_killed_process_was_about_to_end_the_next_one_ends() {
    let ground = Ground::new().await;
    let (identity, sessions) = (&ground.identity, &ground.identity.sessions);
    let (kept, _) = sessions.begin(of_ada(), start()).await.unwrap();
    sessions.begin(of_ada(), start()).await.unwrap();
    let new = NewLink { user: ADA, purpose: Purpose::PasswordReset, about: None };
    let link = sent(&identity.links.make(new, start()).await.unwrap());
    let _ = identity.plan_cut_off(&CutOff::others(ADA, &kept.id, Ended::PasswordChanged), start()).await.unwrap();
    let (later, _) = sessions.begin(of_ada(), after(LEFT_AFTER + Duration::seconds(1))).await.unwrap();

    let live = async || {
        let listed = sessions.list(ADA, after(Duration::minutes(3))).await.unwrap();
        listed.into_iter().map(|session| session.id).collect::<Vec<_>>()
    };
    assert_eq!(identity.cut_off_left(after(LEFT_AFTER)).await.unwrap(), 0, "its process may still be at work");
    assert_eq!(live().await.len(), 3);
    assert_eq!(identity.cut_off_left(after(LEFT_AFTER + Duration::seconds(2))).await.unwrap(), 1);
    assert_eq!(live().await, [later.id, kept.id]);
    let standing = identity.links.look(&link, Purpose::PasswordReset, start()).await.unwrap();
    assert_eq!(standing, Standing::Unknown);
    assert_eq!(identity.cut_off_left(after(Duration::days(1))).await.unwrap(), 0, "it is done once");
}

#[tokio::test]
async fn what_was_refused_is_not_carried_out_later() {
    let ground = Ground::new().await;
    let identity = &ground.identity;
    identity.sessions.begin(of_ada(), start()).await.unwrap();
    let planned = identity.plan_cut_off(&CutOff::all(ADA, Ended::UserDisabled), start()).await.unwrap();
    identity.forget_cut_off(planned).await.unwrap();
    assert_eq!(identity.cut_off_left(after(Duration::hours(1))).await.unwrap(), 0);
    assert_eq!(identity.sessions.list(ADA, after(Duration::hours(1))).await.unwrap().len(), 1);
}
