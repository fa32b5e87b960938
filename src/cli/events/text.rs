//! Rows as CSV, as JSON lines, and as the lines of a live table.

use std::borrow::Cow;

use owo_colors::{OwoColorize, Style};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::columns::{Cell, Column, Kind, Live, Row, Value};
use crate::cli::dead_letters::text::printable;
use crate::cli::out::escape_controls;

/// Between the texts of a list, in CSV.
const BETWEEN: &str = "|";

/// A cell as text: empty where there is no value. Bytes are text where they are UTF-8, else hex digits in a column of
/// their own, which is the second here.
fn cells<'a, T>(column: &Column<T>, row: &'a T) -> (Cow<'a, str>, Option<String>) {
    let text = match (column.value)(row) {
        Value::None => "".into(),
        Value::Integer(value) => value.to_string().into(),
        Value::Number(value) => value.to_string().into(),
        Value::Text(text) => text.into(),
        Value::Time(ms) => iso(ms).into(),
        Value::Texts(texts) => texts.join(BETWEEN).into(),
        Value::Flag(value) => value.to_string().into(),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => return ("".into(), Some(hex::encode(bytes))),
        },
    };
    (text, None)
}

/// ISO 8601 in UTC, always with milliseconds; beyond the years of a calendar the bare number.
fn iso(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| format!("{at:.3}"))
}

pub(super) fn csv_header<T: Row>() -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for Column { name, kind, .. } in T::COLUMNS {
        writer.write_field(name)?;
        if *kind == Kind::Bytes {
            writer.write_field(format!("{name}_hex"))?;
        }
    }
    writer.write_record(None::<&[u8]>)?;
    Ok(writer.into_inner()?)
}

pub(super) fn csv<T: Row>(rows: &[T]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        for column in T::COLUMNS {
            let (text, digits) = cells(column, row);
            writer.write_field(&*text)?;
            if column.kind == Kind::Bytes {
                writer.write_field(digits.unwrap_or_default())?;
            }
        }
        writer.write_record(None::<&[u8]>)?;
    }
    Ok(writer.into_inner()?)
}

pub(super) fn ndjson<T: Row>(rows: &[T]) -> anyhow::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut lines, &Object(row))?;
        lines.push(b'\n');
    }
    escape_controls(&mut lines, 0);
    Ok(lines)
}

/// A row as an object that has every name, in the order of the columns.
struct Object<'a, T>(&'a T);

impl<T: Row> Serialize for Object<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        for column in T::COLUMNS {
            let name = column.name;
            match (column.value)(self.0) {
                Value::None => object.serialize_entry(name, &())?,
                Value::Integer(number) => object.serialize_entry(name, &number)?,
                Value::Number(number) => object.serialize_entry(name, &number)?,
                Value::Flag(flag) => object.serialize_entry(name, &flag)?,
                Value::Texts(texts) => object.serialize_entry(name, texts)?,
                Value::Text(_) | Value::Time(_) | Value::Bytes(_) => {
                    let (text, digits) = cells(column, self.0);
                    object.serialize_entry(name, &digits.is_none().then_some(text))?;
                }
            }
            if column.kind == Kind::Bytes {
                object.serialize_entry(&format!("{name}_hex"), &cells(column, self.0).1)?;
            }
        }
        object.end()
    }
}

pub(super) fn table_header<T: Row>() -> Vec<u8> {
    let names = T::LIVE.iter().map(|column| (Cow::Borrowed(column.name), Style::new().bold()));
    (line(T::LIVE, names) + "\n").into_bytes()
}

/// Lines of a table whose end is open: its widths are given, and what is longer is cut.
pub(super) fn table<T: Row>(rows: &[T]) -> Vec<u8> {
    rows.iter().flat_map(|row| (line(T::LIVE, row.cells().into_iter()) + "\n").into_bytes()).collect()
}

fn line<'a>(columns: &[Live], cells: impl Iterator<Item = Cell<'a>>) -> String {
    let last = columns.len() - 1;
    let cells = columns.iter().zip(cells).enumerate().map(|(at, (&Live { width, right, .. }, (cell, style)))| {
        let fits = at == last || cell.chars().count() <= width;
        let cell = printable(cell.as_bytes(), if fits { usize::MAX } else { width - 1 });
        let padded = match (right, at == last) {
            (true, _) => format!("{cell:>width$}"),
            (false, true) => cell,
            (false, false) => format!("{cell:<width$}"),
        };
        padded.style(style).to_string()
    });
    cells.collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::testing;
    use crate::store::{DeadLetter, LearnedEvent};

    fn event() -> LearnedEvent {
        let mut event = testing::event("a,\"b\"\n", "é", 3.1);
        event.ts = -1;
        LearnedEvent { seq: 7, batch: 1, rehearse_from: None, predicted: f32::NAN, event }
    }

    #[test]
    fn numbers_are_as_short_as_can_be_and_what_is_none_is_missing() {
        let event = event();
        let line = String::from_utf8(ndjson(std::slice::from_ref(&event)).unwrap()).unwrap();
        assert_eq!(
            line,
            "{\"seq\":7,\"batch\":1,\"topic\":\"t\",\"partition\":0,\"offset\":0,\"user\":\"a,\\\"b\\\"\\n\",\"item\":\"é\",\
             \"rating\":3.1,\"count\":null,\"ts\":\"1969-12-31T23:59:59.999Z\",\"ts_of_event\":true,\"id\":null,\
             \"predicted\":null,\"genres\":null,\"year\":null,\"rehearse_from\":null}\n"
        );
        let line = String::from_utf8(csv(&[event]).unwrap()).unwrap();
        assert_eq!(line, "7,1,t,0,0,\"a,\"\"b\"\"\n\",é,3.1,,1969-12-31T23:59:59.999Z,true,,,,,\n");
    }

    #[test]
    fn a_time_beyond_the_calendar_is_its_number() {
        assert_eq!(iso(i64::MAX), "9223372036854775807");
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn every_column_has_a_name_of_its_own_and_the_table_a_cell_for_each_of_its_columns() {
        fn check<T: Row>(row: &T) {
            let header = String::from_utf8(csv_header::<T>().unwrap()).unwrap();
            let names: std::collections::BTreeSet<&str> = header.trim().split(',').collect();
            assert_eq!(names.len(), header.split(',').count(), "{header}");
            assert_eq!(row.cells().len(), T::LIVE.len());
        }
        check(&event());
        let position = event().event.position;
        let (reason, detail) = ("empty".to_owned(), "why".to_owned());
        let (payload, key) = (vec![0xff; 999], None);
        let letter = DeadLetter {
            position,
            timestamp_ms: 0,
            reason,
            detail,
            key,
            payload,
            payload_cut_from: None,
            replayed_at_ms: None,
        };
        check(&letter);
        let shown = String::from_utf8(table(&[letter])).unwrap();
        assert!(shown.ends_with("\\xff…\n"), "{shown}");
    }

    #[test]
    fn a_cell_that_is_too_long_is_cut_and_no_control_character_reaches_the_terminal() {
        let mut long = event();
        long.event.user = "0123456789abcdef".into();
        long.event.item = "\x1b[31m".into();
        long.predicted = 3.0;
        let shown = anstream::adapter::strip_str(&String::from_utf8(table(&[long])).unwrap()).to_string();
        assert!(shown.contains(" 0123456789a…  \\u{1b}[31m ") && shown.ends_with("t/0/0\n"), "{shown:?}");
    }
}
