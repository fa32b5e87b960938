//! Spoils the rows of a data set in known ways and numbers, to rehearse what goes wrong in production.
//!
//! Apart from the replay, because it is pure: the same rows, rates and seed give the same records in the same order, so
//! that an interrupted replay goes on as if it had not been.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::Interaction;
use super::replay::Outgoing;

/// Most rows between an event and its duplicate.
pub const DUPLICATE_WITHIN: u64 = 50;
/// Most rows that a late event is sent behind its place.
pub const LATE_WITHIN: u64 = 1_000;

/// What can be injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The same event, with the same business id, again within [`DUPLICATE_WITHIN`] rows.
    Duplicates,
    /// An event is sent up to [`LATE_WITHIN`] rows behind its place.
    Late,
    /// Bytes that are no event, beside the events.
    Garbage,
    /// Tastes of a share of the users change: their ratings are mirrored around the middle of the scale, and where events
    /// have no rating, they turn to the item of the row before.
    Drift,
}

const KINDS: [(&str, Kind); 4] =
    [("duplicates", Kind::Duplicates), ("late", Kind::Late), ("garbage", Kind::Garbage), ("drift", Kind::Drift)];

/// One kind and its rate: `duplicates=0.01`, `late=1%`, `drift=0.2@50000`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Injection {
    kind: Kind,
    /// Share of the rows, or of the users for drift, from 0 to 1.
    rate: f64,
    /// First row of the drift, from 1.
    from_row: Option<u64>,
}

/// Why there is no such injection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// Not a kind and a rate.
    #[error(
        "write KIND=RATE: one of duplicates, late, garbage, drift, and a share from 0 to 1 or 0% to 100%, as \"late=0.01\" \
         or \"garbage=1%\"; drift may say the row that it begins with, as \"drift=20%@50000\""
    )]
    Unknown,
    /// The same kind twice.
    #[error("--inject {0} is given twice; give each kind one rate")]
    Twice(&'static str),
    /// Where the middle is cannot be known.
    #[error(
        "drift begins in the middle of the data set, and how many rows this one has is not known before its end; say the row, \
         as \"--inject drift={0}@50000\""
    )]
    NoMiddle(String),
}

impl FromStr for Injection {
    type Err = InjectError;

    fn from_str(text: &str) -> Result<Self, InjectError> {
        let parsed = || {
            let (kind, rate) = text.split_once('=')?;
            let kind = KINDS.iter().find(|(name, _)| *name == kind.trim())?.1;
            let (rate, from_row) = match rate.split_once('@') {
                Some((rate, row)) if kind == Kind::Drift => {
                    (rate, Some(row.trim().parse().ok().filter(|row| *row > 0)?))
                }
                Some(_) => return None,
                None => (rate, None),
            };
            let rate: f64 = match rate.trim().strip_suffix('%') {
                Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
                None => rate.trim().parse().ok()?,
            };
            (0.0..=1.0).contains(&rate).then_some(Self { kind, rate, from_row })
        };
        parsed().ok_or(InjectError::Unknown)
    }
}

impl std::fmt::Display for Injection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", name(self.kind), self.rate)?;
        self.from_row.map_or(Ok(()), |row| write!(f, "@{row}"))
    }
}

fn name(kind: Kind) -> &'static str {
    KINDS.iter().find(|(_, known)| *known == kind).map_or("", |(name, _)| name)
}

/// How much of each kind was injected so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Events that were sent twice.
    pub duplicates: u64,
    /// Events that were held back.
    pub late: u64,
    /// Records that are no events, by what is wrong with them.
    pub garbage: BTreeMap<&'static str, u64>,
    /// Events that drift has changed.
    pub drifted: u64,
    /// Users whose events they were.
    pub drifted_users: BTreeSet<Box<str>>,
    /// First row of the drift, from 1.
    pub drift_from: Option<u64>,
}

/// Turns rows into records, the injected ones among them.
#[derive(Debug)]
pub struct Injector {
    chances: BTreeMap<Kind, Chance>,
    seed: u64,
    ids: Ids,
    /// Lowest and highest rating.
    scale: (f32, f32),
    row: u64,
    /// Item of the row before, while tastes drift.
    item_before: Option<String>,
    /// What is to be sent before the row of that number, in this order.
    held: BTreeMap<(u64, u64), Held>,
    injected: Injected,
}

/// Business ids for events that have none.
#[derive(Clone, Debug)]
pub struct Ids {
    /// What they begin with: another one for each replay, so that none of it is taken for a duplicate of an earlier one.
    pub run: String,
    /// Whether each event gets one, and not only the one that is sent twice.
    pub all: bool,
}

#[derive(Debug)]
struct Chance {
    rate: f64,
    random: Pcg64Mcg,
}

#[derive(Debug)]
struct Held {
    outgoing: Outgoing,
    /// Rows after which it is sent once more.
    again: Option<u64>,
}

impl Injector {
    /// Nothing injected yet. `n_rows` is how many rows there will be, where that is known.
    ///
    /// # Errors
    /// If a kind is given twice, or drift without a row where it could not be known.
    pub fn new(
        injections: &[Injection],
        seed: u64,
        ids: Ids,
        scale: (f32, f32),
        n_rows: Option<u64>,
    ) -> Result<Self, InjectError> {
        let mut chances = BTreeMap::new();
        let mut injected = Injected::default();
        for &Injection { kind, rate, from_row } in injections {
            // A generator for each kind: what one kind does is the same with and without the others.
            let random = Pcg64Mcg::seed_from_u64(seed ^ (kind as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            if chances.insert(kind, Chance { rate, random }).is_some() {
                return Err(InjectError::Twice(name(kind)));
            }
            if kind == Kind::Drift {
                let from = from_row.or(n_rows.map(|rows| rows / 2 + 1));
                injected.drift_from = Some(from.ok_or_else(|| InjectError::NoMiddle(rate.to_string()))?);
            }
        }
        let held = BTreeMap::new();
        Ok(Self { chances, seed, ids, scale, row: 0, item_before: None, held, injected })
    }

    /// How much was injected.
    #[must_use]
    pub fn injected(&self) -> &Injected {
        &self.injected
    }

    /// Adds the records that the next row gives, with what was held back until now.
    pub(crate) fn row(&mut self, mut row: Interaction, out: &mut impl Extend<Outgoing>) {
        self.row += 1;
        self.release(self.row, out);
        self.drift(&mut row);
        if let Some(random) = self.hit(Kind::Garbage) {
            let (what, payload) = garbage(&row, random);
            *self.injected.garbage.entry(what).or_default() += 1;
            let mut garbage = Outgoing::from(row.clone());
            garbage.record.payload = payload;
            out.extend([garbage]);
        }
        let again = self.hit(Kind::Duplicates).map(|random| random.random_range(1..=DUPLICATE_WITHIN));
        if again.is_some() || self.ids.all {
            let (run, number) = (&self.ids.run, self.row);
            row.id.get_or_insert_with(|| format!("{run}/{number}"));
        }
        self.injected.duplicates += u64::from(again.is_some());
        let outgoing = Outgoing::from(row);
        match self.hit(Kind::Late).map(|random| random.random_range(1..=LATE_WITHIN)) {
            Some(rows) => {
                self.injected.late += 1;
                self.hold(self.row + rows, Held { outgoing, again });
            }
            None => self.send(self.row, Held { outgoing, again }, out),
        }
    }

    /// Adds all that is still held back: no row follows.
    pub(crate) fn finish(&mut self, out: &mut impl Extend<Outgoing>) {
        self.release(u64::MAX, out);
    }

    /// The generator of that kind, if it strikes at this row.
    fn hit(&mut self, kind: Kind) -> Option<&mut Pcg64Mcg> {
        let Chance { rate, random } = self.chances.get_mut(&kind)?;
        random.random_bool(*rate).then_some(random)
    }

    fn hold(&mut self, row: u64, held: Held) {
        // Those of the same row keep the order in which they were held.
        let place = self.held.range((row, 0)..=(row, u64::MAX)).next_back().map_or(0, |((_, place), _)| place + 1);
        self.held.insert((row, place), held);
    }

    fn send(&mut self, row: u64, held: Held, out: &mut impl Extend<Outgoing>) {
        if let Some(rows) = held.again {
            self.hold(row.saturating_add(rows), Held { outgoing: held.outgoing.clone(), again: None });
        }
        out.extend([held.outgoing]);
    }

    /// Sends what is due before this row.
    fn release(&mut self, before: u64, out: &mut impl Extend<Outgoing>) {
        while let Some(first) = self.held.first_entry().filter(|first| first.key().0 <= before) {
            let row = first.key().0;
            let held = first.remove();
            self.send(row, held, out);
        }
    }

    fn drift(&mut self, row: &mut Interaction) {
        let Some(Chance { rate, .. }) = self.chances.get(&Kind::Drift) else { return };
        let item_before = self.item_before.replace(row.item.clone());
        let user = u64::from(crc32fast::hash(row.user.as_bytes()));
        let changes = || Pcg64Mcg::seed_from_u64(self.seed.rotate_left(32) ^ user).random_bool(*rate);
        if self.injected.drift_from.is_none_or(|from| self.row < from) || !changes() {
            return;
        }
        match (&mut row.rating, item_before) {
            (Some(rating), _) => *rating = self.scale.0 + self.scale.1 - *rating,
            (None, Some(item)) => row.item = item,
            (None, None) => return,
        }
        self.injected.drifted += 1;
        if !self.injected.drifted_users.contains(row.user.as_str()) {
            self.injected.drifted_users.insert(row.user.as_str().into());
        }
    }
}

/// What is wrong, and bytes that no engine takes for an event.
fn garbage(row: &Interaction, random: &mut Pcg64Mcg) -> (&'static str, Vec<u8>) {
    let json = row.to_json();
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let (user, item) = (text(&row.user), text(&row.item));
    match random.random_range(0..5) {
        0 => ("cut short", json[..json.len() / 2].to_vec()),
        1 => ("wrong type", format!(r#"{{"v":1,"user":{user},"item":{item},"rating":"five"}}"#).into_bytes()),
        2 => ("invalid UTF-8", [br#"{"v":1,"user":"#, &b"\"\xff\xfe\","[..], br#""item":"1"}"#].concat()),
        3 => ("unknown version", format!(r#"{{"v":99,"user":{user},"item":{item}}}"#).into_bytes()),
        _ => ("empty", Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn injections(texts: &[&str]) -> Vec<Injection> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn rows(count: u64) -> impl Iterator<Item = Interaction> {
        (0..count).map(|n| {
            let (user, item) = ((n % 97).to_string(), (n % 31).to_string());
            Interaction { user, item, rating: Some((n % 5 + 1) as f32), ts: Some(n as i64), ..Interaction::default() }
        })
    }

    fn injected(texts: &[&str], seed: u64, rows: impl Iterator<Item = Interaction>) -> (Vec<Outgoing>, Injected) {
        let ids = Ids { run: "run".into(), all: false };
        let mut injector = Injector::new(&injections(texts), seed, ids, (1.0, 5.0), Some(4_000)).unwrap();
        let mut out = Vec::new();
        rows.for_each(|row| injector.row(row, &mut out));
        injector.finish(&mut out);
        (out, injector.injected.clone())
    }

    fn payloads(outgoing: &[Outgoing]) -> Vec<Vec<u8>> {
        outgoing.iter().map(|outgoing| outgoing.record.payload.clone()).collect()
    }

    /// What the records hold of events, without the ids that were given.
    fn events(outgoing: &[Outgoing]) -> Vec<Interaction> {
        let event = |payload: Vec<u8>| serde_json::from_slice::<Interaction>(&payload).ok();
        payloads(outgoing).into_iter().filter_map(event).map(|row| Interaction { id: None, ..row }).collect()
    }

    #[test]
    fn nothing_injected_is_the_rows_as_they_are() {
        let (out, injected) = injected(&[], 1, rows(100));
        assert_eq!(payloads(&out), rows(100).map(|row| row.to_json()).collect::<Vec<_>>());
        assert_eq!(injected, Injected::default());
    }

    #[test]
    fn the_same_seed_gives_the_same_records_and_each_kind_its_own() {
        let all = ["duplicates=2%", "late=0.03", "garbage=1%", "drift=0.25"];
        let (first, counts) = injected(&all, 7, rows(4_000));
        let (again, counted_again) = injected(&all, 7, rows(4_000));
        assert_eq!((payloads(&first), &counts), (payloads(&again), &counted_again));
        assert_ne!(payloads(&first), payloads(&injected(&all, 8, rows(4_000)).0));
        let (_, garbage) = injected(&["garbage=1%"], 7, rows(4_000));
        assert_eq!(garbage.garbage, counts.garbage);
        let garbage: u64 = counts.garbage.values().sum();
        assert_eq!(first.len() as u64, 4_000 + counts.duplicates + garbage);
        assert!((40..120).contains(&counts.duplicates) && (80..160).contains(&counts.late), "{counts:?}");
        assert!((20..65).contains(&garbage) && counts.garbage.len() == 5, "{counts:?}");
    }

    #[test]
    fn a_duplicate_has_the_id_and_the_bytes_of_its_event_and_comes_soon() {
        let (out, counts) = injected(&["duplicates=5%", "late=5%"], 3, rows(4_000));
        let mut seen = BTreeMap::new();
        let mut duplicates = 0;
        for (place, payload) in payloads(&out).into_iter().enumerate() {
            let event: Interaction = serde_json::from_slice(&payload).unwrap();
            let Some(id) = event.id else { continue };
            assert!(id.starts_with("run/"), "{id}");
            if let Some((first, before)) = seen.insert(id, (place, payload.clone())) {
                assert_eq!(payload, before);
                assert!(place - first <= 2 * DUPLICATE_WITHIN as usize, "{first} {place}");
                duplicates += 1;
            }
        }
        assert_eq!((duplicates, seen.len() as u64), (counts.duplicates, counts.duplicates));
    }

    #[test]
    fn late_events_come_within_the_bound_and_none_is_lost() {
        let (out, counts) = injected(&["late=10%"], 3, rows(4_000));
        let times: Vec<i64> = out.iter().map(|outgoing| outgoing.ts.unwrap()).collect();
        let mut sorted = times.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..4_000).collect::<Vec<_>>());
        let (mut newest, mut late) = (-1, 0);
        for ts in times {
            assert!(newest - ts <= LATE_WITHIN as i64, "{newest} {ts}");
            late += u64::from(ts < newest);
            newest = newest.max(ts);
        }
        // One that is held back at the very end has nothing to be behind.
        assert!(late <= counts.late && late + 20 > counts.late, "{late} {}", counts.late);
    }

    #[test]
    fn drift_mirrors_ratings_of_some_users_from_the_middle_on() {
        let (out, counts) = injected(&["drift=30%"], 3, rows(4_000));
        assert_eq!(counts.drift_from, Some(2_001));
        let mut drifted = BTreeMap::new();
        for (n, (sent, row)) in events(&out).iter().zip(rows(4_000)).enumerate() {
            let mirrored = 6.0 - row.rating.unwrap();
            assert!(sent.rating == row.rating || n >= 2_000 && sent.rating == Some(mirrored), "{n}");
            if n >= 2_000 && row.rating != Some(3.0) {
                let drifts = sent.rating == Some(mirrored);
                assert_eq!(*drifted.entry(row.user).or_insert(drifts), drifts, "a user changes for good");
            }
        }
        let users = drifted.values().filter(|drifts| **drifts).count();
        assert!((15..45).contains(&users) && counts.drifted_users.len() == users, "{users} {counts:?}");

        let plays = rows(20).map(|row| Interaction { rating: None, ..row });
        let (out, counts) = injected(&["drift=1@11"], 3, plays);
        let items: Vec<String> = events(&out).into_iter().map(|event| event.item).collect();
        let expected: Vec<String> = (0..10).chain(9..19).map(|n: u64| n.to_string()).collect();
        assert_eq!((items, counts.drifted), (expected, 10));
    }

    #[test]
    fn what_people_write() {
        for (text, shown) in [("late=1%", "late=0.01"), ("drift=0.2@50", "drift=0.2@50"), ("garbage= 1", "garbage=1")] {
            assert_eq!(text.parse::<Injection>().unwrap().to_string(), shown);
        }
        for bad in
            ["late", "late=", "late=2", "late=-1", "late=101%", "lost=0.1", "late=0.1@5", "drift=0.1@0", "late=NaN"]
        {
            assert_eq!(bad.parse::<Injection>(), Err(InjectError::Unknown), "{bad}");
        }
        let new = |texts: &[&str], n_rows| {
            let ids = Ids { run: "run".into(), all: false };
            Injector::new(&injections(texts), 1, ids, (1.0, 5.0), n_rows).map(drop)
        };
        assert_eq!(new(&["late=1%", "late=2%"], None), Err(InjectError::Twice("late")));
        assert_eq!(new(&["drift=0.5"], None), Err(InjectError::NoMiddle("0.5".into())));
        assert_eq!(new(&["drift=0.5@7"], None), Ok(()));
    }
}
