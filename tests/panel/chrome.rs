//! A browser: Debian's chromium, driven by its chromedriver. Anything that a page writes into the console fails the test.

use std::{fs, path::PathBuf, process::Stdio};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::until;

/// The checks of accessibility, which a page is given to run: the version of its name.
const AXE: &str = include_str!("axe-4.14.1.min.js");

/// A running browser with one window.
pub struct Chrome {
    pub client: Client,
    driver: Child,
    at: String,
    session: String,
    url: String,
    http: reqwest::Client,
    profile: TempDir,
}

fn chromium() -> PathBuf {
    ["/usr/bin/chromium", "/usr/bin/chromium-browser"].map(PathBuf::from).into_iter().find(|path| path.exists()).expect(
        "the tests of pages need Debian's packages `chromium` and `chromium-driver`; `./run test` installs them",
    )
}

impl Chrome {
    /// Opens a window on the pages of this server.
    pub async fn open(url: &str) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the tests of pages need Debian's package `chromium-driver`; `./run test` installs it");
        let mut said = BufReader::new(driver.stdout.take().expect("its output is taken")).lines();
        let port = loop {
            let line = said.next_line().await.expect("its output is text").expect("it says its port");
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        // A program whose output nobody takes may fall.
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        let profile = TempDir::new().expect("a directory can be made");
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--lang=en",
            "--window-size=1280,900",
            &format!("--user-data-dir={}", profile.path().display()),
        ]
        .map(str::to_owned);
        let capabilities = json!({
            "goog:chromeOptions": { "binary": chromium(), "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let capabilities = capabilities.as_object().expect("an object").clone();
        let at = format!("http://127.0.0.1:{port}");
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&at)
            .await
            .expect("the browser starts");
        let session = client.session_id().await.expect("a session").expect("a session has a name");
        let http = reqwest::Client::new();
        Self { client, driver, at, session, url: url.to_owned(), http, profile }
    }

    pub async fn close(mut self) {
        self.client.clone().close().await.expect("the window closes");
        self.driver.kill().await.expect("a running driver can be killed");
    }

    async fn ask(&self, command: &str, body: Value) -> Value {
        let address = format!("{}/session/{}/{command}", self.at, self.session);
        let answer = self.http.post(address).json(&body).send().await.expect("the driver answers");
        let answer: Value = answer.json().await.expect("it answers JSON");
        answer["value"].clone()
    }

    /// A command of the protocol of the developer tools.
    pub async fn tell(&self, command: &str, parameters: Value) {
        let answer = self.ask("goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await;
        assert!(answer["error"].is_null(), "{command}: {answer}");
    }

    /// As somebody whose cookie this is, such as `daybook=…`.
    pub async fn as_somebody(&self, cookie: &str) {
        let (name, value) = cookie.split_once('=').expect("a cookie has a name");
        let cookie = json!({ "name": name, "value": value, "url": self.url });
        self.tell("Network.setCookie", cookie).await;
    }

    /// Goes to a page, and waits until it is there.
    pub async fn go(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.url)).await.unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// The path and the query of the page that is shown.
    pub async fn place(&self) -> String {
        let url = self.client.current_url().await.expect("a page has an address");
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}{query}", url.path())
    }

    /// What a script answers.
    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// All that can be read.
    pub async fn text(&self) -> String {
        let body = self.client.find(Locator::Css("body")).await.expect("a page has a body");
        body.text().await.expect("it can be read")
    }

    /// Waits until something can be read.
    pub async fn until_it_says(&self, wanted: &str) {
        let xpath = format!("//*[contains(normalize-space(.), {})]", quoted(wanted));
        if self.client.wait().for_element(Locator::XPath(&xpath)).await.is_err() {
            panic!("{} never says `{wanted}`:\n{}", self.place().await, self.text().await);
        }
    }

    /// Presses a link or a button by its words.
    pub async fn press(&self, words: &str) {
        let wanted = quoted(words);
        let xpath = format!(
            "(//main//a[normalize-space(.)={wanted}] | //main//button[normalize-space(.)={wanted}] | //a[normalize-space(.)={wanted}] | //button[normalize-space(.)={wanted}])[1]"
        );
        let found = match self.client.wait().for_element(Locator::XPath(&xpath)).await {
            Ok(found) => found,
            Err(_) => panic!("{} has no `{words}` to press:\n{}", self.place().await, self.text().await),
        };
        let before = self.client.find(Locator::Css("html")).await.expect("a page").element_id();
        found.click().await.unwrap_or_else(|error| panic!("`{words}` cannot be pressed: {error}"));
        self.follows(before).await;
    }

    /// Waits until another page has come.
    async fn follows(&self, before: fantoccini::elements::ElementRef) {
        until("the next page", async || {
            let now = self.client.find(Locator::Css("html")).await.ok().map(|page| page.element_id());
            now.is_some_and(|now| now != before) && self.run("return document.readyState").await == "complete"
        })
        .await;
    }

    /// Types into a field, by its name.
    pub async fn fill(&self, name: &str, value: &str) {
        let css = format!("main [name='{name}']");
        let found = self.client.find(Locator::Css(&css)).await;
        let found = match found {
            Ok(found) => found,
            Err(_) => panic!("{} has no field `{name}`:\n{}", self.place().await, self.text().await),
        };
        let is_choice = found.tag_name().await.expect("an element has a name") == "select";
        if is_choice {
            found.select_by_value(value).await.unwrap_or_else(|error| panic!("`{name}` has no `{value}`: {error}"));
        } else {
            found.clear().await.expect("a field can be cleared");
            found.send_keys(value).await.expect("a field takes text");
        }
    }

    /// The messages of the console since they were read last.
    pub async fn console(&self) -> Vec<String> {
        let messages = self.ask("se/log", json!({ "type": "browser" })).await;
        let messages = messages.as_array().cloned().unwrap_or_default();
        // What it would like a page to have is no fault of the page.
        let faults = messages.iter().filter(|message| message["level"] != "DEBUG");
        let texts = faults.map(|message| message["message"].as_str().unwrap_or_default().to_owned());
        // Pages of the browser itself are not ours.
        texts.filter(|text| !text.starts_with("chrome://")).collect()
    }

    /// What axe-core finds wrong with the page that is shown.
    pub async fn findings(&self) -> Vec<String> {
        if self.run("return typeof axe").await == "undefined" {
            self.run(AXE).await;
        }
        let script = "const done = arguments[arguments.length - 1]; axe.run(document, { resultTypes: ['violations'] })
            .then(found => done(found.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html).slice(0, 3).join(' | '))))
            .catch(error => done(['axe failed: ' + error]));";
        let found = self.client.execute_async(script, Vec::new()).await.expect("axe runs");
        found.as_array().into_iter().flatten().map(|found| found.as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The width and the scheme of colours that pages are drawn with.
    pub async fn drawn(&self, width: u32, scheme: &str, forced: &str) {
        self.tell(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false }),
        )
        .await;
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "forced-colors", "value": forced },
        ]);
        self.tell("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Keeps what the window shows as a picture.
    pub async fn picture(&self, file: &std::path::Path) {
        let picture = self.client.screenshot().await.expect("the window can be drawn");
        std::fs::write(file, picture).expect("a picture can be written");
    }

    /// How many pixels the page is wider than its window.
    pub async fn too_wide(&self) -> i64 {
        let script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        self.run(script).await.as_i64().expect("a number")
    }

    /// Lets pages run scripts, or does not.
    pub async fn scripts(&self, may_run: bool) {
        self.tell("Emulation.setScriptExecutionDisabled", json!({ "value": !may_run })).await;
    }
}

/// A test that falls leaves no browser behind: a driver that is killed does not end it.
impl Drop for Chrome {
    fn drop(&mut self) {
        let profile = self.profile.path().display().to_string();
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let of_it = fs::read(process.path().join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&profile));
            let id = process.file_name().to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
            if let Some(id) = id.filter(|_| of_it) {
                // One that has ended meanwhile needs nothing.
                let _ = kill_process(id, Signal::KILL);
            }
        }
    }
}

/// A text as XPath writes it.
fn quoted(text: &str) -> String {
    if text.contains('\'') { format!("\"{text}\"") } else { format!("'{text}'") }
}
