//! Tokens of programs: found by their hash, and their last use noted.

use chrono::Duration;
use daybook_identity::{FoundToken, TokenOf, TokenUse};

use super::{ADA, BOB, Ground, address, after, secret, sent, start};

#[tokio::test]
async fn a_token_leads_to_its_user_and_its_id() {
    let ground = Ground::new().await;
    let tokens = &ground.identity.tokens;
    let token = tokens.make(TokenOf { user: ADA, token: "tok_1" }, start()).await.unwrap();
    tokens.make(TokenOf { user: BOB, token: "tok_2" }, start()).await.unwrap();
    let found = tokens.find(&sent(&token), address(), start()).await.unwrap();
    assert_eq!(found, Some(FoundToken { token: "tok_1".into(), user: ADA.into() }));
    let unknown = "dbk_0000000000000000000000000000000000000000000000000";
    for other in ["", "tok_1", unknown, &token.expose()[4..]] {
        assert_eq!(tokens.find(&secret(other), address(), start()).await.unwrap(), None, "{other}");
    }
    assert!(!ground.holds("token_secrets", &token.expose()[4..20]).await);
}

#[tokio::test]
async fn the_last_use_is_noted_once_a_minute() {
    let ground = Ground::new().await;
    let tokens = &ground.identity.tokens;
    let token = tokens.make(TokenOf { user: ADA, token: "tok_1" }, start()).await.unwrap();
    let unused = TokenUse { token: "tok_1".into(), last_used_at: None, last_used_from: None };
    assert_eq!(tokens.uses(ADA).await.unwrap(), [unused]);
    for (seconds, noted) in [(1, 1), (60, 1), (61, 61), (90, 61), (300, 300)] {
        tokens.find(&sent(&token), address(), after(Duration::seconds(seconds))).await.unwrap().unwrap();
        ground.identity.settle().await;
        let [used] = &tokens.uses(ADA).await.unwrap()[..] else { panic!("one token") };
        assert_eq!(used.last_used_at, Some(after(Duration::seconds(noted))), "{seconds}");
        assert_eq!(used.last_used_from.as_deref(), Some("203.0.113.7"));
    }
}

/// Nobody waits for the note, and what is noted does not take the connections of the pool from others.
#[tokio::test]
async fn a_token_is_found_while_its_use_cannot_be_noted() {
    let ground = Ground::new().await;
    let tokens = &ground.identity.tokens;
    let token = tokens.make(TokenOf { user: ADA, token: "tok_1" }, start()).await.unwrap();
    let mut holding = ground.database.pool().begin().await.unwrap();
    sqlx::query("select id from token_secrets for update").fetch_all(&mut *holding).await.unwrap();
    // More often than there are connections.
    for _ in 0..30 {
        assert!(tokens.find(&sent(&token), address(), start()).await.unwrap().is_some());
    }
    assert_eq!(tokens.uses(ADA).await.unwrap()[0].last_used_at, None);
    holding.rollback().await.unwrap();
    ground.identity.settle().await;
    assert_eq!(tokens.uses(ADA).await.unwrap()[0].last_used_at, Some(start()));
}
