//! What a change takes from a person is taken also if the process is killed that has begun to.

use chrono::Duration;
use daybook_identity::{CutOff, Ended, Level, NewLink, NewSession, Purpose, Standing};

use uuid::Uuid;

use super::{ADA, Ground, after, sent, start};

fn of_ada() -> NewSession<'static> {
    NewSession { user: ADA, membership: None, level: Level::Password, address: [192, 0, 2, 7].into(), agent: None }
}

/// The event of the command, as the writer would have recorded it.
async fn recorded(ground: &Ground, command: Uuid) {
    sqlx::query(
        "insert into events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
             recorded_at)
         select coalesce(max(position), 0) + 1, 'user', $1, 1, 'user.disabled', '1.0', '{}',
             jsonb_build_object('command_id', $2::text), now() from events",
    )
    .bind(ADA)
    .bind(command.to_string())
    .execute(ground.database.pool())
    .await
    .unwrap();
}

async fn after_a_while(ground: &Ground, interval: &str) {
    let aged = format!("update cut_offs set made_at = made_at - interval '{interval}'");
    sqlx::query(&aged).execute(ground.database.pool()).await.unwrap();
}

#[tokio::test]
async fn what_a_killed_process_was_about_to_end_the_next_one_ends() {
    let ground = Ground::new().await;
    let (identity, sessions, command) = (&ground.identity, &ground.identity.sessions, Uuid::now_v7());
    let (kept, _) = sessions.begin(of_ada(), start()).await.unwrap();
    sessions.begin(of_ada(), start()).await.unwrap();
    let new = NewLink { user: ADA, purpose: Purpose::PasswordReset, about: None };
    let link = sent(&identity.links.make(new, start()).await.unwrap());
    let cut_off = CutOff::others(ADA, &kept.id, Ended::PasswordChanged);
    let _ = identity.plan_cut_off(&cut_off, command, start()).await.unwrap();
    recorded(&ground, command).await;

    let live = async || {
        let listed = sessions.list(ADA, after(Duration::minutes(3))).await.unwrap();
        listed.into_iter().map(|session| session.id).collect::<Vec<_>>()
    };
    assert_eq!(identity.cut_off_left(true, start()).await.unwrap(), 0, "its process may still be at work");
    assert_eq!(live().await.len(), 2);
    after_a_while(&ground, "61 seconds").await;
    assert_eq!(identity.cut_off_left(false, start()).await.unwrap(), 1);
    assert_eq!(live().await, std::slice::from_ref(&kept.id));
    let standing = identity.links.look(&link, Purpose::PasswordReset, start()).await.unwrap();
    assert_eq!(standing, Standing::Unknown);
    // Whoever signs in by what was taken, as long as the rows do not know of it, is signed out again.
    sessions.begin(of_ada(), start()).await.unwrap();
    assert_eq!(identity.cut_off_left(true, start()).await.unwrap(), 1);
    assert_eq!(live().await, [kept.id]);
    assert_eq!(identity.cut_off_left(true, start()).await.unwrap(), 0, "it is done once the rows follow");
}

#[tokio::test]
async fn what_was_not_recorded_takes_nothing_from_anybody() {
    let ground = Ground::new().await;
    let identity = &ground.identity;
    identity.sessions.begin(of_ada(), start()).await.unwrap();
    let cut_off = CutOff::all(ADA, Ended::UserDisabled);
    let refused = identity.plan_cut_off(&cut_off, Uuid::now_v7(), start()).await.unwrap();
    identity.forget_cut_off(refused).await.unwrap();
    let _killed = identity.plan_cut_off(&cut_off, Uuid::now_v7(), start()).await.unwrap();
    after_a_while(&ground, "61 seconds").await;
    assert_eq!(identity.cut_off_left(true, start()).await.unwrap(), 0);
    assert_eq!(ground.count("cut_offs").await, 1, "it may still be recorded");
    after_a_while(&ground, "5 minutes").await;
    assert_eq!(identity.cut_off_left(true, start()).await.unwrap(), 0);
    assert_eq!(ground.count("cut_offs").await, 0);
    assert_eq!(identity.sessions.list(ADA, start()).await.unwrap().len(), 1);
}
