//! Plain rows of any size, row by row: CSV with the event's field names as header, and NDJSON of events.
//!
//! Apart from the known sets, because these files are the user's own: every mistake in them must be told with its place.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use csv::ByteRecord;
use serde_json::Value;

use super::Interaction;
use super::dataset::Dataset;
use super::error::{CaptureError, shown};
use super::interaction::{EVENT_VERSION, Wire};
use super::lines::{Line, Lines};

/// Kinds of file, for an error.
pub(crate) const FILES: &str =
    "a .csv file, a .ndjson, .jsonl or .json file with one event a line, or - for such lines on stdin";

/// Bytes of a file in which lines are counted to know about how many rows there are.
const COUNTED: u64 = 16 << 20;

/// The columns of CSV, which are the fields of an event.
pub const COLUMNS: [&str; 6] = ["user", "item", "rating", "count", "ts", "id"];

const HEADER: &str = "a header with the columns user and item, and optionally rating, count, ts and id, in any order";
const CSV_ROW: &str = "as many values as the header has columns";
const JSON_ROW: &str = "one JSON object a line with user, item, and optionally rating, count, ts, id, genres, year";

const ID: &str = "text that is not empty";
const RATING: &str = "a finite number";
const COUNT: &str = "a number above 0";
const GENRES: &str = "an array of text";
const YEAR: &str = "a whole number";
const TS: &str = "a whole number of milliseconds since the epoch";

/// Opens a file by its ending.
///
/// # Errors
/// If the ending is not known, the file cannot be read or is empty, or the header of a CSV is not as it should be.
pub fn open(path: &Path) -> Result<Dataset, CaptureError> {
    let ending = path.extension().map(OsStr::to_ascii_lowercase);
    let dataset = match ending.as_deref().and_then(|ending| ending.to_str()) {
        Some("csv") => csv(path, reader(path, HEADER)?)?,
        Some("ndjson" | "jsonl" | "json") => ndjson(path, reader(path, JSON_ROW)?),
        _ => {
            File::open(path).map_err(CaptureError::read(path))?;
            return Err(CaptureError::UnknownFormat { path: path.to_owned(), allowed: format!("allowed are {FILES}") });
        }
    };
    Ok(Dataset { about_rows: lines(path, COUNTED), ..dataset })
}

/// Lines of a file; those of its first bytes times its length where it is longer. Nothing for what is not a plain file: a
/// pipe can be read but once.
fn lines(path: &Path, counted: u64) -> Option<u64> {
    let length = path.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path).ok()?.take(counted));
    let mut lines = 0;
    loop {
        let buffer = reader.fill_buf().ok()?;
        if buffer.is_empty() {
            return Some(if length <= counted {
                lines
            } else {
                (lines as f64 * length as f64 / counted as f64) as u64
            });
        }
        lines += buffer.split(|byte| *byte == b'\n').count() as u64 - 1;
        let read = buffer.len();
        reader.consume(read);
    }
}

fn reader(path: &Path, expected: &'static str) -> Result<BufReader<File>, CaptureError> {
    let file = File::open(path).map_err(CaptureError::read(path))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    if reader.fill_buf().map_err(CaptureError::read(path))?.is_empty() {
        return Err(CaptureError::Empty { path: path.to_owned(), expected });
    }
    Ok(reader)
}

fn plain(path: &Path, rows: impl Iterator<Item = Result<Interaction, CaptureError>> + Send + 'static) -> Dataset {
    Dataset {
        name: path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        origin: path.display().to_string(),
        known: false,
        items: Vec::new(),
        users: Vec::new(),
        n_rows: None,
        about_rows: None,
        rows: Box::new(rows),
    }
}

/// Rows of CSV from any reader; `path` names it in errors.
///
/// # Errors
/// If the header cannot be read or is not as it should be.
pub fn csv(path: &Path, reader: impl Read + Send + 'static) -> Result<Dataset, CaptureError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(reader);
    let header = reader.byte_headers().map_err(|error| csv_failure(path, error))?;
    let columns = columns(path, header)?;
    let width = header.len();
    Ok(plain(path, CsvRows { path: path.to_owned(), reader, columns, width, record: ByteRecord::new(), ended: false }))
}

/// Rows of NDJSON from any reader; `path` names it in errors.
pub fn ndjson(path: &Path, reader: impl BufRead + Send + 'static) -> Dataset {
    plain(path, JsonRows { lines: Lines::new(path, reader, JSON_ROW), ended: false })
}

/// Where each of [`COLUMNS`] stands in the file.
fn columns(path: &Path, header: &ByteRecord) -> Result<[Option<usize>; COLUMNS.len()], CaptureError> {
    let refuse = |problem| Err(CaptureError::Header { path: path.to_owned(), problem, expected: HEADER });
    let mut columns = [None; COLUMNS.len()];
    for (place, name) in header.iter().enumerate() {
        let Some(field) = COLUMNS.iter().position(|known| known.as_bytes() == name.trim_ascii()) else {
            return refuse(format!("unknown column {}", shown(name)));
        };
        if columns[field].replace(place).is_some() {
            return refuse(format!("column {} twice", shown(name)));
        }
    }
    match columns.iter().zip(COLUMNS).take(2).find(|(place, _)| place.is_none()) {
        Some((_, missing)) => refuse(format!("no column {missing:?}")),
        None => Ok(columns),
    }
}

fn csv_failure(path: &Path, error: csv::Error) -> CaptureError {
    let source = match error.into_kind() {
        csv::ErrorKind::Io(source) => source,
        // Byte records of any width are asked for, so that no other kind can come.
        other => std::io::Error::other(format!("{other:?}")),
    };
    CaptureError::Read { path: path.to_owned(), source }
}

struct CsvRows<R> {
    path: PathBuf,
    reader: csv::Reader<R>,
    columns: [Option<usize>; COLUMNS.len()],
    width: usize,
    record: ByteRecord,
    ended: bool,
}

impl<R: Read> Iterator for CsvRows<R> {
    type Item = Result<Interaction, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.reader.read_byte_record(&mut self.record) {
            Ok(true) => Some(self.row()),
            Ok(false) => None,
            Err(error) => {
                self.ended = true;
                Some(Err(csv_failure(&self.path, error)))
            }
        }
    }
}

impl<R> CsvRows<R> {
    fn row(&self) -> Result<Interaction, CaptureError> {
        let number = self.record.position().map_or(0, csv::Position::line);
        let line = Line { path: &self.path, number, bytes: self.record.as_slice(), expected: CSV_ROW };
        if self.record.len() != self.width {
            let (found, width) = (self.record.len(), self.width);
            return Err(line.row(format!("the row has {found} values, the header {width} columns")));
        }
        let value = |field: usize| {
            let place = self.columns[field]?;
            self.record.get(place).filter(|value| !value.is_empty())
        };
        let text = |field| value(field).map(|bytes| csv_text(line, COLUMNS[field], bytes)).transpose();
        let needed = |field| text(field)?.ok_or_else(|| line.field(COLUMNS[field], b"", ID));
        Ok(Interaction {
            user: needed(0)?,
            item: needed(1)?,
            rating: value(2).map(|bytes| csv_number(line, "rating", bytes, RATING, |n| is_rating(*n))).transpose()?,
            count: value(3).map(|bytes| csv_number(line, "count", bytes, COUNT, |n| is_count(*n))).transpose()?,
            ts: value(4).map(|bytes| csv_number(line, "ts", bytes, TS, |_| true)).transpose()?,
            id: text(5)?,
            ..Interaction::default()
        })
    }
}

fn csv_text(line: Line<'_>, name: &'static str, bytes: &[u8]) -> Result<String, CaptureError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(line.field(name, bytes, "UTF-8 text")),
    }
}

fn csv_number<T: std::str::FromStr>(
    line: Line<'_>,
    name: &'static str,
    bytes: &[u8],
    allowed: &'static str,
    accept: impl FnOnce(&T) -> bool,
) -> Result<T, CaptureError> {
    let number = std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok());
    number.filter(accept).ok_or_else(|| line.field(name, bytes, allowed))
}

fn is_rating(rating: f32) -> bool {
    rating.is_finite()
}

fn is_count(count: f32) -> bool {
    count.is_finite() && count > 0.0
}

struct JsonRows<R> {
    lines: Lines<R>,
    ended: bool,
}

impl<R: BufRead> Iterator for JsonRows<R> {
    type Item = Result<Interaction, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = match self.lines.next() {
            Ok(line) => line.map(event),
            Err(error) => Some(Err(error)).inspect(|_| self.ended = true),
        };
        self.ended |= row.is_none();
        row
    }
}

fn event(line: Line<'_>) -> Result<Interaction, CaptureError> {
    // Only what is unusual pays for the look that says what is wrong with it, or that nothing is.
    plain_event(line.bytes).map_or_else(|| any_event(line), Ok)
}

/// The event, if it is written the usual way.
fn plain_event(json: &[u8]) -> Option<Interaction> {
    let Wire { v, user, item, rating, count, ts, id, genres, year } = serde_json::from_slice(json).ok()?;
    let is_event = v.is_none_or(|v| v == EVENT_VERSION)
        && ![Some(&*user), Some(&*item), id.as_deref()].contains(&Some(""))
        && rating.is_none_or(is_rating)
        && count.is_none_or(is_count);
    is_event.then(|| Interaction {
        user: user.into_owned(),
        item: item.into_owned(),
        rating,
        count,
        ts,
        id,
        genres: genres.unwrap_or_default(),
        year,
    })
}

fn any_event(line: Line<'_>) -> Result<Interaction, CaptureError> {
    let value = serde_json::from_slice(line.bytes).map_err(|error| line.row(json_problem(&error)))?;
    let Value::Object(fields) = value else { return Err(line.row("the line is JSON, but not an object".to_owned())) };
    let get = |name: &str| fields.get(name).filter(|value| !value.is_null());
    let refuse = |name, value: &Value, allowed| line.field(name, value.to_string().as_bytes(), allowed);
    if let Some(v) = get("v").filter(|v| v.as_u64() != Some(u64::from(EVENT_VERSION))) {
        return Err(refuse("v", v, "1, or no v"));
    }
    let text = |name| match get(name) {
        Some(value) => {
            json_text(value).map(Some).ok_or_else(|| refuse(name, value, "text that is not empty, or a whole number"))
        }
        None => Ok(None),
    };
    let number = |name, allowed, accept: fn(f32) -> bool| match get(name) {
        Some(value) => {
            let number = value.as_f64().map(|number| number as f32).filter(|number| accept(*number));
            number.map(Some).ok_or_else(|| refuse(name, value, allowed))
        }
        None => Ok(None),
    };
    let missing = |name: &str| line.row(format!("the field {name:?} is missing"));
    Ok(Interaction {
        user: text("user")?.ok_or_else(|| missing("user"))?,
        item: text("item")?.ok_or_else(|| missing("item"))?,
        rating: number("rating", RATING, is_rating)?,
        count: number("count", COUNT, is_count)?,
        ts: get("ts").map(|ts| ts.as_i64().ok_or_else(|| refuse("ts", ts, TS))).transpose()?,
        id: text("id")?,
        genres: get("genres")
            .map(|value| genres(value).ok_or_else(|| refuse("genres", value, GENRES)))
            .transpose()?
            .unwrap_or_default(),
        year: get("year").map(|value| year(value).ok_or_else(|| refuse("year", value, YEAR))).transpose()?,
    })
}

fn genres(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|genre| genre.as_str().map(str::to_owned)).collect()
}

fn year(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|year| year.try_into().ok())
}

/// An id as text. A whole number is one too; other numbers have more than one spelling.
fn json_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
        _ => None,
    }
}

/// What the parser says, without its own line number, which counts within the one line.
fn json_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or_default();
    let cut = if error.is_eof() { "the JSON is cut short" } else { "the line is not JSON" };
    format!("{cut} ({reason} at column {})", error.column())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_csv(text: &[u8]) -> Result<Vec<Result<Interaction, String>>, String> {
        let dataset =
            csv(Path::new("f.csv"), std::io::Cursor::new(text.to_vec())).map_err(|error| error.to_string())?;
        Ok(dataset.rows.map(|row| row.map_err(|error| error.to_string())).collect())
    }

    fn read_json(text: &[u8]) -> Vec<Result<Interaction, String>> {
        let dataset = ndjson(Path::new("f.ndjson"), std::io::Cursor::new(text.to_vec()));
        dataset.rows.map(|row| row.map_err(|error| error.to_string())).collect()
    }

    fn row(user: &str, item: &str, rating: Option<f32>) -> Interaction {
        Interaction { user: user.to_owned(), item: item.to_owned(), rating, ..Interaction::default() }
    }

    proptest! {
        #[test]
        fn the_quick_look_at_a_line_takes_nothing_otherwise_than_the_thorough_one(
            fields in proptest::collection::btree_map(
                prop_oneof![
                    4 => Just("user"), 4 => Just("item"), 1 => Just("v"), 1 => Just("rating"), 1 => Just("count"),
                    1 => Just("ts"), 1 => Just("id"), 1 => Just("genres"), 1 => Just("year"), 1 => Just("other"),
                ],
                prop_oneof![
                    Just("null".to_owned()), Just("1".to_owned()), Just("[\"a\"]".to_owned()), Just("{}".to_owned()),
                    any::<i64>().prop_map(|number| number.to_string()), any::<u64>().prop_map(|number| number.to_string()),
                    any::<f32>().prop_map(|number| number.to_string()), any::<f64>().prop_map(|number| format!("{number:e}")),
                    "\\PC{0,5}".prop_map(|text| Value::from(text).to_string()),
                ],
                0..7,
            ),
        ) {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let json = format!("{{{}}}", fields.join(","));
            let line = Line { path: Path::new("f"), number: 1, bytes: json.as_bytes(), expected: JSON_ROW };
            if let Some(event) = plain_event(line.bytes) {
                prop_assert_eq!(any_event(line).map_err(|error| error.to_string()), Ok(event), "{}", json);
            }
        }
    }

    #[test]
    fn a_file_says_about_how_many_rows_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.csv");
        std::fs::write(&path, format!("user,item\n{}", "1,2\n".repeat(1_000))).unwrap();
        assert_eq!(open(&path).unwrap().about_rows, Some(1_001));
        assert_eq!(lines(&path, 410), Some(987), "101 lines in 410 of 4,010 bytes");
        assert_eq!(lines(dir.path(), 410), None);
    }

    #[test]
    fn csv_columns_come_in_any_order_and_empty_values_are_absent() {
        let text = "\u{feff}ts,item,user,count\r\n881250949000,242,196,\r\n,\"a,\"\"b\",7,2.5\r\n";
        let mut first = row("196", "242", None);
        first.ts = Some(881_250_949_000);
        let mut second = row("7", "a,\"b", None);
        second.count = Some(2.5);
        assert_eq!(read_csv(text.as_bytes()), Ok(vec![Ok(first), Ok(second)]));
    }

    #[test]
    fn a_bad_csv_row_is_told_with_its_place_and_the_rows_after_it_still_come() {
        let text = b"user,item,rating,ts\n1,2,five,\n1,2,NaN,\n1,2\n,2,3,\n1,\xff,3,\n1,2,3,1e9\n\n1,2,3,\n";
        let rows = read_csv(text).unwrap();
        let errors: Vec<_> = rows.iter().filter_map(|row| row.as_ref().err()).collect();
        let expected = [
            "f.csv: line 2: field \"rating\" is \"five\"; allowed is a finite number",
            "f.csv: line 3: field \"rating\" is \"NaN\"; allowed is a finite number",
            "f.csv: line 4: the row has 2 values, the header 4 columns; found \"12\", expected as many values as the header \
             has columns",
            "f.csv: line 5: field \"user\" is \"\"; allowed is text that is not empty",
            "f.csv: line 6: field \"item\" is \"\u{fffd}\"; allowed is UTF-8 text",
            "f.csv: line 7: field \"ts\" is \"1e9\"; allowed is a whole number of milliseconds since the epoch",
        ];
        assert_eq!(errors, expected);
        assert_eq!(rows.last(), Some(&Ok(row("1", "2", Some(3.0)))));
    }

    #[test]
    fn a_header_that_is_not_an_events_is_refused() {
        let cases: [(&[u8], &str); 4] = [
            (
                b"user,rating\n1,2\n",
                "f.csv: line 1: no column \"item\"; expected a header with the columns user and item",
            ),
            (b"user,item,timestamp\n", "f.csv: line 1: unknown column \"timestamp\""),
            (b"user,item,user\n", "f.csv: line 1: column \"user\" twice"),
            (b"\x00\xff\x10garbage", "f.csv: line 1: unknown column \"\\0\u{fffd}\\u{10}garbage\""),
        ];
        for (text, message) in cases {
            let error = read_csv(text).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn ndjson_takes_numbers_as_ids_and_ignores_what_it_does_not_know() {
        let text = b"\xef\xbb\xbf{\"v\":1,\"user\":196,\"item\":\"242\",\"rating\":3,\"more\":[]}\r\n\r\n{\"item\":\"b\",\"user\":\"a\",\"rating\":null}";
        assert_eq!(read_json(text), [Ok(row("196", "242", Some(3.0))), Ok(row("a", "b", None))]);
    }

    #[test]
    fn a_bad_json_line_is_told_with_its_place_and_the_rows_after_it_still_come() {
        let good = r#"{"user":"1","item":"2"}"#;
        let cases = [
            (r#"{"user":"1","item":"#, "the JSON is cut short (EOF while parsing a value at column 19); found"),
            (r#"["1","2"]"#, "the line is JSON, but not an object"),
            ("garbage", "the line is not JSON (expected value at column 1); found \"garbage\""),
            (r#"{"user":"1"}"#, "the field \"item\" is missing; found"),
            (
                r#"{"user":"","item":"2"}"#,
                r#"field "user" is "\"\""; allowed is text that is not empty, or a whole number"#,
            ),
            (r#"{"user":1.5,"item":"2"}"#, r#"field "user" is "1.5"; allowed is"#),
            (
                r#"{"user":"1","item":"2","rating":"five"}"#,
                r#"field "rating" is "\"five\""; allowed is a finite number"#,
            ),
            (r#"{"user":"1","item":"2","rating":1e300}"#, r#"field "rating" is "1e+300"; allowed is a finite number"#),
            (r#"{"user":"1","item":"2","count":0}"#, r#"field "count" is "0"; allowed is a number above 0"#),
            (
                r#"{"user":"1","item":"2","ts":1.5}"#,
                r#"field "ts" is "1.5"; allowed is a whole number of milliseconds"#,
            ),
            (r#"{"v":2,"user":"1","item":"2"}"#, r#"field "v" is "2"; allowed is 1, or no v"#),
            (
                r#"{"user":"1","item":"2","genres":"Drama"}"#,
                r#"field "genres" is "\"Drama\""; allowed is an array of text"#,
            ),
            (r#"{"user":"1","item":"2","year":1995.5}"#, r#"field "year" is "1995.5"; allowed is a whole number"#),
        ];
        for (bad, message) in cases {
            let rows = read_json(format!("{good}\n{bad}\n{good}\n").as_bytes());
            let [Ok(_), Err(error), Ok(_)] = &rows[..] else { panic!("{rows:?}") };
            assert!(error.starts_with(&format!("f.ndjson: line 2: {message}")), "{error}");
        }
        let rows = read_json(b"{\"user\":\"\xff\",\"item\":\"2\"}\n\xff\xfe\x00");
        assert!(rows.len() == 2 && rows.iter().all(Result::is_err), "{rows:?}");
    }

    #[test]
    fn an_empty_file_and_an_unknown_ending_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let cases = [
            ("f.csv", "", "is empty; expected a header with the columns"),
            ("f.jsonl", "", "is empty; expected one JSON object a line"),
            ("f.parquet", "PAR1", "allowed are a .csv file, a .ndjson"),
            ("ratings", "1,2", "cannot tell what"),
        ];
        for (name, text, message) in cases {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            let error = open(&path).err().expect("must be refused").to_string();
            assert!(error.contains(message), "{error}");
        }
        assert_eq!(read_json(b"\n\n").len(), 1);
        assert_eq!(read_csv(b"user,item\n"), Ok(vec![]));
    }
}
