//! The events of a data set in order, with what a protocol has to know of each before any learner runs.
//!
//! Apart from the learners' runs, so that all of them are asked the same questions about the same events.

use std::collections::HashMap;

use super::error::EvaluateError;
use super::order::{Order, ordered, row_name};
use super::{Protocol, Request};
use crate::capture::inject::drifting;
use crate::capture::{Dataset, Interaction, Rows};
use crate::config::Config;
use crate::learn::about::Genres;
use crate::learn::params::RatingRange;
use crate::learn::{Observation, target};

/// First events of the stream that a result shows.
const SHOWN: usize = 5;

/// Events as they are shown to learners. Users and items are numbered by first appearance among them.
#[derive(Debug)]
pub(super) struct Stream {
    /// Name of the data set.
    pub(super) name: String,
    /// Whether it is a set known by name, whole and in its own order.
    pub(super) is_standard: bool,
    /// The first event of the drift that was injected, from 1.
    pub(super) drift_from: Option<u64>,
    /// Rows read; those that the protocol does not show to learners are among them.
    pub(super) rows: usize,
    /// The events.
    pub(super) events: Vec<Observation>,
    /// Number of users.
    pub(super) users: usize,
    /// Number of items.
    pub(super) items: usize,
    /// Whether any event has a rating.
    pub(super) has_ratings: bool,
    /// The first events.
    pub(super) first: Vec<Interaction>,
    /// The last event.
    pub(super) last: Option<Interaction>,
}

/// Takes up rows one by one.
struct Builder {
    stream: Stream,
    protocol: Protocol,
    all_ratings: bool,
    range: RatingRange,
    positive_rating: f32,
    users: HashMap<String, u32>,
    items: HashMap<String, u32>,
    genres: Genres,
    /// What rows that are not shown have told about items.
    untold: HashMap<String, (Vec<String>, Option<i32>)>,
    first_without: Option<String>,
}

impl Stream {
    /// Reads a data set as a request wants it.
    ///
    /// # Errors
    /// If a row cannot be read, has no place in the order, or is not what the protocol needs.
    pub(super) fn read(dataset: Dataset, request: &Request, config: &Config) -> Result<Self, EvaluateError> {
        let limit = request.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let is_standard = dataset.known && request.order.is_none_or(|order| order == Order::File);
        let expected = dataset.n_rows.map(|rows| rows as usize);
        let name = dataset.name.clone();
        let mut builder = Builder::new(name, request, config);
        // After the rows are in order, since it is the first of an item that tells about it.
        let mut rows = ordered(dataset, request.order)?.described().rows;
        let mut drift_from = None;
        if let Some(injection) = request.inject {
            let scale = (config.decode.min_rating, config.decode.max_rating);
            let n_rows = expected.map(|expected| expected.min(limit) as u64);
            let from;
            (rows, from) = drifting(rows, injection, config.learn.seed, scale, n_rows)?;
            drift_from = Some(from);
        }
        builder.read(rows, limit)?;
        let mut stream = builder.finish()?;
        let whole = expected.is_some_and(|expected| stream.rows == expected);
        stream.is_standard = is_standard && whole && drift_from.is_none();
        stream.drift_from = drift_from;
        Ok(stream)
    }
}

impl Builder {
    fn new(name: String, request: &Request, config: &Config) -> Self {
        let stream = Stream {
            name,
            is_standard: false,
            drift_from: None,
            rows: 0,
            events: Vec::new(),
            users: 0,
            items: 0,
            has_ratings: false,
            first: Vec::new(),
            last: None,
        };
        Self {
            stream,
            protocol: request.protocol,
            all_ratings: request.all_ratings,
            range: RatingRange::of(&config.decode),
            positive_rating: config.learn.positive_rating as f32,
            users: HashMap::new(),
            items: HashMap::new(),
            genres: Genres::default(),
            untold: HashMap::new(),
            first_without: None,
        }
    }

    fn read(&mut self, rows: Rows, limit: usize) -> Result<(), EvaluateError> {
        for row in rows.take(limit) {
            self.add(row?)?;
        }
        Ok(())
    }

    fn add(&mut self, mut row: Interaction) -> Result<(), EvaluateError> {
        self.stream.rows += 1;
        match row.rating {
            Some(value) => self.check(&row, value)?,
            None if self.first_without.is_none() => self.first_without = Some(row_name(self.stream.rows, &row)),
            None => {}
        }
        let positive = row.rating.is_none_or(|rating| rating >= self.positive_rating);
        if self.protocol == Protocol::Topn && !positive && !self.all_ratings {
            if !row.genres.is_empty() || row.year.is_some() {
                self.untold.insert(row.item, (row.genres, row.year));
            }
            return Ok(());
        }
        if let Some(told) = self.untold.remove(&row.item).filter(|_| row.genres.is_empty() && row.year.is_none()) {
            (row.genres, row.year) = told;
        }
        let about = self.genres.about(&row.genres, row.year);
        let target = target(row.rating, row.count, self.range);
        let count = row.count.unwrap_or(1.0);
        let (user, item) = (number(&mut self.users, &row.user), number(&mut self.items, &row.item));
        self.stream.events.push(Observation { user, item, target, positive, count, ts: row.ts, about });
        if self.stream.first.len() < SHOWN {
            self.stream.first.push(row.clone());
        }
        self.stream.last = Some(row);
        Ok(())
    }

    fn check(&mut self, row: &Interaction, value: f32) -> Result<(), EvaluateError> {
        self.stream.has_ratings = true;
        let (low, high) = (self.range.low(), self.range.high());
        if value >= low && value <= high {
            return Ok(());
        }
        let key = if value < low { "min_rating" } else { "max_rating" };
        let advice = format!("--set decode.{key}={value} allows it");
        let (name, row) = (self.stream.name.clone(), row_name(self.stream.rows, row));
        Err(EvaluateError::OutOfRange { name, row, value, low, high, advice })
    }

    fn finish(self) -> Result<Stream, EvaluateError> {
        let Self { mut stream, protocol, all_ratings, users, items, first_without, .. } = self;
        (stream.users, stream.items) = (users.len(), items.len());
        let name = stream.name.clone();
        if stream.rows == 0 {
            return Err(EvaluateError::Empty { name });
        }
        match (protocol, first_without) {
            (Protocol::Rating, Some(_)) if !stream.has_ratings => return Err(EvaluateError::NoRatings { name }),
            (Protocol::Rating, Some(row)) => return Err(EvaluateError::NoRating { name, row }),
            _ => {}
        }
        if all_ratings && !stream.has_ratings {
            return Err(EvaluateError::NothingBelow { name });
        }
        if !stream.events.iter().any(|event| event.positive) && protocol == Protocol::Topn {
            let found = format!("no positive event among {} rows", stream.rows);
            let needed = "the top-N protocol needs ratings of learn.positive_rating or more, or events without a \
                          rating; --set learn.positive_rating=… sets the bound";
            return Err(EvaluateError::TooFew { name, found, needed });
        }
        if stream.users < 2 {
            let found = format!("events of {} user", stream.users);
            return Err(EvaluateError::TooFew { name, found, needed: "at least two users are needed" });
        }
        Ok(stream)
    }
}

/// The number of an id; the next free one if it is new. The map is only looked up, so that its order reaches nothing.
fn number(ids: &mut HashMap<String, u32>, id: &str) -> u32 {
    if let Some(number) = ids.get(id) {
        return *number;
    }
    let number = u32::try_from(ids.len()).expect("memory ends before 2^32 ids");
    ids.insert(id.to_owned(), number);
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::testing::{dataset, rated, request, row};

    fn read(rows: Vec<Interaction>, protocol: Protocol, all_ratings: bool) -> Result<Stream, String> {
        let request = Request { all_ratings, order: Some(Order::File), ..request(protocol) };
        Stream::read(dataset(rows), &request, &Config::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn only_positives_are_numbered_and_shown_unless_all_ratings_are_asked_for() {
        let rows = || vec![rated("a", "x", 2.0), rated("a", "y", 4.0), rated("b", "x", 5.0)];
        let plain = read(rows(), Protocol::Topn, false).unwrap();
        let pairs = |stream: &Stream| stream.events.iter().map(|e| (e.user, e.item, e.positive)).collect::<Vec<_>>();
        assert_eq!((plain.rows, plain.items, pairs(&plain)), (3, 2, vec![(0, 0, true), (1, 1, true)]));
        let all = read(rows(), Protocol::Topn, true).unwrap();
        assert_eq!(pairs(&all), [(0, 0, false), (0, 1, true), (1, 0, true)]);
    }

    #[test]
    fn what_a_row_that_is_not_shown_tells_about_its_item_comes_with_the_next_one_that_is() {
        let told = Interaction { genres: vec!["Drama".to_owned()], year: Some(1995), ..rated("a", "x", 1.0) };
        let rows = vec![told, rated("a", "y", 5.0), rated("b", "x", 5.0), rated("a", "x", 5.0)];
        let stream = read(rows, Protocol::Topn, false).unwrap();
        let years: Vec<_> = stream.events.iter().map(|event| event.about.map(|about| about.year)).collect();
        assert_eq!(years, [None, Some(Some(1995)), None]);
    }

    #[test]
    fn what_the_protocol_cannot_use_is_refused_with_the_row_and_the_way_out() {
        use Protocol::{Rating, Topn};
        let listens = || vec![row("a", "x", None), row("b", "x", None)];
        let mixed = || vec![rated("a", "x", 3.0), row("b", "x", None)];
        let cases = [
            (read(vec![], Topn, false), "made-up has no rows"),
            (read(listens(), Rating, false), "made-up has no ratings; the rating protocol needs them"),
            (read(mixed(), Rating, false), "row 2 (user \"b\", item \"x\") of made-up has no rating"),
            (read(vec![rated("a", "x", 7.5)], Rating, false), "--set decode.max_rating=7.5 allows it"),
            (read(vec![rated("a", "x", 0.0)], Topn, false), "--set decode.min_rating=0 allows it"),
            (read(vec![rated("a", "x", f32::NAN)], Topn, false), "has the rating NaN; 1 to 5 is allowed"),
            (read(listens(), Topn, true), "--all-ratings would change nothing"),
            (read(vec![rated("a", "x", 1.0)], Topn, false), "no positive event among 1 rows"),
            (read(vec![rated("a", "x", 5.0)], Topn, false), "events of 1 user; at least two users"),
        ];
        for (read, part) in cases {
            let error = read.expect_err(part);
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }
}
