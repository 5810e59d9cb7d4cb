//! Very many connections at once, most of which keep the server waiting: others are served, memory stays bounded, whoever
//! comes too much is told so, and a stop in the middle of it leaves no command without an answer.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use daybook_tests::{
    api::Answer,
    database,
    people::{client, staff_token},
    soaks,
};
use reqwest::Client;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::{Mutex, watch},
    task::JoinSet,
    time::{interval, timeout},
};

use super::{connections::resident, crash::Server};

/// What the connections may cost together, in KiB: each its buffers, and the server what it needs for its work.
fn memory() -> usize {
    (32 << 10) + 112 * number()
}

/// Those who ask as they should.
const ORDINARY: usize = 10;

/// How many commands are answered before the server is stopped.
const ANSWERED: usize = 200;

/// The ten seconds that requests have after a stop, and as much again for the rest on a machine with much to do.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

const LONG: Duration = Duration::from_secs(60);

fn number() -> usize {
    if soaks() { 2_000 } else { 200 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_keeps_the_server_waiting_keeps_nobody_from_being_served() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
    let database = database().await;
    let client = client(&staff_token(&["--database-url", database.url(), "--log-key", "none"]).await);
    let callers = (number() + 2 * ORDINARY).to_string();
    let mut server = Server::start_with(&database, &["--callers", &callers, "--rate-limit", "0"]).await;
    let address: SocketAddr = server.url.trim_start_matches("http://").parse().unwrap();
    let process = server.child.id().unwrap();
    for name in 0..ANSWERED {
        assert_eq!(register(&client, &server.url, &format!("before-{name}")).await.unwrap().status, 201);
    }

    let before = resident(process);
    let (crowd, _keep) = Crowd::gather(address).await;
    let served = (0..ORDINARY).map(|caller| {
        let (client, url) = (client.clone(), server.url.clone());
        async move {
            for number in 0..20 {
                let name = format!("meanwhile-{caller}-{number}");
                assert_eq!(register(&client, &url, &name).await.unwrap().status, 201, "{name}");
                let listing = timeout(LONG, Answer::to(client.get(format!("{url}/v1/customers?limit=200"))));
                assert_eq!(listing.await.expect("it is answered").status, 200);
            }
        }
    });
    served.collect::<JoinSet<_>>().join_all().await;

    let mut more = Vec::new();
    let refused = loop {
        let mut next = TcpStream::connect(address).await.unwrap();
        let answer = asked(&mut next).await;
        if !answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
        more.push(next);
        assert!(more.len() <= 2 * ORDINARY, "there is a limit");
    };
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("retry-after: ") && refused.contains("/problems/overloaded"), "{refused}");
    let cost = resident(process).saturating_sub(before);
    assert!(cost < memory(), "{} connections cost {cost} KiB", number());
    drop(more);

    let answers = stopped_in_the_middle(&client, &mut server, process).await;
    drop(crowd);
    let count = "select count(*) from events where event_type = 'customer.registered'";
    let recorded: i64 = sqlx::query_scalar(count).fetch_one(database.pool()).await.unwrap();
    let expected = ANSWERED + 20 * ORDINARY + answers.len();
    assert_eq!(
        usize::try_from(recorded),
        Ok(expected),
        "what was recorded was answered, and what was answered is there"
    );
    let server = Server::start(&database).await;
    for (name, answer) in answers {
        let again = register(&client, &server.url, &name).await.unwrap();
        assert_eq!((again.header("idempotent-replayed"), &again.body), ("true", &answer), "{name}");
    }
    server.kill().await;
}

/// Stops the server while commands come; answers with those that were answered, by their keys.
async fn stopped_in_the_middle(client: &Client, server: &mut Server, process: u32) -> BTreeMap<String, Value> {
    let (answers, done): (Arc<Mutex<BTreeMap<_, _>>>, _) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
    let (enough, mut is_enough) = watch::channel(());
    let mut asking = JoinSet::new();
    for caller in 0..ORDINARY {
        let (client, url) = (client.clone(), server.url.clone());
        let (answers, done, enough) = (answers.clone(), done.clone(), enough.clone());
        asking.spawn(async move {
            for number in 0.. {
                let name = format!("last-{caller}-{number}");
                // The server is gone, or says that it goes.
                let Some(answer) = register(&client, &url, &name).await.filter(|answer| answer.status == 201) else {
                    return;
                };
                answers.lock().await.insert(name, answer.body);
                if done.fetch_add(1, Ordering::Relaxed) == ANSWERED {
                    enough.send_replace(());
                }
            }
        });
    }
    is_enough.changed().await.unwrap();
    let begun = Instant::now();
    kill_process(Pid::from_raw(process.try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
    let ended = timeout(STOPPED_WITHIN, server.child.wait()).await.expect("nobody keeps it from stopping").unwrap();
    assert!(ended.success(), "{ended} after {:?}", begun.elapsed());
    asking.join_all().await;
    Arc::into_inner(answers).expect("nobody asks any more").into_inner()
}

async fn register(client: &Client, url: &str, name: &str) -> Option<Answer> {
    let request = client.post(format!("{url}/v1/customers")).header("idempotency-key", name);
    let response = request.json(&json!({ "name": name })).send().await.ok()?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.ok()?;
    Some(Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text })
}

/// The answer to a request on this connection, up to the end of its body, which is an object without another in it.
async fn asked(connection: &mut TcpStream) -> String {
    connection.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while answer.last() != Some(&b'}') {
        assert_ne!(timeout(LONG, connection.read_buf(&mut answer)).await.expect("there is an answer").unwrap(), 0);
    }
    String::from_utf8(answer).unwrap()
}

/// A third of them says nothing, a third sends a byte a second, and a third reads nothing of long answers.
struct Crowd {
    _silent: Vec<TcpStream>,
    _deaf: Vec<TcpStream>,
}

impl Crowd {
    async fn gather(address: SocketAddr) -> (Self, JoinSet<()>) {
        let (mut silent, mut slow, mut deaf) = (Vec::new(), Vec::new(), Vec::new());
        let long = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(20);
        for _ in 0..number() / 3 {
            silent.push(TcpStream::connect(address).await.unwrap());
            let mut writer = TcpStream::connect(address).await.unwrap();
            writer.write_all(b"POST /v1/customers HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await.unwrap();
            slow.push(writer);
            let reader = TcpSocket::new_v4().unwrap();
            reader.set_recv_buffer_size(4096).unwrap();
            let mut reader = reader.connect(address).await.unwrap();
            reader.write_all(long.as_bytes()).await.unwrap();
            deaf.push(reader);
        }
        let mut writing = JoinSet::new();
        writing.spawn(async move {
            // A pace, and nothing that is waited for.
            let mut beat = interval(Duration::from_secs(1));
            loop {
                beat.tick().await;
                for writer in &mut slow {
                    // The server may have given it up.
                    writer.write_all(b"x").await.ok();
                }
            }
        });
        (Self { _silent: silent, _deaf: deaf }, writing)
    }
}
