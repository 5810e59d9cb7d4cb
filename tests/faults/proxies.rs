//! Proxies before the server: whom it believes what they say of their callers, and what it does with everybody else.

use std::net::{IpAddr, UdpSocket};

use chrono::TimeDelta;
use daybook_api::{AppOptions, ConnectionOptions, Hosts, serve};
use daybook_core::domain::{Party, function::Role, user::MembershipChange as M};
use daybook_tests::{
    api::{Answer, TestApp},
    people::PASSWORD,
};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Where the proxy of these tests stands. All of 127.0.0.0/8 is this machine.
const PROXY: &str = "127.0.0.2";

async fn behind_a_proxy() -> TestApp {
    let hosts = Hosts::new(&["billing.example".to_owned()]);
    let proxies = PROXY.parse().unwrap();
    let mut options = AppOptions { encrypted: true, proxies, hosts, ..AppOptions::default() };
    options.identity.sessions.absolute = TimeDelta::hours(8);
    TestApp::guarded_with(options).await
}

fn from(address: &str) -> Client {
    let address: IpAddr = address.parse().unwrap();
    Client::builder().local_address(address).build().unwrap()
}

/// A request that a proxy passes on, of a caller at this address.
fn passed_on(app: &TestApp, caller: &str, method: Method, path: &str) -> RequestBuilder {
    let request = from(PROXY).request(method, format!("{}{path}", app.url));
    request.header("host", "billing.example").header("x-forwarded-for", caller).header("x-forwarded-proto", "https")
}

#[tokio::test]
async fn a_named_proxy_is_believed_and_the_access_log_has_the_caller() {
    let app = behind_a_proxy().await;
    let user = app.invited("ada@example.org", &Party::Provider, vec![M::GrantRole(Role::Operator)]).await;
    app.with_password(&user).await;
    let body = json!({ "login": "ada@example.org", "password": PASSWORD });
    // The first entry is what the caller wrote.
    let signing_in = passed_on(&app, "127.0.0.1, 203.0.113.5", Method::POST, "/v1/sign-in").json(&body);
    let signed_in = Answer::to(signing_in).await;
    assert_eq!(signed_in.status, 200, "{}", signed_in.text);
    assert_eq!(signed_in.header("strict-transport-security"), "max-age=31536000");
    let set = signed_in.header("set-cookie");
    assert!(set.starts_with("__Host-daybook=") && set.ends_with("; Secure"), "{set}");
    assert!(set.contains("; Max-Age=28800;"), "a browser keeps it for as long as a session can last: {set}");

    let cookie = set.split(';').next().unwrap();
    let read = |cookie: &str, path: &str| passed_on(&app, "203.0.113.5", Method::GET, path).header("cookie", cookie);
    let sessions = Answer::to(read(cookie, "/v1/sessions")).await;
    assert_eq!(sessions.body["sessions"][0]["address"], "203.0.113.5", "{}", sessions.text);
    let log = Answer::to(read(cookie, &format!("/v1/access-log?user={user}"))).await;
    let lines = log.body["lines"].as_array().unwrap();
    let kinds: Vec<&Value> = lines.iter().map(|line| &line["kind"]).collect();
    assert_eq!(kinds, ["signed_in"], "{}", log.text);
    assert!(lines.iter().all(|line| line["address"] == "203.0.113.5"), "{}", log.text);
    // The same secret under the name that connections without encryption use: anybody could have set it.
    let plain = cookie.replace("__Host-daybook", "daybook");
    Answer::to(read(&plain, "/v1/sessions")).await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn guessing_is_held_up_by_the_address_of_the_caller_and_not_by_that_of_the_proxy() {
    let app = behind_a_proxy().await;
    let guess = async |caller: &str, number: u32| {
        let body = json!({ "login": format!("nobody{number}@example.org"), "password": "wrong" });
        Answer::to(passed_on(&app, caller, Method::POST, "/v1/sign-in").json(&body)).await.status
    };
    let mut attempts = 0;
    while guess("203.0.113.5", attempts).await != 429 {
        attempts += 1;
        assert!(attempts < 100, "an address that guesses is held up");
    }
    assert_eq!(guess("203.0.113.6", 0).await, 401, "another caller of the same proxy is not");
    // A caller who writes another address before its own gains nothing: it is held up for longer and longer, where another
    // address would still have some attempts.
    let mut more = 0;
    while guess(&format!("198.51.100.{more}, 203.0.113.5"), attempts + more).await != 429 {
        more += 1;
        assert!(more < 15, "the address that guesses is held up still");
    }
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let app = behind_a_proxy().await;
    let user = app.invited("ada@example.org", &Party::Provider, vec![M::GrantRole(Role::Operator)]).await;
    app.with_password(&user).await;
    let body = json!({ "login": "ada@example.org", "password": PASSWORD });
    let lying = |request: RequestBuilder| {
        request
            .header("x-forwarded-for", "203.0.113.5")
            .header("x-forwarded-proto", "rubbish")
            .header("x-forwarded-host", "evil.example")
    };
    let signed_in = Answer::to(lying(app.request(Method::POST, "/v1/sign-in")).json(&body)).await;
    assert_eq!(signed_in.status, 200, "what it claims is ignored, and no error: {}", signed_in.text);
    assert_eq!(signed_in.header("strict-transport-security"), "");
    let cookie = signed_in.header("set-cookie").split(';').next().unwrap();
    let sessions = Answer::to(lying(app.request(Method::GET, "/v1/sessions")).header("cookie", cookie)).await;
    assert_eq!(sessions.body["sessions"][0]["address"], "127.0.0.1", "{}", sessions.text);
}

#[tokio::test]
async fn a_proxy_that_is_not_set_up_is_refused_and_says_what_to_set() {
    let app = behind_a_proxy().await;
    let url = |path: &str| format!("{}{path}", app.url);
    let proxy = from(PROXY);
    let plain = Answer::to(proxy.get(url("/v1/me")).header("x-forwarded-for", "203.0.113.5")).await;
    let detail = plain.refused(403, "encryption-needed")["detail"].to_string();
    assert!(detail.contains("X-Forwarded-Proto: https") && detail.contains(PROXY), "{detail}");
    let silent = Answer::to(proxy.get(url("/v1/me")).header("x-forwarded-proto", "https")).await;
    assert_eq!(silent.refused(400, "malformed-header")["header"], "x-forwarded-for");
    let twice = passed_on(&app, "203.0.113.5", Method::GET, "/v1/me").header("x-forwarded-proto", "https");
    assert_eq!(Answer::to(twice).await.refused(400, "malformed-header")["header"], "x-forwarded-proto");
    // Whether the server lives, a load balancer asks by itself.
    for path in ["/livez", "/readyz"] {
        assert_eq!(Answer::to(proxy.get(url(path))).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn the_host_and_the_origin_are_those_that_the_caller_asked_for() {
    let app = behind_a_proxy().await;
    let out = |origin: &str, host: Option<&str>| {
        let request = from(PROXY).post(format!("{}/v1/sign-out", app.url)).header("origin", origin);
        let request = request.header("x-forwarded-for", "203.0.113.5").header("x-forwarded-proto", "https");
        match host {
            Some(host) => request.header("x-forwarded-host", host),
            None => request,
        }
    };
    for (origin, host, expected) in [
        ("https://billing.example", Some("billing.example"), ""),
        ("https://billing.example", Some("billing.example:443"), ""),
        ("https://203.0.113.9:8443", Some("203.0.113.9:8443"), ""),
        ("http://billing.example", Some("billing.example"), "cross-site-request"),
        ("https://203.0.113.9", Some("203.0.113.9:8443"), "cross-site-request"),
        // The address of the server behind the proxy is no site of the caller's.
        (&app.url, Some("billing.example"), "cross-site-request"),
        (&app.url.replace("http:", "https:"), Some("billing.example"), "cross-site-request"),
        ("https://evil.example", Some("evil.example"), "unknown-host"),
        ("https://billing.example", None, ""),
    ] {
        let answer = Answer::to(out(origin, host)).await;
        match expected {
            "" => assert_eq!(answer.status, 204, "{origin} {host:?}: {}", answer.text),
            code => assert_eq!(answer.body["type"], format!("/problems/{code}"), "{origin} {host:?}: {}", answer.text),
        }
    }
}

#[tokio::test]
async fn without_encryption_a_stranger_is_refused() {
    // No packet is sent: the system only says by which address it would.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let Ok(own) = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()) else { return };
    if own.ip().is_loopback() {
        return;
    }
    let app = behind_a_proxy().await;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = daybook_panel::router(app.app().clone());
    let serving = tokio::spawn(serve(listener, router, ConnectionOptions::default(), CancellationToken::new()));
    for path in ["/v1/me", "/livez"] {
        let answer = Answer::to(from(&own.ip().to_string()).get(format!("http://{}:{port}{path}", own.ip()))).await;
        let problem = answer.refused(403, "proxy-needed");
        assert!(problem["detail"].as_str().unwrap().contains("--proxies"), "{problem}");
        assert_eq!(problem.get("proxies"), None::<&Value>);
    }
    serving.abort();
}
