//! Rows as the texts that PostgreSQL reads: arrays that a statement takes apart, or the lines of a COPY.

use std::{
    borrow::Cow,
    fmt::{Display, Write as _},
    io::{self, Write},
};

use serde::{
    Serialize, Serializer,
    ser::{Error as _, Impossible, SerializeStruct, SerializeTuple},
};
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use crate::engine::write::column::Column;

/// The values of some rows, row after row in the order of their fields, each as PostgreSQL reads it: a text without
/// quotation marks, unless it is JSON; and NUL, which the book may hold in a text and PostgreSQL may not, as the replacement
/// character.
#[derive(Debug, Default)]
pub(in crate::engine) struct Texts<'c> {
    columns: Vec<&'c Column>,
    values: String,
    /// Where each value begins, and whether it is one at all.
    places: Vec<(usize, bool)>,
}

impl<'c> Texts<'c> {
    /// Rows of a table with these columns. A column that no field stands for is left out: a newer program has added it.
    pub fn of_rows<'r, R: Serialize + 'r>(
        rows: impl IntoIterator<Item = &'r R>,
        columns: &'c [Column],
    ) -> Result<Self, sqlx::Error> {
        let mut texts = Self::default();
        for row in rows {
            match row.serialize(Writer { texts: &mut texts, table: columns, is_whole: true }) {
                Ok(()) => {}
                Err(Unwritable::NoColumn(name)) => return Err(sqlx::Error::ColumnNotFound(name.into())),
                Err(error @ Unwritable::NotPlain(_)) => panic!("a row is plain values: {error}"),
            }
        }
        Ok(texts)
    }

    /// Keys, each one value or a tuple of them, whose values stand in these columns.
    pub fn of<'r, K: Serialize + 'r>(keys: impl IntoIterator<Item = &'r K>, columns: Vec<&'c Column>) -> Self {
        let mut texts = Self { columns, ..Self::default() };
        for key in keys {
            key.serialize(Writer { texts: &mut texts, table: &[], is_whole: true }).expect("a key is plain values");
        }
        texts
    }

    pub fn columns(&self) -> &[&'c Column] {
        &self.columns
    }

    pub fn rows(&self) -> usize {
        self.places.len().checked_div(self.columns.len()).unwrap_or_default()
    }

    /// Of all rows the values in one of the columns.
    pub fn array(&self, column: usize) -> Vec<Option<&str>> {
        (0..self.rows()).map(|row| self.value(row, column)).collect()
    }

    /// Whether a column is another one in these rows than in the same rows before.
    pub fn differs(&self, other: &Self, column: usize) -> bool {
        (0..self.rows()).any(|row| self.value(row, column) != other.value(row, column))
    }

    /// The rows in the text format of COPY.
    pub fn lines(&self) -> String {
        let mut lines = String::with_capacity(self.values.len() + 2 * self.places.len());
        for row in 0..self.rows() {
            for column in 0..self.columns.len() {
                match self.value(row, column) {
                    Some(value) => escape(value, &mut lines),
                    None => lines.push_str("\\N"),
                }
                lines.push(if column + 1 == self.columns.len() { '\n' } else { '\t' });
            }
        }
        lines
    }

    pub fn value(&self, row: usize, column: usize) -> Option<&str> {
        let number = row * self.columns.len() + column;
        let (begin, is_null) = self.places[number];
        let end = self.places.get(number + 1).map_or(self.values.len(), |(begin, _)| *begin);
        (!is_null).then(|| &self.values[begin..end])
    }

    fn push(&mut self, value: &str) {
        self.places.push((self.values.len(), false));
        let mut parts = value.split('\0');
        self.values.extend(parts.next());
        parts.for_each(|part| self.values.extend([REPLACEMENT, part]));
    }

    fn push_null(&mut self) {
        self.places.push((self.values.len(), true));
    }

    /// What shows itself without the character NUL: numbers, days, moments.
    fn push_shown(&mut self, value: impl Display) {
        self.places.push((self.values.len(), false));
        write!(self.values, "{value}").expect("memory takes what is written");
    }

    fn push_json(&mut self, value: &(impl Serialize + ?Sized)) {
        match json(value) {
            null if null == "null" => self.push_null(),
            json => self.push(&json),
        }
    }
}

const REPLACEMENT: &str = "\u{fffd}";

/// A text as PostgreSQL holds it.
pub(in crate::engine) fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', REPLACEMENT).into() } else { text.into() }
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

/// A value, or a list of rows, in JSON.
pub(in crate::engine) fn json(value: &(impl Serialize + ?Sized)) -> String {
    let mut written = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut written, Json);
    value.serialize(&mut serializer).expect("what rows hold has names that are texts");
    String::from_utf8(written).expect("JSON is a text")
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

#[derive(Debug, thiserror::Error)]
enum Unwritable {
    #[error("there is no column `{0}`")]
    NoColumn(&'static str),
    #[error("{0}")]
    NotPlain(String),
}

impl serde::ser::Error for Unwritable {
    fn custom<T: Display>(message: T) -> Self {
        Self::NotPlain(message.to_string())
    }
}

/// Writes a row or a key, or one of its values.
struct Writer<'w, 'c> {
    texts: &'w mut Texts<'c>,
    /// Where the column of a field is looked for.
    table: &'c [Column],
    /// Only what is whole has several values; what one of them is made of goes into a column of JSON.
    is_whole: bool,
}

/// Writes the values of a row or a key.
struct Values<'w, 'c> {
    texts: &'w mut Texts<'c>,
    table: &'c [Column],
    column: usize,
}

impl<'w, 'c> Writer<'w, 'c> {
    fn values(self) -> Result<Values<'w, 'c>, Unwritable> {
        let Self { texts, table, is_whole } = self;
        if is_whole { Ok(Values { texts, table, column: 0 }) } else { Err(not_plain()) }
    }
}

fn not_plain() -> Unwritable {
    Unwritable::custom("a value that is made of others stands in a column that is not JSON")
}

impl Values<'_, '_> {
    fn push(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Unwritable> {
        let is_json = self.texts.columns[self.column].is_json();
        self.column += 1;
        if is_json {
            self.texts.push_json(value);
            return Ok(());
        }
        value.serialize(Writer { texts: self.texts, table: self.table, is_whole: false })
    }
}

impl SerializeStruct for Values<'_, '_> {
    type Ok = ();
    type Error = Unwritable;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Unwritable> {
        // The first row tells which columns there are.
        if self.column == self.texts.columns.len() {
            let column = self.table.iter().find(|column| column.name == name);
            self.texts.columns.push(column.ok_or(Unwritable::NoColumn(name))?);
        }
        self.push(value)
    }

    fn end(self) -> Result<(), Unwritable> {
        Ok(())
    }
}

impl SerializeTuple for Values<'_, '_> {
    type Ok = ();
    type Error = Unwritable;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        self.push(value)
    }

    fn end(self) -> Result<(), Unwritable> {
        Ok(())
    }
}

macro_rules! shown {
    ($($method:ident $kind:ty),*) => {
        $(fn $method(self, value: $kind) -> Result<(), Unwritable> {
            self.texts.push_shown(value);
            Ok(())
        })*
    };
}

impl<'w, 'c> Serializer for Writer<'w, 'c> {
    type Ok = ();
    type Error = Unwritable;
    type SerializeSeq = Impossible<(), Unwritable>;
    type SerializeTuple = Values<'w, 'c>;
    type SerializeTupleStruct = Impossible<(), Unwritable>;
    type SerializeTupleVariant = Impossible<(), Unwritable>;
    type SerializeMap = Impossible<(), Unwritable>;
    type SerializeStruct = Values<'w, 'c>;
    type SerializeStructVariant = Impossible<(), Unwritable>;

    shown!(
        serialize_bool bool, serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_u8 u8,
        serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_f32 f32, serialize_f64 f64
    );

    fn serialize_char(self, value: char) -> Result<(), Unwritable> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Unwritable> {
        self.texts.push(value);
        Ok(())
    }

    /// Days and moments come this way.
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Unwritable> {
        self.texts.push_shown(value);
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Unwritable> {
        Err(not_plain())
    }

    fn serialize_none(self) -> Result<(), Unwritable> {
        self.texts.push_null();
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unwritable> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unwritable> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unwritable> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Unwritable> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Unwritable> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Unwritable> {
        Err(not_plain())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Unwritable> {
        Err(not_plain())
    }

    fn serialize_tuple(self, _: usize) -> Result<Values<'w, 'c>, Unwritable> {
        self.values()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Unwritable> {
        Err(not_plain())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unwritable> {
        Err(not_plain())
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Unwritable> {
        Err(not_plain())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Values<'w, 'c>, Unwritable> {
        self.values()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unwritable> {
        Err(not_plain())
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
