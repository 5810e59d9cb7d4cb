//! What an operator with all rights does to the book behind its back.

use axum::http::Method;
use daybook_core::{
    store::read_events,
    transparency::{checkpoint_at, prove_inclusions},
};
use daybook_log::tree;
use daybook_tests::{
    api::{Answer, TestApp},
    log::{SignedLedger, daybook_verify, text},
};

#[tokio::test]
async fn s63_tampering() {
    let ledger = SignedLedger::of_events(50, 5_000, &[999]).await;
    let key = ledger.key().await;
    let exported = ledger.file("exported");
    ledger.daybook(&["checkpoint", "-o", text(&exported)]).await.done();
    assert!(ledger.verify(&[]).await.0);
    ledger.forget_what_was_verified();

    // One byte of event 1,000, by a superuser with the triggers off.
    ledger
        .tamper("update events set payload = overlay(payload::text placing '8' from position('.00' in payload::text) + 1 for 1)::json where position = 1000")
        .await;
    let (sound, first, report) = ledger.verify(&[]).await;
    assert!(!sound && first == Some(1_000), "{report:#}");
    assert_eq!(report["checks"][0]["first_bad_position"], 1_000);

    // What was proven of the events before it can still be proven, to the very checkpoint that was exported.
    let file = ledger.file("proof");
    for position in ["1", "500", "999"] {
        ledger.daybook(&["prove", "event", position, "-o", text(&file)]).await.done();
        daybook_verify(&["proof", text(&file), "--checkpoint", text(&exported)], &key).await.done();
    }
    let mut connection = ledger.store.connection().await.unwrap();
    let (_, checkpoint) = checkpoint_at(&mut connection, None).await.unwrap();
    let events = read_events(&mut connection, 0, 999).await.unwrap();
    let positions: Vec<u64> = events.iter().map(|event| event.position).collect();
    let proofs = prove_inclusions(&mut connection, &checkpoint, &positions).await.unwrap();
    assert_eq!(proofs.len(), 999);
    for (event, proof) in events.iter().zip(proofs) {
        let leaf = event.to_log().leaf();
        assert!(tree::includes(&proof, checkpoint.size, checkpoint.root, event.position - 1, leaf));
    }
    ledger.daybook(&["prove", "event", "1000"]).await.refused("event 1000 is not the one that is in the log");

    // A chain that is hashed anew from there on contradicts what was signed; and where nothing that was signed is left,
    // the exported file.
    ledger.rehash().await;
    let (sound, first, report) = ledger.verify(&[]).await;
    assert!(!sound && first == Some(1_000), "{report:#}");
    ledger.tamper("delete from log_checkpoints").await;
    ledger.forget_what_was_signed();
    ledger.daybook(&["checkpoint"]).await.done();
    assert!(ledger.verify(&[]).await.0, "nothing in the ledger contradicts itself");
    ledger.forget_what_was_verified();
    let (sound, first, report) = ledger.verify(&["--checkpoint", text(&exported)]).await;
    assert!(!sound && first == Some(1), "{report:#}");
    let finding = report["checks"][3]["finding"].as_str().unwrap();
    assert!(finding.contains("the first bad event is among 1 to 5000"), "{finding}");

    // The console is red: who asks the server for a proof of such an event is told that the log is not sound.
    ledger.tamper("update events set event_version = '1.1' where position = 2000").await;
    let app = TestApp::on(ledger.database).await;
    Answer::to(app.request(Method::GET, "/v1/audit/proofs/inclusion?position=2000"))
        .await
        .refused(500, "log-not-sound");
}
