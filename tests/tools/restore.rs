//! The book moves to another cluster by `pg_dump` and `psql`, and everything goes on from the same position.

use std::{fs::Permissions, os::unix::fs::PermissionsExt};

use cqrs_es::Aggregate;
use daybook_cluster::{Cluster, ClusterOptions, DATABASE};
use daybook_core::{
    domain::{
        CustomerId, Ticket, TicketId,
        ticket::{TicketAction, TicketCommand},
    },
    store::{Store, read_stream},
    writer::{Done, Writer, WriterOptions},
};
use daybook_tests::{
    commands::{account, adjust, id, keyed, open_ticket, pay_in, register, usd},
    database, postgresql_program, whole_book,
};
use postgres_es::postgres_cqrs;
use tokio::process::Command;

#[tokio::test]
async fn a_restored_dump_goes_on_from_the_same_position() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let account = account(&writer).await;
    let customer: CustomerId = id(&writer.execute(register("Berta")).await.unwrap().answer);
    let ticket: TicketId = id(&writer.execute(open_ticket(&customer)).await.unwrap().answer);
    let payment = keyed(pay_in(&account, "p1", usd("20.00")), "key", 1);
    let paid = writer.execute(payment.clone()).await.unwrap();
    running.shutdown().await;
    let book = whole_book(database.pool()).await;

    let directory = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
    let cluster = Cluster::start(&ClusterOptions::throw_away(directory.path().join("home"))).await.unwrap();
    let (dump, restored) = (directory.path().join("dump.sql"), cluster.url(DATABASE));
    run("pg_dump", &[database.url(), "--no-owner", "--file", dump.to_str().unwrap()]).await;
    run("psql", &["--quiet", "--no-psqlrc", "--file", dump.to_str().unwrap(), &restored]).await;

    let store = Store::open(cluster.logins(DATABASE), daybook_tests::store_options()).await.unwrap();
    assert_eq!(whole_book(store.pool()).await, book);
    let (writer, running) = Writer::start(store.clone(), WriterOptions::default());
    assert_eq!(writer.execute(payment).await.unwrap(), Done { replayed: true, ..paid.clone() });
    let done = writer.execute(adjust(&account, usd("1.00"))).await.unwrap();
    assert_eq!(done.position, paid.position + 1);
    assert_eq!(done.answer["balance"]["amount"], "21.00");

    // The stock framework gets its positions there, too, and nothing can be altered.
    let stock = postgres_cqrs::<Ticket>(store.pool().clone(), Vec::new(), ());
    stock.execute(ticket.as_str(), TicketCommand::Act(TicketAction::TakeUp)).await.unwrap();
    let stream = read_stream(store.pool(), Ticket::TYPE, ticket.as_str(), 1).await.unwrap();
    assert_eq!(stream[0].position, done.position + 1);
    assert!(sqlx::query("update events set event_type = 'x'").execute(store.pool()).await.is_err());
    assert!(
        sqlx::query("delete from events").execute(&mut store.owner_connection().await.unwrap()).await.is_err(),
        "not even by the owner"
    );
    running.shutdown().await;
    store.close().await;
    cluster.stop().await.unwrap();
}

async fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(postgresql_program(program)).args(arguments).output().await.unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}
