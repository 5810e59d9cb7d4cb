//! `./run`, with stand-ins for the programs that it starts: a first run compiles what it needs and no more; `test` names the
//! slowest tests, and fails when all of them take too long.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

/// Notes what is to be built, says that nothing depends on a banned crate, and runs two tests.
const CARGO: &str = r#"#!/bin/sh
case "$*" in
    build*) echo "$*" >>"$CARGO_TARGET_DIR/builds" ;;
    tree*) echo "nothing to print" ;;
    *--no-run*) ;;
    test*) printf '1234 a::quick\n61005 a::slow\n' >>"$DAYBOOK_TEST_TIMES"; exit "${TESTS_EXIT:-0}" ;;
esac
"#;

fn stand_in(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// `./run` where everything that is built lies in this directory, and the stand-ins with it.
fn run(directory: &Path, verb: &str) -> Command {
    stand_in(directory, "cargo", CARGO);
    for program in ["hledger", "ledger", "bean-check", "bean-query", "chromium", "chromedriver"] {
        stand_in(directory, program, "#!/bin/sh\n");
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([directory.to_owned()].into_iter().chain(env::split_paths(&path))).unwrap();
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../run"));
    command.arg(verb).env("PATH", path).env("CARGO_TARGET_DIR", directory).env_remove("DAYBOOK_TEST_MINUTES");
    command.env("DAYBOOK_FUZZ_SECONDS", "0");
    command
}

/// `./run test` with this variable in its environment.
fn run_test(name: &str, value: &str) -> Output {
    let directory = TempDir::new().unwrap();
    run(directory.path(), "test").env(name, value).output().unwrap()
}

fn texts(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into(), String::from_utf8_lossy(&output.stderr).into())
}

#[test]
fn a_first_run_says_how_long_it_takes_and_builds_the_two_programs_alone() {
    let directory = TempDir::new().unwrap();
    let (_, said) = texts(&run(directory.path(), "up").output().unwrap());
    assert!(said.contains("minutes on two cores"), "{said}");
    let built = fs::read_to_string(directory.path().join("builds")).unwrap();
    assert_eq!(built, "build --release --locked --package daybook-server --package daybook-replay-tools\n");

    // Once they are there, nothing takes long.
    let release = directory.path().join("release");
    fs::create_dir(&release).unwrap();
    for program in ["daybook", "daybook-server"] {
        stand_in(&release, program, "#!/bin/sh\necho \"${0##*/} $*\"\n");
    }
    let output = run(directory.path(), "up").output().unwrap();
    let (printed, said) = texts(&output);
    assert_eq!(printed, "daybook demo --if-empty\ndaybook-server \n");
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_slowest_tests_are_named() {
    let output = run_test("DAYBOOK_TEST_MINUTES", "1");
    let (printed, said) = texts(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(printed, "   61.005  a::slow\n    1.234  a::quick\n");
    assert!(said.contains("all tests took 0 min"), "{said}");
}

#[test]
fn tests_that_take_longer_than_they_may_fail() {
    // Nothing takes less than no time.
    let output = run_test("DAYBOOK_TEST_MINUTES", "0");
    let (_, said) = texts(&output);
    assert!(!output.status.success() && said.contains("the tests may take 0 minutes"), "{said}");
}

#[test]
fn a_test_that_fails_is_not_hidden_by_the_times() {
    let output = run_test("TESTS_EXIT", "101");
    let (_, said) = texts(&output);
    assert!(!output.status.success() && said.contains("a test does not pass"), "{said}");
}

#[test]
fn a_number_of_minutes_that_is_none_is_refused() {
    let output = run_test("DAYBOOK_TEST_MINUTES", "soon");
    let (_, said) = texts(&output);
    assert!(!output.status.success() && said.contains("DAYBOOK_TEST_MINUTES"), "{said}");
}
