//! Files of secrets: made once, and read by their owner only.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::process::geteuid;
use uuid::Uuid;

/// What lies at a path.
#[derive(Debug)]
pub enum Secret {
    Nothing,
    Text(String),
    /// Others than its owner may read or write it.
    Exposed,
}

pub fn read(path: &Path) -> io::Result<Secret> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Secret::Nothing),
        opened => opened?,
    };
    if !is_private(&file.metadata()?) {
        return Ok(Secret::Exposed);
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(Secret::Text(text))
}

/// Whether nobody but its owner may read or write a file. As ssh has it: a file that is another's is his to look after, such
/// as one that is mounted here.
pub fn is_private(metadata: &Metadata) -> bool {
    metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o077 == 0
}

/// Writes a file that is there as a whole or not at all, for its owner only; one that is there stays as it is.
pub fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", Uuid::now_v7().simple()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&beside, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    })();
    let removed = fs::remove_file(&beside);
    written.and(removed)?;
    File::open(directory)?.sync_all()
}
