//! Files of one JSON value per line, read so strictly that every byte counts: what is read is written again, and must
//! come out the same.

use std::io::{self, BufRead, Write};

use serde::{Serialize, de::DeserializeOwned};

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("line {line}: {reason}")]
    Line { line: u64, reason: String },
    #[error("{0}")]
    Whole(String),
    #[error("the file cannot be read")]
    Unreadable(#[from] io::Error),
}

/// The lines of a file, one after the other.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    /// Of the line that was read last.
    number: u64,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, number: 0, line: Vec::new() }
    }

    /// The next line; there must be one. `due` says what.
    pub fn read<T: Serialize + DeserializeOwned>(&mut self, due: &str) -> Result<T, Refused> {
        self.line.clear();
        self.number += 1;
        if self.reader.read_until(b'\n', &mut self.line)? == 0 {
            return Err(self.refuse(format!("the file ends where {due} is due")));
        }
        let Some(text) = self.line.strip_suffix(b"\n") else {
            return Err(self.refuse("the line does not end".into()));
        };
        exactly(text).map_err(|reason| self.refuse(format!("{reason}, where {due} is due")))
    }

    /// The file must end here.
    pub fn end(&mut self) -> Result<(), Refused> {
        self.number += 1;
        if self.reader.fill_buf()?.is_empty() { Ok(()) } else { Err(self.refuse("the file goes on".into())) }
    }

    /// The line that was read last is why the file is refused.
    pub fn refuse(&self, reason: String) -> Refused {
        Refused::Line { line: self.number, reason }
    }
}

/// The value that is written so and not otherwise.
pub fn exactly<T: Serialize + DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let value: T = serde_json::from_slice(text).map_err(|error| format!("this cannot be read ({error})"))?;
    let again = serde_json::to_vec(&value).map_err(|error| error.to_string())?;
    if again == text { Ok(value) } else { Err("this is not written as the ledger writes it".into()) }
}

/// Writes one line.
pub fn write(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// A hash in base64, alone or in a list.
pub mod hash {
    use serde::{Deserialize, Deserializer, Serializer};
    use tlog_tiles::Hash;

    pub fn serialize<S: Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(hash)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        let text = String::deserialize(deserializer)?;
        Hash::parse_hash(&text).map_err(serde::de::Error::custom)
    }
}

/// Hashes, each in base64.
pub mod hashes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use tlog_tiles::Hash;

    pub fn serialize<S: Serializer>(hashes: &[Hash], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(hashes.iter().map(Hash::to_string))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Hash>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| Hash::parse_hash(text).map_err(D::Error::custom)).collect()
    }
}
