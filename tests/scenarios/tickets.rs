//! S72: a ticket's way to the archive and back.

use serde_json::json;

use super::world::{World, id};

#[tokio::test]
async fn s72_a_ticket_is_answered_archived_and_restored() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let open = json!({
        "customer": books.customer, "category": "support", "subject": "slow", "message": "It is slow.",
    });
    let ticket = id(&world.done("/v1/tickets", open).await);
    let path = format!("/v1/tickets/{ticket}");
    world.refused(&format!("{path}/archive"), json!({}), 409, "answer-due").await;

    world.done(&format!("{path}/messages"), json!({ "side": "provider", "message": "Mended." })).await;
    world.done(&format!("{path}/read"), json!({})).await;
    world.done(&format!("{path}/archive"), json!({})).await;
    assert!(world.rows(&format!("/v1/tickets?archived=false&customer={}", books.customer)).await.is_empty());
    let archived = world.rows(&format!("/v1/tickets?archived=true&customer={}", books.customer)).await;
    assert_eq!(archived.len(), 1);

    world.done(&format!("{path}/restore"), json!({})).await;
    let restored = world.read(&path).await;
    assert_eq!(restored["status"], "open");
    let messages: Vec<&str> = restored["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .map(|message| message["message"].as_str().expect("text"))
        .collect();
    assert_eq!(messages, ["It is slow.", "Mended."]);
    let timeline = world.rows(&format!("/v1/history?entity={ticket}")).await;
    let mut kinds: Vec<&str> = timeline.iter().map(|event| event["event_type"].as_str().expect("a type")).collect();
    kinds.sort_unstable();
    let mut expected =
        ["ticket.opened", "ticket.answered", "ticket.read", "ticket.archived", "ticket.restored"].to_vec();
    expected.sort_unstable();
    assert_eq!(kinds, expected);
}
