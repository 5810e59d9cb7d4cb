//! Rows as the texts that PostgreSQL reads: the lines of a COPY, or arrays that a statement takes apart.

use std::io::{self, Write};

use memchr::memchr_iter;
use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};

use super::copy::Column;

/// The values of some rows, row after row in the order of their fields.
#[derive(Debug)]
pub(super) struct Texts<'c> {
    columns: Vec<&'c Column>,
    /// Each ends with the character NUL, which no text of PostgreSQL holds.
    values: String,
    /// Where each begins, and whether it is one at all.
    places: Vec<(usize, bool)>,
}

impl<'c> Texts<'c> {
    /// Rows of a table with these columns. A column that no field stands for is left out: a newer program has added it.
    pub fn of_rows<'r, R: Serialize + 'r>(
        rows: impl IntoIterator<Item = &'r R>,
        columns: &'c [Column],
    ) -> Result<Self, sqlx::Error> {
        let mut rows = rows.into_iter().peekable();
        let fields = rows.peek().map(|row| fields(*row)).unwrap_or_default();
        let column =
            |name: String| columns.iter().find(|column| column.name == name).ok_or(sqlx::Error::ColumnNotFound(name));
        Ok(Self::of(rows, fields.into_iter().map(column).collect::<Result<_, _>>()?))
    }

    /// Rows, or keys that are one value or a tuple of them, whose values stand in these columns.
    pub fn of<'r, R: Serialize + 'r>(rows: impl IntoIterator<Item = &'r R>, columns: Vec<&'c Column>) -> Self {
        let is_json: Vec<bool> = columns.iter().map(|column| column.is_json()).collect();
        let (mut written, mut nulls) = (Vec::new(), Vec::new());
        for row in rows {
            let mut values =
                Values { is_json: &is_json, nulls: &mut nulls, column: 0, depth: 0, is_name: false, is_null: false };
            row.serialize(&mut Serializer::with_formatter(&mut written, &mut values)).expect("a row is plain values");
            if values.column == 0 {
                values.end(&mut written).expect("memory takes what is written");
            }
        }
        let values = String::from_utf8(written).expect("texts are made of texts");
        let mut begin = 0;
        let ends = memchr_iter(0, values.as_bytes()).map(|end| std::mem::replace(&mut begin, end + 1));
        let places = ends.zip(nulls).collect();
        Self { columns, values, places }
    }

    pub fn columns(&self) -> &[&'c Column] {
        &self.columns
    }

    pub fn rows(&self) -> usize {
        self.places.len().checked_div(self.columns.len()).unwrap_or_default()
    }

    /// Of all rows the values in one of the columns.
    pub fn array(&self, column: usize) -> Vec<Option<&str>> {
        (0..self.rows()).map(|row| self.value(row * self.columns.len() + column)).collect()
    }

    /// Whether a column is another one in these rows than in the same rows before.
    pub fn differs(&self, other: &Self, column: usize) -> bool {
        let width = self.columns.len();
        (0..self.rows()).any(|row| self.value(row * width + column) != other.value(row * width + column))
    }

    /// The rows in the text format of COPY.
    pub fn lines(&self) -> String {
        let mut lines = String::with_capacity(self.values.len() + 2 * self.places.len());
        for number in 0..self.places.len() {
            match self.value(number) {
                Some(value) => escape(value, &mut lines),
                None => lines.push_str("\\N"),
            }
            lines.push(if (number + 1) % self.columns.len() == 0 { '\n' } else { '\t' });
        }
        lines
    }

    fn value(&self, number: usize) -> Option<&str> {
        let (begin, is_null) = self.places[number];
        let end = self.places.get(number + 1).map_or(self.values.len(), |(begin, _)| *begin) - 1;
        (!is_null).then(|| &self.values[begin..end])
    }
}

fn escape(text: &str, lines: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r')) {
        lines.push_str(&rest[..at]);
        lines.push_str(match rest.as_bytes()[at] {
            b'\\' => "\\\\",
            b'\t' => "\\t",
            b'\n' => "\\n",
            _ => "\\r",
        });
        rest = &rest[at + 1..];
    }
    lines.push_str(rest);
}

/// The rows as a list in JSON.
pub(super) fn json(rows: &[impl Serialize]) -> String {
    let mut written = Vec::new();
    rows.serialize(&mut Serializer::with_formatter(&mut written, Json)).expect("a row is plain values");
    String::from_utf8(written).expect("JSON is a text")
}

/// The fields of the row's struct, in their order.
fn fields(row: &impl Serialize) -> Vec<String> {
    let mut names = Names::default();
    row.serialize(&mut Serializer::with_formatter(io::sink(), &mut names)).expect("a row is plain values");
    names.found
}

/// Writes a row as its values one after the other, each as PostgreSQL reads it: a text without quotation marks, unless it
/// is JSON; and NUL, which the book may hold in a text and PostgreSQL may not, as the replacement character.
struct Values<'v> {
    is_json: &'v [bool],
    nulls: &'v mut Vec<bool>,
    column: usize,
    /// How many objects and lists are open; the first is the row itself.
    depth: usize,
    is_name: bool,
    is_null: bool,
}

impl Values<'_> {
    fn is_json(&self) -> bool {
        self.depth > 1 || self.is_json[self.column]
    }

    fn end(&mut self, writer: &mut (impl Write + ?Sized)) -> io::Result<()> {
        self.nulls.push(std::mem::take(&mut self.is_null));
        self.column += 1;
        writer.write_all(b"\0")
    }

    fn open(&mut self, writer: &mut (impl Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        if self.depth > 1 { writer.write_all(bracket) } else { Ok(()) }
    }

    fn close(&mut self, writer: &mut (impl Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.depth > 0 { writer.write_all(bracket) } else { Ok(()) }
    }
}

impl Formatter for &mut Values<'_> {
    fn write_null<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.depth > 1 {
            return writer.write_all(b"null");
        }
        self.is_null = true;
        Ok(())
    }

    fn begin_string<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        if !self.is_name && self.is_json() { writer.write_all(b"\"") } else { Ok(()) }
    }

    fn end_string<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin_string(writer)
    }

    fn write_string_fragment<W: Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if self.is_name { Ok(()) } else { writer.write_all(fragment.as_bytes()) }
    }

    fn write_char_escape<W: Write + ?Sized>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        let plain = match escape {
            _ if self.is_name => return Ok(()),
            escape if self.is_json() => return Json.write_char_escape(writer, escape),
            CharEscape::AsciiControl(0) => return writer.write_all("\u{fffd}".as_bytes()),
            CharEscape::Quote => b'"',
            CharEscape::ReverseSolidus => b'\\',
            CharEscape::Solidus => b'/',
            CharEscape::Backspace => 8,
            CharEscape::FormFeed => 12,
            CharEscape::LineFeed => b'\n',
            CharEscape::CarriageReturn => b'\r',
            CharEscape::Tab => b'\t',
            CharEscape::AsciiControl(control) => control,
        };
        writer.write_all(&[plain])
    }

    fn begin_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if self.depth > 1 && !first { writer.write_all(b",") } else { Ok(()) }
    }

    fn end_array_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.depth == 1 { self.end(writer) } else { Ok(()) }
    }

    fn begin_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.is_name = self.depth == 1;
        self.begin_array_value(writer, first)
    }

    fn end_object_key<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.is_name = false;
        Ok(())
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.depth > 1 { writer.write_all(b":") } else { Ok(()) }
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end_array_value(writer)
    }
}

/// JSON without the character NUL.
struct Json;

impl Formatter for Json {
    fn write_char_escape<W: Write + ?Sized>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        match escape {
            CharEscape::AsciiControl(0) => writer.write_all(br"\ufffd"),
            escape => CompactFormatter.write_char_escape(writer, escape),
        }
    }
}

/// Notes the names of a row's fields.
#[derive(Default)]
struct Names {
    found: Vec<String>,
    depth: usize,
    is_name: bool,
}

impl Formatter for &mut Names {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, _: &mut W, fragment: &str) -> io::Result<()> {
        if self.is_name {
            self.found.push(fragment.to_owned());
        }
        Ok(())
    }

    fn begin_object<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.depth += 1;
        Ok(())
    }

    fn end_object<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.depth -= 1;
        Ok(())
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, _: &mut W, _: bool) -> io::Result<()> {
        self.is_name = self.depth == 1;
        Ok(())
    }

    fn end_object_key<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.is_name = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize)]
    struct Sample<'a> {
        name: &'a str,
        count: Option<i64>,
        sure: bool,
        details: Option<BTreeMap<&'a str, Vec<&'a str>>>,
        word: &'a str,
    }

    fn columns() -> Vec<Column> {
        let kinds = [
            ("word", "jsonb"),
            ("details", "jsonb"),
            ("sure", "boolean"),
            ("count", "bigint"),
            ("name", "text"),
            ("new", "text"),
        ];
        kinds.map(|(name, kind)| Column { name: name.into(), kind: kind.into() }).into()
    }

    #[test]
    fn values_are_plain_unless_they_are_json() {
        let columns = columns();
        let details = BTreeMap::from([("a\"b", vec!["c\\\n", "null"]), ("d", vec![])]);
        let rows = [
            Sample { name: "a \"b\"\\\n\tü", count: Some(-7), sure: true, details: Some(details), word: "x" },
            Sample { name: "", count: None, sure: false, details: None, word: "" },
        ];
        let texts = Texts::of_rows(&rows, &columns).expect("each field has its column");
        assert!(
            matches!(Texts::of_rows(&rows, &columns[1..]), Err(sqlx::Error::ColumnNotFound(name)) if name == "word")
        );
        assert_eq!(
            texts.columns().iter().map(|column| &*column.name).collect::<Vec<_>>(),
            ["name", "count", "sure", "details", "word"]
        );
        assert_eq!(texts.array(0), [Some("a \"b\"\\\n\tü"), Some("")]);
        assert_eq!(texts.array(1), [Some("-7"), None]);
        assert_eq!(texts.array(2), [Some("true"), Some("false")]);
        assert_eq!(texts.array(3), [Some(r#"{"a\"b":["c\\\n","null"],"d":[]}"#), None]);
        assert_eq!(texts.array(4), [Some(r#""x""#), Some(r#""""#)]);
        let lines = "a \"b\"\\\\\\n\\tü\t-7\ttrue\t{\"a\\\\\"b\":[\"c\\\\\\\\\\\\n\",\"null\"],\"d\":[]}\t\"x\"\n\t\\N\tfalse\t\\N\t\"\"\n";
        assert_eq!(texts.lines(), lines);
    }

    #[test]
    fn a_nul_is_replaced_and_what_only_looks_like_one_is_not() {
        let columns = columns();
        for (text, plain, json) in [
            ("a\0b", "a\u{fffd}b", r#""a\ufffdb""#),
            (r"a\u0000b", r"a\u0000b", r#""a\\u0000b""#),
            ("\\\0\"", "\\\u{fffd}\"", r#""\\\ufffd\"""#),
        ] {
            let row = Sample { name: text, count: None, sure: true, details: None, word: text };
            let texts = Texts::of_rows([&row], &columns).expect("each field has its column");
            assert_eq!(super::json(&[text]), format!("[{json}]"));
            assert_eq!((texts.array(0), texts.array(4)), (vec![Some(plain)], vec![Some(json)]));
        }
    }

    #[test]
    fn a_key_is_one_value_or_several() {
        let columns = columns();
        let one = Texts::of(&["a\"b".to_owned(), "c".to_owned()], vec![&columns[4]]);
        assert_eq!(one.array(0), [Some("a\"b"), Some("c")]);
        let two = Texts::of(&[("a".to_owned(), 1)], vec![&columns[4], &columns[3]]);
        assert_eq!((two.rows(), two.array(0), two.array(1)), (1, vec![Some("a")], vec![Some("1")]));
    }
}
