//! The documents: their links lead somewhere, their size is that of a page, and what they list is all that there is.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use daybook_tests::{api::TestApp, program};

/// The most lines that a document may have.
const LIMITS: [(&str, usize); 2] = [("README.md", 90), ("ARCHITECTURE.md", 150)];

/// What stands below this line in `docs/tools.md` is the help of the programs.
const MADE_FROM_HERE: &str = "<!-- Everything below is made from the help of the programs; a test writes it. -->";

const PROGRAMS: [&str; 3] = ["daybook", "daybook-server", "daybook-verify"];

/// A link of a document: its line, the file and the heading that it names.
struct Link {
    line: usize,
    file: String,
    heading: Option<String>,
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Markdown file of the repository.
fn documents() -> Vec<PathBuf> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !path.is_symlink() && !name.starts_with('.') && name != "target" {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(repository(), &mut found);
    found.sort();
    found
}

/// The lines outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().zip(1..).filter_map(move |(line, number)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((number, line))
    })
}

/// The line without its code, where brackets are no links.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("``")
}

fn links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (line, words) in prose(text) {
        for target in without_code(words).split("](").skip(1) {
            let target = target.split(')').next().unwrap_or_default();
            let is_elsewhere = ["https://", "http://", "mailto:"].iter().any(|prefix| target.starts_with(prefix));
            if !is_elsewhere {
                let (file, heading) = target.split_once('#').map_or((target, None), |(file, name)| (file, Some(name)));
                links.push(Link { line, file: file.to_owned(), heading: heading.map(str::to_owned) });
            }
        }
    }
    links
}

/// The names under which headings can be linked to, as GitHub makes them.
fn headings(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, line) in prose(text).filter(|(_, line)| line.starts_with('#')) {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let plain = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let name: String = plain.map(|c| if c == ' ' { '-' } else { c }).collect();
        let again = (1..).map(|number| format!("{name}-{number}"));
        let free = [name.clone()].into_iter().chain(again).find(|name| !names.contains(name));
        names.extend(free);
    }
    names
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = read(&document);
        for Link { line, file, heading } in links(&text) {
            let folder = document.parent().expect("a document lies in a folder");
            let target = if file.is_empty() { document.clone() } else { folder.join(&file) };
            let found = match &heading {
                _ if !target.exists() => false,
                Some(heading) => target.is_file() && headings(&read(&target)).contains(heading),
                None => true,
            };
            if !found {
                let heading = heading.map(|heading| format!("#{heading}")).unwrap_or_default();
                broken.push(format!("{}:{line}: {}{heading}", document.display(), target.display()));
            }
        }
    }
    assert!(broken.is_empty(), "these lead nowhere:\n{}", broken.join("\n"));
}

/// The files of the repository that a line names as code, such as `core/src/event.rs`, but for patterns of names and what
/// another version of the repository had.
fn named_files(line: &str) -> impl Iterator<Item = &str> {
    const FOLDERS: [&str; 7] = ["core/", "projections/", "api/", "migrations/", "replay-tools/", "tests/", "docs/"];
    let named = line.split('`').skip(1).step_by(2).flat_map(|code| code.split_whitespace());
    let is_file = |code: &&str| FOLDERS.iter().any(|folder| code.starts_with(folder));
    named.filter(is_file).filter(|code| !code.contains(['*', '<', '…', '{', '#', ':']))
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let mut absent = Vec::new();
    let is_of_its_time =
        |file: &Path| file.starts_with(repository().join("docs/decisions")) || file.ends_with("CHANGELOG.md");
    for document in documents().iter().filter(|file| !is_of_its_time(file)) {
        for (number, line) in prose(&read(document)) {
            let unknown = named_files(line).filter(|file| !repository().join(file).exists());
            absent.extend(unknown.map(|file| format!("{}:{number}: {file}", document.display())));
        }
    }
    assert!(absent.is_empty(), "these are not there:\n{}", absent.join("\n"));
}

#[test]
fn the_first_pages_stay_short() {
    for (name, most) in LIMITS {
        let lines = read(&repository().join(name)).lines().count();
        assert!(lines <= most, "{name} has {lines} lines, and {most} at most: move something into docs/");
    }
}

#[test]
fn every_decision_is_on_its_list() {
    let folder = repository().join("docs/decisions");
    let list = read(&folder.join("README.md"));
    for decision in fs::read_dir(&folder).expect("the decisions") {
        let name = decision.expect("a decision").file_name().into_string().expect("a plain name");
        assert!(
            name == "README.md" || list.contains(&format!("({name})")),
            "{name} is not in docs/decisions/README.md"
        );
    }
}

#[tokio::test]
async fn every_metric_is_described() {
    let described = read(&repository().join("docs/operator.md"));
    let app = TestApp::start().await;
    let metrics = app.get("/metrics").await.text;
    let names: Vec<_> = metrics.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    assert!(names.len() > 20, "{metrics}");
    let absent: Vec<_> = names.iter().filter(|name| !described.contains(&format!("`{name}`"))).collect();
    assert!(absent.is_empty(), "not in docs/operator.md: {absent:?}");
}

/// What a program says of itself, whatever settings the environment of the test holds.
fn help(name: &str, verbs: &[&str]) -> String {
    let mut command = Command::new(program(name));
    command.args(verbs).arg("--help").env_clear();
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{name} {verbs:?}");
    String::from_utf8(output.stdout).expect("help is text")
}

/// The verbs of a program, from its help.
fn verbs(help: &str) -> Vec<&str> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    listed.filter_map(|line| line.split_whitespace().next()).filter(|verb| *verb != "help").collect()
}

/// The options of a help, each with the lines that describe it.
fn options(help: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = Vec::new();
    let mut at = 0;
    for line in help.split_inclusive('\n') {
        if line.trim_start().starts_with('-') && line.starts_with("  ") {
            starts.push(at);
        }
        at += line.len();
    }
    starts.push(at);
    starts.windows(2).map(|bounds| &help[bounds[0]..bounds[1]]).collect()
}

/// The first word of an option, such as `--home`.
fn flag(option: &str) -> &str {
    option.split_whitespace().find(|word| word.starts_with("--")).unwrap_or_default()
}

/// A verb and those below it. Options that every verb has are described once, with the program.
fn describe(name: &str, path: &[&str], shared: &[&str], text: &mut String) {
    let whole = help(name, path);
    let mut shown = whole.clone();
    if !path.is_empty() {
        for option in options(&whole).into_iter().filter(|option| shared.contains(&flag(option))) {
            shown = shown.replacen(option, "", 1);
        }
    }
    let shown = shown.trim_end().trim_end_matches("Options:").trim_end();
    let title = [&[name], path].concat().join(" ");
    let depth = if path.is_empty() { "##" } else { "###" };
    text.push_str(&format!("\n{depth} {title}\n\n```text\n{shown}\n```\n"));
    for verb in verbs(&whole) {
        describe(name, &[path, &[verb]].concat(), shared, text);
    }
}

/// `DAYBOOK_BLESS=1` writes the lower part anew; its difference is what to review.
#[test]
fn the_tools_are_described_as_they_are() {
    let file = repository().join("docs/tools.md");
    let kept = read(&file);
    let written = kept.split(MADE_FROM_HERE).next().expect("a split has a first part");
    let mut now = format!("{written}{MADE_FROM_HERE}\n");
    for name in PROGRAMS {
        let whole = help(name, &[]);
        let shared: Vec<_> = options(&whole).into_iter().map(flag).collect();
        describe(name, &[], &shared, &mut now);
    }
    if std::env::var_os("DAYBOOK_BLESS").is_some() {
        fs::write(&file, &now).expect("the description can be written");
    }
    let kept = read(&file);
    assert!(kept == now, "the tools have changed: run this test with DAYBOOK_BLESS=1 and review docs/tools.md");
}

/// What stands below it is made from the description of the API.
const ROUTES: &str = "<!-- Made by a test from api/openapi.json; see CONTRIBUTING.md. -->";

/// `DAYBOOK_BLESS=1` writes the list anew; its difference is what to review.
#[test]
fn the_routes_are_listed_as_they_are() {
    let file = repository().join("docs/api.md");
    let kept = read(&file);
    let written = kept.split(ROUTES).next().expect("a split has a first part");
    let description: serde_json::Value =
        serde_json::from_str(&read(&repository().join("api/openapi.json"))).expect("the description is JSON");
    let mut now = format!("{written}{ROUTES}\n\n| request | needs | what it does |\n|---|---|---|\n");
    for (path, item) in description["paths"].as_object().expect("paths") {
        for method in ["get", "post", "put", "patch", "delete"] {
            let Some(operation) = item.get(method) else { continue };
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().replace('|', "\\|");
            let mut needs = format!("`{}`", text(&operation["x-needs"]));
            if operation["responses"]["403"]["x-needs-step-up"] == true {
                needs.push_str(", step-up");
            }
            let summary = text(&operation["summary"]);
            let summary = summary.lines().next().unwrap_or_default();
            now.push_str(&format!("| `{} {path}` | {needs} | {summary} |\n", method.to_uppercase()));
        }
    }
    if std::env::var_os("DAYBOOK_BLESS").is_some() {
        fs::write(&file, &now).expect("the list can be written");
    }
    assert!(read(&file) == now, "the routes have changed: run this test with DAYBOOK_BLESS=1 and review docs/api.md");
}
