//! Connections of callers: what they cost, how long one may keep the server waiting, and what happens when there are many.

use std::{
    fs,
    time::{Duration, Instant},
};

use daybook_api::{App, AppOptions, ConnectionOptions, Running, serve};
use daybook_tests::{
    api::Answer,
    database,
    people::{client, staff_token},
};
use reqwest::Client;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::crash::Server;

/// How long something may take that takes far less.
const LONG: Duration = Duration::from_secs(60);

const LIVE: &str = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn connections_that_say_nothing_cost_little_memory() {
    const NUMBER: usize = 500;
    let database = database().await;
    let server = Server::start(&database).await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let process = server.child.id().expect("the server runs");
    let mut asking = TcpStream::connect(&address).await.unwrap();
    asks(&mut asking, LIVE).await;

    let before = resident(process);
    let mut silent = Vec::new();
    for _ in 0..NUMBER {
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    // Connections are accepted in the order in which they come.
    let mut last = TcpStream::connect(&address).await.unwrap();
    asks(&mut last, LIVE).await;
    let each = resident(process).saturating_sub(before) / NUMBER;
    assert!(each < 100, "each of {NUMBER} silent connections costs {each} KiB");
    server.kill().await;
}

#[tokio::test]
async fn what_watches_a_server_has_an_address_of_its_own_where_one_is_given() {
    let database = database().await;
    let token = staff_token(&["--database-url", database.url(), "--log-key", "none"]).await;
    let mut server = Server::start_with(&database, &["--metrics-listen", "127.0.0.1:0"]).await;
    let watched = loop {
        let line = server.said.next_line().await.unwrap().expect("it says where its metrics are");
        if let Some((_, url)) = line.split_once("metrics ") {
            break url.trim().trim_end_matches("/metrics").to_owned();
        }
    };
    let public = client(&token);
    let asked = |url: &str, path: &str| public.get(format!("{url}{path}"));
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = Answer::to(Client::new().get(format!("{watched}{path}"))).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert_eq!(answer.text.contains("daybook_"), path == "/metrics", "{}", answer.text);
    }
    Answer::to(Client::new().get(format!("{watched}/v1/customers"))).await.refused(404, "not-found");
    let rebound = Client::new().get(format!("{watched}/metrics")).header("host", "evil.example");
    Answer::to(rebound).await.refused(421, "unknown-host");

    Answer::to(asked(&server.url, "/metrics")).await.refused(404, "not-found");
    for path in ["/livez", "/readyz", "/v1/customers"] {
        assert_eq!(Answer::to(asked(&server.url, path)).await.status, 200, "{path}");
    }
    let description = Answer::to(asked(&server.url, "/openapi.json")).await.body;
    assert!(description["paths"]["/livez"].is_object() && description["paths"]["/metrics"].is_null());
    server.kill().await;
}

#[tokio::test]
async fn a_caller_who_keeps_the_server_waiting_is_cut() {
    let served = Served::with(ConnectionOptions { patience: Duration::from_millis(300), ..Default::default() }).await;
    let half_a_body = "POST /v1/sign-in HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                       content-length: 100\r\n\r\n{\"name\":";
    for (said, answer) in
        [("", ""), ("GET /livez HTTP/1.1\r\nhost: local", ""), (LIVE, "HTTP/1.1 200"), (half_a_body, "HTTP/1.1 408")]
    {
        let mut caller = served.connect().await;
        caller.write_all(said.as_bytes()).await.unwrap();
        let mut answered = String::new();
        timeout(LONG, caller.read_to_string(&mut answered)).await.expect("the connection is closed").unwrap();
        assert!(answered.starts_with(answer) && answer.is_empty() == answered.is_empty(), "{said:?}: {answered}");
        assert!(!answer.ends_with("408") || answered.contains("/problems/request-too-slow"), "{answered}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_caller_who_does_not_read_his_answer_makes_room_for_others() {
    let patience = Duration::from_millis(300);
    let served = Served::with(ConnectionOptions { limit: 1, patience, ..Default::default() }).await;
    let deaf = TcpSocket::new_v4().unwrap();
    deaf.set_recv_buffer_size(4096).unwrap();
    let mut deaf = deaf.connect(served.address).await.unwrap();
    // More than the buffers of both sides hold together.
    let large = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(20);
    deaf.write_all(large.as_bytes()).await.unwrap();

    while served.asked_once().await.0 != 200 {}
    let mut answered = Vec::new();
    let read = timeout(LONG, deaf.read_to_end(&mut answered)).await.expect("the connection is closed");
    let ends = answered.windows(17).filter(|window| window == b"HTTP/1.1 200 OK\r\n").count();
    assert!(ends < 20, "the rest of the answers is given up: {ends}, {read:?}");
    served.stop().await;
}

#[tokio::test]
async fn a_caller_who_reads_slowly_gets_his_answer() {
    let patience = Duration::from_secs(1);
    let served = Served::with(ConnectionOptions { limit: 1, patience, ..Default::default() }).await;
    let slow = TcpSocket::new_v4().unwrap();
    slow.set_recv_buffer_size(64 << 10).unwrap();
    let mut slow = slow.connect(served.address).await.unwrap();
    let one = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n";
    let many = format!("{one}\r\n").repeat(9) + one + "connection: close\r\n\r\n";
    slow.write_all(many.as_bytes()).await.unwrap();
    let begun = Instant::now();
    let (mut answered, mut beat) = (Vec::new(), interval(Duration::from_millis(50)));
    loop {
        // A pace, and nothing that is waited for.
        beat.tick().await;
        let mut some = [0; 32 << 10];
        match timeout(LONG, slow.read(&mut some)).await.expect("the answer goes on").unwrap() {
            0 => break,
            read => answered.extend_from_slice(&some[..read]),
        }
    }
    assert!(begun.elapsed() > 2 * patience, "it took {:?}", begun.elapsed());
    let answers = answered.windows(17).filter(|window| window == b"HTTP/1.1 200 OK\r\n").count();
    assert_eq!((answers, answered.last()), (10, Some(&b'}')));
    served.stop().await;
}

#[tokio::test]
async fn who_connects_beyond_the_limit_is_told_to_come_again() {
    let served = Served::with(ConnectionOptions { limit: 1, ..Default::default() }).await;
    let mut first = served.connect().await;
    asks(&mut first, LIVE).await;
    for _ in 0..200 {
        let (status, answer) = served.asked_once().await;
        assert_eq!(status, 503, "{answer}");
        for line in ["retry-after: 2", "content-type: application/problem+json", "x-request-id: ", "connection: close"]
        {
            assert!(answer.contains(line), "{line}: {answer}");
        }
        assert!(answer.contains("/problems/overloaded"), "{answer}");
    }
    asks(&mut first, LIVE).await;
    drop(first);
    while served.asked_once().await.0 != 200 {}
    served.stop().await;
}

#[tokio::test]
async fn a_stop_closes_connections_that_rest_at_once() {
    let served = Served::with(ConnectionOptions::default()).await;
    let mut resting = served.connect().await;
    asks(&mut resting, LIVE).await;
    served.stop().await;
    assert_eq!(resting.read(&mut [0; 1]).await.unwrap(), 0);
}

/// hyper itself answers bytes that are no HTTP, before any layer: by a status alone.
#[tokio::test]
async fn what_cannot_be_read_as_a_request_is_answered_by_its_status_alone() {
    let served = Served::with(ConnectionOptions::default()).await;
    let many = (0..200).map(|number| format!("x-{number}: 1\r\n")).collect::<String>();
    for (said, status) in [
        ("RUBBISH\r\n\r\n".to_owned(), "400 Bad Request"),
        ("GET /livez HTTP/1.1\r\nhost: localhost\r\na header\r\n\r\n".to_owned(), "400 Bad Request"),
        (format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"), "431 Request Header Fields Too Large"),
        (format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(70_000)), "414 URI Too Long"),
    ] {
        let mut caller = served.connect().await;
        caller.write_all(said.as_bytes()).await.unwrap();
        let mut answered = String::new();
        timeout(LONG, caller.read_to_string(&mut answered)).await.expect("the connection is closed").unwrap();
        assert!(answered.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answered}");
        let (head, body) = answered.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains("content-length: 0") && head.contains("connection: close") && body.is_empty(),
            "{answered}"
        );
    }
    served.stop().await;
}

/// The application, served in this process.
struct Served {
    address: std::net::SocketAddr,
    running: Running,
    serving: JoinHandle<()>,
    stop: CancellationToken,
}

impl Served {
    async fn with(options: ConnectionOptions) -> Self {
        let running = App::start(database().await.store().await, AppOptions::default()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving =
            tokio::spawn(serve(listener, daybook_panel::router(running.app().clone()), options, stop.clone()));
        Self { address, running, serving, stop }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// What is answered on a connection of its own.
    async fn asked_once(&self) -> (u16, String) {
        let mut caller = self.connect().await;
        caller.write_all(LIVE.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answered = String::new();
        timeout(LONG, caller.read_to_string(&mut answered)).await.expect("there is an answer").unwrap();
        (answered[9..12].parse().unwrap(), answered)
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(LONG, self.serving).await.expect("nobody keeps it from stopping").unwrap();
        self.running.shutdown().await;
    }
}

async fn asks(connection: &mut TcpStream, request: &str) {
    connection.write_all(request.as_bytes()).await.unwrap();
    let answer = answer(connection).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// An answer of `/livez`, whose body is an object without another in it.
async fn answer(connection: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while answer.last() != Some(&b'}') {
        assert_ne!(timeout(LONG, connection.read_buf(&mut answer)).await.expect("there is an answer").unwrap(), 0);
    }
    String::from_utf8(answer).unwrap()
}

/// The memory of a process, in KiB.
pub fn resident(process: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
