//! What pages are made of: nothing that the content security policy forbids, and files of others as they came.

use std::{fs, path::Path};

use daybook_panel::ASSETS;
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

/// As npm has them.
const AXE: &str = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c";
const HTMX: &str = "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130";

fn hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn templates_hold_nothing_that_the_policy_forbids() {
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/panel/templates");
    let mut count = 0;
    for file in fs::read_dir(templates).unwrap() {
        let file = file.unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        for forbidden in [
            "style=",
            "<style",
            "hx-on",
            " onclick",
            " onload",
            " onchange",
            "javascript:",
            "js:",
            "hx-trigger=",
            "http://",
            "https://",
        ] {
            assert!(!text.contains(forbidden), "{} has `{forbidden}`", file.display());
        }
        for script in text.split("<script").skip(1) {
            assert!(script.starts_with(" src="), "{} has a script in it", file.display());
        }
        count += 1;
    }
    assert!(count > 20, "only {count} templates were read");
}

#[test]
fn files_of_others_are_as_they_came() {
    let axe = include_bytes!("axe-4.14.1.min.js");
    let htmx = ASSETS.iter().find(|asset| asset.name.starts_with("htmx-4.0.1-")).expect("it is there");
    assert_eq!(hash(axe), AXE, "axe-core 4.14.1");
    assert_eq!(hash(htmx.content), HTMX, "htmx 4.0.1");
}

#[test]
fn assets_are_small_and_named_by_what_they_are() {
    let mut whole = 0;
    for asset in ASSETS.iter() {
        assert!(asset.name.contains(&hash(asset.content)[..16]), "{}", asset.name);
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        std::io::Write::write_all(&mut packed, asset.content).unwrap();
        whole += packed.finish().unwrap().len();
    }
    assert!(whole <= 60 * 1024, "all assets have {whole} bytes, compressed");
    let sheet = ASSETS.iter().find(|asset| asset.kind.starts_with("text/css")).expect("there is a style sheet");
    let lines = sheet.content.iter().filter(|byte| **byte == b'\n').count();
    assert!(lines <= 400, "the style sheet has {lines} lines");
}
