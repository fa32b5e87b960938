//! The columns of what is exported: one line here is one more column in every format.
//!
//! Apart from the formats, which know only kinds of values.

use std::borrow::Cow;

use owo_colors::Style;

use crate::cli::dead_letters::text::printable;
use crate::cli::out;
use crate::store::{DeadLetter, LearnedEvent};

/// Characters of a payload that a row of the live table shows.
const LONGEST: usize = 60;

/// What a row is made of.
pub(super) struct Column<T: 'static> {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) value: fn(&T) -> Value<'_>,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Number,
    Text,
    /// Milliseconds since the epoch.
    Time,
    Texts,
    Flag,
    Bytes,
}

/// One value; nothing where it is missing.
pub(super) enum Value<'a> {
    None,
    Integer(i64),
    Number(f32),
    Text(&'a str),
    Time(i64),
    Texts(&'a [String]),
    Flag(bool),
    Bytes(&'a [u8]),
}

/// Text of the live table, and how it looks.
pub(super) type Cell<'a> = (Cow<'a, str>, Style);

/// What has columns.
pub(super) trait Row: Sized + Send + Sync + 'static {
    const COLUMNS: &'static [Column<Self>];
    /// How several are called.
    const NAME: &'static str;
    /// The cells of the live table, in the order of [`Row::LIVE`].
    fn cells(&self) -> Vec<Cell<'_>>;
    /// The columns of the live table with their widths; numbers stand right.
    const LIVE: &'static [Live];
}

/// A column of the live table.
pub(super) struct Live {
    pub(super) name: &'static str,
    pub(super) width: usize,
    pub(super) right: bool,
}

const fn column<T>(name: &'static str, kind: Kind, value: fn(&T) -> Value<'_>) -> Column<T> {
    Column { name, kind, value }
}

const fn left(name: &'static str, width: usize) -> Live {
    Live { name, width, right: false }
}

const fn right(name: &'static str, width: usize) -> Live {
    Live { name, width, right: true }
}

fn maybe<T>(value: Option<T>, make: impl FnOnce(T) -> Value<'static>) -> Value<'static> {
    value.map_or(Value::None, make)
}

fn number(value: f32) -> Value<'static> {
    if value.is_finite() { Value::Number(value) } else { Value::None }
}

fn integer(value: u64) -> Value<'static> {
    Value::Integer(value as i64)
}

impl Row for LearnedEvent {
    const COLUMNS: &'static [Column<Self>] = &[
        column("seq", Kind::Integer, |row| integer(row.seq)),
        column("batch", Kind::Integer, |row| integer(row.batch)),
        column("topic", Kind::Text, |row| Value::Text(&row.event.position.topic)),
        column("partition", Kind::Integer, |row| Value::Integer(row.event.position.partition.into())),
        column("offset", Kind::Integer, |row| Value::Integer(row.event.position.offset)),
        column("user", Kind::Text, |row| Value::Text(&row.event.user)),
        column("item", Kind::Text, |row| Value::Text(&row.event.item)),
        column("rating", Kind::Number, |row| maybe(row.event.rating, number)),
        column("count", Kind::Number, |row| maybe(row.event.count, number)),
        column("ts", Kind::Time, |row| Value::Time(row.event.ts)),
        column("ts_of_event", Kind::Flag, |row| Value::Flag(row.event.ts_of_event)),
        column("id", Kind::Text, |row| row.event.id.as_deref().map_or(Value::None, Value::Text)),
        column("predicted", Kind::Number, |row| number(row.predicted)),
        column("genres", Kind::Texts, |row| match &*row.event.genres {
            [] => Value::None,
            genres => Value::Texts(genres),
        }),
        column("year", Kind::Integer, |row| maybe(row.event.year, |year| Value::Integer(year.into()))),
        column("rehearse_from", Kind::Integer, |row| maybe(row.rehearse_from, integer)),
    ];
    const NAME: &'static str = "events";

    const LIVE: &'static [Live] = &[
        right("seq", 9),
        left("time", 23),
        left("user", 12),
        left("item", 12),
        right("rating", 6),
        right("count", 6),
        right("predicted", 9),
        left("where", 16),
    ];

    fn cells(&self) -> Vec<Cell<'_>> {
        let event = &self.event;
        let number = |value: Option<f32>| value.map_or(Cow::Borrowed(""), |value| value.to_string().into());
        // How far off the prediction was.
        let off = match event.rating.map(|rating| (rating - self.predicted).abs()) {
            None => Style::new(),
            Some(error) if error <= 0.5 => Style::new().green(),
            Some(error) if error <= 1.0 => Style::new().yellow(),
            Some(_) => Style::new().red(),
        };
        vec![
            (self.seq.to_string().into(), Style::new()),
            (out::time(event.ts).into(), Style::new().dimmed()),
            (Cow::Borrowed(&event.user), Style::new()),
            (Cow::Borrowed(&event.item), Style::new()),
            (number(event.rating), Style::new()),
            (number(event.count), Style::new()),
            (format!("{:.3}", self.predicted).into(), off),
            (event.position.to_string().into(), Style::new().dimmed()),
        ]
    }
}

impl Row for DeadLetter {
    const COLUMNS: &'static [Column<Self>] = &[
        column("topic", Kind::Text, |row| Value::Text(&row.position.topic)),
        column("partition", Kind::Integer, |row| Value::Integer(row.position.partition.into())),
        column("offset", Kind::Integer, |row| Value::Integer(row.position.offset)),
        column("timestamp", Kind::Time, |row| Value::Time(row.timestamp_ms)),
        column("reason", Kind::Text, |row| Value::Text(&row.reason)),
        column("detail", Kind::Text, |row| Value::Text(&row.detail)),
        column("key", Kind::Bytes, |row| row.key.as_deref().map_or(Value::None, Value::Bytes)),
        column("payload", Kind::Bytes, |row| Value::Bytes(&row.payload)),
        column("payload_cut_from", Kind::Integer, |row| maybe(row.payload_cut_from, integer)),
        column("replayed_at", Kind::Time, |row| maybe(row.replayed_at_ms, Value::Time)),
    ];
    const NAME: &'static str = "dead letters";

    const LIVE: &'static [Live] =
        &[left("where", 16), left("time", 23), left("reason", 19), left("detail", 40), left("payload", 40)];

    fn cells(&self) -> Vec<Cell<'_>> {
        let payload = &self.payload[..self.payload.len().min(4 * LONGEST)];
        vec![
            (self.position.to_string().into(), Style::new().dimmed()),
            (out::time(self.timestamp_ms).into(), Style::new().dimmed()),
            (Cow::Borrowed(&self.reason), Style::new().red()),
            (Cow::Borrowed(&self.detail), Style::new()),
            (printable(payload, LONGEST).into(), Style::new()),
        ]
    }
}
