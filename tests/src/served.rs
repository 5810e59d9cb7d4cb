//! The program that people run, on a home of its own, with what it says.

use std::{fs, path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::program;

/// A running `daybook-server`, and what it printed at its start.
#[derive(Debug)]
pub struct Served {
    child: Child,
    pub url: String,
    /// Of a demonstration.
    pub links: Vec<String>,
}

impl Served {
    /// Starts it, with its log in a file; answers with the log if it ends instead of serving.
    pub async fn start(home: &Path, arguments: &[&str], filter: &str, log: &Path) -> Result<Self, String> {
        let mut child = Command::new(program("daybook-server"))
            .args(["--listen", "127.0.0.1:0", "--home"])
            .arg(home)
            .args(arguments)
            .env_remove("DATABASE_URL")
            .env_remove("DAYBOOK_LOG_KEY")
            .env("RUST_LOG", filter)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(log).expect("a log can be made"))
            .kill_on_drop(true)
            .spawn()
            .expect("the server starts");
        let mut said = BufReader::new(child.stdout.take().expect("its output is taken")).lines();
        let (mut url, mut links) = (String::new(), Vec::new());
        while let Some(line) = said.next_line().await.expect("its output is text") {
            if let Some((_, at)) = line.split_once("Daybook serves on ") {
                url = at.trim().to_owned();
            }
            links.extend(line.split_once("/sign-in?link=").map(|(_, link)| link.trim().to_owned()));
            if line.contains("Ctrl-C") {
                // A program whose output nobody takes may fall.
                tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
                return Ok(Self { child, url, links });
            }
        }
        assert!(!child.wait().await.expect("it ends").success(), "a server that ends at once has failed");
        Err(fs::read_to_string(log).expect("its log is text"))
    }

    pub async fn kill(mut self) {
        self.child.kill().await.expect("a running server can be killed");
    }
}
