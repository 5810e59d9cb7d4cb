//! No secret and no personal datum stands where it must not: after a run of everything that has to do with people, the book,
//! the tables, the logs, the answers, the exports and the files are looked through, in every form that a text can have there.

mod acts;

use std::{fs, io::Write, net::IpAddr, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use daybook_api::editing;
use daybook_cluster::{Cluster, ClusterOptions, DATABASE};
use daybook_core::{
    Actor, Context,
    store::{Store, StoreOptions},
    writer::{Writer, WriterOptions},
};
use daybook_projections::{BOARD, Projector, ProjectorOptions, Reader};
use daybook_tests::{
    api::Answer,
    commands::{command, register},
    history::LONG,
    leak::{Leak, Needle, Place, search},
    program,
    served::Served,
};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command};

use acts::everything;

/// The crates of this repository say everything, those of others what helps to find a fault.
const LOG: &str = "debug,daybook_api=trace,daybook_core=trace,daybook_cluster=trace,daybook_identity=trace,\
                   daybook_log=trace,daybook_projections=trace,daybook_server=trace,daybook_replay_tools=trace";

/// The requests come from here, so that the address of the caller is not that of the server.
const CALLER: &str = "127.0.0.153";

const PASSWORD: &str = "ferrous lantern 41 drizzle";
const WRONG: &str = "crimson gazebo 77 whistle";
const NEXT: &str = "copper meadow 19 thimble";
const CHOSEN: &str = "velvet anchor 88 murmur";
const RESET: &str = "marble orchard 52 lattice";
const OF_OPERATOR: &str = "walnut harbour 63 quiver";
const MISPLACED: &str = "amber turbine 34 saffron";

const LOGIN: &str = "ottilie.zwirner@mail.example";
const NAME: &str = "Ottilie Zw\u{f6}lfinger";
const GUEST_LOGIN: &str = "bruno.kessler@mail.example";

/// What is written about persons, beside the addresses of callers.
const PERSONAL: [(&str, &str); 16] = [
    ("the name of a user", NAME),
    ("the login of a user", LOGIN),
    ("the login of a user who was invited", GUEST_LOGIN),
    ("the name of a user who was invited", "Bruno Kesselflicker"),
    ("the e-mail address of a user", "private.ottilie@post.example"),
    ("the telephone number of a user", "+49 30 5550 1199"),
    ("the street of a user", "Verborgene Gasse 17"),
    ("the city of a user", "Hinterwaldstetten"),
    ("the name of a customer", "Zwirnfabrik Nordwest"),
    ("the e-mail address of a customer", "buero@zwirnfabrik.example"),
    ("the name of a payer", "Pauline Rechnungsfrau"),
    ("the street of a payer", "Hauptkontorweg 4"),
    ("the tax number of a payer", "DE811907980"),
    ("the subject of a ticket", "Das Kabel im Keller brummt"),
    ("the message of a ticket", "Die Katze hat das Netzteil gefressen."),
    ("an answer on a ticket", "Bitte die Katze vom Netz nehmen."),
];

/// The address of the caller, which is a personal datum, too.
const ADDRESS: &str = "the address of the caller";

/// What may stand where, by decision: the beginning of the name of a place, a part of the label of what, and why.
const PLAIN: [(&str, &str, &str); 18] = [
    ("table public.users", "of a user", "the rows of users show them; they are folded anew without what was erased"),
    ("table public.user_contacts", "of a user", "the same"),
    ("table public.customers", "of a customer", "the rows of customers show them"),
    ("table public.payers", "of a payer", "the rows of payers show them"),
    ("table public.tickets", "of a ticket", "the rows of tickets show them"),
    ("table public.ticket_messages", "a ticket", "the rows of tickets show them"),
    ("table public.invoices", "of a payer", "a document shows the payer as it was, for as long as the law keeps it"),
    ("event invoice.", "of a payer", "the same"),
    ("snapshot of invoice", "of a payer", "the same"),
    ("answer GET /v1/audit/events", "of a payer", "the same: events as they are stored"),
    ("file exports/log", "of a payer", "the same: the archive of the log has every event as it is stored"),
    ("table public.sessions", ADDRESS, "a person sees from where a session was begun; it goes 30 days after its end"),
    ("table public.access_log", ADDRESS, "a customer sees from where; months go after 13"),
    ("table public.token_secrets", ADDRESS, "a person sees from where a token was used last"),
    ("table public.sign_in_", ADDRESS, "guessing is counted by networks; they go after 31 and 180 days"),
    ("answer GET /v1/sessions", ADDRESS, "the person's own"),
    ("answer GET /v1/access-log", ADDRESS, "what the log is read for"),
    ("answer GET /v1/tokens", ADDRESS, "the person's own"),
];

/// Answers that show persons to those who may see them.
const SHOWN: [&str; 8] = [
    "answer GET /v1/me",
    "answer GET /v1/users",
    "answer GET /v1/customers",
    "answer GET /v1/payers",
    "answer GET /v1/tickets",
    "answer GET /v1/invoices",
    "answer POST /v1/me/factors",
    "answer GET /sign-in",
];

/// A server with everything that it says, and everything that was sent and shown.
struct House {
    home: TempDir,
    server: Served,
    client: Client,
    url: String,
    cluster: Cluster,
    pool: PgPool,
    answers: Vec<Place>,
    /// Secrets, each with the answer in which it was shown to its owner.
    secrets: Vec<(Needle, Option<String>)>,
    personal: Vec<Needle>,
}

/// By what a request shows who asks.
#[derive(Clone, Debug)]
enum By {
    Nobody,
    Token(String),
    Cookie(String),
}

impl By {
    fn asks(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Nobody => request,
            Self::Token(token) => request.bearer_auth(token),
            Self::Cookie(cookie) => request.header("cookie", cookie).header("sec-fetch-site", "same-origin"),
        }
    }
}

impl House {
    async fn new(format: &str) -> Self {
        let home = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let cluster = Cluster::start(&ClusterOptions::new(home.path().join("home"))).await.unwrap();
        let store = Store::open(cluster.logins(DATABASE), StoreOptions::default()).await.unwrap();
        let store = store.unlocked(&home.path().join("home/master.key")).await.unwrap();
        // A ledger of this first event is a demonstration, whose server prints links to sign in by.
        let (writer, running) = Writer::start(store.clone(), WriterOptions::default());
        let first = register("Example Ltd");
        let context = Context { actor: Actor::system("demonstration"), ..first.context.clone() };
        writer.execute(daybook_core::writer::Command { context, ..command(first.operation) }).await.unwrap();
        running.shutdown().await;
        // The server prints links for the customer whom its rows show when it starts.
        let projector = Projector::start(&store, BOARD, None, ProjectorOptions::default()).await.unwrap();
        let head = store.head().await.unwrap().position;
        Reader::new(&store, BOARD, Some(&projector)).wait_for("customers", head, LONG).await.unwrap();
        projector.shutdown().await;
        store.close().await;

        let (path, log) = (home.path().join("home"), home.path().join("server.log"));
        let server = Served::start(&path, &["--log-format", format], LOG, &log).await.unwrap();
        let (url, links) = (server.url.clone(), server.links.clone());
        assert_eq!(links.len(), 5, "a demonstration prints a link for each kind of user");
        let pool = PgPool::connect(&cluster.url(DATABASE)).await.unwrap();
        let caller: IpAddr = CALLER.parse().unwrap();
        let client =
            Client::builder().local_address(caller).redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let personal = PERSONAL.map(|(label, text)| Needle::new(label, text)).into_iter();
        let personal = personal.chain([Needle::new(ADDRESS, CALLER)]).collect();
        let mut house =
            Self { home, server, client, url, cluster, pool, answers: Vec::new(), secrets: Vec::new(), personal };
        for (number, link) in links.iter().enumerate() {
            house.secret(format!("link {number} into the demonstration"), link, None);
        }
        for (label, password) in [
            ("a password", PASSWORD),
            ("a wrong password", WRONG),
            ("another password", NEXT),
            ("a password that was chosen by an invitation", CHOSEN),
            ("a password that was chosen anew", RESET),
            ("the password of an operator", OF_OPERATOR),
            ("a password in a wrong place", MISPLACED),
        ] {
            house.secret(label, password, None);
        }
        house
    }

    fn secret(&mut self, label: impl Into<String>, text: impl AsRef<[u8]>, shown_in: Option<&str>) {
        self.secrets.push((Needle::new(label, text), shown_in.map(str::to_owned)));
    }

    /// Asks, and keeps the answer under the path of the route.
    async fn ask(&mut self, by: &By, method: &str, route: &str, id: &str, body: Option<Value>) -> Answer {
        let path = route.replace("{id}", id);
        let method_of = method.parse::<Method>().unwrap();
        let mut request = by.asks(self.client.request(method_of, format!("{}{path}", self.url)));
        if let Some(body) = body {
            request = request.json(&body);
        }
        if editing().contains(&(method.to_lowercase().as_str(), route)) {
            request = request.header("if-match", "*");
        }
        if route == "/v1/invoices" {
            request = request.header("idempotency-key", "the-one-invoice");
        }
        let answer = Answer::to(request).await;
        self.keep(&format!("answer {method} {route}"), &answer);
        answer
    }

    fn keep(&mut self, name: &str, answer: &Answer) {
        let name = format!("{name} {} #{}", answer.status, self.answers.len());
        self.answers.push(Place::new(name, format!("{:?}\n{}", answer.headers, answer.text)));
        // Cookies are shown to the browser that gets them.
        let set = answer.header("set-cookie").split(';').next().and_then(|cookie| cookie.split_once('='));
        if let Some((_, value)) = set.filter(|(_, value)| !value.is_empty()) {
            let place = self.last();
            self.secret(format!("the cookie of {place}"), value, Some(&place));
        }
    }

    /// The name of the last answer.
    fn last(&self) -> String {
        self.answers.last().expect("something was answered").name.clone()
    }

    async fn post(&mut self, by: &By, route: &str, id: &str, body: Value) -> Answer {
        let answer = self.ask(by, "POST", route, id, Some(body)).await;
        assert!(answer.status < 300, "{route}: {}", answer.text);
        answer
    }

    /// Posts, and keeps what is shown once.
    async fn shown(&mut self, by: &By, route: &str, id: &str, body: Value, fields: &[&str]) -> Answer {
        let answer = self.post(by, route, id, body).await;
        let place = self.last();
        for field in fields {
            let shown = &answer.body[*field];
            let texts: Vec<&str> = shown.as_array().map_or_else(
                || shown.as_str().into_iter().collect(),
                |shown| shown.iter().filter_map(Value::as_str).collect(),
            );
            assert!(!texts.is_empty(), "{route} shows `{field}`: {}", answer.text);
            for text in texts {
                self.secret(format!("`{field}` of {place}"), text, Some(&place));
            }
        }
        answer
    }

    async fn sign_in(&mut self, login: &str, password: &str) -> By {
        let answer = self.post(&By::Nobody, "/v1/sign-in", "", json!({ "login": login, "password": password })).await;
        cookie(&answer)
    }

    /// Runs a tool on the ledger; what it says on standard error is looked through, and on standard output if it is no secret.
    async fn tool(&mut self, arguments: &[&str], input: &str, secret: Option<&str>) -> String {
        let mut child = Command::new(program("daybook"))
            .args(["--home", self.home.path().join("home").to_str().unwrap()])
            .args(arguments)
            .env_remove("DATABASE_URL")
            .env("RUST_LOG", LOG)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let said = child.wait_with_output().await.unwrap();
        let name = format!("what `daybook {}` says", arguments[..2].join(" "));
        assert!(said.status.success(), "{name}: {}", String::from_utf8_lossy(&said.stderr));
        let output = String::from_utf8(said.stdout).unwrap().trim().to_owned();
        self.answers.push(Place::new(format!("{name} of itself"), said.stderr));
        self.answers.push(Place::new(name, output.clone()));
        if let Some(label) = secret {
            let place = self.last();
            self.secret(label, &output, Some(&place));
        }
        output
    }
}

fn cookie(answer: &Answer) -> By {
    By::Cookie(answer.header("set-cookie").split(';').next().unwrap().to_owned())
}

impl House {
    /// Everything that stands anywhere, now.
    async fn places(&self) -> Vec<Place> {
        let mut places = self.answers.clone();
        let tables: Vec<String> = sqlx::query_scalar(
            "select format('%I.%I', nspname, relname) from pg_class join pg_namespace on pg_namespace.oid = relnamespace
             where relkind in ('r', 'p') and not relispartition and nspname !~ '^pg_' and nspname <> 'information_schema'",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        assert!(tables.len() > 40, "{tables:?}");
        for table in tables {
            let named = match &*table {
                "public.events" => "'event ' || event_type",
                "public.aggregate_snapshots" => "'snapshot of ' || aggregate_type",
                _ => "null::text",
            };
            let rows =
                format!("select {named}, string_agg(to_jsonb(stored)::text, ' ') from {table} as stored group by 1");
            let rows: Vec<(Option<String>, Option<String>)> =
                sqlx::query_as(&rows).fetch_all(&self.pool).await.unwrap_or_else(|error| panic!("{table}: {error}"));
            for (name, content) in rows {
                let name = name.unwrap_or_else(|| format!("table {table}"));
                places.push(Place::new(name, content.unwrap_or_default()));
            }
        }
        files(self.home.path(), "", &mut places);
        let log = places.iter().find(|place| place.name == "file server.log").expect("the server writes a log");
        assert!(log.content.len() > 100_000, "the log has {} bytes", log.content.len());
        assert!(places.iter().any(|place| place.name == "file home/postgres.log"), "PostgreSQL writes a log");
        assert!(places.iter().any(|place| place.name == "file exports/hledger"), "the exports are there");
        places
    }

    /// The keys in the files of the home.
    fn keys(&self) -> Vec<Needle> {
        let names = ["master.key", "log.key", "totp.key", "postgres.secret"];
        let of_file = |name: &str| {
            let text = fs::read_to_string(self.home.path().join("home").join(name)).unwrap();
            let line = text.lines().last().unwrap();
            // The last part in the form of each: `…:key`, and `PRIVATE+KEY+name+id+key`.
            let key = if name == "log.key" { line.splitn(5, '+').last() } else { line.rsplit(':').next() };
            Needle::new(format!("the key in {name}"), key.unwrap().trim())
        };
        names.map(of_file).into()
    }

    /// What must not be where it is.
    async fn leaks(&self) -> Vec<Leak> {
        let places = self.places().await;
        let secrets: Vec<Needle> = self.secrets.iter().map(|(needle, _)| needle.clone()).chain(self.keys()).collect();
        let is_shown = |leak: &Leak| {
            self.secrets
                .iter()
                .any(|(needle, shown_in)| needle.label == leak.label && shown_in.as_ref() == Some(&leak.place))
        };
        let mut leaks: Vec<Leak> = search(&places, &secrets).into_iter().filter(|leak| !is_shown(leak)).collect();
        let is_plain = |leak: &Leak| {
            SHOWN.iter().any(|shown| leak.place.starts_with(shown) && leak.label != ADDRESS)
                || PLAIN.iter().any(|(place, what, _)| leak.place.starts_with(place) && leak.label.contains(what))
        };
        leaks.extend(search(&places, &self.personal).into_iter().filter(|leak| !is_plain(leak)));
        leaks
    }

    async fn ends(self) {
        self.server.kill().await;
        self.pool.close().await;
        self.cluster.stop().await.unwrap();
    }
}

/// The files below a directory, but for the keys themselves and what PostgreSQL keeps of the tables that are looked through.
fn files(directory: &Path, below: &str, places: &mut Vec<Place>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}{}", entry.file_name().to_str().unwrap());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && name != "home/data" {
            files(&entry.path(), &format!("{name}/"), places);
        } else if kind.is_file() && !name.ends_with(".key") && !name.ends_with("postgres.secret") {
            places.push(Place::new(format!("file {name}"), fs::read(entry.path()).unwrap()));
        }
    }
}

#[tokio::test]
async fn no_secret_and_no_personal_datum_stands_where_it_must_not_and_the_log_is_json() {
    let mut house = House::new("json").await;
    everything(&mut house).await;
    let leaks = house.leaks().await;
    assert!(leaks.is_empty(), "{leaks:#?}");
    plant(&mut house).await;
    house.ends().await;
}

#[tokio::test]
async fn no_secret_and_no_personal_datum_stands_where_it_must_not_and_the_log_is_for_people() {
    let mut house = House::new("human").await;
    everything(&mut house).await;
    let leaks = house.leaks().await;
    assert!(leaks.is_empty(), "{leaks:#?}");
    house.ends().await;
}

/// Puts one of each where it must not be, and sees it found there.
async fn plant(house: &mut House) {
    let secrets = house.secrets.iter().map(|(needle, _)| needle).chain(&house.personal).cloned();
    let planted: Vec<(String, String)> =
        secrets.chain(house.keys()).map(|needle| (needle.label.clone(), written(&needle))).collect();
    let exported = house.home.path().join("exports/hledger");
    let mut export = fs::OpenOptions::new().append(true).open(exported).unwrap();
    for (number, (_, text)) in planted.iter().enumerate() {
        for statement in [
            "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             values ('foreign', 'f', $2, 'foreign.said', '1.0', to_json($1::text), '{}')",
            "insert into aggregate_snapshots (aggregate_type, aggregate_id, sequence, fold_version, state)
             values ('foreign', $2::text, 1, 1, to_json($1::text))",
            "insert into idempotency (key, fingerprint, position, answer, recorded_at)
             values (gen_random_uuid(), decode(to_char($2::bigint, 'FM0000'), 'hex'), 1, to_json($1::text), now())",
            "insert into access_log (at, id, kind, reason) select max(at), gen_random_uuid(), 'planted', $1 || ' ' || $2
             from access_log",
        ] {
            let number = i64::try_from(number + 1).unwrap();
            sqlx::query(statement).bind(text).bind(number).execute(&house.pool).await.unwrap();
        }
        // Addresses that nobody answers stand in the log of the server.
        let mut address: reqwest::Url = house.url.parse().unwrap();
        address.path_segments_mut().unwrap().push(text);
        let answer = Answer::to(house.client.get(address)).await;
        house.answers.push(Place::new(format!("answer to {number}"), text.clone()));
        assert_eq!(answer.status, 404);
        writeln!(export, "{text}").unwrap();
    }
    let leaks = house.leaks().await;
    for (number, (label, _)) in planted.iter().enumerate() {
        let answer = format!("answer to {number}");
        for place in [
            "event foreign.said",
            "snapshot of foreign",
            "table public.idempotency",
            "table public.access_log",
            "file server.log",
            "file exports/hledger",
            &answer,
        ] {
            let is_found = leaks.iter().any(|leak| leak.label == *label && leak.place == place);
            assert!(is_found || (label == ADDRESS && place == "table public.access_log"), "{label} in {place}");
        }
    }
}

/// As a text: bytes in hexadecimal digits.
fn written(needle: &Needle) -> String {
    let digits = || needle.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    std::str::from_utf8(needle.bytes()).map_or_else(|_| digits(), str::to_owned)
}
