//! Files of one JSON value per line, read so strictly that every byte counts: what is read is written again, and must
//! come out the same.

use std::{
    io::{self, BufRead, Read, Write},
    path::Path,
};

use serde::{Serialize, de::DeserializeOwned};

/// The longest line that is read or written, 64 MiB: a file without ends of lines must not fill the memory. What the
/// API accepts at once is 32 times smaller.
pub const LONGEST: usize = 1 << 26;

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("line {line}: {reason}")]
    Line { line: u64, reason: String },
    #[error("{0}")]
    Whole(String),
    #[error("{0}")]
    Unreadable(#[from] io::Error),
}

impl Refused {
    /// The same, with the name of the file that is refused.
    pub fn in_file(self, file: &Path) -> Self {
        let file = file.display();
        match self {
            Self::Unreadable(error) => Self::Unreadable(io::Error::new(error.kind(), format!("{file}: {error}"))),
            refused => Self::Whole(format!("{file}: {refused}")),
        }
    }
}

/// The lines of a file, one after the other.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    /// Of the line that was read last.
    number: u64,
    line: Vec<u8>,
    longest: usize,
}

impl<R: BufRead> Lines<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, number: 0, line: Vec::new(), longest: LONGEST }
    }

    /// The next line; there must be one. `due` says what.
    pub fn read<T: Serialize + DeserializeOwned>(&mut self, due: &str) -> Result<T, Refused> {
        self.line.clear();
        self.number += 1;
        // The end of the line counts, too.
        let longest = self.longest;
        if self.reader.by_ref().take(longest as u64 + 1).read_until(b'\n', &mut self.line)? == 0 {
            return Err(self.refuse(format!("the file ends where {due} is due")));
        }
        let Some(text) = self.line.strip_suffix(b"\n") else {
            let too_long = self.line.len() > longest;
            let longer = format!("the line is longer than {longest} bytes, where {due} is due");
            return Err(self.refuse(if too_long { longer } else { "the line does not end".into() }));
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

/// Writes one line; one that is too long to be read again is an error.
pub fn write(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    if line.len() > LONGEST {
        return Err(io::Error::other(format!("a line of {} bytes is too long for such a file", line.len())));
    }
    line.push(b'\n');
    out.write_all(&line)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_up_to_its_bound_and_no_further() {
        let read = |bytes: &mut dyn BufRead| {
            let mut lines = Lines { longest: 5, ..Lines::new(bytes) };
            lines.read::<String>("a text").map_err(|error| error.to_string())
        };
        assert_eq!(read(&mut &b"\"abc\"\n"[..]), Ok("abc".into()));
        let too_long = Err("line 1: the line is longer than 5 bytes, where a text is due".into());
        assert_eq!(read(&mut &b"\"abcd\"\n"[..]), too_long);
        assert_eq!(read(&mut io::BufReader::new(io::repeat(b'x'))), too_long, "a file that never ends");
        assert_eq!(read(&mut &b"\"abc\""[..]), Err("line 1: the line does not end".into()));
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let text = vec![0_u8; LONGEST / 2];
        let error = write(&text, &mut io::sink()).expect_err("it is as long as that");
        assert!(error.to_string().contains("too long for such a file"), "{error}");
    }
}
