//! Folders of secrets, each in a file of its own that only its owner may read. Those of one name are numbered, so that a new
//! one can be added while earlier ones are still used: `totp.key` is the first of the name `totp`, `totp.2.key` the next.
//!
//! A folder is read whenever its secrets are needed, so that one that another process has added is found.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use daybook_core::private_file::{self, Secret as Found};
use tokio::task;
use zeroize::Zeroizing;

const SUFFIX: &str = ".key";

/// What the files of a folder hold, in the words of its errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// Such as `a key of second factors`.
    pub one: &'static str,
    /// What to do if others may have read one.
    pub if_exposed: &'static str,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("{one} cannot be kept at {}", path.display())]
    File { one: &'static str, path: PathBuf, source: io::Error },
    #[error("{} does not hold {one}", path.display())]
    Unreadable { one: &'static str, path: PathBuf },
    #[error(
        "{} may be read or written by others than its owner: run `chmod 600 {}`, and if anybody may have read it, {advice}",
        path.display(), path.display()
    )]
    Exposed { path: PathBuf, advice: &'static str },
}

#[derive(Clone, Debug)]
pub(crate) struct KeyFolder {
    directory: PathBuf,
    held: Held,
}

impl KeyFolder {
    pub fn new(directory: PathBuf, held: Held) -> Self {
        Self { directory, held }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What the files of this name hold, the newest last. One that is removed meanwhile is not among them.
    pub fn read<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<Result<T, KeyFileError>>, KeyFileError> {
        let paths = self.numbers(name)?.into_iter().map(|number| self.path(name, number));
        Ok(paths.filter_map(|path| self.read_one(path, &parse).transpose()).collect())
    }

    fn read_one<T>(&self, path: PathBuf, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, KeyFileError> {
        let Held { one, if_exposed } = self.held;
        match private_file::read(&path) {
            Ok(Found::Nothing) => Ok(None),
            Ok(Found::Exposed) => Err(KeyFileError::Exposed { path, advice: if_exposed }),
            Ok(Found::Text(text)) => match parse(Zeroizing::new(text).trim_end()) {
                Some(read) => Ok(Some(read)),
                None => Err(KeyFileError::Unreadable { one, path }),
            },
            Err(source) => Err(KeyFileError::File { one, path, source }),
        }
    }

    /// Adds a file of this name that becomes the newest.
    pub fn add(&self, name: &str, text: &str) -> Result<PathBuf, KeyFileError> {
        loop {
            let path = self.write(name, self.numbers(name)?.last().map_or(1, |newest| newest + 1), text)?;
            // Another process may have taken the number a moment ago.
            if self.read_one(path.clone(), |found| Some(found == text))? == Some(true) {
                return Ok(path);
            }
        }
    }

    /// Makes the first file of this name. One that is there stays as it is.
    pub fn make_first(&self, name: &str, text: &str) -> Result<PathBuf, KeyFileError> {
        self.write(name, 1, text)
    }

    fn write(&self, name: &str, number: u32, text: &str) -> Result<PathBuf, KeyFileError> {
        let path = self.path(name, number);
        let line = Zeroizing::new(format!("{text}\n"));
        private_file::write_new(&path, &line).map_err(|source| self.failed(&path, source))?;
        Ok(path)
    }

    /// Removes all files of this name, or all but the newest, and answers how many they were.
    pub fn remove(&self, name: &str, kept: Kept) -> Result<usize, KeyFileError> {
        let mut numbers = self.numbers(name)?;
        match kept {
            Kept::Newest => drop(numbers.pop()),
            Kept::None => {}
        }
        for number in &numbers {
            let path = self.path(name, *number);
            fs::remove_file(&path).map_err(|source| self.failed(&path, source))?;
        }
        Ok(numbers.len())
    }

    /// The names, each with the number of its files.
    pub fn names(&self) -> Result<BTreeMap<String, usize>, KeyFileError> {
        let mut names = BTreeMap::new();
        for (name, _) in self.files()? {
            *names.entry(name).or_default() += 1;
        }
        Ok(names)
    }

    /// The numbers of this name, in order.
    fn numbers(&self, name: &str) -> Result<Vec<u32>, KeyFileError> {
        let of_name = self.files()?.into_iter().filter(|(of, _)| of == name);
        let mut numbers: Vec<u32> = of_name.map(|(_, number)| number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn files(&self) -> Result<Vec<(String, u32)>, KeyFileError> {
        let failed = |source| self.failed(&self.directory, source);
        let files = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            files => files.map_err(failed)?,
        };
        let mut found = Vec::new();
        for file in files {
            found.extend(file.map_err(failed)?.file_name().to_str().and_then(numbered));
        }
        Ok(found)
    }

    fn path(&self, name: &str, number: u32) -> PathBuf {
        self.directory.join(file_of(name, number))
    }

    fn failed(&self, path: &Path, source: io::Error) -> KeyFileError {
        KeyFileError::File { one: self.held.one, path: path.into(), source }
    }
}

/// What of the files of a name is not removed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kept {
    Newest,
    None,
}

fn file_of(name: &str, number: u32) -> String {
    match number {
        1 => format!("{name}{SUFFIX}"),
        number => format!("{name}.{number}{SUFFIX}"),
    }
}

/// The name and the number of a secret, by its file; `None` if it is another file.
fn numbered(file: &str) -> Option<(String, u32)> {
    let stem = file.strip_suffix(SUFFIX)?;
    let (name, number) = match stem.split_once('.') {
        None => (stem, 1),
        Some((name, number)) => (name, number.parse().ok()?),
    };
    (!name.is_empty() && file_of(name, number) == file).then(|| (name.to_owned(), number))
}

/// Files are read and written on a thread that may wait for them.
pub(crate) async fn with_files<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    task::spawn_blocking(work).await.expect("it does not panic, and is not cancelled while the program runs")
}

#[cfg(test)]
mod tests {
    use std::{
        fs::Permissions,
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    use super::*;

    const WORDS: Held = Held { one: "a word", if_exposed: "choose another word" };

    fn folder() -> (tempfile::TempDir, KeyFolder) {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let words = KeyFolder::new(folder.path().join("home"), WORDS);
        (folder, words)
    }

    fn word(text: &str) -> Option<String> {
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn read(words: &KeyFolder, name: &str) -> Vec<String> {
        let read = words.read(name, word).expect("the folder can be read");
        read.into_iter().collect::<Result<_, _>>().expect("each file can be read")
    }

    #[test]
    fn the_files_of_a_name_are_numbered_and_for_their_owner_only() {
        let (_folder, words) = folder();
        assert!(read(&words, "one").is_empty(), "no folder holds nothing");
        words.make_first("one", "1").expect("it is made");
        words.make_first("one", "other").expect("the first one stays");
        for number in 2..=11 {
            let path = words.add("one", &number.to_string()).expect("it is added");
            assert_eq!(path, words.directory.join(format!("one.{number}.key")));
            assert_eq!(fs::metadata(path).expect("it is there").mode() & 0o777, 0o600);
        }
        words.add("two", "of another name").expect("it is added");
        assert_eq!(read(&words, "one"), (1..=11).map(|number| number.to_string()).collect::<Vec<_>>());
        assert_eq!(words.names().expect("two"), BTreeMap::from([("one".to_owned(), 11), ("two".to_owned(), 1)]));
        assert_eq!(words.remove("one", Kept::Newest).expect("ten are removed"), 10);
        assert_eq!(read(&words, "one"), ["11"]);
        assert_eq!(words.remove("one", Kept::None).expect("it is removed"), 1);
        assert_eq!((read(&words, "one").len(), read(&words, "two").len()), (0, 1));
    }

    #[test]
    fn a_file_that_is_gone_once_it_is_read_is_not_among_them() {
        let (_folder, words) = folder();
        words.add("one", "1").expect("it is added");
        // The folder lists it, and there is nothing to read.
        symlink("nowhere", words.directory.join("one.2.key")).expect("a link can be made");
        assert_eq!(read(&words, "one"), ["1"]);
    }

    #[test]
    fn a_file_that_others_may_read_or_that_holds_something_else_is_named() {
        let (_folder, words) = folder();
        let path = words.add("one", "1").expect("it is added");
        words.add("one", "2").expect("it is added");
        let first =
            || words.read("one", word).expect("the folder can be read").swap_remove(0).expect_err("it is refused");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("it is ours");
        let exposed = first().to_string();
        assert!(exposed.contains(&format!("chmod 600 {}", path.display())), "{exposed}");
        assert!(exposed.ends_with("choose another word"), "{exposed}");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
        fs::write(&path, "\n").expect("it is ours");
        assert_eq!(first().to_string(), format!("{} does not hold a word", path.display()));
    }

    #[test]
    fn other_files_beside_them_are_none() {
        for other in [".key", "totp.key.signed", "totp.1.key", "totp.02.key", "totp..key", "totp.x.key", "a.b.2.key"] {
            assert_eq!(numbered(other), None, "{other}");
        }
        let is = |file, name: &str, number| assert_eq!(numbered(file), Some((name.to_owned(), number)));
        is("totp.key", "totp", 1);
        is("totp.12.key", "totp", 12);
        is("bank-transfer_2.2.key", "bank-transfer_2", 2);
    }
}
