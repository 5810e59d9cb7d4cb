//! A backup comes back with its keys, and without each of them: what is refused then, and what is said of what is lost.

use std::{fs, fs::Permissions, os::unix::fs::PermissionsExt, path::PathBuf};

use chrono::Utc;
use daybook_cluster::{Cluster, ClusterOptions, DATABASE};
use daybook_tests::{
    api::Answer,
    history::LONG,
    people::{Browser, client, totp},
    postgresql_program, program,
    served::Served,
};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{process::Command, task::yield_now, time::timeout};

const PASSWORD: &str = "ferrous lantern 41 drizzle";
const LOGIN: &str = "ada@example.org";
const MESSAGE: &str = "The cat has eaten the power supply.";

/// What was there before everything was lost but the backup and the keys.
struct Before {
    directory: TempDir,
    token: String,
    ticket: String,
    factor: String,
    codes: Vec<String>,
    /// Events that were signed.
    signed: u64,
}

impl Before {
    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn dump(&self) -> PathBuf {
        self.file("ledger.sql")
    }

    /// Takes a key from the copy that was kept elsewhere.
    fn brings_back(&self, key: &str) {
        fs::copy(self.file("old").join(key), self.file("new").join(key)).unwrap();
    }

    async fn serves(&self, home: &str) -> Result<Served, String> {
        Served::start(&self.file(home), &["--log-format", "human"], "warn", &self.file("server.log")).await
    }

    /// What a tool says, beginning with how it ends.
    async fn tool(&self, home: &str, arguments: &[&str]) -> String {
        let said = Command::new(program("daybook"))
            .arg("--home")
            .arg(self.file(home))
            .args(arguments)
            .env_remove("DATABASE_URL")
            .env_remove("DAYBOOK_MASTER_KEY_FILE")
            .output()
            .await
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        format!("{}: {}\n{}", said.status.code().unwrap(), text(&said.stdout), text(&said.stderr))
    }
}

async fn post(client: &Client, url: &str, path: &str, browser: Option<&Browser>, body: Value) -> Answer {
    let request = client.request(Method::POST, format!("{url}{path}")).header("sec-fetch-site", "same-origin");
    let request = match browser {
        Some(browser) => request.header("cookie", &browser.cookie),
        None => request,
    };
    Answer::to(request.json(&body)).await
}

async fn sign_in(url: &str) -> Browser {
    let body = json!({ "login": LOGIN, "password": PASSWORD });
    let answer = post(&Client::new(), url, "/v1/sign-in", None, body).await;
    assert_eq!(answer.body["needs"], "second_factor", "{}", answer.text);
    Browser::of(&answer)
}

fn code(secret: &str, steps: i64) -> Value {
    json!({ "code": totp(secret, Utc::now().timestamp() + 30 * steps) })
}

/// How many events the log has signed, once it has signed as many as there are.
async fn signed(client: &Client, url: &str) -> u64 {
    let checkpoint = async {
        loop {
            let text = client.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
            let value = |name: &str| {
                let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_default();
                line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).unwrap_or(-1.0)
            };
            let (head, signed) = (value("daybook_book_head"), value("daybook_log_signed_size"));
            if head > 0.0 && head == signed {
                return head as u64;
            }
            yield_now().await;
        }
    };
    timeout(LONG, checkpoint).await.expect("the log is signed to its end")
}

/// A ledger with a text about a person and a second factor, and the backup of it. Then it is gone.
async fn before() -> Before {
    let directory = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
    let mut before = Before {
        directory,
        token: String::new(),
        ticket: String::new(),
        factor: String::new(),
        codes: Vec::new(),
        signed: 0,
    };
    let cluster = Cluster::start(&ClusterOptions::new(before.file("old"))).await.unwrap();
    let served = before.serves("old").await.unwrap();
    let url = served.url.clone();
    let made = before.tool("old", &["token", "create", "--role", "staff", "--role", "operator"]).await;
    before.token = made.lines().next().and_then(|line| line.strip_prefix("0: ")).expect("a token").to_owned();
    let staff = client(&before.token);
    let done = async |path: &str, body: Value| {
        let answer = post(&staff, &url, path, None, body).await;
        assert!(answer.status < 300, "{path}: {}", answer.text);
        answer.body
    };
    let customer = done("/v1/customers", json!({ "name": "Ada Ltd" })).await["id"].clone();
    let ticket = json!({ "customer": customer, "category": "technical", "subject": "dark", "message": MESSAGE });
    before.ticket = done("/v1/tickets", ticket).await["id"].as_str().unwrap().to_owned();
    let user = json!({ "login": LOGIN, "name": "Ada", "party": { "customer": customer }, "superuser": true });
    let user = done("/v1/users", user).await["id"].as_str().unwrap().to_owned();
    let link = done(&format!("/v1/users/{user}/password-link"), json!({})).await["link"].clone();
    let nobody = Client::new();
    let chosen = post(&nobody, &url, "/v1/password", None, json!({ "link": link, "password": PASSWORD })).await;
    assert_eq!(chosen.status, 204, "{}", chosen.text);
    let body = json!({ "login": LOGIN, "password": PASSWORD });
    let browser = Browser::of(&post(&nobody, &url, "/v1/sign-in", None, body).await);
    let stepped = post(&nobody, &url, "/v1/session/step-up", Some(&browser), json!({ "password": PASSWORD })).await;
    let browser = Browser::of(&stepped);
    let enrolled = post(&nobody, &url, "/v1/me/factors", Some(&browser), json!({})).await.body;
    before.factor = enrolled["secret"].as_str().unwrap().to_owned();
    let confirm = format!("/v1/me/factors/{}/confirm", enrolled["id"].as_str().unwrap());
    let confirmed = post(&nobody, &url, &confirm, Some(&browser), code(&before.factor, 0)).await;
    assert_eq!(confirmed.status, 204, "{}", confirmed.text);
    let codes = post(&nobody, &url, "/v1/me/recovery-codes", Some(&Browser::of(&confirmed)), json!({})).await;
    let codes = codes.body["codes"].as_array().unwrap().iter();
    before.codes = codes.map(|code| code.as_str().unwrap().to_owned()).collect();
    before.signed = signed(&staff, &url).await;
    served.kill().await;
    let dump = before.dump();
    run("pg_dump", &[&cluster.url(DATABASE), "--no-owner", "--file", dump.to_str().unwrap()]).await;
    cluster.stop().await.unwrap();
    before
}

async fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(postgresql_program(program)).args(arguments).output().await.unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_backup_comes_back_with_its_keys_and_says_what_is_lost_without_one() {
    let before = before().await;
    let cluster = Cluster::start(&ClusterOptions::new(before.file("new"))).await.unwrap();
    let dump = before.dump();
    let dump = dump.to_str().unwrap();
    // The roles that the dump grants something to are made by the first start, which gives them what they need.
    run("psql", &["--quiet", "--no-psqlrc", "--file", dump, &cluster.url(DATABASE)]).await;
    let says = |said: &str, what: &str| assert!(said.contains(what), "`{what}` is not in: {said}");
    let drill = ["drill", "--alone", "--backup", dump];

    // No key at all: texts about persons are lost, and the server says so and does not start.
    let refused = before.serves("new").await.unwrap_err();
    for what in ["master.key", "put it back", "no text about a person can be read", "nothing was changed"] {
        says(&refused, what);
    }
    let drilled = before.tool("new", &drill).await;
    says(&drilled, "2: ");
    says(&drilled, "undecided");
    says(&drilled, "master key");
    let verified = before.tool("new", &["verify", "--log-key", "none"]).await;
    says(&verified, "2: ");
    says(&verified, "master key");
    let made = before.tool("new", &["token", "create", "--role", "staff"]).await;
    says(&made, "1: ");
    says(&made, "no text about a person can be read");

    // The master key alone: the log cannot go on.
    before.brings_back("master.key");
    let refused = before.serves("new").await.unwrap_err();
    says(&refused, "log.key");
    says(&refused, "--log-key none");

    // Without the keys of second factors everything goes on but the codes of authenticators.
    before.brings_back("log.key");
    before.brings_back("log.key.signed");
    let drilled = before.tool("new", &drill).await;
    says(&drilled, "2: ");
    says(&drilled, "1 of 1 second factors");
    let served = before.serves("new").await.unwrap();
    says(&fs::read_to_string(before.file("server.log")).unwrap(), "second factors");
    let half = sign_in(&served.url).await;
    let second = async |browser: &Browser, body: Value| {
        post(&Client::new(), &served.url, "/v1/sign-in/second-factor", Some(browser), body).await
    };
    let refused = second(&half, code(&before.factor, 0)).await;
    says(refused.refused(500, "internal")["detail"].as_str().unwrap(), "a recovery code");
    let recovered = second(&half, json!({ "recovery_code": before.codes[0] })).await;
    assert_eq!(recovered.status, 200, "{}", recovered.text);

    // With all of them: the code is right, the text is read, and the log is the same and goes on.
    before.brings_back("totp.key");
    let done = second(&sign_in(&served.url).await, code(&before.factor, 1)).await;
    assert_eq!(done.status, 200, "{}", done.text);
    let own = Client::new().get(format!("{}/v1/tickets/{}", served.url, before.ticket));
    says(&Answer::to(own.header("cookie", &Browser::of(&done).cookie)).await.text, MESSAGE);
    let staff = client(&before.token);
    let ticket = staff.get(format!("{}/v1/tickets/{}", served.url, before.ticket));
    says(&Answer::to(ticket).await.text, MESSAGE);
    assert!(signed(&staff, &served.url).await >= before.signed);
    let another = post(&staff, &served.url, "/v1/customers", None, json!({ "name": "Bob Ltd" })).await;
    assert_eq!(another.status, 201, "{}", another.text);
    assert!(signed(&staff, &served.url).await > before.signed);
    served.kill().await;
    let drilled = before.tool("new", &drill).await;
    says(&drilled, "0: ");
    says(&drilled, "the backup is sound");
    cluster.stop().await.unwrap();
}
