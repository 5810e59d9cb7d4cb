//! The crates that are built.

use std::{fs, path::Path};

/// Two libraries of cryptography would be twice as much to watch, and the second would come by a feature of some crate that
/// nobody has looked at.
#[test]
fn one_library_of_cryptography_is_built() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    let lock = fs::read_to_string(file).expect("the lock file is in the repository");
    let crates: Vec<&str> = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert!(crates.contains(&"ring") && crates.contains(&"rustls"), "the lock file is read: {} crates", crates.len());
    for banned in ["aws-lc-rs", "aws-lc-sys", "aws-lc-fips-sys", "openssl-sys", "boring-sys"] {
        assert!(!crates.contains(&banned), "{banned} is locked: `cargo tree --invert {banned}` shows why");
    }
}
